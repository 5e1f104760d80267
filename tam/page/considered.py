"""What the model considered and did not say, as the page shows it: the maps of likely candidates, by TAM."""

import numpy as np

from tam.errors import TamError
from tam.methods.cached import Cached
from tam.methods.candidates import candidate_maps
from tam.protocol import Protocol
from tam.records import Generation

LEAST = 0.01
"""Probability of a candidate that has a map on the page; the others were hardly considered."""


def considered(generation: Generation, protocol: Protocol, eci_cap: float | None) -> tuple[list[list[int]], np.ndarray]:
    """[token, place among its candidates] of each that the cache has the logits of, and their maps.

    Args:
        protocol, eci_cap: as the maps of the run have them.

    Returns:
        the places, and float32 [candidate, vision] in [0, 1]; nothing where maps cannot be made.
    """
    rows, prompt, kept = generation.candidates, len(generation.prompt_ids), set(generation.classes.tolist())
    said = [*generation.prompt_ids.tolist(), *generation.answer_ids.tolist()]
    likely = np.argwhere(rows.probabilities >= LEAST).tolist()
    found = [
        [token, place]
        for token, place in likely
        if token >= prompt and (cls := int(rows.ids[token, place])) in kept and cls != said[token]
    ]
    if found:
        try:
            tokens, places = zip(*found, strict=True)
            return found, candidate_maps(
                Cached(generation, protocol, eci_cap=eci_cap), tokens, rows.ids[tokens, places].tolist()
            )
        except TamError:  # of the published code's protocol there are none; else the maps of the run say why
            pass
    return [], np.zeros((0, len(generation.layout.vision)), np.float32)
