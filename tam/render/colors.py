"""Colours: the jet map of the paper, maps of even lightness steps, and the few greys around them."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tam.errors import InputError

WHITE, BLACK, LATER, NOTE = (255, 255, 255), (0, 0, 0), (200, 200, 200), (110, 110, 110)
# OpenCV's table, which the published pictures use; the reshape keeps OpenCV 4 and 5 alike
JET = cv2.applyColorMap(np.arange(256, dtype=np.uint8).reshape(-1, 1), cv2.COLORMAP_JET)[:, 0, ::-1].copy()
CONTRAST = 4.5  # of letters on what is behind them, at least (WCAG 2, level AA)
COLORMAPS = ("jet", "viridis", "magma", "cividis")  # cividis: the same to those who do not tell red from green
STORED = ("viridis", "magma", "cividis", "RdBu_r")  # rows of colormaps.png: matplotlib's, which is slow to load


@cache
def table(name: str) -> np.ndarray:
    """uint8 RGB [256, 3] from 0 to 1: jet as OpenCV has it, the others as matplotlib has them; InputError: unknown."""
    if name not in COLORMAPS:
        raise InputError("unknown colour map", got=repr(name), expected=" or ".join(COLORMAPS))
    if name == "jet":
        return JET
    return _stored(name)


def luminance(colors: np.ndarray) -> np.ndarray:
    """Relative luminance of sRGB colours [..., 3] from 0 to 255 (WCAG 2): 0 of black, 1 of white."""
    parts = np.asarray(colors, float) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


@cache
def signed() -> np.ndarray:
    """uint8 RGB [256, 3] from -1, blue, over 0, white, to 1, red."""
    return _stored("RdBu_r")


def _stored(name: str) -> np.ndarray:
    with Image.open(Path(__file__).with_name("colormaps.png")) as picture:
        return np.array(picture)[STORED.index(name)]


def for_text(colors: np.ndarray) -> np.ndarray:
    """A table for letters on white: light colours are darkened until they can be read (``CONTRAST``)."""
    return _darkened(colors.tobytes())


@cache
def _darkened(colors: bytes) -> np.ndarray:
    shares = np.linspace(1, 0, 256)[:, None, None]
    darker = np.floor(np.frombuffer(colors, np.uint8).reshape(-1, 3) * shares).astype(np.uint8)
    first = (luminance(darker) <= 1.05 / CONTRAST - 0.05).argmax(0)
    return darker[first, np.arange(len(first))]


def colored(values: np.ndarray, colors: np.ndarray = JET) -> np.ndarray:
    """uint8 RGB ``[..., 3]`` of values in [0, 1] by a table; what lies outside is clipped."""
    return np.take(colors, np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8), axis=0)
