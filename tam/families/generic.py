"""A kind of model that nobody has described: one id for image tokens, and one regular grid a picture.

The grid is what the processor says (``image_grid_thw``), or a square of as many tokens as there are. Nothing says that
the tokens lie there, so a model is only believed after it was asked: see ``believe``.
"""

import weakref
from collections.abc import Iterator
from math import isqrt

import numpy as np
from PIL import Image

from tam.errors import ModelError, TamError
from tam.families import qwen2_vl
from tam.families.crop import seen_box
from tam.families.interface import Asked, Block, Family, image_id
from tam.layout import Grid
from tam.media import Media
from tam.model.probe import probe

CELLS, ENOUGH = 12, 0.75  # cells that are painted, and the part of them whose own token must move most


def blocks(asked: Asked) -> Iterator[Block]:
    if "image_grid_thw" in asked.outputs:
        yield from qwen2_vl.blocks(asked)
        return
    token = asked.processor.tokenizer.convert_ids_to_tokens(asked.config.image_token_id)
    for medium, (size, text) in enumerate(zip(asked.media.sizes, asked.written, strict=True)):
        side = isqrt(text.count(token))
        yield Block(Grid(medium, (0,), side, side, seen_box(asked.processor.image_processor, size)))


FAMILY = Family("generic", image_id, blocks)


_believed: weakref.WeakSet = weakref.WeakSet()  # models are asked once


def believe(model, processor, family: Family) -> None:
    """Paint parts of a picture of noise: ModelError unless the tokens move where the layout says."""
    if model in _believed:
        return
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    media = Media(False, (Image.fromarray(pixels).resize((640, 480)),), (0,))
    try:
        found = list(probe(model, processor, family, media, CELLS))
    # What an unknown processor and model raise when they are asked in a way that is not theirs.
    except (TamError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise _unknown(model, f"{type(error).__name__}: {error}") from error
    right = sum(ok for ok, _ in found)
    if right < ENOUGH * len(found):
        raise _unknown(model, f"{right} of {len(found)} painted cells moved their own token most")
    _believed.add(model)


def _unknown(model, got: str) -> ModelError:
    return ModelError(
        "unsupported kind of model, whose image tokens are not one regular grid", where=model.config.model_type,
        got=got, cure='a family is one small file: see "Add your model" in docs/families.md',
    )  # fmt: skip
