"""Where vision tokens lie on the pixels: boxes by hand, and a probe that a wrong layout does not pass."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    CLIPImageProcessor,
    LlavaImageProcessor,
    SiglipImageProcessor,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)

from tam.check.asked import film, picture, pictures
from tam.errors import InputError, LayoutError, ModelError
from tam.families import gemma3, generic, internvl, llava_next
from tam.families.crop import seen_box
from tam.families.interface import Block
from tam.layout import Grid
from tam.media import Media
from tam.model.checkpoint import load
from tam.model.decoding import answer_batch
from tam.model.forced import forced_batch
from tam.model.probe import believe, probe
from tam.model.prompt import prepare, showing
from tam.render.overlay import Panel, heat
from tests import tiny


def layout(kind: str, media: Media, **changes):
    """The layout of a tiny checkpoint of a kind, with changes to its family."""
    prompter = tiny.loaded(kind).prompter
    return prepare(replace(prompter, family=replace(prompter.family, **changes)), media, "a cat").layout


def boxes(kind: str, *sizes: tuple[int, int], **changes) -> list[tuple]:
    return [grid.box for grid in layout(kind, pictures(*sizes), **changes).grids]


# ---- crops and paddings


def test_a_centre_crop_leaves_out_the_sides():
    """168 x 112 is resized to 84 x 56, of which 56 x 56 are seen: two pixels of the picture for each."""
    assert boxes("llava", (168, 112)) == [(28, 0, 140, 112)]


def test_a_crop_follows_the_processors_rounding():
    """150 x 353 becomes 56 x int(131.79), and the crop starts at int(37.5)."""
    assert boxes("llava", (150, 353))[0] == pytest.approx((0, 37 * 353 / 131, 150, 93 * 353 / 131))


def test_squashed_pictures_are_seen_as_a_whole():
    assert seen_box(SiglipImageProcessor(), (150, 353)) == (0, 0, 150, 353)
    assert boxes("paligemma", (150, 353), (20, 30)) == [(0, 0, 150, 353), (0, 0, 20, 30)]


def test_a_padded_picture_is_seen_in_the_middle_of_a_square():
    padded = LlavaImageProcessor(do_pad=True, size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    assert seen_box(padded, (101, 40)) == (0, -30, 101, 71)
    assert boxes("llava_onevision", (60, 30), (20, 60))[0] == (0, -15, 56, 41)  # four patches see 56 of 60 pixels


def test_a_crop_larger_than_the_picture_is_padded():
    large = CLIPImageProcessor(size={"shortest_edge": 50}, crop_size={"height": 56, "width": 56})
    assert seen_box(large, (100, 50)) == (22, -3, 78, 53)


def test_a_crop_without_resizing_takes_the_middle():
    assert seen_box(
        CLIPImageProcessor(do_resize=False, crop_size={"height": 56, "width": 56}), (100, 70)
    ) == (22, 7, 78, 63)  # fmt: skip


# ---- tiles


def test_tiles_lie_row_after_row_and_the_thumbnail_on_all_of_it():
    tiled = [(x, y, x + 56, y + 56) for y in (0, 56) for x in (0, 56, 112)]
    for kind in ("internvl", "idefics3", "smolvlm"):
        assert boxes(kind, (168, 112)) == [*tiled, (0, 0, 168, 112)]


def test_a_picture_of_one_tile_has_no_thumbnail():
    assert boxes("internvl", (56, 56)) == [(0, 0, 56, 56)]


def test_in_one_tile_all_of_each_picture_is_shown_at_once():
    loaded = replace(tiny.loaded("internvl"), family=internvl.ONE_TILE)
    media = pictures((168, 112), (60, 90))
    made = prepare(loaded.prompter, media, "a cat")
    assert [grid.box for grid in made.layout.grids] == [(0, 0, 168, 112), (0, 0, 60, 90)]
    assert made.inputs["pixel_values"].shape == (2, 3, 56, 56)
    assert all(right for right, _ in probe(loaded, media, 4))
    film_in_one = prepare(loaded.prompter, film((84, 56)), "a cat").layout
    assert film_in_one.grids == layout("internvl", film((84, 56))).grids


def test_pan_and_scan_crops_the_longer_side():
    pan = {"options": {"images_kwargs": {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 32}}}
    assert boxes("gemma3", (131, 61), **pan) == [(0, 0, 131, 61), (0, 0, 66, 61), (66, 0, 131, 61)]
    assert boxes("gemma3", (61, 131), **pan) == [(0, 0, 61, 131), (0, 0, 61, 66), (0, 66, 61, 131)]
    assert boxes("gemma3", (61, 60), **pan) == [(0, 0, 61, 60)]
    loaded = replace(tiny.loaded("gemma3"), family=replace(gemma3.FAMILY, **pan))
    found = probe(loaded, pictures((131, 61), (90, 200)), 4)
    assert all(right for right, _ in found)


NEXT = SimpleNamespace(
    vision_config=SimpleNamespace(image_size=336, patch_size=14),
    image_grid_pinpoints=[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
)


@pytest.mark.parametrize(
    ("size", "rows", "columns", "box"),
    [
        ((640, 480), 36, 48, (0, 0, 640, 480)),  # 504 of 672 pixels: 84 above are six patches
        ((1000, 666), 32, 48, (0, 0, 1000, 666)),  # 448 pixels (447.55 rounded up): 112 above are eight patches
        # 471 pixels from 100 on; seven patches are taken off, so the grid starts 2 pixels above the picture
        ((500, 350), 34, 48, (0, -2 * 350 / 471, 500, 474 * 350 / 471)),
        ((336, 1008), 72, 24, (0, 0, 336, 1008)),
    ],
)
def test_joined_tiles_are_unpadded(size, rows, columns, box):
    found = llava_next.joined(NEXT, size)
    assert found[:2] == (rows, columns) and found[2] == pytest.approx(box)


@pytest.mark.parametrize("kind", ["llava_next", "llava_onevision"])
@pytest.mark.parametrize("size", [(4000, 40), (40, 4000)])
def test_a_sliver_has_no_joined_tiles_left(kind, size):
    """All rows are taken off, or all columns: then only newlines are left. The model can still be asked."""
    loaded = tiny.loaded(kind)
    prepared = prepare(loaded.prompter, pictures(size), "a cat")
    assert len(prepared.layout.grids) == 1
    answer_batch(loaded, [prepared], 1)


def test_newlines_are_no_vision_tokens():
    found = layout("llava_next", pictures((168, 112)))
    assert [(grid.rows, grid.columns) for grid in found.grids] == [(4, 4), (8, 12)]
    steps = np.diff(found.vision)
    assert len(steps) == 16 + 96 - 1 and sorted(set(steps.tolist())) == [1, 2]
    assert np.flatnonzero(steps == 2).tolist() == [16 + 12 * row - 1 for row in range(1, 8)]


def test_what_shows_something_is_what_the_blocks_say():
    one, other = Grid(0, (0,), 2, 3, (0, 0, 1, 1)), Grid(0, (0,), 1, 1, (0, 0, 1, 1))
    shown = showing([Block(one, row_end=1), Block(other, end=2)], 11)
    assert shown.tolist() == [True] * 3 + [False] + [True] * 3 + [False, True, False, False]
    with pytest.raises(LayoutError, match=r"got 10 vision tokens; expected 11 \(2x3 \+ 1x1\)"):
        showing([Block(one, row_end=1), Block(other, end=2)], 10)


def test_molmos_grids_reach_beyond_the_picture_where_patches_end_within_a_token():
    """The squashed picture has 7 x 7 patches; 2 x 3 crops of as many that overlap by four have 10 x 13."""
    x, y = 168, 112
    assert boxes("molmo2", (x, y)) == [(0, 0, x * 8 / 7, y * 8 / 7), (0, 0, x * 14 / 13, y)]
    found = layout("molmo2", pictures((x, y), (50, 50)))
    assert [(grid.medium, grid.rows, grid.columns) for grid in found.grids] == [
        (0, 4, 4), (0, 5, 7), (1, 4, 4), (1, 4, 4),
    ]  # fmt: skip
    ends = np.flatnonzero(np.diff(found.vision) == 2)  # a token at the end of a row
    assert ends.tolist() == [3, 7, 11, *range(22, 50, 7), *range(54, 66, 4), *range(70, 82, 4)]


def test_patches_that_are_missing_on_both_sides_are_beyond_both():
    """Three make a token of a frame's seven, so that one is missing on each side."""
    assert {grid.box for grid in layout("molmo2", film((84, 56))).grids} == {(-12, -8, 96, 64)}


