"""Where the files of a run lie, and how those that belong together are read together.

    data/DATASET/manifest.jsonl
    results/DATASET/MODEL/generate/SHARD.h5, maps/SHARD.h5, metrics/SHARD.parquet

A run is one dataset and one model. Stages are given files; their names say which run they are of, as they are written:
links are not followed.
"""

import itertools
from collections import deque
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tam.cache import read_generations, read_header
from tam.errors import InputError, SchemaError
from tam.manifest import Sample
from tam.maps import CURE, read_maps, read_maps_header
from tam.perturbed import read_perturbed
from tam.records import MAIN, Generation, SampleMaps
from tam.scores import read_scores
from tam.system.damage import Reader

if TYPE_CHECKING:
    from tam.rows import RowsHeader


@dataclass(frozen=True)
class RunFiles:
    """The files of one dataset and model that a stage was given; each kind in the order of the shards.

    Attributes:
        manifest: None where none was given.
    """

    dataset: str
    model: str
    manifest: Path | None
    generation: tuple[Path, ...]
    maps: tuple[Path, ...]
    metrics: tuple[Path, ...]

    @property
    def name(self) -> str:
        return f"{self.dataset}, {self.model}"

    @property
    def samples_file(self) -> Path:
        """The manifest; InputError: none was given."""
        if self.manifest is None:
            raise InputError("a run without a manifest", where=self.name)
        return self.manifest


def runs_of(
    *,
    manifests: Iterable[Path] = (),
    generation: Iterable[Path] = (),
    maps: Iterable[Path] = (),
    metrics: Iterable[Path] = (),
) -> list[RunFiles]:
    """The runs that files belong to, in the order in which they are first named.

    Raises:
        InputError: a file does not lie in a folder DATASET/MODEL/STAGE; manifests are given, and a run has none.
    """
    kinds = {"generation": list(generation), "maps": list(maps), "metrics": list(metrics)}
    known = {path.absolute().parent.name: path for path in manifests}
    found: dict[tuple[str, str], dict[str, list[Path]]] = {}
    for kind, paths in kinds.items():
        for path in paths:
            found.setdefault(_run(path), {kind: [] for kind in kinds})[kind].append(path)
    if known and (without := [dataset for dataset, _ in found if dataset not in known]):
        raise InputError(
            "a dataset without a manifest", got=repr(without[0]), expected=f"data/{without[0]}/manifest.jsonl"
        )
    return [
        RunFiles(dataset, model, known.get(dataset), **{kind: tuple(paths) for kind, paths in files.items()})
        for (dataset, model), files in found.items()
    ]


def inputs(
    *,
    generation: Iterable[Path] = (),
    scores: Iterable[Path] = (),
    maps: Iterable[Path] = (),
    metrics: Iterable[Path] = (),
    perturbed: Iterable[Path] = (),
) -> dict[Path, Reader]:
    """Files of earlier stages with what reads all of one, for ``damage.set_aside``; those that have our names."""
    kinds = (
        (generation, ".h5", _read_all_generations), (scores, ".h5", _read_all_scores), (maps, ".h5", _read_all_maps),
        (metrics, ".parquet", _read_all_rows), (perturbed, ".h5", _read_all_perturbed),
    )  # fmt: skip
    return {path: read for paths, suffix, read in kinds for path in paths if path.suffix == suffix}


def _read_all_generations(path: Path) -> None:
    deque(read_generations(path), 0)


def _read_all_scores(path: Path) -> None:
    deque(read_scores(path), 0)


def _read_all_maps(path: Path) -> None:
    deque(read_maps(path), 0)


def _read_all_perturbed(path: Path) -> None:
    deque(read_perturbed(path), 0)


def _read_all_rows(path: Path) -> None:
    from tam import rows  # loads Arrow, which most who name files do without

    with rows.opened(path) as (_, file):
        file.read()


