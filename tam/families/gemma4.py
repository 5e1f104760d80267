"""Gemma 4: a picture keeps its shape, as large as a budget of tokens allows, and pool x pool patches make one token.

The processor writes where each patch lies (x, y), -1 where there is none. In Gemma 4 Unified, whose patches enter the
language model without a vision tower, they are joined before that: a place is a token's.
"""

from collections.abc import Iterator

from tam.families.interface import Block, Family, Processed, image_and_video_id, whole


def blocks(sample: Processed) -> Iterator[Block]:
    """``image_position_ids``, ``video_position_ids``: int [picture or frame, patch, (x, y)]."""
    media = sample.media
    kind = sample.processor.video_processor if media.video else sample.processor.image_processor
    pool = 1 if sample.config.model_type == "gemma4_unified" else kind.pooling_kernel_size
    places = sample.outputs["video_position_ids" if media.video else "image_position_ids"]
    for number, (x, y) in enumerate((places.amax(1) + 1).tolist()):
        seen = (media.frames[number],) if media.video else (0,)
        yield whole(sample, 0 if media.video else number, y // pool, x // pool, seen)


FAMILY = Family("Gemma 4", image_and_video_id, blocks, video=True)
