"""Metrics files of a run -> sums and numbers of values per sample, in one pass over each file for all methods.

What is kept grows with the number of samples, not with the length of the files.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tam.errors import InputError
from tam.metrics.catalogue import ANSWER, POINT, POOLED
from tam.records import FAILED, OK
from tam.rows import CURE, RowsHeader, opened
from tam.run import RunFiles

OF_ANSWER = ""
"""The method of rows about the answer itself."""

TEXTS = ["sample", "method", "word", "metric", "status"]
ROWS_AT_A_TIME = 1 << 17
_AROUND = re.compile(r"; |\. ")  # what follows a reason


class How(NamedTuple):
    """How rows were made; ``methods``: name -> title, in the order asked for, else of the files."""

    methods: dict[str, str]
    protocol: str
    tagger: str
    scores: str


class Answer(NamedTuple):
    """A sample's answer: its status, its text, and how many tokens it has."""

    status: str
    text: str
    tokens: float


class Totals(NamedTuple):
    """What is kept of a run's rows.

    Attributes:
        how: of all files.
        answers: sample -> answer, in the order of the samples' ids.
        failures: method and sample -> why it has no maps, where the answer is one.
        columns: method and metric -> where they stand in ``sums`` and ``counts``.
        sums, counts: float64 [sample, column], of the values with status "ok".
        statuses: method, metric and status in ``brief`` -> number of rows.
    """

    how: How
    answers: dict[str, Answer]
    failures: dict[tuple[str, str], str]
    columns: dict[tuple[str, str], int]
    sums: np.ndarray
    counts: np.ndarray
    statuses: Counter[tuple[str, str, str]]


def read_totals(run: RunFiles, methods: Sequence[str] | None = None) -> Totals:
    """Read a run's metrics files.

    Args:
        methods: which, in this order; None for all.

    Raises:
        InputError: no samples, a file lacks a method, files made in different ways, or a sample that occurs twice.
        SchemaError: as ``rows.opened``.
    """
    parts: list[Totals] = []
    seen: set[str] = set()
    for path in run.metrics:
        with opened(path) as (header, _), pq.ParquetFile(path, read_dictionary=TEXTS) as file:
            how = _how(header, path, methods)
            if parts and how != parts[0].how:
                raise InputError(
                    "metrics made in different ways", where=path, got=tuple(how),
                    expected=f"{tuple(parts[0].how)} ({run.metrics[0]})", cure=f"{CURE} for all shards",
                )  # fmt: skip
            part = _read(file, how, header.samples)
        if twice := seen & part.answers.keys():
            raise InputError(
                "sample occurs twice", where=path, got=repr(min(twice)),
                cure="keep the files of one split into shards only",
            )  # fmt: skip
        seen |= part.answers.keys()
        parts.append(part)
    if not seen:
        raise InputError("no samples", where=run.name)
    return _joined(parts)


def kind(status: str) -> str:
    """A status without its details."""
    return status.partition(":")[0]


def brief(status: str) -> str:
    """A status with its reason alone: no place, no values, no cure; so that equal reasons are equal.

    >>> brief("failed: data/x.jpg: not a picture; got 3 bytes")
    'failed: not a picture'
    >>> brief("failed: CUDA out of memory. Tried to allocate 2.00 GiB")
    'failed: CUDA out of memory'
    """
    what, colon, why = status.partition(": ")
    return what + colon + _AROUND.split(why)[0].rpartition(": ")[2][:60]


def _how(header: RowsHeader, path: Path, methods: Sequence[str] | None) -> How:
    for name in methods or ():
        if name not in header.methods:
            raise InputError(
                "no metrics of this method", where=path, got=repr(name), expected=" or ".join(header.methods),
                cure="run `tam maps` and `tam metrics` with it",
            )  # fmt: skip
    wanted = {name: header.methods[name] for name in methods or header.methods}
    return How(wanted, header.protocol, header.tagger, header.scores)


