"""Samples made ready ahead of the device: media are opened and processed in worker processes.

Processes and not threads: Python runs one thread at a time, and the one that keeps a GPU busy must not wait.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from tam.system.foreign import NO_SAMPLES, told

MOST_WORKERS = 16
# Samples that wait for the device, for each worker. One of 640 x 480 pixels is 7 MB for Qwen2-VL.
WAITING = 4


@dataclass(frozen=True)
class _Prepared(Dataset[tuple[int, Any]]):
    """Row of the manifest -> what was made of it, or why nothing was."""

    prepare: Callable[[int], Any]

    def __getitem__(self, row: int) -> tuple[int, Any]:
        try:
            return row, self.prepare(row)
        except Exception as error:  # a processor may raise anything
            return row, error.with_traceback(None)


def workers_for(device: torch.device) -> int:
    """None beside a CPU that computes; beside a GPU as many as there are cores, but one."""
    return 0 if device.type == "cpu" else max(1, min(MOST_WORKERS, _cores() - 1))


def _cores() -> int:
    """That this process may use; of all that there are, where the system does not say (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prefetched(
    prepare: Callable[[int], Any], rows: Sequence[int], workers: int, pinned: bool
) -> Iterator[tuple[int, Any]]:
    """Each row with what ``prepare`` made of it, or the exception; in the order of ``rows``, at most ``WAITING`` a
    worker lie ready.

    Args:
        workers: 0: made here, when it is asked for.
        pinned: in memory that a GPU copies from while it computes, where what is made has a ``pin_memory``.

    Raises:
        ModelError, DiskError, OSError: what every other sample would meet too.
    """
    loader = DataLoader(
        _Prepared(prepare), batch_size=None, sampler=rows, num_workers=workers,
        prefetch_factor=WAITING if workers else None, collate_fn=_as_it_is, pin_memory=pinned, worker_init_fn=_deaf,
    )  # fmt: skip
    for row, made in loader:
        if isinstance(made, Exception) and isinstance(found := told(made), NO_SAMPLES):
            raise found
        yield row, made


def _as_it_is(item: Any) -> Any:
    return item


def _deaf(worker: int) -> None:
    """Whoever asks the job to stop asks its main process, which still needs what is under way."""
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.SIG_IGN)
