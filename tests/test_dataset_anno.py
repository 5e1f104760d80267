"""GranDf and OpenPSG in the formatted layout, and what a wrong entry costs: its own sample."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from tam import manifest
from tam.datasets import anno, coco
from tam.datasets.emoji import scenes
from tam.embedded import CHECKPOINT
from tam.errors import InputError
from tam.generation.stage import generate
from tam.manifest import Sample, Shard
from tam.methods.stage import write_maps
from tam.metrics.stage import write_metrics
from tam.protocol import FIXED
from tests.shared import shared

GOOD = ["image/a.jpg", "A cat.", "seg_label/a.png", {"cat": 17}]


def write(tmp_path, content, **options) -> list[Sample]:
    (tmp_path / "anno.json").write_text(content if isinstance(content, str) else json.dumps(content))
    anno.write(tmp_path, tmp_path / "data/manifest.jsonl", prompt="Describe:", **options)
    return manifest.read(tmp_path / "data/manifest.jsonl")


def test_an_entry_becomes_a_sample(tmp_path):
    assert write(tmp_path, [GOOD]) == [
        Sample(
            id="a",
            media=["../image/a.jpg"],
            prompt="Describe:",
            references=["A cat."],
            mask="../seg_label/a.png",
            categories={"cat": 17},
        )
    ]


@pytest.mark.parametrize(("name", "sentences"), [("GranDf", "two"), ("OpenPSG", "three")])
def test_the_real_sample_is_read_with_the_papers_prompt(tmp_path, name, sentences):
    root, out = shared("data", name), tmp_path / "manifest.jsonl"
    assert anno.write(root, out, prompt=anno.PROMPTS[name.lower()]) == 2
    rows = json.loads((root / "anno.json").read_text())
    for sample, (picture, description, mask, categories) in zip(manifest.read(out), rows, strict=True):
        assert sample.prompt == f"Write a description for this image using around {sentences} sentences:"
        assert (sample.references, sample.categories) == ([description], categories)
        assert manifest.resolve(sample.media[0], out).samefile(root / picture)
        labels = cv2.imread(str(manifest.resolve(sample.mask, out)), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(labels)) - {0} == set(categories.values())  # what is named is in the mask
        assert manifest.resolve(sample.mask, out).samefile(root / mask)


def test_only_the_first_samples_if_there_is_a_limit(tmp_path):
    entries = [[f"image/{name}.jpg", "x", "seg_label/a.png", {}] for name in "abc"]
    assert [sample.id for sample in write(tmp_path, entries, limit=2)] == ["a", "b"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("no list", "not such an entry"),
        (["image/b.jpg", "A dog.", "seg_label/b.png"], "not such an entry"),
        ([None, "A dog.", "seg_label/b.png", {}], "not a text; got None"),  # a caption without image
        (["", "A dog.", "seg_label/b.png", {}], "not a path"),
        (["/etc/passwd", "A dog.", "seg_label/b.png", {}], "not a path in its folder; got '/etc/passwd'"),
        (["image/../../b.jpg", "A dog.", "seg_label/b.png", {}], "not a path in its folder"),
        (["image/b.jpg", "A dog.", "../b.png", {}], "not a path in its folder; got '../b.png'"),
        (["image/b.jpg", 7, "seg_label/b.png", {}], "not a text; got 7"),
        (["image/b.jpg", "half \ud800", "seg_label/b.png", {}], "not a text"),
        (["image/b.jpg", "A dog.", "seg_label/b.png", ["dog"]], "not categories"),
        (["image/b.jpg", "A dog.", "seg_label/b.png", {"dog": 0}], "category id out of range; got 'dog': 0"),
        (["image/b.jpg", "A dog.", "seg_label/b.png", {"dog": 256}], "category id out of range"),
        (["image/b.jpg", "A dog.", "seg_label/b.png", {"dog": "18"}], "category id out of range"),
        (["image/b.jpg", "A dog.", "seg_label/b.png", {"dog": True}], "category id out of range"),
        (GOOD, "entry occurs twice"),
    ],
)
def test_a_wrong_entry_is_a_refused_sample_that_names_file_and_entry(tmp_path, entry, problem):
    other = ["image/c.jpg", "A bird.", "seg_label/c.png", {"bird": 16}]
    first, wrong, last = write(tmp_path, [GOOD, entry, other])
    assert (first.id, first.problem, last.id, last.problem) == ("a", None, "c", None)
    assert wrong.media == [] and wrong.id == "entry-1"
    assert wrong.problem.startswith(f"anno.json, entry 1: {problem}")


def test_a_picture_that_comes_again_with_another_text_is_a_sample_of_its_own(tmp_path):
    again = ["image/a.jpg", "Another text.", "seg_label/a.png", {"cat": 17}]
    named = ["image/a-2.jpg", "A third.", "seg_label/a.png", {"cat": 17}]
    samples = write(tmp_path, [GOOD, again, named])
    assert [sample.id for sample in samples] == ["a", "a-2", "a-2-2"]
    assert not any(sample.problem for sample in samples)


def test_what_is_refused_takes_no_other_entry_s_id(tmp_path):
    refused, good = write(tmp_path, ["no entry", ["image/entry-0.jpg", "A dog.", "seg_label/b.png", {"dog": 18}]])
    assert (refused.id, good.id, good.problem) == ("entry-0-2", "entry-0", None)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (["image/b.jpg", "A dog.", "seg_label/b.png", {"dog": "HUGE"}], "category id out of range; got 'dog': inf"),
        (["x" * 256, "A dog.", "seg_label/b.png", {}], "not a path in its folder; got 'xxx"),
        (["x/" * 9000 + "b.jpg", "A dog.", "seg_label/b.png", {}], "not a path in its folder; got 'x/x"),
        (["image/b.jpg", "A" * (1 << 24), "seg_label/b.png", {}], "more than a line of a manifest holds"),
        (["image/b.jpg", "A dog.", "a\0b", {}], "not a path in its folder"),
    ],
)
def test_an_entry_that_no_manifest_could_hold_costs_itself(tmp_path, entry, problem):
    content = json.dumps([GOOD, entry]).replace('"HUGE"', "9" * 5000)
    first, wrong = write(tmp_path, content)
    assert first.problem is None and problem in wrong.problem


def test_two_names_may_mean_one_category(tmp_path):
    (sample,) = write(tmp_path, [["image/a.jpg", "x", "seg_label/a.png", {"man": 1, "person": 1}]])
    assert sample.problem is None and sample.categories == {"man": 1, "person": 1}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[[", "broken JSON"),
        ("[" * 100_000, "broken JSON"),
        ('{"a": 1}', "entries are missing"),
        ("[]", "no sample can be used"),
        ('[["/a.jpg", "x", "b.png", {}]]', "no sample can be used; got anno.json, entry 0: not a path"),
    ],
)
def test_a_file_of_which_nothing_can_be_used_is_an_error(tmp_path, content, problem):
    with pytest.raises(InputError, match=problem):
        write(tmp_path, content)
    assert not (tmp_path / "data/manifest.jsonl").exists()


def test_another_folder_is_an_error_that_says_what_it_holds(tmp_path):
    (tmp_path / "coco2014").mkdir()
    with pytest.raises(InputError, match=r"got coco2014; expected anno\.json"):
        anno.write(tmp_path, tmp_path / "manifest.jsonl", prompt="p")


def test_good_samples_are_evaluated_beside_all_that_can_be_wrong(tmp_path):
    """From a folder with faults to metrics: every fault has a status, and what is good has values."""
    scenes.write(tmp_path / "scenes", n=5, seed=3)
    root = tmp_path / "scenes"
    coco.write(root, root / "manifest.jsonl")
    rows = [
        [f"image/{sample.id}.jpg", sample.references[0], f"seg_label/{sample.id}.png", sample.categories]
        for sample in manifest.read(root / "manifest.jsonl")
    ]
    good, truncated, resized, unmasked, missing = (row[0][6:-4] for row in rows)
    (root / "image" / f"{truncated}.jpg").write_bytes((root / "image" / f"{truncated}.jpg").read_bytes()[:900])
    mask = cv2.imread(str(root / rows[2][2]), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(root / rows[2][2]), mask[:-1])
    (root / rows[3][2]).unlink()
    (root / rows[4][0]).unlink()
    rows += [["../x.jpg", "A dog.", "seg_label/x.png", {}], [None, "No image.", "seg_label/x.png", {}]]
    (root / "anno.json").write_text(json.dumps(rows))

    out = tmp_path / "data/manifest.jsonl"
    anno.write(root, out, prompt=coco.PROMPT)
    files = [tmp_path / name for name in ("generate.h5", "maps.h5", "metrics.parquet")]
    counts = generate(out, Shard(0, 1), str(CHECKPOINT), files[0], max_new_tokens=40, device="cpu")
    assert counts == {"ok": 3, "failed": 4}
    write_maps(files[0], files[1], ["tam"], FIXED)
    write_metrics(files[0], files[1], out, files[2], FIXED)
    table = pd.read_parquet(files[2])
    status = table[table.metric == "answer"].set_index("sample").status
    assert status[[good, resized, unmasked]].tolist() == ["ok"] * 3
    assert "not a picture that can be read" in status[truncated] and f"{truncated}.jpg" in status[truncated]
    assert "no such picture" in status[missing] and f"{missing}.jpg" in status[missing]
    assert status["entry-5"].startswith("failed: anno.json, entry 5: not a path in its folder; got '../x.jpg'")
    assert status["entry-6"].startswith("failed: anno.json, entry 6: not a text; got None")
    whole = table[table.metric == "name_recall"].set_index("sample")
    assert whole.status[good] == "ok" and whole.value[good] >= 0
    assert whole.status[resized].startswith("mask of another size")
    assert whole.status[unmasked] == "no mask: the file is missing"
    assert table[(table["sample"] == resized) & (table.metric == "rouge_l")].value.item() >= 0
