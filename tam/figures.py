"""Figures of a run: methods side by side, tokens of a sample, distributions of scores, the lowest-scoring samples.

Each is written as PDF, SVG and PNG; the same data give the same bytes.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager

from tam import manifest
from tam.cache import Generation, read_generations
from tam.errors import InputError
from tam.manifest import Sample
from tam.maps import SampleMaps, read_maps
from tam.media import open_shown
from tam.methods import rank, title
from tam.render.colors import JET
from tam.render.overlay import Panel, mosaic, outlined, overlay, panels
from tam.render.tokens import shape
from tam.words import FUNCTION, NO_CATEGORY, OTHER

log = logging.getLogger(__name__)
METRICS = {"obj_iou": "Obj-IoU", "precision": "Precision", "recall": "Recall", "func_iou": "Func-IoU"}
ROWS, STRIP, WORST, SIDE = 4, 9, 6, 360  # words of a grid, of a strip; failures; width of a picture
SETTINGS = {"font.family": "DejaVu Sans", "font.size": 9, "svg.hashsalt": "tam"}


@dataclass(frozen=True)
class Drawn:
    """One sample with the maps of each method."""

    sample: Sample
    generation: Generation
    panels: list[Panel]
    maps: dict[str, SampleMaps]
    mask: np.ndarray | None

    def picture(self, label: int = 0) -> np.ndarray:
        """The media without a map; the object of a category is outlined."""
        return mosaic([self._outlined(panel.picture, label) for panel in self.panels])

    def overlay(self, method: str, token: int, label: int = 0) -> np.ndarray:
        """The map of a token of the answer over the media."""
        grids = self.generation.layout.split(self.maps[method].maps[len(self.generation.prompt_ids) + token])
        return mosaic([self._outlined(overlay(panel, grids), label) for panel in self.panels])

    def _outlined(self, picture: np.ndarray, label: int) -> np.ndarray:
        return picture if self.mask is None or label <= 0 else outlined(picture, self.mask == label)


def write_figures(run: Path, manifest_path: Path, out: Path) -> list[Path]:
    """Draw all figures of a run that its data allow.

    Args:
        run: folder with generate/SHARD.h5, maps/METHOD/SHARD.h5 and metrics/METHOD/SHARD.parquet.

    Returns:
        the files written. What could not be drawn is logged.

    Raises:
        InputError: there are no metrics.
    """
    out.mkdir(parents=True, exist_ok=True)
    samples = {sample.id: sample for sample in manifest.read(manifest_path)}
    table = read_metrics(run / "metrics")
    methods = [method for method in table.method.unique() if (run / "maps" / method).is_dir()]
    words, main = scored_words(table), methods[-1] if methods else ""
    worst = lowest(words[words.method == main])
    shown = example(table, samples)
    wanted = ([shown] if shown else []) + worst["sample"].tolist()
    shards = set(table[table["sample"].isin(wanted)].shard)
    drawn = dict(load(run, manifest_path, {id: samples[id] for id in wanted}, methods, sorted(shards)))

    written: list[Path] = []
    if shown in drawn:
        chosen = chosen_words(table[table["sample"] == shown], ROWS)
        written += save(methods_grid(drawn[shown], chosen, words[words["sample"] == shown]), out / "methods")
        strip = chosen_words(table[table["sample"] == shown], STRIP).sort_values("token")
        written += save(token_strip(drawn[shown], main, strip), out / "tokens")
    if not words.empty:
        written += save(distributions(words), out / "scores")
    failures = [row for row in worst.itertuples() if row.sample in drawn]
    if failures:
        written += save(failure_cases([(drawn[row.sample], row) for row in failures], main), out / "failures")
    for name in ("methods", "scores", "failures"):
        if not any(path.stem == name for path in written):
            log.warning("no figure '%s': there is no scored word for it", name)
    return written


# ---- data ------------------------------------------------------------------------------------------------------------


def read_metrics(folder: Path) -> pd.DataFrame:
    """All metrics of a run, with columns ``method`` and ``shard``, methods in the order of the ablation."""
    parts = [
        pd.read_parquet(path).assign(method=method, shard=path.stem)
        for method in sorted((path.name for path in folder.glob("*") if path.is_dir()), key=rank)
        for path in sorted((folder / method).glob("*.parquet"))
    ]
    if not parts:
        raise InputError("no metrics", where=folder, cure="run `tam metrics` first")
    return pd.concat(parts, ignore_index=True)


def scored_words(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of single words that have a value."""
    return table[(table.token >= 0) & (table.status == "ok") & table.metric.isin(METRICS)]


