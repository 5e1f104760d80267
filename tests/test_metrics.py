"""Metrics: exact numbers on tiny maps, a status wherever there is no number, and the stage."""

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tam import manifest, tagging
from tam.cache import write_generations
from tam.errors import InputError, SchemaError
from tam.layout import Grid, Layout
from tam.maps import MapsHeader, MapsWriter
from tam.metrics import counts, phrases, stage
from tam.metrics.catalogue import ABOUT_ANSWER, FOCUS_METRICS, GROUPS, MAP_METRICS, OBJECT_METRICS, PHRASE_METRICS
from tam.metrics.counts import (
    count,
    pixel_average_precision,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
)
from tam.metrics.focus import entropy, focus, gini, top_mass
from tam.metrics.language import NO_WORDNET, language, longest_common_subsequence, rouge_l_standard
from tam.metrics.localisation import func_iou, localise, score
from tam.metrics.names import names
from tam.metrics.picture import Picture, find_targets
from tam.metrics.pointing import peak, pointing, pointing_box
from tam.protocol import FIXED, REFERENCE
from tam.records import Candidates, Generation, Maps, Piece, SampleMaps
from tam.rows import RowsHeader, opened
from tam.selection import pooled
from tam.system import hdf5
from tam.words import FUNCTION, NO_CATEGORY, OTHER, Word
from tests.check_golden_evaluate import check_evaluate
from tests.shared import shared

# Bilinear x2 makes the columns 240 180 60 0 0 0 of it; Otsu's threshold is 60: columns 0 and 1 lie above.
LEFT = np.array([[240, 0, 0]] * 3, np.uint8)
RIGHT = LEFT[:, ::-1].copy()
ZERO = np.zeros((3, 3), np.uint8)
WHOLE = (0, 0, 6, 6)
MASS = [relevance_mass_accuracy, relevance_rank_accuracy, pixel_average_precision]


def _mask(label=17):
    """6x6 with an object of 3x3 pixels in the upper left corner."""
    mask = np.zeros((6, 6), np.uint8)
    mask[:3, :3] = label
    return mask


def _word(*tokens, label=17, text="cat", tag="NN"):
    return Word(text, tokens, tag, label)


def _target(pixels):
    return find_targets([pixels.astype(np.uint8)], [1])[0][1]


def _count(map_, pixels):
    """Of a map that lies on the whole picture."""
    return count(map_, (0, 0, *map_.shape[::-1]), _target(pixels))


def _localise(words, maps, mask=None, protocol=FIXED, box=None, missing="no mask"):
    maps = np.stack(maps)
    (targets,) = [{}] if mask is None else find_targets([mask], {word.label for word in words if word.label > 0})
    box = box or (0, 0, *(maps[0] if mask is None else mask).shape[::-1])
    picture = Picture(box, targets, missing if mask is None else "", np.ones(maps.shape[1:]))
    return localise(words, [maps], [maps / 255], [picture], protocol)


def _values(rows, metric):
    return [row.value if row.status == "ok" else row.status for row in rows if row.metric == metric]


def test_a_noun_by_hand():
    found = _localise([_word(0)], [LEFT], _mask())
    assert found.thresholds == [60]
    # 12 pixels above the threshold, 9 of the object, 6 of both
    # The map's columns are 240 180 60 0 0 0, six pixels each, of which the first three are the object's. So half of the
    # mass is inside; of the nine highest all six with 240 and three of those with 180 count, half of which are inside;
    # and recall grows by 1/3 at each of the three values, with precision 1/2.
    assert {row.metric: row.value for row in found.rows} == {
        "obj_iou": 6 / 15, "precision": 6 / 12, "recall": 6 / 9, "pointing": 1.0, "pointing_box": 1.0,
        "relevance_mass": 0.5, "relevance_rank": 0.5, "pxap": pytest.approx(0.5),
    }  # fmt: skip


def test_of_a_nouns_tokens_the_best_iou_counts_the_first_on_ties():
    rows = _localise([_word(0, 1, 2)], [RIGHT, LEFT, LEFT[::-1]], _mask()).rows
    assert _values(rows, "obj_iou") == [6 / 15]
    assert [row.token for row in rows] == [0] * len(OBJECT_METRICS)


def test_a_function_word_is_judged_by_the_mean_of_the_nouns_highest_thresholds():
    function = np.array([[0, 59, 60], [61, 255, 0], [0, 0, 0]], np.uint8)
    words = [_word(0, 1, label=NO_CATEGORY), _word(2, 3, label=FUNCTION), _word(4, label=NO_CATEGORY)]
    found = _localise(words, [LEFT, ZERO, function, ZERO, LEFT], _mask())
    assert found.thresholds == [60, 0, 60]
    assert _values(found.rows, "func_iou") == [pytest.approx((6 / 9 + 1) / 2, abs=1e-15)]
    assert _values(found.rows, "obj_iou") == ["no category", "no category"]


def test_without_nouns_function_words_have_no_threshold():
    assert _values(_localise([_word(0, label=FUNCTION)], [LEFT], _mask()).rows, "func_iou") == ["no noun"]


def test_without_a_mask_objects_have_a_status_and_function_words_a_value():
    found = _localise([_word(0), _word(1, label=FUNCTION)], [LEFT, ZERO], None, missing="no mask: why")
    assert _values(found.rows, "obj_iou") == ["no mask: why"]
    assert found.thresholds == [0]  # of the 3x3 map itself: 240 or 0
    assert _values(found.rows, "func_iou") == [0.0]
    assert _localise([_word(0)], [LEFT], None, box=WHOLE).thresholds == [60]  # as if there were a mask of this size


def test_an_object_that_is_not_in_the_image_is_not_scored_but_lends_its_threshold():
    found = _localise([_word(0, label=18), _word(1, label=FUNCTION)], [LEFT, ZERO], _mask())
    assert {row.status for row in found.rows if row.metric != "func_iou"} == {"not in image"}
    assert _values(found.rows, "func_iou") == [1.0]


def test_undefined_precision_is_a_status_and_published_a_nan_that_enters_means():
    assert _values(_localise([_word(0)], [ZERO], _mask()).rows, "precision") == ["undefined precision"]
    (published,) = _values(_localise([_word(0)], [ZERO], _mask(), REFERENCE).rows, "precision")
    assert math.isnan(published)


