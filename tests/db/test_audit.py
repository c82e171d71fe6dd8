"""The checks of `verify`, checked: a good record passes, and each way to spoil one is found by its own check alone."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from hlctl import audit, db, overview, store
from hlctl.audit import CHECKS
from hlctl.facts import Tally, Violation
from hlctl.jobs import verify
from hlctl.model import (
    Answer,
    Asset,
    Attempt,
    Held,
    LeaderboardRow,
    LeverageType,
    MissingReason,
    Position,
    Refresh,
    Rules,
    Source,
    Transport,
    Wallet,
)
from hlctl.moments import Range
from tests.db.corruptions import CORRUPTIONS, Corruption

M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
END = M + timedelta(minutes=8)
SIZE = 20
GENERATED = Path(__file__).with_name("generated_record.sql")
RULES = Rules(
    coverage_success=Decimal(95),
    coverage_failed=Decimal(80),
    stale_after=timedelta(seconds=180),
    universe_stale_after=timedelta(hours=12),
    rate_limit=1200,
)
LONG = Position(
    szi=Decimal("1.5"),
    entry_px=Decimal(100),
    liq_px=None,
    leverage=Decimal(5),
    leverage_type=LeverageType.CROSS,
    margin_used=Decimal(30),
)


def refresh(conn: db.Connection, numbers: range) -> None:
    """Put these wallets in force."""
    members = [
        LeaderboardRow(
            address=f"0x{number:040x}",
            month_pnl=Decimal(1000 - number),
            month_roi=Decimal("0.1"),
            month_volume=Decimal(0),
            account_value=Decimal(5),
        )
        for number in numbers
    ]
    chosen = Refresh(
        run_id=None, source=Source.STATS_DATA, n_requested=SIZE, n_received=SIZE, entered=(), exited=(), turnover=None,
        churn_warning_count=0, rows_seen=SIZE, rows_rejected=0, duration_ms=1,
    )  # fmt: skip
    with db.transaction(conn):
        store.replace_universe(conn, chosen, members)


def publish(
    conn: db.Connection, minute: datetime, *, missing: int = 0, reason: MissingReason = MissingReason.TIMEOUT
) -> None:
    """Record a minute as `snapshot` does: of the wallets that are asked, the last ones are missing."""
    with db.transaction(conn):
        wallets = store.list_task(conn, minute).wallets
        universe_run_id = store.list_task(conn, minute).universe_run_id
        known: dict[Wallet, Answer] = {
            wallet: Held(
                minute + timedelta(seconds=1, milliseconds=n),
                {
                    Asset.BTC if wallet.wallet_id % 2 else Asset.ETH: replace(
                        LONG, margin_used=Decimal(30 + wallet.wallet_id)
                    )
                },
            )
            for n, wallet in enumerate(wallets[: len(wallets) - missing])
        }
        store.publish(
            conn,
            minute,
            universe_run_id=universe_run_id,
            answers={**dict.fromkeys(wallets, reason), **known},
            rules=RULES,
            transport=Transport(
                requests_sent=len(wallets),
                retries=1,
                rate_limited=1,
                last_sent_at=minute + timedelta(seconds=1),
                sent_per_second=[len(wallets) - 2, 2],
                clock_offset_ms=0,
            ),
            attempt=Attempt(attempt_id=uuid4(), host="here", version="0", duration_ms=5, error=None),
        )


@pytest.fixture(scope="module")
def good(server: str, template: str, create_database: Callable[..., str], set_clock_of: Callable[..., None]) -> str:
    """Return a database with minutes of every kind: whole, partial, failed, re-run, none, and three of a new universe.

    Its constraints are dropped once all of it is written: nothing but the checks is left to notice anything.
    """
    url = make_conninfo(server, dbname=create_database(template))

    def at(minutes: int, second: float = 3) -> datetime:
        minute = M + timedelta(minutes=minutes)
        set_clock_of(url, minute + timedelta(seconds=second), running=False)
        return minute

    with db.connect(url) as conn:
        at(-1)
        with db.transaction(conn):
            store.ensure_partitions(conn, days=1)
        refresh(conn, range(SIZE))
        publish(conn, at(0))
        publish(conn, at(1), missing=3, reason=MissingReason.BAD_SHAPE)  # which makes their cells dirty
        publish(conn, at(2), missing=SIZE, reason=MissingReason.BREAKER)
        publish(conn, at(3), missing=10)
        publish(conn, at(3, 20), missing=2)  # wallets asked again
        at(4, 5)
        refresh(conn, range(5, SIZE + 5))
        at(4, 10)
        refresh(conn, range(5, SIZE + 5))
        publish(conn, at(5))
        publish(conn, at(6))
        publish(conn, at(7))
        at(9)
        conn.execute(
            """
            DO $$
            DECLARE
              c record;
            BEGIN
              FOR c IN SELECT conrelid::regclass AS relation, conname FROM pg_constraint
                        WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f') AND conislocal
                          AND conrelid <> 0 AND coninhcount = 0
              LOOP
                EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', c.relation, c.conname);
              END LOOP;
            END
            $$
            """
        )
        assert conn.execute("SELECT status FROM ingest_runs ORDER BY snapshot_ts").fetchall() == [
            (status,) for status in ("success", "partial", "failed", "partial", "success", "success", "success")
        ]
    return url


@pytest.fixture
def spoilt(good: str) -> Iterator[db.Connection]:
    """Return a connection to it, inside a transaction that leaves nothing behind."""
    with db.connect(good) as conn, conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL timezone = 'UTC'")
        audit.distrust_constraints(conn)
        yield conn


def found(conn: db.Connection, since: datetime = M, until: datetime = END) -> dict[str, list[Violation]]:
    """Return what each check that is violated finds."""
    everything = {check.id: audit.violations(conn, check, since, until) for check in CHECKS}
    return {name: violations for name, violations in everything.items() if violations}


def spoil(conn: db.Connection, corruption: Corruption) -> None:
    """Carry out a corruption."""
    minute = {"m": M + timedelta(minutes=corruption.at)}
    for statement in corruption.statement.split(";"):
        conn.execute(statement.encode(), minute if "%(m)s" in statement else None)


def seal(conn: db.Connection) -> None:
    """Recompute the fingerprints, as somebody would who knows of them."""
    conn.execute(
        "UPDATE ingest_runs r SET fingerprint = (SELECT sum(cell_fingerprint(wallet_id, asset, position_szi, entry_px,"
        " liq_px, leverage, leverage_type, margin_used, observed_at, missing_reason, attempt)) FROM wallet_snapshots c"
        " WHERE c.snapshot_ts = r.snapshot_ts)"
    )


def test_nothing_is_found_in_a_good_record(spoilt: db.Connection) -> None:
    """Partial, failed and re-run minutes that were recorded truthfully pass, and so does a gap."""
    assert found(spoilt) == {}
    count, minutes, (gap,) = audit.list_gaps(spoilt, M, END)
    assert (count, minutes, gap.since) == (1, 1, M + timedelta(minutes=4))


def test_every_check_has_a_corruption_and_finds_its_own_alone(good: str) -> None:
    """By a careful forger, who recomputes the fingerprint: the matrix of corruptions and checks is a diagonal."""
    ids = [check.id for check in CHECKS]
    matrix: list[tuple[Corruption, set[str]]] = []
    for corruption in CORRUPTIONS:
        with db.connect(good) as conn, conn.transaction(force_rollback=True):
            audit.distrust_constraints(conn)
            spoil(conn, corruption)
            if corruption.is_of_cells:
                seal(conn)
            caught = found(conn)
            assert all(violation.found for violations in caught.values() for violation in violations), corruption.name
            matrix.append((corruption, set(caught)))
    width = max(len(c.check) + len(c.name) for c, _ in matrix) + 2
    print()  # noqa: T201
    for depth in range(max(map(len, ids))):
        print(" " * width, " ".join(name.ljust(10)[depth] for name in ids))  # noqa: T201
    for corruption, names in matrix:
        marks = " ".join("X" if name in names else "." for name in ids)
        print(f"{corruption.check}: {corruption.name}".ljust(width), marks)  # noqa: T201
    assert [(c.check, c.name, names) for c, names in matrix if names != {c.check}] == []
    assert {corruption.check for corruption in CORRUPTIONS} == set(ids)


@pytest.mark.parametrize("corruption", [c for c in CORRUPTIONS if c.is_of_cells], ids=lambda c: f"{c.check}: {c.name}")
def test_the_fingerprint_tells_every_change_of_a_cell(spoilt: db.Connection, corruption: Corruption) -> None:
    """Somebody who does not know of it is caught twice."""
    spoil(spoilt, corruption)
    assert set(found(spoilt)) == {corruption.check, "write_once"}


@pytest.mark.parametrize(
    "corruption", [c for c in CORRUPTIONS if c.check not in {"current", "strays"}], ids=lambda c: f"{c.check}: {c.name}"
)
def test_nothing_is_found_where_nobody_looks(spoilt: db.Connection, corruption: Corruption) -> None:
    """A range is judged by its own minutes, its neighbours are only looked at."""
    spoil(spoilt, corruption)
    middle = M + timedelta(minutes=5)
    if corruption.at < 5 and corruption.name not in {"cells made up for a gap", "noted of a gap"}:
        assert found(spoilt, middle, END) == {}
    if corruption.at >= 5:
        assert found(spoilt, M, middle) == {}
    assert found(spoilt, M - timedelta(hours=2), M) == {}


def test_what_an_earlier_attempt_took_for_suspect_is_no_violation(spoilt: db.Connection) -> None:
    """It wrote down what the second, which knew more, did not find again; a writer takes no anomaly back."""
    (corruption,) = (c for c in CORRUPTIONS if c.name == "a cell emptied with nobody")
    spoilt.execute(corruption.statement.encode(), {"m": M + timedelta(minutes=3)})
    assert found(spoilt) == {}
    spoilt.execute("UPDATE ingest_runs SET attempts = 1")
    assert "suspect" in found(spoilt)


def test_a_constraint_is_not_taken_for_a_look_at_the_rows(spoilt: db.Connection) -> None:
    """The planner leaves out rows that a CHECK says cannot exist; a broken disk or a superuser has made one here."""
    if spoilt.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() != (True,):
        pytest.skip("the role of TEST_DATABASE_URL is no superuser")
    (corruption,) = (c for c in CORRUPTIONS if c.name == "a value without a time")
    spoil(spoilt, corruption)
    for column in ("missing_reason IS NOT NULL", "observed_at IS NULL"):
        spoilt.execute(
            f"ALTER TABLE wallet_snapshots ADD CHECK ((position_szi IS NULL) = ({column})) NOT VALID".encode()
        )
    spoilt.execute("UPDATE pg_constraint SET convalidated = true WHERE NOT convalidated")
    spoilt.execute("ALTER TABLE wallet_snapshots_20260106 SET (fillfactor = 99)")  # its constraints are read anew
    assert "reasons" in found(spoilt)
    spoilt.execute("SET LOCAL constraint_exclusion = partition")
    assert "reasons" not in found(spoilt), "or this test shows nothing"


@pytest.mark.parametrize(
    ("check", "inside", "outside"),
    [
        (
            "published",
            "UPDATE ingest_runs SET published_at = snapshot_ts + interval '19 ms'",  # the last was seen at 1.019 s
            "UPDATE ingest_runs SET published_at = published_at - interval '1 us'",
        ),
        (
            "published",
            "UPDATE ingest_runs SET published_at = snapshot_ts + interval '59.999999 s', last_sent_at = published_at",
            "UPDATE ingest_runs SET published_at = published_at + interval '1 us'",
        ),
        (
            "rate",
            "UPDATE ingest_runs SET sent_per_second = '{20}', requests_sent = 20, rate_limit = 48, retries = 0",
            "UPDATE ingest_runs SET rate_limit = 47",
        ),
        (
            "rate",
            "UPDATE ingest_runs SET sent_per_second = '{20,20}', requests_sent = 40, rate_limit = 96, retries = 0",
            "UPDATE ingest_runs SET sent_per_second = '{20,20,1}'",
        ),
        (
            "universe",
            "UPDATE wallet_universe_runs SET as_of_ts = timestamptz '2026-01-06T20:43Z' WHERE run_id = 1",
            "UPDATE wallet_universe_runs SET status = 'failed' WHERE run_id = 1",
        ),
        (
            "times",
            "UPDATE wallet_snapshots SET observed_at = snapshot_ts + interval '59.999999 s'",
            "UPDATE wallet_snapshots SET observed_at = observed_at + interval '1 us'",
        ),
    ],
)
def test_a_bound_holds_to_the_last_digit(spoilt: db.Connection, check: str, inside: str, outside: str) -> None:
    """From both sides: exactly at the bound nothing is wrong, a hair beyond it is."""
    spoilt.execute(inside.encode())
    assert check not in found(spoilt, M, M + timedelta(minutes=1))
    spoilt.execute(outside.encode())
    assert check in found(spoilt, M, M + timedelta(minutes=1))


def test_a_refresh_that_lands_while_a_minute_begins_need_not_be_seen_yet(spoilt: db.Connection) -> None:
    """Its time is read before it is committed; a minute later nobody can have missed it."""
    newer = "UPDATE wallet_universe_runs SET as_of_ts = %s WHERE run_id = 3"
    spoilt.execute(newer, [M + timedelta(minutes=5)])
    spoilt.execute("UPDATE wallet_universe_current SET as_of_ts = %s", [M + timedelta(minutes=5)])
    early = [M + timedelta(minutes=5), M + timedelta(minutes=6)]
    spoilt.execute("UPDATE ingest_runs SET universe_run_id = 2 WHERE snapshot_ts = ANY (%s)", [early])
    assert found(spoilt) == {}
    spoilt.execute(newer, [M + timedelta(minutes=5) - timedelta(microseconds=1)])
    spoilt.execute("UPDATE wallet_universe_current SET as_of_ts = as_of_ts - interval '1 us'")
    assert [v.snapshot_ts for v in found(spoilt)["universe"]] == [M + timedelta(minutes=6)]


def test_a_failed_minute_need_not_have_seen_the_minute_right_before_it(spoilt: db.Connection) -> None:
    """A COMMIT that hangs may be through after the next minute, which gave up early, was published; but no later."""
    noted = "UPDATE ingest_health SET last_success_snapshot_ts = %s WHERE health_ts = %s"
    spoilt.execute(noted, [M, M + timedelta(minutes=2)])
    assert found(spoilt) == found(spoilt, M + timedelta(minutes=2)) == {}
    spoilt.execute(noted, [None, M + timedelta(minutes=2)])
    assert set(found(spoilt)) == {"health"}
    spoilt.execute(noted, [M, M + timedelta(minutes=2)])
    spoilt.execute(noted, [M + timedelta(minutes=5), M + timedelta(minutes=6)])
    (violation,) = found(spoilt)["health"]
    assert violation.snapshot_ts == M + timedelta(minutes=6), "a good minute is its own newest"


def test_minutes_without_fingerprint_or_limit_are_not_called_violations(spoilt: db.Connection) -> None:
    """They were recorded by an hlctl that wrote neither down, and are counted as such."""
    spoilt.execute("UPDATE ingest_runs SET fingerprint = NULL, rate_limit = NULL WHERE status <> 'success'")
    assert found(spoilt) == {}
    assert audit.count_runs(spoilt, M, END) == Tally(
        recorded=7, success=4, partial=2, failed=1, pruned=0, without_fingerprint=3
    )


def test_a_member_that_is_there_twice_is_counted_and_no_error(spoilt: db.Connection) -> None:
    """Restored without its key, and then once more: a look that takes one row for granted would end the audit."""
    spoilt.execute(
        "ALTER TABLE wallet_universe_members DROP CONSTRAINT wallet_universe_members_pkey,"
        " DROP CONSTRAINT wallet_universe_members_run_id_rank_key;"
        " INSERT INTO wallet_universe_members (run_id, wallet_id, rank, month_pnl, month_roi, account_value,"
        " month_volume) SELECT run_id, wallet_id, rank, month_pnl, month_roi, account_value, month_volume"
        " FROM wallet_universe_members"
    )
    assert {"counts", "universe"} <= set(found(spoilt))


@pytest.mark.parametrize(
    ("check", "table", "column"),
    [
        ("counts", "ingest_runs", "wallets_expected"),
        ("counts", "ingest_runs", "rows_expected"),
        ("counts", "ingest_runs", "rows_written"),
        ("coverage", "ingest_runs", "wallets_succeeded"),
        ("coverage", "ingest_runs", "wallets_failed"),
        ("coverage", "ingest_runs", "coverage_pct"),
        ("missing", "ingest_runs", "missing"),
        ("status", "ingest_runs", "status"),
        ("aligned", "ingest_runs", "run_id"),
        ("attempts", "ingest_runs", "attempts"),
        ("published", "ingest_runs", "published_at"),
        ("requests", "ingest_runs", "requests_sent"),
        ("requests", "ingest_runs", "retries"),
        ("requests", "ingest_runs", "rate_limited"),
        ("health", "ingest_health", "snapshot_status"),
        ("health", "ingest_health", "coverage_pct"),
        ("health", "ingest_health", "health_state"),
        ("aligned", "wallet_snapshots", "ingest_run_id"),
        ("universe", "wallet_universe_runs", "n_received"),
        ("universe", "wallets", "address"),
    ],
)
def test_what_is_not_there_agrees_with_nothing(spoilt: db.Connection, check: str, table: str, column: str) -> None:
    """A comparison with NULL is neither true nor false, and would find no fault; each has words all the same."""
    spoilt.execute(f"ALTER TABLE {table} ALTER {column} DROP NOT NULL".encode())
    spoilt.execute(sql.SQL("UPDATE {} SET {} = NULL").format(sql.Identifier(table), sql.Identifier(column)))
    violations = found(spoilt)
    assert check in violations
    assert all(violation.found for violation in violations[check])


def test_pruned_minutes_owe_no_cells_and_may_have_none(spoilt: db.Connection) -> None:
    """Their runs are still judged."""
    spoilt.execute("UPDATE ingest_runs SET pruned_at = published_at WHERE snapshot_ts < %s", [M + timedelta(minutes=2)])
    assert set(found(spoilt)) == {"orphans"}
    spoilt.execute("DELETE FROM wallet_snapshots WHERE snapshot_ts < %s", [M + timedelta(minutes=2)])
    assert found(spoilt) == {}
    pruned = audit.find_pruned(spoilt, M, END)
    assert pruned is not None
    assert pruned[0] == M + timedelta(minutes=1)
    assert audit.find_pruned(spoilt, M + timedelta(minutes=2), END) is None
    spoilt.execute("UPDATE ingest_runs SET suspect = '{mass_zero}' WHERE snapshot_ts = %s", [M + timedelta(minutes=5)])
    assert set(found(spoilt)) == {"health"}, "what the hour before made of it cannot be told any more"
    spoilt.execute("UPDATE ingest_runs SET rows_written = 0")
    assert len(found(spoilt)["counts"]) == 7


def test_cells_that_vanished_without_being_pruned_are_missed(spoilt: db.Connection) -> None:
    """A dropped partition is no excuse unless the run rows say so."""
    spoilt.execute("DELETE FROM wallet_snapshots WHERE snapshot_ts = %s", [M])
    (violation,) = found(spoilt)["rows"]
    assert (violation.snapshot_ts, violation.wallet_id, violation.found) == (M, None, "0 rows, 60 expected")


def test_the_record_begins_with_whatever_is_left_of_it(spoilt: db.Connection) -> None:
    """Who lost the first runs, or all of them, has cells that nobody vouches for: they are not before the record."""
    assert audit.read_record(spoilt).first == M
    spoilt.execute("DELETE FROM ingest_runs WHERE snapshot_ts < %s", [M + timedelta(minutes=5)])
    assert audit.read_record(spoilt).first == M
    spoilt.execute("DELETE FROM ingest_health")
    assert audit.read_record(spoilt).first == M
    assert len(found(spoilt)["orphans"]) == 4
    spoilt.execute("DELETE FROM ingest_runs")
    assert audit.read_record(spoilt).first == M
    spoilt.execute("DELETE FROM wallet_snapshots")
    assert audit.read_record(spoilt).first is None


def test_the_records_first_cell_is_looked_for_before_its_first_run_alone(generated: str) -> None:
    """Otherwise each look at one minute would open every day there is."""
    with db.connect(generated) as conn, conn.transaction():
        rows = conn.execute(
            b"EXPLAIN " + db.query("first_cell"), {"before": datetime(2026, 1, 6, 23, tzinfo=UTC)}
        ).fetchall()
    plan = "\n".join(line for (line,) in rows)
    assert set(re.findall(r"wallet_snapshots_(\d{8}|default)\b", plan)) == {"20260106", "default"}
    assert "Seq Scan" not in plan


def test_a_detached_day_is_missed_as_long_as_its_runs_say_that_it_is_there(spoilt: db.Connection) -> None:
    """Who prunes a day may have detached its table before, to keep it; then nothing is missing."""
    spoilt.execute(
        "CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE"
        " AS $$SELECT timestamptz '2026-01-09 12:00Z'$$"
    )
    assert overview.measure_growth(spoilt).misplaced == []
    spoilt.execute("ALTER TABLE wallet_snapshots DETACH PARTITION wallet_snapshots_20260106")
    assert overview.measure_growth(spoilt).misplaced == ["wallet_snapshots_20260106"]
    spoilt.execute("UPDATE ingest_runs SET pruned_at = published_at")
    assert overview.measure_growth(spoilt).misplaced == []


def gaps(conn: db.Connection, since: datetime = M, until: datetime = END) -> list[tuple[int, int]]:
    """Return the gaps as (first minute after M, minutes), and check their sums."""
    count, minutes, listed = audit.list_gaps(conn, since, until)
    assert (count, minutes) == (len(listed), sum(gap.minutes for gap in listed))
    return [((gap.since - M) // timedelta(minutes=1), gap.minutes) for gap in listed]


def test_gaps_are_told_with_their_length_wherever_they_lie(spoilt: db.Connection) -> None:
    """At either end of the range, in the middle, and where there is nothing at all."""
    assert gaps(spoilt) == [(4, 1)]
    assert gaps(spoilt, M, M + timedelta(minutes=4)) == []
    assert gaps(spoilt, M + timedelta(minutes=4), M + timedelta(minutes=5)) == [(4, 1)]
    assert gaps(spoilt, M, END + timedelta(hours=1)) == [(4, 1), (8, 60)]
    assert gaps(spoilt, M - timedelta(minutes=3), M + timedelta(minutes=1)) == [(-3, 3)]
    spoilt.execute("DELETE FROM ingest_runs WHERE snapshot_ts IN (%s, %s)", [M, M + timedelta(minutes=5)])
    assert gaps(spoilt) == [(0, 1), (4, 2)]
    spoilt.execute("DELETE FROM ingest_runs")
    assert gaps(spoilt) == [(0, 8)]
    since = M - timedelta(minutes=2 * 150)
    spoilt.execute(
        "INSERT INTO ingest_runs (run_id, snapshot_ts, status, wallets_expected, wallets_succeeded, wallets_failed,"
        " rows_expected, rows_written, coverage_pct, missing, universe_run_id, attempts, attempt_id, coverage_success,"
        " coverage_failed, stale_after, universe_stale_after, requests_sent, retries, rate_limited, sent_per_second,"
        " duration_ms, host, version, published_at) SELECT 1, t, 'failed', 0, 0, 0, 0, 0, 0, '{}', 1, 1,"
        " gen_random_uuid(), 95, 80, '3 min', '1 h', 0, 0, 0, '{}', 1, 'h', '0', t"
        " FROM generate_series(%s, %s::timestamptz, '2 min') AS t",
        [since, M],
    )
    count, minutes, listed = audit.list_gaps(spoilt, since, M)
    assert (count, minutes, len(listed)) == (150, 150, 100), "all are counted, the first hundred listed"


def test_what_is_known_of_a_gap_is_told_and_nothing_else(spoilt: db.Connection) -> None:
    """Facts in words: nobody guesses."""
    four = M + timedelta(minutes=4)

    def known(until: datetime = END) -> list[str]:
        _, _, (gap,) = audit.list_gaps(spoilt, four, until)
        return list(gap.known)

    assert known() == ["a refresh was recorded at 2026-01-06 20:48:10, so the database answered"]
    spoilt.execute("UPDATE wallet_universe_runs SET as_of_ts = as_of_ts - interval '1 day'")
    assert known() == []
    after = "UPDATE ingest_runs SET {} WHERE snapshot_ts = %s"
    spoilt.execute(after.format("host = 'there', version = '2', error = 'x'").encode(), [four + timedelta(minutes=1)])
    assert known() == ["recorded by here before and by there after", "hlctl 0 before and 2 after", "the next run: x"]
    spoilt.execute("UPDATE ingest_runs SET snapshot_ts = snapshot_ts + interval '1 day' WHERE snapshot_ts > %s", [four])
    assert known() == ["no run was recorded after it"], "a clock that was set back left some that have not begun"
    (started,) = spoilt.execute("SELECT date_bin('1 min', pg_postmaster_start_time(), 'epoch')").fetchone() or (None,)
    spoilt.execute(
        "UPDATE ingest_runs SET snapshot_ts = %s WHERE snapshot_ts = %s", [started + timedelta(minutes=1), M]
    )
    _, _, listed = audit.list_gaps(spoilt, started, started + timedelta(minutes=2))
    assert [word for word in listed[0].known if "the database server was started at " in word]


# ---- a record that hlctl did not write


@pytest.fixture(scope="module")
def generated(
    server: str, template: str, create_database: Callable[..., str], set_clock_of: Callable[..., None]
) -> str:
    """Return a database with two hours around midnight, 200 wallets, made by SQL alone."""
    url = make_conninfo(server, dbname=create_database(template))
    first = datetime(2026, 1, 6, 23, tzinfo=UTC)
    set_clock_of(url, first, running=False)
    with db.connect(url) as conn:
        with db.transaction(conn):
            store.ensure_partitions(conn, days=3)
        conn.execute(GENERATED.read_bytes(), {"first": first, "minutes": 120, "wallets": 200})
    return url


def test_a_generated_record_holds_every_invariant(generated: str) -> None:
    """Checks and recorder could share a mistake; this was written by neither."""
    with db.connect(generated) as conn, conn.transaction():
        assert conn.execute("SELECT count(*) FROM wallet_snapshots").fetchone() == (72_000,)
        assert found(conn, datetime(2026, 1, 6, 23, tzinfo=UTC), datetime(2026, 1, 7, 1, tzinfo=UTC)) == {}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_a_minute_is_asked_of_its_days_partition_alone(generated: str, check: audit.Check) -> None:
    """Somebody who verifies every hour reads no other day, and no day as a whole."""
    minute = datetime(2026, 1, 7, 1, 30, tzinfo=UTC)  # `suspect` looks back an hour
    with db.connect(generated) as conn, conn.transaction():
        conn.execute("ANALYZE")
        audit.distrust_constraints(conn)
        rows = conn.execute(
            b"EXPLAIN " + db.query(f"check_{check.id}"), {"since": minute, "until": minute + timedelta(minutes=1)}
        ).fetchall()
    plan = "\n".join(line for (line,) in rows)
    assert set(re.findall(r"wallet_snapshots_(\d{8}|default)\b", plan)) <= {"20260107"}
    assert "Seq Scan on wallet_snapshots" not in plan


# ---- a universe that is not small


def test_a_large_universe_is_asked_in_small_pieces(generated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of 10,000 wallets in one statement took 47 s, and no statement may take more than 10."""
    asked: set[timedelta] = set()

    def violations(_conn: db.Connection, check: audit.Check, since: datetime, until: datetime) -> list[Violation]:
        if check.is_of_minutes:
            asked.add(until - since)
        return []

    monkeypatch.setattr(audit, "violations", violations)
    since = datetime(2026, 1, 6, 23, tzinfo=UTC)
    span = Range(since=since, until=since + timedelta(hours=2), is_minute=False)
    for cells, minutes in ((100_000, 60), (1_200, 2), (599, 1)):
        monkeypatch.setattr(verify, "_PIECE_CELLS", cells)
        with db.connect(generated) as conn, conn.transaction():
            verify._ask(conn, span, lambda _answered, _questions: None)
        assert asked == {timedelta(minutes=minutes)}
        asked.clear()


