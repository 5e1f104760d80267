"""Where the workflow lies: beside the package in a checkout, inside of it where it was installed."""

from pathlib import Path

PACKAGE = Path(__file__).parent
FOLDER = PACKAGE / "pipeline" if (PACKAGE / "pipeline").is_dir() else PACKAGE.parent
"""Holds ``Snakefile``, ``workflow/``, ``config/`` and ``envs/``."""

SNAKEFILE = FOLDER / "Snakefile"
