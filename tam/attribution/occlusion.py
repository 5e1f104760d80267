"""Occlusion in the picture: what the model would still say of its answer if it did not see a window of cells."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tam.errors import InputError
from tam.layout import Grid, Layout
from tam.media import Media
from tam.model.forced import forced_batch
from tam.model.head import blocks
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared, prepare
from tam.system.foreign import out_of_memory

BATCH = 8  # pictures

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Shown:
    """What a sample showed and asked, to be asked again with another picture.

    Attributes:
        turns: (the user's words, the answer) of each earlier turn.
    """

    media: Media
    words: str
    turns: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Window:
    """A part of a medium: ``box`` in pixels, in the frames of a video that a grid sees."""

    medium: int
    frames: tuple[int, ...]
    box: Box


def occlusion(
    loaded: Loaded, prepared: Prepared, shown: Shown, answer: np.ndarray, cells: int, step: int,
    paint: Callable[[Media, Window], Media] | None = None,
) -> np.ndarray:  # fmt: skip
    """Occlusion (Zeiler & Fergus 2014): log p of a token, less its log p without a window; float32 [answer, vision].

    A vision token's score is the mean over the windows that its centre lies in. Teacher-forced: p is of the token that
    stands in the answer, given those before it, which is our reading for autoregressive models. Only the model's own
    forward pass is used, so every other method can be compared with it.

    Args:
        prepared: the prompt of ``shown``. answer: int32 [answer], ids.
        cells, step: side of a window, and from one to the next, in cells of the finest grid of a medium.
        paint: how a window disappears; None: under the mean colour of the medium.

    Raises:
        InputError: of memory, or the prompt is another one without the window.
    """
    windows = list(windows_of(prepared.layout, cells, step))
    whole = log_chances(loaded, [prepared], answer)[0]
    drops = np.empty((len(windows), len(answer)), np.float32)
    painted = paint or mean_painted
    start, batch = 0, BATCH
    while start < len(windows):
        part = [painted(shown.media, window) for window in windows[start : start + batch]]
        asked = [prepare(loaded.prompter, media, shown.words, shown.turns) for media in part]
        if any(not np.array_equal(one.tokens, prepared.tokens) for one in asked):
            raise InputError("the prompt is another one where a part of the picture is painted")
        try:
            drops[start : start + len(part)] = whole - log_chances(loaded, asked, answer)
        except Exception as error:
            if not out_of_memory(error) or batch == 1:
                raise
            batch = max(1, len(part) // 2)
            continue
        start += len(part)
    return spread(prepared.layout, windows, drops)


@torch.inference_mode()
def log_chances(loaded: Loaded, prepared: Sequence[Prepared], answer: np.ndarray) -> np.ndarray:
    """float32 [sample, answer]: log p of each token of one answer to several prompts."""
    rows = []
    with loaded.evaluating():
        for one in forced_batch(loaded, prepared, [answer] * len(prepared)):
            found: list[float] = []
            for block in blocks(loaded.head, one.states[-len(answer) :]):
                wanted = torch.from_numpy(answer[len(found) : len(found) + len(block)].astype(np.int64))
                chances = block.float().log_softmax(-1).gather(1, wanted[:, None].to(block.device))
                found += chances[:, 0].tolist()
            rows.append(found)
    return np.array(rows, np.float32)


def windows_of(layout: Layout, cells: int, step: int) -> Iterator[Window]:
    """Windows over each medium, and each temporal patch of a video, row after row; the last reaches the edge."""
    for (medium, frames), grids in _seen_together(layout).items():
        finest = max(grids, key=lambda grid: grid.columns / (grid.box[2] - grid.box[0]))
        left, top, right, bottom = _around(grids)
        width, height = (finest.box[2] - finest.box[0]) / finest.columns, (finest.box[3] - finest.box[1]) / finest.rows
        across, down = round((right - left) / width), round((bottom - top) / height)
        for y, x in itertools.product(starts(down, cells, step), starts(across, cells, step)):
            box = (left + x * width, top + y * height, left + (x + cells) * width, top + (y + cells) * height)
            yield Window(medium, frames, (box[0], box[1], min(box[2], right), min(box[3], bottom)))


def starts(count: int, cells: int, step: int) -> list[int]:
    """Where windows of so many cells begin, of ``count`` in a row.

    >>> starts(14, 4, 3), starts(3, 4, 3)
    ([0, 3, 6, 9, 10], [0])
    """
    last = max(count - cells, 0)
    return [*range(0, last, step), last]


def spread(layout: Layout, windows: Sequence[Window], drops: np.ndarray) -> np.ndarray:
    """float32 [token, vision]: the mean of ``drops`` [window, token] over the windows that hold a cell's centre."""
    holds = np.concatenate([_holds(grid, windows) for grid in layout.grids])
    return (holds / np.maximum(holds.sum(1, keepdims=True), 1) @ drops).T.astype(np.float32)


def mean_painted(media: Media, window: Window) -> Media:
    """The media with a window in the mean colour of its medium's pictures."""
    numbers = [media.frames.index(frame) for frame in window.frames] if media.video else [window.medium]
    pictures = list(media.pictures)
    shown = pictures if media.video else [pictures[window.medium]]
    colour = tuple(np.mean([np.asarray(one).mean((0, 1)) for one in shown], axis=0).round().astype(int).tolist())
    for number in numbers:
        pictures[number] = pictures[number].copy()
        pictures[number].paste(colour, tuple(round(side) for side in window.box))
    return replace(media, pictures=tuple(pictures))


def _seen_together(layout: Layout) -> dict[tuple[int, tuple[int, ...]], list[Grid]]:
    """The grids over the same pixels."""
    found: dict[tuple[int, tuple[int, ...]], list[Grid]] = {}
    for grid in layout.grids:
        found.setdefault((grid.medium, grid.frames), []).append(grid)
    return found


def _around(grids: Sequence[Grid]) -> Box:
    boxes = np.array([grid.box for grid in grids])
    return (*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())


def _holds(grid: Grid, windows: Sequence[Window]) -> np.ndarray:
    """bool [cell, window]: whether the window holds the cell's centre."""
    left, top, right, bottom = grid.box
    x = left + (np.arange(grid.columns) + 0.5) * (right - left) / grid.columns
    y = top + (np.arange(grid.rows) + 0.5) * (bottom - top) / grid.rows
    y, x = (axis.ravel() for axis in np.meshgrid(y, x, indexing="ij"))
    held = [
        (one.medium, one.frames) == (grid.medium, grid.frames)
        and (one.box[0] < x) & (x < one.box[2]) & (one.box[1] < y) & (y < one.box[3])
        for one in windows
    ]
    return np.array([np.broadcast_to(one, x.shape) for one in held], bool).reshape(-1, len(x)).T