def test_kimis_pictures_are_padded_on_the_right_and_below():
    """To tokens of 28 pixels; one of more than 80 patches is made smaller first: 1000 x 701 to 150 x 105."""
    assert boxes("kimi_k25", (60, 90), (56, 28)) == [(0, 0, 84, 112), (0, 0, 56, 28)]
    (found,) = layout("kimi_k25", pictures((1000, 701))).grids
    assert (found.rows, found.columns) == (4, 6)
    assert found.box == pytest.approx((0, 0, 1000 * 168 / 150, 701 * 112 / 105))


# ---- videos


@pytest.mark.parametrize("kind", ["qwen3_vl", "glm4v", "kimi_k25", "llava_onevision", "internvl", "smolvlm", "molmo2"])
def test_a_videos_grids_name_their_frames(kind):
    merged = kind in ("qwen3_vl", "glm4v", "kimi_k25")
    found = layout(kind, film((84, 56))).grids
    assert [grid.frames for grid in found] == ([(0, 5), (10,)] if merged else [(0,), (5,), (10,)])


@pytest.mark.parametrize(
    "kind", ["gemma3", "gemma3n", "idefics3", "llava", "llava_next", "mistral3", "paligemma", "pixtral", "llama4",
             "paddleocr_vl"],
)  # fmt: skip
def test_a_video_is_refused_by_those_that_take_none(kind):
    with pytest.raises(InputError, match=r"takes no video.*several pictures"):
        layout(kind, film((84, 56)))


