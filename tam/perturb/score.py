"""Pictures in, the answer's probability out: the answer stays, token for token, and only the picture changes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from tam.cell_sets import Cells
from tam.errors import InputError
from tam.media import Media
from tam.model.attention import fused_without_plans
from tam.model.collate import with_answer
from tam.model.head import blocks
from tam.model.loaded import Loaded
from tam.model.prompt import Prepared, Prompter, prepare
from tam.model.recording import recording
from tam.perturb.cells import baseline, mixed, owners, rows_mixed
from tam.perturbed import Baseline
from tam.shard.memory import Budget
from tam.system.foreign import out_of_memory

PIXELS = ("pixel_values", "pixel_values_videos")


@dataclass(frozen=True)
class Scores:
    """What a model says of an answer's tokens, a row a picture: [picture, answer].

    Attributes:
        logits: float32, of each token's own class. logprob: float32, its log p. best: bool, is it the most likely one?
    """

    logits: np.ndarray
    logprob: np.ndarray
    best: np.ndarray


@dataclass(frozen=True)
class Perturbations:
    """A sample's prompts with some cells of its pictures replaced. Can be called in another process.

    Attributes:
        media: the given pictures. baselines: uint8 [height, width, 3] of each. owners: int64 [height, width] of each.
        sets: bool [set, cell].
        original: the prompt of the given pictures. fast: name of the input, and the same of the baselines, where
            what the processor makes of a mix is the mix of what it makes; None: each picture goes through it.
    """

    prompter: Prompter
    media: Media
    words: str
    turns: Sequence[Sequence[str]]
    baselines: list[np.ndarray]
    owners: list[np.ndarray]
    sets: np.ndarray
    original: Prepared
    fast: tuple[str, np.ndarray] | None = None

    @classmethod
    def of(
        cls, prompter: Prompter, media: Media, words: str, turns: Sequence[Sequence[str]], kind: Baseline,
        sets: np.ndarray, original: Prepared,
    ) -> "Perturbations":  # fmt: skip
        """Raises: InputError, LayoutError: as ``through_processor``, ``owners``."""
        pictures = [np.asarray(picture) for picture in media.pictures]
        places = [(0, frame) if media.video else (place, 0) for place, frame in enumerate(media.frames)]
        made = cls(
            prompter, media, words, turns, [baseline(picture, kind) for picture in pictures],
            [owners(Cells.of(original.layout), *place) for place in places], sets, original,
        )  # fmt: skip
        return replace(made, fast=made._fast())

    def __call__(self, index: int) -> Prepared:
        replaced = self.sets[index]
        if self.fast is None:
            return self.through_processor(replaced)
        name, other = self.fast
        values = rows_mixed(self.original.inputs[name].numpy(), other, replaced)
        return replace(self.original, inputs=self.original.inputs | {name: torch.from_numpy(values)})

    def through_processor(self, replaced: np.ndarray) -> Prepared:
        """The prompt without some cells, bool [cell]; InputError: it has other tokens."""
        pictures = tuple(
            Image.fromarray(mixed(np.asarray(picture), other, owner, replaced))
            for picture, other, owner in zip(self.media.pictures, self.baselines, self.owners, strict=True)
        )
        made = prepare(self.prompter, replace(self.media, pictures=pictures), self.words, self.turns)
        if not np.array_equal(made.tokens, self.original.tokens) or made.layout.grids != self.original.layout.grids:
            raise InputError("grid changes", got=f"{len(made.layout.vision)} vision tokens without some of the cells")
        # The tokens look into a tensor whose memory is about to be handed to another process.
        return replace(made, tokens=made.tokens.copy())

    def _fast(self) -> tuple[str, np.ndarray] | None:
        """Cells mixed behind the processor, if that is the same to the bit for every other cell; where it resizes or
        smooths, it is not. Nor where pixels are in bfloat16 (Llama 4), which NumPy has not."""
        given = self.original.inputs
        names = [name for name in PIXELS if name in given and given[name].dtype != torch.bfloat16]
        cells = self.sets.shape[1]
        other = self.through_processor(np.ones(cells, bool)).inputs
        every_other = np.arange(cells) % 2 == 0
        expected = self.through_processor(every_other).inputs
        for name in names:
            values = rows_mixed(self.original.inputs[name].numpy(), other[name].numpy(), every_other)
            if values is not None and np.array_equal(values, expected[name].numpy()):
                return name, other[name].numpy()
        return None


def scored(loaded: Loaded, prompts: Iterable[Prepared], ids: np.ndarray, budget: Budget) -> Scores:
    """An answer's tokens, int32 ``ids``, behind each of several prompts of one sample, which have one length.

    As many at a time as ``budget`` holds; where these are too many, half of them.
    """
    found = [one for part in _parts(prompts, len(ids), budget) for one in _through_model(loaded, part, ids, budget)]
    return Scores(*(np.concatenate([getattr(one, name) for one in found]) for name in ("logits", "logprob", "best")))


def _parts(prompts: Iterable[Prepared], more: int, budget: Budget) -> Iterator[list[Prepared]]:
    part: list[Prepared] = []
    for prompt in prompts:
        if part and not budget.holds([len(prompt.tokens) + more] * (len(part) + 1)):
            yield part
            part = []
        part.append(prompt)
    if part:
        yield part


def _through_model(loaded: Loaded, part: Sequence[Prepared], ids: np.ndarray, budget: Budget) -> list[Scores]:
    lengths = [len(prompt.tokens) + len(ids) for prompt in part]
    try:
        with budget.measured(lengths):
            return [forward(loaded, part, ids)]
    except Exception as error:  # a model may raise anything
        if not out_of_memory(error) or len(part) == 1:
            raise
    budget.too_small(lengths)
    middle = len(part) // 2
    return [one for half in (part[:middle], part[middle:]) for one in _through_model(loaded, half, ids, budget)]


@torch.inference_mode()
def forward(loaded: Loaded, prompts: Sequence[Prepared], ids: np.ndarray) -> Scores:
    """One pass over prompts of one length with the same answer. Only the answer's rows go through the head."""
    whole = [with_answer(prompt.to(loaded.device), ids, loaded.family.answer_type) for prompt in prompts]
    with fused_without_plans(), recording(loaded) as last:
        loaded.model(**{"logits_to_keep": 1} | loaded.batch(whole, left=False), use_cache=False)
    start = len(prompts[0].tokens) - 1
    rows = last.states[:, start : start + len(ids)].flatten(0, 1)
    wanted = torch.from_numpy(np.tile(ids.astype(np.int64), len(prompts))).to(rows.device)
    logits, logprob, best, first = [], [], [], 0
    for block in blocks(loaded.head, rows):
        own = wanted[first : first + len(block), None].to(block.device)
        first += len(block)
        logits.append(block.gather(1, own)[:, 0].float().cpu())
        logprob.append(block.float().log_softmax(-1).gather(1, own)[:, 0].cpu())
        best.append((block.argmax(-1) == own[:, 0]).cpu())
    shape = len(prompts), len(ids)
    return Scores(*(torch.cat(parts).numpy().reshape(shape) for parts in (logits, logprob, best)))
