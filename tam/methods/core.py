"""Token Activation Maps: the method of arXiv 2506.23270, arrays in, arrays out.

    activation                   Eq. 1, 4  what a position says for a class: the rectified logit
    interference_weights         Eq. 2     how much each earlier token speaks for a token
    estimated_causal_inference   Eq. 2, 5  take out what the earlier tokens explain already
    joint_normalisation                    image scores and text scores to [0, 1], together
    rank_gaussian_filter         Eq. 6, 7  a median that grows softer where a window varies more
    token_activation_maps                  all of it, for every token of a sample

Axes: ``token``, the explained ones (of the prompt's words, then of the answer); ``vision``, the vision tokens, grid
after grid, row-major in each; ``row``, the states that text scores are read at: one a token of the prompt, then those
that predict the answer's tokens. NumPy arrays are computed by NumPy, torch tensors by torch, where they are.

There are two ways to the same maps. Fast: float32, sums in any order. Exact: NumPy, rounded as the published code
rounds, for the same uint8 to the bit. At most one pixel in 10,000 differs between them, by 1.
"""

import itertools
import math
import sys
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from tam.errors import InputError, LayoutError, NotFiniteError, PublishedError
from tam.protocol import FIXED, REFERENCE, Protocol
from tam.records import Maps

# Bytes of a plane that the filter works on: on a CPU, some twenty planes stay in the cache; on a GPU, fit its memory.
CPU_BLOCK, GPU_BLOCK = 1 << 15, 1 << 24

# Floyd's sorting network of nine: within three columns of three, then across them.
SORT_COLUMN = ((0, 1), (1, 2), (0, 1))
MERGE_COLUMNS = (
    (0, 3), (3, 6), (0, 3), (1, 4), (4, 7), (1, 4), (2, 5), (5, 8),
    (2, 5), (1, 3), (5, 7), (2, 6), (4, 6), (2, 4), (2, 3), (5, 6),
)  # fmt: skip


def token_activation_maps(
    image,
    text,
    pieces: Sequence[Hashable],
    prompt_count: int,
    shapes: Sequence[tuple[int, int]],
    *,
    protocol: Protocol = FIXED,
    interference: bool = True,
    eci_cap: float | None = None,
    rank_filter: bool = True,
    exact: bool = False,
    where: object = None,
) -> Maps:
    """Map every token of one sample.

    Args:
        image: [token, vision], logits of each token's class at the vision tokens.
        text: [token, row], logits of each token's class at the text rows.
        pieces: what each token says; an earlier token that says the same is no context.
        prompt_count: how many of the tokens are the prompt's.
        shapes: rows and columns of each grid.
        interference: subtract it.
        eci_cap: the most that its scale may be (``estimated_causal_inference``).
        rank_filter: apply it.
        where: the sample, for messages.

    Raises:
        InputError: the arrays and pieces do not belong together, or ``check_cap``.
        LayoutError: grid cells and vision tokens differ.
        NotFiniteError: a logit is NaN or infinite.
        PublishedError: the published code stops here, and the protocol follows it.
    """
    check_cap(eci_cap, protocol)
    _check(image, text, pieces, prompt_count, shapes, protocol, where)
    image, text = activation(image), activation(text)
    if exact:
        image, text = _numpy(image), _numpy(text)
    xp = _namespace(image)

    context = _context(pieces, text.shape, protocol, where) if interference else np.zeros(text.shape, bool)
    seen = _seen(prompt_count, text.shape, protocol)
    context, seen = (xp.asarray(mask, device=image.device) for mask in (context, seen))
    weights = interference_weights(text, context, exact=exact)[:, : len(image)]
    causal, scale = estimated_causal_inference(image, image[: weights.shape[1]], weights, cap=eci_cap, exact=exact)

    # What something was subtracted from is float64 in the published code, the rest is float32.
    removed = context.any(1)
    groups = ((removed, causal), (~removed, image)) if exact else ((slice(None), causal),)
    maps, relevance = xp.empty_like(causal), xp.empty_like(text)
    uint8 = xp.empty_like(causal, dtype=xp.uint8)
    for tokens, scores in groups:
        part, relevance[tokens] = joint_normalisation(scores[tokens], text[tokens], seen[tokens])
        if rank_filter:
            part = _filter_grids(part, shapes, protocol, exact).clip(max=1)  # a weighted mean of ones may round up
        maps[tokens], uint8[tokens] = part, to_uint8(part)
    scale = xp.where(removed, xp.asarray(scale, dtype=xp.float64), xp.nan)
    return Maps(*(_numpy(result) for result in (maps, uint8, xp.tril(relevance, -1), scale)))


