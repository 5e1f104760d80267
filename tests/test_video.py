"""Video files: the frames that the processor's own rule picks are what the model is shown, and what maps lie on."""

import base64
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tam.errors import InputError
from tam.explanation import explain
from tam.families import FAMILIES
from tam.manifest import Sample
from tam.media import Film, open_media, open_shown, read_video, two_a_second
from tam.model.prompt import Prompter, prepare, render
from tam.model.video import metadata_of, sampling_of
from tam.render.overlay import panels
from tests import tiny
from tests.shared import shared

WORDS = "Describe the video."
TOTAL, RATE = 27, 9.0  # three seconds

# Rules as checkpoints have them: their defaults, so many a second, so many in all.
RULES = {
    "qwen2_vl": {"do_sample_frames": True, "fps": 2}, "qwen2_5_vl": {"num_frames": 6}, "qwen3_vl": {}, "glm4v": {},
    "llava_onevision": {"num_frames": 3}, "internvl": {"num_frames": 5, "initial_shift": True}, "smolvlm": {},
    "kimi_k25": {}, "molmo2": {},
}  # fmt: skip
EXPECTED = {
    "qwen2_vl": (0, 4, 9, 13, 18, 22), "qwen3_vl": (0, 5, 10, 16, 21, 26), "glm4v": (0, 5, 9, 14, 18, 23),
    "llava_onevision": (0, 9, 18), "smolvlm": (0, 13, 26), "molmo2": (0, 4, 9, 13, 18, 22),
}  # fmt: skip

# A black frame of 64 x 64 pixels in AV1 (SVT-AV1, Matroska), compressed.
OF_AV1 = (
    "eNqTcr2/eLFTWyOj03cg/tTI4vS5kcOpqSM3saQovzg70akdKNTayCQR3JDOyAACTIKCvrNLDuxvsZ+WpOS7uzt4dYuo58q04DWNCyE8sZB12UDe"
    "R9/dPUCeUMjh9OA1TYwJEK5M8O5sEPfrG4hpDMEM1Acg95ze33LX+ZG71vWNzfxODr4NvT6JZWlmRnqGQGRgFO6Iyi9eMmHNHj9p5kbfNh2hp+FV"
    "p7JEXTo7HPIdwOaBfPRqf8vrd1NfroM6O/p6I2Px0Q7/U2/f+dXk/57TyKC0dU5zaV5KRyNDW2tYvGOYYXMjo/Lj5ha+Z5saHnRtaHTY1egQsqmR"
    "JfRdIwPM80wMDMmLJjQy8DBwcYG46/83xDNwgILs3v6WD4yzPhQXL0g+0JB+Ypbr4nZXP2d/F9cgl3Y0pxdvSj7QnYxwS/qJha6LO1xCgxxDPP39"
    "XNonGxhYgZGekakBBDDIO28rXbu/JezqhhXPGxkWL2pkYGiAOaE33oDDSECAYRcTh4Ij0KEcDFMvMDaAIm76/hbpVxkxu/s3NzJs7wImmI9NjIc/"
    "NHICAMjgv6E="
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A real file: three seconds, on a grey that is the frame's number, a square that moves."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    write(path, [picture(number) for number in range(TOTAL)])
    return path


def picture(number: int) -> np.ndarray:
    pixels = np.full((56, 84, 3), number * 8, np.uint8)
    pixels[20:36, 2 * number : 2 * number + 16] = (0, 80, 250)
    return pixels


def write(path: Path, frames: list[np.ndarray], rate: float = RATE) -> None:
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, size)
    for frame in frames:
        writer.write(frame)
    writer.release()


def ruled(kind: str, **changes):
    """A processor with a rule of its own."""
    processor = tiny.processor(kind)
    for name, value in (RULES[kind] | changes).items():
        setattr(processor.video_processor, name, value)
    return processor


@pytest.mark.parametrize("kind", list(RULES))
def test_a_file_becomes_what_the_processor_makes_of_all_its_frames(kind, clip):
    """The processor alone, given every frame and the file's times: the same frames, the same tensors to the bit."""
    processor, family = ruled(kind), FAMILIES[kind]
    media = read_video(clip, sampling_of(processor))
    whole = read_video(clip, lambda film: range(film.total))
    assert whole.film == Film(TOTAL, RATE)
    prompter = Prompter(family, tiny.model(kind).config, processor)
    prepared = prepare(prompter, media, WORDS)
    options = family.options.get("videos_kwargs", {}) | {
        "do_sample_frames": True, "video_metadata": [metadata_of(whole.film)], "return_metadata": True,
    }  # fmt: skip
    own = processor(
        text=[render(prompter, media, WORDS)],
        videos=[np.stack([np.asarray(frame) for frame in whole.pictures])],
        return_tensors="pt", **family.options | {"videos_kwargs": options},
    )  # fmt: skip
    for name, value in prepared.inputs.items():
        assert torch.equal(value, torch.as_tensor(own[name])), name
    if kind in EXPECTED:
        assert media.frames == EXPECTED[kind]
    if "video_metadata" in own:
        assert list(own["video_metadata"][0].frames_indices) == list(media.frames)
    assert prepared.layout.frames == tuple(sorted(set(media.frames)))


