"""A shard through a model that is loaded only if something is left to do: in batches, resumed where it was stopped."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tam.manifest import Sample
from tam.shard.background import in_background
from tam.shard.batches import batches
from tam.shard.journal import Journal
from tam.shard.memory import Budget
from tam.shard.prefetch import workers_for
from tam.shard.store import Store
from tam.shard.task import Failed, Ready, Record, Row, Task
from tam.system import stop

logger = logging.getLogger(__name__)


def run_shard(
    title: str, samples: Mapping[int, Sample], folder: Path, store: Store[Row], load: Callable[[], Task[Any, Any, Row]],
    device: torch.device, batch_size: int | None = None,
) -> dict[int, str]:  # fmt: skip
    """Do a task with all the samples of a shard, whose media lie in ``folder``, and finish its store.

    Finished batches are kept beside the output until the shard is whole, and a restart goes on after them. A sample
    that comes to nothing is recorded as such and stops no other.

    Args:
        title: for the log.
        load: gives the task, with its model.
        batch_size: samples at a time; None: as many as ``device`` has memory for.

    Returns:
        row -> status.
    """
    done = store.finished()
    if done is not None and done.keys() == samples.keys():
        logger.info("%s: %d samples are there already", title, len(done))
        store.clear()
        return done
    done = store.resume()
    if done:
        logger.info("%s: resume: %d of %d samples are there", title, len(done), len(samples))
    if len(done) < len(samples):
        _do_the_rest(title, samples, folder, store, load(), Budget(device, batch_size), done)
    store.finish(samples.keys())
    return done


def _do_the_rest(
    title: str, samples: Mapping[int, Sample], folder: Path, store: Store[Row], task: Task[Ready, Record, Row],
    budget: Budget, done: dict[int, str],
) -> None:  # fmt: skip
    """Adds to ``done``, row -> status."""
    journal: Journal[Record] = Journal(store.folder, task.pack, task.unpack)

    def keep(batch: Mapping[int, Record | Failed]) -> None:
        rows = task.finish(batch)
        store.add(rows)
        journal.remove(batch)
        done.update({row: made.status for row, made in rows.items()})

    for batch in journal.left(samples.keys()):
        keep(batch)
    pace = Pace(title, len(samples), len(done))

    def keep_and_tell(batch: Mapping[int, Record | Failed]) -> None:
        keep(batch)
        logger.info(pace.line(len(done), time.monotonic()))

    workers, pinned = workers_for(budget.device), budget.device.type == "cuda"
    with in_background(keep_and_tell) as keep_behind:
        for batch in batches(task, samples, folder, set(done), budget, workers, pinned):
            journal.write(batch)
            keep_behind(batch)
            stop.check()


@dataclass(frozen=True)
class Pace:
    """How fast a shard of ``total`` samples goes, of which ``already`` were there at the start."""

    title: str
    total: int
    already: int
    started: float = field(default_factory=time.monotonic)

    def line(self, done: int, now: float) -> str:
        """For the log; ``now`` by ``time.monotonic``."""
        rate = (done - self.already) / (now - self.started)
        left = (self.total - done) / rate
        return f"{self.title}: {done}/{self.total} samples, {rate:.1f} samples/s, ETA {left:.0f} s"
