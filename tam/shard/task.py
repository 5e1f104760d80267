"""What a stage hands in: what it does with the samples of a shard, and what record it keeps of each."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from tam.system.foreign import NO_SAMPLES, told


@dataclass(frozen=True)
class Failed:
    """The record of a sample that came to nothing."""

    why: str

    @classmethod
    def of(cls, error: Exception, size: str | None = None) -> "Failed":
        """Raises:
        ModelError, DiskError, OSError: it is no sample's: of the checkpoint, the device, the disk.
        """
        found = told(error, size=size)
        if isinstance(found, NO_SAMPLES):
            raise found from error
        return cls(str(found))


class Sized(Protocol):
    """A sample that is ready for the model.

    Attributes:
        length: tokens that go into the model at once, which padding makes equal in a batch.
        size: in words, for who hears that it is too large.
    """

    @property
    def length(self) -> int: ...

    @property
    def size(self) -> str: ...


class Stated(Protocol):
    """What a shard's file holds of a sample; ``status``: "ok", ..., or "failed: why"."""

    @property
    def status(self) -> str: ...


Ready = TypeVar("Ready", bound=Sized)
Record = TypeVar("Record")
Row = TypeVar("Row", bound=Stated)


class Task(Protocol[Ready, Record, Row]):
    """What is done with samples, each known by its row in the manifest: from their media to what a file holds."""

    @property
    def prepare(self) -> Callable[[int], Any]:
        """Open and process a sample. Called in worker processes: picklable, and without the model."""

    def ready(self, row: int, prepared: Any) -> Ready:
        """What goes into the model; raises what is wrong with the sample."""

    def run(self, batch: Mapping[int, Ready]) -> dict[int, Record | Failed]:
        """A batch through the model."""

    def pack(self, record: Record) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """A record as JSON and arrays, for the journal."""

    def unpack(self, row: int, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Record:
        """``pack`` undone; any ValueError, KeyError or TypeError says that the parts do not belong together."""

    def finish(self, batch: Mapping[int, Record | Failed]) -> dict[int, Row]:
        """What the file holds. Called in the thread behind: it must not use what another thread uses."""


@dataclass(frozen=True)
class Format(Generic[Row]):
    """How the records of a shard lie in files.

    Attributes:
        write: one part, atomically.
        statuses: read all of a file, which checks it: row -> status; None: it was made of something else. Raises
            SchemaError.
        merge: parts into one file, atomically; DiskError: some of the rows are in no part.
    """

    write: Callable[[Path, Mapping[int, Row]], None]
    statuses: Callable[[Path], dict[int, str] | None]
    merge: Callable[[list[Path], Path, Set[int]], None]
