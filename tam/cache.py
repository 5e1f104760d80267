"""The generation cache: one HDF5 file a shard, from which everything later is computed without the model.

``docs/reference/cache.md`` describes the file. Only what the maps read is kept: the logits of the classes that occur,
at the vision tokens, the user's words and the states that predict the answer.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tam.layout import Grid, Layout
from tam.records import FAILED, OK, TRUNCATED, Candidates, Generation, Piece
from tam.system import hdf5, seal

KIND, VERSION = "generation", 1
CURE = "remove it and generate again"
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}  # of the logits: as stored
MOST_PIXELS = 1 << 30  # of a picture, as a file declares them


def write_generations(
    path: Path, generations: Mapping[int, Generation], run: Mapping[str, object], fingerprint: str
) -> None:
    """Write one file, atomically; ``generations`` maps rows of the manifest to samples."""
    with hdf5.written(path) as file:
        _write_header(file, run, fingerprint)
        statuses = []
        for row, generation in generations.items():
            _write(file.create_group(f"{row:08d}"), generation)
            statuses.append(generation.status)
        file.note = json.dumps(_kinds(statuses))


def merge(parts: list[Path], path: Path, run: Mapping[str, object], fingerprint: str, rows: Set[int]) -> None:
    """Join parts into one file, atomically; DiskError: some of ``rows`` are in no part."""
    with hdf5.written(path) as file:
        _write_header(file, run, fingerprint)
        hdf5.join(file, parts, rows, path.parent)
        file.note = json.dumps(_kinds(json.loads(hdf5.text(file, f"{name}/meta"))["status"] for name in file))


def read_statuses(path: Path) -> dict[str, int]:
    """The number of samples by kind of status, as the file says beside its seal, which is not checked.

    Raises:
        SchemaError: not a cache file, or damaged. OSError: it cannot be read just now.
    """
    with hdf5.damage_in(path, CURE):
        if (note := seal.noted(path)) is not None:
            return {_text(status): _whole(number) for status, number in json.loads(note).items()}
    with hdf5.opened(path, KIND, VERSION, "generate") as file, hdf5.damage_in(path, CURE):  # it was made without a note
        return dict(_kinds(json.loads(hdf5.text(file, f"{name}/meta"))["status"] for name in file))


def _kinds(statuses: Iterable[str]) -> Counter[str]:
    return Counter(status.partition(":")[0] for status in statuses)


def read_header(path: Path) -> dict[str, Any]:
    """``run``, ``fingerprint`` and number of ``samples`` of the file ``path``; SchemaError: foreign, of another version
    or damaged."""
    with hdf5.opened(path, KIND, VERSION, "generate") as file, hdf5.damage_in(path, CURE):
        return {
            "run": json.loads(hdf5.attribute(file, "run", str)),
            "fingerprint": hdf5.attribute(file, "fingerprint", str),
            "samples": len(file),
        }


def read_generations(path: Path, rows: Container[int] | None = None) -> Iterator[Generation]:
    """Read a cache file, one sample at a time, in the manifest's order.

    Args:
        path: what ``tam generate`` wrote.
        rows: only the samples in these rows of the manifest; None: all.

    Raises:
        SchemaError: not a cache file, of an unknown version, or damaged.
    """
    with hdf5.opened(path, KIND, VERSION, "generate") as file:
        with hdf5.damage_in(path, CURE):
            names = [name for name in file if rows is None or int(name) in rows]
        for name in names:
            with hdf5.damage_in(f"{path}, sample {name}", CURE):
                generation = _read(hdf5.member(file, name), int(name))
            yield generation


def _write_header(file: h5py.File, run: Mapping[str, object], fingerprint: str) -> None:
    about = {"run": json.dumps(run, sort_keys=True), "fingerprint": fingerprint}
    file.attrs.update({"format": f"tam-{KIND}", "version": VERSION} | about)


def _write(group: h5py.Group, generation: Generation) -> None:
    meta = json.dumps(_meta(generation))
    arrays = {} if generation.failed else _arrays(generation)
    group["meta"] = meta
    for name, array in arrays.items():
        hdf5.store(group, name, array)
    if not generation.failed:
        group["logits"].attrs["dtype"] = generation.dtype
    group.attrs["digest"] = _digest(group, meta, arrays, generation.dtype)


def _read(group: h5py.Group, row: int) -> Generation:
    text = hdf5.text(group, "meta")
    meta = json.loads(text)
    for name in ("id", "status", "prompt"):
        _text(meta[name])
    failed = meta["status"].startswith(FAILED)
    _require(failed or meta["status"] in (OK, TRUNCATED), "status", meta["status"])
    dtype = "" if failed else hdf5.attribute(hdf5.member(group, "logits"), "dtype", str)
    arrays = {} if failed else _read_arrays(group, meta["answer_start"], dtype)
    if _digest(group, text, arrays, dtype) != hdf5.attribute(group, "digest", str):
        raise ValueError("checksum differs")
    if failed:
        return Generation.failure(meta["id"], meta["prompt"], meta["status"].removeprefix(FAILED), row)
    layout = read_layout(meta, arrays)
    vocabulary = {
        int(id): Piece(_text(piece), _text(decoded), _text(raw).encode("latin-1"))
        for id, (piece, decoded, raw) in meta["vocabulary"].items()
    }
    ends = frozenset(map(_whole, meta["end_tokens"]))
    occurring = (
        arrays["tokens"][layout.prompt], arrays["tokens"][layout.answer :], arrays["retokenised/answer"],
        arrays["candidates/ids"].ravel(),
    )  # fmt: skip
    unknown = set(np.concatenate(occurring).tolist()) - vocabulary.keys()
    _require(not unknown, "ids without a vocabulary entry", sorted(unknown)[:5])
    return Generation(
        id=meta["id"],
        status=meta["status"],
        prompt=meta["prompt"],
        answer=_text(meta["answer"]),
        answer_with_special=_text(meta["answer_with_special"]),
        tokens=arrays["tokens"],
        layout=layout,
        classes=arrays["classes"],
        logits=widen(arrays["logits"], dtype),
        dtype=dtype,
        candidates=Candidates(arrays["candidates/ids"], arrays["candidates/logits"], arrays["candidates/logsumexp"]),
        retokenised_prompt=arrays["retokenised/prompt"],
        retokenised_answer=arrays["retokenised/answer"],
        vocabulary=vocabulary,
        end_tokens=ends,
        row=row,
    )


def _read_arrays(group: h5py.Group, start: int, dtype: str) -> dict[str, np.ndarray]:
    """All arrays, each of the shape that those before it ask for; ``start`` is the first answer token's position."""
    int32, float32 = [np.dtype(np.int32)], [np.dtype(np.float32)]
    found = {
        name: hdf5.array(group, name, int32, (None,))
        for name in ("tokens", "vision", "prompt", "classes", "retokenised/prompt", "retokenised/answer")
    }
    answer = len(found["tokens"]) - _whole(start)
    _require(0 <= answer <= len(found["tokens"]), "answer_start", start)
    for name in ("vision", "prompt"):
        _require(((found[name] >= 0) & (found[name] < start)).all(), f"{name}: a position outside the prompt", "")
    _require((np.diff(found["classes"]) > 0).all(), "classes are not ascending", "")
    rows = len(found["prompt"]) + answer
    logits = [np.dtype(DTYPES[dtype])]
    found["logits"] = hdf5.array(group, "logits", logits, (len(found["vision"]) + rows, len(found["classes"])))
    found["candidates/ids"] = hdf5.array(group, "candidates/ids", int32, (rows, None))
    found["candidates/logits"] = hdf5.array(group, "candidates/logits", float32, found["candidates/ids"].shape)
    found["candidates/logsumexp"] = hdf5.array(group, "candidates/logsumexp", float32, (rows,))
    return found


