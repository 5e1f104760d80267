"""What the stage keeps of an answer, and the HDF5 file of a shard's; ``docs/reference/sanity.md`` describes it."""

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from tam.errors import DiskError
from tam.records import FAILED
from tam.shard.task import Format
from tam.system import hdf5

KIND, VERSION = "sanity", 1
CURE = "remove it and run `tam sanity` again"
ALIKE = ("spearman", "ssim", "top10")
MEASURES = (*ALIKE, "constant", "entropy_change")
ORIGINAL = "original"
META = ("id", "status", "states", "words")


class State(NamedTuple):
    """Which weights are random: of ``part``, and with "bottom_up" and "top_down" of those before it in the order, too.

    The last state is the ORIGINAL model once more, after all.
    """

    order: str
    part: str
    seed: int


@dataclass(frozen=True)
class Compared:
    """The maps of an answer's nouns, compared with those of the model itself.

    Attributes:
        id: the sample's.
        status: "ok" or "failed: why"; then there are no states.
        states: in the order of ``values``.
        words: the nouns.
        values: float32 [state, method, noun, MEASURES]; NaN where there is none: the original map is constant, or the
            method failed; the first three, too, where the random map is constant.
        pairs: float32 [method, pair, ALIKE], of two different nouns, by the model itself.
    """

    id: str
    status: str
    states: list[State]
    words: list[str]
    values: np.ndarray
    pairs: np.ndarray


def sanity_files(methods: Mapping[str, str], fingerprint: str) -> Format[Compared]:
    """The file, of settings that ``fingerprint`` tells from others; ``methods``: name -> title."""

    def start(file: h5py.File) -> None:
        about = {"fingerprint": fingerprint, "methods": json.dumps(methods)}
        file.attrs.update({"format": f"tam-{KIND}", "version": VERSION} | about)

    def write(path: Path, rows: Mapping[int, Compared]) -> None:
        with hdf5.written(path) as file:
            start(file)
            for row, made in rows.items():
                group = file.create_group(f"{row:08d}")
                group["meta"] = json.dumps({name: getattr(made, name) for name in META})
                hdf5.store(group, "values", made.values)
                hdf5.store(group, "pairs", made.pairs)

    def statuses(path: Path) -> dict[int, str] | None:
        with hdf5.opened(path, KIND, VERSION, "sanity", sealed=True) as file, hdf5.damage_in(path, CURE):
            if hdf5.attribute(file, "fingerprint", str) != fingerprint:
                return None
        return {row: made.status for row, made in read_sanity(path)[1].items()}

    def merge(parts: list[Path], path: Path, rows: Set[int]) -> None:
        found = {row: made for part in parts for row, made in read_sanity(part)[1].items()}
        if missing := sorted(rows - found.keys()):
            raise DiskError("samples are in no part", where=path.parent, got=f"rows {missing[:5]}", cure="run it again")
        write(path, dict(sorted(found.items())))

    return Format(write, statuses, merge)


def read_sanity(path: Path) -> tuple[dict[str, str], dict[int, Compared]]:
    """Methods, name -> title, and all answers of the file ``path``, by row of the manifest; SchemaError: damaged,
    foreign, of another version."""
    with hdf5.opened(path, KIND, VERSION, "sanity", sealed=True) as file, hdf5.damage_in(path, CURE):
        methods: dict[str, str] = json.loads(hdf5.attribute(file, "methods", str))
        return methods, dict(_rows(file, len(methods)))


def _rows(file: h5py.File, methods: int) -> Iterator[tuple[int, Compared]]:
    float32 = [np.dtype(np.float32)]
    for name in file:
        group = hdf5.member(file, name)
        meta: dict[str, Any] = json.loads(hdf5.text(group, "meta"))
        failed = meta["status"].startswith(FAILED)
        states, count = [State(*state) for state in meta["states"]], 0 if failed else methods
        values = hdf5.array(group, "values", float32, (len(states), count, len(meta["words"]), len(MEASURES)))
        pairs = hdf5.array(group, "pairs", float32, (count, None, len(ALIKE)))
        yield int(name), Compared(meta["id"], meta["status"], states, list(meta["words"]), values, pairs)


def failure(id: str, why: str) -> Compared:
    """An answer that could not be compared."""
    none = np.zeros((0, 0, 0, len(MEASURES)), np.float32)
    return Compared(id, FAILED + " ".join(why.split()), [], [], none, np.zeros((0, 0, len(ALIKE)), np.float32))
