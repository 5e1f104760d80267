"""Tables of a run: the paper's component ablation with intervals, differences and counts, and the same numbers tidy.

ablation.csv / .md / .tex   a row per dataset, model and method; percent, as the paper prints them
differences.csv             how much higher TAM is than each other method, with intervals of paired draws; percent
summary.csv                 a row per dataset, model, method and metric; from 0 to 1
statuses.csv                how many rows of a metric have which status; metric "answer": how many samples
samples.csv                 a row per dataset, model, method and sample: answer, status and its own means
grounding*                  where the metrics have evidence: ``tables/grounding.py``
"""

import math
from collections.abc import Sequence
from pathlib import Path

from tam.methods.rivals import notes_on
from tam.metrics.catalogue import ANSWER, CATALOGUE, GROUPS, MEASURED_ON_DEMAND, POOLED
from tam.metrics.grounding import CHAIR_S
from tam.run import RunFiles
from tam.system.atomic import atomic
from tam.system.mark import add_to
from tam.tables.agreement import agreement_panels, cost, warnings
from tam.tables.formats import Cell, Panel, Table, markdown
from tam.tables.grounding import grounding_files
from tam.tables.latex import latex
from tam.tables.notes import CAPTION, HOW_TO_READ, by_kind, counted, direction, notes
from tam.tables.numbers import cell, marks, rounded, signed_cell, to_csv
from tam.tables.summary import BASE, MethodSummary, Summary, summarise

COLUMNS = 5  # of a panel: more do not fit on a line
RUN = ["dataset", "model", "method"]


def write_tables(run: RunFiles, out: Path, methods: Sequence[str] | None = None) -> None:
    """Write all tables of a run into the folder ``out``.

    Args:
        methods: which, in this order; None for all of the files.

    Raises:
        InputError, SchemaError: as ``summary.summarise``. DiskError: ``out`` is not a folder of tables.
    """
    summary = summarise(run, methods)
    table = run_table(summary)
    add_to(out, {"kind": "tables", "of": run.name})
    write(out / "ablation.csv", _ablation(summary))
    write(out / "ablation.md", markdown([table], HOW_TO_READ))
    write(out / "ablation.tex", latex([table], CAPTION, HOW_TO_READ))
    write(out / "differences.csv", _differences(summary))
    write(out / "summary.csv", _tidy(summary))
    write(out / "statuses.csv", _statuses(summary))
    write(out / "samples.csv", _samples(summary))
    if any(CHAIR_S in method.statuses for method in summary.methods.values()):
        named = {name: method.title for name, method in summary.methods.items()}
        for name, text in grounding_files(run, named).items():
            write(out / name, text)


def write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


# ---- for people


def run_table(summary: Summary) -> Table:
    """All methods of a run: means, differences, and the notes under them."""
    measured = {
        group: [metric for metric in metrics if metric in summary.metrics]
        for group, metrics in GROUPS.items()
        if any(metric in method.statuses for method in summary.methods.values() for metric in metrics)
    }
    parts = [
        (group, metrics[start : start + COLUMNS])
        for group, metrics in measured.items()
        for start in range(0, len(metrics), COLUMNS)
    ]
    panels = [_panel(summary, group, metrics) for group, metrics in parts]
    if summary.differences:
        panels += [_differences_panel(summary, group, metrics) for group, metrics in parts if metrics[0] not in ANSWER]
    panels += agreement_panels(summary)
    below = [
        *notes(summary, summary.methods, summary.metrics), direction(summary.metrics), *cost(summary),
        *warnings(summary), *notes_on(summary.methods),
    ]  # fmt: skip
    return Table(summary.name, panels, below)


def has_any(method: MethodSummary, metrics: Sequence[str]) -> bool:
    """Whether a method is among those that a group of metrics was measured of."""
    on_demand = CATALOGUE[metrics[0]].group in MEASURED_ON_DEMAND
    return not on_demand or any(metric in method.statuses for metric in metrics)


