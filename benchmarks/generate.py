"""Fill a database with days of minutes, fast: inside PostgreSQL, minute after minute as the real thing lies on disk.

`python -m benchmarks.generate URL --days 7` fills an empty schema (`hlctl init-db`) and leaves the database's clock at
the end of them. The values are synthetic (`generated_period.sql` says how), and `hlctl verify` finds nothing wrong.
"""

import argparse
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hlctl import db

PERIOD = timedelta(hours=6)
"""From one refresh of the universe to the next."""

_TURNOVER = 1  # wallets that leave at a refresh, as many as enter
_PERIOD_SQL = Path(__file__).with_name("generated_period.sql")

_CLOCK = """
    CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
    AS $$SELECT pg_catalog.clock_timestamp() + interval '{seconds:.6f} s'$$
"""

# Who came first leaves first.
_UNIVERSE = """
    WITH entered AS (
      INSERT INTO wallets (address)
      SELECT '0x' || md5('wallet ' || n) || lpad(to_hex(n), 8, '0')
        FROM generate_series((SELECT count(*) FROM wallets) + 1, (SELECT count(*) FROM wallets) + %(entered)s) AS n
      RETURNING wallet_id),
    refresh AS (
      INSERT INTO wallet_universe_runs (as_of_ts, status, source, n_requested, n_received, entered_count, exited_count,
                                        duration_ms, rows_seen, rows_rejected)
      VALUES (%(at)s, 'success', 'stats-data', %(wallets)s, %(wallets)s, %(entered)s, %(exited)s, 2100, 45000, 0)
      RETURNING run_id),
    member AS (
      SELECT wallet_id FROM entered
       UNION ALL
     (SELECT wallet_id FROM wallets ORDER BY wallet_id DESC LIMIT %(wallets)s - %(entered)s))
    INSERT INTO wallet_universe_members (run_id, wallet_id, rank, month_pnl, month_roi, account_value, month_volume)
    SELECT run_id, wallet_id, rank, round(9e7 / rank, 6), 0.25, round(3e8 / rank, 6), round(1e9 / rank, 2)
      FROM refresh
     CROSS JOIN (SELECT wallet_id, (row_number() OVER (ORDER BY md5(wallet_id::text)))::int AS rank FROM member) AS m
    RETURNING run_id
"""

_IN_FORCE = """
    INSERT INTO wallet_universe_current (wallet_id, run_id, rank, month_pnl, month_roi, account_value, month_volume,
                                         as_of_ts)
    SELECT wallet_id, run_id, rank, month_pnl, month_roi, account_value, month_volume, as_of_ts
      FROM wallet_universe_members JOIN wallet_universe_runs USING (run_id)
     WHERE run_id = %(run_id)s
"""


def set_clock(conn: db.Connection, at: datetime) -> None:
    """Let the database's clock run on from `at`."""
    seconds = (at - datetime.now(UTC)).total_seconds()
    conn.execute(_CLOCK.format(seconds=seconds).encode())


def midnight() -> datetime:
    """Return when this day began, UTC: the schema has partitions from then on."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def fill(conn: db.Connection, begins: datetime, ends: datetime, *, wallets: int = 200) -> None:
    """Record the minutes of [begins, ends), with a refresh of the universe every `PERIOD` from `begins` on.

    The database's clock runs on from `ends`. A later call goes on later.
    """
    conn.execute("SET work_mem = '256MB'")
    filled = {"ingest_runs", "ingest_health", "wallets", "wallet_universe_members"}
    while begins < ends:
        filled.add(f"wallet_snapshots_{begins:%Y%m%d}")
        until = min(begins + PERIOD, ends)
        set_clock(conn, begins)
        with db.transaction(conn, statement_timeout=600, transaction_timeout=600):
            conn.execute(db.query("ensure_partitions"), {"days": 7})
            run_id = _refresh(conn, begins, wallets)
            conn.execute(_PERIOD_SQL.read_bytes(), {"begins": begins, "ends": until, "run_id": run_id})
        begins = until
    # What autovacuum has done by the time that a day is over.
    conn.execute(f"VACUUM (ANALYZE) {', '.join(filled)}".encode())
    set_clock(conn, ends)


def _refresh(conn: db.Connection, at: datetime, wallets: int) -> int:
    """Put a universe in force half a minute before `at`; return its refresh."""
    (known,) = conn.execute("SELECT count(*) FROM wallets").fetchone() or (0,)
    entered = max(_TURNOVER, wallets - known)
    counts = {"wallets": wallets, "entered": entered, "exited": _TURNOVER if known >= wallets else 0}
    (run_id,) = conn.execute(_UNIVERSE.encode(), {"at": at - timedelta(seconds=30), **counts}).fetchone() or (0,)
    conn.execute(db.query("clear_current_universe"))
    conn.execute(_IN_FORCE.encode(), {"run_id": run_id})
    return int(run_id)


def main(arguments: list[str] | None = None) -> int:
    """Fill a database."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=__doc__)
    parser.add_argument("url", help="of a database with an empty schema")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--wallets", type=int, default=200)
    options = parser.parse_args(arguments)
    with db.connect(options.url) as conn:
        for day in range(options.days):
            began = time.monotonic()
            begins = midnight() + timedelta(days=day)
            fill(conn, begins, begins + timedelta(days=1), wallets=options.wallets)
            print(f"day {day + 1} of {options.days}: {time.monotonic() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
