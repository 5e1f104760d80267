"""The scores file as what a shard's store writes, reads and merges."""

from collections.abc import Collection, Mapping, Set
from dataclasses import replace
from pathlib import Path

from tam.scores import SampleScores, ScoresHeader, merge, read_scores_header, read_statuses, write_scores
from tam.shard.task import Format


def scores_files(header: ScoresHeader, missing: Collection[str], known: Path | None) -> Format[SampleScores]:
    """The scores of ``header``, of which ``missing`` are computed anew and the others are in ``known``."""
    parts = replace(header, methods={name: header.methods[name] for name in missing})

    def write(path: Path, samples: Mapping[int, SampleScores]) -> None:
        write_scores(path, samples, parts)

    def statuses(path: Path) -> dict[int, str] | None:
        found = read_scores_header(path)
        same = all(found.methods.get(name) == its for name, its in parts.methods.items())
        if found.fingerprint != header.fingerprint or not same:
            return None
        return {row: status for row, (status, _) in read_statuses(path).items()}

    def join(pieces: list[Path], path: Path, rows: Set[int]) -> None:
        merge(pieces, path, header, rows, known)

    return Format(write, statuses, join)
