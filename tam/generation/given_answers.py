"""Texts from elsewhere to explain instead of the model's own answers: JSON Lines, {"id": ..., "answer": ...}."""

import json
from collections.abc import Collection
from pathlib import Path

from tam.errors import InputError


def read_answers(path: Path, ids: Collection[str]) -> dict[str, str]:
    """Sample id -> text. A sample may go without one.

    Args:
        ids: of all the samples there are.

    Raises:
        InputError: no such file; a line that is no object of two strings, or whose id is unknown or occurs twice.
    """
    if not path.is_file():
        raise InputError("no such file of answers", where=path)
    known, answers = set(ids), {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise InputError("not a line of JSON", where=where, got=error) from error
            if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("id", "answer")):
                raise InputError(
                    "not an answer", where=where, got=line.strip()[:80], expected='{"id": "…", "answer": "…"}'
                )
            if entry["id"] not in known:
                raise InputError(
                    "no sample has this id", where=where, got=repr(entry["id"]), cure="is it the manifest's?"
                )
            if entry["id"] in answers:
                raise InputError("id occurs twice", where=where, got=repr(entry["id"]))
            answers[entry["id"]] = entry["answer"]
    return answers
