"""``published_code.py`` behaves as the published code does, and what that gave comes out of ours to the bit."""

import numpy as np
import pytest

from tam.errors import InputError
from tam.methods.core import token_activation_maps
from tam.methods.plan import plan
from tam.protocol import REFERENCE
from tests.published_code import PublishedCode, find_spans, locate
from tests.shared import shared
from tests.test_plan import END, LENGTH, LINE, NAME, PAD, START, TOKENS, TURN

IDS = {"img_id": [START, END], "prompt_id": [END, [TURN, NAME]], "answer_id": [[TURN, NAME, LINE], -1]}

# ---- where the parts are


@pytest.mark.parametrize(
    ("marker", "last", "position"),
    [
        (7, False, 1),
        (7, True, 1),
        (5, False, -1),
        ([7], False, 4),
        ([7, 8], False, 4),
        ([7, 8], True, 5),
        ([9], True, -1),
    ],
)
def test_an_id_is_found_first_and_a_sequence_last(marker, last, position):
    assert locate([6, 7, 8, 6, 7, 8], marker, last=last) == position


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("image", [[START, END], [PAD]])
def test_spans_lie_between_the_markers(strict, image):
    spans = find_spans(TOKENS, IDS | {"img_id": image}, LENGTH, strict=strict)
    assert np.arange(13)[spans.vision].tolist() == [2, 3]
    assert TOKENS[spans.prompt] == [10, 11]
    assert TOKENS[spans.answer] == [20, 21, TURN]


def test_a_marker_in_the_answer_moves_the_published_spans():
    tokens = [*TOKENS[:LENGTH], 20, TURN, NAME, LINE, 21]
    assert tokens[find_spans(tokens, IDS, LENGTH, strict=True).answer] == [20, TURN, NAME, LINE, 21]
    assert tokens[find_spans(tokens, IDS, LENGTH).answer] == [21]


def test_the_published_code_goes_on_without_a_marker():
    missing = IDS | {"prompt_id": [[5, 5], [TURN, NAME]]}
    with pytest.raises(InputError, match=r"no such marker in the prompt; got prompt_id \[5, 5\]"):
        find_spans(TOKENS, missing, LENGTH, strict=True)
    assert find_spans(TOKENS, missing, LENGTH).prompt == slice(0, 7)


# ---- the published entry point

LOGITS = np.random.default_rng(0).normal(1, 4, (len(TOKENS) - 1, 96)).astype(np.float32)


def _published(tokens=TOKENS, ids=IDS, shape=(1, 2), **options):
    return PublishedCode(tokens, LOGITS, LENGTH, ids, shape, lambda some: [f"piece {id}" for id in some], **options)


@pytest.mark.parametrize("exact", [False, True])
def test_calls_in_order_give_the_maps_of_one_call(exact):
    code = _published(exact=exact)
    returned = [code.call(step) for step in range(3)]
    assert [one.index for one in returned] == [0, 3, 4]  # step 0 returns the map of the prompt's first piece
    steps = plan(TOKENS, [5, 6], LENGTH, *code.pieces, int(LOGITS[5].argmax()), REFERENCE)
    columns = LOGITS[:, steps.classes].T
    maps = token_activation_maps(
        columns[:, [2, 3]], columns[:, [5, 6, 9, 10, 11]], steps.pieces, 2, [(1, 2)], protocol=REFERENCE, exact=exact
    )
    assert [one.cls for one in code.passes] == steps.classes
    assert np.array_equal([one.uint8 for one in code.passes], maps.uint8)
    assert np.allclose([one.scale for one in code.passes], maps.scale, equal_nan=True)


def test_a_pair_explains_one_piece_of_step_0():
    code = _published()
    assert code.call((0, 1)).cls == 11
    assert code.call([0, 2]).cls == LINE
    assert len(code.raw) == 2


def test_a_repeated_call_reads_shifted_maps():
    code, again = _published(), _published()
    for step in (0, 1, 2):
        code.call(step)
    for step in (0, 1, 1, 2):
        again.call(step)
    assert len(again.raw) == 6
    assert code.passes[3].scale == again.passes[3].scale == again.passes[4].scale  # the list grew behind what is read
    assert again.passes[5].cls == code.passes[4].cls


def test_a_list_that_is_not_empty_leaves_the_first_piece_without_context():
    code = _published()
    code.call(0)
    with pytest.raises(ValueError, match="need at least one array to stack"):
        code.call(0)
    assert (len(code.raw), len(code.passes)) == (4, 3)


def test_a_late_start_runs_out_of_the_list():
    code = _published()
    assert np.isnan(code.call(1).scale)  # the first entry of the list: nothing to subtract
    with pytest.raises(IndexError):
        code.call(2)
    assert (len(code.raw), len(code.passes)) == (2, 1)


def test_without_the_end_of_the_prompt_step_0_runs_out_of_rows():
    """All that follows counts as the user's words, and step 0 has the logits of the prompt alone."""
    code = _published(ids=IDS | {"prompt_id": [END, [5, 5]]})
    for step, entries in ((0, 5), (1, 6), (2, 7)):
        with pytest.raises(IndexError):
            code.call(step)
        assert (len(code.raw), len(code.passes)) == (entries, 5)


@pytest.mark.parametrize(
    ("changes", "error", "entries"),
    [
        ({"ids": IDS | {"img_id": START}}, TypeError, 0),
        ({"shape": (2, 2)}, ValueError, 1),
        ({"shape": [(1, 1), (1, 2)]}, ValueError, 1),
        ({"tokens": [*TOKENS[:-1], PAD], "ids": IDS | {"img_id": [PAD]}}, IndexError, 0),
        ({"shape": [(1, 1), (1, 1)], "draws": True, "eval_only": True}, IndexError, 3),
    ],
    ids=["bare id", "wrong grid", "one span of two pictures", "image id in the answer", "drawing several pictures"],
)
def test_what_the_published_code_dies_of(changes, error, entries):
    code = _published(**changes)
    with pytest.raises(error):
        code.call(0)
    assert len(code.raw) == entries


@pytest.mark.parametrize("target", [3, "0", None, (0, 9)])
def test_a_target_that_does_not_exist_is_an_error(target):
    code = _published()
    with pytest.raises((IndexError, TypeError, ValueError)):
        code.call(target)
    assert not code.passes


def test_videos_and_pictures_are_filtered_one_by_one():
    several = [_published(shape=shape) for shape in ((2, 1, 1), [(1, 1), (1, 1)])]
    for code in several:
        code.call(0)
        assert not np.concatenate([one.uint8 for one in code.passes]).any()  # a single pixel becomes 0


# ---- outputs of the published code


@pytest.mark.parametrize("name", ["rank_filter.npz", "least_squares.npz", "tam_cases.h5"])
def test_outputs_of_the_published_code_are_reproduced(name):
    from tests import check_golden

    check = {
        "rank_filter.npz": check_golden.check_rank_filter,
        "least_squares.npz": check_golden.check_least_squares,
        "tam_cases.h5": check_golden.check_cases,
    }[name]
    result = check(shared("golden", name))
    assert not result.mismatches
    assert result.cases > 30
    assert result.different["exact"] == 0
    assert result.different["fast"] <= result.pixels["fast"] * check_golden.FAST_SHARE
