"""A year of minutes: what a minute asks does not grow, its days are kept as that needs it, the generator is true."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from benchmarks import generate
from hlctl import audit, days, db

BEGINS = datetime(2026, 1, 6, 15, tzinfo=UTC)
ENDS = datetime(2026, 1, 7, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
OF_A_MINUTE = [
    *(f"check_{check.id}" for check in audit.CHECKS if check.is_of_minutes),
    "count_runs",
    "find_odd_cells",
    "find_suspect_cells",
    "latest_health",
    "latest_run",
    "list_gaps",
    "list_last_hour",
    "list_recent_requests",
    "read_past",
    "record_health",
]
OF_THE_UNIVERSE = [
    "check_current",
    "find_stored_members",
    "latest_refresh",
    "list_missing",
    "list_universe",
    "read_metrics",
    "summarize_universe",
]
REFRESHES = """
    WITH refresh AS (
      INSERT INTO wallet_universe_runs (
        as_of_ts, status, source, n_requested, n_received, duration_ms, rows_seen, rows_rejected)
      SELECT %(first)s::timestamptz + n * interval '6 h', 'success', 'stats-data', %(wallets)s, %(wallets)s, 1, 1, 0
        FROM generate_series(0, %(number)s - 1) AS n
      RETURNING run_id)
    INSERT INTO wallet_universe_members (run_id, wallet_id, rank, month_pnl, month_roi, account_value, month_volume)
    SELECT run_id, wallet_id, row_number() OVER (PARTITION BY run_id ORDER BY wallet_id), 1, 1, 1, 1
      FROM refresh
     CROSS JOIN (SELECT wallet_id FROM wallets ORDER BY wallet_id LIMIT %(wallets)s) AS w
"""
SETTINGS = """
    SELECT t.relname, t.reloptions, array_agg(DISTINCT array_to_string(i.reloptions, ' '))
      FROM pg_inherits h
      JOIN pg_class t ON t.oid = h.inhrelid
      JOIN pg_index x ON x.indrelid = t.oid
      JOIN pg_class i ON i.oid = x.indexrelid
     WHERE h.inhparent = 'wallet_snapshots'::regclass
       AND t.relname ~ '[0-9]{8}$'
     GROUP BY t.oid
