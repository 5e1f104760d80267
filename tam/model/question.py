"""A question that is ready for the model: to be answered by it, or with a text that somebody else wrote."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tam.model.decoding import Answer, answer_batch
from tam.model.forced import forced_batch, given_ids, with_likeliest_end
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared
from tam.records import GivenAnswer

logger = logging.getLogger(__name__)

MANY = 4096  # vision tokens of a picture


@dataclass(frozen=True)
class Question:
    """What the model is asked.

    Attributes:
        text: int32, the ids of a text to explain instead of an answer of the model's own.
        ended: whether the text came to its end.
        any_end: whether that end token stands for whichever one the model would say; the text itself had none.
    """

    prepared: Prepared
    text: np.ndarray | None = None
    ended: bool = True
    any_end: bool = False

    @property
    def length(self) -> int:
        """Tokens that go into the model at once."""
        return len(self.prepared.tokens) + (0 if self.text is None else len(self.text))

    @property
    def size(self) -> str:
        """In words, for who hears that it is too large."""
        sizes = " + ".join(f"{width} x {height}" for width, height in self.prepared.layout.sizes)
        return f"{sizes} pixels, {self.length} tokens"


def question(loaded: Loaded, prepared: Prepared, given: GivenAnswer | None = None) -> Question:
    """A question that the model can take, with the answer to explain, if one is given.

    Raises:
        InputError: it cannot: too long, a token that it does not know; the answer is empty or holds a vision token.
    """
    seen = len(prepared.layout.vision)
    if seen > MANY * len(prepared.layout.sizes):
        sizes = " + ".join(f"{width} x {height}" for width, height in prepared.layout.sizes)
        logger.warning("%s pixels become %d vision tokens; max_pixels bounds them", sizes, seen)
    words = prepared.tokens[prepared.layout.prompt]
    if given is None:
        loaded.check(prepared.tokens, more=1)
        loaded.check_classes(words)
        return Question(prepared)
    ids, ended, any_end = given_ids(loaded, given)
    loaded.check(np.concatenate([prepared.tokens, ids]))
    loaded.check_classes(np.concatenate([words, ids]))
    return Question(prepared, ids, ended, any_end)


def answers_to(
    loaded: Loaded, questions: Sequence[Question], max_new_tokens: int, layer: int | None = None
) -> list[Answer]:
    """Of questions that all have a text, or all have none; the text ends as an answer of the model's own would."""
    prepared = [one.prepared for one in questions]
    texts = [one.text for one in questions if one.text is not None]
    if not texts:
        return answer_batch(loaded, prepared, max_new_tokens, layer)
    made = forced_batch(loaded, prepared, texts, layer)
    return [
        replace(with_likeliest_end(loaded, one) if asked.any_end else one, ended=asked.ended)
        for asked, one in zip(questions, made, strict=True)
    ]
