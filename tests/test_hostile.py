"""What hostile and broken input does. docs/explained/bad_input.md lists these tests; the last one checks it."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
import zlib
from dataclasses import asdict
from pathlib import Path

import cv2
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers import dynamic_module_utils

from tam import manifest
from tam.cache import read_generations, read_header, write_generations
from tam.embedded import CHECKPOINT
from tam.errors import InputError, ModelError, SchemaError
from tam.label_map import read_label_map
from tam.manifest import Sample
from tam.maps import read_maps, read_maps_header
from tam.media import _capture, open_media, open_picture, picture_size, read_video
from tam.methods.stage import write_maps
from tam.model.checkpoint import config_of, load, locate
from tam.protocol import FIXED
from tam.render.names import safe_id
from tam.rows import SCHEMA, VERSION, RowsHeader
from tam.run import RunFiles, read_pairs
from tam.system import seal
from tam.tables.summary import summarise
from tests import tiny
from tests.fuzz import sign
from tests.test_cache import made
from tests.test_maps import made as mappable
from tests.workflow.test_workflow import ROOT, snakemake

TERABYTE = 1 << 40


# ---- checkpoints


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return tiny.checkpoint(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def checkpoint(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "checkpoint"))


def _edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_pickle_weights_are_refused(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1)}, checkpoint / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no safetensors weights; got pickle weights: pytorch_model\.bin"):
        locate(str(checkpoint))


@pytest.mark.parametrize("name", ["evil.bin", "../model.safetensors", "/etc/passwd", 7])
def test_an_index_of_weights_names_safetensors_of_its_folder_only(checkpoint, name):
    (checkpoint / "model.safetensors").rename(checkpoint / "part.safetensors")
    index = checkpoint / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"weight": name}}))
    with pytest.raises(ModelError, match="index"):
        locate(str(checkpoint))


def test_code_of_a_checkpoint_runs_only_where_it_is_trusted(checkpoint, monkeypatch):
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(checkpoint.parent / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    (checkpoint / "own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import Qwen2VLConfig\n"
        f"Path({str(checkpoint / 'ran')!r}).touch()\n"
        "class OwnConfig(Qwen2VLConfig):\n    model_type = 'own'\n"
    )
    _edit(
        checkpoint / "config.json",
        model_type="own",
        auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForImageTextToText": "own.Own"},
    )
    with pytest.raises(ModelError, match=r"wants to run its own code.*trust_remote_code: true"):
        config_of(checkpoint)
    assert not (checkpoint / "ran").exists()
    assert config_of(checkpoint, trust_remote_code=True).model_type == "own"
    assert (checkpoint / "ran").exists()


def test_the_config_s_trust_reaches_the_command_of_its_model_alone(tmp_path):
    models = {"own": {"model": "a", "trust_remote_code": True}, "no": {"model": "b", "trust_remote_code": False}}
    config = {"datasets": {"d": {"kind": "emoji"}}, "models": models | {"plain": {"model": "c"}}}
    printed = snakemake(tmp_path, "-n", "--printshellcmds", config=config).stdout
    commands = [line for line in printed.splitlines() if "tam generate" in line]
    assert len(commands) == 3
    assert [line for line in commands if "trust" in line] == [line for line in commands if "--model=a" in line]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no config, or a broken one"),
        ("[]", "no config, or a broken one"),
        ("[" * 100_000, "no config, or a broken one"),
        ('{"model_type": "strange"}', "unsupported kind of model; got 'strange'"),
        ('{"model_type": 7}', "unsupported kind of model; got 7"),
        ('{"model_type": "qwen2_vl", "text_config": {"hidden_size": "wide"}}', "a broken config"),
        (None, "no config, or a broken one"),
    ],
)
def test_a_broken_config_of_a_checkpoint(checkpoint, text, message):
    (checkpoint / "config.json").unlink() if text is None else (checkpoint / "config.json").write_text(text)
    with pytest.raises(ModelError, match=message):
        config_of(checkpoint)


@pytest.mark.parametrize(
    ("missing", "message"),
    [(["processor_config.json"], "cannot be loaded"), (["tokenizer.json", "tokenizer_config.json"], "no tokenizer")],
)
def test_a_missing_processor_or_tokenizer(checkpoint, missing, message):
    for name in missing:
        (checkpoint / name).unlink()
    with pytest.raises(ModelError, match=message):
        load(str(checkpoint), device="cpu")


@pytest.mark.parametrize("kept", [0, 4, 10_000, -1])
def test_truncated_weights(checkpoint, kept):
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ModelError, match="the checkpoint cannot be loaded"):
        load(str(checkpoint), device="cpu")


def test_missing_weights_are_not_filled_with_random_numbers(checkpoint):
    text = json.loads((checkpoint / "config.json").read_text())["text_config"]
    _edit(checkpoint / "config.json", text_config=text | {"num_hidden_layers": 3, "layer_types": None})
    with pytest.raises(ModelError, match="weights are missing"):
        load(str(checkpoint), device="cpu")


# ---- HDF5


@pytest.fixture
def cached(tmp_path) -> Path:
    write_generations(tmp_path / "g.h5", {3: made()}, {}, "f")
    return tmp_path / "g.h5"


def _replace(path: Path, name: str, make) -> None:
    """Put another thing in the place of an array of the sample."""
    with h5py.File(path, "r+") as file:
        group = file["00000003"]
        attributes = dict(group[name].attrs)
        del group[name]
        make(group, name)
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            group[name].attrs.update(attributes)


def _sign(path: Path, **meta) -> None:
    with h5py.File(path, "r+") as file:
        sign(file["00000003"], **meta)


@pytest.mark.parametrize(
    "make",
    [
        lambda group, name: group.create_dataset(name, (TERABYTE // 4,), "<i4", chunks=(1 << 20,)),
        lambda group, name: group.create_dataset(name, (TERABYTE // 4,), "<i4", compression="gzip", chunks=(1 << 20,)),
        lambda group, name: group.create_dataset(name, (4,), "<i4", chunks=(3 << 28,), maxshape=(None,)),
    ],
)
def test_a_declared_terabyte_is_not_allocated(cached, make):
    _replace(cached, "tokens", make)
    tracemalloc.start()
    try:
        with pytest.raises(SchemaError, match=r"sample 00000003: damaged file.*bytes, more than"):
            list(read_generations(cached))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def _elsewhere(folder: Path) -> Path:
    secret = folder / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["tokens"] = np.zeros(12, np.int32)
    (folder / "secret.bin").write_bytes(bytes(48))
    return secret


@pytest.mark.parametrize("kind", ["soft", "external link", "external storage", "virtual"])
def test_links_and_storage_outside_the_file_are_not_followed(cached, kind):
    secret = _elsewhere(cached.parent)

    def make(group, name):
        if kind == "soft":
            group[name] = h5py.SoftLink("/00000003/vision")
        elif kind == "external link":
            group[name] = h5py.ExternalLink(str(secret), "tokens")
        elif kind == "external storage":
            group.create_dataset(name, (12,), "<i4", external=[(str(cached.parent / "secret.bin"), 0, 48)])
        else:
            layout = h5py.VirtualLayout((12,), "<i4")
            layout[:] = h5py.VirtualSource(str(secret), "tokens", (12,))
            group.create_virtual_dataset(name, layout)

    _replace(cached, "tokens", make)
    with pytest.raises(SchemaError, match=r"a link that leads elsewhere|its values lie in another file"):
        list(read_generations(cached))


def test_a_group_that_is_a_link_is_not_followed(cached):
    with h5py.File(cached, "r+") as file:
        del file["00000003"]
        file["00000003"] = h5py.ExternalLink(str(_elsewhere(cached.parent)), "/")
    with pytest.raises(SchemaError, match="a link that leads elsewhere"):
        list(read_generations(cached))


def test_filters_that_may_load_a_plugin_are_refused(cached):
    _replace(cached, "tokens", lambda group, name: group.create_dataset(name, (12,), "<i4", compression="lzf"))
    with pytest.raises(SchemaError, match="unknown filters"):
        list(read_generations(cached))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens", np.zeros(15, np.float64)),
        ("tokens", np.zeros((3, 5), np.int32)),
        ("tokens", np.zeros(5, np.int32)),
        ("tokens", h5py.Empty("i4")),
        ("vision", np.full(6, 99, np.int32)),
        ("prompt", np.array([-1, 2], np.int32)),
        ("classes", np.zeros(4, np.int32)),
        ("logits", np.zeros((11, 5), np.float32)),
        ("logits", np.zeros((11, 4), np.float64)),
        ("candidates/logits", np.zeros((5, 4), np.float32)),
        ("candidates/logsumexp", np.zeros(3, np.float32)),
        ("meta", np.zeros(3)),
        ("meta", "[" * 100_000),
    ],
)
def test_arrays_of_wrong_types_and_shapes(cached, name, value):
    _replace(cached, name, lambda group, name: group.__setitem__(name, value))
    with pytest.raises(
        SchemaError, match=r"sample 00000003: damaged file.*cure: remove it and generate again"
    ) as found:
        list(read_generations(cached))
    assert "checksum" not in str(found.value)


GRID = {"medium": 0, "frames": [0], "rows": 2, "columns": 3, "box": [0, 0, 65, 48]}


@pytest.mark.parametrize(
    "lie",
    [
        {"id": 7},
        {"id": "\ud800"},
        {"status": "fine"},
        {"answer": None},
        {"answer_start": -1},
        {"answer_start": 10**9},
        {"answer_start": "6"},
        {"sizes": [[10**6, 10**6]]},
        {"sizes": [[65, float("nan")]]},
        {"grids": []},
        {"grids": [GRID | {"rows": -2, "columns": -3}]},
        {"grids": [GRID | {"box": [0, 0, float("inf"), 48]}]},
        {"grids": [GRID | {"medium": 1}]},
        {"grids": [GRID | {"frames": []}]},
        {"vocabulary": {}},
        {"vocabulary": {"1": ["a", "a", "猫"]}},
        {"vocabulary": "a"},
        {"end_tokens": [None]},
    ],
)
def test_a_sample_that_lies_with_a_right_checksum(cached, lie):
    _sign(cached)
    assert len(list(read_generations(cached))) == 1
    _sign(cached, **lie)
    with pytest.raises(SchemaError, match="sample 00000003: damaged file") as found:
        list(read_generations(cached))
    assert "checksum" not in str(found.value)


@pytest.mark.parametrize("name", ["format", "version", "run", "fingerprint"])
@pytest.mark.parametrize("value", [np.zeros(10**3), [b"a"], h5py.Empty("f"), 2.5, "["])
def test_attributes_of_wrong_types(cached, name, value):
    with h5py.File(cached, "r+") as file:
        file.attrs[name] = value
    if name == "fingerprint" and isinstance(value, str):  # which is a text like any other
        assert read_header(cached)["fingerprint"] == value
        return
    with pytest.raises(SchemaError, match=r"g\.h5"):
        read_header(cached)


@pytest.fixture
def mapped(tmp_path) -> Path:
    write_generations(tmp_path / "g.h5", {0: mappable()}, {}, "f")
    write_maps(tmp_path / "g.h5", tmp_path / "m.h5", ["tam", "eci"], FIXED)
    return tmp_path / "m.h5"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("maps", lambda maps: maps + np.float16(2)),
        ("maps", lambda maps: -maps),
        ("maps", lambda maps: np.full_like(maps, np.nan)),
        ("maps", lambda maps: maps.astype(np.float64)),
        ("maps", lambda maps: maps[:1]),
        ("uint8", lambda uint8: uint8[:, :, :-1]),
        ("relevance", lambda relevance: np.full_like(relevance, np.inf)),
        ("scale", lambda scale: scale[:, :-1]),
        ("meta", lambda _: "[]"),
        ("meta", lambda _: '{"id": "a", "status": "ok", "methods": {"tam": "ok"}}'),
        ("meta", lambda _: '{"id": 7, "status": "ok", "methods": {"tam": "ok", "eci": "ok"}}'),
        ("meta", lambda _: '{"id": "a", "status": "fine", "methods": {"tam": "ok", "eci": "ok"}}'),
        ("meta", lambda _: '{"id": "a", "status": "ok", "methods": {"tam": "ok", "eci": 3}}'),
    ],
)
def test_maps_that_are_none(mapped, name, change):
    """With a right checksum, as a stranger can make it."""
    assert not next(read_maps(mapped))["eci"].failed
    with h5py.File(mapped, "r+") as file:
        group = file["00000000"]
        values = change(group[name][()])
        del group[name]
        group[name] = values
    seal.append(mapped)
    with pytest.raises(SchemaError, match="sample 00000000: damaged file"):
        list(read_maps(mapped))


@pytest.mark.parametrize(
    ("name", "value"), [("methods", "[]"), ("methods", '{"tam": 1}'), ("samples", "1"), ("exact", 1), ("eci_cap", 1)]
)
def test_a_header_of_maps_that_lies(mapped, name, value):
    with h5py.File(mapped, "r+") as file:
        file.attrs[name] = value
    seal.append(mapped)
    with pytest.raises(SchemaError, match=r"m\.h5: damaged file"):
        read_maps_header(mapped)


def test_maps_and_answers_that_do_not_belong_together(mapped, tmp_path):
    assert len(list(read_pairs(tmp_path / "g.h5", mapped))) == 1
    for generations in ({}, {0: mappable("b")}, {0: made()}, {0: mappable(), 1: mappable("b")}):
        write_generations(tmp_path / "other.h5", generations, {}, "f")
        with pytest.raises(SchemaError, match=r"maps of another generation|samples are missing"):
            list(read_pairs(tmp_path / "other.h5", mapped))


# ---- metrics


@pytest.mark.parametrize("kind", ["other columns", "empty cells", "no metadata", "wrong metadata", "no answer", "text"])
def test_a_parquet_file_that_is_no_metrics_table(tmp_path, kind):
    path = tmp_path / "0.parquet"
    about = {"format": "tam-metrics", "version": VERSION, **asdict(RowsHeader("f", 1, {"tam": "TAM"}, "fixed", "t"))}
    texts = {"no metadata": None, "wrong metadata": '["a"]'}
    row = ["a", "", -1, "x", 0, "obj_iou" if kind == "no answer" else "answer", 1.0, "ok"]
    schema = SCHEMA.remove(7) if kind == "other columns" else SCHEMA
    if kind == "empty cells":
        row[3], schema = None, pa.schema([field.with_nullable(True) for field in SCHEMA])
    text = texts.get(kind, json.dumps(about))
    schema = schema.with_metadata({"digest": seal.SLOT} | ({"tam": text} if text else {}))
    pq.write_table(pa.table([[value] for value in row[: len(schema)]], schema=schema), path)
    seal.seal(path)
    if kind == "text":
        path.write_text("sample,metric\n")
    with pytest.raises(SchemaError, match="not a metrics file"):
        summarise(RunFiles("d", "m", None, (), (), (path,)))


# ---- manifests


def _line(**changes) -> str:
    return json.dumps({"id": "x", "media": [], "prompt": ""} | changes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 100_000, "line 2: not a manifest line"),
        ('{"id": ' * 100_000, "line 2: not a manifest line"),
        (_line()[:-1] + ', "categories": {"a": ' + "9" * 5000 + "}}", "line 2: not a manifest line"),
        (_line(prompt="a" * (1 << 24)), "line 2: a line too long"),
        (b"\xff\xfe", "line 2: not a manifest line"),
    ],
)
def test_json_bombs_in_a_manifest(tmp_path, line, message):
    path = tmp_path / "m.jsonl"
    path.write_bytes(_line(id="good").encode() + b"\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(InputError, match=message) as found:
        manifest.read(path)
    assert len(str(found.value)) < 1000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", 7), ("id", ["a"]), ("id", None), ("id", "\ud800"), ("media", "a.jpg"), ("media", [1]), ("media", {}),
        ("prompt", None), ("kind", 1), ("references", "a"), ("references", [["a"]]), ("mask", 3),
        ("categories", ["cat"]), ("categories", {"cat": "1"}), ("categories", {"cat": True}),
        ("categories", {"cat": 1.5}), ("categories", {"cat": float("nan")}), ("turns", [["a", 1]]), ("turns", ["a"]),
    ],
)  # fmt: skip
def test_wrong_types_in_a_manifest_are_named_by_file_line_and_key(tmp_path, key, value):
    (tmp_path / "m.jsonl").write_text(_line(id="good") + "\n" + _line(**{key: value}) + "\n")
    with pytest.raises(InputError, match=rf"m\.jsonl, line 2, {key}: wrong value; got .*; expected "):
        manifest.read(tmp_path / "m.jsonl")


@pytest.mark.parametrize("key", ["media", "mask"])
def test_a_zero_byte_in_a_path(tmp_path, key):
    (tmp_path / "m.jsonl").write_text(_line(**{key: ["a\0b"] if key == "media" else "a\0b"}) + "\n")
    with pytest.raises(InputError, match="line 1: no path"):
        manifest.read(tmp_path / "m.jsonl")


def test_a_manifest_may_point_anywhere_where_regular_files_are(tmp_path):
    """It is its user's own; but a pipe would be waited for, and a device read without end."""
    (tmp_path / "data").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert open_media(Sample("s", ["../a.png"], ""), tmp_path / "data").sizes == ((4, 3),)
    for name in ("pipe.png", "/dev/zero", ".", "none.png"):
        with pytest.raises(InputError, match="no such picture"):
            open_media(Sample("s", [name], ""), tmp_path)
        with pytest.raises(InputError, match="no such picture"):
            picture_size(tmp_path / name)
    for name in ("pipe.mp4", "/dev/zero"):
        with pytest.raises(InputError, match="no such video"):
            open_media(Sample("s", [name], "", kind="video"), tmp_path)


