"""Pictures and videos of a sample, as the model is shown them."""

import contextlib
import errno
import math
import os
import shlex
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

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
    OSError, SyntaxError, ValueError, TypeError, LookupError, RuntimeError, OverflowError, MemoryError, struct.error,
    zlib.error, Image.DecompressionBombError,
)  # fmt: skip

# What the system says of one file. What else it says is about the disk or the machine, and no file's fault.
OWN_ERRNO = {None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EINVAL, errno.EOVERFLOW}

# A file can declare far more pixels than it has bytes.
MOST_PIXELS = 178_956_970  # of one picture or frame: 0.5 GiB
MOST_PIXELS_OF_SAMPLE = 1 << 31  # of all that are shown together: 6 GiB

# By their names. A video of a single path is a file, unless it is a picture: then it is a video of one frame.
PICTURES = {
    ".avif", ".bmp", ".dib", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
}  # fmt: skip
VIDEOS = {
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogg", ".ogv",
    ".ts", ".vob", ".webm", ".wmv",
}  # fmt: skip

# What is opened as a video: (place of the sign, sign, the decoder's name for it). Other formats that it knows are lists
# of files and addresses, which it would open, too.
CONTAINERS = (
    (0, b"\x1aE\xdf\xa3", "matroska"),
    *((4, kind, "mov") for kind in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")),
    (8, b"AVI ", "avi"),
    (0, b"OggS", "ogg"),
    (0, b"FLV\1", "flv"),
    (0, b"\0\0\1\xba", "mpeg"),
    (0, b"\0\0\1\xb3", "mpegvideo"),
    *((start, b"G", "mpegts") for start in (0, 4)),
    (0, b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa\0b\xcel", "asf"),
    *((0, kind, "gif") for kind in (b"GIF87a", b"GIF89a")),
    (0, b"\x89PNG\r\n\x1a\n", "apng"),
)
AV1 = {cv2.VideoWriter.fourcc(*name) for name in ("av01", "AV01")}
DECODER_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


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
            different sizes, more pixels than a sample may have.
        OSError: the disk cannot be read just now.
    """
    if sample.problem:
        raise InputError(sample.problem)
    paths = [folder / path for path in sample.media]
    if sample.kind not in ("images", "video"):
        raise InputError("unknown kind of media", where=sample.id, got=repr(sample.kind), expected="images or video")
    if not paths:
        raise InputError("no picture and no video", where=sample.id, expected="at least one path in media")
    if sample.kind == "images":
        return Media(False, open_pictures(paths, sample.id), (0,) * len(paths))
    if len(paths) == 1 and paths[0].suffix.lower() not in PICTURES:
        return read_video(paths[0], sampling)
    return film_of(open_pictures(paths, sample.id), sample.id)


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
    try:
        with _opened(path) as picture:
            return _is_animated(picture)
    except InputError:
        return False


def open_pictures(pictures: Sequence[Path | str | Image.Image], where: object = None) -> tuple[Image.Image, ...]:
    """All that is shown together, as ``open_picture`` gives it. The pixels are counted before any take memory."""
    opened = [picture if isinstance(picture, Image.Image) else Path(picture) for picture in pictures]
    sizes = (picture.size if isinstance(picture, Image.Image) else picture_size(picture) for picture in opened)
    _check_size(where, sum(width * height for width, height in sizes), MOST_PIXELS_OF_SAMPLE)
    return tuple(upright(picture) if isinstance(picture, Image.Image) else open_picture(picture) for picture in opened)


def open_picture(path: Path) -> Image.Image:
    """RGB pixels, turned upright where the camera noted how it was held.

    What is transparent is shown on white, and 16 bits a channel become 8, from their whole range.

    Raises:
        InputError: the file cannot be read, or holds more than one picture, or numbers of unknown range.
    """
    with _opened(path) as picture:
        if _is_animated(picture):
            cure = "save the one that is meant; an animated GIF can be given as a video"
            raise InputError("more than one picture in a file", where=path, got="2 or more", cure=cure)
        return upright(picture, path)


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) as the file declares them, before its pixels take memory.

    Raises:
        InputError: no regular file (a pipe would be waited for), no picture, or too many pixels.
    """
    with _opened(path) as picture:
        return picture.size


def stored_size(path: Path) -> tuple[tuple[int, int], int]:
    """(width, height) of a picture's pixels as they are stored, and how they are turned to be shown: EXIF's 1 to 8.

    Raises:
        InputError: as ``picture_size``.
    """
    with _opened(path) as picture:
        size, turn = picture.size, picture.getexif().get(ExifTags.Base.Orientation, 1)
        if picture.format == "TIFF" and turn > 4:  # whose size Pillow gives as it is shown
            size = size[::-1]
        return size, turn


def turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """What lies on stored pixels, [height, width], as it lies on the picture that is shown; ``turn`` as EXIF has it."""
    picture = Image.fromarray(pixels)
    picture.getexif()[ExifTags.Base.Orientation] = turn
    return np.asarray(ImageOps.exif_transpose(picture))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture of which only the header was read; whatever is wrong with the file is an InputError."""
    if not path.is_file():
        raise InputError("no such picture", where=path)
    try:
        with Image.open(path, formats=FORMATS) as picture:
            _check_size(path, picture.width * picture.height, MOST_PIXELS)
            yield picture
    except PICTURE_ERRORS as error:
        if isinstance(error, OSError) and error.errno not in OWN_ERRNO:
            raise
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
    decoder = _decoder(path)
    with _capture(path, decoder) as video:
        width, height = (int(video.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        _check_size(path, width * height, MOST_PIXELS)
        said, total = video.get(cv2.CAP_PROP_FPS), 0
        while video.grab():  # counted, because what a file says of its own length can be wrong
            total += 1
        if not total and video.get(cv2.CAP_PROP_FOURCC) in AV1:
            cure = f"ffmpeg -i {shlex.quote(str(path))} -c:v libx264 other.mp4"
            raise InputError("AV1, which OpenCV's packages do not decode", where=path, cure=cure)
    if not total:
        raise InputError("not a video that can be read", where=path)
    film = Film(total, said if 0 < said < math.inf else 0.0)
    frames = tuple(int(number) for number in sampling(film))
    if not frames or not 0 <= min(frames) <= max(frames) < total:
        raise InputError("no such frames in the video", where=path, got=frames, expected=f"some of 0 to {total - 1}")
    _check_size(path, len(set(frames)) * width * height, MOST_PIXELS_OF_SAMPLE)
    pictures = _decoded(path, decoder, total, set(frames))
    return Media(True, tuple(pictures[number] for number in frames), frames, film)


def _decoded(path: Path, decoder: str, total: int, wanted: set[int]) -> dict[int, Image.Image]:
    pictures = {}
    with _capture(path, decoder) as video:
        for number in range(total):
            if not video.grab() or number not in wanted:
                continue
            done, frame = video.retrieve()
            if not done:
                raise InputError("a frame cannot be decoded", where=path, got=number)
            pictures[number] = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return pictures


def _decoder(path: Path) -> str:
    """Which of ``CONTAINERS`` a file is, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(1024)
    for start, sign, decoder in CONTAINERS:
        if head.startswith(sign, start) and (decoder != "mpegts" or _repeats(head, start)):
            return decoder
    expected = "avi, flv, gif, mkv, mov, mp4, mpeg, ogg, webm or wmv"
    raise InputError(
        "not a video that can be read", where=path, got=f"a file that begins with {head[:12]!r}", expected=expected
    )


def _repeats(head: bytes, start: int) -> bool:
    """A transport stream has its sign at the head of each packet."""
    places = range(start, len(head), 188 + start)
    return len(places) > 2 and all(head[place] == head[start] for place in places)


def _check_size(where: object, pixels: int, most: int) -> None:
    if pixels > most:
        raise InputError("more pixels than are read", where=where, got=pixels, expected=f"at most {most}")


@contextlib.contextmanager
def _capture(path: Path, decoder: str) -> Iterator[cv2.VideoCapture]:
    """The decoder is told what the file is, and to open no other; a name that begins with "/" is no address to it."""
    before = os.environ.get(DECODER_OPTIONS)
    os.environ[DECODER_OPTIONS] = f"protocol_whitelist;file|format_whitelist;{decoder}"
    try:
        video = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    finally:
        os.environ.pop(DECODER_OPTIONS) if before is None else os.environ.update({DECODER_OPTIONS: before})
    try:
        yield video
    finally:
        video.release()
