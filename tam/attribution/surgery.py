"""Architecture surgery of CLIP (Li et al. 2023), on a language model: arrays and two modules in, arrays out."""

from collections.abc import Callable, Iterable

import torch


def surgery(
    entering: torch.Tensor, added: Iterable[torch.Tensor], norm: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """The states of a second path at the vision tokens, float32 [vision, width], for the head to read.

    From a layer on, y += o_proj(softmax(v vᵀ scale) v), without MLPs; the values v are those of the untouched first
    path, and vision tokens alone see each other, all of them. Then the final norm. The score is y w, as of ``gradcam``.
    In which layers, and that a norm behind attention (which some families have) is left out, is our reading. Keys and
    values that several query heads share are computed once and expanded.

    Args:
        entering: [vision, width], what the first layer of the second path reads. added: [vision, width] of each layer.
        norm: the decoder's last.
    """
    second = entering
    for one in added:
        second = second + one.to(second.device)
    return norm(second).float()
