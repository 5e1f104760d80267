"""The pipeline as people run it: a real Snakemake, the embedded model, a few emoji scenes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from tests.shared import shared

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "000000000002"
CONFIG = {
    "datasets": {"emoji": {"kind": "emoji", "scenes": 6, "seed": 5}},
    "models": {"tiny": {"model": "embedded"}},
    "shards": 2,
    "methods": ["random", "permuted", "activation", "tam"],
    "generate": {"max_new_tokens": 40, "batch_size": 2},
    "render": {"samples": [SAMPLE]},
}
RUN = Path("results/emoji/tiny")
BEHIND_METRICS = {"tables": 1, "overview": 1, "figures": 1, "page": 1}


def snakemake(folder: Path, *options: str, config: dict = CONFIG, check: bool = True) -> subprocess.CompletedProcess:
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    # nothing is retried, and where a test names a profile, that one counts
    command += ["--configfile", folder / "config.yaml", "--cores", "2", "--workflow-profile", "none", *options]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
    if check and done.returncode:
        logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("logs/**/*.log"))
        raise AssertionError(f"{done.stdout[-3000:]}\n{logs[-6000:]}")
    return done


def jobs(done: subprocess.CompletedProcess) -> dict[str, int]:
    """Job counts of a dry run or a run, by rule."""
    lines = iter(done.stdout.splitlines())
    for line in lines:
        if line.startswith("job ") and "count" in line:
            break
    rows = (line.split() for line in lines if not line.startswith("-"))
    counts = {}
    for row in rows:
        if len(row) != 2:
            break
        counts[row[0]] = int(row[1])
    return counts


def values(path: Path) -> dict[str, object]:
    """Every value of an HDF5 file by its path."""
    found = {}

    def note(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].tobytes() if isinstance(item[()], np.ndarray) else item[()]

    with h5py.File(path) as file:
        file.visititems(note)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a run")  # with a space in its name: every path is quoted
    snakemake(folder, "--report", "report.zip", "--report-after-run")
    return folder


def test_a_run_gives_tables_pictures_and_figures(finished):
    table = pd.read_csv(finished / RUN / "tables/ablation.csv")
    assert len(table) == 4
    assert (finished / RUN / "tables/ablation.md").is_file()
    assert (finished / RUN / "tables/ablation.tex").is_file()
    assert "Li et al." in (finished / "results/tables/components.md").read_text()
    assert (finished / "results/tables/index.html").is_file()
    assert (finished / RUN / "render" / SAMPLE / "sheet.png").is_file()
    assert list((finished / RUN / "figures").glob("*.pdf"))
    assert (finished / "results/report/index.html").is_file()


def test_a_second_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in snakemake(finished, "-n").stdout


def test_a_larger_batch_does_not_redo_finished_shards(finished):
    config = CONFIG | {"generate": {"max_new_tokens": 40, "batch_size": 3}}
    assert "Nothing to be done" in snakemake(finished, "-n", config=config).stdout


def test_methods_that_need_scores_bring_a_stage_whose_maps_alone_know_sign_and_scope(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    config = CONFIG | {"methods": [*CONFIG["methods"], "gae", "attention"]}
    config |= {"attribute": {"attention_layers": [1, 4], "sign": "signed", "occlusion": {"step": 2}}}
    config["models"] = {"tiny": {"model": "embedded", "dtype": "float32", "device": "cpu"}}
    done = snakemake(folder, "-n", "-p", config=config)
    assert jobs(done)["attribute"] == jobs(done)["maps"] == 2
    commands = [line.strip() for line in done.stdout.splitlines() if "-m tam " in line]
    (attribute, maps) = (next(line for line in commands if f"tam {stage} " in line) for stage in ("attribute", "maps"))
    assert "--model=embedded --device=cpu --method=gae --method=attention --attention-layers=1,4" in attribute
    assert "--occlusion-step=2" in attribute and "dtype" not in attribute
    assert "--scores=results/emoji/tiny/attribute/" in maps and "--sign=signed --scope=joint" in maps
    assert "sign" not in attribute and "attribute" not in jobs(snakemake(folder, "-n"))


def test_datasets_from_elsewhere_are_read_by_their_keys_and_phrases_are_made_where_answers_name_them(tmp_path):
    refs, picture = {"kind": "refcoco", "images": "train2014", "refs": "refs(unc).p"}, {"image_column": "picture"}
    config = CONFIG | {
        "datasets": {
            "p": {"kind": "hf", "root": "my data", "part": "0-of-4", "limit": 5} | picture,
            "h": {"kind": "hf", "hub": "a/b", "files": "data/val-*.parquet", "revision": "main"},
            "s": {"kind": "coco-panoptic", "images": "val2017", "panoptic": "p.json", "segments": "png"},
            "r": refs | {"instances": "instances.json", "split": "val"},
        },
        "models": {"tiny": {"model": "embedded", "answers": {"r": "data/r/phrases.jsonl"}}},
    }
    done = snakemake(tmp_path, "-n", "-p", config=config | {"render": {"samples": []}})
    assert jobs(done)["dataset"] == 4 and jobs(done)["phrases"] == 1
    said = [line.partition("tam dataset ")[2].partition(" --out")[0] for line in done.stdout.splitlines()]
    assert {line for line in said if line} == {
        "hf --image-column=picture --limit=5 --part=0-of-4 '--root=my data'",
        "hf '--files=data/val-*.parquet' --hub=a/b --revision=main",
        "coco-panoptic --images=val2017 --panoptic=p.json --segments=png",
        "refcoco --images=train2014 --instances=instances.json '--refs=refs(unc).p' --split=val",
        "phrases --manifest data/r/manifest.jsonl",
    }
    assert "--answers=data/r/phrases.jsonl" in done.stdout


def test_texts_of_a_model_are_an_input_of_its_answers(finished, tmp_path):
    """Given texts redo all of that model's generation; the file is named on the command line."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    (folder / "texts.jsonl").write_text("")
    config = CONFIG | {"models": {"tiny": {"model": "embedded", "answers": "texts.jsonl"}}}
    done = snakemake(folder, "-n", "-p", config=config)
    assert jobs(done)["generate"] == 2 and "--answers=texts.jsonl" in done.stdout


