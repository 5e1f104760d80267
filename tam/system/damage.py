"""Damaged inputs: a file of an earlier stage that cannot be read is set aside, and the next start makes it again."""

import contextlib
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path

from tam.errors import SchemaError
from tam.system import seal
from tam.system.atomic import at_work

Reader = Callable[[Path], object]
"""Reads all of a file, and raises SchemaError where it is damaged."""

KINDS = (".h5", ".parquet")  # as stages name what they write; another file was named by mistake
DAMAGED = 3  # how the process that looked through a file ended
CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL, -signal.SIGXCPU}
SECONDS, SECONDS_A_MEGABYTE = 60, 10  # of a processor, to look through a file: many times what the densest one takes


@contextlib.contextmanager
def set_aside(out: Path, inputs: Mapping[Path, Reader]) -> Iterator[None]:
    """Around a stage that makes ``out``: when it meets a file it cannot read, rename the damaged ones to ``*.corrupt``.

    HDF5 may end the whole process on a damaged file, or never come back. So where an earlier process died over ``out``,
    its inputs are looked through first, and those without a seal always are; in a process of their own.

    Raises:
        SchemaError: what the block raised, or which files were renamed.
    """
    with at_work(out) as died:
        if died:
            _rename(inputs, SchemaError("an earlier process died over it", where=out))
        elif bare := {path: read for path, read in _ours(inputs).items() if not seal.present(path)}:
            _rename(bare, SchemaError("without a checksum, and it ends who reads it"), CRASHES)
        try:
            yield
        except SchemaError as error:
            _rename(inputs, error)
            raise


def _rename(inputs: Mapping[Path, Reader], error: SchemaError, signs: Set[int] = CRASHES | {DAMAGED}) -> None:
    """Those over which a reader ends in one of the ``signs``."""
    damaged = [path for path, read in _ours(inputs).items() if _end_of_reader(path, read) in signs]
    for path in damaged:
        path.replace(path.with_name(f"{path.name}.corrupt"))
    if damaged:
        names = ", ".join(map(str, damaged))
        cure = "start again: the workflow makes what is missing"
        raise SchemaError("damaged, renamed to *.corrupt", where=names, got=error, cure=cure) from error


def _ours(inputs: Mapping[Path, Reader]) -> dict[Path, Reader]:
    return {path: read for path, read in inputs.items() if path.suffix in KINDS and path.is_file()}


def _end_of_reader(path: Path, read: Reader) -> int | None:
    """How a process ends that reads all of a file: DAMAGED where the bytes of a file of ours cannot be read, not where
    it is a foreign one, or the system cannot read it just now."""
    child = multiprocessing.get_context("fork").Process(target=_look_through, args=(path, read))
    child.start()
    child.join()
    return child.exitcode


def _look_through(path: Path, read: Reader) -> None:
    code = 0
    seconds = SECONDS + SECONDS_A_MEGABYTE * path.stat().st_size // 1_000_000
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    try:
        read(path)
    except SchemaError as error:
        cause = error.__cause__
        foreign, short = cause is None, isinstance(cause, MemoryError)  # another kind or version; of memory
        code = 0 if foreign or short or seal.intact(path) else DAMAGED
    finally:
        os._exit(code)  # nothing of the parent's is to be ended here
