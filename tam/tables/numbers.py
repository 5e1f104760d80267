"""Numbers as people read them: in percent, two decimals; and as programs do, in CSV."""

import csv
import io
import math
from collections.abc import Iterable, Sequence

from tam.tables.summary import Limits

NO_VALUE = "–"


def percent(value: float) -> str:
    return NO_VALUE if math.isnan(value) else f"{100 * value:.2f}"


def signed(value: float) -> str:
    return NO_VALUE if math.isnan(value) else f"{100 * value:+.2f}".replace("-", "−")


def interval(limits: Limits) -> str:
    """Low and high in square brackets; "" where there is none."""
    return _brackets([percent(limit) for limit in limits])


def signed_interval(limits: Limits) -> str:
    """As ``interval``, of a difference."""
    return _brackets([signed(limit) for limit in limits])


def _brackets(limits: list[str]) -> str:
    return "" if NO_VALUE in limits else f"[{', '.join(limits)}]"


def rounded(value: float) -> float:
    """In percent, as ``percent`` prints it; NaN stays."""
    return round(100 * value, 2)


def to_csv(columns: Sequence[str], rows: Iterable[Iterable[str | float | None]]) -> str:
    """Lines under a head; NaN and None are empty cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([None if cell != cell else cell for cell in row] for row in rows)
    return text.getvalue()
