"""Attention as the library's own eager one computes it, differentiable by the rule of the moment."""

from typing import Any

import torch

from tam.attribution.lrp import Course


def probabilities(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float, cap: float | None = None
) -> torch.Tensor:
    """softmax(q kᵀ scale + mask), which is computed in float32.

    Args:
        query: [query heads, row, width]. key: [heads, position, width]; each serves as many query heads, in order.
        mask: added to the scores, or bool, of the positions that are seen: [..., row, position].
        cap: scores are cap tanh(scores / cap) before the mask.

    Returns:
        [query heads, row, position], in the dtype of ``query``.
    """
    scores = grouped(query, key) @ key.mT * scale
    scores = scores.view(*query.shape[:2], key.shape[1])
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1, dtype=torch.float32).to(query.dtype)


def grouped(values: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    """[query heads, row, width] as [heads, query heads of one head x row, width], which are the heads of ``of``."""
    return values.reshape(of.shape[0], -1, values.shape[-1])


class Attend(torch.autograd.Function):
    """softmax(q kᵀ scale + mask) v, one layer, one sample: [query heads, row, width].

    The backward pass follows the rule of the course (``tam.attribution.lrp``), and shows its watcher, layer after layer
    from the last, the probabilities A and the gradient ∇A, both [query heads, row, position].
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attended: torch.Tensor,
        known: torch.Tensor | None, mask: torch.Tensor | None, scale: float, cap: float | None, layer: int,
        course: Course,
    ) -> torch.Tensor:  # fmt: skip
        """``attended``: the result, from whichever implementation; ``known``: A, or None: it is computed anew."""
        ctx.save_for_backward(query, key, value, attended, known, mask)
        ctx.scale, ctx.cap, ctx.layer, ctx.course = scale, cap, layer, course
        return attended.view_as(attended)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, attended, known, mask = ctx.saved_tensors
        course: Course = ctx.course
        seen = probabilities(query, key, mask, ctx.scale, ctx.cap) if known is None else known
        of_value = grouped(seen, key).mT @ grouped(grad, key)
        if course.rule == "cp-lrp":
            return (None, None, of_value, *[None] * 7)
        of_seen = (grouped(grad, key) @ value.mT).view_as(seen)
        if course.watch is not None:
            course.watch(ctx.layer, seen, of_seen)
        of_scores = (of_seen - (grad * attended).sum(-1, keepdim=True)) * seen
        if ctx.cap is not None:
            plain = (grouped(query, key) @ key.mT).view_as(seen) * (ctx.scale / ctx.cap)
            of_scores = of_scores * (1 - torch.tanh(plain) ** 2)
        share = ctx.scale * (0.25 if course.rule == "attnlrp" else 1)
        of_query = (grouped(of_scores, key) @ key).view_as(query) * share
        of_key = grouped(of_scores, key).mT @ grouped(query, key) * share
        if course.rule == "attnlrp":
            of_value = of_value / 2
        return (of_query, of_key, of_value, *[None] * 7)