# ---- pictures and videos


def _png(width: int, height: int) -> bytes:
    """A picture of one pixel whose header says more."""
    data = bytearray(cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def test_a_picture_that_declares_too_many_pixels_takes_no_memory(tmp_path):
    (tmp_path / "a.png").write_bytes(_png(200_000, 200_000))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"a\.png: not a picture that can be read; got .*exceeds limit"):
            open_picture(tmp_path / "a.png")
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"no picture", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", b"%PDF-1.4\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>", _png(8, 8), b"GIF89a\x01\x00\x01\x00", b"\xff\xd8\xff\xe0",
    ],
)  # fmt: skip
def test_a_picture_that_is_none(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png: not a picture that can be read"):
        open_picture(tmp_path / "a.png")


def _video(path: Path, size=(64, 48)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, size)
    for _ in range(5):
        writer.write(np.zeros((size[1], size[0], 3), np.uint8))
    writer.release()
    return path


def test_pictures_that_have_too_many_pixels_together_take_no_memory(tmp_path, monkeypatch):
    """Each may have as many; all of them would take 50 GB."""
    monkeypatch.setattr("tam.media.upright", None)
    (tmp_path / "a.png").write_bytes(_png(13_000, 13_000))
    for kind in ("images", "video"):
        with pytest.raises(
            InputError, match="s: more pixels than are read; got 16900000000; expected at most 2147483648"
        ):
            open_media(Sample("s", ["a.png"] * 100, "", kind=kind), tmp_path)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.avi\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "data",
    [
        b"no video", PLAYLIST, PLAYLIST + b"# caf\xe9\0", b"ffconcat version 1.0\nfile a.avi\n",
        b"<MPD>a.avi</MPD>", b"", b"GIF89a\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", b"RIFF\0\0\0\0WEBP",
        b"G" * 400,
    ],
)  # fmt: skip
def test_a_video_that_is_none_or_a_list_of_other_files(tmp_path, data):
    _video(tmp_path / "a.avi")
    for name in ("b.mp4", "b.m3u8", "b.ffconcat", "b%d.avi"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="not a video that can be read"):
            read_video(tmp_path / name)


