"""One question about one's own pictures, from the files to the drawn explanation."""

from pathlib import Path

from tam.families.checkpoint import load
from tam.generation.sample import explain_sample
from tam.manifest import Sample
from tam.methods import METHODS
from tam.protocol import FIXED
from tam.render import draw


def explain(
    pictures: list[Path],
    prompt: str,
    model: str,
    out: Path,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    max_new_tokens: int = 256,
    answer: str | None = None,
) -> tuple[Path, str]:
    """Ask ``model`` about ``pictures`` and draw the map of every token of its answer.

    Args:
        answer: explain this text, whoever wrote it, instead of what the model would answer.

    Returns:
        the folder with the pictures, and the answer.

    Raises:
        InputError: a picture that cannot be read. ModelError: a checkpoint that cannot be used.
    """
    sample = Sample(id=pictures[0].stem, media=[str(path.absolute()) for path in pictures], prompt=prompt)
    loaded = load(model, revision, device, dtype)
    generation = explain_sample(*loaded, sample, max_new_tokens=max_new_tokens, answer=answer)
    maps = METHODS["tam"](generation, FIXED, exact=False)
    return draw(generation, maps, sample, out), generation.answer
