"""LRP: what each rule makes of a backward pass, beside another implementation, and what must be conserved."""

import json

import numpy as np
import pytest
import torch
import transformers

from tam.attribution.conservation import check_conservation, conserved
from tam.attribution.forced import forced
from tam.attribution.gradients import Backward
from tam.attribution.lrp import Course, norm_factors, ruled
from tam.errors import ModelError
from tam.model.collate import with_answer
from tests import golden_lrp, tiny
from tests.asked import about, asked, text_only

GOLDEN = json.loads(golden_lrp.FILE.read_text())
ROPE = {"rope_type": "default", "rope_theta": 100.0}
MORE = {
    "gemma3": {
        "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": {"sliding_attention": ROPE, "full_attention": ROPE},
    }
}  # fmt: skip


def language_model(kind: str) -> torch.nn.Module:
    name = golden_lrp.KINDS[kind]
    config = getattr(transformers, name + {"gemma3": "TextConfig"}.get(kind, "Config"))
    made = config(**golden_lrp.SIZES, **MORE.get(kind, {"rope_parameters": ROPE}))
    return golden_lrp.weighed(getattr(transformers, name + "ForCausalLM")(made))


def of_text(kind: str, text: dict):
    """LLaVA with another language model."""
    words = tiny.tokenizer("llava")
    config = transformers.LlavaConfig(
        text_config=tiny._text("llava", words, 0) | text, vision_config=tiny._vision("llava"),
        image_token_id=words.convert_tokens_to_ids("<image>"), tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    return tiny.loaded("llava", transformers.LlavaForConditionalGeneration(config).eval())


@pytest.mark.parametrize("rule", ["cp-lrp", "attnlrp"])
@pytest.mark.parametrize("kind", golden_lrp.KINDS)
def test_relevance_is_what_another_implementation_gives(kind, rule):
    model, given = language_model(kind), golden_lrp.embeddings()
    with torch.no_grad():
        logits = model(inputs_embeds=given).logits[0, -1]
    loaded, question = text_only(model, given, int(logits.argmax()))
    course = Course()
    made = forced(loaded, question, course=course)
    found = Backward(made, course, 1).rows([rule], torch.tensor([0]))[rule][0]
    wanted = torch.tensor(GOLDEN[kind][rule])
    assert made.logits[0] == pytest.approx(GOLDEN[kind]["logit"], rel=1e-5)
    assert (found[:-1] - wanted).abs().max() < 1e-5 * wanted.abs().max() and found[-1] == 0


def test_a_model_that_does_not_conserve_is_refused_by_the_name_of_its_part():
    experts = of_text("llava", {
        "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "output_router_logits": False,
    })  # fmt: skip
    loaded, question, *_ = about(experts)
    with pytest.raises(ModelError, match=r"does not conserve the logit, because of .*MixtralExperts.*expected"):
        check_conservation(loaded, question)


def test_a_capped_softmax_has_no_rule():
    capped = of_text("llava", {"model_type": "gemma2", "head_dim": 16, "attn_logit_softcapping": 1.0})
    capped.config.text_config._attn_implementation = "eager"
    loaded, question, *_ = about(capped)
    with pytest.raises(ModelError, match="no rule for the capped softmax of layer 1"):
        check_conservation(loaded, question)
    # attention itself and its derivative are exact
    whole, kept = with_answer(question.prepared, question.text, 0).inputs, []
    handle = loaded.decoder.register_forward_pre_hook(
        lambda part, positional, named: kept.append(named["inputs_embeds"]), with_kwargs=True
    )
    given = loaded.model(**whole, output_attentions=True)
    handle.remove()
    course = Course()
    made = forced(loaded, question, means=True, course=course)
    assert (made.tap.all_means[1] - given.attentions[1][0].mean(0)).abs().max() < 1e-5
    (gradient,) = torch.autograd.grad(given.logits[0, made.places.predicting[-1], question.text[-1]], kept)
    wanted = (kept[0] * gradient)[0].sum(-1)
    found = Backward(made, course, 1).rows(["inputxgradient"], torch.tensor([len(made.places.own) - 1]))
    assert (found["inputxgradient"][0] - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_conservation_counts_what_enters_later():
    loaded, question, *_ = asked("qwen3_vl")
    found = conserved(loaded, question)
    count = forced(loaded, question, course=Course()).leaves.features[0].shape[0]
    entering = found.relevance[: -count or None]
    check_conservation(loaded, question)
    assert abs(entering.sum() / found.logit - 1) > 1e-3 and abs(found.relevance.sum() / found.logit - 1) < 1e-4


def test_adapters_on_biased_layers_conserve():
    peft = pytest.importorskip("peft", reason="an extra")
    model = tiny.model("internvl")
    for name, weight in model.named_parameters():
        if "language" in name and name.endswith("bias"):
            weight.data.normal_(0, 0.3)
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    loaded, question, *_ = about(tiny.loaded("internvl", peft.get_peft_model(model, config).eval()))
    found = conserved(loaded, question)
    assert abs(float(found.relevance.sum()) / found.logit - 1) < 1e-4


@pytest.mark.parametrize("norm", [
    torch.nn.RMSNorm(6, eps=1e-3),
    torch.nn.LayerNorm(6, eps=1e-3),
    torch.nn.LayerNorm(6, elementwise_affine=False),
    transformers.models.gemma3.modeling_gemma3.Gemma3RMSNorm(6, eps=1e-3),
], ids=["rms", "layer", "plain", "one more than the weight"])  # fmt: skip
def test_the_factors_of_a_norm_give_its_output(norm):
    generator = torch.Generator().manual_seed(0)
    for weight in norm.parameters():
        weight.data.normal_(1, 0.5, generator=generator)
    given = torch.randn(1, 4, 6, generator=generator)
    with torch.no_grad():
        output = norm(given)
        (position, channel), centred = norm_factors(norm, given, output)
        plain = (given - centred * given.mean(-1, keepdim=True)) * position * channel
    bias = getattr(norm, "bias", None)
    assert torch.allclose(plain + (0 if bias is None else bias), output, atol=1e-6)


def test_rules_are_gone_behind_the_pass():
    layer = asked()[0].decoder.layers[0]
    before = [dict(part._forward_hooks) | dict(part._forward_pre_hooks) for part in layer.modules()]
    with pytest.raises(RuntimeError, match="broken"), ruled(asked()[0].decoder, Course()):
        raise RuntimeError("broken")
    assert before == [dict(part._forward_hooks) | dict(part._forward_pre_hooks) for part in layer.modules()]


def test_several_tokens_at_once_are_one_after_the_other():
    loaded, question, *_ = asked("qwen3_vl")
    course = Course()
    made = forced(loaded, question, course=course, inner=0)
    tokens = torch.arange(made.places.words, len(made.places.own))
    for names in (["cp-lrp"], ["attnlrp"], ["gradrollout", "gae", "inputxgradient", "llava-cam"]):
        alone, together = (Backward(made, course, chunk).rows(names, tokens) for chunk in (1, 4))
        for name in names:
            assert (alone[name] - together[name]).abs().max() < 1e-5 * alone[name].abs().max()
            assert np.isfinite(alone[name].numpy()).all() and alone[name].abs().max() > 0
