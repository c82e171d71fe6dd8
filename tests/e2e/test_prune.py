"""`prune`: whole days of cells go on purpose, and nothing else does."""

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from typing import Any

import psycopg

from hlctl import sim
from tests.e2e.conftest import Hlctl, M, Ran, on_a_terminal, start_slowly
from tests.e2e.oracle import Rows, assert_whole
from tests.e2e.record import fill

TODAY = M.date()
KEPT_FOR_EVER = ("ingest_runs", "ingest_health", "wallets", "wallet_universe_runs", "wallet_universe_members")


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def cells(rows: Rows) -> dict[date, int]:
    """Return how many cells each day has."""
    return dict(rows("SELECT snapshot_ts::date, count(*)::int FROM wallet_snapshots GROUP BY 1 ORDER BY 1"))


def assert_whole_days_only(rows: Rows) -> None:
    """Check that each day is there with everything, or gone with everything and its minutes say so."""
    torn = rows("""
        SELECT r.snapshot_ts, r.pruned_at, c.n, a.n
          FROM ingest_runs r
         CROSS JOIN LATERAL (SELECT count(*) AS n FROM wallet_snapshots c WHERE c.snapshot_ts = r.snapshot_ts) AS c
         CROSS JOIN LATERAL (SELECT count(*) AS n FROM snapshot_anomalies a WHERE a.snapshot_ts = r.snapshot_ts) AS a
         WHERE (r.pruned_at IS NULL, c.n, a.n) NOT IN ((true, 30, 3), (false, 0, 0))
    """)
    assert torn == []


