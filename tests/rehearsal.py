"""The whole grid, rehearsed: ``python -m tests.rehearsal FOLDER [--small]``, which takes minutes.

Three small data sets in the paper's layouts, the embedded model and tiny random ones of five families, all methods,
both protocols, two shards. A run is killed and started again; then, in the same folder, the config changes one thing at
a time. After each change: what was redone, by counts of jobs that are known beforehand, and whether metrics, tables,
figures and page hold just what the config says, equal to what the stages make of it where nothing lay. At the end a run
of all of it in a fresh folder, and Snakemake's report. FOLDER gets the table of what was redone, as Markdown and JSON.
The first difference ends it. Jobs are forks of one process (``forked.py``).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.forked import forked

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = ("qwen2_5_vl", "llava", "llava_next", "internvl", "idefics3")
ADDED, KEPT = "gemma3", ("embedded", "internvl")
SAMPLES = 4
Config = dict[str, Any]
Counts = dict[str, int]


# ---- what is run


def write_datasets(folder: Path) -> Config:
    """Emoji scenes in the three layouts of the paper, with captions of one, two and three sentences."""
    from tam.datasets.emoji import scenes
    from tam.datasets.emoji.grammar import PLACES, there

    datasets: Config = {}
    for seed, (name, sentences) in enumerate({"coco": 1, "grandf": 2, "openpsg": 3}.items()):
        scenes.write(folder / name, SAMPLES, seed)
        datasets[name] = {"kind": name, "root": str(folder / name)}
        if name == "coco":
            continue
        entries = []
        for index in range(SAMPLES):
            made, file = scenes.scene(seed, index), f"{index + 1:012d}"
            more = [f"{there([group])} {PLACES[made.place]}." for group in (made.groups * 2)[: sentences - 1]]
            caption = " ".join([made.captions[0], *(text[0].upper() + text[1:] for text in more)])
            ids = {group: scenes.IDS[group] for group, _ in made.groups}
            entries.append([f"image/{file}.jpg", caption, f"seg_label/{file}.png", ids])
        (folder / name / "anno.json").write_text(json.dumps(entries), encoding="utf-8")
    return datasets


def write_models(folder: Path, kinds: tuple[str, ...]) -> Config:
    from tests import tiny

    return {kind: {"model": str(tiny.checkpoint(folder / kind, kind))} for kind in kinds}


def first_config(folder: Path, small: bool) -> Config:
    from tam.methods.registry import METHODS

    datasets = write_datasets(folder)
    models = {"embedded": {"model": "embedded"}} | write_models(folder, FAMILIES[1:4:2] if small else FAMILIES)
    return {
        "datasets": {name: datasets[name] for name in (("coco", "grandf") if small else datasets)},
        "models": models,
        "shards": 2,
        "generate": {"max_new_tokens": 24, "batch_size": 2},
        "methods": ["random", "eci", "gradcam", "tam"] if small else [*METHODS],
        "protocol": "fixed",
    }


def changes(config: Config, folder: Path) -> Iterator[tuple[str, Config, Counts]]:
    """Each change, the config after it, and the jobs that it costs; each goes on from the one before."""
    config = config | {"protocol": "reference"}
    yield "protocol: reference", config, jobs_of(config, "maps")
    kept = {name: config["models"][name] for name in KEPT}
    config = config | {"models": kept}
    yield f"models: {' and '.join(KEPT)} alone", config, jobs_of(config)
    config = config | {"methods": ["activation", "tam"]}
    yield "methods: two", config, jobs_of(config, "maps")
    config = config | {"methods": ["tam", "random", "layercam", "rgf-5"], "protocol": "fixed"}
    yield "methods: four, one of a rival; protocol: fixed", config, jobs_of(config, "attribute")
    config = config | {"shards": 1}
    yield "shards: 1", config, jobs_of(config, "generate")
    other = config["datasets"]["grandf"] | {"prompt": "What is in the image?"}
    config = config | {"datasets": config["datasets"] | {"grandf": other}}
    yield "prompt of grandf", config, jobs_of(config, "dataset", datasets=["grandf"])
    config = config | {"models": config["models"] | write_models(folder, (ADDED,))}
    yield f"models: {ADDED}, too", config, jobs_of(config, "generate", models=[ADDED])
    texts = [{"id": f"{number + 1:012d}", "answer": "A dog and a cat."} for number in range(SAMPLES)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    explained = config["models"][KEPT[1]] | {"answers": {"coco": str(folder / "texts.jsonl")}}
    config = config | {"models": config["models"] | {KEPT[1]: explained}}
    yield f"answers of {KEPT[1]} on coco", config, jobs_of(config, "generate", models=[KEPT[1]], datasets=["coco"])


SHARDED = ("generate", "attribute", "maps", "metrics")


def scored(config: Config) -> list[str]:
    """The methods that need the model."""
    from tam.methods.registry import METHODS

    return [name for name in config["methods"] if METHODS[name].needs == "scores"]


def jobs_of(
    config: Config, first: str | None = None, models: list[str] | None = None, datasets: list[str] | None = None
) -> Counts:
    """Jobs by rule where all of some models and datasets is made anew from a stage on; what is over all runs always."""
    models, datasets = models or [*config["models"]], datasets or [*config["datasets"]]
    runs = len(models) * len(datasets)
    counts = {"all": 1, "overview": 1, "page": 1, "comparison": len(datasets)}
    if first is None:
        return counts
    if first == "dataset":
        counts["dataset"], first = len(datasets), "generate"
    for stage in SHARDED[SHARDED.index(first) :]:
        if stage != "attribute" or scored(config):
            counts[stage] = runs * config["shards"]
    return counts | {"tables": runs, "figures": runs}


# ---- how it is run


def command(python: Path, folder: Path, config: Config, *options: str) -> list[str]:
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    start = [python, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    start += ["--configfile", folder / "config.yaml", "--cores", "2", "--workflow-profile", "none", *options]
    return [str(word) for word in start]


def run(python: Path, folder: Path, config: Config, *options: str) -> str:
    """What Snakemake says; RuntimeError with the logs of what failed."""
    done = subprocess.run(
        command(python, folder, config, *options), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        logs = "\n".join(path.read_text(errors="replace")[-1500:] for path in folder.glob("logs/**/*.log"))
        raise RuntimeError(f"{done.stdout[-3000:]}\n{logs[-6000:]}")
    return done.stdout


def counted(said: str) -> Counts:
    """The table of jobs that Snakemake prints first."""
    lines = iter(said.splitlines())
    for line in lines:
        if line.startswith("job ") and "count" in line:
            break
    counts = {}
    for row in (line.split() for line in lines if not line.startswith("-")):
        if len(row) != 2:
            break
        counts[row[0]] = int(row[1])
    counts.pop("total", None)
    return counts


def killed(python: Path, folder: Path, config: Config) -> tuple[int, int, Counts]:
    """Start a run, kill it with all its jobs while some are at work, and start again.

    Returns:
        how many shards were generated before, how many were begun, and the jobs of the second start.
    """
    first = subprocess.Popen(
        command(python, folder, config),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wanted = len(config["models"]) * len(config["datasets"]) * config["shards"] // 3
    while first.poll() is None and len([*folder.glob("results/*/*/generate/*.h5")]) < max(wanted, 1):
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    begun = len([*(folder / ".snakemake/incomplete").rglob("*")])
    done = {path: path.stat().st_mtime_ns for path in folder.glob("results/*/*/generate/*.h5")}
    run(python, folder, config, "--unlock")
    counts = counted(run(python, folder, config, "--rerun-incomplete"))
    expected = jobs_of(config, "dataset")
    kept = sum(path.stat().st_mtime_ns == time_ for path, time_ in done.items())
    check(kept == len(done) or len(done) - kept <= begun, "a finished shard was generated again", kept, len(done))
    check(counts["generate"] <= expected["generate"] - kept, "generated", counts, expected)
    return len(done), begun, counts


def check(right: bool, what: str, *seen: object) -> None:
    if not right:
        raise AssertionError(f"{what}: {seen}")


# ---- what came out


class Fresh:
    """The stages themselves, in one process and in folders where nothing lay; an answer is asked for once."""

    def __init__(self, folder: Path):
        self.folder, self.number, self.made = folder, 0, dict[str, Path]()

    def results(self, config: Config, figures: bool = False) -> Path:
        """A folder with data and results as a run of the config leaves them, without figures."""
        from tam.methods.stage import write_maps
        from tam.metrics.stage import write_metrics
        from tam.page.stage import write_page
        from tam.protocol import protocol
        from tam.run import runs_of
        from tam.tables.ablation import write_tables
        from tam.tables.overview import write_overview

        self.number += 1
        root = self.folder / str(self.number)
        files: dict[str, list[Path]] = {"manifests": [], "generation": [], "maps": [], "metrics": []}
        rules = protocol(config["protocol"])
        for dataset, of in config["datasets"].items():
            manifest = root / "data" / dataset / "manifest.jsonl"
            _dataset(of, manifest)
            files["manifests"].append(manifest)
            for name, model in config["models"].items():
                place = root / "results" / dataset / name
                for index in range(config["shards"]):
                    shard = f"{index}-of-{config['shards']}"
                    generation, maps = place / f"generate/{shard}.h5", place / f"maps/{shard}.h5"
                    metrics = place / f"metrics/{shard}.parquet"
                    self._generated(config, dataset, of, model, shard, manifest, generation)
                    scores = self._scored(config, model, manifest, generation)
                    write_maps(generation, maps, config["methods"], rules, scores_path=scores)
                    write_metrics(generation, maps, manifest, metrics, rules)
                    for kind, path in (("generation", generation), ("maps", maps), ("metrics", metrics)):
                        files[kind].append(path)
                (one,) = runs_of(metrics=[path for path in files["metrics"] if place in path.parents])
                write_tables(one, place / "tables", config["methods"])
        published = ROOT / "config/published.yaml"
        write_overview(runs_of(metrics=files["metrics"]), published, root / "results/tables", config["methods"])
        write_page(runs_of(**files), root / "results/report", methods=config["methods"], most=100)
        return root

    def _generated(
        self, config: Config, dataset: str, of: Config, model: Config, shard: str, manifest: Path, out: Path
    ) -> None:
        from tam.generation.stage import generate
        from tam.manifest import Shard

        answers = (model.get("answers") or {}).get(dataset)
        key = json.dumps([of, model["model"], answers, shard, config["generate"]], sort_keys=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        if key not in self.made:
            generate(
                manifest, Shard.parse(shard), _folder_of(model), out, device="cpu", answers=answers and Path(answers),
                **config["generate"],
            )  # fmt: skip
            self.made[key] = out
        else:
            shutil.copy(self.made[key], out)

    def _scored(self, config: Config, model: Config, manifest: Path, generation: Path) -> Path | None:
        from tam.attribution.methods import Settings
        from tam.attribution.stage import write_attribution

        if not scored(config):
            return None
        out = generation.parent.with_name("attribute") / generation.name
        out.parent.mkdir(exist_ok=True)
        write_attribution(generation, manifest, _folder_of(model), out, scored(config), Settings(), device="cpu")
        return out


def _folder_of(model: Config) -> str:
    from tam.embedded import CHECKPOINT

    return str(CHECKPOINT) if model["model"] == "embedded" else model["model"]


def _dataset(of: Config, manifest: Path) -> None:
    from tam.datasets import anno, coco

    root = Path(of["root"])
    if of["kind"] == "coco":
        coco.write(root, manifest, **{key: of[key] for key in ("prompt",) if key in of})
    else:
        anno.write(root, manifest, prompt=of.get("prompt", anno.PROMPTS[of["kind"]]))


def compare(folder: Path, fresh: Path, config: Config) -> int:
    """How many files are equal: metrics row by row, tables and page byte by byte, and none that the config lacks.

    Raises:
        AssertionError: one differs, is missing or is one too many.
    """
    import pandas as pd

    equal = 0
    for dataset in config["datasets"]:
        for model in config["models"]:
            one, other = (root / "results" / dataset / model for root in (folder, fresh))
            for path in sorted(other.glob("metrics/*.parquet")):
                pd.testing.assert_frame_equal(
                    pd.read_parquet(one / "metrics" / path.name), pd.read_parquet(path), check_exact=True, obj=str(path)
                )
                equal += 1
            equal += same_files(one / "tables", other / "tables")
            newest = max(path.stat().st_mtime for path in one.glob(f"metrics/*-of-{config['shards']}.parquet"))
            check(all(path.stat().st_mtime >= newest for path in (one / "figures").iterdir()), "figures of before", one)
    for name in ("tables", "report/page"):
        equal += same_files(folder / "results" / name, fresh / "results" / name)
    return equal


def same_files(one: Path, other: Path) -> int:
    """Whether two folders hold the same; how many files."""
    names = [
        {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")}
        for root in (one, other)
    ]
    check(names[0] == names[1], "other files", one, sorted(names[0] ^ names[1]))
    different = [name for name in sorted(names[0]) if (one / name).read_bytes() != (other / name).read_bytes()]
    check(not different, "files differ", one, other, different)
    return len(names[0])


def main(out: Path, small: bool) -> None:
    begin, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="rehearsal") as name, forked(Path(name)) as python:
        folder, inputs, fresh = Path(name, "run"), Path(name, "inputs"), Fresh(Path(name, "fresh"))
        folder.mkdir()
        config = first_config(inputs, small)

        def note(change: str, counts: Counts, seconds: float, equal: int) -> None:
            stages = ("dataset", *SHARDED, "tables", "figures", "comparison", "overview", "page")
            row = {"change": change} | {stage: counts.get(stage, 0) for stage in stages}
            rows.append(row | {"files equal to a fresh folder's": equal, "seconds": round(seconds)})
            print(json.dumps(rows[-1]), flush=True)

        start = time.monotonic()
        before, begun, counts = killed(python, folder, config)
        said = f"all, killed when {before} shards were generated ({begun} files begun); the second start"
        note(said, counts, time.monotonic() - start, compare(folder, fresh.results(config), config))
        for change, after, expected in changes(config, inputs):
            config = after
            start = time.monotonic()
            counts = counted(run(python, folder, config))
            seconds = time.monotonic() - start
            check(counts == expected, f"jobs of {change}", counts, expected)
            check("Nothing to be done" in run(python, folder, config, "-n"), f"after {change} there is more to do")
            note(change, counts, seconds, compare(folder, fresh.results(config), config))

        start, anew = time.monotonic(), Path(name, "anew")
        anew.mkdir()
        counts = counted(run(python, anew, config))
        check(counts == jobs_of(config, "dataset"), "jobs of a fresh folder", counts)
        equal = compare(folder, anew, config)
        for dataset in config["datasets"]:
            for part in ("comparison", *(f"{model}/figures" for model in config["models"])):
                equal += same_files(*(root / "results" / dataset / part for root in (folder, anew)))
        note("a fresh folder, figures too", counts, time.monotonic() - start, equal)
        run(python, folder, config, "--report", "report.html")
        report = (folder / "report.html").read_text(encoding="utf-8")
        gone = set(FAMILIES) - set(config["models"])
        named = [model for model in (*config["models"], *gone) if f'"{model}"' in report]
        check(named == [*config["models"]], "models of the report", named)

    from tests.bench import result

    about = (
        f"Jobs by rule after each change in one folder; {'a small part of it' if small else 'the whole rehearsal'}, "
        f"{(time.monotonic() - begin) / 60:.1f} minutes."
    )
    result.write(out, "rehearsal", rows, about)


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when NumPy is loaded, so start again with it
        os.execve(sys.executable, [sys.executable, "-m", "tests.rehearsal", *sys.argv[1:]],
                  os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"})  # fmt: skip
    main(Path(sys.argv[1]), "--small" in sys.argv[2:])
