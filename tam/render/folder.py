"""The folder of one sample: its pictures, the contact sheet, and the text as a PDF."""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tam.errors import RenderError
from tam.media import Media
from tam.records import Generation
from tam.render import xelatex
from tam.render.names import safe_word
from tam.render.sample import Drawable, HasMaps, Look, prepare
from tam.render.sheet import count_caption, sheet, small, token_caption, with_scale
from tam.render.tokens import TextLayout
from tam.render.typeset import Text, typeset
from tam.system.atomic import atomic_folder
from tam.system.mark import Mark

log = logging.getLogger(__name__)
Words = Sequence[tuple[str, np.ndarray]]
"""Words, and a picture under the map of each, RGB."""
WITHOUT_TEX = "no xelatex on PATH: token text is drawn by Pillow, and there is no tokens.pdf"


def draw(
    generation: Generation, maps: HasMaps, media: Media, folder: Path, mark: Mark, page: str | None, look: Look,
    words: Words | None = None,
) -> None:  # fmt: skip
    """Draw one sample that is in memory into a folder of its own, with its page, if there is one.

    Args:
        words: pictures of words, in place of those of tokens and of the text of each.

    Raises:
        RenderError: it cannot be drawn. DiskError: the disk is full, or what lies there has not this mark.
    """
    prepared, text = prepare(generation, maps, media, look), None
    if words is None:
        say_if_without_tex()
        (text,) = typeset([prepared.pages])
    write(prepared, text, folder, mark, page, words or ())


def say_if_without_tex() -> None:
    if not xelatex.available():
        log.warning(WITHOUT_TEX)


def write(
    sample: Drawable, text: Text | None, folder: Path, mark: Mark, page: str | None = None, words: Words = ()
) -> None:  # fmt: skip
    """Write a sample's folder; it appears as a whole, in place of an earlier one with the same mark.

    Args:
        text: of each token, for its picture; None: tokens have no pictures but those of the sheet.
    """
    layout, several = sample.pages[0].layout, len(sample.overlays.panels) > 1
    with atomic_folder(folder, mark) as part:
        if page is not None:
            (part / "index.html").write_text(page, encoding="utf-8")
        if text and (pdf := text.pdf()):
            (part / "tokens.pdf").write_bytes(pdf)
        shown = small(sample.overlays.media(), several)
        cells = [np.concatenate([shown, count_caption(len(sample.pages) - sample.prompt, shown.shape[1])])]
        for token, said in enumerate(text.pictures() if text else itertools.repeat(None, len(sample.pages))):
            if said is None and token < sample.prompt:
                continue
            picture, explained = sample.overlays.picture(token), token not in sample.overlays.silent
            name = f"{token:03d}_{safe_word(_word(layout, token))}"
            if said is not None:
                above = [picture] if explained else [picture, token_caption(layout, token, picture.shape[1], explained)]
                drawn = with_scale(np.concatenate([*above, said]), len(picture), sample.overlays.colors)
                _save(part / f"{name}.png", drawn)
            if token >= sample.prompt:
                shown = small(picture, several)
                cells.append(np.concatenate([shown, token_caption(layout, token, shown.shape[1], explained)]))
                if len(sample.frames) > 1:
                    _animate(sample, token, part / f"{name}.webp")
        for number, (word, picture) in enumerate(words):
            _save(part / f"{number:03d}_{safe_word(word)}.png", picture)
        _save(part / "sheet.png", sheet(cells, sample.overlays.colors))


def _animate(sample: Drawable, token: int, path: Path) -> None:
    """The frames under the map of a token, with its word below. WebP: browsers and viewers play it, in all colours."""
    frames = []
    for panel in sample.frames:
        picture = sample.overlays.over(panel, token)
        caption = token_caption(sample.pages[0].layout, token, picture.shape[1])
        captioned = with_scale(np.concatenate([picture, caption]), len(picture), sample.overlays.colors)
        frames.append(Image.fromarray(captioned))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=sample.pause, loop=0, quality=85, method=2)


def _save(path: Path, picture: np.ndarray) -> None:
    done, data = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        raise RenderError("picture cannot be encoded", where=path.name, got=picture.shape)
    path.write_bytes(data.tobytes())


def _word(layout: TextLayout, token: int) -> str:
    unit = layout.units[layout.unit_of(token)]
    return unit.text or "".join(run.text for cluster in unit.shaped.clusters for run in cluster)