def test_the_decoder_opens_a_file_as_what_it_is_and_no_other(tmp_path, monkeypatch):
    """By itself it would play a list of files, and take a name that looks like an address for one."""
    monkeypatch.chdir(_video(tmp_path / "a.avi").parent)
    Path("list").write_text("ffconcat version 1.0\nfile a.avi\n")
    cases = (("list", "concat,avi", 5), ("list", "avi", 0), ("a.avi", "avi", 5), ("a.avi", "mov", 0))
    for name, decoder, frames in cases:
        with _capture(Path(name), decoder) as video:
            assert sum(iter(video.grab, False)) == frames
    shutil.copy("a.avi", "concat:a.avi|a.avi")
    assert read_video(Path("concat:a.avi|a.avi")).film.total == 5
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ


def test_a_video_of_more_pixels_than_are_read(tmp_path, monkeypatch):
    _video(tmp_path / "a.avi")
    assert len(read_video(tmp_path / "a.avi").pictures) == 4
    for name in ("MOST_PIXELS", "MOST_PIXELS_OF_SAMPLE"):
        with monkeypatch.context() as patch:
            patch.setattr(f"tam.media.{name}", 64 * 48 * (1 if name == "MOST_PIXELS" else 4) - 1)
            with pytest.raises(InputError, match=r"a\.avi: more pixels than are read"):
                read_video(tmp_path / "a.avi")


