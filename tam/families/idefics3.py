"""Idefics3 and SmolVLM: the picture squashed into tiles, each behind a tag of its row and column, then all of it.

A small picture, and a frame of a video, is only shown as a whole.
"""

import re
from collections.abc import Iterator
from math import isqrt

from tam.families.interface import Block, Family, Processed, image_id, tiles, whole

TAG = re.compile(r"<row_(\d+)_col_(\d+)>")


def blocks(sample: Processed) -> Iterator[Block]:
    side = isqrt(sample.processor.image_seq_len)
    if sample.media.video:
        yield from sample.video(side, side)
        return
    for medium, text in enumerate(sample.written):
        if tags := TAG.findall(text):
            down, across = map(int, tags[-1])
            yield from tiles(sample, medium, down, across, side, side)
        yield whole(sample, medium, side, side)


IDEFICS3 = Family("Idefics3", image_id, blocks)
SMOLVLM = Family("SmolVLM", image_id, blocks, video=True, extra="smolvlm")
