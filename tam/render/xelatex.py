"""Token text by XeLaTeX: one document for many samples, one page a token.

Answers are untrusted. The escaper is the barrier: a token's TeX may hold letters, digits, ``\\char"HEX`` and two macros
of our own, and that is asserted for every token. The process is locked down besides (docs/explained/rendering.md).
"""

import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pypdfium2
from pylatex import Document, NoEscape

from tam.errors import RenderError
from tam.render import fonts
from tam.render.tokens import ASCENT, DESCENT, LABEL, GlyphRun, Page, Segment

BP = 0.72  # a pixel of the picture in big points (1/72 inch): 100 pixels an inch
FIRST_BOX, LAST_BOX = 300, 32_000  # TeX has 32,768 box registers; LaTeX uses the low ones
TALLEST = 20_000  # pixels; TeX's largest dimension is 16,383 pt
PAGES = 1000  # a document: enough to forget the 0.2 s that TeX takes to start
SECONDS = 60

ALPHABET = re.compile(
    r'(?:\\char"[0-9A-F]{1,6} |\\F[a-z]{3} |\\H\{(?:\\char"[0-9A-F]{1,6} |[A-Za-z0-9])*\}|[A-Za-z0-9])*'
)
FONT = re.compile(r'\\font\\F[a-z]{3}="\[[A-Za-z0-9/._-]+(?::[0-9]+)?\]/OT:[a-z0-9=;-]*" at [0-9.]+bp')

HEAD = r"""
\tracinglostchars=2 \hfuzz=\maxdimen \parindent=0pt \boxmaxdepth=\maxdimen
\def\H#1{\setbox0\hbox{\kern.2em #1\kern.2em}\kern.08em\raise.2em\hbox{%
\vrule width.05em height.98em depth.22em
\rlap{\raise.93em\hbox{\vrule width\wd0 height.05em}}\rlap{\lower.22em\hbox{\vrule width\wd0 height.05em}}%
\copy0\vrule width.05em height.98em depth.22em}\kern.08em}
\def\C#1{\special{color push #1}}\def\Z{\special{color pop}}
\def\G#1#2#3#4{\C{gray 0}\vrule width#2 height#3 depth#4\Z\kern-#2\C{gray 1}\copy#1 \Z}
\def\L#1#2{\vbox to0bp{\kern#1\hbox to0bp{\smash{\hbox{#2}}\hss}\vss}\nointerlineskip}
\ifdefined\RawShipout\let\S\RawShipout\else\let\S\shipout\fi
"""

Boxes = dict[tuple[tuple[GlyphRun, ...], int], int]
"""Runs and their size -> the box register that holds them."""


def available() -> bool:
    return shutil.which("xelatex") is not None


def escape(text: str) -> str:
    """Everything but ASCII letters and digits by its number, which no category code can turn into a command."""
    return "".join(c if c.isascii() and c.isalnum() else f'\\char"{ord(c):X} ' for c in text)


