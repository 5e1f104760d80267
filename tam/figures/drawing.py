"""The figures themselves, from samples and scores to matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager

from tam.figures.data import METRICS, Drawn, correlations, unscored_words
from tam.metrics.catalogue import CATALOGUE
from tam.render.colors import JET
from tam.render.overlay import evenly, mosaic
from tam.render.tokens import shape

SETTINGS = {"font.family": "DejaVu Sans", "font.size": 9, "svg.hashsalt": "tam", "hatch.linewidth": 0.4}
FRAMES, SIDE_BY_SIDE, LABELLED = 8, 4, 48  # frames of a video; matrices in a row, and tokens of each
# told apart in print and by those who do not tell red from green
OURS, OTHERS, SIGNED = "#d55e00", "#0072b2", "PuOr_r"


def save(figure: Figure, stem: Path) -> list[Path]:
    """PDF, SVG and PNG without dates or random names."""
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    paths = []
    with matplotlib.rc_context(SETTINGS):
        for kind, metadata in dates.items():
            paths.append(stem.with_name(f"{stem.name}.{kind}"))
            figure.savefig(paths[-1], metadata=metadata, dpi=150)
    return paths


def _text(text: str, most: int = 40) -> tuple[str, list[str]]:
    """Words as they can be shown, cut to a number of characters, and the fonts that have them."""
    words = [[run for cluster in shape(word).clusters for run in cluster] for word in text.split(" ") if word]
    runs = [run for word in words for run in word]
    shown = " ".join("".join(run.text if run.face else f"[{run.text}]" for run in word) for word in words)
    families = ["DejaVu Sans"]
    for path in dict.fromkeys(run.face.path for run in runs if run.face):
        if path not in {font.fname for font in fontManager.ttflist}:
            fontManager.addfont(path)
        families.append(FontProperties(fname=path).get_name())
    return shown if len(shown) <= most else shown[: most - 1] + "…", families


def _write(
    axes: Axes, x: float, y: float, text: str, points: tuple[float, float] = (0, -3), most: int = 40, **style: Any
) -> None:
    """Text beside a place of an axes, ``points`` away from it."""
    shown, families = _text(text, most)
    axes.annotate(
        shown, (x, y), points, "axes fraction", "offset points", family=families, parse_math=False, **style
    )  # fmt: skip


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, interpolation="lanczos")
    axes.set_axis_off()


def _figure(shape_: tuple[int, ...], rows: int, columns: int, width: float, **room: float) -> tuple[Figure, np.ndarray]:
    """Axes for pictures of ``shape_`` [height, width].

    ``room`` in inches: left, top, right, bottom, and gap and between for the gaps between rows and columns.
    """
    left, top, right, bottom, gap, between = (
        room.get(name, 0.05) for name in ("left", "top", "right", "bottom", "gap", "between")
    )
    side = (width - left - right - between * (columns - 1)) / columns
    tall = side * shape_[0] / shape_[1]
    height = top + rows * tall + (rows - 1) * gap + bottom
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height))
        made = np.empty((rows, columns), object)
        for row in range(rows):
            for column in range(columns):
                x, y = left + column * (side + between), height - top - tall - row * (tall + gap)
                made[row, column] = figure.add_axes((x / width, y / height, side / width, tall / height))
                made[row, column].set_axis_off()
    return figure, made


def _scale(figure: Figure, beside: Axes) -> None:
    """The colour scale from 0 to 1, to the right of an axes."""
    box, width = beside.get_position(), figure.get_figwidth()
    axes = figure.add_axes((box.x1 + 0.08 / width, box.y0, 0.09 / width, box.height))
    bar = figure.colorbar(ScalarMappable(cmap=ListedColormap(JET / 255)), cax=axes, ticks=[0, 1])
    bar.outline.set_visible(False)
    axes.tick_params(length=0, pad=2, labelsize=8)


def methods_grid(drawn: Drawn, words: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """A row a word, a column a method, the picture with the object's outline first; Obj-IoU in the corner."""
    methods = list(drawn.maps)
    left = 0.2 + 0.095 * max(len(word) for word in words.word)
    width = left + 1.7 * (len(methods) + 1) + 0.35
    shape_ = drawn.picture().shape
    figure, axes = _figure(shape_, len(words), len(methods) + 1, width, left=left, top=0.28, right=0.35)
    for row, word in zip(axes, words.itertuples(), strict=True):
        _write(row[0], 0, 0.5, word.word, (-6, 0), ha="right", va="center", weight="bold")
        _show(row[0], drawn.picture(word.label))
        for place, method in zip(row[1:], methods, strict=True):
            _show(place, drawn.overlay(method, word.token, word.label))
            score = scores[(scores.method == method) & (scores.token == word.token) & (scores.metric == "obj_iou")]
            if len(score):
                _corner(place, f"{score.value.iloc[0]:.2f}")
    for place, name in zip(axes[0], ["picture", *drawn.titles.values()], strict=True):
        place.set_title(name, fontsize=10, pad=4)
    _scale(figure, axes[0, -1])
    return figure


