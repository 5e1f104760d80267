"""Damaged inputs: a file of an earlier stage that cannot be read is set aside, and the next start makes it again."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tam.errors import SchemaError
from tam.system import seal
from tam.system.atomic import at_work

Reader = Callable[[Path], object]
"""Reads all of a file, and raises SchemaError where it is damaged."""

KINDS = (".h5", ".parquet")  # as stages name what they write; another file was named by mistake
DAMAGED = 3  # how the process that looked through a file ended
CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL}


@contextlib.contextmanager
def set_aside(out: Path, inputs: Mapping[Path, Reader]) -> Iterator[None]:
    """Around a stage that makes ``out``: when it meets a file it cannot read, rename the damaged ones to ``*.corrupt``.

    HDF5 may end the whole process on a damaged file. So where an earlier process died over ``out``, its inputs are
    looked through first; and always in a process of their own.

    Raises:
        SchemaError: what the block raised, or which files were renamed.
    """
    with at_work(out) as died:
        if died:
            _rename(inputs, SchemaError("an earlier process died over it", where=out))
        try:
            yield
        except SchemaError as error:
            _rename(inputs, error)
            raise


def _rename(inputs: Mapping[Path, Reader], error: SchemaError) -> None:
    ours = {path: read for path, read in inputs.items() if path.suffix in KINDS and path.is_file()}
    damaged = [path for path, read in ours.items() if _is_damaged(path, read)]
    for path in damaged:
        path.replace(path.with_name(f"{path.name}.corrupt"))
    if damaged:
        names = ", ".join(map(str, damaged))
        cure = "start again: the workflow makes what is missing"
        raise SchemaError("damaged, renamed to *.corrupt", where=names, got=error, cure=cure) from error


def _is_damaged(path: Path, read: Reader) -> bool:
    """A file of ours whose bytes cannot be read: not a foreign one, nor one that the system cannot read just now."""
    child = multiprocessing.get_context("fork").Process(target=_look_through, args=(path, read))
    child.start()
    child.join()
    return child.exitcode == DAMAGED or child.exitcode in CRASHES


def _look_through(path: Path, read: Reader) -> None:
    code = 0
    try:
        read(path)
    except SchemaError as error:
        cause = error.__cause__
        foreign, short = cause is None, isinstance(cause, MemoryError)  # another kind or version; of memory
        code = 0 if foreign or short or seal.intact(path) else DAMAGED
    finally:
        os._exit(code)  # nothing of the parent's is to be ended here
