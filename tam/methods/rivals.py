"""The methods that TAM is compared with and that need the model: names, titles, and what their scores depend on.

``tam.attribution.methods`` computes the scores of the same names; here is no torch.
"""

from collections.abc import Iterable
from dataclasses import dataclass

NOTE = (
    "The methods that the paper compares TAM with are our reading of their papers: the authors' adaptation to "
    "multimodal LLMs is not public."
)
WRONG_PLACE = (
    "The embedded model is the wrong place to rank methods: it has four layers, and there "
    "Grad-RollOut, GAE and both LRPs are far above TAM."
)


@dataclass(frozen=True)
class Rival:
    """A method whose scores ``tam attribute`` computes.

    Attributes:
        title: as in the paper.
        gradient: it needs gradients: too small for float16, and of the prompt's words computed only on request.
        settings: the names of those that its scores depend on.
    """

    name: str
    title: str
    gradient: bool = False
    settings: tuple[str, ...] = ()


OCCLUSION = ("occlusion_cells", "occlusion_step", "occlusion_fill")

RIVALS: dict[str, Rival] = {
    rival.name: rival
    for rival in (
        Rival("gradcam", "Grad-CAM"),
        Rival("gradcam++", "Grad-CAM++"),
        Rival("layercam", "Layer-CAM"),
        Rival("attention", "Attention", settings=("attention_layers",)),
        Rival("rollout", "Attention-Rollout"),
        Rival("gradrollout", "Grad-RollOut", gradient=True, settings=("prompt",)),
        Rival("gae", "GAE (Chefer)", gradient=True, settings=("prompt",)),
        Rival("cp-lrp", "CP-LRP", gradient=True, settings=("prompt",)),
        Rival("attnlrp", "Attn-LRP", gradient=True, settings=("prompt",)),
        Rival("archi-surgery", "Archi-Surgery", settings=("surgery_layers",)),
        Rival("llava-cam", "LLaVA-CAM", gradient=True, settings=("prompt", "answer_layer")),
        Rival("inputxgradient", "Input x Gradient", gradient=True, settings=("prompt",)),
        Rival("occlusion", "Occlusion", settings=OCCLUSION),
    )
}
"""By name, in the order of the paper's table; then those that it does not have."""


def notes_on(methods: Iterable[str]) -> list[str]:
    """What a reader has to know wherever these methods stand; nothing where no rival is among them."""
    return [NOTE, WRONG_PLACE] if any(name in RIVALS for name in methods) else []
