"""AltUp (Baykal et al. 2023): states are several streams, of which each layer computes one and corrects the others."""

from typing import Any

import torch


def joined(decoder: Any, streams: torch.Tensor) -> torch.Tensor:
    """The states that the final norm would read, if these were those behind the last layer.

    The mean of the first stream and of projections of the others, each scaled to the first's root mean square.

    Args:
        streams: [stream, batch, position, width].

    Returns:
        [batch, position, width].
    """
    size = streams[0].square().mean(-1, keepdim=True).sqrt()
    made = [streams[0]]
    for project, stream in zip(decoder.altup_unembed_projections, streams[1:], strict=True):
        one = project(stream)
        made.append(one * size / one.square().mean(-1, keepdim=True).clamp(min=1e-5).sqrt())
    return torch.stack(made).mean(0)
