"""PaliGemma: the whole picture squashed into a square. It has no chat: the words follow the pictures as they are.

All of the prompt sees all of it; the answer has a token type of its own, because it only sees what is before.
"""

from collections.abc import Iterator
from math import isqrt
from typing import Any

from tam.families.interface import Block, Family, Processed, image_id, whole


def blocks(sample: Processed) -> Iterator[Block]:
    side = isqrt(sample.processor.image_seq_length)
    for medium in range(len(sample.media.sizes)):
        yield whole(sample, medium, side, side)


def template(processor: Any, pictures: int, words: str) -> str:
    return processor.image_token * pictures + words


FAMILY = Family("PaliGemma", image_id, blocks, template=template, appended="\n", answer_type=1)
