"""A record that is the same each time, small enough to be read and as nasty as a real one: the pages show it.

The hour before midnight and six minutes after it, of the wallets `0x111...` to `0x666...`, five at a time.
Every invariant holds.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg

FIRST = datetime(2026, 1, 5, 23, tzinfo=UTC)
MINUTES = 67  # the newest is 00:06, which is not final yet
NOW = datetime(2026, 1, 6, 0, 7, 30, tzinfo=UTC)
GAP = (40, 41)
"""Minutes after the first that nobody recorded."""
REFRESHED = 31
"""The first minute of the second list: wallet 4 left it and wallet 6 entered."""

ASSETS = ("HYPE", "BTC", "ETH")
MISSING = {
    (1, 20): "late", (2, 20): "late", (3, 20): "late",  # a failed minute
    (2, 25): "bad_number",  # and so dirty
    (4, 15): "dns", (1, 57): "reset",  # after an hour in which one of its answers is not to be believed
    (6, 31): "http_5xx", (6, 32): "http_5xx", (6, 33): "http_5xx",  # nothing was known of it before
    (5, 64): "timeout", (5, 65): "timeout", (5, 66): "timeout",
}  # fmt: skip
"""Why a wallet is not known, by wallet and minute: one of five is a partial minute, two are a failed one."""

HELD: list[tuple[Any, ...]] = [
    (1, "BTC", 0, 99, "2.50", "0.01", "90000.5", "61000.25", 10),
    (1, "HYPE", 0, 99, "1000", 0, "24.125", None, 5),  # the exchange gave no liquidation price
    (1, "HYPE", 4, 5, "3000", 0, "24.125", None, 5),  # two wrong answers
    (1, "HYPE", 55, 56, "3000", 0, "24.125", None, 5),
    (2, "BTC", 0, 50, "-4", 0, "94500", "131000", 20),  # then it is closed
    (2, "ETH", 58, 99, "20.5", 0, "3150.75", "2400", 4),  # opened
    (3, "ETH", 0, 45, "100", 0, "3100", "2100.5", 8),  # one wrong zero at 45
    (3, "ETH", 46, 60, "100", 0, "3100", "2100.5", 8),
    (3, "ETH", 52, 53, "-100", 0, "3100", "4050", 8),  # and a wrong sign
    (3, "ETH", 60, 99, "-50", 0, "3240", "3900", 8),  # turned
    (4, "BTC", 0, 31, "10", 0, "88000", "70000", 25),  # it leaves the list with it
    (5, "HYPE", 0, 99, "-500", 0, None, "41.5", 3),  # the exchange gave no entry price
    (5, "BTC", 0, 99, "-0.75", "0.005", "92250", "118000", 15),
    (6, "BTC", 31, 99, "1.5", 0, "91500", "78500", 12),
]
"""Positions: wallet, asset, from and until which minute, size, growth a minute, prices, leverage; the later counts."""

_TABLES = """
    INSERT INTO wallets (address) SELECT '0x' || repeat(n::text, 40) FROM generate_series(1, 6) AS n;
    INSERT INTO wallet_universe_runs (as_of_ts, status, source, n_requested, n_received, entered_count, exited_count,
                                      duration_ms, rows_seen, rows_rejected, error)
    VALUES ('2026-01-05 22:30:05Z', 'success', 'stats-data', 5, 5, 5, 0, 900, 30, 0, NULL),
           ('2026-01-05 23:12:00Z', 'failed',  NULL,         5, 0, 0, 0, 900,  0, 0, 'stats-data: no_rows: empty'),
           ('2026-01-05 23:30:20Z', 'success', 'stats-data', 5, 5, 1, 1, 900, 30, 0, NULL);
    INSERT INTO wallet_universe_members (run_id, wallet_id, rank, month_pnl, month_roi, account_value, month_volume)
    SELECT run_id, wallet_id, rank, 6000000 - 1000000 * rank, 0.25, 8000000, 1000000 * (rank - 1)
      FROM (VALUES (1, ARRAY[1, 2, 3, 4, 5]), (3, ARRAY[2, 1, 3, 6, 5])) AS list (run_id, wallets)
     CROSS JOIN unnest(wallets) WITH ORDINALITY AS m (wallet_id, rank);
    INSERT INTO wallet_universe_current (wallet_id, run_id, rank, month_pnl, month_roi, account_value, month_volume,
                                         as_of_ts)
    SELECT wallet_id, run_id, rank, month_pnl, month_roi, account_value, month_volume, as_of_ts
      FROM wallet_universe_members JOIN wallet_universe_runs USING (run_id)
     WHERE run_id = 3;
"""

_CELL = """
    INSERT INTO wallet_snapshots (snapshot_ts, wallet_id, asset, ingest_run_id, attempt, position_szi, entry_px, liq_px,
                                  leverage, leverage_type, margin_used, missing_reason, observed_at)
    VALUES (%s, %s, %s, %s, 1, %s, %s, %s, %s, %s, %s, %s, %s)
