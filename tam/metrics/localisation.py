"""Does a word's map lie on what the word names? Obj-IoU, Func-IoU, precision and recall.

The published protocol (arXiv 2506.23270, equations 8-10): a map is resized to the label map and cut at Otsu's
threshold; of a noun's tokens the best counts; a function word should stay below the mean threshold of the nouns
everywhere. What else is measured of a noun (counts.py, pointing.py) is measured of that same token.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tam.metrics.catalogue import OBJECT_METRICS
from tam.metrics.counts import (
    Counts,
    count,
    pixel_average_precision,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    together,
)
from tam.metrics.picture import Box, Picture, Target
from tam.metrics.pointing import peak, pointing, pointing_box
from tam.protocol import Protocol
from tam.rows import Row, missing
from tam.words import FUNCTION, NO_CATEGORY, Word


@dataclass(frozen=True)
class Scores:
    """A map against a mask: ``precision`` is None where nothing lies above the threshold."""

    obj_iou: float
    precision: float | None
    recall: float


@dataclass(frozen=True)
class Scored:
    """The token that counts for a noun."""

    token: int
    counts: Counts
    scores: Scores


@dataclass(frozen=True)
class Localisation:
    """Rows of a sample, and Otsu's threshold of every map that was cut, in that order."""

    rows: list[Row]
    thresholds: list[float]


def localise(
    words: Sequence[Word],
    uint8: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    pictures: Sequence[Picture],
    protocol: Protocol,
) -> Localisation:
    """Score the words of one sample. Several pictures, or frames, are scored as one: their pixels and cells together.

    Args:
        words: in the order of the answer; their tokens index the maps.
        uint8: uint8 [answer, rows, columns] of each picture, what thresholds are taken of.
        maps: float [answer, rows, columns] of each, what peaks are taken of; NaN counts as 0.

    Returns:
        rows in the order of the words; words that are neither nouns nor function words have none.
    """
    statuses = unscored(words, pictures[0])
    thresholds, counts = cut_at_otsu(words, uint8, pictures, statuses)
    best = best_tokens(words, thresholds, counts)
    statuses |= dict.fromkeys(merged(words, best, protocol), "merged")

    limit = function_limit(words, thresholds)
    below = None if limit is None else [values < limit for values in uint8]
    shown = [picture.shown for picture in pictures]
    rows: list[Row] = []
    for index, word in enumerate(words):
        if index in statuses:
            rows += [missing(word, metric, statuses[index]) for metric in OBJECT_METRICS]
        elif index in best:
            number, point = peak(
                [one[best[index].token] for one in maps],
                [picture.box for picture in pictures],
                [picture.targets[word.label].pixels.shape[::-1] for picture in pictures],
            )
            rows += _object_rows(word, best[index], pictures[number].targets[word.label], point, protocol)
        elif word.label == FUNCTION:
            rows.append(_function_row(word, below, shown))
        elif not word.tag:
            rows.append(missing(word, "word", "unknown word"))
    return Localisation(rows, list(thresholds.values()))


def is_noun(word: Word) -> bool:
    return word.label > 0 or word.label == NO_CATEGORY


def unscored(words: Sequence[Word], picture: Picture) -> dict[int, str]:
    """The nouns that name nothing on a picture, by their place in the answer, and why; all pictures say the same."""
    found = {}
    for index, word in enumerate(words):
        if word.label == NO_CATEGORY:
            found[index] = "no category"
        elif word.label > 0 and word.label not in picture.targets:
            found[index] = picture.missing or "not in image"
    return found


