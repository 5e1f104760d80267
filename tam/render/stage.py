"""The stage: generations and maps -> a folder of pictures for each sample."""

import contextlib
import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import cv2
from tqdm import tqdm

from tam import manifest
from tam.cache import read_header
from tam.errors import InputError, RenderError, TamError
from tam.label_map import outlined_map
from tam.manifest import Sample
from tam.media import open_shown
from tam.records import Generation, SampleMaps
from tam.render import xelatex
from tam.render.colors import table
from tam.render.folder import say_if_without_tex, write
from tam.render.names import safe_id
from tam.render.sample import Drawable, Look, prepare
from tam.render.typeset import typeset
from tam.run import read_pairs, sample_of
from tam.system.atomic import of_disk
from tam.system.mark import Mark, check_replaceable

log = logging.getLogger(__name__)
# what one sample's files can bring about; anything else is a mistake of ours and stops the stage
FAILURES = (TamError, OSError, ValueError, LookupError, cv2.error)


def render(
    generation: Sequence[Path], maps: Sequence[Path], method: str, manifest_path: Path, samples: Sequence[str] | None,
    out: Path, look: Look | None = None,
) -> dict[str, int]:  # fmt: skip
    """Draw samples into ``out/<safe id>/``: ``NNN_word.png`` a token, ``sheet.png``, with TeX also ``tokens.pdf``.

    Of a video there is also ``NNN_word.webp`` for each token of the answer.

    Args:
        generation, maps: files of the same shards in the same order.
        method: whose maps are drawn.
        samples: ids; None for all.

    Returns:
        the number of samples by status: "ok", "truncated", "failed", with ", text by Pillow" where TeX failed on a
        page. The log says why.

    Raises:
        InputError: unknown ids, colour map or method, or unequal numbers of files.
        SchemaError: files that do not belong together. DiskError: a sample's folder is not ours, or is of another
            manifest, model or method; the disk is full.
        OSError: the disk's own.
    """
    look = look or Look()
    table(look.colormap)
    listed = manifest.read(manifest_path)
    rows = {sample.id: row for row, sample in enumerate(listed)}
    if unknown := sorted(set(samples or ()) - rows.keys()):
        raise InputError("samples are not in the manifest", where=manifest_path, got=", ".join(map(repr, unknown[:5])))
    if len(generation) != len(maps):
        raise InputError("unequal numbers of files", got=f"{len(generation)} generation files, {len(maps)} maps files")
    wanted = range(len(listed)) if samples is None else {rows[id] for id in samples}
    weights = [*{str(read_header(path)["run"].get("weights")): None for path in generation}]
    folders = {listed[row].id: out / safe_id(listed[row].id) for row in wanted}
    marks = {listed[row].id: _mark(listed[row], manifest_path.parent, weights, method) for row in wanted}
    for id, folder in folders.items():
        check_replaceable(folder, marks[id])
    out.mkdir(parents=True, exist_ok=True)
    say_if_without_tex()
    counts: Counter[str] = Counter()
    batch: list[Drawable] = []
    with tqdm(total=len(wanted), desc="render", unit="sample") as progress:
        for pair in zip(generation, maps, strict=True):
            for answer, by_method in read_pairs(*pair, [method], wanted):
                sample = sample_of(answer, listed, manifest_path)
                try:
                    batch.append(_opened(answer, by_method[method], sample, manifest_path, look))
                except FAILURES as error:
                    if of_disk(error):
                        raise
                    counts["failed"] += _failed(answer.id, error)
                    progress.update()
                if sum(len(one.pages) for one in batch) >= xelatex.PAGES:
                    counts += _finish(batch, folders, marks, progress)
                    batch = []
        counts += _finish(batch, folders, marks, progress)
    return dict(counts)


def _opened(generation: Generation, maps: SampleMaps, sample: Sample, manifest_path: Path, look: Look) -> Drawable:
    for failed, status in ((generation.failed, generation.status), (maps.failed, maps.status)):
        if failed:
            raise RenderError("nothing to draw", got=status)
    media = open_shown(sample, manifest_path.parent, generation.layout)
    mask = outlined_map(sample, generation.layout, manifest_path) if look.outline else None
    return prepare(generation, maps, media, look, mask)


def _mark(sample: Sample, folder: Path, weights: Sequence[str], method: str) -> Mark:
    """What a sample's folder says that it is of, wherever the files lie: other datasets and models may have its id."""
    shown = hashlib.sha256()
    for path in (folder / name for name in sample.media):
        if path.is_file():
            with contextlib.suppress(OSError), path.open("rb") as file:  # what cannot be read has a status of its own
                shown.update(hashlib.file_digest(file, "sha256").digest())
    asked = {"prompt": sample.prompt, "turns": sample.turns, "media": shown.hexdigest()[:16]}
    return {"kind": "sample", "sample": sample.id, "weights": weights, "method": method, **asked}


def _failed(id: str, error: BaseException) -> int:
    log.warning("%r: not drawn: %s", id, error or type(error).__name__)
    return 1


def _finish(
    batch: Sequence[Drawable], folders: Mapping[str, Path], marks: Mapping[str, Mark], progress: "tqdm[NoReturn]"
) -> Counter[str]:
    """Write samples; how many, by status."""
    counts: Counter[str] = Counter()
    for one, text in zip(batch, typeset([one.pages for one in batch]), strict=True):
        if text.refused:
            by_pillow = f"{text.by_tex.count(None)} of {len(text.pages)}"
            log.warning("%r: text of %s pages by Pillow: %s", one.id, by_pillow, text.refused)
        try:
            write(one, text, folders[one.id], marks[one.id])
            counts[one.status + (", text by Pillow" if text.refused else "")] += 1
        except FAILURES as error:
            if of_disk(error) or getattr(error, "errno", None) is not None:  # where we write is no sample's doing
                raise
            counts["failed"] += _failed(one.id, error)
        progress.update()
    return counts
