"""One sample, from its media to what the maps need."""

from pathlib import Path

from tam.cache import Generation
from tam.families.interface import Family
from tam.families.prompt import prepare
from tam.generation.answer import answer_batch, answer_ids, given_answers
from tam.generation.select import select
from tam.manifest import Sample
from tam.media import open_media


def explain_sample(
    model, processor, family: Family, sample: Sample, folder: Path = Path(), *, max_new_tokens: int = 256,
    answer: str | None = None,
) -> Generation:  # fmt: skip
    """Ask about one sample; its media paths are relative to ``folder``. Errors are raised, not recorded.

    Args:
        answer: explain this text, whoever wrote it, instead of what the model would answer.
    """
    prepared = prepare(family, model.config, processor, open_media(sample, folder), sample.prompt, sample.turns)
    if answer is None:
        (made,) = answer_batch(model, processor, [prepared], max_new_tokens)
    else:
        ids = answer_ids(model, processor, family, answer)
        (made,) = given_answers(model, processor, family, [prepared], [ids])
    return select(model, processor, sample, prepared, made)
