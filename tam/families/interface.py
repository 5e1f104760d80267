"""What a model family has to say for itself. Everything else is the same for all of them: see ``prompt.py``."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tam.layout import Grid
from tam.media import Media


@dataclass(frozen=True)
class Processed:
    """What a family may look at to say where its vision tokens lie.

    Attributes:
        config: the checkpoint's.
        processor, outputs: the processor and what it made of this sample.
        media: what the sample shows.
        written: for each picture, or for the video, the text that the processor wrote in its place.
    """

    config: Any
    processor: Any
    outputs: Mapping[str, Any]
    media: Media
    written: tuple[str, ...]

    def video(self, rows: int, columns: int, seen: float = 1.0) -> list["Block"]:
        """One block for each frame, all over it; ``seen`` as in ``whole``."""
        return [whole(self, 0, rows, columns, (frame,), seen) for frame in self.media.frames]


@dataclass(frozen=True)
class Block:
    """The tokens of one grid as they stand in the sequence: row after row.

    Attributes:
        row_end: how many tokens with a vision token's id follow each row and show nothing (a learned newline).
        end: how many follow the last row.
    """

    grid: Grid
    row_end: int = 0
    end: int = 0


@dataclass(frozen=True)
class Family:
    """One kind of checkpoint.

    Attributes:
        name: for people.
        vision_ids: config -> the token ids that stand for vision tokens.
        blocks: where the tokens with these ids lie, in the order of the sequence. All of them must be accounted for.
        video: whether it takes videos.
        template: (processor, number of pictures, words) -> the text for the processor, where there is no chat template.
        appended: what the processor itself writes after that text.
        options: keyword arguments for every call of the processor.
        answer_type: the token type of an answer's tokens, where they are handed over together with the prompt.
        proven: whether its tokens are known to lie there; where not, each model has to show it first.
        packed: inputs that hold all that a sample shows one behind the other in their last dimension; the first is 1.
        counting: inputs that number the patches of another input, [picture, patch, ...], from 0; the other one's name.
        one_tile: how it shows a picture as one tile, where it can leave the others out.
        encoded: (model, inputs of a batch) -> inputs that the model takes, where it cannot take the processor's.
        extra: of this package, which brings what the library needs besides for this kind.
    """

    name: str
    vision_ids: Callable[[Any], set[int]]
    blocks: Callable[[Processed], Iterable[Block]]
    video: bool = False
    template: Callable[[Any, int, str], str] | None = None
    appended: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    answer_type: int = 0
    proven: bool = True
    packed: tuple[str, ...] = ()
    counting: dict[str, str] = field(default_factory=dict)
    one_tile: "Family | None" = None
    encoded: Callable[[Any, dict[str, Any]], dict[str, Any]] | None = None
    extra: str | None = None


def image_id(config: Any) -> set[int]:
    return {config.image_token_id}


def image_and_video_id(config: Any) -> set[int]:
    return {config.image_token_id, config.video_token_id}


def whole(
    sample: Processed, medium: int, rows: int, columns: int, frames: tuple[int, ...] = (0,), seen: float = 1.0
) -> Block:
    """A grid over all of a medium, in whatever aspect the model sees it.

    Args:
        sample: what the processor made.
        medium: the place of the picture or video in the sample.
        rows: of vision tokens.
        columns: of vision tokens.
        frames: the source frames that the grid sees.
        seen: the part of each side that patches cover, where the model's picture is no multiple of its patch.
    """
    width, height = sample.media.sizes[medium]
    return Block(Grid(medium, frames, rows, columns, (0.0, 0.0, width * seen, height * seen)))


def tiles(
    sample: Processed, medium: int, down: int, across: int, rows: int, columns: int, frames: tuple[int, ...] = (0,)
) -> list[Block]:
    """``down`` x ``across`` equal tiles of the ``medium`` of ``sample``, row after row, each of ``rows`` x ``columns``
    tokens; all of them see the ``frames``."""
    width, height = sample.media.sizes[medium]
    x, y = width / across, height / down
    boxes = [(j * x, i * y, (j + 1) * x, (i + 1) * y) for i in range(down) for j in range(across)]
    return [Block(Grid(medium, frames, rows, columns, box)) for box in boxes]
