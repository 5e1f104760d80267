"""All metrics of a run -> means over words, intervals over images, counts of what has no value."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tam.errors import InputError, SchemaError
from tam.methods.registry import title
from tam.metrics.stage import SCHEMA
from tam.tables import statistics

GROUPS = {
    "As published": {
        "obj_iou": "Obj-IoU",
        "func_iou": "Func-IoU",
        "f1_iou": "F1-IoU",
        "precision": "Precision",
        "recall": "Recall",
    },
    "Without Otsu's threshold": {
        "pointing": "Pointing",
        "pointing_box": "Pointing (box)",
        "relevance_mass": "Mass accuracy",
        "relevance_rank": "Rank accuracy",
        "pxap": "PxAP",
    },
    "Focus of all words' maps": {
        "entropy": "Entropy",
        "gini": "Gini",
        "top20_mass": "Top-20 % mass",
    },
    "The answer": {
        "rouge_l": "ROUGE-L (rouge)",
        "rouge_l_standard": "ROUGE-L (standard)",
        "meteor": "METEOR",
        "name_precision": "Name prec.",
        "name_recall": "Name rec.",
    },
}
"""Metrics and what people read, by what they are about."""

ANSWER = tuple(GROUPS["The answer"])
"""They do not depend on the method."""

METRICS = {metric: title for group in GROUPS.values() for metric, title in group.items()}
POOLED = [metric for metric in METRICS if metric != "f1_iou"]
SEED = 0
MOST_ROWS = 1 << 24  # of one file; a real shard of 1,000 samples has some 120,000


class Run(NamedTuple):
    """The metrics of one method: ``paths`` are the parquet files of all its shards."""

    dataset: str
    model: str
    method: str
    paths: Sequence[Path]


@dataclass(frozen=True)
class Summary:
    """A run in numbers.

    Attributes:
        how: protocol, method and tagger, from the files.
        statuses: metric -> status -> number of rows, without details after the colon; "answer" counts samples.
        means: [metric], as METRICS, from 0 to 1, NaN without a value.
        intervals: [2, metric], low and high; NaN with values from fewer than two images.
        values: number of values of each of POOLED.
        samples: a row per sample, in the order of their ids.
        sums, counts: [sample, metric of POOLED], of the values with status ok.
        draws: [resample, metric], the means of drawn images.
    """

    run: Run
    how: dict[str, str]
    statuses: dict[str, dict[str, int]]
    means: np.ndarray
    intervals: np.ndarray
    values: dict[str, int]
    samples: pd.DataFrame
    sums: np.ndarray
    counts: np.ndarray
    draws: np.ndarray

    @property
    def name(self) -> str:
        return title(self.run.method)


def find_runs(folder: Path) -> list[Run]:
    """Runs at or below ``folder`` by the layout DATASET/MODEL/metrics/METHOD/SHARD.parquet.

    ``folder`` is the ``metrics`` folder, or one above it.
    """
    found = defaultdict(list)
    for path in sorted(folder.resolve().rglob("*.parquet")):
        *_, dataset, model, stage, method = ("", "", *path.parent.parts)[-4:]
        if stage == "metrics":
            found[dataset, model, method].append(path)
    return [Run(*key, paths) for key, paths in found.items()]


@dataclass(frozen=True)
class Difference:
    """How much higher ``base`` is than ``other``, on the images of both: [metric], [2, metric]."""

    base: Summary
    other: Summary
    means: np.ndarray
    intervals: np.ndarray
    images: int


def summarise(run: Run) -> Summary:
    """Read a run's files and pool them; a part of a file at a time, so that memory does not grow with it."""
    read = _read(run)
    if not any(map(len, read.answers)):
        raise InputError("no samples", where=f"{run.dataset}, {run.model}, {run.method}")
    answers = pd.concat(read.answers, ignore_index=True)
    if not answers["sample"].is_unique:
        twice = answers["sample"][answers["sample"].duplicated()].iloc[0]
        raise InputError("sample occurs twice", where=f"{run.dataset}, {run.model}, {run.method}", got=repr(twice),
                         cure="keep the files of one split into shards only")  # fmt: skip
    answers = answers.sort_values("sample", ignore_index=True)
    none = np.zeros((2, len(POOLED)))
    sums, counts = np.array([read.totals.get(sample, none) for sample in answers["sample"]]).swapaxes(0, 1)
    draws = _with_f1(statistics.bootstrap_means(sums, counts, seed=SEED))
    with np.errstate(invalid="ignore"):
        own = _with_f1(np.where(counts > 0, sums / counts, np.nan))
    samples = pd.DataFrame(
        {"dataset": run.dataset, "model": run.model, "method": run.method, "sample": answers["sample"].to_numpy()}
        | {"status": answers.status.to_numpy(), "answer": answers.word.to_numpy(), "tokens": answers.value.to_numpy()}
        | {"objects": counts[:, POOLED.index("obj_iou")].astype(int)}
        | dict(zip(METRICS, own.T, strict=True))
    )
    return Summary(
        run=run,
        how=read.how,
        statuses={metric: dict(kinds) for metric, kinds in read.statuses.items()},
        means=_with_f1(statistics.pooled_means(sums, counts)),
        intervals=_interval(draws, counts),
        values=dict(zip(POOLED, counts.sum(0).astype(int).tolist(), strict=True)),
        samples=samples,
        sums=sums,
        counts=counts,
        draws=draws,
    )


