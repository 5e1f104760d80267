"""A figure whose pictures and words stand at places in inches, on the pixels that it is drawn on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from PIL import Image

from tam.render.colors import JET
from tam.render.tokens import shape

SETTINGS = {
    "font.family": "DejaVu Sans", "font.size": 9, "svg.hashsalt": "tam", "hatch.linewidth": 0.4,
    "image.composite_image": False,
}  # fmt: skip
DPI = 150  # of PNG, and of the pictures in PDF and SVG
MOST_PIXELS = 1_500_000  # of all pictures of a figure
BAR, BESIDE = 0.09, 0.08  # width of the colour scale, and its distance


class Place(NamedTuple):
    """A rectangle in inches, from the figure's left and bottom, whose edges lie between pixels."""

    left: float
    bottom: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def top(self) -> float:
        return self.bottom + self.height

    def fitted(self, shape_: Sequence[int], anchor: float = 0.5) -> "Place":
        """The part that a picture [height, width] takes in its own aspect: at lower left (0), in the middle (0.5)."""
        scale = min(self.width / shape_[1], self.height / shape_[0])
        width, height = _whole(shape_[1] * scale), _whole(shape_[0] * scale)
        left = self.left + _whole((self.width - width) * anchor, least=0)
        return Place(left, self.bottom + _whole((self.height - height) * anchor, least=0), width, height)


class Room(NamedTuple):
    """Inches around places, and between their columns (``between``), rows (``gap``) and bands of rows (``apart``)."""

    left: float = 0.05
    top: float = 0.05
    right: float = 0.05
    bottom: float = 0.05
    gap: float = 0.05
    between: float = 0.05
    apart: float = 0


