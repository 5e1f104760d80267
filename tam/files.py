"""Atomic writing: a file appears whole or not at all."""

import contextlib
import errno
import glob
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tam.errors import DiskError

FULL = (errno.ENOSPC, errno.EDQUOT)
DAY = 86_400  # seconds


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well, flush it to disk and rename it into place.

    Raises:
        DiskError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(path)
    temporary = path.with_name(f".{path.name}.{_host()}-{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # HDF5 raises RuntimeError when it cannot close a file
        if _is_full(error):
            raise DiskError("disk full", where=path, cure="make room and run it again") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def replace_folder(folder: Path, part: Path) -> None:
    """Put the folder ``part`` in the place of ``folder``, of which nothing half is ever seen."""
    old = part.with_name(f"{part.name}.old")
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return any(f"errno = {number}," in str(error) for number in FULL)  # HDF5 says it in words only


def _remove_left_behind(path: Path) -> None:
    """Remove temporary files of killed writers: of processes of this host that are gone, and of others after a day."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        found = re.fullmatch(r"(.+)-(\d+)", left.name[len(path.name) + 2 : -len(".tmp")])
        if not found:
            continue
        host, pid = found.groups()
        with contextlib.suppress(OSError):  # another may remove it at the same time
            if Path(f"/proc/{pid}").exists() if host == _host() else time.time() - left.stat().st_mtime < DAY:
                continue
            left.unlink()


def _host() -> str:
    return socket.gethostname()
