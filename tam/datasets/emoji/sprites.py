"""The sprite sheet: one RGBA picture of emoji, cell after cell in the order of ``GLYPHS``."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np

SHEET = Path(__file__).parent / "sprites.png"
CELL = 136
COLUMNS = 7

# Left out on purpose: "hot dog" and "teddy bear", whose last words name other categories; glyphs that are hard to
# tell apart or come with scenery of their own (couch, tv, cell phone, ...).
GLYPHS = {
    "person": ("🧍", "🚶", "🧑‍🌾"),
    "bicycle": ("🚲",),
    "car": ("🚗", "🚙"),
    "motorcycle": ("🏍️", "🛵"),
    "airplane": ("✈️", "🛩️"),
    "bus": ("🚌",),
    "train": ("🚆", "🚂"),
    "truck": ("🚚", "🚛"),
    "boat": ("⛵",),
    "traffic light": ("🚦",),
    "bird": ("🐦", "🐤"),
    "cat": ("🐈", "🐱"),
    "dog": ("🐕", "🐶"),
    "horse": ("🐎",),
    "sheep": ("🐑",),
    "cow": ("🐄",),
    "elephant": ("🐘",),
    "bear": ("🐻",),
    "zebra": ("🦓",),
    "giraffe": ("🦒",),
    "backpack": ("🎒",),
    "umbrella": ("☂️",),
    "kite": ("🪁",),
    "banana": ("🍌",),
    "apple": ("🍎", "🍏"),
    "carrot": ("🥕",),
    "pizza": ("🍕",),
    "donut": ("🍩",),
    "cake": ("🎂", "🍰"),
    "chair": ("🪑",),
    "laptop": ("💻",),
    "clock": ("⏰",),
}
NAMES = tuple(GLYPHS)


@cache
def sprites() -> dict[str, tuple[np.ndarray, ...]]:
    """Category name -> its glyphs, each uint8 RGBA [height, width, 4], cut to what is visible."""
    sheet = cv2.cvtColor(cv2.imread(str(SHEET), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
    cells = iter(
        sheet[y : y + CELL, x : x + CELL]
        for y in range(0, sheet.shape[0], CELL)
        for x in range(0, sheet.shape[1], CELL)
    )
    return {name: tuple(_tight(next(cells)) for _ in glyphs) for name, glyphs in GLYPHS.items()}


def _tight(glyph: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(glyph[..., 3] > 8)
    return np.ascontiguousarray(glyph[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
