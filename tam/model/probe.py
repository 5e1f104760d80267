"""Does a family's layout hold? Paint a part of a picture, and see which vision tokens change before the language model.

The proof that every family has to give with random weights (``tests/test_conformance.py``), and what a model of an
unknown kind is asked before it is believed.
"""

import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from tam.errors import ModelError, TamError
from tam.layout import Grid
from tam.media import Media
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared, prepare

INSET = 0.2  # of a cell's side that is left unpainted, so that resizing carries little to its neighbours
CELLS, ENOUGH = 12, 0.75  # cells that are painted, and the part of them whose own token must move most

WORD = "Describe"  # templates of some kinds trim, or leave out, an empty question

_believed: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()  # models are asked once


def believe(loaded: Loaded) -> None:
    """Paint parts of a picture of noise, where nothing is known of the family.

    Raises:
        ModelError: the tokens do not move where the layout says.
    """
    if loaded.family.proven or loaded.model in _believed:
        return
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    media = Media(False, (Image.fromarray(pixels).resize((640, 480)),), (0,))
    try:
        found = list(probe(loaded, media, CELLS))
    # What an unknown processor and model raise when they are asked in a way that is not theirs.
    except (TamError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise _unknown(loaded, f"{type(error).__name__}: {error}") from error
    right = sum(ok for ok, _ in found)
    if right < ENOUGH * len(found):
        raise _unknown(loaded, f"{right} of {len(found)} painted cells moved their own token most")
    _believed.add(loaded.model)


def _unknown(loaded: Loaded, got: str) -> ModelError:
    return ModelError(
        "unsupported kind of model, whose image tokens are not one regular grid", where=loaded.config.model_type,
        got=got, cure='a family is one small file: see "Add your model" in docs/explained/families.md',
    )  # fmt: skip


@torch.inference_mode()
def vision_embeddings(loaded: Loaded, prepared: Prepared) -> np.ndarray:
    """The vision tokens as they enter the language model: float32 [vision, width]."""
    kept: list[np.ndarray] = []

    def keep(module: torch.nn.Module, positional: object, named: dict[str, torch.Tensor]) -> None:
        kept.append(named["inputs_embeds"][0].float().cpu().numpy())

    handle = loaded.decoder.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        loaded.model(**{"logits_to_keep": 1} | loaded.batch([prepared.to(loaded.device)]))
    finally:
        handle.remove()
    return kept[0][prepared.layout.vision]


def probe(loaded: Loaded, media: Media, cells: int = 4) -> Iterator[tuple[bool, str]]:
    """Paint some ``cells`` of each grid, one after the other, and compare the tokens before and after.

    Yields:
        whether the token of the painted cell, of all tokens of its grid, moved most and those of grids that do not
        see it moved less; and what was seen.
    """
    plain = prepare(loaded.prompter, media, WORD)
    before = vision_embeddings(loaded, plain)
    for index, grid in enumerate(plain.layout.grids):
        boxes = {number: cell_box(grid, number) for number in range(grid.cells)}
        visible = [number for number, box in boxes.items() if inside(box, media.sizes[grid.medium])]
        for number in np.unique(np.linspace(0, len(visible) - 1, cells).round().astype(int)):
            number, box = visible[number], boxes[visible[number]]
            painted = prepare(loaded.prompter, paint(media, grid, box), WORD)
            moved = np.linalg.norm(vision_embeddings(loaded, painted) - before, axis=1)
            parts = [part.ravel() for part in plain.layout.split(moved)]
            found = int(parts[index].argmax())
            others = zip(plain.layout.grids, parts, strict=True)
            blind = max((part.max() for other, part in others if not sees(other, grid, box)), default=0)
            right = found == number and blind < parts[index][found]
            yield bool(right), f"grid {index}: cell {number} painted, cell {found} moved most"


def cell_box(grid: Grid, number: int) -> tuple[float, float, float, float]:
    """The inner part of a cell, in pixels of the medium."""
    left, top, right, bottom = grid.box
    width, height = (right - left) / grid.columns, (bottom - top) / grid.rows
    row, column = divmod(number, grid.columns)
    return (
        left + (column + INSET) * width, top + (row + INSET) * height,
        left + (column + 1 - INSET) * width, top + (row + 1 - INSET) * height,
    )  # fmt: skip


def inside(box: Sequence[float], size: tuple[int, int]) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= size[0] and box[3] <= size[1]


def sees(other: Grid, grid: Grid, box: Sequence[float]) -> bool:
    """Whether ``other`` covers any of a box of ``grid``'s medium and frames."""
    left, top, right, bottom = other.box
    overlaps = box[0] < right and box[2] > left and box[1] < bottom and box[3] > top
    return overlaps and other.medium == grid.medium and not set(other.frames).isdisjoint(grid.frames)


def paint(media: Media, grid: Grid, box: Sequence[float]) -> Media:
    """The media with the colours in a box inverted, in the picture or the frames that a grid sees."""
    left, top, right, bottom = map(round, box)
    pictures = list(media.pictures)
    for number in [media.frames.index(frame) for frame in grid.frames] if media.video else [grid.medium]:
        pixels = np.array(pictures[number])
        pixels[top:bottom, left:right] = 255 - pixels[top:bottom, left:right]
        pictures[number] = Image.fromarray(pixels)
    return Media(media.video, tuple(pictures), media.frames, media.film)
