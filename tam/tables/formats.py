"""A table for people, in three formats: Markdown that reads well as it is, LaTeX (``latex``), and HTML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple


class Cell(NamedTuple):
    """What stands in a cell: a number or a name, and in small print behind it what qualifies it.

    Attributes:
        best: of its column; in bold. near: in the interval of the best; underlined.
    """

    text: str
    detail: str = ""
    best: bool = False
    near: bool = False


@dataclass(frozen=True)
class Panel:
    """Rows under a head; a table has one or more. The first column is a name, the others are numbers.

    Attributes:
        notes: what of the table's notes is about this panel, for formats in which it stands alone.
    """

    title: str
    head: list[str]
    rows: list[list[Cell | str]]
    notes: Sequence[str] = ()


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
            parts.append(_pipes([panel.head, *([_markdown_cell(cell) for cell in row] for row in panel.rows)]))
        parts.append("\n".join(f"- {_one_line(note)}" for note in table.notes))
    return "\n\n".join(filter(None, [*parts, closing])) + "\n"


def html(tables: Sequence[Table]) -> str:
    """A section each; styles are the page's."""
    return "\n".join(map(_section, tables))


def contents(tables: Sequence[Table]) -> str:
    """A link to each of the sections of ``html``."""
    return "\n".join(f'<a href="#{anchor(table.title)}">{escape(table.title)}</a>' for table in tables)


def anchor(title: str) -> str:
    """The place of a section on its page; titles differ.

    >>> anchor("coco14, qwen2-vl-2b")
    'coco14-qwen2-vl-2b'
    """
    return "-".join(re.findall(r"\w+", title.lower())) or "table"


def _section(table: Table) -> str:
    lines = [f'<section id="{anchor(table.title)}"><h2>{escape(table.title)}</h2>']
    for panel in table.panels:
        caption = f"<caption>{escape(panel.title)}</caption>" if panel.title else ""
        lines += ['<div class="wide"><table>', caption, "<thead><tr>"]
        lines += [f'<th scope="col">{escape(head)}</th>' for head in panel.head]
        lines.append("</tr></thead><tbody>")
        for first, *others in panel.rows:
            cells = "".join(f"<td>{_html_cell(cell)}</td>" for cell in others)
            lines.append(f'<tr><th scope="row">{_html_cell(first)}</th>{cells}</tr>')
        lines.append("</tbody></table></div>")
    if table.notes:
        lines += ["<ul>", *(f"<li>{escape(note)}</li>" for note in table.notes), "</ul>"]
    return "\n".join([*filter(None, lines), "</section>"])


def _markdown_cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return cell
    return " ".join(filter(None, [f"**{cell.text}**" if cell.best else cell.text, cell.detail]))


def _html_cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return escape(cell)
    tag = "strong" if cell.best else "u" if cell.near else ""
    text = f"<{tag}>{escape(cell.text)}</{tag}>" if tag else escape(cell.text)
    return f"{text} <small>{escape(cell.detail)}</small>" if cell.detail else text


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
