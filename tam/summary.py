"""All metrics of a run -> means over words, intervals over images, counts of what has no value."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tam import statistics
from tam.errors import InputError, SchemaError
from tam.methods import title
from tam.metrics.stage import SCHEMA

METRICS = {
    "obj_iou": "Obj-IoU",
    "func_iou": "Func-IoU",
    "f1_iou": "F1-IoU",
    "precision": "Precision",
    "recall": "Recall",
    "pointing": "Pointing",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "name_precision": "Name prec.",
    "name_recall": "Name rec.",
}
POOLED = [metric for metric in METRICS if metric != "f1_iou"]
SEED = 0
MOST_ROWS = 1 << 24  # of one file; a real shard of 1,000 samples has some 50,000


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
        samples: a row per sample.
    """

    run: Run
    how: dict[str, str]
    statuses: dict[str, dict[str, int]]
    means: np.ndarray
    intervals: np.ndarray
    values: dict[str, int]
    samples: pd.DataFrame

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


def summarise(run: Run) -> Summary:
    """Read a run's files and pool them."""
    table, how = _read(run)
    answers = table[table.metric == "answer"]
    if not answers["sample"].is_unique:
        twice = answers["sample"][answers["sample"].duplicated()].iloc[0]
        raise InputError("sample occurs twice", where=f"{run.dataset}, {run.model}, {run.method}", got=repr(twice),
                         cure="keep the files of one split into shards only")  # fmt: skip
    answers = answers.sort_values("sample")
    sums, counts = _per_sample(table, pd.Index(answers["sample"]))
    draws = _with_f1(statistics.bootstrap_means(sums, counts, seed=SEED))
    several = (counts > 0).sum(0) > 1  # one image says nothing about the spread
    statuses = defaultdict(dict)
    for (metric, kind), count in table.groupby(["metric", table.status.str.partition(":")[0]]).size().items():
        statuses[metric][kind] = count
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
        how=how,
        statuses=dict(statuses),
        means=_with_f1(statistics.pooled_means(sums, counts)),
        intervals=np.where(_with_f1(np.where(several, 1.0, np.nan)) > 0, statistics.interval(draws), np.nan),
        values=dict(zip(POOLED, counts.sum(0).astype(int).tolist(), strict=True)),
        samples=samples,
    )


def _read(run: Run) -> tuple[pd.DataFrame, dict[str, str]]:
    tables, hows = [], {}
    for path in run.paths:
        try:
            table, hows[str(path)] = _read_file(path)
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError, MemoryError) as error:
            raise SchemaError("not a metrics table", where=path, got=error, cure="run `tam metrics` again") from error
        tables.append(table)
    first, *others = hows.items()
    for path, how in others:
        if how != first[1]:
            raise InputError("metrics made in different ways", where=path, got=how, expected=f"{first[1]} ({first[0]})",
                             cure="run `tam metrics` again for all shards")  # fmt: skip
    return pa.concat_tables(tables).to_pandas(), first[1]


def _read_file(path: Path) -> tuple[pa.Table, dict[str, str]]:
    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows  # before its values take memory
        if not schema.equals(SCHEMA) or rows > MOST_ROWS:
            raise ValueError(f"{rows} rows of {', '.join(schema.names)}")
        how = json.loads(schema.metadata[b"tam"])
        table = file.read()
    if any(column.null_count for column in table.columns):
        raise ValueError("a cell without a value")
    if not isinstance(how, dict) or not all(isinstance(how.get(key), str) for key in ("protocol", "method", "tagger")):
        raise ValueError(f"no protocol, method and tagger: {how!r:.200}")
    return table, how


def _per_sample(table: pd.DataFrame, samples: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """[sample, metric of POOLED]: sums and numbers of the values with status ok; a NaN among them stays."""
    good = table[(table.status == "ok") & table.metric.isin(POOLED)]
    shape = len(samples), len(POOLED)
    cells = samples.get_indexer(good["sample"]) * shape[1] + pd.Index(POOLED).get_indexer(good.metric)
    size = shape[0] * shape[1]
    counts = np.bincount(cells, minlength=size).reshape(shape).astype(float)
    return np.bincount(cells, good.value, minlength=size).reshape(shape), counts


def _with_f1(means: np.ndarray) -> np.ndarray:
    """[..., POOLED] -> [..., METRICS]."""
    columns = {metric: means[..., index] for index, metric in enumerate(POOLED)}
    columns["f1_iou"] = statistics.harmonic_mean(columns["obj_iou"], columns["func_iou"])
    return np.stack([columns[metric] for metric in METRICS], axis=-1)
