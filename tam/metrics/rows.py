"""The row of a metrics table, and the words that say why a value is missing."""

import math
from typing import NamedTuple

from tam.words import Word

OK = "ok"


class Row(NamedTuple):
    """One value of one word or of one sample.

    Attributes:
        token: index of the word's first token in the answer, -1 for a whole sample.
        word: the word; for the metric "answer" the whole answer; else "".
        label: category id, or a label of tam.words; 0 for a whole sample.
        metric: a key of tam.tables.summary.METRICS but f1_iou; or word (only with a status), answer (its number of
            tokens, with the status of the generation).
        value: from 0 to 1, NaN where there is none.
        status: "ok", or why there is no value: a kind, after a colon the details. Only "ok" enters means.
    """

    token: int
    word: str
    label: int
    metric: str
    value: float
    status: str = OK


def whole(metric: str, value: float | str) -> Row:
    """A row about the whole sample: its value, or the reason why there is none."""
    if isinstance(value, str):
        return Row(-1, "", 0, metric, math.nan, value)
    return Row(-1, "", 0, metric, value)


def missing(word: Word, metric: str, status: str) -> Row:
    """A row about a word that has no value, and why."""
    return Row(word.tokens[0], word.text, word.label, metric, math.nan, status)
