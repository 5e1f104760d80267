"""Tables over all runs as the paper has them, with published numbers beside ours, and one page that shows everything.

components   the paper's component ablation, per dataset and model
methods      methods x datasets, per model
filters      filters and kernel sizes after ECI, per dataset and model; where there are such methods
models       models x datasets, TAM

Controls and methods of one's own are in all of them. Each as .csv (tidy), .md and .tex; index.html has all of them and
the tables of every run.
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import NamedTuple
from urllib.parse import quote

from tam.methods.rivals import notes_on
from tam.metrics.catalogue import CATALOGUE
from tam.run import RunFiles
from tam.system.mark import add_to
from tam.tables.ablation import run_table, write
from tam.tables.compared import NOT_RUN, Compared, Numbers, Run, is_filter, title
from tam.tables.formats import Cell, Panel, Table, contents, html, markdown
from tam.tables.latex import latex
from tam.tables.notes import CAPTION, HOW_TO_READ, direction, notes
from tam.tables.numbers import NO_VALUE, cell, marks, percent, rounded, signed, to_csv
from tam.tables.published import Published, Source, read_published
from tam.tables.summary import BASE, summarise

MAIN = ("obj_iou", "func_iou", "f1_iou")
RAW = "activation"
"""The map that the paper's parts improve on: a control where these are not compared."""
UNFILTERED = "eci"
APART = "†"
PUBLISHED_NOTE = (
    "The columns “published” and “difference” (ours minus published, percentage points) compare with numbers in print; "
    f"their sources stand under the tables. Why a difference with {APART} compares what is not alike, too."
)


class Grid(NamedTuple):
    """A panel in numbers: a name and cells a row, a cell for each of ``columns``."""

    title: str
    corner: str
    columns: Sequence[str]
    rows: list[tuple[str, list[Compared | None]]]


def write_overview(
    runs: Sequence[RunFiles], published: Path | None, out: Path, methods: Sequence[str] | None = None,
    report: Path | None = None,
) -> None:  # fmt: skip
    """Write all tables over ``runs`` into the folder ``out``.

    Args:
        published: a file as ``config/published.yaml``; None for no published numbers.
        methods: which, in this order; None for all of the files.
        report: the page of all answers, to link to.

    Raises:
        InputError, SchemaError: as ``summary.summarise`` and ``published.read_published``.
        DiskError: ``out`` is not a folder of tables.
    """
    printed = read_published(published) if published else []
    summaries = [summarise(run, methods) for run in runs]
    numbers = Numbers(summaries, printed)
    how = " ".join([HOW_TO_READ, *([PUBLISHED_NOTE] if printed else [])])
    tables = []
    add_to(out, {"kind": "overview"})
    for name, heading, grids in (
        ("components", "Component ablation", _components(numbers)),
        ("methods", "Methods and datasets", _methods(numbers)),
        ("filters", "Filters", _filters(numbers)),
        ("models", "Models and datasets", _models(numbers)),
    ):
        if full := [grid for grid in map(_trimmed, grids) if grid.rows]:
            table = _table(heading, full, numbers)
            write(out / f"{name}.csv", _tidy(full))
            write(out / f"{name}.md", markdown([table], how))
            write(out / f"{name}.tex", latex([table], CAPTION, how))
            tables.append(table)
    tables += map(run_table, summaries)
    if elsewhere := [one for one in printed if not one.source.comparable]:
        tables.append(measured_otherwise(elsewhere))
    links = [("every answer, word by word", report)] if report else []
    links += [(f"samples of {run.name}", run.metrics[0].absolute().parents[1] / "tables/samples.csv") for run in runs]
    beside = {name: os.path.relpath(path, out) for name, path in links}
    write(out / "index.html", page(tables, how, beside))


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
    return Table(heading, [_panel(grid, numbers) for grid in grids], _notes(grids, numbers))