@pytest.mark.parametrize("data", [_png(200_000, 200_000), b"no picture", b""])
def test_a_mask_that_is_none_costs_its_scores_only(tmp_path, data):
    (tmp_path / "m.png").write_bytes(data)
    found = read_label_map(Sample("s", ["a.png"], "", mask="m.png"), (9, 9), tmp_path / "m.jsonl")
    assert found == (None, "unreadable mask: no picture, or a damaged one")


# ---- names

NAMES = [
    "a b.png",
    "a'b.png",
    'a"b.png',
    "a\nb.png",
    "$(touch pwned).png",
    "-rf.png",
    "a;b&c|d.png",
    "猫 é.png",
    "a%d.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_files_of_any_name_are_read(tmp_path, name):
    Image.new("RGB", (4, 3)).save(tmp_path / name)
    sample = Sample(name, [name], "")
    manifest.write([sample], tmp_path / "m.jsonl")
    assert manifest.read(tmp_path / "m.jsonl") == [sample]
    assert open_media(sample, tmp_path).sizes == ((4, 3),)
    shutil.move(_video(tmp_path / "v.avi"), tmp_path / f"{name}.avi")
    assert len(read_video(tmp_path / f"{name}.avi").pictures) == 4


def test_ids_that_are_alike_after_sanitising_have_folders_of_their_own():
    ids = ["a/b", "a b", "a_b", "a\nb", "a\\b", "../a_b", ".", "..", "", "/", "é", "e", "x" * 300, "x" * 301]
    ids += [safe_id(id) for id in ids]  # an id that wants another's folder
    names = [safe_id(id) for id in set(ids)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) for name in names)


