"""The paper's equations, by hand and by what must not matter."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tam.errors import InputError, LayoutError, NotFiniteError, PublishedError
from tam.methods import core
from tam.methods.core import token_activation_maps
from tam.protocol import FIXED, REFERENCE

BOTH = pytest.mark.parametrize("exact", [False, True], ids=["fast", "exact"])


# ---- the steps


def test_activation_is_the_rectified_logit_as_float32():
    found = core.activation(np.array([[-1.5, 0, 2]]))
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 0, 2]]


@BOTH
def test_a_context_token_weighs_its_share(exact):
    text = np.array([[1, 5, 3]], np.float32)
    weights = core.interference_weights(text, np.array([[True, False, True]]), exact=exact)
    assert weights.tolist() == [[0.25, 0, 0.75]]


@BOTH
def test_least_squares_leave_the_least_of_the_activation(exact):
    image = np.array([[3, 1, 0], [4, 0, 2], [1, 2, 3]], np.float32)
    sources = np.array([[1, 1, 0], [2, 0, 1]], np.float32)
    weights = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    causal, scale = core.estimated_causal_inference(image, sources, weights, exact=exact)
    assert scale.tolist() == [2, 2, 0]  # (3 + 1) / 2, (8 + 2) / 5, nothing to subtract
    assert causal.tolist() == [[1, 0, 0], [0, 0, 0], [1, 2, 3]]
    assert causal.dtype == (np.float64 if exact else np.float32)


@BOTH
@pytest.mark.parametrize(
    ("cap", "scale", "causal"),
    [
        (None, [2, 2, 0], [[1, 0, 0], [0, 0, 0], [1, 2, 3]]),
        (1.5, [1.5, 1.5, 0], [[1.5, 0, 0], [1, 0, 0.5], [1, 2, 3]]),
        (0, [0, 0, 0], [[3, 1, 0], [4, 0, 2], [1, 2, 3]]),
        (7, [2, 2, 0], [[1, 0, 0], [0, 0, 0], [1, 2, 3]]),
    ],
)
def test_a_cap_limits_the_scale_by_hand(cap, scale, causal, exact):
    """As above: A - s E with E = (1, 1, 0), (2, 0, 1) and nothing; s is 2, 2 and 0 without a cap."""
    image = np.array([[3, 1, 0], [4, 0, 2], [1, 2, 3]], np.float32)
    sources = np.array([[1, 1, 0], [2, 0, 1]], np.float32)
    weights = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    found = core.estimated_causal_inference(image, sources, weights, cap=cap, exact=exact)
    assert (found[0].tolist(), found[1].tolist()) == (causal, scale)


def test_the_estimate_is_rounded_as_a_sum_in_order():
    random = np.random.default_rng(0)
    weights, sources = np.tril(random.random((40, 40), np.float32)), random.random((40, 17), np.float32)
    expected = [(weights[t, : t + 1, None] * sources[: t + 1]).sum(0) for t in range(40)]
    assert np.array_equal(core._sum_in_order(weights, sources), expected)


def test_image_and_seen_text_share_one_scale():
    image, text = np.array([[2, 4]], np.float32), np.array([[0, 8, 100]], np.float32)
    maps, relevance = core.joint_normalisation(image, text, np.array([[True, True, False]]))
    assert maps.tolist() == [[0.25, 0.5]]
    assert relevance.tolist() == [[0, 1, 0]]


def test_equal_scores_normalise_to_zero():
    maps, relevance = core.joint_normalisation(np.full((1, 3), 7.0), np.full((1, 1), 7.0), np.ones((1, 1), bool))
    assert not maps.any() and not relevance.any()


# ---- all of it

IMAGE = np.array([[4, 2, 0, -3], [4, 2, 4, -1], [0, 0, 8, 4]], np.float32)
TEXT = np.array([[9, 9, 9], [2, 9, 16], [1, 3, 9]], np.float32)


@BOTH
def test_three_tokens_by_hand(exact):
    found = token_activation_maps(IMAGE, TEXT, "abc", 2, [(2, 2)], rank_filter=False, exact=exact)
    # Token 0 has no context. Token 1: E = A_0 = (4, 2, 0, 0), s = 20 / 20; what is left is (0, 0, 4, 0), beside text 2.
    # Token 2: E = A_0 / 4 + 3 A_1 / 4 = (4, 2, 3, 0), s = 24 / 29; left (0, 0, 8 - 72 / 29, 4), beside text 1 and 3.
    top = 8 - 72 / 29
    maps = [[1, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 1, 4 / top]]
    assert found.maps == pytest.approx(np.array(maps), abs=1e-6)
    assert found.uint8[0].tolist() == [255, 127, 0, 0]
    assert found.relevance == pytest.approx(np.array([[0, 0, 0], [0.5, 0, 0], [1 / top, 3 / top, 0]]), abs=1e-6)
    assert found.scale == pytest.approx(np.array([np.nan, 1, 24 / 29]), nan_ok=True)
    assert [array.dtype for array in (found.uint8, found.relevance, found.scale)] == [np.uint8, np.float32, np.float64]


@BOTH
def test_three_tokens_with_a_cap_by_hand(exact):
    found = token_activation_maps(IMAGE, TEXT, "abc", 2, [(2, 2)], rank_filter=False, eci_cap=0.5, exact=exact)
    # Token 1: s = 0.5 in place of 1, what is left of (4, 2, 4, 0) is (2, 1, 4, 0), beside text 2: least 0, greatest 4.
    assert found.scale == pytest.approx(np.array([np.nan, 0.5, 0.5]), nan_ok=True)
    assert found.maps[1] == pytest.approx([0.5, 0.25, 1, 0], abs=1e-6)
    none = token_activation_maps(IMAGE, TEXT, "abc", 2, [(2, 2)], rank_filter=False, eci_cap=0, exact=exact)
    plain = token_activation_maps(IMAGE, TEXT, "abc", 2, [(2, 2)], rank_filter=False, interference=False, exact=exact)
    assert np.array_equal(none.maps, plain.maps) and none.scale[1:].tolist() == [0, 0]


@pytest.mark.parametrize("cap", [-0.1, np.nan, np.inf])
def test_a_cap_must_be_a_number_from_0_on(cap):
    with pytest.raises(InputError, match="wrong cap on the scale"):
        token_activation_maps(IMAGE, TEXT, "abc", 2, [(2, 2)], eci_cap=cap)


def test_the_published_code_knows_no_cap():
    with pytest.raises(InputError, match=r"published code caps no scale; got a cap of .*; cure: use protocol fixed"):
        token_activation_maps(IMAGE, TEXT, "abc", 2, [(2, 2)], protocol=REFERENCE, eci_cap=0.5)


def test_without_interference_removal_nothing_is_subtracted():
    found = token_activation_maps(IMAGE, TEXT, "abc", 2, [(2, 2)], interference=False, rank_filter=False)
    assert np.isnan(found.scale).all()
    assert found.maps[1].tolist() == [1, 0.5, 1, 0]


def test_what_says_the_same_is_no_context():
    found = token_activation_maps(IMAGE, TEXT, "aba", 2, [(2, 2)], rank_filter=False)
    assert found.scale[2] == pytest.approx(32 / 36)  # E = A_1 = (4, 2, 4, 0)


def test_where_no_context_is_left_nothing_is_subtracted_unless_the_quirk_is_asked_for():
    found = token_activation_maps(IMAGE, TEXT, "aab", 2, [(2, 2)], rank_filter=False)
    assert np.isnan(found.scale).tolist() == [True, True, False]
    assert found.maps[1].tolist() == [1, 0.5, 1, 0]
    quirk = replace(FIXED, empty_context_is_an_error=True)
    with pytest.raises(PublishedError, match=r"picture 7: no earlier token differs from token 1.*ValueError") as error:
        token_activation_maps(IMAGE, TEXT, "aab", 2, [(2, 2)], protocol=quirk, where="picture 7")
    assert error.value.raises == "ValueError"
    without = token_activation_maps(IMAGE, TEXT, "aab", 2, [(2, 2)], protocol=quirk, interference=False)
    assert np.isnan(without.scale).all()


def test_later_prompt_scores_are_seen_only_with_the_quirk():
    quirk = replace(FIXED, later_prompt_in_normalisation=True)
    found = token_activation_maps(IMAGE, TEXT, "abc", 2, [(2, 2)], protocol=quirk, rank_filter=False)
    assert found.maps[0] == pytest.approx(np.array([4, 2, 0, 0]) / 9)  # beside text 9 and 9
    assert found.maps[1] == pytest.approx(np.array([0, 0, 4, 0]) / 9)  # beside text 2 and 9, its own
    fixed = token_activation_maps(IMAGE, TEXT, "abc", 2, [(2, 2)], rank_filter=False)
    assert np.array_equal(found.maps[2], fixed.maps[2])


def test_tokens_without_a_piece_keep_their_activation_only_with_the_quirk():
    quirk = replace(FIXED, retokenised_pieces=True)
    found = token_activation_maps(IMAGE, TEXT, "ab", 2, [(2, 2)], protocol=quirk, rank_filter=False)
    assert np.isnan(found.scale).tolist() == [True, False, True]
    with pytest.raises(InputError, match="3 tokens, 2 pieces, 3 text rows"):
        token_activation_maps(IMAGE, TEXT, "ab", 2, [(2, 2)])


def test_more_pieces_of_the_prompt_than_text_rows_end_as_published():
    image, text = np.ones((5, 4)), np.ones((5, 3))  # four pieces of a prompt of two tokens, one of the answer
    with pytest.raises(PublishedError, match="IndexError"):
        token_activation_maps(image, text, "abcde", 4, [(2, 2)], protocol=REFERENCE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_must_be_finite(value):
    for index in (0, 1):
        arrays = [IMAGE.copy(), TEXT.copy()]
        arrays[index][1, 1] = value
        with pytest.raises(NotFiniteError, match="picture 7: a logit is NaN or infinite"):
            token_activation_maps(*arrays, "abc", 2, [(2, 2)], where="picture 7")


@pytest.mark.parametrize("shapes", [[], [(1, 3)], [(2, 2), (1, 1)]])
def test_grids_must_have_as_many_cells_as_there_are_vision_tokens(shapes):
    with pytest.raises(LayoutError, match="picture 7: grid cells and vision tokens differ; got 4"):
        token_activation_maps(IMAGE, TEXT, "abc", 2, shapes, where="picture 7")


@pytest.mark.parametrize(("tokens", "prompt_count"), [(2, 2), (3, 4), (3, -1)])
def test_scores_must_belong_together(tokens, prompt_count):
    with pytest.raises(InputError, match="scores do not belong together"):
        token_activation_maps(IMAGE[:tokens], TEXT, "abc"[:tokens], prompt_count, [(2, 2)])


def test_the_input_is_left_as_it_was():
    image, text = np.abs(IMAGE), np.abs(TEXT)
    token_activation_maps(image, text, "abc", 2, [(2, 2)])
    assert np.array_equal(image, np.abs(IMAGE)) and np.array_equal(text, np.abs(TEXT))


@st.composite
def samples(draw):
    """image, text, pieces, prompt_count, shapes"""
    tokens = draw(st.integers(1, 9))
    shapes = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3))
    vision = sum(rows * columns for rows, columns in shapes)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    image, text = (random.normal(1, 3, (tokens, count)).astype(np.float32) for count in (vision, tokens))
    pieces = random.integers(0, 5, tokens).tolist()
    return image, text, pieces, draw(st.integers(0, tokens)), shapes


@settings(deadline=None)
@given(samples())
def test_maps_relevance_and_scale_are_in_their_bounds(sample):
    for exact in (False, True):
        found = token_activation_maps(*sample, exact=exact)
        for array in (found.maps, found.relevance):
            assert array.min() >= 0 and array.max() <= 1
        assert not np.triu(found.relevance).any()
        assert (found.scale[~np.isnan(found.scale)] >= 0).all()
        fraction = found.maps * 255 - found.uint8
        assert fraction.min() > -1e-4 and fraction.max() < 1 + 1e-4


@settings(deadline=None)
@given(samples(), st.sampled_from([2**-6, 2**8]))
def test_the_scale_of_the_logits_does_not_matter(sample, factor):
    image, text, *rest = sample
    expected = token_activation_maps(image, text, *rest, exact=True)
    found = token_activation_maps(image * np.float32(factor), text * np.float32(factor), *rest, exact=True)
    assert np.allclose(found.maps, expected.maps, atol=1e-5)


@settings(deadline=None)
@given(samples())
def test_the_order_of_grids_does_not_matter(sample):
    image, text, pieces, prompt_count, shapes = sample
    parts = np.split(image, np.cumsum([rows * columns for rows, columns in shapes])[:-1], axis=1)
    turned = token_activation_maps(np.concatenate(parts[::-1], 1), text, pieces, prompt_count, shapes[::-1], exact=True)
    turned_parts = np.split(turned.maps, np.cumsum([rows * columns for rows, columns in shapes[::-1]])[:-1], axis=1)
    expected = token_activation_maps(*sample, exact=True)
    assert np.allclose(np.concatenate(turned_parts[::-1], 1), expected.maps, atol=1e-5)


@settings(deadline=None)
@given(samples())
def test_a_token_does_not_know_later_ones(sample):
    image, text, pieces, prompt_count, shapes = sample
    shorter = len(image) - 1
    if shorter:
        found = token_activation_maps(
            image[:-1], text[:-1, :-1], pieces[:-1], min(prompt_count, shorter), shapes, exact=True
        )
        assert np.array_equal(found.maps, token_activation_maps(*sample, exact=True).maps[:-1])


@pytest.mark.parametrize("protocol", [FIXED, replace(REFERENCE, empty_context_is_an_error=False)], ids=lambda p: p.name)
def test_fast_maps_differ_from_exact_ones_in_at_most_one_pixel_of_10_000_by_one(protocol):
    random = np.random.default_rng(1)
    pixels, different = 0, 0
    for shapes, tokens in (([(18, 24)], 90), ([(13, 18)] * 4, 40), ([(5, 7), (24, 3), (5, 7)], 90)):
        vision = sum(rows * columns for rows, columns in shapes)
        image = random.normal(1, 4, (tokens, vision)).astype(np.float16)
        text, pieces = random.normal(2, 6, (tokens, tokens)), random.integers(0, 40, tokens).tolist()
        fast, exact = (
            token_activation_maps(image, text, pieces, 12, shapes, protocol=protocol, exact=mode).uint8.astype(int)
            for mode in (False, True)
        )
        assert np.abs(fast - exact).max() <= 1
        pixels, different = pixels + fast.size, different + (fast != exact).sum()
    assert different <= pixels / 10_000


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@BOTH
def test_torch_tensors_give_the_same_maps(device, exact):
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    random = np.random.default_rng(2)
    image, text = random.normal(1, 4, (50, 12 * 13 + 4)), random.normal(2, 6, (50, 50))
    tensors = [torch.tensor(array, dtype=torch.bfloat16, device=device) for array in (image, text)]
    arrays = [tensor.float().cpu().numpy() for tensor in tensors]
    for protocol in (FIXED, REFERENCE):
        found, expected = (
            token_activation_maps(*pair, range(50), 9, [(12, 13), (2, 2)], protocol=protocol, exact=exact)
            for pair in (tensors, arrays)
        )
        apart = np.abs(found.uint8.astype(int) - expected.uint8)
        assert apart.max() <= 1 and (apart > 0).sum() <= (0 if exact else 1)
        assert found.maps == pytest.approx(expected.maps, abs=1e-5)
        assert found.relevance == pytest.approx(expected.relevance, abs=1e-5)
        assert found.scale == pytest.approx(expected.scale, rel=1e-4, nan_ok=True)
        for name in ("maps", "uint8", "relevance", "scale"):
            assert getattr(found, name).dtype == getattr(expected, name).dtype
