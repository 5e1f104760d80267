"""Wrong entries of COCO's files, as they are for the formatted layout and for COCO's own files."""

import json

import pytest

from tam import manifest
from tam.datasets import coco
from tam.errors import InputError
from tam.manifest import Sample

CATEGORIES = [{"id": 17, "name": "cat"}]


def image(id: int) -> dict:
    return {"id": id, "file_name": f"{id:012d}.jpg"}


def write(tmp_path, images=(), captions=(), objects=(), categories=CATEGORIES, **options) -> dict[str, Sample]:
    """One good image, number 1, and what is given."""
    (tmp_path / "annotations").mkdir()
    instances = {"images": [image(1), *images], "categories": categories, "annotations": list(objects)}
    said = {"annotations": [{"image_id": 1, "caption": "A cat."}, *captions]}
    (tmp_path / "annotations/instances_minival2014.json").write_text(json.dumps(instances))
    (tmp_path / "annotations/captions_val2014.json").write_text(json.dumps(said))
    coco.write(tmp_path, tmp_path / "manifest.jsonl", **options)
    samples = {sample.id: sample for sample in manifest.read(tmp_path / "manifest.jsonl")}
    assert samples["000000000001"].problem is None and samples["000000000001"].references == ["A cat."]
    return samples


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("no entry", "not an image entry"),
        ({"id": "2", "file_name": "x.jpg"}, "not an image entry"),
        ({"id": 2}, "not a text; got None"),
        ({"id": 2, "file_name": ""}, "path leaves its folder"),
        ({"id": 2, "file_name": "/x.jpg"}, "path leaves its folder; got '/x.jpg'"),
        ({"id": 2, "file_name": "../x.jpg"}, "path leaves its folder; got '../x.jpg'"),
        ({"id": 1, "file_name": "x.jpg"}, "image id occurs twice"),
    ],
)
def test_a_wrong_image_entry_is_refused_and_named(tmp_path, entry, problem):
    samples = write(tmp_path, images=[entry, image(3)])
    assert samples.keys() == {"000000000001", "images-1", "000000000003"}
    assert samples["images-1"].problem.startswith(f"instances_minival2014.json, images[1]: {problem}")


def test_two_images_of_one_file_are_not_both_evaluated(tmp_path):
    samples = write(tmp_path, images=[{"id": 2, "file_name": "000000000001.jpg"}])
    assert "id occurs twice" in samples["000000000001-2"].problem


def test_an_unknown_category_costs_its_image(tmp_path):
    objects = [{"image_id": 2, "category_id": 17}, {"image_id": 2, "category_id": 99}, {"image_id": 7}]
    samples = write(tmp_path, images=[image(2)], objects=objects)
    expected = "instances_minival2014.json, annotations[1]: unknown category; got 99"
    assert samples["000000000002"].problem == expected


def test_a_wrong_caption_costs_its_image(tmp_path):
    captions = [{"image_id": 2}, {"caption": "Of nothing."}, "no entry"]
    samples = write(tmp_path, images=[image(2)], captions=captions)
    assert samples["000000000002"].problem.startswith("captions_val2014.json, annotations[1]: not a text")


def test_captions_without_image_cost_nothing_and_are_counted(tmp_path, caplog):
    """The captions are those of all of val2014, the images those of minival."""
    caplog.set_level("INFO")
    write(tmp_path, captions=[{"image_id": 8, "caption": "x"}, {"image_id": 9, "caption": "x"}])
    assert "2 captions belong to none of the 1 images" in caplog.text


def test_an_image_without_caption_is_kept(tmp_path):
    assert write(tmp_path, images=[image(2)])["000000000002"].references == []


@pytest.mark.parametrize(
    ("categories", "problem"),
    [
        ([{"id": 1}], r"categories\[0\]: entry is incomplete"),
        ([{"id": 300, "name": "cat"}], r"categories\[0\]: category id out of range"),
        ([{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}], r"categories\[1\]: category occurs twice"),
        ([{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}], r"categories\[1\]: category occurs twice"),
        ([{"id": 1, "name": "ball"}, {"id": 2, "name": "sports ball"}], r"categories\[1\]: category occurs twice"),
        ([{"id": 1, "name": ["cat"]}], r"categories\[0\]: not a text"),
        ({}, "entries are missing"),
    ],
)
def test_wrong_categories_stop_all_because_all_samples_need_them(tmp_path, categories, problem):
    with pytest.raises(InputError, match=problem):
        write(tmp_path, categories=categories)


def test_images_come_by_id_and_no_more_than_the_limit(tmp_path):
    samples = write(tmp_path, images=[image(3), image(2)], limit=2, prompt="Other words:")
    assert list(samples) == ["000000000001", "000000000002"]
    assert samples["000000000002"].prompt == "Other words:"
