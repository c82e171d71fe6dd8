"""The end that nothing holds up: whatever the main thread waits for, the process is over when its time is.

Every wait of ours has a bound of its own. This is for those that have none: a resolver, a disk, a pipe nobody reads.
"""

import os
import select
import sys
import threading
from collections.abc import Callable


class Watchdog:
    """Ends the process at a moment that can be moved, with an exit code that can be changed. One a process."""

    def __init__(self, end: Callable[[int], None] = os._exit) -> None:
        self._end = end
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()  # a signal may arm it while it is being armed
        self._code = 0
        self._words = ""

    def end_in(self, seconds: float, code: int, words: str) -> None:
        """End the process in `seconds` with `code` and one line on stderr, instead of what was to come before."""
        timer = threading.Timer(max(0.0, seconds), self._fire)
        timer.daemon = True
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._code, self._words = timer, code, words
        timer.start()

    def call_off(self) -> None:
        """Let the process live: what it was for is only a part of what it does."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()

    def settle(self, code: int) -> None:
        """Let the process end with `code` and without a word: what it was for is done, it only has to say so."""
        with self._lock:
            self._code, self._words = code, ""

    def _fire(self) -> None:
        try:
            # Somebody who does not read the pipe must not hold this up too.
            if self._words and select.select([], [sys.stderr], [], 0)[1]:
                os.write(sys.stderr.fileno(), f"hlctl: {self._words}\n".encode())
        finally:  # stderr may be closed
            self._end(self._code)


watchdog = Watchdog()
