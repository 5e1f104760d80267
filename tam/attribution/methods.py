"""The methods that need the model: name -> what it needs and its function. One pass serves all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from tam.attribution import cams, rollout
from tam.attribution.forced import Forced, forced, layers_of
from tam.attribution.gradients import ON_GPU, RULES, Backward
from tam.attribution.lrp import Course, Rule
from tam.attribution.occlusion import Shown, occlusion
from tam.attribution.surgery import surgery
from tam.errors import InputError, ModelError
from tam.model.loaded import Loaded
from tam.model.question import Question
from tam.records import Generation, Scores
from tam.system.foreign import out_of_memory

NO_MEMORY = "out of memory ({})"

AttentionLayers = Literal["last", "all"] | tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """How scores are computed.

    Attributes:
        chunk: tokens a backward pass; None: one on a CPU, as many as fit on a GPU.
        prompt: whether gradient methods explain the user's words, too.
        attention_layers: which layers, from 1, "attention" is the mean of: of those without a sliding window, the last
            or all; or just these.
        answer_layer: depth of the layer that "llava-cam" reads, as a share of all.
        surgery_layers: how many of the last layers the second path of "archi-surgery" goes through.
        occlusion_cells, occlusion_step: side of a window, and from one to the next, in cells of the grid.
        occlusion_fill: what a window is painted with: the mean colour of the picture.
    """

    chunk: int | None = None
    prompt: bool = False
    attention_layers: AttentionLayers = "last"
    answer_layer: float = 0.9
    surgery_layers: Literal["half"] | int = "half"
    occlusion_cells: int = 4
    occlusion_step: int = 3
    occlusion_fill: Literal["mean"] = "mean"


@dataclass(frozen=True)
class Attributed:
    """What was found of one answer.

    Attributes:
        logits: float32 [answer], of each token's own class.
        scores: method -> its scores, or why there are none.
        notes: method -> what a reader should know of its scores.
    """

    logits: np.ndarray
    scores: dict[str, Scores | str]
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What methods without a gradient read: float32.

    Attributes:
        states: [sequence, width]. weights: [token, width].
    """

    forced: Forced
    settings: Settings
    norm: Callable[[torch.Tensor], torch.Tensor]
    states: torch.Tensor
    weights: torch.Tensor


def attribute(
    loaded: Loaded, question: Question, generation: Generation, methods: Sequence[str], settings: Settings,
    media: Shown | None = None,
) -> Attributed:  # fmt: skip
    """Scores of one answer by several methods, all from one pass; the model is left as it was.

    Memory beside the weights, in bytes, for N positions of width D (that of all query heads, where it is the larger)
    and inner width I, L layers, H query heads, numbers of s bytes: H N² s of one layer, and for "rollout" 4 L N². For
    gradients at most L N (18 D + 4 I) s, the graph, and L H N² s, the attention of all layers, where that is not above
    ``tap.KEPT_BYTES``; in the backward pass for each token of a chunk 16 H N², of one layer at a time, also where
    attention is not held. What does not fit costs the methods that need it, of this answer.

    A method's scores are the same to the bit whichever others are asked for.

    Args:
        question: the prompt with the cached answer as its text. media: what was shown, for "occlusion".

    Raises:
        InputError: an unknown method, or layers that there are not. ModelError: of a kind that is not understood, or
            in float16 with a method that needs gradients.
    """
    check(loaded, methods, settings)
    rules = {name: RULES[name] for name in methods if name in RULES}
    scores: dict[str, Scores | str] = {}
    try:
        made, course = _pass(loaded, question, methods, settings, Course() if rules else None)
    except Exception as error:
        if not rules or not out_of_memory(error):
            raise
        scores |= {name: NO_MEMORY.format(name) for name in rules}
        rules = {}
        made, course = _pass(loaded, question, methods, settings, None)
    seen = Seen(made, settings, loaded.norm, made.states[0].detach().float(), made.weights.float())
    with torch.no_grad():
        scores |= {name: FORWARD[name](seen) for name in methods if name in FORWARD}
    if course is not None:
        scores |= _by_gradients(made, course, rules, settings)
    answer = made.logits[made.places.words :]
    if "occlusion" in methods:
        scores["occlusion"] = _occlusion(loaded, question, media, settings, made.places.words)
    return Attributed(answer, {name: scores[name] for name in methods}, _notes(made, methods, settings))


