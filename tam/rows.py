"""The metrics file: one Parquet file a shard, one row a value, for all methods: ``docs/reference/metrics.md``.

Rows about the answer itself stand once, with an empty ``method``. The file's digest is checked before it is read
(``system/seal.py``); its pages have checksums of their own, for other readers.
"""

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tam.errors import SchemaError
from tam.system import seal
from tam.system.atomic import atomic
from tam.words import Word

VERSION = 2
CURE = "run `tam metrics` again"
OK = "ok"
NOT_EXPLAINED = "not explained"
"""The status of a word of which a method says nothing."""
COLUMNS = {
    "sample": pa.string(), "method": pa.string(), "token": pa.int32(), "word": pa.string(), "label": pa.int32(),
    "metric": pa.string(), "value": pa.float64(), "status": pa.string(),
}  # fmt: skip
SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in COLUMNS.items()])
MOST_ROWS = 1 << 26  # of one file; a shard of 1,000 samples and seven methods has some 700,000
ROWS_AT_A_TIME = 1 << 14
# What Arrow and the parsing raise when bytes are not what they should be, besides OSError.
DAMAGE = (pa.ArrowException, LookupError, TypeError, ValueError, AttributeError, RecursionError, MemoryError)


@dataclass(frozen=True)
class RowsHeader:
    """How the rows of a file were made.

    Attributes:
        fingerprint: of the generation. samples: how many it has.
        methods: name -> title, in the order of the config.
        tagger: what words were judged with.
        scores: how maps were made of scores ("positive, joint"); empty where none were.
    """

    fingerprint: str
    samples: int
    methods: dict[str, str]
    protocol: str
    tagger: str
    scores: str = ""


class Row(NamedTuple):
    """One value of one word or of one sample.

    Attributes:
        token: index of the word's first token in the answer, -1 for a whole sample.
        word: the word; for the metric "answer" the whole answer; else "".
        label: category id, or a label of tam.words; 0 for a whole sample.
        metric: one of ``metrics.catalogue.POOLED`` or of ``metrics.grounding``; or word (only with a status), answer
            (its number of tokens, with the status of the generation), forwards_BASELINE (passes of the model).
        value: from 0 to 1 (evidence: any number), NaN where there is none.
        status: "ok", or why there is no value: a kind, after a colon the details. Only "ok" enters means. Where a
            method failed on a sample, that is the status of a row a metric, about the whole sample.
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


class RowsWriter:
    """A metrics file under way; ``written`` makes it appear whole."""

    def __init__(self, writer: pq.ParquetWriter):
        self._writer = writer
        self._waiting: list[tuple[str | float, ...]] = []

    def add(self, sample: str, method: str, rows: Iterable[Row]) -> None:
        """Rows of one sample and method; ``method`` is "" for rows about the answer itself."""
        self._waiting += [(sample, method, *row) for row in rows]
        if len(self._waiting) >= ROWS_AT_A_TIME:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            columns = [_column(*pair) for pair in zip(zip(*self._waiting, strict=True), SCHEMA.types, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
            self._waiting = []


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """As ``pa.array``, which imports pandas to look whether it is given a series, and takes twice the time."""
    if kind != pa.string():
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.array(values, kind.to_pandas_dtype()))])
    texts = [text.encode() for text in values]
    ends = np.zeros(len(texts) + 1, np.int32)
    np.cumsum(list(map(len, texts)), out=ends[1:])
    return pa.Array.from_buffers(kind, len(texts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))])


@contextlib.contextmanager
def written(path: Path, header: RowsHeader) -> Iterator[RowsWriter]:
    """A new file at ``path``, atomically. Raises: DiskError: the disk is full."""
    with atomic(path) as temporary:
        with pq.ParquetWriter(temporary, SCHEMA, write_page_checksum=True) as writer:
            rows = RowsWriter(writer)
            yield rows
            rows.flush()
            about = {"format": "tam-metrics", "version": VERSION} | asdict(header)
            writer.add_key_value_metadata({"tam": json.dumps(about), "digest": seal.SLOT.decode()})
        seal.seal(temporary)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[RowsHeader, pq.ParquetFile]]:
    """Open a metrics file; what the block raises because of damaged bytes is a SchemaError, too.

    Raises:
        SchemaError: there is none, or it is damaged, foreign, of another version.
    """
    if not path.is_file():
        raise SchemaError("no such metrics file", where=path, cure="run `tam metrics` first")
    intact = seal.intact(path)
    if intact is False:
        raise SchemaError("damaged file", where=path, got="another checksum", cure=CURE) from ValueError("checksum")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield _header(file, path, intact), file
    except OSError as error:
        if error.errno is not None:  # the system's, not the content's
            raise
        raise SchemaError("not a metrics file, or damaged", where=path, got=error, cure=CURE) from error
    except DAMAGE as error:
        raise SchemaError("not a metrics file, or damaged", where=path, got=error, cure=CURE) from error


def _header(file: pq.ParquetFile, path: Path, intact: bool | None) -> RowsHeader:
    about = json.loads((file.metadata.metadata or {}).get(b"tam", b"{}"))
    kind, version = about.pop("format", None), about.pop("version", None)
    if (kind, version) != ("tam-metrics", VERSION):
        expected = f"tam-metrics, version {VERSION}"
        raise SchemaError(
            "not a metrics file of this version", where=path, got=f"{kind}, {version}", expected=expected, cure=CURE
        )
    rows = file.metadata.num_rows  # before its values take memory
    if not file.schema_arrow.equals(SCHEMA) or rows > MOST_ROWS or not intact:
        raise ValueError(f"{rows} rows of {', '.join(file.schema_arrow.names)}")
    header = RowsHeader(**about)
    texts = header.fingerprint, header.protocol, header.tagger, header.scores, *header.methods, *header.methods.values()
    if not all(isinstance(text, str) for text in texts) or type(header.samples) is not int:
        raise TypeError(f"not how rows were made: {about!r:.200}")
    return header
