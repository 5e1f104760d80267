"""Numbers as people read them: in percent, or times another number, two decimals; and as programs do, in CSV."""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence

from tam.tables.summary import Limits

FORMULA = re.compile(r"'*[=+\-@\t\r]")
NO_VALUE = "–"


def percent(value: float, times: float = 100) -> str:
    return NO_VALUE if math.isnan(value) else f"{times * value:.2f}".replace("-", "−")


def signed(value: float, times: float = 100) -> str:
    return NO_VALUE if math.isnan(value) else f"{times * value:+.2f}".replace("-", "−")


def interval(limits: Limits, times: float = 100) -> str:
    """Low and high in square brackets; "" where there is none."""
    return _brackets([percent(limit, times) for limit in limits])


def signed_interval(limits: Limits, times: float = 100) -> str:
    """As ``interval``, of a difference."""
    return _brackets([signed(limit, times) for limit in limits])


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
    already: taking one away gives every text back (docs/evaluation.md).
    """
    cells = ([None if cell != cell else _harmless(cell) for cell in row] for row in rows)
    return "".join(map(_line, [columns, *cells]))


def _line(row: Iterable[str | float | None]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(row)  # with "\n" alone it leaves "\r" in texts without quotes
    return text.getvalue().removesuffix("\r\n") + "\n"
