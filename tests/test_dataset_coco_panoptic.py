"""Label maps of things and stuff from COCO's panoptic files."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from tam import manifest
from tam.datasets import coco_panoptic
from tam.errors import InputError
from tam.label_map import read_label_map
from tam.manifest import Sample
from tam.media import open_media

CATEGORIES = [
    {"id": 17, "name": "cat", "isthing": 1, "supercategory": "animal"},
    {"id": 184, "name": "tree-merged", "isthing": 0, "supercategory": "plant"},
]
# Ids that need all three bytes; the first column is void.
IDS = np.array([[0, 5, 5, 70_000, 70_000, 300]] * 4)
SEGMENTS = [
    {"id": 5, "category_id": 17, "area": 8, "iscrowd": 0},
    {"id": 70_000, "category_id": 184, "area": 8, "iscrowd": 0},
    {"id": 300, "category_id": 17, "area": 4, "iscrowd": 1},
]
LABELS = [[0, 17, 17, 184, 184, 17]] * 4


def colours(ids: np.ndarray) -> Image.Image:
    return Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8))


def write(tmp_path: Path, annotation: object = None, png: Image.Image | None = None, turn: int = 1, **options):
    """Three images, of which the second has this annotation, this PNG file and this EXIF turn."""
    for folder in ("val2017", "panoptic"):
        (tmp_path / folder).mkdir(exist_ok=True)
    images, annotations = [], []
    for id in (1, 2, 3):
        exif = Image.Exif()
        exif[Base.Orientation] = turn if id == 2 else 1
        Image.new("RGB", (6, 4)).save(tmp_path / f"val2017/{id}.jpg", exif=exif)
        (png if id == 2 and png else colours(IDS)).save(tmp_path / f"panoptic/{id}.png")
        images.append({"id": id, "file_name": f"{id}.jpg", "height": 4, "width": 6})
        annotations.append({"image_id": id, "file_name": f"{id}.png", "segments_info": SEGMENTS})
    if annotation is not None:
        annotations[1:2] = [annotations[1] | one for one in annotation]
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    out = tmp_path / "out/manifest.jsonl"
    coco_panoptic.write(tmp_path / "val2017", tmp_path / "panoptic.json", tmp_path / "panoptic", out, **options)
    return {int(sample.id): sample for sample in manifest.read(out)}


def labels(sample: Sample, tmp_path: Path) -> list[list[int]]:
    shown = open_media(sample, tmp_path / "out").pictures[0]
    found, problem = read_label_map(sample, shown.size, tmp_path / "out/manifest.jsonl")
    assert not problem
    return found.tolist()


def test_things_and_stuff_are_categories_and_void_is_background(tmp_path):
    (tmp_path / "captions.json").write_text('{"annotations": [{"image_id": 2, "caption": "A cat."}]}')
    samples = write(tmp_path, captions=tmp_path / "captions.json")
    assert all(labels(sample, tmp_path) == LABELS for sample in samples.values())
    assert samples[1].categories == {"cat": 17, "tree-merged": 184}
    assert [sample.references for sample in samples.values()] == [[], ["A cat."], []]
    assert samples[1].id == "000000000001" and samples[1].media == ["../val2017/1.jpg"]


@pytest.mark.parametrize("turn", range(2, 9))
def test_segments_lie_on_the_stored_pixels_and_label_maps_on_the_upright_picture(tmp_path, turn):
    flat = IDS.copy()
    flat[0, 1] = 300
    flat[3, 5] = 5
    shades = Image.fromarray((np.array(labels(write(tmp_path, png=colours(flat))[2], tmp_path))).astype(np.uint8))
    shades.getexif()[Base.Orientation] = turn
    samples = write(tmp_path, png=colours(flat), turn=turn)
    assert labels(samples[2], tmp_path) == np.asarray(ImageOps.exif_transpose(shades)).tolist()


NO_PIXEL = [*SEGMENTS, {"id": 6, "category_id": 17}]


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        ([{"segments_info": SEGMENTS[:2]}], "a segment without an entry; got 300"),
        ([{"segments_info": NO_PIXEL}], "a segment without a pixel; got 6"),
        ([{"segments_info": [*SEGMENTS, SEGMENTS[0]]}], "not a segment, or its id is there twice"),
        ([{"segments_info": [{"id": 1 << 24, "category_id": 17}]}], "not a segment"),
        ([{"segments_info": [{"id": 0, "category_id": 17}]}], "not a segment"),
        ([{"segments_info": [{"id": 5.0, "category_id": 17}]}], "not a segment"),
        ([{"segments_info": [{"id": 5, "category_id": 99}]}], "unknown category; got 99"),
        ([{"segments_info": None}], "entries are missing"),
        ([{"file_name": "../val2017/1.jpg"}], "not a path in its folder"),
        ([{"file_name": "none.png"}], "no such file of segments"),
        ([], "not one entry of segments; got 0"),
        ([{}, {}], "not one entry of segments; got 2"),
    ],
)
def test_an_entry_that_does_not_agree_with_its_pixels_costs_its_image(tmp_path, annotation, problem):
    samples = write(tmp_path, annotation)
    assert problem in samples[2].problem
    assert labels(samples[1], tmp_path) == labels(samples[3], tmp_path) == LABELS


@pytest.mark.parametrize(
    ("png", "problem"),
    [
        (colours(IDS).convert("L"), "unreadable mask: 8-bit grey, not 8-bit colour"),
        (colours(IDS).quantize(), "unreadable mask: .-bit palette, not 8-bit colour"),
        (colours(IDS).convert("RGBA"), "unreadable mask: 8-bit colour with alpha, not 8-bit colour"),
        (colours(IDS.T), "mask of another size: 4x6, picture 6x4"),
        (colours(np.repeat(IDS, 2, 0)), "mask of another size: 6x8, picture 6x4"),
    ],
    ids=["grey", "palette", "alpha", "turned", "larger"],
)
def test_a_file_that_holds_no_such_segments_costs_its_image(tmp_path, png, problem):
    samples = write(tmp_path, png=png)
    assert re.search(problem, samples[2].problem)
    assert labels(samples[3], tmp_path) == LABELS


def test_a_damaged_file_costs_its_image_and_all_together_are_an_error(tmp_path):
    write(tmp_path)
    path = tmp_path / "panoptic/2.png"
    os.utime(tmp_path / "out/seg_label/000000000002.png", (0, 0))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"no sample can be used; got .*no such picture"):
        coco_panoptic.write(tmp_path, tmp_path / "panoptic.json", tmp_path / "panoptic", tmp_path / "m.jsonl")
    coco_panoptic.write(
        tmp_path / "val2017", tmp_path / "panoptic.json", tmp_path / "panoptic", tmp_path / "out/manifest.jsonl"
    )
    problems = [sample.problem for sample in manifest.read(tmp_path / "out/manifest.jsonl")]
    assert (
        problems[0] is None and "unreadable mask: no picture, or a damaged one" in problems[1] and problems[2] is None
    )


def test_ids_choose_the_images(tmp_path):
    (tmp_path / "ids").write_text("3\n8\n")
    samples = write(tmp_path, ids=tmp_path / "ids")
    assert list(samples) == [3, 8] and "no such image" in samples[8].problem
