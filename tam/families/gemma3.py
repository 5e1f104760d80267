"""Gemma 3: the whole picture squashed into a square; with pan and scan, then crops of it along its longer side."""

from collections.abc import Iterator
from math import ceil, isqrt

from tam.families.interface import Block, Family, Processed, image_id, whole
from tam.layout import Grid


def blocks(sample: Processed) -> Iterator[Block]:
    side = isqrt(sample.processor.image_seq_length)
    for medium, ((width, height), text) in enumerate(zip(sample.media.sizes, sample.written, strict=True)):
        yield whole(sample, medium, side, side)
        crops = text.count(sample.processor.boi_token) - 1
        # Crops are rounded up to whole pixels, so that the last one can be smaller.
        x, y = (ceil(width / max(crops, 1)), height) if width >= height else (width, ceil(height / max(crops, 1)))
        for number in range(crops):
            left, top = (number * x, 0) if width >= height else (0, number * y)
            box = (float(left), float(top), float(min(left + x, width)), float(min(top + y, height)))
            yield Block(Grid(medium, (0,), side, side, box))


FAMILY = Family("Gemma 3", image_id, blocks)
