"""Token text without TeX: every glyph is drawn once for a sample, each page only colours it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np
from PIL import Image, ImageDraw

from tam.render import fonts
from tam.render.colors import BLACK, WHITE
from tam.render.tokens import ASCENT, DESCENT, FOOT, LABEL, Page, Segment, TextLayout, run_width

SCALE = 3  # drawn larger and shrunk: glyphs then stand where the layout says to a third of a pixel


def _draw_label(draw: ImageDraw.ImageDraw, text: str, x: float, y: float, size: float, width: float) -> None:
    em = size * LABEL
    top, bottom = y - 1.18 * em, y + 0.02 * em
    stroke = max(1, round(0.06 * em))
    draw.rectangle(
        (round(x + 0.08 * em), round(top), round(x + width - 0.08 * em), round(bottom)), outline=255, width=stroke
    )
    font = fonts.pillow_font(fonts.label_face(), round(em))
    draw.text((x + 0.33 * em, y - 0.2 * em), text, fill=255, font=font, anchor="ls")


def coverage(segments: Iterable[Segment], width: int, height: int) -> np.ndarray:
    """How much ink lies on each pixel: uint8 [height, width]."""
    image = Image.new("L", (width * SCALE, height * SCALE))
    draw = ImageDraw.Draw(image)
    for segment in segments:
        x, y = segment.x * SCALE, segment.y * SCALE
        for run in segment.runs:
            advance = run_width(run, segment.size) * SCALE
            if run.face is None:
                _draw_label(draw, run.text, x, y, segment.size * SCALE, advance)
            else:
                font = fonts.pillow_font(run.face, segment.size * SCALE)
                draw.text((x, y), run.text, fill=255, font=font, anchor="ls", features=fonts.LIGATURES_OFF)
            x += advance
    return cv2.resize(np.asarray(image), (width, height), interpolation=cv2.INTER_AREA)


def _rectangle(segment: Segment, grow: int = 0) -> tuple[slice, slice]:
    rows = slice(
        max(0, round(segment.y - ASCENT * segment.size) - grow), round(segment.y + DESCENT * segment.size) + grow
    )
    return rows, slice(max(0, round(segment.x) - grow), round(segment.x + segment.width) + grow)


def owners(segments: Iterable[Segment], shape: tuple[int, int], grow: int = 0) -> np.ndarray:
    """Unit + 1 that each pixel belongs to, 0 for none: int32 [height, width]. The own box wins over grown ones."""
    found = np.zeros(shape, np.int32)
    segments = list(segments)
    for margin in (grow, 0):
        for segment in segments:
            found[_rectangle(segment, margin)] = segment.unit + 1
    return found


def paint(ink: np.ndarray, box: np.ndarray, near: np.ndarray, colors: np.ndarray, current: int | None) -> np.ndarray:
    """Colour ink by its owner's colour, on white, black behind the current unit: uint8 RGB [height, width, 3]."""
    table = np.concatenate([[BLACK], colors]).astype(np.float32)
    chosen = box == (-1 if current is None else current + 1)
    back = np.where(chosen[..., None], np.array(BLACK, np.float32), np.array(WHITE, np.float32))
    amount = (ink.astype(np.float32) / 255)[..., None]
    return np.rint(back + (table[near] - back) * amount).astype(np.uint8)


def _paint_foot(picture: np.ndarray, page: Page) -> None:
    top = int(page.layout.foot - ASCENT * FOOT - 2)
    segments = [replace(segment, y=segment.y - top) for segment in page.foot]
    height, width, _ = picture[top:].shape
    near = owners(segments, (height, width), grow=3)
    picture[top:] = paint(coverage(segments, width, height), near, near, page.colors, current=None)


def draw(layout: TextLayout, pages: Iterable[Page]) -> Iterator[np.ndarray]:
    """uint8 RGB pictures [height, width, 3], one a page."""
    shape = (layout.height, layout.width)
    ink, box, near = (
        coverage(layout.segments, *shape[::-1]),
        owners(layout.segments, shape),
        owners(layout.segments, shape, grow=3),
    )
    for page in pages:
        picture = paint(ink, box, near, page.colors, page.current)
        if page.foot:
            _paint_foot(picture, page)
        yield picture