@pytest.mark.parametrize("protocol", [FIXED, REFERENCE])
def test_neighbours_with_one_label_keep_the_better_map(protocol):
    """ "traffic light" is one object; on ties the earlier word stays."""
    rows = _localise([_word(0), _word(1), _word(2)], [RIGHT, LEFT, LEFT], _mask(), protocol).rows
    assert _values(rows, "obj_iou") == ["merged", 6 / 15, "merged"]


def test_words_apart_are_not_merged():
    words = [_word(0), _word(1, label=OTHER, tag="JJ"), _word(2)]
    assert _values(_localise(words, [LEFT, LEFT, LEFT], _mask()).rows, "obj_iou") == [6 / 15, 6 / 15]


def test_only_the_published_code_merges_others_when_the_label_is_absent():
    mask = _mask()
    mask[5, 5] = 18
    words = [_word(0), _word(1, label=18), _word(2, label=10), _word(3, label=10)]
    maps = [LEFT, RIGHT, LEFT, LEFT]
    assert _values(_localise(words, maps, mask, REFERENCE).rows, "obj_iou") == [
        6 / 15, "merged", "not in image", "not in image",
    ]  # fmt: skip
    assert _values(_localise(words, maps, mask).rows, "obj_iou") == [
        6 / 15, 1 / 12, "not in image", "not in image",
    ]  # fmt: skip


def test_an_unknown_word_is_counted():
    (row,) = _localise([_word(0, label=OTHER, tag="", text="zyx")], [LEFT], _mask()).rows
    assert (row.metric, row.word, row.status) == ("word", "zyx", "unknown word")


def test_a_map_lies_where_its_grid_lies():
    """The map covers the left half, or a square that stands out of the picture by three pixels on each side."""
    mask = np.zeros((6, 12), np.uint8)
    mask[:3, :3] = 17
    assert _values(_localise([_word(0)], [LEFT], mask, box=(0, 0, 6, 6)).rows, "obj_iou") == [6 / 15]
    found = _localise([_word(0)], [LEFT.T], np.full((6, 12), 17, np.uint8), box=(0, -3, 12, 9))
    # above the threshold: the upper 4 or so of 12 rows, 3 of which are off the picture; the highest cell ends on it
    assert _values(found.rows, "precision") == [1.0]
    assert 0 < _values(found.rows, "recall")[0] <= 2 / 6
    assert _values(found.rows, "pointing") == [1.0]
    above = _localise([_word(0)], [LEFT.T], np.full((6, 12), 17, np.uint8), box=(0, -4, 12, 8))
    assert _values(above.rows, "pointing") == [0.0]  # all of it is off the picture


def test_what_of_a_map_is_off_the_picture_does_not_count_and_where_there_is_none_it_is_0():
    """Two columns of six lie on the picture, whose others have no map; a map can miss the object, or the picture."""
    target = _target(_mask() == 17)
    values = np.tile(np.arange(1, 7, dtype=np.uint8), (6, 1))
    found = count(values, (-4, 0, 2, 6), target)
    assert {level: (int(n), int(found.inside[level])) for level, n in enumerate(found.all) if n} == {
        0: (24, 3), 5: (6, 3), 6: (6, 3),
    }  # fmt: skip
    for box in ((4, 0, 10, 6), (6, 0, 12, 6), (-9, -9, -3, -3)):
        found = count(values, box, target)
        assert found.inside[0] == found.inside.sum() == 9 and found.all.sum() == 36


def test_pictures_too_large_for_opencvs_counting_are_counted_alike(monkeypatch):
    map_, pixels = np.arange(30, dtype=np.uint8).reshape(5, 6) // 4, np.arange(30).reshape(5, 6) % 3 == 0
    expected = _count(map_, pixels)
    monkeypatch.setattr(counts, "EXACT", 1)
    found = _count(map_, pixels)
    assert np.array_equal(found.all, expected.all) and np.array_equal(found.inside, expected.inside)


def test_pointing_takes_the_centre_of_the_first_highest_cell():
    target = _target(_mask() == 17)
    map_ = np.zeros((3, 3))
    map_[1, 1] = 1
    assert peak([map_], [WHOLE], [(6, 6)]) == (0, (3, 3)) and pointing((3, 3), target) == 0  # just outside
    map_[0, 1] = 1  # earlier
    assert peak([map_], [WHOLE], [(6, 6)]) == (0, (3, 1)) and pointing((3, 1), target) == 0
    map_[0, 0] = 1
    assert peak([map_], [WHOLE], [(6, 6)]) == (0, (1, 1)) and pointing((1, 1), target) == 1


@pytest.mark.parametrize(
    ("highest", "point"),
    [((0, 0), (-2, -3)), ((1, 1), (2, 1)), ((2, 2), (5, 3)), ((3, 2), (5, 5)), ((2, 3), (10, 3)), ((3, 0), (-2, 5))],
)
def test_the_centre_of_a_cell_that_the_picture_ends_within_is_that_of_its_part_on_it(highest, point):
    """Cells of 4 x 3 pixels on a picture of 7 x 6: their sides lie at -4, 0, 4, 8, 12 and at -4, -1, 2, 5, 8."""
    map_ = np.zeros((4, 4))
    map_[highest] = 1
    assert peak([map_], [(-4, -4, 12, 8)], [(7, 6)]) == (0, point)


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_a_constant_map_points_nowhere(value):
    (_, point), target = peak([np.full((3, 3), value)], [WHOLE], [(6, 6)]), _target(np.ones((6, 6)))
    assert point is None and pointing(point, target) == pointing_box(point, target) == 0


def test_a_peak_off_the_picture_misses():
    target = _target(np.ones((6, 6)))
    assert [pointing(point, target) for point in ((-1, 0), (0, -1), (6, 0), (0, 6), (5, 5))] == [0, 0, 0, 0, 1]


