"""HLCTL_METRICS_FILE: what Prometheus is told after each scheduled command, compared with the tables."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hlctl import sim
from hlctl.model import MissingReason
from tests.e2e.conftest import Hlctl, M, on_a_terminal
from tests.e2e.oracle import Rows, universe
from tests.e2e.proxy import proxied
from tests.e2e.servers import disk, fill, root_only

At = Callable[..., None]
SNAPSHOT, REFRESH, VERIFY, PRUNE = (
    f'{{command="{name}"}}' for name in ("snapshot", "refresh-universe", "verify", "prune")
)
AUDIT = ("verify", "--since", "1h")
"""What the timer runs."""
TIMES = {
    "hlctl_last_good_minute_timestamp_seconds",
    "hlctl_newest_minute_timestamp_seconds",
    "hlctl_universe_refreshed_timestamp_seconds",
}
"""What stays true of a record while its database is silent."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty directory for node_exporter."""
    made = tmp_path / "textfiles"
    made.mkdir()
    return made


@pytest.fixture
def told(with_universe: Hlctl, folder: Path) -> Hlctl:
    """Return a runner on a database with a universe that writes `folder`/hlctl.prom."""
    with_universe.settings["HLCTL_METRICS_FILE"] = str(folder / "hlctl.prom")
    return with_universe


def read(folder: Path) -> dict[str, float]:
    """Return the figure behind each name and its labels, of the one file there is."""
    (file,) = folder.iterdir()
    assert (file.name, oct(file.stat().st_mode & 0o777)) == ("hlctl.prom", "0o644")
    found: dict[str, float] = {}
    for line in file.read_text().splitlines():
        if not line.startswith("# "):
            name, _, figure = line.rpartition(" ")
            assert name not in found, "a sample stands there twice"
            found[name] = float(figure)
    return found


def of_the_tables(rows: Rows) -> dict[str, Any]:
    """Return what the file must say of the record, by queries of its own."""
    ((state, good, newest, status, coverage),) = rows(
        "SELECT health_state, extract(epoch FROM last_good_snapshot_ts), extract(epoch FROM last_snapshot_ts),"
        " last_status, coverage_pct FROM v_latest_health"
    )
    ((expected, succeeded, missing, duration, sent, retries, limited, limit, skew, offset, suspect, written),) = rows(
        "SELECT wallets_expected, wallets_succeeded, missing, duration_ms, requests_sent, retries, rate_limited,"
        " rate_limit, skew_ms, clock_offset_ms, suspect, rows_written"
        " FROM ingest_runs ORDER BY snapshot_ts DESC LIMIT 1"
    )
    ((as_of, entered, exited, wallets),) = rows(
        "SELECT extract(epoch FROM as_of_ts), entered_count, exited_count,"
        " (SELECT count(*) FROM wallet_universe_current)"
        " FROM wallet_universe_runs WHERE status = 'success' ORDER BY run_id DESC LIMIT 1"
    )
    ((failed, churn),) = rows(
        "SELECT status = 'failed', churn_warning_count FROM wallet_universe_runs ORDER BY run_id DESC LIMIT 1"
    )
    statuses: dict[str, int] = dict(rows("SELECT status, count(*) FROM ingest_runs GROUP BY 1"))
    ((gaps,),) = rows(
        "SELECT count(*) FROM generate_series((SELECT min(snapshot_ts) FROM ingest_runs),"
        " date_trunc('minute', hlctl_clock()) - interval '1 min', '1 min') AS minute"
        " WHERE minute NOT IN (SELECT snapshot_ts FROM ingest_runs)"
    )
    anomalies: dict[str, int] = dict(rows("SELECT anomaly_type, count(*) FROM snapshot_anomalies GROUP BY 1"))
    figures = {
        "last_good_minute_timestamp_seconds": good,
        "newest_minute_timestamp_seconds": newest,
        "coverage_ratio": coverage / 100,
        "wallets_expected": expected,
        "wallets_succeeded": succeeded,
        "minute_duration_seconds": duration / 1000,
        "requests_sent": sent,
        "requests_retried": retries,
        "requests_rate_limited": limited,
        "requests_weight": 2 * sent,
        "requests_weight_limit": limit,
        "answer_skew_seconds": None if skew is None else skew / 1000,
        "clock_offset_seconds": None if offset is None else offset / 1000,
        "suspect_kinds": len(suspect),
        "rows_written": written,
        "universe_wallets": wallets,
        "universe_refreshed_timestamp_seconds": as_of,
        "universe_entered": entered,
        "universe_exited": exited,
        "universe_churn_warnings": churn,
        "universe_refresh_failed": failed,
        "database_up": 1,
        **{f'health{{state="{word}"}}': word == state for word in ("healthy", "degraded", "stale")},
        **{f'newest_minute_status{{status="{word}"}}': word == status for word in ("success", "partial", "failed")},
        **{f'wallets_missing{{reason="{reason.value}"}}': missing.get(reason.value, 0) for reason in MissingReason},
        **{f'last_hour_minutes{{status="{s}"}}': statuses.get(s, 0) for s in ("success", "partial", "failed")},
        'last_hour_minutes{status="gap"}': gaps,
        **{
            f'anomalies_last_hour{{type="{kind}"}}': anomalies.get(kind, 0)
            for kind in ("transient_collapse", "szi_jump", "null_szi", "other")
        },
    }
    return {f"hlctl_{name}": float(figure) for name, figure in figures.items() if figure is not None}


