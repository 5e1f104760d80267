"""Can a number tell two kinds of words apart? The area under the ROC curve, and a logistic regression of numbers."""

import numpy as np

FOLDS = 5
PENALTY = 1.0
"""On half the squared weights of standardised numbers: where words can be told apart without error, weights stay
finite."""


def auroc(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None, kind: np.ndarray | None = None
) -> np.ndarray:
    """The chance that a positive has a higher score than a negative; ties count half. NaN where one of them is missing.

    Args:
        scores: float [word]. positive: bool [word].
        weights: float [draw, word], how often each word was drawn; None: once, in one draw.
        kind: [word]: only words of one kind are compared; None: all.

    Returns:
        float64 [draw].

    >>> auroc(np.array([1, 1, 2]), np.array([False, True, True])).tolist()
    [0.75]
    """
    weights = np.ones((1, len(scores))) if weights is None else weights
    kind = np.zeros(len(scores), int) if kind is None else kind
    won, pairs = np.zeros((2, len(weights)))
    for one in np.unique(kind):
        chosen = kind == one
        its_won, its_pairs = _pairs(scores[chosen], positive[chosen], weights[:, chosen])
        won, pairs = won + its_won, pairs + its_pairs
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def _pairs(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[draw] each: the pairs in which the positive has the higher score, and all pairs."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    drawn, of_it = weights[:, order], positive[order]
    hits, misses = (np.add.reduceat(drawn * wanted, first, axis=1) for wanted in (of_it, ~of_it))
    below = np.cumsum(misses, axis=1) - misses
    return (hits * (below + misses / 2)).sum(1), hits.sum(1) * misses.sum(1)


def folds(groups: np.ndarray, seed: int = 0, count: int = FOLDS) -> np.ndarray:
    """int [word]: which part each word is predicted in; no group is in two. It does not depend on the order of words.

    Args:
        groups: [word], the image, or the category, of each.
    """
    known, group = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(known)) % count)[group]


def held_out(numbers: np.ndarray, positive: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """float64 [word]: what a logistic regression of the other folds' words says of each; NaN where these are all of one
    kind.

    Args:
        numbers: float [word, number]. positive: bool [word]. fold: int [word].
    """
    said = np.full(len(numbers), np.nan)
    for part in np.unique(fold):
        known, asked = fold != part, fold == part
        if 0 < positive[known].sum() < known.sum():
            mean, spread = numbers[known].mean(0), numbers[known].std(0)
            scaled = (numbers - mean) / np.where(spread > 0, spread, 1)
            weights = logistic(scaled[known], positive[known])
            said[asked] = weights[0] + scaled[asked] @ weights[1:]
    return said


def logistic(numbers: np.ndarray, positive: np.ndarray, penalty: float = PENALTY) -> np.ndarray:
    """float64 [1 + number]: constant and weights of a logistic regression, by Newton's method; the constant is free."""
    design = np.column_stack([np.ones(len(numbers)), numbers])
    ridge = np.diag([0.0, *[penalty] * numbers.shape[1]])
    weights = np.zeros(design.shape[1])
    loss = _loss(design, positive, ridge, weights)
    for _ in range(100):
        chance = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (chance - positive) + ridge @ weights
        bend = (design * (chance * (1 - chance))[:, None]).T @ design + ridge
        step = np.linalg.lstsq(bend, slope, rcond=None)[0]
        while (new := _loss(design, positive, ridge, weights - step)) > loss:
            step /= 2
            if np.abs(step).max() < 1e-10:
                return weights
        weights, loss = weights - step, new
        if np.abs(step).max() < 1e-10:
            return weights
    return weights


def _loss(design: np.ndarray, positive: np.ndarray, ridge: np.ndarray, weights: np.ndarray) -> float:
    said = design @ weights
    return float(np.logaddexp(0, said).sum() - said[positive].sum() + weights @ ridge @ weights / 2)
