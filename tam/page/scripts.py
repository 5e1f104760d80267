"""Data as scripts, numbers as text: what the page's scripts are given to show.

A browser does not let a page from disk read JSON, but it loads scripts: each data file is one call with one literal.
Text of models and datasets appears in these literals only, and the scripts show it as text, never as HTML.
"""

import base64
import json
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np

from tam.render.colors import COLORMAPS, table

LEVEL = 6  # of zlib: 9 takes six times as long for maps, and saves a hundredth


def literal(value: object) -> str:
    """JSON that is ASCII, so that no line separator ends a line, and without "<", so that no tag can stand in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def write_script(path: Path, function: str, *values: object) -> None:
    path.write_text(f"{function}({','.join(map(literal, values))});\n", encoding="ascii")


def packed(array: np.ndarray) -> str:
    """uint8 array -> base64 of its deflated bytes."""
    return in_base64(zlib.compress(array.tobytes(), LEVEL))


def packed_json(value: object) -> str:
    """What JSON can say -> base64 of its deflated bytes, a third of their number."""
    return in_base64(zlib.compress(literal(value).encode("ascii"), LEVEL))


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def color_maps() -> dict[str, str]:
    """Name -> 256 RGB triples: that of the paper, and those of even lightness steps."""
    return {name: packed(table(name)) for name in COLORMAPS}


def assets() -> dict[str, str]:
    """``index.html``, styles and scripts by name."""
    return {asset.name: asset.read_text(encoding="utf-8") for asset in files("tam.page").joinpath("assets").iterdir()}
