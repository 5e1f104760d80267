"""Faithfulness by hand: models of a few cells whose numbers are known, and wrong measurements that must show."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tam import cell_sets
from tam.cell_sets import Cells
from tam.layout import Grid, Layout
from tam.metrics.faithfulness import (
    NOT_FROM_PICTURE,
    Memo,
    area,
    block_falls,
    by_blocks,
    by_order,
    faithfulness,
    forwards,
    image_use,
)
from tam.perturb import cells as pixels
from tam.perturb.cells import baseline, mixed, rows_mixed
from tam.perturbed import NOT_DRAWN, Asked, Perturbed, word_map
from tam.records import OK
from tam.words import FUNCTION, Word, probed

CAT, DOG, AND = Word("cat", (0,), "NN", 1), Word("dog", (2,), "NN", 2), Word("and", (1,), "CC", FUNCTION)
TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5)


def layout(rows, columns, size=(40, 40), box=None):
    grid = Grid(0, (0,), rows, columns, box or (0.0, 0.0, *map(float, size)))
    cells = rows * columns
    return Layout(np.arange(cells, dtype=np.int32), np.zeros(0, np.int32), cells, (grid,), (size,))


def memo(model, cells=10, maps=(), words=(CAT,), id="a", shape=None, **asked):
    """What a model, bool kept [cell] -> P of each of three tokens, says of all sets that are wanted."""
    options = Asked(("m",), **({"blocks": 0, "sets": 0} | asked))
    where = Cells.of(layout(*(shape or (1, cells))))
    wanted = options.wanted(where, id, words, maps)
    kept = ~cell_sets.unpacked(wanted, where.count)
    logprob = np.log(np.array([model(one) for one in kept], np.float64)).reshape(len(kept), -1)
    logprob = np.broadcast_to(logprob, (len(kept), 3)).copy() if logprob.shape[1] == 1 else logprob
    return Memo(id, where, words, Perturbed(id, OK, "", wanted, logprob, logprob > math.log(0.5)), "blur", options)


def owners(where, medium, frame=0):
    return pixels.owners(Cells.of(where), medium, frame)


def of_order(model, order, **more):
    """What an order of the cells says of a model."""
    ranked = np.zeros((3, len(order)))
    ranked[:, order] = np.arange(len(order))[::-1]
    return by_order(memo(model, len(order), [ranked], **more), CAT, np.asarray(order))


def one_cell(number):
    return lambda kept: 0.9 if kept[number] else 0.1


# ---- 1 to 5: the arithmetic


def test_the_only_cell_that_matters_gains_most_first_and_loses_most_last():
    first = of_order(one_cell(7), [7, *range(7), 8, 9], fractions=TENTHS)
    last = of_order(one_cell(7), [*range(7), 8, 9, 7], fractions=TENTHS)
    assert first["gain"] == pytest.approx(0.72) and last["gain"] == pytest.approx(-0.72)
    assert first["deletion"] == pytest.approx(0.1 + 0.8 * 0.1 / 2)
    assert first["gain_log"] == pytest.approx(0.9) and last["gain_log"] == pytest.approx(-0.9)
    sixteenths = (1 / 16, 1 / 4, 1 / 2)
    first, last = (
        of_order(one_cell(3), order, fractions=sixteenths)
        for order in ([3, 0, 1, 2, *range(4, 16)], [*range(3), *range(4, 16), 3])
    )
    assert first["gain"] == pytest.approx(0.75) and last["gain"] == pytest.approx(-0.75)
    assert first["drop16"] == pytest.approx(0.8) and last["drop16"] == pytest.approx(0)
    assert (first["flip"], last["flip"]) == (1.0, 0.0)
    second = of_order(one_cell(3), [0, 3, 1, 2, *range(4, 16)])
    assert second["drop16"] == pytest.approx(0) and second["flip"] == 1.0  # of 16 cells one, and two


def test_of_an_additive_model_an_order_gains_what_its_reverse_loses_and_the_best_order_is_by_weight():
    weights = np.random.default_rng(0).random(12)

    def model(kept):
        return 0.05 + 0.9 * weights[kept].sum() / weights.sum()

    best = np.argsort(-weights)
    gain = of_order(model, best)["gain"]
    assert of_order(model, best[::-1])["gain"] == pytest.approx(-gain, abs=1e-12)
    rng = np.random.default_rng(1)
    others = [of_order(model, rng.permutation(12), fractions=(0.25, 0.5))["gain"] for _ in range(1000)]
    assert max(others) <= of_order(model, best, fractions=(0.25, 0.5))["gain"] + 1e-12


def test_putting_back_is_taking_away_in_reverse_read_backwards_to_the_bit():
    model = np.random.default_rng(2).random(1 << 8) * 0.8 + 0.1
    order, fractions = np.random.default_rng(3).permutation(8), (1 / 8, 1 / 4, 1 / 2)

    def said(some):
        return of_order(lambda kept: model[np.packbits(kept)[0]], some, fractions=fractions)

    one, other = said(order), said(order[::-1])
    points = Asked(("m",), fractions).points
    assert [one[f"insertion@{at:g}"] for at in points] == [other[f"deletion@{1 - at:g}"] for at in points]


@pytest.mark.parametrize("evidence", [0, 9], ids=["first cell", "last cell"])
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_map_without_an_order_gains_nothing_in_the_mean_and_would_in_raster_order(evidence, value):
    flat = np.full(10, value)
    gains = [
        of_order(one_cell(evidence), cell_sets.descending(flat, f"s{seed}", 0), fractions=TENTHS)["gain"]
        for seed in range(500)
    ]
    assert abs(np.mean(gains)) < 4 * np.std(gains) / math.sqrt(500)
    raster = of_order(one_cell(evidence), np.argsort(-flat, kind="stable"), fractions=TENTHS)["gain"]
    assert raster == pytest.approx(0.72 if evidence == 0 else -0.72)


@pytest.mark.parametrize("cells", [196, 49])
def test_a_random_order_gains_nothing_from_a_convex_model_and_would_with_steps_at_one_end_only(cells, monkeypatch):
    def gain():
        return of_order(lambda kept: 0.01 + 0.9 * kept.mean() ** 3, np.arange(cells))["gain"]

    assert gain() == pytest.approx(0, abs=1e-12)
    symmetric = cell_sets.counts
    monkeypatch.setattr(
        cell_sets, "counts", lambda n, some: np.array([k for k in symmetric(n, some) if k in (n, *range(n // 2 + 1))])
    )
    assert gain() > 0.02


@given(st.integers(1, 400), st.lists(st.floats(0.001, 0.5), min_size=1, max_size=6))
def test_steps_are_their_own_mirror_image(cells, fractions):
    steps = cell_sets.counts(cells, fractions)
    assert steps[0] == 0 and steps[-1] == cells and (np.diff(steps) > 0).all()
    assert (steps == (cells - steps)[::-1]).all()


def test_both_ends_are_the_same_for_all_methods_and_only_the_order_of_a_map_counts():
    map_ = np.random.default_rng(4).random((3, 16)).astype(np.float16)
    tam, other = map_.astype(np.float64), 1 - map_.astype(np.float64)
    weights = np.random.default_rng(5).random(16)
    found = memo(
        lambda kept: 0.1 + 0.8 * (weights[kept].sum() / weights.sum()) ** 2, 16, [tam, other], words=(CAT, DOG)
    )
    rows = faithfulness(found, {"tam": tam, "scaled": 2 * tam + 3, "other": other})
    values = {name: {(row.token, row.metric): row.value for row in its} for name, its in rows.items()}
    assert values["tam"] == values["scaled"] != values["other"]
    for end in ("deletion_blur@0", "deletion_blur@1", "insertion_blur@0", "insertion_blur@1"):
        assert values["tam"][0, end] == values["other"][0, end]
    assert values["tam"][0, "deletion_blur@0"] == values["tam"][0, "insertion_blur@1"] == pytest.approx(0.9)


def test_equal_cells_are_drawn_once_for_a_sample_and_token():
    flat = np.zeros(50)
    drawn = cell_sets.descending(flat, "a", 3)
    assert (drawn == cell_sets.descending(flat + 1, "a", 3)).all() and sorted(drawn) == list(range(50))
    assert (drawn != cell_sets.descending(flat, "a", 4)).any() and (drawn != cell_sets.descending(flat, "b", 3)).any()
    assert cell_sets.descending(np.array([0, 2, 0, 3]), "a", 0)[:2].tolist() == [3, 1]


# ---- words and what has no value


def test_the_probability_of_a_word_is_the_product_of_its_tokens():
    giraffe = Word("giraffe", (0, 2), "NN", 1)
    found = memo(lambda kept: [0.01 if kept.all() else 0.001, 0.5, 1.0], words=(giraffe,), maps=[np.zeros((3, 10))])
    rows = {row.metric: row.value for row in faithfulness(found, {"m": np.zeros((3, 10))})["m"]}
    assert rows["deletion_blur@0"] == pytest.approx(0.01)  # a mean over tokens would be .505
    assert word_map(giraffe, np.array([[0, 1], [9, 9], [1, 0]])).tolist() == [0.5, 0.5]


def test_words_of_one_category_in_a_row_are_one_word():
    words = [
        Word("traffic", (0,), "NN", 3),
        Word("lights", (1, 2), "NNS", 3),
        Word("run", (3,), "VB"),
        Word("the", (4,), "DT", FUNCTION),
    ]
    assert probed(words) == [Word("traffic lights", (0, 1, 2), "NN", 3)]
    assert [word.text for word in probed(words, content=True)] == ["traffic lights", "run"]
    assert [word.text for word in probed([words[0], words[2], words[1]])] == ["traffic", "lights"]


def test_a_word_that_the_picture_does_not_decide_keeps_its_gain_and_is_counted():
    found = memo(lambda kept: 0.9 if kept.all() else 0.5, maps=[np.zeros((3, 10))])
    rows = {row.metric: row for row in faithfulness(found, {"m": np.zeros((3, 10))})["m"]}
    assert rows["gain_log_blur"].status == NOT_FROM_PICTURE and rows["gain_blur"].status == OK
    assert rows["flip_blur"].value == 1.0
    unlikely = memo(lambda kept: 0.4 if kept.all() else 0.1, maps=[np.zeros((3, 10))])
    rows = {row.metric: row for row in faithfulness(unlikely, {"m": np.zeros((3, 10))})["m"]}
    assert rows["flip_blur"].status == "not the most likely" and rows["gain_log_blur"].status == OK


def test_the_use_of_the_picture_is_of_nouns_and_of_function_words():
    found = memo(lambda kept: [0.8, 0.5, 0.4] if kept.all() else [0.2, 0.5, 0.1], words=(CAT, DOG), maps=[])
    rows = image_use(found, [CAT, AND, DOG])
    assert [(row.metric, row.word) for row in rows] == [
        ("image_use_blur", "cat"),
        ("image_use_blur", "dog"),
        ("image_use_function_blur", "and"),
    ]
    assert [row.value for row in rows] == pytest.approx([math.log(4), math.log(4), 0])


def test_a_sample_without_scores_has_one_row_a_method_that_says_why():
    found = memo(one_cell(0), maps=[])
    for status, said in ((NOT_DRAWN, NOT_DRAWN), ("failed: no memory", "not scored: no memory")):
        rows = faithfulness(replace(found, perturbed=Perturbed.without("a", status)), {"m": np.zeros((3, 10))})
        assert [(row.metric, row.status) for row in rows["m"]] == [("gain_blur", said)]
    assert [row.status for row in faithfulness(found, {"m": "failed: why"})["m"]] == ["failed: why"]


def test_forward_passes_are_those_of_the_samples_that_are_scored():
    found = memo(one_cell(0), maps=[])
    assert [(row.metric, row.value) for row in forwards(found)] == [("forwards_blur", 2)]
    assert forwards(replace(found, perturbed=replace(found.perturbed, status=NOT_DRAWN))) == []


def test_a_word_of_which_a_method_says_nothing_is_counted_and_costs_nothing():
    silent = np.zeros((3, 10))
    silent[0] = np.nan
    found = memo(one_cell(0), maps=[silent], words=(CAT, DOG))
    rows = faithfulness(found, {"m": silent})["m"]
    assert [(row.word, row.metric) for row in rows if row.status == "not explained"] == [("cat", "gain_blur")]
    assert not len(found.asked.of_map(silent[0], "a", 0)) and len(found.asked.of_map(silent[2], "a", 2))


# ---- 6: blocks, and where cells lie


def white_cell(where, row, column, size):
    """A picture that is black but for one cell of 3 x 5."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[owners(where, 0) == row * 5 + column] = 255
    return picture


