"""Whose a folder is: one that we wrote holds a small file that says so, and no other is ever replaced."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from tam.errors import DiskError

FILE = ".tam.json"
CURE = "move it away, or name another place with --out"
LARGEST = 1 << 20  # bytes of a mark that is read
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


def check_kind(folder: Path, kind: object) -> Mark | None:
    """What ``folder`` is of; None if it is absent or empty.

    Raises:
        DiskError: something else than a result of this kind lies there, or nothing can be written there.
    """
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir():
        raise DiskError("something else lies there", where=above, got="a file", expected="a folder", cure=CURE)
    if not os.access(above, os.W_OK | os.X_OK):
        raise DiskError("nothing can be written there", where=above, cure="name another place with --out")
    if not folder.exists() and not folder.is_symlink():
        return None
    if not folder.is_dir():
        raise DiskError("something else lies there", where=folder, got="a file", expected="a folder", cure=CURE)
    if folder.resolve() == Path.cwd():
        raise DiskError("the working folder is not replaced", where=folder, cure="name a folder inside it")
    if not (names := sorted(path.name for path in folder.iterdir())):
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


def check_file(path: Path, *signs: str) -> None:
    """Whether a file may be written at ``path``: nothing lies there, an empty file, or one that has one of the signs.

    Raises:
        DiskError: something else lies there.
    """
    if path.is_dir():
        raise DiskError("something else lies there", where=path, got="a folder", expected="a file", cure=CURE)
    if path.is_file() and path.stat().st_size:
        content = path.read_bytes()
        if not any(sign.encode() in content for sign in signs):
            raise DiskError("only a file of ours is replaced", where=path, cure="move it away, or name another file")


def free_name(parent: Path, name: str, mark: Mark) -> Path:
    """The folder ``name`` in ``parent``; where another result of this kind has that name, one with a digest behind."""
    found = read_mark(parent / name)
    if found is None or found == mark or found.get("kind") != mark["kind"]:
        return parent / name
    said = json.dumps(mark, sort_keys=True)
    return parent / f"{name}-{hashlib.sha256(said.encode('utf-8')).hexdigest()[:8]}"
