"""Data that lies outside the repository: exact outputs of the published code, real photos, vocabularies."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("TAM_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def shared(*parts: str) -> Path:
    """A path below the shared folder; skips the test where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no {'/'.join(parts)} in {SHARED.name}: set TAM_SHARED to the folder that holds it")
    return path
