"""The compared filters: what they do to a map by hand, and that the general rank Gaussian filter is the paper's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tam.methods.filters import FILTERS, KERNELS, bilateral, gaussian, mean, median, rank_gaussian
from tam.methods.rank_filter import rank_gaussian_filter
from tam.protocol import FIXED, REFERENCE

POINT = np.zeros((13, 13), np.float32)
POINT[6, 6] = 0.9
GAUSSIAN = {3: [1, 2, 1], 5: [1, 4, 6, 4, 1], 7: [2, 7, 14, 18, 14, 7, 2]}


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_point_by_hand(kernel):
    """A mean spreads it evenly, a Gaussian unevenly, a median removes it, a bilateral filter keeps most of it."""
    margin = (13 - kernel) // 2
    window = np.pad(np.ones((kernel, kernel)), margin)
    assert mean(POINT, kernel) == pytest.approx(window * 0.9 / kernel**2, abs=1e-6)
    assert not median(POINT, kernel).any()
    weights = np.array(GAUSSIAN[kernel]) / sum(GAUSSIAN[kernel])
    assert gaussian(POINT, kernel) == pytest.approx(np.pad(np.outer(weights, weights), margin) * 0.9, abs=1e-6)
    assert bilateral(POINT, kernel)[6, 6] > 0.8


def test_the_border_is_reflected():
    """The window of the first cell of 0 3 6 is 3 0 3."""
    row = np.array([[0, 3, 6]], np.float32) / 10
    assert mean(row, 3)[0, 0] == pytest.approx(0.2)
    assert median(row, 3)[0, 0] == pytest.approx(0.3)


maps = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 200).map(lambda v: v / 200)
)


@pytest.mark.parametrize("protocol", [FIXED, REFERENCE])
@given(map_=maps)
def test_the_general_rank_filter_is_the_papers_for_a_kernel_of_three(protocol, map_):
    fast = rank_gaussian_filter(map_.astype(np.float64), protocol=protocol, exact=True)
    assert rank_gaussian(map_, 3, protocol) == pytest.approx(fast, abs=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", FILTERS)
@given(map_=maps)
def test_filters_stay_within_the_values_and_keep_constants(name, kernel, map_):
    smooth = FILTERS[name][1]
    found = smooth(map_, kernel, FIXED)
    assert found.shape == map_.shape and found.dtype == np.float32
    assert map_.min() - 1e-5 <= found.min() and found.max() <= map_.max() + 1e-5
    constant = np.full_like(map_, map_.flat[0])
    assert smooth(constant, kernel, FIXED) == pytest.approx(constant, abs=1e-5)
