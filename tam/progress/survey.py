"""How far a run is: finished shards, batches of unfinished ones, who works on them, how fast, and what it took.

Reads only, waits for nobody, and opens nothing but regular files: those of a running pipeline appear and vanish while
they are looked at. ``results/config.json`` says what the last start asked for; without it all that lies there is shown.
"""

import contextlib
import csv
import functools
import io
import json
import os
import re
import stat
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tam import cache
from tam.errors import TamError
from tam.manifest import Shard
from tam.perturbed import forwards_said
from tam.shard.folder import FOLDER
from tam.system import hdf5
from tam.system.lease import TTL, Owner

STAGES = {"generate": ".h5", "maps": ".h5", "metrics": ".parquet"}
MORE = {"attribute": ".h5", "perturb/blur": ".h5", "perturb/mean": ".h5"}  # where the config asks for it
MOST_BYTES = 1 << 20  # of a lease, a benchmark, a config
# What a file raises that is being written, replaced or deleted, or is damaged.
UNREADABLE = (TamError, *hdf5.DAMAGE)


@dataclass(frozen=True)
class Unfinished:
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
    """What the jobs of a rule took the last time, from Snakemake's benchmarks.

    Attributes:
        seconds: of all jobs; ``median``, ``longest``: of one. megabytes: the largest resident set.
    """

    rule: str
    jobs: int
    seconds: float
    median: float
    longest: float
    megabytes: float


@dataclass(frozen=True)
class Left:
    """Files of an earlier config: neither read nor deleted."""

    what: str
    files: int
    bytes: int


@dataclass(frozen=True)
class Progress:
    """Of one dataset and model.

    Attributes:
        shards: into which the dataset is cut; None while nothing says it.
        samples: of the dataset; None where the manifest is not there.
        statuses: of the samples in finished shards.
        done: stage -> number of finished shards.
        forwards: what `perturb` costs, in words; empty where it is not asked for.
        ends: what is made of all shards -> whether it is there; None: not asked for.
        sizes: stage -> bytes; ``unused``: bytes in the store that no output refers to.
    """

    name: str
    shards: int | None
    samples: int | None
    statuses: Counter[str]
    done: dict[str, int]
    forwards: str
    unfinished: list[Unfinished]
    ends: dict[str, bool | None]
    sizes: dict[str, int]
    unused: int
    left: list[Left]
    costs: list[Cost]


@dataclass(frozen=True)
class Survey:
    """Attributes: runs: in the config's order. ends, left, costs: of all runs together, as in ``Progress``."""

    runs: list[Progress]
    ends: dict[str, bool | None]
    left: list[Left]
    costs: list[Cost]


@dataclass(frozen=True)
class _Asked:
    """By the last start. Attributes: store: a folder for what is unfinished; None: beside the outputs."""

    runs: list[tuple[str, str]]
    shards: int
    render: bool
    comparison: bool
    store: str | None
    baselines: list[str]
    forwards: str


def survey(results: Path) -> Survey:
    """All that lies below ``results``; manifests and benchmarks are looked for beside it."""
    asked = _asked(results / "config.json")
    there = sorted(
        {(path.parent.parent.name, path.parent.name) for stage in STAGES for path in results.glob(f"*/*/{stage}")}
    )
    runs = asked.runs if asked else there
    home = results.parent
    ends: dict[str, bool | None] = {end: (results / end).exists() for end in ("tables", "report")}
    if asked and asked.comparison:
        ends["comparison"] = all((results / dataset / "comparison").exists() for dataset, _ in runs)
    return Survey(
        runs=[_progress(results, dataset, model, asked) for dataset, model in runs],
        ends=ends,
        left=[
            _left(f"{dataset}/{model}", [results / dataset / model])
            for dataset, model in there
            if (dataset, model) not in runs
        ],
        costs=_costs([home / "benchmarks", *(home / "benchmarks" / name for name in dict(runs))], None),
    )


def _asked(path: Path) -> _Asked | None:
    """None: no start has left its config here, or it cannot be read."""
    try:
        config = json.loads(_content(path))
        models, faithfulness = list(config["models"]), config.get("faithfulness")
        return _Asked(
            runs=[(dataset, model) for dataset in config["datasets"] for model in models],
            shards=int(config["shards"]),
            render=bool(config["render"]["samples"]),
            comparison=len(models) > 1,
            store=config.get("store"),
            baselines=[str(name) for name in faithfulness["baselines"]] if faithfulness else [],
            forwards=forwards_said(faithfulness) if faithfulness else "",
        )
    except (*UNREADABLE, RecursionError):
        return None


def _progress(results: Path, dataset: str, model: str, asked: _Asked | None) -> Progress:
    folder, home = results / dataset / model, results.parent
    total = _lines(home / "data" / dataset / "manifest.jsonl")
    count = asked.shards if asked else _count(folder)
    files, left = {}, []
    wanted = {f"perturb/{name}" for name in asked.baselines} if asked else set()
    more = {stage: ending for stage, ending in MORE.items() if stage in wanted or (folder / stage).exists()}
    for stage, ending in (STAGES | more).items():
        files[stage], others = _split(folder / stage, ending, count)
        if others:
            left.append(_left(f"other shards in {stage}", others))
        if folders := [path for path in folder.glob(f"{stage}/[!.]*") if path.is_dir()]:  # earlier, one a method
            left.append(_left(f"folders in {stage}", folders))
    generated = {path.stem for path in files["generate"]}
    store = folder / "generate" / FOLDER
    if asked and asked.store:
        store = home / asked.store / dataset / model / "generate"
    stored = [path for stage in STAGES | MORE for path in folder.glob(f"{stage}/{FOLDER}/*/*/whole.h5")]
    return Progress(
        name=f"{dataset}/{model}",
        shards=count,
        samples=total,
        statuses=sum((_statuses(path) for path in files["generate"]), Counter()),
        done={stage: len(paths) for stage, paths in files.items()},
        forwards=asked.forwards if asked else "",
        unfinished=[one for one in _unfinished(store, total) if one.shard not in generated],
        ends={
            end: None if end == "render" and asked and not asked.render else (folder / end).exists()
            for end in ("tables", "render", "figures")
        },
        sizes={stage: sum(map(_size, paths)) for stage, paths in files.items()},
        unused=sum(_size(path) for path in stored if (found := _stat(path)) and found.st_nlink == 1),
        left=left,
        costs=_costs([home / "benchmarks" / dataset / model], count),
    )


