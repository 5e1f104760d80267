"""A table for people, in three formats: Markdown that reads well as it is, LaTeX (booktabs), and HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from pylatex.utils import escape_latex


class Cell(NamedTuple):
    """What stands in a cell: a number or a name, and in small print behind it what qualifies it."""

    text: str
    detail: str = ""


@dataclass(frozen=True)
class Panel:
    """Rows under a head; a table has one or more. The first column is a name, the others are numbers."""

    title: str
    head: list[str]
    rows: list[list[Cell | str]]


@dataclass(frozen=True)
class Table:
    """Panels that belong together, with what stands above and below them."""

    title: str
    panels: list[Panel]
    notes: list[str]


def markdown(tables: Sequence[Table], closing: str = "") -> str:
    """A heading, panels and a list of notes for each table."""
    parts = []
    for table in tables:
        parts.append(f"## {_one_line(table.title)}")
        for panel in table.panels:
            parts += [f"{_one_line(panel.title)}:"] if panel.title else []
            parts.append(_pipes([panel.head, *([_plain(cell) for cell in row] for row in panel.rows)]))
        parts.append("\n".join(f"- {_one_line(note)}" for note in table.notes))
    return "\n\n".join(filter(None, [*parts, closing])) + "\n"


def latex(tables: Sequence[Table], closing: str = "") -> str:
    """A ``table`` each, for a document that loads booktabs and graphicx; wide panels shrink to the line."""
    lines = [r"% needs \usepackage{booktabs,graphicx}"]
    for table in tables:
        lines += [
            r"\begin{table}",
            r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\emph{{{_tex(table.title)}}}",
        ]
        for panel in table.panels:
            lines += [
                r"\par\smallskip",
                rf"{_tex(panel.title)}\par" if panel.title else "%",
                r"\sbox0{\begin{tabular}{l" + "r" * (len(panel.head) - 1) + "}",
                r"\toprule",
                " & ".join(map(_tex, panel.head)) + r" \\",
                r"\midrule",
                *(" & ".join(map(_tex_cell, row)) + r" \\" for row in panel.rows),
                r"\bottomrule",
                r"\end{tabular}}%",
                r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
            ]
        lines += [
            "",
            r"\smallskip\begin{minipage}{\linewidth}\scriptsize\raggedright",
            *(rf"{_tex(note)}\par" for note in [*table.notes, closing] if note),
            r"\end{minipage}",
            r"\end{table}",
        ]
    return "\n".join([*lines, ""])


def html(tables: Sequence[Table]) -> str:
    """A section each; styles are the page's."""
    return "\n".join(map(_section, tables))


def _section(table: Table) -> str:
    lines = [f"<section><h2>{escape(table.title)}</h2>"]
    for panel in table.panels:
        lines += [f"<h3>{escape(panel.title)}</h3>" if panel.title else "", '<div class="wide"><table><thead><tr>']
        lines += [f'<th scope="col">{escape(head)}</th>' for head in panel.head]
        lines.append("</tr></thead><tbody>")
        for first, *others in panel.rows:
            cells = "".join(f"<td>{_html_cell(cell)}</td>" for cell in others)
            lines.append(f'<tr><th scope="row">{_html_cell(first)}</th>{cells}</tr>')
        lines.append("</tbody></table></div>")
    if table.notes:
        lines += ["<ul>", *(f"<li>{escape(note)}</li>" for note in table.notes), "</ul>"]
    return "\n".join([*filter(None, lines), "</section>"])


def _plain(cell: Cell | str) -> str:
    return cell if isinstance(cell, str) else " ".join(filter(None, cell))


def _html_cell(cell: Cell | str) -> str:
    if isinstance(cell, str) or not cell.detail:
        return escape(_plain(cell))
    return f"{escape(cell.text)} <small>{escape(cell.detail)}</small>"


def _tex_cell(cell: Cell | str) -> str:
    if isinstance(cell, str) or not cell.detail:
        return _tex(_plain(cell))
    return rf"{_tex(cell.text)} {{\tiny {_tex(cell.detail)}}}"


def _pipes(rows: list[list[str]]) -> str:
    """A Markdown table, padded so that it can be read as it is; the first row is the head."""
    rows = [[_one_line(cell) for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| "
        + " | ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        + " |"
        for row in rows
    ]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _tex(text: str) -> str:
    # A bracket at the start of a row would be read as the option of the line break before it.
    return escape_latex(" ".join(text.split())).replace("[", "{[}").replace("]", "{]}")
