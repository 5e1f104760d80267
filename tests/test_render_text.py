"""Token text on a page, by XeLaTeX and by Pillow; nothing but text comes out of hostile tokens."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tam.errors import RenderError
from tam.render import fonts, pillow, xelatex
from tam.render.tokens import GlyphRun, Page, TokenText, lay_out, page, shape
from tests.answers import needs_tex
from tests.check_vocabulary import check, fuzz, pages_of, read_tokens
from tests.shared import shared

ATTACKS = [
    r"\input{/etc/passwd}", r"\write18{touch /tmp/tam-owned}", r"\special{pdf:fstream @s (/etc/passwd)}",
    r"\XeTeXpicfile",
    r"\openout5=/tmp/tam-owned \immediate\write5{x}", r"^^5cinput", "{", "}", r"\end{document}", r"\catcode`\%=12",
    "%", "$", "#1", r"\fi", r"\Faaa", r"\H{",
    r"\special{color pop}", r'\char"41 ', "a\\\nb", r"\def\x{\x}\x", "\\\x00", "^^M",
]  # fmt: skip


def answer(*texts: str) -> list[Page]:
    layout = lay_out([TokenText(text.encode()) for text in texts], 0)
    return [page(layout, token, np.linspace(0, 1, len(texts)), []) for token in range(len(texts))]


def text_of(pdf: bytes, number: int = 0) -> str:
    return "".join(pypdfium2.PdfDocument(pdf)[number].get_textpage().get_text_bounded().split())


# ---- the escaper -----------------------------------------------------------------------------------------------------


def test_every_other_character_becomes_its_number():
    assert xelatex.escape("Ab1 \\中") == 'Ab1\\char"20 \\char"5C \\char"4E2D '


@given(st.text())
def test_escaped_text_stays_in_its_alphabet(text):
    for cluster in shape(text).clusters:
        assert xelatex.ALPHABET.fullmatch(xelatex.tex_of(cluster, 20, xelatex.FontNames()))


@pytest.mark.parametrize("text", [*ATTACKS, "\n\n", "²", "١"])
def test_the_alphabet_holds_no_command_of_a_token(text):
    tex = xelatex.tex_of([run for cluster in shape(text).clusters for run in cluster], 20, xelatex.FontNames())
    assert set(re.findall(r"\\[A-Za-z]+", tex)) <= {"\\char", "\\H", *re.findall(r"\\F[a-z]{3}", tex)}


def test_the_alphabet_is_asserted_when_a_document_is_made(monkeypatch):
    monkeypatch.setattr(xelatex, "escape", lambda text: text)
    with pytest.raises(RenderError, match="leaves its alphabet"):
        xelatex.tex_of([GlyphRun("\\input", fonts.label_face())], 20, xelatex.FontNames())


def test_a_font_in_a_folder_that_tex_could_misread_is_refused():
    names = xelatex.FontNames()
    names.name(fonts.Face('/tmp/a b/"]\\input.ttf'), 20)
    with pytest.raises(RenderError, match="font cannot be named"):
        list(names.definitions())


# ---- XeLaTeX ---------------------------------------------------------------------------------------------------------


@needs_tex
def test_one_document_holds_many_samples_with_a_page_a_token():
    samples = [answer("A", " dog"), answer("Two", " cats", ".")]
    pdf = xelatex.compile_pdf(xelatex.document(samples), 5)
    assert [text_of(pdf, number) for number in (0, 4)] == ["Adog", "Twocats."]
    sizes = [picture.shape for picture in xelatex.rasters(pdf)]
    assert sizes == [(samples[0][0].layout.height, 500, 3)] * 2 + [(samples[1][0].layout.height, 500, 3)] * 3


@needs_tex
def test_colours_of_earlier_current_and_later_tokens():
    made = answer("one", " two", " three")
    pdf = xelatex.compile_pdf(xelatex.document([made]), 3)
    for source in (list(xelatex.rasters(pdf))[1], list(pillow.draw(made[0].layout, made))[1]):
        first, second, third = made[0].layout.segments
        part = [
            source[8:36, round(piece.x) : round(piece.x + piece.width)].reshape(-1, 3)
            for piece in (first, second, third)
        ]
        assert (part[0].min(0) == [0, 0, 128]).all()  # relevance 0: dark blue
        assert (np.median(part[1], 0) == 0).all() and (part[1].max(0) == 255).all()  # white on black
        assert (part[2].min(0) == 200).all()


@needs_tex
def test_printable_text_comes_out_as_it_went_in():
    texts = [text.decode() for text in fuzz(300, [b""]) if text.isascii() and text.decode().isprintable()]
    assert len(texts) > 40
    layout = lay_out([TokenText(text.encode()) for text in texts], 0)
    blank = Page(layout, None, np.zeros((len(layout.units) + 2, 3), np.uint8), ())
    pdf = xelatex.compile_pdf(xelatex.document([[blank]]), 1)
    expected = "".join(run.text for piece in layout.segments for run in piece.runs)
    assert text_of(pdf) == expected


@needs_tex
def test_attacks_are_printed_and_nothing_is_read_or_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = answer(*ATTACKS)
    pdf = xelatex.compile_pdf(xelatex.document([made]), len(made))
    assert r"\input{/etc/passwd}" in text_of(pdf) and "root:x:" not in text_of(pdf)
    assert b"/EmbeddedFile" not in pdf and b"root:x:" not in pdf
    assert not any(tmp_path.iterdir()) and not Path("/tmp/tam-owned").exists()


@pytest.mark.parametrize("by_tex", [pytest.param(True, marks=needs_tex), False])
def test_nasty_and_ten_thousand_random_strings_leave_a_mark_and_nothing_else(tmp_path, monkeypatch, by_tex):
    """Every one shows ink; TeX complains of none; nothing is written, embedded or run."""
    nasty = [
        text.encode("utf-8", "surrogatepass") for text in json.loads(shared("data", "nasty_strings.json").read_text())
    ]
    made, compile_pdf = [], xelatex.compile_pdf
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(xelatex, "compile_pdf", lambda *given: made.append(compile_pdf(*given)) or made[-1])
    strings = nasty + fuzz(10_000, nasty)
    found = check(strings, by_tex)
    assert (found["tokens"], found["TeX errors"], found["missing glyphs"], found["without ink"]) == (
        len(nasty) + 10_000, 0, 0, [],
    )  # fmt: skip
    assert not any(tmp_path.iterdir()) and not Path("/tmp/tam-owned").exists()
    for pdf in made:
        kinds = {one.type for page in pypdfium2.PdfDocument(pdf) for one in page.get_objects()}
        assert kinds <= {pdfium.FPDF_PAGEOBJ_TEXT, pdfium.FPDF_PAGEOBJ_PATH}  # the frames of labels are paths
        assert not re.search(rb"/EmbeddedFile|/JavaScript|/Launch|/URI|root:x:", pdf)
    assert bool(made) == by_tex


@needs_tex
@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (r"\documentclass{minimal}\begin{document}\undefined\end{document}", "Undefined control sequence"),
        (r"\documentclass{minimal}\begin{document}\input{/etc/passwd}\end{document}", "failed"),
        (r"\documentclass{minimal}\begin{document}x\end{document}", "another number of pages"),
        (
            r"\documentclass{minimal}\tracinglostchars=2 \font\a=cmr10 \begin{document}\a 中\end{document}",
            "Missing character",
        ),
    ],
)
def test_any_complaint_of_tex_is_an_error(source, complaint):
    with pytest.raises(RenderError, match=complaint):
        xelatex.compile_pdf(source, 2)


@needs_tex
def test_tex_that_runs_for_ever_is_killed(monkeypatch):
    monkeypatch.setattr(xelatex, "SECONDS", 0.2)
    monkeypatch.setattr(xelatex, "_limits", lambda: None)
    with pytest.raises(RenderError, match="took too long"):
        xelatex.compile_pdf(r"\documentclass{minimal}\begin{document}\def\x{\x}\x\end{document}", 1)


@needs_tex
def test_the_same_pages_give_the_same_bytes():
    made = [answer("A", " dog"), answer("No")]
    first, second = (xelatex.compile_pdf(xelatex.document(made), 3) for _ in range(2))
    assert first == second
    part = xelatex.extract([(first, [2])])
    assert text_of(part) == "No" and part == xelatex.extract([(second, [2])]) and b"19700101000000" in part


def test_a_page_too_tall_for_tex_is_an_error_before_tex_runs():
    layout = lay_out([TokenText(b"\n")] * 1200, 0)
    with pytest.raises(RenderError, match="too tall"):
        xelatex.document([[page(layout, 0, np.zeros(1200), [])]])


# ---- Pillow ----------------------------------------------------------------------------------------------------------


@needs_tex
def test_both_ways_put_the_text_at_the_same_place():
    made = answer("The", " bro", "ccoli", ",", " naïve", " $5", "\n", "{x}", "\u200b")
    by_tex = next(xelatex.rasters(xelatex.compile_pdf(xelatex.document([made]), len(made))))
    by_pillow = next(pillow.draw(made[0].layout, made))
    for piece in made[0].layout.segments:
        part = np.s_[round(piece.y - 25) : round(piece.y + 8), round(piece.x) : round(piece.x + piece.width)]
        ink = [255 - picture[part].astype(float).mean(axis=2) for picture in (by_tex, by_pillow)]
        centres = [(found.sum(0) * np.arange(found.shape[1])).sum() / found.sum() for found in ink]
        lettered = all(run.face for run in piece.runs)  # the thin frame of a label falls on pixels or between them
        assert centres[0] == pytest.approx(centres[1], abs=1 if lettered else 3)
        assert ink[0].sum() == pytest.approx(ink[1].sum(), rel=0.5)


def test_pillow_draws_where_no_font_is_installed(tmp_path):
    """The DejaVu Sans that matplotlib brings shows ASCII; what it lacks becomes a hex label."""
    program = (
        "import numpy as np, tam.render.fonts as f, tam.render.pillow as p, tam.render.tokens as t\n"
        "every = f._folders; f._folders = lambda: every()[-1:]\n"
        "layout = t.lay_out([t.TokenText('a dog 中'.encode())], 0)\n"
        "assert layout.lost == ['中'] and 'mpl-data' in f.label_face().path\n"
        "picture = next(p.draw(layout, [t.page(layout, 0, np.zeros(1), [])]))\n"
        "assert picture.min() == 0\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])


def test_the_check_pages_hold_every_token():
    tokens = [b"a", b" b", b"\xe4"]
    (made,) = pages_of(tokens)
    assert [unit.text for unit in made.layout.units[::2]] == ["a", " b", "\udce4"]


@pytest.mark.parametrize(
    "entries",
    [
        ["IHRoZQ==", "5A==", "Cg=="],  # base64
        ["\u0120the", "\u00e4", "\u010a"],  # byte-level BPE
        ["\u2581the", "<0xE4>", "<0x0A>"],  # SentencePiece
    ],
)
def test_a_vocabulary_is_read_as_the_bytes_that_its_tokens_stand_for(tmp_path, entries):
    file = tmp_path / "vocabulary.json"
    file.write_text(json.dumps(entries))
    assert read_tokens(file) == [b" the", b"\xe4", b"\n"]


def test_a_sentencepiece_vocabulary_leaves_a_mark_by_pillow(tmp_path):
    vocabulary = json.loads(shared("golden", "tokenizers", "llava_real.json").read_text())["model"]["vocab"]
    file = tmp_path / "vocabulary.json"
    file.write_text(json.dumps([*vocabulary, *(f"<0x{byte:02X}>" for byte in range(256))]))
    found = check(read_tokens(file), by_tex=False)
    assert found["without ink"] == [] and found["scripts"]["(no UTF-8)"] >= 128
