"""Label maps from COCO's own files."""

import json
import os
import re

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as pycocotools

from tam import manifest
from tam.datasets import coco, coco_original
from tam.datasets.coco import Image
from tam.datasets.coco_original import label_map
from tam.datasets.emoji import scenes
from tam.errors import DiskError, InputError
from tam.media import open_media
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


@given(mask=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), how=st.sampled_from(["text", "numbers"]))
def test_runs_are_what_pycocotools_says_compressed_or_not(mask, how):
    encoded = pycocotools.encode(np.asfortranarray(mask.astype(np.uint8)))
    shape = {"size": list(mask.shape), "counts": encoded["counts"].decode()}
    if how == "numbers":
        shape = {"size": list(mask.shape), "counts": scenes.run_lengths(mask)["counts"]}
    image = Image(1, "1.jpg", *mask.shape, where="")
    labels = label_map(image, [("", {"segmentation": shape, "area": 1, "category_id": 7})])
    assert (labels == 7 * mask).all()


def test_polygons_of_two_points_cover_no_pixel_and_are_counted(tmp_path, caplog):
    assert label_map(IMAGE, [box(0, 0, 2, 1)])[0].tolist() == [1, 1, 0, 0, 0, 0]
    thin = box(0, 0, 2, 1)
    thin[1]["segmentation"].append([0, 3, 5, 3])
    assert (label_map(IMAGE, [thin]) == label_map(IMAGE, [box(0, 0, 2, 1)])).all()
    samples = write(tmp_path, objects=[thin[1], thin[1] | {"iscrowd": 1}])
    assert samples["000000000001"].problem is None
    assert "2 polygons of less than three points cover no pixel" in caplog.text


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
    for made, formatted in zip(manifest.read(out), manifest.read(tmp_path / "formatted.jsonl"), strict=True):
        assert (made.id, made.references, made.categories) == (formatted.id, formatted.references, formatted.categories)
        paths = manifest.resolve(made.mask, out), manifest.resolve(formatted.mask, tmp_path / "formatted.jsonl")
        ours, theirs = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths)
        np.testing.assert_array_equal(ours, theirs)
        assert manifest.resolve(made.media[0], out).is_file()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"segmentation": None}, "not a shape"),
        ({"segmentation": []}, "not a shape; got a polygon needs three points"),
        ({"segmentation": [[0, 0, 1, 1]]}, "not a shape; got a polygon needs three points"),
        ({"segmentation": [[0, 0, 1, 1], [2, 2, 3, 3]]}, "not a shape; got a polygon needs three points"),
        ({"segmentation": [[0, 0, 1, 1, 2, float("inf")]]}, "not a shape; got a point far outside"),
        ({"segmentation": [[0, 0, 1, 1, 2, float("nan")]]}, "not a shape; got a point far outside"),
        ({"segmentation": [["a"] * 6]}, "not a shape"),
        ({"segmentation": {"size": [4, 6], "counts": [3, 4]}}, "not a shape; got runs of 7 pixels"),
        ({"segmentation": {"size": [4, 6], "counts": [-3, 27]}}, "not a shape; got runs that are no numbers"),
        ({"segmentation": {"size": [6, 4], "counts": [12, 12]}}, "not a shape; got runs"),
        ({"segmentation": {"size": [4, 6], "counts": [1.5, 22.5]}}, "not a shape; got runs that are no numbers"),
        ({"segmentation": {"size": [4, 6], "counts": "0123"}}, "not a shape; got runs of 7 pixels"),
        ({"segmentation": {"size": [4, 6], "counts": "o" * 99}}, "not a shape; got no compressed runs"),
        ({"segmentation": {"size": [4, 6], "counts": "é"}}, "not a shape; got no compressed runs"),
        ({"segmentation": [[0, 0, 1, 1, 2]]}, "not a shape; got no list of up to 10000 polygons"),
        ({"segmentation": [[0, 0, 1, 1, 2, 10**400]]}, "not a shape"),
        ({"segmentation": [[-50, -50, 50, 50] * 20_000]}, "not a shape; got lines many times as long"),
        ({"segmentation": [0, 0, 1, 1, 2, 2]}, "not a shape"),
        ({"segmentation": None, "bbox": [0, 0, 2, 2]}, "not a shape; .*a box has no shape"),
        ({"area": None}, "no area"),
        ({"area": float("nan")}, "no area"),
    ],
)
def test_a_shape_that_cannot_be_drawn_is_named(fields, problem):
    with pytest.raises(InputError, match=rf"i\.json, annotations\[0\]: {problem}"):
        label_map(IMAGE, [box(0, 0, 2, 2, **fields)])


@pytest.mark.parametrize("size", [(0, 6), (4, -1), (10**9, 10**9)])
def test_an_image_of_no_possible_size_is_named(size):
    with pytest.raises(InputError, match=r"i\.json, images\[0\]: no size of an image"):
        label_map(Image(1, "1.jpg", *size, where="i.json, images[0]"), [])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("size", [(60, 40), (40, 40)])
