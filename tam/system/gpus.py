"""One process a GPU, on a machine that has several and no scheduler that deals them out."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

ALLOCATOR = {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}


@contextlib.contextmanager
def claim(device: str) -> Iterator[str]:
    """Yield ``device``; for "auto", where this process sees several GPUs, the first that no other process has claimed.

    A claim is a lock on a file of this machine, which the system drops with its process, however that ends. If all are
    claimed, a GPU is shared: say ``--resources gpu=N`` to Snakemake, so that no more than N jobs run. The memory of
    whichever it is will be taken in segments that grow, where nobody has chosen otherwise.
    """
    if not ALLOCATOR & os.environ.keys():  # read when CUDA starts; batches differ in size all the time
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    with contextlib.ExitStack() as held:
        if device == "auto" and (count := torch.cuda.device_count()) > 1:
            device = f"cuda:{next((index for index in range(count) if _lock(_name(index), held)), os.getpid() % count)}"
            logger.info("generate on %s", device)
        yield device


def _lock(name: str, held: contextlib.ExitStack) -> bool:
    import fcntl  # which not every system has, nor several GPUs

    file = (Path(tempfile.gettempdir()) / f"tam-{os.getuid()}-{name}.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    held.callback(file.close)
    return True


def _name(index: int) -> str:
    """Of the GPU itself: processes that see different ones (CUDA_VISIBLE_DEVICES) number them differently."""
    return str(torch.cuda.get_device_properties(index).uuid)
