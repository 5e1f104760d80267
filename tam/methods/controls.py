"""Maps that a method must beat: noise, the centre, and the evidence of another class.

None needs the model.
"""

import hashlib
from dataclasses import replace

import numpy as np

from tam.errors import InputError
from tam.methods.cached import Cached
from tam.records import Generation, Maps

WIDTH = 0.25
"""Standard deviation of the centre's Gaussian, in heights and widths of a grid."""


def random(cached: Cached) -> np.ndarray:
    """Uniform noise in every cell, other noise for every token; the same again for the same sample id and token."""
    made, tokens = cached.generation, range(cached.generation.explained)
    return np.stack([_seeded(made.id, token).random(len(made.layout.vision)) for token in tokens])


def centre(cached: Cached) -> np.ndarray:
    """A Gaussian in the middle of every grid, the same for every token: where photographers put things."""
    generation, grids = cached.generation, []
    for grid in generation.layout.grids:
        down, across = ((np.arange(n) + 0.5) / n - 0.5 for n in (grid.rows, grid.columns))
        grids.append(np.exp(-(down[:, None] ** 2 + across**2) / (2 * WIDTH**2)).ravel())
    return np.tile(np.concatenate(grids), (generation.explained, 1))


def permuted(cached: Cached) -> Maps:
    """TAM of another class of the same answer, see ``other_classes``."""
    return replace(cached, generation=other_classes(cached.generation)).tam


def other_classes(generation: Generation) -> Generation:
    """The same sample with the logits of the answer's classes exchanged, so that each has another's.

    One cycle through all distinct classes of the answer, drawn for the sample id, so none stays in place. A method
    applied to this explains every token as if it were another of the same answer: the random logit test of Sixt,
    Granz, Landgraf: When Explanations Lie, ICML 2020, but with classes that are as likely in this picture.

    Raises:
        InputError: the answer has one class only.
    """
    columns = np.flatnonzero(np.isin(generation.classes, generation.answer_ids))
    if len(columns) < 2:
        raise InputError("an answer of one class has no other to permute with", where=generation.id)
    cycle = _seeded(generation.id, 0).permutation(columns)
    logits = generation.logits.copy()
    logits[:, cycle] = generation.logits[:, np.roll(cycle, 1)]
    return replace(generation, logits=logits)


def _seeded(id: str, token: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{id}\n{token}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
