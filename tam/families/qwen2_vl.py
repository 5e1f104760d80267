"""Qwen2-VL to Qwen3-VL, GLM-4V, ERNIE: a picture keeps its shape, and merge x merge patches make one vision token.

The whole picture is resized to a multiple of the token's size, so that its grid covers all of it. Qwen2.5-VL computes
in windows, but undoes their order before the language model: tokens are row-major in all. Qwen3-VL and GLM-4V write
the time before each temporal patch of a video; the grids are the same.
"""

from collections.abc import Iterator

from tam.families.interface import Block, Family, Processed, image_and_video_id, image_id, whole


def blocks(sample: Processed) -> Iterator[Block]:
    """``image_grid_thw``: one grid a picture; ``video_grid_thw``: one grid for each temporal patch of frames."""
    media = sample.media
    kind = sample.processor.video_processor if media.video else sample.processor.image_processor
    shapes = sample.outputs["video_grid_thw" if media.video else "image_grid_thw"].tolist()
    # ERNIE's grid of a video counts frames, not yet those that make a temporal patch.
    joined = kind.temporal_patch_size if media.video and sample.config.model_type == "ernie4_5_vl_moe" else 1
    for medium, (times, rows, columns) in enumerate(shapes):
        for time in range(times // joined):
            # A video of an odd number of frames ends with its last frame twice, if not sampled so: it is named once.
            seen = media.frames[time * kind.temporal_patch_size : (time + 1) * kind.temporal_patch_size]
            seen, shape = tuple(dict.fromkeys(seen)), (rows // kind.merge_size, columns // kind.merge_size)
            yield whole(sample, medium, *shape, seen if media.video else (0,))


# The cap is what the authors' own code does; transformers is about to make it the default.
CAPPED = {"videos_kwargs": {"cap_pixels_per_frame": True}}

QWEN2 = Family("Qwen2-VL", image_and_video_id, blocks, video=True, options=CAPPED)
QWEN3 = Family("Qwen3-VL", image_and_video_id, blocks, video=True, options=CAPPED)
ERNIE = Family("ERNIE 4.5 VL", image_and_video_id, blocks, video=True)
PADDLE = Family("PaddleOCR-VL", image_id, blocks)
GLM4V = Family("GLM-4V", image_and_video_id, blocks, video=True)
