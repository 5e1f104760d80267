"""Atomic writing: whole or not at all, and nothing of killed writers is left behind."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tam.errors import DiskError
from tam.system.atomic import at_work, atomic, atomic_folder
from tam.system.mark import check_kind, free_name

OURS = {"kind": "figures", "of": ["\ud800", 1.5, None]}


def listed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fail():
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


def test_what_killed_writers_left_is_removed_and_what_living_ones_write_stays(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host, other = socket.gethostname(), "node-7"
    (tmp_path / "b").mkdir()
    path = tmp_path / "b" / "a[1].h5"
    dead = [path.with_name(f".a[1].h5.{host}-{gone.pid}.tmp"), path.with_name(f".a[1].h5.{other}-1.tmp")]
    living = [path.with_name(f".a[1].h5.{host}-{os.getppid()}.tmp"), path.with_name(f".a[1].h5.{other}-2.tmp")]
    for left in dead + living:
        left.write_text("half")
    os.utime(dead[1], (time.time() - 90_000, time.time() - 90_000))
    with atomic(path) as temporary:
        temporary.write_text("whole")
    assert sorted(path.parent.iterdir()) == sorted([path, *living])


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f".a.{socket.gethostname()}-{gone.pid}.tmp").mkdir()
    with atomic_folder(tmp_path / "a", OURS) as part:
        (part / "old").touch()

    def fail():
        with atomic_folder(tmp_path / "a", OURS) as part:
            (part / "half").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert listed(tmp_path) == ["a", "a/.tam.json", "a/old"]
    with atomic_folder(tmp_path / "a", OURS) as part:
        (part / "new").touch()
    assert listed(tmp_path) == ["a", "a/.tam.json", "a/new"]


def of_somebody_else(folder):
    (folder / "a").mkdir()
    (folder / "a" / "notes.txt").write_text("mine")


def a_file(folder):
    (folder / "a").write_text("mine")


def of_another_kind(folder):
    with atomic_folder(folder / "a", {"kind": "page"}) as part:
        (part / "index.html").touch()


def of_the_same_kind(folder):
    with atomic_folder(folder / "a", OURS | {"of": "others"}) as part:
        (part / "scores.pdf").touch()


def with_a_mark_that_is_none(folder):
    (folder / "a").mkdir()
    (folder / "a" / ".tam.json").write_text('{"kind": ')


def that_came_while_we_wrote(folder):
    """Nothing yet."""


@pytest.mark.parametrize(
    ("lies_there", "said"),
    [
        (
            of_somebody_else,
            "a: only a result of ours is replaced; got 'notes.txt' without .tam.json",
        ),
        (a_file, "a: something else lies there; got a file; expected a folder; cure: move it away"),
        (of_another_kind, "a: another result lies there; got page; expected figures; cure: move it away"),
        (of_the_same_kind, "a: another result lies there; got another figures"),
        (with_a_mark_that_is_none, "only a result of ours"),
        (that_came_while_we_wrote, "only a result of ours"),
    ],
)
def test_a_folder_that_is_not_ours_is_not_touched(tmp_path, lies_there, said):
    lies_there(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def write():
        with atomic_folder(tmp_path / "a", OURS):
            assert lies_there is that_came_while_we_wrote
            of_somebody_else(tmp_path)
            before[tmp_path / "a/notes.txt"] = b"mine"

    with pytest.raises(DiskError, match=re.escape(said)):
        write()
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_an_empty_folder_is_filled_and_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "a").symlink_to("real")
    for _ in range(2):
        with atomic_folder(tmp_path / "a", OURS) as part:
            (part / "new").touch()
    assert (tmp_path / "a").is_symlink() and listed(tmp_path / "real") == [".tam.json", "new"]
    assert len([*tmp_path.iterdir()]) == 2


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_a_file_stays_a_link(tmp_path, there):
    (tmp_path / "disk").mkdir()
    (tmp_path / "a").symlink_to("disk/real")
    if there:
        (tmp_path / "disk/real").write_text("old")
    with atomic(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "disk/real").read_text() == "new"
    assert listed(tmp_path) == ["a", "disk", "disk/real"]


def test_the_working_folder_is_not_replaced_under_ones_feet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DiskError, match="name a folder inside it"), atomic_folder(Path(), OURS):
        pass


@pytest.mark.parametrize("writing", [at_work, atomic])
def test_a_place_without_a_name_is_one_line(tmp_path, monkeypatch, writing):
    monkeypatch.chdir(tmp_path)
    for place in (Path(), Path("/")):
        with pytest.raises(DiskError, match="no name to write to"), writing(place):
            pass
    assert not [*tmp_path.iterdir()]


def test_results_of_one_kind_and_name_get_folders_of_their_own_and_the_same_result_its_own_again(tmp_path):
    def place(of):
        mark = {"kind": "explanation", "of": of}
        folder = free_name(tmp_path, "img", mark)
        with atomic_folder(folder, mark):
            return folder.name

    first, second, third, again, second_again = map(place, ("A", "B", "C", "A", "B"))
    assert (first, again, second_again) == ("img", "img", second)
    assert len({first, second, third}) == 3 and re.fullmatch("img-[0-9a-f]{8}", second)
    assert len([*tmp_path.iterdir()]) == 3


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="file: something else lies there; got a file; expected a folder"):
        check_kind(tmp_path / "file/new/a", "figures")
    assert check_kind(tmp_path / "new/folder/a", "figures") is None
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(DiskError, match=f"{tmp_path}: nothing can be written there"):
        check_kind(tmp_path / "new/folder/a", "figures")


def test_a_full_disk_is_said_of_a_folder_and_leaves_the_old_one(small_disk):
    with atomic_folder(small_disk / "a", OURS) as part:
        (part / "old").touch()
    before = listed(small_disk)

    def overfill():
        with atomic_folder(small_disk / "a", OURS) as part:
            (part / "new").write_bytes(bytes(shutil.disk_usage(small_disk).total))

    with pytest.raises(DiskError, match="a: disk full; cure: make room"):
        overfill()
    assert listed(small_disk) == before and "a/old" in before


def test_a_full_disk_is_said_and_leaves_the_old_file(small_disk):
    path = small_disk / "a"
    path.write_text("old")

    def overfill():
        with atomic(path) as temporary:
            temporary.write_bytes(bytes(shutil.disk_usage(small_disk).total))

    with pytest.raises(DiskError, match="a: disk full; cure: make room"):
        overfill()
    assert [(path.name, path.read_text()) for path in small_disk.iterdir()] == [("a", "old")]
