"""Days of minutes put into the database by SQL: recording them would take days."""

from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta

import psycopg

_RUNS = """
    INSERT INTO ingest_runs (
        run_id, snapshot_ts, status, wallets_expected, wallets_succeeded, wallets_failed, rows_expected, rows_written,
        coverage_pct, missing, universe_run_id, attempts, attempt_id, coverage_success, coverage_failed, stale_after,
        universe_stale_after, requests_sent, retries, rate_limited, sent_per_second, duration_ms, host, version,
        published_at)
    SELECT extract(epoch FROM minute) / 60, minute, 'partial', 10, 9, 1, 30, 30, 90, '{"timeout": 1}', 1, 1,
           gen_random_uuid(), 95, 80, '3 min', '12 h', 10, 0, 0, '{10}', 1000, 'h', '0', minute + interval '20 s'
      FROM generate_series(%(first)s::timestamptz, %(last)s, '1 min') AS minute
"""

# What ten wallets hold: the exchange's noise, zeros at the end, the most digits Parquet takes; flat; missing; dirty.
_HELD = """
    (0, 'cross',    1, false, 1064075.6000000001,          35.271,  NULL,             20,   1.0,      NULL),
    (1, 'cross',    1, false, -35.0,                       85000.0, 91234.5678900000, 40,   0,        NULL),
    (2, 'cross',    1, false, 0.0000000001,                0.10,    NULL,             1,    0.000000, NULL),
    (3, 'cross',    1, true,  -999999999999999.9999999999, NULL,    NULL,             1000, -17.25,   'a, "b"'),
    (4, 'cross',    2, false, 12.5,                        2700,    100,              3.5,  1000000,  NULL),
    (5, 'isolated', 1, false, 100,                         1.500,   0.0,              5,    2,        NULL),
    (6, NULL,       1, false, 0,                           NULL,    NULL,             NULL, NULL,     NULL),
    (7, NULL,       1, false, 0.00,                        NULL,    NULL,             NULL, NULL,     NULL),
    (8, NULL,       3, false, 0,                           NULL,    NULL,             NULL, NULL,     NULL),
    (9, NULL,       1, false, NULL,                        NULL,    NULL,             NULL, NULL,     NULL)
"""

_CELLS = f"""
    INSERT INTO wallet_snapshots (
        snapshot_ts, observed_at, wallet_id, asset, ingest_run_id, missing_reason, leverage_type, attempt, is_dirty,
        position_szi, entry_px, liq_px, leverage, margin_used, dirty_reason)
    SELECT minute, CASE WHEN szi IS NOT NULL THEN minute + interval '2.000001 s' * (1 + kind) END, wallet_id, asset,
           extract(epoch FROM minute) / 60, CASE WHEN szi IS NULL THEN 'timeout'::missing_reason END,
           leverage_type::leverage_type, attempt, is_dirty,
           szi + CASE kind WHEN 4 THEN extract(minute FROM minute) ELSE 0 END,
           entry_px, liq_px, leverage, margin_used, dirty_reason
      FROM generate_series(%(first)s::timestamptz, %(last)s, '1 min') AS minute
     CROSS JOIN unnest(enum_range(NULL::asset)) AS asset
     CROSS JOIN (VALUES {_HELD}) AS held (
           kind, leverage_type, attempt, is_dirty, szi, entry_px, liq_px, leverage, margin_used, dirty_reason)
      JOIN wallet_universe_current u ON u.rank = kind + 1
"""  # noqa: S608 - the values above

_FINGERPRINTS = """
    UPDATE ingest_runs r
       SET fingerprint = c.fingerprint
      FROM (SELECT snapshot_ts, sum(cell_fingerprint(wallet_id, asset, position_szi, entry_px, liq_px, leverage,
                                                     leverage_type, margin_used, observed_at, missing_reason, attempt))
                                AS fingerprint
              FROM wallet_snapshots GROUP BY snapshot_ts) AS c
     WHERE r.snapshot_ts = c.snapshot_ts
"""

_ANOMALIES = """
    INSERT INTO snapshot_anomalies (snapshot_ts, wallet_id, asset, anomaly_type)
    SELECT snapshot_ts, wallet_id, asset, 'szi_jump' FROM wallet_snapshots
     WHERE is_dirty AND snapshot_ts BETWEEN %(first)s AND %(last)s
"""


def fill(database: str, *days: date, minutes: int = 3, at: time = time(23, 50), strays: bool = False) -> None:
    """Put minutes of 10 wallets, 30 cells, into each day, with the partition they belong to unless they are strays."""
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        conn.execute("SET timezone = 'UTC'")
        for day in days:
            first = datetime.combine(day, at, UTC)
            span = {"first": first, "last": first + timedelta(minutes=minutes - 1)}
            for statement in (_RUNS, _CELLS, _ANOMALIES):
                conn.execute(statement.encode(), span)
        conn.execute(_FINGERPRINTS.encode())
        if not strays:
            conn.execute("SELECT ensure_partitions(0)")
