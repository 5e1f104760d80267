"""Several grids over one picture are read as one: by hand on tiny grids, and as they are drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tam.errors import LayoutError
from tam.layout import Grid, Layout
from tam.media import Media
from tam.picture_grid import picture_grid
from tam.render.overlay import heat, panels


def layout(*grids: Grid, sizes=((8, 4),)) -> Layout:
    count = sum(grid.cells for grid in grids)
    return Layout(np.arange(count), np.zeros(0, int), count, grids, sizes)


def grid(rows, columns, *box, medium=0, frames=(0,)) -> Grid:
    return Grid(medium, frames, rows, columns, tuple(map(float, box)))


def test_a_grid_that_is_alone_is_read_as_it_is():
    """Also where it stands out of the picture, or covers a part of it."""
    for box in ((0, 0, 8, 4), (0, -2, 8, 6), (2, 0, 6, 4)):
        found = picture_grid(layout(grid(2, 3, *box)))
        assert (found.rows, found.columns, found.box) == (2, 3, box) and (found.shown == 1).all()
        values = np.array([[np.nan, 1, 2, 3, 4, 5], [0.1] * 6], np.float16)
        read = found.read(values)
        assert read.dtype == np.float16 and np.array_equal(read, values.reshape(2, 2, 3), equal_nan=True)


def test_tiles_of_unequal_boxes_have_the_cells_of_the_finest():
    """Cells of one pixel, then of two: between the centres of the larger ones (at 5 and 7) they are interpolated."""
    found = picture_grid(layout(grid(1, 4, 0, 0, 4, 4), grid(1, 2, 4, 0, 8, 4)))
    assert (found.rows, found.columns, found.box) == (1, 8, (0, 0, 8, 4))
    assert found.read(np.array([1.0, 2, 3, 4, 10, 20])).tolist() == [[1, 2, 3, 4, 10, 12.5, 17.5, 20]]


def test_a_thumbnail_over_tiles_is_averaged_with_them():
    """Its centres lie at 2 and 6 of eight columns: 0 0 1 3 5 7 8 8 halves, in steps of a quarter."""
    tiles = [grid(1, 4, left, 0, left + 4, 4) for left in (0, 4)]
    found = picture_grid(layout(*tiles, grid(1, 2, 0, 0, 8, 4)))
    values = [0, 0, 0, 0, 100, 100, 100, 100, 0, 80]
    drawn = [0, 0, 10, 30, 50, 70, 80, 80]
    assert found.read(np.array(values, float)).tolist() == [
        [(tile + thumbnail) / 2 for tile, thumbnail in zip(values[:8], drawn, strict=True)]
    ]
    whole = found.read(np.array(values, np.uint8))
    assert whole.dtype == np.uint8 and whole.tolist() == [[0, 0, 5, 15, 75, 85, 90, 90]]


def test_what_lies_outside_of_the_picture_has_no_cell_and_what_is_cut_counts_in_part():
    """A grid of 3-pixel cells from -1 to 11 on 8 x 4 pixels, and one over all of it: the last column shows nothing."""
    found = picture_grid(layout(grid(2, 4, -1, -1, 11, 5), grid(1, 1, 0, 0, 8, 4)))
    assert found.box == (-1, -1, 8, 5)
    assert found.shown == pytest.approx(np.outer([2 / 3, 2 / 3], [2 / 3, 1, 1]), abs=1e-6)
    assert found.read(np.array([1.0, 1, 1, 9, 3, 3, 3, 9, 5])).tolist() == [[3, 3, 3], [4, 4, 4]]


def test_what_no_grid_covers_is_zero_and_does_not_count():
    found = picture_grid(layout(grid(1, 2, 0, 0, 2, 4), grid(1, 1, 2, 0, 4, 4)))
    assert found.shown.tolist() == [[1] * 4 + [0] * 4]
    assert found.read(np.array([1.0, 2, 3])).tolist() == [[1, 2, 3, 3, 0, 0, 0, 0]]


def test_each_picture_and_frame_has_its_own_grids():
    found = layout(
        grid(1, 1, 0, 0, 8, 4), grid(1, 2, 0, 0, 6, 6, medium=1), grid(1, 1, 0, 0, 6, 6, medium=1),
        sizes=((8, 4), (6, 6)),
    )  # fmt: skip
    values = np.array([1.0, 2, 4, 6])
    assert picture_grid(found, 0).read(values).tolist() == [[1]]
    assert picture_grid(found, 1).read(values).tolist() == [[4, 5]]
    film = layout(grid(1, 1, 0, 0, 8, 4, frames=(0, 5)), grid(1, 1, 0, 0, 8, 4, frames=(10,)))
    assert [picture_grid(film, 0, frame).read(values[:2]).tolist() for frame in (0, 5, 10)] == [[[1]], [[1]], [[2]]]
    with pytest.raises(LayoutError, match="no grid shows it; got medium 0, frame 7"):
        picture_grid(film, 0, 7)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99), st.booleans())
def test_it_is_what_an_overlay_draws_at_one_pixel_a_cell(down, across, side, seed, thumbnail):
    """Tiles with a thumbnail, as InternVL and Idefics3 have them, on a picture of as many pixels as there are cells."""
    width, height = across * side, down * side
    tiles = [
        grid(side, side, j * side, i * side, (j + 1) * side, (i + 1) * side) for i in range(down) for j in range(across)
    ]
    made = layout(*tiles, *[grid(side, side, 0, 0, width, height)] * thumbnail, sizes=((width, height),))
    values = np.random.default_rng(seed).random(len(made.vision)).astype(np.float32)
    (panel,) = panels(made, Media(False, (Image.new("RGB", (width, height)),), (0,)), 0)
    drawn, covered = heat(panel, made.split(values))
    found = picture_grid(made)
    assert (found.rows, found.columns) == (height, width) and covered.all() and (found.shown == 1).all()
    assert found.read(values) == pytest.approx(drawn, abs=1e-6)


def test_edges_that_differ_in_their_last_bits_meet():
    """Seven tiles of a seventh of 100 pixels: no cell more, none cut."""
    tiles = [grid(3, 3, j * 100 / 7, 0, (j + 1) * 100 / 7, 10) for j in range(7)]
    found = picture_grid(layout(*tiles, grid(3, 3, 0, 0, 100, 10), sizes=((100, 10),)))
    assert (found.rows, found.columns) == (3, 21) and (found.shown == 1).all()
    values = np.tile(np.repeat([0.0, 1, 2, 3, 4, 5, 6], 9), 1)
    assert found.read(np.append(values, np.zeros(9)))[0].tolist() == np.repeat(np.arange(7) / 2, 3).tolist()
