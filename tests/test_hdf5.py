"""HDF5 files are whole or not there, a full disk is an error and no crash, and a disk that is away is not damage."""

import errno
import fcntl
import shutil
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from tam.errors import DiskError, SchemaError
from tam.system import hdf5


def test_what_is_written_is_a_plain_hdf5_file(tmp_path):
    with hdf5.written(tmp_path / "a.h5") as file:
        file.attrs["format"] = "some"
        file.create_dataset("group/values", data=np.arange(6).reshape(2, 3), compression="gzip", shuffle=True)
        file.check()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["format"] == "some"
        np.testing.assert_array_equal(file["group/values"], [[0, 1, 2], [3, 4, 5]])
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_block_that_fails_leaves_the_old_file(tmp_path):
    (tmp_path / "a.h5").write_text("old")

    def fail():
        with hdf5.written(tmp_path / "a.h5") as file:
            file["half"] = 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.h5", "old")]


def test_the_next_check_says_that_the_disk_is_full(small_disk):
    """Not only the end: hours of work may lie between."""

    def overfill():
        with hdf5.written(small_disk / "a.h5") as file:
            file["junk"] = np.zeros(shutil.disk_usage(small_disk).total, np.uint8)
            file.flush()
            file.check()
            pytest.fail("went on")

    with pytest.raises(DiskError, match=r"a\.h5: disk full; cure: make room"):
        overfill()
    assert not list(small_disk.iterdir())


# Small groups and a large array, as our files have them; HDF5 alone crashes at most of the sizes below.
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from tam.system import hdf5
from tam.errors import DiskError
try:
    with hdf5.written(Path(sys.argv[1])) as file:
        for index in range(int(sys.argv[2])):
            group = file.create_group(str(index))
            group["meta"] = "x" * 3000
            for name in range(8):
                group.create_dataset(str(name), data=np.arange(200))
            group.create_dataset("large", data=np.random.rand(5000), compression="gzip", shuffle=True)
            if sys.argv[3] == "checked":
                file.check()
except DiskError:
    sys.exit(3)
"""


@pytest.mark.parametrize("checked", ["checked", "not checked"])
@pytest.mark.parametrize("filled", [0, 300_000, 650_000, 800_000, 1_000_000])
def test_no_full_disk_crashes_the_process(small_disk, filled, checked):
    (small_disk / "filler").write_bytes(bytes(filled))
    command = [sys.executable, "-c", PROGRAM, str(small_disk / "a.h5"), "100", checked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


# Signals all the time, at any moment of many writings, to a handler that raises.
STOPPED = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from tam.system import hdf5
from tam.system import stop

def ask():
    while True:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.0005)

signal.signal(signal.SIGINT, signal.SIG_IGN)
threading.Thread(target=ask, daemon=True).start()
stops = 0
for index in range(300):
    try:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with hdf5.written(Path(sys.argv[1])) as file:
                for name in range(20):
                    file.create_group(str(name)).create_dataset("a", data=np.zeros(3000), compression="gzip")
                    file.check()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        stops += 1
print(stops)
"""


def test_no_signal_crashes_the_process_while_it_writes(tmp_path):
    """Python's own handler, as in a notebook; ours raises as well."""
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "a.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and int(done.stdout) > 100, done.stderr


@pytest.fixture
def interruptible():
    """SIGINT raises, as in a terminal: a shell's background jobs ignore it."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


def test_a_signal_waits_for_the_check(tmp_path, interruptible):
    reached = []

    def write():
        with hdf5.written(tmp_path / "a.h5") as file:
            signal.raise_signal(signal.SIGINT)
            reached.append("after the signal")
            file.check()
            reached.append("after the check")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert reached == ["after the signal"] and not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def ours(tmp_path):
    with hdf5.written(tmp_path / "a.h5") as file:
        file.attrs.update({"format": "tam-a", "version": 1})
    return tmp_path / "a.h5"


def test_a_file_is_read_while_somebody_holds_a_lock_on_it(ours):
    with ours.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with hdf5.opened(ours, "a", 1, "a") as file:
            assert file.attrs["version"] == 1


@pytest.mark.parametrize(
    "said",
    [
        OSError(errno.ENOLCK, "[Errno 37] Unable to synchronously open file (unable to lock file, errno = 37"),
        KeyError("Unable to open object (file read failed: errno = 5, error message = 'Input/output error', buf = 0x7"),
    ],
)
def test_what_the_system_says_is_no_damage_whatever_type_of_error_tells_it(ours, said, monkeypatch):
    """h5py puts an error number into the text of a KeyError where an object cannot be opened."""
    with pytest.raises(OSError, match=r"a\.h5") as found, hdf5.damage_in(ours, "none"):
        raise said
    assert found.value.errno in (errno.ENOLCK, errno.EIO)
    monkeypatch.setattr(hdf5, "attribute", lambda *_: (_ for _ in ()).throw(said))
    with pytest.raises(OSError, match=r"a\.h5"), hdf5.opened(ours, "a", 1, "a"):
        pass


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_a_file_that_ends_too_early_is_damaged(ours, kept):
    ours.write_bytes(ours.read_bytes()[:kept])
    with pytest.raises(SchemaError, match="damaged"), hdf5.opened(ours, "a", 1, "a"):
        pass
