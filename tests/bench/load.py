"""What many samples cost: ``python -m tests.bench.load FOLDER [SAMPLES ...]``.

Synthetic samples (a 4 x 4 grid, 2 words, 8 answer tokens, one of two masks, 80 categories) go through the stages of one
shard, each a process of its own, whose processor seconds and peak memory are taken: the manifest is written, and read;
the cache is written in parts of 8 samples and merged; maps, metrics and tables are made by the commands that the
workflow calls. The shard holds all samples, so that memory that grew with them would be seen. Generation itself is left
out: its cost is the model's.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from tam import manifest
from tam.cache import merge, read_generations, write_generations
from tam.layout import Grid
from tam.manifest import Sample
from tam.shard.store import Store
from tam.shard.task import Format

COUNTS = (2_000, 5_000, 20_000)
BATCH = 8
END = b"<|im_end|>"
PROMPT = [b"What", b"?"]
ANSWERS = [[b"A", b" cat", b" sits", b" on", b" the", b" mat", b".", END], [b"Two", b" dogs", b" run", b".", END]]
CATEGORIES = {"cat": 17, "dog": 18} | {f"category {number}": number for number in range(20, 98)}


def write_manifest(folder: Path, count: int) -> None:
    for number in range(2):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 4 + number : 20] = 17 + number
        cv2.imwrite(str(folder / f"mask{number}.png"), mask)
    samples = (
        Sample(
            id=f"{row:012d}", media=["picture.png"], prompt="What?", references=["A cat sits on a mat."] * 5,
            mask=f"mask{row % 2}.png", categories=CATEGORIES,
        )
        for row in range(count)
    )  # fmt: skip
    manifest.write(samples, folder / "manifest.jsonl")


def write_cache(folder: Path, count: int) -> None:
    from tests.answers import generation  # here, so that the other stages are measured without what it imports

    grids = (Grid(0, (0,), 4, 4, (0, 0, 32, 32)),)
    run = {"model": "none"}
    files = Format(
        write=lambda path, rows: write_generations(path, rows, run, "f"),
        statuses=lambda path: {one.row: one.status for one in read_generations(path)},
        merge=lambda parts, path, rows: merge(parts, path, run, "f", rows),
    )
    store = Store(folder / "generate/0-of-1.h5", "f", files)
    for start in range(0, count, BATCH):
        rows = range(start, min(start + BATCH, count))
        store.add({row: generation(f"{row:012d}", PROMPT, ANSWERS[row % 2], grids, ((32, 32),), row) for row in rows})
    store.finish(set(range(count)))


STAGES = {"write manifest": write_manifest, "cache": write_cache, "read manifest": lambda folder, _: read(folder)}


def read(folder: Path) -> None:
    manifest.read(folder / "manifest.jsonl")


def measured(command: list[object]) -> tuple[float, float]:
    """Processor seconds and peak memory in MB of a process."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-m", *map(str, command)], stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read().decode()[-2000:])
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def stages(folder: Path, count: int) -> dict[str, list[object]]:
    cache, maps = folder / "generate/0-of-1.h5", folder / "maps/0-of-1.h5"
    rows = folder / "d/m/metrics/0-of-1.parquet"
    known = ["--generation", cache, "--manifest", folder / "manifest.jsonl"]
    return {name: ["tests.bench.load", name, folder, count] for name in STAGES} | {
        "maps": ["tam", "maps", "--generation", cache, "--out", maps],
        "metrics": ["tam", "metrics", *known, "--maps", maps, "--out", rows],
        "tables": ["tam", "tables", "--metrics", rows, "--out", folder / "tables"],
    }


def load(counts: list[int]) -> list[dict[str, object]]:
    """A row a stage: seconds and memory for each number of samples, and how both grow from the first to the last."""
    rows: dict[str, dict[str, object]] = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            for stage, command in stages(Path(name), count).items():
                seconds, memory = measured(command)
                rows.setdefault(stage, {"stage": stage})[f"{count}: s"] = seconds
                rows[stage][f"{count}: MB"] = memory
                print(f"{count} samples, {stage}: {seconds:.1f} s, {memory:.0f} MB", file=sys.stderr, flush=True)
    first, last = counts[0], counts[-1]
    for row in rows.values():
        row["ms a further sample"] = 1000 * (row[f"{last}: s"] - row[f"{first}: s"]) / max(last - first, 1)
        row["kB a further sample"] = 1024 * (row[f"{last}: MB"] - row[f"{first}: MB"]) / max(last - first, 1)
    return list(rows.values())


if __name__ == "__main__":
    if sys.argv[1] in STAGES:
        STAGES[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    else:
        found = load([int(count) for count in sys.argv[2:]] or list(COUNTS))
        from tests.bench import result  # late: a child's peak is at least its parent's, and this imports torch

        about = "One shard of all samples; processor time and peak memory of each process, its start included."
        result.write(Path(sys.argv[1]), "load", found, about)
