"""Whole days: dropping one is everything or nothing, bounded, and short for whoever else wants the cells."""

import errno
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from hlctl import cellfile, days, db, store
from hlctl.answers import ExportResult, PruneResult
from hlctl.errors import ArchiveError, ExitCode
from hlctl.facts import StoredDay
from hlctl.jobs import export as exporting
from hlctl.jobs import prune as pruning
from hlctl.jobs import snapshot
from hlctl.settings import Settings

NOW = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
TODAY = NOW.date()


@pytest.fixture
def filled(conn: db.Connection, set_clock: Callable[..., None]) -> db.Connection:
    """Return a connection to a database with a cell and an anomaly on each of three days; today is NOW's day."""
    set_clock(NOW, running=False)
    for ago in (9, 8, 0):
        add(conn, TODAY - timedelta(days=ago))
    conn.execute("SELECT ensure_partitions(0)")
    return conn


def add(conn: db.Connection, day: date) -> None:
    minute = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    conn.execute(
        "INSERT INTO wallet_snapshots (snapshot_ts, wallet_id, asset, ingest_run_id, missing_reason, attempt)"
        " VALUES (%s, 1, 'BTC', %s, 'late', 1)",
        [minute, int(minute.timestamp()) // 60],
    )
    conn.execute("INSERT INTO snapshot_anomalies VALUES (%s, 1, 'BTC', 'other')", [minute])


def stored(conn: db.Connection) -> list[date]:
    """Return the days that have cells, which are those that have anomalies."""
    (cells, anomalies) = (
        [day for (day,) in conn.execute(f"SELECT (snapshot_ts AT TIME ZONE 'UTC')::date FROM {table} ORDER BY 1")]  # noqa: S608
        for table in ("wallet_snapshots", "snapshot_anomalies")
    )
    assert cells == anomalies
    return cells


def prune_all(database: str) -> PruneResult:
    """Prune what is older than three days."""
    settings = Settings(database_url=SecretStr(database))
    return pruning.prune(settings, keep="3d", dry_run=False, progress=lambda _done, _all: None)


def test_years_of_days_may_take_as_long_to_count_as_they_take(
    database: str, filled: db.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each statement has its bound; one on all of them would end the first prune of an old record every night anew."""
    if filled.info.server_version < 170_000:
        pytest.skip("transaction_timeout exists from PostgreSQL 17 on")
    seen: list[tuple[str, ...] | None] = []
    listed = days.list_prunable

    def look(conn: db.Connection, *, keep: int) -> list[StoredDay]:
        seen.extend(conn.execute(f"SHOW {name}_timeout".encode()).fetchone() for name in ("transaction", "statement"))
        return listed(conn, keep=keep)

    monkeypatch.setattr(days, "list_prunable", look)
    assert len(prune_all(database).days) == 2
    assert seen == [("1h",), ("2min",)]


def test_a_day_that_has_to_be_moved_may_take_longer_than_other_statements(
    conn: db.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restored day of 200 wallets took 9 s on a busy machine; the preparation of a minute has 45."""
    seen = []
    monkeypatch.setattr(
        store, "ensure_partitions", lambda conn, **_: seen.append(conn.execute("SHOW statement_timeout").fetchone())
    )
    assert snapshot._make_days(conn) == ""
    assert seen == [("25s",)]


@pytest.mark.parametrize("part", ["copy_cells", "fingerprint_cells"])
def test_a_day_of_many_wallets_may_take_hours_to_read_but_no_server_is_silent_for_long(
    database: str, filled: db.Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str
) -> None:
    """While it is read, a file is written: 43 million cells take longer than any one statement may otherwise."""
    filled.execute("INSERT INTO wallets (address) VALUES (%s)", [f"0x{1:040x}"])
    past = [day for day in stored(filled) if day < TODAY]
    recorded = [days.RecordedDay(day=day, cells=1, is_pruned=False, is_final=True) for day in past]
    monkeypatch.setattr(days, "list_recorded", lambda _conn: recorded)
    seen = []
    read = getattr(days, part)

    def look(conn: db.Connection, day: date) -> object:
        seen.append((conn.execute("SHOW statement_timeout").fetchone(), conn.patience))
        if conn.info.server_version >= 170_000:
            assert conn.execute("SHOW transaction_timeout").fetchone() == ("6h",)
        return read(conn, day)

    monkeypatch.setattr(days, part, look)
    settings = Settings(database_url=SecretStr(database))
    whole: dict[str, Any] = {"wanted": (None, None), "directory": tmp_path, "progress": lambda _done, _all: None}
    exporting.export(settings, kind="csv", force=False, **whole)
    exporting.verify(settings, **whole)
    assert seen == [(("6h",), 600)] * 2


def export_in_pieces(database: str, monkeypatch: pytest.MonkeyPatch, *args: Any, **kwargs: Any) -> list[Any]:
    """Export days that are read in many pieces, and return what came of it; who hangs has not ended within 20 s."""
    monkeypatch.setattr(cellfile, "_LINES", 10)
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(exporting.export(Settings(database_url=SecretStr(database)), *args, **kwargs))
        except BaseException as exc:  # noqa: BLE001 - a signal is none of Exception
            ended.append(exc)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert ended, "it waits for a lock that it holds"
    return ended


def fill_days(conn: db.Connection, monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """Give the two past days a cell a minute, the older one a number that is too precise at its start."""
    conn.execute("INSERT INTO wallets (address) VALUES (%s)", [f"0x{1:040x}"])
    past = [day for day in stored(conn) if day < TODAY]
    for day in past:
        conn.execute(
            "INSERT INTO wallet_snapshots (snapshot_ts, observed_at, wallet_id, asset, ingest_run_id, leverage_type,"
            "                              leverage, margin_used, entry_px, position_szi, attempt)"
            " SELECT m, m, 1, 'ETH', extract(epoch FROM m) / 60, 'cross', 5, 1, 2,"
            "        CASE WHEN m = %(first)s THEN %(size)s::numeric ELSE 1.5 END, 1"
            "   FROM generate_series(%(first)s, %(first)s + interval '1439 min', '1 min') AS m",
            {
                "first": datetime(day.year, day.month, day.day, tzinfo=UTC),
                "size": "0.123456789012" if day == past[0] else "1.5",
            },
        )
    recorded = [days.RecordedDay(day=day, cells=1441, is_pruned=False, is_final=True) for day in past]
    monkeypatch.setattr(days, "list_recorded", lambda _conn: recorded)
    return past


@pytest.mark.parametrize(
    "ends", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["full disk", "signal"]
)
def test_an_export_that_ends_in_the_middle_of_a_day_does_end(
    database: str, filled: db.Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ends: BaseException
) -> None:
    """A COPY that is left open holds the connection, and who rolls back waits for it for ever."""
    fill_days(filled, monkeypatch)

    def stop(_done: int, _all: int) -> None:
        raise ends

    whole: dict[str, Any] = {"wanted": (None, None), "directory": tmp_path, "progress": stop}
    (ended,) = export_in_pieces(database, monkeypatch, kind="csv", force=False, **whole)
    assert isinstance(ended, KeyboardInterrupt if isinstance(ends, KeyboardInterrupt) else ArchiveError)
    assert list(tmp_path.iterdir()) == []


def test_a_day_that_is_refused_in_its_middle_does_not_keep_the_next_one_waiting(
    database: str, filled: db.Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A day of 200 wallets comes in 14 pieces: the rest of it is not read when a number is too precise."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    fill_days(filled, monkeypatch)
    whole: dict[str, Any] = {"wanted": (None, None), "directory": tmp_path, "progress": lambda _done, _all: None}
    (ended,) = export_in_pieces(database, monkeypatch, kind="parquet", force=False, **whole)
    assert isinstance(ended, ExportResult), ended
    assert [(day.did, day.rows) for day in ended.days] == [("too_precise", 0), ("exported", 1441)]


def drop(conn: db.Connection, day: date | None) -> None:
    with db.transaction(conn):
        conn.execute(db.query("drop_day"), {"day": day})


@pytest.mark.parametrize("ago", [-1, 0, 1])
def test_a_day_goes_only_when_it_has_been_over_for_a_whole_day(filled: db.Connection, ago: int) -> None:
    """The function judges by itself: a writer may call it with any day."""
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="over for a whole day"):
        drop(filled, TODAY - timedelta(days=ago))
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="over for a whole day"):
        drop(filled, None)
    drop(filled, TODAY - timedelta(days=9))
    assert stored(filled) == [TODAY - timedelta(days=8), TODAY]


def test_the_newest_day_is_refused_by_the_database_too(filled: db.Connection) -> None:
    """Not only by the list that prune goes by."""
    filled.execute("DELETE FROM wallet_snapshots WHERE snapshot_ts > '2026-01-01'")
    filled.execute("DELETE FROM snapshot_anomalies WHERE snapshot_ts > '2026-01-01'")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="newest day"):
        drop(filled, TODAY - timedelta(days=8))
    drop(filled, TODAY - timedelta(days=9))
    assert stored(filled) == [TODAY - timedelta(days=8)]


def test_a_day_that_is_dropped_already_or_never_was_is_no_error(filled: db.Connection) -> None:
    """Two prunes at once: the second finds the work done."""
    for _ in range(2):
        drop(filled, TODAY - timedelta(days=9))
    drop(filled, TODAY - timedelta(days=900))
    assert stored(filled) == [TODAY - timedelta(days=8), TODAY]


def test_a_table_that_somebody_detached_to_keep_it_is_left_alone(filled: db.Connection) -> None:
    """It has the name of a day and is nobody's partition any more."""
    filled.execute("ALTER TABLE wallet_snapshots DETACH PARTITION wallet_snapshots_20251228")
    drop(filled, date(2025, 12, 28))
    assert filled.execute("SELECT count(*) FROM wallet_snapshots_20251228").fetchone() == (1,)


def test_what_is_held_all_the_time_is_given_up_within_minutes_and_nothing_is_half_done(
    filled: db.Connection, database: str, set_clock: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 75, as for every other lock; days before it are gone, it and those after it are whole."""
    naps: list[float] = []
    begin = NOW + timedelta(seconds=20)

    def nap(seconds: float) -> None:
        naps.append(seconds)
        set_clock(begin + timedelta(seconds=sum(naps)), running=False)

    set_clock(begin, running=False)
    monkeypatch.setattr(pruning, "time", SimpleNamespace(sleep=nap))  # a watchdog may be sleeping too
    with closing(psycopg.connect(database)) as reader:
        reader.execute("SELECT count(*) FROM wallet_snapshots")
        began = time.monotonic()
        result = prune_all(database)
        assert time.monotonic() - began < 10
    assert [round(seconds) for seconds in naps] == [37, 1, 1, 58, 1, 1, 58]
    assert (result.exit_code, result.days, result.bytes) == (ExitCode.BUSY, [], 0)
    assert [day.day for day in result.held] == [TODAY - timedelta(days=9), TODAY - timedelta(days=8)]
    assert "2025-12-28 could not be dropped" in str(result.failure)
    assert stored(filled) == [TODAY - timedelta(days=9), TODAY - timedelta(days=8), TODAY]
    assert prune_all(database).exit_code is ExitCode.OK
    assert stored(filled) == [TODAY]


def test_who_comes_while_a_prune_waits_is_let_through_within_a_moment(filled: db.Connection, database: str) -> None:
    """A waiting prune keeps everyone after it waiting, so it does not wait long."""
    with closing(psycopg.connect(database)) as reader, db.connect(database) as other:
        reader.execute("SELECT count(*) FROM wallet_snapshots")
        began = time.monotonic()
        with pytest.raises(psycopg.errors.LockNotAvailable), db.transaction(other):
            days.drop_day(other, TODAY - timedelta(days=9))
        assert 0.15 < time.monotonic() - began < 1.5
    assert len(stored(filled)) == 3


def test_a_table_of_the_callers_own_misleads_no_function(filled: db.Connection) -> None:
    """Both run with the owner's rights, and look names up where only the owner makes any."""
    with filled.transaction(force_rollback=True):
        filled.execute("CREATE TEMP TABLE wallet_snapshots_20251228 (x int)")
        filled.execute("CREATE TEMP TABLE wallet_snapshots (snapshot_ts timestamptz)")
        filled.execute("SET LOCAL search_path = pg_temp, public")
        filled.execute("SELECT public.drop_day('2025-12-28')")
        assert filled.execute("SELECT to_regclass('public.wallet_snapshots_20251228')").fetchone() == (None,)
        assert filled.execute("SELECT day FROM public.stored_days('2026-01-01')").fetchall() == [(date(2025, 12, 29),)]
