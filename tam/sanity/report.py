"""The table and the figure of the stage, from the values of all answers in NAME.h5.

NAME.csv          a row per order, part and method: every measure, with intervals
NAME.md / .tex    the same for people
NAME.png / .pdf / .svg    Spearman along each order, and the share of constant maps
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tam.figures.canvas import SETTINGS
from tam.figures.files import save
from tam.records import FAILED
from tam.sanity.record import ALIKE, MEASURES, ORIGINAL, Compared
from tam.system.atomic import atomic
from tam.system.mark import check_file
from tam.tables.formats import Cell, Panel, Table, markdown
from tam.tables.latex import latex
from tam.tables.notes import counted
from tam.tables.numbers import NO_VALUE, to_csv
from tam.tables.statistics import RESAMPLES, bootstrap_means, interval, pooled_means

TITLES = {
    "spearman": "Spearman", "ssim": "SSIM", "top10": "overlap of the top 10 %", "constant": "share of constant maps",
    "entropy_change": "change of entropy",
}  # fmt: skip
PAIRS = "reference"
TWO_NOUNS = "two nouns of one answer"


class Line(NamedTuple):
    """A state of the weights, all seeds together; or the reference."""

    order: str
    part: str


class Mean(NamedTuple):
    """Of one measure, line and method, over nouns, with its interval over images; and how many values it has."""

    value: float
    low: float
    high: float
    values: int


Means = dict[Line, dict[str, dict[str, Mean]]]
"""Line -> method -> measure."""


def check_beside(out: Path) -> None:
    """Raises: DiskError: what ``write_report`` would write is there, without the file that ours is made from."""
    if not out.is_file():
        for kind in ("csv", "md", "tex", "png", "pdf", "svg"):
            check_file(out.with_suffix(f".{kind}"), sign=None)


def write_report(methods: Mapping[str, str], answers: Mapping[int, Compared], out: Path) -> None:
    """Write table and figure beside ``out``; ``methods``: name -> title."""
    compared = [made for made in answers.values() if not made.status.startswith(FAILED)]
    means = means_of([*methods], compared)
    statuses = Counter(made.status.partition(":")[0] for made in answers.values())
    nouns = sum(len(made.words) for made in compared)
    table = _table(means, methods, f"{counted(statuses)}; {nouns} nouns; seeds: {_seeds(compared)}.")
    texts = {"csv": _csv(means), "md": markdown([table]), "tex": latex([table])}
    for kind, text in texts.items():
        with atomic(out.with_suffix(f".{kind}")) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if compared:
        save(_figure(means, methods), out.with_suffix(""))


def means_of(methods: list[str], compared: list[Compared]) -> Means:
    """Means over nouns and seeds, pooled over images; the images are drawn for the intervals."""
    found: Means = {}
    states = compared[0].states if compared else []
    for line in dict.fromkeys(Line(state.order, state.part) for state in states):
        chosen = [place for place, state in enumerate(states) if state[:2] == line]
        found[line] = _means(methods, [np.moveaxis(made.values[chosen], 0, 1) for made in compared], MEASURES)
    if states:
        found[Line(PAIRS, TWO_NOUNS)] = _means(methods, [made.pairs[:, None] for made in compared], ALIKE)
    return found


def _means(methods: list[str], values: list[np.ndarray], measures: tuple[str, ...]) -> dict[str, dict[str, Mean]]:
    """``values``: of each image [method, seed, noun, measure]."""
    flat = [one.reshape(len(methods), -1, len(measures)).astype(np.float64) for one in values]
    sums = np.array([np.nansum(one, axis=1).ravel() for one in flat])
    counts = np.array([np.isfinite(one).sum(axis=1).ravel() for one in flat])
    limits = interval(bootstrap_means(sums, counts.astype(float)))
    limits[:, (counts > 0).sum(0) < 2] = np.nan
    rows = zip(pooled_means(sums, counts), *limits, counts.sum(0), strict=True)
    means = [Mean(float(mean), float(low), float(high), int(number)) for mean, low, high, number in rows]
    keys = itertools.product(methods, measures)
    of_all: dict[str, dict[str, Mean]] = {method: {} for method in methods}
    for (method, measure), mean in zip(keys, means, strict=True):
        of_all[method][measure] = mean
    return of_all


def _seeds(compared: list[Compared]) -> int:
    return len({state.seed for made in compared[:1] for state in made.states if state.order != ORIGINAL})


# ---- how they are told


def _table(means: Means, methods: Mapping[str, str], counts: str) -> Table:
    panels = []
    orders = [order for order in dict.fromkeys(line.order for line in means) if order not in (ORIGINAL, PAIRS)]
    for order, measure in itertools.product(orders, MEASURES):
        shown = [line for line in means if line.order in (order, ORIGINAL)]
        shown += [line for line in means if line.order == PAIRS and measure in ALIKE]
        rows: list[list[Cell | str]] = [
            [line.part, *(_cell(means[line][method][measure]) for method in methods)] for line in shown
        ]
        title = f"{order.replace('_', '-')}: {TITLES[measure]}"
        panels.append(Panel(title, ["Weights drawn anew", *methods.values()], rows))
    notes = [
        counts,
        "The answer stays the model's own; its nouns' maps by a model of random weights, compared with those by the "
        "model itself. Matrices from N(0, own standard deviation), norms and biases stay, the head is untied first. "
        "Bottom-up and top-down: with the parts above, in the table, too; independent: alone.",
        "Constant random maps have no similarity and are counted; nouns whose original map is constant are left out. "
        f"Intervals: 95 %, bootstrap over images, {RESAMPLES} draws, seed 0.",
        f"{TWO_NOUNS}: how alike maps are that should differ. None, at the end: the model itself once more, after all.",
        "Change of entropy (eMPRT): it calls a map insane that begins with a floor.",
    ]
    return Table("Do maps change when the weights do?", panels, notes)


def _cell(mean: Mean) -> Cell:
    limits = "" if math.isnan(mean.low) else f"[{_number(mean.low)}, {_number(mean.high)}]"
    return Cell(_number(mean.value), limits)


def _number(value: float) -> str:
    return NO_VALUE if math.isnan(value) else f"{value:.2f}".replace("-", "−")


def _csv(means: Means) -> str:
    columns = [name for measure in MEASURES for name in (measure, f"{measure}_low", f"{measure}_high", f"{measure}_n")]
    none = Mean(math.nan, math.nan, math.nan, 0)
    return to_csv(
        ["order", "part", "method", *columns],
        (
            [*line, method, *(number for measure in MEASURES for number in of_method.get(measure, none))]
            for line, by_method in means.items()
            for method, of_method in by_method.items()
        ),
    )


def _figure(means: Means, methods: Mapping[str, str]) -> Figure:
    """A column an order: Spearman with its interval above, the share of constant maps below."""
    orders = [order for order in dict.fromkeys(line.order for line in means) if order not in (ORIGINAL, PAIRS)]
    colors = matplotlib.colormaps["tab10"](np.arange(len(methods)) % 10)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(3.3 * len(orders) + 1.2, 4.6), layout="constrained")
        axes = figure.subplots(
            2, len(orders), sharex="col", sharey="row", squeeze=False, gridspec_kw={"height_ratios": [3, 1]}
        )
        for column, order in enumerate(orders):
            lines = [line for line in means if line.order == order]
            above, below = axes[:, column]
            for number, (method, title) in enumerate(methods.items()):
                color, places = colors[number], np.arange(len(lines)) + 0.06 * (number - len(methods) / 2)
                found = [means[line][method] for line in lines]
                value, low, high = np.array([one["spearman"][:3] for one in found]).T
                bars = [np.nan_to_num(value - low), np.nan_to_num(high - value)]
                style = {"color": color, "marker": "o", "ms": 3, "lw": 1, "elinewidth": 0.6, "label": title}
                above.errorbar(places, value, bars, **style)
                above.axhline(means[Line(PAIRS, TWO_NOUNS)][method]["spearman"].value, color=color, lw=0.7, ls=":")
                below.plot(places, [one["constant"].value for one in found], color=color, marker="o", ms=2.5, lw=0.8)
            above.axhline(0, color="0.6", lw=0.5)
            above.set(title=order.replace("_", "-"), ylim=(-1, 1.05))
            below.set(ylim=(-0.05, 1.05), xticks=range(len(lines)))
            below.set_xticklabels([line.part for line in lines], rotation=60, ha="right", fontsize=7)
        axes[0, 0].set_ylabel("Spearman with the original")
        axes[1, 0].set_ylabel("constant maps")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        about = {"title": "dotted: two nouns\nof one answer", "title_fontsize": 8}
        figure.legend(handles, labels, loc="outside right upper", fontsize=8, **about)
    return figure
