"""The scores file: one HDF5 file a shard with raw scores of methods that need the model: ``docs/reference/scores.md``.

Scores are signed and not normalised: ``tam maps`` makes maps of them, as often as one likes.
"""

import json
from collections.abc import Container, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tam.records import FAILED, OK, TRUNCATED, Scores
from tam.system import hdf5

KIND, VERSION = "scores", 1
CURE = "run `tam attribute` again"
FLOAT16, FLOAT32 = [np.dtype(np.float16)], [np.dtype(np.float32)]


@dataclass(frozen=True)
class SampleScores:
    """One sample's scores.

    Attributes:
        id: the sample's.
        status: of the answer.
        methods: name -> its scores, or "failed: why"; none of a failed answer.
    """

    id: str
    status: str
    methods: Mapping[str, Scores | str]


@dataclass(frozen=True)
class ScoresHeader:
    """How the scores of a file were made.

    Attributes:
        fingerprint: of the generation that they explain. samples: how many it has.
        methods: name -> the settings that its scores depend on.
        run: model, revision, weights, dtype and versions.
    """

    fingerprint: str
    samples: int
    methods: dict[str, dict[str, object]]
    run: dict[str, Any]


def write_scores(path: Path, samples: Mapping[int, SampleScores], header: ScoresHeader) -> None:
    """Write one file, atomically; ``samples`` by row of the manifest."""
    with hdf5.written(path) as file:
        _write_header(file, header)
        for row, sample in samples.items():
            _write(file.create_group(f"{row:08d}"), sample)
            file.check()


def merge(parts: list[Path], path: Path, header: ScoresHeader, rows: Set[int], known: Path | None = None) -> None:
    """Join parts into one file, atomically; DiskError: some of ``rows`` are in no part.

    Args:
        known: a file of the same generation, from which the methods are taken that the parts do not have.
    """
    with hdf5.written(path) as file:
        _write_header(file, header)
        hdf5.join(file, parts, rows, path.parent)
        if known is not None:
            with hdf5.opened(known, KIND, VERSION, "attribute", sealed=True) as other:
                for name in file:
                    _add(file[name], other[name], header.methods)
                    file.check()


def read_scores_header(path: Path) -> ScoresHeader:
    """Raises: SchemaError: not a scores file, of an unknown version, or damaged."""
    with hdf5.opened(path, KIND, VERSION, "attribute", sealed=True) as file, hdf5.damage_in(path, CURE):
        return ScoresHeader(
            fingerprint=hdf5.attribute(file, "fingerprint", str),
            samples=hdf5.attribute(file, "samples", int),
            methods={name: dict(settings) for name, settings in json.loads(_text(file, "methods")).items()},
            run=dict(json.loads(_text(file, "run"))),
        )


def read_statuses(path: Path) -> dict[int, tuple[str, dict[str, str]]]:
    """Row -> the status of the answer, and that of each method on it: "ok" or "failed: why".

    Raises:
        SchemaError: as ``read_scores``.
    """
    with hdf5.opened(path, KIND, VERSION, "attribute", sealed=True) as file, hdf5.damage_in(path, CURE):
        metas = {int(name): _meta(hdf5.member(file, name)) for name in file}
        return {row: (status, statuses) for row, (_, status, statuses) in metas.items()}


def read_scores(path: Path, rows: Container[int] | None = None) -> Iterator[tuple[int, SampleScores]]:
    """Read a scores file, one sample at a time, in the manifest's order, each with its row.

    Args:
        path: what ``tam attribute`` wrote.
        rows: only the samples in these rows of the manifest; None: all.

    Raises:
        SchemaError: not a scores file, of an unknown version, or damaged.
    """
    with hdf5.opened(path, KIND, VERSION, "attribute", sealed=True) as file:
        with hdf5.damage_in(path, CURE):
            names = [name for name in file if rows is None or int(name) in rows]
        for name in names:
            with hdf5.damage_in(f"{path}, sample {name}", CURE):
                sample = _read(hdf5.member(file, name))
            yield int(name), sample


