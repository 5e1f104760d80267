"""Whatever JSON stands in an annotation file: an InputError, or a manifest that can be read, a row an entry."""

import json

import PIL.Image
from hypothesis import given, settings
from hypothesis import strategies as st

from tam import manifest
from tam.datasets import anno, coco, coco_original
from tam.datasets.entries import Names, by_number
from tam.errors import InputError


@given(names=st.lists(st.sampled_from(["a", "a-2", "a-2-2", "a-3", ""]), max_size=12))
def test_free_names_are_all_different_and_begin_as_they_were_asked_for(names):
    free = Names()
    found = [free.free(name) for name in names]
    assert len(set(found)) == len(found)
    assert all(one.startswith(name) for one, name in zip(found, names, strict=True))


def test_numbers_sort_as_numbers():
    names = ["a10", "a2", "a02", "b1", "10", "9", "a", "1.10.png", "1.9.png", "", "é2"]
    assert sorted(names, key=by_number) == ["", "1.9.png", "1.10.png", "9", "10", "a", "a02", "a2", "a10", "b1", "é2"]


WORDS = st.sampled_from(
    ["a.jpg", "b/a.jpg", "../a.jpg", "/a.jpg", ".", "", "\0", "a\\..\\b", "half \ud800", "c:x", "17"]
)
ATOMS = st.none() | st.booleans() | st.integers(-1, 300) | st.floats() | WORDS
VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=3))
ENTRIES = VALUES | st.tuples(WORDS, WORDS, WORDS, st.dictionaries(WORDS, st.integers(-1, 300)))


@given(rows=st.lists(ENTRIES, max_size=6))
@settings(deadline=None)
def test_any_list_of_entries(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("anno")
    (folder / "anno.json").write_text(json.dumps(rows))
    try:
        assert anno.write(folder, folder / "manifest.jsonl", prompt="p") == len(rows)
    except InputError:
        return
    samples = manifest.read(folder / "manifest.jsonl")
    assert len(samples) == len(rows)
    assert all(sample.id and bool(sample.problem) != bool(sample.media) for sample in samples)


def entry(**fields):
    """A dict with these fields, some of which may be missing or anything."""
    return VALUES | st.fixed_dictionaries({}, optional={name: VALUES | value for name, value in fields.items()})


IDS = st.integers(1, 3)
SHAPES = st.lists(st.lists(st.integers(-5, 50) | st.floats(), min_size=5, max_size=8), max_size=2)
RUNS = st.fixed_dictionaries({"size": st.just([4, 5]), "counts": st.lists(st.integers(-5, 30), max_size=4) | VALUES})
SIZES = {"height": st.just(4), "width": st.just(5)}
IMAGES = st.lists(entry(id=IDS, file_name=WORDS, **SIZES), max_size=4)
OBJECTS = entry(image_id=IDS, category_id=st.just(1), area=st.integers(0, 9), segmentation=SHAPES | RUNS)


@given(
    images=VALUES | IMAGES,
    objects=VALUES | st.lists(OBJECTS, max_size=4),
    captions=VALUES | st.lists(entry(image_id=IDS, caption=WORDS), max_size=3),
)
@settings(deadline=None)
def test_any_coco_files(tmp_path_factory, images, objects, captions):
    folder = tmp_path_factory.mktemp("coco")
    good = {"id": 9, "file_name": "9.jpg", "height": 4, "width": 5}
    instances = {
        "images": [good, *images] if isinstance(images, list) else images,
        "annotations": objects,
        "categories": [{"id": 1, "name": "cat"}],
    }
    files = folder / "annotations/instances_x.json", folder / "annotations/captions_x.json"
    files[0].parent.mkdir()
    (folder / "image").mkdir()
    for name in ("9.jpg", "a.jpg", "17"):
        PIL.Image.new("RGB", (5, 4)).save(folder / "image" / name, "JPEG")
    files[0].write_text(json.dumps(instances))
    files[1].write_text(json.dumps({"annotations": captions}))
    for source in ("formatted", "original"):
        out = folder / source / "manifest.jsonl"
        try:
            if source == "formatted":
                coco.write(folder, out)
            else:
                coco_original.write(folder / "image", *files, out)
        except InputError:
            assert not all(isinstance(part, list) for part in (images, objects, captions))  # a list costs its entries
            continue
        samples = {sample.id: sample for sample in manifest.read(out)}
        assert samples["9" if source == "formatted" else f"{9:012d}"].problem is None
        assert all(sample.id and bool(sample.problem) != bool(sample.media) for sample in samples.values())
