"""What the figures show: metrics of a run, samples with their maps, and the rules by which both are chosen."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from tam.errors import TamError
from tam.label_map import outlined_map
from tam.manifest import Sample
from tam.media import open_shown
from tam.metrics.catalogue import POINT, POOLED
from tam.protocol import FIXED
from tam.records import Generation, SampleMaps
from tam.render import answer
from tam.render.overlay import Panel, mosaic, outlined, overlay, panels
from tam.rows import opened
from tam.run import RunFiles, main_method, read_pairs, sample_of
from tam.words import FUNCTION, NO_CATEGORY, OTHER, answer_words

log = logging.getLogger(__name__)
METRICS = ("obj_iou", "precision", "recall", "func_iou")  # whose distributions are drawn
WORST, SIDE = 6, 360  # failures; width of a picture


@dataclass(frozen=True)
class Drawn:
    """One sample with the maps of each method that has some; ``titles``: of all methods."""

    sample: Sample
    generation: Generation
    panels: list[Panel]
    titles: Mapping[str, str]
    maps: dict[str, SampleMaps]
    mask: np.ndarray | None

    @cached_property
    def words(self) -> dict[int, list[int]]:
        """First token of each word of the answer -> all its tokens, counted from the answer's first."""
        start = len(self.generation.prompt_ids)
        found = [[token - start for token in tokens] for tokens in answer.word_tokens(self.generation)]
        return {tokens[0]: tokens for tokens in found if tokens[0] >= 0}

    def explains(self, method: str, token: int) -> bool:
        """Whether a method says something of the word that begins with a token of the answer."""
        if method not in self.maps:
            return False
        explained = self.maps[method].explained
        return explained is None or bool(explained[self._rows(token)].any())

    def _rows(self, token: int) -> np.ndarray:
        return len(self.generation.prompt_ids) + np.asarray(self.words.get(token, [token]))

    def text(self, token: int) -> str:
        """The word that begins with a token of the answer, as it is written; bytes without a character escaped."""
        ids = self.generation.answer_ids[self.words.get(token, [token])]
        text = b"".join(self.generation.vocabulary[int(id)].bytes for id in ids)
        return text.decode("utf-8", "surrogateescape").strip()

    def picture(self, label: int = 0) -> np.ndarray:
        """The media without a map; the object of a category is outlined."""
        return mosaic([self._outlined(panel.picture, label) for panel in self.panels])

    def overlay(self, method: str, token: int, label: int = 0) -> np.ndarray:
        """The map of the word that begins with a token of the answer, over the media."""
        return mosaic([self.panel(method, token, panel, label) for panel in self.panels])

    def panel(self, method: str, token: int, panel: Panel, label: int = 0) -> np.ndarray:
        """The same over one picture or frame. A word's map is the mean of its tokens', as on the page."""
        if not self.explains(method, token):
            return self._outlined(panel.picture, label)
        rows = self.maps[method].maps[self._rows(token)]
        grids = self.generation.layout.split(rows.mean(0, dtype=np.float32))
        return self._outlined(overlay(panel, grids), label)

    def _outlined(self, picture: np.ndarray, label: int) -> np.ndarray:
        return picture if self.mask is None or label <= 0 else outlined(picture, self.mask == label)


def read_metrics(run: RunFiles) -> pd.DataFrame:
    """The rows of a run about words, answers and curves, those of evidence apart, with a column ``shard``: the place of
    their file among those of the run."""
    parts = []
    for shard, path in enumerate(run.metrics):
        with opened(path) as (_, file):
            parts.append(file.read().to_pandas().assign(shard=shard))
    table = pd.concat(parts, ignore_index=True)
    kept = table.metric.isin(["answer", "word", *POOLED]) | table.metric.str.contains(POINT, regex=False)
    return table[kept].reset_index(drop=True)


def scored_words(table: pd.DataFrame, methods: Collection[str]) -> pd.DataFrame:
    """Rows of single words that have a value by one of the methods."""
    scored = (table.token >= 0) & (table.status == "ok") & table.metric.isin(METRICS)
    return table[scored & table.method.isin([*methods])]


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


def compared_words(rows: pd.DataFrame) -> pd.DataFrame:
    """Words of one sample by which methods are compared: two nouns, of two categories where it has them, and a function
    word, the first behind the first noun; else as ``chosen_words``."""
    words = chosen_words(rows, len(rows))
    named = words[words["rank"] == 0]
    nouns = (
        pd.concat([named.drop_duplicates("label"), named, words[words["rank"] == 1]]).drop_duplicates("token").head(2)
    )
    functions = words[words["rank"] == 2]
    if nouns.empty or functions.empty:
        return words.head(3)
    behind = functions[functions.token > nouns.token.min()]
    return pd.concat([nouns.sort_values("token"), (functions if behind.empty else behind).head(1)])


