"""Four emoji scenes, kept as other people keep their data, from their own format to the tables by the commands."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tam import cli, manifest
from tam.datasets import coco
from tam.datasets.emoji import scenes as emoji
from tam.metrics.catalogue import PHRASE_METRICS
from tam.metrics.localisation import localise
from tam.metrics.picture import Picture, find_targets
from tam.protocol import FIXED
from tam.rows import opened
from tam.words import Word

SCENES, SEED = 4, 3


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "set"
    emoji.write(folder, n=SCENES, seed=SEED)
    coco.write(folder, folder / "manifest.jsonl")
    return folder


def tam(*arguments: object) -> str:
    done = CliRunner().invoke(cli.app, [str(one) for one in arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def run(folder: Path, *options: object) -> pd.DataFrame:
    """All rows of the metrics of a folder's manifest, behind its tables."""
    listed, of_run = folder / "manifest.jsonl", folder / "results/d/m"
    files = {stage: of_run / stage / "0-of-1.h5" for stage in ("generate", "maps")}
    metrics = of_run / "metrics/0-of-1.parquet"
    tam("generate", "--manifest", listed, "--out", files["generate"], "--device", "cpu", "--strict", *options)
    tam("maps", "--generation", files["generate"], "--out", files["maps"], "--method", "activation", "--method", "tam")
    given = ["--generation", files["generate"], "--maps", files["maps"], "--manifest", listed]
    tam("metrics", *given, "--out", metrics)
    tam("tables", "--metrics", metrics, "--out", folder / "tables")
    with opened(metrics) as (_, file):
        return file.read().to_pandas()


def test_scenes_in_parquet_are_the_scenes_and_run(scenes, tmp_path):
    whole = manifest.read(scenes / "manifest.jsonl")
    rows = [
        {
            "image": {"bytes": (scenes / sample.media[0]).read_bytes(), "path": f"{sample.id}.jpg"},
            "caption": sample.references, "mask": {"bytes": (scenes / sample.mask).read_bytes(), "path": None},
            "id": sample.id,
        }
        for sample in whole
    ]  # fmt: skip
    for shard in range(2):
        place = tmp_path / f"mine/scenes-0000{shard}-of-00002.parquet"
        place.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows[shard * 2 : shard * 2 + 2]), place)
    (tmp_path / "names.json").write_text(json.dumps(whole[0].categories))
    tam("dataset", "hf", "--root", tmp_path / "mine", "--categories", tmp_path / "names.json", "--out", tmp_path)
    for made, known in zip(manifest.read(tmp_path / "manifest.jsonl"), whole, strict=True):
        assert (made.id, made.references, made.categories) == (known.id, known.references, known.categories)
        assert made.prompt == known.prompt
        for ours, theirs in ((made.media[0], known.media[0]), (made.mask, known.mask)):
            assert (tmp_path / ours).read_bytes() == (scenes / theirs).read_bytes()
    table = run(tmp_path)
    assert (table[table.metric == "answer"].status == "ok").sum() == SCENES
    assert (table[table.metric == "obj_iou"].status == "ok").sum() >= 2 * SCENES  # a noun a scene, two methods
    assert "Phrases" not in (tmp_path / "tables/ablation.md").read_text()


def test_phrases_of_scenes_are_answers_whose_maps_are_scored_against_their_masks(scenes, tmp_path):
    rows = []
    for index in range(SCENES):
        made = emoji.scene(SEED, index)
        name = f"{index + 1:012d}"
        shape = emoji.run_lengths(made.objects == 1)
        rows.append({"image": f"{name}.jpg", "phrase": f"a {made.names[0]}", "segmentation": shape, "id": name})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    tam("dataset", "refcoco", "--images", scenes / "image", "--refs", tmp_path / "rows.json", "--out", tmp_path)
    tam("dataset", "phrases", "--manifest", tmp_path / "manifest.jsonl", "--out", tmp_path / "phrases.jsonl")
    table = run(tmp_path, "--answers", tmp_path / "phrases.jsonl")
    tam_rows = table[(table.method == "tam") & (table.metric == "phrase_obj_iou")]
    assert list(tam_rows.status) == ["ok"] * SCENES and list(tam_rows.word) == [row["phrase"] for row in rows]
    assert "Phrases" in (tmp_path / "tables/ablation.md").read_text()

    (tmp_path / "own").mkdir()
    samples = manifest.read(tmp_path / "manifest.jsonl")
    moved = [replace(one, media=[f"../{one.media[0]}"], mask=f"../{one.mask}") for one in samples]
    manifest.write(moved, tmp_path / "own/manifest.jsonl")
    own = run(tmp_path / "own")  # the model's own words are others, and that is counted
    own = own[own.metric.str.startswith("phrase_")]
    assert "phrase not in the answer" in set(own.status) <= {"ok", "phrase not in the answer"}
    assert len(own) == 2 * len(PHRASE_METRICS) * SCENES

    picture = scenes / "image" / rows[0]["image"]
    tam("explain", picture, "--answer", rows[0]["phrase"], "--npz", "--out", tmp_path / "explained")
    with np.load(tmp_path / "explained" / picture.stem / "maps.npz", allow_pickle=False) as file:
        tokens = (file["token_parts"] == "answer") & (file["token_words"] >= 0)
        grid = file["maps"][0, tokens].mean(0).reshape(file["grids"][0, 1:])
    mask = (emoji.scene(SEED, 0).objects == 1).astype(np.uint8)
    (targets,) = find_targets([mask], {1})
    shown = Picture((0, 0, *mask.shape[::-1]), targets, "", np.ones(grid.shape))
    found = localise([Word("", (0,), label=1)], [(grid[None] * 255).astype(np.uint8)], [grid[None]], [shown], FIXED)
    assert found.rows[0].value == pytest.approx(tam_rows.value.iloc[0], abs=0.02)

    of_run = tmp_path / "results/d/m"
    given = ["--generation", of_run / "generate/0-of-1.h5", "--maps", of_run / "maps/0-of-1.h5", "--method", "tam"]
    for form in ("npz", "coco"):
        tam("export", *given, "--form", form, "--out", tmp_path / form)
    assert {one["image_id"] for one in json.loads((tmp_path / "coco/tam.json").read_text())} == {1, 2, 3, 4}
    assert sorted(path.stem for path in (tmp_path / "npz").glob("*.npz")) == [row["id"] for row in rows]
