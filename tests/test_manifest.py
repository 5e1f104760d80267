import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tam import manifest
from tam.datasets import coco
from tam.errors import InputError
from tests.shared import shared


def _sample(identity):
    return manifest.Sample(id=identity, media=["image/a.jpg"], prompt="p", references=["r"], categories={"cat": 17})


def test_what_is_written_is_read(tmp_path):
    samples = [_sample("a"), _sample("b\n\u2028c")]
    manifest.write(samples, tmp_path / "manifest.jsonl")
    assert manifest.read(tmp_path / "manifest.jsonl") == samples


def test_what_an_editor_leaves_in_a_file_is_read_over(tmp_path):
    manifest.write([_sample("a"), _sample("b")], tmp_path / "m.jsonl")
    lines = (tmp_path / "m.jsonl").read_bytes().splitlines()
    (tmp_path / "m.jsonl").write_bytes(b"\xef\xbb\xbf" + lines[0] + b"\r\n  \r\n" + lines[1] + b"\r\n\r\n")
    assert [sample.id for sample in manifest.read(tmp_path / "m.jsonl")] == ["a", "b"]


def test_paths_hold_where_a_folder_above_the_manifest_is_a_link(tmp_path):
    """As of a cluster: ``data`` is a link to a disk that is deeper, or less deep."""
    (tmp_path / "disk/much/deeper").mkdir(parents=True)
    (tmp_path / "home/me").mkdir(parents=True)
    (tmp_path / "home/me/data").symlink_to(tmp_path / "disk/much/deeper")
    (tmp_path / "a.png").touch()
    out = tmp_path / "home/me/data/d/manifest.jsonl"
    (out.parent / "seg_label").mkdir(parents=True)
    assert manifest.relative(out.parent / "seg_label/a.png", out) == "seg_label/a.png"
    assert manifest.resolve(manifest.relative(tmp_path / "a.png", out), out).is_file()


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "x"}', '{"id": "x", "media": [], "prompt": "", "other": 1}'])
def test_a_broken_line_is_named(tmp_path, line):
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"id": "x", "media": [], "prompt": ""}\n' + line + "\n")
    with pytest.raises(InputError, match="line 2"):
        manifest.read(path)


@pytest.mark.parametrize(
    ("sample", "problem"),
    [
        (_sample(""), "id: wrong value; got ''"),
        (_sample("a\0b"), "id: wrong value; got 'a"),
        (replace(_sample("a"), media=["x" * 256]), "no path; got 'xxx"),
        (replace(_sample("a"), mask="x/" * 1600), "no path; got 'x/x"),
        (replace(_sample("a"), mask="a\0b"), "no path"),
        (replace(_sample("a"), masks={"1": "a\0b"}), "no path"),
        (replace(_sample("a"), masks={"-1": "a.png"}), "masks: wrong value; got '-1'; expected a number"),
        (replace(_sample("a"), prompt="half \ud800"), "prompt: wrong value"),
        (replace(_sample("a"), references=["x" * (1 << 24)]), "more than a line of a manifest holds"),
    ],
)
def test_what_would_not_be_read_is_known_before_it_is_written(tmp_path, sample, problem):
    with pytest.raises(InputError, match=problem) as found:
        manifest.check(sample)
    assert len(str(found.value)) < 500
    manifest.check(_sample("a"))
    if "\ud800" not in sample.prompt:
        manifest.write([sample], tmp_path / "m.jsonl")
        with pytest.raises(InputError, match="line 1"):
            manifest.read(tmp_path / "m.jsonl")


def test_an_id_may_occur_once(tmp_path):
    manifest.write([_sample("a"), _sample("a")], tmp_path / "m.jsonl")
    with pytest.raises(InputError, match="occurs twice"):
        manifest.read(tmp_path / "m.jsonl")


@given(total=st.integers(0, 500), count=st.integers(1, 40))
def test_shards_cover_every_row_once(total, count):
    rows = [row for index in range(count) for row in manifest.Shard(index, count).rows(total)]
    assert rows == list(range(total))


@pytest.mark.parametrize("text", ["", "1", "4-of-4", "-1-of-4", "a-of-b"])
def test_a_wrong_shard_is_refused(text):
    with pytest.raises(InputError, match="shard"):
        manifest.Shard.parse(text)


def _coco(root, images=({"id": 7, "file_name": "000000000007.jpg"},)):
    (root / "annotations").mkdir()
    categories = [{"id": 37, "name": "sports ball"}, {"id": 17, "name": "cat"}]
    instances = {"images": list(images), "categories": categories, "annotations": []}
    captions = {"annotations": [{"image_id": 7, "caption": "A cat."}]}
    (root / "annotations/instances_minival2014.json").write_text(json.dumps(instances))
    (root / "annotations/captions_val2014.json").write_text(json.dumps(captions))


def test_coco_layout_becomes_a_manifest(tmp_path):
    root = tmp_path / "coco"
    root.mkdir()
    _coco(root)
    assert coco.write(root, tmp_path / "data" / "manifest.jsonl") == 1
    (sample,) = manifest.read(tmp_path / "data" / "manifest.jsonl")
    assert sample == manifest.Sample(
        id="000000000007",
        media=["../coco/image/000000000007.jpg"],
        prompt=coco.PROMPT,
        references=["A cat."],
        mask="../coco/seg_label/000000000007.png",
        categories={"ball": 37, "cat": 17},
    )


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd"])
def test_annotations_cannot_point_outside(tmp_path, name):
    _coco(tmp_path, images=[{"id": 7, "file_name": name}])
    with pytest.raises(InputError, match="not a path in its folder"):
        coco.write(tmp_path, tmp_path / "manifest.jsonl")


def test_errors_name_the_file_and_the_entry(tmp_path):
    with pytest.raises(InputError, match="not a formatted COCO folder"):
        coco.write(tmp_path, tmp_path / "manifest.jsonl")
    _coco(tmp_path, images=[{"id": 7}])
    with pytest.raises(InputError, match=r"instances_minival2014.json, images\[0\]"):
        coco.write(tmp_path, tmp_path / "manifest.jsonl")
    (tmp_path / "annotations/instances_minival2014.json").write_text("{")
    with pytest.raises(InputError, match="broken JSON"):
        coco.write(tmp_path, tmp_path / "manifest.jsonl")


def test_the_real_coco_sample_is_read(tmp_path):
    assert coco.write(shared("data", "coco2014"), tmp_path / "manifest.jsonl") == 5
    samples = manifest.read(tmp_path / "manifest.jsonl")
    for sample in samples:
        assert manifest.resolve(sample.media[0], tmp_path / "manifest.jsonl").is_file()
        assert manifest.resolve(sample.mask, tmp_path / "manifest.jsonl").is_file()
        assert len(sample.categories) == 80 and sample.references
