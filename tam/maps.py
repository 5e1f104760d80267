"""The maps file: one HDF5 file a shard with the maps of all its methods; ``docs/maps.md`` describes it.

Its digest is checked before HDF5 reads a byte of it (``system/seal.py``).
"""

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tam.errors import InputError
from tam.records import FAILED, OK, TRUNCATED, Maps, SampleMaps
from tam.system import hdf5

KIND, VERSION = "maps", 2
CURE = "run `tam maps` again"
ARRAYS = {
    name: np.dtype(dtype)
    for name, dtype in {"maps": np.float16, "uint8": np.uint8, "relevance": np.float32, "scale": np.float64}.items()
}


@dataclass(frozen=True)
class MapsHeader:
    """How the maps of a file were made.

    Attributes:
        fingerprint: of the generation that they explain. samples: how many it has.
        methods: name -> title, in the order of the config.
        eci_cap: the most that the scale of interference might be; None: no limit.
    """

    fingerprint: str
    samples: int
    methods: dict[str, str]
    protocol: str
    exact: bool
    eci_cap: float | None


class MapsWriter:
    """A maps file under way; ``hdf5.written`` makes it appear whole."""

    def __init__(self, file: hdf5.NewFile, header: MapsHeader):
        self._file = file
        about = {"fingerprint": header.fingerprint, "samples": header.samples, "methods": json.dumps(header.methods)}
        about |= {"protocol": header.protocol, "exact": header.exact}
        file.attrs.update({"format": f"tam-{KIND}", "version": VERSION} | about)
        if header.eci_cap is not None:
            file.attrs["eci_cap"] = header.eci_cap

    def add(self, row: int, id: str, status: str, maps: Mapping[str, Maps | str]) -> None:
        """One sample.

        Args:
            status: of the answer. maps: of each method, or why there are none; none at all for a failed answer.
        """
        group = self._file.create_group(f"{row:08d}")
        statuses = {name: made if isinstance(made, str) else status for name, made in maps.items()}
        group["meta"] = json.dumps({"id": id, "status": status, "methods": statuses})
        for name, made in maps.items():
            if isinstance(made, Maps):
                for array, dtype in ARRAYS.items():
                    hdf5.store(group, f"{name}/{array}", getattr(made, array).astype(dtype))
        self._file.check()


def read_maps_header(path: Path) -> MapsHeader:
    """Raises: SchemaError: not a maps file, of an unknown version, or damaged."""
    with hdf5.opened(path, KIND, VERSION, "maps", sealed=True) as file:
        return _header(file, path)


def read_maps(
    path: Path, methods: Sequence[str] | None = None, rows: Container[int] | None = None
) -> Iterator[dict[str, SampleMaps]]:
    """Read a maps file, one sample at a time, in the manifest's order: method -> its maps.

    Args:
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
            methods=dict(json.loads(hdf5.attribute(file, "methods", str))),
            protocol=hdf5.attribute(file, "protocol", str),
            exact=hdf5.attribute(file, "exact", bool),
            eci_cap=hdf5.attribute(file, "eci_cap", float) if "eci_cap" in file.attrs else None,
        )


def _read(group: h5py.Group, methods: Sequence[str]) -> dict[str, SampleMaps]:
    meta = json.loads(hdf5.text(group, "meta"))
    id, status = meta["id"], meta["status"]
    if status.startswith(FAILED):
        return {name: _failed(id, status) for name in methods}
    return {name: _of_method(group, name, id, meta["methods"][name]) for name in methods}


def _of_method(group: h5py.Group, name: str, id: str, status: str) -> SampleMaps:
    if status.startswith(FAILED):
        return _failed(id, status)
    if status not in (OK, TRUNCATED):
        raise ValueError(f"unknown status {status!r}")
    maps = hdf5.array(group, f"{name}/maps", [ARRAYS["maps"]], (None, None))
    shapes = {"uint8": maps.shape, "relevance": (len(maps), None), "scale": (len(maps),)}
    others = {array: hdf5.array(group, f"{name}/{array}", [ARRAYS[array]], shape) for array, shape in shapes.items()}
    if not ((maps >= 0) & (maps <= 1)).all() or not np.isfinite(others["relevance"]).all():
        raise ValueError("a map is not between 0 and 1, or a relevance is no number")
    return SampleMaps(id, status, maps, **others)


def _failed(id: str, status: str) -> SampleMaps:
    shapes = {"maps": (0, 0), "uint8": (0, 0), "relevance": (0, 0), "scale": (0,)}
    return SampleMaps(id, status, **{name: np.zeros(shapes[name], dtype) for name, dtype in ARRAYS.items()})
