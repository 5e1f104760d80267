"""Archives from elsewhere, unpacked safely: nothing outside the folder, no links, no devices, no bombs."""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path
from typing import IO

from tqdm import tqdm

from tam.datasets.entries import inside
from tam.errors import InputError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

# Pictures hardly shrink in an archive, label maps and JSON to a fifth or a tenth. What grows more than this is a bomb.
MOST_GROWTH = 100
SMALL = 64 << 20  # bytes that any archive may unpack to
MOST_FILES = 1_000_000
CHUNK = 1 << 20


def is_archive(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack ``archive`` to ``folder``, which appears whole or not at all.

    Raises:
        InputError: a name that is absolute or climbs, a link or device, too many files or bytes, a damaged archive.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    left = max(SMALL, MOST_GROWTH * archive.stat().st_size)
    try:
        with _files(archive) as files, tqdm(desc=f"unpack {archive.name}", unit="file") as progress:
            for number, (name, content) in enumerate(files):
                if number >= MOST_FILES:
                    raise InputError("too many files", where=archive, expected=f"up to {MOST_FILES}")
                left -= _copy(content, inside(temporary, name, str(archive)), left, archive)
                progress.update()
        temporary.mkdir(parents=True, exist_ok=True)
        temporary.rename(folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError, RuntimeError) as error:
        cure = "delete it, so that it is downloaded again"
        raise InputError("not an archive that can be unpacked", where=archive, got=error, cure=cure) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _files(archive: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Names and contents of an archive's files, one after the other."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as file:
            yield _zipped(file, archive)
    else:
        with tarfile.open(archive) as file:
            yield _tarred(file, archive)


def _zipped(file: zipfile.ZipFile, archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    for member in file.infolist():
        kind = member.external_attr >> 16 & 0o170000
        if kind not in (0, 0o100000, 0o040000):
            raise InputError("link or device in an archive", where=archive, got=repr(member.filename))
        if not member.is_dir():
            with file.open(member) as content:
                yield member.filename, content


def _tarred(file: tarfile.TarFile, archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    for member in file:
        if member.isreg() and (content := file.extractfile(member)):
            yield member.name, content
        elif not member.isdir():
            raise InputError("link or device in an archive", where=archive, got=repr(member.name))


def _copy(content: IO[bytes], path: Path, most: int, archive: Path) -> int:
    """Write a file and return its bytes, which are counted because an archive can lie about them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with path.open("xb") as file:
        while chunk := content.read(CHUNK):
            size += len(chunk)
            if size > most:
                expected = f"up to {MOST_GROWTH} times its own size"
                raise InputError("unpacks to too many bytes", where=archive, got=path.name, expected=expected)
            file.write(chunk)
    return size
