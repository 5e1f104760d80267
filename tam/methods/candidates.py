"""Why this word and not that one: maps of candidates for the place of a token, and what tells two of them apart.

A candidate is a class that the model considered where it said a token, and whose logits the cache has. From its own
activation is taken what the earlier tokens explain at that place: the interference of the token that was said (Eq. 2:
the same tokens with the same weights), save of earlier tokens that say the candidate itself, as a token's own repeats
are no context of it either. How much of it is fitted to the candidate (Eq. 5). Then come the same normalisation, by the
candidate's own text scores, and the same filter. So the map of what was said is the method's own.
"""

from collections.abc import Sequence

import numpy as np

from tam.errors import InputError
from tam.methods import core
from tam.methods.cached import Cached
from tam.methods.rank_filter import filter_grids
from tam.protocol import FIXED

STEPS = {"activation": (False, False), "eci": (True, False), "rgf": (False, True), "tam": (True, True)}
"""Method -> whether it removes interference, whether it filters; of others there are no maps of candidates."""


def candidate_maps(cached: Cached, tokens: Sequence[int], classes: Sequence[int], method: str = "tam") -> np.ndarray:
    """The map of each class in the place of a token.

    Args:
        tokens: as maps have them, those of the prompt's words before those of the answer.
        classes: vocabulary ids, one a token.

    Returns:
        float32 [class, vision], in [0, 1].

    Raises:
        InputError: as ``contrast``.
    """
    interference, rank_filter = _steps(cached, method)
    maps, _ = core.joint_normalisation(*_scores(cached, tokens, classes, interference))
    return _finished(cached, maps, rank_filter)


def contrast(cached: Cached, token: int, cls: int, method: str = "tam") -> np.ndarray:
    """Where more speaks for what was said than for another class in its place, and where less.

    Both classes are normalised together, so that the difference is one of logits, not of two scales.

    Returns:
        float32 [vision], in [-1, 1]: above 0 where what was said has more.

    Raises:
        InputError: the class's logits are not in the cache, a method or protocol without maps of candidates.
    """
    interference, rank_filter = _steps(cached, method)
    said = cached.plan.classes[token]
    both = [part.reshape(1, -1) for part in _scores(cached, [token, token], [said, cls], interference)]
    maps, _ = core.joint_normalisation(*both)
    for_said, for_other = _finished(cached, maps.reshape(2, -1), rank_filter)
    return np.asarray(for_said - for_other)


def check_method(method: str) -> None:
    """Raises: InputError: there are no maps of candidates by this method."""
    if method not in STEPS:
        raise InputError("no maps of candidates by this method", got=repr(method), expected=" or ".join(STEPS))


def _steps(cached: Cached, method: str) -> tuple[bool, bool]:
    if cached.protocol != FIXED:
        raise InputError("maps of candidates are of protocol fixed", got=cached.protocol.name)
    check_method(method)
    return STEPS[method]


def _scores(
    cached: Cached, tokens: Sequence[int], classes: Sequence[int], interference: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float32 [class, vision] and [class, row], and bool [class, row], the text scores that take part."""
    made, known, vision = cached.generation, cached.activations, len(cached.generation.layout.vision)
    if absent := [cls for cls in classes if cls not in made.classes]:
        raise InputError("class not in the cache", where=made.id, got=absent[0])
    places = np.array(tokens, int)
    logits = np.take(made.logits.T, [made.column(cls) for cls in classes], axis=0)
    image, text = core.activation(logits[:, :vision]), core.activation(logits[:, vision:])
    if interference:
        context = core.context_of(known)[places] & (np.array(known.pieces) != np.array(classes)[:, None])
        weights = core.interference_weights(known.text[places], context)
        image, _ = core.estimated_causal_inference(image, known.image, weights, cap=cached.eci_cap)
    return image, text, np.arange(text.shape[1]) < places[:, None]


def _finished(cached: Cached, maps: np.ndarray, rank_filter: bool) -> np.ndarray:
    shapes = [(grid.rows, grid.columns) for grid in cached.generation.layout.grids]
    return filter_grids(maps, shapes) if rank_filter else maps