def _split(folder: Path, ending: str, count: int | None) -> tuple[list[Path], list[Path]]:
    """Files of a stage: those of shards of ``count`` (None: of any number), and the others."""
    found: tuple[list[Path], list[Path]] = [], []
    for path in sorted(folder.glob(f"*-of-*{ending}"), key=lambda path: _natural(path.name)):
        if _stat(path):
            found[not _of(path.stem, count)].append(path)
    return found


def _of(shard: str, count: int | None) -> bool:
    match = re.fullmatch(r"(\d+)-of-(\d+)", shard)
    return match is not None and (count is None or (int(match[2]) == count and int(match[1]) < count))


def _count(folder: Path) -> int | None:
    """Into how many shards the dataset is cut: as the newest file says."""
    files = [path for stage, ending in STAGES.items() for path in folder.glob(f"{stage}/*{ending}")]
    files += [*folder.glob(f"generate/{FOLDER}/*.lease"), *folder.glob(f"generate/{FOLDER}/*/*")]
    found = [(_changed(path), int(match[1])) for path in files if (match := re.search(r"-of-(\d+)", path.name))]
    return max(found)[1] if found else None


def _left(what: str, paths: Sequence[Path]) -> Left:
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    sizes = [found.st_size for file in files if (found := _stat(file))]
    return Left(what, len(sizes), sum(sizes))


def _unfinished(store: Path, total: int | None) -> Iterator[Unfinished]:
    leases = {path.name.removesuffix(".h5.lease"): path for path in store.glob("*.h5.lease")}
    parts: dict[str, list[tuple[float, int]]] = {}
    for part in store.glob("*/*/part-*.h5"):
        parts.setdefault(part.parent.name, []).append((_changed(part), _statuses(part).total()))
    for shard in sorted(leases.keys() | parts.keys(), key=_natural):
        owner, silent = _owner(leases[shard]) if shard in leases else (None, 0.0)
        written = sorted(parts.get(shard, []))
        fresh = [part for part in written if owner and part[0] >= owner.since]
        seconds = fresh[-1][0] - fresh[0][0] if fresh else 0
        rate = sum(samples for _, samples in fresh[1:]) / seconds if seconds > 0 else None
        size = None
        with contextlib.suppress(TamError):  # no shard's name
            size = len(Shard.parse(shard).rows(total)) if total is not None else None
        yield Unfinished(shard, sum(samples for _, samples in written), size, rate, owner, silent)


def _owner(path: Path) -> tuple[Owner | None, float]:
    try:
        return Owner.parse(_content(path)), max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return None, 0.0


def _costs(folders: Sequence[Path], count: int | None) -> list[Cost]:
    """Of rules with one job (RULE.tsv) and with one a shard (RULE/SHARD.tsv)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for folder in folders:
        jobs = [(path.stem, path) for path in folder.glob("*.tsv")]
        jobs += [(path.parent.name, path) for path in folder.glob("*/*-of-*.tsv") if _of(path.stem, count)]
        for rule, path in jobs:
            with contextlib.suppress(*UNREADABLE, csv.Error):
                for row in csv.DictReader(io.StringIO(_content(path).decode()), delimiter="\t"):
                    memory = row["max_rss"]
                    cost = float(row["s"]), 0.0 if memory in ("-", "NA") else float(memory)
                    found.setdefault(rule, []).append(cost)
    costs = []
    for rule, rows in found.items():
        seconds, megabytes = zip(*rows, strict=True)
        median, longest = statistics.median(seconds), max(seconds)
        costs.append(Cost(rule, len(rows), sum(seconds), median, longest, max(megabytes)))
    return sorted(costs, key=lambda cost: -cost.seconds)


def _statuses(path: Path) -> Counter[str]:
    """Samples of a finished shard by kind of status."""
    found = _stat(path)
    return _statuses_of(path, found.st_mtime_ns, found.st_size) if found else Counter()


@functools.cache
def _statuses_of(path: Path, changed: int, size: int) -> Counter[str]:
    """A finished shard is read once, however often one looks. Args: changed, size: to know a new one."""
    with contextlib.suppress(*UNREADABLE):
        return Counter(cache.read_statuses(path))
    return Counter()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """OSError: there is none, or it is no regular file. A pipe is not waited for."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path}: not a regular file")
        yield file


def _content(path: Path) -> bytes:
    """OSError: as ``_opened``. No more than the first megabyte."""
    with _opened(path) as file:
        return file.read(MOST_BYTES)


def _lines(path: Path) -> int | None:
    try:
        with _opened(path) as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(MOST_BYTES), b""))
    except OSError:
        return None


def _stat(path: Path) -> os.stat_result | None:
    """Of a regular file; None: there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _size(path: Path) -> int:
    return found.st_size if (found := _stat(path)) else 0


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _natural(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]
