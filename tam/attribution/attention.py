"""Attention as the library's own eager one computes it, differentiable by the rule of the moment."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tam.attribution.lrp import Course, Rule


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


def pulled_back(
    rule: Rule, grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attended: torch.Tensor,
    seen: torch.Tensor, scale: float, cap: float | None,
    watch: Callable[[torch.Tensor, torch.Tensor], None] | None = None,
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor]:  # fmt: skip
    """Gradients of query, key and value, by a rule, from that of ``attended`` = A v.

    Args:
        grad, query, attended: [query heads, row, width]. key, value: [heads, position, width].
        seen: A, [query heads, row, position].
        watch: is shown A and its gradient.
    """
    of_value = grouped(seen, key).mT @ grouped(grad, key)
    if rule == "cp-lrp":
        return None, None, of_value
    of_seen = (grouped(grad, key) @ value.mT).view_as(seen)
    if watch is not None:
        watch(seen, of_seen)
    of_scores = of_seen.sub_((grad * attended).sum(-1, keepdim=True)).mul_(seen)
    if cap is not None:
        plain = (grouped(query, key) @ key.mT).view_as(seen) * (scale / cap)
        of_scores = of_scores * (1 - torch.tanh(plain) ** 2)
    share = scale * (0.25 if rule == "attnlrp" else 1)
    of_query = (grouped(of_scores, key) @ key).view_as(query) * share
    of_key = grouped(of_scores, key).mT @ grouped(query, key) * share
    return of_query, of_key, of_value / 2 if rule == "attnlrp" else of_value


class Attend(torch.autograd.Function):
    """softmax(q kᵀ scale + mask) v, one layer, one sample: [query heads, row, width].

    The backward pass follows the rule of the course (``tam.attribution.lrp``), and shows its watcher, layer after layer
    from the last, the probabilities A and the gradient ∇A, both [query heads, row, position].
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attended: torch.Tensor,
        known: torch.Tensor | None, mask: torch.Tensor, scale: float, cap: float | None, course: Course,
    ) -> torch.Tensor:  # fmt: skip
        """``attended``: the result, from whichever implementation; ``known``: A, or None: it is computed anew."""
        ctx.save_for_backward(query, key, value, attended, known, mask)
        ctx.scale, ctx.cap, ctx.course = scale, cap, course
        return attended.view_as(attended)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, attended, known, mask = ctx.saved_tensors
        seen = probabilities(query, key, mask, ctx.scale, ctx.cap) if known is None else known
        course: Course = ctx.course
        made = pulled_back(
            course.rule, grad, query, key, value, attended, seen, ctx.scale, ctx.cap, course.watch
        )  # fmt: skip
        return (*made, *[None] * 6)


@dataclass(frozen=True)
class LastAttention:
    """The last layer's, behind which no position looks at another: there the gradients of all tokens fit in one pass.

    Attributes:
        query: [query heads, sequence, width]. key, value: [heads, sequence, width].
        seen: [query heads, token, sequence].
        attended: [1, sequence, query heads, width], a leaf of what comes after it.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    seen: torch.Tensor
    attended: torch.Tensor
    scale: float
    cap: float | None