def test_the_boxes_of_an_object_are_those_of_its_connected_parts():
    """Two parts, one of them an L: its box holds a pixel that is not the object's."""
    pixels = np.zeros((6, 6), bool)
    pixels[0:3, 0] = pixels[2, 1] = pixels[3, 2] = True  # the last touches by a corner
    pixels[5, 5] = True
    target = _target(pixels)
    assert target.parts.tolist() == [[0, 0, 3, 4], [5, 5, 6, 6]]
    assert (target.box, target.size) == ((0, 0, 6, 6), 6)
    assert (pointing((2, 1), target), pointing_box((2, 1), target)) == (0, 1)
    assert pointing_box((4, 0), target) == 0


COUNTED = _count(np.array([[10, 20, 20], [0, 5, 0]], np.uint8), np.array([[1, 1, 0], [1, 0, 0]], bool))
"""Of the object: 10, 20 and 0."""


def test_relevance_mass_accuracy_by_hand():
    """10 + 20 + 0 of 55."""
    assert relevance_mass_accuracy(COUNTED) == 30 / 55


def test_relevance_rank_accuracy_by_hand():
    """The three highest are 20, 20 and 10; one of the first two is the object's, and the third is."""
    assert relevance_rank_accuracy(COUNTED) == 2 / 3


def test_ties_for_the_last_places_count_as_on_average():
    """Two places: 9 takes one; three pixels with 4, one of them the object's, share the other."""
    counts = _count(np.array([[9, 4, 4, 4]], np.uint8), np.array([[1, 1, 0, 0]], bool))
    assert relevance_rank_accuracy(counts) == pytest.approx((1 + 1 / 3) / 2)


def test_pixel_average_precision_by_hand():
    """Recall 1/3 at precision 1/2 (20), 2/3 at 2/3 (10), 1 at 3/6 (0); 5 adds no recall."""
    assert pixel_average_precision(COUNTED) == pytest.approx((1 / 2 + 2 / 3 + 3 / 6) / 3)


@pytest.mark.parametrize("measure", MASS)
def test_a_zero_map_finds_nothing_and_a_uniform_one_what_chance_finds(measure):
    target = np.array([[1, 1, 0, 0]], bool)
    assert measure(_count(np.zeros((1, 4), np.uint8), target)) == 0
    assert measure(_count(np.full((1, 4), 3, np.uint8), target)) == pytest.approx(0.5)


levels = hnp.arrays(np.uint8, (5, 7), elements=st.integers(0, 50))
regions = hnp.arrays(bool, (5, 7)).filter(np.any)


@given(levels, regions)
def test_counting_gives_what_sorting_gives(map_, target):
    """Against the definitions by loops over pixels and thresholds."""
    counts, size = _count(map_, target), int(target.sum())
    assert counts.above(20) == ((map_ > 20).sum(), (map_ > 20)[target].sum())
    if map_.any():
        assert relevance_mass_accuracy(counts) == pytest.approx(map_[target].sum(dtype=int) / map_.sum(dtype=int))
        recall, area = 0, 0
        for threshold in sorted(set(map_.ravel()), reverse=True):
            above = map_ >= threshold
            hit = (above & target).sum()
            area += hit / above.sum() * (hit / size - recall)
            recall = hit / size
        assert pixel_average_precision(counts) == pytest.approx(area)
        last = sorted(map_.ravel(), reverse=True)[size - 1]
        sure, tied = map_ > last, map_ == last
        expected = (sure & target).sum() + (size - sure.sum()) * (tied & target).sum() / tied.sum()
        assert relevance_rank_accuracy(counts) == pytest.approx(expected / size)


@pytest.mark.parametrize("measure", MASS)
@given(levels, regions, st.integers(1, 5))
def test_measures_of_mass_are_bounded_and_know_no_scale(measure, map_, target, factor):
    value = measure(_count(map_, target))
    assert 0 <= value <= 1
    assert measure(_count(map_ * np.uint8(factor), target)) == pytest.approx(value)
    assert measure(_count(map_[::-1], target[::-1])) == pytest.approx(value)


@given(regions)
def test_a_map_that_is_the_object_has_the_best_score(target):
    counts = _count(target.astype(np.uint8) * np.uint8(200), target)
    assert [measure(counts) for measure in MASS] == [1, 1, 1]


@given(regions, regions)
def test_iou_is_symmetric_and_bounded_and_precision_is_recall_seen_from_the_other_side(a, b):
    forward, backward = (score(_count(x.astype(np.uint8), y), 0) for x, y in ((a, b), (b, a)))
    assert forward.obj_iou == backward.obj_iou
    assert forward.precision == backward.recall
    assert 0 <= forward.obj_iou <= min(forward.precision, forward.recall) <= 1


def test_focus_by_hand():
    """Four cells: 1 3 0 0 has two bits less 0.8113 of entropy of a quarter and three quarters."""
    maps = np.array([[1.0, 3, 0, 0], [1, 1, 1, 1], [0, 0, 7, 0]])
    assert entropy(maps) == pytest.approx([0.81127812 / 2, 1, 0])
    assert gini(maps) == pytest.approx([(-0.25 * 0 + 1 * 0.25 + 3 * 0.75) / 4, 0, 0.75])
    assert top_mass(maps) == pytest.approx([0.75, 0.25, 1])  # a fifth of four cells, rounded up: one


def test_focus_is_the_mean_over_a_words_lit_maps_and_a_zero_map_has_a_status():
    maps = np.array([[[0.0, 0.5]], [[0, 0]], [[1, 1]], [[0, np.nan]]])
    rows = focus([_word(0, 1, 2, label=OTHER), _word(1, 3)], maps)
    assert [(row.token, row.metric, row.status) for row in rows] == [
        *((0, metric, "ok") for metric in FOCUS_METRICS),
        *((1, metric, "zero map") for metric in FOCUS_METRICS),
    ]
    assert [row.value for row in rows[:3]] == pytest.approx([0.5, 0.25, 0.75])


lit = hnp.arrays(np.float64, (3, 8), elements=st.floats(0, 1, width=16)).filter(lambda maps: maps.any(1).all())


@pytest.mark.parametrize("measure", [entropy, gini, top_mass])
@given(lit, st.floats(0.01, 100), st.permutations(range(8)))
def test_focus_is_bounded_and_knows_neither_scale_nor_place(measure, maps, factor, order):
    values = measure(maps)
    assert ((values >= 0) & (values <= 1)).all()
    assert measure(maps * factor) == pytest.approx(values, abs=1e-9)
    assert measure(maps[:, order]) == pytest.approx(values, abs=1e-9)


