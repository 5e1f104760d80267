"""Heat maps over pictures: each grid of vision tokens on the part of the picture that it covers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from tam.errors import RenderError
from tam.layout import Grid, Layout
from tam.media import Media
from tam.render.colors import JET, colored, signed

WIDTH, PAIR_WIDTH, STRIP_WIDTH, COLUMNS, GAP = 500, 400, 260, 4, 6  # pixels; mean width of one picture, two, more
BLEND = 0.5
WIDEST = 20_000  # pixels of a picture that is drawn

Item = TypeVar("Item")


@dataclass(frozen=True)
class Panel:
    """A picture or video frame at the size in which it is shown, and the grids that lie on it.

    Attributes:
        picture: uint8 RGB [height, width, 3].
        grids: index in the layout, and box in pixels of ``picture`` (left, top, right, bottom).
        frame: its number in the source, for a video.
    """

    picture: np.ndarray
    grids: tuple[tuple[int, tuple[int, int, int, int]], ...]
    frame: int = 0


def resized(picture: np.ndarray, width: int) -> np.ndarray:
    """The picture ``width`` pixels wide, in its own aspect."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    smaller = width < picture.shape[1]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def _box(grid: Grid, original: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """The grid's box in pixels of the shown picture, at least one pixel in each direction; it may reach beyond it."""
    (x, y), (height, width) = (shape[1] / original[0], shape[0] / original[1]), shape
    left, top = min(round(grid.box[0] * x), width - 1), min(round(grid.box[1] * y), height - 1)
    return left, top, max(round(grid.box[2] * x), left + 1), max(round(grid.box[3] * y), top + 1)


def panels(layout: Layout, media: Media, width: int | None = None) -> list[Panel]:
    """One panel a picture, or a frame of a video, all of the same height. Frames of one temporal patch share its grid.

    Args:
        width: mean width in pixels; None: what suits their number; 0: each in its own size.

    Raises:
        RenderError: a picture has another size than when it was shown to the model.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index, grid in enumerate(layout.grids):
        for frame in grid.frames:
            groups.setdefault((grid.medium, frame), []).append(index)
    if width is None:
        width = {1: WIDTH, 2: PAIR_WIDTH}.get(len(groups), STRIP_WIDTH)
    numbers = [media.frames.index(frame) if media.video else medium for medium, frame in groups]
    pictures = [np.asarray(media.pictures[number]) for number in numbers]
    height = width / np.mean([picture.shape[1] / picture.shape[0] for picture in pictures])
    made = []
    for picture, ((medium, frame), indices) in zip(pictures, groups.items(), strict=True):
        original = layout.sizes[medium]
        if picture.shape[1::-1] != original:
            raise RenderError("picture has changed since the answer", got=picture.shape[1::-1], expected=original)
        shown = resized(picture, max(1, round(height * picture.shape[1] / picture.shape[0]))) if width else picture
        made.append(Panel(shown, tuple((i, _box(layout.grids[i], original, shown.shape[:2])) for i in indices), frame))
    return made


def heat(panel: Panel, grids: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Values in [0, 1] on each pixel, float32 [height, width], and where there are any, bool.

    Values are interpolated before they are coloured. Where grids overlap (tiles and thumbnail), they are averaged.
    """
    total, count = (np.zeros(panel.picture.shape[:2], np.float32) for _ in range(2))
    for index, (left, top, right, bottom) in panel.grids:
        values = np.nan_to_num(np.ascontiguousarray(grids[index], np.float32))
        size = right - left, bottom - top
        values = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
        # A grid over a picture that was padded reaches beyond it.
        on_it = np.s_[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        values = values[max(-top, 0) :, max(-left, 0) :][: total[on_it].shape[0], : total[on_it].shape[1]]
        total[on_it] += values
        count[on_it] += 1
    return total / np.maximum(count, 1), count > 0


def overlay(panel: Panel, grids: Sequence[np.ndarray], colors: np.ndarray = JET, share: float = BLEND) -> np.ndarray:
    """The picture under its heat map; pixels that no grid covers stay as they are.

    Args:
        grids: one [rows, columns] array in [0, 1] for each grid of the layout (``Layout.split``).
        colors: uint8 [256, 3], the colour map (``colors.table``).
        share: of the colours, 0 to 1; the rest is the picture's.

    Returns:
        uint8 RGB [height, width, 3].
    """
    values, covered = heat(panel, grids)
    blended = cv2.addWeighted(colored(values, colors), share, panel.picture, 1 - share, 0)
    blended[~covered] = panel.picture[~covered]
    return blended


def above(panels: Sequence[Panel], grids: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Where a map is above Otsu's threshold of all its pixels, as Obj-IoU cuts it: bool [height, width] a panel."""
    found = [heat(panel, grids) for panel in panels]
    pixels = [np.rint(255 * values).astype(np.uint8) for values, _ in found]
    counted = np.concatenate([values[covered] for values, (_, covered) in zip(pixels, found, strict=True)])
    threshold, _ = cv2.threshold(counted, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return [(values > threshold) & covered for values, (_, covered) in zip(pixels, found, strict=True)]


def difference(panel: Panel, grids: Sequence[np.ndarray], peak: float, share: float = BLEND) -> np.ndarray:
    """As ``overlay`` of what differs, from -``peak``, blue, to ``peak``, red. The picture stays where nothing does."""
    values, covered = heat(panel, grids)
    values = np.clip(values / peak, -1, 1) * covered
    weight = share * np.sqrt(np.abs(values))[..., None]
    return np.rint(colored((values + 1) / 2, signed()) * weight + panel.picture * (1 - weight)).astype(np.uint8)


def outlined(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with the edge of a mask (bool, any size) in white on black."""
    height, width = picture.shape[:2]
    shape = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    edges, _ = cv2.findContours(shape, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    made, thin = picture.copy(), max(1, width // 400)
    for color, thickness in (((0, 0, 0), 3 * thin), ((255, 255, 255), thin)):
        cv2.drawContours(made, edges, -1, color, thickness, cv2.LINE_AA)
    return made


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[index] for index in np.linspace(0, len(items) - 1, most).round().astype(int)]


def mosaic(pictures: Sequence[np.ndarray], columns: int = COLUMNS, gap: int = GAP) -> np.ndarray:
    """Pictures side by side on white, in rows of as equal a number as possible, at most ``columns``."""
    per_row = math.ceil(len(pictures) / math.ceil(len(pictures) / columns))
    rows = [_beside(pictures[i : i + per_row], gap) for i in range(0, len(pictures), per_row)]
    width = max(row.shape[1] for row in rows)
    padded = [_pad(row, row.shape[0] + gap, width) for row in rows]
    return np.concatenate(padded)[:-gap]


def _beside(pictures: Sequence[np.ndarray], gap: int) -> np.ndarray:
    height = max(picture.shape[0] for picture in pictures)
    return np.concatenate([_pad(p, height, p.shape[1] + gap) for p in pictures], axis=1)[:, :-gap]


def _pad(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    more = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
    return np.pad(picture, more, constant_values=255)


def color_bar(height: int, width: int = 12, colors: np.ndarray = JET) -> np.ndarray:
    """The scale from 0 (below) to 1 (above): uint8 RGB [height, width, 3]."""
    steps = np.linspace(255, 0, height).round().astype(int)
    return np.repeat(colors[steps][:, None], width, axis=1)
