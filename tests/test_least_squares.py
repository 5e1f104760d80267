"""The published search for the scale of interference, to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tam.methods.core import searched_scale
from tests.shared import shared


@pytest.mark.parametrize(
    ("image", "estimate", "scale"),
    [
        ([3, 1, 0], [1, 1, 0], 1.9999999999999998),  # the closed form is 2
        ([3, 1, 4], [0.1, 0.7, 0.2], 3.333333386090553),  # 3.3333334354338846
        ([5, 1, 4, 2], [3, 3, 1, 7], 0.5294117647058824),
        ([1, 0, 1], [0, 2, 0], 7.102975093367388e-09),  # 0
        ([7, 3], [2e-5, 9e-5], 48235.29361801456),
        ([1e6, 2e6], [1e-3, 1e-3], 1499999928.7530243),
        ([1, 2], [1e-13, 1e-13], 15000000263224.768),
        ([1, 2], [1e-17, 1e-17], 0),  # too little to be seen: the search gives up
        ([1, 2, 3], [0, 0, 0], 0),
        ([0, 0], [1, 2], 0),
    ],
)
def test_the_scale_is_where_the_search_of_the_published_code_ends(image, estimate, scale):
    image, estimate = (np.array([values], np.float32).astype(np.float64) for values in (image, estimate))
    assert searched_scale(image, estimate).tolist() == [scale]


def test_the_scales_of_the_published_code_are_found_to_the_bit():
    pairs = np.load(shared("golden", "least_squares.npz"))
    names = [key.removesuffix("/x") for key in pairs.files if key.endswith("/x")]
    for name in names:
        image, estimate = (pairs[f"{name}/{part}"][None].astype(np.float64) for part in ("map", "interf"))
        assert searched_scale(image, estimate) == pairs[f"{name}/x"]
    assert len(names) > 30


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32), st.integers(-8, 8))
def test_the_scale_is_the_closed_form_but_for_its_tolerance(vision, seed, power):
    random = np.random.default_rng(seed)
    image, estimate = random.random((2, 4, vision)) + 0.1
    estimate *= 10.0**power
    found = searched_scale(image, estimate)
    assert found == pytest.approx((image * estimate).sum(1) / (estimate * estimate).sum(1), rel=1e-7)
