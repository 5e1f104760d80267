"""A file's own SHA-256, written into it: whoever reads it knows whether a single bit is another, whatever the format.

The file holds ``SLOT`` in its metadata: an attribute of HDF5, a key of Parquet's footer. The digest is that of the
whole file with an empty slot, and takes its place. It is checked before the format's own reader sees a byte. What looks
like a slot can stand in a text of the file, too; it is empty for the digest, and none of them is taken for ours.
"""

import hashlib
import re
import secrets
from pathlib import Path

_PREFIX, _EMPTY = b"tam-sha256:", 64 * b"0"
SLOT = _PREFIX + secrets.token_hex(32).encode()  # no text that this process writes holds it
_FILLED = re.compile(_PREFIX + rb"([0-9a-f]{64})")
_BLOCK = 1 << 20


def seal(path: Path) -> None:
    """Fill the slot of a file that is written and closed; ValueError: it does not hold it once."""
    slots, digest = _read(path)
    (start,) = (start for start, held in slots if _PREFIX + held == SLOT)
    with path.open("r+b") as file:
        file.seek(start)
        file.write(digest)


def intact(path: Path) -> bool | None:
    """Whether every bit is as it was sealed; None for a file that has no seal.

    Raises:
        OSError: it cannot be read just now.
    """
    slots, digest = _read(path)
    return any(held == digest for _, held in slots) if slots else None


def _read(path: Path) -> tuple[list[tuple[int, bytes]], bytes]:
    """Where slots stand and what they hold; and the digest."""
    digest, slots, rest, start = hashlib.sha256(), [], b"", 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            block = rest + block
            slots += [(start + match.start(1), match[1]) for match in _FILLED.finditer(block)]
            block = _FILLED.sub(_PREFIX + _EMPTY, block)
            done = max(0, len(block) - len(SLOT) + 1)  # a slot may end in the next block
            digest.update(block[:done])
            rest, start = block[done:], start + done
    digest.update(rest)
    return slots, digest.hexdigest().encode()
