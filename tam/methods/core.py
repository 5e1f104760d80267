"""Token Activation Maps: the method of arXiv 2506.23270, arrays in, arrays out.

    activation                   Eq. 1, 4  what a position says for a class: the rectified logit
    interference_weights         Eq. 2     how much each earlier token speaks for a token
    estimated_causal_inference   Eq. 2, 5  take out what the earlier tokens explain already
    joint_normalisation                    image scores and text scores to [0, 1], together
    rank_gaussian_filter         Eq. 6, 7  a median that grows softer where a window varies more (``rank_filter.py``)
    token_activation_maps                  all of it, for every token of a sample

Axes: ``token``, the explained ones (of the prompt's words, then of the answer); ``vision``, the vision tokens, grid
after grid, row-major in each; ``row``, the states that text scores are read at: one a token of the prompt, then those
that predict the answer's tokens. NumPy arrays are computed by NumPy, torch tensors by torch, where they are.

There are two ways to the same maps. Fast: float32, sums in any order. Exact: NumPy, rounded as the published code
rounds, for the same uint8 to the bit. At most one pixel in 10,000 differs between them, by 1; save on flat windows in
the published code's protocol (``constant_window_is_zero``), which go by a last bit that only the exact way has.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from tam.errors import InputError, LayoutError, NotFiniteError, PublishedError
from tam.methods.arrays import Array, namespace, to_numpy
from tam.methods.rank_filter import filter_grids
from tam.protocol import FIXED, REFERENCE, Protocol
from tam.records import Maps


def token_activation_maps(
    image: Array,
    text: Array,
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
        exact: by NumPy, rounded as the published code rounds; else float32, sums in any order.
        where: the sample, for messages.

    Raises:
        InputError: the arrays and pieces do not belong together, or ``check_cap``.
        LayoutError: grid cells and vision tokens differ.
        NotFiniteError: a logit is NaN or infinite.
        PublishedError: the published code stops here, and the protocol follows it.
    """
    check_cap(eci_cap, protocol)
    known = activations(image, text, pieces, prompt_count, shapes, protocol=protocol, exact=exact, where=where)
    causal = without_interference(known, cap=eci_cap) if interference else with_interference(known)
    return maps_of(causal, known, rank_filter=rank_filter)


@dataclass(frozen=True)
class Activations(Generic[Array]):
    """What all maps of a sample begin with.

    Attributes:
        image: float32 [token, vision]; text: float32 [token, row]: rectified logits of each token's class.
        pieces, prompt_count, shapes, protocol, exact, where: as in ``token_activation_maps``.
    """

    image: Array
    text: Array
    pieces: Sequence[Hashable]
    prompt_count: int
    shapes: Sequence[tuple[int, int]]
    protocol: Protocol
    exact: bool
    where: object


@dataclass(frozen=True)
class Causal(Generic[Array]):
    """The evidence that is a token's own.

    Attributes:
        image: [token, vision], scores; float64 if exact and something was subtracted, else float32.
        removed: bool [token], whether it had interference, which was subtracted.
        scale: float64 [token], the factor of what was subtracted; NaN where nothing was.
    """

    image: Array
    removed: Array
    scale: Array


def activations(
    image: Array,
    text: Array,
    pieces: Sequence[Hashable],
    prompt_count: int,
    shapes: Sequence[tuple[int, int]],
    *,
    protocol: Protocol = FIXED,
    exact: bool = False,
    where: object = None,
) -> Activations[Array]:
    """Rectified logits; arguments and errors as ``token_activation_maps``."""
    _check(image, text, pieces, prompt_count, shapes, protocol, where)
    rectified: list[Any] = [activation(scores) for scores in (image, text)]
    if exact:
        rectified = [to_numpy(scores) for scores in rectified]
    return Activations(rectified[0], rectified[1], pieces, prompt_count, shapes, protocol, exact, where)


def with_interference(known: Activations[Array]) -> Causal[Array]:
    """The activations as they are."""
    xp = namespace(known.image)
    removed = xp.zeros_like(known.image[:, 0], dtype=xp.bool)
    return Causal(known.image, removed, xp.full_like(removed, xp.nan, dtype=xp.float64))


def without_interference(known: Activations[Array], *, cap: float | None = None) -> Causal[Array]:
    """Eq. 2 and 5 for every token.

    Raises:
        PublishedError: the published code finds no context, or too many pieces, and the protocol follows it.
    """
    xp = namespace(known.image)
    context = xp.asarray(context_of(known), device=known.image.device)
    weights = interference_weights(known.text, context, exact=known.exact)[:, : len(known.image)]
    sources = known.image[: weights.shape[1]]
    image, scale = estimated_causal_inference(
        known.image, sources, weights, cap=cap, protocol=known.protocol, exact=known.exact
    )
    removed = context.any(1)
    return Causal(image, removed, xp.where(removed, xp.asarray(scale, dtype=xp.float64), xp.nan))


def context_of(known: Activations[Array]) -> np.ndarray:
    """bool [token, row]: earlier tokens that say something else; errors as ``without_interference``."""
    return _context(known.pieces, known.text.shape, known.protocol, known.where)


