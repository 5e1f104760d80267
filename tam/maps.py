"""The stage: one shard's generation -> the maps of every token, HDF5, a group a sample. No model is needed.

File attributes: ``format``, ``version``, ``method``, ``protocol``, ``exact``, the generation's ``fingerprint``, and
``eci_cap``, where the scale of interference was capped.
Groups have the names of the generation's: the manifest's row, eight digits. The schema knows no method.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from tam.cache import FAILED, Generation, read_generations, read_header
from tam.core import Maps, check_cap
from tam.errors import SchemaError, TamError
from tam.files import atomic
from tam.methods import Method, method
from tam.protocol import Protocol

FORMAT = "tam-maps"
VERSION = 1
READ_ERRORS = (OSError, KeyError, ValueError, TypeError, AttributeError)  # of h5py and json, on damaged bytes


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


ARRAYS = {"maps": np.float16, "uint8": np.uint8, "relevance": np.float32, "scale": np.float64}


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
        "format": FORMAT,
        "version": VERSION,
        "method": method_name,
        "protocol": protocol.name,
        "exact": exact,
        "fingerprint": known["fingerprint"],
    } | ({} if eci_cap is None else {"eci_cap": eci_cap})
    counts: Counter[str] = Counter()
    with atomic(out_path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(header)
        for generation in tqdm(read_generations(generation_path), total=known["samples"], desc="maps", unit="sample"):
            status, maps = _map(generation, explain, protocol, exact)
            _write(file.create_group(f"{generation.row:08d}"), generation.id, status, maps)
            counts[status.partition(":")[0]] += 1
    return dict(counts)


def read_maps(path: Path) -> Iterator[SampleMaps]:
    """Read a maps file, one sample at a time, in the manifest's order.

    Raises:
        SchemaError: not a maps file, of an unknown version, or damaged.
    """
    cure = "run `tam maps` again"
    try:
        with h5py.File(path) as file:
            found = (file.attrs.get("format"), file.attrs.get("version"))
            if found != (FORMAT, VERSION):
                raise SchemaError("not a maps file", where=path, got=found, expected=(FORMAT, VERSION), cure=cure)
            for group in file.values():
                yield _read(group)
    except READ_ERRORS as error:
        raise SchemaError("damaged file, or none", where=path, got=error, cure=cure) from error


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
    meta = json.loads(group["meta"].asstr()[()])
    failed = meta["status"].startswith(FAILED)
    shapes = {"maps": (0, 0), "uint8": (0, 0), "relevance": (0, 0), "scale": (0,)}
    arrays = {name: np.zeros(shapes[name], ARRAYS[name]) if failed else group[name][()] for name in ARRAYS}
    return SampleMaps(meta["id"], meta["status"], **arrays)
