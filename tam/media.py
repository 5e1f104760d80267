"""Pictures and videos of a sample, as the model is shown them."""

import contextlib
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from tam.errors import InputError
from tam.layout import Layout
from tam.manifest import Sample

# What the authors of Qwen2-VL sample from a video file, whose processor leaves it open: two frames a second, an even
# number of them.
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
VIDEOS = {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"}


@dataclass(frozen=True)
class Film:
    """A video file: ``total`` frames, ``rate`` of them a second (0: the file does not say)."""

    total: int
    rate: float


Sampling = Callable[[Film], Sequence[int]]
"""Which frames of a film are shown, in order; a number may stand there twice."""


@dataclass(frozen=True)
class Media:
    """What one sample shows.

    Attributes:
        video: whether the pictures are frames of one video.
        pictures: RGB, upright.
        frames: for a video, the number of each picture's frame in the source; else 0 for each.
        film: for a video file, the whole of it; None for a list of frames, whose times are not known.
    """

    video: bool
    pictures: tuple[Image.Image, ...]
    frames: tuple[int, ...]
    film: Film | None = None

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of each medium: of each picture, or of the video."""
        return tuple(picture.size for picture in (self.pictures[:1] if self.video else self.pictures))


def two_a_second(film: Film) -> list[int]:
    """The frames to show where a processor has no rule of its own.

    >>> two_a_second(Film(30, 10.0))
    [0, 6, 12, 17, 23, 29]
    """
    wanted = film.total / film.rate * FRAMES_A_SECOND if film.rate > 0 else film.total
    count = int(min(max(wanted, FEWEST_FRAMES), MOST_FRAMES, film.total)) // 2 * 2
    return np.linspace(0, film.total - 1, max(count, 1)).round().astype(int).tolist()


def open_media(sample: Sample, folder: Path, sampling: Sampling = two_a_second) -> Media:
    """Open all that a sample shows; its paths are relative to ``folder``.

    Args:
        sampling: which frames of a video file are shown; a list of frames is shown as it is.

    Raises:
        InputError: an entry that was refused, nothing to show, a file that is missing or no picture, frames of
            different sizes.
    """
    if sample.problem:
        raise InputError(sample.problem)
    paths = [folder / path for path in sample.media]
    if sample.kind not in ("images", "video"):
        raise InputError("unknown kind of media", where=sample.id, got=repr(sample.kind), expected="images or video")
    if not paths:
        raise InputError("no picture and no video", where=sample.id, expected="at least one path in media")
    if sample.kind == "images":
        return Media(False, tuple(open_picture(path) for path in paths), (0,) * len(paths))
    if len(paths) == 1 and paths[0].suffix.lower() not in PICTURES:
        return read_video(paths[0], sampling)
    return film_of([open_picture(path) for path in paths], sample.id)


def open_shown(sample: Sample, folder: Path, layout: Layout) -> Media:
    """Open what the model was shown: of a video file, the frames that the layout names, once each."""
    return open_media(sample, folder, lambda film: layout.frames)


def film_of(frames: Sequence[Image.Image], where: object = None) -> Media:
    """Frames in their order as a video; InputError if their sizes differ."""
    if len({frame.size for frame in frames}) > 1:
        raise InputError("frames of different sizes", where=where, got=sorted({frame.size for frame in frames}))
    return Media(True, tuple(frames), tuple(range(len(frames))))


def is_video(path: Path) -> bool:
    """By its name; an animated picture by its content."""
    if path.suffix.lower() in VIDEOS:
        return True
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return _is_animated(picture)
    except PICTURE_ERRORS:
        return False


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
            if _is_animated(picture):
                raise InputError(
                    "more than one picture in a file", where=path, got=f"{picture.n_frames} of them",
                    cure="save the one that is meant; an animated GIF can be given as a video",
                )  # fmt: skip
            return upright(picture, path)
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


def _is_animated(picture: Image.Image) -> bool:
    """A phone's MPO is not: it holds the picture, then others of the same moment (depth, a smaller one)."""
    return getattr(picture, "is_animated", False) and picture.format != "MPO"


def upright(picture: Image.Image, where: object = None) -> Image.Image:
    """``open_picture`` for a picture that is open already."""
    picture = ImageOps.exif_transpose(picture)
    if 0 in picture.size:
        raise InputError("a picture without pixels", where=where, got="{} x {}".format(*picture.size))
    if picture.mode.startswith("I;16"):  # Pillow would cut off what is above 255
        return Image.fromarray((np.asarray(picture).astype(np.uint32) // 257).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        cure = "save it with 8 or 16 bits a channel"
        raise InputError("numbers of unknown range instead of pixels", where=where, got=picture.mode, cure=cure)
    if picture.has_transparency_data:
        shown = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    return picture.convert("RGB")


def read_video(path: Path, sampling: Sampling = two_a_second) -> Media:
    """Some frames of a video file.

    Raises:
        InputError: it cannot be read, or has no such frames.
    """
    if not path.is_file():
        raise InputError("no such video", where=path)
    _refuse_text(path)
    with _capture(path) as video:
        width, height = (int(video.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        _check_size(path, width * height, MOST_PIXELS)
        rate, total = max(video.get(cv2.CAP_PROP_FPS), 0.0), 0
        while video.grab():  # counted, because what a file says of its own length can be wrong
            total += 1
    if not total:
        raise InputError("not a video that can be read", where=path)
    film = Film(total, rate)
    frames = tuple(int(number) for number in sampling(film))
    if not frames or not 0 <= min(frames) <= max(frames) < total:
        raise InputError("no such frames in the video", where=path, got=frames, expected=f"some of 0 to {total - 1}")
    _check_size(path, len(set(frames)) * width * height, MOST_VIDEO_PIXELS)
    pictures = _decoded(path, total, set(frames))
    return Media(True, tuple(pictures[number] for number in frames), frames, film)


def _decoded(path: Path, total: int, wanted: set[int]) -> dict[int, Image.Image]:
    pictures = {}
    with _capture(path) as video:
        for number in range(total):
            if not video.grab() or number not in wanted:
                continue
            done, frame = video.retrieve()
            if not done:
                raise InputError("a frame cannot be decoded", where=path, got=number)
            pictures[number] = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return pictures


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
