"""The cache that grows in place holds what the library's own holds, and takes its place in every family."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicCache, DynamicLayer

from tam.model.decoding import answer_batch
from tam.model.kv_cache import BLOCK, GrowingLayer
from tam.model.prompt import prepare
from tests import tiny
from tests.test_families import pictures


@given(st.lists(st.integers(1, 2 * BLOCK), min_size=1, max_size=5), st.integers(0, 3 * BLOCK))
def test_every_step_gives_the_keys_and_values_that_joining_gives(prompt_and_more, singles):
    generator = torch.Generator().manual_seed(0)
    ours, theirs = GrowingLayer(), DynamicLayer()
    for length in [*prompt_and_more, *[1] * singles]:
        keys = torch.randn(2, 3, length, 4, generator=generator)
        values = torch.randn(2, 3, length, 5, generator=generator)  # of another width, as some models have it
        for made, expected in zip(ours.update(keys, values), theirs.update(keys, values), strict=True):
            assert torch.equal(made, expected)
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_no_more_than_a_block_is_held_too_much_and_a_step_copies_nothing():
    layer = GrowingLayer()
    layer.update(torch.zeros(1, 1, 100, 4), torch.zeros(1, 1, 100, 4))
    places = set()
    for _ in range(BLOCK):
        keys, _ = layer.update(torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 1, 4))
        places.add(keys.data_ptr())
    assert len(places) == 1
    assert keys.untyped_storage().nbytes() == 4 * 4 * (100 + BLOCK)


@given(
    st.integers(1, 2 * BLOCK), st.integers(0, BLOCK), st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True)
)
def test_samples_that_stay_go_on_as_if_they_had_been_alone(prompt, singles, staying):
    generator, kept = torch.Generator().manual_seed(0), torch.tensor(sorted(staying))
    ours, theirs = GrowingLayer(), DynamicLayer()
    for length in [prompt, *[1] * singles]:
        states = torch.randn(2, 5, 3, length, 4, generator=generator)
        ours.update(*states), theirs.update(*states[:, kept])
    ours.reorder_cache(kept)
    for length in [1] * (BLOCK + 1):
        states = torch.randn(2, len(kept), 3, length, 4, generator=generator)
        for made, expected in zip(ours.update(*states), theirs.update(*states), strict=True):
            assert torch.equal(made, expected)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_every_family_decodes_with_it_and_says_the_same(kind, monkeypatch):
    """Across several blocks, two prompts of different length at once; the states are bit for bit the same."""
    loaded = tiny.loaded(kind)
    asked = [
        prepare(loaded.prompter, pictures(size), words)
        for size, words in (((56, 84), "a cat"), ((112, 56), "Describe the image."))
    ]
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", None)
    seen, update = [], GrowingLayer.update
    monkeypatch.setattr(
        GrowingLayer, "update", lambda self, *new, **how: seen.append(self) or update(self, *new, **how)
    )
    grown = answer_batch(loaded, asked, 2 * BLOCK + 5)
    monkeypatch.setattr(GrowingLayer, "update", lambda self, *new, **how: DynamicLayer.update(self, *new, **how))
    joined = answer_batch(loaded, asked, 2 * BLOCK + 5)
    for ours, theirs in zip(grown, joined, strict=True):
        assert ours.ids.tolist() == theirs.ids.tolist() and len(ours.ids) == 2 * BLOCK + 5
        assert torch.equal(ours.states, theirs.states)
    layers = DynamicCache(config=loaded.config).layers
    assert bool(seen) == any(type(layer) is DynamicLayer for layer in layers)  # Mistral's all have a sliding window
