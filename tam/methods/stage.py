"""The stage: one shard's generation -> the maps of every token by every method. No model is needed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from tam.cache import read_generations, read_header
from tam.errors import TamError
from tam.maps import MapsHeader, MapsWriter
from tam.methods.cached import Cached
from tam.methods.core import check_cap
from tam.methods.method import Method
from tam.methods.registry import find_all
from tam.protocol import Protocol
from tam.records import FAILED, Maps
from tam.system import hdf5


def write_maps(
    generation_path: Path,
    out_path: Path,
    methods: Sequence[str],
    protocol: Protocol,
    *,
    exact: bool = False,
    eci_cap: float | None = None,
) -> tuple[dict[str, int], dict[str, int]]:
    """Map every sample of ``generation_path`` by every method and write ``out_path``, atomically.

    A sample that failed before is passed on with its status; where a method fails on one, that method has the status
    "failed: why" there, and the others have their maps.

    Args:
        methods: names, or places of one's own (``registry.find``).
        exact, eci_cap: as ``Cached``.

    Returns:
        the number of answers by kind of status: "ok", "truncated", "failed"; and of those on which a method failed
        though there is an answer, by its name.

    Raises:
        InputError: an unknown method, or a cap that cannot be. SchemaError: not a generation file.
    """
    check_cap(eci_cap, protocol)
    chosen = find_all(methods)
    known = read_header(generation_path)
    header = MapsHeader(
        fingerprint=known["fingerprint"],
        samples=known["samples"],
        methods={method.name: method.title for method in chosen},
        protocol=protocol.name,
        exact=exact,
        eci_cap=eci_cap,
    )
    statuses: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    with hdf5.written(out_path) as file:
        writer = MapsWriter(file, header)
        for generation in tqdm(read_generations(generation_path), total=known["samples"], desc="maps", unit="sample"):
            statuses[generation.status.partition(":")[0]] += 1
            made: dict[str, Maps | str] = {}
            if not generation.failed:
                cached = Cached(generation, protocol, exact, eci_cap)
                made = {method.name: _mapped(method, cached) for method in chosen}
            failures.update(name for name, one in made.items() if isinstance(one, str))
            writer.add(generation.row, generation.id, generation.status, made)
    return dict(statuses), dict(failures)


def _mapped(method: Method, cached: Cached) -> Maps | str:
    """The maps, or why there are none."""
    try:
        return method.maps(cached)
    except TamError as error:
        return FAILED + " ".join(str(error).split())