def test_label_maps_lie_on_the_picture_as_it_is_shown(tmp_path, kind, turn, size):
    """Shapes lie on the pixels as they are stored; the picture is turned as the camera noted."""
    pixels = np.full((*size[::-1], 3), 255, np.uint8)
    pixels[2:12, 2:22] = (200, 0, 0)
    exif = PIL.Image.Exif()
    exif[0x0112] = turn
    (tmp_path / "val2014").mkdir()
    PIL.Image.fromarray(pixels).save(tmp_path / "val2014/1.jpg", kind, exif=exif)
    images = [{"id": 1, "file_name": "1.jpg", "width": size[0], "height": size[1]}]
    (sample,) = write(tmp_path, images=images, objects=[box(2, 2, 22, 12)[1]]).values()
    (shown,) = open_media(sample, tmp_path / "out").pictures
    labels = cv2.imread(str(tmp_path / "out" / sample.mask), cv2.IMREAD_UNCHANGED)
    assert labels.shape == shown.size[::-1] and labels.sum() == 200
    assert (np.asarray(shown)[labels == 1][:, 1] < 128).mean() > 0.9  # JPEG's edges are soft


@pytest.mark.parametrize(
    ("picture", "problem"),
    [
        ((4, 6), r"images\[0\], .*1\.jpg: picture of another size; got 4 x 6; expected 6 x 4"),
        (b"no picture", "not a picture that can be read"),
        (None, "no such picture"),
    ],
)
def test_a_label_map_is_made_for_a_picture_whose_size_is_known(tmp_path, picture, problem):
    """One that differs from its annotation has its objects nobody knows where."""
    paint(tmp_path / "val2014/2.jpg")
    if isinstance(picture, tuple):
        paint(tmp_path / "val2014/1.jpg", picture)
    elif picture:
        (tmp_path / "val2014/1.jpg").write_bytes(picture)
    images = [{"id": id, "file_name": f"{id}.jpg", "height": 4, "width": 6} for id in (1, 2)]
    samples = write(tmp_path, images=images, objects=[])
    assert re.search(problem, samples["000000000001"].problem)
    assert samples["000000000002"].problem is None
    assert [path.name for path in (tmp_path / "out/seg_label").glob("*.png")] == ["000000000002.png"]


def paint(path, size=(6, 4)) -> None:
    path.parent.mkdir(exist_ok=True)
    PIL.Image.new("RGB", size).save(path)


def write(tmp_path, ids: str | None = None, images=None, objects=None, **options) -> dict[str, manifest.Sample]:
    """Three images of one object each; the object of the second has no shape."""
    if images is None:
        sizes = {"height": 4, "width": 6}
        images = [{"id": id, "file_name": f"COCO_val2014_{id:012d}.jpg", **sizes} for id in (1, 2, 3)]
        for image in images:
            paint(tmp_path / "val2014" / image["file_name"])
    if objects is None:
        objects = [box(0, 0, 2, 2)[1] | {"image_id": id} for id in (1, 2, 3)]
        objects[1]["segmentation"] = []
    objects = [{"image_id": 1} | entry for entry in objects]
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
    drawn = {path.name for path in (tmp_path / "out/seg_label").glob("*.png")}
    assert drawn == {"000000000001.png", "000000000003.png"}


def test_label_maps_of_somebody_else_are_neither_replaced_nor_taken_for_ours(tmp_path):
    theirs = tmp_path / "out/seg_label/000000000001.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"drawn by hand")
    with pytest.raises(DiskError, match="seg_label: only a result of ours is replaced; got '000000000001"):
        write(tmp_path)
    assert theirs.read_bytes() == b"drawn by hand"


@pytest.mark.parametrize("ids", ["[3, 1]", '{"images": [{"id": 1}, {"id": 3}]}', "3\n1\n"])
def test_ids_choose_the_images(tmp_path, ids):
    assert list(write(tmp_path, ids)) == ["000000000001", "000000000003"]


def test_a_wanted_image_that_the_instances_lack_is_refused(tmp_path):
    samples = write(tmp_path, '{"images": [{"id": 1}, {"file_name": "no id"}, "no entry", {"id": 8}]}')
    assert [(id, sample.problem) for id, sample in samples.items()] == [
        ("000000000001", None), ("000000000008", "instances.json: no such image; got 8"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        ("[1", "broken JSON"),
        ('{"a": 1}', "entries are missing"),
        ("[8, 9]", "no sample can be used.*no such image"),
        ("one", "not the id of an image; got 'one'"),
        ("[1, 2.5]", "not the id of an image; got 2.5"),
        ("[true]", "got True"),
        ("[" * 100_000, "broken JSON"),
        ("9" * 5000, "not the id of an image"),
    ],
)
def test_wrong_ids_are_an_error(tmp_path, ids, problem):
    with pytest.raises(InputError, match=problem):
        write(tmp_path, ids)


def test_ids_that_are_no_text_are_an_error(tmp_path):
    (tmp_path / "ids").write_bytes(b"1\xff")
    with pytest.raises(InputError, match="cannot be read"):
        coco_original.write(*[tmp_path] * 4, ids=tmp_path / "ids")


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
    assert [path.name for path in (tmp_path / "out/seg_label").glob("*.png")] == ["000000000001.png"]
