"""The pointing game: does a map's highest cell lie on the object?

Zhang et al.: Top-down Neural Attention by Excitation Backprop, IJCV 2018, without their tolerance of 15 pixels. The
first of equal cells counts. A constant map points nowhere, so it misses; a test for equality with the maximum would
let it hit everything.
"""

import cv2
import numpy as np

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; the last two are outside."""


def peak(map_: np.ndarray, box: Box) -> tuple[int, int] | None:
    """x and y of the centre of the highest cell; None for a constant map.

    Args:
        map_: float [rows, columns], not resized; NaN counts as 0.
        box: where the map lies on the picture.
    """
    map_ = np.nan_to_num(map_)
    highest = int(map_.argmax())
    if map_.flat[highest] == map_.min():
        return None
    left, top, right, bottom = box
    row, column = divmod(highest, map_.shape[1])
    y = top + (2 * row + 1) * (bottom - top) // (2 * map_.shape[0])
    x = left + (2 * column + 1) * (right - left) // (2 * map_.shape[1])
    return x, y


def pointing(map_: np.ndarray, target: np.ndarray, box: Box) -> float:
    """1 if the peak is a pixel of the object, bool [height, width], else 0."""
    point = peak(map_, box)
    if point is None:
        return 0.0
    x, y = point
    inside = 0 <= y < target.shape[0] and 0 <= x < target.shape[1]
    return float(inside and target[y, x])


def pointing_box(map_: np.ndarray, boxes: np.ndarray, box: Box) -> float:
    """1 if the peak lies in one of the object's boxes, int [box, 4] as ``object_boxes`` has them, else 0."""
    point = peak(map_, box)
    if point is None:
        return 0.0
    x, y = point
    left, top, right, bottom = boxes.T
    return float(((left <= x) & (x < right) & (top <= y) & (y < bottom)).any())


def object_boxes(target: np.ndarray) -> np.ndarray:
    """int [part, 4]: the box of each connected part of the object (eight neighbours), bool [height, width].

    A label map has no instances, so a part stands for one: things that touch share a box, a thing that is cut in two
    has two.
    """
    pixels = target.view(np.uint8)
    x, y, width, height = cv2.boundingRect(pixels)
    part = np.ascontiguousarray(pixels[y : y + height, x : x + width])
    _, _, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
    left, top, width, height = stats[1:, :4].T  # the first is the background
    return np.stack([x + left, y + top, x + left + width, y + top + height], 1)
