"""The figures themselves, from samples and scores to matplotlib."""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image

from tam.figures.canvas import SETTINGS, Canvas, Place, Room, legible
from tam.figures.data import METRICS, Drawn, correlations, named_words, unscored_words
from tam.metrics.catalogue import CATALOGUE
from tam.render.overlay import evenly, mosaic

ABREAST, FRAMES, SIDE_BY_SIDE, LABELLED = 7, 8, 4, 48  # methods; frames of a video; matrices, and tokens of each
DOTS, LINES, LINE = 3000, 4, 0.14  # in a figure as vectors; of an answer, and the height of one in inches
IN_A_ROW = 3  # failures
CLOUD = 75  # dots an inch of more words than that
LEGEND = (
    "Dot: a word (n of them). Box: quartiles of all words, with their median. Lines: to the farthest word within 1.5"
    " boxes. Diamond: mean. Orange: the main method."
)
OUTLINED = "Outlined: the word's object. IoU: of the map with it (Obj-IoU)."
HATCHED = "Hatched: a flat map, no correlation."
BELOW = 0.22  # inches of a legend
# told apart in print and by those who do not tell red from green
OURS, OTHERS, SIGNED = "#d55e00", "#0072b2", "PuOr_r"


def methods_grid(drawn: Drawn, words: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """A row a word, a column a method, the picture with the object's outline first; IoU in the corner. More methods
    than stand beside each other stand in bands, one below the other."""
    bands = -(-len(drawn.titles) // ABREAST)
    count = -(-len(drawn.titles) // bands)
    left = 0.2 + 0.095 * max(len(word) for word in words.word)
    width = left + 1.7 * (count + 1) + 0.35
    room = Room(left=left, top=0.28, right=0.35, bottom=BELOW, apart=0.32)
    canvas, places = Canvas.of(drawn.picture().shape, bands * len(words), count + 1, width, room, bands)
    for band in range(bands):
        methods = [*drawn.titles][band * count : (band + 1) * count]
        rows = places[band * len(words) : (band + 1) * len(words)]
        for row, word in zip(rows, words.itertuples(), strict=True):
            canvas.write(row[0], 0, 0.5, word.word, (-6, 0), ha="right", va="center", weight="bold")
            canvas.show(row[0], drawn.picture(word.label))
            for place, method in zip(row[1:], methods, strict=False):
                _map(canvas, place, drawn, method, word.token, word.label)
                score = scores[(scores.method == method) & (scores.token == word.token) & (scores.metric == "obj_iou")]
                if len(score):
                    canvas.corner(place, f"IoU {score.value.iloc[0]:.2f}")
        for place, name in zip(rows[0], ["picture", *(drawn.titles[method] for method in methods)], strict=False):
            canvas.title(place, name)
    canvas.scale(places[0, -1])
    canvas.legend(OUTLINED)
    return canvas.figure


def _map(canvas: Canvas, place: Place, drawn: Drawn, method: str, token: int, label: int = 0) -> None:
    """A word's map, or that there is none."""
    if drawn.explains(method, token):
        canvas.show(place, drawn.overlay(method, token, label))
    else:
        said = "not explained" if method in drawn.maps else "failed"
        canvas.write(place, 0.5, 0.5, said, (0, 0), ha="center", va="center", color="0.45")


def token_strip(drawn: Drawn, method: str, words: pd.DataFrame) -> Figure:
    """The picture, then the map of each word with the word below, in reading order."""
    columns = min(len(words) + 1, 5)
    rows = -(-(len(words) + 1) // columns)
    room = Room(gap=0.27, bottom=0.25, right=0.35)
    canvas, grid = Canvas.of(drawn.picture().shape, rows, columns, 1.7 * columns + 0.35, room)
    places = grid.ravel()
    canvas.show(places[0], drawn.picture())
    canvas.write(places[0], 0.5, 0, "picture", ha="center", va="top", color="0.45")
    for place, word in zip(places[1:], words.itertuples(), strict=False):
        _map(canvas, place, drawn, method, word.token)
        canvas.write(place, 0.5, 0, word.word, ha="center", va="top", weight="bold")
    canvas.scale(grid[0, -1])
    return canvas.figure


def panel_grid(drawn: Drawn, method: str, tokens: Sequence[int]) -> Figure:
    """Pictures or frames as columns, words as rows; the media without a map above them."""
    panels = evenly(drawn.panels, FRAMES)
    words = [drawn.text(token) for token in tokens]
    left = 0.2 + 0.095 * max(len(legible(word)[0]) for word in words)
    widest = max((panel.picture.shape for panel in panels), key=lambda shape_: shape_[1] / shape_[0])
    side = 1.25 if len(panels) > 4 else 1.9
    width = left + side * len(panels) + 0.4
    room = Room(left=left, top=0.28, right=0.4)
    canvas, places = Canvas.of(widest, len(words) + 1, len(panels), width, room)
    for place, panel, number in zip(places[0], panels, range(1, len(panels) + 1), strict=True):
        frames = drawn.generation.layout.grids[panel.grids[0][0]].frames
        name = f"frame {frames[0]}" if drawn.sample.kind == "video" else f"picture {number}"
        shown = place.fitted(panel.picture.shape)
        canvas.show(shown, panel.picture)
        canvas.title(shown, name, 9)
    for row, token, word in zip(places[1:], tokens, words, strict=True):
        for place, panel in zip(row, panels, strict=True):
            canvas.show(place.fitted(panel.picture.shape), drawn.panel(method, token, panel))
        canvas.write(
            row[0].fitted(panels[0].picture.shape), 0, 0.5, word, (-6, 0), ha="right", va="center", weight="bold"
        )
    canvas.scale(places[1, -1].fitted(panels[-1].picture.shape))
    return canvas.figure


def correlation(drawn: Drawn) -> Figure:
    """How alike the maps of an answer's tokens are: Pearson correlation, a matrix a method. Hatched: the same value
    everywhere, which has no correlation."""
    start = len(drawn.generation.prompt_ids)
    kept = [t for t, id in enumerate(drawn.generation.answer_ids) if int(id) not in drawn.generation.end_tokens]
    kept = kept[:LABELLED]
    vocabulary = drawn.generation.vocabulary
    texts = [vocabulary[int(drawn.generation.answer_ids[t])].bytes.decode("utf-8", "surrogateescape") for t in kept]
    columns = min(len(drawn.maps), SIDE_BY_SIDE)
    rows = -(-len(drawn.maps) // columns)
    beside, cell = 0.16 + 0.06 * max(len(legible(text, 14)[0]) for text in texts), max(0.085 * len(kept), 1.7)
    width = columns * cell + beside + 0.12 * (columns - 1) + 0.5
    room = Room(left=beside, top=0.28, right=0.5, bottom=beside + BELOW, gap=0.34, between=0.12)
    canvas, places = Canvas.of((1, 1), rows, columns, width, room)
    for number, (place, method) in enumerate(zip(places.ravel(), drawn.maps, strict=False)):
        _matrix(canvas, place, correlations(drawn.maps[method].maps[start:][kept]))
        canvas.title(place, drawn.titles[method])
        style: dict[str, Any] = {"most": 14, "fontsize": 6.5}
        for index, text in enumerate(texts):
            middle = (index + 0.5) / len(texts)
            if number + columns >= len(drawn.maps):
                canvas.write(place, middle, 0, text, (0, -2), ha="center", va="top", rotation=90, **style)
            if number % columns == 0:
                canvas.write(place, 0, 1 - middle, text, (-2, 0), ha="right", va="center_baseline", **style)
    colors = np.rint(255 * matplotlib.colormaps[SIGNED](np.linspace(0, 1, 256))[:, :3]).astype(np.uint8)
    canvas.scale(places[0, -1], colors, ("\N{MINUS SIGN}1", "0", "1"), "correlation")
    canvas.legend(HATCHED)
    return canvas.figure


def _matrix(canvas: Canvas, place: Place, values: np.ndarray) -> None:
    """Values from -1 to 1 [row, column], the first row on top; hatched where there is none."""
    corner, size = (place.left, place.bottom), (place.width, place.height)
    with matplotlib.rc_context(SETTINGS):
        canvas.axes.add_patch(
            Rectangle(corner, *size, hatch="///", facecolor="white", edgecolor="0.7", lw=0, zorder=-1)
        )
    colors = matplotlib.colormaps[SIGNED](np.ma.masked_invalid((values + 1) / 2), bytes=True)  # no value: transparent
    canvas.show(place, colors, Image.Resampling.NEAREST)
    canvas.axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="black", linewidth=0.5, zorder=2.5))


def comparison(models: dict[str, tuple[Drawn, pd.DataFrame]], method: str, most: int) -> Figure:
    """One sample, a row a model: the picture, then the maps of the words that name each category, Obj-IoU in the
    corner; where no model names one, its first nouns. The model's answer stands below its row."""
    first = next(iter(models.values()))[0]
    names = {label: name for name, label in reversed(first.sample.categories.items())}
    named = {name: named_words(drawn, table) for name, (drawn, table) in models.items()}
    counts = Counter(sorted(label for words in named.values() for label in words))
    labels = [label for label, _ in counts.most_common(most)]
    columns = [names.get(label, str(label)) for label in labels] or [""] * most
    left = 0.2 + 0.085 * max(map(len, models))
    width = left + 1.7 * (len(columns) + 1) + 0.35
    answers = {name: _wrapped(drawn.generation.answer, width - left) for name, (drawn, _) in models.items()}
    below = 0.3 + LINE * max(map(len, answers.values()))
    room = Room(left=left, top=0.28, right=0.35, bottom=below + BELOW, gap=below + 0.05)
    canvas, places = Canvas.of(first.picture().shape, len(models), len(columns) + 1, width, room)
    for row, (name, (drawn, table)) in zip(places, models.items(), strict=True):
        canvas.write(row[0], 0, 0.5, name, (-6, 0), ha="right", va="center", weight="bold")
        canvas.show(row[0], drawn.picture())
        style = {"ha": "left", "va": "top", "fontsize": 8, "color": "0.3"}
        for number, line in enumerate(answers[name]):
            canvas.write(row[0], 0, 0, line, (0, -17 - 72 * LINE * number), len(line), **style)
        cells = [named[name].get(label) for label in labels] if labels else unscored_words(drawn, most)
        for place, token, label in zip(row[1:], cells, labels or [0] * most, strict=False):
            if token is None:
                canvas.write(place, 0.5, 0.5, "not named", (0, 0), ha="center", va="center", color="0.45")
                continue
            canvas.show(place, drawn.overlay(method, token, label))
            canvas.write(place, 0.5, 0, drawn.text(token), ha="center", va="top", weight="bold", fontsize=8)
            score = table[(table.token == token) & (table.metric == "obj_iou") & (table.status == "ok")]
            canvas.corner(place, f"IoU {score.value.iloc[0]:.2f}" if len(score) else "not scored")
    for place, text in zip(places[0], ["picture", *columns], strict=True):
        canvas.title(place, text)
    canvas.scale(places[0, -1])
    canvas.legend(OUTLINED)
    return canvas.figure


def _wrapped(answer: str, width: float) -> list[str]:
    """An answer in lines of some inches; one of many lines is cut."""
    letters = int((14 if answer.isascii() else 8) * width)  # of other scripts many are twice as wide
    return textwrap.wrap(f"“{answer.strip()}”", letters, max_lines=LINES, placeholder=" …")


def distributions(words: pd.DataFrame, titles: Mapping[str, str], main: str) -> Figure:
    """Every word's score as a dot, with the box of its quartiles and the mean as a diamond; a panel a metric.

    Args:
        titles: method -> title, in order. main: the method that stands out.
    """
    metrics = [metric for metric in METRICS if (words.metric == metric).any()]
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(2.3 * len(metrics) + 0.9, 0.42 * len(titles) + 1.2))
        layout = ConstrainedLayoutEngine()
        panels_ = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for place, metric in zip(panels_, metrics, strict=True):
            for y, method in enumerate(titles):
                values = words[(words.metric == metric) & (words.method == method)].value.to_numpy()
                _distribution(place, y, values, OURS if method == main else OTHERS, rasterized=len(words) > DOTS)
            number = (words.metric == metric).sum() // len(titles)
            place.set_title(f"{CATALOGUE[metric].title}  (n = {number})", fontsize=9)
            place.set_xlim(-0.02, 1.02)
            place.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            place.spines[["top", "right", "left"]].set_visible(False)
            place.tick_params(axis="y", length=0)
        panels_[0].set_ylim(len(titles) - 0.45, -0.55)
        panels_[0].set_yticks(range(len(titles)), [*titles.values()], parse_math=False)
        figure.supxlabel(
            textwrap.fill(LEGEND, int(15 * figure.get_size_inches()[0])), fontsize=8, color="0.3", x=0.01, ha="left"
        )
        layout.execute(figure)  # once, not anew for each format
    return figure


def _distribution(axes: Axes, y: float, values: np.ndarray, color: str, rasterized: bool) -> None:
    if not len(values):
        return
    jitter = np.random.default_rng(0).uniform(-0.26, 0.26, len(values))
    axes.plot(
        values, y + jitter, "o", markersize=5**0.5, color=color, alpha=min(0.5, 40 / len(values) + 0.05),
        markeredgewidth=0, zorder=1, rasterized=rasterized,
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
    rows = [part.tolist() for part in np.array_split(np.arange(len(cases)), -(-len(cases) // IN_A_ROW))]
    shapes = [[pictures[case].shape for case in row] for row in rows]
    room = Room(gap=0.55, bottom=0.5 + BELOW, between=0.16)
    canvas, places = Canvas.in_rows(shapes, 2.9 * len(rows[0]), room)
    for (drawn, row), picture, place in zip(cases, pictures, places, strict=True):
        canvas.show(place, picture)
        canvas.corner(place, f"IoU {row.value:.2f}")
        letters = int(place.width / 0.06)
        canvas.write(place, 0, 0, row.word, most=letters // 2, ha="left", va="top", weight="bold")
        style = {"ha": "left", "va": "top", "fontsize": 7, "color": "0.4"}
        canvas.write(place, 0, 0, drawn.sample.id, (0, -15), letters, **style)
        canvas.write(place, 0, 0, f"mean IoU of the sample {row.mean:.2f}", (0, -25), letters, **style)
    canvas.legend(OUTLINED)
    return canvas.figure
