"""Damaged inputs: a file of an earlier stage that cannot be read is set aside, and the next start makes it again."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tam.cache import read_generations
from tam.errors import SchemaError
from tam.maps import read_maps


@contextlib.contextmanager
def set_aside(generations: Iterable[Path] = (), maps: Iterable[Path] = ()) -> Iterator[None]:
    """When the block meets a file it cannot read: look through its inputs and rename the damaged ones to ``*.corrupt``.

    Raises:
        SchemaError: what the block raised, or which files were renamed.
    """
    try:
        yield
    except SchemaError as error:
        damaged = [path for path in generations if _damaged(path, read_generations)]
        damaged += [path for path in maps if _damaged(path, read_maps)]
        if not damaged:
            raise
        for path in damaged:
            path.replace(path.with_name(f"{path.name}.corrupt"))
        names = ", ".join(map(str, damaged))
        cure = "start again: the workflow makes what is missing"
        raise SchemaError("damaged, renamed to *.corrupt", where=names, got=error, cure=cure) from error


def _damaged(path: Path, read: Callable[[Path], Iterator]) -> bool:
    """A file of ours whose bytes cannot be read: not a missing or a foreign one, nor a disk that is away just now."""
    if path.suffix != ".h5" or not path.is_file():
        return False
    try:
        for _ in read(path):
            pass
    except SchemaError as error:
        cause = error.__cause__
        return not (cause is None or isinstance(cause, MemoryError) or getattr(cause, "errno", None))
    return False
