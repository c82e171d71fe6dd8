"""Signals that end a run early without ending it at once."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hlctl.watchdog import watchdog

GRACE = 5.0
"""Seconds from the signal to the end of the process."""

_LAST_REPLY = 0.5  # of it: when nothing more is expected of the database


class Interrupt:
    """Remembers the first SIGINT or SIGTERM; a second one ends the process at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._at = 0.0

    def __bool__(self) -> bool:
        return self.signal is not None

    def left(self) -> float:
        """Return the seconds left for what is still to be done; infinite without a signal."""
        return float("inf") if self.signal is None else self._at + GRACE - _LAST_REPLY - time.monotonic()

    def remember(self, number: int, _frame: FrameType | None) -> None:
        """Take note of a signal."""
        if self.signal is not None:
            os._exit(128 + self.signal)
        self.signal = number
        self._at = time.monotonic()
        watchdog.end_in(GRACE, 128 + number, "ended by a signal before anything could be recorded")


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Turn SIGINT and SIGTERM into a value to look at; whatever handled them before does so again afterwards."""
    interrupt = Interrupt()
    before = {number: signal.signal(number, interrupt.remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