def assert_told(found: dict[str, float], rows: Rows) -> None:
    """Hold everything the file says of the record to the tables, in both directions."""
    of_runs = ("build_info", "last_attempt", "last_exit", "last_success", "last_duration", "phase_duration", "verify")
    sizes = {"hlctl_snapshots_bytes", "hlctl_database_bytes"}
    said = {
        name: figure
        for name, figure in found.items()
        if not name.removeprefix("hlctl_").startswith(of_runs) and name not in sizes
    }
    expected = of_the_tables(rows)
    assert said.keys() == expected.keys()
    assert said == pytest.approx(expected, abs=1e-6)
    ((cells, database),) = rows("SELECT (cell_storage()).total_bytes, pg_database_size(current_database())")
    assert found["hlctl_snapshots_bytes"] == pytest.approx(float(cells), rel=0.2)
    assert found["hlctl_database_bytes"] == pytest.approx(float(database), rel=0.2)


def test_a_good_minute_is_told_in_full(told: Hlctl, folder: Path, rows: Rows) -> None:
    """Every figure is that of the tables; the run's own are those of this machine."""
    before = time.time()
    ran = told("snapshot")
    assert (ran.code, ran.err) == (0, "")
    found = read(folder)
    assert_told(found, rows)
    assert found['hlctl_health{state="healthy"}'] == 1
    assert found[f"hlctl_last_exit_code{SNAPSHOT}"] == 0
    assert before <= found[f"hlctl_last_attempt_timestamp_seconds{SNAPSHOT}"] <= time.time()
    assert (
        found[f"hlctl_last_success_timestamp_seconds{SNAPSHOT}"]
        == (found[f"hlctl_last_attempt_timestamp_seconds{SNAPSHOT}"])
    )
    took = found[f"hlctl_last_duration_seconds{SNAPSHOT}"]
    phases = {name: found[f'hlctl_phase_duration_seconds{{phase="{name}"}}'] for name in (
        "prepare", "wait", "fetch", "publish"
    )}  # fmt: skip
    assert phases["fetch"] > 0
    assert sum(phases.values()) <= took + 0.01 <= ran.seconds + 0.01
    ((version,),) = rows("SELECT version FROM ingest_runs")
    assert found[f'hlctl_build_info{{version="{version}",python="{sys.version.split()[0]}"}}'] == 1


def test_a_partial_and_a_failed_minute_and_a_gap_are_told_as_what_they_are(
    told: Hlctl, exchange: sim.Exchange, folder: Path, rows: Rows, at: At
) -> None:
    """Exit 3 is a success of the command, 4 is none; the gap between them is counted."""
    for address in universe(rows)[:30]:
        exchange.misbehave(address, sim.Fault(status=500))
    assert told("snapshot").code == 3
    found = read(folder)
    assert_told(found, rows)
    assert found['hlctl_wallets_missing{reason="http_5xx"}'] == 30
    assert found["hlctl_requests_retried"] > 0
    success = found[f"hlctl_last_success_timestamp_seconds{SNAPSHOT}"]
    exchange.misbehave(None, sim.Fault(status=404))
    at(minute=M + timedelta(minutes=2))
    assert told("snapshot").code == 4
    found = read(folder)
    assert_told(found, rows)
    assert [found[f'hlctl_last_hour_minutes{{status="{status}"}}'] for status in (
        "success", "partial", "failed", "gap"
    )] == [0, 1, 1, 1]  # fmt: skip
    assert found['hlctl_health{state="stale"}'] == 1
    assert found["hlctl_last_good_minute_timestamp_seconds"] == M.timestamp()
    assert found[f"hlctl_last_exit_code{SNAPSHOT}"] == 4
    assert found[f"hlctl_last_success_timestamp_seconds{SNAPSHOT}"] == success


