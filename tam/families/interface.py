"""What a model family has to say for itself. Everything else is the same for all of them: see ``prompt.py``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tam.layout import Grid
from tam.media import Media


@dataclass(frozen=True)
class Family:
    """One kind of checkpoint.

    Attributes:
        name: for people.
        vision_ids: config -> the token ids that stand for vision tokens.
        grids: (processor, its outputs, media) -> the grids, in the order of the vision tokens in the sequence.
            They must have as many cells as there are vision tokens.
        options: keyword arguments for every call of the processor.
    """

    name: str
    vision_ids: Callable[[Any], set[int]]
    grids: Callable[[Any, Mapping[str, Any], Media], tuple[Grid, ...]]
    options: dict[str, Any] = field(default_factory=dict)