@pytest.fixture(scope="module")
def grown(server: str, template: str, create_database: Callable[..., str], set_clock_of: Callable[..., None]) -> str:
    """Return a database with an hour that the planner knows, and two minutes of 1,000 wallets that are newer."""
    url = make_conninfo(server, dbname=create_database(template))
    with db.connect(url) as conn:
        set_clock_of(url, M - timedelta(hours=1), running=False)
        with db.transaction(conn):
            store.ensure_partitions(conn, days=1)
        conn.execute(GENERATED.read_bytes(), {"first": M - timedelta(hours=1), "minutes": 60, "wallets": 100})
        conn.execute("ANALYZE")
        set_clock_of(url, M, running=False)
        refresh(conn, range(1, 1_001))
        for minutes in range(2):
            set_clock_of(url, M + timedelta(minutes=minutes, seconds=3), running=False)
            publish(conn, M + timedelta(minutes=minutes))
    return url


_OF_A_MINUTE = (*(f"check_{check.id}" for check in CHECKS), "find_suspect_cells", "find_odd_cells", "count_minute")


@pytest.mark.parametrize("query", _OF_A_MINUTE)
def test_no_cell_is_compared_with_every_other(grown: str, query: str) -> None:
    """The planner knows nothing of the newest minute: it must not be able to choose what is quadratic in its size."""
    minute = M + timedelta(minutes=1)
    with db.connect(grown) as conn, conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL timezone = 'UTC'")
        audit.distrust_constraints(conn)
        ((explained,),) = conn.execute(
            b"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + db.query(query),
            {"minute": minute, "since": minute, "until": minute + timedelta(minutes=1)},
        ).fetchall()

    def rows(node: dict[str, Any]) -> Iterator[float]:
        """Give how many rows each node handled."""
        yield node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Join Filter", 0))
        for inner in node.get("Plans", []):
            yield from rows(inner)

    assert max(rows(explained[0]["Plan"])) <= 10 * 3_000, "3,000 cells"
