"""The pointing game: does a map's highest cell lie on the object?

Zhang et al.: Top-down Neural Attention by Excitation Backprop, IJCV 2018, without their tolerance of 15 pixels. The
first of equal cells counts. A constant map points nowhere, so it misses; a test for equality with the maximum would
let it hit everything.
"""

import numpy as np

from tam.metrics.picture import Box, Target


def peak(map_: np.ndarray, box: Box) -> tuple[int, int] | None:
    """x and y of the centre of the highest cell; None for a constant map.

    Args:
        map_: float [rows, columns], not resized; NaN counts as 0.
        box: where the map lies on the picture.
    """
    map_ = np.where(np.isnan(map_), 0, map_)
    highest = int(map_.argmax())
    if map_.flat[highest] == map_.min():
        return None
    left, top, right, bottom = box
    row, column = divmod(highest, map_.shape[1])
    y = top + (2 * row + 1) * (bottom - top) // (2 * map_.shape[0])
    x = left + (2 * column + 1) * (right - left) // (2 * map_.shape[1])
    return x, y


def pointing(point: tuple[int, int] | None, target: Target) -> float:
    """1 if the peak is a pixel of the object, else 0."""
    if point is None:
        return 0.0
    x, y = point
    height, width = target.pixels.shape
    return float(0 <= y < height and 0 <= x < width and target.pixels[y, x])


def pointing_box(point: tuple[int, int] | None, target: Target) -> float:
    """1 if the peak lies in the box of one of the object's parts, else 0."""
    if point is None:
        return 0.0
    x, y = point
    left, top, right, bottom = target.parts.T
    return float(((left <= x) & (x < right) & (top <= y) & (y < bottom)).any())