@given(hnp.arrays(np.uint8, (4, 3, 3)), hnp.arrays(np.uint8, (6, 6), elements=st.sampled_from([0, 17, 18])))
def test_values_are_bounded_and_missing_exactly_with_a_status(maps, mask):
    words = [_word(0), _word(1, label=18), _word(2, label=FUNCTION), _word(3, label=18)]
    for row in _localise(words, list(maps), mask).rows:
        assert math.isnan(row.value) == (row.status != "ok")
        assert row.status != "ok" or 0 <= row.value <= 1


def test_names_are_compared_as_sets_of_categories():
    mask = _mask()
    mask[5, 5], mask[5, 0] = 18, 255  # 255 is no category: "ignore"
    words = [_word(0), _word(1), _word(2, label=44), _word(3, label=FUNCTION)]
    categories = {17, 18, 44}
    assert [row.value for row in names(words, [mask], categories)] == [1 / 2, 1 / 2]
    assert [row.status for row in names([], [np.zeros_like(mask)], categories)] == [
        "no category named", "no category in image",
    ]  # fmt: skip
    assert [row.status for row in names(words, [], categories, "no mask: why")] == ["no mask: why"] * 2


def _language(answer, references, wordnet=None):
    return {row.metric: (row.status, row.value) for row in language(answer, references, wordnet)}


def test_rouge_is_the_best_reference_and_case_matters():
    (_, value) = _language("A cat.", ["a cat", "A dog sits", "A cat"])["rouge_l"]
    assert value == pytest.approx(1, abs=1e-6)
    assert _language("A cat.", ["a cat"])["rouge_l"][1] == pytest.approx(0.5, abs=1e-6)


def test_the_two_kinds_of_rouge_differ():
    """ "The cat. A dog." and "the cat sat": two words of three in common, of four and three. F1 = 2 * 2 / 7."""
    found = _language("The cat. A dog.", ["the cat sat", "x"])
    assert found["rouge_l_standard"] == ("ok", 4 / 7)
    assert found["rouge_l"][1] < 0.5


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        ("police killed the gunman", "police kill the gunman", 3 / 4),  # Lin 2004, section 3.1: S2
        ("the gunman kill police", "police kill the gunman", 2 / 4),  # S3
        ("It's 2-fold", "it s 2 fold", 1),
        ("\u732b", "\u732b", "no Latin letters"),  # no word of a-z and 0-9
    ],
)
def test_standard_rouge_by_hand(answer, reference, value):
    assert rouge_l_standard(answer, [reference]) == value


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_the_common_subsequence_is_symmetric_bounded_and_the_whole_of_equals(first, second):
    length = longest_common_subsequence(first, second)
    assert length == longest_common_subsequence(second, first) == longest_common_subsequence(first[::-1], second[::-1])
    assert length <= min(len(first), len(second))
    assert longest_common_subsequence(first, first + second) == len(first)


def test_meteor_needs_wordnet_and_nothing_else_does():
    found = _language("A cat.", ["A cat"])
    assert found["meteor"][0] == NO_WORDNET
    assert found["rouge_l"][0] == "ok"


def test_meteor_is_nltks():
    """The example of NLTK's documentation."""
    judge = _judge_or_skip()
    answer = "It is a guide to action which ensures that the military always obeys the commands of the party"
    reference = "It is a guide to action that ensures that the military will forever heed Party commands"
    status, value = _language(answer, [reference], judge.wordnet)["meteor"]
    assert (status, round(value, 4)) == ("ok", 0.6944)


def _judge_or_skip():
    judge = tagging.choose()
    if judge.wordnet is None:
        pytest.skip("no WordNet on this machine")
    return judge


@pytest.mark.parametrize(
    ("answer", "references", "status"),
    [
        ("A cat.", [], "no reference"),
        ("", ["A cat."], "empty answer"),
        ("...", ["A cat."], "empty answer"),
        ("A cat.", ["A cat.", "."], "empty reference"),
    ],
)
def test_what_the_published_code_raises_on_is_a_status(answer, references, status):
    assert {found for found, _ in _language(answer, references).values()} == {status}


@pytest.mark.parametrize(
    ("answer", "references", "status"),
    [
        (" \n", ["A cat."], "empty answer"),
        (". .", ["A cat."], "empty answer"),
        ("A cat.", ["A cat.", "\t"], "empty reference"),
    ],
)
def test_white_space_is_not_scored_but_where_the_published_code_does_so(answer, references, status):
    assert {found for found, _ in _language(answer, references).values()} == {status}
    rows = {row.metric: row for row in language(answer, references, None, blank_scored=True)}
    assert rows["rouge_l"].status == "ok"
    assert rows["rouge_l"].value == (0 if status == "empty answer" else pytest.approx(1, abs=1e-6))


@pytest.mark.parametrize(
    ("answer", "references", "found"),
    [
        ("一只猫", ["A cat."], ("no Latin letters", None)),
        ("A cat.", ["一只猫", "кошка"], ("no Latin letters", None)),
        ("A cat.", ["一只猫", "a dog"], ("ok", 0.5)),
        ("A cat.", ["no dog"], ("ok", 0)),
    ],
)
def test_texts_in_other_scripts_have_a_status_where_only_latin_letters_are_compared(answer, references, found):
    status, value = _language(answer, references)["rouge_l_standard"]
    assert (status, None if np.isnan(value) else value) == found


def test_a_long_answer_does_not_end_the_run():
    assert _language("word " * 2000, ["other " * 10])["rouge_l"][0] == "too long for ROUGE-L"


def test_the_reference_protocol_is_the_published_evaluation():
    cases, mismatches = check_evaluate(shared("golden", "evaluate.h5"))
    assert cases
    assert not mismatches, "\n".join(mismatches)


# ---- the stage

VOCABULARY = {1: "A", 2: " cat", 3: ".", 4: "<|im_end|>", 5: " What", 6: "?"}
TAGS = {"A": "DT", "cat": "NN", ".": ".", ".<|im_end|>": "NN"}
JUDGE = tagging.Language(lambda word: TAGS.get(word, ""), str, None, "a fake tagger")


