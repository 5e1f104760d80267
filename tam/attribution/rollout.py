"""Attention and its rollouts, one row a token: arrays in, arrays out.

A is a layer's attention [sequence, sequence], the mean over its heads; e_p the row that is 1 at the position p whose
state predicts the token. That this row is the token's map is our reading for autoregressive models.
"""

from collections.abc import Iterable

import torch


def attention(means: torch.Tensor) -> torch.Tensor:
    """Raw attention: A[p], the mean over heads and over the layers that are chosen; float32 [row, sequence].

    Which layers (Chefer et al. 2021 compare with the last one), and that row p is the token's map, is our reading for
    autoregressive models.

    Args:
        means: float32 [layer, row, sequence], the rows p of each layer.
    """
    return means.mean(0)


def rollout(rows: torch.Tensor, means: Iterable[torch.Tensor]) -> torch.Tensor:
    """Attention rollout (Abnar & Zuidema 2020): e_p Π_l (I + A_l) / rowsum, the last layer leftmost.

    That row p is the token's map is our reading for autoregressive models.

    Args:
        rows: int64 [row], positions p. means: float32 [sequence, sequence] of each layer, the last first.

    Returns:
        float32 [row, sequence]; each row sums to 1.
    """
    rolled: torch.Tensor | None = None
    for mean in means:
        start = torch.nn.functional.one_hot(rows, len(mean)).to(mean.dtype) if rolled is None else rolled
        rolled = rolled_back(start, mean)
    if rolled is None:
        raise ValueError("no layer")
    return rolled


def rolled_back(row: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """row (I + A) / rowsum, for ``row`` [..., sequence] and A [sequence, sequence]."""
    row = row / (1 + mean.sum(-1))
    return row + row @ mean


class Rolling:
    """Grad-RollOut and GAE of one token, layer after layer as the backward pass reaches it.

    Both are of G_l = mean over heads of (∇A_l ⊙ A_l)+, ∇ of the token's logit; rectified before the mean, as Chefer et
    al. do. That the target is the logit of the answer's own class, and the map the row p, is our reading for
    autoregressive models.

    Attributes:
        normed: Grad-RollOut: e_p Π_l (I + G_l) / rowsum, float32 [sequence].
        plain: GAE (Chefer et al. 2021, rule 6): R <- R + G_l R from R = I, of which this is the row p.
    """

    def __init__(self, row: torch.Tensor):
        """``row``: float32 [sequence], e_p."""
        self.normed = self.plain = row

    def begin(self, seen: torch.Tensor, gradient: torch.Tensor) -> None:
        """Take the last layer in, of which only row p plays a part: A and ∇A, [head, 1, sequence]."""
        self.plain = self.plain + _positive(seen, gradient)[0]
        self.normed = self.plain / self.plain.sum()

    def watch(self, seen: torch.Tensor, gradient: torch.Tensor) -> None:
        """Take an earlier layer in: A and ∇A, [head, sequence, sequence]."""
        mean = _positive(seen, gradient)
        self.normed = rolled_back(self.normed, mean)
        self.plain = self.plain + self.plain @ mean


def _positive(seen: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    return (gradient * seen).relu_().mean(0, dtype=torch.float32)
