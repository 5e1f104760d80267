"""A pickle of plain data (dicts, lists, tuples, texts, numbers), as some datasets publish their annotations.

A pickle is a program that may call any function. Of its instructions only those are known here that build plain data,
and none that names or calls something. They are Python's own, not those in C, which take as much memory as a damaged
file says.
"""

import io
import pickle
import struct
from pathlib import Path
from typing import ClassVar

from tam.errors import InputError

LARGEST = 1 << 28  # bytes; RefCOCO's refs(unc).p has 21 million
KNOWN = (
    "PROTO", "FRAME", "STOP", "MARK", "POP", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2",
    "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM",
    "SETITEMS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT",
    "LONG_BINPUT", "MEMOIZE",
)  # fmt: skip
DAMAGE = (
    pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError, OverflowError, MemoryError,
    RecursionError, AssertionError, struct.error,
)  # fmt: skip


class _Plain(pickle._Unpickler):
    dispatch: ClassVar = {
        code: pickle._Unpickler.dispatch[code] for code in (getattr(pickle, name)[0] for name in KNOWN)
    }


def read(path: Path) -> object:
    """The plain data of a pickle of any protocol, of Python 2, too.

    Raises:
        InputError: no such file, one too large or damaged, or anything but plain data in it.
    """
    if not path.is_file():  # a pipe would be waited for
        raise InputError("no such file", where=path)
    if path.stat().st_size > LARGEST:
        raise InputError("a pickle too large", where=path, expected=f"up to {LARGEST} bytes")
    content = path.read_bytes()
    try:
        found = _Plain(io.BytesIO(content), encoding="utf-8").load()
        _check(found, len(content))
        return found
    except DAMAGE as error:
        got = " ".join(str(error).split())[:200] or type(error).__name__
        cure = "where you trust it, write it as JSON: json.dump(pickle.load(...), ...)"
        raise InputError("not a pickle of plain data", where=path, got=got, cure=cure) from error


def _check(found: object, most: int) -> None:
    """ValueError: more values than the file has bytes, as a list has that stands in itself, or many times in others."""
    waiting, count = [found], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
        count += 1
        if count + len(waiting) > 2 * most:
            raise ValueError("values in themselves")
