"""NLTK's tagger and WordNet for the metrics: copied, or downloaded from a server on this machine."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nltk
import pytest
from nltk.downloader import Downloader

from tam.datasets import nltk_data
from tam.errors import InputError
from tam.metrics.language import language
from tests.shared import shared

pytestmark = pytest.mark.filterwarnings("ignore:Security Violation")  # NLTK's words for a server on this machine

CHOSEN = (
    "from tam import tagging; judge = tagging.choose(); print(judge.name, judge.tag('dogs'), judge.wordnet is None)"
)


@pytest.fixture(autouse=True)
def own_search_path(monkeypatch):
    """What is made here must not be found by other tests."""
    monkeypatch.setattr(nltk.data, "path", [*nltk.data.path])


def chosen(folder: Path) -> str:
    """What the metrics choose with NLTK_DATA set to the folder: NLTK reads it when it is imported."""
    command = [sys.executable, "-c", CHOSEN]
    done = subprocess.run(command, env=os.environ | {"NLTK_DATA": str(folder)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_copy_is_what_the_metrics_use(tmp_path):
    source = shared("data", "nltk_data")
    made = nltk_data.write(tmp_path / "nltk", source)
    assert [path.relative_to(tmp_path / "nltk").as_posix() for path in made] == [
        "taggers/averaged_perceptron_tagger_eng",
        "corpora/wordnet",
    ]
    assert chosen(tmp_path / "nltk") == "NLTK perceptron tagger; WordNet 3.0 of NLTK's data NNS False"
    (made[1] / "mine").touch()
    nltk_data.write(tmp_path / "nltk", source)
    assert (made[1] / "mine").exists()  # what is there is kept


def test_a_folder_that_lacks_one_is_named_with_what_it_lacks(tmp_path):
    (tmp_path / "from/taggers/averaged_perceptron_tagger_eng").mkdir(parents=True)
    (tmp_path / "from/taggers/averaged_perceptron_tagger_eng/a.json").touch()
    with pytest.raises(InputError, match=r"from: not in this folder; expected corpora/wordnet or corpora/wordnet\.zip"):
        nltk_data.write(tmp_path / "nltk", tmp_path / "from")


def index(root: Path, checksum: str | None = None) -> None:
    """An index of both packages, as NLTK's own, with tiny contents."""
    lines = []
    for name, kind in nltk_data.WANTED.items():
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(f"{name}/data.noun", "x" * 100)
        data = content.getvalue()
        (root / f"{name}.zip").write_bytes(data)
        lines.append(
            f'<package id="{name}" name="{name}" subdir="{kind}" unzip="0" size="{len(data)}" unzipped_size="100"'
            f' checksum="{hashlib.md5(data).hexdigest()}" url="ADDRESS/{name}.zip"'
            f' sha256_checksum="{checksum or hashlib.sha256(data).hexdigest()}"/>'
        )
    packages = "".join(lines)
    (root / "index.xml").write_text(f"<nltk_data><packages>{packages}</packages><collections/></nltk_data>")


@pytest.fixture
def server(tmp_path, monkeypatch):
    root = tmp_path / "server"
    root.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=root)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(Downloader, "DEFAULT_URL", f"{address}/index.xml")
    monkeypatch.setattr(nltk.pathsec, "ENFORCE", False)  # so that they are words only
    yield root, address
    server.shutdown()
    server.server_close()


def serve_index(server, **options):
    root, address = server
    index(root, **options)
    (root / "index.xml").write_text((root / "index.xml").read_text().replace("ADDRESS", address))


def test_the_download_leaves_both_unpacked(tmp_path, server):
    serve_index(server)
    for path in nltk_data.write(tmp_path / "nltk"):
        assert (path / "data.noun").read_text() == "x" * 100


@pytest.mark.parametrize("damage", ["cut off", "one byte", "empty", "half unpacked", "empty folder"])
def test_what_is_there_and_not_whole_is_fetched_again(tmp_path, server, damage):
    serve_index(server)
    out = tmp_path / "nltk"
    (out / "corpora").mkdir(parents=True)
    archive, folder = out / "corpora/wordnet.zip", out / "corpora/wordnet"
    data = (server[0] / "wordnet.zip").read_bytes()
    changed = {"cut off": data[:-30], "one byte": data.replace(b"xxx", b"xyx", 1), "empty": b""}
    if damage != "empty folder":
        archive.write_bytes(changed.get(damage, data))
    if damage in ("half unpacked", "empty folder"):
        folder.mkdir()
        (folder / "data.noun").write_text("x" * 50) if damage == "half unpacked" else None
    found = nltk_data.find("wordnet", out)
    assert found == (archive if damage == "half unpacked" else None)  # which is whole
    if found is None:
        _, made = nltk_data.write(out)
        assert made == folder and (made / "data.noun").read_text() == "x" * 100
        assert [path.name for path in (out / "corpora").iterdir()] == ["wordnet"]


def test_a_whole_archive_is_kept_and_a_damaged_one_is_not_copied(tmp_path):
    shutil.copytree(shared("data", "nltk_data"), tmp_path / "from")
    shutil.rmtree(tmp_path / "from/corpora/wordnet")
    archive = tmp_path / "from/corpora/wordnet.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("wordnet/data.noun", "x" * 100)
    made = nltk_data.write(tmp_path / "nltk", tmp_path / "from")[1]
    assert made.read_bytes() == archive.read_bytes()
    made.write_bytes(b"")
    assert nltk_data.write(tmp_path / "nltk", tmp_path / "from")[1].read_bytes() == archive.read_bytes()
    archive.write_bytes(archive.read_bytes()[:-30])
    made.unlink()
    with pytest.raises(InputError, match=r"from: not in this folder; expected .*wordnet\.zip, whole"):
        nltk_data.write(tmp_path / "nltk", tmp_path / "from")


def test_a_wrong_checksum_is_an_error(tmp_path, server):
    serve_index(server, checksum="0" * 64)
    with pytest.raises(InputError, match=r"averaged_perceptron_tagger_eng cannot be downloaded.*sha256 mismatch"):
        nltk_data.write(tmp_path / "nltk")


def test_no_network_is_an_error_with_a_cure(tmp_path, server):
    with pytest.raises(InputError, match=r"cannot be downloaded.*copy from a folder with --from"):
        nltk_data.write(tmp_path / "nltk")


def test_without_wordnet_meteor_says_so_and_the_rest_is_computed():
    status = {row.metric: row.status for row in language("A cat.", ["A cat."], None)}
    assert status.pop("meteor") == "unavailable: no WordNet"
    assert set(status.values()) == {"ok"}
