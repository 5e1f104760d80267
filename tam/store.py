"""Finished samples of a shard that is still being generated: atomic parts that outlive a killed job.

Parts lie beside the output and not in it, because Snakemake deletes the output of a job that failed; and an HDF5 file
that is appended to is lost when its writer is killed.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from tam.cache import Generation, merge, read_generations, read_header, write_generations
from tam.errors import SchemaError

logger = logging.getLogger(__name__)


class Store:
    """The parts of one shard: ``<folder of the output>/.parts/<fingerprint>/<shard>/part-<first row>.h5``."""

    def __init__(self, out: Path, fingerprint: str, shard: object, run: dict):
        self.out, self.fingerprint, self.run = out, fingerprint, run
        self.folder = out.parent / ".parts" / fingerprint / str(shard)

    def finished(self) -> dict[int, str] | None:
        """Row -> status of the output, or None if it is not there, is damaged, or came from something else."""
        try:
            if read_header(self.out)["fingerprint"] == self.fingerprint:
                return _statuses(self.out)
        except SchemaError as error:
            if self.out.exists():
                logger.warning("%s; it will be written again", error)
        return None

    def resume(self) -> dict[int, str]:
        """Row -> status of the samples in whole parts; parts that are damaged are removed."""
        done = {}
        for part in self._parts():
            try:
                done.update(_statuses(part))
            except SchemaError as error:
                logger.warning("%s; its samples will be generated again", error)
                part.unlink()
        return done

    def add(self, generations: Mapping[int, Generation]) -> None:
        """Write one part; it is on disk, whole, when this returns."""
        write_generations(self.folder / f"part-{min(generations):08d}.h5", generations, self.run, self.fingerprint)

    def finish(self) -> None:
        """Merge the parts into the output and delete them."""
        merge(self._parts(), self.out, self.run, self.fingerprint)
        self.clear()

    def clear(self) -> None:
        """Delete the parts. ``.parts`` itself stays: another shard may be about to make its folder in it."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.h5"))


def _statuses(path: Path) -> dict[int, str]:
    """Read all of a file, which checks it."""
    return {generation.row: generation.status for generation in read_generations(path)}
