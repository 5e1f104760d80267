"""Model families: how to ask a model, and where its tokens lie on the pixels. One file each; see ``interface.py``."""

from tam.errors import ModelError
from tam.families import qwen2_vl
from tam.families.interface import Family

# A checkpoint's config names its ``model_type``.
FAMILIES: dict[str, Family] = {
    "qwen2_vl": qwen2_vl.FAMILY,
    "qwen2_5_vl": qwen2_vl.FAMILY,
}


def family_of(model_type: str) -> Family:
    """The family of a checkpoint; ModelError lists the supported ones."""
    if model_type not in FAMILIES:
        raise ModelError("unsupported kind of model", got=repr(model_type), expected=" or ".join(sorted(FAMILIES)))
    return FAMILIES[model_type]