def _layout(grids=1, size=(6, 6)):
    vision = np.arange(9 * grids, dtype=np.int32)
    boxes = tuple(Grid(0, (0,), 3, 3, (0.0, 0.0, float(size[0]), float(size[1]))) for _ in range(grids))
    prompt = np.array([9 * grids, 9 * grids + 1], np.int32)
    return Layout(vision, prompt, 9 * grids + 2, boxes, (size,))


def _generation(id, answer=(1, 2, 3, 4), layout=None, status="ok", retokenised=None):
    layout = layout or _layout()
    tokens = np.array([0] * len(layout.vision) + [5, 6, *answer], np.int32)
    none = np.zeros((2 + len(answer), 1), np.float32)
    return Generation(
        id=id,
        status=status,
        prompt="What?",
        answer="A cat.",
        tokens=tokens,
        layout=layout,
        classes=np.unique(answer).astype(np.int32),
        logits=np.zeros((len(layout.vision) + 2 + len(answer), len(np.unique(answer))), np.float32),
        candidates=Candidates(none.astype(np.int32) + 1, none, none[:, 0]),
        retokenised_prompt=np.array([5, 6], np.int32),
        retokenised_answer=np.array(answer if retokenised is None else retokenised, np.int32),
        vocabulary={id: Piece(text, text, text.encode()) for id, text in VOCABULARY.items()},
        end_tokens=frozenset({4}),
    )


def _left(generation):
    """Maps of every token: those of the prompt point right, those of the answer left; each grid has its part of it."""
    rows = generation.explained
    uint8 = np.stack([_cut(RIGHT if t < 2 else LEFT, generation.layout) for t in range(rows)])
    return Maps(uint8 / 255, uint8, np.zeros((rows, rows)), np.full(rows, np.nan))


def _cut(map_, layout):
    """What each grid shows of a map of 3x3 cells of two pixels: [vision]."""
    boxes = [[round(edge / 2) for edge in grid.box] for grid in layout.grids]
    return np.concatenate([map_[top:bottom, left:right].ravel() for left, top, right, bottom in boxes])


def _flat(generation):
    """Nothing in any map."""
    left = _left(generation)
    return dataclasses.replace(left, maps=left.maps * 0, uint8=left.uint8 * 0)


METHODS = {"tam": _left}


def _write_maps(path, generations, methods, protocol, fingerprint):
    titles = {name: name.upper() for name in methods}
    with hdf5.written(path) as file:
        writer = MapsWriter(file, MapsHeader(fingerprint, len(generations), titles, protocol.name, False, None))
        for row, generation in enumerate(generations):
            made = {} if generation.failed else {name: method(generation) for name, method in methods.items()}
            writer.add(row, generation.id, generation.status, made)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage on generations; ``samples`` replaces fields of manifest rows by id."""
    monkeypatch.setattr(tagging, "choose", lambda **_: JUDGE)

    def do(
        generations, protocol=FIXED, samples=None, maps_protocol=None, fingerprint="f", mapped=None, methods=METHODS
    ):
        cv2.imwrite(str(tmp_path / "mask.png"), _mask())
        rows = [
            manifest.Sample(
                generation.id, ["a.jpg"], "What?", references=["A cat"], mask="mask.png", categories={"cat": 17}
            )
            for generation in generations
        ]
        rows = [dataclasses.replace(row, **(samples or {}).get(row.id, {})) for row in rows]
        manifest.write(rows, tmp_path / "manifest.jsonl")
        write_generations(tmp_path / "g.h5", dict(enumerate(generations)), {}, "f")
        _write_maps(tmp_path / "m.h5", generations[:mapped], methods, maps_protocol or protocol, fingerprint)
        return do.again(protocol)

    def again(protocol, **more):
        files = [tmp_path / name for name in ("g.h5", "m.h5", "manifest.jsonl", "out.parquet")]
        counts = stage.write_metrics(*files, protocol, **more)
        with opened(files[-1]) as (do.header, file):
            return counts, file.read().to_pandas()

    do.folder, do.again = tmp_path, again
    return do


def _of(table, sample, metric):
    rows = table[(table["sample"] == sample) & (table.metric == metric)]
    return [value if status == "ok" else status for value, status in zip(rows.value, rows.status, strict=True)]


def test_the_table_is_tidy_and_says_how_it_was_made(run):
    counts, table = run([_generation("a")])
    assert counts == {"ok": 1}
    assert list(table.columns) == ["sample", "method", "token", "word", "label", "metric", "value", "status"]
    assert _of(table, "a", "answer") == [4] and table.word[0] == "A cat."
    assert _of(table, "a", "obj_iou") == [6 / 15]
    assert _of(table, "a", "func_iou") == [6 / 9]  # the map of "A" is LEFT, 6 of 9 cells below 60
    assert _of(table, "a", "name_precision") == _of(table, "a", "name_recall") == [1.0]
    assert table[table.metric == "obj_iou"][["token", "word", "label"]].values.tolist() == [[1, "cat", 17]]
    assert run.header == RowsHeader("f", 1, {"tam": "TAM"}, "fixed", "a fake tagger")


def test_what_is_about_the_answer_stands_once_and_what_is_about_maps_once_a_method(run):
    counts, table = run([_generation("a")], methods={"flat": _flat, "tam": _left})
    assert counts == {"ok": 1} and list(run.header.methods) == ["flat", "tam"]
    answer = ["answer", *GROUPS[ABOUT_ANSWER]]
    assert sorted(table[table.method == ""].metric) == sorted(answer)
    by_method = {name: table[table.method == name] for name in ("flat", "tam")}
    for rows in by_method.values():
        assert set(rows.metric) == set(MAP_METRICS)
    assert [_of(rows, "a", "obj_iou") for rows in by_method.values()] == [[0.0], [6 / 15]]
    assert [_of(rows, "a", "entropy")[0] == "zero map" for rows in by_method.values()] == [True, False]
    _, alone = run([_generation("a")])
    pd.testing.assert_frame_equal(table[table.method != "flat"].reset_index(drop=True), alone)


def test_a_word_that_a_method_does_not_explain_has_a_status_and_no_number(run):
    def silent(generation):
        made = _left(generation)
        explained = np.arange(len(made.maps)) != len(generation.prompt_ids) + 1  # " cat"
        return dataclasses.replace(made, explained=explained)

    _, table = run([_generation("a")], methods={"silent": silent, "tam": _left})
    rows = table[table.method == "silent"]
    of_cat = rows[rows.word == "cat"]
    assert set(of_cat.metric) == {*OBJECT_METRICS, *FOCUS_METRICS} and set(of_cat.status) == {"not explained"}
    assert _of(rows, "a", "func_iou") == ["no noun"]
    assert _of(table[table.method == "tam"], "a", "obj_iou") == [6 / 15]


def test_no_quirk_of_published_maps_concerns_maps_of_scores():
    generation, protocol = _generation("a"), REFERENCE
    made = _left(generation)
    prompt = np.zeros_like(made.uint8)
    prompt[len(generation.prompt_ids) :] = made.uint8[len(generation.prompt_ids) :]  # maps of the answer alone
    maps = {name: SampleMaps("a", "ok", prompt / 255, prompt, made.relevance, made.scale) for name in ("tam", "gae")}
    sample = manifest.Sample("a", ["a.jpg"], "What?", mask=None, categories={"cat": 17})
    _, scored = stage.score_sample(sample, generation, maps, Path("m.jsonl"), JUDGE, protocol, from_scores=["gae"])
    focus = {name: next(row.status for row in scored[name] if row.metric == "gini") for name in maps}
    assert focus == {"tam": "zero map", "gae": "ok"}


def _tiled(*boxes):
    """Tiles of cells of two pixels over the picture of 6x6."""
    grids = tuple(
        Grid(0, (0,), (bottom - top) // 2, (right - left) // 2, (left, top, right, bottom))
        for left, top, right, bottom in boxes
    )
    count = sum(grid.cells for grid in grids)
    return Layout(np.arange(count, dtype=np.int32), np.array([count, count + 1], np.int32), count + 2, grids, ((6, 6),))


TILES = {
    "two": _tiled((0, 0, 2, 6), (2, 0, 6, 6)),
    "three": _tiled((0, 0, 4, 2), (4, 0, 6, 2), (0, 2, 6, 6)),
    "three and a thumbnail": _tiled((0, 0, 4, 2), (4, 0, 6, 2), (0, 2, 6, 6), (0, 0, 6, 6)),
    "one": _tiled((0, 0, 6, 6)),
}


@pytest.mark.parametrize("tiles", TILES)
def test_a_picture_that_is_cut_into_tiles_has_the_scores_of_the_whole(run, tiles):
    """To the bit, whatever the tiles' boxes, with a thumbnail that shows the same over them, and where one is all."""
    counts, whole = run([_generation("a")])
    found, cut = run([_generation("a", layout=TILES[tiles])])
    assert found == counts == {"ok": 1} and {"obj_iou", "func_iou", *FOCUS_METRICS} <= set(cut.metric)
    pd.testing.assert_frame_equal(cut, whole, check_exact=True)


