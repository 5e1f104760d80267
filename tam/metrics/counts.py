"""The pixels of a resized map, counted by value: all that the scores of a map against a mask need.

A map has 256 values, so two histograms say what sorting 300,000 pixels would.
"""

from dataclasses import dataclass

import cv2
import numpy as np

LEVELS = np.arange(256)


@dataclass(frozen=True)
class Counts:
    """int64 [256] each, by value of the map: all pixels of the picture, and those of the object."""

    all: np.ndarray
    inside: np.ndarray

    @property
    def empty(self) -> bool:
        """Is the map 0 everywhere on the picture?"""
        return not self.all[1:].any()

    def above(self, threshold: float) -> tuple[int, int]:
        """How many pixels, and how many of the object, are above a threshold."""
        first = int(threshold) + 1
        return int(self.all[first:].sum()), int(self.inside[first:].sum())


def count(resized: np.ndarray, target: np.ndarray) -> Counts:
    """Count uint8 [height, width] by value; ``target``, of the same shape and bool, is the object."""
    return Counts(histogram(resized), histogram(resized, target.view(np.uint8)))


def histogram(values: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """int64 [256]: how often each value of a uint8 array occurs, where ``mask``, uint8 of the same shape, is not 0."""
    # Up to 2**24 pixels the float32 that OpenCV counts into is exact.
    if values.size >= 1 << 24:
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
