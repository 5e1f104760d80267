"""The manifest: one JSON object a line, one line a sample. Datasets end here; no later stage knows their formats.

A manifest is its user's word: its paths may lead anywhere (data elsewhere on the disk are named by ``../..``), as far
as regular files lie there. What is no picture, video or label map is refused when it is opened, and nothing is written
where a manifest points.
"""

import json
import os
import reprlib
import types
import typing
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tam.errors import InputError
from tam.system.atomic import atomic

LONGEST_LINE = 1 << 24  # bytes; a video of 768 frames by name takes some 100 kB
LONGEST_NAME, LONGEST_PATH = 255, 3000  # bytes; Linux has room for 255, and for 4096 with all folders


@dataclass(frozen=True)
class Sample:
    """One sample of a dataset.

    Attributes:
        id: unique in the dataset.
        kind: "images" (one or more pictures) or "video" (``media`` is one video file, or its frames in order).
        media: paths, relative to the folder of the manifest.
        prompt: the user's words.
        references: captions to compare the answer with; may be empty.
        mask: path, as in ``media``, of a label map (8-bit grey, category id a pixel, 0 = background), or None. Of
            several pictures it lies on the first, of a video on the middle one of the frames that are shown.
        masks: instead of it, label maps by the place of their picture in ``media``, or by the number of their frame in
            the video, both from 0.
        turns: earlier turns of the conversation, [the user's words, the answer] each; the media come before the first.
        categories: name -> id (> 0), in the dataset's order, which decides between names that share a word.
        phrases: words that an answer may say -> id (> 0) in the label map: what they refer to.
        problem: what is wrong with the dataset's entry (file, entry, cause), or None. Such a sample has no media, and
            fails with these words.
    """

    id: str
    media: list[str]
    prompt: str
    kind: str = "images"
    references: list[str] = field(default_factory=list)
    mask: str | None = None
    masks: dict[str, str] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)
    phrases: dict[str, int] = field(default_factory=dict)
    turns: list[list[str]] = field(default_factory=list)
    problem: str | None = None


def write(samples: Iterable[Sample], path: Path) -> None:
    """Write ``samples`` to ``path``, which appears whole; DiskError: the disk is full."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(_line(sample) for sample in samples)


def check(sample: Sample) -> None:
    """InputError names the key for whose value ``read`` would refuse the manifest that ``write`` makes."""
    _check(vars(sample), sample.id)
    if len(line := _line(sample).encode()) > LONGEST_LINE:
        raise InputError("more than a line of a manifest holds", got=f"{len(line)} bytes", expected=LONGEST_LINE)


def _line(sample: Sample) -> str:
    return json.dumps(vars(sample), ensure_ascii=False) + "\n"


def read(path: Path) -> list[Sample]:
    """Read the manifest ``path``; InputError names the line and the key that are wrong, and ids that occur twice."""
    if not path.is_file():
        raise InputError("no such manifest", where=path, cure="run `tam dataset` first")
    samples: list[Sample] = []
    seen: set[str] = set()
    known: dict[tuple[tuple[str, int], ...], dict[str, int]] = {}
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
            if not line.strip():
                continue
            sample = _parse(line, f"{path}, line {number}")
            if sample.id in seen:
                raise InputError("sample id occurs twice", where=f"{path}, line {number}", got=repr(sample.id))
            seen.add(sample.id)
            # A dataset's samples have the same categories, which take most of the memory: one dict serves them all.
            categories = known.setdefault(tuple(sample.categories.items()), sample.categories)
            samples.append(replace(sample, categories=categories))
    return samples


def _parse(line: bytes, where: str) -> Sample:
    if len(line) > LONGEST_LINE:
        raise InputError("a line too long", where=where, expected=f"at most {LONGEST_LINE} bytes")
    try:
        fields = json.loads(line.decode("utf-8-sig"))
        sample = Sample(**fields)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError("not a manifest line", where=where, got=_short(error)) from error
    _check(fields, where)
    return sample


def _check(fields: dict[str, Any], where: str) -> None:
    for name, value in fields.items():
        if not _fits(value, TYPES[name]):
            key, expected = f"{where}, {name}", "text" if TYPES[name] is str else TYPES[name]
            raise InputError("wrong value", where=key, got=reprlib.repr(value), expected=expected)
    if not fields["id"]:
        raise InputError("wrong value", where=f"{where}, id", got="''", expected="an id of one character or more")
    if "\0" in fields["id"]:
        raise InputError("wrong value", where=f"{where}, id", got=reprlib.repr(fields["id"]), expected="no zero byte")
    for number in fields.get("masks", {}):
        if not (number.isascii() and number.isdecimal()):
            raise InputError("wrong value", where=f"{where}, masks", got=reprlib.repr(number), expected="a number")
    for path in (*fields["media"], fields.get("mask") or "", *fields.get("masks", {}).values()):
        if not is_path(path):
            expected = f"no zero byte, names of {LONGEST_NAME} bytes at most"
            raise InputError("no path", where=where, got=reprlib.repr(path), expected=expected)


TYPES = typing.get_type_hints(Sample)


def _fits(value: object, hint: object) -> bool:
    """Whether a value of JSON is of the type: str, int, None, lists, dicts with text keys, and unions of them."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return any(_fits(value, part) for part in parts)
    if origin is list:
        return type(value) is list and _all_fit(value, parts[0])
    if origin is dict:
        return type(value) is dict and _all_fit(value, str) and _all_fit(value.values(), parts[1])
    return type(value) is hint and (not isinstance(value, str) or _encodable(value))


