"""Sets of a picture's cells that are taken away: by the order of a map, in blocks, at random. Arrays alone.

A cell is a vision token's place on the pixels; where several grids lie over a picture, a cell of the finest. A set is
bool [cell], true where it is replaced. Who scores sets and who looks the scores up build the same ones from here.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tam.layout import Grid, Layout
from tam.picture_grid import PictureGrid, picture_grid


@dataclass(frozen=True)
class Cells:
    """All cells of a sample: picture after picture, or group of frames after group, row-major in each.

    Attributes:
        grids: of each picture, and of each group of frames that the same grids show, the one reading of them.
        frames: which medium and frames that is.
    """

    grids: tuple[PictureGrid, ...]
    frames: tuple[tuple[int, frozenset[int]], ...]

    @classmethod
    def of(cls, layout: Layout) -> "Cells":
        """For a sample in which each pixel has one grid these are the vision tokens, in their order."""
        found: dict[tuple[int, tuple[int, ...]], set[int]] = {}
        for grid in layout.grids:
            for frame in grid.frames:
                over = [index for index, one in enumerate(layout.grids) if _shows(one, grid.medium, frame)]
                found.setdefault((grid.medium, tuple(over)), set()).add(frame)
        grids = tuple(picture_grid(layout, medium, min(frames)) for (medium, _), frames in found.items())
        return cls(grids, tuple((medium, frozenset(frames)) for (medium, _), frames in found.items()))

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return [(grid.rows, grid.columns) for grid in self.grids]

    @property
    def count(self) -> int:
        return sum(rows * columns for rows, columns in self.shapes)

    def read(self, maps: np.ndarray) -> np.ndarray:
        """float [..., vision] -> [..., cell]."""
        return np.concatenate([grid.read(maps).reshape(*maps.shape[:-1], -1) for grid in self.grids], axis=-1)


def _shows(grid: Grid, medium: int, frame: int) -> bool:
    return grid.medium == medium and frame in grid.frames


def descending(values: np.ndarray, id: str, token: int) -> np.ndarray:
    """The cells by their value, float [cell], the highest first: int64 [cell].

    Equal ones are in an order that is drawn once for the sample's id and the token, whatever the values are: that of
    the cells themselves would let a map of zeros find what lies at the top of the picture.
    """
    drawn = _seeded("ties", id, token).permutation(len(values))
    return drawn[np.argsort(-values[drawn], kind="stable")]


def counts(cells: int, fractions: Sequence[float]) -> np.ndarray:
    """How many of the cells are taken at each step: int64, ascending, from none to all.

    Args:
        fractions: those up to a half; the others are mirrored, so that a step and its mirror image take as many cells
            as the other leaves. Only so has a random order the same area when cells are taken as when they are put
            back, whatever the model.

    >>> counts(196, [1 / 32, 1 / 2]).tolist(), counts(5, [1 / 2]).tolist()
    ([0, 6, 98, 190, 196], [0, 2, 3, 5])
    """
    first = np.floor(np.asarray(fractions, np.float64) * cells + 0.5).astype(np.int64)
    return np.unique(np.concatenate([[0], first, cells - first, [cells]]))


def count(cells: int, fraction: float) -> int:
    """The nearest number of cells, as in ``counts``."""
    return int(np.floor(fraction * cells + 0.5))


def taken(order: np.ndarray, counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """bool [count, cell]: so many first ones of an order, int64 [cell]. Their complement puts them back."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank < np.asarray(counts)[:, None]


def blocks(shapes: Sequence[tuple[int, int]], least: int) -> np.ndarray:
    """Square blocks of cells, as large as leaves at least so many: int64 [cell], each cell's block.

    Args:
        shapes: rows and columns of each grid, whose cells follow each other; no block lies in two.

    >>> blocks([(2, 3)], 2).tolist()
    [0, 0, 1, 0, 0, 1]
    """
    side = 1
    while max(map(max, shapes)) > side and sum(-(-r // (side + 1)) * -(-c // (side + 1)) for r, c in shapes) >= least:
        side += 1
    found, start = [], 0
    for rows, columns in shapes:
        across = -(-columns // side)
        found.append((start + (np.arange(rows) // side)[:, None] * across + np.arange(columns) // side).ravel())
        start += -(-rows // side) * across
    return np.concatenate(found)


def of_blocks(block: np.ndarray) -> np.ndarray:
    """bool [block, cell]: each block alone; ``block`` as ``blocks`` gives it."""
    return block == np.arange(block.max() + 1)[:, None]


def halves(block: np.ndarray, number: int, id: str) -> np.ndarray:
    """bool [number, cell]: random sets of exactly half of the blocks (rounded down), drawn for the sample's id.

    All have one size: of sets of different sizes, the larger ones would have more of any map and of any effect.
    """
    drawn, total = _seeded("halves", id, 0), int(block.max()) + 1
    chosen = [drawn.permutation(total)[: total // 2] for _ in range(number)]
    return np.array([np.isin(block, one) for one in chosen], bool).reshape(number, len(block))


def packed(sets: np.ndarray) -> np.ndarray:
    """bool [set, cell] -> uint8 [set, bytes], a cell a bit; sorted, each set once."""
    return np.unique(np.packbits(sets, axis=1), axis=0)


def unpacked(bits: np.ndarray, cells: int) -> np.ndarray:
    """``packed`` undone: bool [set, cell]."""
    return np.unpackbits(bits, axis=1, count=cells).astype(bool)


def _seeded(what: str, id: str, token: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{what}\n{id}\n{token}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
