"""Where the words and the vision tokens are, for each family; no network."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from tam.errors import InputError, LayoutError, ModelError
from tam.families import FAMILIES
from tam.families.interface import Block, Family
from tam.layout import Grid
from tam.manifest import Sample
from tam.media import Film, Media, open_media, open_picture, two_a_second
from tam.model.prompt import Prompter, prepare, spanning
from tam.model.vocabulary import piece_of
from tests import tiny

KINDS = ["qwen2_vl", "qwen2_5_vl"]


@pytest.fixture(scope="module", params=KINDS)
def prompter(request) -> Prompter:
    return tiny.loaded(request.param).prompter


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pictures(*sizes: tuple[int, int]) -> Media:
    return Media(False, tuple(picture(*size) for size in sizes), (0,) * len(sizes))


def film(frames: tuple[int, ...], size=(84, 56)) -> Media:
    return Media(True, tuple(picture(*size, seed) for seed in frames), frames)


# ---- the person's words


@pytest.mark.parametrize(
    "words",
    ["Describe the image.", "é, 猫 and 🐈", " two dogs ", "line\nline\n", "user", "<|im_end", "a", "assistant\n", ""],
)
def test_the_prompt_is_the_persons_words_and_nothing_else(prompter, words):
    prepared = prepare(prompter, pictures((112, 168)), words)
    assert prompter.processor.tokenizer.decode(prepared.tokens[prepared.layout.prompt]) == words


CONFIG = tiny.model().config


@given(words=st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=30))
@settings(deadline=None, max_examples=25)
def test_any_words_are_found(words):
    processor = tiny.processor()
    prepared = prepare(Prompter(FAMILIES["qwen2_vl"], CONFIG, processor), pictures((56, 56)), words)
    vocabulary = [piece_of(processor.tokenizer, id) for id in prepared.tokens[prepared.layout.prompt]]
    normal = processor.tokenizer.backend_tokenizer.normalizer.normalize_str(words)
    assert b"".join(piece.bytes for piece in vocabulary).decode() == normal


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize(
    "words", ["Describe the image.", "é, 猫 and 🐈", "a cat\nand two dogs", "user", "</s", "a", ""]
)
def test_the_words_are_found_in_every_familys_prompt(kind, words):
    """SentencePiece writes a space before some words, and that is all that may be added."""
    loaded = tiny.loaded(kind)
    processor = loaded.processor
    prepared = prepare(loaded.prompter, pictures((56, 84), (40, 40)), words)
    pieces = [piece_of(processor.tokenizer, id).bytes for id in prepared.tokens[prepared.layout.prompt]]
    assert b"".join(pieces).decode().removeprefix(" ") == words


def test_the_words_of_the_last_turn_are_explained_and_earlier_turns_are_context():
    loaded, media = tiny.loaded("qwen2_vl"), pictures((56, 84), (40, 40))
    processor = loaded.processor
    prepared = prepare(loaded.prompter, media, "a cat", [["a cat", "two dogs"], ["why", "so"]])
    text = processor.tokenizer.decode(prepared.tokens)
    seen = re.sub(r"(<\|image_pad\|>)+", "<|image_pad|>", text)
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    assert seen.endswith(
        f"<|im_start|>user\n{image}{image}a cat<|im_end|>\n<|im_start|>assistant\ntwo dogs<|im_end|>\n"
        "<|im_start|>user\nwhy<|im_end|>\n<|im_start|>assistant\nso<|im_end|>\n"
        "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n"
    )
    assert processor.tokenizer.decode(prepared.tokens[prepared.layout.prompt]) == "a cat"
    assert processor.tokenizer.decode(prepared.tokens[prepared.layout.prompt[-1] + 1 :]).startswith(
        "<|im_end|>\n<|im_start|>a"
    )


def test_half_a_turn_is_refused():
    prompter = tiny.loaded("qwen2_vl").prompter
    for turns in (["why"], [["why"]]):
        with pytest.raises(InputError, match="a turn is not the user's words and the answer"):
            prepare(prompter, pictures((56, 56)), "so", turns)


def test_a_conversation_is_refused_by_a_model_that_takes_none():
    prompter = tiny.loaded("paligemma").prompter
    with pytest.raises(InputError, match="takes no conversation"):
        prepare(prompter, pictures((56, 56)), "why", [["a cat", "two dogs"]])


def test_words_that_stand_for_vision_are_refused(prompter):
    with pytest.raises((InputError, ValueError)):
        prepare(prompter, pictures((56, 56)), "see <|image_pad|>")
    with pytest.raises(InputError, match="U\\+E000"):
        prepare(prompter, pictures((56, 56)), "\ue000")


def test_words_that_the_template_changes_are_found_as_they_stand_there(prompter, monkeypatch):
    template = prompter.processor.chat_template.replace("content['text']", "content['text'] | trim | upper")
    monkeypatch.setattr(prompter.processor, "chat_template", template)
    prepared = prepare(prompter, pictures((56, 56)), " what? ")
    assert prompter.processor.tokenizer.decode(prepared.tokens[prepared.layout.prompt]) == "WHAT?"


@pytest.mark.parametrize("shown", ["", "{{ content['text'] }} {{ content['text'] }}"])
def test_a_template_that_does_not_show_the_words_once_is_refused(prompter, monkeypatch, shown):
    template = prompter.processor.chat_template.replace("{{ content['text'] }}", shown)
    monkeypatch.setattr(prompter.processor, "chat_template", template)
    with pytest.raises(ModelError, match="does not show the words once"):
        prepare(prompter, pictures((56, 56)), "What?")


def test_a_span_has_no_gaps_and_takes_tokens_that_straddle_its_ends():
    offsets = np.array([[0, 4], [4, 7], [7, 7], [7, 9], [9, 12]])
    assert spanning(offsets, 5, 8).tolist() == [1, 2, 3]
    assert spanning(offsets, 4, 4).tolist() == []


# ---- vision tokens and their grids


def test_a_picture_is_one_grid_over_all_of_it(prompter):
    layout = prepare(prompter, pictures((112, 168)), "What?").layout
    assert layout.grids == (Grid(0, (0,), 6, 4, (0.0, 0.0, 112.0, 168.0)),)
    assert layout.sizes == ((112, 168),)


def test_vision_tokens_are_found_by_the_configs_id(prompter):
    prepared = prepare(prompter, pictures((112, 168), (200, 90)), "What?")
    assert (prepared.tokens[prepared.layout.vision] == prompter.config.image_token_id).all()
    assert [(grid.medium, grid.rows, grid.columns) for grid in prepared.layout.grids] == [(0, 6, 4), (1, 3, 7)]
    assert np.ptp(prepared.layout.vision) >= len(prepared.layout.vision)  # the two pictures do not touch
    assert prepared.layout.answer == len(prepared.tokens)


def test_a_videos_grids_name_the_frames_they_see(prompter):
    """Two frames make one temporal patch; the last of an odd number is doubled, and named once."""
    prepared = prepare(prompter, film((0, 10, 20, 30, 40)), "What?")
    assert [grid.frames for grid in prepared.layout.grids] == [(0, 10), (20, 30), (40,)]
    assert {(grid.medium, grid.rows, grid.columns) for grid in prepared.layout.grids} == {(0, 2, 3)}
    assert prepared.layout.sizes == ((84, 56),)
    assert (prepared.tokens[prepared.layout.vision] == prompter.config.video_token_id).all()


@pytest.mark.parametrize("high", [1, 3])
def test_a_video_as_high_as_there_are_channels_is_not_turned(prompter, high):
    for size, tall in (((90, high), False), ((high, 90), True)):
        grid = prepare(prompter, film((0, 10), size), "What?").layout.grids[0]
        assert (grid.rows > grid.columns) == tall and (grid.rows, grid.columns)[not tall] > 3


def test_grids_that_do_not_fit_are_refused(prompter):
    wrong = Family("wrong", prompter.family.vision_ids, lambda _: [Block(Grid(0, (0,), 4, 5, (0, 0, 1, 1)))])
    with pytest.raises(LayoutError, match=r"got 24 vision tokens; expected 20 \(4x5\)"):
        prepare(replace(prompter, family=wrong), pictures((112, 168)), "What?")


# ---- pieces


@given(st.text(max_size=40))
@settings(deadline=None)
def test_the_bytes_of_pieces_join_to_the_text(text):
    tokenizer = TOKENIZER
    ids = tokenizer(text)["input_ids"]
    normal = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    assert b"".join(piece_of(tokenizer, id).bytes for id in ids).decode() == normal


TOKENIZER = tiny.tokenizer()


def test_pieces_of_special_and_of_unused_ids():
    end = TOKENIZER.convert_tokens_to_ids("<|im_end|>")
    assert piece_of(TOKENIZER, end).bytes == b"<|im_end|>"
    assert piece_of(TOKENIZER, len(TOKENIZER) + 5).bytes == b""  # heads are often padded beyond the vocabulary


def test_pieces_of_a_sentencepiece_tokenizer():
    backend = Tokenizer(models.BPE({"<unk>": 0, "▁a": 1, "<0x0A>": 2, "<0xE7>": 3}, [], byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert [piece_of(tokenizer, id).bytes for id in (1, 2, 3)] == [b" a", b"\n", b"\xe7"]


# ---- media


def test_a_picture_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    picture(30, 20).save(tmp_path / "a.jpg", exif=exif)
    assert open_media(Sample("a", ["a.jpg"], "What?"), tmp_path).sizes == ((20, 30),)


def opened(tmp_path, picture: Image.Image, name: str, **options) -> np.ndarray:
    picture.save(tmp_path / name, **options)
    return np.asarray(open_picture(tmp_path / name))


def test_16_bits_are_shown_in_their_whole_range(tmp_path):
    values = np.array([[0, 256, 257], [514, 65534, 65535]], np.uint16)
    for name in ("a.png", "a.tif"):
        assert opened(tmp_path, Image.fromarray(values), name)[..., 0].tolist() == [[0, 0, 1], [2, 254, 255]]


@pytest.mark.parametrize(
    ("mode", "color", "name", "expected"),
    [
        ("L", 7, "a.png", (7, 7, 7)), ("1", 1, "a.png", (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), "a.tif", (255, 0, 0)),
        ("RGBA", (200, 0, 0, 0), "a.png", (255, 255, 255)), ("RGBA", (200, 0, 0, 255), "a.png", (200, 0, 0)),
        ("LA", (9, 0), "a.png", (255, 255, 255)), ("RGB", (1, 2, 3), "a.gif", (1, 2, 3)),
    ],
)  # fmt: skip
def test_every_kind_of_pixels_becomes_rgb_on_white(tmp_path, mode, color, name, expected):
    shown = opened(tmp_path, Image.new(mode, (5, 4), color), name)
    assert shown.shape == (4, 5, 3) and (shown == expected).all()


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
    indexed = Image.new("P", (5, 4))
    indexed.putpalette([10, 20, 30, 40, 50, 60])
    assert (opened(tmp_path, indexed, "a.png", transparency=0) == 255).all()
    assert (opened(tmp_path, indexed, "b.png") == (10, 20, 30)).all()


def test_an_animated_gif_is_a_video_and_no_picture(tmp_path):
    frames = [Image.new("RGB", (32, 24), (number * 40, 0, 0)) for number in range(5)]
    for name in ("a.gif", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=100)
        with pytest.raises(InputError, match=r"more than one picture in a file; got 2 or more; .*as a video"):
            open_picture(tmp_path / name)
    media = open_media(Sample("v", ["a.gif"], "", kind="video"), tmp_path)
    assert media.frames == (0, 1, 3, 4)
    assert [np.asarray(frame)[0, 0, 0] for frame in media.pictures] == [0, 40, 120, 160]


def test_a_phones_picture_is_the_first_of_its_file(tmp_path):
    frames = [Image.new("RGB", (16, 16), color) for color in ("white", "black")]
    frames[0].save(tmp_path / "a.mpo", save_all=True, append_images=frames[1:])
    assert (np.asarray(open_picture(tmp_path / "a.mpo")) == 255).all()


def test_media_that_cannot_be_shown_are_refused(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (tmp_path / "broken.mp4").write_bytes(b"broken")
    Image.new("F", (4, 4)).save(tmp_path / "numbers.tif")
    picture(20, 20).save(tmp_path / "a.png")
    picture(30, 20).save(tmp_path / "b.png")
    for sample, message in (
        (Sample("s", ["none.png"], ""), "no such picture"),
        (Sample("s", ["broken.png"], ""), "not a picture that can be read"),
        (Sample("s", ["numbers.tif"], ""), "numbers of unknown range instead of pixels; got F"),
        (Sample("s", [], ""), "no picture and no video"),
        (Sample("s", ["a.png"], "", kind="sound"), "unknown kind"),
        (Sample("s", ["a.png", "b.png"], "", kind="video"), "frames of different sizes"),
        (Sample("s", ["none.mp4"], "", kind="video"), "no such video"),
        (Sample("s", ["broken.mp4"], "", kind="video"), "not a video that can be read"),
    ):
        with pytest.raises(InputError, match=message):
            open_media(sample, tmp_path)


def test_a_video_file_gives_two_frames_a_second_with_their_numbers(tmp_path):
    """30 frames at 10 a second are 3 seconds, so 6 frames; each frame's grey is its number."""
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(30):
        writer.write(np.full((48, 64, 3), number * 8, np.uint8))
    writer.release()
    media = open_media(Sample("v", ["a.avi"], "What?", kind="video"), tmp_path)
    assert media.frames == (0, 6, 12, 17, 23, 29) and media.sizes == ((64, 48),)
    assert media.film == Film(30, 10.0)
    shown = [np.asarray(frame).mean() / 8 for frame in media.pictures]
    assert np.allclose(shown, media.frames, atol=0.5)


def test_one_frame_image_is_a_video_of_one_frame(tmp_path):
    picture(20, 20).save(tmp_path / "f001.png")
    picture(20, 20).save(tmp_path / "f002.png")
    assert open_media(Sample("v", ["f001.png"], "", kind="video"), tmp_path).frames == (0,)


@pytest.mark.parametrize(
    ("total", "rate", "count"), [(1, 25.0, 1), (3, 25.0, 2), (25, 25.0, 4), (250, 25.0, 20), (100_000, 25.0, 768)]
)
def test_how_many_frames_of_a_video_are_shown(total, rate, count):
    frames = two_a_second(Film(total, rate))
    assert len(frames) == count == len(set(frames)) and frames[0] >= 0 and frames[-1] < total


def test_a_tokenizer_may_get_more_tokens_between_two_questions():
    tokenizer = tiny.processor().tokenizer
    piece_of(tokenizer, 0)
    (added,) = tokenizer.convert_tokens_to_ids(["naïve word"] if tokenizer.add_tokens(["naïve word"]) else [])
    assert piece_of(tokenizer, added).bytes == "naïve word".encode()