def maps_of(causal: Causal[Array], known: Activations[Array], *, rank_filter: bool) -> Maps:
    """Normalised, and denoised if ``rank_filter``."""
    xp = namespace(causal.image)
    seen = xp.asarray(_seen(known.prompt_count, known.text.shape, known.protocol), device=causal.image.device)

    def finished(image: Array, tokens: Array | slice) -> tuple[Array, Array, Array]:
        maps, relevance = joint_normalisation(image[tokens], known.text[tokens], seen[tokens])
        if rank_filter:
            maps = filter_grids(maps, known.shapes, protocol=known.protocol, exact=known.exact)
        return maps, to_uint8(maps), relevance

    maps, uint8, relevance = finished(causal.image, slice(None))
    if causal.image.dtype != known.image.dtype:
        # What something was subtracted from is float64 in the published code, the rest is float32.
        kept = ~causal.removed
        maps[kept], uint8[kept], relevance[kept] = finished(known.image, kept)
    relevance = xp.tril(xp.asarray(relevance, dtype=xp.float32), -1)
    return Maps(*map(to_numpy, (maps, uint8, relevance, causal.scale)))


def activation(logits: Array) -> Array:
    """Eq. 1 at vision tokens, Eq. 4 at text rows: rectified logits, float32, any shape."""
    xp = namespace(logits)
    rectified = xp.asarray(logits, dtype=xp.float32).clip(min=0)
    contiguous: Any = np.ascontiguousarray(rectified) if xp is np else rectified.contiguous()
    return contiguous


def interference_weights(text: Array, context: Array, *, exact: bool = False) -> Array:
    """Eq. 2: the share of each context token, float32 [token, row]; 0 outside the context.

    Args:
        text: float32 [token, row], activations of each token's class at the text rows.
        context: bool [token, row].
    """
    if not exact:
        weights = text * context
        return weights / (weights.sum(1)[:, None] + 1e-8)
    weights = namespace(text).zeros_like(text)
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


def estimated_causal_inference(
    image: Array,
    sources: Array,
    weights: Array,
    *,
    cap: float | None = None,
    protocol: Protocol = FIXED,
    exact: bool = False,
) -> tuple[Array, Array]:
    """Eq. 2 and 5: ``ReLU(A - s E)``, E = ``weights @ sources``, with the s that leaves least of A.

    Args:
        cap: s is at most this: 0 subtracts nothing, None is no limit (the paper).
        image: float32 [token, vision], activations A.
        sources: float32 [source, vision], activations of the earlier tokens.
        weights: float32 [token, source].

    Returns:
        the causal maps [token, vision], and s [token], 0 where there is no interference; float64 if exact.
    """
    xp = namespace(image)
    estimate: Any = None
    if exact:
        estimate = _sum_in_order(to_numpy(weights), to_numpy(sources)).astype(np.float64)
        image = xp.asarray(image, dtype=xp.float64)
    else:
        estimate = weights @ sources
    if exact and protocol.scale_is_searched:
        scale: Any = searched_scale(to_numpy(image), estimate)
    else:
        overlap, energy = xp.einsum("tv,tv->t", image, estimate), xp.einsum("tv,tv->t", estimate, estimate)
        scale = overlap / xp.where(energy == 0, 1, energy)  # no energy, no overlap
    scale = scale if cap is None else scale.clip(max=cap)
    return (image - estimate * scale[:, None]).clip(min=0), scale


def searched_scale(image: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """The s that leaves least of ``image - s estimate``, as the published code finds it: by Brent's search.

    It is the closed form's but for the last bits, which seldom move a pixel, and then by 1; save on flat windows, which
    the published filter makes black where the mean of nine equal values is that value again, and else keeps.

    Args:
        image, estimate: float64 [token, vision].

    Returns:
        float64 [token]; 0 where ``estimate`` says nothing.
    """
    from scipy.optimize import minimize_scalar  # only the exact way pays for its import

    def left(scale: float, whole: np.ndarray, part: np.ndarray) -> float:
        return float(np.square(whole - part * scale).sum())

    return np.array([minimize_scalar(left, args=pair).x for pair in zip(image, estimate, strict=True)])


def joint_normalisation(image: Array, text: Array, seen: Array) -> tuple[Array, Array]:
    """To [0, 1] by the least and the greatest of a token's image scores and the text scores that it sees.

    Args:
        image: [token, vision], scores.
        text: float32 [token, row], scores.
        seen: bool [token, row].

    Returns:
        both, normalised; 0 where all scores of a token are equal, and for a text score that is not seen.
    """
    xp = namespace(image)
    low = xp.minimum(xp.amin(image, 1), xp.amin(xp.where(seen, text, xp.inf), 1))[:, None]
    high = xp.maximum(xp.amax(image, 1), xp.amax(xp.where(seen, text, -xp.inf), 1))[:, None]
    span = xp.where(high > low, high - low, xp.inf)
    return (image - low) / span, xp.where(seen, (text - low) / span, 0)


def to_uint8(maps: Array) -> Array:
    """[0, 1] to 0..255, without the fraction."""
    xp = namespace(maps)
    return xp.asarray(maps * 255, dtype=xp.uint8)


# ---- who sees whom


def _context(pieces: Sequence[Hashable], shape: Sequence[int], protocol: Protocol, where: object) -> np.ndarray:
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


def _seen(prompt_count: int, shape: Sequence[int], protocol: Protocol) -> np.ndarray:
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


def _check(
    image: Array,
    text: Array,
    pieces: Sequence[Hashable],
    prompt_count: int,
    shapes: Sequence[tuple[int, int]],
    protocol: Protocol,
    where: object,
) -> None:
    xp = namespace(image)
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