def _text(file: h5py.File, name: str) -> str:
    return hdf5.attribute(file, name, str)


def _write_header(file: h5py.File, header: ScoresHeader) -> None:
    about = {"fingerprint": header.fingerprint, "samples": header.samples}
    about |= {"methods": json.dumps(header.methods), "run": json.dumps(header.run, sort_keys=True)}
    file.attrs.update({"format": f"tam-{KIND}", "version": VERSION} | about)


def _add(group: h5py.Group, other: h5py.Group, methods: Container[str]) -> None:
    """Copy those of the methods that another sample's group has and this one has not."""
    (id, status, statuses), (_, _, others) = _meta(group), _meta(other)
    added = {name: its for name, its in others.items() if name in methods and name not in statuses}
    del group["meta"]
    _write_meta(group, id, status, added | statuses)
    for name, its in added.items():
        if its == OK:
            other.copy(name, group)


def _write_meta(group: h5py.Group, id: str, status: str, methods: Mapping[str, str]) -> None:
    group["meta"] = json.dumps({"id": id, "status": status, "methods": methods})


def _write(group: h5py.Group, sample: SampleScores) -> None:
    statuses = {name: made if isinstance(made, str) else OK for name, made in sample.methods.items()}
    _write_meta(group, sample.id, sample.status, statuses)
    for name, made in sample.methods.items():
        if isinstance(made, str):
            continue
        _write_rows(group, f"{name}/image", np.where(made.explained[:, None], made.image, np.nan))
        if made.text is not None:
            _write_rows(group, f"{name}/text", np.tril(made.text, -1))


def _write_rows(group: h5py.Group, name: str, values: np.ndarray) -> None:
    """Scores of any magnitude in float16: each row by its largest, which stands beside them; NaN rows as 0."""
    largest = np.abs(values).max(1, initial=0).astype(np.float32)
    shares = np.nan_to_num(values / np.where(largest > 0, largest, 1)[:, None])
    hdf5.store(group, name, shares.astype(np.float16))
    hdf5.store(group, f"{name}_magnitude", largest)


def _read(group: h5py.Group) -> SampleScores:
    id, status, statuses = _meta(group)
    return SampleScores(id, status, {name: _scores(group, name, its) for name, its in statuses.items()})


def _meta(group: h5py.Group) -> tuple[str, str, dict[str, str]]:
    """Id, status, and the statuses of methods."""
    meta = json.loads(hdf5.text(group, "meta"))
    id, status, statuses = meta["id"], meta["status"], dict(meta["methods"])
    if not all(isinstance(text, str) for text in (id, status, *statuses.values())):
        raise TypeError("a status that is no text")
    if status not in (OK, TRUNCATED) and not status.startswith(FAILED):
        raise ValueError(f"unknown status {status!r}")
    return id, status, statuses


def _scores(group: h5py.Group, name: str, status: str) -> Scores | str:
    if status.startswith(FAILED):
        return status
    image, explained = _read_rows(group, f"{name}/image", (None, None))
    text = None
    if "text" in hdf5.member(group, name):
        text, _ = _read_rows(group, f"{name}/text", (len(image), len(image)))
    return Scores(image, text, explained)


def _read_rows(group: h5py.Group, name: str, shape: tuple[int | None, ...]) -> tuple[np.ndarray, np.ndarray]:
    """float32 values, 0 in rows that hold none; and which rows hold some."""
    shares = hdf5.array(group, name, FLOAT16, shape)
    largest = hdf5.array(group, f"{name}_magnitude", FLOAT32, (len(shares),))
    explained = ~np.isnan(largest)
    values = shares.astype(np.float32) * np.where(explained, largest, 0)[:, None]
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: a score is no number")
    return values, explained