def _joined(parts: Sequence[Totals]) -> Totals:
    """The parts of a run as one, sorted by the samples' ids."""
    answers = {id: answer for part in parts for id, answer in part.answers.items()}
    order = sorted(range(len(answers)), key=list(answers).__getitem__)
    return parts[0]._replace(
        answers=dict(sorted(answers.items())),
        failures={key: why for part in parts for key, why in part.failures.items()},
        sums=np.concatenate([part.sums for part in parts])[order],
        counts=np.concatenate([part.counts for part in parts])[order],
        statuses=sum((part.statuses for part in parts), Counter()),
    )


def _read(file: pq.ParquetFile, how: How, samples: int) -> Totals:
    """One file, its samples in the order of its rows."""
    of_maps = [(method, metric) for method in how.methods for metric in POOLED if metric not in ANSWER]
    columns = {key: place for place, key in enumerate([*of_maps, *((OF_ANSWER, metric) for metric in ANSWER)])}
    shape = samples, len(columns)
    totals = Totals(how, {}, {}, columns, np.zeros(shape), np.zeros(shape), Counter())
    places: dict[str, int] = {}
    for batch in file.iter_batches(ROWS_AT_A_TIME, columns=[*TEXTS, "value"]):
        if len(batch):
            _add(totals, places, batch)
    if not samples == len(places) == len(totals.answers):
        raise ValueError(f"{len(totals.answers)} answers of {samples} samples")
    return totals._replace(answers={id: totals.answers[id] for id in places})


@dataclass(frozen=True)
class _Texts:
    """A column of a batch: the texts that occur, and for each row which of them it has."""

    known: list[str]
    codes: np.ndarray

    @classmethod
    def of(cls, column: pa.DictionaryArray) -> "_Texts":
        return cls(column.dictionary.to_pylist(), np.from_dlpack(column.indices))  # to_numpy would import pandas

    def __getitem__(self, row: int) -> str:
        return self.known[self.codes[row]]

    def are(self, test: Callable[[str], bool]) -> np.ndarray:
        """bool [row]"""
        return np.array([test(text) for text in self.known])[self.codes]


def _add(totals: Totals, places: dict[str, int], batch: pa.RecordBatch) -> None:
    """Add rows to ``totals``. ``places``: sample -> its row there."""
    sample, method, word, metric, status = (_Texts.of(batch.column(name)) for name in TEXTS)
    value = np.from_dlpack(batch.column("value"))
    rows = [places.setdefault(id, len(places)) for id in sample.known]

    columns = np.array([[totals.columns.get((name, key), -1) for key in metric.known] for name in method.known])
    column = columns[method.codes, metric.codes]
    good = np.flatnonzero((column >= 0) & status.are(OK.__eq__))
    cells = (len(rows), len(totals.columns)), sample.codes[good], column[good]
    totals.counts[rows] += _counted(*cells)
    totals.sums[rows] += _counted(*cells, weights=value[good])  # a NaN among them stays

    briefs = list(dict.fromkeys(map(brief, status.known)))
    which = np.array([briefs.index(brief(text)) for text in status.known])[status.codes]
    numbers = _counted((len(method.known), len(metric.known), len(briefs)), method.codes, metric.codes, which)
    for a, b, c in np.argwhere(numbers).tolist():
        if POINT not in metric.known[b]:
            totals.statuses[method.known[a], metric.known[b], briefs[c]] += int(numbers[a, b, c])

    of_answer = method.are(OF_ANSWER.__eq__)
    for row in np.flatnonzero(of_answer & metric.are("answer".__eq__)).tolist():
        totals.answers[sample[row]] = Answer(status[row], word[row], float(value[row]))
    for row in np.flatnonzero(~of_answer & status.are(lambda text: text.startswith(FAILED))).tolist():
        totals.failures[method[row], sample[row]] = status[row]


def _counted(shape: tuple[int, ...], *places: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """How often each cell of an array of ``shape`` is named, or the sum of its weights."""
    cells = np.ravel_multi_index(places, shape)
    return np.bincount(cells, weights, minlength=int(np.prod(shape))).reshape(shape)
