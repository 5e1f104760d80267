"""A damaged file is set aside and made anew, even one that ends the process which reads it; no other is."""

import errno
import faulthandler
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tam import rows
from tam.errors import InputError, SchemaError
from tam.run import inputs
from tam.system import damage
from tam.system.damage import set_aside
from tests import flips

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run(tmp_path) -> Path:
    """A run with a file of each kind, where the commands expect it."""
    files = flips.originals(tmp_path / "made")
    places = {kind: tmp_path / "d" / "m" / kind / path.name for kind, (path, _) in files.items()}
    for kind, (path, _) in files.items():
        places[kind].parent.mkdir(parents=True)
        path.rename(places[kind])
    (tmp_path / "manifest.jsonl").write_text('{"id": "a", "media": ["a.jpg"], "prompt": ""}\n')
    return tmp_path / "d" / "m"


def command(run: Path, kind: str) -> tuple[Path, list[str]]:
    """A file of a kind, and a stage that reads it."""
    cache, scores, maps, metrics = (
        str(next((run / kind).iterdir())) for kind in ("generation", "scores", "maps", "metrics")
    )
    return {
        "generation": (Path(cache), ["maps", "--generation", cache, "--out", f"{run}/new/0.h5"]),
        "scores": (Path(scores), ["maps", "--generation", cache, "--scores", scores, "--method", "gae", "--out",
                                  f"{run}/new/0.h5"]),
        "maps": (Path(maps), ["metrics", "--generation", cache, "--maps", maps, "--manifest",
                              f"{run.parents[1]}/manifest.jsonl", "--out", f"{run}/new/0.parquet"]),
        "metrics": (Path(metrics), ["tables", "--metrics", metrics, "--out", f"{run}/new"]),
    }[kind]  # fmt: skip


def tam(arguments: list[str], before: str = "") -> subprocess.CompletedProcess:
    """The command in a process of its own, after some Python."""
    code = f"import os, signal, sys\n{before}\nsys.argv[0] = 'tam'\nfrom tam.cli import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


KINDS = pytest.mark.parametrize("kind", ["generation", "scores", "maps", "metrics"])


@KINDS
@pytest.mark.parametrize("content", ["empty", "short", "flipped"])
def test_a_damaged_file_of_each_kind_is_set_aside(run, kind, content):
    path, arguments = command(run, kind)
    data = path.read_bytes()
    middle = data.index(b"TREE") if b"TREE" in data else len(data) // 2
    path.write_bytes({"empty": b"", "short": data[:-100], "flipped": flips.flipped(data, 8 * middle)}[content])
    done = tam(arguments)
    assert done.returncode == 1
    assert f"{path}: damaged, renamed to *.corrupt" in done.stderr and "start again" in done.stderr
    assert [other.name for other in path.parent.iterdir()] == [f"{path.name}.corrupt"]


DIES = {
    "generation": "from tam import cache; cache._read = lambda *_: os.kill(os.getpid(), {signal})",
    "scores": "from tam import scores; scores._read = lambda *_: os.kill(os.getpid(), {signal})",
    "maps": "from tam import maps; maps._read = lambda *_: os.kill(os.getpid(), {signal})",
    "metrics": "from tam import rows; rows._header = lambda *_: os.kill(os.getpid(), {signal})",
}


@KINDS
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_file_that_ends_the_process_which_reads_it_is_set_aside_at_the_next_start(run, kind, number):
    path, arguments = command(run, kind)
    dies = DIES[kind].format(signal=int(number))
    assert tam(arguments, dies).returncode == -number
    assert path.is_file()
    done = tam(arguments, dies)
    assert done.returncode == 1
    assert f"{path}: damaged, renamed to *.corrupt; got " in done.stderr and "an earlier process died" in done.stderr
    assert not path.exists() and path.with_name(f"{path.name}.corrupt").is_file()


def test_a_file_that_ends_the_process_which_looks_for_damage_is_set_aside(tmp_path):
    (tmp_path / "a.h5").touch()

    def dies(path: Path) -> None:
        faulthandler.disable()  # pytest's, which would tell of it
        os.kill(os.getpid(), signal.SIGSEGV)

    with (
        pytest.raises(SchemaError, match=r"a\.h5: damaged, renamed"),
        set_aside(tmp_path / "out", {tmp_path / "a.h5": dies}),
    ):
        raise SchemaError("it cannot be read")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5.corrupt"]


def test_where_a_process_was_killed_and_nothing_is_damaged_the_next_one_goes_on(run):
    _, arguments = command(run, "generation")
    killed = "from tam.methods import stage; stage.find_all = lambda _: os.kill(os.getpid(), signal.SIGKILL)"
    assert tam(arguments, killed).returncode == -signal.SIGKILL
    assert [path.suffix for path in (run / "new").iterdir()] == [".work"]
    done = tam(arguments)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (run / "new").iterdir()] == ["0.h5"]


