"""The same on day 900: what hlctl asks of its database, timed on records of 1, 7, 30 and 90 days side by side.

`python -m benchmarks.year` starts an embedded server of its own, lets `benchmarks.generate` grow a record, of which a
copy stays behind at each size, and asks every size the same in turn, round by round, each question on a connection of
its own, as each command has one. It prints each size's median and the ratio of the largest to the smallest within a
round: min, median, max. A second table has the smallest size beside the largest below 30 days, aged to 900: as many
runs and partitions, of which the older are empty. 90 days take 18 GB of disk and a quarter of an hour to make;
`--directory DIR` keeps them there and finds them again. The values are synthetic.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from uuid import uuid4

from benchmarks.records import DAY, MINUTE, TO_PRUNE, Record, aged, records
from benchmarks.server import hlctl, server
from hlctl import access, audit, days, db, migrate, overview, store
from hlctl.model import Answer, Asset, Attempt, Held, LeverageType, Position, Rules, Transport, Wallet

_RULES = Rules(
    coverage_success=Decimal(95),
    coverage_failed=Decimal(80),
    stale_after=timedelta(seconds=180),
    universe_stale_after=timedelta(hours=12),
    rate_limit=1200,
)

# As docs/cookbook.md has it: the newest minute to use, and then what is in it.
_NEWEST = """
    SELECT max(snapshot_ts)
      FROM ingest_runs
     WHERE status <> 'failed' AND suspect = '{}' AND snapshot_ts <= hlctl_clock() - interval '2 minutes'
"""
_LATEST = "SELECT * FROM v_positions WHERE snapshot_ts = %(minute)s"

# As docs/cookbook.md has it: the address is looked up first.
_SERIES = """
    SELECT snapshot_ts, asset, position_szi, entry_px, liq_px, leverage, missing_reason
      FROM v_positions
     WHERE wallet_id = (SELECT wallet_id FROM wallets WHERE address = %(address)s)
       AND snapshot_ts >= %(since)s
       AND snapshot_ts < %(until)s
     ORDER BY snapshot_ts, asset
"""

_LAST_CELLS = """
    SELECT wallet_id, asset::text, position_szi, entry_px, liq_px, leverage, leverage_type::text, margin_used
      FROM wallet_snapshots
     WHERE snapshot_ts = %(minute)s AND position_szi <> 0
"""

_BYTES = """
    SELECT count(*), pg_relation_size(min(c.tableoid)), pg_indexes_size(min(c.tableoid))
      FROM wallet_snapshots c
     WHERE snapshot_ts >= %(begins)s AND snapshot_ts < %(ends)s