def test_texts_of_a_model_may_be_a_file_a_dataset(finished, tmp_path):
    """COCO, GranDf and OpenPSG share ids. Where a dataset has no file, the model answers itself."""
    (tmp_path / "a.jsonl").write_text("")
    config = CONFIG | {"datasets": {name: {"kind": "emoji"} for name in ("a", "b")}}
    config["models"] = {"tiny": {"model": "embedded", "answers": {"a": "a.jsonl"}}}
    commands = [
        line for line in snakemake(tmp_path, "-n", "-p", config=config).stdout.splitlines() if "tam generate" in line
    ]
    assert len(commands) == 4 and sum("--answers=a.jsonl" in line for line in commands) == 2
    assert all(("data/a/" in line) == ("--answers" in line) for line in commands)


def test_a_changed_config_gives_its_own_shards_and_methods_only_and_says_what_the_old_one_left(finished, tmp_path):
    """Other shards, fewer methods and one of one's own, shorter answers."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    own = "import tam\nmine = tam.Method('inverse', 'Inverse of ECI', lambda cached: 1 - cached.eci.maps)\n"
    (folder / "my methods.py").write_text(own)
    config = CONFIG | {"shards": 3, "methods": ["my methods.py:mine", "tam"], "generate": {"max_new_tokens": 6}}
    config["render"] = {"samples": [SAMPLE], "method": "my methods.py:mine"}
    said = snakemake(folder, config=config).stdout
    assert pd.read_csv(folder / RUN / "tables/ablation.csv").method.tolist() == ["inverse", "tam"]
    scored = pd.concat(pd.read_parquet(folder / RUN / f"metrics/{index}-of-3.parquet") for index in range(3))
    assert scored["sample"].nunique() == 6 and set(scored.method) == {"", "inverse", "tam"}
    assert (folder / RUN / "metrics/0-of-2.parquet").exists()
    assert "3 of 3 shards" in said and "other shards in maps (2 files" in said
    assert "Nothing to be done" in snakemake(folder, "-n", config=config).stdout
    (folder / "my methods.py").write_text(f"{own}# changed\n")
    redone = jobs(snakemake(folder, "-n", config=config))
    assert redone["maps"] == redone["metrics"] == 3 and "generate" not in redone


def test_a_run_folder_that_is_a_link_keeps_the_config_s_names(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    (folder / RUN).rename(tmp_path / "run42")
    (folder / RUN).symlink_to(tmp_path / "run42")
    shutil.rmtree(folder / RUN / "tables")
    snakemake(folder, "--", str(RUN / "tables"), "results/tables")
    for name in (RUN / "tables/ablation.csv", RUN / "tables/summary.csv"):
        table = pd.read_csv(folder / name)
        assert set(zip(table.dataset, table.model, strict=True)) == {("emoji", "tiny")}
        assert set(table.method) == set(CONFIG["methods"])


@pytest.mark.parametrize("method", ["apptainer", "env-modules"])
def test_without_conda_rules_find_the_python_that_runs_snakemake(tmp_path, monkeypatch, method):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    snakemake(tmp_path, "--sdm", method, "--", "data/emoji/manifest.jsonl")
    assert (tmp_path / "data/emoji/manifest.jsonl").is_file()


@pytest.mark.parametrize(
    ("lost", "redone"),
    [
        ("generate/0-of-2.h5", {"generate": 1, "maps": 1, "metrics": 1, "render": 1, **BEHIND_METRICS}),
        ("maps/1-of-2.h5", {"maps": 1, "metrics": 1, "render": 1, **BEHIND_METRICS}),
        ("metrics/0-of-2.parquet", {"metrics": 1, **BEHIND_METRICS}),
        ("tables", {"tables": 1}),
        ("render", {"render": 1}),
        ("figures", {"figures": 1}),
        ("../../report", {"page": 1}),
        ("../../tables", {"overview": 1}),
    ],
)
def test_a_lost_output_redoes_only_what_depends_on_it(finished, tmp_path, lost, redone):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    path = folder / RUN / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert jobs(snakemake(folder, "-n")) == redone | {"all": 1, "total": sum(redone.values()) + 1}


def test_a_lost_shard_comes_back_value_for_value(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    names = [RUN / "generate/0-of-2.h5", RUN / "maps/0-of-2.h5"]
    before = [values(folder / name) for name in names]
    for name in names:
        (folder / name).unlink()
    snakemake(folder)
    assert [values(folder / name) for name in names] == before
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / RUN / "tables/ablation.csv"), pd.read_csv(finished / RUN / "tables/ablation.csv")
    )


def test_a_killed_generation_goes_on_where_it_was(finished, tmp_path):
    """SIGKILL in the middle of a shard: finished samples stay, and the file is the same as without the kill."""
    out = tmp_path / "generate/0-of-1.h5"
    manifest = finished / "data/emoji/manifest.jsonl"
    command = [sys.executable, "-m", "tam", "generate", "--manifest", manifest, "--out", out]
    command += ["--max-new-tokens", "40", "--batch-size", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("part-*.h5")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    kept = len(list(tmp_path.rglob("part-*.h5")))
    assert kept
    resumed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "resume" in resumed.stderr + resumed.stdout
    undisturbed = tmp_path / "undisturbed/0-of-1.h5"
    command[command.index(out)] = undisturbed
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert values(out) == values(undisturbed)


def test_the_report_holds_tables_pictures_and_figures(finished):
    assert (finished / "report.zip").stat().st_size > 100_000


def test_a_failed_job_s_own_error_is_shown_and_none_of_an_earlier_start(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/old.log").write_text("tam: error: of yesterday\n")
    data = {"mine": {"kind": "folder", "root": str(tmp_path / "gone")}}
    done = snakemake(tmp_path, "--quiet", "all", config={**CONFIG, "datasets": data}, check=False)
    assert f"logs/mine/dataset.log:tam: error: {tmp_path / 'gone'}: no such folder" in done.stdout
    assert "of yesterday" not in done.stdout


def test_a_broken_picture_costs_only_its_sample(finished, tmp_path):
    scenes = tmp_path / "scenes"
    shutil.copytree(finished / "data/emoji", scenes)
    (scenes / "image/000000000003.jpg").write_bytes(b"no picture")
    config = CONFIG | {"datasets": {"emoji": {"kind": "coco", "root": str(scenes)}}, "methods": ["tam"]}
    snakemake(tmp_path, config=config)
    assert "failed" in (tmp_path / RUN / "tables/ablation.md").read_text()
    scored = pd.concat(map(pd.read_parquet, (tmp_path / RUN / "metrics").glob("*.parquet")))
    assert scored[scored.status == "ok"]["sample"].nunique() == 5


def test_real_photos_and_masks_go_through(tmp_path):
    config = CONFIG | {"datasets": {"emoji": {"kind": "coco", "root": str(shared("data", "coco2014"))}}}
    snakemake(tmp_path, config=config | {"shards": 1, "methods": ["tam"], "render": {"samples": ["000000185250"]}})
    assert (tmp_path / RUN / "render/000000185250/sheet.png").is_file()
    scored = pd.read_parquet(tmp_path / RUN / "metrics/0-of-1.parquet")
    assert scored["sample"].nunique() == 5


@pytest.mark.parametrize(("name", "runs"), [("paper", 18), ("quick", 1), ("filters", 1)])
def test_the_papers_grid_is_a_plan(tmp_path, name, runs):
    """Models on datasets, from what the hub holds, with the data that NLTK needs: nothing of it is fetched here."""
    config = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    planned = jobs(snakemake(tmp_path, "-n", "--quiet", "rules", config=config))
    assert planned["generate"] == runs * config["shards"]
    assert planned["maps"] == planned["metrics"] == runs * config["shards"]
    assert planned.get("attribute", 0) == (runs * config["shards"] if name == "paper" else 0)
    assert planned["nltk_data"] == 1
    assert planned.get("perturb", 0) == (2 * planned["generate"] if "faithfulness" in config else 0)
    assert "render" not in planned  # no sample is named, and none is drawn


def test_a_dry_run_says_how_many_forward_passes_a_sample_costs_without_its_pictures_parts(tmp_path):
    methods = ["random", "activation", "tam"]
    config = CONFIG | {"methods": methods, "faithfulness": {"methods": methods, "baselines": ["mean"]}}
    planned = snakemake(tmp_path, "-n", config=config).stdout
    for shard in ("0-of-2", "1-of-2"):
        cost = "about 83 forward passes a sample (more on some grids), at most 54 more a word of it: 245 with three"
        assert f"perturb mean of emoji/tiny {shard}: {cost}" in planned


def test_one_run_over_datasets_of_all_layouts_and_the_data_of_nltk(tmp_path):
    """Real pictures and masks; captions.txt, CSV and prompts of one's own; metrics by NLTK's tagger."""
    data = shared("data")
    (tmp_path / "mine.csv").write_text("media,captions\nphoto.jpg,A photo.\n/etc/passwd,No photo.\n")
    shutil.copy(data / "photos/demo.jpg", tmp_path / "photo.jpg")
    annotations = data / "coco2014/annotations"
    files = {"instances": annotations / "instances_minival2014.json", "captions": annotations / "captions_val2014.json"}
    original = {"kind": "coco-original", "images": data / "coco2014/image", "limit": 2, **files}
    datasets = {
        "grandf": {"kind": "grandf", "root": data / "GranDf"},
        "openpsg": {"kind": "openpsg", "root": data / "OpenPSG", "prompt": "Say it:", "limit": 1},
        "original": original,
        "mine": {"kind": "csv", "root": tmp_path / "mine.csv"},
    }
    datasets = {
        name: {key: str(value) if isinstance(value, Path) else value for key, value in entry.items()}
        for name, entry in datasets.items()
    }
    config = CONFIG | {"datasets": datasets, "shards": 1, "methods": ["tam"], "render": {}}
    tables = [f"results/{name}/tiny/tables" for name in datasets]
    snakemake(tmp_path, *tables, config=config | {"nltk_data": str(data / "nltk_data")})
    scored = {name: pd.read_parquet(tmp_path / f"results/{name}/tiny/metrics/0-of-1.parquet") for name in datasets}
    counts = {name: table["sample"].nunique() for name, table in scored.items()}
    assert counts == {"grandf": 2, "openpsg": 1, "original": 2, "mine": 2}
    assert (scored["original"].query("metric == 'meteor'").status == "ok").all()
    status = scored["mine"].query("metric == 'answer'").status
    assert status.str.startswith("failed: mine.csv, line 3: not a path in its folder").sum() == 1
    for name in datasets:
        assert "NLTK perceptron tagger" in (tmp_path / f"results/{name}/tiny/tables/ablation.md").read_text()
    manifest = (tmp_path / "data/openpsg/manifest.jsonl").read_text()
    assert json.loads(manifest)["prompt"] == "Say it:"
