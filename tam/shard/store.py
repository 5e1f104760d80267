"""A shard that is being made, and the finished one, where neither a killed job nor Snakemake takes it away.

Finished batches are parts beside the output, or in a folder that is named, and not in it, because Snakemake deletes the
output of a job that failed or that it runs again; and an HDF5 file that is appended to is lost when its writer is
killed. The finished shard stays in the store too: the output is a second name (a hard link) of it, or a copy on another
file system, which can be given again without the model.
"""

import logging
import os
import shutil
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Generic

from tam.errors import SchemaError
from tam.shard.folder import FOLDER
from tam.shard.task import Format, Row
from tam.system.atomic import atomic
from tam.system.lease import Lease

logger = logging.getLogger(__name__)


class Store(Generic[Row]):
    """What belongs to one shard: ``<store>/<fingerprint>/<name of the output>/``; the store is ``.parts`` beside the
    output, where none is named.

    ``part-<first row>.h5`` are finished batches, ``batch-<first row>.journal`` those that are about to become parts,
    ``whole.h5`` is the finished shard. Nothing is deleted but what a merge has taken, and what is damaged in itself: a
    file that cannot be read just now raises.
    """

    def __init__(self, out: Path, fingerprint: str, format: Format[Row], store: Path | None = None):
        self.out, self.format = out, format
        self.whole = whole_of(out, fingerprint, store)
        self.folder = self.whole.parent

    def finished(self) -> dict[int, str] | None:
        """Row -> status of the output, which is named again if need be.

        None if the shard is not finished, is damaged, or came from something else.
        """
        if (found := self._read(self.out)) is not None:
            return found
        if (found := self._read(self.whole)) is not None:
            self._publish()
        return found

    def resume(self) -> dict[int, str]:
        """Row -> status of the samples in whole parts; parts that are damaged are removed."""
        done: dict[int, str] = {}
        for part in self._parts():
            try:
                done.update(self.format.statuses(part) or {})
            except SchemaError as error:
                _raise_if_unsure(error)
                logger.warning("%s; its samples will be made again", error)
                part.unlink()
        return done

    def add(self, rows: Mapping[int, Row]) -> None:
        """Write one part; it is on disk, whole, when this returns."""
        self.format.write(self.folder / f"part-{min(rows):08d}.h5", rows)

    def finish(self, rows: Set[int]) -> None:
        """Merge the parts, name the result as the output, and delete what it was made of.

        Raises:
            DiskError: the parts do not hold all of ``rows``.
        """
        found = self.finished()  # by another process, if this one slept so long that it was taken for dead
        if found is None or found.keys() != rows:
            self.format.merge(self._parts(), self.whole, rows)
            self._publish()
        self.clear()

    def clear(self) -> None:
        """Delete what the finished shard was made of."""
        for left in (*self._parts(), *self.folder.glob("batch-*.journal")):
            left.unlink(missing_ok=True)

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.h5"))

    def _read(self, path: Path) -> dict[int, str] | None:
        if not path.exists():
            return None
        try:
            return self.format.statuses(path)
        except SchemaError as error:
            _raise_if_unsure(error)
            logger.warning("%s; it will be written again", error)
            return None

    def _publish(self) -> None:
        with atomic(self.out) as temporary:
            try:
                os.link(self.whole, temporary)
            except OSError:  # a file system without hard links
                shutil.copyfile(self.whole, temporary)
            os.utime(temporary)  # made now: Snakemake compares it with its input


def whole_of(out: Path, fingerprint: str, store: Path | None = None) -> Path:
    """Where the finished shard lies that ``out`` names."""
    return (store or out.parent / FOLDER) / fingerprint / out.stem / "whole.h5"


def _raise_if_unsure(error: SchemaError) -> None:
    """Too little memory, and not what is in the file, may be why it could not be read."""
    if isinstance(error.__cause__, MemoryError):
        raise error


def lease(out: Path, store: Path | None = None) -> Lease:
    """To be held while ``out`` is made: another run of the same shard waits, and finds it finished."""
    return Lease((store or out.parent / FOLDER) / f"{out.name}.lease")