# ---- the workflow

NASTY = "a $(touch pwned) `touch pwned` ; touch pwned & ' \" \\ {input} * \n touch pwned #"


def test_shell_metacharacters_in_config_values_are_text(tmp_path):
    """A dataset, a checkpoint and a sample of such names go through; a wrong checkpoint fails; and nothing else ran."""
    model, root = tmp_path / f"model {NASTY}", tmp_path / f"root {NASTY}"
    model.symlink_to(CHECKPOINT)
    tam = [sys.executable, "-m", "tam", "dataset", "emoji", "--scenes", "1", "--out", root]
    subprocess.run(tam, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, check=True, capture_output=True)
    folder = tmp_path / "run $(touch pwned)"
    folder.mkdir()
    known = Sample(NASTY, [os.path.relpath(root / "image/000000000001.jpg", folder / "data/known")], NASTY)
    manifest.write([known], folder / "data/known/manifest.jsonl")
    config = {
        "datasets": {"new": {"kind": "coco", "root": str(root), "prompt": NASTY}, "known": {"kind": "emoji"}},
        "models": {"m": {"model": str(model)}, "n": {"model": NASTY, "device": NASTY, "revision": NASTY}},
        "generate": {"max_new_tokens": 2},
        "methods": ["tam"],
        "render": {"samples": [NASTY]},
    }
    wanted = ("data/new/manifest.jsonl", "results/known/m/render", "results/known/n/generate/0-of-1.h5")
    done = snakemake(folder, *wanted, "--keep-going", config=config, check=False)
    assert done.returncode == 1, done.stdout
    assert "tam: error:" in (folder / "logs/known/n/generate/0-of-1.log").read_text()
    (sample,) = manifest.read(folder / "data/new/manifest.jsonl")
    assert sample.prompt == NASTY
    assert (folder / "results/known/m/render" / safe_id(NASTY) / "sheet.png").is_file()
    assert not list(tmp_path.rglob("pwned"))


