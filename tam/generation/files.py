"""The generation cache as what a shard's store writes, reads and merges."""

from collections.abc import Mapping, Set
from pathlib import Path

from tam.cache import merge, read_generations, read_header, write_generations
from tam.records import Generation
from tam.shard.task import Format


def cache_files(run: Mapping[str, object], fingerprint: str) -> Format[Generation]:
    """The generation cache, of a run that ``fingerprint`` tells from others."""

    def write(path: Path, generations: Mapping[int, Generation]) -> None:
        write_generations(path, generations, run, fingerprint)

    def statuses(path: Path) -> dict[int, str] | None:
        if read_header(path)["fingerprint"] != fingerprint:
            return None
        return {generation.row: generation.status for generation in read_generations(path)}

    def join(parts: list[Path], path: Path, rows: Set[int]) -> None:
        merge(parts, path, run, fingerprint, rows)

    return Format(write, statuses, join)
