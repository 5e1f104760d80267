"""One answer of a loaded model, in memory: its scores, as ``tam.explain`` wants them. Errors are raised."""

from collections.abc import Sequence

import torch

from tam.attribution.methods import Settings
from tam.attribution.occlusion import Shown
from tam.attribution.task import in_float16, not_conserving, scores_of
from tam.errors import InputError
from tam.generation.again import same_question
from tam.manifest import Sample
from tam.media import Media
from tam.model.loaded import Loaded
from tam.model.prompt import prepare
from tam.records import FAILED, Generation, Scores
from tam.system.foreign import foreign


def scores_for(
    loaded: Loaded, sample: Sample, media: Media, generation: Generation, methods: Sequence[str]
) -> dict[str, Scores]:
    """Scores of an answer that the model has just given; the model is left as it was.

    Raises:
        TamError: whatever is wrong, also what a method says instead of scores.
    """
    question = same_question(generation, prepare(loaded.prompter, media, sample.prompt, sample.turns))
    shown = Shown(media, sample.prompt, sample.turns)
    with loaded.evaluating(), foreign("the model cannot take this", question.size):
        refused = in_float16(methods) if loaded.model.dtype == torch.float16 else {}
        refused |= not_conserving(loaded, question, [name for name in methods if name not in refused])
        made = scores_of(loaded, question, generation, shown, methods, Settings(), refused)
    found = {}
    for name, one in made.items():
        if isinstance(one, str):
            raise InputError(one.removeprefix(FAILED), where=name)
        found[name] = one
    return found