def layout_meta(layout: Layout) -> dict[str, object]:
    """What of a layout is no array, for JSON."""
    grids = [asdict(grid) for grid in layout.grids]
    return {"answer_start": layout.answer, "grids": grids, "sizes": layout.sizes}


def read_layout(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Layout:
    """From ``layout_meta`` and the arrays ``vision`` and ``prompt``; ValueError, KeyError, TypeError: no layout."""
    sizes = tuple((_whole(width, 1), _whole(height, 1)) for width, height in meta["sizes"])
    _require(all(width * height <= MOST_PIXELS for width, height in sizes), "sizes", sizes[:5])
    grids = tuple(map(_grid, meta["grids"]))
    for grid in grids:
        _require(grid.medium < len(sizes) and grid.frames, "grid", grid)
    return Layout(arrays["vision"], arrays["prompt"], meta["answer_start"], grids, sizes)


def _grid(meta: Mapping[str, Any]) -> Grid:
    left, top, right, bottom = map(_finite, meta["box"])
    rows, columns = _whole(meta["rows"], 1), _whole(meta["columns"], 1)
    return Grid(_whole(meta["medium"]), tuple(map(_whole, meta["frames"])), rows, columns, (left, top, right, bottom))


def _require(holds: object, what: str, got: object) -> None:
    if not holds:
        raise ValueError(f"{what}: {got!r}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"no text: {value!r}")
    value.encode("utf-8")  # ValueError: half a surrogate pair, which no later stage can write
    return value


def _whole(value: object, least: int = 0) -> int:
    if type(value) is not int or not least <= value < 1 << 31:
        raise ValueError(f"no whole number in range: {value!r}")
    return value


def _finite(value: object) -> float:
    if not (type(value) is int or type(value) is float) or not math.isfinite(value):
        raise ValueError(f"no number: {value!r}")
    return value


def _meta(generation: Generation) -> dict[str, object]:
    meta: dict[str, object] = {"id": generation.id, "status": generation.status, "prompt": generation.prompt}
    if generation.failed:
        return meta
    return meta | {
        "answer": generation.answer,
        "answer_with_special": generation.answer_with_special,
        **layout_meta(generation.layout),
        "vocabulary": {
            id: [piece.piece, piece.text, piece.bytes.decode("latin-1")]
            for id, piece in sorted(generation.vocabulary.items())
        },
        "end_tokens": sorted(generation.end_tokens),
    }


def _arrays(generation: Generation) -> dict[str, np.ndarray]:
    ints = {
        "tokens": generation.tokens,
        "vision": generation.layout.vision,
        "prompt": generation.layout.prompt,
        "classes": generation.classes,
        "candidates/ids": generation.candidates.ids,
        "retokenised/prompt": generation.retokenised_prompt,
        "retokenised/answer": generation.retokenised_answer,
    }
    return {name: np.asarray(array, np.int32) for name, array in ints.items()} | {
        "logits": narrow(generation.logits, generation.dtype),
        "candidates/logits": np.asarray(generation.candidates.logits, np.float32),
        "candidates/logsumexp": np.asarray(generation.candidates.logsumexp, np.float32),
    }


def narrow(logits: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values that a model computed in ``dtype``, in as many bytes as that takes; nothing is rounded."""
    logits = np.ascontiguousarray(logits, np.float32)
    if dtype == "bfloat16":
        return (logits.view(np.uint32) >> 16).astype(
            np.uint16
        )  # numpy has no bfloat16: its bits are float32's upper half
    return logits.astype(dtype)


def widen(stored: np.ndarray, dtype: str) -> np.ndarray:
    """What ``narrow`` was given, float32."""
    if dtype == "bfloat16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def _digest(group: h5py.Group, meta: str, arrays: Mapping[str, np.ndarray], dtype: str) -> str:
    """What a sample says about its own row and content, so that a damaged byte is noticed; ``dtype`` of the logits."""
    digest = hashlib.sha256(f"{group.name}\n{meta}".encode())
    for name, array in sorted(arrays.items()):
        of_logits = dtype if name == "logits" else None
        digest.update(f"\n{name} {array.dtype} {array.shape} {of_logits}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
