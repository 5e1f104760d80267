"""The stage: one shard's answers and maps -> the memo of what each answer's probability is without cells."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import tam
from tam import manifest as manifests
from tam import tagging
from tam.cache import read_generations, read_header
from tam.cell_sets import Cells
from tam.errors import DiskError, InputError, SchemaError
from tam.generation.again import again
from tam.perturb.task import PerturbTask, lacking
from tam.perturbed import (
    NOT_DRAWN,
    VERSION,
    Asked,
    Baseline,
    Perturbed,
    PerturbedHeader,
    maps_of_answer,
    read_perturbed,
    read_perturbed_header,
    write_perturbed,
)
from tam.protocol import FIXED
from tam.records import OK, Generation
from tam.run import read_pairs, sample_of
from tam.shard.memory import Budget
from tam.shard.runner import run_shard
from tam.shard.store import Store
from tam.shard.task import Format
from tam.words import answer_words, probed

logger = logging.getLogger(__name__)
PIXELS = 1
"""Version of how cells are replaced: another one makes other pictures."""


@dataclass(frozen=True)
class Request:
    """Which answers are scored without which cells, and what takes their place."""

    generation: Path
    maps: Path
    manifest: Path
    baseline: Baseline
    asked: Asked


@dataclass(frozen=True)
class Wanted:
    """What a shard's memo should have.

    Attributes:
        statuses: by row, the sample's id and its status. sets: packed, uint8 [set, bytes], of those with status "ok".
        words: how many are probed.
    """

    statuses: Mapping[int, tuple[str, str]]
    sets: Mapping[int, np.ndarray]
    words: int

    @property
    def estimate(self) -> str:
        """What it costs where nothing is there yet."""
        total = sum(map(len, self.sets.values()))
        each = f", {total / len(self.sets):.0f} a sample" if self.sets else ""
        return f"{len(self.sets)} samples, {self.words} words: {total} forwards{each}"


def estimate(request: Request) -> str:
    """What a request costs where nothing is there yet, without the model.

    Raises:
        InputError: a wrong manifest or method; answers of another layer than the last. SchemaError: files that do not
            belong together.
    """
    return _wanted(request, {made.row: made for made in read_generations(request.generation)}).estimate


def perturb(
    request: Request, model: str, out: Path, *, revision: str | None = None, device: str = "auto",
    trust_remote_code: bool = False, batch_size: int | None = None, store: Path | None = None,
) -> Counter[str]:  # fmt: skip
    """Score what is not there yet, write ``out`` and count the samples by status ("failed" without its why).

    Nothing is scored twice: another method, fraction or word adds its own sets to those of earlier runs, which are kept
    beside ``out``, or in ``store``. The model is loaded only if something is left to do.

    Args:
        batch_size: pictures at a time; None: as many as the device has memory for.

    Raises:
        InputError: a wrong manifest, option or method; maps of another layer than the last.
        ModelError: not the checkpoint that answered. SchemaError: files that do not belong together.
    """
    found = again(request.generation, request.manifest, model, revision, device, trust_remote_code)
    wanted = _wanted(request, found.generations)
    about = PerturbedHeader(found.fingerprint, request.baseline, request.asked, _versions())
    kept = Store(out, fingerprint_of(about), memo_files(about, wanted), store)

    def load() -> PerturbTask:
        known = known_sets([kept.out, kept.whole, *kept.folder.glob("part-*.h5")], about)
        missing = sum(len(lacking(wanted.sets, known, row)) for row in wanted.sets)
        logger.info("perturb %s: %s; %d are not there yet", request.baseline, wanted.estimate, missing)
        budget, loaded = Budget(found.device, batch_size), found.load() if missing else None
        return PerturbTask(found, request.baseline, wanted.sets, known, loaded, budget)

    samples = {row: found.samples[row] for row in wanted.sets}
    title = f"perturb {request.baseline} {out.stem}"
    # a sample at a time: its pictures are the batch
    done = run_shard(title, samples, found.folder, kept, load, found.device, batch_size=1)
    others = [status for row, (_, status) in wanted.statuses.items() if row not in done]
    return Counter(status.split(":")[0] for status in [*done.values(), *others])


def fingerprint_of(about: PerturbedHeader) -> str:
    """Of a memo: what was answered, and how cells are replaced. Sets are what it holds, so they are no part of it."""
    content = f"{about.fingerprint} {about.baseline} {PIXELS} {VERSION}"
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def memo_files(about: PerturbedHeader, wanted: Wanted) -> Format[Perturbed]:
    """The memo as what a shard's store writes, reads and merges; a sample that lacks a wanted set is not done."""

    def write(path: Path, rows: Mapping[int, Perturbed]) -> None:
        write_perturbed(path, rows, about)

    def statuses(path: Path) -> dict[int, str] | None:
        header = read_perturbed_header(path)
        if (header.fingerprint, header.baseline, header.asked) != (about.fingerprint, about.baseline, about.asked):
            return None
        made = {row: one for row, one in read_perturbed(path) if row in wanted.sets}
        return {row: one.status for row, one in made.items() if one.failed or not len(one.lacks(wanted.sets[row]))}

    def merge(parts: list[Path], path: Path, rows: Set[int]) -> None:
        made = known_sets([path, *parts], about)
        if missing := sorted(rows - made.keys()):
            raise DiskError("samples are in no part", where=path.parent, got=f"rows {missing[:5]}", cure="run it again")
        write(path, {row: _settled(made.get(row), wanted, row) for row in wanted.statuses})

    return Format(write, statuses, merge)


