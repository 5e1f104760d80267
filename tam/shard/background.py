"""Work done behind the device, in one thread, in order."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


@contextlib.contextmanager
def in_background(work: Callable[[Item], None]) -> Iterator[Callable[[Item], None]]:
    """A function that hands one item over to ``work``, after the one before is done: no more than one waits in memory.

    All that was handed over is done when the block is left, also by an error. Errors of ``work`` are raised here.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="background") as thread:
        last: Future[None] | None = None

        def hand_over(item: Item) -> None:
            nonlocal last
            if last is not None:
                last.result()
            last = thread.submit(work, item)

        yield hand_over
        if last is not None:
            last.result()
