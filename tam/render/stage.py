"""The stage: generations and maps -> a folder of pictures for each sample; and the same for one sample in memory."""

import hashlib
import itertools
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import regex
from PIL import Image
from tqdm import tqdm

from tam import cache, manifest
from tam.errors import InputError, RenderError, SchemaError, TamError
from tam.maps import read_maps
from tam.media import Media, open_shown
from tam.records import FAILED, Generation
from tam.render import answer as shown_of
from tam.render import pillow, xelatex
from tam.render.colors import BLACK, NOTE, table
from tam.render.overlay import (
    GAP,
    WIDTH,
    Panel,
    color_bar,
    evenly,
    mosaic,
    outlined,
    overlay,
    panels,
    read_mask,
    resized,
)
from tam.render.tokens import ASCENT, FOOT, MARGIN, Page, Piece, TextLayout, fitting, lay_out, note, page
from tam.system.atomic import atomic_folder

log = logging.getLogger(__name__)
WITHOUT_TEX = "no xelatex on PATH: token text is drawn by Pillow, and there is no tokens.pdf"
CELL, CAPTION, SCALE = 180, 24, 40  # of a contact sheet, in pixels; width of the colour scale
STRIP, MOVING = 16, 48  # most frames of a video in a strip, and in an animated picture
SLOWEST, FASTEST, UNKNOWN = 1000, 100, 500  # milliseconds that a frame is shown
# what one sample's files can bring about; anything else is a mistake of ours and stops the stage
FAILURES = (TamError, OSError, ValueError, LookupError, cv2.error)


class HasMaps(Protocol):
    """``core.Maps`` or ``SampleMaps``: ``maps`` float [token, vision] in [0, 1], ``relevance`` [token, token]."""

    maps: np.ndarray
    relevance: np.ndarray


@dataclass(frozen=True)
class Look:
    """How maps are shown: the colour map (``colors.COLORMAPS``), and whether the mask's objects are outlined."""

    colormap: str = "jet"
    outline: bool = False

    @property
    def colors(self) -> np.ndarray:
        return table(self.colormap)


PLAIN = Look()


@dataclass(frozen=True)
class Job:
    """One sample, ready to be drawn.

    Attributes:
        grids: [token, rows, columns] each.
        mask: uint8 [height, width] of category ids whose edges are drawn, or None.
        frames: of a video, the panels to animate at the size of a single picture, else none; ``pause`` milliseconds
            a frame.
    """

    id: str
    status: str
    grids: list[np.ndarray]
    panels: list[Panel]
    pages: list[Page]
    prompt: int
    colors: np.ndarray
    mask: np.ndarray | None
    frames: list[Panel]
    pause: int

    @property
    def layout(self) -> TextLayout:
        return self.pages[0].layout

    def media(self) -> np.ndarray:
        """The pictures without a map."""
        return mosaic([self._outlined(panel.picture) for panel in self.panels])

    def picture(self, token: int) -> np.ndarray:
        """The overlay of one token, uint8 RGB."""
        return mosaic([self._outlined(self.over(panel, token)) for panel in self.panels])

    def over(self, panel: Panel, token: int) -> np.ndarray:
        return overlay(panel, [grid[token] for grid in self.grids], self.colors)

    def _outlined(self, picture: np.ndarray) -> np.ndarray:
        for label in [] if self.mask is None else np.unique(self.mask[self.mask > 0]):
            picture = outlined(picture, self.mask == label)
        return picture


def render(
    generation: Sequence[Path], maps: Sequence[Path], manifest_path: Path, samples: Sequence[str] | None, out: Path,
    look: Look = PLAIN,
) -> dict[str, int]:  # fmt: skip
    """Draw samples into ``out/<safe id>/``: ``NNN_word.png`` a token, ``sheet.png``, with TeX also ``tokens.pdf``.

    Of a video there is also ``NNN_word.webp`` for each token of the answer.

    Args:
        generation, maps: files of the same shards in the same order.
        samples: ids; None for all.

    Returns:
        the number of samples by status: "ok", "truncated", "failed", with ", text by Pillow" where TeX failed on a
        page. The log says why.

    Raises:
        InputError: unknown ids or colour map, or unequal numbers of files.
        SchemaError: files that do not belong together.
    """
    table(look.colormap)
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
            failure = next((s for s in (answer.status, sample_maps.status) if s.startswith(FAILED)), None)
            try:
                if failure:
                    raise RenderError("nothing to draw", got=failure)
                sample = known[answer.id]
                media = open_shown(sample, manifest_path.parent, answer.layout)
                mask = read_mask(sample, manifest_path) if look.outline else None
                batch.append(prepare(answer, sample_maps, media, look, mask))
            except FAILURES as error:
                counts[_failed(answer.id, error)] += 1
                progress.update()
            if sum(len(job.pages) for job in batch) >= xelatex.PAGES:
                counts += _finish(batch, out, progress)
                batch = []
        counts += _finish(batch, out, progress)
    return dict(counts)


