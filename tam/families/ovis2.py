"""Ovis2: the squashed picture, then tiles of it, row after row. One that fits into a tile is that tile alone."""

from collections.abc import Iterator
from math import isqrt

from tam.families.interface import Block, Family, Processed, image_id, tiles, whole


def blocks(sample: Processed) -> Iterator[Block]:
    side = isqrt(sample.processor.image_seq_length)
    for medium, text in enumerate(sample.written):
        yield whole(sample, medium, side, side)
        rows = text.split("<IMG_GRID>")[1].split("<IMG_ROW>")
        down, across = len(rows), rows[0].count("<IMG_COL>") + 1
        if down * across > 1:
            yield from tiles(sample, medium, down, across, side, side)


FAMILY = Family("Ovis2", image_id, blocks, options={"images_kwargs": {"crop_to_patches": True}})
