"""The end that nothing holds up: whatever the main thread waits for, the process is over when its time is.

Every wait of ours has a bound of its own. This is for those that have none: a resolver, a disk, a pipe nobody reads.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TextIO

from hlctl import logs

_LOOK_UP = 0.1  # seconds between two looks at the time
_SAYING = 0.4  # seconds at least for saying what was settled
_SPIN = 1.0  # seconds of CPU beyond its time, at which the kernel ends a process that lets no thread look


def _by_the_kernel(seconds: float) -> None:
    """Have the process killed once it has used so much CPU from now on; 0: never. No child inherits that."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _by_nobody(_seconds: float) -> None:
    """Leave a process alone that is not only the watchdog's."""


class _End(NamedTuple):
    at: float  # by time.monotonic()
    code: int
    words: str


class Watchdog:
    """Ends the process at a moment that can be moved, with an exit code that can be changed. One a process.

    A signal may come while it is being told something: so each thing it is told is one assignment, and no lock is held.
    A call into C that spins and lets nobody else run stops the watchdog too: that is left to `last_resort`.
    """

    def __init__(
        self, end: Callable[[int], None] = os._exit, last_resort: Callable[[float], None] = _by_nobody
    ) -> None:
        self._end = end
        self._last_resort = last_resort
        self._born = time.monotonic()
        self._due: _End | None = None
        self._hastened: _End | None = None
        self._settled: int | None = None
        self._floor = threading.Lock()  # of who says how it ended; nobody waits for it
        self._is_watching = False
        self.say: Callable[[int, str], tuple[int, TextIO, str]] = lambda code, words: (
            code,
            sys.stderr,
            logs.written("error", f"hlctl: {words}", message=words, code=code),
        )
        """From an exit code and the words for it, the code to end with, where the words go and how they read."""

    def age(self) -> float:
        """Return the seconds since the process began, as far as hlctl saw it: this module is among its first."""
        return time.monotonic() - self._born

    def end_in(self, seconds: float, code: int, words: str) -> None:
        """End the process in `seconds` with `code` and one line, instead of what was to come before."""
        self._due = _End(time.monotonic() + seconds, code, words)
        self._watch()

    def hasten(self, seconds: float, code: int, words: str) -> None:
        """End it with this code and line, in `seconds` or when it was to end anyway; no later word changes that."""
        self._hastened = _End(time.monotonic() + seconds, code, words)
        self._watch()

    def settle(self, code: int) -> None:
        """Let the process end with `code` and without a word: what it was for is done, it only has to say so.

        If its last words are being said already, this is not the time for others: it only leaves the code.
        """
        is_late = self._settled is None and not self._floor.acquire(blocking=False)
        self._settled = code
        said_by = time.monotonic() + _SAYING
        if (due := self._due) is not None:
            self._due = due._replace(at=max(due.at, said_by))
        if (hastened := self._hastened) is not None:
            self._hastened = hastened._replace(at=max(hastened.at, said_by))
        if is_late:
            time.sleep(_SAYING)

    def call_off(self) -> None:
        """Let the process live: what it was for is only a part of what it does."""
        self._due = None
        self._arm()

    def _ends(self) -> list[_End]:
        return [end for end in (self._hastened, self._due) if end is not None]

    def _arm(self) -> None:
        ends = self._ends()
        self._last_resort(max(0.0, min(end.at for end in ends) - time.monotonic()) + _SPIN if ends else 0.0)

    def _watch(self) -> None:
        self._arm()
        if not self._is_watching:
            self._is_watching = True
            threading.Thread(target=self._wait, name="watchdog", daemon=True).start()

    def _await_the_end(self) -> _End:
        while not (ends := self._ends()) or min(end.at for end in ends) > time.monotonic():
            time.sleep(_LOOK_UP)
        return ends[0]

    def _wait(self) -> None:
        _, code, words = self._await_the_end()
        if not self._floor.acquire(blocking=False):
            self._await_the_end()  # which was moved for who has the floor
            words = ""
        try:
            if words:
                code, stream, text = self.say(code, words)
                # Somebody who does not read the pipe must not hold this up too.
                if self._settled in {None, code} and select.select([], [stream], [], 0)[1]:
                    os.write(stream.fileno(), text.encode())
        finally:  # the stream may be closed
            self._end(code if self._settled is None else self._settled)


watchdog = Watchdog(last_resort=_by_the_kernel)
