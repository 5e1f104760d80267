"""Gemma 3n: the whole picture squashed into a square, which always has as many tokens."""

from collections.abc import Iterator
from math import isqrt

from tam.families.interface import Block, Family, Processed, image_id, whole


def blocks(sample: Processed) -> Iterator[Block]:
    side = isqrt(sample.processor.image_seq_length)
    for medium in range(len(sample.media.sizes)):
        yield whole(sample, medium, side, side)


FAMILY = Family("Gemma 3n", image_id, blocks, extra="gemma3n")
