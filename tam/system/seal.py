"""A file's own SHA-256, written into it: whoever reads it knows whether a single bit is another, whatever the format.

The file holds ``SLOT`` once, in its metadata: an attribute of HDF5, a key of Parquet's footer. The digest is that of
the whole file with an empty slot, and takes its place. It is checked before the format's own reader sees a byte.
"""

import hashlib
import re
from pathlib import Path

EMPTY = 64 * b"0"
SLOT = b"tam-sha256:" + EMPTY
_FILLED = re.compile(rb"tam-sha256:([0-9a-f]{64})")
_BLOCK = 1 << 20


def seal(path: Path) -> None:
    """Fill the slot of a file that is written and closed."""
    start, _, digest = _read(path)
    with path.open("r+b") as file:
        file.seek(start)
        file.write(digest)


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
    """Where the digest stands, what stands there, and what should; ValueError: there is not one slot."""
    digest, slots, held, start = hashlib.sha256(), [], b"", 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            block = held + block
            for match in _FILLED.finditer(block):
                slots.append((start + match.start(1), match[1]))
                block = block[: match.start(1)] + EMPTY + block[match.end(1) :]
            done = max(0, len(block) - len(SLOT) + 1)  # a slot may end in the next block
            digest.update(block[:done])
            held, start = block[done:], start + done
    digest.update(held)
    if len(slots) != 1:
        raise ValueError(f"{len(slots)} checksums in it")
    return *slots[0], digest.hexdigest().encode()
