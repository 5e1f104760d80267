"""Pages of token text -> pictures and a PDF: by XeLaTeX, and by Pillow where there is none or it refuses."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from tam.errors import RenderError
from tam.render import pillow, xelatex
from tam.render.tokens import Page

T = TypeVar("T")


class TexPage(NamedTuple):
    """A page that TeX made: the PDF that holds it, and its number there."""

    pdf: bytes
    number: int


@dataclass(frozen=True)
class Text:
    """The text of one sample, a page a token.

    Attributes:
        by_tex: of each page, where TeX has made it; None: Pillow draws it.
        refused: why TeX refused those of Pillow; None where it refused none, or was not asked.
    """

    pages: Sequence[Page]
    by_tex: Sequence[TexPage | None]
    refused: RenderError | None = None

    def pictures(self) -> Iterator[np.ndarray]:
        """uint8 RGB [height, width, 3] of each page, one at a time."""
        for pdf, group in itertools.groupby(range(len(self.pages)), lambda page: self._pdf_of(page)):
            numbers = list(group)
            if pdf is None:
                yield from pillow.draw(self.pages[0].layout, [self.pages[number] for number in numbers])
            else:
                made = self.by_tex[numbers[0] : numbers[-1] + 1]
                yield from xelatex.rasters(pdf, [page.number for page in made if page is not None])

    def pdf(self) -> bytes | None:
        """The pages that TeX made; None without any."""
        made = [page for page in self.by_tex if page is not None]
        parts = itertools.groupby(made, lambda page: page.pdf)
        return xelatex.extract((pdf, [page.number for page in pages]) for pdf, pages in parts) if made else None

    def _pdf_of(self, page: int) -> bytes | None:
        made = self.by_tex[page]
        return None if made is None else made.pdf


def typeset(samples: Sequence[Sequence[Page]]) -> list[Text]:
    """The texts of samples, whose pages share their layout each. One TeX document makes them all, if it can."""
    if not samples or not xelatex.available():
        return [Text(pages, [None] * len(pages)) for pages in samples]
    texts = []
    for part, made in _in_parts(samples, _compiled):
        if isinstance(made, bytes):
            numbers = itertools.count()
            texts += [Text(pages, [TexPage(made, next(numbers)) for _ in pages]) for pages in part]
        else:
            texts.append(_page_by_page(part[0], made))
    return texts


def _page_by_page(pages: Sequence[Page], refused: RenderError) -> Text:
    """The text of a sample that TeX has refused as a whole."""
    by_tex: list[TexPage | None] = []
    if not _refuses_layout(pages[0]):
        for part, made in _in_parts(pages, lambda part: _compiled([part])):
            by_tex += [TexPage(made, number) if isinstance(made, bytes) else None for number in range(len(part))]
    return Text(pages, by_tex or [None] * len(pages), refused)


def _in_parts(
    items: Sequence[T], make: Callable[[Sequence[T]], bytes]
) -> Iterator[tuple[Sequence[T], bytes | RenderError]]:
    """All made together; where that fails, in halves, down to the single ones that fail."""
    try:
        yield items, make(items)
    except RenderError as error:
        if len(items) == 1:
            yield items, error
        else:
            middle = len(items) // 2
            yield from _in_parts(items[:middle], make)
            yield from _in_parts(items[middle:], make)


def _compiled(samples: Sequence[Sequence[Page]]) -> bytes:
    return xelatex.compile_pdf(xelatex.document(samples), sum(map(len, samples)))


def _refuses_layout(page: Page) -> bool:
    """Whether TeX fails on what all pages of a sample share, so that trying each would be in vain."""
    try:
        _compiled([[replace(page, foot=())]])
    except RenderError:
        return True
    return False
