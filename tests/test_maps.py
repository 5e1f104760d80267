"""The stage that maps a shard, and the methods by name."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from tam.cache import write_generations
from tam.errors import InputError, SchemaError
from tam.layout import Grid, Layout
from tam.maps import read_maps, write_maps
from tam.methods.registry import METHODS, method, rank, title
from tam.protocol import FIXED, REFERENCE
from tam.records import Candidates, Generation, Piece

LENGTH, PROMPT, ANSWER = 10, 2, 3
TOKENS = np.array([1, 2, 3, 3, 3, 10, 11, 4, 5, 6, 20, 21, 7], np.int32)


def made(id="a", row=0, classes=(6, 10, 11, 20, 21, 7, 30), **changes) -> Generation:
    """Three vision tokens in two grids, two words, an answer of three tokens."""
    random = np.random.default_rng(row)
    rows, classes = 3 + PROMPT + ANSWER, np.sort(np.array(classes, np.int32))
    grids = (Grid(0, (0,), 1, 2, (0, 0, 8, 4)), Grid(1, (0,), 1, 1, (0, 0, 4, 4)))
    generation = Generation(
        id=id, status="ok", prompt="w w", answer="a a", row=row, tokens=TOKENS,
        layout=Layout(np.arange(2, 5), np.arange(5, 7), LENGTH, grids, ((8, 4), (4, 4))),
        classes=classes, logits=random.normal(1, 4, (rows, len(classes))).astype(np.float32),
        candidates=Candidates(
            np.full((5, 5), 30, np.int32), np.zeros((5, 5), np.float32), np.zeros(5, np.float32)
        ),
        retokenised_prompt=TOKENS[5:7], retokenised_answer=TOKENS[10:],
        vocabulary={int(id): Piece("a", "a", b"a") for id in {*TOKENS, 30}},
        end_tokens=frozenset({7}),
    )  # fmt: skip
    return replace(generation, **changes)


def _write(path, *generations):
    write_generations(path, {one.row: one for one in generations}, {"model": "none"}, "f" * 8)
    return path


def test_methods_are_the_paper_s_with_and_without_its_parts():
    sample = made()
    maps = {name: METHODS[name](sample, FIXED, False) for name in ("activation", "eci", "rgf", "tam")}
    column = [sample.column(cls) for cls in (10, 11, 20, 21, 7)]
    raw = np.maximum(sample.logits[:3, column].T, 0)
    context = np.tril(np.maximum(sample.logits[3:, column].T, 0), -1)
    top = np.maximum(raw.max(1), context.max(1))[:, None]
    low = np.minimum(raw.min(1), np.where(np.tri(5, k=-1, dtype=bool), context, np.inf).min(1))[:, None]
    assert maps["activation"].maps == pytest.approx((raw - low) / (top - low), abs=1e-6)
    for name, removed in {"activation": False, "eci": True, "rgf": False, "tam": True}.items():
        assert np.isnan(maps[name].scale).all() == (not removed)
        assert maps[name].maps.shape == maps[name].uint8.shape == (5, 3)
    assert not np.array_equal(maps["rgf"].maps, maps["activation"].maps)


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"got 'cam'; expected .*activation or eci or rgf or tam"):
        method("cam")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_title_and_maps_every_token_into_0_to_1(name):
    maps = METHODS[name](made(), FIXED, False)
    assert maps.maps.shape == maps.uint8.shape == (5, 3) and maps.relevance.shape == (5, 5)
    assert maps.maps.dtype == np.float32 and maps.scale.shape == (5,)
    assert (maps.maps >= 0).all() and (maps.maps <= 1).all()
    assert np.array_equal(maps.uint8, (maps.maps * 255).astype(np.uint8))
    assert title(name) != name


def test_the_papers_method_comes_last_of_those_with_a_name():
    """Figures draw the last one."""
    assert sorted(METHODS, key=rank)[-1] == "tam"


def test_the_first_answer_class_differs_between_the_protocols():
    sample = made()
    fixed, published = (METHODS["activation"](sample, protocol, False) for protocol in (FIXED, REFERENCE))
    assert not np.array_equal(fixed.maps[PROMPT], published.maps[PROMPT])
    assert np.array_equal(fixed.maps[PROMPT + 1 :], published.maps[PROMPT + 1 :])


@pytest.mark.parametrize("pieces", [[], [8], [8, 9, 40]])
def test_maps_stay_one_a_token_where_tokenising_again_changed_the_prompt(pieces):
    retokenised = np.array(pieces, np.int32)
    maps = METHODS["tam"](made(classes=(4, 6, 10, 11, 20, 21, 7, 30), retokenised_prompt=retokenised), REFERENCE, True)
    assert maps.maps.shape == maps.uint8.shape == (5, 3) and maps.relevance.shape == (5, 5)
    missing = range(len(pieces), PROMPT)
    assert not maps.maps[missing].any() and np.isnan(maps.scale[missing]).all()
    assert not np.isnan(maps.scale[-2:]).any()


def test_a_class_that_was_not_kept_is_named():
    with pytest.raises(InputError, match="a: class not in the cache; got 21"):
        METHODS["tam"](made(classes=(6, 10, 11, 20, 7, 30)), FIXED, False)


def test_what_is_written_is_read_and_failures_do_not_stop_the_others(tmp_path):
    nan = made("nan", 4)
    nan.logits[0, 1] = np.nan
    samples = [
        made("b", 2), Generation.failure("gone", "w", "no picture", 3), nan, made("c", 12, status="truncated")
    ]  # fmt: skip
    generation, out = _write(tmp_path / "g.h5", *samples), tmp_path / "maps" / "tam" / "0-of-1.h5"
    assert write_maps(generation, out, "tam", FIXED) == {"ok": 1, "failed": 2, "truncated": 1}
    found = list(read_maps(out))
    assert [one.id for one in found] == ["b", "gone", "nan", "c"]
    assert [one.failed for one in found] == [False, True, True, False]
    assert found[1].status == "failed: no picture"
    assert found[2].status.startswith("failed: nan: a logit is NaN or infinite")
    assert found[2].maps.shape == (0, 0) and found[2].scale.shape == (0,)
    expected = METHODS["tam"](samples[0], FIXED, False)
    assert np.array_equal(found[0].maps, expected.maps.astype(np.float16))
    assert np.array_equal(found[0].uint8, expected.uint8)
    assert np.array_equal(found[0].relevance, expected.relevance)
    assert np.array_equal(found[0].scale, expected.scale, equal_nan=True)
    with h5py.File(out) as file:
        assert dict(file.attrs) == {
            "format": "tam-maps", "version": 1, "method": "tam", "protocol": "fixed", "exact": False,
            "fingerprint": "f" * 8,
        }  # fmt: skip
        assert list(file) == ["00000002", "00000003", "00000004", "00000012"]


def test_a_cap_is_recorded_and_applies_where_interference_is_subtracted(tmp_path):
    generation, sample = _write(tmp_path / "g.h5", made()), made()
    write_maps(generation, tmp_path / "tam.h5", "tam", FIXED, eci_cap=0.0)
    (found,) = read_maps(tmp_path / "tam.h5")
    assert np.array_equal(found.uint8, METHODS["rgf"](sample, FIXED, False).uint8)
    assert np.nanmax(found.scale) == 0 < np.nanmax(METHODS["tam"](sample, FIXED, False).scale)
    with h5py.File(tmp_path / "tam.h5") as file:
        assert file.attrs["eci_cap"] == 0.0
    write_maps(generation, tmp_path / "rgf.h5", "rgf", FIXED, eci_cap=0.0)
    with pytest.raises(InputError, match="the published code caps no scale"):
        write_maps(generation, tmp_path / "none.h5", "tam", REFERENCE, eci_cap=0.5)
    assert not (tmp_path / "none.h5").exists()


def test_the_published_error_of_a_sample_becomes_its_status(tmp_path):
    same = made("same", retokenised_prompt=np.array([8, 8], np.int32))
    write_maps(_write(tmp_path / "g.h5", same), tmp_path / "m.h5", "tam", REFERENCE, exact=True)
    (found,) = read_maps(tmp_path / "m.h5")
    assert found.status.startswith("failed: same: no earlier token differs from token 1; the published code raises")


def test_a_stage_that_is_stopped_leaves_nothing(tmp_path):
    generation = _write(tmp_path / "g.h5", made())
    with pytest.raises(InputError):
        write_maps(generation, tmp_path / "m.h5", "none", FIXED)
    assert [path.name for path in tmp_path.iterdir()] == ["g.h5"]


def test_a_file_that_is_not_ours_is_refused(tmp_path):
    generation = _write(tmp_path / "g.h5", made())
    (tmp_path / "empty.h5").touch()
    for path in (generation, tmp_path / "empty.h5", tmp_path / "absent.h5"):
        with pytest.raises(SchemaError, match=path.name):
            list(read_maps(path))
