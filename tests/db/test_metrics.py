"""The query behind the metrics file, of records that the database made itself."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from psycopg import sql

from hlctl import access, db, overview
from hlctl.metrics import Facts

M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
GENERATED = Path(__file__).with_name("generated_record.sql").read_bytes()
SetClock = Callable[..., None]


def read(conn: db.Connection) -> Facts:
    """Read what the file says, as the command does."""
    with db.transaction(conn, read_only=True, statement_timeout=5):
        return read_in(conn)


def read_in(conn: db.Connection) -> Facts:
    """Do the same in a transaction that there is."""
    return overview.add_sizes(conn, overview.read_metrics(conn))


def generate(conn: db.Connection, *, minutes: int, wallets: int = 20) -> datetime:
    """Make so many minutes up to M and return the first of them."""
    first = M - timedelta(minutes=minutes - 1)
    with db.transaction(conn, statement_timeout=60):
        conn.execute(GENERATED, {"first": first, "minutes": minutes, "wallets": wallets})
    return first


def test_an_empty_database_says_only_what_is_so(conn: db.Connection, set_clock: SetClock) -> None:
    """Nothing is recorded, nobody is in force, and no figure is made up."""
    set_clock(M, running=False)
    facts = read(conn)
    assert (facts.health_state, facts.newest_ts, facts.last_good_ts, facts.coverage_pct) == ("stale", None, None, None)
    assert (facts.missing, facts.last_hour, facts.anomalies) == (None, {}, {})
    assert (facts.universe_wallets, facts.universe_ts, facts.refresh_failed) == (0, None, None)
    assert (facts.database_bytes or 0) > (facts.snapshots_bytes or 0) > 0


def test_a_record_is_told_by_its_newest_minute_and_its_last_hour(conn: db.Connection, set_clock: SetClock) -> None:
    """The generated record has a partial minute in fifty and a failed one in four hundred: here the last but two."""
    set_clock(M + timedelta(seconds=20), running=False)
    first = generate(conn, minutes=402)
    failed = first + timedelta(minutes=399)
    facts = read(conn)
    assert (facts.newest_ts, facts.last_good_ts, facts.status) == (M, M, "success")
    assert (facts.wallets_expected, facts.wallets_succeeded, facts.rows_written) == (20, 20, 60)
    assert (facts.coverage_pct, facts.missing, facts.suspect_kinds) == (Decimal(100), {}, 0)
    assert (facts.requests_sent, facts.weight, facts.rate_limit, facts.duration_ms) == (20, 40, 1200, 3500)
    assert (facts.skew_ms, facts.clock_offset_ms) == (None, None)
    assert facts.last_hour == {"success": 58, "partial": 1, "failed": 1}
    assert (facts.universe_wallets, facts.universe_ts) == (20, first - timedelta(hours=1))
    conn.execute("DELETE FROM ingest_runs WHERE snapshot_ts > %s", [failed])
    facts = read(conn)
    assert (facts.newest_ts, facts.status, facts.health_state) == (failed, "failed", "stale")
    assert (facts.last_good_ts, facts.missing) == (failed - timedelta(minutes=1), {"timeout": 20})
    assert facts.last_hour == {"success": 56, "partial": 1, "failed": 1, "gap": 1}, "the current minute is none yet"
    set_clock(M + timedelta(minutes=1), running=False)
    assert read(conn).last_hour == {"success": 55, "partial": 1, "failed": 1, "gap": 2}


def test_the_last_hour_begins_with_the_first_minute(conn: db.Connection, set_clock: SetClock) -> None:
    """Before a record there are no gaps in it."""
    set_clock(M, running=False)
    generate(conn, minutes=10)
    assert read(conn).last_hour == {"success": 10}


def test_anomalies_are_those_of_the_last_hours_minutes(conn: db.Connection, set_clock: SetClock) -> None:
    """Each type by itself; what is older is left out."""
    set_clock(M + timedelta(seconds=59), running=False)
    generate(conn, minutes=70)
    ages = [("szi_jump", 0), ("szi_jump", 59), ("szi_jump", 60), ("other", 59), ("null_szi", 61)]
    for kind, minutes in ages:
        conn.execute(
            "INSERT INTO snapshot_anomalies (snapshot_ts, wallet_id, asset, anomaly_type) VALUES (%s, 1, 'BTC', %s)",
            [M - timedelta(minutes=minutes), kind],
        )
    assert read(conn).anomalies == {"szi_jump": 2, "other": 1}


def test_a_refresh_that_read_nothing_says_nothing_of_turnover(conn: db.Connection, set_clock: SetClock) -> None:
    """A refused leaderboard counts, and an unreadable one after it does not end the count."""
    set_clock(M, running=False)
    add = (
        "INSERT INTO wallet_universe_runs (as_of_ts, status, source, n_requested, n_received, entered_count,"
        " exited_count, churn_warning_count, duration_ms, rows_seen, rows_rejected, error)"
        " VALUES (%s, %s, 'stats-data', 20, %s, %s, %s, %s, 1, 20, 0, %s)"
    )
    conn.execute(add, [M - timedelta(hours=12), "success", 20, 7, 6, 2, None])
    facts = read(conn)
    assert (facts.entered, facts.exited, facts.churn_warnings, facts.refresh_failed) == (7, 6, 2, False)
    conn.execute(add, [M - timedelta(hours=6), "failed", 20, 0, 0, 3, "too many wallets changed"])
    conn.execute(add, [M, "failed", 0, 0, 0, 0, "nobody answered"])
    facts = read(conn)
    assert (facts.entered, facts.exited, facts.churn_warnings, facts.refresh_failed) == (7, 6, 3, True)
    assert facts.universe_ts == M - timedelta(hours=12)


@pytest.mark.parametrize("right", ["reader", "writer"])
def test_whoever_may_run_the_commands_may_read_it(rolled_back: db.Connection, right: str) -> None:
    """No right is needed that a reader has not."""
    role = f"metrics_{right}"
    rolled_back.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    access.grant(rolled_back, {role: access.Access(right)})
    rolled_back.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
    assert read_in(rolled_back).health_state == "stale"


def test_a_long_record_is_read_by_its_end(conn: db.Connection, set_clock: SetClock) -> None:
    """Neither cells nor old runs are read: it is asked every minute, and has a second."""
    set_clock(M, running=False)
    generate(conn, minutes=1440, wallets=2)
    conn.execute(
        "INSERT INTO snapshot_anomalies (snapshot_ts, wallet_id, asset, anomaly_type)"
        " SELECT snapshot_ts, wallet_id, asset, 'other' FROM wallet_snapshots"
    )
    conn.execute("ANALYZE")
    with db.transaction(conn, read_only=True):
        plan = "\n".join(row[0] for row in conn.execute(b"EXPLAIN " + db.query("read_metrics")).fetchall())
    for table in ("ingest_runs", "snapshot_anomalies", "wallet_snapshots"):
        assert f"Seq Scan on {table}" not in plan, plan