def lowest(words: pd.DataFrame) -> pd.DataFrame:
    """The samples of the lowest mean Obj-IoU with their lowest word: sample, mean, token, word, label, value."""
    objects = words[words.metric == "obj_iou"]
    means = objects.groupby("sample", sort=True)["value"].mean().rename("mean").sort_values(kind="stable").head(WORST)
    first = objects.sort_values(["value", "token"], kind="stable").drop_duplicates("sample")
    return means.reset_index().merge(first[["sample", "token", "word", "label", "value"]], on="sample")


def chosen_words(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Words of one sample to show: nouns of a category, other nouns, then function and other words."""
    order = {NO_CATEGORY: 1, FUNCTION: 2, OTHER: 3}
    words = rows[rows.token >= 0].drop_duplicates("token")[["token", "word", "label"]]
    words = words.assign(rank=[order.get(label, 0) for label in words.label])
    return words.sort_values(["rank", "token"], kind="stable").head(count)


def example(table: pd.DataFrame, samples: dict[str, Sample]) -> str | None:
    """The sample with the most words of a category, the first of the manifest among equals; its score plays no part."""
    words = table[table.token >= 0].drop_duplicates(["sample", "token"])
    counts = (words.label > 0).groupby(words["sample"]).sum()
    known = [id for id in samples if id in counts.index]
    return max(known, key=counts.get, default=None)


def load(
    run: Path, manifest_path: Path, wanted: dict[str, Sample], methods: Sequence[str], shards: Iterable[str]
) -> Iterator[tuple[str, Drawn]]:
    """Read some samples with their maps; failed ones are left out."""
    for shard in shards:
        maps: dict[str, dict[str, SampleMaps]] = {}
        for method in methods:
            for made in read_maps(run / "maps" / method / f"{shard}.h5"):
                if made.id in wanted and not made.failed:
                    maps.setdefault(made.id, {})[method] = made
        for generation in read_generations(run / "generate" / f"{shard}.h5"):
            if len(maps.get(generation.id, ())) == len(methods):
                sample = wanted[generation.id]
                shown = panels(generation.layout, open_shown(sample, manifest_path.parent, generation.layout), SIDE)
                yield sample.id, Drawn(sample, generation, shown, maps[sample.id], _mask(sample, manifest_path))


def _mask(sample: Sample, manifest_path: Path) -> np.ndarray | None:
    path = manifest.resolve(sample.mask, manifest_path) if sample.mask else None
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path is not None and path.is_file() else None


# ---- drawing ---------------------------------------------------------------------------------------------------------


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


def _write(axes: Axes, x: float, y: float, text: str, points: tuple[float, float] = (0, -3), **style) -> None:
    """Text beside a place of an axes, ``points`` away from it."""
    shown, families = _text(text)
    where = {"xy": (x, y), "xytext": points, "xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(shown, **where, family=families, parse_math=False, **style)


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
    for place, name in zip(axes[0], ["picture", *(title(method) for method in methods)], strict=True):
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


def distributions(words: pd.DataFrame) -> Figure:
    """Every word's score as a dot, with the box of its quartiles and the mean as a diamond; a panel a metric."""
    metrics = [metric for metric in METRICS if (words.metric == metric).any()]
    methods = sorted(words.method.unique(), key=rank)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(2.3 * len(metrics) + 0.9, 0.42 * len(methods) + 0.95), layout="constrained")
        panels_ = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for place, metric in zip(panels_, metrics, strict=True):
            for y, method in enumerate(methods):
                values = words[(words.metric == metric) & (words.method == method)].value.to_numpy()
                _distribution(place, y, values, "#c0392b" if method == "tam" else "#34495e")
            number = (words.metric == metric).sum() // len(methods)
            place.set_title(f"{METRICS[metric]}  (n = {number})", fontsize=9)
            place.set_xlim(-0.02, 1.02)
            place.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            place.spines[["top", "right", "left"]].set_visible(False)
            place.tick_params(axis="y", length=0)
        panels_[0].set_ylim(len(methods) - 0.45, -0.55)
        panels_[0].set_yticks(range(len(methods)), [title(method) for method in methods])
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


def failure_cases(cases: Sequence[tuple[Drawn, object]], method: str) -> Figure:
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
