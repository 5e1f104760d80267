"""Tables over all runs as the paper has them, with published numbers beside ours, and one page that shows everything.

components   the paper's component ablation, per dataset and model
methods      methods x datasets, per model
filters      filters and kernel sizes after ECI, per dataset and model; where there are such methods
models       models x datasets, TAM

Controls are in all of them. Each as .csv (tidy), .md and .tex; index.html has all of them and the tables of every run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd

from tam.methods.filters import FILTERS, KERNELS
from tam.methods.registry import rank, title
from tam.tables.ablation import (
    BASE,
    HOW_TO_READ,
    NO_VALUE,
    by_run,
    interval,
    notes,
    percent,
    run_table,
    signed,
    summarise_all,
    write,
)
from tam.tables.formats import Cell, Panel, Row, Table, html, latex, markdown
from tam.tables.published import Published, read_published
from tam.tables.summary import METRICS, Run, Summary

MAIN = ("obj_iou", "func_iou", "f1_iou")
CONTROLS = ("random", "centre", "permuted", "activation")
COMPONENTS = (*CONTROLS, "eci", "rgf", "tam")
FILTERED = ("eci", *(f"{name}-{kernel}" for name in FILTERS for kernel in KERNELS))
PUBLISHED_NOTE = (
    "The columns “published” and “difference” (ours minus published, percentage points) compare with numbers in print; "
    "their sources stand under the tables."
)


@dataclass(frozen=True)
class Measured:
    """A cell: ours, the published one, or both."""

    dataset: str
    model: str
    method: str
    metric: str
    summary: Summary | None
    published: Published | None

    @property
    def value(self) -> float:
        return np.nan if self.summary is None else float(self.summary.means[list(METRICS).index(self.metric)])

    @property
    def limits(self) -> np.ndarray:
        if self.summary is None:
            return np.full(2, np.nan)
        return self.summary.intervals[:, list(METRICS).index(self.metric)]

    @property
    def in_print(self) -> float:
        return np.nan if self.published is None else self.published.value

    def cells(self) -> Row:
        """Ours with its interval, published, difference."""
        difference = signed(self.value - self.in_print)
        return [Cell(percent(self.value), interval(self.limits)), percent(self.in_print), difference]


class Numbers:
    """Ours and published by dataset, model, method and metric."""

    def __init__(self, summaries: Sequence[Summary], published: Sequence[Published]):
        self.ours = {tuple(summary.run[:3]): summary for summary in summaries}
        comparable = [one for one in published if one.source.comparable]
        self.published = {(p.source.dataset, p.source.model, p.method, p.metric): p for p in comparable}
        self.elsewhere = [one for one in published if not one.source.comparable]

    def get(self, dataset: str, model: str, method: str, metric: str) -> Measured:
        ours = self.ours.get((dataset, model, method))
        if method == "rgf-3":
            ours = ours or self.ours.get((dataset, model, BASE))
        return Measured(dataset, model, method, metric, ours, self.published.get((dataset, model, method, metric)))

    def runs(self) -> list[tuple[str, str]]:
        """Dataset and model of ours."""
        return list(dict.fromkeys(key[:2] for key in self.ours))


def write_overview(runs: Sequence[Run], published: Path | None, out: Path) -> None:
    """Write all tables over ``runs`` into the folder ``out``.

    Args:
        published: a file as ``config/published.yaml``; None for no published numbers.

    Raises:
        InputError, SchemaError: as ``tables.write_tables`` and ``published.read_published``.
    """
    printed = read_published(published) if published else []
    summaries = summarise_all(runs, "the runs")
    numbers = Numbers(summaries, printed)
    made = {"components": components(numbers), "methods": methods(numbers), "filters": filters(numbers),
            "models": models(numbers)}  # fmt: skip
    made = {name: (table, cells) for name, (table, cells) in made.items() if table.panels}
    for name, (table, cells) in made.items():
        write(out / f"{name}.csv", _tidy(cells).to_csv(index=False))
        write(out / f"{name}.md", markdown([table], f"{HOW_TO_READ} {PUBLISHED_NOTE}"))
        write(out / f"{name}.tex", latex([table], f"{HOW_TO_READ} {PUBLISHED_NOTE}"))
    tables = [table for table, _ in made.values()]
    tables += [run_table(group) for group in by_run(summaries).values()]
    tables += [measured_otherwise(numbers.elsewhere)] if numbers.elsewhere else []
    write(out / "index.html", page(tables))


# ---- the tables


Built = tuple[Table, list[Measured]]


def components(numbers: Numbers) -> Built:
    """A panel per dataset and model: the paper's method with and without its parts. Ours come first."""
    panels, cells = [], []
    ablations = [key[:2] for key in numbers.published if key[2] in COMPONENTS and key[2] != BASE]
    for dataset, model in dict.fromkeys([*numbers.runs(), *ablations]):
        rows = [(title(method), [numbers.get(dataset, model, method, m) for m in MAIN]) for method in COMPONENTS]
        _add(panels, cells, f"{dataset}, {model}", "Method", [METRICS[metric] for metric in MAIN], rows)
    return _table("Component ablation", panels, cells)


