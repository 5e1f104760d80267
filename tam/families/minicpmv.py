"""MiniCPM-V 4.6 and 4.7: the whole picture, then slices of it at a higher resolution, row after row.

All are resized to a multiple of the token's size, so that their grids cover all of them. A small picture is only shown
as a whole. Which slices there are is read from the text, which has a line for each row of them.
"""

from collections.abc import Iterator

from tam.errors import LayoutError
from tam.families.interface import Block, Family, Processed, image_and_video_id, tiles, whole


def blocks(sample: Processed) -> Iterator[Block]:
    """``target_sizes``: rows and columns of patches of each picture and slice, of which 4 x 4 or 2 x 2 make a token."""
    media, processor = sample.media, sample.processor
    part = processor.video_processor if media.video else processor.image_processor
    if media.video and part.stack_frames > 1:
        raise LayoutError("several frames in one", got=part.stack_frames, expected="stack_frames: 1")
    token = 2 if part.downsample_mode == "4x" else 4
    shapes = iter((sample.outputs["target_sizes_videos" if media.video else "target_sizes"] // token).tolist())
    shown = [text for written in sample.written for text in written.split(processor.image_start_token)[1:]]
    for number, text in enumerate(shown):
        medium, frames = (0, (media.frames[number],)) if media.video else (number, (0,))
        rows, columns = next(shapes)
        yield whole(sample, medium, rows, columns, frames)
        slices = [row.count(processor.slice_start_token) for row in text.split("\n")]
        if slices[0]:
            (rows, columns), *_ = (next(shapes) for _ in range(sum(slices)))  # equal parts of one picture
            yield from tiles(sample, medium, len(slices), slices[0], rows, columns, frames)


FAMILY = Family("MiniCPM-V 4.6", image_and_video_id, blocks, video=True, packed=("pixel_values", "pixel_values_videos"))