def draw(generation: Generation, maps: HasMaps, media: Media, out: Path, look: Look = PLAIN) -> Path:
    """Draw one sample that is in memory; returns its folder in ``out``.

    Raises:
        RenderError: it cannot be drawn.
    """
    if not xelatex.available():
        log.warning(WITHOUT_TEX)
    job = prepare(generation, maps, media, look)
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
            refused = text is not None and any(isinstance(place, RenderError) for place in text)
            counts[job.status + (", text by Pillow" if refused else "")] += 1
        except FAILURES as error:
            counts[_failed(job.id, error)] += 1
        progress.update()
    return counts


# ---- one sample ------------------------------------------------------------------------------------------------------


def prepare(generation: Generation, maps: HasMaps, media: Media, look: Look, mask: np.ndarray | None = None) -> Job:
    """Put the grids on the media and lay the text out; the edges of ``mask`` are drawn, if there is one."""
    ids = [int(id) for id in (*generation.prompt_ids, *generation.answer_ids)]
    if len(maps.maps) != len(ids):
        raise RenderError(
            "maps and tokens differ", where=generation.id, got=f"{len(maps.maps)} maps", expected=f"{len(ids)}"
        )
    if not ids:
        raise RenderError("nothing to explain", where=generation.id)
    shown, frames, pause = panels(generation.layout, media), [], 0
    if media.video:
        shown, frames = evenly(shown, STRIP), evenly(panels(generation.layout, media, WIDTH), MOVING)
        film = media.film
        seconds = film.total / film.rate / len(frames) if film and film.rate > 0 else None
        pause = UNKNOWN if seconds is None else round(min(max(1000 * seconds, FASTEST), SLOWEST))
    width = mosaic([panel.picture for panel in shown]).shape[1]
    layout = lay_out([shown_of.token(generation, id) for id in ids], len(generation.prompt_ids), width)
    if layout.lost:
        log.warning("%r: no font for %d characters, shown by their numbers", generation.id, len(layout.lost))
    pages = [
        page(layout, row, maps.relevance[row], shown_of.candidates(generation, row), heading, look.colors)
        for row, heading in enumerate(_headings(generation))
    ]
    return Job(
        id=generation.id, status=generation.status, panels=shown, pages=pages, prompt=len(generation.prompt_ids),
        grids=generation.layout.split(np.asarray(maps.maps, np.float32)), colors=look.colors,
        mask=mask, frames=frames, pause=pause,
    )  # fmt: skip


def _headings(generation: Generation) -> list[str]:
    """The candidates of a prompt token are those for the token after it."""
    return ["next"] * len(generation.prompt_ids) + ["top 3"] * len(generation.answer_ids)


Place = tuple[bytes, int]
"""A page of text: the PDF that holds it, and its number there."""


def typeset(jobs: Sequence[Job]) -> list[list[Place | RenderError] | None]:
    """One TeX document for all samples; where it fails, halves, down to the pages that fail. None: no TeX."""
    if not xelatex.available() or not jobs:
        return [None] * len(jobs)
    found = _typeset([job.pages for job in jobs])
    for job, places in zip(jobs, found, strict=True):
        if errors := [place for place in places if isinstance(place, RenderError)]:
            log.warning("%r: text of %d of %d pages by Pillow: %s", job.id, len(errors), len(places), errors[0])
    return found


def _typeset(samples: Sequence[Sequence[Page]]) -> list[list[Place | RenderError]]:
    counts = [len(pages) for pages in samples]
    try:
        pdf = xelatex.compile_pdf(xelatex.document(samples), sum(counts))
    except RenderError as error:
        if len(samples) > 1:
            middle = len(samples) // 2
            return _typeset(samples[:middle]) + _typeset(samples[middle:])
        (pages,), middle = samples, len(samples[0]) // 2
        if not middle or _refuses_layout(pages[0]):
            return [[error] * len(pages)]
        return [_typeset([pages[:middle]])[0] + _typeset([pages[middle:]])[0]]
    firsts = itertools.accumulate(counts, initial=0)
    return [[(pdf, first + page) for page in range(count)] for first, count in zip(firsts, counts, strict=False)]


def _refuses_layout(page: Page) -> bool:
    """Whether TeX fails on what all pages of a sample share, so that trying each would be in vain."""
    try:
        xelatex.compile_pdf(xelatex.document([[replace(page, foot=())]]), 1)
    except RenderError:
        return True
    return False


