"""Methods of one's own, by the place where they lie: "FILE.py:NAME" or "package.module:NAME"."""

import difflib
import importlib
import sys
from pathlib import Path
from types import ModuleType

from tam.errors import InputError
from tam.methods.method import Function, Method


def load(place: str, name: str) -> Function | Method:
    """What lies in a file or a package under a name.

    Raises:
        InputError: it cannot be imported, or there is no function or ``Method`` of this name.
    """
    module = _module(place)
    found = getattr(module, name, None)
    if not isinstance(found, Method) and not callable(found):
        near = [f", did you mean {other!r}?" for other in difflib.get_close_matches(name, vars(module), 1)]
        expected = None if near else "a function, or a tam.Method"
        raise InputError("no such method", where=place, got="".join([repr(name), *near]), expected=expected)
    return found


def _module(place: str) -> ModuleType:
    path = Path(place)
    if path.suffix == ".py" and not path.is_file():
        raise InputError("no such file of methods", where=place)
    try:
        if path.suffix != ".py":
            return importlib.import_module(place)
        # Not by importlib: it leaves bytecode beside somebody's file, and takes an edit within a second for none.
        module = ModuleType(f"tam_methods_{path.stem}")
        sys.modules[module.__name__] = module  # dataclasses and pickle look for it there
        module.__file__ = str(path)
        exec(compile(path.read_bytes(), path, "exec"), vars(module))
    except Exception as error:  # whatever somebody's own code raises
        got = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError("methods cannot be imported", where=place, got=got) from error
    return module
