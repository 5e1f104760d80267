"""What a loaded model does with many samples: batches of similar length, and what goes wrong recorded for one alone."""

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import torch

from tam.errors import InputError, NotFiniteError, TamError
from tam.families.interface import Family
from tam.generation.kept import Selected, in_words, select_numbers
from tam.manifest import Sample
from tam.media import picture_size
from tam.model.decoding import answer_batch, answer_ids, end_ids, given_answers
from tam.model.prompt import Prepared, check_room
from tam.records import Generation
from tam.shard.memory import Room, out_of_memory
from tam.shard.prefetch import Preparing
from tam.shard.prefetch import prepared as ahead

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """A sample that is ready for the model; ``ids``: of the answer that was given, if one was."""

    row: int
    sample: Sample
    prepared: Prepared
    ids: list[int]

    @property
    def length(self) -> int:
        return len(self.prepared.tokens) + len(self.ids)


@dataclass(frozen=True)
class Work:
    """What a loaded model does with samples, whose media lie in ``folder``.

    Attributes:
        texts: sample id -> the answer to explain instead of the model's own.
        layer: of the decoder, from 1, that maps are read from; None: the last.
    """

    model: object
    processor: object
    family: Family
    folder: Path
    max_new_tokens: int
    texts: Mapping[str, str] | None = None
    layer: int | None = None

    def batches(
        self, samples: Mapping[int, Sample], done: Set[int], room: Room, workers: int = 0
    ) -> Iterator[dict[int, Selected | Generation]]:
        """Answer what is not done, batch by batch. Whatever goes wrong with a sample is recorded for it alone.

        Samples of similar length stand together, the longest first: what does not fit shows at once. Batches of a given
        size are cut before the finished samples are left out, so that a restart puts the same ones side by side: other
        padding changes the last bits of a result. Where memory decides, a restart cuts anew.
        """
        order = sorted(samples, key=lambda row: (-_length(samples[row], self.folder), row))
        place = {row: 0 if room.size is None else index // room.size for index, row in enumerate(order)}
        left = [row for row in order if row not in done]
        preparing = Preparing(samples, self.folder, self.family, self.model.config, self.processor)
        batch, failures = [], {}
        for row, prepared in ahead(preparing, left, workers, pinned=self.model.device.type == "cuda"):
            try:
                asked = self._asked(row, samples[row], prepared)
            except Exception as error:  # a processor may have raised anything
                failures[row] = _failure(samples[row], error)
                continue
            together = [one.length for one in (*batch, asked)]
            if batch and (place[batch[0].row] != place[row] or not room.holds(together)):
                yield failures | self._answered(batch, room)
                batch, failures = [], {}
            batch.append(asked)
        if batch or failures:
            yield failures | self._answered(batch, room)

    def _asked(self, row: int, sample: Sample, prepared: Prepared | Exception) -> Asked:
        if isinstance(prepared, Exception):
            raise prepared
        ids = []
        if self.texts is not None:
            if sample.id not in self.texts:
                raise InputError("no answer is given for this sample")
            ids = answer_ids(self.model, self.processor, self.family, self.texts[sample.id])
            check_room(self.model.config, len(prepared.tokens) + len(ids))
        return Asked(row, sample, prepared, ids)

    def _answered(self, batch: list[Asked], room: Room) -> dict[int, Selected | Generation]:
        """A batch that does not fit is cut smaller; one that breaks otherwise is halved until who broke it is alone."""
        made, waiting = {}, deque([batch] if batch else [])
        while waiting:
            part = waiting.popleft()
            lengths = [one.length for one in part]
            try:
                with room.measured(lengths):
                    made |= self._selected(part)
                continue
            except (RuntimeError, ValueError, IndexError, MemoryError) as error:
                broken = error.with_traceback(None)  # a traceback would keep its tensors
            if isinstance(broken, torch.AcceleratorError) and not out_of_memory(broken):
                raise broken  # the device is of no use any more, to any sample
            if out_of_memory(broken):
                room.too_small(lengths)
            if len(part) == 1:
                made[part[0].row] = _failure(part[0].sample, _too_large(part[0]) if out_of_memory(broken) else broken)
                continue
            logger.warning("a batch of %d broke and is tried in smaller ones: %s", len(part), broken)
            if out_of_memory(broken):
                waiting = deque(_cut([one for piece in (part, *waiting) for one in piece], room))
            else:
                waiting.extendleft((part[len(part) // 2 :], part[: len(part) // 2]))
        return made

    def _selected(self, batch: list[Asked]) -> dict[int, Selected | Generation]:
        prepared = [one.prepared for one in batch]
        if self.texts is None:
            answers = answer_batch(self.model, self.processor, prepared, self.max_new_tokens, self.layer)
        else:
            ids = [one.ids for one in batch]
            answers = given_answers(self.model, self.processor, self.family, prepared, ids, self.layer)
        made = {}
        for one, answer in zip(batch, answers, strict=True):
            try:
                made[one.row] = select_numbers(self.model, one.sample, one.prepared, answer)
            except NotFiniteError as error:
                made[one.row] = _failure(one.sample, error)
        return made

    def in_words(self, tokenizer, batch: dict[int, Selected | Generation]) -> dict[int, Generation]:
        """What was selected, with what its ids stand for, in the manifest's order."""
        ends = end_ids(self.model.generation_config)
        return {
            row: in_words(tokenizer, ends, kept) if isinstance(kept, Selected) else kept
            for row, kept in sorted(batch.items())
        }


def _cut(batch: Sequence[Asked], room: Room) -> Iterator[list[Asked]]:
    """In order, as much at a time as there is room for."""
    part = []
    for one in batch:
        if part and not room.holds([other.length for other in (*part, one)]):
            yield part
            part = []
        part.append(one)
    yield part


def _length(sample: Sample, folder: Path) -> int:
    """About how long a sample is: its pixels (for a video file, its bytes). Unreadable media count nothing."""
    total = 0
    for path in sample.media:
        try:
            width, height = picture_size(folder / path)
            total += width * height
        except InputError:
            total += (folder / path).stat().st_size if sample.kind == "video" and (folder / path).is_file() else 0
    return total


def _too_large(asked: Asked) -> InputError:
    sizes = " + ".join(f"{width} x {height}" for width, height in asked.prepared.layout.sizes)
    return InputError(
        "out of memory", got=f"{sizes} pixels, {asked.length} tokens", cure="smaller pictures, or more memory"
    )


def _failure(sample: Sample, error: Exception) -> Generation:
    why = error if isinstance(error, TamError) else f"{type(error).__name__}: {error}"
    logger.warning("%s failed: %s", sample.id, why)
    return Generation.failure(sample.id, sample.prompt, why)
