"""Tables over all runs as the paper has them, with published numbers beside ours, and one page that shows everything.

components   the paper's component ablation, per dataset and model
methods      methods x datasets, per model
filters      filters and kernel sizes after ECI, per dataset and model; where there are such methods
models       models x datasets, TAM

Controls and methods of one's own are in all of them. Each as .csv (tidy), .md and .tex; index.html has all of them and
the tables of every run.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import NamedTuple

from tam.methods.rivals import notes_on
from tam.metrics.catalogue import CATALOGUE
from tam.run import RunFiles
from tam.tables.ablation import run_table, write
from tam.tables.compared import Compared, Numbers, Run, is_filter, title
from tam.tables.formats import Cell, Panel, Table, html, latex, markdown
from tam.tables.notes import HOW_TO_READ, direction, notes
from tam.tables.numbers import NO_VALUE, interval, percent, rounded, signed, to_csv
from tam.tables.published import Published, Source, read_published
from tam.tables.summary import BASE, summarise

MAIN = ("obj_iou", "func_iou", "f1_iou")
RAW = "activation"
"""The map that the paper's parts improve on: a control where these are not compared."""
UNFILTERED = "eci"
PUBLISHED_NOTE = (
    "The columns “published” and “difference” (ours minus published, percentage points) compare with numbers in print; "
    "their sources stand under the tables."
)


class Grid(NamedTuple):
    """A panel in numbers: a name and cells a row, a cell for each of ``columns``."""

    title: str
    corner: str
    columns: Sequence[str]
    rows: list[tuple[str, list[Compared | None]]]


def write_overview(
    runs: Sequence[RunFiles], published: Path | None, out: Path, methods: Sequence[str] | None = None
) -> None:
    """Write all tables over ``runs`` into the folder ``out``.

    Args:
        published: a file as ``config/published.yaml``; None for no published numbers.
        methods: which, in this order; None for all of the files.

    Raises:
        InputError, SchemaError: as ``summary.summarise`` and ``published.read_published``.
    """
    printed = read_published(published) if published else []
    summaries = [summarise(run, methods) for run in runs]
    numbers = Numbers(summaries, printed)
    tables = []
    for name, heading, grids in (
        ("components", "Component ablation", _components(numbers)),
        ("methods", "Methods and datasets", _methods(numbers)),
        ("filters", "Filters", _filters(numbers)),
        ("models", "Models and datasets", _models(numbers)),
    ):
        if full := [grid for grid in map(_trimmed, grids) if grid.rows]:
            table = _table(heading, full, numbers)
            write(out / f"{name}.csv", _tidy(full))
            write(out / f"{name}.md", markdown([table], f"{HOW_TO_READ} {PUBLISHED_NOTE}"))
            write(out / f"{name}.tex", latex([table], f"{HOW_TO_READ} {PUBLISHED_NOTE}"))
            tables.append(table)
    tables += map(run_table, summaries)
    if elsewhere := [one for one in printed if not one.source.comparable]:
        tables.append(measured_otherwise(elsewhere))
    write(out / "index.html", page(tables))


# ---- which numbers stand where


def _components(numbers: Numbers) -> Iterator[Grid]:
    """One a dataset and model: the paper's method with and without its parts. Ours come first."""
    ablations = [run for run in numbers.printed if set(numbers.methods([run], ("component",))) - {BASE}]
    for run in dict.fromkeys([*numbers.ours, *ablations]):
        names = numbers.methods([run], ("control", "component", "own"))
        rows = [(numbers.title(name), [numbers.get(run, name, metric) for metric in MAIN]) for name in names]
        yield Grid(", ".join(run), "Method", _titles(MAIN), rows)


def _methods(numbers: Numbers) -> Iterator[Grid]:
    """One a model and metric: methods x datasets, with what only print has."""
    for model in dict.fromkeys(model for _, model in numbers.ours):
        runs = [run for run in numbers.ours if run[1] == model]
        names = numbers.methods(runs, ("control", "component", "own", "rival"))
        for metric in MAIN:
            rows = [(numbers.title(name), [numbers.get(run, name, metric) for run in runs]) for name in names]
            yield Grid(f"{model}, {CATALOGUE[metric].title}", "Method", [dataset for dataset, _ in runs], rows)


def _filters(numbers: Numbers) -> Iterator[Grid]:
    """One a dataset and model that has filters: what follows ECI."""
    for run, summary in numbers.ours.items():
        if any(map(is_filter, summary.methods)):
            rows = [
                ("No filter" if name == UNFILTERED else numbers.title(name), [numbers.get(run, name, m) for m in MAIN])
                for name in numbers.methods([run], ("control", "filter", "own"), RAW, UNFILTERED)
            ]
            yield Grid(", ".join(run), "Filter after ECI", _titles(MAIN), rows)


