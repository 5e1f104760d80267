"""HDF5 at its edges: files that a full disk does not make a crash of, and reading what anyone may have written.

Reading opens nothing outside the file and allocates nothing huge. A declared shape costs its writer nothing; a link,
a virtual or an external dataset names other files. So whatever is read here is a part of the file itself, of the type
and shape that the reader expects, and checked before it is read. Everything raises one of ``DAMAGE``; ``damage_in``
makes a SchemaError of it, unless the system could not read: a disk that is away says nothing about a file. Reading
needs no lock, which some network disks do not give: a file is whole when it appears, and never changes.
"""

import contextlib
import functools
import io
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from tam.errors import DiskError, LayoutError, SchemaError
from tam.system import seal, stop
from tam.system.atomic import atomic

# What h5py and the parsing raise when bytes are not what they should be.
DAMAGE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    RuntimeError,
    AttributeError,
    MemoryError,
    OverflowError,
    LayoutError,
)
MOST_BYTES = 1 << 31  # of one array, or one chunk of it; the largest ones of a real sample take some 200 MB
MOST_TEXT = 1 << 26
SMALL = 1 << 13  # bytes
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}  # any other may load a plugin

_ERRNO = re.compile(r"errno = (\d+), error message = ")

Value = TypeVar("Value", str, int, float, bool)


class NewFile(h5py.File):
    """A file to write into. HDF5 ends the whole process when a write fails, so it is told that none did.

    Attributes:
        note: what stands beside its seal.
    """

    note = ""

    def __init__(self, path: Path, let_go: Callable[[], None]):
        self._disk, self._let_go = _Disk(path, "w+"), let_go
        super().__init__(self._disk, "w")

    def check(self) -> None:
        """To be called after each sample.

        Raises:
            OSError: something could not be written; the file is of no use.
            Stopped: a signal came meanwhile.
        """
        if self._disk.error is not None:
            raise self._disk.error
        self._let_go()

    def close(self) -> None:
        super().close()
        self._disk.close()


class _Disk(io.FileIO):
    """Keeps its first error to itself; what was not written reads as zeros."""

    error: OSError | None = None

    def write(self, content: Any) -> int:
        left = memoryview(content)
        try:
            while left and self.error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        found = super().readinto(view)
        view[found:] = bytes(len(view) - found)
        return len(view)


@contextlib.contextmanager
def written(path: Path) -> Iterator[NewFile]:
    """A new file at ``path``, atomically, with a seal. Signals wait for its ``check``, or for the end.

    Raises:
        DiskError: the disk is full.
    """
    with stop.held() as let_go, atomic(path) as temporary:
        with NewFile(temporary, let_go) as file:
            yield file
        file.check()
        seal.append(temporary, file.note)


def join(file: NewFile, parts: Sequence[Path], rows: Set[int], folder: Path) -> None:
    """Copy the groups of parts, named by rows and lying in ``folder``, into a file: as they are, not computed anew.

    Raises:
        DiskError: some of ``rows`` are in no part.
    """
    for part in parts:
        with h5py.File(part, locking=False) as source:
            for name in source:
                if name not in file:  # two processes may have worked on it
                    source.copy(name, file)
        file.check()
    if missing := sorted(rows - set(map(int, file))):
        raise DiskError("samples are in no part", where=folder, got=f"rows {missing[:5]}", cure="run it again")


@contextlib.contextmanager
def damage_in(where: object, cure: str) -> Iterator[None]:
    """What the block raises because of damaged bytes becomes a SchemaError.

    Raises:
        OSError: the system could not read, with its ``errno``.
    """
    with _refused("damaged file", where, cure):
        yield


