"""The cache that grows in place holds what the library's own holds, and takes its place in every family."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicCache, DynamicLayer

from tam.model.decoding import answer_batch
from tam.model.kv_cache import BLOCK, GrowingLayer, growing_kv_cache
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


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_every_family_decodes_with_it_and_says_the_same(kind, monkeypatch):
    """Across several blocks, two prompts of different length at once; the states are bit for bit the same."""
    loaded = tiny.loaded(kind)
    asked = [
        prepare(loaded.prompter, pictures(size), words)
        for size, words in (((56, 84), "a cat"), ((112, 56), "Describe the image."))
    ]
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", None)
    grown = answer_batch(loaded, asked, 2 * BLOCK + 5)
    with monkeypatch.context() as plainly:
        plainly.setattr("tam.model.decoding.growing_kv_cache", lambda decoder: torch.no_grad())
        joined = answer_batch(loaded, asked, 2 * BLOCK + 5)
    for ours, theirs in zip(grown, joined, strict=True):
        assert ours.ids.tolist() == theirs.ids.tolist() and len(ours.ids) == 2 * BLOCK + 5
        assert torch.equal(ours.states, theirs.states)
    seen = []
    monkeypatch.setattr(
        GrowingLayer, "update", lambda self, *states: seen.append(self) or DynamicLayer.update(self, *states)
    )
    answer_batch(loaded, asked, 1)
    layers = DynamicCache(config=loaded.config.get_text_config(decoder=True)).layers
    assert bool(seen) == any(type(layer) is DynamicLayer for layer in layers)  # Mistral's all have a sliding window


def test_afterwards_a_model_decodes_as_before():
    decoder, cache = torch.nn.Identity(), DynamicCache()
    with growing_kv_cache(decoder):
        pass
    decoder.forward = lambda **named: None
    decoder(past_key_values=cache)
    assert cache.layer_class_to_replicate is DynamicLayer


def test_a_cache_that_moves_to_the_host_is_left_alone():
    decoder = torch.nn.Identity()
    decoder.forward = lambda **named: None
    cache = DynamicCache()
    cache.offloading = True
    with growing_kv_cache(decoder):
        decoder(past_key_values=cache)
    assert cache.layer_class_to_replicate is DynamicLayer