def check(loaded: Loaded, methods: Sequence[str], settings: Settings) -> None:
    """Whether a model can be explained so; raises as ``attribute``."""
    if unknown := [name for name in methods if name not in METHODS]:
        raise InputError("no such method", got=", ".join(unknown), expected=", ".join(METHODS))
    layers = len(layers_of(loaded))
    first_of_second_path(layers, settings)
    inner_layer(layers, settings, loaded.borrowing)
    if "attention" in methods:
        attention_layers(settings.attention_layers, dict.fromkeys(range(layers)))
    if not 1 <= settings.occlusion_step <= settings.occlusion_cells:
        raise InputError(
            "windows that leave cells out", where="occlusion_step", got=settings.occlusion_step,
            expected=f"1 to {settings.occlusion_cells}, their side",
        )  # fmt: skip
    weight = loaded.head.weight
    if weight.is_meta:
        raise ModelError("the head's weights are not held in memory", cure="a larger device, or a smaller model")
    if weight.dtype == torch.float16 and (found := [name for name in methods if name in RULES]):
        raise ModelError(
            "gradients underflow in float16", got=", ".join(found),
            cure="answer in bfloat16 or float32, or leave them out",
        )  # fmt: skip


def _pass(
    loaded: Loaded, question: Question, methods: Sequence[str], settings: Settings, course: Course | None
) -> tuple[Forced, Course | None]:
    layers = len(layers_of(loaded))
    asked = course is not None and "llava-cam" in methods
    inner = inner_layer(layers, settings, loaded.borrowing) if asked else None
    second = first_of_second_path(layers, settings) if "archi-surgery" in methods else None
    return forced(
        loaded, question, means="rollout" in methods, surgery=second, course=course, inner=inner
    ), course  # fmt: skip


def _by_gradients(
    made: Forced, course: Course, rules: Mapping[str, Rule], settings: Settings
) -> dict[str, Scores | str]:
    """Scores of all methods with a gradient, a rule after the other."""
    explained = explained_by_gradients(made, settings)
    tokens = torch.from_numpy(np.flatnonzero(explained)).to(made.places.own.device)
    backward = Backward(made, course, settings.chunk or (ON_GPU if made.states.is_cuda else 1))
    scores: dict[str, Scores | str] = {}
    waiting = _together(rules)
    while waiting:
        names = waiting.pop(0)
        try:
            rows = backward.rows(names, tokens)
        except Exception as error:
            if not out_of_memory(error):
                raise
            if len(names) == 1:
                scores[names[0]] = NO_MEMORY.format(names[0])
            else:
                waiting = [*([name] for name in names), *waiting]
            continue
        for name, found in rows.items():
            whole = found.new_zeros(len(explained), found.shape[1]).index_copy(0, tokens, found)
            image, text = whole[:, made.places.vision], whole[:, made.places.own]
            scores[name] = Scores(image.cpu().numpy(), text.cpu().numpy(), explained)
    return scores


def explained_by_gradients(made: Forced, settings: Settings) -> np.ndarray:
    """bool [token]: the answer's, and if asked for those of the user's words that are predicted without being seen."""
    explained = np.ones(len(made.places.own), bool)
    words = made.places.words
    explained[:words] = settings.prompt & ~made.tap.ahead[:words]
    return explained


def _together(rules: Mapping[str, Rule]) -> list[list[str]]:
    return [[name for name in rules if rules[name] == rule] for rule in dict.fromkeys(rules.values())]


def inner_layer(layers: int, settings: Settings, borrowing: int = 0) -> int:
    """The layer, from 0, that "llava-cam" reads; behind the last keys and values no vision token has a gradient.

    Args:
        borrowing: how many of the last layers read keys and values of earlier ones.

    Raises:
        InputError: a depth that is none.

    >>> inner_layer(35, Settings()), inner_layer(35, Settings(), borrowing=15)
    (31, 18)
    """
    if not 0 < settings.answer_layer <= 1:
        raise InputError(
            "wrong depth", where="answer_layer", got=settings.answer_layer, expected="a share of the layers"
        )
    return max(1, min(layers - borrowing - 1, round(settings.answer_layer * layers))) - 1


def _occlusion(loaded: Loaded, question: Question, media: Shown | None, settings: Settings, words: int) -> Scores | str:
    if media is None or question.text is None:
        return "no picture was handed over"
    try:
        drops = occlusion(
            loaded, question.prepared, media, question.text, settings.occlusion_cells, settings.occlusion_step
        )  # fmt: skip
    except Exception as error:
        if not out_of_memory(error):
            raise
        return NO_MEMORY.format("occlusion")
    image = np.concatenate([np.zeros((words, drops.shape[1]), np.float32), drops])
    return Scores(image, None, np.arange(len(image)) >= words)


def _notes(made: Forced, methods: Sequence[str], settings: Settings) -> dict[str, str]:
    found = {"attention": attention_note(made, settings)} if "attention" in methods else {}
    if settings.prompt and made.tap.ahead[: made.places.words].any():
        said = "words of the prompt see what follows them, so gradients do not explain them"
        found |= {name: said for name in methods if name in RULES}
    return found