def unscored_words(drawn: Drawn, count: int) -> list[int]:
    """First tokens of the words to show of an answer without scored ones: by the same rule, each once, in its order."""
    return sorted(chosen_words(_read_words(drawn).drop_duplicates("word"), count).token)


def named_words(drawn: Drawn, table: pd.DataFrame) -> dict[int, int]:
    """Category that an answer names -> the first token of a word that does, a scored one first.

    Args:
        table: the sample's rows; without rows of words, as where nothing could be scored, the answer is read.
    """
    words = table[table.token >= 0]
    words = words.assign(late=words.status != "ok") if len(words) else _read_words(drawn).assign(late=False)
    named = words[words.label > 0].sort_values(["late", "token"], kind="stable").drop_duplicates("label")
    return dict(zip(named.label.astype(int).tolist(), named.token.astype(int).tolist(), strict=True))


def _read_words(drawn: Drawn) -> pd.DataFrame:
    """The words of an answer: first token, text, label."""
    from tam.tagging import choose  # loads NLTK, which most figures do without

    words = answer_words(drawn.generation, drawn.generation.answer_ids, drawn.sample.categories, choose(), FIXED)
    return pd.DataFrame([(word.tokens[0], word.text, word.label) for word in words], columns=["token", "word", "label"])


def example(table: pd.DataFrame, samples: dict[str, Sample]) -> str | None:
    """The sample with the most words of a category, the first of the manifest among equals; its score plays no part."""
    words = table[table.token >= 0].drop_duplicates(["sample", "token"])
    counts = (words.label > 0).groupby(words["sample"]).sum()
    known = [id for id in samples if id in counts.index]
    return max(known, key=counts.get, default=None)


def first_of(samples: dict[str, Sample], table: pd.DataFrame, wanted: str) -> str | None:
    """The first sample of a kind that has an answer: "video", or "images" with more than one picture."""
    answered = set(table[(table.metric == "answer") & ~table.status.str.startswith("failed")]["sample"])
    return next(
        (
            id
            for id, sample in samples.items()
            if id in answered and sample.kind == wanted and (wanted == "video" or len(sample.media) > 1)
        ),
        None,
    )


def shared_samples(tables: Sequence[pd.DataFrame], samples: dict[str, Sample]) -> list[str]:
    """Samples that all models answered, first those whose answers name the most categories alike."""
    named = []
    for table in tables:
        words = table[table.token >= 0]
        named.append({id: set(group[group.label > 0].label) for id, group in words.groupby("sample")})
    answered = set.intersection(*(
        set(table[(table.metric == "answer") & ~table.status.str.startswith("failed")]["sample"]) for table in tables
    ))  # fmt: skip

    def rank_of(id: str) -> tuple[int, int]:
        labels = [each.get(id, set()) for each in named]
        return -len(set.intersection(*labels)), -len(set.union(*labels))

    return sorted((id for id in samples if id in answered), key=rank_of)


def load(
    run: RunFiles, listed: Sequence[Sample], wanted: Collection[str], titles: Mapping[str, str], shards: Iterable[int]
) -> Iterator[Drawn]:
    """Read some samples with their maps; left out are failed ones, those on which the main method failed, and, with a
    line in the log, those whose media are gone.

    Args:
        listed: the manifest. wanted: ids of the samples. titles: of the methods whose maps are read.
    """
    rows = {row for row, sample in enumerate(listed) if sample.id in wanted}
    for shard in shards:
        for generation, maps in read_pairs(run.generation[shard], run.maps[shard], [*titles], rows):
            sample, layout = sample_of(generation, listed, run.samples_file), generation.layout
            if generation.failed or maps[main_method(titles)].failed:
                continue
            try:
                shown = panels(layout, open_shown(sample, run.samples_file.parent, layout), SIDE)
            except TamError as error:
                log.warning("%r: not drawn: %s", sample.id, error)
                continue
            there = {name: one for name, one in maps.items() if not one.failed}
            yield Drawn(sample, generation, shown, titles, there, outlined_map(sample, layout, run.samples_file))


def correlations(maps: np.ndarray) -> np.ndarray:
    """Pearson correlation of each two rows of [token, vision]; NaN where a row is the same everywhere."""
    rows = np.nan_to_num(np.asarray(maps, np.float64))
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(lengths > 1e-9, lengths, np.nan)[:, None]
    return np.clip(unit @ unit.T, -1, 1)