def everything(rows: Rows) -> list[Any]:
    """Return every row, and every table with its size."""
    tables = (*KEPT_FOR_EVER, "wallet_snapshots", "snapshot_anomalies")
    return [
        *(rows(f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables),  # noqa: S608 - names from above
        rows("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"),
    ]


def test_days_older_than_the_retention_go_with_their_anomalies_and_nothing_else_does(
    with_universe: Hlctl, database: str, rows: Rows
) -> None:
    """The day that is just old enough stays, and of the others the minutes are still told."""
    fill(database, ago(9), ago(4), ago(3), ago(1), TODAY)
    kept = [rows(f"SELECT count(*) FROM {table}") for table in KEPT_FOR_EVER]  # noqa: S608
    ran = with_universe("prune", "--keep", "3d")
    assert (ran.code, ran.err) == (0, "")
    first, *lines = ran.out.splitlines()
    assert re.fullmatch(r"dropped 2 days older than 3 days: 180 cells, \d+\.\d kB freed", first)
    assert [line.split(",")[0] for line in lines] == ["  2025-12-28  90 cells", "  2026-01-02  90 cells"]
    assert cells(rows) == {ago(3): 90, ago(1): 90, TODAY: 90}
    assert_whole_days_only(rows)
    assert rows(
        "SELECT snapshot_ts::date, count(*), min(pruned_at) = max(pruned_at) FROM ingest_runs"
        " WHERE pruned_at BETWEEN hlctl_clock() - interval '1 min' AND hlctl_clock() GROUP BY 1 ORDER BY 1"
    ) == [(ago(9), 3, True), (ago(4), 3, True)]
    assert [rows(f"SELECT count(*) FROM {table}") for table in KEPT_FOR_EVER] == kept  # noqa: S608
    assert rows("SELECT to_regclass('wallet_snapshots_20251228'), to_regclass('wallet_snapshots_20260102')") == [
        (None, None)
    ]
    again = with_universe("prune", "--keep", "3d")
    assert (again.code, again.out) == (0, "nothing to prune: no day of cells is older than 3 days\n")


def test_a_dry_run_says_the_same_and_changes_nothing(with_universe: Hlctl, database: str, rows: Rows) -> None:
    """What it names is what a run drops."""
    fill(database, ago(9), ago(8), TODAY)
    before = everything(rows)
    dry = with_universe("prune", "--keep", "3d", "--dry-run", "--json").document["result"]
    text = with_universe("--quiet", "prune", "--keep", "3d", "--dry-run").out
    assert text.startswith("would drop 2 days older than 3 days: 180 cells, ")
    assert text.splitlines()[0].endswith(" would be freed")
    assert everything(rows) == before
    done = with_universe("prune", "--keep", "3d", "--json").document["result"]
    assert done == {**dry, "dry_run": False}
    assert [(day["day"], day["cells"]) for day in done["days"]] == [("2025-12-28", 90), ("2025-12-29", 90)]
    assert done["bytes"] == sum(day["bytes"] for day in done["days"]) > 0


def test_the_newest_day_that_has_cells_is_never_dropped(with_universe: Hlctl, database: str, rows: Rows) -> None:
    """When ingestion died long ago, what it left is all there is."""
    fill(database, ago(100), ago(99))
    assert with_universe("prune", "--keep", "1d").code == 0
    assert cells(rows) == {ago(99): 90}
    assert with_universe("prune", "--keep", "1d").out.startswith("nothing to prune")
    assert cells(rows) == {ago(99): 90}


def test_a_clock_that_the_exchange_says_is_a_year_ahead_drops_nothing_that_is_to_be_kept(
    with_universe: Hlctl, exchange: sim.Exchange, database: str, rows: Rows, at: Callable[..., None]
) -> None:
    """A timer's hour comes at once when a clock jumps, and a failed minute of then is the newest that has cells."""
    fill(database, ago(4), ago(3), ago(1), TODAY)
    honest = exchange.clock
    at(minute=M + timedelta(days=365))
    exchange.clock = honest
    assert with_universe("snapshot").code == 4
    assert with_universe("prune", "--keep", "3d").out.startswith("dropped 1 day older than 3 days: 90 cells, ")
    at()
    assert list(cells(rows))[:3] == [ago(3), ago(1), TODAY]


def test_a_day_that_is_pruned_while_it_is_looked_at_is_not_said_to_have_lost_its_cells(
    with_universe: Hlctl, database: str, rows: Rows
) -> None:
    """Who looks has read the runs and waits for the cells, which are gone when it comes to them."""
    fill(database, ago(5), ago(4), ago(3), TODAY)
    assert with_universe("export", "--format", "csv").code == 0

    def while_pruned(day: date, *args: str) -> Ran:
        with closing(psycopg.connect(database)) as conn:
            conn.execute("SELECT drop_day(%s)", [day])
            process = with_universe.start(*args)
            while not rows("SELECT FROM pg_locks WHERE NOT granted AND relation = 'wallet_snapshots'::regclass"):
                time.sleep(0.05)
            conn.commit()
        out, err = process.communicate(timeout=60)
        return Ran(process.returncode, out, err, 0)

    ran = while_pruned(ago(5), "export", "--verify", "--day", str(ago(5)))
    assert (ran.code, "pruned from the database" in ran.out) == (0, True), ran.out
    span = ("--from", f"{ago(4)}T23:50Z", "--to", f"{ago(3)}T23:53Z", "--json")
    found = {check["id"]: check["violations"] for check in with_universe("verify", *span).document["result"]["checks"]}
    ran = while_pruned(ago(4), "verify", *span)
    assert {check["id"] for check in ran.document["result"]["checks"] if check["violations"]} == {
        check for check, violations in found.items() if violations
    }
    assert while_pruned(ago(3), "verify", "--minute", f"{ago(3)}T23:50Z").code == 2, "its cells were dropped on purpose"


def test_the_retention_may_be_a_setting_and_the_option_outranks_it(
    with_universe: Hlctl, database: str, rows: Rows
) -> None:
    """A timer needs no option."""
    fill(database, ago(9), ago(4), TODAY)
    assert with_universe("prune", HLCTL_RETENTION_DAYS="5").code == 0
    assert list(cells(rows)) == [ago(4), TODAY]
    assert with_universe("prune", "--keep", "2d", HLCTL_RETENTION_DAYS="5").code == 0
    assert list(cells(rows)) == [TODAY]


def test_without_a_retention_or_with_a_senseless_one_nothing_happens(
    with_universe: Hlctl, database: str, rows: Rows
) -> None:
    """One line that says what to give."""
    fill(database, ago(9), TODAY)
    before = everything(rows)
    for keep in ((), ("--keep", "0d"), ("--keep", "30"), ("--keep", "-1d"), ("--keep", "٣d"), ("--keep", "1.5d")):
        ran = with_universe("prune", *keep)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), keep
        assert "give --keep 30d" in ran.err, keep
    assert with_universe("prune", "--keep", "99999d").code == 2
    ran = with_universe("prune", HLCTL_RETENTION_DAYS="0")
    assert (ran.code, ran.err.startswith("hlctl prune: HLCTL_RETENTION_DAYS: ")) == (6, True)
    assert everything(rows) == before


