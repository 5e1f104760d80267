import json

import cv2
import numpy as np
import pytest

from tam import manifest
from tam.datasets import coco
from tam.datasets.emoji import grammar
from tam.datasets.emoji import scenes as emoji
from tam.datasets.emoji.sprites import GLYPHS, NAMES, SHEET, sprites
from tam.errors import DiskError
from tam.system.mark import FILE
from tests.shared import shared


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("emoji") / "set"
    emoji.write(made, n=4, seed=3)
    return made


def annotations(folder, name):
    return json.loads((folder / "annotations" / name).read_text(encoding="utf-8"))


def test_a_scene_is_the_same_every_time():
    first, second = emoji.scene(7, 5), emoji.scene(7, 5)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.objects, second.objects)
    assert first.captions == second.captions


def test_scenes_of_other_seeds_and_numbers_differ():
    images = [emoji.scene(seed, index).image.tobytes() for seed in (0, 1) for index in range(3)]
    assert len(set(images)) == 6


def test_files_do_not_depend_on_how_many_are_made(folder, tmp_path):
    emoji.write(tmp_path / "two", n=2, seed=3)
    for path in sorted((tmp_path / "two").glob("*/*.[jp][pn]g")):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path / "two")).read_bytes()


def test_no_training_scene_shares_the_random_numbers_of_an_evaluated_one():
    keys = {
        tuple(emoji.generator(seed, split, index).bit_generator.seed_seq.generate_state(4))
        for seed in (0, 1)
        for split in (emoji.EVALUATION, emoji.TRAINING)
        for index in range(50)
    }
    assert len(keys) == 200
    assert emoji.generator(0, emoji.TRAINING, 4).bit_generator.seed_seq.spawn_key[0] != emoji.EVALUATION


def test_the_mask_is_where_the_sprite_covers_more_than_half_of_a_pixel():
    picture, objects = np.full((96, 96, 3), 9, np.uint8), np.zeros((96, 96), np.uint8)
    item = emoji.figure(np.random.default_rng(0), "cat", 50)
    emoji.paste(picture, objects, item, (20, 30), 1)
    alpha = np.zeros((96, 96), np.uint8)
    alpha[20 : 20 + item.shape[0], 30 : 30 + item.shape[1]] = item[..., 3]
    assert np.array_equal(objects == 1, alpha > 127)
    assert (picture[alpha == 0] == 9).all()


def test_a_sprite_may_reach_over_the_edge():
    picture, objects = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
    emoji.paste(picture, objects, np.full((20, 20, 4), 255, np.uint8), (-5, 25), 1)
    assert np.argwhere(objects).min(0).tolist() == [0, 25]
    assert np.argwhere(objects).max(0).tolist() == [14, 31]


def test_boxes_keep_their_distance():
    for index in range(20):
        made = emoji.scene(11, index)
        assert sorted(set(made.objects.ravel())) == list(range(len(made.names) + 1))
        for number in range(1, len(made.names) + 1):
            grown = cv2.dilate((made.objects == number).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            assert set(made.objects[grown]) <= {0, number}


def test_the_label_map_holds_coco_ids_and_zero():
    made = emoji.scene(0, 0)
    assert made.label_map.dtype == np.uint8
    assert set(made.label_map[made.objects > 0]) == {emoji.IDS[name] for name in made.names}
    assert (made.label_map[made.objects == 0] == 0).all()


def test_captions_name_the_largest_first_and_count_right():
    objects = np.zeros((8, 8), np.uint8)
    objects[0, :3], objects[2, :3], objects[4:8, :2] = 1, 2, 3
    made = emoji.Scene(np.zeros((8, 8, 3), np.uint8), objects, ("apple", "apple", "dog"), "snow")
    assert made.groups == [("dog", 1), ("apple", 2)]
    assert made.captions[0] == "A dog and two apples in the snow."
    assert made.captions[-1] == "There is a dog and two apples in the snow."
    assert grammar.answer(made.groups[::-1]) == "There are two apples and a dog."


def test_every_scene_has_two_to_five_captions():
    assert all(2 <= len(emoji.scene(1, index).captions) <= 5 for index in range(20))


def test_categories_are_those_of_coco():
    """Only those that are drawn: with all 80, the last match would make every dog a hot dog."""
    assert set(NAMES) == set(emoji.IDS)
    theirs = shared("data", "coco2014", "annotations", "instances_minival2014.json")
    assert all(entry in json.loads(theirs.read_text(encoding="utf-8"))["categories"] for entry in emoji.CATEGORIES)


def test_instances_equal_the_label_maps(folder):
    content = annotations(folder, "instances_minival2014.json")
    assert set(content) == {"info", "images", "licenses", "annotations", "categories"}
    for image in content["images"]:
        path = folder / "seg_label" / image["file_name"].replace(".jpg", ".png")
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        union = np.zeros_like(labels)
        for entry in (entry for entry in content["annotations"] if entry["image_id"] == image["id"]):
            mask = decoded(entry["segmentation"])
            rows, columns = np.nonzero(mask)
            assert entry["area"] == mask.sum()
            left, top, width, height = entry["bbox"]
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())
            union[mask] = entry["category_id"]
        assert labels.shape == (image["height"], image["width"])
        assert np.array_equal(union, labels)