def _models(numbers: Numbers) -> Iterator[Grid]:
    """One a metric: models x datasets, TAM and what it must beat."""
    runs = [run for run in dict.fromkeys([*numbers.ours, *numbers.printed]) if numbers.methods([run], (), BASE)]
    datasets, models = (list(dict.fromkeys(run[place] for run in runs)) for place in (0, 1))
    for metric in (*MAIN, "precision", "recall"):
        rows = [
            (
                f"{model}, {numbers.title(name)}",
                [numbers.get((dataset, model), name, metric) for dataset in datasets],
            )
            for model in models
            for name in (BASE, *numbers.methods([run for run in runs if run[1] == model], ("control", "own"), RAW))
        ]
        yield Grid(CATALOGUE[metric].title, "Model", datasets, rows)


def _titles(metrics: Iterable[str]) -> list[str]:
    return [CATALOGUE[metric].title for metric in metrics]


def _trimmed(grid: Grid) -> Grid:
    """Without rows and columns that have no number."""
    rows = [(name, cells) for name, cells in grid.rows if any(cells)]
    kept = [place for place in range(len(grid.columns)) if any(cells[place] for _, cells in rows)]
    columns = [grid.columns[place] for place in kept]
    return grid._replace(columns=columns, rows=[(name, [cells[place] for place in kept]) for name, cells in rows])


# ---- how they look


def _table(heading: str, grids: Sequence[Grid], numbers: Numbers) -> Table:
    cells = _cells(grids)
    metrics = dict.fromkeys(cell.metric for cell in cells)
    methods: dict[Run, dict[str, None]] = {}
    for cell in cells:
        if cell.images:
            methods.setdefault((cell.dataset, cell.model), {})[cell.method] = None
    below = [
        f"{', '.join(run)}: {note}"
        for run, names in methods.items()
        for note in notes(numbers.ours[run], names, metrics)
    ]
    sources = _sources(cell.source for cell in cells if cell.source)
    compared = notes_on(cell.method for cell in cells if cell.images)
    return Table(heading, list(map(_panel, grids)), [*below, direction(metrics), *compared, *sources])


def _panel(grid: Grid) -> Panel:
    """Three columns for each of the grid's: ours with its interval, published, difference."""
    head = [grid.corner, *(text for column in grid.columns for text in (column, "published", "difference"))]
    return Panel(
        grid.title, head, [[name, *(text for cell in cells for text in _texts(cell))] for name, cells in grid.rows]
    )


def _texts(cell: Compared | None) -> list[Cell | str]:
    if cell is None:
        return [NO_VALUE] * 3
    return [Cell(percent(cell.value), interval(cell.limits)), percent(cell.published), signed(cell.difference)]


def _cells(grids: Iterable[Grid]) -> list[Compared]:
    return [cell for grid in grids for _, cells in grid.rows for cell in cells if cell]


def _sources(sources: Iterable[Source]) -> list[str]:
    return [f"Published, {source}." for source in dict.fromkeys(sources)]


def _tidy(grids: Iterable[Grid]) -> str:
    columns = ["dataset", "model", "method", "metric", "value", "low", "high", "images", "published", "difference"]
    about = ["source", "found", "hand", "note"]
    rows = []
    for cell in _cells(grids):
        ours = [*map(rounded, (cell.value, *cell.limits)), cell.images]
        printed = [rounded(cell.published), rounded(cell.difference), *(getattr(cell.source, key, "") for key in about)]
        rows.append([cell.dataset, cell.model, cell.method, cell.metric, *ours, *printed])
    return to_csv([*columns, *about], rows)


def measured_otherwise(published: Sequence[Published]) -> Table:
    """Numbers in print that stand in no cell."""
    rows: dict[tuple[Source, str], dict[str, float]] = {}
    for one in published:
        rows.setdefault((one.source, one.method), {})[one.metric] = one.value
    metrics = [metric for metric in CATALOGUE if any(metric in values for values in rows.values())]
    panel = Panel(
        "",
        ["Method, dataset, model", *_titles(metrics)],
        [
            [
                Cell(title(method), f"{source.dataset}, {source.model}"),
                *(percent(values.get(metric, math.nan)) for metric in metrics),
            ]
            for (source, method), values in rows.items()
        ],
    )
    return Table("In print, measured otherwise", [panel], _sources(one.source for one in published))


def page(tables: Sequence[Table]) -> str:
    """All tables on one page of HTML that needs nothing beside it."""
    template = Template((files("tam.tables") / "page.html").read_text(encoding="utf-8"))
    return template.substitute(tables=html(tables), how=escape(f"{HOW_TO_READ} {PUBLISHED_NOTE}"), none=NO_VALUE)