def methods(numbers: Numbers) -> Built:
    """A panel per model and metric: methods x datasets, without the filters."""
    names = sorted({key[2] for key in numbers.ours} - set(FILTERED[1:]), key=rank)
    panels, cells = [], []
    for model in dict.fromkeys(model for _, model in numbers.runs()):
        datasets = [dataset for dataset, other in numbers.runs() if other == model]
        for metric in MAIN:
            rows = [
                (title(name), [numbers.get(dataset, model, name, metric) for dataset in datasets]) for name in names
            ]
            _add(panels, cells, f"{model}, {METRICS[metric]}", "Method", datasets, rows)
    return _table("Methods and datasets", panels, cells)


def filters(numbers: Numbers) -> Built:
    """A panel per dataset and model: what follows ECI."""
    panels, cells = [], []
    for dataset, model in numbers.runs():
        if not any((dataset, model, method) in numbers.ours for method in FILTERED[1:]):
            continue
        rows = [
            ("No filter" if method == "eci" else title(method), [numbers.get(dataset, model, method, m) for m in MAIN])
            for method in (*CONTROLS, *FILTERED)
        ]
        _add(panels, cells, f"{dataset}, {model}", "Filter after ECI", [METRICS[metric] for metric in MAIN], rows)
    return _table("Filters", panels, cells)


def models(numbers: Numbers) -> Built:
    """A panel per metric: models x datasets."""
    panels, cells = [], []
    keys = [key for key in (*numbers.ours, *(key[:3] for key in numbers.published)) if key[2] == BASE]
    datasets, names = (list(dict.fromkeys(key[place] for key in keys)) for place in (0, 1))
    for metric in (*MAIN, "precision", "recall"):
        rows = [
            (f"{name}, {title(method)}", [numbers.get(dataset, name, method, metric) for dataset in datasets])
            for name in names
            for method in (BASE, *CONTROLS)
        ]
        _add(panels, cells, METRICS[metric], "Model", datasets, rows)
    return _table("Models and datasets", panels, cells)


def measured_otherwise(published: Sequence[Published]) -> Table:
    """Numbers in print that stand in no cell."""
    rows: dict[tuple, dict[str, float]] = {}
    for one in published:
        rows.setdefault((one.source, one.method), {})[one.metric] = one.value
    metrics = [metric for metric in METRICS if any(metric in values for values in rows.values())]
    panel = Panel(
        "",
        ["Method, dataset, model", *(METRICS[metric] for metric in metrics)],
        [
            [
                Cell(title(method), f"{source.dataset}, {source.model}"),
                *(percent(values.get(metric, np.nan)) for metric in metrics),
            ]
            for (source, method), values in rows.items()
        ],
    )
    return Table("In print, measured otherwise", [panel], _sources(published))


def _add(
    panels: list[Panel],
    cells: list[Measured],
    heading: str,
    corner: str,
    columns: Sequence[str],
    rows: Iterable[tuple[str, list[Measured]]],
) -> None:
    """A panel with three columns for each of ``columns``; rows without any number are left out, and so are columns."""
    rows = [(name, found) for name, found in rows if any(map(_known, found))]
    kept = [index for index in range(len(columns)) if any(_known(found[index]) for _, found in rows)]
    if not rows:
        return
    head = [corner]
    for index in kept:
        head += [columns[index], "published", "difference"]
    panels.append(Panel(heading, head, [[name, *(c for i in kept for c in found[i].cells())] for name, found in rows]))
    cells += [found[index] for _, found in rows for index in kept if _known(found[index])]


def _known(cell: Measured) -> bool:
    return cell.summary is not None or cell.published is not None


def _table(heading: str, panels: list[Panel], cells: list[Measured]) -> Built:
    groups = by_run({id(cell.summary): cell.summary for cell in cells if cell.summary}.values())
    below = [f"{dataset}, {model}: {note}" for (dataset, model), group in groups.items() for note in notes(group, MAIN)]
    below += _sources([cell.published for cell in cells if cell.published])
    return Table(heading, panels, below), cells


def _sources(published: Iterable[Published]) -> list[str]:
    return [f"Published, {source}." for source in dict.fromkeys(one.source for one in published)]


def _tidy(cells: list[Measured]) -> pd.DataFrame:
    def about(cell: Measured, field: str) -> str:
        return getattr(cell.published.source, field) if cell.published else ""

    def number(value: float) -> float:
        return round(100 * float(value), 2)

    return pd.DataFrame(
        {"dataset": cell.dataset, "model": cell.model, "method": cell.method, "metric": cell.metric}
        | {"value": number(cell.value), "low": number(cell.limits[0]), "high": number(cell.limits[1])}
        | {"images": len(cell.summary.samples) if cell.summary else 0}
        | {"published": number(cell.in_print), "difference": number(cell.value - cell.in_print)}
        | {field: about(cell, field) for field in ("source", "found", "hand", "note")}
        for cell in cells
    )


def page(tables: Sequence[Table]) -> str:
    """All tables on one page of HTML that needs nothing beside it."""
    template = Template((files("tam.tables") / "page.html").read_text(encoding="utf-8"))
    return template.substitute(tables=html(tables), how=escape(f"{HOW_TO_READ} {PUBLISHED_NOTE}"), none=NO_VALUE)