def _notes(grids: Sequence[Grid], numbers: Numbers) -> list[str]:
    compared = _cells(grids)
    metrics = dict.fromkeys(one.metric for one in compared)
    methods: dict[Run, dict[str, None]] = {}
    for one in compared:
        if one.images:
            methods.setdefault((one.dataset, one.model), {})[one.method] = None
    below = [
        f"{', '.join(run)}: {note}"
        for run, names in methods.items()
        for note in notes(numbers.ours[run], names, metrics)
    ]
    reasons = dict.fromkeys(f"{one.dataset}, {one.model}: {one.apart}" for one in compared if one.apart)
    apart = [f"{APART} not comparable: {'; '.join(reasons)}."] if reasons else []
    rivals = notes_on(one.method for one in compared if one.images)
    sources = _sources(one.source for one in compared if one.source)
    return [*apart, direction(metrics), *rivals, *sources, *below]


def _panel(grid: Grid, numbers: Numbers) -> Panel:
    """Of each of the grid's columns ours with its interval; published and difference where there are such numbers."""
    head = [grid.corner]
    columns: list[list[Cell | str]] = []
    for place, name in enumerate(grid.columns):
        parts = _columns([cells[place] for _, cells in grid.rows])
        head += [name if not kind else kind if "" in parts else f"{name}, {kind}" for kind in parts]
        columns += parts.values()
    rows = [[name, *cells] for (name, _), cells in zip(grid.rows, zip(*columns, strict=True), strict=True)]
    return Panel(grid.title, head, rows, _notes([grid], numbers))


def _columns(column: Sequence[Compared | None]) -> dict[str, list[Cell | str]]:
    """What stands in a column of a grid: ours, if anything was run, and next to it what there is in print."""
    values = [math.nan if one is None else one.value for one in column]
    (metric,) = {one.metric for one in column if one}
    limits = [(math.nan, math.nan) if one is None else one.limits for one in column]
    ours: list[Cell | str] = [
        Cell(NO_VALUE, NOT_RUN) if one is None else cell(metric, one.value, one.limits, one.why, *mark)
        for one, mark in zip(column, marks(values, limits, metric), strict=True)
    ]
    published = [math.nan if one is None else one.published for one in column]
    differences = [math.nan if one is None else one.difference for one in column]
    found = {"": ours} if any(one and one.images for one in column) else {}
    if not all(map(math.isnan, published)):
        found["published"] = ["" if math.isnan(value) else percent(value) for value in published]
    if not all(map(math.isnan, differences)):
        found["difference"] = [
            "" if one is None or math.isnan(one.difference) else signed(one.difference) + APART * bool(one.apart)
            for one in column
        ]
    return found


def _cells(grids: Iterable[Grid]) -> list[Compared]:
    return [cell for grid in grids for _, cells in grid.rows for cell in cells if cell]


def _sources(sources: Iterable[Source]) -> list[str]:
    return [f"Published, {source}." for source in dict.fromkeys(sources)]


def _tidy(grids: Iterable[Grid]) -> str:
    columns = ["dataset", "model", "method", "metric", "value", "low", "high", "images", "why"]
    compared = ["published", "difference", "not_comparable", "source", "found", "hand", "note"]
    rows: list[list[str | float]] = []
    for one in _cells(grids):
        ours: list[str | float] = [*map(rounded, (one.value, *one.limits)), one.images, one.why]
        printed: list[str | float] = [rounded(one.published), rounded(one.difference), one.apart]
        about: list[str] = [getattr(one.source, key, "") for key in compared[3:]]
        rows.append([one.dataset, one.model, one.method, one.metric, *ours, *printed, *about])
    return to_csv([*columns, *compared], rows)


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
                *(percent(values[metric]) if metric in values else "" for metric in metrics),
            ]
            for (source, method), values in rows.items()
        ],
    )
    return Table("In print, measured otherwise", [panel], _sources(one.source for one in published))


def page(tables: Sequence[Table], how: str, links: Mapping[str, str]) -> str:
    """All tables on one page of HTML that needs nothing beside it.

    Args:
        links: what a link says -> where it leads.
    """
    template = Template((files("tam.tables") / "page.html").read_text(encoding="utf-8"))
    elsewhere = "\n".join(f'<a href="{escape(quote(to))}">{escape(name)}</a>' for name, to in links.items())
    return template.substitute(
        tables=html(tables), contents=contents(tables), links=elsewhere, how=escape(how), none=NO_VALUE
    )
