"""A file's own SHA-256, written into it: whoever reads it knows whether a single bit is another, whatever the format.

The file holds ``SLOT`` near its end, where its format has room: HDF5 after its last byte, Parquet among the keys of its
footer. The digest is that of the whole file with an empty slot, and takes its place. It is checked before the format's
own reader sees a byte, which may crash on a damaged one, or never end.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

EMPTY = 64 * b"0"
SLOT = b"tam-sha256:" + EMPTY
_SLOT = re.compile(rb"tam-sha256:([0-9a-f]{64})?")  # without a digest: cut off
_NOTED = re.compile(rb"tam-sha256:[0-9a-f]{64}\ntam-note:([^\n]*)\n\Z")
_END, _NOTE, _BLOCK = 1 << 16, 1 << 12, 1 << 20  # bytes


def append(path: Path, note: str = "") -> None:
    """Seal a file whose format ignores what stands after its end.

    Args:
        note: one short line, after the seal and under it, for who reads nothing else of the file.
    """
    with path.open("ab") as file:
        file.write(SLOT + (b"\ntam-note:%s\n" % note.encode() if note else b""))
    seal(path)


def noted(path: Path) -> str | None:
    """The note of a file that has a seal, which is not checked; None: no note.

    Raises:
        OSError: it cannot be read just now.
    """
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _NOTE))
        found = _NOTED.search(file.read())
    return found[1].decode("utf-8", "replace") if found else None


def seal(path: Path) -> None:
    """Fill the slot of a file that is written and closed."""
    place, _, digest = _read(path)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(digest)


def present(path: Path) -> bool:
    """Whether a file has a seal, broken or not."""
    with path.open("rb") as file:
        return _last_slot(file) is not None


def intact(path: Path) -> bool | None:
    """Whether every bit is as it was sealed; None for a file that has no seal.

    Raises:
        OSError: it cannot be read just now.
    """
    try:
        _, found, digest = _read(path)
    except ValueError:
        return None
    return found == digest


def _read(path: Path) -> tuple[int, bytes, bytes]:
    """Where the digest stands, what stands there, and what should; ValueError: there is no slot.

    Texts of others may look like a slot: the last one counts.
    """
    with path.open("rb") as file:
        if (slot := _last_slot(file)) is None:
            raise ValueError("no checksum in it")
        digest, place, done = hashlib.sha256(), slot[0] + SLOT.index(EMPTY), 0
        file.seek(0)
        while block := file.read(min(_BLOCK, place - done)):
            digest.update(block)
            done += len(block)
        file.seek(len(EMPTY), os.SEEK_CUR)
        digest.update(EMPTY + file.read())
    return place, slot[1], digest.hexdigest().encode()


def _last_slot(file: BinaryIO) -> tuple[int, bytes] | None:
    """Where it begins, and the digest in it."""
    start = max(0, file.seek(0, os.SEEK_END) - _END)
    file.seek(start)
    slots = [*_SLOT.finditer(file.read())]
    return (start + slots[-1].start(), slots[-1][1] or b"") if slots else None
