"""SIGKILL at any point of the embedded server's first start: the next start works, and the cluster is whole.

The points are the system calls by which the command changes the world, found by tracing one start. A few of them are
tried by default, and all of them with TEST_EVERY_KILL=1, which takes very long.
"""

import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from hlctl import sim
from tests.e2e import servers
from tests.e2e.conftest import COMMAND, Hlctl, M, rows_of
from tests.e2e.oracle import assert_nothing_false, assert_whole

EVERY = bool(os.environ.get("TEST_EVERY_KILL"))
TRIED = 5  # by default: each takes some three seconds

# The name of a call differs between machines; strace passes over a name with "?" that this one does not have.
CALLS = (
    *("?mkdir", "?mkdirat", "?rename", "?renameat", "?renameat2", "?unlink", "?unlinkat", "fchown", "fsync", "flock"),
    *("openat", "write", "?fork", "?vfork", "?clone", "?clone3", "wait4", "connect", "sendto", "execve"),
)

STEPS = ("rename", "fsync", "wait4")
"""Where a few kills are tried by default: while a program runs for the command, and when the cluster gets its name."""

Point = tuple[str, int]
"""The n-th system call of this name, from the start of the process."""

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

pytestmark = [servers.linux_only, pytest.mark.timeout(3600 if EVERY else 180)]


@dataclass(frozen=True, slots=True)
class FirstStart:
    """A data directory that does not exist yet, and the command that makes it."""

    hlctl: Hlctl
    data: Path
    url: str

    def traced(self, command: str, *options: str) -> int | None:
        """Run `db start` or `db run` under strace; return its status, None if `run` came as far as to answer."""
        process = replace(self.hlctl, command=("strace", *options, str(COMMAND))).start("db", command)
        servers.until(lambda: process.poll() is not None or (command == "run" and servers.answers(self.url)))
        if process.poll() is None:
            return None
        return process.returncode

    def points(self) -> list[Point]:
        """Return every point from the first on that concerns the data directory, in order, of a start that succeeds."""
        trace = self.data.parent / "trace"
        assert self.traced("start", "-o", str(trace), "-e", f"trace={','.join(CALLS)}", "-e", "signal=none") == 0
        self.is_mended_by_the_next()
        self.start_over()
        count: Counter[str] = Counter()
        found: list[Point] = []
        for line in trace.read_text().splitlines():
            if called := re.match(r"(\w+)\(", line):
                count[called[1]] += 1
                if found or f'"{self.data}' in line:
                    found.append((called[1], count[called[1]]))
        return found

    def killed_at(self, command: str, point: Point) -> bool:
        """Start with SIGKILL at that point; False if the start came to its end without reaching it."""
        name, n = point
        kill = ("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={n}")
        status = self.traced(command, "-o", "/dev/null", *kill)
        assert status in {None, 0, -9}
        return status == -9

    def killed_after(self, seconds: float) -> bool:
        """Kill the command and all it started, at once and after some time; False if it had come to its end."""
        process = self.hlctl.start("db", "start")
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            while left := servers.processes(self.data):
                servers.kill(*left)
        return process.wait() != 0

    def is_mended_by_the_next(self) -> None:
        """Check that the next start works and the cluster is whole."""
        ran = self.hlctl("db", "start")
        assert (ran.code, ran.err) == (0, "")
        assert rows_of(self.url)("SELECT current_database(), count(*) > 300 FROM pg_class") == [("hlctl", True)]
        assert self.hlctl("db", "stop").code == 0
        assert servers.processes(self.data) == {}
        servers.assert_sound(self.data)

    def start_over(self) -> None:
        """Remove what was mended and stopped."""
        shutil.rmtree(self.data)


@pytest.fixture
def first(
    make_hlctl: Callable[..., Hlctl], exchange: sim.Exchange, set_clock_of: Callable[..., None], tmp_path: Path
) -> Iterator[FirstStart]:
    """Return what is to be killed; in the end a minute is recorded on what was mended last."""
    data = tmp_path / "d"
    hlctl = make_hlctl(
        HLCTL_DATA_DIR=str(data), HLCTL_API_URL=exchange.url, HLCTL_LEADERBOARD_URL=exchange.leaderboard_url
    )
    try:
        url = hlctl("db", "url").out.strip()
        yield FirstStart(hlctl, data, url)
        assert hlctl("init-db").code == 0
        moment = M + timedelta(seconds=2)
        set_clock_of(url, moment)
        offset = moment.timestamp() - time.time()
        exchange.clock = lambda: time.time() + offset
        assert hlctl("snapshot").code == 0
        assert_whole(rows_of(url), exchange, M)
        assert_nothing_false(rows_of(url), exchange)
    finally:
        servers.kill(*servers.processes(data))


@needs_strace
def test_killed_at_system_calls_of_its_first_start(first: FirstStart) -> None:
    """A cluster is whole or absent: half of one would fail at every later start."""
    points = [point for point in first.points() if point[0].startswith(STEPS)]
    assert len(points) > TRIED
    for at in range(TRIED):
        assert first.killed_at("start", points[at * (len(points) - 1) // (TRIED - 1)])
        first.is_mended_by_the_next()
        if at < TRIED - 1:
            first.start_over()


if EVERY:

    @needs_strace
    @pytest.mark.parametrize("command", ["start", "run"])
    @pytest.mark.parametrize("name", sorted(name.strip("?") for name in CALLS))
    def test_killed_at_every_system_call_of_its_first_start(first: FirstStart, name: str, command: str) -> None:
        """The same at each of them, until a start survives."""
        n = min((n for called, n in first.points() if called == name), default=0)
        while n and first.killed_at(command, (name, n)):
            first.is_mended_by_the_next()
            first.start_over()
            n += 1


def test_killed_with_all_it_started_at_any_moment(first: FirstStart) -> None:
    """A service manager kills the whole group, a power cut everything: no process is left to finish or to tidy."""
    began = time.monotonic()
    assert first.hlctl("db", "start").code == 0
    lasts = time.monotonic() - began
    first.is_mended_by_the_next()
    step = 0.02 if EVERY else lasts / 4
    moment = step
    survived = False
    while not survived and (EVERY or moment < lasts):
        first.start_over()
        survived = not first.killed_after(moment)
        first.is_mended_by_the_next()
        moment += step
