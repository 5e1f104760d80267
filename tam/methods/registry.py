"""The methods by name: ours are in ``METHODS``; one of one's own is named by its place, see ``own.py``."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from tam.errors import InputError
from tam.methods import controls, own
from tam.methods.cached import Cached
from tam.methods.core import to_uint8
from tam.methods.filters import FILTERS, KERNELS, Filter
from tam.methods.method import Function, Method
from tam.methods.rivals import RIVALS
from tam.methods.scored import maps_of
from tam.records import Maps

ATTRIBUTE = "run `tam attribute` with it, and give its file as --scores"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")  # of a part of an HDF5 path, a column, a file


def activation(cached: Cached) -> Maps:
    """The rectified logits of each token's class: CAM."""
    return cached.maps_of(cached.raw, rank_filter=False)


def eci(cached: Cached) -> Maps:
    """The interference of earlier tokens removed."""
    return cached.eci


def rgf(cached: Cached) -> Maps:
    """The rank Gaussian filter alone."""
    return cached.maps_of(cached.raw, rank_filter=True)


def tam(cached: Cached) -> Maps:
    """The paper's method: both."""
    return cached.tam


def smoothed(cached: Cached, *, smooth: Filter, kernel: int) -> Maps:
    """Interference removed, then ``smooth`` instead of the rank Gaussian filter of 3x3, in float32."""
    maps = cached.eci
    parts = [
        np.stack([smooth(map_, kernel, cached.protocol) for map_ in grid]).reshape(len(grid), -1)
        for grid in cached.generation.layout.split(maps.maps.astype(np.float32))
    ]
    filtered = np.concatenate(parts, 1).clip(0, 1)
    return replace(maps, maps=filtered, uint8=to_uint8(filtered))


def rival(cached: Cached, *, name: str) -> Maps:
    """Of the scores that ``tam attribute`` computed; InputError: there are none."""
    if name not in cached.scores:
        raise InputError("no scores of this method", where=cached.generation.id, got=repr(name), cure=ATTRIBUTE)
    return maps_of(cached.scores[name], cached.sign, cached.scope)


def _filter(name: str, kernel: int) -> Method:
    title, smooth = FILTERS[name]
    paper = (name, kernel) == ("rgf", 3)
    function = tam if paper else partial(smoothed, smooth=smooth, kernel=kernel)
    return Method(f"{name}-{kernel}", f"{title} {kernel}x{kernel}", function, "filter")


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("random", "Random map", controls.random, "control"),
        Method("centre", "Centre Gaussian", controls.centre, "control"),
        Method("permuted", "TAM of another class", controls.permuted, "control"),
        *(_filter(name, kernel) for name in FILTERS for kernel in KERNELS),
        *(
            Method(known.name, known.title, partial(rival, name=known.name), "rival", "scores")
            for known in RIVALS.values()
        ),
        Method("activation", "CAM (raw activation)", activation, "component"),
        Method("eci", "+ ECI", eci, "component"),
        Method("rgf", "+ RGF", rgf, "component"),
        Method("tam", "TAM", tam, "component"),
    )
}


def find(wanted: str | Function | Method) -> Method:
    """A method of ours by its name, one of one's own by its place, or what is given: a function, a ``Method``.

    Raises:
        InputError: there is none of this name (says which there are), or its name is not one that a method can have.
    """
    given = repr(wanted)
    if isinstance(wanted, str):
        if wanted in METHODS:
            return METHODS[wanted]
        place, colon, name = wanted.rpartition(":")
        if not colon:
            near = [f", did you mean {name!r}?" for name in difflib.get_close_matches(wanted, METHODS, 1)]
            expected = None if near else " or ".join([*METHODS, "FILE.py:FUNCTION"])
            raise InputError("unknown method", got="".join([given, *near]), expected=expected)
        wanted = own.load(place, name)
    if not isinstance(wanted, Method):
        name = getattr(wanted, "__name__", "")
        wanted = Method(name, name, wanted)
    if wanted is not METHODS.get(wanted.name) and (wanted.name in METHODS or not _NAME.fullmatch(wanted.name)):
        raise InputError(
            "a name that a method of one's own cannot have", where=given, got=repr(wanted.name),
            expected="another than ours, of letters, digits and . _ + -", cure="give tam.Method(name, title, function)",
        )  # fmt: skip
    return wanted


def find_all(wanted: Sequence[str | Function | Method]) -> list[Method]:
    """``find`` for each; InputError: two of one name."""
    methods = [find(one) for one in wanted]
    names = [method.name for method in methods]
    if double := [name for name in names if names.count(name) > 1]:
        raise InputError("two methods of one name", got=repr(double[0]), cure="give one of them another name")
    return methods
