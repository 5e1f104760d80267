"""Work done behind the device, in one thread, in order."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
WAITING = 2


@contextlib.contextmanager
def behind(work: Callable[[Item], None]) -> Iterator[Callable[[Item], None]]:
    """A function that hands one item over to ``work`` and waits only if ``WAITING`` are not done yet.

    All that was handed over is done when the block is left, also by an error. Errors of ``work`` are raised here.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="behind") as thread:
        waiting = deque()

        def hand_over(item: Item) -> None:
            if len(waiting) == WAITING:
                waiting.popleft().result()
            waiting.append(thread.submit(work, item))

        yield hand_over
        for last in waiting:
            last.result()
