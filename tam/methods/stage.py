"""The stage: one shard's generation -> the maps of every token by every method. No model is needed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tam.cache import read_generations, read_header
from tam.errors import InputError, SchemaError, TamError
from tam.maps import FromScores, MapsHeader, MapsWriter
from tam.methods.cached import Cached
from tam.methods.core import check_cap
from tam.methods.method import Method
from tam.methods.registry import ATTRIBUTE, find_all
from tam.methods.rivals import RIVALS
from tam.methods.scored import Scope, Sign
from tam.protocol import Protocol
from tam.records import FAILED, Generation, Maps, Scores
from tam.scores import CURE, SampleScores, read_scores, read_scores_header
from tam.system import hdf5


def write_maps(
    generation_path: Path,
    out_path: Path,
    methods: Sequence[str],
    protocol: Protocol,
    *,
    exact: bool = False,
    eci_cap: float | None = None,
    scores_path: Path | None = None,
    sign: Sign = "positive",
    scope: Scope = "joint",
) -> tuple[dict[str, int], dict[str, int]]:
    """Map every sample of ``generation_path`` by every method and write ``out_path``, atomically.

    A sample that failed before is passed on with its status; where a method fails on one, that method has the status
    "failed: why" there, and the others have their maps.

    Args:
        methods: names, or places of one's own (``registry.find``).
        exact, eci_cap, sign, scope: as ``Cached``.
        scores_path: what `tam attribute` wrote; read only if a method needs scores.

    Returns:
        the number of answers by kind of status: "ok", "truncated", "failed"; and of those on which a method failed
        though there is an answer, by its name.

    Raises:
        InputError: an unknown method, one whose scores are not there, or a cap that cannot be.
        SchemaError: not a generation file, or scores of another one.
    """
    check_cap(eci_cap, protocol)
    chosen = find_all(methods)
    known = read_header(generation_path)
    scored = tuple(method.name for method in chosen if method.needs == "scores")
    scores = _scores(scores_path, known, scored) if scored else None
    header = MapsHeader(
        fingerprint=known["fingerprint"],
        samples=known["samples"],
        methods={method.name: method.title for method in chosen},
        protocol=protocol.name,
        exact=exact,
        eci_cap=eci_cap,
        scores=FromScores(scored, sign, scope) if scored else None,
    )
    statuses: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    with hdf5.written(out_path) as file:
        writer = MapsWriter(file, header)
        for generation in tqdm(read_generations(generation_path), total=known["samples"], desc="maps", unit="sample"):
            statuses[generation.status.partition(":")[0]] += 1
            made: dict[str, Maps | str] = {}
            found = _scores_of(generation, scores) if scores else {}
            if not generation.failed:
                there = {name: one for name, one in found.items() if isinstance(one, Scores)}
                cached = Cached(generation, protocol, exact, eci_cap, there, sign, scope)
                missing = {name: why for name, why in found.items() if isinstance(why, str) and name in scored}
                made = {method.name: missing.get(method.name) or _mapped(method, cached) for method in chosen}
            failures.update(name for name, one in made.items() if isinstance(one, str))
            writer.add(generation.row, generation.id, generation.status, made)
    return dict(statuses), dict(failures)


def _scores(path: Path | None, known: Mapping[str, Any], methods: Sequence[str]) -> Iterator[tuple[int, SampleScores]]:
    """The scores of a generation, a sample at a time; InputError, SchemaError: they are not all there."""
    if path is None:
        raise InputError("methods that need scores", got=" and ".join(methods), cure=ATTRIBUTE)
    header = read_scores_header(path)
    for key, what in (("fingerprint", "scores of another generation"), ("samples", "samples are missing")):
        if getattr(header, key) != known[key]:
            raise SchemaError(what, where=path, got=getattr(header, key), expected=known[key], cure=CURE)
    if absent := [name for name in methods if name in RIVALS and name not in header.methods]:
        expected = " or ".join(header.methods)
        raise InputError("no scores of this method", where=path, got=absent[0], expected=expected, cure=CURE)
    return read_scores(path)


def _scores_of(generation: Generation, scores: Iterator[tuple[int, SampleScores]]) -> Mapping[str, Scores | str]:
    """The next sample's, which must be of this answer."""
    row, sample = next(scores, (None, None))
    if sample is None or (row, sample.id) != (generation.row, generation.id):
        got = "the end" if sample is None else repr(sample.id)
        raise SchemaError("scores of another generation", got=got, expected=repr(generation.id), cure=CURE)
    return sample.methods


def _mapped(method: Method, cached: Cached) -> Maps | str:
    """The maps, or why there are none."""
    try:
        return method.maps(cached)
    except TamError as error:
        return FAILED + " ".join(str(error).split())