def titles(run: RunFiles, methods: Sequence[str] | None = None) -> dict[str, str]:
    """Name -> title of the methods of a run, in the order of its config.

    Args:
        methods: only these, in this order; None: all.

    Raises:
        InputError: the files of the shards are not complete, were made in different ways, or lack a method.
        SchemaError: metrics of another generation, or as the readers.
    """
    counts = [len(paths) for paths in (run.generation, run.maps, run.metrics)]
    if not all(counts) or len(set(counts)) > 1:
        raise InputError(
            "answers, maps and metrics of each shard are needed", where=run.name,
            got="{} generation, {} maps and {} metrics files".format(*counts), cure="name the files of all shards",
        )  # fmt: skip
    found = {path: _about(generation, path) for generation, path in zip(run.generation, run.metrics, strict=True)}
    ways = {path: (about.protocol, about.tagger, about.scores, *about.methods.items()) for path, about in found.items()}
    first, way = next(iter(ways.items()))
    if other := next((path for path in ways if ways[path] != way), None):
        raise InputError(
            "metrics made in different ways", where=other, got=ways[other], expected=f"{way}, as {first}",
            cure="run `tam metrics` again for all shards",
        )  # fmt: skip
    known = found[first].methods
    if unknown := [name for name in methods or () if name not in known]:
        raise InputError("no such method", where=run.name, got=unknown[0], expected=" or ".join(known),
                         cure="name it in `tam maps`, and run `tam metrics` again")  # fmt: skip
    return {name: known[name] for name in methods or known}


def sample_of(generation: Generation, listed: Sequence[Sample], manifest: Path) -> Sample:
    """The entry of an answer in its manifest; InputError: another one stands there now."""
    found = listed[generation.row] if generation.row < len(listed) else None
    if found is None or found.id != generation.id:
        raise InputError(
            "sample is not in the manifest", where=f"{manifest}, sample {generation.row + 1}",
            got=repr(generation.id), cure="give the manifest that `tam generate` read, or run it again",
        )  # fmt: skip
    return found


def main_method(methods: Collection[str]) -> str:
    """The method that is shown where there is room for one: TAM, else the last."""
    return MAIN if MAIN in methods else [*methods][-1]


def _about(generation: Path, metrics: Path) -> "RowsHeader":
    """How metrics were made; SchemaError: of another generation."""
    from tam import rows

    with rows.opened(metrics) as (about, _):
        if about.fingerprint != (known := read_header(generation)["fingerprint"]):
            raise SchemaError(
                "metrics of another generation", where=metrics, got=about.fingerprint, expected=known, cure=rows.CURE
            )
        return about


def _run(path: Path) -> tuple[str, str]:
    """Dataset and model of a file of a stage."""
    *_, dataset, model, _, _ = ("", "", *path.absolute().parts)
    if not dataset.strip("/"):
        raise InputError("not a file of a run", where=path, expected="DATASET/MODEL/STAGE/SHARD")
    return dataset, model


def read_pairs(
    generation_path: Path,
    maps_path: Path,
    methods: Sequence[str] | None = None,
    wanted: Container[int] | None = None,
) -> Iterator[tuple[Generation, dict[str, SampleMaps]]]:
    """Each answer with its maps by method.

    Args:
        generation_path: what ``tam generate`` wrote.
        maps_path: what ``tam maps`` made of it.
        methods: as ``maps.read_maps``.
        wanted: only the samples in these rows of the manifest; None: all.

    Raises:
        InputError: as ``maps.read_maps``. SchemaError: they do not belong together, or as the two readers.
    """
    known, header = read_header(generation_path), read_maps_header(maps_path)
    for key, what in (("fingerprint", "maps of another generation"), ("samples", "samples are missing")):
        if getattr(header, key) != known[key]:
            raise SchemaError(what, where=maps_path, got=getattr(header, key), expected=known[key], cure=CURE)
    for generation, maps in itertools.zip_longest(
        read_generations(generation_path, wanted), read_maps(maps_path, methods, wanted)
    ):
        if generation is None or maps is None:
            raise SchemaError(
                "samples are missing", where=generation_path if generation is None else maps_path, cure=CURE
            )
        shape = generation.explained, len(generation.layout.vision)
        for one in maps.values():
            if generation.id != one.id or not (one.failed or one.maps.shape == shape):
                raise SchemaError(
                    "maps of another generation", where=maps_path, got=f"{one.id!r}, {one.maps.shape}",
                    expected=f"{generation.id!r}, {shape}", cure=CURE,
                )  # fmt: skip
        yield generation, maps
