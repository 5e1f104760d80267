"""Numbers as people read them: in percent, or times another number, two decimals; and as programs do, in CSV."""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence

from tam.metrics.catalogue import CATALOGUE, FOCUS
from tam.tables.formats import Cell
from tam.tables.summary import Limits

FORMULA = re.compile(r"'*[=+\-@\t\r]")
NO_VALUE = "–"


def percent(value: float, times: float = 100) -> str:
    """
    >>> percent(-1e-6), percent(-0.5)
    ('0.00', '−50.00')
    """
    return NO_VALUE if math.isnan(value) else f"{times * value:z.2f}".replace("-", "−")


def signed(value: float) -> str:
    return NO_VALUE if math.isnan(value) else f"{100 * value:+z.2f}".replace("-", "−")


def interval(limits: Limits, times: float = 100) -> str:
    """Low and high in square brackets; "" where there is none."""
    return _brackets([percent(limit, times) for limit in limits])


def signed_interval(limits: Limits) -> str:
    """As ``interval``, of a difference."""
    return _brackets([signed(limit) for limit in limits])


def cell(metric: str, value: float, limits: Limits, why: str, best: bool = False, near: bool = False) -> Cell:
    """A number of a metric with its interval, in the metric's unit, or why there is none."""
    if math.isnan(value):
        return Cell(NO_VALUE, why)
    times = CATALOGUE[metric].times
    return Cell(percent(value, times), interval(limits, times), best, near)


def marks(values: Sequence[float], limits: Sequence[Limits], metric: str) -> list[tuple[bool, bool]]:
    """Of each value of a column whether it is the best, and, if not, whether it lies in the interval of the best.

    >>> marks([0.2, 0.3, 0.28], [(0.1, 0.3), (0.25, 0.35), (0.2, 0.3)], "obj_iou")
    [(False, False), (True, False), (False, True)]
    """
    first = best(values, metric)
    within = [limit for limit, mark in zip(limits, first, strict=True) if mark]
    return [
        (mark, not mark and any(low <= value <= high for low, high in within))
        for value, mark in zip(values, first, strict=True)
    ]


def signed_cell(value: float, limits: Limits, why: str) -> Cell:
    """As ``cell``, of a difference."""
    return Cell(NO_VALUE, why) if math.isnan(value) else Cell(signed(value), signed_interval(limits))


def best(values: Sequence[float], metric: str) -> list[bool]:
    """Which values of a column are the best as they are printed; none where all are equal, or of a measure of focus.

    >>> best([0.2, 0.30001, float("nan"), 0.3], "obj_iou")
    [False, True, False, True]
    """
    known = {rounded(value) for value in values if not math.isnan(value)}
    if len(known) < 2 or CATALOGUE[metric].group == FOCUS:
        return [False] * len(values)
    wanted = max(known) if CATALOGUE[metric].direction == "higher" else min(known)
    return [rounded(value) == wanted for value in values]


def _brackets(limits: list[str]) -> str:
    return "" if NO_VALUE in limits else f"[{', '.join(limits)}]"


def rounded(value: float, times: float = 100) -> float:
    """In percent, as ``percent`` prints it; NaN stays."""
    return round(times * value, 2)


def _harmless(cell: str | float | None) -> str | float | None:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def to_csv(columns: Sequence[str], rows: Iterable[Iterable[str | float | None]]) -> str:
    """Lines under a head; NaN and None are empty cells.

    A text that a spreadsheet would run as a formula has an apostrophe before it, as has one that looks so changed
    already: taking one away gives every text back (docs/explained/evaluation.md).
    """
    cells = ([None if cell != cell else _harmless(cell) for cell in row] for row in rows)
    return "".join(map(_line, [columns, *cells]))


def _line(row: Iterable[str | float | None]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(row)  # with "\n" alone it leaves "\r" in texts without quotes
    return text.getvalue().removesuffix("\r\n") + "\n"
