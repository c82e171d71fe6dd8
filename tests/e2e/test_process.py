"""What can happen to the process itself: signals at any moment, and an environment that lacks what others have."""

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

import hlctl
from hlctl import sim
from tests.e2e.conftest import COMMAND, Hlctl, M, closed_port, open_terminal
from tests.e2e.oracle import Rows, after, assert_nothing_false, assert_whole, known
from tests.e2e.proxy import fall_silent, proxied

At = Callable[..., None]
NextMinute = Callable[..., None]


@contextmanager
def locked(hlctl: Hlctl, table: str) -> Iterator[None]:
    """Keep everybody from writing a table."""
    with closing(psycopg.connect(hlctl.settings["HLCTL_DATABASE_URL"])) as holder:
        holder.execute(f"LOCK TABLE {table} IN SHARE MODE".encode())
        yield
        holder.rollback()


def wait_for(rows: Rows, statement: str) -> None:
    """Wait until a query finds something."""
    began = time.monotonic()
    while not rows(statement):
        assert time.monotonic() - began < 20, statement
        time.sleep(0.02)


def meddled(hlctl: Hlctl, code: str) -> Hlctl:
    """Return a runner of a command whose Python has done something else before."""
    return replace(hlctl, command=(sys.executable, "-c", f"{code}\nfrom hlctl.__main__ import main\nmain()"))


WAITS_FOR_A_LOCK = """
    SELECT FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'hlctl' AND wait_event_type = 'Lock'
"""
HAS_A_MINUTE = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid < 2000000000"  # others have high numbers


@contextmanager
def about_to_publish(hlctl: Hlctl, rows: Rows, table: str = "ingest_runs") -> Iterator[subprocess.Popen[str]]:
    """Hold a run at its write to a table, by default the first, for as long as the block lasts."""
    process = hlctl.start("snapshot")
    wait_for(rows, HAS_A_MINUTE)
    with locked(hlctl, table):
        wait_for(rows, WAITS_FOR_A_LOCK)
        yield process


# ---- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_within_five_seconds_though_the_database_is_silent(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: NextMinute, number: signal.Signals
) -> None:
    """A service manager that waits ten kills: nothing can be published, and the end comes all the same."""
    with proxied(with_universe.settings["HLCTL_DATABASE_URL"]) as proxy:
        proxy.when(b"INSERT INTO ingest_runs", fall_silent)
        process = with_universe.start("snapshot", HLCTL_DATABASE_URL=proxy.url)
        while not proxy.done:
            time.sleep(0.02)
        began = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert time.monotonic() - began < 5.5
        assert process.returncode == 128 + number
        assert "Traceback" not in err
    assert exchange.requests == 200
    assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]
    next_minute_is_good()


def test_a_signal_ends_a_run_within_five_seconds_though_the_database_fell_silent_before_it_had_a_minute(
    with_universe: Hlctl, next_minute_is_good: NextMinute
) -> None:
    """The library asks a silent server to cancel for 5 s and waits for another 5 before it lets a signal through."""
    with proxied(with_universe.settings["HLCTL_DATABASE_URL"]) as proxy:

        def silence(_pair: object) -> bool:
            proxy.fall_silent()
            return False

        proxy.when(b"schema_migrations", silence)
        process = with_universe.start("snapshot", HLCTL_DATABASE_URL=proxy.url)
        while not proxy.done:
            time.sleep(0.02)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        assert time.monotonic() - began < 5.5
    assert (process.returncode, out, err.count("\n")) == (143, "", 1)
    next_minute_is_good()


def test_a_second_signal_ends_the_process_at_once(
    with_universe: Hlctl, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """Ctrl-C twice means it."""
    with about_to_publish(with_universe, rows) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 130
        assert time.monotonic() - began < 2
    next_minute_is_good()


def test_a_signal_while_waiting_for_the_minute_writes_nothing(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows
) -> None:
    """Nothing is known of a minute that has not begun."""
    at(46.0)
    process = with_universe.start("snapshot")
    wait_for(rows, HAS_A_MINUTE)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (143, "2026-01-06 20:45 UTC: nothing was written\n", "")
    assert exchange.requests == 0
    assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]


