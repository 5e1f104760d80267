"""One sample made ready to be drawn: its maps over its media, and the pages of its text."""

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tam.errors import RenderError
from tam.media import Film, Media
from tam.records import Generation, unexplained
from tam.render import answer
from tam.render.colors import table
from tam.render.overlay import WIDTH, Panel, evenly, mosaic, outlined, overlay, panels
from tam.render.tokens import Page, lay_out, page

log = logging.getLogger(__name__)
STRIP, MOVING = 16, 48  # most frames of a video in a strip, and in an animated picture
SLOWEST, FASTEST, UNKNOWN = 1000, 100, 500  # milliseconds that a frame is shown


class HasMaps(Protocol):
    """``Maps`` or ``SampleMaps``: ``maps`` float [token, vision] in [0, 1], ``relevance`` [token, token], ``explained``
    bool [token] or None."""

    @property
    def maps(self) -> np.ndarray: ...

    @property
    def relevance(self) -> np.ndarray: ...

    @property
    def explained(self) -> np.ndarray | None: ...


@dataclass(frozen=True)
class Look:
    """How maps are shown: the colour map (``colors.COLORMAPS``), and whether the mask's objects are outlined."""

    colormap: str = "jet"
    outline: bool = False

    @property
    def colors(self) -> np.ndarray:
        return table(self.colormap)


@dataclass(frozen=True)
class Overlays:
    """The maps of all tokens over the media.

    Attributes:
        panels: the pictures, or frames of a video.
        grids: float32 [token, rows, columns] each.
        colors: uint8 [256, 3].
        mask: uint8 [height, width] of category ids whose edges are drawn, or None.
        silent: tokens that are not explained: their pictures are the media without a map.
    """

    panels: list[Panel]
    grids: list[np.ndarray]
    colors: np.ndarray
    mask: np.ndarray | None
    silent: frozenset[int] = frozenset()

    def media(self) -> np.ndarray:
        """The pictures without a map, uint8 RGB."""
        return mosaic([self._outlined(panel.picture) for panel in self.panels])

    def picture(self, token: int) -> np.ndarray:
        """The map of one token over all panels, uint8 RGB."""
        return mosaic([self._outlined(self.over(panel, token)) for panel in self.panels])

    def over(self, panel: Panel, token: int) -> np.ndarray:
        """The same over one picture or frame, without outlines."""
        if token in self.silent:
            return panel.picture
        return overlay(panel, [grid[token] for grid in self.grids], self.colors)

    def _outlined(self, picture: np.ndarray) -> np.ndarray:
        for label in [] if self.mask is None else np.unique(self.mask[self.mask > 0]):
            picture = outlined(picture, self.mask == label)
        return picture


@dataclass(frozen=True)
class Drawable:
    """One sample, ready to be drawn.

    Attributes:
        pages: the text, a page a token: those of the prompt, whose number is ``prompt``, then of the answer.
        frames: of a video, the panels to animate at the size of a single picture, else none; ``pause`` milliseconds
            a frame.
    """

    id: str
    status: str
    overlays: Overlays
    pages: list[Page]
    prompt: int
    frames: list[Panel]
    pause: int


def prepare(
    generation: Generation, maps: HasMaps, media: Media, look: Look, mask: np.ndarray | None = None
) -> Drawable:
    """Put the grids on the media and lay the text out; the edges of ``mask`` are drawn, if there is one.

    Raises:
        RenderError: nothing to explain, maps of another answer, or of pictures that have changed.
    """
    ids = [int(id) for id in (*generation.prompt_ids, *generation.answer_ids)]
    if len(maps.maps) != len(ids):
        raise RenderError(
            "maps and tokens differ", where=generation.id, got=f"{len(maps.maps)} maps", expected=f"{len(ids)}"
        )
    if not ids:
        raise RenderError("nothing to explain", where=generation.id)
    shown, frames = panels(generation.layout, media), []
    if media.video:
        shown, frames = evenly(shown, STRIP), evenly(panels(generation.layout, media, WIDTH), MOVING)
    prompt = len(generation.prompt_ids)
    width = mosaic([panel.picture for panel in shown]).shape[1]
    layout = lay_out([answer.token(generation, id) for id in ids], prompt, width)
    if layout.lost:
        log.warning("%r: no font for %d characters, shown by their numbers", generation.id, len(layout.lost))
    silent = frozenset(unexplained(maps))
    # the candidates of a prompt token are those for the token after it
    headings = ["next"] * prompt + ["top 3"] * (len(ids) - prompt)
    pages = [
        page(
            layout,
            row,
            None if row in silent else maps.relevance[row],
            answer.candidates(generation, row),
            heading,
            look.colors,
        )
        for row, heading in enumerate(headings)
    ]
    grids = generation.layout.split(np.asarray(maps.maps, np.float32))
    overlays = Overlays(shown, grids, look.colors, mask, silent)
    pause = _pause(media.film, len(frames))
    return Drawable(generation.id, generation.status, overlays, pages, prompt, frames, pause)


def _pause(film: Film | None, frames: int) -> int:
    """Milliseconds a frame: as long as the film lasts, within bounds."""
    if not frames or film is None or film.rate <= 0:
        return UNKNOWN
    return round(min(max(1000 * film.total / film.rate / frames, FASTEST), SLOWEST))
