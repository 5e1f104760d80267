"""Files and folders that ``--out`` and ``--store`` name: only what is ours is replaced."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tam import cache, cli, manifest, maps, perturbed, scores
from tam.datasets import phrases
from tam.errors import DiskError, SchemaError, TamError
from tam.manifest import Sample
from tam.sanity import record
from tam.sanity.parts import ORDERS
from tam.sanity.stage import sanity
from tam.system.mark import CURE, FILE, MAKER, add_to, check_file

HDF5 = b"\x89HDF\r\n\x1a\n"
READS = ["--generation", "g.h5", "--manifest", "m.jsonl"]
COMMANDS = {
    "generate": (["--manifest", "m.jsonl"], f"tam-{cache.KIND}"),
    "attribute": ([*READS, "--method", "rollout"], f"tam-{scores.KIND}"),
    "maps": (["--generation", "g.h5"], f"tam-{maps.KIND}"),
    "sanity": (READS, f"tam-{record.KIND}"),
    "perturb": ([*READS, "--maps", "p.h5", "--method", "tam"], f"tam-{perturbed.KIND}"),
    "metrics": ([*READS, "--maps", "p.h5"], "tam-metrics"),
    "ask": (["--manifest", "m.jsonl", "--url", "http://127.0.0.1:9/v1", "--model", "m"], MAKER),
    "dataset phrases": (["--manifest", "m.jsonl"], MAKER),
    "dataset swap-nouns": (["--manifest", "m.jsonl"], MAKER),
}
FOREIGN = "only a file of ours is replaced"


def problem(command: str, *arguments: str) -> str:
    done = CliRunner().invoke(cli.app, [*command.split(), *arguments])
    assert done.exit_code == 1 and isinstance(done.exception, TamError), done.output
    return str(done.exception)


@pytest.mark.parametrize("name", ["x.h5", "x.parquet", "x.jsonl", "x"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_is_replaced_for_what_it_holds_and_not_for_its_name(tmp_path, monkeypatch, command, name):
    monkeypatch.chdir(tmp_path)
    arguments, sign = COMMANDS[command]
    theirs = HDF5 + b"measured in a year" + bytes(1 << 18)
    Path(name).write_bytes(theirs)
    said = problem(command, *arguments, "--out", name)
    assert said == (f"{name}: {FOREIGN}; got {len(theirs)} bytes; expected {sign!r} in it; cure: {CURE}")
    assert Path(name).read_bytes() == theirs and [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("content", ["empty", "half", "whole"])
def test_a_damaged_file_of_ours_is_made_again(tmp_path, monkeypatch, command, content):
    """The commands go on, and stop at what they are to read, which is not there."""
    monkeypatch.chdir(tmp_path)
    arguments, sign = COMMANDS[command]
    half = HDF5 + f"{sign}".encode() + bytes(1 << 18)
    Path("x.h5").write_bytes({"empty": b"", "half": half, "whole": half + b"tam-sha256:"}[content])
    assert FOREIGN not in problem(command, *arguments, "--out", "x.h5")


DATASETS = {
    "folder": ["--root", "."], "csv": ["--root", "a.csv"], "hf": ["--root", "."], "coco": ["--root", "."],
    "grandf": ["--root", "."], "openpsg": ["--root", "."], "refcoco": ["--images", ".", "--refs", "r.json"],
    "coco-original": ["--images", ".", "--instances", "i", "--captions", "c"],
    "coco-panoptic": ["--images", ".", "--panoptic", "p", "--segments", "s"],
}  # fmt: skip


@pytest.mark.parametrize("kind", DATASETS)
def test_a_manifest_of_somebody_else_is_not_replaced_by_a_dataset(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    listed = Path("d/manifest.jsonl")
    listed.write_text('{"id": "a", "media": ["a.png"], "prompt": "What?"}\n')
    before = listed.read_bytes()
    assert f"d/manifest.jsonl: {FOREIGN}" in problem(f"dataset {kind}", *DATASETS[kind], "--out", "d")
    assert listed.read_bytes() == before
    manifest.write([Sample("a", ["a.png"], "What?")], listed)
    assert FOREIGN not in problem(f"dataset {kind}", *DATASETS[kind], "--out", "d")


def test_answers_that_we_write_say_by_whom_they_are(tmp_path):
    manifest.write([Sample("a", ["a.png"], "What?", phrases={"cat": 1})], tmp_path / "m.jsonl")
    phrases.write(tmp_path / "m.jsonl", tmp_path / "a.jsonl")
    check_file(tmp_path / "a.jsonl", MAKER)


def test_a_table_of_somebody_else_beside_a_new_file_is_not_replaced(tmp_path):
    (tmp_path / "s.csv").write_text("mine")
    files = tmp_path / "g.h5", tmp_path / "m.jsonl", "embedded", tmp_path / "s.h5"
    with pytest.raises(DiskError, match=rf"s\.csv: {FOREIGN}; got 4 bytes; cure: move it away"):
        sanity(*files, methods=["tam"], samples=1, orders=ORDERS, seeds=[0])
    (tmp_path / "s.h5").touch()
    with pytest.raises(SchemaError, match="no such generation file"):
        sanity(*files, methods=["tam"], samples=1, orders=ORDERS, seeds=[0])


def test_a_folder_is_added_to_where_it_is_new_or_ours(tmp_path):
    for _ in range(2):
        add_to(tmp_path / "new/tables", {"kind": "tables"})
    (tmp_path / "index.html").touch()
    with pytest.raises(DiskError, match=r"only a result of ours is replaced; got .index\.html. and 1 more without"):
        add_to(tmp_path, {"kind": "tables"})
    with pytest.raises(DiskError, match="another result lies there; got tables; expected figures"):
        add_to(tmp_path / "new/tables", {"kind": "figures"})
    assert [path.name for path in (tmp_path / "new/tables").iterdir()] == [FILE]


@pytest.mark.parametrize(
    "option", ["--store=file", "--store=file/new", "--out=file/new.h5", "--out=folder", "--out=.."]
)
def test_a_file_for_a_folder_and_a_folder_for_a_file_are_one_line(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder").mkdir()
    out = [] if "--out" in option else ["--out", "new.h5"]
    said = problem("generate", "--manifest", "m.jsonl", *out, option)
    assert ": something else lies there; got a f" in said and said.endswith(f"; cure: {CURE}")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_or_a_device_is_no_file_to_replace(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    said = problem(command, *COMMANDS[command][0], "--out", "pipe")
    assert said.startswith("pipe: something else lies there; got a pipe or a device; expected a file")
    assert Path("pipe").is_fifo()


def test_a_link_is_judged_by_where_it_leads(tmp_path):
    (tmp_path / "theirs").write_text("mine")
    (tmp_path / "link.h5").symlink_to("theirs")
    (tmp_path / "beyond.h5").symlink_to("theirs/new.h5")
    with pytest.raises(DiskError, match=rf"link\.h5: {FOREIGN}"):
        check_file(tmp_path / "link.h5", MAKER)
    with pytest.raises(DiskError, match="theirs: something else lies there; got a file; expected a folder"):
        check_file(tmp_path / "beyond.h5", MAKER)


RUN = ["--generation", "d/m/generate/0.h5", "--maps", "d/m/maps/0.h5"]
SCORED = ["--metrics", "d/m/metrics/0.parquet"]
FOLDERS = {
    "tables": SCORED, "overview": SCORED, "export": RUN, "compare": [*RUN, *SCORED, "--manifest", "m"],
    "render": [*RUN, "--method", "tam", "--manifest", "m"], "figures": [*RUN, *SCORED, "--manifest", "m"],
    "page": [*RUN, *SCORED, "--manifest", "m"], "dataset nltk": [], "dataset emoji": [], "explain": ["a.png"],
}  # fmt: skip


@pytest.mark.parametrize("command", FOLDERS)
def test_a_file_where_a_folder_is_to_be_is_one_line(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    Path("a.png").touch()
    said = problem(command, *FOLDERS[command], "--out", "file")
    assert "file: something else lies there; got a file; expected a folder; cure: " in said
    assert {path.name for path in tmp_path.iterdir()} == {"file", "a.png"}
