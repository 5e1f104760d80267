"""The stage: generations and maps -> a folder of pictures for each sample; and the same for one sample in memory."""

import hashlib
import itertools
import logging
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import regex
from tqdm import tqdm

from tam import cache, manifest
from tam.cache import Generation
from tam.errors import InputError, RenderError, SchemaError, TamError
from tam.maps import read_maps
from tam.media import Media, open_shown
from tam.render import pillow, xelatex
from tam.render.colors import BLACK, NOTE
from tam.render.overlay import GAP, Panel, color_bar, mosaic, overlay, panels, resized
from tam.render.tokens import ASCENT, FOOT, MARGIN, Page, Piece, TextLayout, Token, fitting, lay_out, note, page

log = logging.getLogger(__name__)
WITHOUT_TEX = "no xelatex on PATH: token text is drawn by Pillow, and there is no tokens.pdf"
CELL, CAPTION = 180, 24  # of a contact sheet, in pixels
# what one sample's files can bring about; anything else is a mistake of ours and stops the stage
FAILURES = (TamError, OSError, ValueError, LookupError, cv2.error)


class HasMaps(Protocol):
    """``core.Maps`` or ``SampleMaps``: ``maps`` float [token, vision] in [0, 1], ``relevance`` [token, token]."""

    maps: np.ndarray
    relevance: np.ndarray


@dataclass(frozen=True)
class Job:
    """One sample, ready to be drawn."""

    id: str
    status: str
    grids: list[np.ndarray]  # [token, rows, columns] each
    panels: list[Panel]
    pages: list[Page]
    prompt: int

    @property
    def layout(self) -> TextLayout:
        return self.pages[0].layout

    def picture(self, token: int) -> np.ndarray:
        """The overlay of one token, uint8 RGB."""
        return mosaic([overlay(panel, [grid[token] for grid in self.grids]) for panel in self.panels])


def render(
    generation: Sequence[Path], maps: Sequence[Path], manifest_path: Path, samples: Sequence[str] | None, out: Path
) -> dict[str, int]:
    """Draw samples into ``out/<safe id>/``: ``NNN_word.png`` a token, ``sheet.png``, with TeX also ``tokens.pdf``.

    Args:
        generation, maps: files of the same shards in the same order.
        samples: ids; None for all.

    Returns:
        the number of samples by status: "ok", "truncated", "failed", with ", text by Pillow" where TeX failed. The log
        says why.

    Raises:
        InputError: unknown ids, or unequal numbers of files. SchemaError: files that do not belong together.
    """
    known = {sample.id: sample for sample in manifest.read(manifest_path)}
    wanted = set(known if samples is None else samples)
    if unknown := sorted(wanted - known.keys()):
        raise InputError("samples are not in the manifest", where=manifest_path, got=", ".join(map(repr, unknown[:5])))
    if len(generation) != len(maps):
        raise InputError("unequal numbers of files", got=f"{len(generation)} generation files, {len(maps)} maps files")
    if not xelatex.available():
        log.warning(WITHOUT_TEX)
    out.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    batch: list[Job] = []
    with tqdm(total=len(wanted), desc="render", unit="sample") as progress:
        for answer, sample_maps in itertools.chain.from_iterable(map(_pairs, generation, maps)):
            if answer.id not in wanted:
                continue
            failure = next((s for s in (answer.status, sample_maps.status) if s.startswith(cache.FAILED)), None)
            try:
                if failure:
                    raise RenderError("nothing to draw", got=failure)
                media = open_shown(known[answer.id], manifest_path.parent, answer.layout)
                batch.append(prepare(answer, sample_maps, media))
            except FAILURES as error:
                counts[_failed(answer.id, error)] += 1
                progress.update()
            if sum(len(job.pages) for job in batch) >= xelatex.PAGES:
                counts += _finish(batch, out, progress)
                batch = []
        counts += _finish(batch, out, progress)
    return dict(counts)


