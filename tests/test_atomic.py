"""Atomic writing: whole or not at all, and nothing of killed writers is left behind."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from tam.errors import DiskError
from tam.system.atomic import atomic, atomic_folder


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
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()

    def fail():
        with atomic_folder(tmp_path / "a") as part:
            (part / "half").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["a", "a/old"]
    with atomic_folder(tmp_path / "a") as part:
        (part / "new").touch()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["a", "a/new"]


def test_a_full_disk_is_said_of_a_folder_and_leaves_the_old_one(small_disk):
    (small_disk / "a").mkdir()
    (small_disk / "a/old").write_text("old")

    def overfill():
        with atomic_folder(small_disk / "a") as part:
            (part / "new").write_bytes(bytes(shutil.disk_usage(small_disk).total))

    with pytest.raises(DiskError, match="a: disk full; cure: make room"):
        overfill()
    assert [str(path.relative_to(small_disk)) for path in small_disk.rglob("*")] == ["a", "a/old"]


def test_a_full_disk_is_said_and_leaves_the_old_file(small_disk):
    path = small_disk / "a"
    path.write_text("old")

    def overfill():
        with atomic(path) as temporary:
            temporary.write_bytes(bytes(shutil.disk_usage(small_disk).total))

    with pytest.raises(DiskError, match="a: disk full; cure: make room"):
        overfill()
    assert [(path.name, path.read_text()) for path in small_disk.iterdir()] == [("a", "old")]
