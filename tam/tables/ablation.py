"""Tables of a run: the paper's component ablation with intervals, differences and counts, and the same numbers tidy.

ablation.csv / .md / .tex   a row per dataset, model and method; percent, as the paper prints them
differences.csv             how much higher TAM is than each other method, with intervals of paired draws; percent
summary.csv                 a row per dataset, model, method and metric; from 0 to 1
statuses.csv                how many rows of a metric have which status; metric "answer": how many samples
samples.csv                 a row per dataset, model, method and sample: answer, status and its own means
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tam.metrics.catalogue import ANSWER, CATALOGUE, FAITHFULNESS, GROUPS, MEASURED_ON_DEMAND, POOLED
from tam.run import RunFiles
from tam.system.atomic import atomic
from tam.tables.agreement import agreement_panels, warnings
from tam.tables.formats import Cell, Panel, Table, latex, markdown
from tam.tables.notes import HOW_TO_READ, counted, direction, notes
from tam.tables.numbers import interval, percent, rounded, signed, signed_interval, to_csv
from tam.tables.summary import BASE, Limits, MethodSummary, Summary, summarise

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
    for group, members in GROUPS.items():
        if not (metrics := [metric for metric in members if metric in summary.metrics]):
            continue
        titles, of_answer = [CATALOGUE[metric].title for metric in metrics], metrics[0] in ANSWER
        rows: list[list[Cell | str]] = [
            [method.title, *(_cell(metric, method.means[metric], method.intervals[metric]) for metric in metrics)]
            for method in summary.methods.values()
            if of_answer or has_any(method, metrics)
        ]
        if of_answer:
            rows = [["all methods", *rows[0][1:]]]
        unit = ", nats" if CATALOGUE[metrics[0]].unit == "nats" else ""
        panels.append(Panel(f"{group}{unit}, 95 % intervals", ["" if of_answer else "Method", *titles], rows))
    panels += [*_difference_panels(summary), *agreement_panels(summary)]
    below = [*notes(summary, summary.methods, summary.metrics), direction(summary.metrics), *warnings(summary)]
    return Table(summary.name, panels, below)


def _cell(metric: str, value: float, limits: Limits) -> Cell:
    times = CATALOGUE[metric].times
    return Cell(percent(value, times), interval(limits, times))


def has_any(method: MethodSummary, metrics: Iterable[str]) -> bool:
    """Whether a method was measured so at all, with a value or without."""
    return any(metric in method.statuses for metric in metrics)


def _difference_panels(summary: Summary) -> list[Panel]:
    """One of all metrics, and one for each group of faithfulness, which not every method has."""
    always = [metric for metric in summary.metrics if CATALOGUE[metric].group not in MEASURED_ON_DEMAND]
    groups = [("", always), *((f"{group}: ", GROUPS[group]) for group in FAITHFULNESS.values())]
    return [panel for heading, metrics in groups for panel in _differences_of(summary, heading, metrics)]


def _differences_of(summary: Summary, heading: str, metrics: Iterable[str]) -> list[Panel]:
    kept = [metric for metric in metrics if metric in summary.metrics and metric not in ANSWER]
    others = {name: of for name, of in summary.differences.items() if has_any(summary.methods[name], kept)}
    if not others or not kept:
        return []
    lower = heading and [CATALOGUE[metric].title for metric in kept if CATALOGUE[metric].direction == "lower"]
    rows: list[list[Cell | str]] = [
        [
            CATALOGUE[metric].title,
            *(Cell(signed(of[metric][0]), signed_interval(of[metric][1])) for of in others.values()),
        ]
        for metric in kept
    ]
    heading += f"{summary.methods[BASE].title} minus the other, percentage points, paired 95 % intervals"
    heading += f"; above 0 is better, of {', '.join(lower)} below 0" if lower else ""
    return [Panel(heading, ["", *(summary.methods[name].title for name in others)], rows)]


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
            for status, count in counts.items()
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
