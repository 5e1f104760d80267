"""Does a word's probability fall when what its map shows is taken away? From maps and a memo of log p, without a model.

``docs/explained/faithfulness.md`` defines each number and says what chance has. P of a word is the product of its
tokens' probabilities: a mean over tokens could not fall below a half where the second is sure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tam import cell_sets
from tam.cell_sets import Cells
from tam.errors import SchemaError
from tam.metrics.catalogue import POINT
from tam.perturbed import CURE, DROP, FLIP, Asked, Baseline, Perturbed, word_map
from tam.records import OK
from tam.rows import NOT_EXPLAINED, Row, missing, whole
from tam.words import FUNCTION, Word

FORWARDS = "forwards"
"""Metric, with its baseline, of rows about the answer: passes of the model."""
NOT_FROM_PICTURE = "not from the picture"
NOT_SCORED = "not scored"
DEPENDS = math.log(2)
"""Where the whole picture does not change log P by so much, shares of that change say nothing."""


@dataclass(frozen=True)
class Memo:
    """What was scored of one sample, and by which request.

    Attributes:
        words: that are probed.
    """

    id: str
    cells: Cells
    words: Sequence[Word]
    perturbed: Perturbed
    baseline: Baseline
    asked: Asked

    def logprob(self, word: Word, sets: np.ndarray) -> np.ndarray:
        """log P of a word without each of the sets, bool [set, cell]: float64 [set]; SchemaError: one is not there."""
        return self._rows(self.perturbed.logprob, sets)[:, list(word.tokens)].astype(np.float64).sum(1)

    def best(self, word: Word, sets: np.ndarray) -> np.ndarray:
        """bool [set]: whether a word's first token is the most likely one."""
        return self._rows(self.perturbed.best, sets)[:, word.tokens[0]]

    def _rows(self, values: np.ndarray, sets: np.ndarray) -> np.ndarray:
        try:
            return values[self.perturbed.rows(sets)]
        except KeyError as error:
            raise SchemaError("a set of cells was not scored", where=self.id, cure=CURE) from error

    def ends(self, word: Word) -> tuple[float, float]:
        """log P of the picture, and of its baseline."""
        picture, baseline = self.logprob(word, np.array([[False], [True]]).repeat(self.cells.count, 1)).tolist()
        return picture, baseline


def faithfulness(memo: Memo, maps: Mapping[str, np.ndarray | str]) -> dict[str, list[Row]]:
    """Rows of the probed words by method; where there are none, one row that says why.

    Args:
        maps: of each method, float [answer, cell], or why there are none.
    """
    first = "gain" if memo.asked.ordered else "loo"
    metric = f"{first}_{memo.baseline}"
    status = memo.perturbed.status
    if status != OK:
        why = f"{NOT_SCORED}: {status.removeprefix('failed: ')}" if memo.perturbed.failed else status
        return {method: [whole(metric, why)] for method in maps}
    falls = block_falls(memo) if memo.asked.blocks and memo.words else {}
    return {
        method: [whole(metric, one)]
        if isinstance(one, str)
        else [row for word in memo.words for row in _word_rows(memo, word, word_map(word, one), falls)]
        for method, one in maps.items()
    }


def image_use(memo: Memo, words: Sequence[Word]) -> list[Row]:
    """log P(picture) - log P(baseline) of probed words and, for comparison, of function words; no map is in it."""
    if memo.perturbed.status != OK:
        return []
    named = [(f"image_use_{memo.baseline}", word) for word in memo.words]
    named += [(f"image_use_function_{memo.baseline}", word) for word in words if word.label == FUNCTION]
    rows = []
    for metric, word in named:
        picture, baseline = memo.ends(word)
        rows.append(Row(word.tokens[0], word.text, word.label, metric, picture - baseline))
    return rows


def forwards(memo: Memo) -> list[Row]:
    """How many passes of the model a sample took; none where it is not scored, though an earlier request may have."""
    made = memo.perturbed
    return [whole(f"{FORWARDS}_{memo.baseline}", float(len(made.sets)))] if made.status == OK else []