def activation(logits):
    """Eq. 1 at vision tokens, Eq. 4 at text rows: rectified logits, float32, any shape."""
    xp = _namespace(logits)
    rectified = xp.asarray(logits, dtype=xp.float32).clip(min=0)
    return np.ascontiguousarray(rectified) if xp is np else rectified.contiguous()


def interference_weights(text, context, *, exact: bool = False):
    """Eq. 2: the share of each context token, float32 [token, row]; 0 outside the context.

    Args:
        text: float32 [token, row], activations of each token's class at the text rows.
        context: bool [token, row].
    """
    if not exact:
        weights = text * context
        return weights / (weights.sum(1)[:, None] + 1e-8)
    weights = np.zeros_like(text)
    for row, kept, scores in zip(weights, context, text, strict=True):
        scores = scores[kept]
        row[kept] = scores / (scores.sum() + np.float32(1e-8))  # NumPy's order of a sum depends on how many there are
    return weights


def check_cap(cap: float | None, protocol: Protocol) -> None:
    """Raises: InputError, for a cap that is no number from 0 on, or with the protocol of the published code."""
    if cap is not None and not (math.isfinite(cap) and cap >= 0):
        raise InputError("wrong cap on the scale of interference", got=cap, expected="a number from 0 on, or none")
    if cap is not None and protocol == REFERENCE:
        raise InputError("the published code caps no scale", got=f"a cap of {cap:g}", cure="use protocol fixed")


def estimated_causal_inference(image, sources, weights, *, cap: float | None = None, exact: bool = False):
    """Eq. 2 and 5: ``ReLU(A - s E)``, E = ``weights @ sources``, with the s that leaves least of A.

    Args:
        cap: s is at most this: 0 subtracts nothing, None is no limit (the paper).
        image: float32 [token, vision], activations A.
        sources: float32 [source, vision], activations of the earlier tokens.
        weights: float32 [token, source].

    Returns:
        the causal maps [token, vision], and s [token], 0 where there is no interference; float64 if exact.
    """
    xp = _namespace(image)
    if exact:
        estimate = _sum_in_order(weights, sources).astype(np.float64)
        image = image.astype(np.float64)
    else:
        estimate = weights @ sources
    overlap, energy = xp.einsum("tv,tv->t", image, estimate), xp.einsum("tv,tv->t", estimate, estimate)
    scale = overlap / xp.where(energy == 0, 1, energy)  # no energy, no overlap
    scale = scale if cap is None else scale.clip(max=cap)
    return (image - estimate * scale[:, None]).clip(min=0), scale


def joint_normalisation(image, text, seen):
    """To [0, 1] by the least and the greatest of a token's image scores and the text scores that it sees.

    Args:
        image: [token, vision], scores.
        text: float32 [token, row], scores.
        seen: bool [token, row].

    Returns:
        both, normalised; 0 where all scores of a token are equal, and for a text score that is not seen.
    """
    xp = _namespace(image)
    low = xp.minimum(xp.amin(image, 1), xp.amin(xp.where(seen, text, xp.inf), 1))[:, None]
    high = xp.maximum(xp.amax(image, 1), xp.amax(xp.where(seen, text, -xp.inf), 1))[:, None]
    span = xp.where(high > low, high - low, xp.inf)
    return (image - low) / span, xp.where(seen, (text - low) / span, 0)


