"""What the paper's grid of runs costs, ``python -m tests.bench.grid FOLDER``.

It has 3 datasets, 6 models and 16 shards of 5,000 samples. Maps and metrics of seven and of sixteen methods: the
samples of ``scale.py`` through the commands that the workflow calls, on one thread. CPU time of a sample is the slope
between two sizes; what a job costs to start is what one of a single sample takes. Snakemake's own CPU time is that of a
whole run of the real Snakefile over the real config, in which every command only makes its outputs.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tests.bench import scale
from tests.bench.load import measured

ROOT = Path(__file__).resolve().parents[2]
SEVEN = ["random", "centre", "permuted", "activation", "eci", "rgf", "tam"]
FILTERS = [f"{name}-{kernel}" for kernel in (3, 5) for name in ("gaussian", "median", "mean", "bilateral")] + ["rgf-5"]
METHODS = {"seven": SEVEN, "sixteen": [*FILTERS, *SEVEN]}
STAGES = ("maps", "metrics")
SMALL, LARGE, ROUNDS = 100, 300, 3
SHARD = 5_000 / 16  # samples


def commands(folder: Path, methods: list[str]) -> dict[str, list[object]]:
    generation, maps, out = folder / "generation.h5", folder / "maps.h5", folder / "metrics.parquet"
    known = ["--generation", generation]
    return {
        "maps": ["tam", "maps", *known, *(f"--method={name}" for name in methods), "--out", maps],
        "metrics": ["tam", "metrics", *known, "--maps", maps, "--manifest", folder / "manifest.jsonl", "--out", out],
    }


def seconds(folder: Path, methods: list[str]) -> dict[str, float]:
    """CPU seconds of each stage, the least of all rounds; bytes of the maps file."""
    spent = dict.fromkeys(STAGES, float("inf"))
    for _ in range(ROUNDS):
        for stage, command in commands(folder, methods).items():
            spent[stage] = min(spent[stage], measured(command)[0])
    return spent | {"bytes": (folder / "maps.h5").stat().st_size}


def stages() -> dict[str, dict[str, float]]:
    """Of each set of methods: CPU seconds to start a job and of a sample, bytes of a sample."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folders = {count: Path(name, str(count)) for count in (1, SMALL, LARGE)}
        for count, folder in folders.items():
            scale.give(folder, count)
        for title, methods in METHODS.items():
            one, small, large = (seconds(folder, methods) for folder in folders.values())
            slope = {key: (large[key] - small[key]) / (LARGE - SMALL) for key in large}
            found[title] = slope | {f"start {stage}": one[stage] - slope[stage] for stage in STAGES}
    return found


STUB = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in dataset) dataset=/manifest.jsonl;; --out) out=$2;; esac
    shift
done
case $out$dataset in
    *.h5 | *.parquet | *.jsonl) mkdir -p "$(dirname "$out$dataset")"; : > "$out$dataset";;
    *) mkdir -p "$out";;
esac
"""
RUN = """
import sys, time
from snakemake.cli import main
try:
    main(sys.argv[1:])
finally:
    print("CPU seconds:", time.process_time())
"""


def snakemake() -> tuple[float, int]:
    """CPU seconds of Snakemake itself over the whole grid, and the number of its jobs."""
    with tempfile.TemporaryDirectory() as name:
        venv.create(Path(name, "env"), symlinks=True)
        (site,) = Path(name, "env/lib").glob("python*/site-packages")
        places = [path for path in sys.path if path.endswith("site-packages")]
        (site / "ours.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in places))
        (Path(name, "env/bin/python")).unlink()  # rules call it; Snakemake itself runs as python3
        (Path(name, "env/bin/python")).write_text(STUB)
        (Path(name, "env/bin/python")).chmod(0o755)
        work = Path(name, "work")
        work.mkdir()
        options = ["--snakefile", ROOT / "Snakefile", "--configfile", ROOT / "config/paper.yaml", "--cores", "2"]
        done = subprocess.run(
            [Path(name, "env/bin/python3"), "-c", RUN, *options], cwd=work, env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{shlex.join(map(str, options))}: {done.stdout[-2000:]}")
        (spent,) = (float(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("CPU seconds:"))
        return spent, len(list(work.rglob("*.tsv")))


def main(folder: Path) -> None:
    spent, jobs = snakemake()
    rows = []
    for title, of in stages().items():
        row: dict[str, object] = {"methods": title}
        for stage in STAGES:
            row |= {f"{stage}, ms a sample": 1000 * of[stage], f"{stage}, s to start": of[f"start {stage}"]}
        samples = SHARD * sum(of[stage] for stage in STAGES)
        around = sum(of[f"start {stage}"] for stage in STAGES) + len(STAGES) * spent / jobs
        row |= {
            "kB of maps a sample": of["bytes"] / 1000,
            "Snakemake, s a job": spent / jobs,
            "share of starts and Snakemake, %": 100 * around / (around + samples),
        }
        rows.append(row)
    from tests.bench import result  # late: a child's peak is at least its parent's, and this imports torch

    about = (
        f"CPU time of one core; a shard of {SHARD:.0f} samples. Snakemake: {spent:.0f} s of its own in a run of {jobs}"
        " jobs over config/paper.yaml, all outputs made by a stub."
    )
    result.write(folder, "grid", rows, about)


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when NumPy is loaded, so start again with it
        os.execve(sys.executable, [sys.executable, "-m", "tests.bench.grid", *sys.argv[1:]],
                  os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    main(Path(sys.argv[1]))