def test_every_rule_quotes_what_it_gives_to_the_shell():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for command in re.findall(r"shell:\n((?:\s+\".*\"\n)+)", path.read_text()):
            assert re.findall(r"\{[^}]*\}", command)
            assert all(place.endswith(":q}") for place in re.findall(r"\{[^}]*\}", command)), path.name


def test_a_read_only_results_folder_is_one_line(cached, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], check=False).returncode:
        pytest.skip("a read-only disk is mounted as root only")
    try:
        command = [sys.executable, "-m", "tam", "maps", "--generation", cached, "--out", folder / "tam/0.h5"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        subprocess.run(["umount", folder], check=True)
    assert done.returncode == 1
    assert re.fullmatch(
        r"tam: error: .*results: nothing can be written there; got a read-only disk; cure: .*\n", done.stderr
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x,x]\nb: [*a", "Config file is not valid JSON or YAML"),
        ("- a\n", "Config file must be given as JSON or YAML with keys at top level"),
        ("datasets: 7\nmodels: {m: {model: embedded}}\n", "tam: error: config: datasets: wrong type; got 7"),
    ],
)
def test_a_broken_config_is_a_message(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "-n", "--configfile", "c.yaml"]
    done = subprocess.run(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 1
    assert message in done.stdout and "Traceback" not in done.stdout


# ---- the document


def test_the_table_names_these_tests_and_no_others():
    listed = re.findall(r"\| `(test_\w+)` \|$", (ROOT / "docs/explained/bad_input.md").read_text(), re.M)
    here = [name for name, item in globals().items() if name.startswith("test_") and inspect.isfunction(item)]
    assert sorted(listed) == sorted(set(here) - {"test_the_table_names_these_tests_and_no_others"})
