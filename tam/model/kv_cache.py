"""A cache of keys and values that grows in place.

The library's own joins what it has with each new token, which copies all keys and values at every step: with as many of
them as LLaVA-1.5 has, that takes longer than to read the weights.
"""

from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.generation.utils import ALL_CACHE_NAMES

CACHE = ALL_CACHE_NAMES[0]  # the library's name for it: `past_key_values`, `cache` from 5.24 on
BLOCK = 32  # tokens: all is copied once in so many steps, and so many are held too much at most


class GrowingLayer(DynamicLayer):
    """``DynamicLayer`` for greedy decoding, in which tokens are only ever added. The values are the same."""

    keys: torch.Tensor
    values: torch.Tensor
    _buffers: list[torch.Tensor]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add keys and values [batch, heads, new tokens, width]; all of them, as views of longer buffers."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if start == 0 or end > self._buffers[0].shape[-2]:
            self._buffers = [
                added.new_empty(*added.shape[:-2], end + BLOCK, added.shape[-1]) for added in (key_states, value_states)
            ]
            held: Any = self.keys, self.values
            if start:
                for buffer, known in zip(self._buffers, held, strict=True):
                    buffer[..., :start, :] = known
        for buffer, added in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., start:end, :] = added
        self._show(end)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep these samples of the batch."""
        length = self.get_seq_length()
        self._buffers = [buffer.index_select(0, beam_idx.to(buffer.device)) for buffer in self._buffers]
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = (buffer[..., :length, :] for buffer in self._buffers)


class GrowingCache(DynamicCache):
    """Plain layers grow in place; sliding windows and others stay as the library makes them.

    Attributes:
        padded: whether the library shall make each step's mask without asking the device whether there is any padding,
            as it does for the caches that it calls compileable.
    """

    layers: list[Any]

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config=config)
        self.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in self.layers]
        self.padded = False

    @property
    def is_compileable(self) -> bool:
        return self.padded
