"""A cache of keys and values that grows in place.

The library's own joins what it has with each new token, which copies all keys and values at every step: with as many of
them as LLaVA-1.5 has, that takes longer than to read the weights.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

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
        self.keys, self.values = (buffer[..., :end, :] for buffer in self._buffers)
        return self.keys, self.values


@contextlib.contextmanager
def growing_kv_cache(decoder: torch.nn.Module) -> Iterator[None]:
    """Inside, plain layers of the caches that ``decoder`` is given grow in place; sliding windows stay as they are."""

    def replace(module: torch.nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        cache = named.get("past_key_values")
        if isinstance(cache, DynamicCache) and not cache.offloading and cache.get_seq_length() == 0:
            cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
            if cache.layer_class_to_replicate is DynamicLayer:
                cache.layer_class_to_replicate = GrowingLayer

    handle = decoder.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