def test_a_database_that_is_gone_is_told_and_what_was_true_stays(told: Hlctl, folder: Path, rows: Rows, at: At) -> None:
    """No figure of the record but the times; and all of it again when the database is back."""
    told("snapshot")
    before = read(folder)
    ran = told("snapshot", HLCTL_DATABASE_URL="postgresql://hlctl@127.0.0.1:1/x")
    assert ran.code == 5
    assert ran.err.count("\n") == 1, "the command says it; the file is no reason for another line"
    found = read(folder)
    assert found["hlctl_database_up"] == 0
    of_runs = {name for name in found if SNAPSHOT in name or "build_info" in name}
    assert found.keys() - of_runs == TIMES | {"hlctl_database_up", 'hlctl_phase_duration_seconds{phase="prepare"}'}
    assert {name: found[name] for name in TIMES} == {name: before[name] for name in TIMES}
    assert found[f"hlctl_last_exit_code{SNAPSHOT}"] == 5
    assert (
        found[f"hlctl_last_success_timestamp_seconds{SNAPSHOT}"]
        == (before[f"hlctl_last_success_timestamp_seconds{SNAPSHOT}"])
    )
    at(minute=M + timedelta(minutes=1))
    assert told("snapshot").code == 0
    assert_told(read(folder), rows)


def test_a_silent_database_is_not_waited_for(told: Hlctl, folder: Path) -> None:
    """It takes the connection and says nothing: 2 s more, and the exit code stays."""
    with proxied(told.settings["HLCTL_DATABASE_URL"]) as proxy:
        proxy.fall_silent()
        ran = told(*AUDIT, HLCTL_DATABASE_URL=proxy.url)
    assert (ran.code, ran.err.count("\n")) == (5, 1)
    assert ran.seconds < 9
    found = read(folder)
    assert (found["hlctl_database_up"], found[f"hlctl_last_exit_code{VERIFY}"]) == (0, 5)


