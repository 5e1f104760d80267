"""A word's evidence, whether its object is in the picture, and what the one says of the other."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tam.evidence import evidence_of
from tam.figures.data import read_metrics
from tam.metrics.grounding import grounding, map_grounding, truth
from tam.records import SampleMaps
from tam.rows import Row, RowsHeader, written
from tam.run import runs_of
from tam.tables.ablation import write_tables
from tam.tables.grounding import ADDED, BY_WORD, judge, judge_together, read_nouns
from tam.tables.ranking import auroc, folds, held_out, logistic
from tam.words import FUNCTION, NO_CATEGORY, Word, named
from tests.answers import generation

ANSWER = [b"a", b" gir", b"affe", b" cat"]
WORDS = [
    Word("a", (0,), "DT", FUNCTION), Word("giraffe", (1, 2), "NN", 25), Word("cat", (3,), "NN", 17),
]  # fmt: skip


@pytest.fixture
def answer():
    """Two words of the prompt, four of the answer, a grid of 3 x 4 cells, with logits that are easy to count with."""
    made = generation("a", [b"What", b"?"], ANSWER)
    made.logits[:] = 0
    for token, highest in {1: 6.0, 2: 4.0, 3: -1.0}.items():
        column = made.column(made.answer_ids[token])
        made.logits[:12, column] = -2.0
        made.logits[5, column] = highest
        made.logits[12 + 2 + token, column] = -token  # the row that predicts it
    made.candidates.logsumexp[:] = 0.5
    return made


# ---- of one word


def test_a_words_log_probability_is_the_sum_of_its_tokens_and_its_peak_their_mean(answer):
    found = evidence_of(answer, (1, 2))
    assert found.logprob == (-1 - 0.5) + (-2 - 0.5) and found.probability == math.exp(-4)
    assert found.peak == (6 + 4) / 2
    assert found.margin == pytest.approx(((6 + 2) + (4 + 2)) / 2 * 11 / 12)  # the mean has the peak in it


def test_where_no_cell_speaks_for_a_word_its_peak_is_0_and_its_margin_is_not(answer):
    found = evidence_of(answer, (3,))
    assert found.peak == 0 and found.margin == pytest.approx(11 / 12)


def test_logits_of_another_layer_have_no_probability(answer):
    assert evidence_of(answer, (1, 2), layer=2)[:2] == (None, 5)
    rows = grounding(answer, WORDS, {25}, "", layer=2)
    assert {row.status for row in rows if row.metric == "logprob"} == {"logits of another layer"}
    assert all(math.isnan(row.value) for row in rows if row.metric == "logprob")


# ---- rows


def test_of_each_noun_that_names_a_category_it_is_said_whether_it_is_in_the_picture(answer):
    rows = grounding(answer, WORDS, {25}, "")
    assert rows[0] == Row(-1, "", 0, "chair_s", 1.0)
    assert [(row.token, row.value) for row in rows if row.metric == "present"] == [(1, 1.0), (3, 0.0)]
    assert [row.value for row in rows if row.metric == "peak"] == [5, 0]
    assert [row.value for row in rows if row.metric == "tokens"] == [2, 1]
    assert grounding(answer, WORDS, {25, 17}, "")[0].value == 0


def test_without_a_label_map_there_is_no_truth(answer):
    (row,) = grounding(answer, WORDS, None, "no mask")
    assert (row.metric, row.status) == ("chair_s", "no mask")
    seen = np.array([[0, 17], [99, 17]], np.uint8)
    assert truth({}, {(0, 0)}, [17]) is None
    assert truth({(0, 0): seen}, {(0, 0)}, [17, 18]) == {17}


def test_of_several_pictures_each_needs_a_label_map():
    """What is in none of them is absent; what one does not say may be in it."""
    one, other = np.full((2, 2), 17, np.uint8), np.full((2, 2), 18, np.uint8)
    assert truth({(0, 0): one}, [(0, 0), (1, 0)], [17, 18]) is None
    assert truth({(0, 0): one, (1, 0): other}, [(0, 0), (1, 0)], [17, 18, 19]) == {17, 18}


def test_neighbours_with_one_label_are_one_noun():
    words = [
        Word("traffic", (1,), "NN", 10),
        Word("lights", (2, 3), "NNS", 10),
        Word("lights", (5,), "NNS", NO_CATEGORY),
    ]
    assert named(words) == [Word("traffic lights", (1, 2, 3), "NN", 10)]
    assert len(named([words[0], WORDS[0], words[1]])) == 2


def test_of_a_map_its_scale_and_how_far_it_is_from_uniform_are_kept():
    maps = np.zeros((6, 4), np.float16)
    maps[3] = [0, 1, 0, 0]  # one cell: entropy 0
    maps[4] = [1, 1, 0, 0]  # two of four: entropy 1/2
    scale = np.array([np.nan, 1, 1, 0.5, 1.5, np.nan])
    none = np.zeros((6, 6), np.float32)
    rows = map_grounding(WORDS, SampleMaps("a", "ok", maps, maps.astype(np.uint8), none, scale), 4)
    assert [(row.token, row.metric, row.status) for row in rows] == [
        (1, "scale", "ok"), (1, "spread", "ok"), (1, "mass", "ok"),
        (3, "scale", "nothing subtracted"), (3, "spread", "zero map"), (3, "mass", "ok"),
    ]  # fmt: skip
    assert rows[0].value == 1 and rows[1].value == pytest.approx(0.75) and rows[2].value == (1 + 2) / 8
    raw = SampleMaps("a", "ok", maps, maps.astype(np.uint8), none, np.full(6, np.nan))
    assert {row.metric for row in map_grounding(WORDS, raw, 4)} == {"spread", "mass"}


# ---- can a number tell them apart?

NUMBERS = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=12)


def test_the_area_by_hand_with_ties():
    assert auroc(np.array([1, 1, 2]), np.array([False, True, True])).tolist() == [0.75]
    assert auroc(np.array([3.0, 1.0]), np.array([True, False])).tolist() == [1]
    assert np.isnan(auroc(np.array([1.0, 2.0]), np.array([True, True])))
    assert np.isnan(auroc(np.array([]), np.array([], bool)))


@given(NUMBERS, st.randoms())
def test_the_area_is_the_share_of_pairs_in_order_and_knows_no_order_of_rows(words, random):
    scores, present = map(np.array, zip(*words, strict=True))
    pairs = [(p > a) + (p == a) / 2 for p in scores[present] for a in scores[~present]]
    expected = np.mean(pairs) if pairs else np.nan
    np.testing.assert_allclose(auroc(scores, present)[0], expected)
    random.shuffle(words)
    shuffled = auroc(*map(np.array, zip(*words, strict=True)))
    np.testing.assert_array_equal(shuffled, auroc(scores, present))


def test_words_of_another_kind_are_not_compared():
    """Between kinds the order is turned round: within each the scores are perfect."""
    scores, present = np.array([1, 2, 11, 12.0]), np.array([False, True, False, True])
    kind = np.array([1, 1, 2, 2])
    assert auroc(scores, present).tolist() == [0.75] and auroc(scores, present, kind=kind).tolist() == [1]
    drawn = np.array([[1, 1, 0, 1], [1, 0, 0, 1]])
    np.testing.assert_array_equal(auroc(scores, present, drawn, kind), [1, np.nan])


def test_a_word_drawn_twice_counts_twice():
    scores, present = np.array([1, 2, 3]), np.array([False, True, False])
    drawn = np.array([[1, 1, 1], [2, 1, 0], [0, 1, 3], [1, 0, 1]])
    np.testing.assert_array_equal(auroc(scores, present, drawn), [0.5, 1, 0, np.nan])


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.randoms())
def test_folds_split_no_group_and_know_no_order_of_rows(groups, random):
    part = folds(np.array(groups))
    of_group = dict(zip(groups, part.tolist(), strict=True))
    assert [of_group[group] for group in groups] == part.tolist()
    random.shuffle(groups)
    assert folds(np.array(groups)).tolist() == [of_group[group] for group in groups]


def test_a_regression_is_where_the_slope_of_its_loss_is_0():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(80, 2))
    present = rng.random(80) < 1 / (1 + np.exp(-numbers @ [2, -1]))
    weights = logistic(numbers, present)
    off = 1 / (1 + np.exp(-weights[0] - numbers @ weights[1:])) - present
    np.testing.assert_allclose(off.sum(), 0, atol=1e-9)
    np.testing.assert_allclose(numbers.T @ off + weights[1:], 0, atol=1e-9)
    apart = logistic(numbers, numbers[:, 0] > 0)  # without the penalty its weights would have no end
    assert np.isfinite(apart).all() and apart[1] > abs(apart[2])


def test_what_is_predicted_had_no_say_in_the_weights():
    """Labels of a fold, turned round, move what is said of the others and not of itself."""
    rng = np.random.default_rng(0)
    numbers, part = rng.normal(size=(60, 1)), np.arange(60) % 5
    present = numbers[:, 0] + rng.normal(size=60) > 0
    turned = np.where(part == 2, ~present, present)
    before, after = (held_out(numbers, labels, part) for labels in (present, turned))
    assert ((before == after) == (part == 2)).all()
    assert np.isnan(held_out(numbers, part != 2, np.where(part == 2, 1, 0))).all()  # nothing to learn from


# ---- the table


def run_of(folder: Path, absent: int, order: int = 1):
    """A run of forty answers of two nouns: log P is chance, the peak tells most of the absent ones."""
    rng = np.random.default_rng(0)
    answers = []
    for number in range(40):
        rows = [Row(-1, "A cat.", 0, "answer", 4.0), Row(-1, "", 0, "chair_s", float(number < absent))]
        for token, present in ((1, 1.0), (3, float(number >= absent))):
            label = 17 + (number + token) % 7
            values = {"present": present, "tokens": 1.0 + number % 2, "logprob": -rng.random(), "margin": 1.0}
            values |= {"peak": 3 * present + rng.normal(), "image_use_blur": 2 * present}
            rows += [Row(token, "cat", label, metric, value) for metric, value in values.items()]
        answers.append((f"{number:02d}", rows, [Row(1, "cat", 17, "scale", 0.5), Row(3, "cat", 17, "scale", 0.5)]))
    path = folder / "results/d/m/metrics/0-of-1.parquet"
    with written(path, RowsHeader("f" * 32, 40, {"random": "Random", "tam": "TAM"}, "fixed", "a tagger")) as writer:
        for sample, rows, of_map in answers[::order]:
            writer.add(sample, "", rows)
            writer.add(sample, "tam", of_map)
    (run,) = runs_of(metrics=[path])
    return run


def test_the_order_of_rows_changes_nothing(tmp_path):
    one, other = (run_of(tmp_path / str(order), 15, order) for order in (1, -1))
    for run in (one, other):
        write_tables(run, run.metrics[0].parent / "out")
    texts = [(run.metrics[0].parent / "out/grounding.csv").read_text() for run in (one, other)]
    assert texts[0] == texts[1]


def test_what_the_map_adds_is_a_difference_of_pairs_with_an_interval(tmp_path):
    run = run_of(tmp_path, 15)
    nouns = read_nouns(run, ["tam"])
    alone = {line.score: line for line in judge(nouns) if not line.folds}
    assert alone["image_use_blur"].value == 1  # of another stage
    assert alone["peak"].value > 0.9 and 0.3 < alone["logprob"].value < 0.7 and alone["margin"].value == 0.5
    assert (alone["peak"].present, alone["peak"].absent, nouns.wrong, nouns.answers) == (65, 15, 15, 40)
    joined = {(line.score, line.folds): line for line in judge_together(nouns)}
    for way in ("by image", BY_WORD):
        added = joined[ADDED, way]
        assert added.value == joined["log P and the map", way].value - joined["log P", way].value
        assert 0 < added.limits[0] < added.value < added.limits[1]
    assert joined[ADDED, "by image"].value != joined[ADDED, BY_WORD].value  # other words are learned from
    out = tmp_path / "out"
    write_tables(run, out)
    table = (out / "grounding.md").read_text()
    assert "CHAIR_i 0.188, CHAIR_s 0.375" in table and "Evidence, not truth" in table
    rows = [*csv.DictReader(io.StringIO((out / "grounding_words.csv").read_text()))]
    assert len(rows) == 80 and rows[0]["scale_tam"] == "0.5" and rows[0]["present"] == "1"


def test_figures_choose_words_as_without_evidence(tmp_path):
    assert set(read_metrics(run_of(tmp_path, 15)).metric) == {"answer", "image_use_blur"}


def test_below_ten_absent_nouns_there_is_no_value(tmp_path):
    lines = [*judge(nouns := read_nouns(run_of(tmp_path, 9), ["tam"])), *judge_together(nouns)]
    assert lines and {line.status for line in lines} == {"too few"} and all(math.isnan(line.value) for line in lines)
    write_tables(run_of(tmp_path, 9), tmp_path / "out")
    assert "too few" in (tmp_path / "out/grounding.md").read_text()
    assert {line.status for line in judge(read_nouns(run_of(tmp_path, 10), ["tam"]))} == {"ok"}