def _settled(made: Perturbed | None, wanted: Wanted, row: int) -> Perturbed:
    """A sample with the status that it has now: its sets may be of an earlier request."""
    id, status = wanted.statuses[row]
    if made is None:
        return Perturbed.without(id, status)
    if row in wanted.sets and len(made.lacks(wanted.sets[row])):
        return made  # it failed
    return replace(made, status=status)


def known_sets(paths: list[Path], about: PerturbedHeader) -> dict[int, Perturbed]:
    """All that earlier runs scored of the same answers in the same way, by row; damaged files hold nothing."""
    found: dict[int, Perturbed] = {}
    for path in paths:
        try:
            header = read_perturbed_header(path)
            if (header.fingerprint, header.baseline) == (about.fingerprint, about.baseline):
                for row, one in read_perturbed(path):
                    found[row] = found[row].joined(one) if row in found else one
        except SchemaError:
            continue
    return found


def _wanted(request: Request, generations: Mapping[int, Generation]) -> Wanted:
    asked, listed = request.asked, manifests.read(request.manifest)
    if (layer := read_header(request.generation)["run"].get("layer")) is not None:
        raise InputError("answers of another layer than the last", where=request.generation, got=layer)
    drawn = asked.drawn(len(listed))
    statuses = {row: (made.id, _status(made, row in drawn)) for row, made in generations.items()}
    rows = {row for row, (_, status) in statuses.items() if status == OK}
    judge, words, sets = tagging.choose(sentences=asked.sentences), 0, {}
    for generation, maps in read_pairs(request.generation, request.maps, asked.methods, rows):
        categories = sample_of(generation, listed, request.manifest).categories
        its = probed(
            answer_words(generation, generation.answer_ids, categories, judge, FIXED), asked.words == "content"
        )
        cells = Cells.of(generation.layout)
        there = [maps_of_answer(one, cells, len(generation.answer_ids)) for one in maps.values() if not one.failed]
        sets[generation.row] = asked.wanted(cells, generation.id, its, there)
        words += len(its)
    return Wanted(statuses, sets, words)


def _status(generation: Generation, drawn: bool) -> str:
    if not drawn:
        return NOT_DRAWN
    if generation.failed:
        return generation.status
    return OK


def _versions() -> dict[str, str]:
    return {"tam": tam.__version__, "torch": torch.__version__, "transformers": version("transformers")}
