"""One teacher-forced pass over a prompt and its answer, and the gradients of its tokens' logits.

Every token's logit is read where it is predicted, one position before its own. What enters the decoder is a leaf, and
so is what a model adds to its states later (Qwen3-VL's deepstack features): that is where the grid lies, and the
vision tower needs no gradient. A tap reads attention on the way.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from tam.attribution.attention import LastAttention
from tam.attribution.lrp import Course, ruled
from tam.attribution.tap import Tap, tapped
from tam.errors import ModelError
from tam.layout import Layout
from tam.model.attention import fused_without_plans
from tam.model.collate import with_answer
from tam.model.loaded import Loaded
from tam.model.question import Question
from tam.model.recording import recording


@dataclass(frozen=True)
class Places:
    """Positions of what is explained, and of what is read, int64. Tokens: the user's words, then the answer.

    Attributes:
        ids: [token], their classes. vision: [vision], of the vision tokens.
        own: [token], where it stands. predicting: [token], where its logit is read: one before.
        states: [token], whose state stands for it as text: of a word its own, of the answer the predicting one.
        words: how many tokens are the user's.
    """

    ids: torch.Tensor
    vision: torch.Tensor
    own: torch.Tensor
    predicting: torch.Tensor
    states: torch.Tensor
    words: int

    @classmethod
    def of(cls, layout: Layout, tokens: np.ndarray, device: torch.device) -> "Places":
        """``tokens``: [sequence], of prompt and answer."""
        answer = np.arange(layout.answer, len(tokens))
        own = np.concatenate([layout.prompt, answer])
        states = np.concatenate([layout.prompt, answer - 1])
        arrays = [tokens[own], layout.vision, own, own - 1, states]
        found = [torch.from_numpy(array.astype(np.int64)).to(device) for array in arrays]
        ids, vision, places, predicting, reading = found
        return cls(ids, vision, places, predicting, reading, len(layout.prompt))


@dataclass
class Leaves:
    """What enters the decoder, and where the gradient is read.

    Attributes:
        embeddings: [1, sequence, width].
        features: [position, width] each, what is added later. positions: int64 [position] each, where.
        inner: [1, sequence, width], what the MLP of the layer that was asked for reads.
        last: [1, sequence, width], what the last layer reads; of AltUp [stream, 1, sequence, width].
        biases: a bias of the decoder each, and zeros that are added like it, whose gradient is its own.
    """

    embeddings: torch.Tensor = field(init=False)
    features: list[torch.Tensor] = field(default_factory=list)
    positions: list[torch.Tensor] = field(default_factory=list)
    inner: torch.Tensor | None = None
    biases: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    last: torch.Tensor = field(init=False)


@dataclass(frozen=True)
class Forced:
    """What one pass gave.

    Attributes:
        states: [1, sequence, width], what the head reads. entering: [1, sequence, width], what the first layer of
            the second path reads; of AltUp [stream, 1, sequence, width].
        weights: [token, width], the head's row of each token's class. logits: float32 [token], at the predicting
            position, as the head computes them.
    """

    places: Places
    tap: Tap
    leaves: Leaves
    states: torch.Tensor
    entering: torch.Tensor
    weights: torch.Tensor
    logits: np.ndarray

    @property
    def last(self) -> LastAttention:
        """ValueError: the pass made no graph."""
        if self.tap.last is None:
            raise ValueError("the pass made no graph")
        return self.tap.last


def forced(
    loaded: Loaded, question: Question, *, means: bool = False, surgery: int | None = None,
    course: Course | None = None, inner: int | None = None, biases: bool = False,
) -> Forced:  # fmt: skip
    """One pass; the model is left as it was.

    Args:
        question: with the answer as its text.
        means, surgery: see ``Tap``. course: of the gradients to come; None: none will.
        inner: the layer, from 0, whose MLP's input is kept. biases: make leaves of what the decoder adds, too.

    Raises:
        ModelError: of a kind that is not understood.
    """
    if question.text is None:
        raise ValueError("a question without the answer")
    decoder, device = loaded.decoder, loaded.device
    whole = with_answer(question.prepared.to(device), question.text, loaded.family.answer_type)
    places = Places.of(question.prepared.layout, whole.tokens, device)
    layers = layers_of(loaded)
    tap = Tap(places.predicting, places.vision, len(layers), means, surgery, course)
    leaves = Leaves()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(course is not None))
        stack.enter_context(fused_without_plans())
        stack.enter_context(loaded.evaluating())
        stack.enter_context(frozen(loaded.model))
        stack.enter_context(tapped(decoder, tap))
        stack.enter_context(_entrance(decoder, leaves, course is not None))
        if course is not None:
            stack.enter_context(ruled(decoder, course))
        if biases:
            stack.enter_context(_shifted(decoder, leaves))
        reading = stack.enter_context(_reading({layers[-1], layers[surgery or 0]}))
        if inner is not None:
            stack.enter_context(_inner(layers[inner], leaves))
        kept = stack.enter_context(recording(loaded))
        loaded.model(**{"logits_to_keep": 1} | loaded.batch([whole], left=False), use_cache=False)
        states = kept.states
        with torch.no_grad():
            logits = loaded.head(states[0, places.predicting]).float().gather(1, places.ids[:, None])[:, 0]
            weights = loaded.head.weight[places.ids]
    leaves.last, entering = reading[layers[-1]], reading[layers[surgery or 0]].detach()
    return Forced(places, tap, leaves, states, entering, weights, logits.cpu().numpy())


def layers_of(loaded: Loaded) -> Any:
    """The decoder's layers; ModelError: it is no list of layers with a norm behind them."""
    decoder = loaded.decoder
    if not hasattr(decoder, "layers") or loaded.norm is None:
        raise ModelError("no list of layers and final norm is known of this model", got=type(decoder).__name__)
    return decoder.layers


