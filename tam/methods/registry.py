"""The methods by name, ours and those of one's own.

A method is a function of a cached answer (``Cached``): it gives ``Maps``, or an array [token, vision] of numbers in
[0, 1], a row for each token of the user's words and then of the answer. One of one's own lies in a file or a package
and is named by both, "my_methods.py:inverse" or "package.module:inverse"; that name is a function, or a ``Method``
where a title is wanted.
"""

import difflib
import importlib
import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from tam.errors import InputError
from tam.methods import controls
from tam.methods.cached import Cached
from tam.methods.core import to_uint8
from tam.methods.filters import FILTERS, KERNELS, Filter
from tam.records import Maps

Group = Literal["control", "filter", "component", "own"]
Needs = Literal["logits"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Method:
    """One entry.

    Attributes:
        name: in the config, in files and tables.
        title: what people read.
        function: from an answer to maps.
        group: what it is for: what a method must beat, a filter after ECI, a part of the paper's ablation.
        capped: whether a cap on the scale of interference applies to it.
        needs: what it is computed from.
    """

    name: str
    title: str
    function: Callable[[Cached], Maps | np.ndarray]
    group: Group = "own"
    capped: bool = True
    needs: Needs = "logits"

    def maps(self, cached: Cached) -> Maps:
        """Map one answer.

        Raises:
            TamError: as the function; InputError: what it gave are no maps of this answer.
        """
        made = self.function(cached if self.capped else cached.uncapped)
        generation = cached.generation
        shape = generation.explained, len(generation.layout.vision)
        if isinstance(made, np.ndarray):
            if made.shape != shape or not ((made >= 0) & (made <= 1)).all():
                got = f"{made.shape}, from {made.min(initial=0):g} to {made.max(initial=0):g}"
                raise InputError(
                    f"no maps of method {self.name}", where=generation.id, got=got, expected=f"{shape} in [0, 1]"
                )
            return Maps.plain(made, len(generation.logits) - shape[1])
        return made


def _raw(cached: Cached, *, rank_filter: bool) -> Maps:
    return cached.maps_of(cached.raw, rank_filter=rank_filter)


def _filtered(cached: Cached, *, smooth: Filter, kernel: int) -> Maps:
    """Interference removed, then ``smooth`` instead of the rank Gaussian filter of 3x3, in float32."""
    maps = cached.eci
    parts = [
        np.stack([smooth(map_, kernel, cached.protocol) for map_ in grid]).reshape(len(grid), -1)
        for grid in cached.generation.layout.split(maps.maps.astype(np.float32))
    ]
    smoothed = np.concatenate(parts, 1).clip(0, 1)
    return replace(maps, maps=smoothed, uint8=to_uint8(smoothed))


def _filters() -> list[Method]:
    return [
        Method(
            f"{name}-{kernel}", f"{title} {kernel}x{kernel}",
            _tam if (name, kernel) == ("rgf", 3) else partial(_filtered, smooth=smooth, kernel=kernel), "filter",
        )
        for name, (title, smooth) in FILTERS.items()
        for kernel in KERNELS
    ]  # fmt: skip


def _eci(cached: Cached) -> Maps:
    return cached.eci


def _tam(cached: Cached) -> Maps:
    return cached.tam


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("random", "Random map", controls.random, "control", capped=False),
        Method("centre", "Centre Gaussian", controls.centre, "control", capped=False),
        Method("permuted", "TAM of another class", controls.permuted, "control"),
        *_filters(),
        Method("activation", "CAM (raw activation)", partial(_raw, rank_filter=False), "component", capped=False),
        Method("eci", "+ ECI", _eci, "component"),
        Method("rgf", "+ RGF", partial(_raw, rank_filter=True), "component", capped=False),
        Method("tam", "TAM", _tam, "component"),
    )
}


def find(name: str) -> Method:
    """A method of ours by its name, or one's own by file or package.

    Raises:
        InputError: there is none of this name; says which there are.
    """
    if name in METHODS:
        return METHODS[name]
    place, colon, attribute = name.rpartition(":")
    if not colon:
        near = difflib.get_close_matches(name, METHODS, 1)
        expected = f"did you mean {near[0]}?" if near else " or ".join([*METHODS, "FILE.py:FUNCTION"])
        raise InputError("unknown method", got=repr(name), expected=expected)
    found = getattr(_module(place), attribute, None)
    if not isinstance(found, Method) and not callable(found):
        raise InputError(
            "no such method", where=place, got=repr(attribute), expected="a function, or a tam.methods Method"
        )
    method = found if isinstance(found, Method) else Method(attribute, attribute, found)
    if method.name in METHODS or not _NAME.fullmatch(method.name):
        raise InputError(
            "a name that a method of one's own cannot have",
            where=name,
            got=repr(method.name),
            expected="another than ours, of letters and digits",
        )
    return method


def find_all(names: Sequence[str]) -> list[Method]:
    """``find`` for each; InputError: two of one name."""
    methods = [find(name) for name in names]
    for method in methods:
        if sum(method.name == other.name for other in methods) > 1:
            raise InputError("two methods of one name", got=repr(method.name), cure="give one of them another name")
    return methods


def _module(place: str):
    """The module of a file or a package; InputError: there is none, or it cannot be imported."""
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = Path(place)
        if not path.is_file():
            raise InputError("no such file of methods", where=place)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except InputError:
        raise
    except Exception as error:  # whatever somebody's own code raises
        raise InputError("methods cannot be imported", where=place, got=f"{type(error).__name__}: {error}") from error
    return module
