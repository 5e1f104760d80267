"""Maps from scores: signed numbers of any size become numbers in [0, 1].

What is done here moves the numbers of a table more than most methods do, so it is the same for all of them, and said
with their numbers. The default is what TAM's own maps are normalised by.
"""

from typing import Literal, get_args

import numpy as np

from tam.errors import InputError
from tam.methods.core import joint_normalisation, to_uint8
from tam.records import Maps, Scores

Sign = Literal["positive", "signed"]
"""Whether what speaks against a token counts as nothing, or lies below nothing."""

Scope = Literal["joint", "image"]
"""What is brought to [0, 1] together: a token's scores of the image and of the earlier text, or of the image alone."""


def sign_of(name: str) -> Sign:
    """Raises: InputError: there is none of this name."""
    for known in get_args(Sign):
        if name == known:
            return known
    raise InputError("unknown sign", got=repr(name), expected=" or ".join(get_args(Sign)))


def scope_of(name: str) -> Scope:
    """Raises: InputError: there is none of this name."""
    for known in get_args(Scope):
        if name == known:
            return known
    raise InputError("unknown scope", got=repr(name), expected=" or ".join(get_args(Scope)))


def maps_of(scores: Scores, sign: Sign = "positive", scope: Scope = "joint") -> Maps:
    """Normalise each token's scores by their least and greatest.

    The text is that of TAM: the user's words and the earlier tokens of the answer. A method that says nothing of text
    is normalised by the image alone. Maps are float32; those of tokens that are not explained are 0.
    """
    image, text = scores.image, np.zeros((len(scores.image),) * 2, np.float32) if scores.text is None else scores.text
    if sign == "positive":
        image, text = image.clip(min=0), text.clip(min=0)
    joint = scope == "joint" and scores.text is not None
    seen = np.tri(len(image), k=-1, dtype=bool) & joint
    shown = scores.explained[:, None]
    maps, relevance = (np.where(shown, part, 0).astype(np.float32) for part in joint_normalisation(image, text, seen))
    explained = None if scores.explained.all() else scores.explained
    return Maps(maps, to_uint8(maps), relevance, np.full(len(maps), np.nan), explained)
