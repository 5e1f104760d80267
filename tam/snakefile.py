"""Where the workflow lies: beside the package in a checkout, inside of it where it was installed."""

import contextlib
import hashlib
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
FOLDER = PACKAGE / "pipeline" if (PACKAGE / "pipeline").is_dir() else PACKAGE.parent
"""Holds ``Snakefile``, ``workflow/``, ``config/`` and ``envs/``."""

SNAKEFILE = FOLDER / "Snakefile"


def alone(folder: Path) -> Path:
    """A folder in ``folder`` that holds a link to ``tam`` alone, to be added to another Python's packages."""
    place = folder / hashlib.sha256(bytes(PACKAGE)).hexdigest()[:12]
    place.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (place / "tam").symlink_to(PACKAGE)
    return place