def _pictures(*frames):
    """Two pictures of 6x6, or two grids over a video whose frames they see."""
    grids = tuple(
        Grid(0 if frames else number, frames[number] if frames else (0,), 3, 3, (0.0, 0.0, 6.0, 6.0))
        for number in range(2)
    )
    sizes = ((6, 6),) if frames else ((6, 6), (6, 6))
    return Layout(np.arange(18, dtype=np.int32), np.array([18, 19], np.int32), 20, grids, sizes)


def _left_then_right(generation):
    left = _left(generation)
    values = np.tile(np.concatenate([LEFT.ravel(), RIGHT.ravel()]), (generation.explained, 1))
    return dataclasses.replace(left, maps=values / 255, uint8=values)


@pytest.mark.parametrize(
    ("masks", "iou", "pointing", "func"),
    [
        ({"masks": {"0": "mask.png"}}, 6 / 15, 1, 6 / 9),
        ({"mask": "mask.png"}, 6 / 15, 1, 6 / 9),  # the first picture, the middle frame
        ({"masks": {"1": "mask.png", "9": "none.png"}}, 0 / 21, 0, 6 / 9),
        ({"masks": {"0": "mask.png", "1": "mask.png"}}, 6 / 36, 1, 12 / 18),
        ({"masks": {"0": "mask.png", "1": "empty.png"}}, 6 / 27, 1, 12 / 18),
        ({"masks": {"0": "empty.png", "1": "mask.png"}}, 0 / 33, 0, 12 / 18),  # of equal peaks the first
    ],
)
@pytest.mark.parametrize("kind", ["images", "video"])
def test_of_several_pictures_or_frames_those_with_a_mask_are_scored_as_one(run, kind, masks, iou, pointing, func):
    """The map points left on the first and right on the second; the object lies in the upper left corner."""
    cv2.imwrite(str(run.folder / "empty.png"), np.zeros((6, 6), np.uint8))
    layout = _pictures((0, 1), (2, 3)) if kind == "video" else _pictures()
    if kind == "video" and "masks" in masks:
        masks = {"masks": {{"0": "1", "1": "2"}.get(place, place): path for place, path in masks["masks"].items()}}
    samples = {"a": {"kind": kind, "mask": None} | masks}
    counts, table = run([_generation("a", layout=layout)], samples=samples, methods={"tam": _left_then_right})
    assert counts == {"ok": 1}
    found = [_of(table, "a", metric) for metric in ("obj_iou", "pointing", "func_iou", "name_recall")]
    assert found == [[iou], [pointing], [func], [1.0]]


def test_the_published_protocol_has_one_grid_a_picture_and_one_picture(run):
    several = {"a": {"mask": "mask.png"}, "b": {"mask": "mask.png"}, "c": {"kind": "video"}}
    generations = [_generation("a", layout=TILES["two"]), _generation("b", layout=_pictures()), _generation("c")]
    counts, table = run(generations, REFERENCE, samples=several)
    assert counts == {"not a single grid": 1, "not a single image": 2}
    assert _of(table, "a", "obj_iou") == ["not a single grid: the picture was shown as 2"]
    assert _of(table, "b", "func_iou") == _of(table, "c", "entropy") == ["not a single image"]
    assert len(_of(table, "a", "rouge_l")) == 1


