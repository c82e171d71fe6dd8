"""What the publication of a minute costs beside a bare COPY of the same cells, and which statement costs how much.

`python -m benchmarks.publish [--rounds 25] [--wallets 200]` starts a server of its own and compares, in turn:

- publish: what a snapshot says to the database from its last answer to COMMIT's reply, on a connection that has said
  before what it says before it asks;
- unlooked: the same without the look for oddities, which is the dearest part of it, for information;
- copied: the same rows through COPY, and COMMIT, into a table with the columns, indexes and constraints of a day of
  cells;
- unchecked: the same into a table without constraints but NOT NULL, for information.

Every minute is the next one. Connections are new in each round, so what they know of the catalog they have learnt
since, as in every run of the program; a second block repeats it on connections that are kept. A third asks the server
what it takes to parse, to plan and to execute each statement; telling that costs it time, so these are figures of their
own.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, Self
from unittest.mock import patch
from uuid import uuid4

import psycopg
from psycopg.abc import Params
from psycopg.rows import TupleRow

from benchmarks import server
from benchmarks.paired import ratios, rounds, spread
from hlctl import access, db, migrate, oddities, store, wire
from hlctl.model import MINUTE, Asset, Attempt, Held, LeaderboardRow, Position, Refresh, Rules, Source, Transport
from hlctl.sim.generated import Generated

_START = datetime(2026, 1, 6, tzinfo=UTC)
_RULES = Rules(
    coverage_success=Decimal(95),
    coverage_failed=Decimal(80),
    stale_after=timedelta(minutes=3),
    universe_stale_after=timedelta(hours=12),
    rate_limit=1200,
)
_CELLS = (
    "snapshot_ts, wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type, margin_used, observed_at,"
    " missing_reason, ingest_run_id, attempt"
)
_NEWEST = b"""
    SELECT %(minute)s, wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type, margin_used,
           observed_at + (%(minute)s - snapshot_ts), missing_reason, extract(epoch FROM %(minute)s)::int / 60, attempt
      FROM wallet_snapshots
     WHERE snapshot_ts = %(newest)s
     ORDER BY wallet_id, asset
"""
_CARRIES = "write_cells"  # the statement that carries the cells
_TABLES = {"copied": "INCLUDING ALL", "unchecked": "INCLUDING DEFAULTS INCLUDING INDEXES"}
_TELLING = (
    b"SET client_min_messages = log",
    b"SET log_parameter_max_length = 0",
    b"SET log_min_duration_statement = 0",
)
_TOLD = re.compile(r"duration: ([0-9.]+) ms  (parse|bind|execute) [^:]*: (.*)", re.DOTALL)
_STEPS = {"parse": "parse", "bind": "plan", "execute": "execute"}  # parameters are read where it plans
_WHOLE, _COMMIT, _CPU = "the whole", "COMMIT", "CPU"

Sample = dict[str, float]
"""Milliseconds of one publication: each statement's and the whole's for the client, and processor time of both ends."""


class _Cursor(psycopg.Cursor[TupleRow]):
    """A cursor that notes how long its statements take."""

    taken: Sample  # of the publication at work
    names: Mapping[bytes, str] = {file.read_bytes(): file.stem for file in Path(db.sql_root(), "queries").glob("*.sql")}

    def execute(self, query: Any, params: Params | None = None, **how: Any) -> Self:  # noqa: ANN401 - psycopg's own
        """Execute a statement."""
        began = perf_counter()
        super().execute(query, params, **how)
        _note(self.taken, self.names.get(query, ""), began)
        return self


def _note(taken: Sample, name: str, began: float) -> None:
    taken[name] = taken.get(name, 0.0) + (perf_counter() - began) * 1000


def _cpu(conn: db.Connection) -> float:
    """Return the milliseconds of processor that this process and a connection's server process have used."""
    scheduled = Path(f"/proc/{conn.info.backend_pid}/schedstat").read_text()
    return process_time() * 1000 + int(scheduled.split()[0]) / 1e6


