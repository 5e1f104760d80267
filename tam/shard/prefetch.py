"""Samples made ready ahead of the device: media are opened and processed in worker processes.

Processes and not threads: Python runs one thread at a time, and the one that keeps a GPU busy must not wait.
"""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from tam.errors import ModelError
from tam.families.interface import Family
from tam.manifest import Sample
from tam.media import open_media
from tam.model.prompt import Prepared, prepare
from tam.model.video import sampling_of

MOST_WORKERS = 16
# Samples that wait for the device, for each worker. One of 640 x 480 pixels is 7 MB for Qwen2-VL.
WAITING = 4


@dataclass(frozen=True)
class Preparing(Dataset):
    """Row of the manifest -> what the model gets, or why it gets nothing."""

    samples: Mapping[int, Sample]
    folder: Path
    family: Family
    config: object
    processor: object

    def __getitem__(self, row: int) -> tuple[int, dict[str, torch.Tensor], Prepared | Exception]:
        """The tensors stand apart from the rest, where a ``DataLoader`` finds and pins them."""
        sample = self.samples[row]
        try:
            media = open_media(sample, self.folder, sampling_of(self.processor))
            made = prepare(self.family, self.config, self.processor, media, sample.prompt, sample.turns)
        except Exception as error:  # a processor may raise anything
            return row, {}, error.with_traceback(None)
        # The tokens look into a tensor whose memory is about to be handed to another process.
        return row, made.inputs, replace(made, inputs={}, tokens=made.tokens.copy())


def workers_for(device: torch.device) -> int:
    """None beside a CPU that computes; beside a GPU as many as there are cores, but one."""
    return 0 if device.type == "cpu" else max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) - 1))


def prepared(
    preparing: Preparing, rows: Sequence[int], workers: int, pinned: bool
) -> Iterator[tuple[int, Prepared | Exception]]:
    """Each row with what was made of it, in the order of ``rows``; at most ``WAITING`` a worker lie ready.

    Args:
        workers: 0: made here, when it is asked for.
        pinned: in memory that a GPU copies from while it computes.

    Raises:
        ModelError, ImportError: what every other sample would meet too.
    """
    loader = DataLoader(
        preparing, batch_size=None, sampler=rows, num_workers=workers, prefetch_factor=WAITING if workers else None,
        collate_fn=_as_it_is, pin_memory=pinned, worker_init_fn=_deaf,
    )  # fmt: skip
    for row, inputs, made in loader:
        if isinstance(made, ModelError | ImportError):
            raise made
        yield row, made if isinstance(made, Exception) else replace(made, inputs=inputs)


def _as_it_is(item):
    return item


def _deaf(worker: int) -> None:
    """Whoever asks the job to stop asks its main process, which still needs what is under way."""
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.SIG_IGN)
