"""The lease: one holder at a time; one that is gone is replaced, one that lives is waited for."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from tam.system import lease, stop
from tam.system.lease import Lease, Owner

TAKE = "import sys, time; from pathlib import Path; from tam.system.lease import Lease; "


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lease, "POLL", 0.01)


def elsewhere(**changes) -> bytes:
    """A lease of a process on another machine, of which nothing is known but its heartbeat."""
    return f"{json.dumps(asdict(replace(Owner.me(), machine='another', **changes)))}\n{1:012d}\n".encode()


def test_it_is_there_while_it_is_held_and_then_gone(tmp_path):
    with Lease(tmp_path / "a" / "x.lease") as held:
        assert Owner.parse(held.path.read_bytes()) == held.me
        assert held.me.pid == os.getpid() and not held.me.gone()
    assert not list((tmp_path / "a").iterdir())


def test_holders_never_overlap(tmp_path):
    inside, most = [], []

    def work():
        with Lease(tmp_path / "x.lease"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_a_killed_owner_of_this_machine_is_replaced_at_once(tmp_path):
    """Without waiting for the end of a long time to live; that the file still stands does not matter."""
    path = tmp_path / "x.lease"
    code = TAKE + "held = Lease(Path(sys.argv[1])).__enter__(); print(flush=True); time.sleep(100)"
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    process.stdout.readline()
    waiting = Lease(path, ttl=1e9)
    thread = threading.Thread(target=waiting.__enter__)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive() and Owner.parse(path.read_bytes()).pid == process.pid
    process.send_signal(signal.SIGKILL)
    process.communicate()
    thread.join(60)
    assert Owner.parse(path.read_bytes()) == waiting.me
    waiting.__exit__()


def test_a_pid_that_was_given_again_is_not_its_owner():
    assert not Owner.me().gone()
    assert replace(Owner.me(), born="1").gone()


def test_an_owner_elsewhere_is_waited_for_as_long_as_it_beats(tmp_path, monkeypatch):
    """By the clock of who waits: ten seconds pass at each look, and for the first twenty looks the owner beats."""
    path, clock = tmp_path / "x.lease", [0.0]

    def sleep(_):
        clock[0] += 10
        if clock[0] <= 200:
            path.write_bytes(elsewhere()[:-13] + f"{clock[0]:012.0f}\n".encode())

    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep, time=lambda: 0.0))
    path.write_bytes(elsewhere())
    with Lease(path, ttl=60):
        assert clock[0] == 200 + 60 + 10


@pytest.mark.parametrize("content", [elsewhere(), b"", b"{", b'{"pid": 1}\n', b"\xff\n"])
def test_a_lease_that_does_not_change_is_taken_over(tmp_path, content):
    """Also one that its owner had no time to write."""
    path = tmp_path / "x.lease"
    path.write_bytes(content)
    with Lease(path, ttl=0.1) as held:
        assert Owner.parse(path.read_bytes()) == held.me


def test_of_two_that_take_over_the_slower_one_puts_back_what_it_took(tmp_path):
    path = tmp_path / "x.lease"
    with Lease(path) as held:
        Lease(path)._remove(dead=b"what stood there before")
        assert held._mine()
        assert [found.name for found in tmp_path.iterdir()] == ["x.lease"]


def test_who_has_lost_the_lease_is_asked_to_stop_and_does_not_remove_the_other_s(tmp_path):
    path, other = tmp_path / "x.lease", elsewhere(token="other")
    with stop.put_off(), Lease(path, beat=0.01):
        path.unlink()
        path.write_bytes(other)
        deadline = time.monotonic() + 60
        while stop._why is None and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(stop.Stopped, match="75"):
            stop.check()
    assert path.read_bytes() == other


def test_the_heart_beats_and_tells_who(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with Lease(tmp_path / "x.lease", beat=0.01) as held:
        before = held.path.read_bytes()
        deadline = time.monotonic() + 60
        while held.path.read_bytes() == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert held.path.read_bytes() > before
        assert str(Owner.parse(held.path.read_bytes())) == f"process {os.getpid()} on {held.me.host} (SLURM job 17)"


def test_a_stop_ends_the_waiting(tmp_path):
    (tmp_path / "x.lease").write_bytes(elsewhere())
    with stop.put_off():
        stop.request("SIGTERM")
        with pytest.raises(stop.Stopped), Lease(tmp_path / "x.lease"):
            raise AssertionError("entered")
