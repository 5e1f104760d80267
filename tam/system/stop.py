"""Stopping on request: SIGTERM (a cluster's notice ahead of a time limit or a preemption) and SIGINT (Ctrl-C).

A stage stops where it stands: files appear whole or not at all, so nothing half is left behind. ``generate`` puts the
stop off to the end of its batch; a second signal is not put off.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

EXIT = 75  # EX_TEMPFAIL of sysexits.h: try again. An error is 1.


class Stopped(SystemExit):
    """No ``Exception``: what records a sample's failure and goes on must not catch it."""

    def __init__(self, why: str):
        super().__init__(EXIT)
        self.why = why


_why: str | None = None
_putting_off = False


def listen() -> None:
    """Turn the signals into ``Stopped``; in the main thread. One that is ignored (``nohup``, ``&``) stays ignored."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _received)


def request(why: str) -> None:
    """Stop at the next ``check``."""
    global _why
    _why = why


@contextlib.contextmanager
def put_off() -> Iterator[None]:
    """Inside, the first signal waits for the next ``check``. One that comes after the last check asks for nothing."""
    global _why, _putting_off
    _why, _putting_off = None, True
    try:
        yield
    finally:
        _why, _putting_off = None, False


def check() -> None:
    """The places where a stop costs nothing; raises ``Stopped`` if one was asked for."""
    if _why is not None:
        raise Stopped(_why)


@contextlib.contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Inside, signals wait for a call of what is given, or for the end, whoever handles them.

    For C code that calls Python and crashes when that raises. Handlers run in the main thread; others need no shelter.
    """
    waiting: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}

    def let_go() -> None:
        while waiting:
            number, frame = waiting.pop(0)
            handlers[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            if callable(handler := signal.getsignal(number)):
                handlers[number] = handler
                signal.signal(number, lambda *received: waiting.append(received))
    try:
        yield let_go
    finally:
        for caught, handler in handlers.items():
            signal.signal(caught, handler)
        let_go()


def _received(number: int, _frame: object) -> None:
    name = signal.Signals(number).name
    if not _putting_off or _why is not None:
        raise Stopped(name)
    request(name)
