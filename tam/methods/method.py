"""What a method is: a function from a cached answer to maps, its name and its title."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from tam.errors import InputError, TamError
from tam.methods.arrays import to_numpy
from tam.methods.cached import Cached
from tam.records import Generation, Maps

if TYPE_CHECKING:
    import torch

Function = Callable[[Cached], "Maps | np.ndarray | torch.Tensor"]
"""From an answer to an array [token, vision] of numbers in [0, 1], or to ``Maps``; a row for each token of the user's
words and then of the answer."""

Group = Literal["control", "filter", "component", "rival", "own"]
Needs = Literal["logits", "scores"]


@dataclass(frozen=True)
class Method:
    """A method by which tokens are explained.

    Attributes:
        name: in files and tables.
        title: what people read.
        function: see ``Function``.
        group: what it is for: what a method must beat, a filter after ECI, a part of the paper's ablation, what the
            paper compares with, one's own.
        needs: what it works on: the cache's logits alone, or scores, which ``tam attribute`` computes with the model.
    """

    name: str
    title: str
    function: Function
    group: Group = "own"
    needs: Needs = "logits"

    def maps(self, cached: Cached) -> Maps:
        """Map one answer.

        Raises:
            TamError: as the function; InputError: it raised anything else, or gave no maps of this answer.
        """
        try:
            made = self.function(cached)
            made = made if isinstance(made, Maps) else to_numpy(made)
        except TamError:
            raise
        except Exception as error:
            raise InputError(f"method {self.name} raised", where=cached.generation.id, got=_said(error)) from error
        return self._checked(made, cached.generation)

    def _checked(self, made: Maps | np.ndarray, generation: Generation) -> Maps:
        vision = len(generation.layout.vision)
        shape, rows = (generation.explained, vision), len(generation.logits) - vision
        maps = made.maps if isinstance(made, Maps) else made
        numbers = maps.dtype.kind in "bfiu"
        if not numbers or maps.shape != shape or not ((maps >= 0) & (maps <= 1)).all():
            span = f", from {maps.min():g} to {maps.max():g}" if numbers and maps.size else ""
            raise InputError(
                f"method {self.name} gave no maps", where=generation.id, got=f"{maps.dtype} {maps.shape}{span}",
                expected=f"{shape} in [0, 1]",
            )  # fmt: skip
        return made if isinstance(made, Maps) else Maps.plain(made, rows)


def _said(error: Exception) -> str:
    """What a function raised, and at which of its lines."""
    _, *inside = traceback.extract_tb(error.__traceback__)
    place = f" (line {inside[0].lineno} of {Path(inside[0].filename).name})" if inside else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
