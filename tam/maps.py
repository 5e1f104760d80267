"""The maps file: one HDF5 file a shard with the maps of all its methods; ``docs/reference/maps.md`` describes it.

Its digest is checked before HDF5 reads a byte of it (``system/seal.py``).
"""

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tam.errors import InputError
from tam.records import FAILED, OK, TRUNCATED, Maps, SampleMaps, unexplained
from tam.system import hdf5

KIND, VERSION = "maps", 2
CURE = "run `tam maps` again"
ARRAYS = {
    name: np.dtype(dtype)
    for name, dtype in {"maps": np.float16, "uint8": np.uint8, "relevance": np.float32, "scale": np.float64}.items()
}
EXPLAINED = "explained"  # uint8; only where some token is not
ONE, MINUS_ZERO = 0x3C00, 0x8000  # in float16; 0 to 1 are the bits from 0 to those of 1
PACKED = {"uint8", "relevance"}  # half of a float16 map is noise: packing it takes longest, and saves a sixth


@dataclass(frozen=True)
class FromScores:
    """How maps were made of scores.

    Attributes:
        methods: whose maps were. sign, scope: as in ``methods.scored``.
    """

    methods: tuple[str, ...]
    sign: str
    scope: str


@dataclass(frozen=True)
class MapsHeader:
    """How the maps of a file were made.

    Attributes:
        fingerprint: of the generation that they explain. samples: how many it has.
        methods: name -> title, in the order of the config.
        protocol: its name.
        exact: rounded as the published code rounds, in float64.
        eci_cap: the most that the scale of interference might be; None: no limit.
        scores: of the methods whose maps were made of scores; None: there is none.
    """

    fingerprint: str
    samples: int
    methods: dict[str, str]
    protocol: str
    exact: bool
    eci_cap: float | None
    scores: FromScores | None = None


class MapsWriter:
    """A maps file under way; ``hdf5.written`` makes it appear whole."""

    def __init__(self, file: hdf5.NewFile, header: MapsHeader):
        self._file = file
        about = {"fingerprint": header.fingerprint, "samples": header.samples, "methods": json.dumps(header.methods)}
        about |= {"protocol": header.protocol, "exact": header.exact}
        file.attrs.update({"format": f"tam-{KIND}", "version": VERSION} | about)
        if header.eci_cap is not None:
            file.attrs["eci_cap"] = header.eci_cap
        if header.scores is not None:
            file.attrs["scores"] = json.dumps(asdict(header.scores))

    def add(self, row: int, id: str, status: str, maps: Mapping[str, Maps | str]) -> None:
        """One sample.

        Args:
            status: of the answer. maps: of each method, or why there are none; none at all for a failed answer.
        """
        group = self._file.create_group(f"{row:08d}")
        statuses = {name: made if isinstance(made, str) else status for name, made in maps.items()}
        group["meta"] = json.dumps({"id": id, "status": status, "methods": statuses})
        if there := [made for made in maps.values() if isinstance(made, Maps)]:
            for array, dtype in ARRAYS.items():
                hdf5.store_stack(group, array, [getattr(made, array).astype(dtype) for made in there], array in PACKED)
            if any(map(unexplained, there)):
                explained = [np.ones(len(made.maps)) if made.explained is None else made.explained for made in there]
                hdf5.store_stack(group, EXPLAINED, [one.astype(np.uint8) for one in explained], packed=False)
        self._file.check()


def read_maps_header(path: Path) -> MapsHeader:
    """How the maps of the file ``path`` were made; SchemaError: not a maps file, of an unknown version, or damaged."""
    with hdf5.opened(path, KIND, VERSION, "maps", sealed=True) as file:
        return _header(file, path)