@pytest.mark.parametrize("kind", list(RULES))
def test_each_sampled_frame_is_shown_once_with_its_own_pixels(kind, clip):
    processor = ruled(kind)
    explanation = explain(tiny.model(kind), processor, video=clip, prompt=WORDS, max_new_tokens=4)
    assert np.isfinite(explanation.maps).all() and np.ptp(explanation.maps) > 0.1
    for media in (
        explanation.media,
        open_shown(Sample("c", [clip.name], "", "video"), clip.parent, explanation.layout),
    ):
        made = panels(explanation.layout, media, 0)
        assert [panel.frame for panel in made] == list(explanation.layout.frames)
        shades = [panel.picture[:10].mean() / 8 for panel in made]
        assert np.allclose(shades, explanation.layout.frames, atol=0.5)


def test_the_rule_of_a_processor_without_one_is_two_a_second(clip):
    assert sampling_of(tiny.processor("qwen2_vl")) is two_a_second
    assert sampling_of(tiny.processor("llava")) is two_a_second  # takes no video at all
    assert read_video(clip).frames == (0, 5, 10, 16, 21, 26)


def test_a_film_without_a_rate_is_sampled_by_number():
    """Rules go by seconds, which such a file does not have."""
    assert sampling_of(ruled("smolvlm"))(Film(4, 0.0)) == [0, 1, 2, 3]


def test_a_frame_behind_the_last_is_not_sampled():
    """Molmo 2's rule takes every 34/7th of 34 frames, and comes to an eighth by rounding."""
    assert sampling_of(tiny.processor("molmo2"))(Film(34, 9.0)) == [0, 4, 9, 14, 19, 24, 29]


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0, 0.0])
def test_a_rate_that_is_none_is_0(clip, monkeypatch, rate):
    opened = cv2.VideoCapture

    class Lying:
        def __init__(self, *where):
            self.video = opened(*where)

        def __getattr__(self, name):
            return getattr(self.video, name)

        def get(self, key):
            return rate if key == cv2.CAP_PROP_FPS else self.video.get(key)

    monkeypatch.setattr(cv2, "VideoCapture", Lying)
    assert read_video(clip).film == Film(TOTAL, 0.0)


def test_a_frame_that_is_sampled_twice_is_named_once(tmp_path):
    """GLM-4V doubles the last of an odd number of frames, so that they make whole pairs."""
    write(tmp_path / "short.avi", [picture(number) for number in range(15)])
    prompter = Prompter(FAMILIES["glm4v"], tiny.model("glm4v").config, ruled("glm4v"))
    media = read_video(tmp_path / "short.avi", sampling_of(prompter.processor))
    assert media.frames == (0, 5, 9, 9)
    layout = prepare(prompter, media, WORDS).layout
    assert [grid.frames for grid in layout.grids] == [(0, 5), (9,)]


def test_a_video_that_the_processor_cannot_sample_is_refused(tmp_path):
    write(tmp_path / "short.avi", [picture(0), picture(1)])
    for kind, changes in (("internvl", {}), ("qwen2_5_vl", {})):
        with pytest.raises(InputError, match=r"cannot sample this video; got 2 frames at 9 a second: .*cure: give"):
            read_video(tmp_path / "short.avi", sampling_of(ruled(kind, **changes)))
    with pytest.raises(InputError, match=r"no such frames in the video; got \(5,\); expected some of 0 to 1"):
        read_video(tmp_path / "short.avi", lambda film: [5])


def test_a_codec_that_opencv_lacks_is_named_with_a_cure(tmp_path):
    path = tmp_path / "a film.mkv"
    path.write_bytes(zlib.decompress(base64.b64decode(OF_AV1)))
    with pytest.raises(InputError, match=f"AV1, which OpenCV's packages do not decode; cure: ffmpeg -i '{path}'"):
        read_video(path)


def test_frames_of_a_real_scene(tmp_path):
    """Photographs of a moving scene, written as a video: what is decoded is what was written."""
    frames = [cv2.imread(str(path)) for path in sorted(shared("data", "frames").glob("*.jpg"))]
    write(tmp_path / "scene.avi", [cv2.resize(frame, (168, 112)) for frame in frames for _ in range(3)], rate=6.0)
    media = open_media(Sample("v", ["scene.avi"], "", "video"), tmp_path, sampling_of(ruled("qwen3_vl")))
    assert len(set(media.frames)) == len(media.frames) == 2 * len(frames) * 3 // 6
    for number, shown in zip(media.frames, media.pictures, strict=True):
        original = Image.fromarray(cv2.resize(frames[number // 3], (168, 112))[..., ::-1])
        assert np.abs(np.asarray(shown, float) - np.asarray(original, float)).mean() < 8
