"""Entries of annotation files, one by one: a wrong one costs its own sample and no other.

What is wrong with an entry is an InputError that names file and entry. It becomes a sample without media, whose
``problem`` every later stage carries as its status. Only what all samples need (the file, the categories) stops all.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tam import manifest
from tam.errors import InputError
from tam.manifest import Sample
from tam.words import is_nameable

logger = logging.getLogger(__name__)

MOST_CATEGORIES = 255  # a label map is 8-bit grey, and 0 is its background
LONGEST_PROBLEM, LONGEST_ID = 500, 100  # characters that are kept of what is refused
MOST_LINES = 20  # of the log
LONGEST_INTEGER = 4000  # digits; Python refuses to read 300 more


def read_json(path: Path) -> object:
    """The content of a JSON file; InputError if it is missing or broken. Integers without end become infinite."""
    if not path.is_file():  # a pipe would be waited for
        raise InputError("no such file", where=path)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot be read", where=path, got=error) from error
    try:
        return _loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError("broken JSON", where=path, got=error, cure="download or make the file again") from error


def _loads(content: str) -> object:
    try:
        return json.loads(content)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer too long; this way takes longer
        return json.loads(content, parse_int=_integer)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_INTEGER else float(digits)


def entry_list(value: object, where: object) -> list[object]:
    """``value``, if it is a list."""
    if not isinstance(value, list):
        raise InputError("entries are missing", where=where, got=type(value).__name__, expected="a list")
    return value


def is_text(value: str) -> bool:
    """Whether it can be written in UTF-8: half surrogates stand for what is none."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def text(value: object, where: str) -> str:
    """``value``, if it is text that can be written in UTF-8."""
    if not isinstance(value, str) or not is_text(value):
        raise InputError("not a text", where=where, got=repr(value)[:80], expected="characters of Unicode")
    return value


def inside(root: Path, name: object, where: str) -> Path:
    """The file ``root/name``; InputError where ``name`` is absolute or climbs: annotations must not point elsewhere."""
    path = text(name, where)
    parts = path.replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or set(parts) <= {"", "."} or not manifest.is_path(path):
        got = repr(path)[:80]
        raise InputError("not a path in its folder", where=where, got=got, expected=f"a file in {root.name or root}/")
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


def by_number(name: str) -> tuple[list[str | int], str]:
    """Key that sorts names as people count: frame2 before frame10."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


class Names:
    """Names that are taken once each."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self._last: Counter[str] = Counter()

    def free(self, name: str) -> str:
        """``name``, or, where that is taken, the first of ``name-2``, ``name-3``, ... that is not."""
        found, number = name, max(self._last[name], 1)
        while found in self.taken:
            number += 1
            found = f"{name}-{number}"
        self._last[name] = number
        self.taken.add(found)
        return found


def refused(id: str, prompt: str, problem: InputError) -> Sample:
    """The sample of a wrong entry."""
    kept = _printable(id)[:LONGEST_ID] or "entry"
    return Sample(id=kept, media=[], prompt=_printable(prompt), problem=_printable(str(problem))[:LONGEST_PROBLEM])


def write(samples: Iterable[Sample], out: Path, source: object, limit: int | None = None) -> int:
    """Write the first ``limit`` samples to the manifest ``out``.

    One that a manifest cannot hold is refused, and so is the later one of an id that occurs twice. What is wrong with
    an entry never costs another one its id.

    Returns:
        the number of samples, refused ones among them.

    Raises:
        InputError: there is no sample, or all of them were refused.
    """
    rows = _unique([_usable(sample) for sample in islice(samples, limit)], source)
    problems = [sample.problem for sample in rows if sample.problem]
    if len(problems) == len(rows):
        raise InputError("no sample can be used", where=source, got=problems[0] if problems else "no entries")
    manifest.write(rows, out)
    for problem in problems[:MOST_LINES]:
        logger.warning("refused: %s", problem)
    if problems:
        logger.warning(
            "%s: %d of %d entries are refused and will be listed as failed", source, len(problems), len(rows)
        )
    names = dict.fromkeys(name for row in rows for name in row.categories)
    if unnamed := [name for name in names if not is_nameable(name)]:
        few = ", ".join(map(repr, unnamed[:5]))
        logger.warning("%s: no noun names %d of %d categories: %s", source, len(unnamed), len(names), few)
    return len(rows)


def _usable(sample: Sample) -> Sample:
    if sample.problem:
        return sample
    try:
        manifest.check(sample)
    except InputError as error:
        return refused(sample.id, sample.prompt, error)
    return sample


def _unique(rows: list[Sample], source: object) -> list[Sample]:
    """Usable samples keep their ids, the first of each."""
    names = Names()
    for index, row in enumerate(rows):
        if not row.problem and row.id in names.taken:
            twice = InputError("id occurs twice", where=f"{source}, {row.id}", got=", ".join(row.media))
            rows[index] = refused(row.id, row.prompt, twice)
        elif not row.problem:
            names.free(row.id)
    return [replace(row, id=names.free(row.id)) if row.problem else row for row in rows]


def _printable(text: str) -> str:
    """Zero bytes, and half surrogates, as names that are no UTF-8 have them, spelled out."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
