"""The methods by name: each maps every token of a cached sample, without the model.

A method is a function of a generation, a protocol and ``exact``. To add one, write that function and enter it in
``METHODS``; the rows of its maps are the tokens of the prompt's words, then those of the answer. The paper's method is
here, the controls are in ``controls.py``, the filters of the comparison in ``filters.py``.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from tam.errors import InputError
from tam.methods import controls
from tam.methods.core import to_uint8, token_activation_maps
from tam.methods.filters import FILTERS, KERNELS, Filter
from tam.methods.plan import Plan, plan
from tam.protocol import Protocol
from tam.records import Generation, Maps

Method = Callable[[Generation, Protocol, bool], Maps]


def map_tokens(
    generation: Generation, protocol: Protocol, exact: bool = False, *, interference: bool, rank_filter: bool,
    eci_cap: float | None = None,
) -> Maps:  # fmt: skip
    """The paper's method, or what is left of it without one of its parts.

    Args:
        eci_cap: the most that the scale of interference may be; None: no limit.

    Raises:
        TamError: as ``token_activation_maps``; InputError, too, where a class's logits are not in the cache.
    """
    layout = generation.layout
    steps = plan(
        generation.tokens,
        layout.prompt,
        layout.answer,
        generation.retokenised_prompt,
        generation.retokenised_answer,
        int(generation.candidates.ids[0, 0]),
        protocol,
    )
    scores = np.take(generation.logits.T, _columns(generation, steps), axis=0)
    maps = token_activation_maps(
        scores[:, : len(layout.vision)],
        scores[:, len(layout.vision) :],
        steps.pieces,
        steps.prompt_count,
        [(grid.rows, grid.columns) for grid in layout.grids],
        protocol=protocol,
        interference=interference,
        eci_cap=eci_cap,
        rank_filter=rank_filter,
        exact=exact,
        where=generation.id,
    )
    return _one_a_token(maps, steps.prompt_count, len(layout.prompt))


def _columns(generation: Generation, steps: Plan) -> list[int]:
    try:
        return [generation.column(cls) for cls in steps.classes]
    except KeyError as error:
        cure = "use protocol fixed, which asks for the classes of the words themselves"
        raise InputError("class not in the cache", where=generation.id, got=error, cure=cure) from error


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


def permuted(generation: Generation, protocol: Protocol, exact: bool = False, *, eci_cap: float | None = None) -> Maps:
    """TAM of another class of the same answer, see ``controls.other_classes``."""
    return METHODS["tam"](controls.other_classes(generation), protocol, exact, eci_cap=eci_cap)


def filtered(
    generation: Generation, protocol: Protocol, exact: bool = False, *, smooth: Filter, kernel: int,
    eci_cap: float | None = None,
) -> Maps:  # fmt: skip
    """Interference removed, then ``smooth`` instead of the rank Gaussian filter of 3x3, in float32."""
    maps = METHODS["eci"](generation, protocol, exact, eci_cap=eci_cap)
    parts = [
        np.stack([smooth(map_, kernel, protocol) for map_ in grid]).reshape(len(grid), -1)
        for grid in generation.layout.split(maps.maps.astype(np.float32))
    ]
    smoothed = np.concatenate(parts, 1).clip(0, 1)
    return replace(maps, maps=smoothed, uint8=to_uint8(smoothed))


METHODS: dict[str, Method] = {
    "random": lambda generation, protocol, exact: controls.random(generation),
    "centre": lambda generation, protocol, exact: controls.centre(generation),
    "permuted": permuted,
    "activation": partial(map_tokens, interference=False, rank_filter=False),
    "eci": partial(map_tokens, interference=True, rank_filter=False),
    "rgf": partial(map_tokens, interference=False, rank_filter=True),
    "tam": partial(map_tokens, interference=True, rank_filter=True),
    **{
        f"{name}-{kernel}": partial(filtered, smooth=smooth, kernel=kernel)
        for name, (_, smooth) in FILTERS.items()
        for kernel in KERNELS
    },
}
METHODS["rgf-3"] = METHODS["tam"]

CAPPED = METHODS.keys() - {"random", "centre", "activation", "rgf"}
"""Those that subtract interference, whose scale can be capped."""

TITLES = {
    "random": "Random map",
    "centre": "Centre Gaussian",
    "permuted": "TAM of another class",
    **{
        f"{name}-{kernel}": f"{filter_title} {kernel}x{kernel}"
        for name, (filter_title, _) in FILTERS.items()
        for kernel in KERNELS
    },
    "activation": "CAM (raw activation)",
    "eci": "+ ECI",
    "rgf": "+ RGF",
    "tam": "TAM",
}
"""What people read, in the order of the tables: controls, filters after ECI, the paper's ablation. Another method goes
by its own name."""


def title(name: str) -> str:
    """What people read."""
    return TITLES.get(name, name)


def rank(name: str) -> tuple[int, str]:
    """Sorts methods as ``TITLES`` does, others behind them."""
    order = list(TITLES)
    return (order.index(name) if name in order else len(order), name)


def method(name: str, eci_cap: float | None = None) -> Method:
    """Look a method up by name; InputError lists the known ones.

    Args:
        eci_cap: as in ``map_tokens``, for those in ``CAPPED``; the others stay as they are.
    """
    if name not in METHODS:
        raise InputError("unknown method", got=repr(name), expected=" or ".join(METHODS))
    return METHODS[name] if eci_cap is None or name not in CAPPED else partial(METHODS[name], eci_cap=eci_cap)
