"""One process at a time for an output: a lock file with a heartbeat.

A network file system may not know ``flock``, and a lock file alone outlives an owner that was killed. So the owner
creates the file exclusively and writes a new beat into it every few seconds, and who finds it waits. A lease is taken
over when it has not beaten for ``TTL`` seconds, counted by the clock of who waits (two machines need not agree on the
time); or at once, when its owner was a process of this machine and is gone.

The lease saves work, it does not protect data: what its holders write appears whole and is the same whoever writes it.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from tam.system import stop

logger = logging.getLogger(__name__)

BEAT, TTL = 5.0, 60.0  # seconds
POLL, REMIND = 0.5, 60.0  # seconds between two looks of who waits, and between two lines of the log


@dataclass(frozen=True)
class Owner:
    """Who holds a lease; ``machine`` tells boots and containers apart, ``born`` two processes that had the same pid."""

    token: str
    host: str
    machine: str
    pid: int
    born: str
    job: str
    since: float  # seconds of the wall clock, to be shown

    @classmethod
    def me(cls) -> "Owner":
        job = os.environ.get("SLURM_JOB_ID", "")
        pid = os.getpid()
        return cls(uuid.uuid4().hex, socket.gethostname(), _machine(), pid, _born(pid), job, time.time())

    @classmethod
    def parse(cls, content: bytes) -> "Owner | None":
        """None if it is not all there, or not a lease."""
        try:
            return cls(**json.loads(content.splitlines()[0]))
        except (ValueError, TypeError, IndexError):
            return None

    def gone(self) -> bool:
        """Certainly not running any more. Of a process on another machine nothing is known."""
        return self.machine != "" and self.machine == _machine() and self.born != _born(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" + (f" (SLURM job {self.job})" if self.job else "")


class Lease:
    """A context: waits until nobody else holds ``path``, and holds it.

    If the lease is lost all the same (the process slept longer than ``ttl``), the holder is asked to stop.
    """

    def __init__(self, path: Path, ttl: float = TTL, beat: float = BEAT):
        self.path, self.ttl, self.beat = path, ttl, beat
        self.me = Owner.me()
        self._beats = 0
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._live, name=f"lease {path.name}", daemon=True)

    def __enter__(self) -> "Lease":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._acquire()
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._heart.join()
        os.close(self._file)
        if self._mine():
            self.path.unlink(missing_ok=True)

    def _acquire(self) -> None:
        seen, since, told = None, time.monotonic(), 0.0
        while not self._create():
            stop.check()
            now, found = time.monotonic(), _read(self.path)
            if found is None:
                continue
            if found != seen:
                seen, since = found, now
            owner = Owner.parse(found)
            if now - since > self.ttl or (owner and owner.gone()):
                logger.info("%s: taken over from %s, which is gone", self.path, owner or "an unknown process")
                self._remove(found)
                continue
            if now - told > REMIND:
                logger.info("%s: %s is at work on this; waiting for it", self.path, owner or "another process")
                told = now
            time.sleep(POLL)

    def _create(self) -> bool:
        try:
            self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        except FileExistsError:
            return False
        try:
            self._write()
        except OSError:  # a full disk
            os.close(self._file)
            self.path.unlink(missing_ok=True)
            raise
        return True

    def _remove(self, dead: bytes) -> None:
        """Remove the lease with this content. One that is alive, or someone else's by now, is put back."""
        aside = self.path.with_name(f"{self.path.name}.{self.me.token}")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        if _read(aside) != dead:
            with contextlib.suppress(OSError):
                os.link(aside, self.path)
        aside.unlink(missing_ok=True)

    def _live(self) -> None:
        while not self._released.wait(self.beat):
            try:
                self._write()
                if not self._mine():
                    logger.warning("%s: lost to another process; this one stops", self.path)
                    stop.request("another process has taken over")
                    return
            except OSError as error:
                logger.warning("%s: no heartbeat: %s", self.path, error)

    def _write(self) -> None:
        """Through the open file, so that a beat never lands in a lease of someone else under the same name."""
        self._beats += 1
        os.pwrite(self._file, f"{json.dumps(asdict(self.me))}\n{self._beats:012d}\n".encode(), 0)
        os.fsync(self._file)

    def _mine(self) -> bool:
        owner = Owner.parse(_read(self.path) or b"")
        return owner is not None and owner.token == self.me.token


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _machine() -> str:
    """One boot of one machine and one namespace of processes; empty where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process of this machine began, in ticks since the boot; empty if there is none. A zombie is none."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else rest[18]