def rank_gaussian_filter(grids, *, protocol: Protocol = FIXED, exact: bool = False):
    """Eq. 6 and 7: each 3x3 window, reflected at the borders, becomes a weighted mean of its nine values by rank.

    The weight falls with the distance from the middle rank as a Gaussian does whose width is the window's coefficient
    of variation, standard deviation / mean. A window with a mean <= 0, with NaN or with infinity becomes 0.

    Args:
        grids: float [..., rows, columns].
        exact: float64 (NumPy only), rounded as the published code rounds.
    """
    xp = _namespace(grids)
    *_, rows, columns = grids.shape
    stack = grids.reshape(-1, rows, columns)
    weigh = _weigh_exactly if exact else _weigh
    padded, filtered = _reflect(stack), xp.empty_like(stack)
    block = (CPU_BLOCK if str(grids.device) == "cpu" else GPU_BLOCK) // grids.dtype.itemsize
    with np.errstate(all="ignore"):
        for maps, top, bottom in _blocks(stack.shape, block):
            filtered[maps, top:bottom] = weigh(padded[maps, top : bottom + 2], protocol)
    return filtered.reshape(grids.shape)


def to_uint8(maps):
    """[0, 1] to 0..255, without the fraction."""
    xp = _namespace(maps)
    return xp.asarray(maps * 255, dtype=xp.uint8)


# ---- the filter's inside
#
# A block's rows are padded. In flat memory the window one to the right is one element on, so each of the nine planes of
# window values is a shifted view of one array; between rows there are two windows that belong to no pixel.


def _weigh(padded, protocol: Protocol):
    """The variance comes from two sums over the window, and the weights are powers of one exponential."""
    xp = _namespace(padded)
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


def _weigh_exactly(padded, protocol: Protocol):
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


def _ranks(padded) -> list:
    """The nine values of every window in ascending order, as nine planes [window]."""
    columns = _sort([padded[:, row : padded.shape[1] - 2 + row] for row in range(3)], SORT_COLUMN)
    columns = [column.reshape(-1) for column in columns]
    count = len(columns[0]) - 2
    return _sort([column[shift : shift + count] for shift in range(3) for column in columns], MERGE_COLUMNS)


def _sort(planes: list, network: Sequence[tuple[int, int]]) -> list:
    xp = _namespace(planes[0])
    for low, high in network:
        first, second = planes[low], planes[high]
        planes[low], planes[high] = xp.minimum(first, second), xp.maximum(first, second)
    return planes


def _window_sums(padded):
    """[window]"""
    columns = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]).reshape(-1)
    return columns[:-2] + columns[1:-1] + columns[2:]


def _pairwise_sum(nine: list):
    """In NumPy's order for nine."""
    a, b, c, d, e, f, g, h, i = nine
    return (((a + b) + (c + d)) + ((e + f) + (g + h))) + i


def _pixels(windows, padded_shape: tuple[int, int, int]):
    """[window] -> [map, row, column], without the windows between rows."""
    xp = _namespace(windows)
    maps, rows, columns = padded_shape
    whole = xp.empty(maps * (rows - 2) * columns, dtype=windows.dtype, device=windows.device)
    whole[:-2] = windows
    return whole.reshape(maps, rows - 2, columns)[:, :, :-2]


def _reflect(stack):
    """[map, rows, columns] -> [map, rows + 2, columns + 2]; a single row or column is its own reflection."""
    maps, rows, columns = stack.shape
    padded = _namespace(stack).empty((maps, rows + 2, columns + 2), dtype=stack.dtype, device=stack.device)
    padded[:, 1:-1, 1:-1] = stack
    padded[:, 0], padded[:, -1] = padded[:, min(2, rows)], padded[:, max(rows - 1, 1)]
    padded[:, :, 0], padded[:, :, -1] = padded[:, :, min(2, columns)], padded[:, :, max(columns - 1, 1)]
    return padded


