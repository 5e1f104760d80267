"""A finished generation, taken up again with its model, by stages that ask more about its answers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tam.cache import read_generations, read_header
from tam.errors import InputError, ModelError
from tam.families import family_of
from tam.manifest import Sample, read
from tam.model.checkpoint import Checkpoint, fingerprint_of_model, load_from, locate
from tam.model.loaded import Loaded
from tam.model.placement import Placement, placed
from tam.model.prompt import Prepared
from tam.model.question import Question
from tam.model.samples import PrepareSample
from tam.records import FAILED, Generation
from tam.run import sample_of

CURE = "run `tam generate` again"
TOLERANCE = {"float32": 1e-2, "float16": 0.25, "bfloat16": 1.0}
"""How far a logit may lie from the cached one: one pass over an answer sums in another order than a step a token."""
QUANTISED = 1.0
"""The same where weights are quantised: with them, which columns of the states are rounded depends on all the rows."""


@dataclass(frozen=True)
class Again:
    """The answers of a generation file, what they were made from, and with which model.

    Attributes:
        generations, samples: by row of the manifest.
        folder: of the manifest, where the media lie.
        run: of the file's header: how it was made. fingerprint: of the file.
    """

    generations: dict[int, Generation]
    samples: dict[int, Sample]
    folder: Path
    run: dict[str, Any]
    fingerprint: str
    checkpoint: Checkpoint
    placement: Placement
    trust_remote_code: bool

    @property
    def device(self) -> torch.device:
        return self.placement.device

    def load(self) -> Loaded:
        """The model, in the dtype and the bits in which it answered; ModelError: it cannot be loaded."""
        loaded = load_from(self.checkpoint, self.placement, self.trust_remote_code)
        family = family_of(loaded.config, self.run.get("one_tile", False))
        return replace(loaded, family=family, max_pixels=self.run.get("max_pixels"), template=self.run.get("template"))

    def prepare(self, loaded: Loaded) -> "PrepareAgain":
        """What makes prompts of the samples, also in other processes."""
        failures = {row: made.status for row, made in self.generations.items() if made.failed}
        return PrepareAgain(PrepareSample(self.samples, self.folder, loaded.prompter), failures)


@dataclass(frozen=True)
class PrepareAgain:
    """Row of the manifest -> its prompt; InputError, with what it failed of, for a sample without an answer."""

    prepare: PrepareSample
    failures: Mapping[int, str]

    def __call__(self, row: int) -> Prepared:
        if row in self.failures:
            raise InputError(self.failures[row].removeprefix(FAILED))
        return self.prepare(row)


def again(
    generation: Path, manifest: Path, model: str, revision: str | None = None, device: str = "auto",
    trust_remote_code: bool = False,
) -> Again:  # fmt: skip
    """Take up a generation file again; no weights are loaded yet.

    Raises:
        InputError: the manifest is not the one that it was made from. ModelError: nor is the checkpoint.
        SchemaError: not a generation file.
    """
    header, listed = read_header(generation), read(manifest)
    generations = {made.row: made for made in read_generations(generation)}
    samples = {row: sample_of(made, listed, manifest) for row, made in generations.items()}
    checkpoint = locate(model, revision, trust_remote_code)
    if (found := fingerprint_of_model(checkpoint, trust_remote_code)) != header["run"]["weights"]:
        raise ModelError(
            "not the checkpoint that answered", where=model, got=found,
            expected=f"{header['run']['weights']} ({header['run']['model']}), as {generation} says", cure=CURE,
        )  # fmt: skip
    run = header["run"]
    placement = placed(device, run["dtype"], run.get("load"))
    return Again(
        generations, samples, manifest.parent, run, header["fingerprint"], checkpoint, placement, trust_remote_code
    )


def same_question(generation: Generation, prepared: Prepared) -> Question:
    """A prompt with its cached answer.

    Raises:
        InputError: picture or words have become others since; or the answer holds a token that stands for vision, so
            that a pass over both would look for a picture there.
    """
    known, found = generation.layout, prepared.layout
    if not np.array_equal(prepared.tokens, generation.tokens[: known.answer]):
        got = f"{len(prepared.tokens)} tokens, {len(found.vision)} of them vision tokens"
        expected = f"{known.answer}, {len(known.vision)} of them vision tokens"
        raise InputError("the prompt is not the one that was answered", got=got, expected=expected, cure=CURE)
    if (found.grids, found.sizes) != (known.grids, known.sizes):
        raise InputError(
            "the pictures are not those that were shown",
            got=f"sizes {found.sizes}",
            expected=f"{known.sizes}",
            cure=CURE,
        )
    if np.isin(generation.answer_ids, prepared.tokens[found.vision]).any():
        raise InputError(
            "the answer holds a vision token: a pass over prompt and answer would look for a picture there"
        )
    return Question(prepared, generation.answer_ids.astype(np.int32))


def check_logits(generation: Generation, logits: np.ndarray, quantised: bool = False) -> None:
    """Whether one pass over a cached answer says what the cache says.

    Args:
        logits: float32 [answer], of each token's own class.
        quantised: whether the weights of the model are.

    Raises:
        InputError: it does not: the picture has changed, or the model computes in another way.
    """
    columns = [generation.column(id) for id in generation.answer_ids]
    first = len(generation.logits) - len(columns)
    cached = generation.logits[np.arange(first, len(generation.logits)), columns]
    off = float(np.abs(logits - cached).max())
    most = QUANTISED if quantised else TOLERANCE[generation.dtype]
    if not off <= most:
        raise InputError(
            "the model does not say what it said: the picture has changed since, or the device sums otherwise",
            got=f"a logit {off:.3g} off", expected=f"at most {most:g}", cure=CURE,
        )  # fmt: skip
