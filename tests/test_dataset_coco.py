"""Wrong entries of COCO's files, as they are for the formatted layout and for COCO's own files."""

import json
import re

import pytest

from tam import manifest
from tam.datasets import coco
from tam.errors import InputError
from tam.manifest import Sample

CATEGORIES = [{"id": 17, "name": "cat"}]
HUGE = "an integer of 5000 digits"


def image(id: int) -> dict:
    return {"id": id, "file_name": f"{id:012d}.jpg"}


def write(tmp_path, images=(), captions=(), objects=(), categories=CATEGORIES, **options) -> dict[str, Sample]:
    """One good image, number 1, and what is given."""
    (tmp_path / "annotations").mkdir()
    instances = {"images": [image(1), *images], "categories": categories, "annotations": list(objects)}
    said = {"annotations": [{"image_id": 1, "caption": "A cat."}, *captions]}
    text = json.dumps(instances).replace(f'"{HUGE}"', "9" * 5000)
    (tmp_path / "annotations/instances_minival2014.json").write_text(text)
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
        ({"id": 1 << 63, "file_name": "x.jpg"}, "not an image entry"),
        ({"id": 2, "file_name": ""}, "not a path in its folder"),
        ({"id": 2, "file_name": "/x.jpg"}, "not a path in its folder; got '/x.jpg'; expected a file in image/"),
        ({"id": 2, "file_name": "../x.jpg"}, "not a path in its folder; got '../x.jpg'"),
        ({"id": 2, "file_name": "x" * 256}, "not a path in its folder; got 'xxx"),
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


def test_pictures_may_lie_in_folders(tmp_path):
    """Two of one name in two folders are two samples, each with its own label map."""
    samples = write(tmp_path, images=[{"id": id, "file_name": f"{place}/7.jpg"} for id, place in ((2, "a"), (3, "b"))])
    assert [(samples[id].media, samples[id].mask) for id in ("a/7", "b/7")] == [
        (["image/a/7.jpg"], "seg_label/a/7.png"), (["image/b/7.jpg"], "seg_label/b/7.png"),
    ]  # fmt: skip


def test_an_integer_without_end_costs_its_entry(tmp_path):
    """Python reads no more than 4300 digits."""
    samples = write(
        tmp_path,
        images=[image(2), image(3)],
        objects=[{"image_id": 2, "category_id": HUGE}, {"image_id": 3, "category_id": 17, "area": HUGE}],
        categories=[*CATEGORIES, {"id": HUGE, "name": "dog"}],
    )
    assert samples["000000000002"].problem.endswith("annotations[0]: unknown category; got inf")
    assert samples["000000000003"].problem is None and samples["000000000003"].categories == {"cat": 17}


CATEGORY_FAULTS = [
    ({"id": 1}, r"categories\[1\]: entry is incomplete"),
    ("no entry", r"categories\[1\]: entry is incomplete"),
    ({"id": 300, "name": "dog"}, r"categories\[1\]: category id out of range"),
    ({"id": 2, "name": "cat"}, r"categories\[1\]: category occurs twice"),
    ({"id": 17, "name": "dog"}, r"categories\[1\]: category occurs twice"),
    ({"id": 1, "name": ["dog"]}, r"categories\[1\]: not a text"),
]


@pytest.mark.parametrize(("wrong", "problem"), CATEGORY_FAULTS)
def test_a_wrong_category_costs_itself(tmp_path, caplog, wrong, problem):
    samples = write(tmp_path, categories=[*CATEGORIES, wrong, {"id": 3, "name": "bird"}])
    assert samples["000000000001"].categories == {"cat": 17, "bird": 3}
    assert re.search(f"1 of 3 categories are left out: .*{problem}", caplog.text)


def test_the_paper_s_names_are_the_same_category(tmp_path):
    categories = [{"id": 1, "name": "ball"}, {"id": 2, "name": "sports ball"}]
    assert write(tmp_path, categories=categories)["000000000001"].categories == {"ball": 1}


@pytest.mark.parametrize(
    ("categories", "problem"),
    [([{"id": 300, "name": "cat"}], "category id out of range"), ({}, "entries are missing")],
)
def test_without_any_category_that_can_be_used_all_stops(tmp_path, categories, problem):
    with pytest.raises(InputError, match=problem):
        write(tmp_path, categories=categories)


def test_category_names_that_no_noun_can_have_are_told_once(tmp_path, caplog):
    write(
        tmp_path, images=[image(2), image(3)], categories=[*CATEGORIES, {"id": 1, "name": "17"}, {"id": 2, "name": "-"}]
    )
    (line,) = [line for line in caplog.text.splitlines() if "no noun names" in line]
    assert line.endswith("no noun names 2 of 3 categories: '17', '-'")


def test_which_of_several_files_is_read_is_said(tmp_path, caplog):
    for name in ("instances_val10.json", "instances_val9.json", "captions_val9.json"):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        content = {"images": [image(1)], "categories": CATEGORIES, "annotations": []}
        (tmp_path / "annotations" / name).write_text(json.dumps(content))
    coco.write(tmp_path, tmp_path / "manifest.jsonl")
    assert "instances_val9.json is read, and not instances_val10.json" in caplog.text


def test_images_come_by_id_and_no_more_than_the_limit(tmp_path):
    samples = write(tmp_path, images=[image(3), image(2)], limit=2, prompt="Other words:")
    assert list(samples) == ["000000000001", "000000000002"]
    assert samples["000000000002"].prompt == "Other words:"
