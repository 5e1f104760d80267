"""Rows of webdataset's tar archives: neighbours of one name are a row, ``KEY.jpg``, ``KEY.txt``, ``KEY.mask.png``.

A key ends before the first full stop of a name, and what follows is the column's name. The picture is the column
"image", ``txt`` is "caption" and ``mask.png`` is "mask", unless others are named; the values of ``KEY.json`` are
columns, too. Read with Python's own ``tarfile``, a row at a time.
"""

import json
import tarfile
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path, PurePosixPath

from tam.datasets.archives import CHUNK, DAMAGE, ENDINGS, most_bytes, opened_tar
from tam.datasets.entries import is_text
from tam.datasets.row import Row
from tam.errors import InputError
from tam.media import PICTURES

LARGEST_FILE = 1 << 28  # bytes of a file in an archive
USUAL = {"caption": "txt", "mask": "mask.png"}


def count(path: Path) -> int:
    """How many rows an archive has, by its headers; those that stand before it is damaged.

    Raises:
        InputError: no archive.
    """
    number = 0
    try:
        with _members(path) as members:
            for _ in groupby(members, _key):
                number += 1
    except InputError:
        if not number:
            raise
    return number


def rows(path: Path, name: str, columns: Mapping[str, str], named: frozenset[str], wanted: range) -> Iterator[Row]:
    """Some rows of an archive, as ``parquet.rows``; damage costs the last row before it, of which more may be lost."""
    stem, number = name[: -len(next(ending for ending in ENDINGS if name.lower().endswith(ending)))], 0
    try:
        with _members(path) as members:
            for key, files in groupby(members, _key):
                if number >= wanted.stop:
                    return
                if number < wanted.start:
                    deque(files, 0)
                else:
                    id = f"{stem}-{key}" if is_text(key) and "\0" not in key else f"{stem}-row-{number}"
                    yield Row(id, f"{name}, {key}"[:200], _cells(files, columns, named))
                number += 1
    except InputError as error:
        if not number:
            raise
        if number in wanted:
            yield Row(f"{stem}-row-{number}", f"{name}, row {number}", error)


class _Member:
    """A file of an archive; ``read`` gives its bytes, before the next one is asked for."""

    def __init__(self, archive: tarfile.TarFile, info: tarfile.TarInfo):
        self._archive, self._info = archive, info
        self.name = info.name

    @property
    def column(self) -> str:
        return PurePosixPath(self.name).name.partition(".")[2].lower()

    def read(self) -> bytes:
        file = self._archive.extractfile(self._info) if self._info.isreg() else None
        if file is None:
            raise InputError("link or device in an archive", got=repr(self.name)[:80])
        if self._info.size > LARGEST_FILE:
            raise InputError(
                "a file too large", got=f"{self._info.size} bytes", expected=f"up to {LARGEST_FILE}"
            )  # fmt: skip
        return b"".join(iter(lambda: file.read(CHUNK), b""))


def _key(member: _Member) -> str:
    path = PurePosixPath(member.name)
    return str(path.with_name(path.name.partition(".")[0] or path.name))


def _cells(
    files: Iterator[_Member], columns: Mapping[str, str], named: frozenset[str]
) -> Mapping[str, object] | InputError:
    """All files of the row are gone through, whatever is wrong with one."""
    wanted = {columns[what] for what in named} | {*USUAL.values(), "json"}
    found: dict[str, bytes] = {}
    problem: InputError | None = None
    seen: list[str] = []
    for file in files:
        seen.append(column := file.column)
        ending = f".{column}"
        try:
            if column in found or (ending in PICTURES and "image" in found and "image" not in named):
                raise InputError("two files for one column", got=repr(file.name)[:80])
            if column in wanted:
                found[column] = file.read()
            elif ending in PICTURES and "image" not in named:
                found[column] = found["image"] = file.read()
        except InputError as error:
            problem = problem or error
    if problem is not None:
        return problem
    try:
        said = json.loads(found.get("json", b"{}"))
    except (ValueError, RecursionError) as error:
        return InputError("broken JSON", got=str(error)[:80])
    if not isinstance(said, dict):
        return InputError("no values by name", got=repr(said)[:80], expected="an object of JSON")
    usual = {what: found[column] for what, column in USUAL.items() if column in found}
    by_name: dict[str, object] = {**said, **usual, **found}
    if columns["image"] not in by_name:
        expected = columns["image"] if "image" in named else ", ".join(sorted(ending[1:] for ending in PICTURES))
        return InputError("no picture", got=", ".join(seen)[:80], expected=expected)
    return {what: by_name[column] for what, column in columns.items() if column in by_name}


@contextmanager
def _members(path: Path) -> Iterator[Iterator[_Member]]:
    try:
        with opened_tar(path, most_bytes([path])) as archive:
            yield _each(archive)
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(error) from error
    except DAMAGE as error:
        raise _damaged(error) from error


def _each(archive: tarfile.TarFile) -> Iterator[_Member]:
    while (info := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
        if not info.isdir():
            yield _Member(archive, info)
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)  # of a damaged header in its middle the library says nothing
    if (end := archive.fileobj.read(tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no end, but {end[:20]!r}")
    while rest := archive.fileobj.read(CHUNK):  # nor of one archive behind another
        if rest.strip(b"\0"):
            raise tarfile.ReadError(f"more behind its end: {rest.strip(bytes(1))[:20]!r}")


def _damaged(error: Exception) -> InputError:
    got = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError("not a tar archive that can be read", got=got, cure="download or make it again")