"""


Question = Callable[[db.Connection, Record], None]


# ---- what is asked; each gets a connection of its own, pinned


def latest(conn: db.Connection, _: Record) -> None:
    """Read the newest minute to use, by address."""
    (minute,) = conn.execute(_NEWEST).fetchone() or (None,)
    conn.execute(_LATEST, {"minute": minute}).fetchall()


def latest_at_once(conn: db.Connection, _: Record) -> None:
    """Read the same with one statement: who plans it does not know which day it will be."""
    conn.execute(f"SELECT * FROM v_positions WHERE snapshot_ts = ({_NEWEST})".encode()).fetchall()  # noqa: S608


def status(conn: db.Connection, record: Record) -> None:
    """Ask what `hlctl status` asks."""
    access.require(conn, "status")
    migrate.require_current(conn)
    overview.read_health(conn)
    run = overview.read_latest_run(conn)
    store.read_universe(conn)
    overview.list_last_hour(conn)
    overview.summarize_minute(conn, run.snapshot_ts if run else record.minute)
    overview.read_thresholds(conn)
    overview.read_traffic(conn)
    overview.read_refresh(conn)


def verify(conn: db.Connection, record: Record) -> None:
    """Ask what `hlctl verify --minute` asks of the newest final minute."""
    access.require(conn, "verify")
    migrate.require_current(conn)
    final = audit.read_record(conn).final
    span = (final, final + MINUTE)
    audit.find_pruned(conn, *span)
    audit.distrust_constraints(conn)
    for check in audit.CHECKS:
        if found := audit.violations(conn, check, *span):
            raise ValueError(f"a record of {record.days} days is not sound: {found}")
    audit.list_gaps(conn, *span)
    audit.count_runs(conn, *span)


def series(length: int) -> Question:
    """Return what reads so many days of a wallet, 4,320 cells each."""

    def read(conn: db.Connection, record: Record) -> None:
        asked = {"address": record.address, "since": record.minute - length * DAY, "until": record.minute}
        conn.execute(_SERIES, asked).fetchall()

    return read


ASKED: dict[str, tuple[Question, int]] = {
    "latest minute": (latest, 1),
    "same, one statement": (latest_at_once, 1),
    "status": (status, 1),
    "verify --minute": (verify, 1),
    "a wallet's day": (series(1), 1),
    "a wallet's 30 days": (series(30), 30),
}
"""What is asked, and how many days a record needs to answer it."""


def ask(question: Question, record: Record) -> float:
    """Return how many ms the questions of one session take, the connection aside."""
    record.set_clock(record.minute - MINUTE)
    with db.connect(record.url) as conn, db.transaction(conn, read_only=True):
        began = time.perf_counter()
        question(conn, record)
        return (time.perf_counter() - began) * 1000


# ---- what is written


def publish(record: Record) -> tuple[float, int]:
    """Record the next minute as `hlctl snapshot` does.

    Return its ms in the database, COMMIT included, and its WAL in bytes.
    """
    record.set_clock(record.minute)
    with db.connect(record.url) as conn:
        answers = _answers(conn, record.minute)
        wal_before = _wal(conn)
        began = time.perf_counter()
        with db.transaction(conn):
            store.ensure_partitions(conn, days=7)
        with db.transaction(conn):
            taken = store.take_minute(conn, lead=timedelta())
            store.read_past(conn, taken.minute)
            task = store.list_task(conn, taken.minute)
            store.list_recent_requests(conn)
            store.publish(
                conn,
                taken.minute,
                universe_run_id=task.universe_run_id,
                answers=answers,
                rules=_RULES,
                transport=Transport(
                    requests_sent=len(answers),
                    retries=0,
                    rate_limited=0,
                    last_sent_at=record.minute + timedelta(seconds=2),
                    sent_per_second=[0, len(answers)],
                    clock_offset_ms=0,
                ),
                attempt=Attempt(attempt_id=uuid4(), host="benchmark", version="0", duration_ms=3000, error=None),
            )
        spent = (time.perf_counter() - began) * 1000
        record.minute += MINUTE
        return spent, _wal(conn) - wal_before


def _answers(conn: db.Connection, minute: datetime) -> dict[Wallet, Answer]:
    """Return what each wallet of the universe held a minute ago, as if it were seen now."""
    held: dict[int, dict[Asset, Position]] = {}
    for wallet_id, asset, szi, entry_px, liq_px, leverage, kind, margin_used in conn.execute(
        _LAST_CELLS, {"minute": minute - MINUTE}
    ):
        held.setdefault(wallet_id, {})[Asset(asset)] = Position(
            szi=szi,
            entry_px=entry_px,
            liq_px=liq_px,
            leverage=leverage,
            leverage_type=LeverageType(kind),
            margin_used=margin_used,
        )
    seen = minute + timedelta(seconds=2)
    wallets = conn.execute("SELECT wallet_id, address FROM v_universe").fetchall()
    return {Wallet(*wallet): Held(seen, held.get(wallet[0], {})) for wallet in wallets}


def _wal(conn: db.Connection) -> int:
    (position,) = conn.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone() or (0,)
    return int(position)


def prune(record: Record) -> float | None:
    """Drop the oldest day as `hlctl prune` does; return its ms, or None if no more is left than the record's days."""
    record.set_clock(record.minute)
    with db.connect(record.url) as conn:
        oldest = min(day for (day,) in conn.execute("SELECT day FROM stored_days('infinity')").fetchall())
        if oldest >= record.minute.date() - record.days * DAY:
            return None  # the day between, which is empty, or the record's own
        began = time.perf_counter()
        with db.transaction(conn):
            days.drop_day(conn, oldest)
        return (time.perf_counter() - began) * 1000


# ---- the figures


