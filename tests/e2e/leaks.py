"""What runs may leave behind: on the server, on the disk, among the processes; and what they take as time goes on."""

import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.e2e import servers
from tests.e2e.killing import WALLETS, Lane
from tests.e2e.oracle import after

CELL = 400  # bytes of database that a stored cell may take, with its indexes and its share of the other tables
MIB = 2**20
FILES = 8 + 16  # a run's connections to the exchange, and what it may have open beside them
THREADS = 8 + 4  # those that ask, the first one, and those that wait for the clock, a name, a disk

LEFT = """
    SELECT 'a session', count(*)::int FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    UNION ALL
    SELECT 'a lock', count(*)::int FROM pg_locks l JOIN pg_database d ON d.oid = l.database
     WHERE d.datname = current_database() AND l.pid <> pg_backend_pid()
    UNION ALL
    SELECT 'a prepared transaction', count(*)::int FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL
    SELECT 'a temporary table', count(*)::int FROM pg_class WHERE relpersistence = 't'
    UNION ALL
    SELECT 'a temporary file', temp_files::int FROM pg_stat_database WHERE datname = current_database()
"""


class Use(NamedTuple):
    """The most that a process ever had."""

    memory: int = 0  # bytes
    files: int = 0
    threads: int = 0
    shared: int = 0  # segments of memory shared with other processes


@dataclass
class Leaks:
    """A minute after the other, and what is there that was not there before."""

    lane: Lane
    runs: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)  # cells, bytes of the database
    uses: list[Use] = field(default_factory=list)  # of each run

    def run(self, runs: int) -> None:
        """Record so many minutes."""
        self._measure()
        sockets = _sockets()
        for number in range(runs):
            self.lane.at(after(self.lane.now))
            self._run()
            if number % (runs // 4) == runs // 4 - 1:
                self._measure()
        self.runs += runs
        self.lane.is_let_go()
        servers.until(lambda: _sockets() <= sockets, seconds=30)

    def _run(self) -> None:
        process = self.lane.hlctl.start("snapshot")
        use = Use()
        while process.poll() is None:
            use = Use(*map(max, use, _use(Path("/proc", str(process.pid)))))
            time.sleep(0.01)
        out, err = process.communicate()
        assert process.returncode == 0, (process.returncode, out, err)
        self.uses.append(use)

    def _measure(self) -> None:
        cells = "SELECT count(*)::int, pg_database_size(current_database()) FROM wallet_snapshots"
        ((stored, size),) = self.lane.rows(cells)
        self.sizes.append((stored, size))

    @property
    def bytes_a_cell(self) -> float:
        """Return how much the database grew for each cell, after the first quarter, which also made partitions."""
        (cells, size), (more_cells, more) = self.sizes[1], self.sizes[-1]
        return (more - size) / (more_cells - cells)

    @property
    def memory(self) -> tuple[float, float]:
        """Return the peak memory of the first and of the last runs, the median of a tenth of them each, in bytes."""
        tenth = max(1, self.runs // 10)
        return _median(self.uses[:tenth]), _median(self.uses[-tenth:])

    def found(self) -> list[str]:
        """Return what is left that should not be."""
        found = [f"{count} times {what}" for what, count in self.lane.rows(LEFT) if count]
        found += [f"the file {name}" for name in self.lane.files() - {"data", "tmp"}]
        found += [f"process {pid}: {title}" for pid, title in _processes(self.lane.home).items()]
        if (in_flight := self.lane.exchange.in_flight) != 0:
            found.append(f"{in_flight} requests to the exchange")
        if self.sizes[-1][0] != self.runs * 3 * WALLETS:
            found.append(f"{self.sizes[-1][0]} cells of {self.runs} runs")
        if self.bytes_a_cell > CELL:
            found.append(f"{self.bytes_a_cell:.0f} bytes a cell")
        first, last = self.memory
        if last - first > MIB:
            found.append(f"{last / MIB:.1f} MiB of memory a run, and {first / MIB:.1f} MiB at first")
        most = Use(*map(max, *self.uses))
        if most.files > FILES or most.threads > THREADS or most.shared:
            found.append(f"a run with {most.files} files, {most.threads} threads, {most.shared} shared segments")
        return found

    def summary(self) -> str:
        """Return the figures."""
        first, last = self.memory
        most = Use(*map(max, *self.uses))
        return (
            f"{self.runs} runs: {self.sizes[-1][0]} cells, {self.bytes_a_cell:.0f} bytes of database a cell;"
            f" peak memory {first / MIB:.1f} MiB in the first tenth and {last / MIB:.1f} MiB in the last, between"
            f" {min(use.memory for use in self.uses) / MIB:.1f} and {most.memory / MIB:.1f} MiB in all;"
            f" at most {most.files} files and {most.threads} threads in a run"
        )


def _use(process: Path) -> Use:
    """Return what a process has now, and the most memory it ever had; nothing of one that is ending."""
    try:
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        shared = [line for line in (process / "maps").read_text().splitlines() if "/dev/shm" in line or "/SYSV" in line]  # noqa: S108 - where shared memory has its names
        files = len(list((process / "fd").iterdir()))
    except OSError:
        return Use()
    memory = int(status.get("VmHWM", "0 kB").split()[0]) * 1024  # a zombie has none
    return Use(memory, files, int(status["Threads"]), len(shared))


def _median(uses: Sequence[Use]) -> float:
    return statistics.median(use.memory for use in uses)


def _sockets() -> int:
    """Return how many sockets this process has, in which the exchange is."""
    found = 0
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them is gone by now
            found += str(file.readlink()).startswith("socket:")
    return found


def _processes(home: Path) -> dict[int, str]:
    """Return the processes that work there, and those of the command that are dead and were never waited for."""
    found = servers.processes(home)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # gone by now
            continue
        if "(hlctl) Z " in text:
            found[int(stat.parent.name)] = "a zombie"
    return found
