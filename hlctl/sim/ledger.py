"""The exchange's own record: the bytes it served, and what its clients asked of it.

Times are epoch seconds of the exchange's clock. Written by the server's thread, read by any.
"""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Served:
    """One request and what was sent for it."""

    at: float
    path: str
    kind: str  # the info request's type; "leaderboard" for the file too (see path); "other" for anything else
    address: str | None  # lower case
    status: int  # 0: the connection was closed without an answer
    body: bytes  # as sent
    weight: int
    complete: bool = True  # the whole body was sent
    headers: Mapping[str, str] = field(default_factory=dict)  # of the request, names in lower case


class _Window:
    """Weights of the last 60 seconds."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, int]] = deque()
        self.weight = 0

    def add(self, at: float, weight: int) -> None:
        self._entries.append((at, weight))
        self.weight += weight

    def forget(self, now: float) -> None:
        """Drop what is no longer in the window; also what lies ahead, for a test may turn the clock back."""
        while self._entries and self._entries[-1][0] > now:
            self.weight -= self._entries.pop()[1]
        while self._entries and self._entries[0][0] <= now - WINDOW:
            self.weight -= self._entries.popleft()[1]


class Ledger:
    """Counters and journal; `limit` is the weight served in any 60 s, None = no limit."""

    def __init__(self, *, limit: int | None, keep: bool) -> None:
        self.limit = limit
        self._keep = keep
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything but the requests in flight."""
        with self._lock:
            self.journal: list[Served] = []
            self.requests = self.weight_sent = self.max_in_flight = self.max_weight_60s = 0
            self.in_flight: int = getattr(self, "in_flight", 0)
            self._sent, self._served = _Window(), _Window()

    def arrive(self, at: float, weight: int) -> bool:
        """Count a request; False if it is over the limit. A refused request does not weigh on the limit."""
        with self._lock:
            self.requests += 1
            self.weight_sent += weight
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
            self._sent.forget(at)
            self._sent.add(at, weight)
            self.max_weight_60s = max(self.max_weight_60s, self._sent.weight)
            self._served.forget(at)
            if self.limit is not None and self._served.weight + weight > self.limit:
                return False
            self._served.add(at, weight)
            return True

    def leave(self) -> None:
        """Count a request as done with, answered or given up by the client."""
        with self._lock:
            self.in_flight -= 1

    def record(self, served: Served) -> None:
        """Write a request into the journal."""
        if self._keep:
            with self._lock:
                self.journal.append(served)

    def entries(self) -> tuple[Served, ...]:
        """Give the journal as it is now, in the order of answering."""
        with self._lock:
            return tuple(self.journal)