@dataclass(frozen=True)
class Canvas:
    """A figure with one system of axes over all of it, in inches."""

    figure: Figure
    axes: Axes

    @classmethod
    def of(
        cls, shape_: Sequence[int], rows: int, columns: int, width: float, room: Room, bands: int = 1
    ) -> "tuple[Canvas, np.ndarray]":
        """A canvas ``width`` inches wide, and its places [rows, columns] for pictures of ``shape_`` [height, width].

        The rows stand in ``bands`` of as many each.
        """
        side = _whole((width - room.left - room.right - room.between * (columns - 1)) / columns)
        tall = _whole(side * shape_[0] / shape_[1])
        left, bottom, between, gap = map(_whole, (room.left, room.bottom, room.between, room.gap))
        apart = _whole(room.apart, least=0)
        across = left + columns * side + (columns - 1) * between + _whole(room.right)
        high = bottom + rows * tall + (rows - 1) * gap + (bands - 1) * apart + _whole(room.top)
        places = np.empty((rows, columns), object)
        for row in range(rows):
            for column in range(columns):
                below = bands - 1 - row * bands // rows
                above = bottom + (rows - 1 - row) * (tall + gap) + below * apart
                places[row, column] = Place(left + column * (side + between), above, side, tall)
        return cls.blank(across, high), places

    @classmethod
    def in_rows(cls, rows: Sequence[Sequence[Sequence[int]]], width: float, room: Room) -> "tuple[Canvas, list[Place]]":
        """A canvas, and a place for each picture of some rows of shapes [height, width]: as high as the others of its
        row, which is ``width`` inches wide."""
        left, bottom, between, gap = map(_whole, (room.left, room.bottom, room.between, room.gap))
        sides = []
        for row in rows:
            ratios = [shape_[1] / shape_[0] for shape_ in row]
            tall = (width - left - _whole(room.right) - between * (len(row) - 1)) / sum(ratios)
            sides.append((_whole(tall), [_whole(tall * ratio) for ratio in ratios]))
        across = max(left + sum(wide) + between * (len(wide) - 1) for _, wide in sides) + _whole(room.right)
        top = bottom + sum(tall for tall, _ in sides) + gap * (len(sides) - 1)
        canvas, places = cls.blank(across, top + _whole(room.top)), []
        for tall, wide in sides:
            top -= tall
            starts = [left + sum(wide[:place]) + between * place for place in range(len(wide))]
            places += [Place(start, top, side, tall) for start, side in zip(starts, wide, strict=True)]
            top -= gap
        return canvas, places

    @classmethod
    def blank(cls, across: float, high: float) -> "Canvas":
        with matplotlib.rc_context(SETTINGS):
            figure = Figure(figsize=(across, high))
            axes = figure.add_axes((0, 0, 1, 1), xlim=(0, across), ylim=(0, high))
            axes.set_axis_off()
        return cls(figure, axes)

    def show(self, place: Place, picture: np.ndarray, how: Image.Resampling = Image.Resampling.LANCZOS) -> None:
        """A picture, at the resolution of the figure, so that no back end has to scale it again; at a lower one in a
        figure of more than ``MOST_PIXELS``."""
        across, high = self.figure.get_size_inches()
        dots = min(DPI, (MOST_PIXELS / (across * high)) ** 0.5)
        size = max(1, round(place.width * dots)), max(1, round(place.height * dots))
        scaled = np.asarray(Image.fromarray(picture).resize(size, how))
        extent = (place.left, place.right, place.bottom, place.top)
        self.axes.imshow(scaled, extent=extent, interpolation="nearest", aspect="auto")

    def write(
        self, place: Place, x: float, y: float, text: str, points: tuple[float, float] = (0, -3), most: int = 40,
        **style: Any,
    ) -> None:  # fmt: skip
        """Text beside a part of a place (0 to 1), ``points`` away from it."""
        shown, families = legible(text, most)
        where = place.left + x * place.width, place.bottom + y * place.height
        self.axes.annotate(
            shown, where, points, textcoords="offset points", family=families, parse_math=False, **style
        )  # fmt: skip

    def title(self, place: Place, text: str, size: float = 10) -> None:
        self.write(place, 0.5, 1, text, (0, 4), ha="center", va="baseline", fontsize=size)

    def legend(self, text: str) -> None:
        """What the marks of the figure mean, below all of it."""
        self.axes.text(0.07, 0.07, text, fontsize=7, color="0.3", va="bottom", ha="left", parse_math=False)

    def corner(self, place: Place, text: str) -> None:
        """A short text on the picture, at its lower right."""
        box = {"facecolor": "black", "edgecolor": "none", "alpha": 0.65, "pad": 1.5}
        x, y = place.left + 0.975 * place.width, place.bottom + 0.04 * place.height
        self.axes.text(x, y, text, ha="right", va="bottom", color="white", fontsize=8, bbox=box)

    def scale(
        self, place: Place, colors: np.ndarray = JET, labels: Sequence[str] = ("0", "1"), name: str = "map"
    ) -> None:
        """The colours [256, 3] from the lowest to the highest, evenly labelled, to the right of a place; ``name``: of
        what they are the values."""
        bar = Place(place.right + _whole(BESIDE), place.bottom, _whole(BAR), place.height)
        self.show(bar, np.repeat(colors[::-1, None], 16, axis=1))
        for y, label in zip(np.linspace(0, 1, len(labels)), labels, strict=True):
            self.write(bar, 1, y, label, (2, 0), ha="left", va="center_baseline", fontsize=8)
        self.write(bar, 1, 0.75, name, (3, 0), ha="left", va="center", rotation=90, fontsize=8)


def legible(text: str, most: int = 40) -> tuple[str, list[str]]:
    """Words as they can be shown, cut to a number of characters, and the fonts that have them."""
    words = [[run for cluster in shape(word).clusters for run in cluster] for word in text.split(" ") if word]
    runs = [run for word in words for run in word]
    shown = " ".join("".join(run.text if run.face else f"[{run.text}]" for run in word) for word in words)
    families = ["DejaVu Sans"]
    for path in dict.fromkeys(run.face.path for run in runs if run.face):
        if path not in {font.fname for font in fontManager.ttflist}:
            fontManager.addfont(path)
        families.append(FontProperties(fname=path).get_name())
    return shown if len(shown) <= most else shown[: most - 1] + "…", families


def _whole(inches: float, least: int = 1) -> float:
    """The nearest length of whole pixels."""
    return max(round(inches * DPI), least) / DPI
