"""A kind of model that nobody has described: one id for image tokens, and one regular grid a picture.

The grid is what the processor says (``image_grid_thw``), or a square of as many tokens as there are. Nothing says that
the tokens lie there, so each model has to show it before it is believed.
"""

from collections.abc import Iterator
from math import isqrt

from tam.families import qwen2_vl
from tam.families.crop import seen_box
from tam.families.interface import Block, Family, Processed, image_id
from tam.layout import Grid


def blocks(sample: Processed) -> Iterator[Block]:
    if "image_grid_thw" in sample.outputs:
        yield from qwen2_vl.blocks(sample)
        return
    token = sample.processor.tokenizer.convert_ids_to_tokens(sample.config.image_token_id)
    for medium, (size, text) in enumerate(zip(sample.media.sizes, sample.written, strict=True)):
        side = isqrt(text.count(token))
        yield Block(Grid(medium, (0,), side, side, seen_box(sample.processor.image_processor, size)))


FAMILY = Family("generic", image_id, blocks, proven=False)
