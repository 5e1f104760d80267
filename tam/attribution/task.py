"""Attribution as a task of a shard: what is computed of each answer, and why not where it is not."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tam.attribution.conservation import check_conservation
from tam.attribution.gradients import RULES
from tam.attribution.methods import Settings, attribute
from tam.attribution.occlusion import Shown
from tam.errors import ModelError
from tam.generation.again import Again, PrepareAgain, check_logits, same_question
from tam.media import open_media
from tam.methods.rivals import RIVALS
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared
from tam.model.question import Question
from tam.model.video import sampling_of
from tam.records import FAILED, Generation, Scores
from tam.scores import SampleScores
from tam.shard.task import Failed

logger = logging.getLogger(__name__)

NOT_FINITE = "a score is NaN or infinite"
UNDERFLOW = "gradients underflow in float16: let the model answer in bfloat16 or float32"

Record = dict[str, Scores | str]
"""Method -> its scores of one answer, or "failed: why"."""


@dataclass
class AttributionTask:
    """Scores of the answers of a generation by some methods; see ``tam.shard.task``.

    Attributes:
        refused: method -> why it is not computed with this model.
        tried: whether the model has been tried on a first answer.
    """

    loaded: Loaded
    taken: Again
    methods: Sequence[str]
    settings: Settings
    refused: dict[str, str] = field(default_factory=dict)
    tried: bool = False

    @property
    def prepare(self) -> PrepareAgain:
        return self.taken.prepare(self.loaded)

    def ready(self, row: int, prepared: Prepared) -> Question:
        return same_question(self.taken.generations[row], prepared)

    def run(self, batch: Mapping[int, Question]) -> dict[int, Record | Failed]:
        return {row: self._scores(row, question) for row, question in batch.items()}

    def _scores(self, row: int, question: Question) -> Record:
        if not self.tried:
            wanted = [name for name in self.methods if name not in self.refused]
            self.refused |= not_conserving(self.loaded, question, wanted)
            self.tried = True
        shown = self._shown(row) if "occlusion" in self.methods else None
        generation = self.taken.generations[row]
        return scores_of(self.loaded, question, generation, shown, self.methods, self.settings, self.refused)

    def _shown(self, row: int) -> Shown:
        sample = self.taken.samples[row]
        media = open_media(sample, self.taken.folder, sampling_of(self.loaded.processor))
        return Shown(media, sample.prompt, sample.turns)

    def pack(self, record: Record) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays: dict[str, np.ndarray] = {}
        for name, made in record.items():
            if isinstance(made, Scores):
                arrays |= {f"{name}/image": made.image, f"{name}/explained": made.explained}
                arrays |= {} if made.text is None else {f"{name}/text": made.text}
        return {"why": {name: made if isinstance(made, str) else None for name, made in record.items()}}, arrays

    def unpack(self, row: int, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Record:
        if [*meta["why"]] != [*self.methods]:
            raise ValueError("scores of other methods")
        return {
            name: why or Scores(arrays[f"{name}/image"], arrays.get(f"{name}/text"), arrays[f"{name}/explained"])
            for name, why in meta["why"].items()
        }

    def finish(self, batch: Mapping[int, Record | Failed]) -> dict[int, SampleScores]:
        return {row: self._sample(self.taken.generations[row], record) for row, record in batch.items()}

    def _sample(self, generation: Generation, record: Record | Failed) -> SampleScores:
        if generation.failed:
            return SampleScores(generation.id, generation.status, {})
        if isinstance(record, Failed):
            return SampleScores(generation.id, generation.status, dict.fromkeys(self.methods, FAILED + record.why))
        return SampleScores(generation.id, generation.status, record)


def scores_of(
    loaded: Loaded, question: Question, generation: Generation, shown: Shown | None, methods: Sequence[str],
    settings: Settings, refused: Mapping[str, str],
) -> Record:  # fmt: skip
    """One answer by all methods.

    Args:
        shown: for "occlusion". refused: method -> why it is not computed with this model.

    Raises:
        InputError: the model does not say what it said, or cannot take it.
    """
    made = attribute(loaded, question, generation, [name for name in methods if name not in refused], settings, shown)
    check_logits(generation, made.logits, loaded.quantised)
    return {name: _checked(refused.get(name) or made.scores[name]) for name in methods}


def not_conserving(loaded: Loaded, question: Question, methods: Sequence[str]) -> dict[str, str]:
    """The kinds of LRP among the methods that a model does not have, and why; an answer is enough to tell."""
    kinds = [name for name in methods if RULES.get(name, "gradient") != "gradient"]
    try:
        if kinds:
            check_conservation(loaded, question)
    except ModelError as error:
        return dict.fromkeys(kinds, str(error))
    return {}


def in_float16(methods: Sequence[str]) -> dict[str, str]:
    """The methods that a model in float16 does not have, and why."""
    return {name: UNDERFLOW for name in methods if RIVALS[name].gradient}


def _checked(made: Scores | str) -> Scores | str:
    if isinstance(made, str):
        return FAILED + " ".join(made.split())
    finite = np.isfinite(made.image).all() and (made.text is None or np.isfinite(made.text).all())
    return made if finite else FAILED + NOT_FINITE