class Bench:
    """A database with a universe, in which one minute after the other is published."""

    def __init__(self, url: str, wallets: int) -> None:
        self._url = url
        self._minute = _START
        self._made = Generated(seed=7, rows=wallets, pretty=False)
        self._kept: dict[str, db.Connection] = {}
        self._copied = dict.fromkeys(_TABLES, 0)
        members = [
            LeaderboardRow(
                address=address,
                month_pnl=Decimal(wallets - place),
                month_roi=Decimal(0),
                month_volume=Decimal(0),
                account_value=Decimal(0),
            )
            for place, address in enumerate(self._made.addresses)
        ]
        refresh = Refresh(
            run_id=None,
            source=Source.STATS_DATA,
            n_requested=wallets,
            n_received=wallets,
            entered=(),
            exited=(),
            turnover=None,
            churn_warning_count=0,
            rows_seen=wallets,
            rows_rejected=0,
            duration_ms=1,
        )
        server.set_clock(url, _START)
        with closing(db.connect(url)) as conn, db.transaction(conn):
            store.ensure_partitions(conn, days=2)
            store.replace_universe(conn, refresh, members)
            for name, what in _TABLES.items():
                conn.execute(f"CREATE TABLE {name} (LIKE wallet_snapshots {what})".encode())
        self.publish()

    @contextmanager
    def _connected(self, name: str, *, keeps: bool) -> Iterator[db.Connection]:
        """Give a new connection, or the one kept under a name."""
        conn = self._kept.pop(name, None) or db.connect(self._url)
        conn.cursor_factory = _Cursor
        _Cursor.taken = {}
        yield conn
        if keeps:
            self._kept[name] = conn
        else:
            conn.close()

    def publish(self, *, keeps: bool = False, tells: list[str] | None = None) -> Sample:
        """Publish the next minute."""
        self._minute += MINUTE
        server.set_clock(self._url, self._minute + timedelta(seconds=5))
        with self._connected("publish", keeps=keeps) as conn:
            with db.transaction(conn):
                access.require(conn, "snapshot")
                migrate.require_current(conn)
            with db.transaction(conn):
                store.ensure_partitions(conn, days=2)
            with db.transaction(conn, idle_timeout="8s"):
                minute = store.take_minute(conn, lead=timedelta()).minute
                store.read_past(conn, minute)
                task = store.list_task(conn, minute)
                store.list_recent_requests(conn)
                store.set_idle_timeout(conn, "58s")
                seen = minute + timedelta(seconds=5)
                answers = {
                    wallet: Held(seen + timedelta(milliseconds=4 * place), self._positions(wallet.address))
                    for place, wallet in enumerate(task.wallets)
                }
                if tells is not None:
                    conn.add_notice_handler(lambda said: tells.append(said.message_primary or ""))
                    for setting in _TELLING:
                        conn.execute(setting)
                taken = _Cursor.taken = {}
                used, began = _cpu(conn), perf_counter()
                store.set_idle_timeout(conn, "8s")
                store.publish(
                    conn,
                    minute,
                    universe_run_id=task.universe_run_id,
                    answers=answers,
                    rules=_RULES,
                    transport=Transport(
                        requests_sent=len(answers),
                        retries=0,
                        rate_limited=0,
                        last_sent_at=seen,
                        sent_per_second=[len(answers)],
                        clock_offset_ms=3,
                    ),
                    attempt=Attempt(attempt_id=uuid4(), host="here", version="0", duration_ms=900, error=None),
                )
                last = perf_counter()
            _note(taken, _COMMIT, last)
            _note(taken, _WHOLE, began)
            taken[_CPU] = _cpu(conn) - used
        return taken

    def forget(self) -> None:
        """Close the connections that were kept."""
        while self._kept:
            self._kept.popitem()[1].close()

    def _positions(self, address: str) -> Mapping[Asset, Position]:
        return wire.decode_state(self._made.state(address, int(self._minute.timestamp() * 1000))).positions

    def publish_unlooked(self, *, keeps: bool = False) -> Sample:
        """Publish the next minute without a look for oddities."""
        with patch.object(oddities, "find", lambda _conn, _minute: oddities.Oddities(oddities.RULES, [])):
            return self.publish(keeps=keeps)

    def copy(self, table: str, *, keeps: bool = False) -> Sample:
        """Copy the newest minute's cells into another table, as its next minute's."""
        self._copied[table] += 1
        minute = _START + self._copied[table] * MINUTE
        with closing(db.connect(self._url)) as conn, db.transaction(conn):
            cells = conn.execute(_NEWEST, {"newest": self._minute, "minute": minute}).fetchall()
        with self._connected(table, keeps=keeps) as conn:
            with db.transaction(conn):
                taken = _Cursor.taken
                used, began = _cpu(conn), perf_counter()
                with conn.cursor() as cursor, cursor.copy(f"COPY {table} ({_CELLS}) FROM STDIN".encode()) as copy:
                    for cell in cells:
                        copy.write_row(cell)
                _note(taken, _CARRIES, began)
                last = perf_counter()
            _note(taken, _COMMIT, last)
            _note(taken, _WHOLE, began)
            taken[_CPU] = _cpu(conn) - used
        return taken


