"""The cache file: what is written is read, and what is not ours or damaged is refused."""

import dataclasses
import errno
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tam import cache
from tam.cache import merge, read_generations, read_header, write_generations
from tam.errors import DiskError, SchemaError
from tam.generation.files import cache_files
from tam.layout import Grid, Layout
from tam.records import Candidates, Generation, Piece
from tam.shard.store import Store

RUN = {"model": "tiny", "dtype": "float32"}


def bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 values cut to those that bfloat16 has."""
    return (values.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


def made(id="a", grid=(2, 3), prompt=2, answer=3, classes=4, dtype="float32", vocabulary=50, seed=0) -> Generation:
    """A made-up sample: template, vision, template, words, template, answer."""
    rng = np.random.default_rng(seed)
    vision = grid[0] * grid[1]
    start = vision + prompt + 4
    tokens = rng.integers(0, vocabulary, start + answer).astype(np.int32)
    logits = rng.normal(0, 5, (vision + prompt + answer, classes)).astype(np.float32)
    if dtype == "bfloat16":
        logits = bfloat16(logits)
    elif dtype == "float16":
        logits = logits.astype(np.float16).astype(np.float32)
    candidates = Candidates(
        rng.integers(0, vocabulary, (prompt + answer, 5)).astype(np.int32),
        rng.normal(0, 5, (prompt + answer, 5)).astype(np.float32),
        rng.normal(0, 5, prompt + answer).astype(np.float32),
    )
    occurring = {int(id) for id in [*tokens[vision + 2 :], *candidates.ids.ravel(), 0]}
    return Generation(
        id=id,
        status="ok",
        prompt="What is é?",
        answer="猫",
        answer_with_special="猫<|im_end|>",
        tokens=tokens,
        layout=Layout(
            np.arange(1, 1 + vision, dtype=np.int32),
            np.arange(vision + 2, vision + 2 + prompt, dtype=np.int32),
            start,
            (Grid(0, (0, 1), *grid, (0.0, 0.0, 64.5, 48.0)),),
            ((65, 48),),
        ),
        classes=np.sort(rng.choice(vocabulary, classes, replace=False)).astype(np.int32),
        logits=logits,
        dtype=dtype,
        candidates=candidates,
        retokenised_prompt=np.array([1, 2, 3], np.int32),
        retokenised_answer=np.zeros(0, np.int32),
        vocabulary={id: Piece(f"Ġpiece{id}", f" piece{id}", bytes([0xE7, id % 256])) for id in occurring},
        end_tokens=frozenset({int(tokens[-1])}),
        row=3,
    )


def assert_same(one: Generation, other: Generation) -> None:
    def flat(value):
        if dataclasses.is_dataclass(value):
            return {field.name: flat(getattr(value, field.name)) for field in dataclasses.fields(value)}
        if isinstance(value, np.ndarray):
            return value.dtype.str, value.shape, value.tobytes()
        return {key: flat(item) for key, item in value.items()} if isinstance(value, dict) else value

    assert flat(one) == flat(other)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_is_written_is_read_bit_for_bit(tmp_path, dtype):
    sample = made(dtype=dtype)
    write_generations(tmp_path / "0.h5", {3: sample}, RUN, "f00d")
    assert_same(*read_generations(tmp_path / "0.h5"), sample)
    assert read_header(tmp_path / "0.h5") == {"run": RUN, "fingerprint": "f00d", "samples": 1}


def test_a_prompt_without_words_is_kept(tmp_path):
    sample = made(prompt=0)
    write_generations(tmp_path / "0.h5", {3: sample}, RUN, "f00d")
    assert_same(*read_generations(tmp_path / "0.h5"), sample)


@given(hnp.arrays(np.uint16, st.integers(0, 20)))
def test_every_bfloat16_survives(bits):
    assert np.array_equal(cache.narrow(cache.widen(bits, "bfloat16"), "bfloat16"), bits)


def test_a_failed_sample_has_its_reason_and_nothing_else(tmp_path):
    failed = Generation.failure("b", "What?", OSError("no such\nfile"), row=7)
    write_generations(tmp_path / "0.h5", {7: failed}, RUN, "f00d")
    (read,) = read_generations(tmp_path / "0.h5")
    assert read.status == "failed: no such file" and read.failed and read.row == 7
    assert read.logits.shape == (0, 0) and not read.vocabulary
    with h5py.File(tmp_path / "0.h5") as file:
        assert list(file["00000007"]) == ["meta"]


def test_plain_h5py_reads_what_the_document_says(tmp_path):
    sample = made(dtype="bfloat16")
    write_generations(tmp_path / "0.h5", {3: sample}, RUN, "f00d")
    with h5py.File(tmp_path / "0.h5") as file:
        assert (file.attrs["format"], file.attrs["version"]) == ("tam-generation", 1)
        assert json.loads(file.attrs["run"]) == RUN
        group = file["00000003"]
        assert json.loads(group["meta"].asstr()[()])["answer"] == "猫"
        assert group["logits"].dtype == np.uint16 and group["logits"].attrs["dtype"] == "bfloat16"
        widened = (group["logits"][()].astype(np.uint32) << 16).view(np.float32)
        assert np.array_equal(widened, sample.logits)


@pytest.mark.parametrize(
    ("dtype", "candidates", "limit"), [("float32", 1, 500_000), ("bfloat16", 1, 250_000), ("bfloat16", 3, 500_000)]
)
def test_a_sample_of_qwen2_vl_2b_takes_at_most_half_a_megabyte(tmp_path, dtype, candidates, limit):
    """24 x 32 vision tokens, 12 prompt and 60 answer tokens with their candidates (what was said is the first), all
    different; random logits cannot be compressed."""
    classes = 2 + 12 + 60 * candidates
    sample = made(grid=(24, 32), prompt=12, answer=60, classes=classes, dtype=dtype, vocabulary=151_936)
    write_generations(tmp_path / "0.h5", {0: sample}, RUN, "f00d")
    assert (tmp_path / "0.h5").stat().st_size <= limit


def test_samples_come_one_at_a_time_in_the_manifests_order(tmp_path):
    write_generations(tmp_path / "0.h5", {row: made(str(row)) for row in (10, 2, 100)}, RUN, "f00d")
    reading = read_generations(tmp_path / "0.h5")
    assert next(reading).row == 2
    assert [sample.id for sample in reading] == ["10", "100"]


def test_a_foreign_file_is_refused(tmp_path):
    with pytest.raises(SchemaError, match=r"no such generation file.*tam generate"):
        read_header(tmp_path / "0.h5")
    (tmp_path / "0.h5").write_text("id,answer\n")
    with pytest.raises(SchemaError, match=r"0\.h5: not a generation file"):
        read_header(tmp_path / "0.h5")
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file.attrs["format"] = "tam-maps"
    with pytest.raises(SchemaError, match=r"got 'tam-maps'; expected 'tam-generation'; cure"):
        list(read_generations(tmp_path / "0.h5"))


def test_an_unknown_version_is_refused(tmp_path):
    write_generations(tmp_path / "0.h5", {0: made()}, RUN, "f00d")
    with h5py.File(tmp_path / "0.h5", "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(SchemaError, match=r"unknown version of a generation file; got 2; expected 1; cure"):
        list(read_generations(tmp_path / "0.h5"))


def test_a_damaged_byte_is_noticed_wherever_it_matters(tmp_path):
    """Each flipped byte gives either SchemaError or, in padding that nobody reads, the very same sample."""
    path, sample = tmp_path / "0.h5", made()
    write_generations(path, {3: sample}, RUN, "f00d")
    whole = path.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 61):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            read = list(read_generations(path))
        except SchemaError:
            noticed += 1
        else:
            assert_same(*read, sample)
    assert noticed > 20
    path.write_bytes(whole[:-100])
    with pytest.raises(SchemaError, match="damaged"):
        list(read_generations(path))


def test_merging_parts_gives_what_one_writing_would_have_given(tmp_path):
    samples = {row: made(str(row), seed=row) for row in range(5)}
    write_generations(tmp_path / "whole.h5", samples, RUN, "f00d")
    for name, rows in (("one", (4, 1)), ("two", (0, 3, 2))):
        write_generations(tmp_path / f"{name}.h5", {row: samples[row] for row in rows}, RUN, "f00d")
    merge([tmp_path / "one.h5", tmp_path / "two.h5"], tmp_path / "merged.h5", RUN, "f00d", samples.keys())
    pairs = zip(read_generations(tmp_path / "merged.h5"), read_generations(tmp_path / "whole.h5"), strict=True)
    for merged, whole in pairs:
        assert_same(merged, whole)


def stored(out: Path, fingerprint: str = "f00d") -> Store:
    return Store(out, fingerprint, cache_files(RUN, fingerprint))


def test_a_store_removes_damaged_parts_and_keeps_the_others(tmp_path, caplog):
    store = stored(tmp_path / "0.h5")
    store.add({0: made("a"), 1: made("b")})
    store.add({2: made("c")})
    part = tmp_path / ".parts/f00d/0/part-00000000.h5"
    part.write_bytes(part.read_bytes()[:-1])
    assert store.resume() == {2: "ok"}
    assert not part.exists() and "part-00000000.h5" in caplog.text
    store.add({0: made("a"), 1: made("b")})
    (part.parent / "batch-00000002.journal").touch()  # killed between the part and its removal
    store.finish({0, 1, 2})
    assert [sample.id for sample in read_generations(tmp_path / "0.h5")] == ["a", "b", "c"]
    assert [path.name for path in part.parent.iterdir()] == ["whole.h5"]


def test_a_shard_that_lacks_samples_is_not_finished(tmp_path):
    store = stored(tmp_path / "0.h5")
    store.add({0: made("a")})
    with pytest.raises(DiskError, match=r"f00d/0: samples are in no part; got rows \[1, 2\]; cure: run it again"):
        store.finish({0, 1, 2})
    assert not store.whole.exists() and not store.out.exists() and store.resume() == {0: "ok"}


def test_a_shard_that_another_process_finished_stays(tmp_path):
    """Of two that worked on it, because one slept so long that it was taken for dead."""
    slow, quick = (stored(tmp_path / "0.h5") for _ in range(2))
    slow.add({0: made("a"), 1: made("b")})
    quick.finish({0, 1})
    slow.finish({0, 1})
    assert [sample.id for sample in read_generations(tmp_path / "0.h5")] == ["a", "b"]


def test_samples_that_are_in_two_parts_are_taken_once(tmp_path):
    store = stored(tmp_path / "0.h5")
    store.add({1: made("b"), 3: made("d")})
    store.add({0: made("a"), 3: made("d")})
    store.finish({0, 1, 3})
    assert [sample.id for sample in read_generations(tmp_path / "0.h5")] == ["a", "b", "d"]


def test_two_outputs_of_one_folder_share_nothing(tmp_path):
    one, other = (
        stored(tmp_path / "a.h5"),
        stored(tmp_path / "b.h5"),
    )
    one.add({0: made("a")})
    other.add({0: made("a"), 1: made("b")})
    one.finish({0})
    other.finish({0, 1})
    assert [sample.id for sample in read_generations(tmp_path / "b.h5")] == ["a", "b"]


def test_why_a_sample_failed_is_one_line_of_utf_8(tmp_path):
    """Names of files need not be in any encoding: Python stands their bytes for half surrogates."""
    write_generations(tmp_path / "0.h5", {0: Generation.failure("a", "why?", "no\nfile \udcff.png")}, RUN, "f00d")
    (read,) = read_generations(tmp_path / "0.h5")
    assert read.status == "failed: no file \\udcff.png"


def test_a_finished_output_counts_only_with_its_own_fingerprint(tmp_path):
    store = stored(tmp_path / "0.h5")
    assert store.finished() is None
    store.add({0: made("a")})
    store.finish({0})
    assert store.finished() == {0: "ok"}
    assert stored(tmp_path / "0.h5", "beef").finished() is None


def test_an_output_that_was_deleted_is_named_again_and_takes_no_room_of_its_own(tmp_path):
    """Snakemake deletes the output of a job before it runs it again."""
    store, out = stored(tmp_path / "0.h5"), tmp_path / "0.h5"
    store.add({0: made("a")})
    store.finish({0})
    os.utime(out, (1, 1))
    out.unlink()
    assert store.finished() == {0: "ok"}
    assert out.samefile(store.whole)
    assert out.stat().st_mtime > 1  # newer than the input, or Snakemake would run the job once more


def test_a_file_system_without_hard_links_gets_a_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("not supported")))
    store = stored(tmp_path / "0.h5")
    store.add({0: made("a")})
    store.finish({0})
    assert not (tmp_path / "0.h5").samefile(store.whole)
    assert (tmp_path / "0.h5").read_bytes() == store.whole.read_bytes()


def test_a_damaged_shard_in_the_store_is_not_used(tmp_path, caplog):
    store = stored(tmp_path / "0.h5")
    store.add({0: made("a")})
    store.finish({0})
    (tmp_path / "0.h5").rename(tmp_path / "0.h5.corrupt")
    store.whole.write_bytes(store.whole.read_bytes()[:-100])
    assert store.finished() is None and store.resume() == {}
    assert "whole.h5" in caplog.text and not (tmp_path / "0.h5").exists()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "input/output error"), MemoryError()])
def test_what_a_gpu_made_stays_when_it_cannot_be_read_just_now(tmp_path, monkeypatch, error):
    """Neither a part nor the finished shard: both are read again at the next start."""
    store = stored(tmp_path / "0.h5")
    store.add({0: made("a")})

    def unreadable(*_):
        raise error

    for attempt in (store.resume, store.finished):
        with monkeypatch.context() as failing:
            failing.setattr("tam.cache._read", unreadable)
            with pytest.raises((OSError, SchemaError)):
                attempt()
        assert store.resume() == {0: "ok"} or store.finished() == {0: "ok"}
        store.finish({0})
