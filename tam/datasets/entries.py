"""Entries of annotation files, one by one: a wrong one costs its own sample and no other.

What is wrong with an entry is an InputError that names file and entry. It becomes a sample without media, whose
``problem`` every later stage carries as its status. Only what all samples need (the file, the categories) stops all.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

from tam import manifest
from tam.errors import InputError
from tam.manifest import Sample

logger = logging.getLogger(__name__)

MOST_CATEGORIES = 255  # a label map is 8-bit grey, and 0 is its background


def read_json(path: Path) -> object:
    """The content of a JSON file; InputError if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("cannot be read", where=path, got=error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise InputError("broken JSON", where=path, got=error, cure="download or make the file again") from error


def entry_list(value: object, where: object) -> list[object]:
    """``value``, if it is a list."""
    if not isinstance(value, list):
        raise InputError("entries are missing", where=where, got=type(value).__name__, expected="a list")
    return value


def text(value: object, where: str) -> str:
    """``value``, if it is text that can be written in UTF-8."""
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError("not a text", where=where, got=repr(value)[:80], expected="characters of Unicode")
    return value


def inside(root: Path, name: object, where: str) -> Path:
    """The file ``root/name``; InputError where ``name`` is absolute or climbs: annotations must not point elsewhere."""
    path = text(name, where)
    parts = path.replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or set(parts) <= {"", "."} or "\0" in path:
        raise InputError("not a path in its folder", where=where, got=repr(path), expected=f"a file in {root.name}/")
    return root / path


def categories(value: object, where: str) -> dict[str, int]:
    """``value``, if it is {name: id} with ids that fit into a label map; names may share one."""
    if not isinstance(value, dict):
        raise InputError("not categories", where=where, got=repr(value)[:80], expected="{name: id, ...}")
    for name, id in value.items():
        text(name, where)
        if type(id) is not int or not 1 <= id <= MOST_CATEGORIES:
            raise InputError(
                "category id out of range", where=where, got=f"{name!r}: {id!r}", expected=f"1..{MOST_CATEGORIES}"
            )
    return value


def refused(id: str, prompt: str, problem: InputError) -> Sample:
    """The sample of a wrong entry."""
    return Sample(id=id, media=[], prompt=prompt, problem=str(problem))


def write(samples: Iterable[Sample], out: Path, source: object, limit: int | None = None) -> int:
    """Write the first ``limit`` samples to the manifest ``out``; of an id that occurs twice the later one is refused.

    Returns:
        the number of samples, refused ones among them.

    Raises:
        InputError: there is no sample, or all of them were refused.
    """
    rows = list(_unique(islice(samples, limit), source))
    problems = [sample.problem for sample in rows if sample.problem]
    if len(problems) == len(rows):
        raise InputError("no sample can be used", where=source, got=problems[0] if problems else "no entries")
    manifest.write(rows, out)
    for problem in problems:
        logger.warning("refused: %s", problem)
    if problems:
        logger.warning(
            "%s: %d of %d entries are refused and will be listed as failed", source, len(problems), len(rows)
        )
    return len(rows)


def _unique(samples: Iterable[Sample], source: object) -> Iterator[Sample]:
    seen = set()
    for sample in samples:
        if sample.id in seen:
            twice = InputError("id occurs twice", where=f"{source}, {sample.id}", got=", ".join(sample.media))
            free = next(name for number in count(2) if (name := f"{sample.id}-{number}") not in seen)
            sample = replace(sample, id=free, media=[], mask=None, problem=sample.problem or str(twice))
        seen.add(sample.id)
        yield sample
