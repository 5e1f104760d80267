"""The published code's behaviour around the arithmetic, call by call, so that its outputs can be compared.

``PublishedCode`` behaves as the published entry point does, errors included. All arithmetic is that of ``tam.methods``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tam.errors import InputError
from tam.methods import core
from tam.methods.plan import class_and_row
from tam.methods.rank_filter import rank_gaussian_filter
from tam.protocol import REFERENCE

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
    tokens: Sequence[int], special_ids: dict[str, list[Marker]], prompt_length: int, *, strict: bool = False
) -> Spans:
    """Search for the markers that surround each part.

    Args:
        special_ids: ``img_id``: an id that all vision tokens have, or start and end; ``prompt_id`` and ``answer_id``:
            start and end. The answer's end is not used.
        strict: in the prompt's sequence only. The published code searches in the answer, too.

    Raises:
        InputError: a marker is missing, if strict. The published code goes on with position -1.
    """
    searched = tokens[:prompt_length] if strict else tokens

    def find(part: str, end: int, last: bool) -> int:
        position = locate(searched, special_ids[part][end], last=last)
        if position < 0 and strict:
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
        normalised: float [vision], what goes into the filter.
        maps: float [vision]; uint8: its bytes. Grids one after the other.
    """

    index: int
    cls: int
    row: int
    candidates: np.ndarray
    text: np.ndarray
    scale: float
    normalised: np.ndarray
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
        cls, row = class_and_row(
            self._tokens, positions, spans.answer.start, self._length - 1, len(prompt), step, index, REFERENCE
        )
        shown = self._logits[: self._length] if step == 0 else self._logits  # step 0 sees the prompt alone
        candidates = np.argsort(-shown[row], kind="stable")[:3]
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
            causal, (scale,) = core.estimated_causal_inference(
                causal, sources, weights, protocol=REFERENCE, exact=self._exact
            )

        seen = np.arange(len(text)) < len(text) - 1
        (normalised,), _ = core.joint_normalisation(causal, text[None], seen[None])
        filtered = [
            rank_gaussian_filter(grid, protocol=REFERENCE, exact=self._exact).ravel() for grid in self.grids(normalised)
        ]
        maps = np.concatenate(filtered)
        if draws and self._fails_to_draw:
            raise IndexError("list index out of range")
        self.passes.append(Pass(index, cls, row, candidates, text, float(scale), normalised, maps, core.to_uint8(maps)))

    def grids(self, scores: np.ndarray) -> list[np.ndarray]:
        if self._several:
            shapes = [tuple(map(int, shape)) for shape in self._shape]
            sizes = [rows * columns for rows, columns in shapes]
            parts = np.split(scores, np.cumsum(sizes))[: len(sizes)]
            return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        *frames, rows, columns = map(int, self._shape)
        return [part.reshape(rows, columns) for part in np.array_split(scores, *frames or [1])]
