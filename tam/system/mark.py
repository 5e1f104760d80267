"""Whose a folder or a file is: a folder that we wrote holds a small file that says so, a file has a sign in it, and no
other is ever replaced."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from tam.errors import DiskError

FILE = ".tam.json"
CURE = "move it away, or name another place"
LARGEST = 1 << 20  # bytes of a mark that is read
ENDS = 1 << 16  # bytes of either end of a file, where its sign stands
MAKER = "token-activation-maps"
"""Stands in every file of a kind that others make, too."""

Mark = Mapping[str, object]
"""What a folder is of, as JSON has it: its "kind", and what tells it from others of that kind."""


def sign(folder: Path, mark: Mark) -> None:
    """Say in ``folder`` what it is of."""
    (folder / FILE).write_text(json.dumps(mark, indent=1) + "\n", encoding="utf-8")


def read_mark(folder: Path) -> Mark | None:
    """What a folder says that it is of; None where it says nothing."""
    path = folder / FILE
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def check_writable(folder: Path) -> None:
    """Whether files can be written into ``folder``, which need not be there yet.

    Raises:
        DiskError: a file lies there, or nothing can be written there.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise DiskError("something else lies there", where=there, got="a file", expected="a folder", cure=CURE)
    if not os.access(there, os.W_OK | os.X_OK):
        got = "a read-only disk" if os.statvfs(there).f_flag & os.ST_RDONLY else "no right to write"
        raise DiskError("nothing can be written there", where=there, got=got, cure="name another place")


def check_kind(folder: Path, kind: object) -> Mark | None:
    """What ``folder`` is of; None if it is absent or empty.

    Raises:
        DiskError: something else than a result of this kind lies there, or nothing can be written there.
    """
    check_writable(folder.absolute().parent)
    if not folder.exists() and not folder.is_symlink():
        return None
    if not folder.is_dir():
        raise DiskError("something else lies there", where=folder, got="a file", expected="a folder", cure=CURE)
    if folder.resolve() == Path.cwd():
        raise DiskError("the working folder is not replaced", where=folder, cure="name a folder inside it")
    if not (names := sorted((path.name for path in folder.iterdir()), key=lambda name: (name.startswith("."), name))):
        return None
    found = read_mark(folder)
    if found is None:
        got = f"{names[0]!r}{f' and {len(names) - 1} more' if names[1:] else ''} without {FILE}"
        raise DiskError("only a result of ours is replaced", where=folder, got=got, cure=CURE)
    if found.get("kind") != kind:
        raise DiskError("another result lies there", where=folder, got=found.get("kind"), expected=kind, cure=CURE)
    return found


def check_replaceable(folder: Path, mark: Mark) -> None:
    """Whether ``folder`` may be replaced: it is absent, or empty, or bears the same mark.

    Raises:
        DiskError: something else lies there.
    """
    found = check_kind(folder, mark["kind"])
    if found is not None and found != mark:
        raise DiskError("another result lies there", where=folder, got=f"another {mark['kind']}", cure=CURE)


def add_to(folder: Path, mark: Mark) -> None:
    """Have a folder for files that are written one by one: it is new, or empty, or bears the same mark.

    Raises:
        DiskError: something else lies there.
    """
    check_replaceable(folder, mark)
    folder.mkdir(parents=True, exist_ok=True)
    sign(folder, mark)


def check_file(path: Path, sign: str | None) -> None:
    """Whether a file may be written at ``path``: nothing lies there, an empty file, or one that has the sign.

    Raises:
        DiskError: something else lies there, or nothing can be written there.
    """
    check_writable(Path(os.path.realpath(path)).parent)
    if path.exists() and not path.is_file():
        got = "a folder" if path.is_dir() else "a pipe or a device"
        raise DiskError("something else lies there", where=path, got=got, expected="a file", cure=CURE)
    if path.is_file() and (size := path.stat().st_size):
        with path.open("rb") as file:
            ends = file.read(ENDS)
            file.seek(max(0, size - ENDS))
            ends += file.read(ENDS)
        if sign is None or sign.encode() not in ends:
            expected = None if sign is None else f"{sign!r} in it"
            raise DiskError(
                "only a file of ours is replaced", where=path, got=f"{size} bytes", expected=expected, cure=CURE
            )


def free_name(parent: Path, name: str, mark: Mark) -> Path:
    """The folder ``name`` in ``parent``; where another result of this kind has that name, one with a digest behind."""
    found = read_mark(parent / name)
    if found is None or found == mark or found.get("kind") != mark["kind"]:
        return parent / name
    said = json.dumps(mark, sort_keys=True)
    return parent / f"{name}-{hashlib.sha256(said.encode('utf-8')).hexdigest()[:8]}"