def test_cells_that_strayed_into_no_days_partition_go_too(with_universe: Hlctl, database: str, rows: Rows) -> None:
    """A day that was recorded without its partition is a day."""
    fill(database, ago(9), ago(8), TODAY, strays=True)
    fill(database, ago(9), at=(M + timedelta(hours=2)).time(), strays=True)
    ran = with_universe("prune", "--keep", "3d", "--json")
    assert [day["cells"] for day in ran.document["result"]["days"]] == [180, 90]
    assert cells(rows) == {TODAY: 90}
    assert_whole_days_only(rows)


def test_days_in_which_nothing_was_recorded_leave_no_empty_partition_behind(
    with_universe: Hlctl, database: str, rows: Rows, at: Callable[..., None]
) -> None:
    """Partitions are made ahead, and then the machine may be off."""
    assert with_universe("snapshot").code == 0
    assert rows("SELECT to_regclass('wallet_snapshots_20260108')::text") == [("wallet_snapshots_20260108",)]
    later = M + timedelta(days=40)
    at(minute=later)
    fill(database, later.date())
    days = with_universe("prune", "--keep", "30d", "--json").document["result"]["days"]
    assert [(day["day"], day["cells"]) for day in days] == [
        ("2026-01-06", 600),
        ("2026-01-07", 0),
        ("2026-01-08", 0),
    ]
    assert rows("SELECT to_regclass('wallet_snapshots_20260108')") == [(None,)]


def test_a_reader_who_holds_the_cells_is_waited_for_until_between_two_minutes(
    with_universe: Hlctl, database: str, rows: Rows, at: Callable[..., None]
) -> None:
    """And whoever comes meanwhile is not kept waiting for it."""
    fill(database, ago(9), TODAY)
    at(second=53)
    with closing(psycopg.connect(database)) as reader, closing(psycopg.connect(database, autocommit=True)) as other:
        reader.execute("SELECT count(*) FROM wallet_snapshots")
        process = with_universe.start("--log-level", "info", "prune", "--keep", "3d")
        slowest, began = 0.0, time.monotonic()
        while time.monotonic() - began < 3:
            asked = time.monotonic()
            other.execute("SELECT count(*) FROM wallet_snapshots")
            slowest = max(slowest, time.monotonic() - asked)
        assert process.poll() is None
        assert cells(rows) == {ago(9): 90, TODAY: 90}
        assert_whole_days_only(rows)
        reader.rollback()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out.startswith("dropped 1 day older than 3 days: 90 cells, ")) == (0, True)
    assert "2025-12-28 is tried again between two minutes" in err
    assert cells(rows) == {TODAY: 90}
    assert slowest < 1.0, "the lock is waited for 0.2 s"


