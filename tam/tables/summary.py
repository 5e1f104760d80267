"""A run in numbers: means over words, intervals over images, counts of what has no value."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tam.metrics.catalogue import ANSWER, CATALOGUE, POOLED, shown
from tam.run import RunFiles
from tam.tables import statistics
from tam.tables.totals import OF_ANSWER, Answer, Totals, brief, kind, read_totals

SEED = 0
BASE = "tam"
"""What the other methods are compared with."""

Limits = tuple[float, float]
"""Low and high of an interval; NaN where there is none."""


@dataclass(frozen=True)
class Pool:
    """Sums and numbers of values of all methods of a run, float64 [image, column]; images are drawn for all at once."""

    sums: np.ndarray
    counts: np.ndarray

    @cached_property
    def draws(self) -> np.ndarray:
        """[resample, column], the means of drawn images."""
        return statistics.bootstrap_means(self.sums, self.counts, seed=SEED)


@dataclass(frozen=True)
class MethodSummary:
    """A method in a run. What is by metric has the catalogue's order, and is from 0 to 1.

    Attributes:
        title: for people.
        pool: of the run. columns: those of POOLED in it.
        samples: of each image the answer's status, or why the method has no maps of it.
        statuses: metric -> status in ``totals.brief`` -> number of rows; "answer" counts ``samples``.
    """

    title: str
    pool: Pool
    columns: list[int]
    samples: list[str]
    statuses: dict[str, dict[str, int]]

    @cached_property
    def means(self) -> dict[str, float]:
        """Over all values of all images; NaN without a value."""
        return dict(zip(CATALOGUE, _with_f1(statistics.pooled_means(self.sums, self.counts)).tolist(), strict=True))

    @cached_property
    def own_means(self) -> dict[str, np.ndarray]:
        """[image], over the values of that image; NaN without a value."""
        return dict(zip(CATALOGUE, _with_f1(statistics.ratio(self.sums, self.counts)).T, strict=True))

    @cached_property
    def intervals(self) -> dict[str, Limits]:
        return _limits(self.draws(self.counts))

    @cached_property
    def values(self) -> dict[str, int]:
        """The number of values; not of what is joined from other means."""
        return dict(zip(POOLED, self.counts.sum(0).astype(int).tolist(), strict=True))

    def why(self, metric: str) -> str:
        """The most frequent reason for which there is no value of a metric, in a word or a few."""
        for part in ("obj_iou", "func_iou") if metric == "f1_iou" else (metric,):
            if not self.values[part]:
                found = {kind(status): number for status, number in self.statuses.get(part, {}).items()}
                return max(found, key=found.__getitem__, default=f"no {CATALOGUE[part].of}")
        return "not a number"

    @property
    def sums(self) -> np.ndarray:
        """[image, metric of POOLED]"""
        return self.pool.sums[:, self.columns]

    @property
    def counts(self) -> np.ndarray:
        """[image, metric of POOLED]"""
        return self.pool.counts[:, self.columns]

    def draws(self, counts: np.ndarray) -> np.ndarray:
        """[resample, metric], the means of drawn images.

        NaN for a metric with values from one image only, by ``counts``: they say nothing about the spread.
        """
        return _with_f1(np.where((counts > 0).sum(0) > 1, self.pool.draws[:, self.columns], np.nan))


@dataclass(frozen=True)
class Summary:
    """A run in numbers.

    Attributes:
        protocol, tagger, scores: how its metrics were made.
        answers: sample -> answer, in the order of the samples' ids; these are the images.
        methods: by name, in the order asked for, else of the files.
        files: where the rows are.
    """

    dataset: str
    model: str
    protocol: str
    tagger: str
    scores: str
    answers: dict[str, Answer]
    methods: dict[str, MethodSummary]
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        return f"{self.dataset}, {self.model}"

    @cached_property
    def metrics(self) -> list[str]:
        """Those that tables show; all methods have the same."""
        return shown({metric for method in self.methods.values() for metric in method.statuses})

    @cached_property
    def differences(self) -> dict[str, dict[str, tuple[float, Limits]]]:
        """TAM minus each other method, by method and metric; none where there is no TAM."""
        base = self.methods.get(BASE)
        return {name: difference(base, other) for name, other in self.methods.items() if base and other is not base}


def summarise(run: RunFiles, methods: Sequence[str] | None = None) -> Summary:
    """Read a run's metrics and pool them.

    Args:
        methods: which, in this order; None for all.

    Raises:
        InputError, SchemaError: as ``totals.read_totals``.
    """
    totals = read_totals(run, methods)
    pool = Pool(totals.sums, totals.counts)
    by_method = {name: _summary(totals, pool, name, title) for name, title in totals.how.methods.items()}
    how = totals.how
    return Summary(run.dataset, run.model, how.protocol, how.tagger, how.scores, totals.answers, by_method, run.metrics)


def _summary(totals: Totals, pool: Pool, method: str, title: str) -> MethodSummary:
    """One method's part; rows about the answer belong to every method."""
    columns = [totals.columns[OF_ANSWER if metric in ANSWER else method, metric] for metric in POOLED]
    samples = [totals.failures.get((method, id), answer.status) for id, answer in totals.answers.items()]
    statuses: dict[str, dict[str, int]] = {}
    for (whose, metric, status), count in sorted(totals.statuses.items(), key=lambda item: item[0][1:]):
        if whose in (method, OF_ANSWER):
            statuses.setdefault(metric, {})[status] = count
    statuses["answer"] = dict(Counter(map(brief, samples)))
    return MethodSummary(title, pool, columns, samples, statuses)


def difference(base: MethodSummary, other: MethodSummary) -> dict[str, tuple[float, Limits]]:
    """How much higher ``base`` is than ``other`` of the same run, by metric, with its interval.

    Paired: both see the same drawn images, so what makes an image hard for both cancels out.
    """
    counts = np.minimum(base.counts, other.counts)
    limits = _limits(base.draws(counts) - other.draws(counts))
    return {metric: (base.means[metric] - other.means[metric], limits[metric]) for metric in CATALOGUE}


def _limits(draws: np.ndarray) -> dict[str, Limits]:
    """[resample, metric] -> metric -> low and high."""
    low, high = statistics.interval(draws).tolist()
    return dict(zip(CATALOGUE, zip(low, high, strict=True), strict=True))


def _with_f1(values: np.ndarray) -> np.ndarray:
    """[..., metric of POOLED] -> [..., metric], with F1-IoU from the two means that it joins."""
    columns = dict(zip(POOLED, np.moveaxis(values, -1, 0), strict=True))
    columns["f1_iou"] = statistics.harmonic_mean(columns["obj_iou"], columns["func_iou"])
    return np.stack([columns[metric] for metric in CATALOGUE], axis=-1)