def test_a_signal_while_publishing_publishes(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """What is valid is published, and the code says which signal it was."""
    with about_to_publish(with_universe, rows) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    assert process.wait(timeout=20) == 143
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_a_signal_and_a_minute_that_is_over_end_with_the_signals_code(
    with_universe: Hlctl, at: At, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """Whatever was published, which here is nothing."""
    with about_to_publish(with_universe, rows) as process:
        process.send_signal(signal.SIGTERM)
        at(61.0)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert err.startswith("hlctl snapshot: ended by a signal: the minute was over before it could be recorded")
    assert err.count("\n") == 1
    assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]
    next_minute_is_good()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_any_moment_of_the_start_is_no_traceback(
    with_universe: Hlctl, next_minute_is_good: NextMinute, number: signal.Signals
) -> None:
    """Whatever was being imported or connected then; before Python has its own handlers the kernel ends it."""
    usual = with_universe("snapshot").seconds
    codes = set()
    for step in range(1, 13):
        process = with_universe.start("snapshot")
        time.sleep(usual * step / 12)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        codes.add(process.returncode)
        assert "hlctl" not in err or "Traceback" not in err, err
    assert codes <= {0, 128 + number, -number}
    assert codes & {128 + number, -number}
    next_minute_is_good()


def assert_the_next_run_completes_it(hlctl: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """Run the same minute again: it becomes whole, and nothing of what was known has changed."""
    before = known(rows)
    exchange.behave()
    ran = hlctl("snapshot")
    assert (ran.code, ran.err) == (0, "")
    assert_whole(rows, exchange, M)
    assert known(rows) >= before


@pytest.mark.parametrize("asked", [1, 100, 199])
def test_a_run_killed_while_asking_leaves_the_minute_to_the_next_one(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: NextMinute, asked: int
) -> None:
    """No trace is left, no lock either."""
    exchange.misbehave(None, sim.Fault(delay=0.02))
    process = with_universe.start("snapshot")
    while exchange.requests < asked:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert rows("SELECT count(*) FROM wallet_snapshots") == [(0,)]
    assert_the_next_run_completes_it(with_universe, exchange, rows)
    next_minute_is_good()


@pytest.mark.parametrize("table", ["ingest_runs", "wallet_snapshots", "ingest_health"])
def test_a_run_killed_while_publishing_leaves_nothing_half_done(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: NextMinute, table: str
) -> None:
    """At its first write, in the middle, and at its last: all of it is one transaction."""
    exchange.misbehave(None, sim.Fault(delay=0.01))
    process = with_universe.start("snapshot")
    while exchange.requests == 0:
        time.sleep(0.002)
    with locked(with_universe, table):  # taken now, for a partition may have to be made before
        wait_for(rows, WAITS_FOR_A_LOCK)
        process.kill()
        process.wait()
    wait_for(rows, "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')")
    assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]
    assert rows("SELECT count(*) FROM wallet_snapshots") == [(0,)]
    assert_the_next_run_completes_it(with_universe, exchange, rows)
    next_minute_is_good()


def test_runs_killed_at_any_moment_never_leave_a_minute_that_cannot_be_completed(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, at: At
) -> None:
    """Twelve minutes, each with a run that is killed somewhere between its start and its end, and one that is not."""
    usual = with_universe("snapshot").seconds
    minute = M
    for number in range(12):
        minute = after(minute)
        at(minute=minute)
        process = with_universe.start("snapshot")
        time.sleep(usual * (number + 1) / 12)
        process.kill()
        process.wait()
        assert with_universe("snapshot").code == 0
        assert_whole(rows, exchange, minute)
    assert_nothing_false(rows, exchange)


# ---- the world around it


def environment(hlctl: Hlctl, **settings: str) -> dict[str, str]:
    """Return an environment with nothing but what is needed."""
    own = {"HOME": str(hlctl.home), "HLCTL_DATA_DIR": str(hlctl.home / "data")}
    return {"PATH": os.environ["PATH"], **own, **hlctl.settings, **settings}


def run_with(env: dict[str, str], *args: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in a process set up in an unusual way."""
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.run(args, env=env, text=True, check=False, timeout=90, **how)


def test_no_stream_at_all(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """`<&- >&- 2>&-`: their numbers are then given to the first files opened, which must not be written into."""
    shell = 'exec "$0" --log-level debug snapshot <&- >&- 2>&-'
    ran = run_with(environment(with_universe), "/bin/sh", "-c", shell, COMMAND)
    assert ran.returncode == 0
    assert_whole(rows, exchange, M)


def test_a_full_disk_for_the_log_changes_nothing(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """Every line of a debug log fails to be written."""
    with Path("/dev/full").open("w") as full:
        ran = run_with(environment(with_universe), COMMAND, "--log-level", "debug", "snapshot", stderr=full)
    assert ran.returncode == 0
    assert ran.stdout.startswith("2026-01-06 20:44 UTC: success")
    assert_whole(rows, exchange, M)


def test_a_log_whose_reader_has_gone_changes_nothing(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """`2>&1 | true`, or a journal that was stopped: every line of a debug log ends in EPIPE."""
    process = with_universe.start("--log-level", "debug", "snapshot")
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert_whole(rows, exchange, M)


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """Return the end of a pipe that takes nothing more, for nobody reads it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"x" * 4096)
    yield writer
    os.close(writer)
    os.close(reader)


@pytest.mark.parametrize(("stream", "code"), [("stdout", 0), ("stderr", 4)])
def test_a_pipe_nobody_reads_does_not_hold_the_run_beyond_its_minute(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    full_pipe: int,
    rows: Rows,
    at: At,
    next_minute_is_good: NextMinute,
    stream: str,
    code: int,
) -> None:
    """The minute is committed, and the code says how; only the words are lost."""
    at(40.0)
    if stream == "stderr":  # a failed minute is what has a line there
        exchange.misbehave(None, sim.Fault(status=404))
    ran = run_with(environment(with_universe), COMMAND, "snapshot", **{stream: full_pipe})
    assert ran.returncode == code
    assert exchange.clock() % 60 < 58
    assert rows("SELECT status FROM ingest_runs") == [("success" if code == 0 else "failed",)]
    next_minute_is_good()


def test_a_terminal_that_goes_away_changes_nothing(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """A window is closed, a connection ends: the bar has nowhere to go, and the minute is committed."""
    exchange.misbehave(None, sim.Fault(delay=0.05))
    master, slave = open_terminal()
    env = environment(with_universe, TERM="xterm-256color", FORCE_COLOR="1")
    with subprocess.Popen([COMMAND, "snapshot"], env=env, stdout=subprocess.PIPE, stderr=slave, text=True) as process:
        os.close(slave)
        while exchange.requests < 20:
            time.sleep(0.02)
        os.close(master)
        out, _ = process.communicate(timeout=90)
    assert (process.returncode, out[:29]) == (0, "2026-01-06 20:44 UTC: success")
    assert_whole(rows, exchange, M)


def test_a_terminal_that_takes_nothing_does_not_hold_the_run(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """Ctrl-S, or a line that stalls: the bar is lost, and the run neither waits for it nor takes it for its fault."""
    master, slave = open_terminal()
    filler = os.open(os.ttyname(slave), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(filler, b"x")
    env = environment(with_universe, TERM="xterm-256color")
    ran = run_with(env, COMMAND, "snapshot", stderr=slave)
    assert (ran.returncode, ran.stdout[:29]) == (0, "2026-01-06 20:44 UTC: success")
    assert exchange.clock() % 60 < 50
    assert_whole(rows, exchange, M)
    for end in (filler, slave, master):
        os.close(end)


@pytest.mark.parametrize(("command", "code"), [("snapshot", 6), ("verify", 5), ("status", 5)])
def test_settings_on_a_file_system_that_hangs_are_not_waited_for(hlctl: Hlctl, command: str, code: int) -> None:
    """Cron starts another one each minute, and all of them would wait: a pipe nobody writes to hangs as well."""
    os.mkfifo(hlctl.home / "settings")
    ran = hlctl("--config", str(hlctl.home / "settings"), command)
    assert (ran.code, ran.out, ran.err.count("\n"), "in time" in ran.err) == (code, "", 1, True)
    assert ran.seconds < 20


def test_without_a_home(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """A service has none, and who has a database of his own needs none."""
    env = environment(with_universe)
    del env["HOME"], env["HLCTL_DATA_DIR"]
    ran = run_with(env, COMMAND, "snapshot")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert_whole(rows, exchange, M)


def test_without_a_home_the_embedded_server_has_no_place_and_says_so() -> None:
    """One line that names the setting."""
    if os.geteuid() != 0:
        pytest.skip("not root: no user without a home directory can be tried")
    become = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    try:
        run_with(env, COMMAND, "--version", **become)
    except PermissionError:
        pytest.skip("no other user may run the command here")
    ran = run_with(env, COMMAND, "snapshot", **become)
    assert (ran.returncode, ran.stderr.count("\n")) == (6, 1)
    assert "HLCTL_DATA_DIR" in ran.stderr


@pytest.mark.parametrize("where", ["read-only", "deleted"])
def test_a_working_directory_that_cannot_be_used(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, tmp_path: Path, where: str
) -> None:
    """Nothing is written there, and nothing is read."""
    folder = tmp_path / "gone"
    folder.mkdir()
    shell = 'rmdir "$PWD"; exec "$@"' if where == "deleted" else 'cd /proc/self && exec "$@"'
    ran = run_with(environment(with_universe), "/bin/sh", "-c", shell, "sh", COMMAND, "snapshot", cwd=folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert_whole(rows, exchange, M)


@pytest.mark.parametrize(("files", "concurrency", "at_once"), [(32, 8, 8), (32, 64, 16), (20, 8, 4)])
def test_with_few_open_files_a_minute_is_whole(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, files: int, concurrency: int, at_once: int
) -> None:
    """More requests at once than files allow are not tried, and fail for nobody; the log says so."""
    exchange.misbehave(None, sim.Fault(delay=0.02))
    ran = run_with(
        environment(with_universe, HLCTL_MAX_CONCURRENCY=str(concurrency)),
        COMMAND,
        "snapshot",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
    )
    said = f"only {at_once} requests at once: this process may have no more than {files} files open"
    assert (ran.returncode, ran.stderr) == (0, "" if at_once == concurrency else f"hlctl: WARNING: {said}\n")
    assert exchange.max_in_flight == at_once
    assert rows("SELECT retries FROM ingest_runs") == [(0,)]
    assert_whole(rows, exchange, M)


def test_a_run_does_not_wait_for_its_threads(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """Eight of them wait for answers that would take another half minute when the run has published."""
    exchange.misbehave(None, sim.Fault(delay=30))
    ran = with_universe("snapshot", HLCTL_DEADLINE="6", HLCTL_REQUEST_TIMEOUT="50")
    assert ran.code == 4
    assert ran.seconds < 12
    assert set(rows("SELECT missing FROM ingest_runs")[0][0]) <= {"late", "timeout"}
    next_minute_is_good()


def test_an_installation_that_is_broken_says_so_in_one_line(tmp_path: Path) -> None:
    """Half an upgrade must not look like anything else."""
    (tmp_path / "typer.py").write_text("import nothing_of_this_name\n")
    ran = run_with({"PYTHONPATH": str(tmp_path)}, COMMAND, "status")
    assert (ran.returncode, ran.stdout) == (70, "")
    assert ran.stderr == (
        "hlctl: this installation is broken: No module named 'nothing_of_this_name'; reinstall hlctl\n"
    )


@pytest.mark.parametrize("module", ["cli.py", "logs.py", "jobs/interrupt.py"])
@pytest.mark.parametrize(
    ("cut", "words"), [("def ", "SyntaxError"), ("raise ValueError('secret')", "ValueError")], ids=["syntax", "name"]
)
def test_an_installation_with_half_a_module_says_so_in_one_line(
    tmp_path: Path, module: str, cut: str, words: str
) -> None:
    """An upgrade replaces one file after the other, and a minute may begin in between."""
    shutil.copytree(Path(hlctl.__file__).parent, tmp_path / "hlctl", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "hlctl" / module).write_text(cut)
    ran = run_with({"PYTHONPATH": str(tmp_path)}, sys.executable, "-m", "hlctl", "status", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (70, "")
    assert ran.stderr == f"hlctl: this installation is broken: {words}; reinstall hlctl\n"


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ("jobs.snapshot._prepare", None),
        ("store.list_task", None),
        ("minute.Plan.step", "failed"),
        ("store._columns", None),  # what cannot be published cannot be published as unknown either
        ("render.text.show", "success"),
    ],
)
def test_a_bug_at_any_step_is_one_line_and_the_next_run_completes_the_minute(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    rows: Rows,
    next_minute_is_good: NextMinute,
    place: str,
    status: str | None,
) -> None:
    """Its words and its locals may hold a secret; what is not known is `internal`, or not recorded."""
    where, _, name = f"hlctl.{place}".rpartition(".")
    module = where.removesuffix(".Plan")
    hlctl = meddled(
        with_universe,
        f"import {module}\nowner = {where}\n"
        "def bug(*args, **kwargs): local = 'TOPSECRET'; raise KeyError(local)\n"
        f"owner.{name} = bug",
    )
    ran = hlctl("snapshot")
    assert (ran.code, ran.out, ran.err.count("\n")) == (70, "", 1)
    assert "hlctl has a bug: KeyError" in ran.err
    assert "TOPSECRET" not in ran.err
    assert rows("SELECT status FROM ingest_runs") == [(status,)] * (status is not None)
    assert_the_next_run_completes_it(with_universe, exchange, rows)
    next_minute_is_good()


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_a_poor_environment_changes_nothing(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, umask: int
) -> None:
    """No locale, no terminal worth the name, and files that nobody or everybody may read."""
    env = environment(with_universe, LANG="C", LC_ALL="C", PYTHONUTF8="0", TERM="dumb", TZ="Asia/Kathmandu")
    ran = run_with(env, COMMAND, "snapshot", umask=umask)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert_whole(rows, exchange, M)
    away = f"postgresql://u@127.0.0.1:{closed_port()}/x"
    ran = run_with({**env, "HLCTL_DATABASE_URL": away}, COMMAND, "snapshot", umask=umask)
    assert (ran.returncode, ran.stderr.count("\n")) == (5, 1)
    told = with_universe.home / "data" / "told-snapshot.json"
    assert [path.stat().st_mode & 0o077 for path in (told.parent, told)] == [0, 0]


@pytest.mark.parametrize("megabytes", [256, 90])
def test_with_little_memory_nothing_false_is_kept(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: NextMinute, megabytes: int
) -> None:
    """A run has enough of 256 MB; with less it may fail, in few words."""
    ran = run_with(
        environment(with_universe),
        COMMAND,
        "snapshot",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20,) * 2),
    )
    assert ran.returncode == 0 or megabytes < 256
    assert "Traceback" not in ran.stderr
    assert_nothing_false(rows, exchange)
    next_minute_is_good()
