"""The journal: what was answered is on disk before the next batch goes into the model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tam.generation.kept import KeptAnswer
from tam.generation.packed import pack, unpack
from tam.layout import Grid, Layout
from tam.manifest import Sample
from tam.records import Candidates
from tam.shard.journal import Journal
from tam.shard.task import Failed

SAMPLES = {row: Sample(f"s{row}", ["a.png"], "What is it?") for row in range(4)}


def journal_in(folder: Path, pack=pack) -> Journal:
    return Journal(folder, pack, lambda row, meta, arrays: unpack(SAMPLES[row], meta, arrays))


def kept_answer(row: int, dtype: str = "float32") -> KeptAnswer:
    logits = np.array([[0.5, -2], [1, 3], [4, 0.25]], np.float32) + row
    grids, sizes = (Grid(0, (0,), 1, 1, (0, 0, 8.5, 9)),), ((8, 9),)
    return KeptAnswer(
        sample=SAMPLES[row],
        layout=Layout(np.array([1], np.int32), np.array([2], np.int32), 3, grids, sizes),
        ids=np.array([5], np.int32), ended=True, tokens=np.array([7, 6, 4, 5], np.int32),
        classes=np.array([5, 6], np.int32), logits=logits, dtype=dtype,
        candidates=Candidates(np.array([[5, 6], [6, 5]], np.int32), logits[1:], np.array([3.5, 4.5], np.float32)),
    )  # fmt: skip


def assert_equal(left: object, right: object) -> None:
    """Field by field, arrays with their types."""
    if isinstance(left, np.ndarray):
        np.testing.assert_array_equal(left, right, strict=True)
    elif hasattr(left, "__dataclass_fields__"):
        assert type(left) is type(right)
        for name in left.__dataclass_fields__:
            assert_equal(getattr(left, name), getattr(right, name))
    else:
        assert left == right


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_batch_comes_back_as_it_was(tmp_path, dtype):
    journal = journal_in(tmp_path)
    batch = {2: kept_answer(2, dtype), 1: Failed("out of memory")}
    journal.write(batch)
    (read,) = journal.left(SAMPLES.keys())
    assert list(read) == [2, 1]
    for row in batch:
        assert_equal(read[row], batch[row])
    journal.remove(batch)
    assert not list(tmp_path.iterdir())


def test_batches_come_back_in_their_order_and_one_that_is_removed_does_not(tmp_path):
    journal = journal_in(tmp_path)
    for row in (3, 0, 2):
        journal.write({row: kept_answer(row)})
    journal.remove({3: kept_answer(3)})
    assert [list(batch) for batch in journal.left(SAMPLES.keys())] == [[0], [2]]


@pytest.mark.parametrize("where", [0, 40, -1])
def test_a_damaged_batch_is_removed_and_the_others_are_read(tmp_path, where, caplog):
    journal = journal_in(tmp_path)
    for row in (0, 1):
        journal.write({row: kept_answer(row)})
    path = tmp_path / "batch-00000000.journal"
    stored = bytearray(path.read_bytes())
    stored[where] ^= 1
    path.write_bytes(stored)
    assert [list(batch) for batch in journal.left(SAMPLES.keys())] == [[1]]
    assert not path.exists() and "batch-00000000.journal: damaged (checksum differs)" in caplog.text


def test_a_batch_of_other_samples_is_removed(tmp_path):
    journal = journal_in(tmp_path)
    journal.write({3: kept_answer(3)})
    assert not list(journal.left({0})) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "order", [lambda logits: np.asfortranarray(logits), lambda logits: np.repeat(logits, 2, 1)[:, ::2]]
)
def test_the_order_in_memory_does_not_matter(tmp_path, order):
    kept = kept_answer(0)
    journal_in(tmp_path).write({0: replace(kept, logits=order(kept.logits))})
    (read,) = journal_in(tmp_path).left(SAMPLES.keys())
    assert_equal(read[0], kept)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ids", np.array([-5], np.int32)),
        ("ids", np.array([5.0], np.float32)),
        ("tokens", np.array([[7, 6, 4, 5]], np.int32)),
        ("prompt", np.array([3], np.int32)),
        ("vision", np.array([9], np.int32)),
        ("classes", np.array([5], np.int32)),
        ("logits", np.zeros((3, 2), np.float64)),
        ("candidates/ids", np.array([5, 6], np.int32)),
        ("candidates/logits", np.zeros((2, 3), np.float32)),
        ("candidates/logsumexp", np.zeros(3, np.float32)),
    ],
)
def test_arrays_that_do_not_belong_together_are_not_used(tmp_path, name, value, caplog):
    """Not damage, which the digest finds, but what somebody else wrote."""

    def wrong(kept):
        meta, arrays = pack(kept)
        return meta, arrays | {name: value}

    journal_in(tmp_path, wrong).write({0: kept_answer(0)})
    assert not list(journal_in(tmp_path).left(SAMPLES.keys())) and not list(tmp_path.iterdir())
    assert "its samples will be made again" in caplog.text
