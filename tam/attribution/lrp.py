"""Layer-wise relevance propagation as rules of the backward pass: x ⊙ ∇x of an input is its relevance.

One graph serves all rules: what differs is decided while the backward pass runs, by the course. Rules sit on norms, on
activations, behind ``down_proj``, and in ``tam.attribution.attention``. Their adaptation to autoregressive
models (the target is the logit of the answer's own class at the position that predicts it, relevance is read where
vision enters the decoder, and at every later injection) is our reading.

| part | cp-lrp | attnlrp |
|---|---|---|
| norm | its scale is a constant | the same |
| activation a(x) | a constant: the gate | x · constant, of a(x) / x |
| product of gate and up | all to ``up`` | half to each |
| softmax(q kᵀ) v | the probabilities are constants: all to v | q, k a quarter each, v half |

CP-LRP: Ali et al. 2022, who hold softmax and norm constant; that the gate is, too, is a later extension. It
conserves: the relevance of all leaves, biases included, is the logit. AttnLRP: Achtibat et al. 2024; softmax sheds a
constant, so it does not conserve. LRP is patented; see docs/explained/evaluation.md.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch

Rule = Literal["gradient", "cp-lrp", "attnlrp"]
Watch = Callable[[torch.Tensor, torch.Tensor], None]


@dataclass
class Course:
    """What the backward pass of the moment follows.

    Attributes:
        rule: "gradient": the derivative.
        watch: is shown each layer's probabilities and their gradient, [query heads, row, position], the last but one
            first.
    """

    rule: Rule = "gradient"
    watch: Watch | None = None


@contextlib.contextmanager
def ruled(decoder: torch.nn.Module, course: Course) -> Iterator[None]:
    """Inside, a pass of ``decoder`` makes a graph that follows ``course``; the model's hooks are as before then."""
    handles = []
    for part in decoder.modules():
        if is_norm(part):
            handles.append(part.register_forward_hook(_of_norm(part, course)))
        elif isinstance(down := getattr(part, "down_proj", None), torch.nn.Module):
            handles.append(down.register_forward_hook(_of_product(course)))
            handles += [gate.register_forward_hook(_of_activation(course)) for gate in activations(part)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def is_norm(part: torch.nn.Module) -> bool:
    return type(part).__name__.endswith("RMSNorm") or isinstance(part, torch.nn.LayerNorm)


def activations(part: torch.nn.Module) -> list[torch.nn.Module]:
    """The activation of an MLP, by the two names that the library has for it."""
    found = [getattr(part, name, None) for name in ("act_fn", "activation_fn")]
    return [one for one in found if isinstance(one, torch.nn.Module)]


class Scaled(torch.autograd.Function):
    """A module's output; the derivative is the module's, and by a rule of LRP that of input x factor.

    Args of ``apply``: course, the rules by which it is a constant, output, input, factors (multiplied; they broadcast
    to the input), and whether the mean over channels was subtracted first.
    """

    @staticmethod
    def forward(
        ctx: Any, course: Course, constant: tuple[Rule, ...], output: torch.Tensor, given: torch.Tensor,
        factors: tuple[torch.Tensor, ...], centred: bool,
    ) -> torch.Tensor:  # fmt: skip
        ctx.save_for_backward(*factors)
        ctx.course, ctx.constant, ctx.centred = course, constant, centred
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rule = ctx.course.rule
        if rule == "gradient":
            return None, None, grad, None, None, None
        if rule in ctx.constant:
            return (None,) * 6
        passed = grad
        for factor in ctx.saved_tensors:
            passed = passed * factor
        if ctx.centred:
            passed = passed - passed.mean(-1, keepdim=True)
        return None, None, None, passed.to(grad.dtype), None, None


class Halved(torch.autograd.Function):
    """What ``down_proj`` makes of the product of gate and up: by AttnLRP, half of the relevance goes to each of both.

    Halved behind the matrix, where there are fewer numbers than before it.
    """

    @staticmethod
    def forward(ctx: Any, course: Course, product: torch.Tensor) -> torch.Tensor:
        ctx.course = course
        return product.view_as(product)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, grad / 2 if ctx.course.rule == "attnlrp" else grad


def _of_norm(norm: torch.nn.Module, course: Course) -> Callable[..., torch.Tensor]:
    def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            factors, centred = norm_factors(norm, inputs[0], output)
        return Scaled.apply(course, (), output, inputs[0], factors, centred)

    return hook


def norm_factors(
    norm: torch.nn.Module, given: torch.Tensor, output: torch.Tensor
) -> tuple[tuple[torch.Tensor, ...], bool]:
    """What a norm multiplies its input by: one float32 number a position [..., 1], and one a channel [channel].

    An RMS norm gives g x s, s one number a position. What it makes of ones is g up to a constant; s over that constant
    is what brings g x nearest to the output. So neither its epsilon nor whether g is its weight, or 1 + that, need be
    known.
    """
    x = given.float()
    if isinstance(norm, torch.nn.LayerNorm):
        deviation = (x.var(-1, keepdim=True, correction=0) + norm.eps).sqrt()
        weight = torch.ones_like(x[0, 0]) if norm.weight is None else norm.weight.float()
        return (1 / deviation, weight), True
    channel = norm.forward(torch.ones_like(given[..., :1, :].reshape(-1, given.shape[-1])[:1]))[0].float()
    plain = x * channel
    energy = (plain * plain).sum(-1, keepdim=True)
    position = (output.float() * plain).sum(-1, keepdim=True) / energy.clamp(min=torch.finfo(torch.float32).tiny)
    return (position, channel), False


def _of_activation(course: Course) -> Callable[..., torch.Tensor]:
    def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            factor = torch.where(inputs[0] == 0, 0, output / inputs[0])
        return Scaled.apply(course, ("cp-lrp",), output, inputs[0], (factor,), False)

    return hook


def _of_product(course: Course) -> Callable[..., torch.Tensor]:
    def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return Halved.apply(course, output)

    return hook
