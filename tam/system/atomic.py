"""Atomic writing: a file or a folder appears whole or not at all."""

import contextlib
import errno
import glob
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tam.errors import DiskError
from tam.system.mark import Mark, check_replaceable, sign

FULL = (errno.ENOSPC, errno.EDQUOT)
OF_DISK = (*FULL, errno.EROFS, errno.EIO)
DAY = 86_400  # seconds


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well, flush it to disk and rename it into place.

    Raises:
        DiskError: the disk is full.
    """
    if path.is_symlink():
        path = Path(os.path.realpath(path))  # a link stays, and what it leads to is replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(_left_behind(path))
    temporary = _temporary(path)
    try:
        with _full_is_said(path):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: Path, mark: Mark) -> Iterator[Path]:
    """As ``atomic``, for a folder: yield one beside it, which takes its place; nothing half is ever seen.

    Args:
        mark: what it is of. It stands in the folder, and only an empty folder, or one with the same mark, is replaced.

    Raises:
        DiskError: something else lies there, or the disk is full.
    """
    check_replaceable(folder, mark)
    folder = folder.resolve()  # a link stays, and what it leads to is replaced
    _remove(_left_behind(folder))
    temporary, old = (_temporary(folder, ending) for ending in ("tmp", "old"))
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with _full_is_said(folder):
            temporary.mkdir(parents=True)
            sign(temporary, mark)
            yield temporary
            check_replaceable(folder, mark)
            if folder.exists():
                folder.rename(old)
            temporary.rename(folder)
    finally:
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)


def of_disk(error: BaseException) -> bool:
    """Whether an error says that the disk is full, read-only or broken: what no single sample has brought about."""
    return isinstance(error, DiskError) or (isinstance(error, OSError) and error.errno in OF_DISK)


@contextlib.contextmanager
def _full_is_said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskError("disk full", where=path, cure="make room and run it again") from error
        raise


def _temporary(path: Path, ending: str = "tmp") -> Path:
    if not path.name:  # of "." and "/" there is no beside
        raise DiskError("no name to write to", where=path, cure="name a file or folder in it")
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.{ending}")


@contextlib.contextmanager
def at_work(path: Path) -> Iterator[bool]:
    """A sign stands beside ``path`` while the block runs. Yields whether a process before died in such a block, or
    while it wrote ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left = _left_behind(path)
    sign = _temporary(path, "work")
    sign.touch()
    try:
        yield bool(left)
    finally:
        sign.unlink(missing_ok=True)
    _remove(left)


def _left_behind(path: Path) -> list[Path]:
    """What killed writers of ``path`` left beside it: processes of this host that are gone, and others after a day."""
    found = []
    for left in path.parent.glob(f".{glob.escape(path.name)}.*-*.*"):
        match = re.fullmatch(r"(.+)-(\d+)\.(tmp|old|work)", left.name[len(path.name) + 2 :])
        if not match:
            continue
        host, pid, _ = match.groups()
        with contextlib.suppress(OSError):  # another may remove it at the same time
            here = host == socket.gethostname()
            if not (_alive(int(pid)) if here else time.time() - left.stat().st_mtime < DAY):
                found.append(left)
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
