"""What maps are judged on: a picture, or a frame, and the objects on it. It is the same for all methods."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; the last two are outside."""


@dataclass(frozen=True)
class Target:
    """All pixels of one category.

    Attributes:
        pixels: uint8 [height, width], 1 on the object, 0 elsewhere.
        size: how many are 1, not 0.
        box: outside of it all are 0.
    """

    pixels: np.ndarray
    size: int
    box: Box

    @cached_property
    def parts(self) -> np.ndarray:
        """int [part, 4]: the box of each connected part (eight neighbours).

        A label map has no instances, so a part stands for one: things that touch share a box, a thing that is cut in
        two has two.
        """
        left, top, right, bottom = self.box
        inside = np.ascontiguousarray(self.pixels[top:bottom, left:right])
        _, _, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
        x, y, width, height = stats[1:, :4].T  # the first is the background
        return np.stack([x + left, y + top, x + left + width, y + top + height], 1)


@dataclass(frozen=True)
class Picture:
    """Where maps lie on one picture or frame, and what they should find there.

    Attributes:
        box: the part of the label map that the maps cover, and to which they are resized; it may reach beyond. Without
            a label map, of the picture.
        targets: category -> its pixels, of those that are on any of the sample's pictures.
        missing: why there is no label map; "" where there is one.
        shown: float64 [rows, columns], the part of each cell that counts.
    """

    box: Box
    targets: dict[int, Target]
    missing: str
    shown: np.ndarray


def find_targets(label_maps: Sequence[np.ndarray], labels: Collection[int]) -> list[dict[int, Target]]:
    """On each of a sample's label maps, those of some categories that occur in any of them; where one occurs on others
    only, a target without a pixel.

    Args:
        label_maps: uint8 [height, width] of category ids.
    """
    found = [_targets(label_map, labels) for label_map in label_maps]
    seen = {label for targets in found for label in targets}
    return [
        targets | {label: Target(np.zeros_like(label_map), 0, (0, 0, 0, 0)) for label in seen - targets.keys()}
        for label_map, targets in zip(label_maps, found, strict=True)
    ]


def _targets(label_map: np.ndarray, labels: Collection[int]) -> dict[int, Target]:
    found = {}
    for label in labels:
        pixels = (label_map == label).view(np.uint8)
        left, top, width, height = cv2.boundingRect(pixels)
        if width:
            found[label] = Target(pixels, cv2.countNonZero(pixels), (left, top, left + width, top + height))
    return found
