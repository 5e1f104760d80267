"""The kinds of files that a figure can be, and how one of ours is told from a file of somebody else."""

from pathlib import Path

from tam.errors import InputError
from tam.system.mark import MAKER, check_file

KINDS = (".pdf", ".svg", ".png", ".jpg", ".webp")


def check_name(path: Path) -> None:
    """Whether a figure can be saved there.

    Raises:
        InputError: a name of another kind. DiskError: as ``check_file``: what lies there is no figure of ours.
    """
    if path.suffix.lower() not in KINDS:
        raise InputError("unknown kind of figure", got=repr(path.name), expected=" or ".join(KINDS))
    check_file(path, MAKER)
