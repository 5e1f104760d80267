"""Stopping on request: SIGTERM (a cluster's notice ahead of a time limit or a preemption) and SIGINT (Ctrl-C).

A stage stops where it stands: files appear whole or not at all, so nothing half is left behind. ``generate`` puts the
stop off to the end of its batch, ``maps`` to that of its sample; a second signal is not put off.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import CodeType, FrameType

EXIT = 75  # EX_TEMPFAIL of sysexits.h: try again. An error is 1.


class Stopped(SystemExit):
    """No ``Exception``: what records a sample's failure and goes on must not catch it."""

    def __init__(self, why: str):
        super().__init__(EXIT)
        self.why = why


_why: str | None = None
_putting_off = False
_kept_whole: set[CodeType] = set()


def never_inside(function: Callable) -> Callable:
    """Decorator: a signal does not raise inside but waits for the next ``check``. For what C calls: it would crash."""
    _kept_whole.add(function.__code__)
    return function


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


def _received(number: int, frame: FrameType) -> None:
    name = signal.Signals(number).name
    if (_putting_off and _why is None) or frame.f_code in _kept_whole:
        request(name)
    else:
        raise Stopped(name)