def difference(base: Summary, other: Summary) -> Difference:
    """Paired: both methods see the same drawn images, so what makes an image hard for both cancels out."""
    ids = [summary.samples["sample"].to_numpy() for summary in (base, other)]
    common, *places = np.intersect1d(*ids, return_indices=True)
    means, draws = [], []
    for summary, rows in zip((base, other), places, strict=True):
        sums, counts = summary.sums[rows], summary.counts[rows]
        whole = len(common) == len(summary.samples)
        means.append(_with_f1(statistics.pooled_means(sums, counts)))
        draws.append(summary.draws if whole else _with_f1(statistics.bootstrap_means(sums, counts, seed=SEED)))
    counts = np.minimum(base.counts[places[0]], other.counts[places[1]])
    return Difference(base, other, means[0] - means[1], _interval(draws[0] - draws[1], counts), len(common))


def _interval(draws: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """NaN for a metric with values from one image only: it says nothing about the spread."""
    several = _with_f1(np.where((counts > 0).sum(0) > 1, 1.0, np.nan)) > 0
    return np.where(several, statistics.interval(draws), np.nan)


@dataclass
class _Read:
    """What is kept of a run's rows: those about answers, and per sample [2, metric of POOLED], sums and counts."""

    how: dict[str, str]
    answers: list[pd.DataFrame]
    totals: dict[str, np.ndarray]
    statuses: dict[str, Counter]


def _read(run: Run) -> _Read:
    read = _Read({}, [], {}, defaultdict(Counter))
    for path in run.paths:
        try:
            with pq.ParquetFile(path) as file:
                how = _how(file)
                if read.how and how != read.how:
                    raise InputError("metrics made in different ways", where=path, got=how,
                                     expected=f"{read.how} ({run.paths[0]})",
                                     cure="run `tam metrics` again for all shards")  # fmt: skip
                read.how = how
                for batch in file.iter_batches(columns=["sample", "word", "metric", "value", "status"]):
                    _add(read, batch)
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError, MemoryError) as error:
            raise SchemaError("not a metrics table", where=path, got=error, cure="run `tam metrics` again") from error
    return read


def _how(file: pq.ParquetFile) -> dict[str, str]:
    """How the rows were made; ValueError: not a table of ours."""
    schema, rows = file.schema_arrow, file.metadata.num_rows  # before its values take memory
    if not schema.equals(SCHEMA) or rows > MOST_ROWS:
        raise ValueError(f"{rows} rows of {', '.join(schema.names)}")
    how = json.loads(schema.metadata[b"tam"])
    if not isinstance(how, dict) or not all(isinstance(how.get(key), str) for key in ("protocol", "method", "tagger")):
        raise ValueError(f"no protocol, method and tagger: {how!r:.200}")
    return how


def _add(read: _Read, batch: pa.RecordBatch) -> None:
    if any(column.null_count for column in batch.columns):
        raise ValueError("a cell without a value")
    table = batch.to_pandas()
    read.answers.append(table[table.metric == "answer"])
    for (metric, kind), count in table.groupby(["metric", table.status.str.partition(":")[0]]).size().items():
        read.statuses[metric][kind] += count
    good = table[(table.status == "ok") & table.metric.isin(POOLED)]
    rows, samples = pd.factorize(good["sample"])
    cells = rows * len(POOLED) + pd.Index(POOLED).get_indexer(good.metric)
    counts, sums = (
        np.bincount(cells, weights, minlength=len(samples) * len(POOLED)).reshape(-1, len(POOLED)).astype(float)
        for weights in (None, good.value)  # a NaN among the values stays
    )
    for sample, *totals in zip(samples, sums, counts, strict=True):
        read.totals[sample] = read.totals.get(sample, 0) + np.stack(totals)


def _with_f1(means: np.ndarray) -> np.ndarray:
    """[..., POOLED] -> [..., METRICS]."""
    columns = {metric: means[..., index] for index, metric in enumerate(POOLED)}
    columns["f1_iou"] = statistics.harmonic_mean(columns["obj_iou"], columns["func_iou"])
    return np.stack([columns[metric] for metric in METRICS], axis=-1)
