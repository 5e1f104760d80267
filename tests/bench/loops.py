"""The loop that decodes beside the library's own: the same model, the same batch, no answer ends by itself."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch

from tam.model.attention import fused_without_plans, joined_pictures
from tam.model.collate import collate
from tam.model.loaded import Loaded
from tam.model.loop import decode
from tam.model.prompt import Prepared
from tam.model.recording import recording
from tests.bench.result import NONE

Seconds = Callable[[Callable[[], object]], float]
NO_END = np.zeros(0, np.int64)


def loops(loaded: Loaded, ready: Sequence[Prepared], length: int, seconds: Seconds) -> dict[str, object]:
    """How many times as fast as the library's loop, which waits for the longest answer, and milliseconds a step.

    Both with the prefill: of answers all as long, and of answers from 1 token to twice the mean. A step of one sample
    takes a card what the host takes to start it.
    """
    gpu, whole, alone = loaded.device.type == "cuda", _batch(loaded, ready), _batch(loaded, ready[:1])
    even, uneven = np.full(len(ready), length), np.linspace(1, 2 * length, len(ready)).round().astype(np.int64)

    def step(inputs: dict[str, torch.Tensor], cudnn: bool = False, graphed: bool = False) -> float:
        """Milliseconds."""
        count = len(inputs["input_ids"])
        one, all = (seconds(lambda n=n: _ours(loaded, inputs, np.full(count, n), cudnn, graphed)) for n in (1, length))
        return 1000 * (all - one) / (length - 1)

    with torch.inference_mode():
        return {
            "loop / plain generate": _times(loaded, whole, even, seconds),
            "longest twice the mean": _times(loaded, whole, uneven, seconds),
            "a step, ms": step(whole),
            "a step of one sample, ms": step(alone),
            "a step with cuDNN, ms": step(whole, cudnn=True) if gpu else NONE,
            "a step as a CUDA graph, ms": step(whole, graphed=True) if gpu else NONE,
        }


def _times(loaded: Loaded, inputs: dict[str, torch.Tensor], lengths: np.ndarray, seconds: Seconds) -> float:
    most = int(lengths.max())
    theirs = seconds(lambda: loaded.model.generate(**inputs, max_new_tokens=most))
    return theirs / seconds(lambda: _ours(loaded, inputs, lengths))


def _ours(
    loaded: Loaded, inputs: dict[str, torch.Tensor], lengths: np.ndarray, cudnn: bool = False, graphed: bool = False
) -> None:
    with nullcontext() if cudnn else fused_without_plans(), joined_pictures(loaded), recording(loaded) as last:
        ours = partial(decode, last, NO_END, lengths, graphed=graphed)
        loaded.model.generate(**inputs, max_new_tokens=int(lengths.max()), custom_generate=ours)


def _batch(loaded: Loaded, ready: Sequence[Prepared]) -> dict[str, torch.Tensor]:
    return collate([one.to(loaded.device) for one in ready], loaded.padding)