def frames(count: int) -> Media:
    return Media(True, tuple(picture(84, 56, seed) for seed in range(count)), tuple(range(count)))


def test_frames_that_share_a_grid_are_what_the_library_makes_of_them_where_it_can():
    """It takes two frames each in one pass, but not one more."""
    loaded = tiny.loaded("kimi_k25")
    one = prepare(loaded.prompter, frames(4), "a cat")
    found = loaded.batch([one])["mm_encoder_outputs"]["video"].pooler_output
    parts = loaded.model.model
    pooled = parts.vision_tower(one.inputs["pixel_values_videos"], grid_thw=one.inputs["video_grid_thw"]).pooler_output
    assert len(found) == 2
    torch.testing.assert_close(torch.cat(found), parts.mm_projector(pooled)[:, 0], atol=1e-5, rtol=1e-4)


def test_pictures_and_a_video_of_kimi_are_read_together_as_alone():
    loaded, ids = tiny.loaded("kimi_k25"), np.array([5, 6], np.int32)
    asked = [prepare(loaded.prompter, media, "a cat") for media in (pictures((90, 60), (56, 84)), frames(3))]
    together = forced_batch(loaded, asked, [ids, ids])
    for one, found in zip(asked, together, strict=True):
        (alone,) = forced_batch(loaded, [one], [ids])
        torch.testing.assert_close(found.states, alone.states, atol=1e-4, rtol=1e-4)


# ---- sizes

# Its tiny processor's 8 tokens are no room for a sliver.
ROOMY = {"lfm2_vl": {"options": {"images_kwargs": {"max_image_tokens": 128}}}}


@pytest.mark.parametrize("size", [(28, 28), (28, 90), (4000, 3000), (4000, 40), (61, 4000)])
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_pictures_from_28_to_4000_pixels(kind, size):
    found = layout(kind, pictures(size), **ROOMY.get(kind, {}))
    assert sum(grid.cells for grid in found.grids) == len(found.vision) and found.sizes == (size,)
    for left, top, right, bottom in (grid.box for grid in found.grids):
        assert right > left and bottom > top and right > 0 and bottom > 0 and left < size[0] and top < size[1]


