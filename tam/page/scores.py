"""The scores of a run as the page shows them: the mean of each sample, and every word's value, or why there is none."""

import math
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tam.metrics.catalogue import CATALOGUE, POINT, POOLED
from tam.rows import OK, opened
from tam.run import RunFiles
from tam.tables.statistics import harmonic_mean

DIGITS = 4


@dataclass
class RunScores:
    """Of some methods of a run.

    Attributes:
        methods: names, in the page's order.
        values: by sample, method ("" where it is of the answer itself) and metric.
        rows: sample -> (index of a word's first token in the answer, -1 for the answer; metric; whether it depends on
            the method) -> value or reason: one for each method, or a single one.
    """

    methods: list[str]
    values: dict[tuple[str, str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, dict[tuple[int, str, bool], list[float | str | None]]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def add(self, sample: str, method: str, token: int, metric: str, value: float, status: str) -> None:
        if status == OK:
            self.values[sample, method, metric].append(value)
        said = _number(value) if status == OK else status
        row = self.rows[sample].setdefault((token, metric, bool(method)), [None] * (len(self.methods) if method else 1))
        row[self.methods.index(method) if method else 0] = said

    def of(self, sample: str) -> list[dict[str, object]]:
        """All rows of a sample."""
        return [
            {"token": token, "metric": metric, "values": values}
            for (token, metric, _), values in self.rows[sample].items()
        ]

    def means(self, sample: str) -> list[list[float | None]]:
        """[method][metric of the catalogue], None without a value."""
        return [self._means(sample, method) for method in self.methods]

    def _means(self, sample: str, method: str) -> list[float | None]:
        found = {
            name: self.values.get((sample, method, name)) or self.values.get((sample, "", name)) for name in POOLED
        }
        means = {name: float(np.mean(values)) if values else math.nan for name, values in found.items()}
        means["f1_iou"] = float(harmonic_mean(np.array(means["obj_iou"]), np.array(means["func_iou"])))
        return [_number(means[name]) for name in CATALOGUE]


def read_scores(run: RunFiles, methods: Collection[str], samples: Collection[str]) -> RunScores:
    """The scores of some samples by some methods, and of their answers."""
    scores = RunScores([*methods])
    wanted, shown = pa.array([*samples], pa.string()), pa.array(["", *methods])
    columns = ["sample", "method", "token", "metric", "value", "status"]
    for path in run.metrics:
        with opened(path) as (_, file):
            for batch in file.iter_batches(columns=columns):
                chosen = pc.and_(pc.is_in(batch["sample"], wanted), pc.is_in(batch["method"], shown))
                points = pc.match_substring(batch["metric"], POINT)
                listed = batch.filter(pc.and_(chosen, pc.invert(pc.or_(points, pc.equal(batch["metric"], "answer")))))
                for row in zip(*(column.to_pylist() for column in listed.columns), strict=True):
                    scores.add(*row)
    return scores


def _number(value: float) -> float | None:
    return round(value, DIGITS) if math.isfinite(value) else None
