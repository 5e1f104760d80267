"""Tables of a run: the paper's component ablation with intervals, differences and counts, and the same numbers tidy.

ablation.csv / .md / .tex   a row per dataset, model and method; percent, as the paper prints them
differences.csv             how much higher TAM is than each other method, with intervals of paired draws; percent
summary.csv                 a row per dataset, model, method and metric; from 0 to 1
statuses.csv                how many rows of a metric have which status; metric "answer": how many samples
samples.csv                 a row per dataset, model, method and sample: answer, status and its own means
"""

from collections.abc import Sequence
from pathlib import Path

from tam.methods.rivals import notes_on
from tam.metrics.catalogue import ANSWER, CATALOGUE, GROUPS, POOLED
from tam.run import RunFiles
from tam.system.atomic import atomic
from tam.tables.formats import Cell, Panel, Table, latex, markdown
from tam.tables.notes import HOW_TO_READ, counted, direction, notes
from tam.tables.numbers import interval, percent, rounded, signed, signed_interval, to_csv
from tam.tables.summary import BASE, Summary, summarise

RUN = ["dataset", "model", "method"]


def write_tables(run: RunFiles, out: Path, methods: Sequence[str] | None = None) -> None:
    """Write all tables of a run into the folder ``out``.

    Args:
        methods: which, in this order; None for all of the files.

    Raises:
        InputError, SchemaError: as ``summary.summarise``.
    """
    summary = summarise(run, methods)
    table = run_table(summary)
    write(out / "ablation.csv", _ablation(summary))
    write(out / "ablation.md", markdown([table], HOW_TO_READ))
    write(out / "ablation.tex", latex([table], HOW_TO_READ))
    write(out / "differences.csv", _differences(summary))
    write(out / "summary.csv", _tidy(summary))
    write(out / "statuses.csv", _statuses(summary))
    write(out / "samples.csv", _samples(summary))


def write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


# ---- for people


def run_table(summary: Summary) -> Table:
    """All methods of a run: means, differences, and the notes under them."""
    panels = []
    for group, metrics in GROUPS.items():
        titles = [CATALOGUE[metric].title for metric in metrics]
        rows: list[list[Cell | str]] = [
            [method.title, *(Cell(percent(method.means[m]), interval(method.intervals[m])) for m in metrics)]
            for method in summary.methods.values()
        ]
        if metrics == ANSWER:
            rows = [["all methods", *rows[0][1:]]]
        panels.append(Panel(f"{group}, 95 % intervals", ["" if metrics == ANSWER else "Method", *titles], rows))
    panels += _difference_panels(summary)
    below = [*notes(summary, summary.methods, CATALOGUE), direction(CATALOGUE), *notes_on(summary.methods)]
    return Table(summary.name, panels, below)


def _difference_panels(summary: Summary) -> list[Panel]:
    if not summary.differences:
        return []
    rows: list[list[Cell | str]] = [
        [
            CATALOGUE[metric].title,
            *(Cell(signed(of[metric][0]), signed_interval(of[metric][1])) for of in summary.differences.values()),
        ]
        for metric in CATALOGUE
        if metric not in ANSWER
    ]
    heading = f"{summary.methods[BASE].title} minus the other, percentage points, paired 95 % intervals"
    return [Panel(heading, ["", *(summary.methods[name].title for name in summary.differences)], rows)]


# ---- for programs


def _ablation(summary: Summary) -> str:
    columns = [*RUN, "name", "images"]
    for metric in CATALOGUE:
        columns += [metric, f"{metric}_low", f"{metric}_high", *([f"{metric}_n"] if metric in POOLED else [])]
    rows = []
    for name, method in summary.methods.items():
        row: list[str | float] = [summary.dataset, summary.model, name, method.title, len(summary.answers)]
        for metric, mean in method.means.items():
            row += map(rounded, (mean, *method.intervals[metric]))
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
            if metric not in ANSWER
        ),
    )


def _tidy(summary: Summary) -> str:
    return to_csv(
        [*RUN, "metric", "mean", "low", "high", "values", "images"],
        (
            [summary.dataset, summary.model, name, metric, mean, *method.intervals[metric], method.values.get(metric),
             len(summary.answers)]
            for name, method in summary.methods.items()
            for metric, mean in method.means.items()
        ),
    )  # fmt: skip


def _statuses(summary: Summary) -> str:
    return to_csv(
        [*RUN, "metric", "status", "count"],
        (
            [summary.dataset, summary.model, name, metric, status, count]
            for name, method in summary.methods.items()
            for metric, counts in method.statuses.items()
            for status, count in counts.items()
        ),
    )


def _samples(summary: Summary) -> str:
    rows = []
    for name, method in summary.methods.items():
        objects = method.counts[:, POOLED.index("obj_iou")].astype(int).tolist()
        own = zip(*(values.tolist() for values in method.own_means.values()), strict=True)
        each = zip(summary.answers.items(), method.samples, objects, own, strict=True)
        for (id, answer), status, number, means in each:
            rows.append([summary.dataset, summary.model, name, id, status, answer.text, answer.tokens, number, *means])
    return to_csv([*RUN, "sample", "status", "answer", "tokens", "objects", *CATALOGUE], rows)
