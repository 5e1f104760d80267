"""How alike two maps of a word are: arrays in, numbers out."""

from collections.abc import Sequence

import cv2
import numpy as np

SHARE = 0.1
WINDOW, SIGMA = 7, 1.5
C1, C2 = 0.01**2, 0.03**2  # of Wang et al., for values from 0 to 1


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of ranks, ties with their mean rank; exactly 1 of a map with itself. NaN where one is constant."""
    first, second = (ranks(values) - (len(values) + 1) / 2 for values in (a, b))
    spread = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / spread) if spread else float("nan")


def ranks(values: np.ndarray) -> np.ndarray:
    """float64, from 1.

    >>> ranks(np.array([3, 1, 3])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def top_overlap(a: np.ndarray, b: np.ndarray, share: float = SHARE) -> float:
    """Of the highest tenth of the cells, how much two maps share; cells that tie for the last places count in part."""
    first, second = _top(a, share), _top(b, share)
    return float(np.minimum(first, second).sum() / max(first.sum(), second.sum()))


def _top(values: np.ndarray, share: float) -> np.ndarray:
    """float [cell]: 1 for the highest, a part for those that tie for the last places."""
    count = int(np.ceil(share * len(values)))
    last = np.partition(values, -count)[-count]
    above, ties = values > last, values == last
    return above + ties * ((count - above.sum()) / ties.sum())


def ssim(a: np.ndarray, b: np.ndarray, shapes: Sequence[tuple[int, int]]) -> float:
    """Structural similarity of maps by their maximum, the mean over all cells; exactly 1 of a map with itself.

    Wang et al.: Image Quality Assessment, IEEE TIP 13, 2004, with a Gaussian window of 7 x 7, sigma 1.5; a grid is
    mirrored at its edges.

    Args:
        a, b: float [vision], not negative. shapes: rows and columns of each grid.
    """
    first, second = (values.astype(np.float64) / (values.max() or 1) for values in (a, b))
    found, start = [], 0
    for rows, columns in shapes:
        stop = start + rows * columns
        found.append(_ssim(*(values[start:stop].reshape(rows, columns) for values in (first, second))).ravel())
        start = stop
    return float(np.concatenate(found).mean())


def _ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    mean_a, mean_b, aa, bb, ab = (
        cv2.GaussianBlur(values, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_REFLECT)
        for values in (a, b, a * a, b * b, a * b)
    )
    both, squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    above = (both + both + C1) * (2 * (ab - both) + C2)
    return above / ((squares + C1) * ((aa - mean_a * mean_a) + (bb - mean_b * mean_b) + C2))