def draw(generation: Generation, maps: HasMaps, media: Media, out: Path) -> Path:
    """Draw one sample that is in memory; returns its folder in ``out``.

    Raises:
        RenderError: it cannot be drawn.
    """
    if not xelatex.available():
        log.warning(WITHOUT_TEX)
    job = prepare(generation, maps, media)
    return write(job, typeset([job])[0], out)


def _pairs(generation: Path, maps: Path) -> Iterator[tuple]:
    for answer, sample_maps in zip(cache.read_generations(generation), read_maps(maps), strict=True):
        if answer.id != sample_maps.id:
            raise SchemaError("samples differ", where=maps, got=repr(sample_maps.id), expected=repr(answer.id))
        yield answer, sample_maps


def _failed(id: str, error: BaseException) -> str:
    log.warning("%r: not drawn: %s", id, error or type(error).__name__)
    return "failed"


def _finish(batch: list[Job], out: Path, progress: tqdm) -> Counter[str]:
    counts: Counter[str] = Counter()
    for job, text in zip(batch, typeset(batch), strict=True):
        try:
            write(job, text, out)
            counts[job.status + (", text by Pillow" if isinstance(text, RenderError) else "")] += 1
        except FAILURES as error:
            counts[_failed(job.id, error)] += 1
        progress.update()
    return counts


# ---- one sample ------------------------------------------------------------------------------------------------------


def prepare(generation: Generation, maps: HasMaps, media: Media) -> Job:
    """Put the grids on the media and lay the text out."""
    ids = [int(id) for id in (*generation.prompt_ids, *generation.answer_ids)]
    if len(maps.maps) != len(ids):
        raise RenderError(
            "maps and tokens differ", where=generation.id, got=f"{len(maps.maps)} maps", expected=f"{len(ids)}"
        )
    if not ids:
        raise RenderError("nothing to explain", where=generation.id)
    shown = panels(generation.layout, media)
    width = mosaic([panel.picture for panel in shown]).shape[1]
    layout = lay_out([_token(generation, id) for id in ids], len(generation.prompt_ids), width)
    if layout.lost:
        log.warning("%r: no font for %d characters, shown by their numbers", generation.id, len(layout.lost))
    pages = [
        page(layout, token, maps.relevance[token], _candidates(generation, token), heading)
        for token, heading in enumerate(_headings(generation))
    ]
    grids = generation.layout.split(np.asarray(maps.maps, np.float32))
    return Job(generation.id, generation.status, grids, shown, pages, len(generation.prompt_ids))


def _token(generation: Generation, id: int) -> Token:
    return Token(generation.vocabulary[id].bytes, "end" if id in generation.end_tokens else None)


def _headings(generation: Generation) -> list[str]:
    """The candidates of a prompt token are those for the token after it."""
    return ["next"] * len(generation.prompt_ids) + ["top 3"] * len(generation.answer_ids)


def _candidates(generation: Generation, token: int) -> list[tuple[Token, float]]:
    rows = generation.candidates
    probabilities = np.exp(np.float64(rows.logits[token]) - rows.logsumexp[token])
    return [(_token(generation, int(id)), float(p)) for id, p in zip(rows.ids[token], probabilities, strict=True)]


@dataclass(frozen=True)
class Typeset:
    """Where the pages of a sample stand in a PDF of many."""

    pdf: bytes
    first: int
    count: int


def typeset(jobs: Sequence[Job]) -> list[Typeset | RenderError | None]:
    """One TeX document for all samples; where it fails, halves, down to the samples that fail. None: no TeX."""
    if not xelatex.available() or not jobs:
        return [None] * len(jobs)
    counts = [len(job.pages) for job in jobs]
    try:
        pdf = xelatex.compile_pdf(xelatex.document([job.pages for job in jobs]), sum(counts))
    except RenderError as error:
        if len(jobs) == 1:
            log.warning("%r: text by Pillow: %s", jobs[0].id, error)
            return [error]
        middle = len(jobs) // 2
        return typeset(jobs[:middle]) + typeset(jobs[middle:])
    firsts = itertools.accumulate(counts, initial=0)
    return [Typeset(pdf, first, count) for first, count in zip(firsts, counts, strict=False)]


