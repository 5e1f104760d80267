"""A figure as files: PDF and SVG with text as vectors and photographs as JPEG, and a PNG for the screen."""

import base64
import contextlib
import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import matplotlib
import numpy as np
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_pdf import Name, PdfFile, RendererPdf
from matplotlib.figure import Figure
from PIL import Image
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo

from tam.figures.canvas import DPI, SETTINGS
from tam.system.mark import MAKER

QUALITY, BEST = 80, 95  # of JPEG: of the many figures of a run, and of one that is asked for
ON_SCREEN = 1_000_000  # pixels of a PNG of a run
DRAWN = 256  # colours at most of a drawing, which PNG packs better than JPEG; a photograph has more
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
    picture = _raster(figure, DPI)
    if (ratio := (ON_SCREEN / (picture.width * picture.height)) ** 0.5) < 1:
        size = int(picture.width * ratio), int(picture.height * ratio)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    if not any(axes.images for axes in figure.axes):
        picture = picture.quantize(DRAWN, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    _write(picture, png, ".png")
    return [pdf, svg, png]


def save_pdf(figure: Figure, path: Path, dots: int = DPI, quality: int = QUALITY) -> None:
    """Text as vectors, photographs as JPEG, no date."""
    across, high = figure.get_size_inches()
    with _SAVING, matplotlib.rc_context(SETTINGS):
        file = _Pdf(path, metadata={"Creator": MAKER, "CreationDate": None})
        file.quality, usual = quality, figure.dpi
        try:
            file.newPage(across, high)
            figure.dpi = 72  # points an inch
            renderer = MixedModeRenderer(figure, across, high, dots, RendererPdf(file, dots, high, across))
            figure.draw(renderer)
            renderer.finalize()
            file.finalize()
        finally:
            figure.dpi = usual
            file.close()


def save_svg(
    figure: Figure, path: Path, dots: int = DPI, letters: Literal["path", "none"] = "path", quality: int = QUALITY
) -> None:
    """The same as SVG.

    Args:
        letters: as paths, which look the same everywhere; or none: text, which can be changed and searched.
    """
    about = {"Date": None, "Creator": MAKER}
    with _SAVING, matplotlib.rc_context(SETTINGS | {"svg.fonttype": letters}), _hardly_packed():
        figure.savefig(drawn := io.BytesIO(), format="svg", metadata=about, dpi=dots)
    path.write_bytes(_EMBEDDED.sub(lambda found: _smaller(found, quality), drawn.getvalue()))


def save_raster(figure: Figure, to: Path | IO[bytes], kind: str, dots: float) -> None:
    """As ".png", ".jpg" or ".webp", in all colours."""
    _write(_raster(figure, dots), to, kind)


def _raster(figure: Figure, dots: float) -> Image.Image:
    with _SAVING, matplotlib.rc_context(SETTINGS):
        figure.savefig(drawn := io.BytesIO(), format="png", dpi=dots, pil_kwargs={"compress_level": 0})
    return Image.open(drawn).convert("RGB")


def _write(picture: Image.Image, to: Path | IO[bytes], kind: str) -> None:
    if kind == ".png":
        about = PngInfo()
        about.add_text("Software", MAKER)
        picture.save(to, "PNG", pnginfo=about)
        return
    exif = Image.Exif()
    exif[Base.Software] = MAKER
    picture.save(to, "WEBP" if kind == ".webp" else "JPEG", quality=BEST, exif=exif)


def _jpeg(picture: Image.Image, quality: int) -> bytes | None:
    """A photograph as JPEG; None for what is none."""
    opaque = picture.getextrema()[3][0] == 255 if picture.mode == "RGBA" else picture.mode == "RGB"
    if not opaque or picture.getcolors(DRAWN) is not None:
        return None
    picture.convert("RGB").save(packed := io.BytesIO(), "JPEG", quality=quality, optimize=True)
    return packed.getvalue()


def _smaller(embedded: re.Match[bytes], quality: int) -> bytes:
    picture = Image.open(io.BytesIO(base64.b64decode(embedded[1])))
    if jpeg := _jpeg(picture, quality):
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


class _Pdf(PdfFile):
    """Matplotlib writes every picture of a PDF as PNG, and has no option for it: here a photograph is JPEG."""

    quality = QUALITY

    def _writeImg(self, data: np.ndarray, id: int, smask: Any = None) -> None:  # noqa: N802
        jpeg = None if smask or data.shape[2] != 3 else _jpeg(Image.fromarray(data), self.quality)
        if jpeg is None:
            super()._writeImg(data, id, smask)
            return
        height, width, _ = data.shape
        names = {"Type": "XObject", "Subtype": "Image", "ColorSpace": "DeviceRGB", "Filter": "DCTDecode"}
        about = {key: Name(value) for key, value in names.items()}
        about |= {"Width": width, "Height": height, "BitsPerComponent": 8}
        with matplotlib.rc_context({"pdf.compression": 0}):  # it is packed already
            self.beginStream(id, self.reserveObject("length of image stream"), about)
            self.currentstream.write(jpeg)
            self.endStream()
