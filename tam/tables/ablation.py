"""Tables of a run: the paper's component ablation with intervals, differences and counts, and the same numbers tidy.

ablation.csv / .md / .tex   a row per dataset, model and method; percent, as the paper prints them
differences.csv             how much higher TAM is than each other method, with intervals of paired draws; percent
summary.csv                 a row per dataset, model, method and metric; from 0 to 1
statuses.csv                how many rows of a metric have which status; metric "answer": how many samples
samples.csv                 a row per dataset, model, method and sample: answer, status and its own means
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tam.errors import InputError
from tam.methods.registry import rank, title
from tam.system.atomic import atomic
from tam.tables.formats import Cell, Panel, Table, latex, markdown
from tam.tables.statistics import RESAMPLES
from tam.tables.summary import (
    ANSWER,
    GROUPS,
    METRICS,
    SEED,
    Difference,
    Run,
    Summary,
    difference,
    find_runs,
    summarise,
)

BASE = "tam"
"""What the other methods are compared with."""

NO_VALUE = "–"
HOW_TO_READ = (
    "Percent; means over all words of all images (ROUGE-L, METEOR and names: over images). F1-IoU is the harmonic mean "
    f"of the two means. Intervals: 95 %, bootstrap over images, {RESAMPLES} draws, seed {SEED}; those of differences "
    "from paired draws, the same images for both methods. The lists give the number of values of each metric, and in "
    "brackets what has no value and why."
)


def write_tables(metrics: Path | Sequence[Run], out: Path) -> None:
    """Write all tables into the folder ``out``. ``metrics`` is a folder for ``find_runs``, or runs.

    Raises:
        InputError: no runs, files of one run made in different ways, or a sample that occurs twice in a run.
        SchemaError: a file that is no metrics table.
    """
    summaries = summarise_all(find_runs(metrics) if isinstance(metrics, Path) else metrics, metrics)
    groups = by_run(summaries)
    differences = [one for group in groups.values() for one in differences_of(group)]
    tables = [run_table(group) for group in groups.values()]
    write(out / "ablation.csv", _ablation(summaries).to_csv(index=False))
    write(out / "ablation.md", markdown(tables, HOW_TO_READ))
    write(out / "ablation.tex", latex(tables, HOW_TO_READ))
    write(out / "differences.csv", _differences(differences).to_csv(index=False))
    write(out / "summary.csv", _long(summaries).to_csv(index=False))
    write(out / "statuses.csv", _statuses(summaries).to_csv(index=False))
    write(out / "samples.csv", pd.concat([summary.samples for summary in summaries]).to_csv(index=False))


def summarise_all(runs: Sequence[Run], where: object) -> list[Summary]:
    """Runs in numbers, sorted by dataset, model and method; InputError where there are none."""
    if not runs:
        raise InputError("no metrics", where=where, cure="run `tam metrics` first")
    return [summarise(run) for run in sorted(runs, key=lambda run: (run.dataset, run.model, rank(run.method)))]


def by_run(summaries: Iterable[Summary]) -> dict[tuple[str, str], list[Summary]]:
    """The methods of each dataset and model."""
    groups = defaultdict(list)
    for summary in summaries:
        groups[summary.run.dataset, summary.run.model].append(summary)
    return dict(groups)


def differences_of(group: list[Summary]) -> list[Difference]:
    """TAM beside each other method of the same dataset and model; none where there is no TAM."""
    base = next((summary for summary in group if summary.run.method == BASE), None)
    return [difference(base, other) for other in group if base and other is not base]


# ---- for people


def run_table(group: list[Summary]) -> Table:
    """All methods of one dataset and model: means, differences, and the notes under them."""
    panels = []
    for name, metrics in GROUPS.items():
        chosen = [index for index, metric in enumerate(METRICS) if metric in metrics]
        about_answer = tuple(metrics) == ANSWER
        rows = {
            summary.name: [Cell(percent(s), interval(i)) for s, i in zip(*_of(summary, chosen), strict=True)]
            for summary in group
        }
        if about_answer and len({tuple(cells) for cells in rows.values()}) == 1:
            rows = {"all methods": next(iter(rows.values()))}
        panels.append(
            Panel(
                f"{name}, 95 % intervals",
                ["" if about_answer else "Method", *metrics.values()],
                [[name, *cells] for name, cells in rows.items()],
            )
        )
    if differences := differences_of(group):
        panels.append(_difference_panel(differences))
    dataset, model = group[0].run[:2]
    return Table(f"{dataset}, {model}", panels, notes(group))


def _of(summary: Summary, chosen: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return summary.means[chosen], summary.intervals.T[chosen]


def _difference_panel(differences: list[Difference]) -> Panel:
    metrics = [(index, name) for index, (metric, name) in enumerate(METRICS.items()) if metric not in ANSWER]
    rows = [
        [name, *(Cell(signed(d.means[index]), interval(d.intervals[:, index], signed)) for d in differences)]
        for index, name in metrics
    ]
    heading = f"{title(BASE)} minus the other, percentage points, paired 95 % intervals"
    return Panel(heading, ["", *(d.other.name for d in differences)], rows)


def notes(group: list[Summary], metrics: Sequence[str] = tuple(METRICS)) -> list[str]:
    """What stands under a table: how many images and words, what has no value and why, how it was done."""
    counts, ways = defaultdict(list), defaultdict(list)
    for summary in group:
        statuses = summary.statuses
        texts = [f"images {len(summary.samples)} ({_counts(statuses['answer'])})"]
        alike = defaultdict(list)
        for metric, number in summary.values.items():
            if metric not in metrics:
                continue
            others = {kind: n for kind, n in statuses.get(metric, {}).items() if kind != "ok"}
            alike[f"{number}" + (f" ({_counts(others)})" if others else "")].append(METRICS[metric])
        texts += [f"{', '.join(names)} {number}" for number, names in alike.items()]
        if "word" in statuses:
            texts.append(_counts(statuses["word"]))
        counts["; ".join(texts)].append(summary.name)
        ways[f"protocol {summary.how['protocol']}; {summary.how['tagger']}"].append(summary.name)
    return [
        *(_whose(names, group) + f"{text}." for text, names in counts.items()),
        *(_whose(names, group) + f"{text}." for text, names in ways.items()),
    ]


def _whose(names: list[str], group: list[Summary]) -> str:
    return "" if len(names) == len(group) else ", ".join(names) + ": "


def _counts(counts: dict[str, int]) -> str:
    by_number = sorted(counts.items(), key=lambda item: (item[0] != "ok", -item[1], item[0]))
    return ", ".join(f"{number} {status}" for status, number in by_number)


def percent(value: float) -> str:
    return NO_VALUE if np.isnan(value) else f"{100 * value:.2f}"


def signed(value: float) -> str:
    return NO_VALUE if np.isnan(value) else f"{100 * value:+.2f}".replace("-", "−")


def interval(limits: np.ndarray, number=percent) -> str:
    """Low and high in square brackets; "" where there is none."""
    return "" if np.isnan(limits).any() else f"[{number(limits[0])}, {number(limits[1])}]"


# ---- for programs


def _key(summary: Summary) -> dict[str, str]:
    return {"dataset": summary.run.dataset, "model": summary.run.model, "method": summary.run.method}


def _ablation(summaries: list[Summary]) -> pd.DataFrame:
    rows = []
    for summary in summaries:
        row = _key(summary) | {"name": summary.name, "images": len(summary.samples)}
        for metric, mean, low, high in zip(METRICS, summary.means, *summary.intervals, strict=True):
            row |= {
                metric: round(100 * mean, 2),
                f"{metric}_low": round(100 * low, 2),
                f"{metric}_high": round(100 * high, 2),
            }
            if metric in summary.values:
                row[f"{metric}_n"] = summary.values[metric]
        how = {"protocol": summary.how["protocol"], "tagger": summary.how["tagger"]}
        rows.append(row | {"status": _counts(summary.statuses["answer"])} | how)
    return pd.DataFrame(rows)


def _differences(differences: list[Difference]) -> pd.DataFrame:
    columns = ["dataset", "model", "base", "method", "metric", "difference", "low", "high", "images"]
    return pd.DataFrame(
        [
            (*d.base.run[:3], d.other.run.method, metric, *(round(100 * v, 2) for v in values), d.images)
            for d in differences
            for metric, *values in zip(METRICS, d.means, *d.intervals, strict=True)
            if metric not in ANSWER
        ],
        columns=columns,
    )


def _long(summaries: list[Summary]) -> pd.DataFrame:
    return pd.DataFrame(
        _key(summary)
        | {"metric": metric, "mean": mean, "low": low, "high": high}
        | {"values": summary.values.get(metric), "images": len(summary.samples)}
        for summary in summaries
        for metric, mean, low, high in zip(METRICS, summary.means, *summary.intervals, strict=True)
    ).astype({"values": "Int64"})


def _statuses(summaries: list[Summary]) -> pd.DataFrame:
    return pd.DataFrame(
        _key(summary) | {"metric": metric, "status": status, "count": count}
        for summary in summaries
        for metric, counts in summary.statuses.items()
        for status, count in counts.items()
    )


def write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
