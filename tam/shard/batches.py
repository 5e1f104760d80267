"""Many samples through a model: batches of similar length, and what goes wrong recorded for one alone."""

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from tam.errors import InputError
from tam.manifest import Sample
from tam.media import picture_size
from tam.shard.memory import Budget
from tam.shard.prefetch import prefetched
from tam.shard.task import Failed, Ready, Record, Sized, Task
from tam.system.foreign import NO_SAMPLES, out_of_memory, told

logger = logging.getLogger(__name__)


def batches(
    task: Task[Ready, Record, Any], samples: Mapping[int, Sample], folder: Path, done: Set[int], budget: Budget,
    workers: int = 0, pinned: bool = False,
) -> Iterator[dict[int, Record | Failed]]:  # fmt: skip
    """Do what is not done, batch by batch. Whatever goes wrong with a sample is recorded for it alone.

    Samples of similar length stand together, the longest first: what does not fit shows at once. Batches of a given
    size are cut before the finished samples are left out, so that a restart puts the same ones side by side: other
    padding changes the last bits of a result. Where memory decides, a restart cuts anew.

    Args:
        folder: in which the samples' media lie.
        workers, pinned: as in ``prefetched``.
    """
    order = sorted(samples, key=lambda row: (-_size(samples[row], folder), row))
    place = {row: 0 if budget.size is None else index // budget.size for index, row in enumerate(order)}
    left = [row for row in order if row not in done]
    batch: dict[int, Ready] = {}
    failed: dict[int, Record | Failed] = {}

    def through() -> dict[int, Record | Failed]:
        made = failed | _through_model(task, batch, budget)
        for row, record in made.items():
            if isinstance(record, Failed):
                logger.warning("%s failed: %s", samples[row].id, record.why)
        return made

    for row, prepared in prefetched(task.prepare, left, workers, pinned):
        try:
            if isinstance(prepared, Exception):
                raise prepared
            ready = task.ready(row, prepared)
        except Exception as error:  # a processor may have raised anything
            failed[row] = Failed.of(error)
            continue
        if batch and (place[next(iter(batch))] != place[row] or not budget.holds([*_lengths(batch), ready.length])):
            yield through()
            batch, failed = {}, {}
        batch[row] = ready
    if batch or failed:
        yield through()


def _through_model(
    task: Task[Ready, Record, Any], batch: Mapping[int, Ready], budget: Budget
) -> dict[int, Record | Failed]:
    """Every sample of a batch meets one of four fates: it is done, or its batch did not fit and is cut smaller, or its
    batch broke otherwise and is halved, until who broke it is alone and recorded."""
    made: dict[int, Record | Failed] = {}
    waiting = deque([dict(batch)] if batch else [])
    while waiting:
        part = waiting.popleft()
        error = _attempt(task, part, budget, made)
        if error is None:
            continue
        if out_of_memory(error):
            budget.too_small(_lengths(part))
        if len(part) == 1:
            made |= _recorded(part, error)
            continue
        logger.warning("a batch of %d broke and is tried in smaller ones: %s", len(part), error)
        if out_of_memory(error):
            waiting = deque(_cut_smaller((part, *waiting), budget))
        else:
            waiting.extendleft(reversed(_halved(part)))
    return made


def _attempt(
    task: Task[Ready, Record, Any], part: Mapping[int, Ready], budget: Budget, made: dict[int, Record | Failed]
) -> Exception | None:
    """Add to ``made`` what the model makes of a part, or give what it raised; what is no sample's is raised."""
    try:
        with budget.measured(_lengths(part)):
            made |= task.run(part)
    except Exception as error:  # a model may raise anything
        if isinstance(found := told(error), NO_SAMPLES):
            raise found from error
        return error.with_traceback(None)  # a traceback would keep its tensors
    return None


def _recorded(alone: Mapping[int, Ready], error: Exception) -> dict[int, Record | Failed]:
    """The record of a sample that the model cannot take."""
    ((row, ready),) = alone.items()
    return {row: Failed.of(error, ready.size)}


def _halved(part: Mapping[int, Ready]) -> list[dict[int, Ready]]:
    items, middle = list(part.items()), len(part) // 2
    return [dict(items[:middle]), dict(items[middle:])]


def _cut_smaller(parts: Sequence[Mapping[int, Ready]], budget: Budget) -> Iterator[dict[int, Ready]]:
    """All the parts anew, in order, as much at a time as fits."""
    cut: dict[int, Ready] = {}
    for row, ready in [item for part in parts for item in part.items()]:
        if cut and not budget.holds([*_lengths(cut), ready.length]):
            yield cut
            cut = {}
        cut[row] = ready
    yield cut


def _lengths(batch: Mapping[int, Sized]) -> list[int]:
    return [ready.length for ready in batch.values()]


def _size(sample: Sample, folder: Path) -> int:
    """About how long a sample is: its pixels (for a video file, its bytes). Unreadable media count nothing."""
    total = 0
    for path in sample.media:
        try:
            width, height = picture_size(folder / path)
            total += width * height
        except InputError:
            total += (folder / path).stat().st_size if sample.kind == "video" and (folder / path).is_file() else 0
    return total
