"""Attention and its rollouts, one row a token: arrays in, arrays out.

A is a layer's attention [sequence, sequence], the mean over its heads; e_p the row that is 1 at the position p whose
state predicts the token. That this row is the token's map is our reading for autoregressive models.
"""

from collections.abc import Iterable

import torch


def rollout(rows: torch.Tensor, means: Iterable[torch.Tensor]) -> torch.Tensor:
    """Attention rollout (Abnar & Zuidema 2020): e_p Π_l (I + A_l) / rowsum, the last layer leftmost.

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
