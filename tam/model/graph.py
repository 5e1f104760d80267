"""A step of decoding that is started at once: what the first one starts is captured, and replayed for each token.

A step starts over a thousand operations, which takes the host longer than a card takes to do them. For a replay, all
that they read and write lies where it lay: the token and its place in buffers, keys and values in a cache that has room
for all from the start, and a mask as wide as it, in which what is not said yet lies ahead of the token.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers.cache_utils import Cache, StaticCache, StaticLayer

from tam.model.kv_cache import CACHE


def roomy(model: Any, tokens: int) -> StaticCache | None:
    """A cache with room for so many, whose steps can be captured; None if the model's are not all of that kind."""
    cache = StaticCache(model.config, max_cache_len=tokens)
    return cache if all(type(layer) is StaticLayer for layer in cache.layers) else None


def captured(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """What does ``work`` again, and what it makes, where that lies; on a CUDA device. It is not done yet."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = work()
    return graph.replay, made


class Replayed:
    """Steps of one batch; where samples leave it, another one is needed.

    Args:
        inputs: of the second pass, as the library keeps them; the cache is ``roomy``.
    """

    def __init__(self, model: Any, inputs: dict[str, Any]):
        cache: Cache = inputs[CACHE]
        mask: torch.Tensor = inputs["attention_mask"]
        self.model, self.done = model, 0
        self.replay: Callable[[], None]
        self.mask = mask.new_ones(len(mask), cache.get_max_length())
        self.mask[:, : mask.shape[1]] = mask
        self.inputs: dict[str, Any] = inputs

    def __call__(self, said: torch.Tensor) -> Any:
        """The outputs of the pass over the last of what was ``said`` [batch, sequence]; the next call replaces them."""
        if self.done == 0:
            self.named = self.model.prepare_inputs_for_generation(said, next_sequence_length=1, **self.inputs)
            self.named["attention_mask"] = self.mask
            self.made = self._pass()  # as itself: what libraries set up at first is no part of a step
        else:
            self.named["input_ids"].copy_(said[:, -1:])
            if self.named.get("position_ids") is not None:
                self.named["position_ids"].add_(1)
            if self.done == 1:
                self.replay, self.made = captured(self._pass)
            self.replay()
        self.done += 1
        return self.made

    def _pass(self) -> Any:
        return self.model(**self.named)