"""

# Runs, marks and health follow from the cells, as the program would have written them.
_RUNS = """
    INSERT INTO ingest_runs (
      run_id, snapshot_ts, status, wallets_expected, wallets_succeeded, wallets_failed, rows_expected, rows_written,
      coverage_pct, missing, universe_run_id, attempts, attempt_id, coverage_success, coverage_failed, stale_after,
      universe_stale_after, rate_limit, requests_sent, retries, rate_limited, last_sent_at, sent_per_second, skew_ms,
      clock_offset_ms, duration_ms, host, version, published_at, fingerprint, anomaly_rules)
    SELECT run_id, snapshot_ts, CASE WHEN known = 5 THEN 'success' WHEN known = 4 THEN 'partial' ELSE 'failed' END,
           5, known, 5 - known, 15, 15, 20 * known, missing, CASE WHEN snapshot_ts < %(refreshed)s THEN 1 ELSE 3 END,
           1, md5(run_id::text)::uuid, 95, 80, '180 s', '12 h', 1200, 5, 0, 0, snapshot_ts + interval '2 s',
           '{0,0,5}', 100, 0, 2900, 'h', '0', snapshot_ts + interval '3 s', fingerprint, 1
      FROM (SELECT snapshot_ts, ingest_run_id AS run_id, count(position_szi) / 3 AS known,
                   sum(cell_fingerprint(wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type,
                                        margin_used, observed_at, missing_reason, attempt)) AS fingerprint
              FROM wallet_snapshots
             GROUP BY 1, 2) AS c
     CROSS JOIN LATERAL (SELECT coalesce(jsonb_object_agg(missing_reason, wallets), '{}') AS missing
                           FROM (SELECT missing_reason, count(*) / 3 AS wallets
                                   FROM wallet_snapshots w
                                  WHERE w.snapshot_ts = c.snapshot_ts AND missing_reason IS NOT NULL
                                  GROUP BY 1) AS m) AS why;
    INSERT INTO snapshot_anomalies (snapshot_ts, wallet_id, asset, anomaly_type, details)
    SELECT snapshot_ts, wallet_id, asset, 'other', details FROM suspect_cells(%(first)s, %(now)s);
    UPDATE ingest_runs r SET suspect = '{same_answer}'
      FROM suspect_cells(%(first)s, %(now)s) AS s WHERE s.snapshot_ts = r.snapshot_ts;
    INSERT INTO snapshot_anomalies (snapshot_ts, wallet_id, asset, anomaly_type, details)
    SELECT snapshot_ts, wallet_id, asset, anomaly_type, details FROM odd_cells(%(first)s, %(now)s);
    UPDATE wallet_snapshots c SET is_dirty = true, dirty_reason = reason
      FROM odd_cells(%(first)s, %(now)s) AS o
     WHERE (c.snapshot_ts, c.wallet_id, c.asset) = (o.snapshot_ts, o.wallet_id, o.asset);
    INSERT INTO ingest_health (health_ts, last_success_snapshot_ts, snapshot_status, coverage_pct, health_state)
    SELECT snapshot_ts, max(snapshot_ts) FILTER (WHERE status <> 'failed') OVER (ORDER BY snapshot_ts), status,
           coverage_pct,
           CASE WHEN status = 'failed' THEN 'stale' WHEN status = 'partial' OR suspect <> '{}' THEN 'degraded'
                ELSE 'healthy' END
      FROM ingest_runs;
"""


def held(wallet: int, asset: str, n: int) -> tuple[Any, ...]:
    """Return (size, entry price, liquidation price, leverage) n minutes after the first; a flat one has no terms."""
    if (wallet, n) == (4, 10):
        wallet = 1  # another wallet's answer: the minute is suspect
    for of, what, since, until, size, growth, *terms in reversed(HELD):
        if (of, what) == (wallet, asset) and since <= n < until:
            return Decimal(size) + n * Decimal(growth), *terms
    return 0, None, None, None


def cells() -> Iterator[tuple[Any, ...]]:
    """Yield the rows of `wallet_snapshots`, in the order of `_CELL`."""
    for n in (n for n in range(MINUTES) if n not in GAP):
        minute = FIRST + timedelta(minutes=n)
        for wallet in (1, 2, 3, 4, 5) if n < REFRESHED else (1, 2, 3, 5, 6):
            reason = MISSING.get((wallet, n))
            seen = None if reason else minute + timedelta(seconds=2.5, milliseconds=20 * wallet)
            for asset in ASSETS:
                size, entry, liquidation, leverage = held(wallet, asset, n)
                terms = (entry, liquidation, leverage, "cross", 1000) if size else (None,) * 5
                values = (None,) * 6 if reason else (size, *terms)
                yield minute, wallet, asset, int(minute.timestamp()) // 60, *values, reason, seen


def write(conn: psycopg.Connection[Any]) -> None:
    """Put the record into an empty schema; the database's clock then stands still at NOW."""
    clock = "CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS"
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute(f"{clock} $$SELECT timestamptz '{FIRST}'$$".encode())
        cursor.execute("SELECT ensure_partitions(1)")
        cursor.execute(_TABLES)
        cursor.executemany(_CELL, list(cells()))
        for statement in _RUNS.split(";\n"):
            span = {"first": FIRST, "now": NOW, "refreshed": FIRST + timedelta(minutes=REFRESHED)}
            if statement.strip():
                cursor.execute(statement.encode(), span)
        cursor.execute(f"{clock} $$SELECT timestamptz '{NOW}'$$".encode())
