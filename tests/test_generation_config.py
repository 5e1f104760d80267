"""What a checkpoint's generation config may say of the answer: an allow list, whatever fields transformers knows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import GenerationConfig

from tam.media import Media
from tam.model.decoding import HONOURED, answer_batch
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
    "eos_token_id": ids | several, "pad_token_id": ids, "bos_token_id": ids,
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


PLAIN = answered({"eos_token_id": OWN["eos_token_id"]})


def test_every_entry_that_is_honoured_is_one_of_transformers():
    assert {*HONOURED} == VALUES.keys() <= vars(GenerationConfig()).keys()


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from(OTHERS), anything, min_size=1, max_size=8))
def test_entries_of_the_other_fields_change_nothing_whatever_they_say(entries):
    ends = {"eos_token_id": OWN["eos_token_id"]}
    plain, made = PLAIN, answered(ends | entries)
    assert made.ids.tolist() == plain.ids.tolist() and made.ended == plain.ended
    assert torch.equal(made.states, plain.states) and np.array_equal(made.candidates.ids, plain.candidates.ids)


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
