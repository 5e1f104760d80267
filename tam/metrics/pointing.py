"""The pointing game: does a map's highest cell lie on the object?

Zhang et al.: Top-down Neural Attention by Excitation Backprop, IJCV 2018, without their tolerance of 15 pixels. The
first of equal cells counts. A constant map points nowhere, so it misses; a test for equality with the maximum would
let it hit everything.
"""

from collections.abc import Sequence

import numpy as np

from tam.metrics.picture import Box, Target


def peak(
    maps: Sequence[np.ndarray], boxes: Sequence[Box], sizes: Sequence[tuple[int, int]]
) -> tuple[int, tuple[int, int] | None]:
    """On which picture the highest cell lies, and x and y of its centre; 0 and None for a constant map.

    Args:
        maps: float [rows, columns], of one token on each picture, not resized; NaN counts as 0.
        boxes: where each lies on its picture.
        sizes: (width, height) of each picture. Of a cell that the picture ends within, the centre is that of what lies
            on the picture.
    """
    filled = [np.where(np.isnan(map_), 0, map_) for map_ in maps]
    number = int(np.argmax([map_.max() for map_ in filled]))
    rows, columns = filled[number].shape
    highest = int(filled[number].argmax())
    if filled[number].flat[highest] == min(map_.min() for map_ in filled):
        return 0, None
    left, top, right, bottom = boxes[number]
    row, column = divmod(highest, columns)
    width, height = sizes[number]
    return number, (_centre(left, right, column, columns, width), _centre(top, bottom, row, rows, height))


def _centre(start: int, end: int, cell: int, cells: int, length: int) -> int:
    """The pixel along a side, which is ``length`` long, in the middle of one of the ``cells`` from start to end."""
    first = start * cells + cell * (end - start)  # in parts of a pixel
    last = first + end - start
    if first < 0 < last:
        first = 0
    if first < length * cells < last:
        last = length * cells
    return (first + last) // (2 * cells)


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
