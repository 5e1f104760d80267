"""LFM2-VL: the picture squashed into tiles, each behind a tag of its row and column, then all of it in its own shape.

A small picture is only shown as a whole.
"""

import re
from collections.abc import Iterator

from tam.families.interface import Block, Family, Processed, image_id, tiles, whole

TAG = re.compile(r"<\|img_row_(\d+)_col_(\d+)\|>")


def blocks(sample: Processed) -> Iterator[Block]:
    """``spatial_shapes``: rows and columns of patches of each tile and each whole, of which factor x factor make a
    token."""
    shapes = iter((sample.outputs["spatial_shapes"] // sample.config.downsample_factor).tolist())
    for medium, text in enumerate(sample.written):
        if tags := TAG.findall(text):
            down, across = map(int, tags[-1])
            (rows, columns), *_ = (next(shapes) for _ in tags)  # equal parts of one picture
            yield from tiles(sample, medium, down, across, rows, columns)
        if not tags or sample.processor.image_thumbnail_token in text:
            yield whole(sample, medium, *next(shapes))


FAMILY = Family("LFM2-VL", image_id, blocks, options={"use_image_special_tokens": True})
