"""What a method is given: one cached answer, and what methods share of it, made once, when it is first asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tam.errors import InputError
from tam.methods import core
from tam.methods.core import Activations, Causal
from tam.methods.plan import Plan, plan
from tam.methods.scored import Scope, Sign
from tam.protocol import FIXED, Protocol
from tam.records import Generation, Maps, Scores


@dataclass(frozen=True)
class Cached:
    """A cached answer and how its maps are wanted. Its arrays are read-only: other methods are given the same.

    Attributes:
        generation: the answer, and the logits that maps are computed from.
        protocol: which of the published code's differences are followed.
        exact: rounded as the published code rounds, in float64.
        eci_cap: the most that the scale of interference may be; None: no limit.
        scores: of the methods that need the model, by name; sign, scope: how maps are made of them (``scored``).
    """

    generation: Generation
    protocol: Protocol = FIXED
    exact: bool = False
    eci_cap: float | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    sign: Sign = "positive"
    scope: Scope = "joint"

    def __post_init__(self) -> None:
        _lock(self.generation.logits)
        for scores in self.scores.values():
            _lock(scores.image, *([] if scores.text is None else [scores.text]))

    @cached_property
    def plan(self) -> Plan:
        """Which class each token is explained as."""
        made = self.generation
        return plan(
            made.tokens.tolist(), made.layout.prompt.tolist(), made.layout.answer, made.retokenised_prompt.tolist(),
            made.retokenised_answer.tolist(), int(made.candidates.ids[0, 0]), self.protocol,
        )  # fmt: skip

    @cached_property
    def activations(self) -> Activations[np.ndarray]:
        """Rectified logits of each token's class.

        Raises:
            TamError: as ``core.activations``; InputError, too, where a class's logits are not in the cache.
        """
        made = self.generation
        try:
            columns = [made.column(cls) for cls in self.plan.classes]
        except KeyError as error:
            cure = "use protocol fixed, which asks for the classes of the words themselves"
            raise InputError("class not in the cache", where=made.id, got=error, cure=cure) from error
        scores, vision = np.take(made.logits.T, columns, axis=0), len(made.layout.vision)
        known = core.activations(
            scores[:, :vision], scores[:, vision:], self.plan.pieces, self.plan.prompt_count,
            [(grid.rows, grid.columns) for grid in made.layout.grids],
            protocol=self.protocol, exact=self.exact, where=made.id,
        )  # fmt: skip
        _lock(known.image, known.text)
        return known

    @property
    def raw(self) -> Causal[np.ndarray]:
        """With the interference of earlier tokens."""
        return core.with_interference(self.activations)

    @cached_property
    def causal(self) -> Causal[np.ndarray]:
        """Without the interference of earlier tokens."""
        causal = core.without_interference(self.activations, cap=self.eci_cap)
        _lock(causal.image, causal.removed, causal.scale)
        return causal

    @cached_property
    def eci(self) -> Maps:
        """Interference removed, nothing filtered."""
        return self.maps_of(self.causal, rank_filter=False)

    @cached_property
    def tam(self) -> Maps:
        """Interference removed, then the rank Gaussian filter: the paper's method."""
        return self.maps_of(self.causal, rank_filter=True)

    def maps_of(self, causal: Causal[np.ndarray], *, rank_filter: bool) -> Maps:
        """Normalised, filtered if ``rank_filter``: one map a token of the prompt's words, then of the answer."""
        made = core.maps_of(causal, self.activations, rank_filter=rank_filter)
        made = _one_a_token(made, self.plan.prompt_count, len(self.generation.layout.prompt))
        _lock(made.maps, made.uint8, made.relevance, made.scale)
        return made


def _lock(*arrays: np.ndarray) -> None:
    for array in arrays:
        array.flags.writeable = False


def _one_a_token(maps: Maps, made: int, prompt: int) -> Maps:
    """Where tokenising again changed how many maps the prompt has: leave out those too many, fill in empty ones."""
    if made == prompt:
        return maps
    kept, answer = min(made, prompt), len(maps.maps) - made
    empty = np.full(prompt - kept, -1)
    rows = np.concatenate([np.arange(kept), empty, np.arange(made, made + answer)])
    blank = (rows < 0)[:, None]
    return Maps(
        np.where(blank, 0, maps.maps[rows]),
        np.where(blank, 0, maps.uint8[rows]),
        np.where(blank, 0, maps.relevance[rows]),
        np.where(blank[:, 0], np.nan, maps.scale[rows]),
    )