def test_a_cell_that_is_cut_off_counts_in_part_and_what_shows_nothing_does_not():
    """Of six cells below the threshold three are whole, two halves; one that shows nothing is not focus, either."""
    shown = np.array([[1, 0.5, 0], [1, 0.5, 0], [1, 1, 1]])
    below = np.array([[[True, True, True], [True, True, False], [True, False, False]]])
    assert func_iou(_word(0), [below], [shown]) == 4 / 6
    picture = Picture(WHOLE, {}, "", shown)
    assert stage.counting([np.arange(9).reshape(1, 3, 3)], [picture]).tolist() == [[0, 1, 3, 4, 6, 7, 8]]


def test_where_a_method_failed_it_has_a_status_and_the_others_have_values(run):
    counts, table = run([_generation("a"), _generation("b")], methods={"mine": lambda _: "failed: why", "tam": _left})
    assert counts == {"ok": 2, "failed mine": 2}
    mine = table[table.method == "mine"]
    assert sorted(mine[mine["sample"] == "b"].metric) == sorted(MAP_METRICS)
    assert set(mine.status) == {"failed: why"} and mine.value.isna().all()
    assert _of(table[table.method == "tam"], "b", "obj_iou") == [6 / 15]
    assert _of(table, "b", "answer") == [4] and len(_of(table, "b", "rouge_l")) == 1


def test_the_published_protocol_gives_the_first_word_the_first_prompt_map_and_joins_the_end_token(run):
    _, table = run([_generation("a")], REFERENCE)
    assert _of(table, "a", "obj_iou") == [6 / 15, "no category"]
    assert ".<|im_end|>" in set(table.word)
    columns = table[table.metric == "func_iou"]
    assert columns.value.tolist() == [6 / 9]
    answer = stage.answer_maps(np.arange(6 * 9).reshape(6, 9), _generation("a"), REFERENCE)
    assert answer[:, 0].tolist() == [0, 27, 36, 45]


def test_every_sample_has_a_status_and_one_bad_sample_does_not_stop_the_others(run):
    (run.folder / "broken.png").write_bytes(b"no picture")
    (run.folder / "empty.png").write_bytes(b"")
    cv2.imwrite(str(run.folder / "colour.png"), np.zeros((6, 6, 3), np.uint8))
    cv2.imwrite(str(run.folder / "small.png"), np.zeros((5, 4), np.uint8))
    masks = {"none": None, "missing": "nowhere.png", "broken": "broken.png", "empty": "empty.png",
             "colour": "colour.png", "small": "small.png"}  # fmt: skip
    generations = [_generation(id) for id in masks]
    generations += [Generation.failure("failed", "What?", "no picture"), _generation("cut", status="truncated")]
    generations += [_generation("two", layout=_pictures()), _generation("video"), _generation("good")]
    samples = {id: {"mask": mask} for id, mask in masks.items()}
    samples |= {"video": {"kind": "video", "mask": None}, "two": {"masks": {"2": "mask.png"}}}
    counts, table = run(generations, samples=samples)
    assert counts == {"no mask": 4, "unreadable mask": 3, "mask of another size": 1, "failed": 1, "truncated": 1,
                      "ok": 1}  # fmt: skip
    assert _of(table, "none", "obj_iou") == ["no mask"]
    assert _of(table, "missing", "obj_iou") == ["no mask: the file is missing"]
    assert _of(table, "colour", "obj_iou") == ["unreadable mask: 8-bit colour, not 8-bit grey"]
    assert _of(table, "small", "obj_iou") == ["mask of another size: 4x5, picture 6x6"]
    assert _of(table, "small", "func_iou") == [6 / 9]
    assert _of(table, "two", "func_iou") == ["no mask: of 2, shown were 0, 1"]
    assert _of(table, "video", "obj_iou") == _of(table, "video", "entropy") == ["no mask"]
    assert _of(table, "two", "rouge_l") == _of(table, "good", "rouge_l")
    assert _of(table, "failed", "answer") == ["failed: no picture"]
    assert table[(table["sample"] == "cut") & (table.metric == "answer")].status.tolist() == ["truncated"]
    assert _of(table, "cut", "obj_iou") == [6 / 15]
    assert table.value.isna().equals((table.status != "ok") & (table.status != "truncated"))


def test_the_published_protocol_takes_a_mask_of_any_size(run):
    cv2.imwrite(str(run.folder / "large.png"), np.full((12, 12), 17, np.uint8))
    counts, _ = run([_generation("a")], REFERENCE, samples={"a": {"mask": "large.png"}})
    assert counts == {"ok": 1}


def test_published_pieces_that_do_not_fit_the_maps_drop_the_sample_with_a_status(run):
    generation = _generation("a", retokenised=(1, 2, 3))
    counts, table = run([generation], REFERENCE)
    assert counts == {"pieces differ": 1}
    expected = ["pieces differ: 3 after decoding and tokenising again, 4 maps"]
    assert _of(table, "a", "obj_iou") == _of(table, "a", "rouge_l") == _of(table, "a", "meteor") == expected
    counts, _ = run([generation])
    assert counts == {"ok": 1}


@pytest.mark.parametrize("protocol", [FIXED, REFERENCE], ids=lambda protocol: protocol.name)
def test_evidence_is_added_on_demand_and_changes_no_other_row(run, protocol):
    failed = Generation.failure("b", "What?", "a reason")
    counts, plain = run([_generation("a"), failed], protocol)
    grounded_counts, table = run.again(protocol, grounded=True)
    assert grounded_counts == counts
    added = table.metric.isin(["present", "chair_s", "tokens", "logprob", "peak", "margin", "spread", "mass"])
    pd.testing.assert_frame_equal(table[~added].reset_index(drop=True), plain)
    assert {*table[added]["sample"]} == {"a"}
    assert (_of(table, "a", "present"), _of(table, "a", "chair_s")) == ([1], [0])
    assert table[table.metric == "peak"][["method", "token", "word"]].values.tolist() == [["", 1, "cat"]]
    assert table[table.metric == "spread"].method.tolist() == ["tam"]
    first, second = _layout(2).grids
    two = dataclasses.replace(_layout(2), grids=(first, dataclasses.replace(second, medium=1)), sizes=((6, 6), (6, 6)))
    run([_generation("a", layout=two)], protocol)
    assert _of(run.again(protocol, grounded=True)[1], "a", "chair_s") == ["not every picture has a mask"]


