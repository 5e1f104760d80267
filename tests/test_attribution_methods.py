"""All methods from one pass: right by an independent way, causal, within memory, and the model is left as it was."""

import copy

import numpy as np
import pytest
import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tam.attribution import methods as module
from tam.attribution.gradients import RULES, Backward
from tam.attribution.lrp import Course
from tam.attribution.methods import METHODS, Attributed, Settings, attention_layers, attribute, inner_layer
from tam.attribution.occlusion import Shown
from tam.errors import InputError, ModelError
from tam.model.collate import with_answer
from tam.model.loaded import Loaded
from tam.model.question import Question
from tam.records import Generation
from tests import tiny
from tests.asked import WORDS, about, asked

ALL = Settings(prompt=True, occlusion_cells=2, occlusion_step=2)


def attributed(kind: str, settings: Settings = ALL, names=METHODS, ids: slice = slice(None)) -> Attributed:
    loaded, question, generation, media = asked(kind)
    shorter = Question(question.prepared, question.text[ids])
    return attribute(loaded, shorter, generation, names, settings, Shown(media, WORDS))


@pytest.mark.parametrize("kind", ["qwen3_vl", "gemma3", "llava_next"])
def test_every_method_says_something_of_every_token(kind):
    _, question, generation, _ = asked(kind)
    found = attributed(kind)
    assert [*found.scores] == [*METHODS]
    words, tokens, vision = len(generation.prompt_ids), generation.explained, len(generation.layout.vision)
    for name, scores in found.scores.items():
        assert scores.image.shape == (tokens, vision) and scores.image.dtype == np.float32, name
        assert scores.explained.tolist() == [name != "occlusion"] * words + [True] * len(question.text), name
        assert np.isfinite(scores.image).all() and (np.ptp(scores.image[scores.explained], axis=1) > 0).all(), name
        if name != "occlusion":
            assert scores.text.shape == (tokens, tokens) and np.tril(scores.text, -1).any(), name


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl", "gemma3", "paligemma"])
def test_a_token_is_explained_alike_when_the_answer_is_cut_behind_it(kind):
    words = len(asked(kind)[2].prompt_ids)
    names = [name for name in METHODS if name != "gradcam++"]  # its poles make much of the last bit of a state
    whole, cut = attributed(kind, ALL, names), attributed(kind, ALL, names, slice(3))
    for name in names:
        one, other = whole.scores[name], cut.scores[name]
        scale = np.abs(one.image).max(1, keepdims=True)[: words + 3] + 1e-9
        assert (np.abs(one.image[: words + 3] - other.image) / scale).max() < 1e-3, name
        if one.text is not None:
            kept = np.tril(one.text, -1)[: words + 3, : words + 3]
            assert np.abs(kept - np.tril(other.text, -1)).max() <= 1e-4 * np.abs(kept).max(), name


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl"])
def test_a_method_says_the_same_to_the_bit_whichever_others_are_asked_for(kind):
    whole = attributed(kind)
    for name in METHODS:
        alone = attributed(kind, ALL, [name]).scores[name]
        assert np.array_equal(alone.image, whole.scores[name].image), name
        assert alone.text is None or np.array_equal(alone.text, whole.scores[name].text), name


# Biases, shared keys; keys of other layers; these and several streams.
@pytest.mark.parametrize("kind", ["internvl", "gemma4", "gemma3n"])
def test_gradients_are_those_of_an_eager_model(kind):
    """Independent: the library's own attention, its own output of it, and torch's own derivative."""
    question = asked(kind)[1]
    found = attributed(kind)
    model = tiny.model(kind, attention="eager")
    whole = with_answer(question.prepared, question.text, 0).inputs
    kept = {}

    def enter(part, positional, named):
        kept["x"] = named["inputs_embeds"].detach().requires_grad_()
        return positional, named | {"inputs_embeds": kept["x"]}

    decoder = model.get_decoder()
    depth = inner_layer(len(decoder.layers), ALL, asked(kind)[0].borrowing)
    model.lm_head.register_forward_hook(lambda part, inputs, output: kept.update(logits=output))
    decoder.register_forward_pre_hook(enter, with_kwargs=True)
    decoder.layers[depth].mlp.register_forward_pre_hook(lambda part, inputs: kept.update(inner=inputs[0]))
    made = model(**whole, output_attentions=True)
    vision, token = question.prepared.layout.vision, 2
    place = question.prepared.layout.answer + token - 1
    logit = kept["logits"][0, place, question.text[token]]  # before it is capped
    of_x, of_inner, *of_attention = torch.autograd.grad(logit, [kept["x"], kept["inner"], *made.attentions])
    rolled = plain = torch.eye(made.logits.shape[1])
    for attention, gradient in zip(made.attentions, of_attention, strict=True):
        mean = (attention[0] * gradient[0]).clamp(min=0).mean(0).detach()
        plain = plain + mean @ plain
        rolled = (torch.eye(len(mean)) + mean) / (1 + mean.sum(-1, keepdim=True)) @ rolled
    weights = of_inner[0, vision].clamp(min=0).mean(0)
    wanted = {
        "inputxgradient": (kept["x"] * of_x)[0, vision].sum(-1), "gradrollout": rolled[place, vision],
        "gae": plain[place, vision], "llava-cam": (kept["inner"][0, vision] * weights).mean(-1),
    }  # fmt: skip
    row = len(asked(kind)[2].prompt_ids) + token
    for name, values in wanted.items():
        values = values.detach().numpy()
        assert np.abs(found.scores[name].image[row] - values).max() < 1e-4 * np.abs(values).max(), name
    assert found.logits[token] == pytest.approx(logit.item(), abs=1e-4)


