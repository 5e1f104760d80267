"""Fetching the formatted data: from a server on this machine that speaks the hub's protocol, and fails on demand."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http

from tam import manifest
from tam.datasets import archives
from tam.datasets.hub import WANTED, fetch
from tam.errors import InputError
from tests.hub import COMMIT, REPO, Repository, serve

ANNO = json.dumps([["image/1.jpg", "A cat.", "seg_label/1.png", {"cat": 17}]]).encode()
COCO = {
    "annotations/instances_minival2014.json": json.dumps(
        {"images": [{"id": 1, "file_name": "000000000001.jpg"}], "categories": [{"id": 17, "name": "cat"}]}
    ).encode(),
    "annotations/captions_val2014.json": json.dumps({"annotations": [{"image_id": 1, "caption": "A cat."}]}).encode(),
    "image/000000000001.jpg": b"jpeg" * 500,
}


@pytest.fixture(autouse=True)
def _small_and_impatient(monkeypatch):
    """The library waits between attempts and writes in pieces of 10 MB: here nobody waits, and pieces are small."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)
    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


LAYOUTS = {
    "plain folders": {
        **below("data/coco2014", COCO),
        "data/GranDf/anno.json": ANNO,
        "data/OpenPSG/anno.json": ANNO + b"\n",
        "README.md": b"",
    },
    "an archive each": {
        "coco2014.zip": zipped(below("coco2014", COCO)),
        "GranDf.zip": zipped({"anno.json": ANNO}),
        "OpenPSG.tar.gz": tarred({"OpenPSG/anno.json": ANNO + b"\n"}),
    },
    "one archive of all": {
        "formatted.zip": zipped(
            {**below("x/coco2014", COCO), "x/GranDf/anno.json": ANNO, "x/OpenPSG/anno.json": ANNO + b"\n"}
        )
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_three_folders_are_found_in_whatever_the_repository_holds(tmp_path, layout):
    with serve(Repository(LAYOUTS[layout])) as address:
        coco, grandf, openpsg = (
            fetch(REPO, "main", tmp_path, WANTED[kind], address) for kind in ("coco", "grandf", "openpsg")
        )
    assert (coco / "image/000000000001.jpg").read_bytes() == COCO["image/000000000001.jpg"]
    assert (grandf / "anno.json").read_bytes() == ANNO
    assert (openpsg / "anno.json").read_bytes() == ANNO + b"\n"
    assert all(COMMIT in folder.parts for folder in (coco, grandf, openpsg))


def test_only_what_a_dataset_needs_is_transferred_and_only_once(tmp_path):
    repository = Repository(LAYOUTS["an archive each"])
    with serve(repository) as address:
        for _ in range(2):
            fetch(REPO, None, tmp_path, WANTED["grandf"], address)
    assert [name for name, _ in repository.asked] == ["GranDf.zip"]


def test_checksums_are_written_down(tmp_path):
    files = LAYOUTS["an archive each"]
    with serve(Repository(files)) as address:
        fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)
        fetch(REPO, COMMIT, tmp_path, WANTED["coco"], address)
    written = json.loads((tmp_path / "someone--data" / COMMIT / "checksums.json").read_text())
    expected = {name: hashlib.sha256(files[name]).hexdigest() for name in ("GranDf.zip", "coco2014.zip")}
    assert written == {"repo": REPO, "commit": COMMIT, "files": expected}


@pytest.mark.parametrize("damage", ["the file", "the record"])
def test_a_file_that_was_changed_on_disk_is_named_on_the_next_run(tmp_path, damage):
    with serve(Repository(LAYOUTS["an archive each"])) as address:
        fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)
        folder = tmp_path / "someone--data" / COMMIT
        changed = folder / ("files/GranDf.zip" if damage == "the file" else "checksums.json")
        if damage == "the file":
            changed.write_bytes(changed.read_bytes()[:-1] + b"?")
        else:
            record = json.loads(changed.read_text())
            record["files"]["GranDf.zip"] = "0" * 64
            changed.write_text(json.dumps(record))
        with pytest.raises(InputError, match=r"GranDf\.zip: the file was changed after it was downloaded"):
            fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)
        (folder / "files/GranDf.zip").unlink()
        (folder / "checksums.json").unlink()
        fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)


