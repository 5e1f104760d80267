"""Does a word's map lie on what the word names? Obj-IoU, Func-IoU, precision, recall and the pointing game.

The published protocol (arXiv 2506.23270, equations 8-10): a map is resized to the mask and cut at Otsu's threshold;
of a noun's tokens the best counts; a function word should stay below the mean threshold of the nouns everywhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tam.metrics.rows import OK, Row, whole
from tam.protocol import Protocol
from tam.words import FUNCTION, NO_CATEGORY, Word

OBJECT_METRICS = ("obj_iou", "precision", "recall", "pointing")

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels of the mask."""


@dataclass(frozen=True)
class Scores:
    """A map against a mask: ``precision`` is None where nothing lies above the threshold."""

    obj_iou: float
    precision: float | None
    recall: float
    pointing: float


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
    missing: str = "no mask",
) -> Localisation:
    """Score the words of one sample with one picture.

    Args:
        words: in the order of the answer; their tokens index the maps.
        uint8: uint8 [answer, rows, columns], what thresholds are taken of.
        maps: float [answer, rows, columns], what peaks are taken of; NaN counts as 0.
        mask: uint8 [height, width] of category ids, or None, which leaves objects unscored with status ``missing``.
        size: (width, height) that maps are resized to where there is no mask; None for their own.
        box: the part of the mask, or of ``size``, that the maps cover; None for all of it.

    Returns:
        rows in the order of the words; words that are neither nouns nor function words have none.
    """
    size = (size or uint8.shape[:0:-1]) if mask is None else mask.shape[::-1]
    box = box or (0, 0, *size)
    targets = {} if mask is None else {label: mask == label for label in {word.label for word in words} if label > 0}

    thresholds: list[float] = []  # a map each
    noun_thresholds: list[float] = []  # a word each
    scored: list[tuple[int, Scores]] = []  # index of the word
    status: dict[int, str] = {}
    for index, word in enumerate(words):
        if word.label <= 0 and word.label != NO_CATEGORY:
            continue
        target = targets.get(word.label)
        if word.label == NO_CATEGORY:
            status[index] = "no category"
        elif mask is None:
            status[index] = missing
        elif not target.any():
            status[index] = "not in image"
        cut = [otsu(uint8[token], size, box) for token in word.tokens]
        thresholds += [threshold for threshold, _ in cut]
        noun_thresholds.append(max(threshold for threshold, _ in cut))
        if index not in status:
            pairs = zip(word.tokens, cut, strict=True)
            candidates = [score(above, target, maps[token], box) for token, (_, above) in pairs]
            scored.append((index, max(candidates, key=lambda scores: scores.obj_iou)))
        repeats = word.label > 0 and index > 0 and words[index - 1].label == word.label
        if repeats and len(scored) > 1 and (index not in status or protocol.merge_across_absent_labels):
            worse = -2 if scored[-1][1].obj_iou > scored[-2][1].obj_iou else -1
            status[scored.pop(worse)[0]] = "merged"

    found = dict(scored)
    limit = np.mean(noun_thresholds) if noun_thresholds else None
    rows = []
    for index, word in enumerate(words):
        if index in found:
            rows += _object_rows(word, found[index], protocol)
        elif index in status:
            rows += [_row(word, metric, math.nan, status[index]) for metric in OBJECT_METRICS]
        else:
            rows += _other_rows(word, uint8, limit)
    return Localisation(rows, thresholds)


def _row(word: Word, metric: str, value: float, status: str) -> Row:
    return Row(word.tokens[0], word.text, word.label, metric, value, status)


def _object_rows(word: Word, scores: Scores, protocol: Protocol) -> list[Row]:
    precision, status = scores.precision, OK
    if precision is None:
        precision, status = math.nan, OK if protocol.undefined_precision_in_means else "undefined precision"
    return [
        _row(word, "obj_iou", scores.obj_iou, OK),
        _row(word, "precision", precision, status),
        _row(word, "recall", scores.recall, OK),
        _row(word, "pointing", scores.pointing, OK),
    ]


def _other_rows(word: Word, uint8: np.ndarray, limit: float | None) -> list[Row]:
    if word.label == FUNCTION and limit is None:
        return [_row(word, "func_iou", math.nan, "no noun")]
    if word.label == FUNCTION:
        return [_row(word, "func_iou", func_iou(uint8[list(word.tokens)], limit), OK)]
    return [] if word.tag else [_row(word, "word", math.nan, "unknown word")]


def otsu(uint8: np.ndarray, size: tuple[int, int], box: Box) -> tuple[float, np.ndarray]:
    """Resize a uint8 [rows, columns] map bilinearly to ``box`` and cut it at Otsu's threshold.

    Returns:
        the threshold, and what lies above it on a picture of ``size`` (width, height): bool [height, width].
    """
    left, top, right, bottom = box
    resized = cv2.resize(uint8, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    threshold, above = cv2.threshold(resized, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    width, height = size
    if box == (0, 0, width, height):
        return threshold, above.view(bool)
    canvas = np.zeros((height, width), bool)
    x, y, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    canvas[y:bottom, x:right] = above[y - top : bottom - top, x - left : right - left]
    return threshold, canvas


def score(above: np.ndarray, target: np.ndarray, map_: np.ndarray, box: Box) -> Scores:
    """Scores of one map.

    Args:
        above: bool [height, width], what lies above the map's threshold.
        target: bool [height, width], the object, not empty.
        map_, box: see pointing.
    """
    predicted, total, hit = (int(np.count_nonzero(region)) for region in (above, target, above & target))
    return Scores(
        obj_iou=hit / (predicted + total - hit),
        precision=hit / predicted if predicted else None,
        recall=hit / total,
        pointing=pointing(map_, target, box),
    )


def pointing(map_: np.ndarray, target: np.ndarray, box: Box) -> float:
    """Pointing game (Zhang et al., 2018; no tolerance): 1 if the centre of the highest cell is on the object, else 0.

    The first of equal cells counts. A constant map points nowhere, so it misses; a test for equality with the
    maximum would let it hit everything.

    Args:
        map_: float [rows, columns], not resized; NaN counts as 0.
        target: bool [height, width], the object.
        box: where the map lies on the picture.
    """
    map_ = np.nan_to_num(map_)
    peak = int(map_.argmax())
    if map_.flat[peak] == map_.min():
        return 0.0
    left, top, right, bottom = box
    row, column = divmod(peak, map_.shape[1])
    y = top + (2 * row + 1) * (bottom - top) // (2 * map_.shape[0])
    x = left + (2 * column + 1) * (right - left) // (2 * map_.shape[1])
    inside = 0 <= y < target.shape[0] and 0 <= x < target.shape[1]
    return float(inside and target[y, x])


def func_iou(uint8: np.ndarray, threshold: float) -> float:
    """Share of cells below ``threshold``, mean over the word's maps, uint8 [token, rows, columns]."""
    return float((uint8 < threshold).mean())


def names(words: Sequence[Word], mask: np.ndarray | None, categories: set[int], missing: str = "no mask") -> list[Row]:
    """Does the answer name what is in the image? Two rows over the set of categories that its nouns name.

    name_precision: share of the named categories that occur in the mask; name_recall: share of those in the mask
    that are named.
    """
    if mask is None:
        return [whole("name_precision", missing), whole("name_recall", missing)]
    named = {word.label for word in words if word.label > 0}
    seen = set(np.flatnonzero(np.bincount(mask.ravel())).tolist()) & categories
    right = len(named & seen)
    return [
        whole("name_precision", right / len(named) if named else "no category named"),
        whole("name_recall", right / len(seen) if seen else "no category in image"),
    ]
