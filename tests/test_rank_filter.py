"""The rank Gaussian filter: by hand, and what must not matter to it."""

from dataclasses import replace
from itertools import product
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tam.methods import rank_filter
from tam.methods.rank_filter import rank_gaussian_filter
from tam.protocol import FIXED, REFERENCE

BOTH = pytest.mark.parametrize("exact", [False, True], ids=["fast", "exact"])


def _gaussian(variation_squared, *values):
    """Eq. 7 for nine sorted values, in plain Python."""
    weights = [exp(-(rank**2) / (2 * variation_squared)) for rank in range(-4, 5)]
    return sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)


def test_the_networks_sort_nine_values():
    planes = list(np.array(list(product((0, 1), repeat=9))).T)  # sorts all zeros and ones, so sorts everything
    for start in (0, 3, 6):
        planes[start : start + 3] = rank_filter._sort(planes[start : start + 3], rank_filter.SORT_COLUMN)
    assert np.array_equal(rank_filter._sort(planes, rank_filter.MERGE_COLUMNS), np.sort(planes, axis=0))


@BOTH
def test_a_spike_on_3x3(exact):
    """The reflection shows the middle once to itself, twice to the sides, four times to the corners."""
    grid = np.zeros((3, 3), np.float64 if exact else np.float32)
    grid[1, 1] = 9
    middle = _gaussian(8, *[0] * 8, 9)  # mean 1, variance (8 * 1 + 64) / 9
    side = _gaussian(14 / 4, *[0] * 7, 9, 9)  # mean 2, variance (7 * 4 + 2 * 49) / 9
    corner = _gaussian(20 / 16, *[0] * 5, 9, 9, 9, 9)  # mean 4, variance (5 * 16 + 4 * 25) / 9
    expected = [[corner, side, corner], [side, middle, side], [corner, side, corner]]
    assert rank_gaussian_filter(grid, exact=exact) == pytest.approx(np.array(expected), rel=1e-6)


@BOTH
def test_where_little_varies_it_is_the_median(exact):
    grid = np.array([[108, 101, 105], [103, 100, 107], [102, 106, 104]], np.float32)
    assert rank_gaussian_filter(grid, exact=exact)[1, 1] == 104


@BOTH
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 4)])
def test_constant_windows_keep_their_value_unless_the_quirk_is_asked_for(shape, exact):
    grid = np.full(shape, 0.75, np.float32)
    quirk = replace(FIXED, constant_window_is_zero=True)
    assert (rank_gaussian_filter(grid, exact=exact) == 0.75).all()
    assert (rank_gaussian_filter(grid, exact=exact, protocol=quirk) == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_published_quirk_goes_by_the_last_bit_of_the_mean(dtype):
    """Nine times a value has a digit too many for some: the mean is another then, and the deviation is not 0."""
    values = np.random.default_rng(0).random(500).astype(dtype)
    rounds = (8 * values + values) / dtype(9) != values
    assert 20 < rounds.sum() < 80
    grids = np.repeat(values, 9).reshape(-1, 3, 3)
    found = rank_gaussian_filter(grids, exact=True, protocol=REFERENCE)
    assert np.array_equal(found, np.where(rounds[:, None, None], grids, 0))
    assert np.array_equal(rank_gaussian_filter(grids, exact=True), grids)


@BOTH
def test_a_single_row_is_its_own_reflection(exact):
    row = np.array([[1, 2, 4, 3]], np.float32)
    assert np.array_equal(
        rank_gaussian_filter(row, exact=exact), rank_gaussian_filter(np.tile(row, (3, 1)), exact=exact)[:1]
    )


@BOTH
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_window_that_is_not_finite_becomes_zero(value, exact):
    grid = np.random.default_rng(0).random((5, 5)).astype(np.float32)
    grid[0, 0] = value
    filtered = rank_gaussian_filter(grid, exact=exact)
    assert not filtered[:2, :2].any()
    assert (filtered[2:] > 0).all() and (filtered[:, 2:] > 0).all()


@BOTH
def test_a_window_without_a_positive_mean_becomes_zero(exact):
    assert not rank_gaussian_filter(np.array([[-1, 0.5, -1]] * 3, np.float32), exact=exact).any()


@pytest.mark.parametrize("block", [1, 100, 1000])
@BOTH
def test_the_size_of_blocks_changes_nothing(block, exact, monkeypatch):
    grids = np.random.default_rng(0).random((3, 2, 7, 11)).astype(np.float32)
    expected = rank_gaussian_filter(grids, exact=exact)
    monkeypatch.setattr(rank_filter, "CPU_BLOCK", block)
    assert np.array_equal(rank_gaussian_filter(grids, exact=exact), expected)


@settings(deadline=None)
@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)), limit=st.integers(1, 2000))
def test_blocks_cover_every_pixel_once_and_keep_the_limit(shape, limit):
    covered = np.zeros(shape, int)
    for maps, top, bottom in rank_filter._blocks(shape, limit):
        covered[maps, top:bottom] += 1
        assert covered[maps, top:bottom].size <= max(limit, shape[2])
    assert (covered == 1).all()


GRIDS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6), elements=st.floats(0, 1, width=16))


@settings(deadline=None)
@given(GRIDS)
def test_the_filter_stays_between_the_least_and_greatest_value(grids):
    for exact in (False, True):
        filtered = rank_gaussian_filter(grids, exact=exact)
        assert filtered.min() >= grids.min() * (1 - 1e-6) and filtered.max() <= grids.max() * (1 + 1e-6)


@settings(deadline=None)
@given(GRIDS, st.sampled_from([2**-3, 2, 2**10]))
def test_the_filter_scales_with_its_input(grids, factor):
    for exact in (False, True):
        scaled = rank_gaussian_filter(grids * np.float32(factor), exact=exact)
        assert np.allclose(scaled, rank_gaussian_filter(grids, exact=exact) * factor, rtol=1e-5, atol=0)


@settings(deadline=None)
@given(GRIDS)
def test_the_filter_knows_no_direction(grids):
    filtered = rank_gaussian_filter(grids)
    assert np.allclose(rank_gaussian_filter(grids[..., ::-1, :])[..., ::-1, :], filtered, atol=1e-6)
    assert np.allclose(rank_gaussian_filter(grids.swapaxes(-1, -2)).swapaxes(-1, -2), filtered, atol=1e-6)
