"""Molmo 2: the squashed picture, then crops of it at a higher resolution, joined to one grid.

Crops overlap; where they do, each patch is read from one of them alone. The processor hands over which patches make
each token, -1 for one that there is not: where patches end within a token, a grid reaches beyond the picture. Tokens at
the end of rows have an id of their own, so that they are no vision tokens. A frame of a video is squashed, and has no
crops. What enters the language model is the sum of a picture's features and the embedding of the token's id.
"""

from collections.abc import Iterator

import numpy as np

from tam.families.interface import Block, Family, Processed, image_id
from tam.layout import Grid


def blocks(sample: Processed) -> Iterator[Block]:
    """``image_grids``: rows and columns of each squashed picture, and of its crops; ``video_grids``: frames, rows and
    columns. ``image_token_pooling``, ``video_token_pooling``: int [token, patch], which patches it is made of."""
    media, processor = sample.media, sample.processor
    kind = processor.video_processor if media.video else processor.image_processor
    patches = sample.outputs["video_token_pooling" if media.video else "image_token_pooling"].numpy()
    if media.video:
        ((_, rows, columns),) = sample.outputs["video_grids"].tolist()
        shapes = [(0, (frame,), rows, columns) for frame in media.frames]
    else:
        grids = sample.outputs["image_grids"].reshape(-1, 2, 2).tolist()
        shapes = [(medium, (0,), *shape) for medium, both in enumerate(grids) for shape in both]
    for medium, frames, rows, columns in shapes:
        its, patches = np.split(patches, [rows * columns])
        there = (its >= 0).reshape(rows, columns, *kind.pooling_size)
        width, height = media.sizes[medium]
        left, right = _span(there.any((0, 2)).ravel(), width)
        top, bottom = _span(there.any((1, 3)).ravel(), height)
        yield Block(Grid(medium, frames, rows, columns, (left, top, right, bottom)))


def _span(there: np.ndarray, length: int) -> tuple[float, float]:
    """Start and end in a picture's pixels of patches, bool [patch], of which those that are there fill its side."""
    patch = length / int(there.sum())
    start = patch * -int(there.argmax())
    return start, start + patch * len(there)


FAMILY = Family(
    "Molmo 2", image_id, blocks, video=True,
    counting={"image_token_pooling": "pixel_values", "video_token_pooling": "pixel_values_videos"},
)  # fmt: skip
