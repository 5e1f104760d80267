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

from tam.cache import DTYPES, layout_meta, narrow, read_layout, widen
from tam.generation.kept import Selected
from tam.manifest import Sample
from tam.records import FAILED, Candidates, Generation
from tam.system.atomic import atomic
from tam.system.hdf5 import DAMAGE

logger = logging.getLogger(__name__)

DIGEST = hashlib.sha256().digest_size
INTS = ("vision", "prompt", "ids", "tokens", "classes", "candidates/ids")
ARRAYS = (*INTS, "candidates/logits", "candidates/logsumexp", "logits")


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
            arrays |= {
                f"{row}/{name}": np.ascontiguousarray(array)  # or its bytes are taken in another order
                for name, array in zip(ARRAYS, _arrays(kept), strict=True)
            }
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
            stored = path.read_bytes()
            try:
                batch = _read(stored, samples)
            except (*DAMAGE, SafetensorError) as error:
                logger.warning("%s: damaged (%s); its samples will be generated again", path, error)
                path.unlink(missing_ok=True)
            else:
                yield batch

    def _path(self, batch: Mapping[int, object]) -> Path:
        return self.folder / f"batch-{min(batch):08d}.journal"


def _arrays(kept: Selected) -> tuple[np.ndarray, ...]:
    layout, candidates = kept.layout, kept.candidates
    return (
        layout.vision, layout.prompt, kept.ids, kept.tokens, kept.classes, candidates.ids, candidates.logits,
        candidates.logsumexp, narrow(kept.logits, kept.dtype),
    )  # fmt: skip


def _read(stored: bytes, samples: Mapping[int, Sample]) -> dict[int, Selected | Generation]:
    if hashlib.sha256(stored[DIGEST:]).digest() != stored[:DIGEST]:
        raise ValueError("checksum differs")
    arrays, batch = load(stored[DIGEST:]), {}
    for key, meta in json.loads(arrays["meta"].tobytes()).items():
        row, sample = int(key), samples[int(key)]
        if "failed" in meta:
            batch[row] = Generation.failure(sample.id, sample.prompt, meta["failed"], row)
            continue
        own = {name: arrays[f"{key}/{name}"] for name in ARRAYS}
        _check(own, DTYPES[meta["dtype"]])
        batch[row] = Selected(
            sample=sample, layout=read_layout(meta, own), ids=own["ids"], ended=meta["ended"], tokens=own["tokens"],
            classes=own["classes"], logits=widen(own["logits"], meta["dtype"]), dtype=meta["dtype"],
            candidates=Candidates(own["candidates/ids"], own["candidates/logits"], own["candidates/logsumexp"]),
        )  # fmt: skip
    return batch


def _check(own: Mapping[str, np.ndarray], dtype: type) -> None:
    """Raises:
    ValueError: the arrays of a sample do not belong together.
    """
    rows = len(own["prompt"]) + len(own["ids"])
    shapes = {name: (len(own[name]),) for name in INTS[:-1]} | {
        "candidates/ids": (rows, *own["candidates/ids"].shape[1:2]),
        "candidates/logits": own["candidates/ids"].shape,
        "candidates/logsumexp": (rows,),
        "logits": (len(own["vision"]) + rows, len(own["classes"])),
    }
    for name, array in own.items():
        kind = np.int32 if name in INTS else dtype if name == "logits" else np.float32
        if array.dtype != kind or array.shape != shapes[name] or (name in INTS and (array < 0).any()):
            raise ValueError(f"{name}: {array.dtype} {array.shape}")
    for name in ("vision", "prompt"):
        if (own[name] >= len(own["tokens"]) - len(own["ids"])).any():
            raise ValueError(f"{name}: a position outside the prompt")
