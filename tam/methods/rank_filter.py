"""The rank Gaussian filter of 3x3 windows, Eq. 6 and 7, for all maps at once; NumPy or torch.

Nine planes of window values are sorted by a network of element-wise minima and maxima, so that a window costs no more
than some hundred element-wise operations; a block of planes stays in the processor's cache.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tam.methods.arrays import Array, namespace
from tam.protocol import FIXED, Protocol

# Bytes of a plane that the filter works on: on a CPU, some twenty planes stay in the cache; on a GPU, fit its memory.
CPU_BLOCK, GPU_BLOCK = 1 << 15, 1 << 24

# Floyd's sorting network of nine: within three columns of three, then across them.
SORT_COLUMN = ((0, 1), (1, 2), (0, 1))
MERGE_COLUMNS = (
    (0, 3), (3, 6), (0, 3), (1, 4), (4, 7), (1, 4), (2, 5), (5, 8),
    (2, 5), (1, 3), (5, 7), (2, 6), (4, 6), (2, 4), (2, 3), (5, 6),
)  # fmt: skip


def rank_gaussian_filter(grids: Array, *, protocol: Protocol = FIXED, exact: bool = False) -> Array:
    """Eq. 6 and 7: each 3x3 window, reflected at the borders, becomes a weighted mean of its nine values by rank.

    The weight falls with the distance from the middle rank as a Gaussian does whose width is the window's coefficient
    of variation, standard deviation / mean. A window with a mean <= 0, with NaN or with infinity becomes 0.

    Args:
        grids: float [..., rows, columns].
        exact: float64 (NumPy only), rounded as the published code rounds.
    """
    xp = namespace(grids)
    *_, rows, columns = grids.shape
    stack = grids.reshape(-1, rows, columns)
    weigh: Any = _weigh_exactly if exact else _weigh
    padded, filtered = _reflect(stack), xp.empty_like(stack)
    block = (CPU_BLOCK if str(grids.device) == "cpu" else GPU_BLOCK) // grids.dtype.itemsize
    with np.errstate(all="ignore"):
        for maps, top, bottom in _blocks(stack.shape, block):
            filtered[maps, top:bottom] = weigh(padded[maps, top : bottom + 2], protocol)
    return filtered.reshape(grids.shape)


def filter_grids(
    maps: Array, shapes: Sequence[tuple[int, int]], *, protocol: Protocol = FIXED, exact: bool = False
) -> Array:
    """Filter maps in [0, 1], [token, vision], grid by grid; neighbours of one shape, as a video's frames, at once."""
    filtered, start = [], 0
    for (rows, columns), group in itertools.groupby(map(tuple, shapes)):
        count = len(list(group))
        end = start + count * rows * columns
        grids = maps[:, start:end].reshape(len(maps), count, rows, columns)
        filtered.append(rank_gaussian_filter(grids, protocol=protocol, exact=exact).reshape(len(maps), end - start))
        start = end
    return namespace(maps).concatenate(filtered, 1).clip(max=1)  # a weighted mean of ones may round up


# ---- the filter's inside
#
# A block's rows are padded. In flat memory the window one to the right is one element on, so each of the nine planes of
# window values is a shifted view of one array; between rows there are two windows that belong to no pixel.


def _weigh(padded: Array, protocol: Protocol) -> Array:
    """The variance comes from two sums over the window, and the weights are powers of one exponential."""
    xp = namespace(padded)
    ranks = _ranks(padded)
    total = _window_sums(padded)
    square = total * total
    variance = (9 * _window_sums(padded * padded) - square).clip(min=float(np.finfo(np.float32).tiny))
    weight1 = xp.exp(-0.5 * square / variance)
    weight2 = weight1 * weight1
    weight4 = weight2 * weight2
    weight8 = weight4 * weight4
    weights = (weight1, weight4, weight8 * weight1, weight8 * weight8)

    value, half = ranks[4], 0.5
    for distance, weight in enumerate(weights, 1):  # both sums in the same order: no value above the window's greatest
        value = value + weight * (ranks[4 - distance] + ranks[4 + distance])
        half = half + weight
    valid = (total > 0) & (total < xp.inf)
    if protocol.constant_window_is_zero:
        valid &= ranks[0] < ranks[8]
    return _pixels(xp.where(valid, value / (2 * half), 0), padded.shape)


