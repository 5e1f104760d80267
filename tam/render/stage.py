"""The stage: generations and maps -> a folder of pictures for each sample; and the same for one sample in memory."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from tam import manifest
from tam.errors import InputError, RenderError, TamError
from tam.manifest import Sample
from tam.media import Media, open_shown
from tam.records import Generation, SampleMaps
from tam.render import xelatex
from tam.render.colors import table
from tam.render.names import safe_id, safe_word
from tam.render.overlay import mask_of
from tam.render.sample import HasMaps, Look, Prepared, prepare
from tam.render.sheet import count_caption, sheet, small, token_caption, with_scale
from tam.render.tokens import TextLayout
from tam.render.typeset import Text, typeset
from tam.run import read_pairs, sample_of
from tam.system.atomic import atomic_folder, of_disk

log = logging.getLogger(__name__)
WITHOUT_TEX = "no xelatex on PATH: token text is drawn by Pillow, and there is no tokens.pdf"
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
        SchemaError: files that do not belong together. DiskError, OSError: the disk's own.
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
    out.mkdir(parents=True, exist_ok=True)
    _say_if_without_tex()
    counts: Counter[str] = Counter()
    batch: list[Prepared] = []
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
                    counts += _finish(batch, out, progress)
                    batch = []
        counts += _finish(batch, out, progress)
    return dict(counts)


def draw(generation: Generation, maps: HasMaps, media: Media, out: Path) -> Path:
    """Draw one sample that is in memory; returns its folder in ``out``.

    Raises:
        RenderError: it cannot be drawn.
    """
    _say_if_without_tex()
    prepared = prepare(generation, maps, media, Look())
    (text,) = typeset([prepared.pages])
    return _write(prepared, text, out)


def _say_if_without_tex() -> None:
    if not xelatex.available():
        log.warning(WITHOUT_TEX)


def _opened(generation: Generation, maps: SampleMaps, sample: Sample, manifest_path: Path, look: Look) -> Prepared:
    for failed, status in ((generation.failed, generation.status), (maps.failed, maps.status)):
        if failed:
            raise RenderError("nothing to draw", got=status)
    media = open_shown(sample, manifest_path.parent, generation.layout)
    mask = mask_of(sample, generation.layout, manifest_path) if look.outline else None
    return prepare(generation, maps, media, look, mask)


def _failed(id: str, error: BaseException) -> int:
    log.warning("%r: not drawn: %s", id, error or type(error).__name__)
    return 1


def _finish(batch: Sequence[Prepared], out: Path, progress: tqdm) -> Counter[str]:
    """Write samples; how many, by status."""
    counts: Counter[str] = Counter()
    for one, text in zip(batch, typeset([one.pages for one in batch]), strict=True):
        if text.refused:
            by_pillow = f"{text.by_tex.count(None)} of {len(text.pages)}"
            log.warning("%r: text of %s pages by Pillow: %s", one.id, by_pillow, text.refused)
        try:
            _write(one, text, out)
            counts[one.status + (", text by Pillow" if text.refused else "")] += 1
        except FAILURES as error:
            if of_disk(error) or getattr(error, "errno", None) is not None:  # where we write is no sample's doing
                raise
            counts["failed"] += _failed(one.id, error)
        progress.update()
    return counts


def _write(sample: Prepared, text: Text, out: Path) -> Path:
    """Write a sample's folder; it appears as a whole, in place of an earlier one."""
    folder, layout, several = out / safe_id(sample.id), sample.pages[0].layout, len(sample.overlays.panels) > 1
    with atomic_folder(folder) as part:
        if pdf := text.pdf():
            (part / "tokens.pdf").write_bytes(pdf)
        shown = small(sample.overlays.media(), several)
        cells = [np.concatenate([shown, count_caption(len(sample.pages) - sample.prompt, shown.shape[1])])]
        for token, said in enumerate(text.pictures()):
            picture = sample.overlays.picture(token)
            name = f"{token:03d}_{safe_word(_word(layout, token))}"
            drawn = with_scale(np.concatenate([picture, said]), len(picture), sample.overlays.colors)
            _save(part / f"{name}.png", drawn)
            if token >= sample.prompt:
                shown = small(picture, several)
                cells.append(np.concatenate([shown, token_caption(layout, token, shown.shape[1])]))
                if len(sample.frames) > 1:
                    _animate(sample, token, part / f"{name}.webp")
        _save(part / "sheet.png", sheet(cells, sample.overlays.colors))
    return folder


def _animate(sample: Prepared, token: int, path: Path) -> None:
    """The frames under the map of a token, with its word below. WebP: browsers and viewers play it, in all colours."""
    frames = []
    for panel in sample.frames:
        picture = sample.overlays.over(panel, token)
        caption = token_caption(sample.pages[0].layout, token, picture.shape[1])
        captioned = with_scale(np.concatenate([picture, caption]), len(picture), sample.overlays.colors)
        frames.append(Image.fromarray(captioned))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=sample.pause, loop=0, quality=85, method=2)


def _save(path: Path, picture: np.ndarray) -> None:
    done, data = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        raise RenderError("picture cannot be encoded", where=path.name, got=picture.shape)
    path.write_bytes(data)


def _word(layout: TextLayout, token: int) -> str:
    unit = layout.units[layout.unit_of(token)]
    return unit.text or "".join(run.text for cluster in unit.shaped.clusters for run in cluster)
