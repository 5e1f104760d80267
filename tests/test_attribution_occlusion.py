"""Occlusion: windows cover every cell, an unchanged picture changes nothing, and the drops land where they belong."""

import numpy as np
import pytest
import torch
from PIL import Image

from tam.attribution import occlusion as module
from tam.attribution.occlusion import Shown, Window, mean_painted, occlusion, spread, windows_of
from tam.check.asked import film
from tam.errors import InputError
from tam.layout import Grid, Layout
from tam.media import Media
from tam.model.prompt import prepare
from tests.asked import WORDS, asked

NONE = np.zeros(0, np.int32)


def layout(*grids: Grid, size: tuple[int, int]) -> Layout:
    return Layout(np.arange(sum(grid.cells for grid in grids), dtype=np.int32), NONE, 99, grids, (size,))


def test_a_cells_score_is_the_mean_over_the_windows_that_hold_its_centre():
    one = layout(Grid(0, (0,), 1, 5, (0, 0, 50, 10)), size=(50, 10))
    windows = list(windows_of(one, 3, 2))
    assert [window.box for window in windows] == [(0, 0, 30, 10), (20, 0, 50, 10)]
    assert spread(one, windows, np.array([[1, 4], [3, 0]], np.float32)).tolist() == [[1, 1, 2, 3, 3], [4, 4, 2, 0, 0]]


def test_a_tile_and_a_thumbnail_are_hidden_together():
    tiles = [Grid(0, (0,), 2, 2, (left, 0, left + 20, 20)) for left in (0, 20)]
    both = layout(*tiles, Grid(0, (0,), 1, 2, (0, 0, 40, 20)), size=(40, 20))
    windows = list(windows_of(both, 2, 2))  # of the tiles' cells, the finest
    assert [window.box for window in windows] == [(0, 0, 20, 20), (20, 0, 40, 20)]
    assert spread(both, windows, np.array([[1], [2]], np.float32))[0].tolist() == [1] * 4 + [2] * 4 + [1, 2]


@pytest.mark.parametrize(
    ("kind", "media"), [("llava_next", None), ("qwen2_vl", film((84, 56)))], ids=["tiles", "video"]
)
def test_every_vision_token_is_in_a_window(kind, media):
    loaded, question, *_ = asked(kind)
    prepared = question.prepared if media is None else prepare(loaded.prompter, media, WORDS)
    windows = list(windows_of(prepared.layout, 4, 3))
    assert (spread(prepared.layout, windows, np.ones((len(windows), 1), np.float32)) == 1).all()
    if media is not None:
        assert len({window.frames for window in windows}) == len(prepared.layout.grids) == 2


def test_a_window_is_painted_in_the_mean_colour_and_nothing_else_is():
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    media = Media(False, (Image.fromarray(pixels), Image.fromarray(pixels)), (0, 0))
    painted = mean_painted(media, Window(1, (0,), (2, 0, 6, 2)))
    changed = np.asarray(painted.pictures[1])
    assert painted.pictures[0] is media.pictures[0] and (changed[:2, 2:] == pixels.mean((0, 1)).round()).all()
    changed = changed.copy()
    changed[:2, 2:] = pixels[:2, 2:]
    assert (changed == pixels).all() and (np.asarray(media.pictures[1]) == pixels).all()


def test_frames_of_a_video_are_painted_where_a_grid_sees_them():
    media = film((84, 56))
    painted = mean_painted(media, Window(0, media.frames[1:], (0, 0, 84, 56)))
    assert painted.pictures[0] is media.pictures[0]
    assert all(len(one.getcolors()) == 1 for one in painted.pictures[1:])


def test_an_unchanged_picture_gives_nothing_and_a_changed_one_does():
    loaded, question, _, media = asked("llava_next")
    shown = Shown(media, WORDS)
    drops = occlusion(loaded, question.prepared, shown, question.text, 2, 2, lambda media, window: media)
    assert drops.shape == (len(question.text), len(question.prepared.layout.vision)) and np.abs(drops).max() < 1e-5
    assert np.abs(occlusion(loaded, question.prepared, shown, question.text, 2, 2)).max() > 1e-3


def test_fewer_pictures_at_once_where_memory_is_short(monkeypatch):
    loaded, question, _, media = asked("qwen2_vl")
    plain, sizes = module.forced_batch, []

    def forced_batch(loaded, prepared, answers):
        sizes.append(len(prepared))
        if len(prepared) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return plain(loaded, prepared, answers)

    whole = occlusion(loaded, question.prepared, Shown(media, WORDS), question.text, 2, 1)
    monkeypatch.setattr(module, "forced_batch", forced_batch)
    found = occlusion(loaded, question.prepared, Shown(media, WORDS), question.text, 2, 1)
    assert max(sizes[-3:]) == 1 and np.allclose(found, whole, atol=1e-4)


def test_another_prompt_is_refused():
    loaded, question, _, media = asked("qwen2_vl")
    with pytest.raises(InputError, match="the prompt is another one"):
        occlusion(loaded, question.prepared, Shown(media, "What?"), question.text, 2, 2)
