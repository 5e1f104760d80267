"""The metrics file: what was written is read, and nothing else is taken for it."""

import errno
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tam import rows
from tam.errors import SchemaError
from tam.rows import SCHEMA, Row, RowsHeader, missing, opened, whole, written
from tam.system import seal
from tam.words import Word

HEADER = RowsHeader("f" * 64, 1, {"tam": "TAM", "mine": "Meine Karte"}, "fixed", "a tagger")
ROWS = {
    "": [Row(-1, "A cat.", 0, "answer", 4.0), whole("meteor", 0.5), whole("rouge_l", "no reference")],
    "tam": [Row(1, "cat", 17, "obj_iou", 0.25), missing(Word("cat", (1, 2), "NN", 17), "precision", "merged")],
}


@pytest.fixture
def path(tmp_path):
    with written(tmp_path / "0.parquet", HEADER) as writer:
        for method, found in ROWS.items():
            writer.add("a", method, found)
    return tmp_path / "0.parquet"


def _read(path):
    with opened(path) as (header, file):
        return header, file.read().to_pylist()


def test_what_was_written_is_read_in_its_order(path):
    header, found = _read(path)
    assert header == HEADER and list(header.methods) == ["tam", "mine"]
    expected = [("a", method, *row) for method, added in ROWS.items() for row in added]
    assert [tuple("nan" if cell != cell else cell for cell in row.values()) for row in found] == [
        tuple("nan" if cell != cell else cell for cell in row) for row in expected
    ]


def test_a_value_is_missing_exactly_where_there_is_a_status():
    assert [(row.status, math.isnan(row.value)) for row in ROWS["tam"]] == [("ok", False), ("merged", True)]
    assert [(row.status, math.isnan(row.value)) for row in ROWS[""][1:]] == [("ok", False), ("no reference", True)]


def test_a_file_of_many_rows_is_written_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "ROWS_AT_A_TIME", 3)
    with written(tmp_path / "0.parquet", HEADER) as writer:
        for sample in "abc":
            writer.add(sample, "tam", ROWS["tam"])
    with opened(tmp_path / "0.parquet") as (_, file):
        assert file.num_row_groups == 2
        assert file.read()["sample"].to_pylist() == ["a", "a", "b", "b", "c", "c"]


def test_every_changed_byte_is_noticed(path):
    whole_file = path.read_bytes()
    for place in range(0, len(whole_file), 7):
        path.write_bytes(whole_file[:place] + bytes([whole_file[place] ^ 1]) + whole_file[place + 1 :])
        with pytest.raises(SchemaError) as caught:
            _read(path)
        assert caught.value.__cause__, place  # damaged, so it is set aside


@pytest.mark.parametrize("content", [b"", b"PAR1", b"sample,metric\n"])
def test_what_is_cut_off_or_no_parquet_is_damaged(path, content):
    path.write_bytes(content)
    with pytest.raises(SchemaError, match="not a metrics file, or damaged") as caught:
        _read(path)
    assert caught.value.__cause__


def _foreign(path: Path, schema: pa.Schema, **about: object) -> None:
    """A sealed file that is ours but for what is given."""
    about = {"format": "tam-metrics", "version": 2, **vars(HEADER)} | about
    cells = [["" if field.type == pa.string() else 0] for field in schema]
    with pq.ParquetWriter(path, schema) as writer:
        writer.write_table(pa.table(cells, schema=schema))
        writer.add_key_value_metadata({"tam": json.dumps(about), "digest": seal.SLOT.decode()})
    seal.seal(path)


def test_a_file_of_another_kind_or_version_is_refused_and_not_taken_for_damaged(path):
    for about in ({"version": 1}, {"format": "tam-tables"}):
        _foreign(path, SCHEMA, **about)
        with pytest.raises(SchemaError, match="not a metrics file of this version") as caught:
            _read(path)
        assert not caught.value.__cause__


@pytest.mark.parametrize(
    "about", [{"tagger": None}, {"samples": "1"}, {"methods": {"tam": 1}}, {"methods": ["tam"]}, {"more": 1}]
)
def test_a_header_that_does_not_say_how_is_damaged(path, about):
    _foreign(path, SCHEMA, **about)
    with pytest.raises(SchemaError, match="or damaged"):
        _read(path)


def test_other_columns_and_too_many_rows_are_refused_before_they_are_read(path, monkeypatch):
    _foreign(path, SCHEMA)
    assert len(_read(path)[1]) == 1
    for schema in (SCHEMA.remove(0), pa.schema([field.with_nullable(True) for field in SCHEMA])):
        _foreign(path, schema)
        with pytest.raises(SchemaError, match="rows of "):
            _read(path)
    _foreign(path, SCHEMA)
    monkeypatch.setattr(rows, "MOST_ROWS", 0)
    with pytest.raises(SchemaError, match="1 rows of"):
        _read(path)


def test_an_error_of_the_disk_is_no_damage(path, monkeypatch):
    def unreadable(*_, **__):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(rows.pq, "ParquetFile", unreadable)
    with pytest.raises(OSError, match="input/output"):
        _read(path)


@pytest.mark.parametrize("digit", "0a")
def test_a_text_that_looks_like_a_checksum_is_a_text(tmp_path, digit):
    path, text = tmp_path / "0.parquet", f"tam-sha256:{64 * digit}"
    with written(path, HEADER) as writer:
        writer.add(text, "", [Row(-1, text, 0, "answer", 4.0)])
    assert [(row["sample"], row["word"]) for row in _read(path)[1]] == [(text, text)]
    content = path.read_bytes()
    path.write_bytes(content.replace(b"fixed", b"fixec"))
    with pytest.raises(SchemaError, match="another checksum"):
        _read(path)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(SchemaError, match="no such metrics file"):
        _read(tmp_path / "0.parquet")


def test_what_fails_half_way_leaves_no_file(tmp_path):
    def fail():
        with written(tmp_path / "0.parquet", HEADER) as writer:
            writer.add("a", "tam", ROWS["tam"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.iterdir())
