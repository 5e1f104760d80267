"""Generation as a task of a shard: what is asked of each sample, and what is kept of its answer."""

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tam.errors import InputError, NotFiniteError
from tam.generation.kept import KeptAnswer, in_words, keep
from tam.generation.packed import pack, unpack
from tam.manifest import Sample
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared
from tam.model.question import Question, answers_to, question
from tam.model.samples import PrepareSample
from tam.records import Generation, GivenAnswer
from tam.shard.task import Failed

logger = logging.getLogger(__name__)


@dataclass
class GenerationTask:
    """Answers of a loaded model to samples, whose media lie in ``folder``; see ``tam.shard.task``.

    Attributes:
        texts: sample id -> the answer to explain instead of the model's own answer.
        layer: of the decoder, from 1, that maps are read from; None: the last.
        candidates: as ``keep``.
        words: a tokenizer for the thread behind; two threads must not use one at once.
    """

    loaded: Loaded
    samples: Mapping[int, Sample]
    folder: Path
    max_new_tokens: int
    texts: Mapping[str, GivenAnswer] | None = None
    layer: int | None = None
    candidates: int = 0
    words: Any = field(init=False)

    pack = staticmethod(pack)

    def __post_init__(self) -> None:
        self.words = copy.deepcopy(self.loaded.tokenizer)

    @property
    def prepare(self) -> PrepareSample:
        return PrepareSample(self.samples, self.folder, self.loaded.prompter)

    def ready(self, row: int, prepared: Prepared) -> Question:
        if self.texts is None:
            return question(self.loaded, prepared)
        id = self.samples[row].id
        if id not in self.texts:
            raise InputError("no answer is given for this sample")
        given = self.texts[id]
        if given.failed is not None:
            raise InputError(given.failed)
        if given.prompt_tokens not in (None, len(prepared.tokens)):
            logger.warning(
                "%s: who answered saw %d tokens of the prompt, here are %d: another size of the picture, or template",
                id, given.prompt_tokens, len(prepared.tokens),
            )  # fmt: skip
        return question(self.loaded, prepared, given)

    def run(self, batch: Mapping[int, Question]) -> dict[int, KeptAnswer | Failed]:
        answers = answers_to(self.loaded, list(batch.values()), self.max_new_tokens, self.layer)
        asked, samples = [one.prepared for one in batch.values()], [self.samples[row] for row in batch]
        kept = keep(self.loaded, samples, asked, answers, self.candidates)
        return {
            row: Failed.of(made) if isinstance(made, NotFiniteError) else made
            for row, made in zip(batch, kept, strict=True)
        }

    def unpack(self, row: int, meta: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> KeptAnswer:
        return unpack(self.samples[row], meta, arrays)

    def finish(self, batch: Mapping[int, KeptAnswer | Failed]) -> dict[int, Generation]:
        """What was kept, with what its ids stand for, in the manifest's order."""
        return {row: self._generation(row, record) for row, record in sorted(batch.items())}

    def _generation(self, row: int, record: KeptAnswer | Failed) -> Generation:
        if isinstance(record, Failed):
            return Generation.failure(self.samples[row].id, self.samples[row].prompt, record.why)
        return in_words(self.words, self.loaded.ends, record)