def test_a_file_without_a_seal_that_is_never_read_to_its_end_is_set_aside(run, monkeypatch):
    """HDF5 goes round and round in some damaged heaps; a cache of an older version has no seal to tell."""
    path, _ = command(run, "generation")
    monkeypatch.setattr(damage, "SECONDS", 1)

    def never_ends(_: Path) -> None:
        while True:
            pass

    with set_aside(run / "out", {path: never_ends}):
        assert path.is_file()  # sealed: whoever reads it is told at once
    path.write_bytes(path.read_bytes().replace(b"tam-sha256:", b"tam-sha256_"))
    with pytest.raises(SchemaError, match="damaged, renamed"), set_aside(run / "out", {path: never_ends}):
        pytest.fail("it would be read")
    assert not path.exists()


def test_a_file_without_a_seal_that_can_be_read_is_read(run):
    path, _ = command(run, "generation")
    path.write_bytes(path.read_bytes().replace(b"tam-sha256:", b"tam-sha256_"))
    with set_aside(run / "out", inputs(generation=[path])):
        assert path.is_file()


@KINDS
def test_what_the_system_says_is_raised_as_it_is_and_nothing_is_renamed(run, kind, monkeypatch):
    path, _ = command(run, kind)
    files = inputs(**{kind: [path]})

    def away(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    for place in ("h5py.File", "pyarrow.parquet.ParquetFile"):
        monkeypatch.setattr(place, away)
    with pytest.raises(OSError, match=r"(?i)no locks") as found, set_aside(run / "out", files):
        files[path](path)
    assert found.value.errno == errno.ENOLCK
    with pytest.raises(SchemaError, match="another's"), set_aside(run / "out", files):
        raise SchemaError("another's")
    assert path.is_file()


@pytest.mark.parametrize("kind", ["maps", "metrics"])
def test_a_file_that_is_as_it_was_sealed_is_not_damaged_whatever_its_reader_says(run, kind, monkeypatch):
    """Another version of a library may raise anything."""
    path, _ = command(run, kind)
    monkeypatch.setattr("tam.maps._read", lambda *_: {}["other"])
    monkeypatch.setattr("tam.rows._header", lambda *_: {}["other"])
    for content, left in ((path.read_bytes(), [path.name]), (path.read_bytes()[:-1], [f"{path.name}.corrupt"])):
        path.write_bytes(content)
        with pytest.raises(SchemaError), set_aside(run / "out", inputs(**{kind: [path]})):
            inputs(**{kind: [path]})[path](path)
        assert [other.name for other in path.parent.iterdir()] == left


def test_what_is_no_file_of_ours_is_left_where_it_is(tmp_path, run):
    (tmp_path / "words.txt").write_text("no HDF5")
    foreign = inputs(generation=[tmp_path / "words.txt", tmp_path / "absent.h5", command(run, "maps")[0]])
    for path, read in foreign.items():
        with pytest.raises(SchemaError), set_aside(tmp_path / "out", foreign):
            read(path)
    assert (tmp_path / "words.txt").is_file() and command(run, "maps")[0].is_file()


def test_an_error_of_other_input_is_none_of_the_files(run):
    path, _ = command(run, "generation")
    path.write_bytes(b"")
    with pytest.raises(InputError, match="wrong option"), set_aside(run / "out", inputs(generation=[path])):
        raise InputError("wrong option")
    assert path.is_file()


@KINDS
def test_of_a_thousand_flipped_bits_none_gives_other_numbers(tmp_path, kind):
    path, read = flips.originals(tmp_path)[kind]
    bits = np.random.default_rng(2311).choice(8 * path.stat().st_size, 1000, replace=False)
    found = flips.outcomes(path, read, bits.tolist())
    assert sum(found.values()) == 1000 and found["other"] == 0
    assert kind == "generation" or found["same"] == 0  # the digest is of the whole file
    assert found["refused"] + found["crashed"] > 300


def test_of_a_file_of_values_all_are_read(tmp_path):
    """That two readings are the same says something: a changed value is seen."""
    for path, read in flips.originals(tmp_path).values():
        assert read(path) == read(path) and len(str(read(path))) > 1000
    with rows.written(path, rows.RowsHeader("f", 1, {"tam": "TAM"}, "fixed", "t")) as file:
        file.add("a", "tam", [rows.Row(0, "x", 1, "obj_iou", 0.5)])
    assert flips.read_rows(path) != flips.originals(tmp_path)["metrics"][1](path)
