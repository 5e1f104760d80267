"""How attention is computed: by which of PyTorch's kernels, and of pictures in as few calls as can be."""

import contextlib
import inspect
import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.backends import cuda
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tam.model.loaded import Loaded

PACKED = "tam_packed_flash"  # the library hands many pictures at once only to a name with "flash" in it

Places = list[torch.Tensor]
"""Of the pictures of each length their patches, int64 [picture, patch]."""


@contextlib.contextmanager
def fused_without_plans() -> Iterator[None]:
    """PyTorch's fused attention but cuDNN's, which plans anew for every length of the keys: at each step of decoding.

    PyTorch prefers cuDNN's on recent cards. Afterwards it may as before.
    """
    before = cuda.cudnn_sdp_enabled()
    cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        cuda.enable_cudnn_sdp(before)


@contextlib.contextmanager
def joined_pictures(loaded: Loaded) -> Iterator[None]:
    """Pictures (and windows of them) that are as long go through a layer's attention together.

    The library's own calls it for one after the other, in each layer of towers that read pictures of any size, and asks
    the device for their lengths each time. Others take all pictures as one batch in any case.
    """
    known: list[tuple[torch.Tensor, Places]] = []
    ALL_ATTENTION_FUNCTIONS.register(PACKED, partial(_packed, known))
    configs = {id(layer.config): layer.config for layer in loaded.base.modules() if _one_by_one(layer)}
    for config in configs.values():
        config._attn_implementation = PACKED
    try:
        yield
    finally:
        for config in configs.values():
            config._attn_implementation = "sdpa"
        ALL_ATTENTION_FUNCTIONS._global_mapping.pop(PACKED, None)


def _one_by_one(layer: torch.nn.Module) -> bool:
    config: Any = getattr(layer, "config", None)
    attends = getattr(config, "_attn_implementation", None) == "sdpa"
    return attends and "cu_seqlens" in inspect.signature(layer.forward).parameters


def _packed(
    known: list[tuple[torch.Tensor, Places]], module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor,
    value: torch.Tensor, attention_mask: None, *, cu_seq_lens_q: torch.Tensor, scaling: float, **_: object,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attention within each picture: ``query`` and the others [1, head, patch, width] -> [1, patch, head, width].

    Args:
        known: what was found of the same ``cu_seq_lens_q`` in another layer. It grows.
        cu_seq_lens_q: [picture + 1], where each begins.
    """
    places = next((its for ends, its in known if ends is cu_seq_lens_q), None)
    if places is None:
        places = _places(cu_seq_lens_q)
        known.append((cu_seq_lens_q, places))
    parts = query[0], key[0], value[0]
    if len(places) == 1:  # all are as long: they lie as they should
        return _attended(parts, places[0].shape, scaling)[None], None
    made = torch.empty_like(parts[0].transpose(0, 1), memory_format=torch.contiguous_format)
    for its in places:
        chosen = [part.index_select(1, its.ravel()) for part in parts]
        made.index_copy_(0, its.ravel(), _attended(chosen, its.shape, scaling))
    return made[None], None


def _attended(parts: Sequence[torch.Tensor], shape: Sequence[int], scaling: float) -> torch.Tensor:
    """Query, key and value, each [head, patch, width], of pictures and patches ``shape`` -> [patch, head, width]."""
    q, k, v = (part.unflatten(1, shape).transpose(0, 1) for part in parts)
    return scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2).flatten(0, 1)


def _places(ends: torch.Tensor) -> Places:
    bounds = ends.tolist()
    starts: dict[int, list[int]] = {}
    for start, end in itertools.pairwise(bounds):
        starts.setdefault(end - start, []).append(start)
    return [
        (torch.tensor(its)[:, None] + torch.arange(length)).to(ends.device) for length, its in starts.items() if length
    ]
