"""Qwen2-VL and Qwen2.5-VL: a picture keeps its shape, and merge x merge patches make one vision token.

The whole picture is resized to a multiple of the token's size, so that its grid covers all of it. Qwen2.5-VL computes
in windows, but undoes their order before the language model: tokens are row-major in both.
"""

from tam.families.interface import Family
from tam.layout import Grid


def vision_ids(config) -> set[int]:
    return {config.image_token_id, config.video_token_id}


def grids(processor, outputs, media) -> tuple[Grid, ...]:
    """``image_grid_thw``: one grid a picture; ``video_grid_thw``: one grid for each temporal patch of frames."""
    kind = processor.video_processor if media.video else processor.image_processor
    shapes = outputs["video_grid_thw" if media.video else "image_grid_thw"].tolist()
    found = []
    for medium, ((width, height), (times, rows, columns)) in enumerate(zip(media.sizes, shapes, strict=True)):
        for time in range(times):
            # A video of an odd number of frames ends with its last frame twice: it is named once.
            seen = media.frames[time * kind.temporal_patch_size : (time + 1) * kind.temporal_patch_size]
            found.append(
                Grid(
                    medium=medium,
                    frames=seen if media.video else (0,),
                    rows=rows // kind.merge_size,
                    columns=columns // kind.merge_size,
                    box=(0.0, 0.0, float(width), float(height)),
                )
            )
    return tuple(found)


# The cap is what the authors' own code does; transformers is about to make it the default.
FAMILY = Family("Qwen2-VL", vision_ids, grids, options={"videos_kwargs": {"cap_pixels_per_frame": True}})
