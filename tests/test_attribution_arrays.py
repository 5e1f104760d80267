"""CAMs, rollouts and surgery on arrays of a few numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tam.attribution.cams import gradcam, gradcam_plus_plus, layercam, llava_cam
from tam.attribution.rollout import Rolling, rollout
from tam.attribution.surgery import surgery
from tam.attribution.tap import among_themselves

STATES = torch.tensor([[1.0, -2.0], [3.0, 0.0], [0.5, 1.0]])
WEIGHTS = torch.tensor([[2.0, 1.0], [-1.0, 0.0]])


def causal_means(seed: int, layers: int = 3, length: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(layers, length, length, generator=generator)
    return scores.masked_fill(~torch.ones(length, length).tril().bool(), -torch.inf).softmax(-1)


def test_gradcam_is_the_logit_at_each_position():
    assert gradcam(STATES, WEIGHTS).tolist() == [[0, 6, 2], [-1, -3, -0.5]]


def test_layercam_rectifies_the_gradient_alone():
    assert layercam(STATES, WEIGHTS).tolist() == [[0, 6, 2], [0, 0, 0]]


def test_gradcam_plus_plus_by_hand():
    # vision tokens 0 and 1: sums of F are 4 and -2; alpha = g² / (2g² + g³ sum): 4/(8+32), 1/(2-2): explodes; 1/(2-4)
    found = gradcam_plus_plus(STATES, STATES[:2], torch.tensor([[2.0, 0.0], [1.0, 0.5]]))
    first = 2 * 0.1 * 2  # two positions, alpha, gradient
    assert found[0].numpy() == pytest.approx([first * 1, first * 3, first * 0.5], rel=1e-5)
    second = 2 * (1 / 6) * 1, 2 * (0.25 / (0.5 + 0.125 * -2 + 1e-6)) * 0.5
    assert found[1].numpy() == pytest.approx((STATES.numpy() @ second), rel=1e-5)


def test_llava_cam_rectifies_before_it_pools():
    gradients = torch.tensor([[1.0, -4.0], [-1.0, 2.0], [9.0, 9.0]])
    # over the vision tokens 0 and 1: mean of (1, 0) and of (0, 2); then the mean over both channels
    assert llava_cam(STATES, gradients, torch.tensor([0, 1])).tolist() == [(0.5 - 2) / 2, 0.75, (0.25 + 1) / 2]


@given(st.integers(0, 1000))
def test_a_row_of_rollout_is_that_of_the_matrix_product_and_sums_to_one(seed):
    means = causal_means(seed)
    whole = torch.eye(5)
    for mean in means:
        with_self = torch.eye(5) + mean
        whole = with_self / with_self.sum(-1, keepdim=True) @ whole
    rows = torch.tensor([2, 4])
    found = rollout(rows, means.flip(0))
    assert torch.allclose(found, whole[rows], atol=1e-6) and torch.allclose(found.sum(-1), torch.ones(2), atol=1e-6)
    assert found[0, 3:].tolist() == [0, 0]


@given(arrays(np.float32, (3, 2, 4, 4), elements=st.floats(-1, 1, width=16)), st.integers(0, 3))
def test_gradient_rollouts_are_rows_of_the_matrix_products(gradients, place):
    seen = torch.stack([causal_means(number, 2, 4) for number in range(3)])
    gradient = torch.from_numpy(gradients)
    gradient[-1, :, torch.arange(4) != place] = 0  # behind the last attention no row looks at another
    normed = plain = torch.eye(4)
    for attention, its in zip(seen, gradient, strict=True):
        mean = (attention * its).clamp(min=0).mean(0)
        plain = plain + mean @ plain
        with_self = torch.eye(4) + mean
        normed = with_self / with_self.sum(-1, keepdim=True) @ normed
    rolling = Rolling(torch.eye(4)[place])
    rolling.begin(seen[-1][:, [place]], gradient[-1][:, [place]])
    for layer in (1, 0):
        rolling.watch(seen[layer], gradient[layer])
    assert torch.allclose(rolling.normed, normed[place], atol=1e-5)
    assert torch.allclose(rolling.plain, plain[place], atol=1e-5)


def test_values_that_heads_share_are_expanded_after_they_looked_at_each_other():
    value = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    wide = value.repeat_interleave(3, 0)
    wanted = (wide @ wide.mT * 0.7).softmax(-1) @ wide
    assert torch.allclose(among_themselves(value, 6, 0.7), wanted.transpose(0, 1).reshape(5, 18), atol=1e-6)


def test_the_second_path_is_added_up_and_normed():
    added = [torch.ones(3, 2), torch.full((3, 2), 2.0)]
    assert surgery(STATES, added, lambda states: states * 10).tolist() == ((STATES + 3) * 10).tolist()
