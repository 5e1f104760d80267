"""A loaded model: what is asked of it, and what it is wrapped in."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tam
from tam.check.asked import INPUTS
from tam.errors import InputError, ModelError
from tam.media import Media
from tam.model.decoding import answer_batch
from tam.model.loaded import Loaded
from tam.model.prompt import prepare
from tests import tiny
from tests.test_explanation import picture


class LowRank(torch.nn.Module):
    """A layer with an adapter beside it, as LoRA puts it into a model."""

    def __init__(self, layer: torch.nn.Linear):
        super().__init__()
        self.layer = layer
        torch.manual_seed(1)
        self.down = torch.nn.Linear(layer.in_features, 2, bias=False)
        self.up = torch.nn.Linear(2, layer.out_features, bias=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.layer(states) + self.up(self.down(states))


class Wrapper(torch.nn.Module):
    """What PEFT's model looks like: what it does not know it asks the one below."""

    def __init__(self, below: torch.nn.Module, base: torch.nn.Module):
        super().__init__()
        self.peft_config = {"default": SimpleNamespace()}
        self.base_model, self._base = below, [base]

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.base_model, name)

    def get_base_model(self) -> torch.nn.Module:
        return self._base[0]


class Tuner(torch.nn.Module):
    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.model, name)


def test_adapters_inside_of_a_models_layers_are_explained_with_it():
    model, processor = tiny.model(), tiny.processor()
    plain = tam.explain(model, processor, picture(), "A cat.", max_new_tokens=6)
    for layer in model.get_decoder().layers:
        layer.self_attn.q_proj = LowRank(layer.self_attn.q_proj)
    inner = tam.explain(model, processor, picture(), "A cat.", max_new_tokens=6)
    wrapped = Wrapper(Tuner(model), model)
    for given in (wrapped, torch.compile(wrapped), Wrapper(Tuner(torch.compile(model)), torch.compile(model))):
        outer = tam.explain(given, processor, picture(), "A cat.", max_new_tokens=6)
        assert outer.generation.tokens.tolist() == inner.generation.tokens.tolist() and outer.model == inner.model
        assert np.array_equal(outer.maps, inner.maps)
    common = plain.generation.logits.shape == inner.generation.logits.shape
    assert not common or np.abs(plain.generation.logits - inner.generation.logits).max() > 0.01


def test_adapters_outside_of_a_models_layers_are_refused_because_without_them_another_model_answers():
    """Prompt tuning: the base model is untouched, and its wrapper puts tokens before the prompt."""
    model = tiny.model()
    with pytest.raises(ModelError, match="an adapter that lies outside of the model's layers; got Wrapper"):
        tam.explain(Wrapper(model, model), tiny.processor(), picture(), "A cat.")


@pytest.mark.parametrize(("ids", "expected"), [(None, []), (7, [7]), ([7, 5], [7, 5])])
def test_the_end_tokens_are_those_of_the_generation_config(ids, expected):
    loaded = tiny.loaded()
    loaded.model.generation_config.eos_token_id = ids
    assert loaded.ends.dtype == np.int64 and loaded.ends.tolist() == expected


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        ({"rope_type": "default"}, 200), ({"rope_type": "yarn", "factor": 4.0}, 800), ({"rope_type": "llama3"}, 200),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 200}, 800),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 50}, 200),  # stretched already
    ],
)  # fmt: skip
def test_the_positions_of_the_language_model_limit_prompt_and_answer(rope, expected):
    text = SimpleNamespace(max_position_embeddings=200, rope_parameters=rope)
    config = SimpleNamespace(get_text_config=lambda: text)
    loaded = Loaded(SimpleNamespace(config=config), None, tiny.loaded().family)
    assert loaded.most_tokens == expected
    with pytest.raises(InputError, match=rf"the context overflows the model; got {expected + 1} tokens"):
        loaded.check(np.zeros(expected, np.int32), more=1)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_every_family_answers_in_the_type_that_checkpoints_are_stored_in(kind):
    loaded = tiny.loaded(kind, tiny.model(kind).bfloat16())
    shown = [media[0] for name, media in INPUTS.items() if loaded.family.video or name != "video"]
    for media in shown:
        (answer,) = answer_batch(loaded, [prepare(loaded.prompter, media, "What?")], 2)
        assert answer.states.dtype == torch.bfloat16 and answer.states.isfinite().all()


def test_inputs_go_where_the_embedding_is_or_where_accelerate_moves_it():
    loaded = tiny.loaded()
    embedding = loaded.model.get_input_embeddings()
    assert loaded.device == torch.device("cpu")
    embedding._hf_hook = SimpleNamespace(execution_device=1)
    assert loaded.device == torch.device("cuda:1")
    embedding._hf_hook = SimpleNamespace(execution_device=None)
    embedding.to("meta")
    assert loaded.device == torch.device("meta")


def test_a_token_without_a_row_is_named_before_the_model_runs(monkeypatch):
    """A token was added to the tokenizer, and the embedding was not resized: on a GPU, the device would be lost."""
    model, processor = tiny.model(), tiny.processor()
    processor.tokenizer.add_tokens(["<obj>"])
    monkeypatch.setattr(model, "forward", lambda **_: pytest.fail("the model was run"))
    message = r"a token has no row in the model's embedding; got <obj> \(466\); expected ids below 466; cure: resize"
    for question in ({"prompt": "Find <obj> here."}, {"prompt": "Find it.", "answer": "an <obj>"}):
        with pytest.raises(InputError, match=message):
            tam.explain(model, processor, picture(), **question)


def test_a_token_without_a_class_is_named_before_the_model_runs(monkeypatch):
    """Molmo 2's embedding has rows for the tokens around pictures, its head has no class for them."""
    model, processor = tiny.model("molmo2"), tiny.processor("molmo2")
    monkeypatch.setattr(model, "forward", lambda **_: pytest.fail("the model was run"))
    message = r"a token has no class in the model's head; got <im_col> \(467\); expected ids below 466; cure: leave"
    for question in ({"prompt": "Find <im_col> here."}, {"prompt": "Find it.", "answer": "an <im_col>"}):
        with pytest.raises(InputError, match=message):
            tam.explain(model, processor, picture(), **question)


def test_a_vision_token_needs_no_row():
    """Some kinds put pictures in the place of an id that lies beyond their vocabulary."""
    loaded = tiny.loaded()
    embedding = loaded.model.get_input_embeddings()
    embedding.num_embeddings = loaded.config.image_token_id
    loaded.check(np.array([loaded.config.image_token_id, 0]))
    with pytest.raises(InputError, match="no row"):
        loaded.check(np.array([loaded.config.image_token_id + 2, 0]))


def test_a_padding_token_without_a_row_pads_with_another():
    """A fine-tune added one to the tokenizer alone; nothing attends to it, but it is looked up."""
    loaded = tiny.loaded()
    expected = [answer.ids.tolist() for answer in answers(loaded)]
    loaded.tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert loaded.tokenizer.pad_token_id == loaded.rows
    assert [answer.ids.tolist() for answer in answers(loaded)] == expected


def answers(loaded):
    """To a short and a long prompt, side by side."""
    return answer_batch(
        loaded,
        [prepare(loaded.prompter, Media(False, (picture(),), (0,)), words) for words in ("a cat", "two dogs run")],
        4,
    )
