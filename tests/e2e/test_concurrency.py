"""Who meets a run: one that was frozen, a reader, another application, another version of hlctl."""

import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg

from hlctl import sim
from tests.e2e.conftest import ROOT, Hlctl, M, start_slowly
from tests.e2e.oracle import Rows, after, assert_whole, known, universe
from tests.e2e.servers import until
from tests.e2e.test_process import about_to_publish, meddled

At = Callable[..., None]
NextMinute = Callable[..., None]

LATE = "the minute was over before it could be recorded"


# ---- frozen runs


def test_a_run_frozen_while_asking_holds_up_nobody_and_writes_nothing_ten_minutes_later(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """It wakes with a lock, half of the answers and a clock of its own that stood still; the database's did not."""
    exchange.misbehave(None, sim.Fault(delay=0.2))
    frozen = with_universe.start("snapshot")
    until(lambda: exchange.requests > 50)
    frozen.send_signal(signal.SIGSTOP)
    assert with_universe("snapshot").code == 75, "its own minute is taken"
    next_minute_is_good()
    at(minute=M + timedelta(minutes=10))
    frozen.send_signal(signal.SIGCONT)
    out, err = frozen.communicate(timeout=60)
    assert (frozen.returncode, out, err.count("\n")) == (4, "", 1)
    assert LATE in err
    assert rows("SELECT snapshot_ts FROM ingest_runs") == [(after(M),)]
    assert {row[0] for row in known(rows)} == {after(M)}
    next_minute_is_good(M + timedelta(minutes=10))


def test_a_run_that_wakes_after_its_end_leaves_at_once_and_nothing_behind(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """Frozen with its last word to the database said, which would still take its COMMIT."""
    at(42.0)
    with about_to_publish(with_universe, rows, "ingest_health") as frozen:
        frozen.send_signal(signal.SIGSTOP)
    time.sleep(57.5 - exchange.clock() % 60)
    frozen.send_signal(signal.SIGCONT)
    began = time.monotonic()
    _, err = frozen.communicate(timeout=60)
    assert (frozen.returncode, err.count("\n")) == (4, 1)
    assert LATE in err
    assert time.monotonic() - began < 5
    assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]
    next_minute_is_good()


def test_a_run_on_a_machine_that_slept_for_ten_minutes_records_nothing(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, next_minute_is_good: NextMinute, tmp_path: Path
) -> None:
    """A laptop's lid: the clock that the watchdog counts by stood still, the one that answers are dated by did not."""
    lid = tmp_path / "lid"
    laptop = meddled(
        with_universe,
        "import os, time; count = time.clock_gettime;"
        f"time.clock_gettime = lambda clock: count(clock) + 600 * os.path.exists({str(lid)!r})",
    )
    exchange.misbehave(None, sim.Fault(delay=0.2))
    process = laptop.start("snapshot")
    until(lambda: exchange.requests > 50)
    lid.touch()
    at(minute=M + timedelta(minutes=10))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (4, "", 1)
    assert LATE in err
    assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]
    next_minute_is_good(M + timedelta(minutes=10))


# ---- readers and strangers


def test_who_reads_while_a_minute_is_published_finds_the_one_before(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows
) -> None:
    """Half a minute is never seen, neither as a partial one nor as a violation."""
    assert with_universe("snapshot").code == 0
    at(minute=M + timedelta(minutes=2))
    with about_to_publish(with_universe, rows, "ingest_health") as process:  # its run and its cells are written
        found = with_universe("status", "--json").document["result"]
        assert (found["health"]["reasons"], found["run"]["snapshot_ts"]) == (
            ["last_minute_old"],
            "2026-01-06T20:44:00Z",
        )
        ran = with_universe("verify", "--since", "1d")
        assert (ran.code, ran.err) == (0, "")
        assert len(known(rows)) == 600
    assert process.wait(timeout=60) == 0
    assert_whole(rows, exchange, M + timedelta(minutes=2))


