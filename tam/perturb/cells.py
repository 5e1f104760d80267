"""Cells on the pixels of the given pictures, what takes their place, and both mixed. Arrays alone."""

import cv2
import numpy as np

from tam.cell_sets import Cells
from tam.errors import LayoutError
from tam.perturbed import Baseline

BLUR = 1 / 12
"""Standard deviation of the blur, in longer sides of a picture."""


def owners(cells: Cells, medium: int, frame: int = 0) -> np.ndarray:
    """Which cell each pixel of a picture, or of a frame of a video, belongs to: int64 [height, width].

    It is the one in which the pixel's centre lies; of what no grid covers, the nearest one.

    Raises:
        LayoutError: no grid is of this picture.
    """
    start = 0
    for grid, (of, frames) in zip(cells.grids, cells.frames, strict=True):
        if of == medium and frame in frames:
            width, height = grid.layout.sizes[medium]
            left, top, right, bottom = grid.box
            row, column = _places(height, top, bottom, grid.rows), _places(width, left, right, grid.columns)
            return start + row[:, None] * grid.columns + column
        start += grid.rows * grid.columns
    raise LayoutError("a picture that no grid covers", got=f"medium {medium}, frame {frame}")


def _places(length: int, start: float, end: float, cells: int) -> np.ndarray:
    """int64 [pixel]: the nearest cell of each pixel's centre along a side."""
    centres = np.arange(length) + 0.5
    return np.floor((centres - start) / (end - start) * cells).astype(np.int64).clip(0, cells - 1)


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