def test_an_interrupted_transfer_goes_on_where_it_was(tmp_path):
    """Within one run: the connection breaks twice, and each time only the rest is asked for."""
    repository = Repository(LAYOUTS["an archive each"])
    repository.cut["coco2014.zip"] = [700, 300]
    with serve(repository) as address:
        fetch(REPO, COMMIT, tmp_path, WANTED["coco"], address)
    assert repository.asked == [
        ("coco2014.zip", None),
        ("coco2014.zip", "bytes=700-"),
        ("coco2014.zip", "bytes=1000-"),
    ]


def test_a_transfer_that_hangs_ends_and_goes_on_with_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    repository = Repository(LAYOUTS["an archive each"])
    repository.hang.add("coco2014.zip")
    with serve(repository) as address:
        # each attempt brings half of what is left; one byte is no progress any more
        with pytest.raises(InputError, match=r"coco2014\.zip: the hub does not deliver; got ReadTimeout"):
            fetch(REPO, COMMIT, tmp_path, WANTED["coco"], address)
        (part,) = tmp_path.rglob("*.part")
        kept = part.stat().st_size
        assert kept > len(LAYOUTS["an archive each"]["coco2014.zip"]) / 2
        repository.hang.clear()
        repository.asked.clear()
        fetch(REPO, COMMIT, tmp_path, WANTED["coco"], address)
    assert repository.asked == [("coco2014.zip", f"bytes={kept}-")]
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("name", ["coco2014.zip", "anno.json"])
def test_a_wrong_checksum_is_refused_and_the_file_named(tmp_path, name):
    """Of large files the hub knows the sha256, of small ones git's id of the blob. Nothing of it is kept."""
    files = {"coco2014.zip": LAYOUTS["an archive each"]["coco2014.zip"], "anno.json": ANNO}
    repository = Repository(below("GranDf", files))
    repository.changed[f"GranDf/{name}"] = files[name][:-1] + b"?"
    with serve(repository) as address:
        with pytest.raises(InputError, match=f"GranDf/{name}: wrong checksum"):
            fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)
        assert not [path for path in tmp_path.rglob(f"*{name}*") if path.is_file()]
        repository.changed.clear()
        fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)


def test_more_bytes_than_announced_are_refused_and_begun_again(tmp_path):
    repository = Repository(LAYOUTS["an archive each"])
    repository.changed["coco2014.zip"] = repository.files["coco2014.zip"] + b"more"
    with serve(repository) as address:
        with pytest.raises(InputError, match=r"coco2014\.zip: the hub does not deliver.*should be of size"):
            fetch(REPO, COMMIT, tmp_path, WANTED["coco"], address)
        repository.changed.clear()
        fetch(REPO, COMMIT, tmp_path, WANTED["coco"], address)
    assert repository.asked[-1] == ("coco2014.zip", None)


def test_a_file_that_is_missing_on_the_hub_is_named(tmp_path):
    repository = Repository(LAYOUTS["plain folders"])
    repository.gone.add("data/GranDf/anno.json")
    with (
        serve(repository) as address,
        pytest.raises(InputError, match=r"data/GranDf/anno\.json: the hub does not deliver.*404"),
    ):
        fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)


def test_a_folder_that_is_not_there_is_an_error_that_says_what_is(tmp_path):
    files = {"GranDf.zip": zipped({"other/notes.json": b"{}"}), "README.md": b"x"}
    with serve(Repository(files)) as address, pytest.raises(InputError) as error:
        fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)
    message = str(error.value)
    assert "no folder of GranDf" in message
    assert all(part in message for part in ("GranDf.zip", "README.md", "unpacked/GranDf.zip/other"))


