"""Loading large libraries in a command that answers one question and then ends."""

import atexit
import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """What is imported in this block stays to the end: no collection looks through it, neither now nor later.

    At the end the system takes back the memory, so that Python need not look for garbage once more.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(_end)
        if collected:
            gc.enable()


def _end() -> None:
    gc.disable()
    gc.unfreeze()  # modules are taken apart all the same, and some (Triton) report what is left of them as leaked
