"""Rows, segments and phrases from where people keep them go the whole way: dataset, shards, tables."""

import io
import json
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import tam
from tam import manifest
from tam.datasets import coco
from tam.datasets.emoji.scenes import IDS, SIZE, run_lengths, scene
from tam.run import read_pairs
from tests.workflow.test_workflow import ROOT, snakemake

SCENES = [scene(5, number) for number in range(2)]
# A phrase that the embedded model can say, a scene, and the object that is meant
REFERRED = (("An elephant", 0, 1), ("Two elephants", 0, 1), ("A donut", 1, 3))
NOT_SHOWN, NOT_THERE = "not a picture that can be read", "no picture"
DATASETS = {
    "rows": {"kind": "hf", "root": "rows", "image_column": "picture", "mask_column": "seg", "categories": "names.json"},
    "tars": {"kind": "hf", "root": "tars", "categories": "names.json"},
    "panoptic": {
        "kind": "coco-panoptic", "images": "val2017", "panoptic": "panoptic.json", "segments": "panoptic",
        "captions": "captions.json",
    },
    "refs": {"kind": "refcoco", "images": "val2017", "refs": "refs(unc).p", "instances": "instances.json"},
}  # fmt: skip
CONFIG = {
    "datasets": DATASETS,
    "models": {"tiny": {"model": "embedded", "answers": {"refs": "data/refs/phrases.jsonl"}}},
    "shards": 1,
    "methods": ["tam"],
    "generate": {"max_new_tokens": 40},
}
FARED = {
    "rows": {
        "a-0": "ok", "a-1": "ok", "a-2": NOT_SHOWN, "a-3": NOT_THERE, "b-0": "ok",
        "b-1": "not a picture; got bytes that begin with b'%!PS'", "c.parquet": "no such column; got picture",
    },
    "tars": {
        "x-0": "ok", "x-1": "ok", "x-2": NOT_SHOWN, "x-3": NOT_THERE, "y-0": "ok",
        "y-row-1": "not a tar archive that can be read",
    },
    "panoptic": {
        "000000000001": "ok", "000000000002": "ok", "000000000003": "a segment without an entry; got 4",
        "000000000004": NOT_SHOWN, "000000000005": "no such picture",
    },
    "refs": {
        "1-0": "ok", "1-1": "ok", "2-0": "ok", "3-0": "not a shape; got runs of 24 pixels, size [4, 6]",
        "entry-3": "no such object; got 99", "5-0": NOT_SHOWN,
    },
}  # fmt: skip
"""What becomes of each sample: "ok", or what its failure says."""
GOOD = {name: [id for id, status in fared.items() if status == "ok"] for name, fared in FARED.items()}


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()


