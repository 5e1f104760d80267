"""Keep what the head reads while a model runs.

A hook keeps the last layer's normalised states (what the output head reads), one vector a position; another, where
another layer is asked for, that layer's.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from tam.errors import InputError, ModelError
from tam.model.altup import joined
from tam.model.loaded import Loaded


@dataclass
class Recording:
    """What the model's last pass left.

    Attributes:
        states: [batch, position, width], what the head reads.
        logits: [batch, vocabulary], what the head says of the last position.
        inner: as ``states``, of the chosen layer, before the final norm; None where no layer is chosen.
    """

    states: torch.Tensor = field(init=False)
    logits: torch.Tensor = field(init=False)
    inner: torch.Tensor | None = None


def check_layer(loaded: Loaded, layer: int | None) -> None:
    """Raises:
    InputError: the decoder has no such layer. ModelError: it is not a list of layers with a norm behind them.
    """
    if layer is None:
        return
    decoder = loaded.decoder
    if not hasattr(decoder, "layers") or loaded.norm is None:
        raise ModelError("no list of layers and final norm is known of this model", got=type(decoder).__name__)
    if not 1 <= layer <= len(decoder.layers):
        raise InputError("no such layer", got=layer, expected=f"1 to {len(decoder.layers)}, the last")


@contextlib.contextmanager
def recording(loaded: Loaded, layer: int | None = None) -> Iterator[Recording]:
    """Keep what the head reads, at every position, what it says of the last one, and the states of ``layer``.

    Generation applies the head to the last position only, so the states of the prompt are taken where they leave the
    base model. ``output_hidden_states`` would keep every layer's. Those of a layer are taken where the next one (or the
    final norm) reads them, so that what a model adds in between (Qwen3-VL: features of the picture) is in them. Logits
    are taken from the head itself: some models still bend them (Gemma's soft cap), and maps are read from the head.
    """
    check_layer(loaded, layer)
    last, checked = Recording(), False

    def keep_states(module: torch.nn.Module, inputs: object, output: Any) -> None:
        last.states = output.last_hidden_state

    def keep_logits(module: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal checked
        if not checked and not torch.equal(inputs[0][:, -1].nan_to_num(), last.states[:, -1].nan_to_num()):
            raise ModelError(
                "the output head does not read the last states of the base model", where=type(loaded.model).__name__,
                cure="the family needs a hook of its own",
            )  # fmt: skip
        last.logits, checked = output[:, -1], True

    def keep_inner(
        module: torch.nn.Module, positional: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]
    ) -> None:
        states = positional[0] if positional else named["hidden_states"]
        last.inner = states if states.ndim == 3 else joined(loaded.decoder, states)

    handles = [loaded.base.register_forward_hook(keep_states), loaded.head.register_forward_hook(keep_logits)]
    if layer is not None:
        decoder = loaded.decoder
        reader = decoder.layers[layer] if layer < len(decoder.layers) else loaded.norm
        handles.append(reader.register_forward_pre_hook(keep_inner, with_kwargs=True))
    try:
        yield last
    finally:
        for handle in handles:
            handle.remove()


def read_of(loaded: Loaded, states: torch.Tensor, inner: torch.Tensor | None) -> torch.Tensor:
    """[batch, position, width], what maps are read from: what the head would read if the chosen layer were the last."""
    return states if inner is None else loaded.norm(inner)
