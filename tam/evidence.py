"""What the cache says of a word: how likely the model found it, and how much the picture speaks for it.

It is evidence, not truth: a word that a model says by mistake has it, too (docs/explained/grounding.md).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tam.records import Generation


class Evidence(NamedTuple):
    """Of a word of an answer, whoever wrote it.

    Attributes:
        logprob: natural logarithm of the probability that the model gives the word after what stands before it: the sum
            over its tokens, at most 0. None where the cache has the logits of another layer.
        peak: the highest logit of its class over the vision tokens, 0 if none is above; the mean over its tokens. No
            normalisation: it compares words of one model.
        margin: the highest minus the mean logit over the vision tokens, the mean over its tokens.
    """

    logprob: float | None
    peak: float
    margin: float

    @property
    def probability(self) -> float | None:
        """Of the whole word, from 0 to 1."""
        return None if self.logprob is None else math.exp(self.logprob)


def evidence_of(generation: Generation, tokens: Sequence[int], layer: int | None = None) -> Evidence:
    """The evidence of a word.

    Args:
        tokens: its tokens' places in the answer.
        layer: that the logits were read from; None: the last.
    """
    numbers = token_evidence(generation)[list(tokens)]
    _, peak, margin = numbers.mean(0).tolist()
    return Evidence(float(numbers[:, 0].sum()) if layer is None else None, peak, margin)


def token_evidence(generation: Generation) -> np.ndarray:
    """float64 [answer, 3]: of each token log p, the highest logit, rectified, and the margin, as ``Evidence``."""
    columns = [generation.column(id) for id in generation.answer_ids]
    own = generation.logits[:, columns].astype(np.float64)
    logprob = own[-len(columns) :].diagonal() - generation.candidates.logsumexp[-len(columns) :]
    seen = own[: len(generation.layout.vision)]
    highest = seen.max(0)
    return np.stack([np.minimum(logprob, 0), np.maximum(highest, 0), highest - seen.mean(0)], 1)
