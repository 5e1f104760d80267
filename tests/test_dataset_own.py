"""One's own pictures and videos, from a folder or a CSV file."""

import cv2
import numpy as np
import pytest

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


@pytest.mark.parametrize("header", ["", "picture", "media,colour"])
def test_wrong_columns_are_an_error(tmp_path, header):
    with pytest.raises(InputError, match=r"mine\.csv: wrong columns"):
        csv(tmp_path, header, "a.jpg")


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"media\n\xff\xfe\n")
    with pytest.raises(InputError, match="not a CSV file"):
        own.write_csv(tmp_path / "mine.csv", tmp_path / "manifest.jsonl", prompt="p")
