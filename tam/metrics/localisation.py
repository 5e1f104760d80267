"""Does a word's map lie on what the word names? Obj-IoU, Func-IoU, precision and recall.

The published protocol (arXiv 2506.23270, equations 8-10): a map is resized to the mask and cut at Otsu's threshold;
of a noun's tokens the best counts; a function word should stay below the mean threshold of the nouns everywhere.
What else is measured of a noun (counts.py, pointing.py) is measured of that same token.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tam.metrics.counts import (
    Counts,
    count,
    pixel_average_precision,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
)
from tam.metrics.pointing import Box, object_boxes, pointing, pointing_box
from tam.protocol import Protocol
from tam.rows import Row, missing
from tam.words import FUNCTION, NO_CATEGORY, Word

OBJECT_METRICS = (
    "obj_iou", "precision", "recall", "pointing", "pointing_box", "relevance_mass", "relevance_rank", "pxap",
)  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """A map against a mask: ``precision`` is None where nothing lies above the threshold."""

    obj_iou: float
    precision: float | None
    recall: float


@dataclass(frozen=True)
class Localisation:
    """Rows of a sample, and Otsu's threshold of every map that was cut, in that order."""

    rows: list[Row]
    thresholds: list[float]


def localise(
    words: Sequence[Word],
    uint8: np.ndarray,
    maps: np.ndarray,
    mask: np.ndarray | None,
    protocol: Protocol,
    *,
    size: tuple[int, int] | None = None,
    box: Box | None = None,
    missing_mask: str = "no mask",
) -> Localisation:
    """Score the words of one sample with one picture.

    Args:
        words: in the order of the answer; their tokens index the maps.
        uint8: uint8 [answer, rows, columns], what thresholds are taken of.
        maps: float [answer, rows, columns], what peaks are taken of; NaN counts as 0.
        mask: uint8 [height, width] of category ids, or None: objects are unscored, status ``missing_mask``.
        size: (width, height) that maps are resized to where there is no mask; None for their own.
        box: the part of the mask, or of ``size``, that the maps cover; None for all of it.

    Returns:
        rows in the order of the words; words that are neither nouns nor function words have none.
    """
    size = (size or uint8.shape[:0:-1]) if mask is None else mask.shape[::-1]
    box = box or (0, 0, *size)
    targets = {} if mask is None else {label: mask == label for label in {word.label for word in words} if label > 0}
    present = {label for label, target in targets.items() if target.any()}

    thresholds: list[float] = []  # a map each
    noun_thresholds: list[float] = []  # a word each
    scored: list[tuple[int, _Scored]] = []  # index of the word
    status: dict[int, str] = {}
    for index, word in enumerate(words):
        if word.label <= 0 and word.label != NO_CATEGORY:
            continue
        if word.label == NO_CATEGORY:
            status[index] = "no category"
        elif mask is None:
            status[index] = missing_mask
        elif word.label not in present:
            status[index] = "not in image"
        cut = [otsu(uint8[token], box) for token in word.tokens]
        thresholds += [threshold for threshold, _ in cut]
        noun_thresholds.append(max(threshold for threshold, _ in cut))
        if index not in status:
            candidates = []
            for token, (threshold, resized) in zip(word.tokens, cut, strict=True):
                counts = count(on_picture(resized, size, box), targets[word.label])
                candidates.append(_Scored(token, counts, score(counts, threshold)))
            scored.append((index, max(candidates, key=lambda candidate: candidate.scores.obj_iou)))
        repeats = word.label > 0 and index > 0 and words[index - 1].label == word.label
        if repeats and len(scored) > 1 and (index not in status or protocol.merge_across_absent_labels):
            worse = -2 if scored[-1][1].scores.obj_iou > scored[-2][1].scores.obj_iou else -1
            status[scored.pop(worse)[0]] = "merged"

    found = dict(scored)
    limit = np.mean(noun_thresholds) if noun_thresholds else None
    boxes: dict[int, np.ndarray] = {}
    rows = []
    for index, word in enumerate(words):
        if index in found:
            label, map_ = word.label, maps[found[index].token]
            on_mask = pointing(map_, targets[label], box)
            if not on_mask and label not in boxes:  # a pixel of the object is in its box
                boxes[label] = object_boxes(targets[label])
            in_box = on_mask or pointing_box(map_, boxes[label], box)
            rows += _object_rows(word, found[index], on_mask, in_box, protocol)
        elif index in status:
            rows += [missing(word, metric, status[index]) for metric in OBJECT_METRICS]
        else:
            rows += _other_rows(word, uint8, limit)
    return Localisation(rows, thresholds)


@dataclass(frozen=True)
class _Scored:
    token: int
    counts: Counts
    scores: Scores


def _object_rows(word: Word, best: _Scored, on_mask: float, in_box: float, protocol: Protocol) -> list[Row]:
    counts, scores = best.counts, best.scores
    values = {
        "obj_iou": scores.obj_iou,
        "precision": scores.precision,
        "recall": scores.recall,
        "pointing": on_mask,
        "pointing_box": in_box,
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


def _other_rows(word: Word, uint8: np.ndarray, limit: float | None) -> list[Row]:
    if word.label == FUNCTION and limit is None:
        return [missing(word, "func_iou", "no noun")]
    if word.label == FUNCTION:
        value = func_iou(uint8[list(word.tokens)], limit)
        return [Row(word.tokens[0], word.text, word.label, "func_iou", value)]
    return [] if word.tag else [missing(word, "word", "unknown word")]


def otsu(uint8: np.ndarray, box: Box) -> tuple[float, np.ndarray]:
    """Resize a uint8 [rows, columns] map bilinearly to the size of ``box``.

    Returns:
        Otsu's threshold of it, and the resized map.
    """
    left, top, right, bottom = box
    resized = cv2.resize(uint8, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    threshold, _ = cv2.threshold(resized, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return threshold, resized


def on_picture(resized: np.ndarray, size: tuple[int, int], box: Box) -> np.ndarray:
    """A resized map on a picture of ``size`` (width, height): uint8 [height, width], 0 where there is no map."""
    width, height = size
    left, top, right, bottom = box
    if box == (0, 0, width, height):
        return resized
    canvas = np.zeros((height, width), np.uint8)
    x, y, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    canvas[y:bottom, x:right] = resized[y - top : bottom - top, x - left : right - left]
    return canvas


def score(counts: Counts, threshold: float) -> Scores:
    """Scores of a map that is cut at ``threshold``; the object must not be empty."""
    predicted, hit = counts.above(threshold)
    total = int(counts.inside.sum())
    return Scores(
        obj_iou=hit / (predicted + total - hit),
        precision=hit / predicted if predicted else None,
        recall=hit / total,
    )


def func_iou(uint8: np.ndarray, threshold: float) -> float:
    """Share of cells below ``threshold``, mean over the word's maps, uint8 [token, rows, columns]."""
    return float((uint8 < threshold).mean())
