"""A pickle of plain data (dicts, lists, tuples, texts, numbers), as some datasets publish their annotations.

A pickle is a program that may call any function. Of its instructions only those are known here that build plain data,
and none that names or calls something. They are Python's own, not those in C, which take as much memory as a damaged
file says. A tuple becomes a list, as in JSON: as a key, one in another, and so on, would end the process.
"""

import io
import pickle
import struct
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tam.errors import InputError

LARGEST = 1 << 28  # bytes; RefCOCO's refs(unc).p has 21 million
DEEPEST = 100  # values in values; RefCOCO has 5
KNOWN = (
    "PROTO", "FRAME", "STOP", "MARK", "POP", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2",
    "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM",
    "SETITEMS", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE",
)  # fmt: skip
DAMAGE = (
    pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError, OverflowError, MemoryError,
    RecursionError, AssertionError, struct.error,
)  # fmt: skip


Instruction = Callable[[Any], None]


def _last(count: int) -> Instruction:
    """An instruction that makes the last values a list."""

    def take(machine: Any) -> None:
        if len(machine.stack) < count:
            raise pickle.UnpicklingError("values missing")
        machine.stack[-count:] = [machine.stack[-count:]]

    return take


def _refuse(machine: Any) -> None:
    raise pickle.UnpicklingError("an instruction for more than data")


_INSTRUCTIONS: Mapping[int, Instruction] = pickle._Unpickler.dispatch


class _Plain(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Any]] = defaultdict(
        lambda: _refuse,
        {getattr(pickle, name)[0]: _INSTRUCTIONS[getattr(pickle, name)[0]] for name in KNOWN}
        | {pickle.EMPTY_TUPLE[0]: _INSTRUCTIONS[pickle.EMPTY_LIST[0]], pickle.TUPLE[0]: _INSTRUCTIONS[pickle.LIST[0]]}
        | {code[0]: _last(n) for n, code in enumerate((pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3), 1)},
    )


def read(path: Path) -> object:
    """The plain data of a pickle of any protocol, of Python 2, too; a tuple is a list.

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
    """ValueError: more values than the file has bytes, as a list has that stands in itself, or many times in others, or
    values that stand too deep to be shown."""
    waiting, count = [(found, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(one, depth + 1) for one in inner]
        count += 1
        if count + len(waiting) > 2 * most or depth > DEEPEST:
            raise ValueError("values in themselves, or too deep")
