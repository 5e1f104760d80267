"""The pointing game: does a map's highest cell lie on the object?

Zhang et al.: Top-down Neural Attention by Excitation Backprop, IJCV 2018, without their tolerance of 15 pixels. The
first of equal cells counts. A constant map points nowhere, so it misses; a test for equality with the maximum would
let it hit everything.
"""

from collections.abc import Sequence

import numpy as np

from tam.metrics.picture import Box, Target


def peak(maps: Sequence[np.ndarray], boxes: Sequence[Box]) -> tuple[int, tuple[int, int] | None]:
    """On which picture the highest cell lies, and x and y of its centre; 0 and None for a constant map.

    Args:
        maps: float [rows, columns], of one token on each picture, not resized; NaN counts as 0.
        boxes: where each lies on its picture.
    """
    filled = [np.where(np.isnan(map_), 0, map_) for map_ in maps]
    number = int(np.argmax([map_.max() for map_ in filled]))
    rows, columns = filled[number].shape
    highest = int(filled[number].argmax())
    if filled[number].flat[highest] == min(map_.min() for map_ in filled):
        return 0, None
    left, top, right, bottom = boxes[number]
    row, column = divmod(highest, columns)
    y = top + (2 * row + 1) * (bottom - top) // (2 * rows)
    x = left + (2 * column + 1) * (right - left) // (2 * columns)
    return number, (x, y)


def pointing(point: tuple[int, int] | None, target: Target) -> float:
    """1 if the peak is a pixel of the object, else 0."""
    if point is None:
        return 0.0
    x, y = point
    height, width = target.pixels.shape
    return float(0 <= y < height and 0 <= x < width and target.pixels[y, x])


def pointing_box(point: tuple[int, int] | None, target: Target) -> float:
    """1 if the peak lies in the box of one of the object's parts, else 0."""
    if point is None or not target.size:
        return 0.0
    x, y = point
    left, top, right, bottom = target.parts.T
    return float(((left <= x) & (x < right) & (top <= y) & (y < bottom)).any())
