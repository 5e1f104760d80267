"""Heat maps over pictures: each grid on its own part, in the picture's aspect."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tam.errors import RenderError
from tam.layout import Grid, Layout
from tam.media import Media
from tam.render.colors import JET, STORED, signed, table
from tam.render.overlay import above, heat, mosaic, outlined, overlay, panels


def layout(*grids: Grid, sizes=((40, 20),)) -> Layout:
    count = sum(grid.cells for grid in grids)
    return Layout(np.arange(count), np.zeros(0, int), count, grids, sizes)


def media(*sizes, video: bool = False, color=(100, 100, 100)) -> Media:
    pictures = tuple(Image.new("RGB", size, color) for size in sizes)
    return Media(video, pictures, tuple(range(len(sizes))) if video else (0,) * len(sizes))


def test_half_picture_and_half_jet():
    (panel,) = panels(layout(Grid(0, (0,), 1, 1, (0, 0, 40, 20))), media((40, 20)), 0)
    assert overlay(panel, [np.ones((1, 1))])[5, 5].tolist() == [114, 50, 50]  # (128, 0, 0) and (100, 100, 100)


@pytest.mark.parametrize(
    ("size", "shown"), [((224, 224), (500, 500)), ((1440, 1080), (375, 500)), ((100, 400), (2000, 500))]
)
def test_one_picture_is_500_wide_in_its_own_aspect(size, shown):
    (panel,) = panels(layout(Grid(0, (0,), 2, 2, (0, 0, *size)), sizes=(size,)), media(size))
    assert panel.picture.shape[:2] == shown


def test_what_no_grid_covers_stays_as_it_is():
    (panel,) = panels(layout(Grid(0, (0,), 2, 2, (10, 0, 30, 20))), media((40, 20)), 0)
    made = overlay(panel, [np.zeros((2, 2))])
    assert (made[:, :10] == 100).all() and (made[:, 30:] == 100).all() and (made[:, 10:30] == [50, 50, 114]).all()


def test_each_tile_lies_on_its_box_and_overlaps_are_averaged():
    tiles = layout(
        Grid(0, (0,), 1, 1, (0, 0, 20, 20)), Grid(0, (0,), 1, 1, (20, 0, 40, 20)), Grid(0, (0,), 1, 1, (0, 0, 40, 20))
    )
    (panel,) = panels(tiles, media((40, 20)), 0)
    values, covered = heat(panel, [np.full((1, 1), value) for value in (1.0, 0.0, 0.5)])
    assert (values[:, :20] == 0.75).all() and (values[:, 20:] == 0.25).all() and covered.all()


def test_rows_and_columns_are_not_swapped():
    (panel,) = panels(layout(Grid(0, (0,), 2, 4, (0, 0, 40, 20))), media((40, 20)), 0)
    grid = np.zeros((2, 4))
    grid[1, 3] = 1
    values, _ = heat(panel, [grid])
    assert np.unravel_index(values.argmax(), values.shape)[0] >= 15 and values[:, 35:].max() == values.max()


def test_not_a_number_counts_as_zero():
    (panel,) = panels(layout(Grid(0, (0,), 1, 1, (0, 0, 40, 20))), media((40, 20)), 0)
    assert overlay(panel, [np.full((1, 1), np.nan)])[0, 0].tolist() == [50, 50, 114]


def test_above_is_what_one_threshold_keeps_of_all_pictures():
    """By itself the second picture would be cut in two as well; what no grid covers is never above."""
    two = layout(Grid(0, (0,), 1, 1, (0, 0, 20, 20)), Grid(1, (0,), 1, 2, (0, 0, 40, 20)), sizes=((40, 20), (40, 20)))
    shown = panels(two, media((40, 20), (40, 20)), 0)
    first, second = above(shown, [np.full((1, 1), 0.9), np.array([[0.1, 0.2]])])
    assert first[:, :20].all() and not first[:, 20:].any() and not second.any()


def test_several_pictures_have_one_height():
    two = layout(Grid(0, (0,), 1, 2, (0, 0, 40, 20)), Grid(1, (0,), 2, 1, (0, 0, 20, 40)), sizes=((40, 20), (20, 40)))
    shapes = [panel.picture.shape for panel in panels(two, media((40, 20), (20, 40)))]
    assert shapes[0][0] == shapes[1][0] and shapes[0][1] == 4 * shapes[1][1]


def test_a_video_shows_each_frame_once_under_the_grid_of_its_temporal_patch():
    """A frame that was sampled twice is shown once, under both its grids."""
    shades = [Image.new("RGB", (40, 20), (shade,) * 3) for shade in (10, 20, 30, 40)]
    clip = Media(True, tuple(shades), (0, 5, 10, 15))
    grids = layout(Grid(0, (0, 5), 1, 1, (0, 0, 40, 20)), Grid(0, (10, 15), 1, 1, (0, 0, 40, 20)))
    made = panels(grids, clip)
    assert [panel.picture[0, 0, 0] for panel in made] == [10, 20, 30, 40]
    assert [(panel.frame, [index for index, _ in panel.grids]) for panel in made] == [
        (0, [0]), (5, [0]), (10, [1]), (15, [1]),
    ]  # fmt: skip
    twice = layout(Grid(0, (0,), 1, 1, (0, 0, 40, 20)), Grid(0, (0,), 1, 1, (0, 0, 40, 20)))
    (panel,) = panels(twice, Media(True, tuple(shades[:2]), (0, 0)))
    assert [index for index, _ in panel.grids] == [0, 1]


def test_a_picture_that_has_changed_is_refused():
    with pytest.raises(RenderError, match="has changed"):
        panels(layout(Grid(0, (0,), 1, 1, (0, 0, 40, 20))), media((41, 20)))


def test_a_mosaic_balances_its_rows():
    made = mosaic([np.zeros((10, 20, 3), np.uint8)] * 5, columns=4, gap=2)
    assert made.shape == (22, 64, 3) and (made[12:, 44:] == 255).all()


def test_the_outline_follows_the_mask():
    mask = np.zeros((20, 40), bool)
    mask[5:15, 10:30] = True
    made = outlined(np.full((20, 40, 3), 100, np.uint8), mask)
    assert (made[5, 12:28] > 200).all() and (made[10, 15:25] == 100).all() and (made[0] == 100).all()


def test_the_scale_runs_from_blue_to_red():
    assert JET[0].tolist() == [0, 0, 128] and JET[255].tolist() == [128, 0, 0]


@pytest.mark.parametrize("name", STORED)
def test_the_stored_colours_are_those_of_matplotlib(name):
    stored = signed() if name == "RdBu_r" else table(name)
    assert stored.dtype == np.uint8
    assert stored.tolist() == np.rint(255 * matplotlib.colormaps[name](np.arange(256))[:, :3]).tolist()