def decoded(segmentation):
    values = np.arange(len(segmentation["counts"])) % 2 == 1
    return np.repeat(values, segmentation["counts"]).reshape(segmentation["size"], order="F")


@pytest.mark.parametrize("mask", [[[0, 0], [0, 0]], [[1, 0], [0, 1]], [[1, 1], [1, 1]], [[0, 1], [1, 0]]])
def test_run_lengths_come_back(mask):
    made = emoji.run_lengths(np.array(mask, bool))
    assert np.array_equal(decoded(made), mask)
    assert sum(made["counts"]) == 4


def test_the_coco_reader_reads_it(folder):
    coco.write(folder, folder / "manifest.jsonl")
    samples = manifest.read(folder / "manifest.jsonl")
    assert [sample.id for sample in samples] == [f"{number:012d}" for number in range(1, 5)]
    for index, sample in enumerate(samples):
        assert sample.references == emoji.scene(3, index).captions
        assert manifest.resolve(sample.media[0], folder / "manifest.jsonl").is_file()
        assert manifest.resolve(sample.mask, folder / "manifest.jsonl").is_file()


def test_fields_are_those_of_the_real_set(folder):
    theirs = shared("data", "coco2014", "annotations")
    for name in ("instances_minival2014.json", "captions_val2014.json"):
        real = json.loads((theirs / name).read_text(encoding="utf-8"))
        made = annotations(folder, name)
        assert set(made) == set(real)
        for key in ("images", "annotations", "licenses"):
            assert set(made[key][0]) == set(real[key][0])


def test_older_scenes_are_replaced_as_a_whole(tmp_path):
    emoji.write(tmp_path / "set", n=1)
    (tmp_path / "set" / "old").mkdir()
    emoji.write(tmp_path / "set", n=1)
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [FILE, "annotations", "image", "seg_label"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_another_dataset_of_the_same_layout_is_not_replaced(tmp_path):
    for name in ("annotations", "image", "seg_label"):
        (tmp_path / "set" / name).mkdir(parents=True)
    with pytest.raises(DiskError, match=r"'annotations' and 2 more without \.tam\.json; cure: move it"):
        emoji.write(tmp_path / "set", n=1)
    assert len([*tmp_path.rglob("*")]) == 4


def test_a_full_disk_is_said_and_no_picture_is_left_out_in_silence(small_disk):
    with pytest.raises(DiskError, match="disk full"):
        emoji.write(small_disk / "set", n=200)
    assert not [*small_disk.iterdir()]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(seed, index):
        raise RuntimeError("no scene")

    monkeypatch.setattr(emoji, "scene", broken)
    with pytest.raises(RuntimeError, match="no scene"):
        emoji.write(tmp_path / "set", n=1)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_moves_one_object_over_a_still_picture():
    frames, masks, caption = emoji.clip(np.random.default_rng(1))
    assert len(frames) == len(masks) == 4
    centres = [np.nonzero(mask)[1].mean() for mask in masks]
    assert sorted(centres) in (centres, centres[::-1])
    unmoved = ~masks.any(0)
    unmoved = cv2.erode(unmoved.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert all(np.array_equal(frame[unmoved], frames[0][unmoved]) for frame in frames)
    assert " moving " in caption


def test_the_sheet_holds_every_glyph():
    assert SHEET.stat().st_size < 1_000_000
    made = sprites()
    assert {name: len(made[name]) for name in NAMES} == {name: len(GLYPHS[name]) for name in NAMES}
    assert all(min(glyph.shape[:2]) > 40 and glyph.shape[2] == 4 for glyphs in made.values() for glyph in glyphs)
