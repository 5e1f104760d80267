"""The one reader of label maps: PNG of one grey channel of 8 bits, a category id a pixel, on the upright picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from tam.layout import Layout
from tam.manifest import Sample, resolve
from tam.media import FORMATS, PICTURE_ERRORS

GREY, COLOR = 0, 2
PNG_COLORS = {GREY: "grey", COLOR: "colour", 3: "palette", 4: "grey with alpha", 6: "colour with alpha"}


def read_label_map(
    sample: Sample, size: tuple[int, int], manifest: Path, *, any_size: bool = False
) -> tuple[np.ndarray | None, str]:
    """A sample's label map: uint8 [height, width] of category ids, and ""; or None, and why there is none.

    The file is judged before it is decoded: one grey channel of 8 bits, without loss. Decoders make 8 bits of others,
    and the ids then are not those that were stored.

    Args:
        size: (width, height) of the upright picture that it lies on.
        any_size: whether another size is taken, too.

    Raises:
        OSError: the disk cannot be read just now.
    """
    if sample.mask is None:
        return None, "no mask"
    path = resolve(sample.mask, manifest)
    if not path.is_file():  # a pipe would be waited for
        return None, "no mask: the file is missing"
    return read_png(path, GREY, None if any_size else tuple(size))


def read_png(path: Path, color: int, size: tuple[int, ...] | None) -> tuple[np.ndarray | None, str]:
    """The pixels of a PNG file of 8 bits a channel, uint8 [height, width] or [height, width, 3], and ""; or None, and
    what it is instead.

    Args:
        color: a key of ``PNG_COLORS``. size: (width, height) that it must have; None: any.

    Raises:
        OSError: the disk cannot be read just now.
    """
    with path.open("rb") as file:
        header = file.read(26)
        try:
            with Image.open(file, formats=FORMATS) as picture:
                if problem := _another(picture, header, color):
                    return None, f"unreadable mask: {problem}"
                if size is not None and picture.size != size:
                    return None, "mask of another size: {}x{}, picture {}x{}".format(*picture.size, *size)
                picture.verify()  # the checksums, which decoding passes over
            with Image.open(file, formats=["PNG"]) as picture:
                turn = picture.getexif().get(Base.Orientation, 1)  # also where it stands behind the pixels
                if turn != 1:
                    return None, f"unreadable mask: turned, EXIF orientation {turn}"
                return np.asarray(picture), ""
        except PICTURE_ERRORS as error:
            if getattr(error, "errno", None) is not None:  # the disk's, not the file's
                raise
            return None, "unreadable mask: no picture, or a damaged one"


def read_label_maps(
    sample: Sample, layout: Layout, manifest: Path, *, any_size: bool = False
) -> tuple[dict[tuple[int, int], np.ndarray], str]:
    """The label maps of all that a sample shows, by medium and frame, and ""; or none, and why."""
    found, problem = {}, "no mask"
    paths = _paths(sample, layout)
    if not paths and sample.masks:
        shown = layout.frames if sample.kind == "video" else range(len(layout.sizes))
        problem = f"no mask: of {', '.join(sample.masks)}, shown were {', '.join(map(str, shown))}"
    for (medium, frame), path in paths.items():
        one = replace(sample, mask=path)
        label_map, why = read_label_map(one, layout.sizes[medium], manifest, any_size=any_size)
        if label_map is None:
            problem = why
        else:
            found[medium, frame] = label_map
    return found, "" if found else problem


def _paths(sample: Sample, layout: Layout) -> dict[tuple[int, int], str]:
    """Medium and frame -> the path of its label map."""
    if sample.kind == "video":
        middle = min(layout.frames, key=lambda frame: abs(2 * frame - layout.frames[0] - layout.frames[-1]))
        places = {str(frame): (0, frame) for frame in layout.frames}
        first = str(middle)
    else:
        places = {str(medium): (medium, 0) for medium in range(len(layout.sizes))}
        first = "0"
    masks = sample.masks or ({} if sample.mask is None else {first: sample.mask})
    return {places[number]: path for number, path in masks.items() if number in places}


def outlined_map(sample: Sample, layout: Layout, manifest: Path) -> np.ndarray | None:
    """The label map of a sample with one picture, of any size, whose objects may be outlined; None if it has none."""
    if sample.kind != "images" or len(sample.media) != 1:
        return None
    return read_label_maps(sample, layout, manifest, any_size=True)[0].get((0, 0))


def _another(picture: Image.Image, header: bytes, wanted: int) -> str:
    """What a file holds instead of 8 bits of a kind of colour, by its first 26 bytes; "" for what is wanted."""
    if picture.format != "PNG":
        return f"{picture.format}, not PNG"
    bits, color = header[24:26]
    expected = f"8-bit {PNG_COLORS[wanted]}"
    if header[12:16] != b"IHDR" or (bits, color) != (8, wanted):
        return f"{bits}-bit {PNG_COLORS.get(color, 'unknown')}, not {expected}"
    return f"{expected} with a transparent value, not {expected}" if "transparency" in picture.info else ""
