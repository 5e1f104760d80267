"""The manifest: one JSON object a line, one line a sample. Datasets end here; no later stage knows their formats."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tam.errors import InputError
from tam.files import atomic


@dataclass(frozen=True)
class Sample:
    """One sample of a dataset.

    Attributes:
        id: unique in the dataset.
        kind: "images" (one or more pictures) or "video" (``media`` is one video file, or its frames in order).
        media: paths, relative to the folder of the manifest.
        prompt: the user's words.
        references: captions to compare the answer with; may be empty.
        mask: path, as in ``media``, of a label map (8-bit grey, category id a pixel, 0 = background), or None.
        turns: earlier turns of the conversation, [the user's words, the answer] each; the media come before the first.
        categories: name -> id (> 0), in the dataset's order, which decides between names that share a word.
        problem: what is wrong with the dataset's entry (file, entry, cause), or None. Such a sample has no media, and
            fails with these words.
    """

    id: str
    media: list[str]
    prompt: str
    kind: str = "images"
    references: list[str] = field(default_factory=list)
    mask: str | None = None
    categories: dict[str, int] = field(default_factory=dict)
    turns: list[list[str]] = field(default_factory=list)
    problem: str | None = None


def write(samples: Iterable[Sample], path: Path) -> None:
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(sample), ensure_ascii=False) + "\n" for sample in samples)


def read(path: Path) -> list[Sample]:
    """Read a manifest; InputError names the line that is wrong, and ids that occur twice."""
    if not path.is_file():
        raise InputError("no such manifest", where=path, cure="run `tam dataset` first")
    samples, seen = [], set()
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            try:
                sample = Sample(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise InputError("not a manifest line", where=where, got=error) from error
            if sample.id in seen:
                raise InputError("sample id occurs twice", where=where, got=repr(sample.id))
            seen.add(sample.id)
            samples.append(sample)
    return samples


def relative(path: Path, manifest: Path) -> str:
    """``path`` as a manifest stores it."""
    return os.path.relpath(path, manifest.parent)


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
        """Row numbers of this shard in a manifest of ``total`` rows; all shards together cover each row once."""
        return range(total * self.index // self.count, total * (self.index + 1) // self.count)