def cut(content: bytes) -> bytes:
    """A picture that has its header and not its pixels."""
    return content[: len(content) // 2]


PICTURES, LABELS = [encoded(one.image) for one in SCENES], [encoded(one.label_map) for one in SCENES]
BROKEN = cut(encoded(SCENES[0].image, "JPEG"))


def write_rows(folder: Path) -> None:
    folder.mkdir()
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [*PICTURES, BROKEN, None], [*LABELS, None, None], [one.captions for one in SCENES] + [["A."], ["A."]]
    other = [PICTURES[0], b"%!PS"], [encoded(SCENES[0].label_map[1:]), None], [None, ["A."]]
    for name, (pictures, masks, captions) in (("a", rows), ("b", other)):
        columns = {
            "picture": pa.array([one and {"bytes": one, "path": "x.png"} for one in pictures], image),
            "seg": pa.array(masks, pa.binary()),
            "caption": pa.array(captions, pa.list_(pa.string())),
        }
        pq.write_table(pa.table(columns), folder / f"{name}.parquet", row_group_size=2)
    pq.write_table(pa.table({"caption": ["A."]}), folder / "c.parquet")


def write_tars(folder: Path) -> None:
    folder.mkdir()
    files = {
        "x": {
            "0.png": PICTURES[0], "0.mask.png": LABELS[0], "0.txt": SCENES[0].captions[0].encode(),
            "1.png": PICTURES[1], "1.mask.png": LABELS[1],
            "1.json": json.dumps({"caption": SCENES[1].captions}).encode(),
            "2.jpg": BROKEN, "3.txt": b"A.",
        },
        "y": {"0.png": PICTURES[0], "0.mask.png": encoded(SCENES[0].label_map.astype(np.uint16)), "1.png": PICTURES[1]},
    }  # fmt: skip
    for name, members in files.items():
        with tarfile.open(folder / f"{name}.tar", "w") as archive:
            for member, content in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    whole = (folder / "y.tar").read_bytes()
    (folder / "y.tar").write_bytes(whole[: whole.rindex(b"\x89PNG") + 100])


def write_coco(folder: Path) -> None:
    """Pictures 1 and 2, 3 as 1 with a segment that nobody knows, 4 that is broken, 5 that is missing."""
    for name in ("val2017", "panoptic"):
        (folder / name).mkdir()
    shown = [SCENES[0], SCENES[1], SCENES[0], SCENES[0], SCENES[0]]
    images, annotations = [], []
    for id, one in enumerate(shown, 1):
        images.append({"id": id, "file_name": f"{id}.jpg", "height": SIZE, "width": SIZE})
        segments = one.objects.copy()
        if id == 3:
            segments[0, 0] = 4
        known = [{"id": number, "category_id": IDS[name]} for number, name in enumerate(one.names, 1)]
        annotations.append({"image_id": id, "file_name": f"{id}.png", "segments_info": known})
        colours = np.stack([segments, segments * 0, segments * 0], -1)
        (folder / f"panoptic/{id}.png").write_bytes(encoded(colours))
        if id < 5:
            (folder / f"val2017/{id}.jpg").write_bytes(BROKEN if id == 4 else encoded(one.image, "JPEG"))
    categories = [{"id": id, "name": name} for name, id in IDS.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(content))
    (folder / "captions.json").write_text(json.dumps({"annotations": [{"image_id": 1, "caption": "A thing."}]}))
    shapes = {
        1: (1, run_lengths(SCENES[0].objects == 1)), 2: (2, run_lengths(SCENES[1].objects == 3)),
        3: (1, {"size": [4, 6], "counts": [20, 4]}), 4: (4, run_lengths(SCENES[0].objects == 1)),
    }  # fmt: skip
    content["annotations"] = [
        {"id": id, "image_id": owner, "category_id": 1, "segmentation": shape} for id, (owner, shape) in shapes.items()
    ]
    (folder / "instances.json").write_text(json.dumps(content))
    refs = []
    for number, (about, owner) in enumerate(((1, 1), (2, 2), (3, 1), (99, 1), (4, 4)), 1):
        said = [phrase for phrase, scene, _ in REFERRED if scene == owner - 1] if number < 3 else ["An elephant"]
        sentences = [{"sent": phrase} for phrase in said]
        refs.append({"ref_id": number, "ann_id": about, "image_id": owner, "split": "val", "sentences": sentences})
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, 2))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a run of all kinds")
    (folder / "names.json").write_text(json.dumps(IDS))
    write_rows(folder / "rows")
    write_tars(folder / "tars")
    write_coco(folder)
    snakemake(folder, *(f"results/{name}/tiny/tables" for name in DATASETS), config=CONFIG)
    return folder


def scored(folder: Path, name: str, shards: int = 1) -> pd.DataFrame:
    metrics = folder / f"results/{name}/tiny/metrics"
    return pd.concat(pd.read_parquet(metrics / f"{index}-of-{shards}.parquet") for index in range(shards))


def ok(rows: pd.DataFrame, metric: str) -> list[str]:
    """The samples that have a value, in their order."""
    return rows.query("metric == @metric and status == 'ok'")["sample"].drop_duplicates().tolist()


@pytest.mark.parametrize("name", DATASETS)
def test_a_wrong_row_costs_its_own_sample_and_is_counted_under_every_table(finished, name):
    answers = scored(finished, name).query("metric == 'answer'").set_index("sample").status
    assert [*answers.index] == [*FARED[name]]
    for id, said in FARED[name].items():
        assert answers[id] == "ok" if said == "ok" else answers[id].startswith("failed: ") and said in answers[id]
    good, all = len(GOOD[name]), len(FARED[name])
    for table in ("ablation.md", "ablation.tex"):
        said = (finished / f"results/{name}/tiny/tables" / table).read_text()
        assert f"images {all} ({good} ok, {all - good} failed " in said


def test_words_are_scored_on_the_label_maps_of_each_kind(finished):
    """A label map that cannot be used costs its values alone, and a caption that is missing those of language."""
    masked = {"rows": ["a-0", "a-1"], "tars": ["x-0", "x-1"], "panoptic": GOOD["panoptic"]}
    captioned = masked | {"panoptic": ["000000000001"]}
    why = {
        "rows": "mask of another size: 224x223, picture 224x224",
        "tars": "unreadable mask: 16-bit grey, not 8-bit grey",
    }
    for name, ids in masked.items():
        rows = scored(finished, name)
        for metric in ("obj_iou", "pxap"):
            assert ok(rows.query("method == 'tam'"), metric) == ids
        assert ok(rows, "func_iou") == GOOD[name] and ok(rows, "rouge_l") == captioned[name]
        without = rows.query("metric == 'pxap' and status != 'ok' and status != 'no category'")
        assert {*without.status} == {why[name]} if name in why else without.empty
        summary = pd.read_csv(finished / f"results/{name}/tiny/tables/summary.csv").set_index("metric")
        assert summary["mean"][["obj_iou", "func_iou", "f1_iou", "pxap"]].between(0.1, 1).all()
        assert summary["values"]["pxap"] == len(rows.query("metric == 'pxap' and status == 'ok'"))
    of_segments, of_rows = scored(finished, "panoptic"), scored(finished, "rows")
    both = [rows.query("metric == 'recall' and status == 'ok'").value.tolist()[:2] for rows in (of_segments, of_rows)]
    assert both[0] == pytest.approx(both[1], abs=0.05)  # the same scenes: as JPEG, and without loss


