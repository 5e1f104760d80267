"""The pixels of a resized map, counted by value: all that the scores of a map against a mask need.

A map has 256 values, so two histograms say what sorting 300,000 pixels would.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tam.metrics.picture import Box, Target

LEVELS = np.arange(256)
EXACT = 1 << 24  # pixels: up to here the float32 that OpenCV counts into is exact


@dataclass(frozen=True)
class Counts:
    """int64 [256] each, by value of the map: all pixels of the pictures, and those of the object."""

    all: np.ndarray
    inside: np.ndarray

    @property
    def empty(self) -> bool:
        """Is the map 0 everywhere on the pictures?"""
        return not self.all[1:].any()

    def above(self, threshold: float) -> tuple[int, int]:
        """How many pixels, and how many of the object, are above a threshold."""
        first = int(threshold) + 1
        return int(self.all[first:].sum()), int(self.inside[first:].sum())


def count(resized: np.ndarray, box: Box, target: Target) -> Counts:
    """Count the values of a map on a picture; where there is no map they are 0.

    Args:
        resized: uint8 [height, width], of the size of ``box``.
        box: where it lies on the picture, whose size the target has; what lies beyond does not count.
    """
    height, width = target.pixels.shape
    whole = 0, 0, width, height
    seen = overlap(box, whole)
    everywhere = histogram(crop(resized, box, seen))
    everywhere[0] += height * width - everywhere.sum()
    on_target = overlap(seen, target.box)
    inside = histogram(crop(resized, box, on_target), crop(target.pixels, whole, on_target))
    inside[0] += target.size - inside.sum()
    return Counts(everywhere, inside)


def together(counts: Sequence[Counts]) -> Counts:
    """Of several pictures, counted as one."""
    if len(counts) == 1:
        return counts[0]
    return Counts(np.sum([one.all for one in counts], 0), np.sum([one.inside for one in counts], 0))


def overlap(a: Box, b: Box) -> Box:
    """What two boxes share; without height or width where that is nothing."""
    left, top = max(a[0], b[0]), max(a[1], b[1])
    return left, top, max(left, min(a[2], b[2])), max(top, min(a[3], b[3]))


def crop(pixels: np.ndarray, box: Box, part: Box) -> np.ndarray:
    """A part of the pixels [height, width] of a box."""
    left, top, right, bottom = part
    return pixels[top - box[1] : bottom - box[1], left - box[0] : right - box[0]]


def histogram(values: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """int64 [256]: how often each value of a uint8 array occurs, where ``mask``, uint8 of the same shape, is not 0."""
    if not values.size:
        return np.zeros(256, np.int64)
    if values.size >= EXACT:
        return np.bincount((values if mask is None else values[mask > 0]).ravel(), minlength=256)
    return cv2.calcHist([values], [0], mask, [256], [0, 256]).ravel().astype(np.int64)


def relevance_mass_accuracy(counts: Counts) -> float:
    """Share of the map's mass that lies on the object; 0 for a zero map.

    Arras, Osman, Samek: CLEVR-XAI, Information Fusion 81, 2022; the same as the energy-based pointing game
    of Score-CAM (Wang et al., CVPR Workshops 2020).
    """
    mass = int(LEVELS @ counts.all)
    return int(LEVELS @ counts.inside) / mass if mass else 0.0


def relevance_rank_accuracy(counts: Counts) -> float:
    """Of the K highest pixels, K the object's size, the share that lies on the object; 0 for a zero map.

    Arras, Osman, Samek: CLEVR-XAI, Information Fusion 81, 2022. Of pixels that tie for the last places as
    many count as on average would; the paper leaves the choice to the sort.
    """
    size = int(counts.inside.sum())
    if counts.empty or not size:
        return 0.0
    higher = np.cumsum(counts.all[::-1])[::-1] - counts.all
    places = np.clip(size - higher, 0, counts.all)
    shares = np.divide(counts.inside, counts.all, out=np.zeros(256), where=counts.all > 0)
    return float(places @ shares) / size


def pixel_average_precision(counts: Counts) -> float:
    """Area under precision over recall of the pixels, over all thresholds; 0 for a zero map.

    PxAP of Choe et al.: Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020, with a step at each
    of the 256 values; there the pixels of all pictures are pooled, here each word has its own value.
    """
    size = int(counts.inside.sum())
    if counts.empty or not size:
        return 0.0
    found, hits = counts.all[::-1], counts.inside[::-1]
    precision = np.cumsum(hits) / np.maximum(np.cumsum(found), 1)
    return float(precision @ hits) / size
