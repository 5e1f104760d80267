"""Where tokens are: in the sequence, and on the pixels."""

from dataclasses import dataclass

import numpy as np

from tam.errors import LayoutError


@dataclass(frozen=True)
class Grid:
    """Rows x columns of vision tokens over one image, one temporal patch of a video, or one tile.

    Attributes:
        medium: index of the picture or video in the sample.
        frames: the source frames that this grid sees; (0,) for a picture.
        rows, columns: size in vision tokens.
        box: left, top, right, bottom in pixels of the medium as it was given: the part that the grid covers.
    """

    medium: int
    frames: tuple[int, ...]
    rows: int
    columns: int
    box: tuple[float, float, float, float]

    @property
    def cells(self) -> int:
        """How many vision tokens it has."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Layout:
    """Positions of the tokens of one sample.

    Attributes:
        vision: int32 [vision], sequence positions of the vision tokens, grid after grid, row-major in each.
        prompt: int32 [prompt], sequence positions of the user's own words (no template, no system prompt).
        answer: position of the first answer token, which is also the length of the prompt sequence.
        grids: how the vision tokens lie on the media.
        sizes: (width, height) in pixels of each medium.
    """

    vision: np.ndarray
    prompt: np.ndarray
    answer: int
    grids: tuple[Grid, ...]
    sizes: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        cells = sum(grid.cells for grid in self.grids)
        if cells != len(self.vision):
            shapes = " + ".join(f"{grid.rows}x{grid.columns}" for grid in self.grids)
            raise LayoutError(
                "grid cells and vision tokens differ",
                got=f"{len(self.vision)} vision tokens",
                expected=f"{cells} ({shapes})",
                cure="check the family's rule for this processor",
            )

    @property
    def frames(self) -> tuple[int, ...]:
        """The source frames that any grid sees, ascending."""
        return tuple(sorted({frame for grid in self.grids for frame in grid.frames}))

    def split(self, maps: np.ndarray) -> list[np.ndarray]:
        """Cut ``[..., vision]`` into one ``[..., rows, columns]`` array per grid.

        Examples:
            >>> box = (0.0, 0.0, 8.0, 8.0)
            >>> tile, thumbnail = Grid(0, (0,), 1, 2, box), Grid(0, (0,), 2, 2, box)
            >>> layout = Layout(np.arange(6), np.arange(0), 6, (tile, thumbnail), ((8, 8),))
            >>> [part.tolist() for part in layout.split(np.array([1, 2, 3, 4, 5, 6]))]
            [[[1, 2]], [[3, 4], [5, 6]]]
        """
        ends = np.cumsum([grid.cells for grid in self.grids])[:-1]
        return [
            part.reshape(*maps.shape[:-1], grid.rows, grid.columns)
            for part, grid in zip(np.split(maps, ends, axis=-1), self.grids, strict=True)
        ]
