"""LLaVA-NeXT and LLaVA-OneVision: the squashed picture, then tiles of it joined to one grid with a newline a row.

The tiles are cut from a canvas in which the picture lies in the middle, in its own aspect. Their patches are joined,
rows or columns that lie outside of the picture are taken off, and OneVision shrinks what is left if it is large. A
newline has the id of a vision token, but shows nothing. Several pictures, or frames of a video, have no tiles in
OneVision; of a video, two by two patches are pooled.

Where the patch does not divide the tile (384 by 14 pixels), the last pixels of each tile are not seen. A joined grid is
spread evenly over its canvas all the same, which is off by less than half a patch.
"""

from collections.abc import Iterator
from math import ceil, sqrt
from typing import Any

from transformers.image_processing_utils import select_best_resolution

from tam.families.crop import Box, square_around
from tam.families.interface import Block, Family, Processed, image_and_video_id, image_id, whole
from tam.layout import Grid


def blocks(sample: Processed) -> Iterator[Block]:
    vision = sample.config.vision_config
    side = vision.image_size // vision.patch_size
    part = side * vision.patch_size / vision.image_size
    one_vision = sample.config.model_type == "llava_onevision"
    if sample.media.video:
        frames = sample.video(ceil(side / 2), ceil(side / 2), part)
        yield from frames[:-1]
        yield Block(frames[-1].grid, end=1)
        return
    for medium, size in enumerate(sample.media.sizes):
        if one_vision and len(sample.media.sizes) > 1:
            left, top, right, bottom = square_around(size)
            box = (left, top, left + (right - left) * part, top + (bottom - top) * part)
            yield Block(Grid(medium, (0,), side, side, box), end=1)
            continue
        base = whole(sample, medium, side, side, seen=part)
        rows, columns, box = joined(sample.config, size)
        if one_vision:
            most = int(sample.config.vision_aspect_ratio.removeprefix("anyres_max_"))
            ratio = sqrt(rows * columns / (most * side**2))
            rows, columns = (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)
        if rows * columns:
            yield base
            yield Block(Grid(medium, (0,), rows, columns, box), row_end=1)
        else:  # so narrow a picture that nothing is left, or only newlines
            yield Block(base.grid, end=rows)


def joined(config: Any, size: tuple[int, int]) -> tuple[int, int, Box]:
    """Rows, columns and box of all the tiles' patches on a picture of ``size`` (width, height)."""
    tile = config.vision_config.image_size
    side = tile // config.vision_config.patch_size
    width, height = size
    down, across = select_best_resolution((height, width), config.image_grid_pinpoints)  # the canvas, in pixels
    rows, columns = down // tile * side, across // tile * side
    # Where the picture lies on the canvas; what the model takes off again, in patches, is not rounded up.
    if across / width < down / height:
        shown = across, min(ceil(height * (across / width)), down)
    else:
        shown = min(ceil(width * (down / height)), across), down
    if width / height > columns / rows:
        off = 0, (rows - int(round(height * (columns / width), 7))) // 2
    else:
        off = (columns - int(round(width * (rows / height), 7))) // 2, 0
    left, right = _span(width, across, shown[0], columns, off[0])
    top, bottom = _span(height, down, shown[1], rows, off[1])
    return rows - 2 * off[1], columns - 2 * off[0], (left, top, right, bottom)


def _span(length: int, canvas: int, shown: int, cells: int, off: int) -> tuple[float, float]:
    """Start and end in a picture's pixels of the ``cells`` of a canvas that holds it, without ``off`` at both ends."""
    start, scale, cell = (canvas - shown) // 2, length / shown, canvas / cells
    return (off * cell - start) * scale, ((cells - off) * cell - start) * scale


NEXT = Family("LLaVA-NeXT", image_id, blocks)
ONEVISION = Family("LLaVA-OneVision", image_and_video_id, blocks, video=True)