@pytest.mark.parametrize(
    ("read", "found_again"),
    [
        (layout(3, 5, (100, 60)), True),
        (layout(5, 3, (100, 60)), False),
        (layout(3, 5, (100, 60), (20.0, 0.0, 120.0, 60.0)), False),
    ],
    ids=["as it is", "rows and columns swapped", "shifted by one cell"],
)
def test_the_cell_that_a_model_answers_from_is_found_and_only_with_the_right_layout(read, found_again):
    true = layout(3, 5, (100, 60))
    picture = white_cell(true, 1, 3, (100, 60))
    other, owner = np.zeros_like(picture), owners(read, 0)

    def chance(kept):
        seen = mixed(picture, other, owner, ~kept)
        return 0.05 + 0.9 * seen[owners(true, 0) == 8].mean() / 255

    map_ = np.zeros((3, 15))
    map_[0, 8] = 1
    options = {"shape": (3, 5), "blocks": 15, "sets": 16, "fractions": (1 / 15, 0.5)}
    found = memo(chance, maps=[map_], **options)
    falls = block_falls(found)[CAT].blocks
    by_map = by_order(found, CAT, cell_sets.descending(map_[0], "a", 0))
    assert (falls.argmax() == 8 and by_map["gain"] > 0.8) == found_again
    assert (by_blocks(found, CAT, map_[0], block_falls(found))["loo"] > 0.9) == found_again


