"""Texts from elsewhere to explain instead of the model's own answers: JSON Lines, {"id": ..., "answer": ...}.

A line may also say ``ids``, the answer's tokens as the model or server gave them, ``ended``: false for an answer that
was cut off, and ``prompt_tokens``, how many the server saw. ``failed`` in place of an answer says why there is none.
What is wrong with a line costs its own sample, which then has no answer.
"""

import json
import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from tam.errors import InputError
from tam.records import GivenAnswer

logger = logging.getLogger(__name__)

EXPECTED = '{"id": "…", "answer": "…"}, if need be with "ids": [numbers] and "ended": true or false'
LARGEST_ID = (1 << 31) - 1  # of a token


def read_given_answers(path: Path, ids: Collection[str]) -> dict[str, GivenAnswer]:
    """Sample id -> answer. A sample may go without one.

    Lines that cannot be used are left out and counted in the log: what is no JSON, no answer, or not UTF-8, and of an
    id that occurs twice the later one. So are answers of other datasets' samples: datasets may share a file.

    Args:
        ids: of all the samples there are.

    Raises:
        InputError: no such file, no line that can be used.
    """
    if not path.is_file():
        raise InputError("no such file of answers", where=path)
    known, answers, problems = set(ids), {}, []
    others = 0
    for where, line in _lines(path):
        try:
            id, answer = _parse(line, where)
            if id in answers:
                raise InputError("id occurs twice", where=where, got=repr(id)[:80])
        except InputError as error:
            problems.append(error)
            continue
        if id in known:
            answers[id] = answer
        others += id not in known
    if problems and not answers and not others:
        raise problems[0]
    if problems:
        count = len(problems)
        logger.warning("%s: %d lines cannot be used, and their samples have no answer: %s", path, count, problems[0])
    if others:
        logger.info("%s: %d answers belong to none of the %d samples", path, others, len(known))
    return answers


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path}, line {number}", line


def _parse(line: bytes, where: str) -> tuple[str, GivenAnswer]:
    """Sample id and answer."""
    try:
        text = line.decode("utf-8-sig")
        entry = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("not a line of JSON", where=where, got=str(error)[:80]) from error
    wrong = InputError("not an answer", where=where, got=text.strip()[:80], expected=EXPECTED)
    if not isinstance(entry, dict):
        raise wrong
    if _is_text(entry.get("id")) and _is_text(entry.get("failed")):
        return entry["id"], GivenAnswer("", failed=entry["failed"])
    if not all(_is_text(entry.get(key)) for key in ("id", "answer")):
        raise wrong
    ids, ended, prompt = entry.get("ids"), entry.get("ended"), entry.get("prompt_tokens")
    if prompt is not None and type(prompt) is not int:
        raise wrong
    if ids is not None and not (isinstance(ids, list) and ids and all(map(_is_id, ids))):
        raise wrong
    if ended is not None and not isinstance(ended, bool):
        raise wrong
    return entry["id"], GivenAnswer(entry["answer"], None if ids is None else tuple(ids), ended, prompt)


def _is_text(value: object) -> bool:
    """Half a surrogate pair can stand in JSON, and no tokenizer takes it."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_ID
