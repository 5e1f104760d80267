"""The memo of log p: what is in the file, what is asked for, and what is not there yet."""

from dataclasses import asdict, replace

import h5py
import numpy as np
import pytest

from tam import cell_sets
from tam.cell_sets import Cells
from tam.errors import InputError, SchemaError
from tam.layout import Grid, Layout
from tam.perturbed import (
    NOT_DRAWN,
    Asked,
    Perturbed,
    PerturbedHeader,
    baseline_of,
    forwards_said,
    read_perturbed,
    read_perturbed_header,
    words_of,
    write_perturbed,
)
from tam.system import seal
from tam.words import Word

HEADER = PerturbedHeader(
    "f00d", "mean", Asked(("tam", "random"), (0.25, 0.5), words="content", samples=None), {"tam": "1"}
)


def scored(*sets: list[int], cells: int = 10) -> Perturbed:
    """Sets of cells, with log p that tells them apart."""
    bits = cell_sets.packed(np.array([np.isin(np.arange(cells), one) for one in sets]))
    logprob = -np.array([[one.sum(), 1] for one in bits.astype(np.float32)], np.float32)
    return Perturbed("a", "ok", "digest", bits, logprob, logprob < -1)


def test_a_memo_is_read_as_it_was_written(tmp_path):
    made = {
        3: scored([], [1, 2], range(10)),
        5: Perturbed.without("b", NOT_DRAWN),
        9: replace(scored([4]), status="failed: why"),
    }
    write_perturbed(tmp_path / "0.h5", made, HEADER)
    assert read_perturbed_header(tmp_path / "0.h5") == HEADER
    for row, one in read_perturbed(tmp_path / "0.h5"):
        assert (one.id, one.status, one.media) == (made[row].id, made[row].status, made[row].media)
        for name in ("sets", "logprob", "best"):
            assert np.array_equal(getattr(one, name), getattr(made[row], name)) or not len(made[row].sets)
    (tmp_path / "again").mkdir()
    write_perturbed(tmp_path / "again/0.h5", made, HEADER)
    assert (tmp_path / "again/0.h5").read_bytes() == (tmp_path / "0.h5").read_bytes()


def test_a_damaged_byte_is_noticed_with_and_without_the_seal(tmp_path):
    path = tmp_path / "0.h5"
    write_perturbed(path, {0: scored([], [1])}, HEADER)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(SchemaError, match="checksum"):
        read_perturbed_header(path)
    write_perturbed(path, {0: scored([], [1])}, HEADER)
    with h5py.File(path, "r+") as file:
        file["00000000/logprob"][0, 0] = 0.5
    seal.append(path)
    with pytest.raises(SchemaError, match="checksum differs"):
        list(read_perturbed(path))


def test_memos_of_one_sample_are_joined_and_say_what_is_missing():
    one, other = scored([], [1, 2]), scored([3], [1, 2], range(10))
    both = one.joined(other)
    assert len(both.sets) == 4 and (both.sets == cell_sets.packed(cell_sets.unpacked(both.sets, 10))).all()
    assert both.logprob[:, 0].tolist() == (-both.sets.astype(np.float32).sum(1)).tolist()
    assert (
        one.lacks(other.sets).tolist()
        == other.sets[np.array([row.tobytes() not in map(bytes, one.sets) for row in other.sets])].tolist()
    )
    assert not len(both.lacks(one.sets)) and not len(both.lacks(other.sets))
    assert Perturbed.without("a", "failed: why").joined(one) is one and one.joined(Perturbed.without("a", "ok")) is one
    failed = one.joined(Perturbed.without("a", "failed: why"))
    assert failed.status == "failed: why" and failed.sets is one.sets
    assert one.joined(replace(other, media="another picture")).sets is other.sets
    with pytest.raises(KeyError):
        one.rows(np.ones((1, 10), bool))


def test_samples_are_drawn_over_the_whole_dataset_and_the_few_are_among_the_many():
    few, many, other = (
        Asked((), samples=count, seed=seed).drawn(5000) for count, seed in ((200, 0), (500, 0), (200, 1))
    )
    assert len(few) == 200 and few < many and few != other and max(few) > 4000
    assert Asked((), samples=None).drawn(7) == set(range(7)) == Asked((), samples=10).drawn(7)


@pytest.mark.parametrize(
    ("change", "shared", "word"),
    [
        ({}, 83, 36),
        ({"fractions": (0.25, 0.5)}, 83, 16),
        ({"ordered": False}, 83, 0),
        ({"blocks": 0, "sets": 0}, 2, 36),
    ],
)
def test_what_it_costs_is_said_before_there_is_a_map_and_is_what_unlike_maps_then_want(change, shared, word):
    asked = Asked(("tam", "random"), **change)
    grid = Grid(0, (0,), 14, 14, (0.0, 0.0, 224.0, 224.0))
    cells = Cells.of(Layout(np.arange(196, dtype=np.int32), np.zeros(0, np.int32), 196, (grid,), ((224, 224),)))
    words = [Word("cat", (0,)), Word("dog", (1,)), Word("cup", (2,))]
    wanted = asked.wanted(cells, "a", words, np.random.default_rng(0).random((2, 3, 196)))
    more = " (more on some grids)" if asked.blocks else ""
    said = f"about {shared} forward passes a sample{more}, at most {word} more a word of it: {len(wanted)} with three"
    assert forwards_said(asdict(asked)) == said


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(InputError, match=r"above 0, up to 0\.5"):
        Asked((), fractions=(0.25, 0.75))
    with pytest.raises(InputError, match="random sets are of blocks"):
        Asked((), blocks=0)
    with pytest.raises(InputError, match="no such baseline; got 'black'"):
        baseline_of("black")
    with pytest.raises(InputError, match="no such words"):
        words_of("verbs")
