"""Captions, the colour scale, and the contact sheet."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tam.render import pillow
from tam.render.colors import BLACK, NOTE
from tam.render.overlay import GAP, color_bar, mosaic, resized
from tam.render.tokens import ASCENT, FOOT, MARGIN, Segment, TextLayout, fitting, note

CELL, CAPTION, SCALE = 180, 24, 40  # of a contact sheet, in pixels; width of the colour scale


def count_caption(count: int, width: int) -> np.ndarray:
    """How many tokens an answer has: uint8 RGB [CAPTION, width, 3]."""
    return _line([note(f"{count} tokens", 1, FOOT - 2)], width)


def token_caption(layout: TextLayout, token: int, width: int, explained: bool = True) -> np.ndarray:
    """A token's number and word, and whether it is not explained: uint8 RGB [CAPTION, width, 3]."""
    number = note(str(token) if explained else f"{token}, not explained:", 1, FOOT - 4)
    clusters = layout.units[layout.unit_of(token)].shaped.clusters
    word = fitting(clusters, 0, FOOT, width - number.width - 8)
    return _line([number, replace(word, x=number.width + 5)], width)


def small(picture: np.ndarray, several: bool) -> np.ndarray:
    """A picture at the size of a sheet's cells; one of several panels is twice as wide."""
    return resized(picture, 2 * CELL if several else CELL)


def sheet(cells: Sequence[np.ndarray], colors: np.ndarray) -> np.ndarray:
    """All cells, which have captions, in rows, with the colour scale at the right."""
    inner = mosaic(cells, columns=6 if len(cells) <= 30 else 8, gap=GAP + 4)
    scaled = with_scale(inner, cells[0].shape[0] - CAPTION, colors)
    return np.pad(scaled, ((MARGIN, MARGIN), (MARGIN, 0), (0, 0)), constant_values=255)


def with_scale(picture: np.ndarray, height: int, colors: np.ndarray) -> np.ndarray:
    """The picture with the colour scale from 0 to 1 at the right of its first ``height`` rows."""
    bar = color_bar(height, colors=colors)
    numbers = [replace(note(text, 1, 12), x=27, y=y) for text, y in (("1", 9.0), ("0", float(height)))]
    scale = _written(numbers, SCALE, len(picture))
    scale[:height, 10:22] = bar
    return np.concatenate([picture, scale], axis=1)


def _line(segments: Sequence[Segment], width: int) -> np.ndarray:
    return _written([replace(segment, y=3 + ASCENT * FOOT) for segment in segments], width, CAPTION)


def _written(segments: Sequence[Segment], width: int, height: int) -> np.ndarray:
    """Short texts on white: those of unit 0 in black, those of unit 1 in grey."""
    owner = pillow.owners(segments, (height, width), grow=3)
    colors = np.array([BLACK, NOTE], np.uint8)
    return pillow.paint(pillow.coverage(segments, width, height), owner, owner, colors, current=None)
