"""Perturbation as a task of a shard: which sets of a sample are not there, and what is kept of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tam.cell_sets import Cells, unpacked
from tam.errors import NotFiniteError
from tam.generation.again import Again, check_logits, same_question
from tam.manifest import Sample
from tam.media import Media, open_media
from tam.model.checkpoint import fingerprint_of_file
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared, Prompter, prepare
from tam.model.video import sampling_of
from tam.perturb.score import Perturbations, scored
from tam.perturbed import Baseline, Perturbed
from tam.records import FAILED, OK, Generation
from tam.shard.memory import Budget
from tam.shard.prefetch import prefetched, workers_for
from tam.shard.task import Failed


@dataclass(frozen=True)
class Opened:
    """A sample's prompt with its pictures, and a digest of their files."""

    prepared: Prepared
    media: Media
    digest: str

    def pin_memory(self) -> "Opened":
        return replace(self, prepared=self.prepared.pin_memory())


@dataclass(frozen=True)
class Ready:
    """A sample with the sets, bool [set, cell], that are not there.

    Attributes:
        known: what is there. opened: None where all are there.
    """

    known: Perturbed
    sets: np.ndarray
    opened: Opened | None = None

    @property
    def length(self) -> int:
        return 0 if self.opened is None else len(self.opened.prepared.tokens)

    @property
    def size(self) -> str:
        return f"{self.length} tokens, {len(self.sets)} sets of cells"


@dataclass(frozen=True)
class OpenSample:
    """Row of the manifest -> its prompt and pictures; None for other rows. Can be called in another process."""

    samples: Mapping[int, Sample]
    folder: Path
    prompter: Prompter
    rows: frozenset[int]

    def __call__(self, row: int) -> Opened | None:
        if row not in self.rows:
            return None
        sample = self.samples[row]
        media = open_media(sample, self.folder, sampling_of(self.prompter.processor))
        made = prepare(self.prompter, media, sample.prompt, sample.turns)
        digest = " ".join(fingerprint_of_file(self.folder / path) for path in sample.media)
        # The tokens look into a tensor whose memory is about to be handed to another process.
        return Opened(replace(made, tokens=made.tokens.copy()), media, digest)


def nothing(row: int) -> None:
    """Where no sample has anything left to score."""


@dataclass(frozen=True)
class PerturbTask:
    """log p of answers without sets of cells; see ``tam.shard.task``.

    Attributes:
        wanted: by row, packed sets, uint8 [set, bytes]. known: by row, what an earlier run scored.
        loaded: None where nothing is left to score.
        budget: pictures at a time.
    """

    again: Again
    baseline: Baseline
    wanted: Mapping[int, np.ndarray]
    known: Mapping[int, Perturbed]
    loaded: Loaded | None
    budget: Budget

    @property
    def prepare(self) -> Callable[[int], Opened | None]:
        if self.loaded is None:
            return nothing
        rows = frozenset(row for row in self.wanted if len(lacking(self.wanted, self.known, row)))
        return OpenSample(self.again.samples, self.again.folder, self.loaded.prompter, rows)

    def ready(self, row: int, prepared: Opened | None) -> Ready:
        generation, known = self.again.generations[row], self.known.get(row)
        if known is None or (prepared is not None and known.media != prepared.digest):
            known = Perturbed.without(generation.id, OK)
        if prepared is not None:
            same_question(generation, prepared.prepared)
        return Ready(known, unpacked(known.lacks(self.wanted[row]), Cells.of(generation.layout).count), prepared)

    def run(self, batch: Mapping[int, Ready]) -> dict[int, Perturbed | Failed]:
        return {
            row: self._scored(self.again.generations[row], self.again.samples[row], one) for row, one in batch.items()
        }

    def _scored(self, generation: Generation, sample: Sample, one: Ready) -> Perturbed:
        """What was there with what was not; the picture as it is must say what the cache says."""
        if one.opened is None or self.loaded is None:
            return replace(one.known, status=OK)
        made = Perturbations.of(
            self.loaded.prompter, one.opened.media, sample.prompt, sample.turns, self.baseline, one.sets,
            one.opened.prepared,
        )  # fmt: skip
        workers = 0 if made.fast else workers_for(self.budget.device)
        prompts = map(_made, prefetched(made, range(len(one.sets)), workers, pinned=False))
        found = scored(self.loaded, prompts, generation.answer_ids, self.budget)
        if not np.isfinite(found.logprob).all():
            raise NotFiniteError(
                "logits are NaN or infinite", where=sample.id, cure="try another dtype, such as float32"
            )
        for whole in np.flatnonzero(~one.sets.any(1)):
            check_logits(generation, found.logits[whole], self.loaded.quantised)
        sets = np.packbits(one.sets, axis=1)
        return Perturbed(sample.id, OK, one.opened.digest, sets, found.logprob, found.best).joined(one.known)

    @staticmethod
    def pack(record: Perturbed) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        meta = {"id": record.id, "status": record.status, "media": record.media}
        return meta, {"sets": record.sets, "logprob": record.logprob, "best": record.best}

    def unpack(self, row: int, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Perturbed:
        found = Perturbed(meta["id"], meta["status"], meta["media"], **arrays)
        if found.id != self.again.samples[row].id or len(found.lacks(self.wanted[row])):
            raise ValueError("another sample, or sets of another request")
        return found

    def finish(self, batch: Mapping[int, Perturbed | Failed]) -> dict[int, Perturbed]:
        return {
            row: Perturbed.without(self.again.samples[row].id, FAILED + one.why) if isinstance(one, Failed) else one
            for row, one in sorted(batch.items())
        }


def lacking(wanted: Mapping[int, np.ndarray], known: Mapping[int, Perturbed], row: int) -> np.ndarray:
    """The packed sets of a sample that are not there."""
    return known[row].lacks(wanted[row]) if row in known else wanted[row]


def _made(prefetched: tuple[int, Prepared | Exception]) -> Prepared:
    if isinstance(prefetched[1], Exception):
        raise prefetched[1]
    return prefetched[1]
