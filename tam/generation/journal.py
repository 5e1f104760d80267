"""Batches in numbers, on disk before the next one goes into the model: a killed job loses no more than the one in it.

To find the words and to compress takes too long to keep a GPU waiting, so the thread behind makes the part of the cache
from what is here. A file is a SHA-256 digest and, behind it, safetensors: no more than bytes are copied.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tam.cache import FAILED, Candidates, Generation, layout_meta, narrow, read_layout, widen
from tam.files import atomic
from tam.generation.select import Selected
from tam.hdf5 import DAMAGE
from tam.manifest import Sample

logger = logging.getLogger(__name__)

DIGEST = hashlib.sha256().digest_size
ARRAYS = (
    "vision", "prompt", "ids", "tokens", "classes", "logits",
    "candidates/ids", "candidates/logits", "candidates/logsumexp",
)  # fmt: skip


class Journal:
    """What was answered of one shard and is not yet in its parts; ``folder`` is the shard's."""

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, batch: Mapping[int, Selected | Generation]) -> None:
        """``batch`` maps rows of the manifest to samples; it is on disk, whole, when this returns."""
        meta, arrays = {}, {}
        for row, kept in batch.items():
            if isinstance(kept, Generation):
                meta[row] = {"failed": kept.status.removeprefix(FAILED)}
                continue
            meta[row] = {"ended": kept.ended, "dtype": kept.dtype} | layout_meta(kept.layout)
            arrays |= {f"{row}/{name}": array for name, array in zip(ARRAYS, _arrays(kept), strict=True)}
        content = save({"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays})
        with atomic(self._path(batch)) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)

    def remove(self, batch: Mapping[int, object]) -> None:
        """The batch is in a part now."""
        self._path(batch).unlink(missing_ok=True)

    def left(self, samples: Mapping[int, Sample]) -> Iterator[dict[int, Selected | Generation]]:
        """Batches that a killed job answered, and of which it did not make a part; damaged ones are removed."""
        for path in sorted(self.folder.glob("batch-*.journal")):
            try:
                yield _read(path, samples)
            except (*DAMAGE, SafetensorError) as error:
                logger.warning("%s: damaged (%s); its samples will be generated again", path, error)
                path.unlink()

    def _path(self, batch: Mapping[int, object]) -> Path:
        return self.folder / f"batch-{min(batch):08d}.journal"


def _arrays(kept: Selected) -> tuple[np.ndarray, ...]:
    layout, candidates = kept.layout, kept.candidates
    return (
        layout.vision, layout.prompt, kept.ids, kept.tokens, kept.classes, narrow(kept.logits, kept.dtype),
        candidates.ids, candidates.logits, candidates.logsumexp,
    )  # fmt: skip


def _read(path: Path, samples: Mapping[int, Sample]) -> dict[int, Selected | Generation]:
    stored = path.read_bytes()
    if hashlib.sha256(stored[DIGEST:]).digest() != stored[:DIGEST]:
        raise ValueError("checksum differs")
    arrays, batch = load(stored[DIGEST:]), {}
    for key, meta in json.loads(arrays["meta"].tobytes()).items():
        row, sample = int(key), samples[int(key)]
        if "failed" in meta:
            batch[row] = Generation.failure(sample.id, sample.prompt, meta["failed"], row)
            continue
        own = {name: arrays[f"{key}/{name}"] for name in ARRAYS}
        batch[row] = Selected(
            sample=sample, layout=read_layout(meta, own), ids=own["ids"], ended=meta["ended"], tokens=own["tokens"],
            classes=own["classes"], logits=widen(own["logits"], meta["dtype"]), dtype=meta["dtype"],
            candidates=Candidates(own["candidates/ids"], own["candidates/logits"], own["candidates/logsumexp"]),
        )  # fmt: skip
    return batch