def _word_rows(memo: Memo, word: Word, values: np.ndarray, falls: "Mapping[Word, Falls]") -> list[Row]:
    found: dict[str, float | str] = {}
    if np.isnan(values).any():
        return [missing(word, f"{'gain' if memo.asked.ordered else 'loo'}_{memo.baseline}", NOT_EXPLAINED)]
    if memo.asked.ordered:
        found |= by_order(memo, word, cell_sets.descending(values, memo.id, word.tokens[0]))
    if falls:
        found |= by_blocks(memo, word, values, falls)
    rows = []
    for name, value in found.items():
        base, at, fraction = name.partition(POINT)
        metric = f"{base}_{memo.baseline}{at}{fraction}"
        if isinstance(value, str):
            rows.append(missing(word, metric, value))
        else:
            rows.append(Row(word.tokens[0], word.text, word.label, metric, value))
    return rows


# ---- cells taken away, and put back, one after another


def by_order(memo: Memo, word: Word, order: np.ndarray) -> dict[str, float | str]:
    """What an order of the cells, int64 [cell], says of a word, by the metric's name without its baseline."""
    steps = cell_sets.counts(memo.cells.count, memo.asked.fractions)
    axis, sets = steps / memo.cells.count, cell_sets.taken(order, steps)
    removed, restored = memo.logprob(word, sets), memo.logprob(word, ~sets)
    deletion, insertion = (area(np.exp(curve), axis) for curve in (removed, restored))
    depends = removed[0] - removed[-1]
    drop, flip = (cell_sets.taken(order, [cell_sets.count(memo.cells.count, at)]) for at in (DROP, FLIP))
    found: dict[str, float | str] = {
        "gain": insertion - deletion,
        "deletion": deletion,
        "insertion": insertion,
        "gain_log": (area(restored, axis) - area(removed, axis)) / depends if depends >= DEPENDS else NOT_FROM_PICTURE,
        "drop16": float(np.exp(removed[0]) - np.exp(memo.logprob(word, drop)[0])),
        "flip": float(not memo.best(word, flip)[0]) if memo.best(word, sets[:1])[0] else "not the most likely",
    }
    for name, curve in (("deletion", removed), ("insertion", restored)):
        points = memo.asked.points
        for at, value in zip(points, np.interp(points, axis, np.exp(curve)).tolist(), strict=True):
            found[f"{name}{POINT}{at:g}"] = value
    return found


def area(curve: np.ndarray, axis: np.ndarray) -> float:
    """Under a curve of straight pieces; both float [step]."""
    return float(((curve[1:] + curve[:-1]) / 2 * np.diff(axis)).sum())


# ---- blocks left out, and random halves of them


@dataclass(frozen=True)
class Falls:
    """How much log P of a word falls: float64 [block] without each block, [set] without each random half."""

    blocks: np.ndarray
    halves: np.ndarray


def block_falls(memo: Memo) -> dict[Word, Falls]:
    block = memo.asked.block(memo.cells)
    sets = cell_sets.of_blocks(block), cell_sets.halves(block, memo.asked.sets, memo.id)
    return {word: Falls(*(memo.ends(word)[0] - memo.logprob(word, some) for some in sets)) for word in memo.words}


def by_blocks(memo: Memo, word: Word, values: np.ndarray, falls: Mapping[Word, Falls]) -> dict[str, float | str]:
    """What a word's map, float [cell], says of the falls of its own log P, and of other words'."""
    block = memo.asked.block(memo.cells)
    means = np.bincount(block, values) / np.bincount(block)
    own = rank_correlation(means, falls[word].blocks)
    others = [rank_correlation(means, fall.blocks) for other, fall in falls.items() if not _same(word, other)]
    found: dict[str, float | str] = {
        "loo": own,
        "specific": own - float(np.mean(others)) if others else "no other word",
    }
    if memo.asked.sets:
        sums = cell_sets.halves(block, memo.asked.sets, memo.id) @ values
        found["faith_corr"] = correlation(sums, falls[word].halves)
    return found


def _same(word: Word, other: Word) -> bool:
    """Whether two words name the same: one category, or, without one, one text."""
    return word.label == other.label if word.label > 0 else word.text.lower() == other.text.lower()


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, with average ranks; 0 where one is the same everywhere: it says nothing.

    >>> rank_correlation(np.array([1, 2, 2, 5]), np.array([0, 3, 3, 9])), rank_correlation(np.ones(3), np.arange(3))
    (1.0, 0.0)
    """
    return correlation(ranks(a), ranks(b))


def ranks(values: np.ndarray) -> np.ndarray:
    """float64: places in ascending order, from 0; equal ones share their mean."""
    _, which, numbers = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(numbers) - (numbers + 1) / 2)[which]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; 0 where one is the same everywhere."""
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return min(1.0, max(-1.0, float(a @ b) / size)) if size else 0.0
