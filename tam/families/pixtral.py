"""Mistral3 and Pixtral: a picture keeps its shape, row after row, with a token for the break between two rows.

The tokens for breaks and for the end have ids of their own, so that they are no vision tokens. The picture is resized
to a multiple of the token's size: its grid covers all of it.
"""

from collections.abc import Iterator

from tam.families.interface import Block, Family, Processed, image_id, whole


def blocks(sample: Processed) -> Iterator[Block]:
    token = sample.processor.patch_size * sample.processor.spatial_merge_size
    for medium, (height, width) in enumerate(sample.outputs["image_sizes"].tolist()):
        yield whole(sample, medium, height // token, width // token)


MISTRAL3 = Family("Mistral3", image_id, blocks)
