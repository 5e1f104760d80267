"""Idefics3 and SmolVLM: the picture squashed into tiles, each behind a tag of its row and column, then all of it.

A small picture, and a frame of a video, is only shown as a whole.
"""

import re
from collections.abc import Iterator
from math import isqrt

from tam.families.interface import Asked, Block, Family, image_id, tiles, whole

TAG = re.compile(r"<row_(\d+)_col_(\d+)>")


def blocks(asked: Asked) -> Iterator[Block]:
    side = isqrt(asked.processor.image_seq_len)
    if asked.media.video:
        yield from asked.video(side, side)
        return
    for medium, text in enumerate(asked.written):
        if tags := TAG.findall(text):
            down, across = map(int, tags[-1])
            yield from tiles(asked, medium, down, across, side)
        yield whole(asked, medium, side, side)


IDEFICS3 = Family("Idefics3", image_id, blocks)
SMOLVLM = Family("SmolVLM", image_id, blocks, video=True)
