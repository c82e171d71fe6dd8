"""Signals that end a run early without ending it at once."""

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hlctl.watchdog import watchdog

GRACE = 5.0
"""Seconds a run has from a signal to the end of its process."""

_LAST_REPLY = 0.5  # of it: when nothing more is expected of the database
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTHING = "ended by a signal before anything could be recorded"
_SOON = 0.01  # seconds until a signal is looked at again


class Interrupt:
    """Remembers the first SIGINT or SIGTERM, and bounds what follows if `grace` is given; a second one ends it all."""

    def __init__(self, grace: float = math.inf) -> None:
        self.signal: int | None = None
        self._grace = grace
        self._at = 0.0

    def __bool__(self) -> bool:
        return self.signal is not None

    def left(self) -> float:
        """Return the seconds the database may still take; infinite without a signal."""
        return math.inf if self.signal is None else self._at + self._grace - _LAST_REPLY - time.monotonic()

    def remember(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.signal is not None:
            os._exit(128 + self.signal)
        self.signal, self._at = number, time.monotonic()
        if self._grace < math.inf:
            watchdog.hasten(self._grace, 128 + number, _NOTHING)


class Terminated(KeyboardInterrupt):
    """SIGTERM, in the shape of Ctrl-C: both unwind the stack and clean up."""


def remembered(grace: float = math.inf) -> Interrupt:
    """Turn SIGINT and SIGTERM into a value to look at, from now on."""
    interrupt = Interrupt(grace)
    for number in _SIGNALS:
        signal.signal(number, interrupt.remember)
    return interrupt


def ignored() -> None:
    """Let no signal change the exit status any more."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def hastened() -> Iterator[None]:
    """Bound what follows a SIGINT or SIGTERM, however it is handled: the database may be silent while it is left."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def hasten(number: int, frame: FrameType | None) -> None:
        watchdog.hasten(GRACE, 128 + number, _NOTHING)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    try:
        for number in _SIGNALS:
            signal.signal(number, hasten)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Turn SIGINT and SIGTERM into a value to look at; whatever handled them before does so again afterwards."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield remembered(GRACE)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def raising(interrupt: Interrupt) -> Iterator[None]:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt and Terminated, also one that `interrupt` has seen before."""

    def end(number: int, frame: FrameType | None) -> None:
        if number in _SIGNALS:
            interrupt.remember(number, frame)
        if _is_importing(frame):
            signal.setitimer(signal.ITIMER_REAL, _SOON)
            return
        raise Terminated if interrupt.signal == signal.SIGTERM else KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (*_SIGNALS, signal.SIGALRM)}
    try:
        if interrupt:
            end(signal.SIGALRM, None)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_importing(frame: FrameType | None) -> bool:
    """Tell whether a module is half loaded: what is raised there may be swallowed, and leaves the half behind."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False
