"""A picture under several grids (tiles of it, a thumbnail of all of it), read as one: the finest, all over it."""

import math
from dataclasses import dataclass

import numpy as np

from tam.errors import LayoutError
from tam.layout import Grid, Layout

DIGITS = 6  # of a cell; boxes are fractions, and edges that meet differ in their last bits


@dataclass(frozen=True)
class PictureGrid:
    """Equal cells over one picture or one frame, and how its grids lie under them.

    Attributes:
        layout: whose grids they are.
        size: (width, height) in pixels of the medium.
        rows, columns: how many cells there are.
        box: left, top, right, bottom in pixels of the medium: what the cells cover. It may reach beyond the medium.
        shown: float64 [rows, columns], the part of each cell that lies on the picture, 0 where no grid covers its
            centre; 1 in all cells of a grid that is alone.
        under: of each grid, its index in the layout, and the weights of its rows [rows, its rows] and of its columns
            [columns, its columns] in the cells; none where it does not lie.
    """

    layout: Layout
    size: tuple[int, int]
    rows: int
    columns: int
    box: tuple[float, float, float, float]
    shown: np.ndarray
    under: tuple[tuple[int, np.ndarray, np.ndarray], ...]

    def read(self, maps: np.ndarray) -> np.ndarray:
        """``[..., vision]`` -> ``[..., rows, columns]``; whole numbers are rounded, others are float32 or more.

        A cell has the mean of the grids that cover its centre, each interpolated linearly between the centres of its
        own cells, as overlays draw them; NaN counts as 0, and so does no grid. A grid that is alone is read as it is.
        """
        parts = self.layout.split(maps)
        if len(self.under) == 1:
            return parts[self.under[0][0]]
        total = np.zeros((*maps.shape[:-1], self.rows, self.columns))
        for index, down, across in self.under:
            total += down @ np.nan_to_num(parts[index].astype(np.float64)) @ across.T
        mean = total / np.maximum(sum(np.outer(down.sum(1), across.sum(1)) for _, down, across in self.under), 1)
        if np.issubdtype(maps.dtype, np.floating):
            return mean.astype(np.result_type(maps.dtype, np.float32))
        return np.rint(mean).astype(maps.dtype)


def picture_grid(layout: Layout, medium: int = 0, frame: int = 0) -> PictureGrid:
    """The grids of a picture, or of a frame of a video, as one.

    Its cells are as high, and as wide, as the smallest of any grid; that grid's edges go on over the picture.

    Raises:
        LayoutError: no grid shows it.

    >>> tiles = [Grid(0, (0,), 1, 2, (left, 0.0, left + 4.0, 4.0)) for left in (0.0, 4.0)]
    >>> thumbnail = Grid(0, (0,), 1, 1, (0.0, 0.0, 8.0, 4.0))
    >>> found = picture_grid(Layout(np.arange(5), np.arange(0), 5, (*tiles, thumbnail), ((8, 4),)))
    >>> found.box, found.read(np.array([0.0, 2.0, 4.0, 6.0, 8.0])).tolist()
    ((0.0, 0.0, 8.0, 4.0), [[4.0, 5.0, 6.0, 7.0]])
    """
    over = [index for index, grid in enumerate(layout.grids) if grid.medium == medium and frame in grid.frames]
    if not over:
        raise LayoutError("no grid shows it", got=f"medium {medium}, frame {frame}", expected="one that was shown")
    grids = [layout.grids[index] for index in over]
    if len(over) == 1:
        (alone,) = grids
        eyes = np.eye(alone.rows), np.eye(alone.columns)
        ones = np.ones((alone.rows, alone.columns))
        return PictureGrid(
            layout, layout.sizes[medium], alone.rows, alone.columns, alone.box, ones, ((over[0], *eyes),)
        )
    width, height = layout.sizes[medium]
    columns = _edges([(grid.box[0], grid.box[2], grid.columns) for grid in grids], width)
    rows = _edges([(grid.box[1], grid.box[3], grid.rows) for grid in grids], height)
    under = tuple((index, *_weights(grid, rows, columns)) for index, grid in zip(over, grids, strict=True))
    covered = sum(np.outer(down.sum(1), across.sum(1)) for _, down, across in under) > 0
    shown = covered * np.outer(_inside(rows, height), _inside(columns, width))
    box = columns[0], rows[0], columns[-1], rows[-1]
    return PictureGrid(layout, (width, height), len(rows) - 1, len(columns) - 1, box, shown, under)


def _edges(spans: list[tuple[float, float, int]], length: int) -> list[float]:
    """The edges of the smallest cells of (start, end, number of cells), continued from 0 to ``length`` or beyond."""
    start, end, cells = min(spans, key=lambda span: (span[1] - span[0]) / span[2])
    step = (end - start) / cells
    first, last = math.floor(round(-start / step, DIGITS)), math.ceil(round((length - start) / step, DIGITS))
    return [start + number * step for number in range(first, last + 1)]


def _inside(edges: list[float], length: int) -> np.ndarray:
    """float64 [cell], the part of each cell from 0 to ``length``."""
    clipped = np.clip(edges, 0, length)
    return np.round(np.diff(clipped) / np.diff(edges), DIGITS)


def _weights(grid: Grid, rows: list[float], columns: list[float]) -> tuple[np.ndarray, np.ndarray]:
    left, top, right, bottom = grid.box
    return _linear(rows, top, bottom, grid.rows), _linear(columns, left, right, grid.columns)


def _linear(edges: list[float], start: float, end: float, cells: int) -> np.ndarray:
    """float64 [cell, grid's cell]: linear interpolation at the centres of the cells, between those of the grid's; its
    outermost value up to its edge, nothing beyond."""
    centres = (np.asarray(edges[:-1]) + np.asarray(edges[1:])) / 2
    places = np.round((centres - start) / (end - start) * cells, DIGITS)
    between = np.clip(places - 0.5, 0, cells - 1)
    weights = np.maximum(1 - np.abs(between[:, None] - np.arange(cells)), 0)
    return weights * ((places >= 0) & (places < cells))[:, None]
