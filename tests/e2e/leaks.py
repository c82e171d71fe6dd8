"""What runs may leave behind: on the server, on the disk, among the processes."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e import servers
from tests.e2e.killing import WALLETS, Lane
from tests.e2e.oracle import after

CELL = 400  # bytes of database that a stored cell may take, with its indexes and its share of the other tables

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


@dataclass
class Leaks:
    """A minute after the other, and what is there that was not there before."""

    lane: Lane
    runs: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)  # cells, bytes of the database

    def run(self, runs: int) -> None:
        """Record so many minutes."""
        self._measure()
        for number in range(runs):
            self.lane.at(after(self.lane.now))
            self.lane.run("snapshot")
            if number % (runs // 4) == runs // 4 - 1:
                self._measure()
        self.runs += runs
        self.lane.is_let_go()

    def _measure(self) -> None:
        cells = "SELECT count(*)::int, pg_database_size(current_database()) FROM wallet_snapshots"
        ((stored, size),) = self.lane.rows(cells)
        self.sizes.append((stored, size))

    @property
    def bytes_a_cell(self) -> float:
        """Return how much the database grew for each cell, after the first quarter, which also made partitions."""
        (cells, size), (more_cells, more) = self.sizes[1], self.sizes[-1]
        return (more - size) / (more_cells - cells)

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
        return found

    def summary(self) -> str:
        """Return the figures."""
        return f"{self.runs} runs: {self.sizes[-1][0]} cells, {self.bytes_a_cell:.0f} bytes of database a cell"


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