def test_sizes_that_take_too_long_cost_nothing_else(told: Hlctl, folder: Path, database: str, rows: Rows) -> None:
    """Each day's partition is opened for them: after years that is more than the file can wait for."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "CREATE OR REPLACE FUNCTION cell_storage()"
            " RETURNS TABLE (total_bytes bigint, days int, oldest_day date, newest_day date)"
            " LANGUAGE sql AS 'SELECT 1::bigint, 1, NULL::date, NULL::date FROM pg_sleep(60)'"
        )
    assert told("snapshot").code == 0
    found = read(folder)
    assert {name for name in found if name.endswith("_bytes")} == set()
    told_in_full = of_the_tables(rows)
    assert {name: found.get(name) for name in told_in_full} == pytest.approx(told_in_full, abs=1e-6)


def test_a_database_without_a_schema_is_up_and_has_nothing_to_say(
    make_hlctl: Callable[..., Hlctl], empty_database: str, folder: Path
) -> None:
    """Exit 6 is told as such: the server is not to blame."""
    hlctl = make_hlctl(HLCTL_DATABASE_URL=empty_database, HLCTL_METRICS_FILE=str(folder / "hlctl.prom"))
    ran = hlctl("snapshot")
    assert (ran.code, ran.err.count("\n")) == (6, 1)
    found = read(folder)
    assert (found["hlctl_database_up"], found[f"hlctl_last_exit_code{SNAPSHOT}"]) == (1, 6)
    assert "hlctl_universe_wallets" not in found


def test_no_embedded_server_is_started_for_it(make_hlctl: Callable[..., Hlctl], folder: Path, tmp_path: Path) -> None:
    """Who stopped it wants it to stay so."""
    data = tmp_path / "data"
    hlctl = make_hlctl(HLCTL_DATA_DIR=str(data), HLCTL_METRICS_FILE=str(folder / "hlctl.prom"))
    assert hlctl(*AUDIT).code == 6
    assert read(folder)["hlctl_database_up"] == 0
    assert not data.exists()


def test_each_command_is_told_of_beside_the_others(told: Hlctl, folder: Path, rows: Rows, at: At) -> None:
    """And a phase of the last snapshot stays until the next; a dry run is no run."""
    told("snapshot")
    fetch = read(folder)['hlctl_phase_duration_seconds{phase="fetch"}']
    at(130)
    codes = {
        REFRESH: told("refresh-universe", "--if-due").code,
        VERIFY: told(*AUDIT).code,
        PRUNE: told("prune", "--keep", "30d").code,
    }
    assert set(codes.values()) == {0}
    found = read(folder)
    assert {c: found[f"hlctl_last_exit_code{c}"] for c in (SNAPSHOT, REFRESH, VERIFY, PRUNE)} == {SNAPSHOT: 0, **codes}
    assert found['hlctl_phase_duration_seconds{phase="fetch"}'] == fetch
    assert_told(found, rows)
    attempts = {name: figure for name, figure in found.items() if "last_attempt" in name}
    told("refresh-universe", "--dry-run")
    told("prune", "--keep", "30d", "--dry-run")
    told("status")
    assert {name: figure for name, figure in read(folder).items() if "last_attempt" in name} == attempts


def test_an_audit_is_told_and_a_look_is_not(told: Hlctl, folder: Path, rows: Rows, at: At) -> None:
    """A gap that somebody looks at is no violation, and a good minute hides none that the audit found."""
    told("snapshot")
    later = M + timedelta(minutes=3)
    at(minute=later)
    told("snapshot")
    at(120, minute=later)
    gap, good = (f"{minute:%Y-%m-%dT%H:%MZ}" for minute in (M + timedelta(minutes=1), later))
    assert [told("verify", "--minute", gap).code, told("verify").code] == [1, 0]
    assert not [name for name in read(folder) if "verify" in name]
    assert told(*AUDIT).code == 0, "a gap in a range"
    assert (read(folder)[f"hlctl_last_exit_code{VERIFY}"], read(folder)["hlctl_verify_violations"]) == (0, 0)
    rows("UPDATE ingest_runs SET coverage_pct = 1 WHERE snapshot_ts = %s RETURNING 1", M)
    assert told(*AUDIT).code == 1
    audited = {name: figure for name, figure in read(folder).items() if "verify" in name}
    assert (audited[f"hlctl_last_exit_code{VERIFY}"], audited["hlctl_verify_violations"]) == (1, 2)
    assert (
        audited[f"hlctl_last_success_timestamp_seconds{VERIFY}"]
        == (audited[f"hlctl_last_attempt_timestamp_seconds{VERIFY}"])
    ), "to find is what it is for, and no failing of the task"
    assert told("verify", "--minute", good).code == 0
    assert [on_a_terminal(told, "verify", "--since", span).code for span in ("1m", "24h")] == [0, 1]
    assert {name: figure for name, figure in read(folder).items() if "verify" in name} == audited
    assert told("verify", "--from", good).code == 0
    assert read(folder)["hlctl_verify_violations"] == 0, "a timer may have a range of its own"


def test_a_command_line_that_is_refused_is_no_attempt(told: Hlctl, folder: Path) -> None:
    """Where nobody prunes, one slip of the hand would be a task that never succeeded, for good."""
    assert [told("prune").code, told("prune", "--keep", "0d").code, told(*AUDIT).code] == [2, 2, 2]
    assert list(folder.iterdir()) == []


def test_a_refresh_that_failed_is_told(told: Hlctl, exchange: sim.Exchange, folder: Path, rows: Rows) -> None:
    """The universe and its age stay those in force."""
    told("snapshot")
    in_force = read(folder)["hlctl_universe_refreshed_timestamp_seconds"]
    ran = told(
        "refresh-universe", HLCTL_LEADERBOARD_URL=f"{exchange.url}/nowhere", HLCTL_API_URL=f"{exchange.url}/nowhere"
    )
    assert ran.code == 4
    found = read(folder)
    assert (found["hlctl_universe_refresh_failed"], found[f"hlctl_last_exit_code{REFRESH}"]) == (1, 4)
    assert found["hlctl_universe_refreshed_timestamp_seconds"] == in_force
    assert f"hlctl_last_success_timestamp_seconds{REFRESH}" not in found
    assert found["hlctl_universe_churn_warnings"] == 0
    assert rows("SELECT count(*) FROM wallet_universe_runs WHERE status = 'failed'") == [(1,)]


def test_a_busy_run_and_one_that_a_signal_ended_are_told(
    told: Hlctl, exchange: sim.Exchange, folder: Path, rows: Rows
) -> None:
    """With the code they ended with."""
    exchange.misbehave(None, sim.Fault(delay=0.25))
    process = told.start("snapshot")
    began = time.monotonic()
    while exchange.requests < 20:
        assert time.monotonic() - began < 60
        time.sleep(0.01)
    assert told("snapshot").code == 75
    assert read(folder)[f"hlctl_last_exit_code{SNAPSHOT}"] == 75
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    found = read(folder)
    assert found[f"hlctl_last_exit_code{SNAPSHOT}"] == 143
    assert_told(found, rows)
    assert found['hlctl_wallets_missing{reason="cancelled"}'] > 0


def test_commands_that_end_at_once_do_not_lose_each_others_samples(told: Hlctl, folder: Path, at: At) -> None:
    """Each reads, adds its own and replaces the file, one after the other."""
    told("snapshot")
    at(130)
    for _ in range(5):
        (folder / "hlctl.prom").unlink()
        processes = [
            told.start(*words) for words in (AUDIT, ("prune", "--keep", "30d"), ("refresh-universe", "--if-due"))
        ]
        assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
        found = read(folder)
        assert {name for name in found if name.startswith("hlctl_last_exit_code")} == {
            f"hlctl_last_exit_code{command}" for command in (REFRESH, VERIFY, PRUNE)
        }


def test_a_directory_that_somebody_keeps_locked_is_not_waited_for(told: Hlctl, folder: Path) -> None:
    """One warning, and the minute is recorded all the same."""
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    ran = told("snapshot")
    os.close(held)
    assert ran.code == 0
    assert ran.err == ("hlctl: WARNING: the metrics file was not written: another program holds its directory's lock\n")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("how", ["gone", "a file", "the file is a directory"])
def test_a_place_that_cannot_be_written_costs_one_warning(told: Hlctl, folder: Path, rows: Rows, how: str) -> None:
    """Each time; and nothing else."""
    words = {"gone": "No such file or directory", "a file": "Not a directory"}.get(how, "Is a directory")
    if how == "the file is a directory":
        (folder / "hlctl.prom").mkdir()
    else:
        folder.rmdir()
        if how == "a file":
            folder.write_text("")
    ran = told("--quiet", "snapshot")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"hlctl: WARNING: the metrics file was not written: {words}\n"
    assert rows("SELECT status FROM ingest_runs") == [("success",)]
    if how == "the file is a directory":
        assert [file.name for file in folder.iterdir()] == ["hlctl.prom"]


@root_only
def test_a_full_disk_leaves_the_file_that_is_there(told: Hlctl, tmp_path: Path) -> None:
    """A reader finds the old one whole, never half of a new one."""
    with disk(tmp_path / "small", megabytes=1) as small:
        settings = {"HLCTL_METRICS_FILE": str(small / "hlctl.prom")}
        assert told("snapshot", **settings).err == ""
        before = (small / "hlctl.prom").read_bytes()
        ballast = fill(small)
        ran = told("snapshot", **settings)
        assert ran.code == 0
        assert ran.err == "hlctl: WARNING: the metrics file was not written: No space left on device\n"
        assert {file.name for file in small.iterdir()} == {"hlctl.prom", ballast.name}
        assert (small / "hlctl.prom").read_bytes() == before
        ballast.unlink()
        assert told("snapshot", **settings).err == ""
        assert (small / "hlctl.prom").read_bytes() != before


def test_what_lies_there_is_never_trusted(told: Hlctl, folder: Path, tmp_path: Path, rows: Rows) -> None:
    """Lines of others are dropped, links are replaced and not followed, and a draft of a killed run is no obstacle."""
    (folder / "hlctl.prom").write_text(
        'hlctl_last_exit_code{command="verify"} 1\nhlctl_last_exit_code{command="export"} 1\nnode_load1 0.5\n\xff\n'
    )
    (folder / ".hlctl.prom.new").write_text("half")
    told("snapshot")
    found = read(folder)
    assert found[f"hlctl_last_exit_code{VERIFY}"] == 1
    assert not [name for name in found if "export" in name or "node" in name]
    secret = tmp_path / "elsewhere"
    secret.write_text('hlctl_last_exit_code{command="prune"} 1\n')
    (folder / "hlctl.prom").unlink()
    (folder / "hlctl.prom").symlink_to(secret)
    (folder / ".hlctl.prom.new").symlink_to(secret)
    told("snapshot")
    assert_told(read(folder), rows)
    assert f"hlctl_last_exit_code{PRUNE}" not in read(folder)
    assert secret.read_text() == 'hlctl_last_exit_code{command="prune"} 1\n'


def test_a_pipe_in_its_place_holds_nothing_up(told: Hlctl, folder: Path) -> None:
    """Who opens one to read waits for a writer for ever."""
    os.mkfifo(folder / "hlctl.prom")
    ran = told("snapshot")
    assert (ran.code, ran.err) == (0, "")
    assert read(folder)["hlctl_database_up"] == 1


def test_a_reader_finds_a_whole_file_at_every_moment(told: Hlctl, folder: Path) -> None:
    """node_exporter reads when it likes."""
    told("snapshot")
    whole = re.compile(r"# HELP hlctl_build_info .*\nhlctl_database_bytes \d+\n", re.DOTALL)
    stop = threading.Event()
    looks: list[int] = []
    torn: list[str] = []

    def look() -> None:
        while not stop.is_set():
            text = (folder / "hlctl.prom").read_text()
            looks.append(1)
            if not whole.fullmatch(text):
                torn.append(text)

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(5):
        told("snapshot")
    stop.set()
    reader.join()
    assert len(looks) > 100
    assert torn == []


@pytest.mark.parametrize(
    ("words", "second", "ends"),
    [(AUDIT, 130.0, 10.0), (("snapshot",), 42.0, 57.0 - 42.0)],
    ids=["verify", "snapshot"],
)
def test_a_place_that_hangs_for_ever_is_left_with_the_code_that_was_settled(
    told: Hlctl, rows: Rows, at: At, words: tuple[str, ...], second: float, ends: float
) -> None:
    """A dead network disk: 10 s, and a snapshot until second 57 of its minute; without a word."""
    if words == AUDIT:
        assert told("snapshot").code == 0
    at(second)
    hanging = (
        "import fcntl, sys, time; fcntl.flock = lambda *_: time.sleep(1000);"
        "from hlctl.cli import main; sys.exit(main(['--quiet', *sys.argv[1:]]))"
    )
    told_slowly = Hlctl(told.settings, told.home, command=(sys.executable, "-c", hanging))
    ran = told_slowly(*words)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert ends - 3 < ran.seconds < ends + 5
    assert rows("SELECT status FROM ingest_runs") == [("success",)]


def test_the_demo_tells_nobody(make_hlctl: Callable[..., Hlctl], folder: Path) -> None:
    """Its minute is no one's."""
    hlctl = make_hlctl(HLCTL_METRICS_FILE=str(folder / "hlctl.prom"), HLCTL_PING_URL="http://127.0.0.1:1/x")
    ran = hlctl("demo")
    assert (ran.code, ran.err) == (0, "")
    assert list(folder.iterdir()) == []


def test_a_run_without_these_settings_loads_nothing_of_them(with_universe: Hlctl) -> None:
    """The program starts 1,440 times a day; with them it loads what it needs."""
    probe = (
        "import sys; from hlctl.cli import main; code = main(['--quiet', *sys.argv[1:]]);"
        "print(sorted({'hlctl.metrics', 'hlctl.jobs.aftermath'} & set(sys.modules)), code)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HLCTL_", "PG"))}
    for words in (["snapshot"], ["refresh-universe", "--if-due"], ["prune", "--keep", "30d"], ["status"]):
        ran = subprocess.run(
            [sys.executable, "-c", probe, *words],
            env={**kept, **with_universe.settings}, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert ran.stdout.endswith("[] 0\n"), words
