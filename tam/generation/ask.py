"""One question to a loaded model: media and words in, the states and candidates of an answer out. Errors are raised."""

import contextlib
from collections.abc import Iterator, Sequence

from tam.families.interface import Family
from tam.media import Media
from tam.model.decoding import Answer, answer_batch, answer_ids, given_answers
from tam.model.prompt import Prepared, check_room, prepare


def ask(
    model, processor, family: Family, media: Media, words: str, turns: Sequence[Sequence[str]] = (), *,
    max_new_tokens: int, answer: str | None = None, layer: int | None = None,
) -> tuple[Prepared, Answer]:  # fmt: skip
    """Ask about media, or read what somebody else answered.

    Args:
        answer: explain this text, whoever wrote it, instead of what the model would answer.
        layer: of the decoder, from 1, that maps are read from; None: the last.
    """
    prepared = prepare(family, model.config, processor, media, words, turns)
    if answer is None:
        return prepared, answer_batch(model, processor, [prepared], max_new_tokens, layer)[0]
    ids = answer_ids(model, processor, family, answer)
    check_room(model.config, len(prepared.tokens) + len(ids))
    return prepared, given_answers(model, processor, family, [prepared], [ids], layer)[0]


@contextlib.contextmanager
def evaluating(model) -> Iterator[None]:
    """No dropout; afterwards each module is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
