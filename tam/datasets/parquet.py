"""Rows of Parquet files, a few at a time: memory does not grow with the file.

By Arrow alone, which writes the metrics already (Apache-2.0): the library ``datasets`` would bring pandas, an HTTP
client, a cache of its own and decoders that make other pixels of a file's bytes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tam.datasets.row import Row
from tam.errors import InputError
from tam.rows import DAMAGE

AT_A_TIME = 16  # rows
BUFFER = 1 << 20  # bytes that are read ahead of a column
LARGEST_GROUP = 4 << 30  # bytes of a group of rows, of which Arrow may hold a part at once
MOST_ROWS = 1 << 21  # of one file
LISTS = (
    pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view,
    pa.types.is_large_list_view,
)  # fmt: skip
PLAIN = (
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view,
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null,
)  # fmt: skip


def count(path: Path) -> int:
    """How many rows a file has.

    Raises:
        InputError: it is damaged, or says that it has too many.
    """
    with _opened(path) as file:
        return sum(_sizes(file))


def _sizes(file: pq.ParquetFile) -> list[int]:
    """How many rows each group has."""
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    if sum(sizes) > MOST_ROWS or min(sizes, default=0) < 0:
        raise InputError("more rows than are read", got=sum(sizes), expected=f"up to {MOST_ROWS}")
    return sizes


def rows(path: Path, name: str, columns: Mapping[str, str], named: frozenset[str], wanted: range) -> Iterator[Row]:
    """Some rows of a file.

    Args:
        name: of the file, which ids begin with. columns: what of ``COLUMNS`` stands in which column.
        named: those that must be there besides the picture. wanted: numbers of rows.

    Raises:
        InputError: a damaged file, a column that is missing or cannot hold what it should. A damaged group of rows
            is the problem of each of them.
    """
    with _opened(path) as file:
        known, needed = file.schema_arrow, named | {"image"}
        if missing := [columns[what] for what in columns if what in needed and columns[what] not in known.names]:
            raise InputError("no such column", got=missing[0], expected=", ".join(known.names)[:300])
        there = {what: column for what, column in columns.items() if column in known.names}
        if twice := [column for column in there.values() if known.names.count(column) > 1]:
            raise InputError("two columns of one name", got=twice[0])
        for what in there.keys() & {"image", "mask"}:
            if not _can_show(kind := known.field(there[what]).type):
                expected = "bytes, a path, {bytes, path}, or a list of them"
                raise InputError("no pictures", where=f"column {there[what]}", got=kind, expected=expected)
        start = 0
        for group, size in enumerate(_sizes(file)):
            stop = start + size
            if start < wanted.stop and stop > wanted.start:
                for number, cells in enumerate(_group(file, group, size, there), start):
                    if number in wanted:
                        yield Row(f"{name.removesuffix('.parquet')}-{number}", f"{name}, row {number}", cells)
            start = stop


def _group(
    file: pq.ParquetFile, group: int, count: int, columns: Mapping[str, str]
) -> Iterator[Mapping[str, object] | InputError]:
    """The cells of each row of a group; where it is damaged, the others have that problem."""
    done = 0
    try:
        with _damage(f"group {group}"):
            size = file.metadata.row_group(group).total_byte_size  # of single columns, damage would end the process
            if size > LARGEST_GROUP:
                raise InputError("a group of rows too large", got=f"{size} bytes", expected=f"up to {LARGEST_GROUP}")
            batches = file.iter_batches(AT_A_TIME, [group], [*columns.values()], use_threads=False)
            for batch in batches:
                for index in range(batch.num_rows):
                    done += 1
                    yield _cells(batch, index, columns)
            if done < count:
                raise ValueError(f"{done} of {count} rows")
    except InputError as error:
        yield from (error for _ in range(done, count))


def _cells(batch: pa.RecordBatch, index: int, columns: Mapping[str, str]) -> Mapping[str, object] | InputError:
    try:
        return {what: _python(batch.column(column)[index]) for what, column in columns.items()}
    except UnicodeDecodeError as error:
        return InputError("not a text", got=repr(error.object)[:80], expected="UTF-8")


def _python(cell: pa.Scalar) -> object:
    """A path beside bytes is not read: only they are used."""
    if isinstance(cell, pa.StructScalar) and cell.is_valid and "bytes" in cell and cell["bytes"].is_valid:
        return {"bytes": cell["bytes"].as_py()}
    if isinstance(cell, pa.ListScalar) and cell.is_valid:  # of any kind of list
        return [_python(one) for one in cell.values]
    return cell.as_py()


def _can_show(kind: pa.DataType) -> bool:
    if any(check(kind) for check in LISTS):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        names = {kind.field(index).name for index in range(kind.num_fields)} & {"bytes", "path"}
        return bool(names) and all(_is_plain(kind.field(name).type) for name in names)
    return _is_plain(kind)


def _is_plain(kind: pa.DataType) -> bool:
    return any(check(kind.value_type if pa.types.is_dictionary(kind) else kind) for check in PLAIN)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    with (
        _damage(),
        pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False, page_checksum_verification=True) as file,
    ):
        yield file


@contextmanager
def _damage(where: str | None = None) -> Iterator[None]:
    """What damaged bytes raise is an InputError; an OSError with a number is the disk's."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(where, error) from error
    except DAMAGE as error:
        raise _damaged(where, error) from error


def _damaged(where: str | None, error: Exception) -> InputError:
    got = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError("not a Parquet file that can be read", where=where, got=got, cure="download or make it again")