def test_a_day_on_which_something_depends_is_named_and_the_later_ones_go(
    with_universe: Hlctl, database: str, rows: Rows
) -> None:
    """Somebody made a view of one day's partition: that is no bug, and the disk must not fill for it."""
    fill(database, ago(9), ago(8), ago(7), TODAY)
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        conn.execute("CREATE MATERIALIZED VIEW my_view AS SELECT * FROM wallet_snapshots_20251228")
        ran = with_universe("prune", "--keep", "3d")
        assert (ran.code, ran.out) == (6, "")
        assert ran.err == (
            "hlctl prune: 2025-12-28 could not be dropped: materialized view public.my_view depends on table"
            " public.wallet_snapshots_20251228; 2 days were; drop that, or make it of wallet_snapshots instead,"
            " and prune again\n"
        )
        assert cells(rows) == {ago(9): 90, TODAY: 90}
        assert_whole_days_only(rows)
        conn.execute("DROP MATERIALIZED VIEW my_view")
    assert with_universe("prune", "--keep", "3d").code == 0
    assert cells(rows) == {TODAY: 90}
    assert_whole_days_only(rows)


def test_a_prune_killed_at_any_moment_leaves_whole_days(with_universe: Hlctl, database: str, rows: Rows) -> None:
    """A day is one transaction. The next prune drops what is left."""
    fill(database, *(ago(days) for days in range(40, 3, -1)), TODAY)
    usual = with_universe("prune", "--keep", "99d").seconds  # nothing to drop, so nobody's lock to wait for
    left = []
    for step in range(8):
        process = with_universe.start("prune", "--keep", str(36 - 4 * step) + "d")
        time.sleep(usual * (0.7 + 0.08 * step))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert_whole_days_only(rows)
        left.append(len(cells(rows)))
    assert with_universe("prune", "--keep", "3d").code == 0
    assert list(cells(rows)) == [TODAY]
    assert_whole_days_only(rows)


def test_a_prune_killed_while_it_waits_for_a_row_has_done_nothing(
    with_universe: Hlctl, database: str, rows: Rows
) -> None:
    """In the very middle: the anomalies are deleted, and not committed."""
    fill(database, ago(9), TODAY)
    with closing(psycopg.connect(database)) as holder:
        holder.execute("SELECT FROM ingest_runs WHERE snapshot_ts::date = %s FOR UPDATE", [ago(9)])
        process = with_universe.start("prune", "--keep", "3d")
        while not rows("SELECT FROM pg_locks WHERE NOT granted"):
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
    assert cells(rows) == {ago(9): 90, TODAY: 90}
    assert_whole_days_only(rows)


def test_a_snapshot_and_a_prune_do_not_disturb_each_other(
    with_universe: Hlctl, exchange: sim.Exchange, database: str, rows: Rows
) -> None:
    """A run that is fetching holds no cells, so the prune need not wait for it."""
    fill(database, ago(9), ago(8))
    end = start_slowly(with_universe, exchange, 20)
    exchange.misbehave(None, sim.Fault(delay=0.4))
    ran = with_universe("prune", "--keep", "3d")
    assert (ran.code, ran.err) == (0, "")
    assert list(cells(rows)) == [ago(8)], "it was the newest: this minute is not committed"
    exchange.behave()
    ran = end()
    gap = "12774 minutes not recorded well since 2025-12-28 23:50, 12768 of them without a row"
    assert (ran.code, ran.err) == (0, f"hlctl snapshot: good again: 2026-01-06 20:44 UTC, after {gap}\n")
    assert_whole(rows, exchange, M)
    assert with_universe("prune", "--keep", "3d").code == 0
    assert list(cells(rows)) == [TODAY]


def test_a_terminal_is_told_which_days_went(with_universe: Hlctl, database: str) -> None:
    """Ten of them by name."""
    fill(database, *(ago(days) for days in range(20, 3, -1)), TODAY)
    ran: Ran = on_a_terminal(with_universe, "prune", "--keep", "5d")
    assert ran.code == 0
    assert "dropped 15 days older than 5 days: 1,350 cells" in ran.out
    assert "  and 5 more days, up to 2025-12-31" in ran.out.replace("5 days more", "5 more days")
