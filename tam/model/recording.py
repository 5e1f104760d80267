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
from tam.model.head import best_of
from tam.model.loaded import Loaded


@dataclass(frozen=True)
class Recording:
    """What was kept of each pass of the model.

    Attributes:
        states: [batch, position, width], what the head reads.
        best: of the last position, what ``best_of`` gives.
        inner: as ``states``, of the chosen layer, before the final norm; none where no layer is chosen.
    """

    states: list[torch.Tensor] = field(default_factory=list)
    best: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = field(default_factory=list)
    inner: list[torch.Tensor] = field(default_factory=list)


def check_layer(loaded: Loaded, layer: int | None) -> None:
    """Raises:
    InputError: the decoder has no such layer. ModelError: it is not a list of layers with a norm behind them.
    """
    if layer is None:
        return
    decoder = loaded.decoder
    if not (hasattr(decoder, "layers") and hasattr(decoder, "norm")):
        raise ModelError("no list of layers and final norm is known of this model", got=type(decoder).__name__)
    if not 1 <= layer <= len(decoder.layers):
        raise InputError("no such layer", got=layer, expected=f"1 to {len(decoder.layers)}, the last")


@contextlib.contextmanager
def recording(loaded: Loaded, layer: int | None = None) -> Iterator[Recording]:
    """Keep what the head reads, at every position, the best of what it says, and the states of ``layer``, step by step.

    Generation applies the head to the last position only, so the states of the prompt are taken where they leave the
    base model. ``output_hidden_states`` would keep every layer's. Those of a layer are taken where the next one (or the
    final norm) reads them, so that what a model adds in between (Qwen3-VL: features of the picture) is in them.
    """
    check_layer(loaded, layer)
    made = Recording()

    def keep_states(module: torch.nn.Module, inputs: object, output: Any) -> None:
        made.states.append(output.last_hidden_state)

    def keep_best(module: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if not made.best and not torch.equal(inputs[0][:, -1].nan_to_num(), made.states[0][:, -1].nan_to_num()):
            raise ModelError(
                "the output head does not read the last states of the base model", where=type(loaded.model).__name__,
                cure="the family needs a hook of its own",
            )  # fmt: skip
        made.best.append(best_of(output[:, -1]))

    def keep_inner(
        module: torch.nn.Module, positional: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]
    ) -> None:
        made.inner.append(positional[0] if positional else named["hidden_states"])

    handles = [loaded.base.register_forward_hook(keep_states), loaded.head.register_forward_hook(keep_best)]
    if layer is not None:
        decoder = loaded.decoder
        reader = decoder.layers[layer] if layer < len(decoder.layers) else decoder.norm
        handles.append(reader.register_forward_pre_hook(keep_inner, with_kwargs=True))
    try:
        yield made
    finally:
        for handle in handles:
            handle.remove()


def states_of(loaded: Loaded, made: Recording, layer: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Of all passes together, [batch, position, width]: what the head reads, and what it would read if ``layer`` were
    the last."""
    states = torch.cat(made.states, dim=1)
    return states, states if layer is None else loaded.decoder.norm(torch.cat(made.inner, dim=1))