def test_leave_one_out_is_a_rank_correlation_and_specific_is_what_is_the_words_own():
    falls = {0: np.array([4.0, 1, 2, 3]), 2: np.array([1.0, 4, 3, 2])}

    def model(kept):
        return [math.exp(-1 - (falls[0][~kept]).sum() / 10), 0.5, math.exp(-1 - (falls[2][~kept]).sum() / 10)]

    found = memo(model, words=(CAT, DOG), maps=[], shape=(2, 2), blocks=4, sets=6)
    said = by_blocks(found, CAT, np.array([4.0, 1, 2, 3]), block_falls(found))
    assert said["loo"] == pytest.approx(1) and said["specific"] == pytest.approx(2)
    assert said["faith_corr"] == pytest.approx(1)
    halves, steep = cell_sets.halves(np.arange(4), 6, "a"), np.array([100.0, 1, 2, 3])
    linear = np.corrcoef(halves @ steep, halves @ falls[0])[0, 1]
    assert linear < 0.95  # by ranks it were 1
    assert by_blocks(found, CAT, steep, block_falls(found))["faith_corr"] == pytest.approx(linear)
    same = replace(found, words=(CAT, DOG, Word("kitten", (1,), "NN", 1)))  # of one category: no other word
    assert by_blocks(same, CAT, falls[0], block_falls(same))["specific"] == pytest.approx(2)
    assert by_blocks(found, DOG, np.ones(4), block_falls(found))["loo"] == 0  # a constant map says nothing
    alone = replace(found, words=(CAT,))
    assert by_blocks(alone, CAT, np.array([4.0, 1, 2, 3]), block_falls(alone))["specific"] == "no other word"


