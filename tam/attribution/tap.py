"""What attention does inside a decoder, read while it runs: for every family, by the library's own registries.

A name is registered for an attention function and for its mask (without one the library would hand over none, and
attention would look ahead), and set on the decoder's configs alone: the vision tower keeps its implementation.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tam.attribution.attention import Attend, LastAttention, probabilities
from tam.attribution.lrp import Course
from tam.errors import ModelError

NAME = "tam_tap"
KEPT_BYTES = 2 << 30
"""Probabilities of all layers are held for the backward pass up to so many bytes; above, each layer's anew."""


@dataclass
class Tap:
    """What is asked of attention, and what was read of it, layer after layer.

    Attributes:
        rows: int64 [row], the positions whose attention is kept.
        vision: int64 [vision], the positions of the vision tokens.
        means: whether the mean over heads is kept of all positions.
        surgery: from which layer (from 0) on a second path runs; None: there is none.
        course: the rule of the backward pass; None: there will be none.
        last: with a course, what the backward pass begins with.
        layers: how many there are.
        row_means: float32 [row, sequence] a layer, the mean over heads.
        all_means: float32 [sequence, sequence] a layer.
        second: [vision, width] a layer, what the second path adds.
        windows: a layer's sliding window, or None.
        capped: layers whose scores are capped before the softmax.
        ahead: bool [row], whether a row sees the position behind it.
    """

    rows: torch.Tensor
    vision: torch.Tensor
    layers: int
    means: bool = False
    surgery: int | None = None
    course: Course | None = None
    row_means: dict[int, torch.Tensor] = field(default_factory=dict)
    all_means: dict[int, torch.Tensor] = field(default_factory=dict)
    second: dict[int, torch.Tensor] = field(default_factory=dict)
    windows: dict[int, int | None] = field(default_factory=dict)
    capped: list[int] = field(default_factory=list)
    last: LastAttention | None = None
    ahead: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def __call__(
        self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
        attention_mask: torch.Tensor | None, scaling: float | None = None, softcap: float | None = None,
        sliding_window: int | None = None, **other: Any,
    ) -> tuple[torch.Tensor, None]:  # fmt: skip
        """The library's attention function: [1, row, query heads, width]."""
        layer: int = module.layer_idx
        if odd := [name for name, given in other.items() if isinstance(given, torch.Tensor) and name != "position_ids"]:
            raise ModelError(
                "attention that is more than a softmax of products", where=f"layer {layer + 1}", got=", ".join(odd),
                expected="queries, keys, values and a mask",
            )  # fmt: skip
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        q, k, v = query[0], key[0], value[0]
        mask = causal(query) if attention_mask is None else attention_mask[0, ..., : key.shape[-2]]
        self.windows[layer] = sliding_window
        if softcap is not None:
            self.capped.append(layer)
        with torch.no_grad():
            of_rows = self._read_rows(layer, q, k, mask, scale, softcap)
            if self.surgery is not None and layer >= self.surgery:
                self.second[layer] = module.o_proj(among_themselves(v[:, self.vision], q.shape[0], scale))
            last = layer == self.layers - 1
            held = self.course is not None and not last and self._held(q)
            seen = probabilities(q, k, mask, scale, softcap)  # one way, whoever asks: last bits are a method's poles
            if self.means:
                self.all_means[layer] = seen.mean(0, dtype=torch.float32)
            attended = attend(seen, v)
        if self.course is not None and not last:
            attended = Attend.apply(q, k, v, attended, seen if held else None, mask, scale, softcap, self.course)
        made = attended.transpose(0, 1)[None].contiguous()
        if self.course is not None and last:
            self.last = LastAttention(q, k, v, of_rows, made.requires_grad_(), scale, softcap)
        return made, None

    def _held(self, query: torch.Tensor) -> bool:
        heads, rows, _ = query.shape
        return self.layers * heads * rows * rows * query.element_size() <= KEPT_BYTES

    def _read_rows(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor, scale: float, cap: float | None
    ) -> torch.Tensor:
        of_rows = mask[..., self.rows, :]
        seen = probabilities(query[:, self.rows], key, of_rows, scale, cap)
        self.row_means[layer] = seen.mean(0, dtype=torch.float32)
        if not len(self.ahead):
            self.ahead = (self.row_means[layer].gather(1, self.rows[:, None] + 1)[:, 0] > 0).cpu().numpy()
        return seen


def causal(query: torch.Tensor) -> torch.Tensor:
    """bool [row, row]: each sees itself and what is before it."""
    rows = query.shape[-2]
    return torch.ones(rows, rows, dtype=torch.bool, device=query.device).tril()


def attend(seen: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """[query heads, row, width], from the probabilities [query heads, row, position]."""
    return (seen.view(value.shape[0], -1, seen.shape[-1]) @ value).view(seen.shape[0], -1, value.shape[-1])


def among_themselves(value: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """softmax(v vᵀ scale) v of the vision tokens, computed a head of values, then given to each of its query heads.

    Args:
        value: [heads, vision, width]. heads: of queries.

    Returns:
        [vision, heads x width].
    """
    made = probabilities(value, value, None, scale) @ value
    return made.repeat_interleave(heads // value.shape[0], 0).transpose(0, 1).flatten(1)


@contextlib.contextmanager
def tapped(decoder: torch.nn.Module, tap: Tap) -> Iterator[None]:
    """Inside, the attention of ``decoder`` is the tap; afterwards configs and registries are as they were."""
    found = [getattr(part, "config", None) for part in decoder.modules()]
    configs = {id(config): config for config in found if config is not None}
    before = [(config, config._attn_implementation) for config in configs.values()]
    ALL_ATTENTION_FUNCTIONS.register(NAME, tap)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    try:
        for config, _ in before:
            config._attn_implementation = NAME
        yield
    finally:
        for config, name in before:
            config._attn_implementation = name
        for registry in (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS):
            registry._global_mapping.pop(NAME, None)
