"""Llama 4: tiles of a canvas that holds the picture at its upper left, row after row, then the squashed picture.

A picture that fits into one tile is that tile alone. Boxes of tiles can reach beyond the picture, where it was padded.
"""

from collections.abc import Iterator
from math import isqrt

from transformers.models.llama4.image_processing_llama4 import get_max_res_without_distortion

from tam.families.interface import Block, Family, Processed, image_id, whole
from tam.layout import Grid


def blocks(sample: Processed) -> Iterator[Block]:
    processor = sample.processor
    kind, size = processor.image_processor, processor.image_processor.size
    side = isqrt(
        size.height // processor.patch_size * (size.width // processor.patch_size) // processor.downsample_ratio
    )
    for medium, ((width, height), text) in enumerate(zip(sample.media.sizes, sample.written, strict=True)):
        rows = text.split(processor.tile_global_token)
        down, across = max(len(rows) - 1, 1), rows[0].count(processor.tile_token) + 1
        canvas = down * size.height, across * size.width
        if not kind.resize_to_max_canvas:  # a picture is not made larger, but for the first tile
            canvas = min(max(height, size.height), canvas[0]), min(max(width, size.height), canvas[1])
        shown = get_max_res_without_distortion((height, width), canvas)
        x, y = size.width * width / max(shown[1], 1), size.height * height / max(shown[0], 1)
        for row in range(down):
            for column in range(across):
                box = (column * x, row * y, (column + 1) * x, (row + 1) * y)
                yield Block(Grid(medium, (0,), side, side, box))
        if down * across > 1:
            yield whole(sample, medium, side, side)


FAMILY = Family("Llama 4", image_id, blocks)