def _weigh_exactly(padded: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Mean and deviation in the array's own type, weights in float64, all sums pairwise."""
    ranks = _ranks(padded)
    mean = _pairwise_sum(ranks) / 9
    deviation = np.sqrt(_pairwise_sum([np.square(rank - mean) for rank in ranks]) / 9)
    variation = deviation / mean
    width = (2 * (variation * variation)).astype(np.float64)
    tail = [np.exp(-(distance**2) / width) for distance in (4, 3, 2, 1)]
    weights = [*tail, 1.0, *tail[::-1]]
    total = _pairwise_sum(weights)
    tail = [weight / total for weight in weights[:5]]
    value = _pairwise_sum([rank * weight for rank, weight in zip(ranks, tail + tail[3::-1], strict=True)])
    constant = 0 if protocol.constant_window_is_zero else ranks[4] * (deviation == 0)
    value = np.where(deviation > 0, value.astype(mean.dtype), constant)
    return _pixels(np.where(mean > 0, value, 0), padded.shape)


def _ranks(padded: Array) -> list[Array]:
    """The nine values of every window in ascending order, as nine planes [window]."""
    columns = _sort([padded[:, row : padded.shape[1] - 2 + row] for row in range(3)], SORT_COLUMN)
    columns = [column.reshape(-1) for column in columns]
    count = len(columns[0]) - 2
    return _sort([column[shift : shift + count] for shift in range(3) for column in columns], MERGE_COLUMNS)


def _sort(planes: list[Array], network: Sequence[tuple[int, int]]) -> list[Array]:
    xp = namespace(planes[0])
    for low, high in network:
        first, second = planes[low], planes[high]
        planes[low], planes[high] = xp.minimum(first, second), xp.maximum(first, second)
    return planes


def _window_sums(padded: Array) -> Array:
    """[window]"""
    columns = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]).reshape(-1)
    return columns[:-2] + columns[1:-1] + columns[2:]


def _pairwise_sum(nine: Sequence[Any]) -> np.ndarray:
    """In NumPy's order for nine."""
    a, b, c, d, e, f, g, h, i = nine
    return (((a + b) + (c + d)) + ((e + f) + (g + h))) + i


def _pixels(windows: Array, padded_shape: Sequence[int]) -> Array:
    """[window] -> [map, row, column], without the windows between rows."""
    xp = namespace(windows)
    maps, rows, columns = padded_shape
    whole = xp.empty(maps * (rows - 2) * columns, dtype=windows.dtype, device=windows.device)
    whole[:-2] = windows
    return whole.reshape(maps, rows - 2, columns)[:, :, :-2]


def _reflect(stack: Array) -> Array:
    """[map, rows, columns] -> [map, rows + 2, columns + 2]; a single row or column is its own reflection."""
    maps, rows, columns = stack.shape
    padded = namespace(stack).empty((maps, rows + 2, columns + 2), dtype=stack.dtype, device=stack.device)
    padded[:, 1:-1, 1:-1] = stack
    padded[:, 0], padded[:, -1] = padded[:, min(2, rows)], padded[:, max(rows - 1, 1)]
    padded[:, :, 0], padded[:, :, -1] = padded[:, :, min(2, columns)], padded[:, :, max(columns - 1, 1)]
    return padded


def _blocks(shape: Sequence[int], limit: int) -> Iterator[tuple[slice, int, int]]:
    """Maps, first row and last row + 1 of blocks of at most ``limit`` pixels (or of one row)."""
    maps, rows, columns = shape
    height = max(1, min(rows, limit // columns))
    depth = max(1, limit // (height * columns))
    for first, top in itertools.product(range(0, maps, depth), range(0, rows, height)):
        yield slice(first, first + depth), top, min(top + height, rows)
