"""Changed files for every reader: ``python -m tests.fuzz CASES [SEED]``.

A reader may refuse a file by an error of ours (the config: by Snakemake's WorkflowError), or read it. Anything else is
a failure: another exception, a reader that dies (a segmentation fault), hangs, or wants more than 4 GiB. Each reader
works in a process of its own; the file that it died of is kept in the folder that is printed.
"""

import collections
import contextlib
import faulthandler
import io
import json
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from tam import cache, manifest
from tam.cache import read_generations, read_header, write_generations
from tam.errors import TamError
from tam.manifest import Sample
from tam.media import open_picture, picture_size, read_video, stored_size
from tam.methods.stage import write_maps
from tam.perturbed import Asked, Perturbed, PerturbedHeader, read_perturbed, read_perturbed_header, write_perturbed
from tam.protocol import FIXED
from tam.rows import SCHEMA, VERSION, RowsHeader
from tam.run import RunFiles, read_pairs
from tam.scores import read_scores, read_scores_header
from tam.system import seal
from tam.tables.summary import summarise
from tests import flips, fuzz_datasets, fuzz_rules
from tests.test_maps import made, scored

ROOT = Path(__file__).resolve().parents[1]
MEMORY, SECONDS = 4 << 30, 60  # of a worker; of a case
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1]

# ---- changes of bytes

places = st.floats(0, 1, exclude_max=True)
changes = st.lists(
    st.one_of(
        st.tuples(st.just("put"), places, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("put"), places, st.sampled_from(NUMBERS).map(lambda number: number.to_bytes(8, "little"))),
        st.tuples(st.just("put"), places, st.integers(1, 64).map(bytes)),
        st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("remove"), places, st.integers(1, 64).map(bytes)),
        st.tuples(st.just("cut"), places, st.just(b"")),
    ),
    min_size=1,
    max_size=4,
)


def changed(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for how, place, value in changes:
        start = int(place * len(data))
        if how == "cut":
            data = data[:start]
            continue
        kept = start if how == "insert" else start + len(value)
        data = data[:start] + (b"" if how == "remove" else value) + data[kept:]
    return data


# ---- changes of values

texts = st.one_of(st.text(max_size=8), st.sampled_from(["\ud800", "\0", "failed: x", "ok", "a" * 5000, "bfloat16"]))
numbers = st.one_of(st.integers(), st.sampled_from([-1, 1 << 31, 1 << 70, 10**4000]), st.floats())
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=6
)
paths = st.lists(places, min_size=1, max_size=4)