def _all_fit(values: Collection[object], hint: object) -> bool:
    if typing.get_origin(hint) is not None:
        return all(_fits(value, hint) for value in values)
    if not {*map(type, values)} <= {hint}:
        return False
    return hint is not str or _encodable("".join(typing.cast(Collection[str], values)))


def _encodable(text: str) -> bool:
    """Half a surrogate pair can stand in JSON, and in no file that a later stage writes."""
    try:
        return text.isascii() or bool(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def _short(error: BaseException) -> str:
    return str(error)[:200]


def is_path(text: str) -> bool:
    """Whether a file can be called so: the system calls that ask for another raise."""
    path = text.encode()
    return b"\0" not in path and len(path) <= LONGEST_PATH and max(map(len, path.split(b"/"))) <= LONGEST_NAME


def relative(path: Path, manifest: Path) -> str:
    """``path`` as a manifest stores it; InputError where a name in it is no UTF-8.

    Folders above a manifest may be links, whose ``..`` is another: the way up begins where it really lies.
    """
    text = os.path.relpath(path, manifest.parent)
    if text.startswith(os.pardir):
        text = os.path.relpath(path, manifest.parent.resolve())
    if not _encodable(text):
        raise InputError("a name that is no UTF-8", got=repr(text), cure="rename it")
    return text


def resolve(path: str, manifest: Path) -> Path:
    """The file that a manifest's ``path`` means."""
    return manifest.parent / path


@dataclass(frozen=True)
class Shard:
    """The ``index``-th of ``count`` contiguous slices of a manifest, written ``index-of-count``."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The slice that ``text``, "0-of-4", means; InputError: there is none such."""
        try:
            index, count = (int(part) for part in text.split("-of-"))
        except ValueError as error:
            raise InputError("not a shard", got=repr(text), expected="INDEX-of-COUNT, as in 0-of-4") from error
        if not 0 <= index < count:
            raise InputError("no such shard", got=text, expected=f"an index from 0 to {count - 1}")
        return cls(index, count)

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"

    def rows(self, total: int) -> range:
        """Row numbers of this shard in a manifest of ``total`` rows; all shards together cover each row once.

        Examples:
            >>> [list(Shard(index, 3).rows(7)) for index in range(3)]
            [[0, 1], [2, 3], [4, 5, 6]]
        """
        return range(total * self.index // self.count, total * (self.index + 1) // self.count)
