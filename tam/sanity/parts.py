"""The parts of a model, from the picture to the answer, whose weights are drawn anew and restored.

Adebayo et al.: Sanity Checks for Saliency Maps, NeurIPS 2018. Matrices are drawn from N(0, their own standard
deviation); norms and biases stay, so that states keep their size.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tam.errors import ModelError
from tam.model.loaded import Loaded

QUARTERS = 4
TOP_DOWN, BOTTOM_UP, INDEPENDENT = "top_down", "bottom_up", "independent"
ORDERS = (BOTTOM_UP, INDEPENDENT, TOP_DOWN)


@dataclass(frozen=True)
class Part:
    """A part of a model: its matrices, name -> weight."""

    name: str
    matrices: dict[str, torch.Tensor]


def parts_of(loaded: Loaded) -> list[Part]:
    """Tower, projector, decoder and head, tower and decoder in quarters of their layers.

    The tower's layers are the longest list of layers of what sees; what is registered before them (patch embedding)
    goes with its first quarter, what comes after them is the projector; what a decoder has outside of its layers goes
    with their first quarter. Word embeddings are no part: they are the prompt, not what is computed from it.

    Raises:
        ModelError: a model without such lists, or a head that is the word embedding (``untied`` first); weights that
            cannot be drawn: quantised, or not held in memory.
    """
    model, decoder, head = loaded.model, loaded.decoder, loaded.head
    if loaded.quantised or any(weight.is_meta for weight in model.parameters()):
        raise ModelError(
            "weights cannot be drawn anew that are quantised, or not held in memory", got=type(model).__name__,
            cure="answer with a smaller model, as it is stored",
        )  # fmt: skip
    if head.weight is model.get_input_embeddings().weight:
        raise ModelError("the head is the word embedding", got=type(model).__name__, cure="untie it first")
    names = {id(weight): name for name, weight in model.named_parameters()}
    inside, of_head = {id(weight) for weight in decoder.parameters()}, {id(weight) for weight in head.parameters()}
    found = _tower(model, decoder)
    if not found or not hasattr(decoder, "layers"):
        raise ModelError("no layers of a tower and a decoder are known of this model", got=type(model).__name__)
    tower = [[*layer.parameters()] for layer in found]
    of_tower = {id(weight) for layer in tower for weight in layer}
    seeing = [weight for weight in model.parameters() if id(weight) not in inside | of_head]
    places = [place for place, weight in enumerate(seeing) if id(weight) in of_tower]
    tower[0] = [*seeing[: places[0]], *tower[0]]
    layers = [[*layer.parameters()] for layer in decoder.layers]
    layers[0] = [*_between(decoder), *layers[0]]
    groups: dict[str, Sequence[torch.Tensor]] = {
        **_quarters("tower", tower),
        "projector": seeing[places[-1] + 1 :],
        **_quarters("decoder", layers),
        "head": [*head.parameters()],
    }
    return [
        Part(name, {names[id(weight)]: weight for weight in weights if _is_matrix(weight)})
        for name, weights in groups.items()
    ]


def _tower(model: Any, decoder: Any) -> list[torch.nn.Module]:
    """The layers of what sees, of timm's (Gemma 3n) the blocks of all stages; none where patches enter the decoder."""
    seeing = model.get_encoder("image")
    if (timm := getattr(seeing, "timm_model", None)) is not None:
        return [block for stage in timm.blocks for block in stage]
    within = set(decoder.modules())
    lists = [[*one] for one in seeing.modules() if isinstance(one, torch.nn.ModuleList) and one not in within]
    return max(lists, key=len, default=[])


def _between(decoder: Any) -> list[torch.Tensor]:
    """What a decoder has between its word embeddings and its layers, as Gemma 4 has."""
    words = [one.weight for one in decoder.modules() if isinstance(one, torch.nn.Embedding)]
    known = {id(weight) for weight in (*decoder.layers.parameters(), *words)}
    return [weight for weight in decoder.parameters() if id(weight) not in known]


def sequence(parts: Sequence[Part], order: str) -> list[Part]:
    """In which order they are drawn: the others from the picture to the answer, "top_down" from the answer."""
    return [*reversed(parts)] if order == TOP_DOWN else [*parts]


@contextlib.contextmanager
def untied(loaded: Loaded) -> Iterator[None]:
    """A head of its own, if it is the word embedding, which stays as it is; afterwards it is the embedding again."""
    head, tied = loaded.head, loaded.head.weight
    if tied is not loaded.model.get_input_embeddings().weight:
        yield
        return
    head.weight = torch.nn.Parameter(tied.detach().clone(), requires_grad=tied.requires_grad)
    try:
        yield
    finally:
        head.weight = tied


@contextlib.contextmanager
def redrawn(part: Part, seed: int) -> Iterator[None]:
    """Its matrices are random; afterwards they are the ones they were, bit for bit.

    A matrix depends on its name and the seed, not on what was drawn before.
    """
    kept = {name: weight.detach().to("cpu", copy=True) for name, weight in part.matrices.items()}
    try:
        with torch.no_grad():
            for name, weight in part.matrices.items():
                weight.copy_(_random(weight, f"{seed} {name}"))
        yield
    finally:
        with torch.no_grad():
            for name, weight in part.matrices.items():
                weight.copy_(kept[name])


def _random(weight: torch.Tensor, key: str) -> torch.Tensor:
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
    generator = torch.Generator(weight.device).manual_seed(number)
    drawn = torch.empty(weight.shape, dtype=torch.float32, device=weight.device)
    return drawn.normal_(0, float(weight.float().std()), generator=generator)


def _quarters(name: str, layers: Sequence[Sequence[torch.Tensor]]) -> dict[str, list[torch.Tensor]]:
    """Of a list of layers: "NAME 1/4" has the first ones; as many parts as there are layers, if these are fewer."""
    count = min(QUARTERS, len(layers))
    ends = [len(layers) * place // count for place in range(count + 1)]
    return {
        f"{name} {place + 1}/{count}": [weight for layer in layers[ends[place] : ends[place + 1]] for weight in layer]
        for place in range(count)
    }


def _is_matrix(weight: Any) -> bool:
    return weight.ndim > 1 and weight.is_floating_point()