def test_a_second_path_beside_several_streams_is_refused():
    """All other methods without a rule of LRP say something."""
    found = attributed("gemma3n", Settings(occlusion_cells=2, occlusion_step=2)).scores
    assert found.pop("archi-surgery").startswith("states are several streams (AltUp)")
    for name, scores in found.items():
        assert np.isfinite(scores.image).all() and (np.ptp(scores.image[scores.explained], axis=1) > 0).all(), name


def test_gradient_methods_explain_the_users_words_only_on_request():
    words = len(asked()[2].prompt_ids)
    found = attributed("qwen2_vl", Settings(), [*RULES, "attention"])
    for name in RULES:
        scores = found.scores[name]
        assert not scores.explained[:words].any() and not scores.image[:words].any() and scores.explained[words:].all()
    assert found.scores["attention"].explained.all()


def test_words_that_see_themselves_are_not_explained_by_gradients():
    words = len(asked("paligemma")[2].prompt_ids)
    found = attributed("paligemma", ALL, ["cp-lrp", "rollout"])
    assert not found.scores["cp-lrp"].explained[:words].any() and found.scores["cp-lrp"].explained[words:].all()
    assert found.scores["rollout"].explained.all()
    assert found.notes == {"cp-lrp": "words of the prompt see what follows them, so gradients do not explain them"}


def test_attention_is_of_layers_that_see_everything_and_says_which():
    found = attributed("gemma3", Settings(attention_layers="all"), ["attention"])
    assert found.notes == {"attention": "of layer 2 of 2"}
    windows = {0: 8, 1: None, 2: None}
    assert [attention_layers(which, windows) for which in ("last", "all", (1, 3))] == [[2], [1, 2], [0, 2]]
    assert attention_layers("all", {0: 8, 1: 8}) == [0, 1]
    for wrong in ((), (0,), (4,)):
        with pytest.raises(InputError, match="attention_layers: no such layer"):
            attention_layers(wrong, windows)


def test_a_picture_outside_of_the_sliding_window_is_said():
    model = tiny.model("gemma3")
    for part in (model.config.text_config, *(layer.self_attn for layer in model.get_decoder().layers[:1])):
        part.sliding_window = 4
    loaded, question, generation, _ = about(tiny.loaded("gemma3", model))
    found = attribute(loaded, question, generation, ["attention"], Settings(attention_layers=(1,))).scores["attention"]
    assert found == "the picture lies outside of the sliding window of 4 tokens"


def test_float16_is_refused_for_gradients_alone():
    loaded = tiny.loaded("qwen2_vl", copy.deepcopy(asked()[0].model).half())
    _, question, generation, _ = asked()
    with pytest.raises(ModelError, match="gradients underflow in float16; got cp-lrp, gae; cure: answer in bfloat16"):
        attribute(loaded, question, generation, ["cp-lrp", "attention", "gae"], ALL)


def test_bfloat16_says_nearly_the_same():
    names = ["cp-lrp", "attnlrp", "inputxgradient", "rollout", "gradcam"]
    loaded = tiny.loaded("qwen2_vl", copy.deepcopy(asked()[0].model).bfloat16())
    _, question, generation, _ = asked()
    one, other = attributed("qwen2_vl", ALL, names), attribute(loaded, question, generation, names, ALL)
    for name in names:
        assert np.corrcoef(one.scores[name].image.ravel(), other.scores[name].image.ravel())[0, 1] > 0.98, name


def test_unknown_methods_and_layers_are_one_line():
    for names, settings, why in (
        (["cam"], ALL, "no such method; got cam"),
        (["archi-surgery"], Settings(surgery_layers=3), "surgery_layers: no such number of layers; got 3"),
        (["llava-cam"], Settings(answer_layer=0), "answer_layer: wrong depth; got 0"),
        (["attention"], Settings(attention_layers=(3,)), "attention_layers: no such layer"),
    ):
        with pytest.raises(InputError, match=why):
            attributed("qwen2_vl", settings, names)
    assert attribute(*asked()[:3], ["occlusion"], ALL).scores == {"occlusion": "no picture was handed over"}


# ---- memory


