"""Where a word's map is high, as a mask in COCO's run lengths.

A map is cut as the metrics cut it (``metrics/localisation.py``): the mean of the word's tokens in bytes, on one grid a
picture, resized bilinearly to the picture, above Otsu's threshold of all pictures of the sample together.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from pycocotools import mask as run_lengths

from tam.layout import Layout
from tam.metrics.counts import crop, overlap
from tam.picture_grid import picture_grid
from tam.selection import pooled


class Region(NamedTuple):
    """The part of one picture, or frame, above the threshold.

    Attributes:
        segmentation: {"size": [height, width] of the upright picture, "counts": compressed run lengths as text}.
        score: mean of the map in it, 0 to 1.
    """

    medium: int
    frame: int
    segmentation: dict[str, object]
    score: float


def shown(layout: Layout) -> list[tuple[int, int]]:
    """Medium and frame of each picture, and of each frame, that any grid sees."""
    return sorted({(grid.medium, frame) for grid in layout.grids for frame in grid.frames})


def regions(layout: Layout, uint8: np.ndarray, tokens: Sequence[int]) -> Iterator[Region]:
    """Of each picture that has any, the pixels above the threshold.

    Args:
        uint8: [token, vision]. tokens: of the word.
    """
    resized = []
    for medium, frame in shown(layout):
        grid = picture_grid(layout, medium, frame)
        left, top, right, bottom = map(round, grid.box)
        cells = grid.read(uint8[list(tokens)])
        mean = pooled(cells.reshape(len(cells), -1), [None] * len(cells), "mean").astype(np.uint8)
        pixels = cv2.resize(mean.reshape(cells.shape[1:]), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
        resized.append((medium, frame, (left, top, right, bottom), pixels))
    everything = np.concatenate([pixels.ravel() for *_, pixels in resized])
    threshold, _ = cv2.threshold(everything, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    for medium, frame, box, pixels in resized:
        width, height = layout.sizes[medium]
        inside = overlap(box, (0, 0, width, height))
        values = crop(pixels, box, inside)
        above = values > threshold
        if above.any():
            mask = np.zeros((height, width), np.uint8, order="F")
            left, top, right, bottom = inside
            mask[top:bottom, left:right] = above
            encoded = run_lengths.encode(mask)
            segmentation = {"size": [height, width], "counts": encoded["counts"].decode("ascii")}
            yield Region(medium, frame, segmentation, float(values[above].mean()) / 255)
