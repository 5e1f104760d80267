"""A figure as files: PDF and SVG with text as vectors and photographs as JPEG, and a PNG for the screen."""

import base64
import contextlib
import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.backends import backend_pdf
from matplotlib.figure import Figure
from PIL import Image

from tam.figures.canvas import DPI, SETTINGS

QUALITY = 80  # of JPEG
ON_SCREEN = 1_000_000  # pixels of a PNG
PALETTE = 256  # colours of a drawing, which PNG packs better than JPEG; a photograph has more
_SAVING = threading.Lock()  # settings of the whole process are put back by who changed them
_EMBEDDED = re.compile(rb"data:image/png;base64,([^\"]+)")


def save(figure: Figure, stem: Path, dots: int = DPI) -> list[Path]:
    """PDF, SVG and PNG without dates or random names.

    Args:
        dots: an inch, of what is a raster in the first two.
    """
    pdf, svg, png = (stem.with_name(f"{stem.name}.{kind}") for kind in ("pdf", "svg", "png"))
    save_pdf(figure, pdf, dots)
    save_svg(figure, svg, dots)
    with _SAVING, matplotlib.rc_context(SETTINGS):
        figure.savefig(drawn := io.BytesIO(), format="png", dpi=DPI, pil_kwargs={"compress_level": 0})
    picture = Image.open(drawn).convert("RGB")
    if (ratio := (ON_SCREEN / (picture.width * picture.height)) ** 0.5) < 1:
        size = int(picture.width * ratio), int(picture.height * ratio)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    _in_few_colours(picture).save(png)
    return [pdf, svg, png]


def save_pdf(figure: Figure, path: Path, dots: int = DPI) -> None:
    """Text as vectors, photographs as JPEG, no date."""
    with _SAVING, matplotlib.rc_context(SETTINGS), _photographs_as_jpeg():
        figure.savefig(path, format="pdf", metadata={"CreationDate": None}, dpi=dots)


def save_svg(figure: Figure, path: Path, dots: int = DPI, letters: Literal["path", "none"] = "path") -> None:
    """The same as SVG.

    Args:
        letters: as paths, which look the same everywhere; or none: text, which can be changed and searched.
    """
    with _SAVING, matplotlib.rc_context(SETTINGS | {"svg.fonttype": letters}), _hardly_packed():
        figure.savefig(drawn := io.BytesIO(), format="svg", metadata={"Date": None}, dpi=dots)
    path.write_bytes(_EMBEDDED.sub(_smaller, drawn.getvalue()))


def _in_few_colours(picture: Image.Image) -> Image.Image:
    """A picture with a palette, dithered, which takes a third of the bytes; white stays white."""
    found = picture.quantize(PALETTE - 1, Image.Quantize.MEDIANCUT).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([255, 255, 255, *found])
    indices = np.array(picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG))
    indices[(np.asarray(picture) == 255).all(-1)] = 0
    reduced = Image.fromarray(indices, "P")
    reduced.putpalette(palette.getpalette() or [])
    return reduced


def _jpeg(picture: Image.Image) -> bytes | None:
    """A photograph as JPEG; None for what is none."""
    opaque = picture.getextrema()[3][0] == 255 if picture.mode == "RGBA" else picture.mode == "RGB"
    if not opaque or picture.getcolors(PALETTE) is not None:
        return None
    picture.convert("RGB").save(packed := io.BytesIO(), "JPEG", quality=QUALITY, optimize=True)
    return packed.getvalue()


def _smaller(embedded: re.Match[bytes]) -> bytes:
    picture = Image.open(io.BytesIO(base64.b64decode(embedded[1])))
    if jpeg := _jpeg(picture):
        return b"data:image/jpeg;base64," + base64.b64encode(jpeg)
    picture.save(packed := io.BytesIO(), "PNG")
    return b"data:image/png;base64," + base64.b64encode(packed.getvalue())


@contextlib.contextmanager
def _hardly_packed() -> Iterator[None]:
    """What is packed again afterwards need not be packed well, which takes most of the time of an SVG. Matplotlib has
    no option for it."""
    usual = Image.SAVE["PNG"]

    def save(image: Image.Image, file: Any, name: str | bytes) -> None:
        image.encoderinfo = {"compress_level": 1} | image.encoderinfo
        usual(image, file, name)

    Image.register_save("PNG", save)
    try:
        yield
    finally:
        Image.register_save("PNG", usual)


@contextlib.contextmanager
def _photographs_as_jpeg() -> Iterator[None]:
    """Matplotlib writes every picture of a PDF as PNG, and has no option for it."""
    usual = backend_pdf.PdfFile._writeImg

    def write(file: Any, data: np.ndarray, id: int, smask: Any = None) -> None:
        jpeg = None if smask or data.shape[2] != 3 else _jpeg(Image.fromarray(data))
        if jpeg is None:
            usual(file, data, id, smask)
            return
        height, width, _ = data.shape
        names = {"Type": "XObject", "Subtype": "Image", "ColorSpace": "DeviceRGB", "Filter": "DCTDecode"}
        about = {key: backend_pdf.Name(value) for key, value in names.items()}
        about |= {"Width": width, "Height": height, "BitsPerComponent": 8}
        with matplotlib.rc_context({"pdf.compression": 0}):  # it is packed already
            file.beginStream(id, file.reserveObject("length of image stream"), about)
            file.currentstream.write(jpeg)
            file.endStream()

    backend_pdf.PdfFile._writeImg = write
    try:
        yield
    finally:
        backend_pdf.PdfFile._writeImg = usual
