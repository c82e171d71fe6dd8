"""Times whole processes side by side: interleaved rounds, the system's own accounting, and ratios of what ran together.

A machine's speed drifts by half within minutes, so a figure means something only beside another one of the same round.
Each process is started by a small one of its own: what a process is said to have used includes what it was forked from.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_ONCE = """
import json, os, sys, time
out = os.open(os.devnull, os.O_WRONLY)
actions = [(os.POSIX_SPAWN_DUP2, out, 1)]
began = time.monotonic()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
_, status, used = os.wait4(pid, 0)
wall = time.monotonic() - began
print(json.dumps([os.waitstatus_to_exitcode(status), wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one process: seconds, seconds of all processors together, MiB."""

    wall: float
    cpu: float
    rss: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The least, the median and the largest of some figures."""

    least: float
    median: float
    largest: float

    def __str__(self) -> str:
        return f"{self.median:8.3f} ({self.least:.3f} to {self.largest:.3f})"


def spread(figures: Sequence[float]) -> Spread:
    """Return the spread of figures."""
    return Spread(min(figures), statistics.median(figures), max(figures))


def once(command: Sequence[str], env: Mapping[str, str]) -> Sample:
    """Run a command to its end and return what it took. Raises RuntimeError, with what it said, if it fails."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _ONCE, *command], env=dict(env), capture_output=True, text=True, check=True
    )
    code, wall, cpu, rss = json.loads(ran.stdout)
    if code != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {code}: {ran.stderr.strip()}")
    return Sample(wall, cpu, rss)


def rounds(
    candidates: Mapping[str, Callable[[], T]], count: int, *, warm_up: int = 1, forwards_only: bool = False
) -> dict[str, list[T]]:
    """Run every candidate once a round; the rounds to warm up are not returned.

    Every other round goes backwards, so that nobody always follows the same one, unless a candidate has to.
    """
    found: dict[str, list[T]] = {name: [] for name in candidates}
    for number in range(-warm_up, count):
        for name in list(candidates)[:: 1 if number % 2 or forwards_only else -1]:
            result = candidates[name]()
            if number >= 0:
                found[name].append(result)
    return found


def ratios(figures: Sequence[float], to: Sequence[float]) -> Spread:
    """Return the spread of the ratios round by round."""
    return spread([mine / other for mine, other in zip(figures, to, strict=True)])


def show(samples: Mapping[str, Sequence[Sample]], *, to: str) -> None:
    """Print every candidate's figures, and its ratios to one of them, round by round."""
    base = samples[to]
    for name, mine in samples.items():
        print(f"{name}: {len(mine)} rounds, median (least to largest)")
        print(f"  wall s  {spread([one.wall for one in mine])}")
        print(f"  CPU s   {spread([one.cpu for one in mine])}")
        print(f"  RSS MiB {spread([one.rss for one in mine])}")
        if name != to:
            print(f"  wall / {to}: {ratios([one.wall for one in mine], [one.wall for one in base])}")
            print(f"  CPU / {to}:  {ratios([one.cpu for one in mine], [one.cpu for one in base])}")
