"""What the published code does around the arithmetic: which tokens it explains, as which classes, in which order.

``find_spans`` and ``plan`` serve both protocols. ``PublishedCode`` behaves as the published entry point does, call by
call, errors included, so that its outputs can be compared. All arithmetic is that of ``tam.core``.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tam import core
from tam.errors import InputError
from tam.protocol import REFERENCE, Protocol

Marker = int | list[int]


# ---- where the parts of a sequence are


@dataclass(frozen=True)
class Spans:
    """Where the vision tokens, the user's words and the answer lie in a sequence, as an index into it."""

    vision: slice | list[int]
    prompt: slice
    answer: slice


def locate(tokens: Sequence[int], marker: Marker, *, last: bool = False) -> int:
    """The position of a marker, -1 without one: of an id the first, of a sequence of ids the last occurrence.

    Args:
        last: of a sequence, the position of its last element instead of its first.
    """
    if isinstance(marker, int):
        return next((position for position, token in enumerate(tokens) if token == marker), -1)
    size = len(marker)
    starts = (start for start in range(len(tokens) - size, -1, -1) if list(tokens[start : start + size]) == marker)
    start = next(starts, -1)
    return start + size - 1 if last and start >= 0 else start


def find_spans(
    tokens: Sequence[int], special_ids: dict[str, list[Marker]], prompt_length: int, protocol: Protocol = REFERENCE
) -> Spans:
    """Search for the markers that surround each part.

    Args:
        special_ids: ``img_id``: an id that all vision tokens have, or start and end; ``prompt_id`` and ``answer_id``:
            start and end. The answer's end is not used.

    Raises:
        InputError: a marker is missing (the published code goes on with position -1).
    """
    searched = tokens if protocol.markers_searched_in_answer else tokens[:prompt_length]

    def find(part: str, end: int, last: bool) -> int:
        position = locate(searched, special_ids[part][end], last=last)
        if position < 0 and not protocol.missing_markers_ignored:
            raise InputError("no such marker in the prompt", got=f"{part} {special_ids[part][end]}")
        return position

    if len(special_ids["img_id"]) == 1:
        vision = [position for position, token in enumerate(searched) if token == special_ids["img_id"][0]]
    else:
        vision = slice(find("img_id", 0, True) + 1, find("img_id", 1, False))
    return Spans(
        vision,
        slice(find("prompt_id", 0, True) + 1, find("prompt_id", 1, False)),
        slice(find("answer_id", 0, True) + 1, None),
    )


# ---- which class each token is explained as


@dataclass(frozen=True)
class Plan:
    """The maps of a sample, in order: those of the prompt, then one a token of the answer.

    Attributes:
        classes: vocabulary id whose logits make each map.
        rows: position whose candidates belong to each map.
        pieces: what each token says; of another length than ``classes`` where tokenising again changed it.
        prompt_count: how many of the maps are the prompt's.
    """

    classes: list[int]
    rows: list[int]
    pieces: list[Hashable]
    prompt_count: int


def plan(
    tokens: Sequence[int],
    prompt: Sequence[int],
    answer: int,
    retokenised_prompt: Sequence[Hashable],
    retokenised_answer: Sequence[Hashable],
    first_candidate: int,
    protocol: Protocol,
) -> Plan:
    """Plan all maps of a complete sample.

    Args:
        tokens: the whole sequence.
        prompt: positions of the user's words.
        answer: position of the answer's first token.
        retokenised_prompt, retokenised_answer: pieces (ids or strings) after decoding and tokenising again.
        first_candidate: the most likely class at the first of the user's words.

    Raises:
        InputError: tokenising again made so many pieces that the published code runs out of tokens.
    """
    said_in_prompt, said_in_answer = [tokens[position] for position in prompt], list(tokens[answer:])
    if protocol.retokenised_pieces:
        said_in_prompt, said_in_answer = list(retokenised_prompt), list(retokenised_answer)
    count, rounds = len(said_in_prompt), len(tokens) - answer
    # Where there are more pieces than tokens, the published code runs on into the template.
    positions = [*prompt, *range(prompt[-1] + 1 if len(prompt) else answer, len(tokens))]
    steps = [(0, index) for index in range(count + 1)] + [(step, count + step) for step in range(1, rounds)]
    try:
        explained = [_explained(tokens, positions, answer, answer - 1, count, *step, protocol) for step in steps]
    except IndexError as error:
        raise InputError("more pieces than tokens", got=f"{count} pieces of the prompt") from error
    classes = [first_candidate if cls is None else int(cls) for cls, _ in explained]
    return Plan(classes, [int(row) for _, row in explained], said_in_prompt + said_in_answer, count)


def _explained(
    tokens: Sequence[int],
    prompt: Sequence[int],
    answer: int,
    last: int,
    count: int,
    step: int,
    index: int,
    protocol: Protocol,
) -> tuple[int | None, int]:
    """Class and row of one map; class None stands for the most likely one in that row.

    Args:
        prompt: positions of the prompt's words and of what follows them.
        answer: position of the answer's first token; ``last``, that of the prompt sequence's last token.
        count: pieces of the prompt.
        step: of the generation; 0 for the maps of the prompt and of the answer's first token.
        index: of the piece.
    """
    if step:
        return tokens[answer + step], last + step
    if index == count:
        return tokens[last if protocol.first_answer_class_is_last_prompt_token else last + 1], last
    position = prompt[index]
    if index == 0 and protocol.first_prompt_class_is_argmax:
        return None, position
    return tokens[position], position