def _corner(axes: Axes, text: str) -> None:
    box = {"facecolor": "black", "edgecolor": "none", "alpha": 0.65, "pad": 1.5}
    axes.text(0.975, 0.04, text, transform=axes.transAxes, ha="right", va="bottom", color="white", fontsize=8, bbox=box)


def token_strip(drawn: Drawn, method: str, words: pd.DataFrame) -> Figure:
    """The picture, then the map of each word with the word below, in reading order."""
    columns = min(len(words) + 1, 5)
    rows = -(-(len(words) + 1) // columns)
    width = 1.7 * columns + 0.35
    figure, axes = _figure(drawn.picture().shape, rows, columns, width, gap=0.27, bottom=0.25, right=0.35)
    places = axes.ravel()
    _show(places[0], drawn.picture())
    _write(places[0], 0.5, 0, "picture", ha="center", va="top", color="0.45")
    for place, word in zip(places[1:], words.itertuples(), strict=False):
        _show(place, drawn.overlay(method, word.token))
        _write(place, 0.5, 0, word.word, ha="center", va="top", weight="bold")
    _scale(figure, axes[0, -1])
    return figure


def panel_grid(drawn: Drawn, method: str, tokens: Sequence[int]) -> Figure:
    """Pictures or frames as columns, words as rows; the media without a map above them."""
    panels = evenly(drawn.panels, FRAMES)
    words = [drawn.text(token) for token in tokens]
    left = 0.2 + 0.095 * max(len(_text(word)[0]) for word in words)
    widest = max((panel.picture.shape for panel in panels), key=lambda shape_: shape_[1] / shape_[0])
    side = 1.25 if len(panels) > 4 else 1.9
    width = left + side * len(panels) + 0.4
    figure, axes = _figure(widest, len(words) + 1, len(panels), width, left=left, top=0.28, right=0.4)
    for place, panel, number in zip(axes[0], panels, range(1, len(panels) + 1), strict=True):
        frames = drawn.generation.layout.grids[panel.grids[0][0]].frames
        name = f"frame {frames[0]}" if drawn.sample.kind == "video" else f"picture {number}"
        _show(place, panel.picture)
        place.set_title(name, fontsize=9, pad=4)
    for row, token, word in zip(axes[1:], tokens, words, strict=True):
        _write(row[0], 0, 0.5, word, (-6, 0), ha="right", va="center", weight="bold")
        for place, panel in zip(row, panels, strict=True):
            _show(place, drawn.panel(method, token, panel))
    _scale(figure, axes[1, -1])
    return figure


def correlation(drawn: Drawn) -> Figure:
    """How alike the maps of an answer's tokens are: Pearson correlation, a matrix a method. Hatched: the same value
    everywhere, which has no correlation."""
    start = len(drawn.generation.prompt_ids)
    kept = [t for t, id in enumerate(drawn.generation.answer_ids) if int(id) not in drawn.generation.end_tokens]
    kept = kept[:LABELLED]
    vocabulary = drawn.generation.vocabulary
    texts = [vocabulary[int(drawn.generation.answer_ids[t])].bytes.decode("utf-8", "surrogateescape") for t in kept]
    labels = [_text(text, 14) for text in texts]
    columns = min(len(drawn.maps), SIDE_BY_SIDE)
    rows = -(-len(drawn.maps) // columns)
    beside, cell = 0.16 + 0.06 * max(len(text) for text, _ in labels), max(0.085 * len(kept), 1.7)
    width = columns * cell + beside + 0.12 * (columns - 1) + 0.5
    room = {"left": beside, "top": 0.28, "right": 0.5, "bottom": beside, "gap": 0.34, "between": 0.12}
    figure, axes = _figure((1, 1), rows, columns, width, **room)
    with matplotlib.rc_context(SETTINGS):
        for number, (place, method) in enumerate(zip(axes.ravel(), drawn.maps, strict=False)):
            values = correlations(drawn.maps[method].maps[start:][kept])
            place.set_axis_on()
            place.patch.set(hatch="///", facecolor="white", edgecolor="0.7")
            shown = np.ma.masked_invalid(values)
            mesh = place.pcolormesh(shown, cmap=SIGNED, vmin=-1, vmax=1, edgecolor="face", linewidth=0.1)
            place.invert_yaxis()
            place.set_title(drawn.titles[method], fontsize=10, pad=4)
            place.tick_params(length=0, pad=2, labelsize=6.5)
            below = number + columns >= len(drawn.maps)
            for axis, wanted in ((place.xaxis, below), (place.yaxis, number % columns == 0)):
                axis.set_ticks(np.arange(len(kept)) + 0.5, [text for text, _ in labels] if wanted else [])
                for label, (_, families) in zip(axis.get_ticklabels() if wanted else (), labels, strict=False):
                    label.set(family=families, parse_math=False)
            place.tick_params(axis="x", rotation=90)
            place.spines[:].set_linewidth(0.5)
        box = axes[0, -1].get_position()
        bar = figure.add_axes((box.x1 + 0.08 / width, box.y0, 0.09 / width, box.height))
        figure.colorbar(mesh, cax=bar, ticks=[-1, 0, 1]).outline.set_visible(False)
        bar.tick_params(length=0, pad=2, labelsize=8)
    return figure


def comparison(models: dict[str, tuple[Drawn, pd.DataFrame]], method: str, most: int) -> Figure:
    """One sample, a row a model: the picture, then the maps of the words that name each category, Obj-IoU in the
    corner; where no model names one, its first nouns. The model's answer stands below its row."""
    first = next(iter(models.values()))[0]
    names = {label: name for name, label in reversed(first.sample.categories.items())}
    counts = pd.concat(table[table.label > 0].drop_duplicates("label") for _, table in models.values()).label
    labels = sorted(sorted(counts.value_counts().index), key=lambda label: -(counts == label).sum())[:most]
    columns = [names.get(label, str(label)) for label in labels] or [""] * most
    size = first.picture().shape
    left = 0.2 + 0.085 * max(map(len, models))
    width = left + 1.7 * (len(columns) + 1) + 0.35
    room = {"left": left, "top": 0.28, "right": 0.35, "bottom": 0.45, "gap": 0.5}
    figure, axes = _figure(size, len(models), len(columns) + 1, width, **room)
    for row, (name, (drawn, table)) in zip(axes, models.items(), strict=True):
        _write(row[0], 0, 0.5, name, (-6, 0), ha="right", va="center", weight="bold")
        _show(row[0], drawn.picture())
        answer = f"“{drawn.generation.answer.strip()}”"
        _write(row[0], 0, 0, answer, (0, -17), ha="left", va="top", fontsize=8, color="0.3", most=int(17 * width))
        cells = _named(table, labels) if labels else unscored_words(drawn, most)
        for place, token, label in zip(row[1:], cells, labels or [0] * most, strict=False):
            if token is None:
                place.text(0.5, 0.5, "not named", transform=place.transAxes, ha="center", va="center", color="0.45")
                continue
            _show(place, drawn.overlay(method, token, label))
            _write(place, 0.5, 0, drawn.text(token), ha="center", va="top", weight="bold", fontsize=8)
            score = table[(table.token == token) & (table.metric == "obj_iou") & (table.status == "ok")]
            if len(score):
                _corner(place, f"{score.value.iloc[0]:.2f}")
    for place, text in zip(axes[0], ["picture", *columns], strict=True):
        place.set_title(text, fontsize=10, pad=4)
    _scale(figure, axes[0, -1])
    return figure


def _named(table: pd.DataFrame, labels: Sequence[int]) -> list[int | None]:
    """The first token of the word that names each category; a scored one before those merged with it."""
    words = table[(table.label > 0) & (table.metric == "obj_iou")]
    words = words.assign(late=words.status != "ok").sort_values(["late", "token"], kind="stable")
    found = words.drop_duplicates("label").set_index("label").token
    return [int(found[label]) if label in found.index else None for label in labels]


def distributions(words: pd.DataFrame, titles: Mapping[str, str], main: str) -> Figure:
    """Every word's score as a dot, with the box of its quartiles and the mean as a diamond; a panel a metric.

    Args:
        titles: method -> title, in order. main: the method that stands out.
    """
    metrics = [metric for metric in METRICS if (words.metric == metric).any()]
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(2.3 * len(metrics) + 0.9, 0.42 * len(titles) + 0.95), layout="constrained")
        panels_ = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for place, metric in zip(panels_, metrics, strict=True):
            for y, method in enumerate(titles):
                values = words[(words.metric == metric) & (words.method == method)].value.to_numpy()
                _distribution(place, y, values, OURS if method == main else OTHERS)
            number = (words.metric == metric).sum() // len(titles)
            place.set_title(f"{CATALOGUE[metric].title}  (n = {number})", fontsize=9)
            place.set_xlim(-0.02, 1.02)
            place.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            place.spines[["top", "right", "left"]].set_visible(False)
            place.tick_params(axis="y", length=0)
        panels_[0].set_ylim(len(titles) - 0.45, -0.55)
        panels_[0].set_yticks(range(len(titles)), [*titles.values()])
    return figure


def _distribution(axes: Axes, y: float, values: np.ndarray, color: str) -> None:
    if not len(values):
        return
    jitter = np.random.default_rng(0).uniform(-0.26, 0.26, len(values))
    axes.scatter(
        values, y + jitter, s=5, color=color, alpha=min(0.5, 40 / len(values) + 0.05), linewidths=0, zorder=1,
        rasterized=len(values) > 2000,
    )  # fmt: skip
    style = {"color": color, "linewidth": 1.0}
    axes.boxplot(
        values, positions=[y], orientation="horizontal", widths=0.62, showfliers=False, showcaps=False,
        manage_ticks=False, whiskerprops=style, boxprops=style, medianprops={"color": color, "linewidth": 2.0},
    )  # fmt: skip
    axes.plot(values.mean(), y, marker="D", markersize=4.5, color="white", markeredgecolor=color, zorder=3)


def failure_cases(cases: Sequence[tuple[Drawn, Any]], method: str) -> Figure:
    """Samples of the lowest mean Obj-IoU: the picture with the object's outline, and the map of the lowest word."""
    pictures = [
        mosaic([drawn.picture(row.label), drawn.overlay(method, row.token, row.label)], gap=4) for drawn, row in cases
    ]
    tallest = max((picture.shape for picture in pictures), key=lambda shape_: shape_[0] / shape_[1])
    columns = min(3, len(cases))
    rows = -(-len(cases) // columns)
    figure, axes = _figure(tallest, rows, columns, 2.9 * columns, gap=0.42, bottom=0.38, between=0.16)
    for (drawn, row), picture, place in zip(cases, pictures, axes.ravel(), strict=False):
        _show(place, picture)
        place.set_anchor("SW")
        _corner(place, f"IoU {row.value:.2f}")
        _write(place, 0, 0, row.word, ha="left", va="top", weight="bold")
        about = f"{_text(drawn.sample.id, 30)[0]}, mean of the sample {row.mean:.2f}"
        _write(place, 0, 0, about, (0, -15), ha="left", va="top", fontsize=7, color="0.4")
    return figure
