"""InternVL: the picture squashed into tiles of fixed size, then a thumbnail if there are several.

A frame of a video is one tile. Tiles are asked for, because the image processor alone would make one of a picture; the
published demo of TAM takes that one, 448 x 448 pixels in 16 x 16 tokens, whatever the picture's aspect.
"""

from collections.abc import Iterator
from math import isqrt

from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from tam.families.interface import Block, Family, Processed, image_id, tiles, whole


def blocks(sample: Processed) -> Iterator[Block]:
    side = isqrt(sample.processor.image_seq_length)
    if sample.media.video:
        yield from sample.video(side, side)
        return
    kind, tile = sample.processor.image_processor, tuple(sample.outputs["pixel_values"].shape[-2:])
    for medium, (width, height) in enumerate(sample.media.sizes):
        across, down = get_optimal_tiled_canvas((height, width), tile, kind.min_patches, kind.max_patches)
        yield from tiles(sample, medium, down, across, side, side)
        if across * down > 1:
            yield whole(sample, medium, side, side)


def one_block(sample: Processed) -> Iterator[Block]:
    side = isqrt(sample.processor.image_seq_length)
    if sample.media.video:
        yield from sample.video(side, side)
    else:
        yield from (whole(sample, medium, side, side) for medium in range(len(sample.media.sizes)))


ONE_TILE = Family(
    "InternVL3 in one tile", image_id, one_block, video=True, options={"images_kwargs": {"crop_to_patches": False}}
)
FAMILY = Family(
    "InternVL3", image_id, blocks, video=True, options={"images_kwargs": {"crop_to_patches": True}}, one_tile=ONE_TILE
)
