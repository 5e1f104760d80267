"""What a model is asked, to be checked: a few words about noise of several shapes; and what it answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from tam.generation.kept import generation_of
from tam.manifest import Sample
from tam.media import Media
from tam.model.decoding import Answer, answer_batch
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared, prepare
from tam.records import Generation

WORDS, LIMIT = "What is in the image?", 6
BLOCK = 4  # pixels


def picture(width: int, height: int, seed: int = 0, block: int = BLOCK) -> Image.Image:
    """Blocks of noise: resizing leaves something of them."""
    shape = height // block + 1, width // block + 1, 3
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).resize((width, height))


def pictures(*sizes: tuple[int, int], block: int = BLOCK) -> Media:
    shown = tuple(picture(*size, seed, block) for seed, size in enumerate(sizes))
    return Media(False, shown, (0,) * len(sizes))


def film(size: tuple[int, int], block: int = BLOCK) -> Media:
    return Media(True, tuple(picture(*size, seed, block) for seed in range(3)), (0, 5, 10))


def inputs(scale: int = 1) -> dict[str, tuple[Media, Media]]:
    """Two samples of different sizes each, one wide and one tall, as many times larger as ``scale`` says."""

    def sized(*sizes: tuple[int, int]) -> list[tuple[int, int]]:
        return [(width * scale, height * scale) for width, height in sizes]

    def shown(*sizes: tuple[int, int]) -> Media:
        return pictures(*sized(*sizes), block=BLOCK * scale)

    films = [film(size, BLOCK * scale) for size in sized((84, 56), (60, 120))]
    return {
        "one image": (shown((168, 112)), shown((90, 211))),
        "several images": (shown((168, 112), (60, 90)), shown((50, 60), (131, 300), (56, 56))),
        "video": (films[0], films[1]),
    }


@dataclass(frozen=True)
class Asked:
    """A model, and two samples that it was asked about.

    Attributes:
        tolerance: how far apart the logits of two runs, and their maps, may lie.
        enough: the part of painted cells whose own token must move most.
    """

    loaded: Loaded
    media: tuple[Media, Media]
    tolerance: float
    enough: float = 1.0

    @cached_property
    def prepared(self) -> list[Prepared]:
        return [prepare(self.loaded.prompter, media, WORDS) for media in self.media]

    @cached_property
    def alone(self) -> list[Generation]:
        """What was answered to each sample by itself."""
        return [self.kept(one, answer_batch(self.loaded, [one], LIMIT)[0]) for one in self.prepared]

    def kept(self, prepared: Prepared, answer: Answer) -> Generation:
        return generation_of(self.loaded, Sample("s", [], WORDS), prepared, answer)

    def all_kept(self, answers: Sequence[Answer]) -> list[Generation]:
        return [self.kept(one, answer) for one, answer in zip(self.prepared, answers, strict=True)]


INPUTS: Mapping[str, tuple[Media, Media]] = inputs()
