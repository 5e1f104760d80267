"""Files of which one bit is another: each is refused, or holds what it held."""

import dataclasses
import multiprocessing
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tam import rows
from tam.cache import read_generations, read_header, write_generations
from tam.errors import SchemaError
from tam.maps import read_maps, read_maps_header
from tam.methods.stage import write_maps
from tam.protocol import FIXED
from tam.scores import read_scores, read_scores_header
from tests.test_maps import made, scored, scores_of

SECONDS = 20  # of one reading
REFUSED, SAME, OTHER = 1, 2, 3

Content = tuple
Reader = Callable[[Path], Content]


def read_cache(path: Path) -> Content:
    return plain([read_header(path), *read_generations(path)])


def read_maps_file(path: Path) -> Content:
    return plain([read_maps_header(path), *read_maps(path)])


def read_scores_file(path: Path) -> Content:
    return plain([read_scores_header(path), *read_scores(path)])


def read_rows(path: Path) -> Content:
    with rows.opened(path) as (header, file):
        return plain([header, file.read().to_pylist()])


def plain(value: object) -> object:
    """A value that can be compared as a whole: arrays by type, shape and bytes, NaN equal to itself."""
    if dataclasses.is_dataclass(value):
        return plain([getattr(value, field.name) for field in dataclasses.fields(value)])
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return tuple((plain(key), plain(its)) for key, its in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    return repr(value)


def originals(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """A file of each kind, and what reads all of it."""
    folder.mkdir(exist_ok=True)
    cache, maps, metrics = (folder / name for name in ("g.h5", "m.h5", "r.parquet"))
    scores = scored(
        folder / "s.h5", made(), made("large", 1), methods={"gae": scores_of(made()), "rollout": "failed: x"}
    )
    large = made("large", 1, classes=range(300))  # has an array that is compressed
    write_generations(cache, {0: made(), 1: large}, {"model": "m"}, "f" * 8)
    write_maps(cache, maps, ["tam", "random"], FIXED)
    with rows.written(metrics, rows.RowsHeader("f", 1, {"tam": "TAM"}, "fixed", "t")) as file:
        for sample in "abc":
            file.add(sample, "", [rows.Row(-1, "x", 0, "answer", 3.0)])
            file.add(sample, "tam", [rows.Row(token, "x", 1, "obj_iou", token / 7) for token in range(7)])
    return {
        "generation": (cache, read_cache), "scores": (scores, read_scores_file), "maps": (maps, read_maps_file),
        "metrics": (metrics, read_rows),
    }  # fmt: skip


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def outcomes(path: Path, read: Reader, bits: list[int]) -> dict[str, int]:
    """How often a file with one of the bits flipped was refused, read as it was, read as something else, or ended the
    process that read it. Processes of their own read."""
    data, expected = path.read_bytes(), read(path)
    context = multiprocessing.get_context("fork")
    found = context.Array("b", len(bits), lock=False)

    def work(first: int) -> None:
        for number in range(first, len(bits)):
            signal.alarm(SECONDS)  # whose end is the process's
            path.write_bytes(flipped(data, bits[number]))
            try:
                found[number] = SAME if read(path) == expected else OTHER
            except SchemaError:
                found[number] = REFUSED

    crashed = 0
    while 0 in found[:]:
        worker = context.Process(target=work, args=(found[:].index(0),))
        worker.start()
        worker.join()
        if worker.exitcode in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE):
            crashed += 1
            found[found[:].index(0)] = REFUSED
        elif worker.exitcode:
            raise AssertionError(f"bit {bits[found[:].index(0)]} of {path.name}: exit {worker.exitcode}")
    path.write_bytes(data)
    return {"refused": found[:].count(REFUSED) - crashed, "crashed": crashed, "same": found[:].count(SAME),
            "other": found[:].count(OTHER)}  # fmt: skip