def test_two_folders_of_a_dataset_are_not_guessed_between(tmp_path):
    files = {"a/GranDf/anno.json": ANNO, "b/GranDf/anno.json": ANNO}
    with serve(Repository(files)) as address, pytest.raises(InputError, match="more than one folder of GranDf"):
        fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)


@pytest.mark.parametrize("name", ["../outside.json", "/tmp/outside.json", "a/../../outside.json"])
def test_a_zip_slip_archive_from_the_hub_is_refused(tmp_path, name):
    files = {"GranDf.zip": zipped({"anno.json": ANNO, name: b"{}"})}
    with serve(Repository(files)) as address, pytest.raises(InputError, match=r"GranDf\.zip: not a path in its folder"):
        fetch(REPO, COMMIT, tmp_path / "downloads", WANTED["grandf"], address)
    assert not list(tmp_path.rglob("*outside*")) and not list(tmp_path.rglob("anno.json"))


def test_a_path_of_the_listing_cannot_leave_the_folder(tmp_path):
    repository = Repository({"../GranDf/anno.json": ANNO})
    with serve(repository) as address, pytest.raises(InputError, match="not a path in its folder"):
        fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)


@pytest.mark.parametrize("entry", [{"path": ""}, {"path": 7}, {"size": "1"}, {"size": -1}, {"lfs": "text"}])
def test_a_listing_that_is_none_is_the_hub_s_fault(tmp_path, monkeypatch, entry):
    repository = Repository({"GranDf/anno.json": ANNO})
    listed = repository.tree()
    monkeypatch.setattr(repository, "tree", lambda: [one | entry if one["type"] == "file" else one for one in listed])
    with (
        serve(repository) as address,
        pytest.raises(InputError, match=r"the hub does not deliver; got (Value|Type)Error"),
    ):
        fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)


def test_a_listing_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_ENTRIES", 3)
    files = {f"{number}/GranDf/x": b"" for number in range(4)}
    with serve(Repository(files)) as address, pytest.raises(InputError, match="too many files; expected up to 3"):
        fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)


@pytest.mark.parametrize("content", ["", "[", "[]", '{"files": []}'])
def test_a_record_of_checksums_that_is_none_is_named(tmp_path, content):
    folder = tmp_path / "someone--data" / COMMIT
    folder.mkdir(parents=True)
    (folder / "checksums.json").write_text(content)
    wrong = pytest.raises(InputError, match=r"checksums\.json: (no checksums|broken JSON)")
    with serve(Repository({"GranDf/anno.json": ANNO})) as address, wrong:
        fetch(REPO, COMMIT, tmp_path, WANTED["grandf"], address)


def test_an_unknown_repository_or_no_network_is_one_error(tmp_path):
    with serve(Repository({})) as address, pytest.raises(InputError, match="other/data at main: the hub does not"):
        fetch("other/data", "main", tmp_path, WANTED["coco"], address)
    with pytest.raises(InputError, match="the hub does not deliver"):
        fetch(REPO, "main", tmp_path, WANTED["coco"], "http://127.0.0.1:1")  # where nobody listens


def test_the_command_honours_hf_endpoint(tmp_path):
    with serve(Repository(LAYOUTS["one archive of all"])) as address:
        command = [sys.executable, "-m", "tam", "dataset", "grandf", "--hub", REPO, "--out", tmp_path / "data"]
        done = subprocess.run(
            [*command, "--downloads", tmp_path / "downloads"],
            env=os.environ | {"HF_ENDPOINT": address},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert COMMIT in done.stderr  # so that it can be pinned
    (sample,) = manifest.read(tmp_path / "data/manifest.jsonl")
    assert sample.prompt == "Write a description for this image using around two sentences:"
