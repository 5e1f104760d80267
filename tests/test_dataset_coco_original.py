"""Label maps from COCO's own files."""

import json
import os

import cv2
import numpy as np
import PIL.Image
import pytest
from PIL.ExifTags import Base

from tam import manifest
from tam.datasets import coco, coco_original
from tam.datasets.coco import Image
from tam.datasets.coco_original import label_map, turned
from tam.errors import InputError
from tam.media import open_picture
from tests.shared import shared

IMAGE = Image(1, "1.jpg", height=4, width=6, where="i.json, images[0]")


def box(left, top, right, bottom, category=1, **fields) -> tuple[str, dict]:
    """An annotation that fills the pixels from (left, top) to before (right, bottom)."""
    shape = [[left, top, right, top, right, bottom, left, bottom]]
    area = (right - left) * (bottom - top)
    return "i.json, annotations[0]", {"segmentation": shape, "area": area, "category_id": category, **fields}


def test_polygons_and_runs_are_drawn_with_the_category():
    runs = {"size": [4, 6], "counts": [16, 4, 4]}  # column by column: the whole fifth column
    labels = label_map(IMAGE, [box(0, 0, 2, 1, 3), ("", {"segmentation": runs, "area": 4, "category_id": 7})])
    assert labels.tolist() == [[3, 3, 0, 0, 7, 0], [0, 0, 0, 0, 7, 0], [0, 0, 0, 0, 7, 0], [0, 0, 0, 0, 7, 0]]
    assert labels.dtype == np.uint8


@pytest.mark.parametrize("turn", [1, -1])
def test_the_smaller_object_lies_on_top(turn):
    large, small = box(0, 0, 6, 4, 5), box(1, 1, 3, 3, 9)
    labels = label_map(IMAGE, [large, small][::turn])
    assert labels[1:3, 1:3].tolist() == [[9, 9], [9, 9]]
    assert (labels == 5).sum() == 20


def test_it_gives_the_label_maps_of_the_formatted_set(tmp_path):
    """On real annotations with overlaps of objects, to the pixel."""
    root, out = shared("data", "coco2014"), tmp_path / "data/manifest.jsonl"
    instances, captions = (
        root / "annotations" / name for name in ("instances_minival2014.json", "captions_val2014.json")
    )
    assert coco_original.write(root / "image", instances, captions, out, ids=instances) == 5
    coco.write(root, tmp_path / "formatted.jsonl")
    for made, given in zip(manifest.read(out), manifest.read(tmp_path / "formatted.jsonl"), strict=True):
        assert (made.id, made.references, made.categories) == (given.id, given.references, given.categories)
        paths = manifest.resolve(made.mask, out), manifest.resolve(given.mask, tmp_path / "formatted.jsonl")
        ours, theirs = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths)
        np.testing.assert_array_equal(ours, theirs)
        assert manifest.resolve(made.media[0], out).is_file()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"segmentation": None}, "not a shape"),
        ({"segmentation": []}, "not a shape; got a polygon needs three points"),
        ({"segmentation": [[0, 0, 1, 1]]}, "not a shape; got a polygon needs three points"),
        ({"segmentation": [[0, 0, 1, 1, 2, float("inf")]]}, "not a shape; got a point far outside"),
        ({"segmentation": [[0, 0, 1, 1, 2, float("nan")]]}, "not a shape; got a point far outside"),
        ({"segmentation": [["a"] * 6]}, "not a shape"),
        ({"segmentation": {"size": [4, 6], "counts": [3, 4]}}, "not a shape; got runs of 7 pixels"),
        ({"segmentation": {"size": [4, 6], "counts": [-3, 27]}}, "not a shape; got runs of 24 pixels"),
        ({"segmentation": {"size": [6, 4], "counts": [12, 12]}}, "not a shape; got runs"),
        ({"segmentation": {"size": [4, 6], "counts": "0123"}}, "not a shape"),
        ({"area": None}, "no area"),
    ],
)
def test_a_shape_that_cannot_be_drawn_is_named(fields, problem):
    with pytest.raises(InputError, match=rf"i\.json, annotations\[0\]: {problem}"):
        label_map(IMAGE, [box(0, 0, 2, 2, **fields)])