def test_fewer_tokens_at_once_where_memory_is_short(monkeypatch):
    whole = attributed("qwen2_vl", Settings(chunk=8), ["cp-lrp"])
    plain, sizes = Backward._some, []

    def some(self, names, tokens, behind):
        sizes.append(len(tokens))
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return plain(self, names, tokens, behind)

    monkeypatch.setattr(Backward, "_some", some)
    found = attributed("qwen2_vl", Settings(chunk=8), ["cp-lrp"])
    assert sizes == [6, 3, *[1] * 6]
    assert np.allclose(found.scores["cp-lrp"].image, whole.scores["cp-lrp"].image, atol=1e-5)


def test_memory_costs_the_method_that_needs_it(monkeypatch):
    plain = Backward.before

    def before(self, token, behind, inputs, rolling):
        if rolling is not None:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return plain(self, token, behind, inputs, rolling)

    monkeypatch.setattr(Backward, "before", before)
    found = attributed("qwen2_vl", ALL, ["gradrollout", "inputxgradient", "attnlrp", "attention"]).scores
    assert found["gradrollout"] == "out of memory (gradrollout)"
    assert [isinstance(found[name], str) for name in ("inputxgradient", "attnlrp", "attention")] == [False] * 3


def test_a_graph_that_does_not_fit_costs_the_methods_with_gradients(monkeypatch):
    plain = module.forced

    def forced(*given, course=None, **more):
        if course is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(*given, course=course, **more)

    monkeypatch.setattr(module, "forced", forced)
    found = attributed("qwen2_vl", ALL, ["attention", "cp-lrp"]).scores
    assert found["cp-lrp"] == "out of memory (cp-lrp)" and found["attention"].image.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["qwen2_vl", "gemma3", "glm4v"])
def test_the_graph_is_not_larger_than_is_said(kind, dtype):
    loaded, question, *_ = asked(kind)
    loaded = tiny.loaded(kind, copy.deepcopy(loaded.model).to(dtype))
    weights = {weight.untyped_storage().data_ptr() for weight in loaded.model.parameters()}
    held: dict[int, torch.UntypedStorage] = {}

    def hold(saved: torch.Tensor) -> torch.Tensor:
        held[saved.untyped_storage().data_ptr()] = saved.untyped_storage()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda saved: saved):
        made = module.forced(loaded, question, course=Course())
    text, length, size = loaded.config.get_text_config(), made.states.shape[1], made.states.element_size()
    layers, heads = text.num_hidden_layers, text.num_attention_heads
    said = layers * length * (18 * text.hidden_size + 4 * text.intermediate_size) * size
    found = sum(storage.nbytes() for place, storage in held.items() if place not in weights)
    assert said / 4 < found <= said + layers * heads * length**2 * size


def test_attention_that_is_not_held_is_computed_anew(monkeypatch):
    names = ["gradrollout", "attnlrp", "cp-lrp"]
    held = attributed("internvl", ALL, names)
    monkeypatch.setattr("tam.attribution.tap.KEPT_BYTES", 0)
    for name, scores in attributed("internvl", ALL, names).scores.items():
        assert np.abs(scores.image - held.scores[name].image).max() < 1e-5 * np.abs(scores.image).max(), name


# ---- the model is left as it was


def state_of(loaded: Loaded) -> dict[str, object]:
    parts = list(loaded.model.modules())
    return {
        "modes": [part.training for part in parts],
        "hooks": [[*part._forward_hooks.values(), *part._forward_pre_hooks.values()] for part in parts],
        "attention": [part.config._attn_implementation for part in parts if hasattr(part, "config")],
        "gradients": [(weight.requires_grad, weight.grad) for weight in loaded.model.parameters()],
        "weights": [weight.detach().clone().tolist() for weight in loaded.model.parameters()],
        "registries": [{**one._global_mapping} for one in (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS)],
    }


@pytest.mark.parametrize("breaks", [False, True], ids=["all is well", "the model breaks"])
def test_the_model_is_left_as_it_was(monkeypatch, breaks):
    loaded, question, generation, media = about(tiny.loaded("qwen2_vl"))
    loaded.decoder.layers[1].train()
    loaded.decoder.layers[0].mlp.up_proj.weight.requires_grad_(False)
    loaded.model.config.vision_config._attn_implementation = "eager"
    before, seen = state_of(loaded), set()
    plain = type(loaded.model.model.visual).forward

    def tower(self, *given, **more):
        seen.add((self.config._attn_implementation, loaded.decoder.config._attn_implementation))
        if breaks:
            raise RuntimeError("broken")
        return plain(self, *given, **more)

    monkeypatch.setattr(type(loaded.model.model.visual), "forward", tower)

    def run(generation: Generation) -> None:
        attribute(loaded, question, generation, METHODS, ALL, Shown(media, WORDS))

    if breaks:
        with pytest.raises(RuntimeError, match="broken"):
            run(generation)
    else:
        run(generation)
    assert ("eager", "tam_tap") in seen
    assert state_of(loaded) == before


def test_a_layer_of_linear_attention_is_none_to_read():
    with pytest.raises(InputError, match=r"attention_layers: no such layer; got \(1,\); expected \[4, 8\]"):
        attention_layers((1,), {3: None, 7: None})