def test_random_sets_have_one_size_and_are_the_same_for_all_methods():
    block = cell_sets.blocks([(14, 14)], 49)
    halves = cell_sets.halves(block, 32, "a")
    assert [len(set(block[one])) for one in halves] == [24] * 32
    assert (halves == cell_sets.halves(block, 32, "a")).all() and (halves != cell_sets.halves(block, 32, "b")).any()


# ---- 7 and 9: pixels


def test_every_pixel_has_one_cell_and_cells_differ_by_a_row_and_a_column_at_most():
    where = layout(3, 5, (101, 67))
    owner = owners(where, 0)
    rows, columns = (sorted(set(np.bincount(some))) for some in (owner[:, 0] // 5, owner[0] % 5))
    assert owner.shape == (67, 101) and set(owner.ravel()) == set(range(15))
    assert rows[-1] - rows[0] <= 1 and columns[-1] - columns[0] <= 1
    assert (owner == owner[:, :1] // 5 * 5 + owner[:1] % 5).all()
    picture = np.random.default_rng(0).integers(0, 256, (67, 101, 3), dtype=np.uint8)
    for kind in ("blur", "mean"):
        other = baseline(picture, kind)
        assert mixed(picture, other, owner, np.zeros(15, bool)).tobytes() == picture.tobytes()
        assert mixed(picture, other, owner, np.ones(15, bool)).tobytes() == np.ascontiguousarray(other).tobytes()


def test_a_cell_is_where_its_box_lies_and_what_no_grid_covers_goes_with_the_nearest():
    where = layout(1, 2, (10, 4), (2.0, 0.0, 8.0, 4.0))
    assert owners(where, 0)[0].tolist() == [0] * 5 + [1] * 5
    assert owners(layout(1, 3, (4, 1)), 0)[0].tolist() == [0, 1, 1, 2]  # where its centre lies


def test_what_is_replaced_is_the_blur_of_the_given_picture_once():
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, 48:] = 240
    where, other = layout(2, 4, (96, 48)), baseline(picture, "blur")
    few, more = np.arange(8) < 2, np.arange(8) < 5
    one, two = (mixed(picture, other, owners(where, 0), some) for some in (few, more))
    both = few[owners(where, 0)]
    assert (one[both] == two[both]).all() and (two[both] == other[both]).all()
    assert other[0, 0, 0] < other[0, 47, 0] < other[0, 95, 0] and abs(int(other[20, 48, 0]) - 120) < 12  # sigma 8
    assert abs(int(other[20, 55, 0]) - 198) <= 2  # 240 times the normal distribution at 7.5 / 8
    assert (baseline(picture, "mean") == 120).all()


def test_frames_of_a_temporal_patch_change_together_and_no_other():
    box = (0.0, 0.0, 8.0, 4.0)
    grids = (Grid(0, (0, 5), 1, 2, box), Grid(0, (9, 14), 1, 2, box))
    video = Layout(np.arange(4, dtype=np.int32), np.zeros(0, np.int32), 4, grids, ((8, 4),))
    first, second, third = (owners(video, 0, frame) for frame in (0, 5, 9))
    assert (first == second).all() and set(first.ravel()) == {0, 1} and set(third.ravel()) == {2, 3}


def test_cells_of_tiles_with_a_thumbnail_are_those_of_the_finest_grid():
    boxes = ((0.0, 0.0, 4.0, 4.0), (4.0, 0.0, 8.0, 4.0), (0.0, 0.0, 8.0, 4.0))
    left, right, thumbnail = (Grid(0, (0,), 1, columns, box) for columns, box in zip((2, 2, 1), boxes, strict=True))
    alone = Grid(1, (0,), 1, 1, (0.0, 0.0, 6.0, 6.0))
    where = Layout(np.arange(6), np.arange(0), 6, (left, right, thumbnail, alone), ((8, 4), (6, 6)))
    cells = Cells.of(where)
    assert cells.shapes == [(1, 4), (1, 1)] and cells.count == 5
    assert cells.read(np.array([0.0, 2.0, 4.0, 6.0, 8.0, 1.0])).tolist() == [4.0, 5.0, 6.0, 7.0, 1.0]
    assert owners(where, 0)[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and set(owners(where, 1).ravel()) == {4}
    plain = Cells.of(layout(3, 5))
    assert (plain.read(np.arange(15.0)) == np.arange(15)).all() and plain.shapes == [(3, 5)]


def test_patches_of_replaced_cells_come_from_the_baseline():
    original, other = np.zeros((8, 3)), np.ones((8, 3))
    assert rows_mixed(original, other, np.array([True, False])).sum(1).tolist() == [3.0] * 4 + [0.0] * 4
    assert (
        rows_mixed(original, other, np.zeros(3, bool)) is None
        and rows_mixed(original, other[:4], np.zeros(2, bool)) is None
    )


# ---- 14: an oracle


def test_deletion_is_pixel_flipping():
    """Bach et al. 2015, as Quantus computes it: cells go black one after another; p of the class after each."""
    torch.manual_seed(0)
    classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 4 * 3, 5), torch.nn.Softmax(-1))
    picture = np.random.default_rng(6).integers(1, 256, (4, 4, 3), dtype=np.uint8)
    attribution = np.random.default_rng(7).permutation(16).astype(float)

    def chance(pixels):
        with torch.no_grad():
            return classifier(torch.from_numpy(pixels[None].astype(np.float32) / 255))[0, 2].item()

    flipped, expected = picture.copy(), [chance(picture)]
    for place in np.argsort(-attribution):
        flipped[place // 4, place % 4] = 0
        expected.append(chance(flipped))
    owner = owners(layout(4, 4, (4, 4)), 0)
    sets = cell_sets.taken(cell_sets.descending(attribution, "a", 0), range(17))
    ours = [chance(mixed(picture, np.zeros_like(picture), owner, some)) for some in sets]
    assert ours == expected
    assert area(np.array(ours), np.arange(17) / 16) == pytest.approx(np.trapezoid(expected, dx=1 / 16))
