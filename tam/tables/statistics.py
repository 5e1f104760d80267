"""Means over words and their bootstrap intervals. Images are drawn, not words: the words of one image are alike."""

from collections.abc import Iterator

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
CHUNK = 1 << 19  # draws at a time: 4 MiB


def pooled_means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over all values of all images: [..., image, metric] sums and numbers of values -> [..., metric].

    NaN where a metric has no value.
    """
    total, number = sums.sum(-2), counts.sum(-2)
    return ratio(total, number)


def bootstrap_means(sums: np.ndarray, counts: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Pooled means of ``resamples`` sets of images drawn with replacement.

    Args:
        sums, counts: [image, metric], per image the sum and the number of its values. For the same seed and number
            of images the same images are drawn, so methods that share their images can be compared in pairs.

    Returns:
        float64 [resamples, metric], NaN where a draw has no value.
    """
    images = len(sums)
    if not images:
        return np.full((resamples, sums.shape[-1]), np.nan)
    return np.concatenate(
        [ratio(weights @ sums, weights @ counts) for weights in drawn(images, seed=seed, resamples=resamples)]
    )


def drawn(images: int, seed: int = 0, resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """How often each image is drawn, float64 [some of the resamples, image], until all resamples were given."""
    random = np.random.default_rng(seed)
    chunk = max(1, CHUNK // images)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        places = random.integers(images, size=(size, images)) + np.arange(size)[:, None] * images
        yield np.bincount(places.ravel(), minlength=size * images).reshape(size, images).astype(float)


def interval(means: np.ndarray, confidence: float = CONFIDENCE) -> np.ndarray:
    """Percentile interval of bootstrap means: [resamples, ...] -> low and high, [2, ...]; NaN draws are left out."""
    tail = (1 - confidence) / 2
    known = ~np.isnan(means).all(axis=0)
    limits = np.full((2, *means.shape[1:]), np.nan)
    quantile = np.nanquantile if np.isnan(means[:, known]).any() else np.quantile  # which is faster
    limits[:, known] = quantile(means[:, known], [tail, 1 - tail], axis=0)
    return limits


def harmonic_mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """2ab / (a + b), as F1-IoU of the paper joins Obj-IoU and Func-IoU; 0 where both are 0.

    >>> harmonic_mean(np.array([0.5, 0.0, 0.0]), np.array([1.0, 1.0, 0.0])).round(3).tolist()
    [0.667, 0.0, 0.0]
    """
    return np.where(np.isnan(a + b), np.nan, ratio(2 * a * b, a + b, empty=0.0))


def ratio(numerator: np.ndarray, denominator: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """``empty`` where the denominator is 0."""
    out = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), empty)
    return np.divide(numerator, denominator, out=out, where=np.asarray(denominator) != 0)
