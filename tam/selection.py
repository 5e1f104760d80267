"""What is selected of an explanation: tokens of a word, a phrase, an expression; and how their maps become one."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from tam.errors import InputError

Wanted = int | str | re.Pattern[str] | None
"""Index of a token (from the end if negative); a word or phrase; a compiled expression; None: all words."""

Pooling = Literal["mean", "max", "probability"]
Place = tuple[str, tuple[int, ...]]
"""Text that matches, and the indices of its tokens."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The map of what was selected, or of what was considered in a token's place.

    Attributes:
        texts: what matched, one entry a place.
        tokens: indices of the pooled tokens, ascending.
        map: float32 [vision], in [0, 1]; in [-1, 1] if ``signed``: what speaks for one class rather than another.
        grids: the same, cut into one float32 [rows, columns] for each grid of the layout.
    """

    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    map: np.ndarray = field(repr=False)
    grids: tuple[np.ndarray, ...] = field(repr=False)
    signed: bool = False


def wanted_of(text: str) -> Wanted:
    """What a text of the command line means: "#7" a token, "/dogs?/" an expression, anything else a word or phrase.

    Raises:
        InputError: not a regular expression.
    """
    if number := re.fullmatch(r"#(-?\d+)", text):
        return int(number[1])
    if len(text) < 3 or not (text.startswith("/") and text.endswith("/")):
        return text
    try:
        return re.compile(text[1:-1])
    except re.error as error:
        raise InputError("not a regular expression", got=repr(text), cure=str(error)) from error


def check_pooling(pooling: str) -> Pooling:
    """``pooling``, if it is one; else InputError."""
    for known in get_args(Pooling):
        if pooling == known:
            return known
    raise InputError("unknown pooling", got=repr(pooling), expected="mean, max or probability")


def pooled(maps: np.ndarray, chances: Sequence[float | None], pooling: Pooling) -> np.ndarray:
    """float32 [vision] of maps [token, vision]: their "mean"; "max", at each vision token; "probability", a mean
    weighted by ``chances`` (equally where one is unknown, or all are 0).

    Raises:
        InputError: an unknown pooling.
    """
    check_pooling(pooling)
    if pooling == "max":
        return maps.max(0).astype(np.float32)
    known = [chance for chance in chances if chance is not None]
    weighted = pooling == "probability" and len(known) == len(chances) and sum(known) > 0
    return np.average(maps, axis=0, weights=known if weighted else None).astype(np.float32)


def places(pieces: Sequence[bytes], words: Sequence[Sequence[int]], what: str | re.Pattern[str]) -> list[Place]:
    """Where a text says something: a phrase, in any case, begins and ends with words; an expression is searched for.

    Args:
        pieces: what each token of the text says. Places are counted in bytes, as a character can have several tokens.
        words: indices of the tokens of each word.
    """
    ends = np.cumsum([len(piece) for piece in pieces], dtype=int).tolist()
    begins = [0, *ends]
    raw = b"".join(pieces)
    edges = [_stripped(raw, begins[tokens[0]], ends[tokens[-1]]) for tokens in words]
    first, last = {start for start, _ in edges}, {stop for _, stop in edges}
    found = []
    for start, stop in _matches(raw.decode("utf-8", "surrogateescape"), what):
        if isinstance(what, re.Pattern) or (start in first and stop in last):
            tokens = tuple(index for index in range(len(pieces)) if begins[index] < stop and ends[index] > start)
            found.append((raw[start:stop].decode("utf-8", "replace"), tokens))
    return found


def _matches(text: str, what: str | re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """First byte, and the one after the last, of each match that is not empty."""
    if isinstance(what, str):
        what = re.compile(r"\s+".join(map(re.escape, what.split())) or "(?!)", re.IGNORECASE)
    for match in what.finditer(text):
        if match[0].strip():
            before, said = (part.encode("utf-8", "surrogateescape") for part in (text[: match.start()], match[0]))
            yield len(before), len(before) + len(said)


def _stripped(raw: bytes, start: int, stop: int) -> tuple[int, int]:
    """The ends of ``raw[start:stop]`` without the white space at both."""
    part = raw[start:stop]
    return start + len(part) - len(part.lstrip()), stop - len(part) + len(part.rstrip())
