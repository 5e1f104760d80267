"""How far a run is: finished shards, batches of unfinished ones, who works on them, how fast, and what it took.

Reads only, and reads what is there: files of a running pipeline appear and vanish while they are looked at.
"""

import contextlib
import csv
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py

from tam.errors import InputError
from tam.manifest import Shard
from tam.shard.store import FOLDER
from tam.system.lease import TTL, Owner

# What may go wrong with a file that is being written, replaced or deleted, or is damaged.
UNREADABLE = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError)
STAGES = {"generate": "*.h5", "maps": "*/*.h5", "metrics": "*/*.parquet"}
ENDS = ("tables", "render", "figures")


@dataclass(frozen=True)
class Work:
    """A shard of `generate` that is not finished.

    Attributes:
        samples: in whole parts. total: in the shard; None where the manifest is not there.
        rate: samples a second since its process began; None before the second part.
        owner: who holds its lease; None: nobody, it waits for the next start.
        silent: seconds since the owner's last heartbeat.
    """

    shard: str
    samples: int
    total: int | None
    rate: float | None = None
    owner: Owner | None = None
    silent: float = 0.0

    @property
    def stale(self) -> bool:
        return self.owner is not None and (self.owner.gone() or self.silent > TTL)


@dataclass(frozen=True)
class Cost:
    """What the jobs of a rule took, from Snakemake's benchmarks: seconds, and the largest resident set in MB."""

    rule: str
    jobs: int
    seconds: float
    longest: float
    megabytes: float


@dataclass(frozen=True)
class Run:
    """One dataset and model.

    Attributes:
        shards: into which the dataset is cut; None while nothing says it.
        statuses: of the samples in finished shards.
        done: stage, or "stage method", -> number of finished shards.
        ends: what is made of all shards -> whether it is there.
        sizes: stage -> bytes; ``unused``: bytes in the store that no output refers to.
    """

    name: str
    shards: int | None
    samples: int | None
    statuses: Counter[str]
    done: dict[str, int]
    work: list[Work]
    ends: dict[str, bool]
    costs: list[Cost]
    sizes: dict[str, int]
    unused: int


def survey(results: Path) -> list[Run]:
    """All runs DATASET/MODEL below ``results``. Manifests and benchmarks are looked for beside it."""
    folders = {path.parent for stage in STAGES for path in results.glob(f"*/*/{stage}")}
    return [_run(folder, results.parent) for folder in sorted(folders)]


def _run(folder: Path, home: Path) -> Run:
    dataset, model = folder.parts[-2:]
    total = _lines(home / "data" / dataset / "manifest.jsonl")
    count = _count(folder)
    files = {stage: list(folder.glob(f"{stage}/{below}")) for stage, below in STAGES.items()}
    if count:
        files = {stage: [path for path in paths if _of(path, count)] for stage, paths in files.items()}
    generated = {path.stem for path in files["generate"]}
    done = Counter({"generate": len(generated)})
    for stage in ("maps", "metrics"):
        done.update(f"{stage} {path.parent.name}" for path in files[stage])
    stored = list(folder.glob(f"generate/{FOLDER}/*/*/*.h5"))
    return Run(
        name=f"{dataset}/{model}",
        shards=count,
        samples=total,
        statuses=sum((_statuses(path) for path in files["generate"]), Counter()),
        done=dict(done),
        work=[work for work in _works(folder / "generate", total) if work.shard not in generated],
        ends={end: (folder / end).exists() for end in ENDS},
        costs=_costs(home / "benchmarks" / dataset / model),
        sizes={stage: sum(map(_size, paths)) for stage, paths in files.items()},
        unused=sum(_size(path) for path in stored if path.name == "whole.h5" and _links(path) == 1),
    )


def _of(path: Path, count: int) -> bool:
    return path.stem.endswith(f"-of-{count}")


def _count(folder: Path) -> int | None:
    """Into how many shards the dataset is cut: as the newest file says."""
    stages = [path for stage, below in STAGES.items() for path in folder.glob(f"{stage}/{below}")]
    files = [*stages, *folder.glob(f"generate/{FOLDER}/*.lease"), *folder.glob(f"generate/{FOLDER}/*/*")]
    found = [(_changed(path), int(match[1])) for path in files if (match := re.search(r"-of-(\d+)", path.name))]
    return max(found)[1] if found else None


