"""Which token is explained as which class, in which order."""

from dataclasses import replace

import pytest

from tam.errors import InputError
from tam.methods.plan import plan
from tam.protocol import FIXED, REFERENCE

# <vision> v v </vision> two words, end of turn, assistant, newline | answer
START, END, PAD, TURN, NAME, LINE = 90, 91, 92, 93, 94, 95
TOKENS = [1, START, PAD, PAD, END, 10, 11, TURN, NAME, LINE, 20, 21, TURN]
LENGTH = 10


def _plan(protocol, prompt=("x", "y"), answer=("p", "q", "r")):
    return plan(TOKENS, [5, 6], LENGTH, prompt, answer, 77, protocol)


def test_the_fixed_plan_asks_each_token_for_itself():
    assert _plan(FIXED).classes == [10, 11, 20, 21, TURN]
    assert _plan(FIXED).rows == [5, 6, 9, 10, 11]
    assert _plan(FIXED).pieces == [10, 11, 20, 21, TURN]
    assert _plan(FIXED).prompt_count == 2


@pytest.mark.parametrize(
    ("quirk", "classes"),
    [
        ("first_answer_class_is_last_prompt_token", [10, 11, LINE, 21, TURN]),
        ("first_prompt_class_is_argmax", [77, 11, 20, 21, TURN]),
    ],
)
def test_quirks_of_classes(quirk, classes):
    assert _plan(replace(FIXED, **{quirk: True})).classes == classes


def test_retokenised_pieces_change_what_is_said_and_how_many_maps_the_prompt_has():
    quirk = replace(FIXED, retokenised_pieces=True)
    assert _plan(quirk).pieces == ["x", "y", "p", "q", "r"]
    fewer, more = _plan(quirk, ("xy",)), _plan(quirk, ("x", "y", "z"))
    assert (fewer.prompt_count, fewer.classes) == (1, [10, 20, 21, TURN])
    assert (more.prompt_count, more.classes) == (3, [10, 11, TURN, 20, 21, TURN])  # runs on into the template
    with pytest.raises(InputError, match="more pieces than tokens"):
        _plan(quirk, "abcdefghijk")


def test_without_words_only_the_answer_is_explained():
    found = plan(TOKENS, [], LENGTH, [], ["p", "q", "r"], 77, REFERENCE)
    assert (found.classes, found.rows, found.prompt_count) == ([LINE, 21, TURN], [9, 10, 11], 0)


def test_an_answer_of_one_token_has_one_map():
    assert plan(TOKENS[: LENGTH + 1], [5, 6], LENGTH, [], [], 77, FIXED).classes == [10, 11, 20]