def read_maps(
    path: Path, methods: Sequence[str] | None = None, rows: Container[int] | None = None
) -> Iterator[dict[str, SampleMaps]]:
    """Read a maps file, one sample at a time, in the manifest's order: method -> its maps.

    Args:
        path: what ``tam maps`` wrote.
        methods: only these, in this order; None: all.
        rows: only the samples in these rows of the manifest; None: all.

    Raises:
        InputError: the file has no such method.
        SchemaError: not a maps file, of an unknown version, or damaged.
    """
    with hdf5.opened(path, KIND, VERSION, "maps", sealed=True) as file:
        known = _header(file, path).methods
        wanted = list(known) if methods is None else list(methods)
        if unknown := [name for name in wanted if name not in known]:
            expected = " or ".join(known)
            raise InputError("no maps of this method", where=path, got=unknown[0], expected=expected, cure=CURE)
        with hdf5.damage_in(path, CURE):
            names = [name for name in file if rows is None or int(name) in rows]
        for name in names:
            with hdf5.damage_in(f"{path}, sample {name}", CURE):
                maps = _read(hdf5.member(file, name), wanted)
            yield maps


def _header(file: h5py.File, path: Path) -> MapsHeader:
    with hdf5.damage_in(path, CURE):
        return MapsHeader(
            fingerprint=hdf5.attribute(file, "fingerprint", str),
            samples=hdf5.attribute(file, "samples", int),
            methods=_texts(json.loads(hdf5.attribute(file, "methods", str))),
            protocol=hdf5.attribute(file, "protocol", str),
            exact=hdf5.attribute(file, "exact", bool),
            eci_cap=hdf5.attribute(file, "eci_cap", float) if "eci_cap" in file.attrs else None,
            scores=_from_scores(json.loads(hdf5.attribute(file, "scores", str))) if "scores" in file.attrs else None,
        )


def _from_scores(said: dict[str, Any]) -> FromScores:
    methods = said.pop("methods")
    if not isinstance(methods, list):
        raise TypeError(f"{methods!r} instead of names")
    return FromScores(tuple(methods), **_texts(said))


def _read(group: h5py.Group, methods: Sequence[str]) -> dict[str, SampleMaps]:
    meta = json.loads(hdf5.text(group, "meta"))
    statuses = _texts(meta.pop("methods"))
    id, status = (_texts(meta)[key] for key in ("id", "status"))
    if status.startswith(FAILED):
        return {name: _failed(id, status) for name in methods}
    if status not in (OK, TRUNCATED):
        raise ValueError(f"unknown status {status!r}")
    there = [name for name, its in statuses.items() if not its.startswith(FAILED)]
    wanted = [name for name in methods if name in there]
    arrays = _arrays(group, len(there), [there.index(name) for name in wanted]) if wanted else []
    found = {name: SampleMaps(id, status, *its) for name, its in zip(wanted, arrays, strict=True)}
    return {name: found[name] if name in found else _failed(id, statuses[name]) for name in methods}


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise TypeError(f"{value!r} instead of texts by name")
    return value


def _arrays(group: h5py.Group, count: int, wanted: list[int]) -> Iterator[tuple[Any, ...]]:
    """The arrays of ``ARRAYS`` of each wanted method, and which tokens it explains; ``count``: how many are stored."""
    maps = hdf5.stacked(group, "maps", ARRAYS["maps"], (count, None, None), wanted)
    tokens, vision = maps[0].shape
    shapes = {"uint8": (count, tokens, vision), "relevance": (count, tokens, None), "scale": (count, tokens)}
    others = [hdf5.stacked(group, name, ARRAYS[name], shape, wanted) for name, shape in shapes.items()]
    explained: list[np.ndarray | None] = [None] * len(wanted)
    if EXPLAINED in group:
        stored = hdf5.stacked(group, EXPLAINED, np.dtype(np.uint8), (count, tokens), wanted)
        explained = [one != 0 for one in stored]
    for one, uint8, relevance, scale, whether in zip(maps, *others, explained, strict=True):
        bits = one.view(np.uint16)  # as numbers, float16 takes long to compare
        if not ((bits <= ONE) | (bits == MINUS_ZERO)).all() or not np.isfinite(relevance).all():
            raise ValueError("a map is not between 0 and 1, or a relevance is no number")
        yield one, uint8, relevance, scale, whether


def _failed(id: str, status: str) -> SampleMaps:
    shapes = {"maps": (0, 0), "uint8": (0, 0), "relevance": (0, 0), "scale": (0,)}
    return SampleMaps(id, status, *(np.zeros(shapes[name], dtype) for name, dtype in ARRAYS.items()))
