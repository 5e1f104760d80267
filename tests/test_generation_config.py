"""What a checkpoint's generation config may say of the answer: an allow list, whatever fields transformers knows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import GenerationConfig

from tam.errors import ModelError
from tam.media import Media
from tam.model.decoding import answer_batch
from tam.model.generation_config import HONOURED, REPETITION
from tam.model.prompt import prepare
from tests import tiny

LIMIT = 5
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8))
LOADED = tiny.loaded()
PREPARED = prepare(LOADED.prompter, Media(False, (PICTURE,), (0,)), "a cat sits")
OWN = LOADED.model.generation_config.to_dict()
OTHERS = sorted({*vars(GenerationConfig()), "made_up"} - {*HONOURED})

ids = st.integers(0, 300)
several = st.lists(ids, min_size=1, max_size=4)
VALUES = {
    "eos_token_id": ids | several, "bos_token_id": ids,
    "repetition_penalty": st.floats(0.5, 3), "encoder_repetition_penalty": st.floats(0.5, 3),
    "no_repeat_ngram_size": st.integers(0, 3), "encoder_no_repeat_ngram_size": st.integers(0, 3),
    "bad_words_ids": st.lists(several, min_size=1, max_size=3),
    "sequence_bias": st.lists(st.tuples(several, st.floats(-5, 5)).map(list), min_size=1, max_size=3),
    "suppress_tokens": several, "begin_suppress_tokens": several, "min_length": st.integers(0, 9),
    "min_new_tokens": st.integers(0, 9),
    "exponential_decay_length_penalty": st.tuples(st.integers(0, 3), st.floats(0.5, 2)),
}  # fmt: skip
anything = st.recursive(
    st.booleans() | st.integers(-3, 300) | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["quantized", "offloaded", "static", "high", "constant", "never"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2), max_leaves=4,
)  # fmt: skip


def answered(entries: dict):
    """With these entries in place of the checkpoint's own, unchecked, as a file may hold them."""
    own = LOADED.model.generation_config
    LOADED.model.generation_config = GenerationConfig()
    vars(LOADED.model.generation_config).update(entries)
    try:
        (answer,) = answer_batch(LOADED, [PREPARED], LIMIT)
    finally:
        LOADED.model.generation_config = own
    return answer


def test_every_entry_that_is_honoured_is_one_of_transformers():
    assert {*HONOURED} == VALUES.keys() <= vars(GenerationConfig()).keys()


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from(OTHERS), anything, min_size=1, max_size=8))
def test_entries_of_the_other_fields_change_nothing_whatever_they_say(entries):
    ends = {"eos_token_id": OWN["eos_token_id"]}
    plain, made = answered(ends), answered(ends | entries)
    assert made.ids.tolist() == plain.ids.tolist() and made.ended == plain.ended
    assert np.array_equal(made.candidates.ids, plain.candidates.ids)
    # The last bits are the processor's: a sum may be cut among other threads the second time.
    torch.testing.assert_close(made.states, plain.states, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of a least length above the limit
@settings(max_examples=25, deadline=None)
@given(st.fixed_dictionaries({}, optional=VALUES), st.dictionaries(st.sampled_from(OTHERS), anything, max_size=4))
def test_honoured_entries_decide_the_answer_as_transformers_does(entries, others):
    made = answered(others | entries)
    if "eos_token_id" not in entries:  # there is nothing that it could make likelier
        entries = entries | {"exponential_decay_length_penalty": None}
    config = GenerationConfig(**entries, do_sample=False, max_new_tokens=LIMIT)
    own, LOADED.model.generation_config = LOADED.model.generation_config, GenerationConfig()
    expected = LOADED.model.generate(**PREPARED.inputs, generation_config=config)[0, len(PREPARED.tokens) :].tolist()
    LOADED.model.generation_config = own
    assert made.ids.tolist() == expected
    assert len(made.states) == len(PREPARED.tokens) + len(expected) - 1


BROKEN = {
    "eos_token_id": ["a", 1.0, [[1]], 1 << 70, {}], "bos_token_id": ["a"], "repetition_penalty": [0, -1.0, "2", np.nan],
    "encoder_repetition_penalty": [0.0], "no_repeat_ngram_size": [1.0, True, "3"],
    "encoder_no_repeat_ngram_size": [2.5], "bad_words_ids": [3, [3], [[]], [[-1]], [[99999]], "a"],
    "sequence_bias": [{"(1,)": 1.0}, [[1, 1.0]], [[[1], 1]], [[[99999], 1.0]], [[[1], np.nan]]],
    "suppress_tokens": [1, "a", [1.5], [[1]]], "begin_suppress_tokens": ["a"], "min_length": [2.0],
    "min_new_tokens": [[1]], "exponential_decay_length_penalty": [[1], [1, "a"], [1, 0], [1.5, 2.0]],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BROKEN.items() for value in values])
def test_a_broken_entry_is_named_in_one_line(name, value):
    """For every sample it is the same: an error of the model."""
    with pytest.raises(
        ModelError, match=f"{name}.*: a broken entry of the generation config; got .*; expected"
    ) as said:
        answered({"eos_token_id": OWN["eos_token_id"]} | {name: value})
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    "entries",
    [
        {"suppress_tokens": []}, {"bad_words_ids": []}, {"sequence_bias": []}, {"suppress_tokens": [-1, 99999]},
        {"repetition_penalty": 1}, {"no_repeat_ngram_size": -1}, {"min_new_tokens": 0}, {"pad_token_id": -1},
    ],
)  # fmt: skip
def test_entries_that_say_nothing_change_nothing(entries):
    ends = {"eos_token_id": OWN["eos_token_id"]}
    assert answered(ends | entries).ids.tolist() == answered(ends).ids.tolist()


def test_every_entry_that_is_honoured_can_be_broken():
    assert BROKEN.keys() == HONOURED.keys()


@pytest.mark.parametrize("name", REPETITION)
def test_an_entry_that_looks_up_vision_tokens_without_a_class_is_refused(name):
    """The library would read beyond the logits, and on a GPU the device would be lost."""
    loaded = tiny.loaded("molmo2")
    setattr(loaded.model.generation_config, name, REPETITION[name])
    assert loaded.honoured[name] == REPETITION[name]
    setattr(loaded.model.generation_config, name, REPETITION[name] + 1)
    with pytest.raises(ModelError, match=f"^{name}: .*vision tokens have no class; got {REPETITION[name] + 1}"):
        loaded.ends  # noqa: B018
