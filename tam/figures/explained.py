"""The figure of one explanation, for a paper or a talk: the picture, words under their maps, the answer in colours.

Titles are words, or a word's methods; the coloured sentence says how high each word's map rises, on the scale beside.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tam.errors import InputError
from tam.figures.canvas import BAR, BESIDE, SETTINGS, Canvas, Place, legible
from tam.figures.files import BEST, save_pdf, save_raster, save_svg
from tam.figures.kinds import check_name
from tam.render.colors import luminance, signed
from tam.render.overlay import WIDEST
from tam.system.atomic import atomic

Arrangement = Literal["across", "down"]
ARRANGEMENTS: tuple[Arrangement, ...] = get_args(Arrangement)

INCHES = 7.0  # across: the text of a paper in two columns
ABREAST = 5  # columns; more stand below
GAP, TITLE, LINE = 0.06, 0.22, 0.24  # inches between pictures, above them, and of a line of a sentence
LABEL, SCALE = 0.22, 0.32  # inches at the left and at the right
BETWEEN = 0.09  # inches between words


class Cell(NamedTuple):
    """A picture of a figure, uint8 RGB [height, width, 3], and what stands above it."""

    picture: np.ndarray
    title: str


@dataclass(frozen=True)
class Drawing:
    """A figure that can be saved, and shows itself in a notebook.

    Attributes:
        figure: matplotlib's. width: pixels across where it becomes pixels.
    """

    figure: Figure
    width: int

    def save(self, path: Path | str) -> Path:
        """PDF and SVG with real text and the photo at its own resolution; PNG, JPEG and WebP ``width`` pixels across.

        Raises:
            InputError: a name that ends in none of these.
            DiskError: a file lies there that is no figure of ours, or the disk is full.
        """
        path = Path(path)
        check_name(path)
        with atomic(path) as temporary:
            if path.suffix.lower() == ".pdf":
                save_pdf(self._scaled("none"), temporary, quality=BEST)
            elif path.suffix.lower() == ".svg":
                save_svg(self._scaled("none"), temporary, letters="none", quality=BEST)
            else:
                save_raster(self._scaled("antialiased"), temporary, path.suffix.lower(), self._dots)
        return path

    def _repr_png_(self) -> bytes:
        save_raster(self._scaled("antialiased"), made := io.BytesIO(), ".png", self._dots)
        return made.getvalue()

    @property
    def _dots(self) -> float:
        return float(self.width / self.figure.get_size_inches()[0])

    def _scaled(self, how: str) -> Figure:
        """The pictures as they are ("none"), or scaled to the pixels of the figure."""
        for image in self.figure.axes[0].images:
            image.set_interpolation(how)
        return self.figure


def explained_figure(
    picture: np.ndarray,
    rows: Sequence[tuple[str, Sequence[Cell]]],
    sentences: Sequence[Sequence[tuple[str, float | None]]],
    colors: np.ndarray,
    width: int,
    peak: float = 0,
) -> Drawing:
    """Pictures in rows, a scale, and sentences below.

    Args:
        picture: uint8 RGB, what was shown; it stands first in each row.
        rows: (label at the left, or "", cells) each; a row of more than fit goes on below.
        sentences: of words with how high their maps rise, 0 to 1; None: no map, no colour.
        colors: uint8 [256, 3]. width: pixels across, where the figure becomes pixels.
        peak: the greatest difference that a cell shows; 0: none does.
    """
    if not 100 <= width <= WIDEST:
        raise InputError("wrong number", where="width", got=width, expected=f"100 to {WIDEST} pixels")
    lines = _lines(picture, rows)
    columns = max(len(cells) for _, cells in lines)
    left = LABEL if any(label for label, _ in lines) else GAP
    side = (INCHES - left - SCALE - GAP * (columns - 1)) / columns
    tall = side * picture.shape[0] / picture.shape[1]
    wrapped = [line for words in sentences for line in _wrapped(words)]
    below = LINE * len(wrapped) + GAP
    canvas = Canvas.blank(INCHES, below + len(lines) * (tall + TITLE) + GAP)
    for number, (label, cells) in enumerate(lines):
        bottom = below + (len(lines) - 1 - number) * (tall + TITLE)
        places = [Place(left + column * (side + GAP), bottom, side, tall) for column in range(columns)]
        for place, cell in zip(places, cells, strict=False):
            _show(canvas, place, cell.picture)
            canvas.title(place, cell.title, 9)
        if label:
            canvas.write(places[0], 0, 0.5, label, (-4, 0), ha="right", va="center", rotation=90, fontsize=9)
        if number == 0:
            beside, part = places[-1].right + BESIDE, tall * (0.45 if peak else 1)
            _scale(canvas, Place(beside, bottom + tall - part, BAR, part), colors)
            if peak:
                _differences(canvas, Place(beside, bottom, BAR, max(tall - part - LINE, GAP)), peak)
    for number, line in enumerate(wrapped):
        _write(canvas, line, left, below - GAP - LINE * (number + 0.5), colors)
    return Drawing(canvas.figure, width)


def _lines(picture: np.ndarray, rows: Sequence[tuple[str, Sequence[Cell]]]) -> list[tuple[str, list[Cell]]]:
    """Rows that fit, the picture before the cells of each."""
    made = []
    for label, cells in rows:
        whole = [Cell(picture, "picture"), *cells]
        for start in range(0, len(whole), ABREAST):
            made.append((label, whole[start : start + ABREAST]))
    return made


def _show(canvas: Canvas, place: Place, picture: np.ndarray) -> None:
    extent = (place.left, place.right, place.bottom, place.top)
    canvas.axes.imshow(picture, extent=extent, aspect="auto")


def _scale(canvas: Canvas, bar: Place, colors: np.ndarray) -> None:
    _show(canvas, bar, np.repeat(colors[::-1, None], 16, axis=1))
    for y, label in ((0, "0"), (1, "1")):
        canvas.write(bar, 1, y, label, (2, 0), ha="left", va="center_baseline", fontsize=8)


def _differences(canvas: Canvas, bar: Place, peak: float) -> None:
    _show(canvas, bar, np.repeat(signed()[::-1, None], 16, axis=1))
    for y, label, offset, va in ((1, f"+{peak:.2f}", 1, "bottom"), (0, f"−{peak:.2f}", -1, "top")):
        canvas.write(bar, 0, y, label, (-1, offset), ha="left", va=va, fontsize=6)


def ink(color: np.ndarray) -> str:
    """Black or white, what is read better on a colour (RGB from 0 to 255): a contrast of 4.5 or more (WCAG 2)."""
    behind = float(luminance(color))
    return "black" if (behind + 0.05) / 0.05 >= 1.05 / (behind + 0.05) else "white"


def _measured(text: str) -> float:
    """How many inches a word takes."""
    shown, families = legible(text)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(INCHES, 1))
        drawn = figure.text(0, 0, shown, family=families, fontsize=9, parse_math=False)
        extent = drawn.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    return float(extent.width / figure.dpi)


def _wrapped(words: Sequence[tuple[str, float | None]]) -> list[list[tuple[str, float | None, float]]]:
    """Lines of (word, value, inches)."""
    lines: list[list[tuple[str, float | None, float]]] = [[]]
    room = INCHES - 2 * LABEL
    for text, value in words:
        wide = _measured(text)
        if lines[-1] and sum(taken + BETWEEN for *_, taken in lines[-1]) + wide > room:
            lines.append([])
        lines[-1].append((text, value, wide))
    return lines


def _write(
    canvas: Canvas, line: Sequence[tuple[str, float | None, float]], left: float, middle: float, colors: np.ndarray
) -> None:
    for text, value, wide in line:
        shown, families = legible(text)
        color, box = "black", None
        if value is not None:
            behind = colors[round(float(np.clip(value, 0, 1)) * 255)]
            color, box = ink(behind), {"facecolor": tuple(behind / 255), "edgecolor": "none", "pad": 1.6}
        canvas.axes.text(
            left + 0.03, middle, shown, family=families, fontsize=9, va="center_baseline", bbox=box, color=color,
            parse_math=False,
        )  # fmt: skip
        left += wide + BETWEEN
