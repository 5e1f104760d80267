"""The stage: one shard's generation -> the maps of every token, HDF5, a group a sample. No model is needed.

File attributes: ``format``, ``version``, ``method``, ``protocol``, ``exact``, the generation's ``fingerprint``, and
``eci_cap``, where the scale of interference was capped.
Groups have the names of the generation's: the manifest's row, eight digits. The schema knows no method.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from tam.cache import read_generations, read_header
from tam.errors import SchemaError, TamError
from tam.methods.core import check_cap
from tam.methods.registry import Method, method
from tam.protocol import Protocol
from tam.records import FAILED, OK, TRUNCATED, Generation, Maps
from tam.system import hdf5

KIND, VERSION = "maps", 1
CURE = "run `tam maps` again"


@dataclass(frozen=True)
class SampleMaps:
    """One sample of a maps file; every array is empty where the status is "failed: why".

    Attributes:
        maps: float16 [token, vision]; uint8, relevance, scale: as in ``core.Maps``. Tokens: those of the prompt's
            words, then those of the answer.
    """

    id: str
    status: str
    maps: np.ndarray
    uint8: np.ndarray
    relevance: np.ndarray
    scale: np.ndarray

    @property
    def failed(self) -> bool:
        return self.status.startswith(FAILED)


ARRAYS = {
    name: np.dtype(dtype)
    for name, dtype in {"maps": np.float16, "uint8": np.uint8, "relevance": np.float32, "scale": np.float64}.items()
}


def write_maps(
    generation_path: Path,
    out_path: Path,
    method_name: str,
    protocol: Protocol,
    exact: bool = False,
    eci_cap: float | None = None,
) -> dict[str, int]:
    """Map every sample of ``generation_path`` and write ``out_path``, atomically.

    A sample that failed before is passed on with its status; one whose maps fail becomes "failed: why".

    Returns:
        the number of samples by kind of status: "ok", "truncated", "failed".

    Raises:
        InputError: unknown method, or a cap that cannot be. SchemaError: not a generation file.
    """
    check_cap(eci_cap, protocol)
    explain = method(method_name, eci_cap)
    known = read_header(generation_path)
    header = {
        "format": f"tam-{KIND}",
        "version": VERSION,
        "method": method_name,
        "protocol": protocol.name,
        "exact": exact,
        "fingerprint": known["fingerprint"],
    } | ({} if eci_cap is None else {"eci_cap": eci_cap})
    counts: Counter[str] = Counter()
    with hdf5.written(out_path) as file:
        file.attrs.update(header)
        for generation in tqdm(read_generations(generation_path), total=known["samples"], desc="maps", unit="sample"):
            status, maps = _map(generation, explain, protocol, exact)
            _write(file.create_group(f"{generation.row:08d}"), generation.id, status, maps)
            file.check()
            counts[status.partition(":")[0]] += 1
    return dict(counts)


def read_maps_header(path: Path) -> dict:
    """``method``, ``protocol``, ``fingerprint`` and number of ``samples``; SchemaError as ``read_maps``."""
    with hdf5.opened(path, KIND, VERSION, "maps") as file, hdf5.damage_in(path, CURE):
        texts = {name: hdf5.attribute(file, name, str) for name in ("method", "protocol", "fingerprint")}
        return texts | {"samples": len(file)}


def read_maps(path: Path) -> Iterator[SampleMaps]:
    """Read a maps file, one sample at a time, in the manifest's order.

    Raises:
        SchemaError: not a maps file, of an unknown version, or damaged.
    """
    with hdf5.opened(path, KIND, VERSION, "maps") as file:
        with hdf5.damage_in(path, CURE):
            names = list(file)
        for name in names:
            with hdf5.damage_in(f"{path}, sample {name}", CURE):
                maps = _read(hdf5.member(file, name))
            yield maps


def read_pairs(generation_path: Path, *maps_paths: Path) -> Iterator[tuple]:
    """Each answer (Generation) with its maps in each of the files (SampleMaps).

    Raises:
        SchemaError: they do not belong together, or as the two readers.
    """
    files = generation_path, *maps_paths
    for pair in itertools.zip_longest(read_generations(generation_path), *map(read_maps, maps_paths)):
        if None in pair:
            raise SchemaError("samples are missing", where=files[pair.index(None)], cure=CURE)
        generation, *maps = pair
        shape = len(generation.prompt_ids) + len(generation.answer_ids), len(generation.layout.vision)
        for path, one in zip(maps_paths, maps, strict=True):
            if generation.id != one.id or not (one.failed or one.maps.shape == shape):
                raise SchemaError(
                    "maps of another generation", where=path, got=f"{one.id!r}, {one.maps.shape}",
                    expected=f"{generation.id!r}, {shape}", cure=CURE,
                )  # fmt: skip
        yield pair


def _map(generation: Generation, explain: Method, protocol: Protocol, exact: bool) -> tuple[str, Maps | None]:
    if generation.failed:
        return generation.status, None
    try:
        return generation.status, explain(generation, protocol, exact)
    except TamError as error:
        return FAILED + " ".join(str(error).split()), None


def _write(group: h5py.Group, id: str, status: str, maps: Maps | None) -> None:
    group["meta"] = json.dumps({"id": id, "status": status}, ensure_ascii=False)
    if maps is not None:
        for name, dtype in ARRAYS.items():
            group.create_dataset(name, data=getattr(maps, name).astype(dtype), compression="gzip", shuffle=True)


def _read(group: h5py.Group) -> SampleMaps:
    meta = json.loads(hdf5.text(group, "meta"))
    id, status = meta["id"], meta["status"]
    if not isinstance(id, str) or not isinstance(status, str):
        raise TypeError(f"id or status is no text: {id!r}, {status!r}")
    if status.startswith(FAILED):
        shapes = {"maps": (0, 0), "uint8": (0, 0), "relevance": (0, 0), "scale": (0,)}
        return SampleMaps(id, status, **{name: np.zeros(shapes[name], dtype) for name, dtype in ARRAYS.items()})
    if status not in (OK, TRUNCATED):
        raise ValueError(f"unknown status {status!r}")
    maps = hdf5.array(group, "maps", [ARRAYS["maps"]], (None, None))
    if not ((maps >= 0) & (maps <= 1)).all():
        raise ValueError("a map is not between 0 and 1")
    shapes = {"uint8": maps.shape, "relevance": (len(maps), None), "scale": (len(maps),)}
    others = {name: hdf5.array(group, name, [ARRAYS[name]], shape) for name, shape in shapes.items()}
    if not np.isfinite(others["relevance"]).all():
        raise ValueError("a relevance is NaN or infinite")
    return SampleMaps(id, status, maps, **others)