@pytest.mark.parametrize("size", [(0, 6), (4, -1), (10**9, 10**9)])
def test_an_image_of_no_possible_size_is_named(size):
    with pytest.raises(InputError, match=r"i\.json, images\[0\]: no size of an image"):
        label_map(Image(1, "1.jpg", *size, where="i.json, images[0]"), [])


def write(tmp_path, ids: str | None = None, **options) -> dict[str, manifest.Sample]:
    """Three images of one object each; the object of the second has no shape."""
    sizes = {"height": 4, "width": 6}
    images = [{"id": id, "file_name": f"COCO_val2014_{id:012d}.jpg", **sizes} for id in (1, 2, 3)]
    objects = [box(0, 0, 2, 2)[1] | {"image_id": id} for id in (1, 2, 3)]
    objects[1]["segmentation"] = []
    instances = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    (tmp_path / "captions.json").write_text('{"annotations": []}')
    if ids is not None:
        (tmp_path / "ids").write_text(ids)
    files = (tmp_path / name for name in ("val2014", "instances.json", "captions.json", "out/manifest.jsonl"))
    coco_original.write(*files, ids=None if ids is None else tmp_path / "ids", **options)
    return {sample.id: sample for sample in manifest.read(tmp_path / "out/manifest.jsonl")}


def test_a_wrong_object_costs_its_image(tmp_path):
    samples = write(tmp_path)
    assert samples["000000000002"].problem.startswith("instances.json, annotations[1]: not a shape")
    assert samples["000000000003"].problem is None
    assert samples["000000000003"].media == ["../val2014/COCO_val2014_000000000003.jpg"]
    assert {path.name for path in (tmp_path / "out/seg_label").iterdir()} == {"000000000001.png", "000000000003.png"}


@pytest.mark.parametrize("ids", ["[3, 1]", '{"images": [{"id": 1}, {"id": 3}]}', "3\n1\n"])
def test_ids_choose_the_images(tmp_path, ids):
    assert list(write(tmp_path, ids)) == ["000000000001", "000000000003"]


@pytest.mark.parametrize(
    ("ids", "problem"),
    [("[1, 8, 9]", "no such images.*2 of them: 8, 9"), ("[1", "not ids"), ('{"a": 1}', "not ids"), ("one", "not ids")],
)
def test_wrong_ids_are_an_error(tmp_path, ids, problem):
    with pytest.raises(InputError, match=problem):
        write(tmp_path, ids)


def test_label_maps_are_made_once_and_again_when_the_annotations_are_newer(tmp_path):
    write(tmp_path, "[1]")
    made = tmp_path / "out/seg_label/000000000001.png"
    made.write_bytes(b"kept")
    os.utime(made, (2**32, 2**32))
    write(tmp_path, "[1]")
    assert made.read_bytes() == b"kept"
    os.utime(made, (0, 0))
    write(tmp_path, "[1]")
    assert cv2.imread(str(made), cv2.IMREAD_UNCHANGED).shape == (4, 6)


def test_only_the_label_maps_of_the_limit_are_made(tmp_path):
    write(tmp_path, limit=1)
    assert [path.name for path in (tmp_path / "out/seg_label").iterdir()] == ["000000000001.png"]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("size", [(6, 4), (5, 5)])
def test_a_label_map_lies_on_the_upright_picture(tmp_path, turn, size):
    """The shapes lie on the pixels as stored; the picture is shown turned, which its size does not always say."""
    pixels = np.full((*size[::-1], 3), 255, np.uint8)
    pixels[0:2, 0:3] = 0  # what ``box`` draws
    exif = PIL.Image.Exif()
    exif[Base.Orientation] = turn
    PIL.Image.fromarray(pixels).save(tmp_path / "1.png", exif=exif)
    labels = turned(label_map(Image(1, "1.png", *size[::-1], where=""), [box(0, 0, 3, 2)]), tmp_path / "1.png")
    assert np.array_equal(labels == 1, np.asarray(open_picture(tmp_path / "1.png"))[..., 0] == 0)


def test_a_picture_that_is_missing_or_broken_turns_nothing(tmp_path):
    labels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for name in ("missing.jpg", "broken.jpg"):
        assert np.array_equal(turned(labels, tmp_path / name), labels)