def _works(folder: Path, total: int | None) -> Iterator[Work]:
    leases = {path.name.removesuffix(".h5.lease"): path for path in (folder / FOLDER).glob("*.h5.lease")}
    parts: dict[str, list[tuple[float, int]]] = {}
    for part in folder.glob(f"{FOLDER}/*/*/part-*.h5"):
        parts.setdefault(part.parent.name, []).append((_changed(part), _length(part)))
    for shard in sorted(leases.keys() | parts.keys(), key=_natural):
        owner, silent = _owner(leases[shard]) if shard in leases else (None, 0.0)
        written = sorted(parts.get(shard, []))
        fresh = [part for part in written if owner and part[0] >= owner.since]
        seconds = fresh[-1][0] - fresh[0][0] if fresh else 0
        rate = sum(samples for _, samples in fresh[1:]) / seconds if seconds > 0 else None
        size = None
        with contextlib.suppress(InputError):  # no shard's name
            size = len(Shard.parse(shard).rows(total)) if total is not None else None
        yield Work(shard, sum(samples for _, samples in written), size, rate, owner, silent)


def _owner(path: Path) -> tuple[Owner | None, float]:
    try:
        return Owner.parse(path.read_bytes()), max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return None, 0.0


def _costs(folder: Path) -> list[Cost]:
    found: dict[str, list[tuple[float, float]]] = {}
    for path in folder.rglob("*.tsv"):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        with contextlib.suppress(*UNREADABLE), path.open(newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                memory = row["max_rss"]
                found.setdefault(rule, []).append((float(row["s"]), 0.0 if memory in ("-", "NA") else float(memory)))
    return [
        Cost(rule, len(rows), sum(row[0] for row in rows), max(row[0] for row in rows), max(row[1] for row in rows))
        for rule, rows in sorted(found.items(), key=lambda item: -sum(row[0] for row in item[1]))
    ]


def _statuses(path: Path) -> Counter[str]:
    """Samples of a finished shard by kind of status."""
    counts: Counter[str] = Counter()
    with contextlib.suppress(*UNREADABLE), h5py.File(path, locking=False) as file:
        for group in file.values():
            counts[json.loads(group["meta"].asstr()[()])["status"].partition(":")[0]] += 1
    return counts


def _length(path: Path) -> int:
    with contextlib.suppress(*UNREADABLE), h5py.File(path, locking=False) as file:
        return len(file)
    return 0


def _lines(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            return sum(1 for _ in file)
    except OSError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _links(path: Path) -> int:
    try:
        return path.stat().st_nlink
    except OSError:
        return 0


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _natural(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


# ---- in words --------------------------------------------------------------------------------------------------------


def describe(runs: Iterable[Run]) -> str:
    return "\n\n".join("\n".join(_lines_of(run)) for run in runs) or "no runs here"


def _lines_of(run: Run) -> Iterator[str]:
    of = "?" if run.shards is None else run.shards
    yield run.name
    finished = sum(run.statuses.values())
    samples = finished + sum(work.samples for work in run.work)
    yield _row(
        "generate",
        f"{run.done['generate']} of {of} shards, {samples} of {'?' if run.samples is None else run.samples} samples",
        _left(run, samples),
    )
    for work in run.work:
        yield _row("", *_work(work))
    for stage in ("maps", "metrics"):
        methods = [f"{name.split()[1]} {number}" for name, number in run.done.items() if name.startswith(f"{stage} ")]
        yield _row(stage, f"of {of} shards: " + ", ".join(sorted(methods)) if methods else "not yet")
    yield _row("then", ", ".join(f"{end} {'done' if there else 'not yet'}" for end, there in run.ends.items()))
    if finished:
        yield _row("samples", ", ".join(f"{number} {status}" for status, number in run.statuses.most_common()))
    sizes = [f"{stage} {_bytes(size)}" for stage, size in run.sizes.items() if size]
    if run.unused:
        sizes.append(f"{_bytes(run.unused)} in generate/{FOLDER} that no output refers to")
    if sizes:
        yield _row("on disk", ", ".join(sizes))
    for number, cost in enumerate(run.costs):
        words = f"{cost.rule}: {cost.jobs} jobs, {_time(cost.seconds)}, the longest {_time(cost.longest)}"
        yield _row("it took" if number == 0 else "", words, f"up to {cost.megabytes:,.0f} MB")


def _work(work: Work) -> list[str]:
    amount = f"{work.shard}: {work.samples} of {'?' if work.total is None else work.total} samples"
    if work.owner is None:
        return [amount, "nobody is at work: the next start goes on"]
    if work.stale:
        return [amount, f"{work.owner} is gone ({_time(work.silent)} without a sign): the next start takes over"]
    return [amount, *([f"{work.rate:.1f} samples/s"] if work.rate else []), str(work.owner)]


def _left(run: Run, samples: int) -> str:
    """How long all that is at work will take; empty where that is not known."""
    rate = sum(work.rate or 0 for work in run.work if not work.stale)
    if not rate or run.samples is None:
        return ""
    return f"{rate:.1f} samples/s, ETA {_time((run.samples - samples) / rate)}"


def _row(name: str, *parts: str) -> str:
    return f"  {name:<9} {', '.join(part for part in parts if part)}"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