def replaced(value: object, path: list[float], new: object) -> object:
    """A copy of a JSON value with another value deep inside."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[int(path[0] * len(keys))]
    copy = value.copy()
    copy[key] = replaced(value[key], path[1:], new)
    return copy


SHAPES = [(), (0,), (1,), (3,), (8,), (8, 3), (5, 5), (3, 8), (2, 2, 2)]
ARRAYS = [
    *(np.zeros(shape, dtype) for shape in SHAPES for dtype in ("i4", "f4", "u1", "f2", "f8", "S3", "?")),
    np.full(8, -1, "i4"), np.full(8, 2**31 - 1, "i4"), np.full(8, np.nan, "f4"), np.full(8, np.inf),
]  # fmt: skip
ACTIONS = {
    "drop": lambda group, name: None,
    "group": lambda group, name: group.create_group(name),
    "soft": lambda group, name: group.__setitem__(name, h5py.SoftLink("/none")),
    "loop": lambda group, name: group.__setitem__(name, h5py.SoftLink(f"{group.name}/{name}")),
    "external": lambda group, name: group.__setitem__(name, h5py.ExternalLink("/etc/passwd", "a")),
    "huge": lambda group, name: group.create_dataset(name, (1 << 40,), "i4", chunks=(1 << 20,)),
    "text": lambda group, name: group.__setitem__(name, "text"),
    "texts": lambda group, name: group.__setitem__(name, ["a", "b"]),
    "empty": lambda group, name: group.__setitem__(name, h5py.Empty("f4")),
    "reference": lambda group, name: group.create_dataset(name, data=group.ref, dtype=h5py.ref_dtype),
    "compound": lambda group, name: group.create_dataset(name, (3,), [("a", "i4"), ("b", "f4")]),
    "lengths": lambda group, name: group.create_dataset(name, (3,), h5py.vlen_dtype("i4")),
}
structures = st.lists(
    st.one_of(
        st.tuples(st.just("array"), places, st.sampled_from(ARRAYS)),
        st.tuples(st.just("noise"), places, st.integers(0, 1 << 30)),
        st.tuples(st.just("do"), places, st.sampled_from(sorted(ACTIONS))),
        st.tuples(st.just("meta"), paths, values),
        st.tuples(st.just("attribute"), places, st.one_of(scalars, st.sampled_from(ARRAYS))),
    ),
    min_size=1,
    max_size=3,
)


def restructure(path: Path, changes: list[tuple]) -> None:
    """Change an HDF5 file of ours; its checksums are made right again, as a stranger can."""
    with h5py.File(path, "r+") as file:
        (group,) = file.values()
        names = []
        group.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        meta = json.loads(group["meta"].asstr()[()])
        for how, place, value in changes:
            with contextlib.suppress(Exception):  # an earlier change may have left nothing to change here
                if how == "meta":
                    group["meta"][()] = json.dumps(replaced(meta, place, value))
                elif how == "attribute":
                    holders = [(file, name) for name in file.attrs] + [
                        (item, name) for item in (group, group.get("logits")) if item for name in item.attrs
                    ]
                    item, name = holders[int(place * len(holders))]
                    item.attrs[name] = value
                else:
                    name = names[int(place * len(names))]
                    _change(group, name, how, value)
        with contextlib.suppress(Exception):  # what is left may not be what can be signed
            sign(group)
    seal.append(path)


def _change(group: h5py.Group, name: str, how: str, value: object) -> None:
    old = group[name]
    attributes, dtype, shape = dict(old.attrs), old.dtype, old.shape
    if how == "noise":
        size = int(np.prod(shape)) * dtype.itemsize
        value = np.frombuffer(np.random.default_rng(value).bytes(min(size, 1 << 16)), dtype).reshape(shape)
    del group[name]
    if how == "do":
        ACTIONS[value](group, name)
    else:
        group[name] = value
    group[name].attrs.update(attributes)


def sign(group: h5py.Group, **meta) -> None:
    """Change the meta of a cached sample, and make its checksum right, as a stranger can."""
    text = group["meta"].asstr()[()]
    if meta:
        text = json.dumps(json.loads(text) | meta)
        group["meta"][()] = text
    names: list[str] = []
    group.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    arrays = {name: group[name][()] for name in names if name != "meta"}
    dtype = group["logits"].attrs.get("dtype") if "logits" in arrays else None
    group.attrs["digest"] = cache._digest(group, text, arrays, dtype)


# ---- readers


def read_cache(path: Path) -> None:
    read_header(path)
    list(read_generations(path))
    write_maps(path, path.with_suffix(".maps"), ["tam", "permuted"], FIXED)


def read_raw_scores(path: Path) -> None:
    read_scores_header(path)
    list(read_scores(path))


def read_memo(path: Path) -> None:
    read_perturbed_header(path)
    list(read_perturbed(path))


def write_memo(path: Path) -> None:
    sets = np.packbits(np.eye(3, 12, dtype=bool), axis=1)[::-1]
    scored = Perturbed("a", "ok", "digest", sets, np.full((3, 4), -1, np.float32), np.eye(3, 4, dtype=bool))
    write_perturbed(path, {0: scored}, PerturbedHeader("f", "blur", Asked(("tam", "random")), {"tam": "1"}))


def read_config(path: Path) -> None:
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import validate

    path.write_text(path.read_text("utf-8", "replace"), "utf-8")  # Snakemake itself opens it as text
    config = load_configfile(str(path))
    validate(config, str(ROOT / "workflow/schemas/config.schema.yaml"))


def refusals(reader: str) -> tuple[type[Exception], ...]:
    if reader != "config":
        return (TamError,)
    from snakemake.exceptions import WorkflowError

    return (WorkflowError,)


@dataclass(frozen=True)
class Target:
    """A reader, the files that it is given, and how they are changed: strategy, and (path, case) -> writes the file."""

    read: Callable[[Path], object]
    suffix: str
    strategy: st.SearchStrategy
    write: Callable[[Path, object], object]


def bytewise(read: Callable, suffix: str, *originals: bytes) -> Target:
    strategy = st.tuples(st.sampled_from(originals), changes)
    return Target(read, suffix, strategy, lambda path, case: path.write_bytes(changed(*case)))


def structural(read: Callable, original: bytes) -> Target:
    def write(path: Path, case: list[tuple]) -> None:
        path.write_bytes(original)
        restructure(path, case)

    return Target(read, ".h5", structures, write)


def bitwise(path: Path, read: flips.Reader) -> Target:
    """One bit is another: the file is refused, or holds what it held."""
    data, expected = path.read_bytes(), read(path)

    def check(path: Path) -> None:
        assert read(path) == expected, "silently other values"

    strategy = st.integers(0, 8 * len(data) - 1)
    return Target(check, path.suffix, strategy, lambda path, bit: path.write_bytes(flips.flipped(data, bit)))


def documents(read: Callable, suffix: str, original: object, dump: Callable[[object], str]) -> Target:
    strategy = st.lists(st.tuples(paths, values), min_size=1, max_size=3)

    def write(path: Path, case: list[tuple]) -> None:
        value = original
        for place, new in case:
            value = replaced(value, place, new)
        path.write_text(dump(value), encoding="utf-8", errors="surrogatepass")

    return Target(read, suffix, strategy, write)


def any_of(*kinds: Target) -> Target:
    """Several in one process: most of the time goes into its start."""
    chosen: list[Target] = []

    def write(path: Path, case: tuple[int, object]) -> None:
        chosen[:] = [kinds[case[0]]]
        chosen[0].write(path, case[1])

    strategy = st.one_of(*(st.tuples(st.just(number), kind.strategy) for number, kind in enumerate(kinds)))
    return Target(lambda path: chosen[0].read(path), "", strategy, write)


def tables() -> tuple[bytes, Target]:
    about = {"format": "tam-metrics", "version": VERSION, **asdict(RowsHeader("f", 1, {"tam": "TAM"}, "fixed", "t"))}
    rows = [("a", "", -1, "x", 0, "answer", 3.0, "ok"), ("a", "tam", 0, "x", 1, "obj_iou", 0.5, "ok")]
    original = pa.table([list(column) for column in zip(*rows, strict=True)], schema=SCHEMA)

    def saved(table: pa.Table, about: object, path: Path) -> None:
        pq.write_table(table.replace_schema_metadata({"tam": json.dumps(about), "digest": seal.SLOT}), path)
        seal.seal(path)

    def write(path: Path, case: list[tuple]) -> None:
        table, said = original, about
        for place, new in case:
            index = int(place[0] * len(SCHEMA))
            with contextlib.suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
                if len(place) == 1:
                    said = new
                else:  # of the column's own type, or of any
                    kind = SCHEMA.types[index] if len(place) < 4 else None
                    table = table.set_column(index, SCHEMA.field(index).name, pa.array([new] * 2, kind))
        try:
            saved(table, said, path)
        except (pa.ArrowException, TypeError, ValueError):  # Parquet has not all of Arrow's types
            saved(original, about, path)

    with tempfile.TemporaryDirectory() as folder:
        saved(original, about, Path(folder, "0.parquet"))
        data = Path(folder, "0.parquet").read_bytes()
    strategy = st.lists(st.tuples(paths, values), min_size=1, max_size=3)
    return data, Target(read_table, ".parquet", strategy, write)


def read_table(path: Path) -> None:
    summarise(RunFiles("d", "m", None, (), (), (path,)))


def read_picture(path: Path) -> None:
    picture_size(path)
    stored_size(path)
    open_picture(path)


def pictures() -> list[bytes]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8))
    made = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF"):
        data = io.BytesIO()
        exif = {"exif": Image.Exif()} if kind in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF") else {}
        if exif:
            exif["exif"][0x0112] = 6
        noise.save(data, kind, **exif)
        made.append(data.getvalue())
    return made


def targets(folder: Path) -> dict[str, Target]:
    """Valid files, written into ``folder``, and what is done with them."""
    write_generations(folder / "g.h5", {0: made()}, {"model": "m"}, "f")
    write_maps(folder / "g.h5", folder / "m.h5", ["tam", "random"], FIXED)
    scored(folder / "s.h5", made())
    write_memo(folder / "p.h5")
    answers, maps, scores, memo = ((folder / name).read_bytes() for name in ("g.h5", "m.h5", "s.h5", "p.h5"))
    sample = Sample(
        "x", ["a.jpg"], "What?", references=["A cat."], mask="m.png", categories={"cat": 1}, turns=[["a", "b"]]
    )
    manifest.write([sample], folder / "m.jsonl")
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    table, rows = tables()

    def read_both(path: Path) -> None:
        list(read_pairs(folder / "g.h5", path))

    return {
        "manifest, bytes": bytewise(manifest.read, ".jsonl", (folder / "m.jsonl").read_bytes()),
        "manifest, values": documents(manifest.read, ".jsonl", asdict(sample), json.dumps),
        "cache, bytes": bytewise(read_cache, ".h5", answers),
        "cache, structure": structural(read_cache, answers),
        "scores, bytes": bytewise(read_raw_scores, ".h5", scores),
        "scores, structure": structural(read_raw_scores, scores),
        "perturb, bytes": bytewise(read_memo, ".h5", memo),
        "perturb, structure": structural(read_memo, memo),
        "maps, bytes": bytewise(read_both, ".h5", maps),
        "maps, structure": structural(read_both, maps),
        "metrics, bytes": bytewise(read_table, ".parquet", table),
        "metrics, values": rows,
        "pictures, bytes": bytewise(read_picture, ".png", *pictures()),
        "videos, bytes": bytewise(read_video, ".gif", pictures()[2], *fuzz_datasets.videos(folder)),
        "config, bytes": bytewise(read_config, ".yaml", (ROOT / "config/config.yaml").read_bytes()),
        "config, values": documents(read_config, ".yaml", config, json.dumps),
        "datasets": any_of(
            *(documents(read, ".json", original, json.dumps) for read, original in fuzz_datasets.VALUES),
            *(bytewise(read, "", original) for read, original in fuzz_datasets.BYTES),
        ),
        "label maps": Target(fuzz_rules.check_label_map, ".png", fuzz_rules.label_maps, fuzz_rules.write_label_map),
        "names of categories": Target(fuzz_rules.check_names, ".json", fuzz_rules.named, fuzz_rules.write_json),
        "generation configs": Target(
            fuzz_rules.check_generation_config, ".json", fuzz_rules.generation_configs, fuzz_rules.write_json
        ),
        "label maps, bits": bitwise(*fuzz_rules.stored_label_map(folder)),
        "journals, bits": bitwise(*fuzz_rules.journal(folder)),
        **{f"{name}, bits": bitwise(*file) for name, file in flips.originals(folder / "bits").items()},
    }


# ---- the run


def work(name: str, cases: int, start: int, folder: Path) -> None:
    """Try one target; leaves ``found.json``: numbers of cases, of files read, and failures by place."""
    os.dup2(os.open(folder / "said", os.O_CREAT | os.O_WRONLY), 2)  # progress bars, and how it died
    sys.stderr = sys.__stderr__
    faulthandler.enable()
    warnings.simplefilter("ignore")
    target, expected = targets(folder)[name], refusals(name.partition(",")[0])
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()  # by libraries, mostly
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    path = folder / f"case{target.suffix}"
    count: collections.Counter[str] = collections.Counter()
    failures: collections.Counter[str] = collections.Counter()

    @seed(start)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.strategy)
    def run(case: object) -> None:
        target.write(path, case)
        count["cases"] += 1
        (folder / "count").write_text(str(count["cases"]))
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            target.read(path)
            count["read"] += 1
        except expected:
            pass
        except Exception as error:
            last = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT) in frame.filename][-1]
            place = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
            failures[place] += 1
            (folder / f"{place.replace(' ', '-')}{target.suffix}").write_bytes(path.read_bytes())
        finally:
            faulthandler.cancel_dump_traceback_later()

    run()
    found = {"cases": count["cases"], "read": count["read"], "failures": failures}
    (folder / "found.json").write_text(json.dumps(found))


def fuzz(cases: int, start: int) -> tuple[list[dict], list[str]]:
    """Share the cases among all targets; a row a target, and what failed."""
    torch.set_num_threads(1)  # OpenMP's threads do not live on in a fork
    with tempfile.TemporaryDirectory() as folder:
        names = list(targets(Path(folder)))
    rows, failed = [], []
    for number, name in enumerate(names):
        wanted = cases * (number + 1) // len(names) - cases * number // len(names)
        row = {"reader": name, "cases": 0, "read": 0, "refused": 0, "failed": 0, "died": 0, "seconds": 0.0}
        begun, attempt = time.monotonic(), 0
        while row["cases"] < wanted and attempt < 20:
            folder = Path(tempfile.mkdtemp(prefix="tam-fuzz-"))
            todo = wanted - row["cases"]
            worker = multiprocessing.get_context("fork").Process(  # what a start imports takes seconds
                target=work, args=(name, todo, start + 1000 * attempt, folder)
            )
            worker.start()
            worker.join()
            attempt += 1
            if worker.exitcode:
                tried = int((folder / "count").read_text()) if (folder / "count").exists() else 0
                row["cases"] += max(tried, 1)
                row["died"] += 1
                said = (folder / "said").read_text(errors="replace").split("\nExtension modules")[0][-300:]
                failed.append(f"{name}: the worker died ({worker.exitcode}), {folder}: {said}")
                continue
            found = json.loads((folder / "found.json").read_text())
            if not found["failures"]:
                shutil.rmtree(folder)
            row["cases"] += found["cases"]
            row["read"] += found["read"]
            row["failed"] += sum(found["failures"].values())
            failed += [f"{name}: {count} x {failure} ({folder})" for failure, count in found["failures"].items()]
            if found["cases"] < todo and not found["failures"]:
                break  # there are no more different cases
        row["refused"] = row["cases"] - row["read"] - row["failed"] - row["died"]
        row["seconds"] = time.monotonic() - begun
        rows.append(row)
    return rows, failed


def main(arguments: list[str]) -> int:
    cases, start = (*map(int, arguments), 0)[:2]
    rows, failed = fuzz(cases, start)
    total = {key: sum(row[key] for row in rows) for key in list(rows[0])[1:]}
    for row in (*rows, {"reader": "all"} | total):
        print("  ".join([f"{row['reader']:18}", *(f"{key} {row[key]:.0f}" for key in list(row)[1:])]))
    print(*(re.sub(r"\s+", " ", line) for line in failed), sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
