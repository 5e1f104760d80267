"""The self-test of LRP: whether the relevance of all that goes into a model is the logit that it explains."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from tam.attribution.forced import forced
from tam.attribution.gradients import Backward, relevance_of
from tam.attribution.lrp import Course, is_norm
from tam.errors import ModelError
from tam.model.loaded import Loaded
from tam.model.question import Question

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""How far it may be off, of the sum of magnitudes: what rounding leaves."""


@dataclass(frozen=True)
class Conserved:
    """The relevance of one answer token's logit, by CP-LRP.

    Attributes:
        relevance: float32 [leaf], of each position, each feature that is added later, and each bias.
        logit: without the head's bias. capped: layers, from 0, whose scores are capped before the softmax.
    """

    relevance: torch.Tensor
    logit: float
    capped: list[int]

    @property
    def off(self) -> float:
        """How far the sum is from the logit, as a share of the sum of magnitudes."""
        return float((self.relevance.sum() - self.logit).abs() / self.relevance.abs().sum())


def check_conservation(loaded: Loaded, question: Question) -> None:
    """Whether CP-LRP conserves the answer's largest logit, biases and later injections counted; one pass.

    It is the guard of both rules: a norm, gate, injection or mask that is not understood breaks it.

    Raises:
        ModelError: it does not, or attention caps its scores before the softmax, for which AttnLRP has no rule.
    """
    found = conserved(loaded, question)
    where, cure = type(loaded.model).__name__, "leave out cp-lrp and attnlrp"
    if found.capped:
        what = f"LRP has no rule for the capped softmax of layer {found.capped[0] + 1}"
        raise ModelError(what, where=where, cure=cure)
    if not found.off <= TOLERANCE[loaded.head.weight.dtype]:
        names = ", ".join(dict.fromkeys(unknown_parts(loaded.decoder))) or "a part that looks like a known one"
        raise ModelError(
            f"LRP does not conserve the logit, because of {names}", where=where,
            got=f"a relevance of {float(found.relevance.sum()):.4g}", expected=f"{found.logit:.4g}", cure=cure,
        )  # fmt: skip


def conserved(loaded: Loaded, question: Question) -> Conserved:
    """What CP-LRP gives to all leaves of one answer token, that of the largest logit."""
    course = Course("cp-lrp")
    made = forced(loaded, question, course=course, biases=True)
    leaves, places = made.leaves, made.places
    logits = (made.states[0, places.predicting].detach().float() * made.weights.float()).sum(-1)
    token = places.words + logits[places.words :].abs().argmax()
    backward = Backward(made, course, 1)
    values = [leaves.embeddings[0], *leaves.features, *(bias[None] for bias, _ in leaves.biases)]
    shifts = [shift for _, shift in leaves.biases]
    behind = backward.behind(token[None])
    embeddings, *before = backward.before(token, behind, [leaves.embeddings, *leaves.features, *shifts], None)
    # what is added behind the last attention: all that the states feel of it, but for what comes through the last layer
    more = [*leaves.features, *shifts]
    felt = backward.behind(token[None], more)[2:] if more else []
    through = torch.autograd.grad(leaves.last, more, behind[1], materialize_grads=True) if more else []
    grads = [embeddings[0], *(a + b - c for a, b, c in zip(before, felt, through, strict=True))]
    parts = [relevance_of(value, grad.reshape(value.shape)) for value, grad in zip(values, grads, strict=True)]
    return Conserved(torch.cat(parts), float(logits[token]), made.tap.capped)


def unknown_parts(decoder: torch.nn.Module) -> Iterator[str]:
    """Kinds of modules that multiply by weights of their own, and that no rule is made for."""
    for part in decoder.modules():
        known = is_norm(part) or isinstance(part, torch.nn.Linear | torch.nn.Embedding)
        if not known and next(part.parameters(recurse=False), None) is not None:
            yield type(part).__name__