"""


def add_cell(conn: db.Connection, minute: datetime) -> None:
    conn.execute(
        "INSERT INTO wallet_snapshots (snapshot_ts, wallet_id, asset, ingest_run_id, missing_reason, attempt)"
        " VALUES (%s, 1, 'BTC', %s, 'late', 1)",
        [minute, int(minute.timestamp()) // 60],
    )


def test_a_generated_record_is_sound(conn: db.Connection) -> None:
    """What is measured on it is measured on what hlctl would have written: refreshes, a midnight, odd cells and all."""
    generate.fill(conn, BEGINS, ENDS, wallets=60)
    with conn.transaction():
        found = {check.id: audit.violations(conn, check, BEGINS, ENDS) for check in audit.CHECKS}
        shapes = conn.execute(
            "SELECT count(*), count(*) FILTER (WHERE position_szi <> 0) * 100 / count(*), count(missing_reason) > 0,"
            " count(liq_px) > 0 FROM wallet_snapshots"
        ).fetchone()
        runs = conn.execute("SELECT count(*), count(DISTINCT universe_run_id) FROM ingest_runs").fetchone()
    assert {check: wrong for check, wrong in found.items() if wrong} == {}
    assert shapes is not None
    assert (shapes[0], shapes[2:]) == (600 * 60 * 3, (True, True))
    assert 40 <= shapes[1] <= 50
    assert runs == (600, 2)


def test_an_aged_record_is_sound(conn: db.Connection) -> None:
    """What is measured on it meets as many days, runs and refreshes as there would be, each minute with its list."""
    first = BEGINS.replace(hour=0)
    generate.fill(conn, first, first + timedelta(hours=7), wallets=20)
    conn.execute(Path(generate.__file__).with_name("aged.sql").read_text().format(days=5).encode())
    with conn.transaction():
        found = {check.id: audit.violations(conn, check, first - 5 * DAY, ENDS) for check in audit.CHECKS}
        made = conn.execute(
            "SELECT count(*), count(DISTINCT universe_run_id), min(snapshot_ts), (SELECT days FROM cell_storage()) >= 5"
            " FROM ingest_runs"
        ).fetchone()
    assert {check: wrong for check, wrong in found.items() if wrong} == {}
    assert made == (4 * 1440 + 420, 4 * 4 + 2, first - 4 * DAY, True)


def test_a_day_that_is_made_has_its_settings(conn: db.Connection, set_clock: Callable[..., None]) -> None:
    """PostgreSQL copies none of them to a new partition; a day that strayed into DEFAULT gets them too."""
    add_cell(conn, BEGINS)
    set_clock(ENDS, running=False)
    conn.execute("SELECT ensure_partitions(3)")
    settings = {name: rest for name, *rest in conn.execute(SETTINGS).fetchall()}
    assert {"wallet_snapshots_20260106", "wallet_snapshots_20260110"} < set(settings)
    assert {str(rest) for rest in settings.values()} == {str([["autovacuum_freeze_min_age=0"], ["fillfactor=100"]])}


def test_a_day_is_dropped_without_a_look_at_all_the_others(conn: db.Connection, set_clock: Callable[..., None]) -> None:
    """Each partition that a statement opens costs it time, and three locks to the end: 2,700 of them on day 900."""
    set_clock(ENDS, running=False)
    for day in range(40):
        add_cell(conn, ENDS - timedelta(days=day))
    conn.execute("SELECT ensure_partitions(0)")
    with db.transaction(conn):
        stored = days.list_prunable(conn, keep=30)
        assert len(stored) == 9
    with db.transaction(conn):
        days.drop_day(conn, stored[0].day)
        (held,) = conn.execute(
            "SELECT count(DISTINCT relation) FROM pg_locks"
            " WHERE pid = pg_backend_pid() AND relation::regclass::text ~ '^wallet_snapshots_[0-9]{8}$'"
        ).fetchone() or (None,)
    assert held <= 2 + 8  # since yesterday, and what init-db made ahead


@pytest.fixture(scope="module")
def old(server: str, template: str, create_database: Callable[..., str]) -> str:
    """Return a database with a week of runs, the last hour with cells of 200 wallets, amid years of refreshes."""
    url = make_conninfo(server, dbname=create_database(template))
    with db.connect(url) as conn:
        generate.fill(conn, ENDS - timedelta(days=7), ENDS - timedelta(hours=1), wallets=1)
        add_refreshes(conn, ENDS - timedelta(days=500))
        generate.fill(conn, ENDS - timedelta(hours=1), ENDS, wallets=200)
        add_refreshes(conn, ENDS + timedelta(minutes=1))
        conn.execute("VACUUM ANALYZE wallet_universe_runs, wallet_universe_members")
    return url


def add_refreshes(conn: db.Connection, first: datetime, *, number: int = 2000, wallets: int = 20) -> None:
    """Add so many refreshes, six hours from one to the next."""
    conn.execute(REFRESHES, {"first": first, "number": number, "wallets": wallets})


@pytest.fixture(
    scope="module",
    params=[("partial", "timeout"), ("failed", "timeout"), ("failed", "internal"), ("failed", "cancelled")],
    ids=["partial", "failed", "a bug", "ended each time"],
)
def out(old: str, server: str, create_database: Callable[..., str], request: pytest.FixtureRequest) -> str:
    """Return such a database in which no minute of the last six days was good, which its statistics do not know yet."""
    url = make_conninfo(server, dbname=create_database(str(conninfo_to_dict(old)["dbname"])))
    since = ENDS - timedelta(days=6)
    with db.connect(url) as conn:
        conn.execute("CREATE TEMP TABLE outage AS SELECT * FROM ingest_runs WHERE snapshot_ts > %s", [since])
        conn.execute("UPDATE outage SET status = %s, missing = jsonb_build_object(%s::text, 200)", request.param)
        conn.execute("DELETE FROM ingest_runs WHERE snapshot_ts > %s", [since])
        conn.execute("VACUUM ANALYZE ingest_runs")
        conn.execute("INSERT INTO ingest_runs SELECT * FROM outage")
    return url


@pytest.mark.parametrize("query", OF_A_MINUTE)
def test_no_question_of_a_minute_reads_every_run_or_compares_every_wallet_with_every_other(
    old: str, query: str
) -> None:
    """One that does is quick for weeks, or for 200 wallets, and takes seconds in its second year, or for 10,000."""
    plan = list(explain(old, query))
    assert max(read_of("ingest_runs", plan), default=0) <= 2 * 60  # an hour before and one after is as far as any looks
    tried = [node.get("Rows Removed by Join Filter", 0) * node["Actual Loops"] for node in plan]
    assert max(tried) <= 3 * 200  # no pairs of wallets


@pytest.mark.parametrize("query", OF_A_MINUTE)
def test_an_outage_of_days_is_not_read_again_each_minute(out: str, query: str) -> None:
    """One wallet that is never answered makes every minute partial for a month, and an exchange away fails for days."""
    assert max(read_of("ingest_runs", explain(out, query)), default=0) <= 2 * 60


@pytest.mark.parametrize("minutes", [1, 60])
@pytest.mark.parametrize("query", [*OF_A_MINUTE, *OF_THE_UNIVERSE])
def test_no_question_reads_the_refreshes_or_the_members_of_all_years(old: str, query: str, minutes: int) -> None:
    """There are 1,460 refreshes a year, before the minute in question and after it, and 200 members of each."""
    plan = list(explain(old, query, minutes))
    assert max(read_of("wallet_universe_runs", plan), default=0) <= 10 * minutes
    assert max(read_of("wallet_universe_members", plan), default=0) <= 200 * minutes


def explain(database: str, query: str, minutes: int = 1) -> Iterator[dict[str, Any]]:
    """Run a query about so many of the last minutes and yield every node of its plan."""
    until = ENDS - MINUTE if minutes == 1 else ENDS
    asked = {"since": until - minutes * MINUTE, "until": until, "minute": until - MINUTE, "universe_run_id": 9}
    with db.connect(database) as conn, conn.transaction(force_rollback=True):
        audit.distrust_constraints(conn)
        (plan,) = conn.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + db.query(query), asked).fetchone() or ([],)
    yield from nodes(plan[0]["Plan"])


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every node of a plan."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def read_of(table: str, plan: Iterable[dict[str, Any]]) -> list[float]:
    """Return how many rows each scan of a table looked at."""
    scans = [node for node in plan if node.get("Relation Name") == table]
    return [(scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"] for scan in scans]
