"""One question to a loaded model: media and words in, what maps are computed from out. Errors are raised."""

import numpy as np
import torch

from tam.generation.kept import generation_of
from tam.manifest import Sample
from tam.media import Media
from tam.model.head import CANDIDATES, chances_of
from tam.model.loaded import Loaded
from tam.model.probe import believe
from tam.model.prompt import prepare
from tam.model.question import answers_to, question
from tam.model.recording import check_layer
from tam.records import Generation, GivenAnswer
from tam.system.foreign import foreign


def ask(
    loaded: Loaded, sample: Sample, media: Media, *, max_new_tokens: int, answer: str | None = None,
    layer: int | None = None,
) -> tuple[Generation, np.ndarray]:  # fmt: skip
    """Ask about the media of a sample, or read what somebody else answered; the model is left as it was.

    The logits of all candidates are kept: there is one answer only.

    Args:
        answer: explain this text, whoever wrote it, instead of what the model would answer.
        layer: of the decoder, from 1, that maps are read from; None: the last.

    Raises:
        TamError: whatever is wrong, also what processor and model raise.

    Returns:
        the answer, and float32 [answer], the probability of each of its tokens.
    """
    check_layer(loaded, layer)
    with loaded.evaluating(), torch.inference_mode():
        believe(loaded)
        prepared = prepare(loaded.prompter, media, sample.prompt, sample.turns)
        asked = question(loaded, prepared, None if answer is None else GivenAnswer(answer))
        with foreign("the model cannot take this", asked.size):
            (made,) = answers_to(loaded, [asked], max_new_tokens, layer)
            generation = generation_of(loaded, sample, prepared, made, CANDIDATES)
            states = made.states[generation.layout.answer - 1 :]
            return generation, chances_of(loaded.head, states, generation.answer_ids)
