"""The figure of an explanation, what it shows of itself in a notebook, and pictures as people hold them."""

import io
import re
from dataclasses import replace

import numpy as np
import pypdfium2
import pytest
import torch
from PIL import Image

import tam
from tam.errors import DiskError, InputError
from tam.figures.explained import ink
from tam.figures.kinds import KINDS
from tam.pictures import opened
from tam.records import Piece
from tam.render.colors import COLORMAPS, table
from tests import tiny
from tests.test_explanation import ASKED, SAID, picture

PHOTO = picture(640, 480)


@pytest.fixture(scope="module")
def said():
    made = tiny.model()
    processor = tiny.processor()
    made.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    return tam.explain(made, processor, PHOTO, ASKED, answer=SAID, method=["tam", "activation"], max_pixels=112 * 84)


def test_a_pdf_has_real_text_and_the_photo_at_its_own_resolution(said, tmp_path):
    path = said.figure(["dogs", "red umbrella"], ["tam", "activation"], prompt=True).save(tmp_path / "a.pdf")
    page = pypdfium2.PdfDocument(path)[0]
    text = page.get_textpage().get_text_bounded()
    for shown in ("dogs", "red umbrella", "TAM", "CAM (raw activation)", "picture", "What", "sits"):
        assert shown in text
    sizes = [found.get_px_size() for found in page.get_objects() if isinstance(found, pypdfium2.PdfImage)]
    assert sizes.count(PHOTO.size) == 6  # two rows of the picture and two words


def test_an_svg_has_real_text_and_a_png_the_width_that_was_asked_for(said, tmp_path):
    drawn = said.figure(["dogs"], colormap="viridis", width=900)
    assert ">dogs</text>" in drawn.save(tmp_path / "a.svg").read_text()
    for kind in ("png", "jpg", "webp"):
        assert abs(Image.open(drawn.save(tmp_path / f"a.{kind}")).width - 900) <= 1
    assert Image.open(io.BytesIO(drawn._repr_png_())).size == Image.open(tmp_path / "a.png").size


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_replaces_one_of_ours_and_no_other_file(said, tmp_path, kind):
    path = tmp_path / f"a{kind}"
    drawn = said.figure(["dogs"], width=300)
    assert drawn.save(path) == drawn.save(path) == path
    theirs = PHOTO if kind in (".png", ".jpg", ".webp") else None
    theirs.save(path) if theirs else path.write_bytes(b"%PDF-1.7 a thesis")
    before = path.read_bytes()
    with pytest.raises(
        DiskError,
        match=r"only a file of ours is replaced; got \d+ bytes; expected .*; cure: move it away, or",
    ):
        drawn.save(path)
    assert path.read_bytes() == before


def test_a_figure_in_pixels_has_all_its_colours(said):
    assert len(Image.open(io.BytesIO(said.figure(["dogs"])._repr_png_())).getcolors(1 << 24)) > 1000


def test_words_are_columns_or_rows_and_go_on_below(said, tmp_path):
    words = ["dogs", "past", "red", "umbrella", "cat", "sits"]
    across = said.figure(words).figure
    assert len(across.axes[0].images) == 1 + len(words) + 1  # the picture, the words, the scale
    down = said.figure(words[:2], ["tam", "activation"], layout="down").figure
    assert len(down.axes[0].images) == 2 * 3 + 1 and down.get_size_inches()[1] > across.get_size_inches()[1]
    assert 1 <= len(said._strongest(4)) <= 4


def test_of_itself_a_figure_shows_words_and_no_full_stop(said):
    assert "." in [word.text for word in said.words if word.part == "answer"]
    assert "." not in said._strongest(len(said.words)) and "dogs" in said._strongest(len(said.words))


def test_of_itself_a_figure_shows_a_word_whose_last_character_is_cut_off(said):
    """As the last one of an answer in Chinese that was as long as allowed."""
    last = said.tokens[next(word.tokens[-1] for word in said.words if word.text == "dogs")].id
    vocabulary = {**said.generation.vocabulary, last: Piece("\ufffd", "\ufffd", b"\xe7")}
    cut = replace(said, generation=replace(said.generation, vocabulary=vocabulary))
    shown = cut._strongest(len(cut.words))
    assert any("\ufffd" in getattr(word, "text", "") for word in shown)
    cut.figure(shown, width=300)


def test_of_itself_a_figure_shows_the_words_that_the_picture_speaks_for_most(said):
    spoken = [word for word in said.words if word.part == "answer" and any(map(str.isalnum, word.text))]
    peaks = {word.text.lower(): word.evidence.peak for word in reversed(spoken)}  # where a word stands first
    second = sorted(peaks.values())[-2]
    assert {text.lower() for text in said._strongest(2)} == {text for text in peaks if peaks[text] >= second}


