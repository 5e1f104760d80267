"""Tables as LaTeX for a paper: a float a panel, for pdfLaTeX and XeLaTeX with booktabs and graphicx alone."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pylatex.utils import escape_latex

from tam.tables.formats import Cell, Panel, Table

ROWS = 36  # of a float: more go on in the next one, so that none is higher than a page
NOTES, LETTERS = 6, 500  # below a float, and of one; all of them stand in the Markdown file
FLOATS = 12  # LaTeX holds back some fifty in a row, and then no more
WORD = 20  # letters after which a line may break
# Letters whose glyph both engines have without a package or further fonts, and what others are written as.
LETTER = {letter: letter for letter in "ßæøåÆØÅ"} | {
    "\N{MINUS SIGN}": "$-$", "–": "--", "“": "``", "”": "''", "…": r"\ldots{}", "×": r"$\times$", "†": r"$\dagger$",
    "<": "$<$", ">": "$>$", "|": "$|$", '"': "''", "$": r"$\mathdollar$",
    "[": "{[}", "]": "{]}",  # at the start of a row a bracket would be read as an option of the line break before it
}  # fmt: skip


def latex(tables: Sequence[Table], caption: str = "", closing: str = "") -> str:
    """A ``table`` with caption and label for each panel; what is wider than the line shrinks to it.

    Args:
        caption: what stands in all captions after the titles. closing: what is said once, as a comment.
    """
    floats = [part for table in tables for panel in table.panels for part in _floats(table, panel, caption)]
    lines = [r"% needs \usepackage{booktabs,graphicx}", *([f"% {' '.join(closing.split())}"] if closing else [])]
    for number, part in enumerate(floats):
        lines += [r"\clearpage"] if number and number % FLOATS == 0 else []
        lines += part
    return "\n".join([*lines, ""])


def _floats(table: Table, panel: Panel, caption: str) -> Iterator[list[str]]:
    """The float of a panel, or several of one that is high."""
    starts = range(0, len(panel.rows), ROWS)
    for number, start in enumerate(starts, 1):
        part = replace(panel, rows=panel.rows[start : start + ROWS])
        title = ": ".join(filter(None, [table.title, panel.title]))
        more = f" ({number} of {len(starts)})" if len(starts) > 1 else ""
        yield _float(part, f"{title}{more}. {caption}".strip(), _label(f"{title}{more}"))


def _float(panel: Panel, caption: str, label: str) -> list[str]:
    notes = [note if len(note) <= LETTERS else f"{note[:LETTERS]} …" for note in panel.notes[:NOTES]]
    if (more := len(panel.notes) - NOTES) > 0:
        notes.append(f"{more} more notes stand in the Markdown file of this table.")
    return [
        r"\begin{table}[htbp]",
        r"\centering\scriptsize\setlength{\tabcolsep}{3pt}\setlength{\emergencystretch}{\linewidth}",
        rf"\caption{{{_tex(caption)}}}",
        rf"\label{{{label}}}",
        r"\sbox0{\begin{tabular}{l" + "r" * (len(panel.head) - 1) + "}",
        r"\toprule",
        " & ".join(map(_tex, panel.head)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_tex_cell, row)) + r" \\" for row in panel.rows),
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
        "",
        r"\smallskip\begin{minipage}{\linewidth}\scriptsize\raggedright",
        *(rf"{_tex(note)}\par" for note in notes),
        r"\end{minipage}",
        r"\end{table}",
    ]


def _label(title: str) -> str:
    return "tab:" + (re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "table")


def _tex_cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return _tex(cell)
    how = r"\textbf" if cell.best else r"\underline" if cell.near else ""
    text = rf"{how}{{{_tex(cell.text)}}}" if how else _tex(cell.text)
    return rf"{text} {{\tiny {_tex(cell.detail)}}}" if cell.detail else text


def _tex(text: str) -> str:
    """A text as TeX; a long word may break anywhere after ``WORD`` letters."""
    return " ".join(map(_word, text.split()))


def _word(word: str) -> str:
    pieces = [word[start : start + WORD] for start in range(0, len(word), WORD)]
    return r"\allowbreak{}".join("".join(map(_letter, piece)) for piece in pieces)


def _letter(letter: str) -> str:
    if letter in LETTER:
        return LETTER[letter]
    if letter.isascii():
        return str(escape_latex(letter))
    if letter <= "ÿ" and len(unicodedata.normalize("NFD", letter)) == 2:  # a Latin letter with an accent
        return letter
    return rf"{{[}}U+{ord(letter):04X}{{]}}"
