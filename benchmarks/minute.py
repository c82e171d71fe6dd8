"""A whole minute of 200 wallets: hlctl beside the naive tracker and beside the floor, as whole processes.

`python -m benchmarks.minute [--rounds 7] [--latency 0 0.02 0.1] [--plain]` starts a PostgreSQL and an exchange of its
own, over TLS with an authority of its own unless --plain, and prints what each took and hlctl's ratios to the others,
round by round. `again` is hlctl once more in the same minute: all it does is start, look, and find nothing to ask.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks import exchange, floor, naive, paired
from benchmarks.paired import Sample
from tests.campaign.simulate import server

HLCTL = str(Path(sys.executable).with_name("hlctl"))
WALLETS = 200
THREADS = 8
_ROOM = 15  # seconds of the minute that a run may take
_EARLIEST = 3  # second of the minute: a run that starts before the minute waits for it


def forget(conn: psycopg.Connection) -> None:
    """Forget every minute: the next run has all to ask."""
    conn.execute("TRUNCATE wallet_snapshots, snapshot_anomalies, ingest_health, ingest_runs")


def await_room(seconds: float = _ROOM) -> None:
    """Wait until a minute has room for a run."""
    while not _EARLIEST <= datetime.now(UTC).second <= 57 - seconds:
        time.sleep(0.2)


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what would change a measurement."""
    dropped = ("HLCTL_", "PG", "PYTHON", "SSL_CERT_", "REQUESTS_CA", "CURL_CA")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | more


class Minutes:
    """The candidates, against one exchange and one database."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._conn = psycopg.connect(env["HLCTL_DATABASE_URL"], autocommit=True)
        self.skews: list[int] = []  # ms, of each whole minute

    def prepare(self) -> None:
        """Make the others' tables, and read the universe."""
        for statements in (naive.SETUP, floor.SETUP):
            self._conn.execute(statements.encode())
        paired.once([HLCTL, "refresh-universe"], self._env)

    def snapshot(self) -> Sample:
        """Run hlctl in a minute that nobody has recorded."""
        forget(self._conn)
        await_room()
        sample = paired.once([HLCTL, "snapshot"], self._env)
        row = self._conn.execute("SELECT skew_ms, wallets_succeeded FROM ingest_runs").fetchone()
        if row is None or row[1] != WALLETS:
            raise RuntimeError(f"hlctl recorded {row and row[1]} of {WALLETS} wallets")
        self.skews.append(row[0])
        return sample

    def again(self) -> Sample:
        """Run hlctl in the minute that it has just recorded."""
        return paired.once([HLCTL, "snapshot"], self._env)

    def naive(self) -> Sample:
        """Run the naive tracker."""
        return self._other("naive", "naive_positions")

    def floor(self) -> Sample:
        """Run the floor."""
        return self._other("floor", "floor_snapshots")

    def _other(self, module: str, table: str) -> Sample:
        self._conn.execute(f"TRUNCATE {table}".encode())
        sample = paired.once([sys.executable, str(Path(__file__).with_name(f"{module}.py"))], self._env)
        cells = self._conn.execute(f"TABLE {table}".encode()).rowcount
        if cells != 3 * WALLETS:
            raise RuntimeError(f"{module} stored {cells} of {3 * WALLETS} cells")
        return sample


def measure(env: Mapping[str, str], latency: float, count: int, *, opening: int) -> None:
    """Print one latency's figures; `opening` is the round trips that opening a connection takes."""
    minutes = Minutes(env)
    minutes.prepare()
    candidates = {
        "hlctl": minutes.snapshot,
        "again": minutes.again,
        "naive": minutes.naive,
        "floor": minutes.floor,
    }
    took = paired.rounds(candidates, count, forwards_only=True)
    paired.show(took, to="hlctl")
    hlctl, again, others = took["hlctl"], took["again"], {name: took[name] for name in ("naive", "floor")}
    for name, samples in others.items():
        print(f"hlctl's CPU / {name}'s: {paired.ratios([s.cpu for s in hlctl], [s.cpu for s in samples])}")
        print(f"hlctl's wall / {name}'s: {paired.ratios([s.wall for s in hlctl], [s.wall for s in samples])}")
    if latency:
        turns = math.ceil(WALLETS / THREADS)
        least = (opening + turns) * latency
        bounds = [least + start.wall for start in again]
        print(f"hlctl's wall / ({least:.2f} s + again): {paired.ratios([s.wall for s in hlctl], bounds)}")
        skew_floor = (turns - 1) * latency * 1000
        print(
            f"first to last answer / {skew_floor:.0f} ms: {paired.ratios(minutes.skews[-count:], [skew_floor] * count)}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.minute", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--latency", type=float, nargs="+", default=[0.0, 0.02, 0.1], help="seconds")
    parser.add_argument("--plain", action="store_true", help="http instead of https")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, server() as url:
        certificate = None if options.plain else exchange.certify(Path(folder))
        for number, latency in enumerate(options.latency):
            database = f"minutes_{number}"
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute(f"CREATE DATABASE {database} TEMPLATE hlctl_template".encode())
            with exchange.serving(rows=1_000, latency=latency, certificate=certificate) as address:
                asks = exchange.settings(
                    address, database_url=make_conninfo(url, dbname=database), certificate=certificate
                )
                kind = "http" if options.plain else "TLS"
                print(f"\n==== {WALLETS} wallets, {kind}, {latency * 1000:.0f} ms", flush=True)
                measure(
                    environment(**asks, HLCTL_DATA_DIR=folder),
                    latency,
                    options.rounds,
                    opening=1 if options.plain else 2,
                )


if __name__ == "__main__":
    main()
