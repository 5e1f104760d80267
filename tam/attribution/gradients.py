"""Gradients of one token's logit after the other, or of several in one backward pass, by the rule of a course."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tam.attribution.cams import llava_cam
from tam.attribution.forced import Forced
from tam.attribution.lrp import Course, Rule
from tam.attribution.rollout import Rolling
from tam.system.foreign import out_of_memory

ON_GPU = 16
"""Tokens in one backward pass, at first. On a CPU one at a time is the fastest."""

RULES: dict[str, Rule] = {
    "gradrollout": "gradient", "gae": "gradient", "inputxgradient": "gradient", "llava-cam": "gradient",
    "cp-lrp": "cp-lrp", "attnlrp": "attnlrp",
}  # fmt: skip
"""Method -> the rule of its backward pass."""


@dataclass
class Backward:
    """The backward passes of one graph.

    Attributes:
        chunk: tokens in one of them; it is halved where memory is short.
    """

    made: Forced
    course: Course
    chunk: int

    def rows(self, methods: Sequence[str], tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 [token, sequence] of each method; all of one rule.

        Args:
            tokens: int64 [token], which are explained.

        Raises:
            What torch raises where memory does not suffice for a single token.
        """
        parts: list[dict[str, torch.Tensor]] = []
        done = 0
        while done < len(tokens):
            try:
                parts.append(self._some(methods, tokens[done : done + self.chunk]))
            except Exception as error:
                if not out_of_memory(error) or self.chunk == 1:
                    raise
                self.chunk = max(1, min(self.chunk, len(tokens) - done) // 2)
                continue
            done += len(next(iter(parts[-1].values())))
        return {name: torch.cat([part[name] for part in parts]) for name in methods}

    def _some(self, methods: Sequence[str], tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        positions, weights = self.made.places.predicting[tokens], self.made.weights[tokens]
        if len(tokens) == 1:
            return {name: row[None] for name, row in self._one(methods, positions[0], weights[0]).items()}
        found: dict[str, torch.Tensor] = torch.func.vmap(lambda at, of: self._one(methods, at, of))(positions, weights)
        return found

    def _one(self, methods: Sequence[str], position: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 [sequence] of each method, from one backward pass of the logit at ``position``."""
        made, leaves = self.made, self.made.leaves
        here = torch.arange(made.states.shape[1], device=made.states.device) == position
        rolling = Rolling(here.float())
        self.course.rule = RULES[methods[0]]
        self.course.watch = rolling.watch if {"gradrollout", "gae"}.intersection(methods) else None
        inner = [leaves.inner] if leaves.inner is not None and "llava-cam" in methods else []
        inputs = [leaves.embeddings, *(features for features, _ in leaves.injected), *inner]
        grads = torch.autograd.grad(
            made.states, inputs, (here[:, None] * weight)[None], retain_graph=True, materialize_grads=True
        )  # fmt: skip
        found = {"gradrollout": rolling.normed, "gae": rolling.plain}
        if inner:
            found["llava-cam"] = llava_cam(inner[0][0].float(), grads[-1][0].float(), made.places.vision)
        relevance = (leaves.embeddings[0].float() * grads[0][0]).sum(-1)
        for (features, at), grad in zip(leaves.injected, grads[1:], strict=False):
            relevance = relevance.index_add(0, at, (features.float() * grad).sum(-1))
        found |= dict.fromkeys(("inputxgradient", "cp-lrp", "attnlrp"), relevance)
        return {name: found[name].detach() for name in methods}