class FontNames:
    """Names for the fonts of one document: ``\\Faaa``, ``\\Faab``, ..."""

    def __init__(self) -> None:
        self.names: dict[tuple[fonts.Face, float], str] = {}

    def name(self, face: fonts.Face, size: float) -> str:
        number = len(self.names)
        letters = "".join(chr(97 + number // 26**place % 26) for place in (2, 1, 0))
        return self.names.setdefault((face, size), f"\\F{letters} ")

    def definitions(self) -> Iterator[str]:
        for (face, size), name in self.names.items():
            index = f":{face.index}" if face.path.endswith("c") else ""
            script = f"script={face.script};" if face.script else ""
            line = f'\\font{name.strip()}="[{face.path}{index}]/OT:{script}-liga;-clig" at {size * BP:.3f}bp'
            if not FONT.fullmatch(line):
                raise RenderError("font cannot be named in TeX", got=face.path, expected="letters, digits, / . _ -")
            yield line


def tex_of(runs: Sequence[GlyphRun], size: float, names: FontNames) -> str:
    """A token's TeX; RenderError if it leaves the alphabet, whatever the token was."""
    parts = []
    for run in runs:
        if run.face is None:
            parts.append(f"{names.name(fonts.label_face(), size * LABEL)}\\H{{{escape(run.text)}}}")
        else:
            parts.append(names.name(run.face, size) + escape(run.text))
    tex = "".join(parts)
    if not ALPHABET.fullmatch(tex):
        raise RenderError("escaped text leaves its alphabet", got=ascii(tex), cure="report it: this is a bug")
    return tex


def _bp(pixels: float) -> str:
    return f"{pixels * BP:.3f}bp"


def _color(rgb: np.ndarray) -> str:
    red, green, blue = (int(value) / 255 for value in rgb)
    return f"gray {red:.3g}" if red == green == blue else f"rgb {red:.3g} {green:.3g} {blue:.3g}"


def _line(segments: Iterable[tuple[Segment, int]], page: Page) -> str:
    """Segments from left to right, each at its x; neighbours of one colour share it."""
    parts, x = [], 0.0

    def key(item: tuple[Segment, int]) -> str:
        unit = item[0].unit
        return "current" if unit == page.current else _color(page.colors[unit])

    for color, group in itertools.groupby(segments, key):
        body = []
        for segment, box in group:
            body.append(f"\\kern{_bp(segment.x - x)}" if abs(segment.x - x) > 1e-3 else "")
            x = segment.x + segment.width
            if color == "current":
                strut = _bp(ASCENT * segment.size), _bp(DESCENT * segment.size)
                body.append(f"\\G{{{box}}}{{{_bp(segment.width)}}}{{{strut[0]}}}{{{strut[1]}}}")
            else:
                body.append(f"\\copy{box} ")
        text = "".join(body)
        parts.append(text if color == "current" else f"\\C{{{color}}}{text}\\Z")
    return "".join(parts)


def _page(page: Page, boxes: Boxes) -> str:
    layout = page.layout
    lines = []
    rows = itertools.groupby((*layout.segments, *page.foot), lambda segment: segment.y)
    for y, row in rows:
        items = [(segment, boxes[segment.runs, segment.size]) for segment in sorted(row, key=lambda segment: segment.x)]
        # each line hangs from the top of the page, without height, so that nothing in it can move another
        lines.append(f"\\L{{{_bp(y)}}}{{{_line(items, page)}}}\n")
    width, height = _bp(layout.width - 0.1), _bp(layout.height - 0.1)  # the rasteriser rounds up
    size = f"\\pdfpagewidth={width}\\pdfpageheight={height}"
    body = f"\\vbox to{height}{{\\offinterlineskip\n{''.join(lines)}\\vss}}"
    return f"{size}\\hoffset=-1in\\voffset=-1in\\S{body}\n"


def _sample(pages: Sequence[Page], names: FontNames) -> Iterator[str]:
    """Each segment is shaped once, into a box register; the pages copy it."""
    boxes: Boxes = {}
    if pages[0].layout.height > TALLEST:
        raise RenderError(
            "page too tall for TeX", got=f"{pages[0].layout.height} pixels", expected=f"at most {TALLEST}"
        )
    for segment in itertools.chain(pages[0].layout.segments, *(page.foot for page in pages)):
        key = segment.runs, segment.size
        if key not in boxes:
            boxes[key] = FIRST_BOX + len(boxes)
            shaped = tex_of(segment.runs, segment.size, names)
            yield f"\\setbox{boxes[key]}\\hbox to{_bp(segment.width)}{{{shaped}\\hss}}\n"
    if len(boxes) > LAST_BOX - FIRST_BOX:
        raise RenderError(
            "too many different pieces of text for TeX", got=len(boxes), expected=f"at most {LAST_BOX - FIRST_BOX}"
        )
    for page in pages:
        yield _page(page, boxes)


def document(samples: Iterable[Sequence[Page]]) -> str:
    """The TeX source of many samples' pages. The pages of a sample share their layout."""
    names = FontNames()
    body = [text for pages in samples for text in _sample(pages, names)]
    made = Document(
        documentclass="minimal",
        fontenc=None,
        inputenc=None,
        lmodern=False,
        textcomp=False,
        page_numbers=False,
        indent=True,
    )
    made.preamble.append(NoEscape(HEAD + "\n".join(names.definitions())))
    made.append(NoEscape("".join(body)))
    return made.dumps()


# ---- the process -----------------------------------------------------------------------------------------------------


def _limits() -> None:
    limits = {
        resource.RLIMIT_CPU: SECONDS,
        resource.RLIMIT_FSIZE: 256 << 20,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":
        limits[resource.RLIMIT_AS] = 1 << 30
    for kind, value in limits.items():
        resource.setrlimit(kind, (value, value))


def _environment(xelatex: str, folder: str) -> dict[str, str]:
    return {
        "PATH": f"{Path(xelatex).parent}:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "TEXMFVAR": folder,
        "openin_any": "p",
        "openout_any": "p",
        "shell_escape": "f",
        "SOURCE_DATE_EPOCH": "0",
        "FORCE_SOURCE_DATE": "1",
    }


def compile_pdf(source: str, pages: int) -> bytes:
    """Run XeLaTeX in a folder of its own; RenderError unless it made exactly the pages, without a word of complaint."""
    xelatex = shutil.which("xelatex")
    if xelatex is None:
        raise RenderError("no xelatex on PATH", cure="install texlive-xetex, or use the Pillow text")
    with tempfile.TemporaryDirectory(prefix="tam-tex-") as folder:
        Path(folder, "tokens.tex").write_text(source, encoding="utf-8")
        command = [
            xelatex,
            "-no-shell-escape",
            "-halt-on-error",
            "-interaction=batchmode",
            "-no-mktex=tfm",
            "tokens.tex",
        ]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(xelatex, folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_limits,
        )
        try:
            code = process.wait(timeout=5 * SECONDS)
        except subprocess.TimeoutExpired as error:
            raise RenderError("XeLaTeX took too long", expected=f"at most {5 * SECONDS} s") from error
        finally:
            if process.poll() is None:  # the driver is in the same group
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log = Path(folder, "tokens.log")
        _check(code, log.read_text(errors="replace") if log.exists() else "")
        made = Path(folder, "tokens.pdf").read_bytes()
    found = len(pypdfium2.PdfDocument(made))
    if found != pages:
        raise RenderError("XeLaTeX made another number of pages", got=found, expected=pages)
    return made


def _check(code: int, log: str) -> None:
    complaint = re.search(r"^!.*|.*Missing character.*|^Overfull.*", log, re.MULTILINE)
    if code or complaint:
        raise RenderError("XeLaTeX failed", got=complaint.group() if complaint else f"exit code {code}")


def rasters(pdf: bytes, numbers: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """uint8 RGB pictures of pages, all without ``numbers``, one at a time, at the layout's size in pixels."""
    document = pypdfium2.PdfDocument(pdf)
    for number in range(len(document)) if numbers is None else numbers:
        bitmap = document[number].render(scale=1 / BP, rev_byteorder=True)
        yield bitmap.to_numpy()[..., :3].copy()  # the bitmap's memory is pdfium's
    document.close()


def extract(parts: Iterable[tuple[bytes, Sequence[int]]]) -> bytes:
    """Some pages of PDFs as a PDF of their own, the same bytes each time."""
    with tempfile.TemporaryFile() as file:
        made = pypdfium2.PdfDocument.new()
        for pdf, numbers in parts:
            made.import_pages(pypdfium2.PdfDocument(pdf), list(numbers))
        made.save(file)
        file.seek(0)
        made = file.read()
    # pdfium writes the time and a random identifier; both have a fixed length
    made = re.sub(rb"(?<=/CreationDate\(D:)[0-9]{14}", b"19700101000000", made)
    return re.sub(rb"(?<=/ID\[)[^\]]*", lambda match: re.sub(rb"[0-9A-F]", b"0", match.group()), made)
