"""How focused is a map? Three numbers about the map alone, for every word, whether or not there is a mask.

They say nothing of where: a control that lights one random cell is as focused as can be.
"""

from collections.abc import Sequence

import numpy as np

from tam.metrics.catalogue import FOCUS_METRICS
from tam.rows import Row, missing
from tam.words import Word

ZERO = "zero map"


def focus(words: Sequence[Word], maps: np.ndarray) -> list[Row]:
    """Three rows a word: the mean over its tokens' maps, float [answer, rows, columns], that are not 0 everywhere.

    NaN and negative values count as 0. A word without such a map has the status "zero map".
    """
    flat = np.fmax(maps.reshape(len(maps), -1).astype(np.float64), 0)
    lit: np.ndarray = flat.max(1) > 0
    values = np.full((len(maps), len(FOCUS_METRICS)), np.nan)
    values[lit] = np.stack([entropy(flat[lit]), gini(flat[lit]), top_mass(flat[lit])], 1)
    rows = []
    for word in words:
        tokens = [token for token in word.tokens if lit[token]]
        if tokens:
            found = values[tokens[0]] if len(tokens) == 1 else values[tokens].mean(0)
            pairs = zip(FOCUS_METRICS, found.tolist(), strict=True)
            rows += [Row(word.tokens[0], word.text, word.label, metric, value) for metric, value in pairs]
        else:
            rows += [missing(word, metric, ZERO) for metric in FOCUS_METRICS]
    return rows


def entropy(maps: np.ndarray) -> np.ndarray:
    """Shannon's entropy of each map as a distribution over its cells, by its greatest: 0 one cell, 1 uniform.

    Complexity of Bhatt et al.: Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020, divided by the
    logarithm of the number of cells. A map of one cell has 0.

    Args:
        maps: float [map, cell], not negative, none 0 everywhere; so for the other two.
    """
    if maps.shape[1] == 1:
        return np.zeros(len(maps))
    shares = maps / maps.sum(1, keepdims=True)
    return np.clip(-(shares * np.log(np.where(shares > 0, shares, 1))).sum(1) / np.log(maps.shape[1]), 0, 1)


def gini(maps: np.ndarray) -> np.ndarray:
    """Gini's index of each map: 0 uniform, 1 - 1 / cells for one cell.

    Sparseness of Chalasani et al.: Concise Explanations of Neural Networks using Adversarial Training, ICML 2020, after
    Hurley and Rickard: Comparing Measures of Sparsity, 2009.
    """
    cells = maps.shape[1]
    place = np.arange(1, cells + 1)
    weights = (2 * place - cells - 1) / cells
    return np.clip(np.sort(maps, 1) @ weights / maps.sum(1), 0, 1)


def top_mass(maps: np.ndarray, share: float = 0.2) -> np.ndarray:
    """Share of the mass in the highest fifth of the cells (rounded up): 0.2 uniform, 1 if all mass is there.

    In use as a scalar of TAM maps in work on distillation; no paper defines it.
    """
    kept = int(np.ceil(share * maps.shape[1]))
    return np.clip(np.partition(maps, -kept, 1)[:, -kept:].sum(1) / maps.sum(1), 0, 1)