@contextlib.contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """Weights need no gradient; afterwards those do that did before."""
    before = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in before:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in before:
            weight.requires_grad_(True)


@contextlib.contextmanager
def _entrance(decoder: torch.nn.Module, leaves: Leaves, graph: bool) -> Iterator[None]:
    """What enters the decoder becomes leaves."""

    def enter(module: torch.nn.Module, positional: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        embeddings = named["inputs_embeds"].detach().requires_grad_(graph)
        leaves.embeddings, made = embeddings, {"inputs_embeds": embeddings}
        for name, value in named.items():
            if isinstance(value, list | tuple) and value and all(_is_features(one, embeddings) for one in value):
                made[name] = [one.detach().to(embeddings.dtype).requires_grad_(graph) for one in value]
                leaves.features += made[name]
                leaves.positions += [_positions(named, len(one)) for one in made[name]]
        return positional, named | made

    handle = decoder.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _is_features(value: object, embeddings: torch.Tensor) -> bool:
    """[position, width], to be added to the states of some positions."""
    return isinstance(value, torch.Tensor) and value.ndim == 2 and value.shape[1] == embeddings.shape[2]


def _positions(named: Mapping[str, Any], count: int) -> torch.Tensor:
    """int64 [count], of the features that are added later: the decoder is told by a mask."""
    masks = [value for value in named.values() if isinstance(value, torch.Tensor) and value.dtype == torch.bool]
    for mask in masks:
        if mask.ndim == 2 and int(mask.sum()) == count:
            return mask[0].nonzero()[:, 0]
    raise ModelError("features enter the decoder at unknown positions", got=f"{count} of them")


@contextlib.contextmanager
def _shifted(decoder: torch.nn.Module, leaves: Leaves) -> Iterator[None]:
    """Each bias gets a leaf beside it."""
    handles = []
    for part in decoder.modules():
        bias = part._parameters.get("bias")  # its own: a wrapper shows that of what it wraps
        if bias is not None:
            zeros = torch.zeros_like(bias).requires_grad_()
            leaves.biases.append((bias.detach(), zeros))
            handles.append(part.register_forward_hook(lambda module, inputs, output, zeros=zeros: output + zeros))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _inner(layer: torch.nn.Module, leaves: Leaves) -> Iterator[None]:
    mlp = getattr(layer, "mlp", None)
    if mlp is None:
        raise ModelError("no MLP is known of this layer", got=type(layer).__name__)

    def keep(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        leaves.inner = inputs[0]

    handle = mlp.register_forward_pre_hook(keep)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _reading(layers: Iterable[torch.nn.Module]) -> Iterator[dict[torch.nn.Module, torch.Tensor]]:
    """Layer -> [1, sequence, width], of AltUp [stream, 1, sequence, width], what it reads."""
    read: dict[torch.nn.Module, torch.Tensor] = {}

    def keep(module: torch.nn.Module, positional: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]) -> None:
        read[module] = positional[0] if positional else named["hidden_states"]

    handles = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers]
    try:
        yield read
    finally:
        for handle in handles:
            handle.remove()