def compare(bench: Bench, count: int, *, keeps: bool) -> None:
    """Print the ratios, and a line for each statement."""
    candidates: dict[str, Callable[[], Sample]] = {
        "publish": partial(bench.publish, keeps=keeps),
        "unlooked": partial(bench.publish_unlooked, keeps=keeps),
        **{table: partial(bench.copy, table, keeps=keeps) for table in _TABLES},
    }
    found = rounds(candidates, count, warm_up=3)
    bench.forget()
    print(f"\nconnections {'kept' if keeps else 'new'}: {count} rounds, median (least to largest)")
    for name, samples in found.items():
        for what in (_WHOLE, _CPU):
            print(f"  {name + ', ' + what:24} ms {spread([one[what] for one in samples])}")
    for name, table, what in (
        ("publish", "copied", _CARRIES),
        ("publish", "copied", _WHOLE),
        ("publish", "copied", _CPU),
        ("unlooked", "copied", _WHOLE),
        ("unlooked", "copied", _CPU),
        ("publish", "unchecked", _CARRIES),
        ("publish", "unchecked", _WHOLE),
    ):
        mine, others = ([one[what] for one in found[side]] for side in (name, table))
        print(f"  {name + ' / ' + table + ', ' + what:34} {ratios(mine, others)}")
    published = found["publish"]
    whole = median(one[_WHOLE] for one in published)
    names = [name for name in published[-1] if name not in {_WHOLE, _CPU}]
    for one in published:
        one["the rest"] = one[_WHOLE] - sum(one[name] for name in names)
    for name in [*names, "the rest"]:
        took = spread([one[name] for one in published])
        print(f"  {name:24} ms {took} {100 * took.median / whole:5.1f} %")


def tell(bench: Bench, count: int) -> None:
    """Print how long the server parses, plans and executes each statement."""
    names = {text.partition(b"\n")[0]: name for text, name in _Cursor.names.items()}  # by what each is for
    steps: dict[str, dict[str, list[float]]] = {}
    for _ in range(count):
        said: list[str] = []
        bench.publish(tells=said)
        for line in said:
            if told := _TOLD.match(line):
                name = names.get(told[3].partition("\n")[0].encode(), "?")
                steps.setdefault(name, {}).setdefault(told[2], []).append(float(told[1]))
    print(f"\nas the server tells, new connections: {count} rounds, median ms")
    for name, of in steps.items():
        figures = "  ".join(f"{word} {median(of[step]):6.3f}" for step, word in _STEPS.items())
        print(f"  {name:24} {figures}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--wallets", type=int, default=200)
    options = parser.parse_args()
    with server.running() as url:
        bench = Bench(url, options.wallets)
        compare(bench, options.rounds, keeps=False)
        compare(bench, options.rounds, keeps=True)
        tell(bench, options.rounds)


if __name__ == "__main__":
    main()
