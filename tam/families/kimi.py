"""Kimi K2.5: a picture keeps its shape and is padded on the right and below, and merge x merge patches make one token.

Boxes can reach beyond the picture, where it was padded. Some frames of a video after the other share a grid.
"""

from collections.abc import Iterator
from typing import Any

from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.kimi_k25.image_processing_kimi_k25 import navit_resize

from tam.families.interface import Block, Family, Processed, image_and_video_id
from tam.layout import Grid

PIXELS = {"pixel_values": ("image", "image_grid_thw"), "pixel_values_videos": ("video", "video_grid_thw")}
"""Input -> what it shows, and the input of its shapes."""


def blocks(sample: Processed) -> Iterator[Block]:
    """``image_grid_thw``, ``video_grid_thw``: patches of each picture, or of each few frames."""
    media = sample.media
    kind = sample.processor.video_processor if media.video else sample.processor.image_processor
    shapes = sample.outputs["video_grid_thw" if media.video else "image_grid_thw"].tolist()
    token, start = kind.patch_size * kind.merge_size, 0
    for number, (frames, rows, columns) in enumerate(shapes):
        medium, seen = (0, media.frames[start : start + frames]) if media.video else (number, (0,))
        start += frames
        width, height = media.sizes[medium]
        (down, across), _ = navit_resize(
            height, width, kind.patch_size, kind.merge_size, kind.max_patches, kind.size.max_height
        )
        rows, columns = rows // kind.merge_size, columns // kind.merge_size
        box = (0.0, 0.0, columns * token * width / across, rows * token * height / down)
        yield Block(Grid(medium, tuple(dict.fromkeys(seen)), rows, columns, box))


def encoded(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Pixels in the type of the tower's weights, which the library does not convert, and a video behind the tower.

    The library (5.23) pools frames that share a grid, then counts their tokens as if it had not, and cannot pool fewer
    of them in the same pass. So each few frames go through the tower alone, and so do pictures that are in their batch.
    """
    tower, projector = model.model.vision_tower, model.model.mm_projector
    made = {name: value.to(tower.dtype) if name in PIXELS else value for name, value in inputs.items()}
    if "pixel_values_videos" not in made:
        return made
    found = {}
    for pixels, (kind, shape) in PIXELS.items():
        if pixels in made:
            shapes = made.pop(shape)
            few = zip(made.pop(pixels).split(shapes.prod(-1).tolist()), shapes, strict=True)
            tokens = [projector(tower(part, grid_thw=its[None]).pooler_output)[:, 0] for part, its in few]
            found[kind] = BaseModelOutputWithPooling(pooler_output=tokens)
    return made | {"mm_encoder_outputs": found}


FAMILY = Family("Kimi K2.5", image_and_video_id, blocks, video=True, encoded=encoded)