def test_what_cannot_be_drawn_is_said_before_anything_is_written(said, tmp_path):
    for options, problem in (
        ({"words": ["zebra"]}, "nothing matches"), ({"methods": ["eci"]}, "not a method"), ({"layout": "x"}, "layout"),
        ({"colormap": "x"}, "colour map"), ({"alpha": 2}, "share of colours"), ({"width": 3}, "width"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=problem):
            said.figure(**options)
    with pytest.raises(InputError, match="unknown kind of figure"):
        said.figure(["dogs"]).save(tmp_path / "a.gif")
    assert not any(tmp_path.iterdir())


def test_a_word_or_one_of_the_explanations_words_is_enough(said):
    """Not its letters, nor the parts of its tuple."""
    word = next(word for word in said.words if word.text == "dogs")
    expected = said.figure(["dogs"])._repr_png_()
    assert said.figure("dogs", "tam")._repr_png_() == said.figure(word)._repr_png_() == expected
    assert said.figure([word])._repr_png_() == expected and said.select(np.int64(-2)).tokens == said.select(-2).tokens


@pytest.mark.parametrize("what", [1.5, b"dogs", ["dogs"], object])
def test_what_selects_nothing_is_one_line(said, what):
    with pytest.raises(InputError, match="this selects nothing"):
        said.select(what)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"prompt": None}, "prompt: not a text; got None"), ({"answer": 3}, "answer: not a text; got 3"),
        ({"turns": ["ab"]}, "a turn is not the user"),
        ({"turns": "ab"}, "a turn is not the user"),
        ({"turns": [("a", 1)]}, "turns: not a"),
        ({"max_pixels": 0}, "max_pixels: wrong number; got 0"),
        ({"images": (), "video": np.zeros((8, 8, 3), np.uint8)}, r"not a video; got ndarray \(8, 8, 3\)"),
        ({"images": (), "video": 7}, "not a video; got int"), ({"images": (), "video": []}, "a video without frames"),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_asked_is_one_line(said, asked, problem):
    with pytest.raises(InputError, match=problem):
        tam.explain(tiny.model(), tiny.processor(), **{"images": PHOTO, "prompt": ASKED} | asked)


def test_frames_in_an_array_are_a_video():
    frames = np.stack([np.asarray(picture(seed=seed)) for seed in range(4)])
    made = tam.explain(tiny.model(), tiny.processor(), video=frames, prompt=ASKED, answer="a cat")
    drawn = made.figure("cat")
    assert made.media.video and [grid.frames for grid in made.layout.grids] == [(0, 1), (2, 3)]
    assert len(drawn.figure.axes[0].images) == 3


def test_an_overlay_has_the_pictures_own_size_or_the_one_asked_for(said):
    assert said.overlay("dogs").size == PHOTO.size and said.overlay("dogs", width=320).size == (320, 240)
    bare = np.asarray(said.overlay("dogs", alpha=0))
    assert np.array_equal(bare, np.asarray(PHOTO))


def test_an_outline_is_white_on_black_around_what_is_above_the_threshold(said):
    plain, edged = (np.asarray(said.overlay("dogs", alpha=0, outline=outline)).astype(int) for outline in (False, True))
    changed = edged[(plain != edged).any(-1)]
    assert 0 < len(changed) < plain.shape[0] * plain.shape[1] / 4 and changed.min() == 0 and changed.max() > 200
    pictures = [said.figure("dogs", outline=outline).figure.axes[0].images[1].get_array() for outline in (False, True)]
    assert not np.array_equal(*pictures)


def test_it_shows_itself_in_a_line_a_page_and_a_picture(said):
    assert repr(said).startswith("<Explanation of 'Two dogs run past") and len(repr(said)) < 200
    page = said._repr_html_()
    assert (
        re.match(r'<iframe srcdoc="&lt;!doctype html', page, re.IGNORECASE)
        and 'sandbox="allow-scripts allow-downloads"' in page
    )
    assert Image.open(io.BytesIO(said._repr_png_())).width > 1000


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_words_can_be_read_on_every_colour(colormap):
    def luminance(color):
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in np.array(color) / 255
        ]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    for color in table(colormap):
        above, below = sorted((luminance(color), {"black": 0.0, "white": 1.0}[ink(color)]), reverse=True)
        assert (above + 0.05) / (below + 0.05) >= 4.5


def test_pictures_are_the_same_however_they_are_held(tmp_path):
    PHOTO.save(tmp_path / "a.png")
    array = np.asarray(PHOTO)
    held = [
        tmp_path / "a.png", str(tmp_path / "a.png"), PHOTO, array, (tmp_path / "a.png").read_bytes(), array / 255,
        torch.from_numpy(array.copy()), torch.from_numpy(array.copy()).permute(2, 0, 1) / 255,
    ]  # fmt: skip
    for given in held:
        made = opened(given)
        made = made if isinstance(made, Image.Image) else Image.open(made)
        assert np.array_equal(np.asarray(made), array)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (np.zeros((4, 4), np.int64), "not an array of a picture"), (np.full((4, 4, 3), 2.0), "not an array"),
        (np.zeros((4, 4, 7), np.uint8), "not an array"), (b"no picture", "bytes: not a picture"),
        ("http://127.0.0.1:9/a.png", "no picture there"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_one_line(given, problem):
    with pytest.raises(InputError, match=problem):
        opened(given)
