"""LLaVA-1.5: every picture becomes a square of fixed size, and each of its patches a vision token.

How it becomes one (a centre crop, in the published checkpoints) is the image processor's choice. Checkpoints of this
kind with Pixtral's vision tower keep the picture's shape: see ``pixtral.py``.
"""

from collections.abc import Iterator

from tam.families import pixtral
from tam.families.crop import seen_box
from tam.families.interface import Block, Family, Processed, image_id
from tam.layout import Grid


def blocks(sample: Processed) -> Iterator[Block]:
    if sample.config.vision_config.model_type == "pixtral":
        yield from pixtral.blocks(sample)
        return
    height, width = sample.outputs["pixel_values"].shape[-2:]
    patch = sample.config.vision_config.patch_size
    rows, columns = height // patch, width // patch
    for medium, size in enumerate(sample.media.sizes):
        left, top, right, bottom = seen_box(sample.processor.image_processor, size)
        # Patches start at the top left; what is left over at the other sides is not seen.
        x, y = (right - left) / width * patch, (bottom - top) / height * patch
        yield Block(Grid(medium, (0,), rows, columns, (left, top, left + columns * x, top + rows * y)))


FAMILY = Family("LLaVA-1.5", image_id, blocks)