def cut_at_otsu(
    words: Sequence[Word], uint8: Sequence[np.ndarray], pictures: Sequence[Picture], without: Collection[int]
) -> tuple[dict[int, float], dict[int, Counts]]:
    """The maps of all nouns, resized bilinearly to each picture's box.

    Args:
        without: places of the nouns that are not scored.

    Returns:
        by token, Otsu's threshold of each; and of those that are scored, how often each value occurs.
    """
    thresholds, counts = {}, {}
    for index, word in enumerate(words):
        for token in word.tokens if is_noun(word) else ():
            resized = [_resized(one[token], picture.box) for one, picture in zip(uint8, pictures, strict=True)]
            pixels = resized[0] if len(resized) == 1 else np.concatenate([one.ravel() for one in resized])
            thresholds[token], _ = cv2.threshold(pixels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
            if index not in without:
                counts[token] = together([
                    count(one, picture.box, picture.targets[word.label])
                    for one, picture in zip(resized, pictures, strict=True)
                ])  # fmt: skip
    return thresholds, counts


def _resized(map_: np.ndarray, box: Box) -> np.ndarray:
    left, top, right, bottom = box
    return cv2.resize(map_, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)


def best_tokens(
    words: Sequence[Word], thresholds: Mapping[int, float], counts: Mapping[int, Counts]
) -> dict[int, Scored]:
    """Of each noun that is scored, by its place, the token with the highest Obj-IoU; the first of equals."""
    found = {}
    for index, word in enumerate(words):
        scored = [
            Scored(token, counts[token], score(counts[token], thresholds[token]))
            for token in word.tokens
            if token in counts
        ]
        if scored:
            found[index] = max(scored, key=lambda one: one.scores.obj_iou)
    return found


def merged(words: Sequence[Word], best: Mapping[int, Scored], protocol: Protocol) -> list[int]:
    """Places of words that a neighbour with the same label stands for ("traffic light"): its Obj-IoU is higher.

    The earlier stays on ties. The published code compares the last two scores even where neither is of that label.
    """
    kept: list[int] = []
    found = []
    for index, word in enumerate(words):
        if index in best:
            kept.append(index)
        repeats = word.label > 0 and index > 0 and words[index - 1].label == word.label
        if repeats and len(kept) > 1 and (index in best or protocol.merge_across_absent_labels):
            before, last = (best[place].scores.obj_iou for place in kept[-2:])
            found.append(kept.pop(-2 if last > before else -1))
    return found


def function_limit(words: Sequence[Word], thresholds: Mapping[int, float]) -> float | None:
    """What the maps of function words should stay below: of each noun the highest threshold, in the mean."""
    highest = [max(thresholds[token] for token in word.tokens) for word in words if is_noun(word)]
    return float(np.mean(highest)) if highest else None


def score(counts: Counts, threshold: float) -> Scores:
    """Scores of a map that is cut at ``threshold``; the object must not be empty."""
    predicted, hit = counts.above(threshold)
    total = int(counts.inside.sum())
    return Scores(
        obj_iou=hit / (predicted + total - hit),
        precision=hit / predicted if predicted else None,
        recall=hit / total,
    )


def func_iou(word: Word, below: Sequence[np.ndarray], shown: Sequence[np.ndarray]) -> float:
    """Share of the cells of the word's maps that are below the limit.

    Args:
        below: bool [token, rows, columns] of each picture: which are.
        shown: float [rows, columns] of each: the part of a cell that counts.
    """
    tokens = list(word.tokens)
    part = sum(float((cells[tokens] * parts).sum()) for cells, parts in zip(below, shown, strict=True))
    return part / (len(tokens) * sum(float(parts.sum()) for parts in shown))


def _object_rows(
    word: Word, best: Scored, target: Target, point: tuple[int, int] | None, protocol: Protocol
) -> list[Row]:
    counts, scores = best.counts, best.scores
    on_object = pointing(point, target)
    values = {
        "obj_iou": scores.obj_iou,
        "precision": scores.precision,
        "recall": scores.recall,
        "pointing": on_object,
        "pointing_box": on_object or pointing_box(point, target),  # a pixel of the object is in a box of it
        "relevance_mass": relevance_mass_accuracy(counts),
        "relevance_rank": relevance_rank_accuracy(counts),
        "pxap": pixel_average_precision(counts),
    }
    if scores.precision is None and protocol.undefined_precision_in_means:
        values["precision"] = math.nan
    return [
        missing(word, metric, "undefined precision")
        if value is None
        else Row(word.tokens[0], word.text, word.label, metric, value)
        for metric, value in values.items()
    ]


def _function_row(word: Word, below: Sequence[np.ndarray] | None, shown: Sequence[np.ndarray]) -> Row:
    if below is None:
        return missing(word, "func_iou", "no noun")
    return Row(word.tokens[0], word.text, word.label, "func_iou", func_iou(word, below, shown))