def _strips(job: Job, text: list[Place | RenderError] | None) -> Iterator[np.ndarray]:
    """The text of every token, uint8 RGB, by TeX where it could."""
    places = text or [None] * len(job.pages)
    for pdf, group in itertools.groupby(range(len(places)), lambda page: _pdf_of(places[page])):
        pages = list(group)
        if pdf is None:
            yield from pillow.draw(job.layout, [job.pages[page] for page in pages])
        else:
            yield from xelatex.rasters(pdf, [places[page][1] for page in pages])


def _pdf_of(place: Place | RenderError | None) -> bytes | None:
    return place[0] if isinstance(place, tuple) else None


def write(job: Job, text: list[Place | RenderError] | None, out: Path) -> Path:
    """Write a sample's folder; it appears as a whole, in place of an earlier one."""
    folder = out / safe_id(job.id)
    with atomic_folder(folder) as part:
        if places := [place for place in text or () if isinstance(place, tuple)]:
            groups = itertools.groupby(places, lambda place: place[0])
            pdf = xelatex.extract((pdf, [number for _, number in group]) for pdf, group in groups)
            (part / "tokens.pdf").write_bytes(pdf)
        cells = [_cell(job, None, job.media())]
        for token, strip in enumerate(_strips(job, text)):
            picture = job.picture(token)
            name = f"{token:03d}_{safe_word(_word(job.layout, token))}"
            _save(part / f"{name}.png", with_scale(np.concatenate([picture, strip]), len(picture), job.colors))
            if token >= job.prompt:
                cells.append(_cell(job, token, picture))
                if len(job.frames) > 1:
                    _animate(job, token, part / f"{name}.webp")
        _save(part / "sheet.png", sheet(cells, job.colors))
    return folder


def _animate(job: Job, token: int, path: Path) -> None:
    """The frames under the map of a token, with its word below. WebP: browsers and viewers play it, in all colours."""
    frames = []
    for panel in job.frames:
        picture = job.over(panel, token)
        captioned = np.concatenate([picture, _caption(job, token, picture.shape[1])])
        frames.append(Image.fromarray(with_scale(captioned, len(picture), job.colors)))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=job.pause, loop=0, quality=85, method=2)


def _save(path: Path, picture: np.ndarray) -> None:
    done, data = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        raise RenderError("picture cannot be encoded", where=path.name, got=picture.shape)
    path.write_bytes(data)


def _cell(job: Job, token: int | None, picture: np.ndarray) -> np.ndarray:
    """A small picture with the token's number and word below."""
    small = resized(picture, CELL if len(job.panels) == 1 else 2 * CELL)
    return np.concatenate([small, _caption(job, token, small.shape[1])])


def _caption(job: Job, token: int | None, width: int) -> np.ndarray:
    if token is None:
        pieces = [note(f"{len(job.pages) - job.prompt} tokens", 1, FOOT - 2)]
    else:
        number = note(str(token), 1, FOOT - 4)
        clusters = job.layout.units[job.layout.unit_of(token)].shaped.clusters
        word = fitting(clusters, 0, FOOT, width - number.width - 8)
        pieces = [number, replace(word, x=number.width + 5)]
    return _written([replace(piece, y=3 + ASCENT * FOOT) for piece in pieces], width, CAPTION)


def _written(pieces: Sequence[Piece], width: int, height: int) -> np.ndarray:
    """Short texts on white: those of unit 0 in black, those of unit 1 in grey."""
    owner = pillow.owners(pieces, (height, width), grow=3)
    colors = np.array([BLACK, NOTE], np.uint8)
    return pillow.paint(pillow.coverage(pieces, width, height), owner, owner, colors, current=None)


def sheet(cells: Sequence[np.ndarray], colors: np.ndarray) -> np.ndarray:
    """All cells in rows, with the colour scale at the right."""
    inner = mosaic(cells, columns=6 if len(cells) <= 30 else 8, gap=GAP + 4)
    scaled = with_scale(inner, cells[0].shape[0] - CAPTION, colors)
    return np.pad(scaled, ((MARGIN, MARGIN), (MARGIN, 0), (0, 0)), constant_values=255)


def with_scale(picture: np.ndarray, height: int, colors: np.ndarray) -> np.ndarray:
    """The picture with the colour scale from 0 to 1 at the right of its first ``height`` rows."""
    bar = color_bar(height, colors=colors)
    numbers = [replace(note(text, 1, 12), x=27, y=y) for text, y in (("1", 9.0), ("0", float(height)))]
    scale = _written(numbers, SCALE, len(picture))
    scale[:height, 10:22] = bar
    return np.concatenate([picture, scale], axis=1)


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
    if name == id and name and not re.search("-[0-9a-f]{8}$", name):  # else an id could take another's name
        return name
    return f"{name or 'sample'}-{hashlib.sha256(id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