def sampled(sized: list[Record], rounds: int, sample: Callable[[Record], float | None]) -> dict[int, list[float]]:
    """Return ms by size; every round asks every size, beginning with another one."""
    found: dict[int, list[float]] = {record.days: [] for record in sized}
    for turn in range(rounds):
        for record in sized[turn % len(sized) :] + sized[: turn % len(sized)]:
            if (spent := sample(record)) is not None:
                found[record.days].append(spent)
    return {size: values for size, values in found.items() if values}


def show(name: str, found: dict[int, list[float]], sizes: list[int]) -> None:
    """Print a line: least and median of each size, and the largest size over the smallest in the same round."""
    if not found:
        return  # a record that was kept has been pruned before
    columns = [f"{min(found[size]):.1f} {median(found[size]):.1f}" if size in found else "" for size in sizes]
    line = f"{name:<20}" + "".join(f"{column:>16}" for column in columns)
    if len(found) > 1:
        ratios = [large / small for small, large in zip(found[min(found)], found[max(found)], strict=False)]
        line += f"   {min(ratios):.2f} {median(ratios):.2f} {max(ratios):.2f} ({max(found)} / {min(found)} days)"
    print(line, flush=True)


def measure(sized: list[Record], rounds: int) -> None:
    """Print what every size takes."""
    sizes = [record.days for record in sized]
    head = "".join(f"{f'{size} days':>16}" for size in sizes)
    print(f"{'ms: min, median':<20}{head}   ratio: min, median, max")
    if all(record.filled == record.days for record in sized):
        show("prune a day", sampled(sized, TO_PRUNE, prune), sizes)
    wal: list[int] = []

    def published(record: Record) -> float:
        spent, written = publish(record)
        wal.append(written)
        return spent

    show("record a minute", sampled(sized, rounds, published), sizes)
    for name, (question, least) in ASKED.items():
        fit = [record for record in sized if record.filled >= least]
        if fit:
            show(name, sampled(fit, rounds, partial(ask, question)), sizes)
    first = [_wal_after_checkpoint(sized[-1]) / 1000 for _ in range(5)]
    print(f"WAL of a minute: {median(wal) / 1000:.0f} kB, of the first after a checkpoint {median(first):.0f} kB")


def _wal_after_checkpoint(record: Record) -> int:
    """Return the WAL of a minute whose pages all go into it whole, bytes."""
    with db.connect(record.url) as conn:
        conn.execute("CHECKPOINT")
    return publish(record)[1]


def weigh(record: Record, directory: Path) -> None:
    """Print the bytes a cell takes in the database and in the archive, of the newest day that is over."""
    day = record.minute.date() - DAY
    with db.connect(record.url) as conn:
        cells, heap, indexes = conn.execute(_BYTES, days.span(day)).fetchone() or (1, 0, 0)
    parts = f"table {heap / cells:.1f}, indexes {indexes / cells:.1f}"
    packed = archived(record, day, directory) / cells
    print(f"bytes a cell: {(heap + indexes) / cells:.1f} ({parts}); archived as Parquet {packed:.2f}")


def archived(record: Record, day: date, directory: Path) -> int:
    """Export a day and return the size of its file, bytes."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        hlctl("export", "--day", str(day), "--format", "parquet", "--dir", folder, HLCTL_DATABASE_URL=record.url)
        return (Path(folder) / f"date={day}" / "cells.parquet").stat().st_size


def main(arguments: list[str] | None = None) -> int:
    """Generate what is missing, and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.year", description=__doc__)
    parser.add_argument("--days", default="1,7,30,90", help="sizes, smallest first")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--directory", type=Path, help="where the server and its records stay; default: nowhere")
    options = parser.parse_args(arguments)
    sizes = sorted({int(size) for size in options.days.split(",")})
    with tempfile.TemporaryDirectory(prefix="hlctl-year-") as scratch:
        directory = options.directory or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        with server(directory.resolve() / "data") as url:
            sized = records(url, sizes)
            measure(sized, options.rounds)
            if sized[-1].days > 1:  # a day that is over is weighed
                weigh(sized[-1], Path(scratch))
            young = [record for record in sized if record.days < 30]  # noqa: PLR2004 - a month's cells are long to copy
            if young:
                measure([sized[0], aged(url, young[-1])], options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