def test_a_reader_who_never_ends_his_transaction_costs_no_minute(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, next_minute_is_good: NextMinute, tmp_path: Path
) -> None:
    """An open psql that has looked at every table: only a new day's partition must wait until it is closed."""
    strays = "SELECT count(*) FROM wallet_snapshots_default"
    assert with_universe("snapshot").code == 0
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"])) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        everything = (
            "SELECT count(*) FROM v_positions LEFT JOIN v_universe USING (address) LEFT JOIN v_latest_health ON true"
        )
        assert reader.execute(everything).fetchone() == (600,)
        at(minute=after(M))
        ran = with_universe("snapshot")
        assert (ran.code, ran.err) == (0, "")
        assert_whole(rows, exchange, after(M))
        later = M + timedelta(days=30)
        at(minute=later)
        ran = with_universe("snapshot", HLCTL_DATA_DIR=str(tmp_path / "memory"))
        assert ran.code == 0
        assert ran.err.startswith("hlctl: WARNING: the next days' partitions could not be made: ")
        assert_whole(rows, exchange, later)
        later = after(later)
        at(minute=later)
        ran = with_universe("snapshot", HLCTL_DATA_DIR=str(tmp_path / "memory"))
        assert (ran.code, ran.err) == (0, ""), "it was told when it began"
        assert rows(strays) == [(1200,)]
        assert reader.execute(everything).fetchone() == (600,)
    next_minute_is_good(later)
    assert rows(strays) == [(0,)]


def test_another_application_that_holds_the_minutes_lock_costs_that_minute_and_is_named(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """Nobody waits for it; `status --verbose` says who it is."""
    database = with_universe.settings["HLCTL_DATABASE_URL"]
    with closing(psycopg.connect(database, autocommit=True, application_name="stranger")) as other:
        other.execute("SELECT pg_advisory_lock(1751908352, %s)", [int(M.timestamp()) // 60])
        ran = with_universe("snapshot", "--json")
        assert (ran.code, ran.document["error"]["message"]) == (75, "another run is recording 20:44 UTC")
        assert exchange.requests == 0
        (lock,) = with_universe("status", "--verbose", "--json").document["result"]["details"]["locks"]
        assert (lock["client"], lock["pid"]) == ("stranger", other.info.backend_pid)
        assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]
        next_minute_is_good()


# ---- two versions


def newer(hlctl: Hlctl, folder: Path, migration: str = "") -> Hlctl:
    """Return a runner of a later version of hlctl, with one more migration if it is given."""
    for name in ("hlctl", "sql"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "hlctl" / "__init__.py").write_text('__version__ = "9.0.0"\n')
    if migration:
        migrations = folder / "sql" / "migrations"
        number = len(list(migrations.iterdir())) + 1
        (migrations / f"{number:04}_later.sql").write_text(migration)
    settings = {**hlctl.settings, "PYTHONPATH": str(folder)}
    return replace(hlctl, settings=settings, command=(sys.executable, "-P", "-m", "hlctl"))


def test_two_versions_with_one_schema_complete_each_others_minutes(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, tmp_path: Path, next_minute_is_good: NextMinute
) -> None:
    """The record says which version was the last to publish a minute."""
    other = newer(with_universe, tmp_path)
    for address in universe(rows)[:20]:
        exchange.misbehave(address, sim.Fault(status=404, times=1))
    assert with_universe("snapshot").code == 3
    ((version,),) = rows("SELECT version FROM ingest_runs")
    assert other("snapshot").code == 0
    assert_whole(rows, exchange, M)
    assert rows("SELECT version, attempts FROM ingest_runs") == [("9.0.0", 2)]
    assert version != "9.0.0"
    next_minute_is_good()


def test_a_migration_that_comes_while_a_run_asks_waits_for_its_minute(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, tmp_path: Path
) -> None:
    """From the next minute on the older hlctl is refused in one line, and asks nobody; the newer one records it."""
    other = newer(with_universe, tmp_path, "ALTER TABLE ingest_runs ADD COLUMN later int;")
    end = start_slowly(with_universe, exchange, 1)
    exchange.misbehave(None, sim.Fault(delay=1.0))  # eight at a time: 25 s, were it to last
    migrating = other.start("init-db")
    until(lambda: rows("SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"))
    exchange.behave()
    ran = end()
    assert (ran.code, ran.err) == (0, "")
    assert_whole(rows, exchange, M)
    assert migrating.wait(timeout=60) == 0
    exchange.forget()
    at(minute=after(M))
    ran = with_universe("snapshot")
    assert (ran.code, ran.out, ran.err.count("\n")) == (6, "", 1)
    assert "upgrade hlctl" in ran.err
    assert exchange.requests == 0
    assert other("snapshot").code == 0
    assert_whole(rows, exchange, after(M))
