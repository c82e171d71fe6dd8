"""A minute of 200, 1,000 and 10,000 wallets side by side, and what status and verify take on an hour of each.

`python -m benchmarks.universe [--rounds 5]` starts a PostgreSQL of its own with a database for each size, each with an
hour that the database made up, and an exchange without a limit. A round is a real minute, which every candidate records
once, so a round takes a minute. The figures of a candidate are those of the whole process; the CPU time of the server
and of the exchange are not in them. Beside them: seconds of each phase, and what is read afterwards.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks import exchange
from benchmarks.paired import Sample, Spread, once, ratios, rounds, show
from hlctl.minute import capacity
from tests.campaign.simulate import server

_CANDIDATES = ((200, 8), (1_000, 8), (10_000, 8), (10_000, 32))  # wallets, requests in flight
_RECORD = Path(__file__).parents[1] / "tests" / "db" / "generated_record.sql"
_HOUR = 60  # minutes
_BEGIN, _BEGIN_BY = 2.0, 25.0  # second of the minute
_NEWEST = "SELECT extract(epoch FROM max(snapshot_ts))::float FROM ingest_runs"
_SENT_PER_SECOND = "SELECT sent_per_second FROM ingest_runs ORDER BY snapshot_ts DESC LIMIT 1"
_WINDOW = 61.0  # seconds
_LIMIT = 12_000
_FINAL = """
SELECT to_char(max(snapshot_ts), 'YYYY-MM-DD"T"HH24:MI"Z"') FROM ingest_runs
 WHERE snapshot_ts <= now() - interval '120 s' AND host <> 'here'"""  # 'here': made up


@dataclass(frozen=True, slots=True)
class Record:
    """A database with an hour of some size, to which minutes are added."""

    size: int
    threads: int
    env: Mapping[str, str]

    @property
    def name(self) -> str:
        """Return what it is called in the output."""
        return f"{self.size:,} wallets, {self.threads} at once"

    def hlctl(self, *arguments: str, **env: str) -> Sample:
        """Run a command and return what it took."""
        return once([sys.executable, "-m", "hlctl", *arguments], {**self.env, **env})

    def ask(self, statement: str) -> object:
        """Return the one value that a statement gives."""
        with psycopg.connect(self.env["HLCTL_DATABASE_URL"]) as conn:
            (value,) = conn.execute(statement.encode()).fetchone() or (None,)
            return value

    def snapshot(self, **env: str) -> Sample:
        """Record a minute that has room, and that is not recorded yet."""
        before = self.ask(_NEWEST)
        while not _BEGIN <= time.time() % 60 <= _BEGIN_BY or before == time.time() // 60 * 60:
            time.sleep(0.1)
        sample = self.hlctl("snapshot", **env)
        known = self.ask("SELECT wallets_succeeded FROM ingest_runs ORDER BY snapshot_ts DESC LIMIT 1")
        if self.ask(_NEWEST) == before or known != self.size:
            raise RuntimeError(f"{known} of {self.size} wallets were recorded")
        return sample

    def phases(self) -> Mapping[str, float]:
        """Record one more minute and return the seconds of its phases."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "hlctl.prom"
            self.snapshot(HLCTL_METRICS_FILE=str(file))
            found = re.findall(r'phase_duration_seconds\{phase="(\w+)"\} (\S+)', file.read_text())
        return {phase: float(seconds) for phase, seconds in found}

    def paced(self, limit: int) -> str:
        """Record a minute under a limit in weight, for which the universe is too big; return what was sent when."""
        time.sleep(60 - time.time() % 60)
        env = {**self.env, "HLCTL_RATE_LIMIT": str(limit)}
        subprocess.run([sys.executable, "-m", "hlctl", "snapshot"], env=env, check=False, capture_output=True)
        sent = cast("list[int]", self.ask(_SENT_PER_SECOND))
        first = next(second for second, requests in enumerate(sent) if requests)
        whole = sent[first + 1 : -1]
        return f"{sum(sent):,} sent from second {first} to {len(sent)}, {min(whole)} to {max(whole)} in each between"


def filled(url: str, size: int, threads: int, address: str) -> Record:
    """Make a database with an hour that ends now, and a universe of the exchange's."""
    name = f"universe_{size}_{threads}"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE hlctl_template".encode())
        conn.execute(f"ALTER DATABASE {name} SET timezone = 'UTC'".encode())
    own = make_conninfo(url, dbname=name)
    first = datetime.fromtimestamp(time.time() // 60 * 60 - _HOUR * 60, UTC)
    with psycopg.connect(own, autocommit=True) as conn:
        conn.execute(b"SELECT ensure_partitions(2)")
        conn.execute(_RECORD.read_bytes(), {"first": first, "minutes": _HOUR, "wallets": size})
        conn.execute(b"UPDATE ingest_runs SET rate_limit = 0, published_at = snapshot_ts + interval '50 s'")
        conn.execute(b"VACUUM ANALYZE")
    env = {
        **exchange.settings(address, database_url=own),
        "HLCTL_UNIVERSE_SIZE": str(size),
        "HLCTL_MAX_CONCURRENCY": str(threads),
    }
    record = Record(size, threads, env)
    record.hlctl("refresh-universe", "--force")
    return record


def readings(records: Sequence[Record]) -> Mapping[str, Mapping[str, Callable[[], Sample]]]:
    """Return what to read of each record: of the newest final minute that was asked for, or of all of it."""
    minutes = {one.name: str(one.ask(_FINAL)) for one in records}
    return {
        question: {
            one.name: partial(one.hlctl, *(word.replace("MINUTE", minutes[one.name]) for word in question.split()))
            for one in records
        }
        for question in ("status", "status --verbose", "verify --minute MINUTE", "verify --since 1h")
    }


def per_wallet(samples: Mapping[str, Sequence[Sample]], sizes: Mapping[str, int]) -> Mapping[str, Spread]:
    """Return the CPU of a wallet of each size, as ratios to one of the first."""
    each = {name: [one.cpu / sizes[name] for one in mine] for name, mine in samples.items()}
    base = next(iter(each.values()))
    return {name: ratios(mine, base) for name, mine in each.items()}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.universe", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="minutes, beside the two to warm up")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = stack.enter_context(server())
        address = stack.enter_context(exchange.serving(rows=20_000))
        records = [filled(url, size, threads, address) for size, threads in _CANDIDATES]
        first = records[0].name
        minutes = rounds({one.name: one.snapshot for one in records}, options.rounds, warm_up=2)
        print("snapshot")
        show(minutes, to=first)
        print("CPU of a wallet, to one of the first")
        for name, figures in per_wallet(minutes, {one.name: one.size for one in records}).items():
            print(f"  {name}: {figures}")
        print("seconds of the phases of one more minute")
        for one in records:
            print(f"  {one.name}: " + ", ".join(f"{phase} {seconds}" for phase, seconds in one.phases().items()))
        time.sleep(_WINDOW)  # or the first minute would wait for what was sent without a limit
        print(
            f"under a limit of {_LIMIT:,} weight, of which 5/6 are used: {capacity(_LIMIT):,.0f} requests in any 60 s"
        )
        for _ in range(2):
            print(f"  {records[2].name}: {records[2].paced(_LIMIT)}")
        for question, candidates in readings(records[:3]).items():
            print(f"\n{question}, on an hour and more")
            count = 1 if "--since" in question else options.rounds  # an hour of 10,000 wallets takes most of a minute
            show(rounds(candidates, count, warm_up=0), to=first)


if __name__ == "__main__":
    main()
