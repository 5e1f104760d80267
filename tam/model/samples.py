"""Samples of a manifest as prompts for the model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tam.manifest import Sample
from tam.media import open_media
from tam.model.prompt import Prepared, Prompter, prepare
from tam.model.video import sampling_of


@dataclass(frozen=True)
class PrepareSample:
    """Row of the manifest -> its prompt, from media that lie in ``folder``. Can be called in another process."""

    samples: Mapping[int, Sample]
    folder: Path
    prompter: Prompter

    def __call__(self, row: int) -> Prepared:
        sample = self.samples[row]
        media = open_media(sample, self.folder, sampling_of(self.prompter.processor))
        made = prepare(self.prompter, media, sample.prompt, sample.turns)
        # The tokens look into a tensor whose memory is about to be handed to another process.
        return replace(made, tokens=made.tokens.copy())