def write(job: Job, text: Typeset | RenderError | None, out: Path) -> Path:
    """Write a sample's folder; it appears as a whole, in place of an earlier one."""
    folder = out / safe_id(job.id)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        if isinstance(text, Typeset):
            (part / "tokens.pdf").write_bytes(xelatex.extract(text.pdf, text.first, text.count))
            strips = xelatex.rasters(text.pdf, text.first, text.count)
        else:
            strips = pillow.draw(job.layout, job.pages)
        cells = [_cell(job, None, mosaic([panel.picture for panel in job.panels]))]
        for token, strip in enumerate(strips):
            picture = job.picture(token)
            name = f"{token:03d}_{safe_word(_word(job.layout, token))}.png"
            _save(part / name, np.concatenate([picture, strip]))
            if token >= job.prompt:
                cells.append(_cell(job, token, picture))
        _save(part / "sheet.png", sheet(cells))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _save(path: Path, picture: np.ndarray) -> None:
    done, data = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        raise RenderError("picture cannot be encoded", where=path.name, got=picture.shape)
    path.write_bytes(data)


def _cell(job: Job, token: int | None, picture: np.ndarray) -> np.ndarray:
    """A small picture with the token's number and word below."""
    small = resized(picture, CELL if len(job.panels) == 1 else 2 * CELL)
    width = small.shape[1]
    if token is None:
        pieces = [note(f"{len(job.pages) - job.prompt} tokens", 1, FOOT - 2)]
    else:
        number = note(str(token), 1, FOOT - 4)
        clusters = job.layout.units[job.layout.unit_of(token)].shaped.clusters
        word = fitting(clusters, 0, FOOT, width - number.width - 8)
        pieces = [number, replace(word, x=number.width + 5)]
    caption = _written([replace(piece, y=3 + ASCENT * FOOT) for piece in pieces], width, CAPTION)
    return np.concatenate([small, caption])


def _written(pieces: Sequence[Piece], width: int, height: int) -> np.ndarray:
    """Short texts on white: those of unit 0 in black, those of unit 1 in grey."""
    owner = pillow.owners(pieces, (height, width), grow=3)
    colors = np.array([BLACK, NOTE], np.uint8)
    return pillow.paint(pillow.coverage(pieces, width, height), owner, owner, colors, current=None)


def sheet(cells: Sequence[np.ndarray]) -> np.ndarray:
    """All cells in rows, with the colour scale at the right."""
    inner = mosaic(cells, columns=6 if len(cells) <= 30 else 8, gap=GAP + 4)
    bar = color_bar(cells[0].shape[0] - CAPTION)
    numbers = [replace(note(text, 1, 12), x=27, y=y) for text, y in (("1", 9.0), ("0", float(len(bar))))]
    scale = _written(numbers, 40, inner.shape[0])
    scale[: len(bar), 10:22] = bar
    return np.pad(np.concatenate([inner, scale], axis=1), ((MARGIN, MARGIN), (MARGIN, 0), (0, 0)), constant_values=255)


# ---- names of files --------------------------------------------------------------------------------------------------


def _word(layout: TextLayout, token: int) -> str:
    unit = layout.units[layout.unit_of(token)]
    return unit.text or "".join(run.text for cluster in unit.shaped.clusters for run in cluster)


def safe_word(text: str) -> str:
    """Letters and digits of a word, at most 40 bytes; for a sign its name; else "token"."""
    letters = "".join(regex.findall(r"[\p{L}\p{N}]\p{M}*", unicodedata.normalize("NFKC", text)))
    name = unicodedata.name(text.strip()[0], "token") if text.strip() else "NEWLINE" if "\n" in text else "SPACE"
    return (letters or re.sub("[^a-z0-9]+", "_", name.lower())).encode("utf-8")[:40].decode("utf-8", "ignore")


def safe_id(id: str) -> str:
    """A folder name for any sample id; different ids get different names."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", id)[:80].lstrip(".-")
    if name == id and name:
        return name
    return f"{name or 'sample'}-{hashlib.sha256(id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