def _blocks(shape: tuple[int, int, int], limit: int) -> Iterator[tuple[slice, int, int]]:
    """Maps, first row and last row + 1 of blocks of at most ``limit`` pixels (or of one row)."""
    maps, rows, columns = shape
    height = max(1, min(rows, limit // columns))
    depth = max(1, limit // (height * columns))
    for first, top in itertools.product(range(0, maps, depth), range(0, rows, height)):
        yield slice(first, first + depth), top, min(top + height, rows)


def _filter_grids(maps, shapes: Sequence[tuple[int, int]], protocol: Protocol, exact: bool):
    """Filter [token, vision] grid by grid; neighbours of one shape, such as a video's frames, at once."""
    filtered, start = [], 0
    for (rows, columns), group in itertools.groupby(map(tuple, shapes)):
        count = len(list(group))
        end = start + count * rows * columns
        grids = maps[:, start:end].reshape(len(maps), count, rows, columns)
        filtered.append(rank_gaussian_filter(grids, protocol=protocol, exact=exact).reshape(len(maps), end - start))
        start = end
    return _namespace(maps).concatenate(filtered, 1)


# ---- who sees whom


def _context(pieces: Sequence[Hashable], shape: tuple[int, int], protocol: Protocol, where: object) -> np.ndarray:
    """bool [token, row]: earlier tokens that say something else. A token without a piece has no context."""
    tokens, rows = shape
    first: dict[Hashable, int] = {}
    said = np.array([first.setdefault(piece, index) for index, piece in enumerate(pieces[:tokens])], int)
    count = len(said)
    context = np.zeros((tokens, max(tokens, rows)), bool)
    context[:count, :count] = np.tri(count, k=-1, dtype=bool) & (said[:, None] != said)
    if protocol.empty_context_is_an_error and not context[1:count].any(1).all():
        token = 1 + int(np.argmin(context[1:count].any(1)))
        raise PublishedError(f"no earlier token differs from token {token}", where=where, raises="ValueError")
    if context[:, rows:].any():
        raise PublishedError("more pieces than text scores", where=where, raises="IndexError")
    return context[:, :rows]


def _seen(prompt_count: int, shape: tuple[int, int], protocol: Protocol) -> np.ndarray:
    """bool [token, row]: the text scores that take part in a token's normalisation, those of earlier tokens."""
    tokens, rows = shape
    count = np.arange(tokens)
    if protocol.later_prompt_in_normalisation:
        count = rows - tokens + np.maximum(count, prompt_count)
    return np.arange(rows) < count[:, None]


def _sum_in_order(weights: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """float32 [token, vision]: ``weights @ sources``, rounded as if each token added up its sources one by one."""
    total = np.zeros((len(weights), sources.shape[1]), np.float32)
    for source, first in enumerate((weights != 0).argmax(0)):  # no token before the first has a use for it
        total[first:] += np.dot(weights[first:, source, None], sources[source : source + 1])
    return total


def _check(image, text, pieces, prompt_count: int, shapes, protocol: Protocol, where: object) -> None:
    xp = _namespace(image)
    tokens, vision = image.shape
    answer = tokens - prompt_count
    if len(text) != tokens or not 0 <= prompt_count <= tokens or text.shape[1] < max(answer, 1):
        got = f"image {tuple(image.shape)}, text {tuple(text.shape)}, {prompt_count} tokens of the prompt"
        raise InputError("scores do not belong together", where=where, got=got, expected="one row a token in both")
    if not protocol.retokenised_pieces and not len(pieces) == tokens == text.shape[1]:
        got = f"{tokens} tokens, {len(pieces)} pieces, {text.shape[1]} text rows"
        raise InputError("tokens, pieces and text rows differ", where=where, got=got, expected="as many of each")
    if sum(rows * columns for rows, columns in shapes) != vision or vision == 0:
        expected = " + ".join(f"{rows}x{columns}" for rows, columns in shapes)
        raise LayoutError("grid cells and vision tokens differ", where=where, got=vision, expected=expected)
    if not (xp.isfinite(image).all() and xp.isfinite(text).all()):
        raise NotFiniteError(
            "a logit is NaN or infinite", where=where, cure="look for overflow in the model, as float16 may have it"
        )


# ---- NumPy or torch


def _namespace(array):
    """The library of ``array``; torch is not imported for those who do not use it."""
    return sys.modules["torch"] if type(array).__module__.partition(".")[0] == "torch" else np


def _numpy(array) -> np.ndarray:
    return np.asarray(array) if _namespace(array) is np else array.detach().cpu().numpy()
