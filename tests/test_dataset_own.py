"""One's own pictures and videos, from a folder or a CSV file."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tam import manifest
from tam.datasets import own
from tam.errors import InputError
from tam.manifest import Sample
from tam.media import open_media
from tests.shared import shared


def picture(path, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size[::-1], 3), 90, np.uint8))
    return path


def folder(tmp_path, **options) -> dict[str, Sample]:
    own.write_folder(tmp_path / "mine", tmp_path / "data/manifest.jsonl", prompt="What?", **options)
    return {sample.id: sample for sample in manifest.read(tmp_path / "data/manifest.jsonl")}


def csv(tmp_path, *lines: str, **options) -> list[Sample]:
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    own.write_csv(tmp_path / "mine.csv", tmp_path / "data/manifest.jsonl", prompt="What?", **options)
    return manifest.read(tmp_path / "data/manifest.jsonl")


def test_a_folder_holds_pictures_videos_and_folders_of_frames(tmp_path):
    root = tmp_path / "mine"
    for name in ("dog.jpg", "cat.PNG", "walk/02.png", "walk/01.png", ".hidden.png"):
        picture(root / name)
    (root / "film.mp4").write_bytes(b"")
    (root / "notes.md").write_text("not shown")
    (root / "empty").mkdir()
    (root / "captions.txt").write_text("dog.jpg\tA dog.\ndog.jpg\tA brown dog.\n\nwalk\tSomebody walks.\n")
    samples = folder(tmp_path)
    assert samples.keys() == {"dog", "cat", "walk", "film"}
    assert samples["dog"] == Sample("dog", ["../mine/dog.jpg"], "What?", references=["A dog.", "A brown dog."])
    assert samples["walk"].kind == "video" and samples["walk"].references == ["Somebody walks."]
    assert samples["walk"].media == ["../mine/walk/01.png", "../mine/walk/02.png"]
    assert (samples["film"].kind, samples["film"].media) == ("video", ["../mine/film.mp4"])


def test_names_that_differ_in_their_ending_only_are_both_kept(tmp_path):
    for name in ("a.jpg", "a.png", "b.png"):
        picture(tmp_path / "mine" / name)
    assert folder(tmp_path).keys() == {"a.jpg", "a.png", "b"}


def test_a_caption_without_picture_is_refused_and_named(tmp_path):
    picture(tmp_path / "mine/a.png")
    (tmp_path / "mine/captions.txt").write_text("b.png\tNothing.\na.png without a tab\na.png\tGrey.\n")
    samples = folder(tmp_path)
    assert samples["a"].references == ["Grey."]
    assert samples["caption-1"].problem == "captions.txt, line 1: caption without picture; got 'b.png'"
    assert samples["caption-2"].problem.startswith("captions.txt, line 2: no tab")


def test_numbers_in_names_count_as_numbers(tmp_path):
    for number in range(12):
        picture(tmp_path / f"mine/clip{number}/frame{number}.png")
        picture(tmp_path / f"mine/walk/{number}.png")
    samples = folder(tmp_path)
    assert list(samples) == [*(f"clip{number}" for number in range(12)), "walk"]
    assert samples["walk"].media == [f"../mine/walk/{number}.png" for number in range(12)]


def test_a_name_that_is_no_utf_8_costs_itself(tmp_path):
    """A Latin-1 name from an old disk, alone and among the frames of a video."""
    picture(tmp_path / "mine/a.png")
    picture(tmp_path / "mine/walk/1.png")
    for place in ("mine", "mine/walk"):
        shutil.copy(tmp_path / "mine/a.png", os.fsencode(tmp_path / place) + b"/caf\xe9.png")
    samples = folder(tmp_path)
    assert {id for id, sample in samples.items() if not sample.problem} == {"a"}
    assert samples["caf\\udce9"].problem.startswith("a name that is no UTF-8; got '../mine/caf\\udce9.png'")
    assert samples["walk"].problem.startswith("a name that is no UTF-8; got '../mine/walk/caf")


def test_what_pillow_reads_is_taken_and_what_is_left_out_is_counted(tmp_path, caplog):
    noise = Image.effect_noise((8, 6), 50).convert("RGB")
    (tmp_path / "mine/walk").mkdir(parents=True)
    taken = {"a.tif", "b.tiff", "c.avif", "d.jfif", "e.JPE", "f.bmp", "g.ppm", "h.webp", "i.gif"}
    for name in taken:
        noise.save(tmp_path / "mine" / name, "JPEG" if name == "e.JPE" else None)
    noise.save(tmp_path / "mine/moves.gif", save_all=True, append_images=[Image.new("RGB", (8, 6))])
    for name in ("x.heic", "y.heic", "notes", "walk/1.png", "walk/times.csv", ".hidden", "walk/.DS_Store"):
        (tmp_path / "mine" / name).write_bytes(b"")
    samples = folder(tmp_path)
    assert samples.keys() == {*(Path(name).stem for name in taken), "walk", "moves"}
    for name in taken:
        assert open_media(samples[Path(name).stem], tmp_path / "data").sizes == ((8, 6),)
    assert samples["moves"].kind == "video" and samples["i"].kind == "images"
    (line,) = [line for line in caplog.text.splitlines() if "left out" in line]
    assert line.endswith("4 entries are no pictures and no videos, and left out: 2 '.heic', 1 'no ending', 1 '.csv'")


def test_captions_are_split_at_line_ends_only_and_a_wrong_line_costs_itself(tmp_path):
    picture(tmp_path / "mine/a.png")
    picture(tmp_path / "mine/caf\u00e9.png")
    lines = ["\ufeffa.png\tOne\u2028two\x0bthree\x0cfour\x85five.", "a.png\tcaf\u00e9", "cafe\u0301.png\tA cafe."]
    raw = [line.encode() for line in lines]
    raw[1] = b"a.png\tcaf\xe9"
    (tmp_path / "mine/captions.txt").write_bytes(raw[0] + b"\r\n" + raw[1] + b"\r" + raw[2] + b"\n")
    samples = folder(tmp_path)
    assert samples["a"].references == ["One\u2028two\x0bthree\x0cfour\x85five."]
    assert samples["caf\u00e9"].references == ["A cafe."]  # composed or not
    assert samples["caption-2"].problem == "captions.txt, line 2: not UTF-8; got unexpected end of data"


def test_ids_of_names_with_several_endings_are_all_different(tmp_path):
    for name in ("a.jpg", "a.png", "a.png.jpg"):
        picture(tmp_path / "mine" / name)
    samples = folder(tmp_path)
    assert samples.keys() == {"a.jpg", "a.png", "a.png-2"} and not any(sample.problem for sample in samples.values())


def test_a_folder_without_anything_to_show_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        folder(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="no sample can be used; got no entries"):
        folder(tmp_path)


def test_real_photos_and_frames_can_be_opened(tmp_path):
    out = tmp_path / "manifest.jsonl"
    own.write_folder(shared("data", "photos"), out, prompt="p")
    own_photo = manifest.read(out)[0]
    assert open_media(own_photo, tmp_path).pictures[0].mode == "RGB"
    own.write_folder(shared("data", "frames").parent, out, prompt="p")
    frames = next(sample for sample in manifest.read(out) if sample.id == "frames")
    assert len(open_media(frames, tmp_path).pictures) == 10


def test_a_csv_row_with_everything(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / "pictures" / name)
    line = 'pictures/a.jpg | pictures/b.jpg,two,"Which, and why?",One. | Another.,masks/a.png,dog=18 | hot dog=58'
    (sample,) = csv(tmp_path, "media,id,prompt,captions,mask,categories", line)
    assert sample == Sample(
        id="two",
        media=["../pictures/a.jpg", "../pictures/b.jpg"],
        prompt="Which, and why?",
        references=["One.", "Another."],
        mask="../masks/a.png",
        categories={"dog": 18, "hot dog": 58},
    )


def test_label_maps_of_a_csv_are_of_a_picture_or_of_a_frame(tmp_path):
    for name in ("a.jpg", "b.jpg", "walk/1.png"):
        picture(tmp_path / name)
    two, both, film, middle, none = csv(
        tmp_path, "media,mask", "a.jpg | b.jpg,| b.png", "b.jpg | a.jpg,a.png | b.png", "walk,0=a.png | 05=b.png",
        "film.webm,a=b.png", "b.jpg,",
    )  # fmt: skip
    assert (two.mask, two.masks) == (None, {"1": "../b.png"})
    assert (both.mask, both.masks) == (None, {"0": "../a.png", "1": "../b.png"})
    assert (film.mask, film.masks) == (None, {"0": "../a.png", "5": "../b.png"})
    assert (middle.mask, middle.masks) == ("../a=b.png", {}) and (none.mask, none.masks) == (None, {})


def test_a_csv_needs_only_media(tmp_path):
    picture(tmp_path / "walk/1.png")
    samples = csv(tmp_path, "media", "a.jpg", "film.webm", "walk")
    assert [(sample.id, sample.kind, sample.prompt) for sample in samples] == [
        ("a", "images", "What?"),
        ("film", "video", "What?"),
        ("walk", "video", "What?"),
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (",,,", "no media"),
        ("/etc/passwd,,,", "not a path in its folder; got '/etc/passwd'"),
        ("../b.jpg,,,", "not a path in its folder; got '../b.jpg'"),
        ("b.jpg,,../mask.png,", "not a path in its folder; got '../mask.png'"),
        ("b.jpg,,a.png|b.png,", "label maps of what; got 'a.png|b.png'; expected at most 1, one a picture"),
        ("film.webm,,a.png|5=b.png,", "label maps of what; got 'a.png|5=b.png'; expected frame=path"),
        ("b.jpg|c.jpg,,|../b.png,", "not a path in its folder; got '../b.png'"),
        ("b.jpg,,,dog", "not a category; got 'dog'"),
        ("b.jpg,,,dog=-1", "not a category"),
        ("b.jpg,,,dog=300", "category id out of range"),
        ("b.jpg,a,,", "id occurs twice; got 'a'; expected only mine.csv, line 2"),
        ("b.jpg,b", "another number of fields"),
        ("b.jpg,b,,,,", "another number of fields"),
    ],
)
def test_a_wrong_row_is_a_refused_sample_that_names_file_and_line(tmp_path, row, problem):
    first, wrong, last = csv(tmp_path, "media,id,mask,categories", "a.jpg,,,", row, "c.jpg,,,")
    assert (first.id, first.problem, last.id, last.problem) == ("a", None, "c", None)
    assert wrong.id == "line-3" and wrong.problem.startswith(f"mine.csv, line 3: {problem}")


@pytest.mark.parametrize("header", ["", "picture", "media,colour", "media,media"])
def test_wrong_columns_are_an_error(tmp_path, header):
    with pytest.raises(InputError, match=r"mine\.csv: wrong columns"):
        csv(tmp_path, header, "a.jpg")


def test_two_questions_on_one_picture_are_two_samples(tmp_path):
    samples = csv(
        tmp_path, "media,prompt,id", "a.jpg,Who?,", "a.jpg,Where?,", "a.jpg,When?,a-3", "a.jpg,Why?,", "a.jpg,Who?,"
    )
    assert [(sample.id, sample.prompt) for sample in samples[:4]] == [
        ("a", "Who?"), ("a-2", "Where?"), ("a-3", "When?"), ("a-4", "Why?"),
    ]  # fmt: skip
    assert samples[4].problem == "mine.csv, line 6: row occurs twice; expected only mine.csv, line 2"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"caf\xe9.jpg,", "not a text; got 'caf"),
        (b"b.jpg,dog=" + b"9" * 5000, "not a category; got 'dog=999"),
        (b"b.jpg,dog=1 | dog=2", "category occurs twice; got 'dog=1 | dog=2'"),
        (b"b.jpg," + b"x" * 200_000, "not a row; got field larger than field limit"),
        (b'"b"jpg,', "not a row; got ',' expected after '\"'"),
        (b"b\0.jpg,", "not a path in its folder"),
        (b"x" * 300 + b".jpg,", "not a path in its folder"),
    ],
)
def test_a_row_of_any_bytes_costs_itself(tmp_path, row, problem):
    (tmp_path / "mine.csv").write_bytes(b"media,categories\na.jpg,\n" + row + b"\nc.jpg,\n")
    own.write_csv(tmp_path / "mine.csv", tmp_path / "manifest.jsonl", prompt="p")
    first, wrong, last = manifest.read(tmp_path / "manifest.jsonl")
    assert (first.id, first.problem, last.id, last.problem) == ("a", None, "c", None)
    assert wrong.id == "line-3" and wrong.problem.startswith(f"mine.csv, line 3: {problem}")


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"media\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"no sample can be used; got mine\.csv, line 2: not a text"):
        own.write_csv(tmp_path / "mine.csv", tmp_path / "manifest.jsonl", prompt="p")
