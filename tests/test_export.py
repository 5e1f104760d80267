"""Maps for other programs: what is written is read with NumPy and pycocotools alone, and is the same."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

from tam import manifest, tagging
from tam.cache import write_generations
from tam.errors import DiskError, InputError
from tam.export.arrays import arrays
from tam.export.stage import export, form_of
from tam.layout import Grid, Layout
from tam.maps import read_maps
from tam.metrics.picture import find_targets
from tam.protocol import FIXED
from tam.records import Generation
from tam.run import runs_of
from tests.test_metrics import (
    JUDGE,
    LEFT,
    TILES,
    _generation,
    _layout,
    _left,
    _localise,
    _mask,
    _pictures,
    _values,
    _word,
    _write_maps,
)  # fmt: skip

PADDED = Layout(np.arange(9), np.array([9, 10]), 11, (Grid(0, (0,), 3, 3, (-2.0, 0.0, 10.0, 6.0)),), ((6, 6),))
LAYOUTS = {
    "one": None, "tiles": TILES["three and a thumbnail"], "two": _pictures(), "film": _pictures((0, 1), (2,)),
    "padded": PADDED,
}  # fmt: skip


def _drawn(generation):
    """``_left``; on a grid that begins before its picture, the same values."""
    return _left(generation if generation.id != "padded" else dataclasses.replace(generation, layout=_layout()))


def _empty(generation):
    made = _drawn(generation)
    return dataclasses.replace(made, maps=made.maps * 0, uint8=made.uint8 * 0)


@pytest.fixture
def run(tmp_path):
    """A run of an answer a layout, and one that failed."""
    made = [_generation(name, layout=layout) for name, layout in LAYOUTS.items()]
    failed = Generation.failure("gone", "What?", "no such picture")
    places = [tmp_path / f"d/m/{stage}/0-of-1.h5" for stage in ("generate", "maps")]
    for place in places:
        place.parent.mkdir(parents=True)
    generations = [dataclasses.replace(one, row=row) for row, one in enumerate([*made, failed])]
    write_generations(places[0], dict(enumerate(generations)), {}, "f")
    broken = {"flat": _empty, "broken": lambda generation: "failed: why", "tam": _drawn}
    _write_maps(places[1], generations, broken, FIXED, "f")
    (found,) = runs_of(generation=places[:1], maps=places[1:])
    return found


def listed(folder: Path) -> dict[str, dict]:
    return {line["id"]: line for line in map(json.loads, (folder / "samples.jsonl").read_text().splitlines())}


def test_arrays_are_read_with_numpy_alone_and_are_the_maps(run, tmp_path):
    assert export(run, tmp_path / "out", "npz") == {"ok": 5, "failed": 1}
    lines = listed(tmp_path / "out")
    assert lines["gone"] == {"id": "gone", "status": "failed: no such picture", "failed": dict.fromkeys(
        ("flat", "broken", "tam"), "failed: no such picture")}  # fmt: skip
    assert lines["one"]["failed"] == {"broken": "failed: why"}
    for stored, (name, layout) in zip(read_maps(run.maps[0]), LAYOUTS.items(), strict=False):
        with np.load(tmp_path / "out" / lines[name]["file"], allow_pickle=False) as file:
            found = {key: file[key] for key in file.files}
        assert found["methods"].tolist() == ["flat", "tam"] and found["id"] == name
        assert found["maps"].dtype == found["word_maps"].dtype == np.float32
        for number, method in enumerate(("flat", "tam")):
            assert (found["maps"][number] == stored[method].maps.astype(np.float32)).all()
        assert found["words"].tolist() == ["What", "?", "A", "cat", "."]
        assert found["tokens"].tolist() == [" What", "?", "A", " cat", ".", "<|im_end|>"]
        assert found["token_words"].tolist() == [0, 1, 2, 3, 4, -1] and found["token_ids"].tolist() == [
            5,
            6,
            1,
            2,
            3,
            4,
        ]
        assert (found["word_maps"][:, 3] == found["maps"][:, 3]).all() and found["explained"].all()
        assert found["token_parts"].tolist() == ["prompt"] * 2 + ["answer"] * 4
        assert found["sizes"].tolist() == [[6, 6]] * (2 if name == "two" else 1)
        of_grid = found["maps"][1, 3][found["cell_grids"] == 0].reshape(found["grids"][0, 1:])
        made = _generation(name, layout=layout)
        assert (of_grid == made.layout.split(stored["tam"].maps[3])[0]).all()


@pytest.mark.parametrize("name", LAYOUTS)
def test_boxes_of_cells_are_on_the_pixels_of_their_grid(run, name):
    made = _generation(name, layout=LAYOUTS[name])
    found = arrays(made, {"tam": _drawn(made)})
    assert len(found["cells"]) == len(made.layout.vision)
    for number, grid in enumerate(made.layout.grids):
        boxes = found["cells"][found["cell_grids"] == number].reshape(grid.rows, grid.columns, 4)
        assert (boxes[0, 0, :2].tolist(), boxes[-1, -1, 2:].tolist()) == ([*grid.box[:2]], [*grid.box[2:]])
        assert (boxes[:, 1:, 0] == boxes[:, :-1, 2]).all() and (boxes[1:, :, 1] == boxes[:-1, :, 3]).all()
        assert found["grids"][number].tolist() == [grid.medium, grid.rows, grid.columns]
        assert [frame for frame in found["grid_frames"][number] if frame >= 0] == [*grid.frames]


def test_a_word_s_map_is_the_mean_of_its_tokens():
    made = _generation("a", answer=(2, 1, 4))  # " cat" + "A" without a space between
    maps = _left(made)
    maps = dataclasses.replace(maps, maps=np.random.default_rng(0).random(maps.maps.shape).astype(np.float32))
    found = arrays(made, {"tam": maps})
    assert found["words"].tolist() == ["What", "?", "catA"] and found["token_words"].tolist() == [0, 1, 2, 2, -1]
    np.testing.assert_array_equal(found["word_maps"][0, 2], maps.maps[2:4].mean(0))


def masks(folder: Path, method: str = "tam") -> list[dict]:
    return json.loads((folder / f"{method}.json").read_text())


def test_masks_are_what_the_metrics_cut(run, tmp_path):
    """Obj-IoU by pycocotools of what is exported is Obj-IoU of the metrics."""
    export(run, tmp_path / "out", "coco")
    assert masks(tmp_path / "out", "flat") == masks(tmp_path / "out", "broken") == []
    found = [one for one in masks(tmp_path / "out") if one["image_id"] == "one" and one["word"] == "cat"]
    assert [(one["token"], one["segmentation"]["size"]) for one in found] == [(1, [6, 6])]
    (expected,) = _values(_localise([_word(0)], [LEFT], _mask()).rows, "obj_iou")
    object_ = run_lengths.encode(np.asfortranarray((_mask() > 0).astype(np.uint8)))
    assert run_lengths.iou([found[0]["segmentation"]], [object_], [0])[0, 0] == pytest.approx(expected)
    above = np.array([240, 180]).repeat(6)  # of the columns 240 180 60 0 0 0, by hand
    assert found[0]["score"] == pytest.approx(above.mean() / 255)
    assert run_lengths.decode(found[0]["segmentation"])[0].tolist() == [1, 1, 0, 0, 0, 0]


def test_each_picture_and_each_frame_has_its_mask_and_tiles_have_that_of_the_whole(run, tmp_path):
    export(run, tmp_path / "out", "coco", ["tam"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".tam.json", "samples.jsonl", "tam.json"}
    of_cat = [one for one in masks(tmp_path / "out") if one["word"] == "cat"]
    by_image = {name: [one for one in of_cat if one["image_id"] == name] for name in LAYOUTS}
    (whole,) = by_image["one"]
    assert [one["segmentation"] for one in by_image["tiles"]] == [whole["segmentation"]]
    assert [(one["picture"], one["frame"]) for one in by_image["two"]] == [(0, 0), (1, 0)]
    assert [(one["picture"], one["frame"]) for one in by_image["film"]] == [(0, 0), (0, 1), (0, 2)]
    for one in by_image["two"] + by_image["film"]:
        assert one["segmentation"] == whole["segmentation"]
    (padded,) = by_image["padded"]  # cells of four pixels, from two before the picture: the mask ends at its edge
    resized = cv2.resize(LEFT, (12, 6), interpolation=cv2.INTER_LINEAR)
    threshold, _ = cv2.threshold(resized, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    assert (run_lengths.decode(padded["segmentation"]) == (resized > threshold)[:, 2:8]).all()


def test_with_a_manifest_masks_are_results_that_coco_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(tagging, "choose", lambda **_: JUDGE)
    made = [_generation("000000000139"), _generation("000000000285")]
    made = [dataclasses.replace(one, row=row) for row, one in enumerate(made)]
    places = [tmp_path / f"data/d/{name}" for name in ("manifest.jsonl", "m/generate/0-of-1.h5", "m/maps/0-of-1.h5")]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    manifest.write([manifest.Sample(one.id, ["a.jpg"], "What?", categories={"cat": 17}) for one in made], places[0])
    write_generations(places[1], dict(enumerate(made)), {}, "f")
    _write_maps(places[2], made, {"tam": _left}, FIXED, "f")
    (found,) = runs_of(manifests=places[:1], generation=places[1:2], maps=places[2:])
    export(found, tmp_path / "out", "coco")
    truth = COCO()
    truth.dataset = {
        "images": [{"id": id, "height": 6, "width": 6} for id in (139, 285)], "categories": [{"id": 17, "name": "cat"}],
        "annotations": [], "info": {},
    }  # fmt: skip
    truth.createIndex()
    loaded = truth.loadRes(str(tmp_path / "out/tam.json"))
    areas = [(one["image_id"], one["category_id"], one["area"]) for one in loaded.anns.values()]
    assert areas == [(139, 17, 12), (285, 17, 12)]
    (target,) = find_targets([_mask()], {17})
    assert (loaded.annToMask(loaded.anns[1]) & target[17].pixels).sum() == 6


def test_with_a_manifest_a_phrase_has_the_mask_that_its_metric_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(tagging, "choose", lambda **_: JUDGE)
    places = [tmp_path / f"data/d/{name}" for name in ("manifest.jsonl", "m/generate/0-of-1.h5", "m/maps/0-of-1.h5")]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    phrases, made = {"a cat": 1, "two cats": 1}, _generation("a")
    manifest.write([manifest.Sample("a", ["a.jpg"], "What?", phrases=phrases)], places[0])
    write_generations(places[1], {0: made}, {}, "f")
    _write_maps(places[2], [made], {"tam": _left}, FIXED, "f")
    (found,) = runs_of(manifests=places[:1], generation=places[1:2], maps=places[2:])
    export(found, tmp_path / "out", "coco")
    (one,) = masks(tmp_path / "out")
    assert (one["word"], one["token"], one["category_id"]) == ("a cat", 0, 1)
    object_ = run_lengths.encode(np.asfortranarray((_mask() > 0).astype(np.uint8)))
    assert run_lengths.iou([one["segmentation"]], [object_], [0])[0, 0] == pytest.approx(6 / 15)  # as in test_metrics


@pytest.mark.parametrize(
    ("id", "image_id"),
    [("000000000139", 139), ("9" * 18, int("9" * 18)), ("9" * 5000, "9" * 5000), ("٣", "٣"), ("-1", "-1")],
    ids=lambda value: str(value)[:12],
)
def test_an_image_s_id_is_a_number_where_coco_can_have_it(tmp_path, id, image_id):
    places = [tmp_path / f"d/m/{stage}/0-of-1.h5" for stage in ("generate", "maps")]
    for place in places:
        place.parent.mkdir(parents=True)
    made = _generation(id)
    write_generations(places[0], {0: made}, {}, "f")
    _write_maps(places[1], [made], {"tam": _left}, FIXED, "f")
    (found,) = runs_of(generation=places[:1], maps=places[1:])
    export(found, tmp_path / "out", "coco")
    assert {one["image_id"] for one in masks(tmp_path / "out")} == {image_id}


def test_only_an_export_of_the_same_kind_is_replaced(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    for form in ("npz", "coco"):
        with pytest.raises(DiskError, match="only a result of ours is replaced"):
            export(run, tmp_path / "mine", form)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    export(run, tmp_path / "out", "npz")
    (tmp_path / "out/left.npz").write_bytes(b"")
    export(run, tmp_path / "out", "npz")
    assert not (tmp_path / "out/left.npz").exists()
    with pytest.raises(DiskError, match="another result lies there"):
        export(run, tmp_path / "out", "coco")


def test_a_method_that_is_named_twice_is_written_once(run, tmp_path):
    for place, methods in (("once", ["tam"]), ("twice", ["tam", "tam"])):
        export(run, tmp_path / place, "coco", methods)
    once, twice = (json.loads((tmp_path / place / "tam.json").read_text()) for place in ("once", "twice"))
    assert once and twice == once


def test_what_cannot_be_exported_is_one_line(run, tmp_path):
    with pytest.raises(InputError, match="unknown form; got 'csv'; expected npz or coco"):
        form_of("csv")
    with pytest.raises(InputError, match="no maps of this method"):
        export(run, tmp_path / "out", "npz", ["eci"])
    with pytest.raises(InputError, match="answers and maps of each shard are needed"):
        export(dataclasses.replace(run, maps=()), tmp_path / "out", "npz")
    assert not (tmp_path / "out").exists()
