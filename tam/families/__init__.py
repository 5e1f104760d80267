"""Model families: how to ask a model, and where its tokens lie on the pixels. One file each; see ``interface.py``."""

from typing import Any

from tam.errors import InputError, ModelError
from tam.families import (
    gemma3,
    gemma3n,
    gemma4,
    generic,
    idefics3,
    internvl,
    kimi,
    lfm2_vl,
    llama4,
    llava,
    llava_next,
    minicpmv,
    molmo2,
    ovis2,
    paligemma,
    pixtral,
    qwen2_vl,
)
from tam.families.interface import Family

# A checkpoint's config names its ``model_type``.
FAMILIES: dict[str, Family] = {
    "ernie4_5_vl_moe": qwen2_vl.ERNIE,
    "gemma3": gemma3.FAMILY,
    "gemma3n": gemma3n.FAMILY,
    "gemma4": gemma4.FAMILY,
    "gemma4_unified": gemma4.FAMILY,
    "glm46v": qwen2_vl.GLM4V,
    "glm4v": qwen2_vl.GLM4V,
    "glm4v_moe": qwen2_vl.GLM4V,
    "idefics3": idefics3.IDEFICS3,
    "internvl": internvl.FAMILY,
    "kimi_k25": kimi.FAMILY,
    "lfm2_vl": lfm2_vl.FAMILY,
    "llama4": llama4.FAMILY,
    "llava": llava.FAMILY,
    "llava_next": llava_next.NEXT,
    "llava_onevision": llava_next.ONEVISION,
    "minicpmv4_6": minicpmv.FAMILY,
    "minicpmv4_7": minicpmv.FAMILY,
    "mistral3": pixtral.MISTRAL3,
    "molmo2": molmo2.FAMILY,
    "ovis2": ovis2.FAMILY,
    "paddleocr_vl": qwen2_vl.PADDLE,
    "paligemma": paligemma.FAMILY,
    "qwen2_5_vl": qwen2_vl.QWEN2,
    "qwen2_5_omni_thinker": qwen2_vl.QWEN2,
    "qwen2_vl": qwen2_vl.QWEN2,
    "qwen3_5": qwen2_vl.QWEN3,
    "qwen3_5_moe": qwen2_vl.QWEN3,
    "qwen3_vl": qwen2_vl.QWEN3,
    "qwen3_vl_moe": qwen2_vl.QWEN3,
    "smolvlm": idefics3.SMOLVLM,
}


def family_of(config: Any, one_tile: bool = False) -> Family:
    """The family of a checkpoint's config: the generic one, if the config at least names an id for image tokens.

    Args:
        one_tile: whether it shall show a picture as one tile.

    Raises:
        ModelError: it does not; lists the supported kinds. InputError: it cannot leave the other tiles out.
    """
    if one_tile:
        family = family_of(config).one_tile
        if family is None:
            able = " or ".join(name for name, one in FAMILIES.items() if one.one_tile)
            raise InputError("one tile cannot be asked for", got=config.model_type, expected=able)
        return family
    if config.model_type in FAMILIES:
        return FAMILIES[config.model_type]
    if getattr(getattr(config, "text_config", None), "cross_attention_layers", None):
        raise unsupported(config.model_type, "pictures enter by cross-attention: no tokens to lay a map on")
    if hasattr(config, "thinker_config"):
        raise unsupported(config.model_type, "a model that speaks around one that sees: explain, or save, its thinker")
    if getattr(config, "image_token_id", None) is not None:
        return generic.FAMILY
    sees = any("vision" in name or "visual" in name or "image" in name for name in vars(config))
    raise unsupported(config.model_type, "unsupported kind of model" if sees else "the model has no vision tower")


def unsupported(model_type: str, what: str = "unsupported kind of model") -> ModelError:
    return ModelError(
        what, got=repr(model_type), expected=" or ".join(sorted(FAMILIES)),
        cure='a family is one small file: see "Add your model" in docs/explained/families.md',
    )  # fmt: skip
