"""Cells on the pixels of the given pictures, what takes their place, and both mixed. Arrays alone."""

import itertools

import cv2
import numpy as np

from tam.errors import LayoutError
from tam.layout import Grid, Layout
from tam.perturbed import Baseline

BLUR = 1 / 12
"""Standard deviation of the blur, in longer sides of a picture."""


def tiled(layout: Layout) -> bool:
    """Whether some pixel lies in several grids: tiles with a thumbnail, say."""
    return any(
        one.medium == other.medium and set(one.frames) & set(other.frames) and _overlap(one, other)
        for one, other in itertools.combinations(layout.grids, 2)
    )


def _overlap(one: Grid, other: Grid) -> bool:
    """Whether two boxes share more than an edge, up to a thousandth of a pixel."""
    (a, b, c, d), (e, f, g, h) = one.box, other.box
    return min(c, g) - max(a, e) > 1e-3 and min(d, h) - max(b, f) > 1e-3


def owners(layout: Layout, medium: int, frame: int = 0) -> np.ndarray:
    """Which cell each pixel of a picture, or of a frame of a video, belongs to: int64 [height, width].

    It is the one in which the pixel's centre lies; of what no grid covers, the nearest one.

    Raises:
        LayoutError: no grid is of this picture at all.
    """
    width, height = layout.sizes[medium]
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    found, nearest = np.zeros((height, width), np.int64), np.full((height, width), np.inf)
    start = 0
    for grid in layout.grids:
        if grid.medium == medium and frame in grid.frames:
            left, top, right, bottom = grid.box
            column, away_x = _place(x, left, right, grid.columns)
            row, away_y = _place(y, top, bottom, grid.rows)
            away = away_y[:, None] + away_x
            nearer = away < nearest
            found[nearer] = (start + row[:, None] * grid.columns + column)[nearer]
            nearest[nearer] = away[nearer]
        start += grid.cells
    if np.isinf(nearest).any():
        raise LayoutError("a picture that no grid covers", got=f"medium {medium}, frame {frame}")
    return found


def _place(centres: np.ndarray, start: float, end: float, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the pixels' centres along a side: the nearest of its cells, and how far they are from the grid."""
    inside = np.floor((centres - start) / (end - start) * cells).astype(np.int64).clip(0, cells - 1)
    return inside, np.maximum(0, np.maximum(start - centres, centres - end))


def baseline(picture: np.ndarray, kind: Baseline) -> np.ndarray:
    """A picture without its evidence, uint8 [height, width, 3]: blurred beyond recognition, or its mean colour.

    Never black: a black square is an object. The blur is of the given picture, once; what is mixed from both is not
    blurred again.
    """
    if kind == "mean":
        return np.broadcast_to(picture.mean((0, 1)).round().astype(np.uint8), picture.shape)
    sigma = BLUR * max(picture.shape[:2])
    blurred = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return blurred.round().clip(0, 255).astype(np.uint8)


def mixed(picture: np.ndarray, baseline: np.ndarray, owner: np.ndarray, replaced: np.ndarray) -> np.ndarray:
    """The picture with the cells in ``replaced``, bool [cell], as in the baseline; all uint8 [height, width, 3]."""
    return np.where(replaced[owner][..., None], baseline, picture)


def rows_mixed(original: np.ndarray, other: np.ndarray, replaced: np.ndarray) -> np.ndarray | None:
    """What a processor made of a picture and of its baseline, mixed: float [patch, ...], where so many patches as a
    cell has follow each other; None where patches are no multiple of the cells."""
    each, left = divmod(len(original), len(replaced))
    if left or not each or original.shape != other.shape:
        return None
    chosen = np.repeat(replaced, each).reshape(-1, *[1] * (original.ndim - 1))
    return np.where(chosen, other, original)
