"""A step that is captured and replayed: there is no CUDA device here, so what it starts is recorded and done again."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tam.model import graph, loop
from tam.model.decoding import answer_batch
from tests import tiny
from tests.test_loop import READING, asked, ending, same

LIMIT = 20
# Sliding windows, whose cache runs Python by where it stands, and states of another kind than keys and values.
OTHERS = {
    "llava_next", "gemma3", "gemma3n", "gemma4", "gemma4_unified", "lfm2_vl", "llama4", "minicpmv4_6", "minicpmv4_7",
    "mistral3", "pixtral", "qwen3_5", "qwen3_5_moe",
}  # fmt: skip


class Recorder(TorchDispatchMode):
    """As a CUDA graph: operations with the addresses of what they read and write; Python is not run again."""

    def __init__(self):
        super().__init__()
        self.operations: list[tuple[Callable, tuple, dict, Any]] = []
        self.before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with self:
            made = function.decompose(*args, **kwargs)
        if made is not NotImplemented:
            return made
        assert function.overloadpacket.__name__ not in READING, f"the host reads: {function}"
        if function._schema.is_mutable:
            self.before.setdefault(id(args[0]), (args[0], args[0].clone()))
        made = function(*args, **kwargs)
        self.operations.append((function, args, kwargs, made))
        return made

    def replay(self) -> None:
        for function, args, kwargs, made in self.operations:
            again = function(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def recorded(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """In place of ``captured``, which does not do what it captures: what was changed is put back."""
    recorder = Recorder()
    with recorder:
        made = work()
    for tensor, before in recorder.before.values():
        tensor.copy_(before)
    return recorder.replay, made


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_a_replayed_step_says_what_a_step_says(kind, monkeypatch):
    """Prompts of different lengths, answers that end at different places; the model itself runs in two steps alone."""
    loaded, prepared = asked(kind)
    assert (graph.roomy(loaded.model, 8) is None) == (kind in OTHERS)
    if kind in OTHERS:
        return
    ending(loaded, prepared)
    expected = answer_batch(loaded, prepared, LIMIT)
    passes, addresses = [], set()
    monkeypatch.setattr(graph, "captured", recorded)
    monkeypatch.setattr("tam.model.decoding.decode", partial(loop.decode, graphed=True))
    handle = loaded.base.register_forward_hook(lambda *_: passes.append(1))
    step = graph.Replayed.__call__

    def seen(self, said):
        made = step(self, said)
        if self.done > 1:
            addresses.add((made.logits.data_ptr(), self.named["input_ids"].data_ptr(), self.mask.data_ptr()))
        return made

    monkeypatch.setattr(graph.Replayed, "__call__", seen)
    found = answer_batch(loaded, prepared, LIMIT)
    handle.remove()
    same(found, expected, 1e-4)
    assert len(passes) == 3 and len(addresses) == 1  # the prompts, one as itself, one captured


def test_where_samples_leave_a_step_is_captured_anew(monkeypatch):
    monkeypatch.setattr(loop, "LOOK", 2)
    monkeypatch.setattr(loop, "FEWEST", 1)
    loaded, prepared = asked("qwen2_vl", 4)
    ending(loaded, prepared)
    expected, captures = answer_batch(loaded, prepared, LIMIT), []
    monkeypatch.setattr(graph, "captured", lambda work: captures.append(1) or recorded(work))
    monkeypatch.setattr("tam.model.decoding.decode", partial(loop.decode, graphed=True))
    same(answer_batch(loaded, prepared, LIMIT), expected, 1e-4)
    assert len(captures) > 1
