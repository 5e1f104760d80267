"""Pictures and videos of a sample, as the model is shown them."""

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from tam.errors import InputError
from tam.manifest import Sample

# What the authors of Qwen2-VL sample from a video file: two frames a second, an even number of them.
FRAMES_A_SECOND = 2.0
FEWEST_FRAMES, MOST_FRAMES = 4, 768

# What is opened as a picture ("JPEG" holds MPO). Pillow knows forty more formats, some of which start another program.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
PICTURE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error, Image.DecompressionBombError, MemoryError
)  # fmt: skip

# A file can declare far more pixels than it has bytes. Pillow refuses pictures of twice its own limit.
MOST_PIXELS = 2 * Image.MAX_IMAGE_PIXELS
MOST_VIDEO_PIXELS = 1 << 31  # of all frames that are shown: 6 GiB

# A video of a single path is a file, unless it is one of these: then it is a video of one frame.
PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}


@dataclass(frozen=True)
class Media:
    """What one sample shows.

    Attributes:
        video: whether the pictures are frames of one video.
        pictures: RGB, upright.
        frames: for a video, the number of each picture's frame in the source; else 0 for each.
        seconds: for a video, the time from one picture to the next; None where the source does not say.
    """

    video: bool
    pictures: tuple[Image.Image, ...]
    frames: tuple[int, ...]
    seconds: float | None = None

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of each medium: of each picture, or of the video."""
        return tuple(picture.size for picture in (self.pictures[:1] if self.video else self.pictures))


def open_media(sample: Sample, folder: Path) -> Media:
    """Open all that a sample shows; its paths are relative to ``folder``.

    Raises:
        InputError: nothing to show, a file that is missing or no picture, frames of different sizes.
    """
    paths = [folder / path for path in sample.media]
    if sample.kind not in ("images", "video"):
        raise InputError("unknown kind of media", where=sample.id, got=repr(sample.kind), expected="images or video")
    if not paths:
        raise InputError("no picture and no video", where=sample.id, expected="at least one path in media")
    if sample.kind == "images":
        return Media(False, tuple(open_picture(path) for path in paths), (0,) * len(paths))
    if len(paths) == 1 and paths[0].suffix.lower() not in PICTURES:
        return read_video(paths[0])
    pictures = tuple(open_picture(path) for path in paths)
    if len({picture.size for picture in pictures}) > 1:
        raise InputError("frames of different sizes", where=sample.id, got=sorted({p.size for p in pictures}))
    return Media(True, pictures, tuple(range(len(paths))))


def open_picture(path: Path) -> Image.Image:
    """RGB pixels, turned upright where the camera noted how it was held.

    What is transparent is shown on white, and 16 bits a channel become 8, from their whole range.

    Raises:
        InputError: the file cannot be read, or holds more than one picture, or numbers of unknown range.
    """
    if not path.is_file():
        raise InputError("no such picture", where=path)
    try:
        with Image.open(path, formats=FORMATS) as picture:
            # A phone's MPO holds the picture, then others of the same moment (depth, a smaller one).
            if getattr(picture, "is_animated", False) and picture.format != "MPO":
                raise InputError(
                    "more than one picture in a file", where=path, got=f"{picture.n_frames} of them",
                    cure="save the one that is meant; an animated GIF can be given as a video",
                )  # fmt: skip
            return _rgb(ImageOps.exif_transpose(picture), path)
    except PICTURE_ERRORS as error:
        raise InputError("not a picture that can be read", where=path, got=error) from error


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) as the file declares them, before its pixels take memory.

    Raises:
        InputError: no regular file (a pipe would be waited for), no picture, or too many pixels.
    """
    if not path.is_file():
        raise InputError("no such picture", where=path)
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return picture.size
    except PICTURE_ERRORS as error:
        raise InputError("not a picture that can be read", where=path, got=error) from error


def _rgb(picture: Image.Image, path: Path) -> Image.Image:
    if picture.mode.startswith("I;16"):  # Pillow would cut off what is above 255
        return Image.fromarray((np.asarray(picture).astype(np.uint32) // 257).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        cure = "save it with 8 or 16 bits a channel"
        raise InputError("numbers of unknown range instead of pixels", where=path, got=picture.mode, cure=cure)
    if picture.has_transparency_data:
        shown = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    return picture.convert("RGB")


def read_video(path: Path) -> Media:
    """Frames of a video file, evenly spaced; InputError if it cannot be read."""
    if not path.is_file():
        raise InputError("no such video", where=path)
    _refuse_text(path)
    with _capture(path) as video:
        rate, total = video.get(cv2.CAP_PROP_FPS), 0
        width, height = (int(video.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        _check_size(path, width * height, MOST_PIXELS)
        while video.grab():  # counted, because what a file says of its own length can be wrong
            total += 1
    if not total:
        raise InputError("not a video that can be read", where=path)
    wanted = sample_frames(total, rate)
    _check_size(path, len(wanted) * width * height, MOST_VIDEO_PIXELS)
    with _capture(path) as video:
        pictures = [
            Image.fromarray(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
            for number in range(total)
            if video.grab() and number in wanted
        ]
    seconds = total / rate / len(wanted) if rate > 0 else None
    return Media(True, tuple(pictures), tuple(wanted), seconds)


def _refuse_text(path: Path) -> None:
    """A playlist is a text that makes the decoder open other files and addresses. No video begins with text alone."""
    with path.open("rb") as file:
        head = file.read(512)
    with contextlib.suppress(UnicodeDecodeError):
        if b"\0" not in head and head.decode("utf-8"):
            raise InputError("not a video that can be read", where=path, got="a text, or a list of other files")


def _check_size(path: Path, pixels: int, most: int) -> None:
    if pixels > most:
        raise InputError("more pixels than are read", where=path, got=pixels, expected=f"at most {most}")


@contextlib.contextmanager
def _capture(path: Path) -> Iterator[cv2.VideoCapture]:
    video = cv2.VideoCapture(str(path))
    try:
        yield video
    finally:
        video.release()


def sample_frames(total: int, rate: float) -> list[int]:
    """The numbers of the frames to show, of ``total`` frames at ``rate`` a second (0: unknown, all are wanted).

    >>> sample_frames(30, 10.0)
    [0, 6, 12, 17, 23, 29]
    """
    wanted = total / rate * FRAMES_A_SECOND if rate > 0 else total
    count = int(min(max(wanted, FEWEST_FRAMES), MOST_FRAMES, total)) // 2 * 2
    return np.linspace(0, total - 1, max(count, 1)).round().astype(int).tolist()
