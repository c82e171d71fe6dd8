"""Signals that end a run early without ending it at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Remembers the first SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Turn SIGINT and SIGTERM into a value to look at; whatever handled them before does so again afterwards."""
    interrupt = Interrupt()

    def remember(number: int, _frame: FrameType | None) -> None:
        if interrupt.signal is None:
            interrupt.signal = number

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