def _panel(summary: Summary, group: str, metrics: Sequence[str]) -> Panel:
    """A row a method; of what is about the answer, one for all."""
    of_answer = metrics[0] in ANSWER
    methods = [method for method in summary.methods.values() if has_any(method, metrics)][: 1 if of_answer else None]
    columns = [_column(methods, metric) for metric in metrics]
    names = ["all methods"] if of_answer else [method.title for method in methods]
    rows = [[name, *cells] for name, cells in zip(names, zip(*columns, strict=True), strict=True)]
    head = ["" if of_answer else "Method", *(CATALOGUE[metric].title for metric in metrics)]
    below = [direction(metrics), *notes(summary, summary.methods, metrics)]
    unit = ", nats" if CATALOGUE[metrics[0]].unit == "nats" else ""
    return Panel(f"{group}{unit}, 95 % intervals", head, rows, below)


def _column(methods: Sequence[MethodSummary], metric: str) -> list[Cell | str]:
    found = marks([one.means[metric] for one in methods], [one.intervals[metric] for one in methods], metric)
    return [
        cell(metric, method.means[metric], method.intervals[metric], method.why(metric), *mark)
        for method, mark in zip(methods, found, strict=True)
    ]


def _differences_panel(summary: Summary, group: str, metrics: Sequence[str]) -> Panel:
    base = summary.methods[BASE]
    rows: list[list[Cell | str]] = []
    for name, of in summary.differences.items():
        if not has_any(other := summary.methods[name], metrics):
            continue
        without = {metric: other if math.isnan(other.means[metric]) else base for metric in metrics}
        cells = [signed_cell(*of[metric], without[metric].why(metric)) for metric in metrics]
        rows.append([other.title, *cells])
    heading = f"{base.title} minus the other, percentage points, paired 95 % intervals: {group}"
    below = [direction(metrics), *notes(summary, summary.methods, metrics)]
    return Panel(heading, ["Method", *(CATALOGUE[metric].title for metric in metrics)], rows, below)


# ---- for programs


def _ablation(summary: Summary) -> str:
    columns = [*RUN, "name", "images"]
    for metric in summary.metrics:
        columns += [metric, f"{metric}_low", f"{metric}_high", *([f"{metric}_n"] if metric in POOLED else [])]
    rows = []
    for name, method in summary.methods.items():
        row: list[str | float] = [summary.dataset, summary.model, name, method.title, len(summary.answers)]
        for metric in summary.metrics:
            times = CATALOGUE[metric].times
            row += [rounded(value, times) for value in (method.means[metric], *method.intervals[metric])]
            row += [method.values[metric]] if metric in POOLED else []
        rows.append([*row, counted(method.statuses["answer"]), summary.protocol, summary.tagger])
    return to_csv([*columns, "status", "protocol", "tagger"], rows)


def _differences(summary: Summary) -> str:
    columns = ["dataset", "model", "base", "method", "metric", "difference", "low", "high", "images"]
    return to_csv(
        columns,
        (
            [summary.dataset, summary.model, BASE, name, metric, *map(rounded, (mean, *limits)), len(summary.answers)]
            for name, by_metric in summary.differences.items()
            for metric, (mean, limits) in by_metric.items()
            if metric in summary.metrics and metric not in ANSWER
        ),
    )


def _tidy(summary: Summary) -> str:
    return to_csv(
        [*RUN, "metric", "mean", "low", "high", "values", "images"],
        (
            [summary.dataset, summary.model, name, metric, method.means[metric], *method.intervals[metric],
             method.values.get(metric), len(summary.answers)]
            for name, method in summary.methods.items()
            for metric in summary.metrics
        ),
    )  # fmt: skip


def _statuses(summary: Summary) -> str:
    return to_csv(
        [*RUN, "metric", "status", "count"],
        (
            [summary.dataset, summary.model, name, metric, status, count]
            for name, method in summary.methods.items()
            for metric, counts in method.statuses.items()
            for status, count in by_kind(counts).items()
        ),
    )


def _samples(summary: Summary) -> str:
    rows = []
    for name, method in summary.methods.items():
        objects = method.counts[:, POOLED.index("obj_iou")].astype(int).tolist()
        own = zip(*(method.own_means[metric].tolist() for metric in summary.metrics), strict=True)
        each = zip(summary.answers.items(), method.samples, objects, own, strict=True)
        for (id, answer), status, number, means in each:
            rows.append([summary.dataset, summary.model, name, id, status, answer.text, answer.tokens, number, *means])
    return to_csv([*RUN, "sample", "status", "answer", "tokens", "objects", *summary.metrics], rows)
