"""The stage as a task of a shard: a batch of answers through the model itself, and through models of random weights."""

import contextlib
import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from tam import tagging
from tam.errors import InputError, NotFiniteError, TamError
from tam.generation.again import Again, PrepareAgain, check_logits, same_question
from tam.generation.kept import keep
from tam.methods.cached import Cached
from tam.methods.method import Method
from tam.metrics.focus import entropy
from tam.metrics.localisation import is_noun
from tam.model.forced import forced_batch
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared
from tam.model.question import Question
from tam.protocol import FIXED
from tam.records import OK, Generation
from tam.sanity.parts import INDEPENDENT, Part, parts_of, redrawn, sequence, untied
from tam.sanity.record import ALIKE, MEASURES, ORIGINAL, Compared, State, failure
from tam.sanity.similarity import spearman, ssim, top_overlap
from tam.shard.task import Failed
from tam.words import Word, answer_words

Nouns = dict[str, np.ndarray | None]
"""Method -> float64 [noun, vision], the map of each noun; None where it failed."""


@dataclass
class SanityTask:
    """Answers of a generation file, each compared in ``states``; see ``tam.shard.task``."""

    loaded: Loaded
    again: Again
    methods: Sequence[Method]
    orders: Sequence[str]
    seeds: Sequence[int]
    judge: tagging.Language = field(default_factory=tagging.choose)

    def __post_init__(self) -> None:
        with untied(self.loaded):
            self.names = [part.name for part in parts_of(self.loaded)]

    @property
    def states(self) -> list[State]:
        return states_of(self.names, self.orders, self.seeds)

    @property
    def prepare(self) -> PrepareAgain:
        return self.again.prepare(self.loaded)

    def ready(self, row: int, prepared: Prepared) -> Question:
        return same_question(self.again.generations[row], prepared)

    def run(self, batch: Mapping[int, Question]) -> dict[int, Compared | Failed]:
        words = {row: self._nouns(row) for row in batch}
        made: dict[int, Compared | Failed] = {}
        original: dict[int, Nouns] = {}
        with self.loaded.evaluating(), untied(self.loaded):
            for row, generation in self._generations(batch).items():
                try:
                    if generation is None:
                        raise NotFiniteError("logits are NaN or infinite", where=self.again.generations[row].id)
                    check_logits(self.again.generations[row], _own_logits(generation))
                except (InputError, NotFiniteError) as error:
                    made[row] = Failed.of(error)
                else:
                    original[row] = self._maps(generation, words[row])
            left = {row: batch[row] for row in original}
            values: dict[int, list[np.ndarray]] = {row: [] for row in left}
            with contextlib.closing(self._walk()) as states:  # closed: its weights are its own again
                for _ in states if left else ():
                    for row, generation in self._generations(left).items():
                        now = None if generation is None else self._maps(generation, words[row])
                        values[row].append(self._compared(row, original[row], now, len(words[row])))
        for row in left:
            made[row] = Compared(
                self.again.generations[row].id, OK, self.states, [word.text for word in words[row]],
                np.stack(values[row]), self._pairs(row, original[row], words[row]),
            )  # fmt: skip
        return made

    def pack(self, record: Compared) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"words": record.words, "states": record.states}, {"values": record.values, "pairs": record.pairs}

    def unpack(self, row: int, meta: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Compared:
        values, pairs = arrays["values"], arrays["pairs"]
        states = [State(*state) for state in meta["states"]]
        shape = len(states), len(self.methods), len(meta["words"]), len(MEASURES)
        if values.shape != shape or pairs.shape != (shape[1], pairs.shape[1], len(ALIKE)):
            raise ValueError(f"values: {values.shape} instead of {shape}")
        return Compared(self.again.generations[row].id, OK, states, meta["words"], values, pairs)

    def finish(self, batch: Mapping[int, Compared | Failed]) -> dict[int, Compared]:
        return {
            row: failure(self.again.generations[row].id, one.why) if isinstance(one, Failed) else one
            for row, one in sorted(batch.items())
        }

    # ---- the parts of it

    def _walk(self) -> Generator[None, None, None]:
        """The model as it is in one state after the other, with its own weights at last."""
        parts = parts_of(self.loaded)
        for order, seed in itertools.product(self.orders, self.seeds):
            with contextlib.ExitStack() as drawn:
                for part in sequence(parts, order):
                    yield from self._drawn(part, seed, drawn if order != INDEPENDENT else None)
        yield

    def _drawn(self, part: Part, seed: int, drawn: contextlib.ExitStack | None) -> Iterator[None]:
        """Until it is left, or alone."""
        if drawn is not None:
            drawn.enter_context(redrawn(part, seed))
            yield
        else:
            with redrawn(part, seed):
                yield

    def _nouns(self, row: int) -> list[Word]:
        generation, sample = self.again.generations[row], self.again.samples[row]
        words = answer_words(generation, generation.answer_ids, sample.categories, self.judge, FIXED)
        return [word for word in words if is_noun(word)]

    @torch.inference_mode()
    def _generations(self, batch: Mapping[int, Question]) -> dict[int, Generation | None]:
        """Each answer with the logits of the model as it is now; None where they are not finite."""
        prepared = [asked.prepared for asked in batch.values()]
        texts = [self.again.generations[row].answer_ids.astype(np.int32) for row in batch]
        answers = forced_batch(self.loaded, prepared, texts)
        kept = keep(self.loaded, [self.again.samples[row] for row in batch], prepared, answers)
        found: dict[int, Generation | None] = {}
        for row, one in zip(batch, kept, strict=True):
            if isinstance(one, NotFiniteError):
                found[row] = None
            else:
                found[row] = replace(
                    self.again.generations[row], classes=one.classes, logits=one.logits, candidates=one.candidates
                )
        return found

    def _maps(self, generation: Generation, words: Sequence[Word]) -> Nouns:
        cached, prompt = Cached(generation), len(generation.prompt_ids)
        found: Nouns = {}
        for method in self.methods:
            try:
                maps = method.maps(cached).maps.astype(np.float64)
            except TamError:
                found[method.name] = None
            else:
                means = [maps[[prompt + token for token in word.tokens]].mean(0) for word in words]
                found[method.name] = np.array(means).reshape(len(words), maps.shape[1])
        return found

    def _compared(self, row: int, known: Nouns, now: Nouns | None, count: int) -> np.ndarray:
        """float32 [method, noun, MEASURES]; NaN for all methods where there are no maps ``now``."""
        values = np.full((len(known), count, len(MEASURES)), np.nan, np.float32)
        for place, (name, original) in enumerate(known.items()):
            maps = None if now is None else now[name]
            if original is not None and maps is not None:
                for noun in range(count):
                    values[place, noun] = compared(original[noun], maps[noun], self._shapes(row))
        return values

    def _pairs(self, row: int, known: Nouns, words: Sequence[Word]) -> np.ndarray:
        """float32 [method, pair, ALIKE]"""
        keys = [word.label if word.label > 0 else word.text.lower() for word in words]
        pairs = [(a, b) for a, b in itertools.combinations(range(len(words)), 2) if keys[a] != keys[b]]
        values = np.full((len(known), len(pairs), len(ALIKE)), np.nan, np.float32)
        shapes = self._shapes(row)
        for place, maps in enumerate(known.values()):
            if maps is not None and pairs:
                values[place] = [compared(maps[a], maps[b], shapes)[: len(ALIKE)] for a, b in pairs]
        return values

    def _shapes(self, row: int) -> list[tuple[int, int]]:
        return [(grid.rows, grid.columns) for grid in self.again.generations[row].layout.grids]


def states_of(names: Sequence[str], orders: Sequence[str], seeds: Sequence[int]) -> list[State]:
    """In the order in which they are made."""
    parts = [Part(name, {}) for name in names]
    states = [
        State(order, part.name, seed)
        for order, seed in itertools.product(orders, seeds)
        for part in sequence(parts, order)
    ]
    return [*states, State(ORIGINAL, "none, at the end", 0)]


def compared(original: np.ndarray, now: np.ndarray, shapes: Sequence[tuple[int, int]]) -> list[float]:
    """MEASURES of two maps, float [vision]; NaN where the original is constant, the first three where the other is.

    The change of entropy is that of Hedström et al. (eMPRT, 2024) with the entropy of the map as a distribution.
    """
    constant = bool(now.max() == now.min())
    if original.max() == original.min():
        return [np.nan] * len(MEASURES)
    alike = [np.nan] * len(ALIKE)
    if not constant:
        alike = [spearman(original, now), ssim(original, now, shapes), top_overlap(original, now)]
    before = float(entropy(original[None])[0])
    after = float(entropy(now[None])[0]) if now.max() > 0 else np.nan
    return [*alike, float(constant), (after - before) / before if before else np.nan]


def _own_logits(generation: Generation) -> np.ndarray:
    """float32 [answer], of each token's own class."""
    columns = [generation.column(id) for id in generation.answer_ids]
    return generation.logits[np.arange(len(generation.logits) - len(columns), len(generation.logits)), columns]