def test_the_published_protocol_tags_words_alone(run):
    run([_generation("a")], REFERENCE)
    with pytest.raises(InputError, match="tags each word alone"):
        run.again(REFERENCE, sentences=True)


def test_files_that_do_not_belong_together_are_refused(run):
    with pytest.raises(SchemaError, match="another generation"):
        run([_generation("a")], fingerprint="other")
    with pytest.raises(SchemaError, match="samples are missing"):
        run([_generation("a"), _generation("b")], mapped=1)
    with pytest.raises(InputError, match="another protocol"):
        run([_generation("a")], maps_protocol=REFERENCE)
    (run.folder / "m.h5").write_text("no maps")
    with pytest.raises(SchemaError, match="not a maps file"):
        run.again(FIXED)
    with pytest.raises(InputError, match="category id out of range"):
        run([_generation("a")], samples={"a": {"categories": {"cat": 256}}})


# ---- phrases


PHRASE_OF = {"a": {"mask": "mask.png", "categories": {}, "phrases": {"a  CAT": 17}}}


def _opposed(generation):
    """Of the answer's tokens the first points right, the others left."""
    left = _left(generation)
    uint8 = left.uint8.copy()
    uint8[2] = RIGHT.ravel()
    return dataclasses.replace(left, maps=uint8 / 255, uint8=uint8)


def test_a_phrase_has_the_scores_of_its_tokens_mean_map(run):
    """Of "A" and " cat", which are both LEFT, those of a noun by hand."""
    counts, table = run([_generation("a")], samples=PHRASE_OF)
    rows = table[table.metric.isin(PHRASE_METRICS)]
    assert counts == {"ok": 1} and rows[["token", "word", "label"]].drop_duplicates().values.tolist() == [
        [0, "a  CAT", 17]
    ]
    assert dict(zip(rows.metric, rows.value, strict=True)) == {
        "phrase_obj_iou": 6 / 15, "phrase_precision": 6 / 12, "phrase_recall": 6 / 9, "phrase_pointing": 1.0,
        "phrase_pointing_box": 1.0, "phrase_relevance_mass": 0.5, "phrase_relevance_rank": 0.5,
        "phrase_pxap": pytest.approx(0.5),
    }  # fmt: skip
    assert _of(table, "a", "obj_iou") == ["no category"]  # a word of the phrase is no noun of a category


@pytest.mark.parametrize("protocol", [FIXED, REFERENCE])
def test_tokens_of_a_phrase_that_point_elsewhere_meet_in_the_middle(run, protocol):
    """The mean of RIGHT and LEFT is 120 0 120; published maps lend the first word that of the prompt's, here not."""
    _, table = run([_generation("a")], protocol, samples=PHRASE_OF, methods={"opposed": _opposed})
    both = np.array([[120, 0, 120]] * 3, np.uint8)
    (expected,) = _values(_localise([_word(0)], [both], _mask()).rows, "obj_iou")
    assert _of(table, "a", "phrase_obj_iou") == [expected] and 0 < expected < 6 / 15


def test_the_map_of_a_phrase_is_the_one_that_select_draws():
    maps = np.random.default_rng(0).random((4, 3, 3)).astype(np.float32)
    drawn = pooled(maps[[0, 2]].reshape(2, 9), [0.9, 0.1], "mean")
    assert (phrases._mean(maps, (0, 2))[0].ravel() == drawn).all()
    uint8 = np.array([[[1]], [[255]], [[2]]], np.uint8)
    assert phrases._mean(uint8, (0, 2)).tolist() == [[[1]]] and phrases._mean(uint8, (1,)).dtype == np.uint8


@pytest.mark.parametrize(
    ("sample", "status"),
    [
        ({"phrases": {"a dog": 17}}, "phrase not in the answer"),
        ({"phrases": {"ca": 17}}, "phrase not in the answer"),
        ({"phrases": {"What": 17}}, "phrase not in the answer"),  # the prompt's
        ({"phrases": {"a cat": 18}}, "not in image"),
        ({"phrases": {"a cat": 17}, "mask": None}, "no mask"),
        ({"phrases": {"a cat": 17}, "mask": "gone.png"}, "no mask: the file is missing"),
    ],
)
def test_a_phrase_that_cannot_be_scored_has_a_status_that_is_counted(run, sample, status):
    _, table = run([_generation("a")], samples={"a": sample})
    rows = table[table.metric.isin(PHRASE_METRICS)]
    assert list(rows.metric) == PHRASE_METRICS and set(rows.status) == {status}


def test_a_phrase_has_the_status_of_a_method_that_failed_or_says_nothing_of_it(run):
    def silent(generation):
        made = _left(generation)
        return dataclasses.replace(made, explained=np.arange(len(made.maps)) != len(generation.prompt_ids))

    def failed(generation):
        return "failed: why"

    _, table = run([_generation("a")], samples=PHRASE_OF, methods={"silent": silent, "failed": failed, "tam": _left})
    by_method = {name: table[table.method == name] for name in ("silent", "failed", "tam")}
    assert [_of(rows, "a", "phrase_obj_iou") for rows in by_method.values()] == [
        ["not explained"], ["failed: why"], [6 / 15],
    ]  # fmt: skip


def test_a_phrase_behind_the_model_s_thoughts_is_scored_and_one_in_them_is_not():
    names = {7: "<think>", 8: "</think>"}
    for answer, tokens in (((7, 1, 2, 8, 1, 2, 3, 4), (4, 5)), ((7, 1, 2, 8, 3, 4), ()), ((7, 1, 2), ())):
        made = _generation("a", answer)
        vocabulary = made.vocabulary | {id: Piece(text, text, text.encode()) for id, text in names.items()}
        (found,) = phrases.said(dataclasses.replace(made, vocabulary=vocabulary), {"A cat": 3})
        assert (found.tokens, found.label) == (tokens, 3)


def test_ids_of_phrases_fit_into_a_label_map(run):
    with pytest.raises(InputError, match=r"category id out of range; got \{'a cat': 256\}"):
        run([_generation("a")], samples={"a": {"phrases": {"a cat": 256}}})
