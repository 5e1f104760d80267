"""Do faithfulness and localisation rank alike, over methods and over words? And does a random order gain nothing?"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tam.metrics.catalogue import CATALOGUE, FAITHFULNESS
from tam.metrics.faithfulness import FORWARDS, rank_correlation
from tam.perturbed import Baseline
from tam.rows import OK, opened
from tam.tables.formats import Cell, Panel
from tam.tables.numbers import NO_VALUE, interval, percent
from tam.tables.summary import Summary
from tam.tables.totals import OF_ANSWER

CONTROL = "random"
LOCALISATION = ("obj_iou", "pxap")
FEWEST = 3
"""Pairs; of fewer, ranks say nothing."""

Values = dict[tuple[str, str], dict[tuple[str, int], float]]
"""(method, metric) -> (sample, first token of a word) -> value."""


def gains(summary: Summary) -> dict[Baseline, str]:
    """Baseline -> the metric of its gain, where it was measured."""
    return {baseline: f"gain_{baseline}" for baseline in FAITHFULNESS if f"gain_{baseline}" in summary.metrics}


def agreement_panels(summary: Summary) -> list[Panel]:
    """Spearman's correlation of gain with F1-IoU and PxAP over methods, and with Obj-IoU and PxAP over their words."""
    found = gains(summary)
    if not found:
        return []
    values = values_of_words(summary.files, [*found.values(), *LOCALISATION])
    panels = []
    for baseline, gain in found.items():
        measured = [method for method in summary.methods.values() if method.values[gain]]
        pairs = [[(method.means[gain], method.means[metric]) for method in measured] for metric in ("f1_iou", "pxap")]
        rows = [_row("the methods' means", pairs)]
        for name, method in summary.methods.items():
            if method.values[gain]:
                rows.append(
                    _row(f"words, {method.title}", [_pairs(values, name, gain, metric) for metric in LOCALISATION])
                )
        head = ["over", "with F1-IoU (words: Obj-IoU)", "with PxAP", "pairs"]
        panels.append(Panel(f"{FAITHFULNESS[baseline]}: rank correlation of gain with localisation", head, rows))
    return panels


def _row(name: str, pairs: Sequence[Sequence[tuple[float, float]]]) -> list[Cell | str]:
    """Correlations, and of how many pairs with two values."""
    known = [[pair for pair in some if not math.isnan(sum(pair))] for some in pairs]
    return [name, *map(_correlation, known), str(max(map(len, known)))]


def _correlation(pairs: Sequence[tuple[float, float]]) -> str:
    return f"{rank_correlation(*np.array(pairs).T):+.2f}".replace("-", "−") if len(pairs) >= FEWEST else NO_VALUE


def _pairs(values: Values, method: str, gain: str, metric: str) -> list[tuple[float, float]]:
    """Of the words that have both values: (gain, other)."""
    gained, other = (values.get((method, name), {}) for name in (gain, metric))
    return [(gained[word], other[word]) for word in gained if word in other]


def values_of_words(files: Iterable[Path], metrics: Sequence[str]) -> Values:
    """Values of single words by all methods; SchemaError: as ``rows.opened``."""
    found: Values = {}
    wanted = pa.array([*metrics], pa.string())
    for path in files:
        with opened(path) as (_, file):
            for batch in file.iter_batches(columns=["sample", "method", "token", "metric", "value", "status"]):
                good = pc.and_(pc.is_in(batch["metric"], wanted), pc.equal(batch["status"], OK))
                columns = (column.to_pylist() for column in batch.filter(good).columns)
                for sample, method, token, metric, value, _ in zip(*columns, strict=True):
                    found.setdefault((method, metric), {})[sample, token] = value
    return found


def cost(summary: Summary) -> list[str]:
    """How many passes of the model faithfulness was measured with; nothing where it was not."""
    measured = {CATALOGUE[metric].group for metric in summary.metrics}
    names = {f"{FORWARDS}_{baseline}": baseline for baseline, group in FAITHFULNESS.items() if group in measured}
    found = values_of_words(summary.files, list(names)) if names else {}
    said = []
    for metric, baseline in names.items():
        if numbers := found.get((OF_ANSWER, metric), {}).values():
            total = sum(numbers)
            said.append(f"{total:,.0f} ({baseline}; {len(numbers)} images, {total / len(numbers):.0f} each)")
    return [f"Forward passes without cells of the picture: {', '.join(said)}."] if said else []


def warnings(summary: Summary) -> list[str]:
    """A line where a random order gains or loses: then something is wrong with the measurement, not with a method."""
    found = []
    for baseline, gain in gains(summary).items():
        control = summary.methods.get(CONTROL)
        if control is None or not control.values[gain]:
            found.append(f"Warning: without the method {CONTROL} nothing shows whether chance is 0 ({baseline}).")
            continue
        low, high = control.intervals[gain]
        if not low <= 0 <= high and not math.isnan(low + high):
            said = f"{percent(control.means[gain])} {interval((low, high))}"
            found.append(
                f"WARNING: the gain of {CONTROL} ({baseline}) is {said}, and its interval does not hold 0, its chance: "
                "too few images, or an error in the measurement."
            )
    return found
