"""The filters that the paper compares with its own, for kernels of any odd size.

Each takes one map, float32 [rows, columns] in [0, 1], and a kernel size, reflects at the borders as the rank Gaussian
filter does, and returns float32 of the same shape. OpenCV is imported by those that use it: it takes longer than all
else that the stage imports, and most configs name none of them.
"""

from collections.abc import Callable

import numpy as np

from tam.protocol import FIXED, Protocol

Filter = Callable[[np.ndarray, int, Protocol], np.ndarray]
COLOUR = 75 / 255
"""Bilateral: the difference of values that weighs exp(-1/2). OpenCV's tutorials take 75 of 255."""


def gaussian(map_: np.ndarray, kernel: int, protocol: Protocol = FIXED) -> np.ndarray:
    """OpenCV's own weights where no sigma is given, in each direction: 1 2 1, or 1 4 6 4 1, or 2 7 14 18 14 7 2."""
    import cv2

    return cv2.GaussianBlur(map_, (kernel, kernel), 0, borderType=cv2.BORDER_REFLECT_101)


def mean(map_: np.ndarray, kernel: int, protocol: Protocol = FIXED) -> np.ndarray:
    """The mean of each window."""
    import cv2

    return cv2.blur(map_, (kernel, kernel), borderType=cv2.BORDER_REFLECT_101)


def bilateral(map_: np.ndarray, kernel: int, protocol: Protocol = FIXED) -> np.ndarray:
    """Neighbours in a circle weighed by place, sigma a fifth of the kernel, and by value, sigma ``COLOUR``."""
    import cv2

    return cv2.bilateralFilter(map_, kernel, COLOUR, kernel / 5, borderType=cv2.BORDER_REFLECT_101)


def median(map_: np.ndarray, kernel: int, protocol: Protocol = FIXED) -> np.ndarray:
    """The middle of each window. OpenCV's own takes floats up to a kernel of 5 only."""
    middle = kernel * kernel // 2
    return np.partition(_windows(map_, kernel), middle)[..., middle]


def rank_gaussian(map_: np.ndarray, kernel: int, protocol: Protocol = FIXED) -> np.ndarray:
    """Equations 6 and 7 by sorting each window; ``core.rank_gaussian_filter`` is this for a kernel of 3, faster."""
    ranks = np.sort(_windows(map_, kernel), -1).astype(np.float64)
    middle = kernel * kernel // 2
    average, deviation = ranks.mean(-1, keepdims=True), ranks.std(-1, keepdims=True)
    flat = ranks[..., :1] == ranks[..., -1:]  # no deviation, though the mean may round it up from 0
    variation = deviation / np.where(average > 0, average, 1)
    distance = np.arange(kernel * kernel) - middle
    weights = np.exp(-(distance**2) / (2 * np.where(flat, 1, variation) ** 2))
    values = (ranks * weights).sum(-1) / weights.sum(-1)
    constant = 0 if protocol.constant_window_is_zero else ranks[..., middle]
    values = np.where(flat[..., 0], constant, values)
    return np.where(average[..., 0] > 0, values, 0).clip(max=1).astype(np.float32)


def _windows(map_: np.ndarray, kernel: int) -> np.ndarray:
    """[rows, columns, kernel * kernel]"""
    padded = np.pad(map_, kernel // 2, mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel)).reshape(*map_.shape, -1)


FILTERS: dict[str, tuple[str, Filter]] = {
    "gaussian": ("Gaussian", gaussian),
    "median": ("Median", median),
    "mean": ("Mean", mean),
    "bilateral": ("Bilateral", bilateral),
    "rgf": ("Rank Gaussian", rank_gaussian),
}
"""Name -> title and function."""

KERNELS = (3, 5, 7)
