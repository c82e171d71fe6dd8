"""The database's time, carried on by this machine: a run reads the clock once and then only counts elapsed seconds."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

# Runs on during suspend where the system has such a clock, so a laptop's lid never makes a run lie about time.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Return seconds since some fixed moment, suspended time included."""
    return time.clock_gettime(_BOOTTIME)


class RunClock:
    """A reading of the database's clock and what has passed since."""

    def __init__(self, at: datetime, *, elapsed: Callable[[], float] = boottime) -> None:
        self._at = at
        self._elapsed = elapsed
        self._mark = elapsed()

    def now(self) -> datetime:
        """Return the database's time, as far as this machine can tell."""
        return self._at + timedelta(seconds=self._elapsed() - self._mark)

    def since(self, moment: datetime) -> float:
        """Return the seconds from `moment` to now; negative if it is still to come."""
        return (self.now() - moment).total_seconds()


class Phases:
    """How long each phase of a run took, in seconds: each lasts until the next one begins."""

    def __init__(self, *, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._elapsed = elapsed
        self._begun: dict[str, float] = {}

    def begin(self, phase: str) -> None:
        """End the phase before and begin this one, unless it was begun already: a run may try again."""
        self._begun.setdefault(phase, self._elapsed())

    def seconds(self) -> dict[str, float]:
        """Return the phases that were begun, in order; the last one goes on until now."""
        ends = [*self._begun.values(), self._elapsed()][1:]
        return {phase: end - at for (phase, at), end in zip(self._begun.items(), ends, strict=False)}


phases = Phases()
"""Those of this process's snapshot."""