def test_a_phrase_s_score_is_that_of_the_map_that_select_draws(finished):
    rows = scored(finished, "refs")
    assert ok(rows, "phrase_obj_iou") == ok(rows, "phrase_pxap") == GOOD["refs"]
    shard = finished / "results/refs/tiny"
    pairs = read_pairs(shard / "generate/0-of-1.h5", shard / "maps/0-of-1.h5")
    made = {generation.id: (generation, maps["tam"]) for generation, maps in pairs}
    for id, (phrase, number, place) in zip(GOOD["refs"], REFERRED, strict=True):
        generation, maps = made[id]
        assert generation.answer == phrase
        picture = finished / f"val2017/{number + 1}.jpg"
        selected = tam.explain("embedded", None, picture, coco.PROMPT, answer=phrase).select(phrase)
        mean = maps.uint8[[*selected.tokens]].mean(0).astype(np.uint8).reshape(selected.grids[0].shape)
        np.testing.assert_allclose(mean / 255, selected.grids[0], atol=0.02)
        drawn = cv2.resize(mean, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        threshold, _ = cv2.threshold(drawn, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        above, object_ = drawn > threshold, SCENES[number].objects == place
        (found,) = rows.query("sample == @id and metric == 'phrase_obj_iou'").value
        assert found == pytest.approx((above & object_).sum() / (above | object_).sum(), abs=1e-6)
        assert found > 0.1


def test_another_number_of_shards_has_the_same_samples_and_values(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    targets = [f"results/tars/tiny/metrics/{index}-of-2.parquet" for index in range(2)]
    snakemake(folder, *targets, config=CONFIG | {"shards": 2})
    whole, divided = scored(folder, "tars"), scored(folder, "tars", 2)
    keys = ["sample", "method", "metric", "token", "status"]
    assert divided[keys].to_numpy().tolist() == whole[keys].to_numpy().tolist()
    np.testing.assert_allclose(divided.value, whole.value, atol=0.02)


def elsewhere(finished: Path, name: str) -> dict[str, str]:
    """An entry of the config for another folder than that of the data."""
    return DATASETS[name] | {key: str(finished / DATASETS[name][key]) for key in ("root", "categories")}


def test_parts_of_a_dataset_are_its_samples(finished, tmp_path):
    parts = {
        name: {f"{name}{index}": elsewhere(finished, name) | {"part": f"{index}-of-3"} for index in range(3)}
        for name in ("rows", "tars")
    }
    paths = {part: f"data/{part}/manifest.jsonl" for of_one in parts.values() for part in of_one}
    datasets = parts["rows"] | parts["tars"]
    snakemake(
        tmp_path, *paths.values(), config=CONFIG | {"datasets": datasets, "models": {"tiny": {"model": "embedded"}}}
    )
    for name, of_one in parts.items():
        whole = manifest.read(finished / f"data/{name}/manifest.jsonl")
        samples = [manifest.read(tmp_path / paths[part]) for part in of_one]
        assert min(map(len, samples)) >= len(whole) // 3 and [one for part in samples for one in part] == whole


def test_a_column_that_no_file_has_is_one_line_that_names_those_that_are_there(finished, tmp_path):
    entry = elsewhere(finished, "rows") | {"root": str(finished / "rows/a.parquet"), "image_column": "pixels"}
    config = CONFIG | {"datasets": {"rows": entry}, "models": {"tiny": {"model": "embedded"}}}
    done = snakemake(tmp_path, "data/rows/manifest.jsonl", config=config, check=False)
    assert done.returncode and "a.parquet: no such column; got pixels; expected picture, seg, caption" in done.stdout


@pytest.mark.parametrize("name", ["rows", "refs"])
def test_strict_ends_with_an_error_where_a_sample_failed(finished, tmp_path, name):
    """What was made is there all the same."""
    run = finished / f"results/{name}/tiny"
    command = [sys.executable, "-m", "tam", "metrics", "--strict", f"--manifest={finished}/data/{name}/manifest.jsonl"]
    command += [f"--generation={run}/generate/0-of-1.h5", f"--maps={run}/maps/0-of-1.h5", f"--out={tmp_path}/m.parquet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    all = len(FARED[name])
    assert done.returncode == 1 and f"samples failed; got {all - len(GOOD[name])} of {all}" in done.stderr
    assert pd.read_parquet(tmp_path / "m.parquet").equals(scored(finished, name))
