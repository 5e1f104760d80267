"""Tables of a run: the paper's component ablation with intervals and counts, and the same numbers tidy.

ablation.csv / .md / .tex   a row per dataset, model and method; percent, as the paper prints them
summary.csv                 a row per dataset, model, method and metric; from 0 to 1
statuses.csv                how many rows of a metric have which status; metric "answer": how many samples
samples.csv                 a row per dataset, model, method and sample: answer, status and its own means
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pylatex.utils import escape_latex

from tam.errors import InputError
from tam.files import atomic
from tam.methods import rank
from tam.statistics import RESAMPLES
from tam.summary import METRICS, SEED, Run, Summary, find_runs, summarise

NO_VALUE = "–"
HOW_TO_READ = (
    "Percent; means over all words of all images (ROUGE-L, METEOR and names: over images). F1-IoU is the harmonic mean "
    f"of the two means. Intervals: 95 %, bootstrap over images, {RESAMPLES} draws, seed {SEED}. The lists "
    "give the number of values of each metric, and in brackets what has no value and why."
)


def write_tables(metrics: Path | Sequence[Run], out: Path) -> None:
    """Write all tables into the folder ``out``. ``metrics`` is a folder for ``find_runs``, or runs.

    Raises:
        InputError: no runs, files of one run made in different ways, or a sample that occurs twice in a run.
        SchemaError: a file that is no metrics table.
    """
    runs = find_runs(metrics) if isinstance(metrics, Path) else list(metrics)
    if not runs:
        raise InputError("no metrics", where=metrics, cure="run `tam metrics` first")
    runs.sort(key=lambda run: (run.dataset, run.model, rank(run.method)))
    summaries = [summarise(run) for run in runs]
    _write(out / "ablation.csv", _ablation(summaries).to_csv(index=False))
    _write(out / "ablation.md", markdown(summaries))
    _write(out / "ablation.tex", latex(summaries))
    _write(out / "summary.csv", _long(summaries).to_csv(index=False))
    _write(out / "statuses.csv", _statuses(summaries).to_csv(index=False))
    _write(out / "samples.csv", pd.concat([summary.samples for summary in summaries]).to_csv(index=False))


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


def markdown(summaries: list[Summary]) -> str:
    """Per dataset and model: the table of means, the table of intervals (metrics as rows), and the notes."""
    parts = []
    for (dataset, model), group in _groups(summaries).items():
        names = [summary.name for summary in group]
        means = [[name, *map(_percent, summary.means)] for name, summary in zip(names, group, strict=True)]
        limits = [
            [title, *(_interval(summary.intervals[:, index]) for summary in group)]
            for index, title in enumerate(METRICS.values())
        ]
        parts += [
            f"## {_one_line(dataset)}, {_one_line(model)}",
            _pipes([["Method", *METRICS.values()], *means]),
            "95 % intervals:",
            _pipes([["", *names], *limits]),
            "\n".join(f"- {_one_line(note)}" for note in notes(group)),
        ]
    return "\n\n".join([*parts, HOW_TO_READ]) + "\n"


def latex(summaries: list[Summary]) -> str:
    """The table of means for a document that loads booktabs, with the notes under it."""
    short = {"Precision": "Prec.", "Recall": "Rec.", "Pointing": "Point."}
    heads = [short.get(title, title).replace("-", r"-\\").replace(" ", r"\\") for title in METRICS.values()]
    groups = _groups(summaries)
    body, footer = [], [HOW_TO_READ]
    for (dataset, model), group in groups.items():
        title = f"{dataset}, {model}"
        body += [r"\midrule", rf"\multicolumn{{{1 + len(heads)}}}{{l}}{{\emph{{{_tex(title)}}}}} \\"]
        body += [" & ".join([_tex(summary.name), *map(_percent, summary.means)]) + r" \\" for summary in group]
        footer += [f"{title}: {note}" if len(groups) > 1 else note for note in notes(group)]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering\scriptsize\setlength{\tabcolsep}{2pt}",
            r"\begin{tabular}{l" + "r" * len(heads) + "}",
            r"\toprule",
            " & ".join(["Method", *(rf"\shortstack[r]{{{head}}}" for head in heads)]) + r" \\",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"\smallskip\begin{minipage}{\linewidth}\scriptsize\raggedright",
            *(rf"{_tex(note)}\par" for note in footer),
            r"\end{minipage}",
            r"\end{table}",
            "",
        ]
    )


def notes(group: list[Summary]) -> list[str]:
    """What stands under a table: how many images and words, what has no value and why, how it was done."""
    counts = defaultdict(list)
    for summary in group:
        statuses = summary.statuses
        texts = [f"images {len(summary.samples)} ({_counts(statuses['answer'])})"]
        objects = statuses.get("obj_iou", {})
        for metric, number in summary.values.items():
            # precision, recall and pointing lack what Obj-IoU lacks: only what is theirs alone is said again
            said = objects if metric in ("precision", "recall", "pointing") else {}
            others = {kind: n for kind, n in statuses.get(metric, {}).items() if kind != "ok" and kind not in said}
            texts.append(f"{METRICS[metric]} {number}" + (f" ({_counts(others)})" if others else ""))
        if "word" in statuses:
            texts.append(_counts(statuses["word"]))
        counts["; ".join(texts)].append(summary.name)
    ways = defaultdict(list)
    for summary in group:
        ways[f"protocol {summary.how['protocol']}; {summary.how['tagger']}"].append(summary.name)
    return [
        *(_whose(names, group) + f"{text}." for text, names in counts.items()),
        *(_whose(names, group) + f"{text}." for text, names in ways.items()),
    ]


def _whose(names: list[str], group: list[Summary]) -> str:
    return "" if len(names) == len(group) else ", ".join(names) + ": "


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(
        f"{number} {status}" for status, number in sorted(counts.items(), key=lambda item: (item[0] != "ok", -item[1]))
    )


def _groups(summaries: list[Summary]) -> dict[tuple[str, str], list[Summary]]:
    groups = defaultdict(list)
    for summary in summaries:
        groups[summary.run.dataset, summary.run.model].append(summary)
    return groups


def _percent(value: float) -> str:
    return NO_VALUE if np.isnan(value) else f"{100 * value:.2f}"


def _interval(limits: np.ndarray) -> str:
    return NO_VALUE if np.isnan(limits).any() else f"{_percent(limits[0])} to {_percent(limits[1])}"


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
    return escape_latex(" ".join(text.split()))


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