def first_of_second_path(layers: int, settings: Settings) -> int:
    """The layer, from 0, at which the second path of surgery begins; InputError: there are not so many."""
    wanted = layers - layers // 2 if settings.surgery_layers == "half" else settings.surgery_layers
    if not 1 <= wanted <= layers:
        raise InputError("no such number of layers", where="surgery_layers", got=wanted, expected=f"1 to {layers}")
    return layers - wanted


def attention_layers(which: AttentionLayers, windows: Mapping[int, int | None]) -> list[int]:
    """Layers, from 0: chosen among those without a sliding window, if there is one.

    Args:
        windows: layer -> its sliding window, or None.

    Raises:
        InputError: there is no such layer.

    >>> attention_layers("last", {0: None, 1: None, 2: 512}), attention_layers((1, 3), {0: None, 1: None, 2: 512})
    ([1], [0, 2])
    """
    if not isinstance(which, str):
        if not which or not {layer - 1 for layer in which} <= windows.keys():  # others have linear attention
            there = f"1 to {len(windows)}" if len(windows) == max(windows) + 1 else sorted(one + 1 for one in windows)
            raise InputError("no such layer", where="attention_layers", got=which, expected=there)
        return [layer - 1 for layer in which]
    known = sorted(windows)
    full = [layer for layer in known if windows[layer] is None] or known
    return full if which == "all" else full[-1:]


def attention_note(made: Forced, settings: Settings) -> str:
    layers = attention_layers(settings.attention_layers, made.tap.windows)
    return "of layer " + ", ".join(str(layer + 1) for layer in layers) + f" of {len(made.tap.windows)}"


# ---- methods without a gradient


def _along_the_sequence(seen: Seen, rows: torch.Tensor) -> Scores:
    """Of scores [token, sequence], each text token's at its own position."""
    places = seen.forced.places
    return _scores(rows[:, places.vision], rows[:, places.own])


def _of_states(seen: Seen, rows: torch.Tensor) -> Scores:
    """Of scores [token, sequence] that are read from states, each text token's at the state that stands for it."""
    places = seen.forced.places
    return _scores(rows[:, places.vision], rows[:, places.states])


def _scores(image: torch.Tensor, text: torch.Tensor) -> Scores:
    return Scores(image.cpu().numpy(), text.cpu().numpy(), np.ones(len(image), bool))


def _gradcam(seen: Seen) -> Scores:
    return _of_states(seen, cams.gradcam(seen.states, seen.weights))


def _gradcam_plus_plus(seen: Seen) -> Scores:
    vision = seen.states[seen.forced.places.vision]
    return _of_states(seen, cams.gradcam_plus_plus(seen.states, vision, seen.weights))


def _layercam(seen: Seen) -> Scores:
    return _of_states(seen, cams.layercam(seen.states, seen.weights))


def _attention(seen: Seen) -> Scores | str:
    """Of the layers that were chosen; a token whose sliding window holds no picture is not explained."""
    tap = seen.forced.tap
    layers = attention_layers(seen.settings.attention_layers, tap.windows)
    made = _along_the_sequence(seen, rollout.attention(torch.stack([tap.row_means[layer] for layer in layers])))
    if all(tap.windows[layer] is None for layer in layers):
        return made
    inside = made.image.any(1)
    if not inside.any():
        return f"the picture lies outside of the sliding window of {tap.windows[layers[0]]} tokens"
    return Scores(made.image, made.text, np.asarray(inside))


def _rollout(seen: Seen) -> Scores:
    means = [seen.forced.tap.all_means[layer] for layer in sorted(seen.forced.tap.all_means, reverse=True)]
    return _along_the_sequence(seen, rollout.rollout(seen.forced.places.predicting, means))


def _archi_surgery(seen: Seen) -> Scores | str:
    made = seen.forced
    if made.entering.ndim != 3:
        return "states are several streams (AltUp): what attention gives cannot be added to one"
    second = surgery(
        made.entering[0, made.places.vision], [made.tap.second[layer] for layer in sorted(made.tap.second)], seen.norm
    )
    text = cams.gradcam(seen.states[made.places.states], seen.weights)
    return _scores(cams.gradcam(second, seen.weights), text)


FORWARD: dict[str, Callable[[Seen], Scores | str]] = {
    "gradcam": _gradcam, "gradcam++": _gradcam_plus_plus, "layercam": _layercam, "attention": _attention,
    "rollout": _rollout, "archi-surgery": _archi_surgery,
}  # fmt: skip

METHODS = (
    "gradcam", "gradcam++", "layercam", "attention", "rollout", "gradrollout", "gae", "cp-lrp", "attnlrp",
    "archi-surgery", "llava-cam", "inputxgradient", "occlusion",
)  # fmt: skip
