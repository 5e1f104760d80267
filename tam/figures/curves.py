"""How a word's probability falls while what its map shows is taken away, and comes back while it is put back."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tam.figures.canvas import SETTINGS
from tam.metrics.catalogue import POINT
from tam.tables.statistics import bootstrap_means, interval, pooled_means

# of Okabe and Ito, told apart also by those who do not tell red from green; the main method has the first
COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
SIDES = {"deletion": "cells taken away", "insertion": "cells put back"}


def points(table: pd.DataFrame, name: str, baseline: str) -> pd.DataFrame:
    """Of a curve: method, sample, share of the cells, sum and number of the words' probabilities."""
    start = f"{name}_{baseline}{POINT}"
    rows = table[table.metric.str.startswith(start) & (table.status == "ok")]
    rows = rows.assign(at=rows.metric.str.removeprefix(start).astype(float))
    return rows.groupby(["method", "sample", "at"], observed=True)["value"].agg(["sum", "count"]).reset_index()


def faithfulness_curves(table: pd.DataFrame, titles: Mapping[str, str], main: str, baseline: str) -> Figure | None:
    """Deletion on the left, insertion on the right: means over words with 95 % bands over images; None without any."""
    sides = {name: points(table, name, baseline) for name in SIDES}
    methods = [method for method in titles if method in set(sides["deletion"].method)]
    if not methods:
        return None
    methods.sort(key=lambda method: method != main)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(7.2, 3.1), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, (name, rows) in zip((left, right), sides.items(), strict=True):
            for color, method in zip(COLORS, methods, strict=False):
                _curve(axes, rows[rows.method == method], color, titles[method])
            axes.set_xlim(0, 1)
            axes.set_xlabel(f"{SIDES[name]}, share")
            axes.set_title(f"{name.capitalize()} ({baseline})", fontsize=9)
        left.set_ylim(0, 1)
        left.set_ylabel("P of the word")
        right.legend(fontsize=7, frameon=False)
        figure.supxlabel("Lines: means over words; bands: 95 % intervals over pictures.", fontsize=7, color="0.3")
    return figure


def _curve(axes: Axes, rows: pd.DataFrame, color: str, label: str) -> None:
    sums, counts = (rows.pivot(index="sample", columns="at", values=of).fillna(0) for of in ("sum", "count"))
    mean = pooled_means(sums.to_numpy(), counts.to_numpy())
    low, high = interval(bootstrap_means(sums.to_numpy(float), counts.to_numpy(float)))
    at = sums.columns.to_numpy(float)
    axes.plot(at, mean, color=color, label=label, linewidth=1.2)
    if np.isfinite(low).all() and len(sums) > 1:
        axes.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
