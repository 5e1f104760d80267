"""Gradients of one token's logit after the other, or of several in one backward pass, by the rule of a course."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tam.attribution.attention import pulled_back
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


def relevance_of(given: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Input x gradient (Shrikumar et al. 2016): Σ_k x_k ∇x_k of each position, [position, width] to float32 [position].

    By the rules of LRP, the same is LRP's relevance. That x is what enters the decoder, and ∇ of the logit of the
    answer's own class, is our reading for autoregressive models.
    """
    return (given.detach().float() * gradient.float()).sum(-1)


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
        self.course.rule = RULES[methods[0]]
        behind, done = self.behind(tokens), 0
        parts: list[dict[str, torch.Tensor]] = []
        while done < len(tokens):
            try:
                parts.append(self._some(methods, tokens[done : done + self.chunk], behind))
            except Exception as error:
                if not out_of_memory(error) or self.chunk == 1:
                    raise
                self.chunk = max(1, min(self.chunk, len(tokens) - done) // 2)
                continue
            done += len(parts[-1][methods[0]])
        return {name: torch.cat([part[name] for part in parts]) for name in methods}

    def behind(self, tokens: torch.Tensor, more: Sequence[torch.Tensor] = ()) -> list[torch.Tensor]:
        """Gradients down to the last attention: of what it gave, [1, sequence, query heads, width], and past it of what
        the last layer read, [1, sequence, width], then of ``more``. In each row is the gradient of the token that it
        predicts: no position looks at another there, so one pass serves all tokens."""
        made, rows = self.made, self.made.places.predicting[tokens]
        seeds = torch.zeros_like(made.states[0]).index_copy(0, rows, made.weights[tokens].to(made.states.dtype))
        inputs = [made.last.attended, made.leaves.last, *more]
        return list(torch.autograd.grad(made.states, inputs, seeds[None], retain_graph=True, materialize_grads=True))

    def before(
        self, token: torch.Tensor, behind: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor],
        rolling: Rolling | None,
    ) -> list[torch.Tensor]:  # fmt: skip
        """Gradients of the logit of ``token``, int64, by ``inputs``, from those ``behind`` the last attention."""
        last, row = self.made.last, self.made.places.predicting[token[None]]
        here = (torch.arange(last.query.shape[1], device=row.device) == row)[:, None]
        self.course.watch = None if rolling is None else rolling.watch
        of_query, of_key, of_value = pulled_back(
            self.course.rule, behind[0][0, row].transpose(0, 1), last.query[:, row], last.key, last.value,
            last.attended[0, row].transpose(0, 1), last.seen[:, token[None]], last.scale, last.cap,
            None if rolling is None else rolling.begin,
        )  # fmt: skip
        outputs, grads = [last.value, self.made.leaves.last], [of_value, behind[1] * here]
        if of_query is not None and of_key is not None:
            outputs, grads = [last.query, last.key, *outputs], [here * of_query, of_key, *grads]
        return list(torch.autograd.grad(outputs, inputs, grads, retain_graph=True, materialize_grads=True))

    def _some(
        self, methods: Sequence[str], tokens: torch.Tensor, behind: Sequence[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        if len(tokens) == 1:
            return {name: row[None] for name, row in self._one(methods, tokens[0], behind).items()}
        found: dict[str, torch.Tensor] = torch.func.vmap(lambda token: self._one(methods, token, behind))(tokens)
        return found

    @torch.no_grad()
    def _one(
        self, methods: Sequence[str], token: torch.Tensor, behind: Sequence[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """float32 [sequence] of each method, from one backward pass."""
        leaves, places = self.made.leaves, self.made.places
        here = torch.arange(self.made.states.shape[1], device=token.device) == places.predicting[token[None]]
        rolling = Rolling(here.float()) if {"gradrollout", "gae"}.intersection(methods) else None
        inner = [leaves.inner] if leaves.inner is not None and "llava-cam" in methods else []
        grads = self.before(token, behind, [leaves.embeddings, *leaves.features, *inner], rolling)
        relevance = relevance_of(leaves.embeddings[0], grads[0][0])
        for features, at, grad in zip(leaves.features, leaves.positions, grads[1:], strict=False):
            relevance = relevance.index_add(0, at, relevance_of(features, grad))
        found = dict.fromkeys(("inputxgradient", "cp-lrp", "attnlrp"), relevance)
        if inner:
            found["llava-cam"] = llava_cam(inner[0][0].float(), grads[-1][0].float(), places.vision)
        if rolling is not None:
            found |= {"gradrollout": rolling.normed, "gae": rolling.plain}
        return {name: found[name] for name in methods}
