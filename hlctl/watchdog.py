"""The end that nothing holds up: whatever the main thread waits for, the process is over when its time is.

Every wait of ours has a bound of its own. This is for those that have none: a resolver, a disk, a pipe nobody reads.
"""

import os
import select
import sys
import threading
from collections.abc import Callable
from typing import TextIO


class Watchdog:
    """Ends the process at a moment that can be moved, with an exit code that can be changed. One a process."""

    def __init__(self, end: Callable[[int], None] = os._exit) -> None:
        self._end = end
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()  # a signal may arm it while it is being armed
        self._code = 0
        self._words = ""
        self._is_settled = False
        self.say: Callable[[int, str], tuple[TextIO, str]] = lambda _code, words: (sys.stderr, f"hlctl: {words}\n")
        """From the exit code and the words for it, where they go and how they read."""

    def end_in(self, seconds: float, code: int, words: str) -> None:
        """End the process in `seconds` with `code` and one line, instead of what was to come before.

        Once it is settled what it ends with, only the moment is moved.
        """
        timer = threading.Timer(max(0.0, seconds), self._fire)
        timer.daemon = True
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = timer
            if not self._is_settled:
                self._code, self._words = code, words
        timer.start()

    def call_off(self) -> None:
        """Let the process live: what it was for is only a part of what it does."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()

    def settle(self, code: int) -> None:
        """Let the process end with `code` and without a word: what it was for is done, it only has to say so."""
        with self._lock:
            self._code, self._words, self._is_settled = code, "", True

    def _fire(self) -> None:
        try:
            if self._words:
                stream, text = self.say(self._code, self._words)
                # Somebody who does not read the pipe must not hold this up too.
                if select.select([], [stream], [], 0)[1]:
                    os.write(stream.fileno(), text.encode())
        finally:  # the stream may be closed
            self._end(self._code)


watchdog = Watchdog()
