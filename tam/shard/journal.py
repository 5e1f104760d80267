"""Batches in numbers, on disk before the next one goes into the model: a killed job loses no more than the one in it.

To find the words and to compress takes too long to keep a GPU waiting, so the thread behind makes the part of the file
from what is here. A file is a SHA-256 digest and, behind it, safetensors: no more than bytes are copied.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Generic

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tam.shard.task import Failed, Record
from tam.system.atomic import atomic

logger = logging.getLogger(__name__)

DIGEST = hashlib.sha256().digest_size
# What is raised when bytes are not what they should be.
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, SafetensorError)

Arrays = dict[str, np.ndarray]
Pack = Callable[[Record], tuple[dict[str, Any], Arrays]]
Unpack = Callable[[int, dict[str, Any], Arrays], Record]


class Journal(Generic[Record]):
    """What was made of one shard and is not yet in its parts.

    Args:
        folder: the shard's.
        pack, unpack: as of a ``Task``.
    """

    def __init__(self, folder: Path, pack: Pack[Record], unpack: Unpack[Record]):
        self.folder, self.pack, self.unpack = folder, pack, unpack

    def write(self, batch: Mapping[int, Record | Failed]) -> None:
        """``batch`` maps rows of the manifest to records; it is on disk, whole, when this returns."""
        meta: dict[int, dict[str, Any]] = {}
        arrays: Arrays = {}
        for row, record in batch.items():
            if isinstance(record, Failed):
                meta[row] = {"failed": record.why}
                continue
            meta[row], its = self.pack(record)
            # Contiguous, or bytes would be taken in another order.
            arrays |= {f"{row}/{name}": np.ascontiguousarray(array) for name, array in its.items()}
        content = save({"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays})
        with atomic(self._path(batch)) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)

    def remove(self, batch: Mapping[int, object]) -> None:
        """The batch is in a part now."""
        self._path(batch).unlink(missing_ok=True)

    def left(self, rows: Set[int]) -> Iterator[dict[int, Record | Failed]]:
        """Batches of ``rows`` that a killed job ran, and of which it did not make a part; damaged ones are removed."""
        for path in sorted(self.folder.glob("batch-*.journal")):
            stored = path.read_bytes()
            try:
                batch = self._read(stored, rows)
            except DAMAGE as error:
                logger.warning("%s: damaged (%s); its samples will be made again", path, error)
                path.unlink(missing_ok=True)
            else:
                yield batch

    def _read(self, stored: bytes, rows: Set[int]) -> dict[int, Record | Failed]:
        if hashlib.sha256(stored[DIGEST:]).digest() != stored[:DIGEST]:
            raise ValueError("checksum differs")
        arrays: Arrays = load(stored[DIGEST:])
        own: dict[str, Arrays] = {}
        batch: dict[int, Record | Failed] = {}
        for name, array in arrays.items():
            key, _, rest = name.partition("/")
            own.setdefault(key, {})[rest] = array
        for key, meta in json.loads(arrays["meta"].tobytes()).items():
            row = int(key)
            if row not in rows:
                raise ValueError(f"row {row} is of another shard")
            batch[row] = Failed(meta["failed"]) if "failed" in meta else self.unpack(row, meta, own[key])
        return batch

    def _path(self, batch: Mapping[int, object]) -> Path:
        return self.folder / f"batch-{min(batch):08d}.journal"