# ---- the published entry point


@dataclass(frozen=True)
class Pass:
    """One map that the published code makes.

    Attributes:
        index: of the explained piece.
        cls: vocabulary id whose logits make the map.
        row: position whose candidates are shown beside the map.
        candidates: their three best ids, best first.
        text: float32 [row], text scores, the last of which is the explained token's own.
        scale: of the interference; NaN where the published code leaves it out.
        maps: float [vision]; uint8: its bytes. Grids one after the other.
    """

    index: int
    cls: int
    row: int
    candidates: np.ndarray
    text: np.ndarray
    scale: float
    maps: np.ndarray
    uint8: np.ndarray


class PublishedCode:
    """One sample in the published code, called step by step with a list that its caller keeps.

    Its exceptions are those of the published code, by type: they come from the same causes.

    Args:
        tokens: the whole sequence.
        logits: float32 [row, vocabulary], every position of the prompt and every step after the first.
        prompt_length: of the prompt's sequence.
        special_ids: as in ``find_spans``.
        shape: (rows, columns), (frames, rows, columns), or a list of tuples, one a picture.
        retokenise: token ids -> pieces, by decoding and tokenising.
        draws, eval_only: whether pictures are drawn, and in the mode of the evaluation; nothing is drawn here.

    Attributes:
        raw: the caller's list: the activation of every pass so far, failed ones included.
        passes: the completed ones.
    """

    def __init__(
        self,
        tokens: list[int],
        logits: np.ndarray,
        prompt_length: int,
        special_ids: dict[str, list[Marker]],
        shape: Sequence,
        retokenise: Callable[[list[int]], list[str]],
        *,
        draws: bool = False,
        eval_only: bool = False,
        exact: bool = True,
    ):
        self._tokens, self._logits, self._length = tokens, logits, prompt_length
        self._special_ids, self._shape, self._retokenise = special_ids, shape, retokenise
        self._several = isinstance(shape[0], tuple)
        self._fails_to_draw = draws and eval_only and self._several
        self._exact = exact
        self.raw: list[np.ndarray] = []
        self.passes: list[Pass] = []

    @cached_property
    def spans(self) -> Spans:
        return find_spans(self._tokens, self._special_ids, self._length)

    @cached_property
    def pieces(self) -> tuple[list[str], list[str]]:
        """Of the prompt's words and of the answer."""
        return tuple(self._retokenise(self._tokens[part]) for part in (self.spans.prompt, self.spans.answer))

    def call(self, target: int | tuple[int, int]) -> Pass:
        """Explain a step of the generation, or one piece of step 0; the pass whose map the published code returns."""
        count, first = len(self.pieces[0]), len(self.passes)
        if not isinstance(target, int):
            self._explain(*target, draws=True)
        elif target:
            self._explain(target, count + target, draws=True)
        else:
            for index in range(count + 1):
                self._explain(0, index, draws=index == count)
        return self.passes[first]

    def _explain(self, step: int, index: int, draws: bool) -> None:
        spans, (prompt, answer) = self.spans, self.pieces
        positions = range(spans.prompt.start, len(self._tokens))
        cls, row = _explained(
            self._tokens, positions, spans.answer.start, self._length - 1, len(prompt), step, index, REFERENCE
        )
        candidates = np.argsort(-self._logits[row], kind="stable")[:3]
        cls = int(candidates[0]) if cls is None else cls

        scores = core.activation(self._logits[: self._length + step, cls])
        last = slice(self._length - 1, self._length)
        text = np.concatenate([scores[spans.prompt], scores[last], scores[spans.answer]])
        image = scores[spans.vision]
        self.raw.append(image)

        causal, scale, said = image[None], np.nan, prompt + answer
        if len(self.raw) > 1 and index < len(said):
            kept = [earlier for earlier in range(index) if said[earlier] != said[index]]
            sources = np.stack([self.raw[earlier] for earlier in kept])
            weights = core.interference_weights(text[None, kept], np.ones((1, len(kept)), bool), exact=self._exact)
            causal, (scale,) = core.estimated_causal_inference(causal, sources, weights, exact=self._exact)

        seen = np.arange(len(text)) < len(text) - 1
        normalised, _ = core.joint_normalisation(causal, text[None], seen[None])
        maps = np.concatenate(
            [
                core.rank_gaussian_filter(grid, protocol=REFERENCE, exact=self._exact).ravel()
                for grid in self._grids(normalised[0])
            ]
        )
        if draws and self._fails_to_draw:
            raise IndexError("list index out of range")
        self.passes.append(Pass(index, cls, row, candidates, text, float(scale), maps, core.to_uint8(maps)))

    def _grids(self, scores: np.ndarray) -> list[np.ndarray]:
        if self._several:
            shapes = [tuple(map(int, shape)) for shape in self._shape]
            sizes = [rows * columns for rows, columns in shapes]
            parts = np.split(scores, np.cumsum(sizes))[: len(sizes)]
            return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        *frames, rows, columns = map(int, self._shape)
        return [part.reshape(rows, columns) for part in np.array_split(scores, *frames or [1])]