# ---- the probe refuses what is wrong


def _swapped(grid: Grid, size: tuple[int, int]) -> Grid:
    return replace(grid, rows=grid.columns, columns=grid.rows)


def _mirrored(grid: Grid, size: tuple[int, int]) -> Grid:
    (width, height), (left, top, right, bottom) = size, grid.box
    return replace(grid, box=(width - right, height - bottom, width - left, height - top))


def _all_of_it(grid: Grid, size: tuple[int, int]) -> Grid:
    return replace(grid, box=(0.0, 0.0, *map(float, size)))


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [("qwen2_vl", _swapped), ("mistral3", _swapped), ("molmo2", _swapped), ("molmo2", _mirrored),
     ("internvl", _mirrored), ("idefics3", _mirrored), ("llava", _all_of_it), ("internvl", _all_of_it),
     ("kimi_k25", _all_of_it)],
)  # fmt: skip
def test_a_wrong_layout_does_not_pass_the_probe(kind, wrong):
    loaded, media = tiny.loaded(kind), pictures((301, 112))
    family = loaded.family
    bent = replace(
        family, blocks=lambda sample: [replace(b, grid=wrong(b.grid, media.sizes[0])) for b in family.blocks(sample)]
    )
    assert all(right for right, _ in probe(loaded, media, 4))
    assert not all(right for right, _ in probe(replace(loaded, family=bent), media, 4))


# ---- models of an unknown kind


def test_an_unknown_kind_with_a_square_grid_is_believed():
    for kind in ("llava", "paligemma", "qwen2_vl"):
        loaded = tiny.loaded(kind)
        family = replace(generic.FAMILY, template=loaded.family.template, appended=loaded.family.appended)
        believe(replace(loaded, family=family))


def test_an_unknown_kind_is_loaded_and_asked(tmp_path):
    """VipLlava is no family, but its tokens lie as LLaVA-1.5's do, on the same centre crop."""
    known = tiny.model("llava").config
    config = VipLlavaConfig(
        text_config=known.text_config, vision_config=known.vision_config, image_token_id=known.image_token_id,
        vision_feature_layers=[-1, -2],
    )  # fmt: skip
    torch.manual_seed(0)
    VipLlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    tiny.processor("llava").save_pretrained(tmp_path)
    loaded = load(str(tmp_path), device="cpu")
    assert loaded.family is generic.FAMILY
    found = prepare(loaded.prompter, pictures((168, 112)), "a cat").layout
    assert found.grids == (Grid(0, (0,), 4, 4, (28, 0, 140, 112)),)


@pytest.mark.parametrize("kind", ["internvl", "llava_next", "idefics3"])
def test_an_unknown_kind_with_other_grids_is_refused(kind):
    with pytest.raises(ModelError, match=r"not one regular grid.*Add your model"):
        believe(replace(tiny.loaded(kind), family=generic.FAMILY))


def test_an_unknown_kind_whose_tokens_lie_elsewhere_is_refused(monkeypatch):
    """As many tokens as a square has, but in another order: only painting shows it."""
    loaded = replace(tiny.loaded("llava"), family=generic.FAMILY)
    projector = loaded.model.model.multi_modal_projector
    projector.register_forward_hook(lambda module, inputs, output: output.flip(1))
    with pytest.raises(ModelError, match=r"got \d of 12 painted cells moved their own token most"):
        believe(loaded)


def test_a_checkpoint_without_a_chat_template_is_refused():
    prompter = tiny.loaded("llava").prompter
    prompter.processor.chat_template = prompter.processor.tokenizer.chat_template = None
    with pytest.raises(ModelError, match="has no chat template"):
        prepare(prompter, pictures((56, 56)), "a cat")


# ---- drawing


def test_a_grid_that_reaches_beyond_the_picture_is_cut_off():
    panel = Panel(np.zeros((10, 20, 3), np.uint8), ((0, (-10, 0, 30, 10)),))
    values, covered = heat(panel, [np.array([[0.0, 1.0, 1.0, 0.0]])])
    assert covered.all() and values[:, 9:11].min() == 1 and values[0, 0] == pytest.approx(0.55)