@contextlib.contextmanager
def _refused(what: str, where: object, cure: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        if system := _system_error(error, where):
            raise system from error
        raise SchemaError(what, where=where, got=_first_line(error), cure=cure) from error


def _system_error(error: BaseException, where: object) -> OSError | None:
    """What the system said when HDF5 asked it, which h5py tells in the text of errors of any type."""
    number = getattr(error, "errno", None) or int((_ERRNO.search(str(error)) or [0, 0])[1])
    return OSError(number, os.strerror(number), str(where)) if number else None


@contextlib.contextmanager
def opened(path: Path, kind: str, version: int, stage: str, *, sealed: bool = False) -> Iterator[h5py.File]:
    """Open a file of ours, of format ``tam-KIND``. Its seal is checked before HDF5 reads a byte of it.

    Args:
        sealed: it must have a seal.

    Raises:
        SchemaError: there is none, or it is damaged, foreign, of another version.
        OSError: the system cannot read it just now.
    """
    if not path.is_file():
        raise SchemaError(f"no such {kind} file", where=path, cure=f"run `tam {stage}` first")
    foreign, expected = f"not a {kind} file", f"tam-{kind}"
    cure = f"give a file that `tam {stage}` wrote, of version {version}, or run it again"
    intact = seal.intact(path)
    if intact is False:
        raise _damaged(path, "another checksum", cure)
    with contextlib.ExitStack() as stack:
        with _refused(f"{foreign}, or damaged", path, cure):
            file = stack.enter_context(h5py.File(path, locking=False))
            found = attribute(file, "format", str) if "format" in file.attrs else None
            number = attribute(file, "version", int) if found == expected else None
        if found != expected:
            raise SchemaError(foreign, where=path, got=repr(found), expected=repr(expected), cure=cure)
        if number != version:
            raise SchemaError(f"unknown version of a {kind} file", where=path, got=number, expected=version, cure=cure)
        if sealed and intact is None:
            raise _damaged(path, "no checksum", cure)
        yield file


def _damaged(path: Path, got: str, cure: str) -> SchemaError:
    error = SchemaError("damaged file", where=path, got=got, cure=cure)
    error.__cause__ = ValueError(got)  # of the content, not of the system
    return error


def store(group: h5py.Group, name: str, array: np.ndarray) -> None:
    """Write an array, compressed where that pays: a small one takes more time, and more room, as a compressed chunk."""
    packed = {"chunks": array.shape, "compression": "gzip", "shuffle": True} if array.nbytes > SMALL else {}
    group.create_dataset(name, data=array, **packed)


def store_stack(group: h5py.Group, name: str, arrays: Sequence[np.ndarray], packed: bool) -> None:
    """Write arrays of one type and shape as one with an axis more, a chunk each if ``packed``, for ``stacked``.

    Packed at gzip's first level: a higher one takes twice the time and saves two in a hundred bytes.
    """
    stack = np.stack(arrays)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)  # so that the same maps are the same file
    if packed and stack.nbytes > SMALL:
        properties.set_chunk((1, *stack.shape[1:]))
        properties.set_shuffle()
        properties.set_deflate(1)
    kind = _memory_type(stack.dtype)
    space = h5py.h5s.create_simple(stack.shape)
    # The low level of h5py, here and below, takes a tenth of the time of its groups and datasets.
    h5py.h5d.create(group.id, name.encode(), kind, space, properties).write(h5py.h5s.ALL, h5py.h5s.ALL, stack, kind)


def member(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """What lies in a group, by hard links only: soft ones may be broken, external ones lead to other files."""
    found = _found(group, path)
    return h5py.Dataset(found, readonly=True) if isinstance(found, h5py.h5d.DatasetID) else h5py.Group(found)


def array(group: h5py.Group, path: str, dtypes: Collection[np.dtype], shape: tuple[int | None, ...]) -> np.ndarray:
    """Read an array of one of the types and of the shape (None: any length)."""
    dataset = _dataset(group, path)
    dtype, found = _checked(dataset, path, dtypes, shape)
    _check_size(path, "", found, dtype.itemsize)
    values = np.zeros(found, dtype)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values, _memory_type(dtype))
    return values


def stacked(
    group: h5py.Group, path: str, dtype: np.dtype, shape: tuple[int | None, ...], wanted: Iterable[int]
) -> list[np.ndarray]:
    """Read some of the arrays that ``store_stack`` wrote, by their index, and no others.

    Args:
        shape: of the stack.
    """
    dataset = _dataset(group, path)
    _, (_, *one) = _checked(dataset, path, [dtype], shape)
    _check_size(path, "one of ", one, dtype.itemsize)
    memory, space, read = h5py.h5s.create_simple(tuple(one)), dataset.get_space(), []
    for index in wanted:
        space.select_hyperslab((index, *[0] * len(one)), (1, *one))
        read.append(np.zeros(one, dtype))
        dataset.read(memory, space, read[-1], _memory_type(dtype))
    return read


def text(group: h5py.Group, path: str) -> str:
    """Read a single text."""
    dataset = _dataset(group, path)
    dtype, shape = dataset.dtype, dataset.shape
    if shape != () or h5py.check_string_dtype(dtype) is None or dtype.itemsize > MOST_TEXT:
        raise TypeError(f"{path}: {dtype} {shape} instead of a text")
    value = np.zeros((), dtype)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, value)
    return value.item().decode()


def attribute(item: h5py.Group | h5py.Dataset, name: str, kind: type[Value]) -> Value:
    """Read an attribute that is one text or one number."""
    if not h5py.h5a.exists(item.id, name.encode()):
        raise KeyError(f"no attribute {name}")
    stored = h5py.h5a.open(item.id, name.encode())
    dtype, shape = stored.dtype, stored.shape
    if shape != () or dtype.itemsize > MOST_TEXT:
        raise TypeError(f"attribute {name}: shape {shape} instead of a single value")
    read = np.zeros((), dtype)
    stored.read(read)
    value = read.item()
    value = value.decode() if isinstance(value, bytes) else value
    if type(value) is not kind:
        raise TypeError(f"attribute {name}: {type(value).__name__} instead of {kind.__name__}")
    return value


def _found(group: h5py.Group, path: str) -> h5py.h5g.GroupID | h5py.h5d.DatasetID:
    found = group.id
    for name in path.encode().split(b"/"):
        if not found.links.exists(name):
            raise KeyError(f"no {path}")
        if found.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{path}: a link that leads elsewhere")
        found = h5py.h5o.open(found, name)
        if isinstance(found, h5py.h5t.TypeID):
            raise TypeError(f"{path}: a type, no values")
    return found


def _dataset(group: h5py.Group, path: str) -> h5py.h5d.DatasetID:
    dataset = _found(group, path)
    if not isinstance(dataset, h5py.h5d.DatasetID):
        raise TypeError(f"{path}: not a dataset")
    properties = dataset.get_create_plist()
    if properties.get_external_count() or properties.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError(f"{path}: its values lie in another file")
    if properties.get_layout() == h5py.h5d.CHUNKED:
        _check_size(path, "a chunk of ", properties.get_chunk(), dataset.get_type().get_size())
    filters = {properties.get_filter(index)[0] for index in range(properties.get_nfilters())}
    if unknown := filters - FILTERS:
        raise ValueError(f"{path}: unknown filters {sorted(unknown)}")
    return dataset


def _checked(
    dataset: h5py.h5d.DatasetID, path: str, dtypes: Collection[np.dtype], shape: tuple[int | None, ...]
) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape of a dataset, as they should be."""
    dtype, found = dataset.dtype, dataset.shape
    if dtype not in dtypes:
        raise TypeError(f"{path}: {dtype} instead of {' or '.join(map(str, dtypes))}")
    if found is None or len(found) != len(shape) or any(b not in (None, a) for a, b in zip(found, shape, strict=True)):
        raise ValueError(f"{path}: shape {found} instead of {shape}")
    return dtype, found


@functools.cache
def _memory_type(dtype: np.dtype) -> h5py.h5t.TypeID:
    return h5py.h5t.py_create(dtype)


def _check_size(path: str, what: str, shape: Iterable[int], itemsize: int) -> None:
    size = math.prod(shape) * itemsize
    if size > MOST_BYTES:
        raise ValueError(f"{path}: {what}{size} bytes, more than {MOST_BYTES}")


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
