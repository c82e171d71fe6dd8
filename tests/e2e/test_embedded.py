"""The embedded server under stress: each test hurts it for real, and the next minute must be good."""

import fcntl
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from hlctl import sim
from tests.e2e import servers
from tests.e2e.conftest import COMMAND, Hlctl, M, Ran, good_again, rows_of
from tests.e2e.oracle import Rows, after, assert_nothing_false, assert_whole, known
from tests.e2e.servers import CLUSTER, IS_ROOT, linux_only, root_only

FULL = "No space left on device"
TOLD = "told-snapshot.json"


@dataclass(frozen=True, slots=True)
class Embedded:
    """A data directory with a schema and a universe, the command that works on it, and the exchange it asks."""

    hlctl: Hlctl
    exchange: sim.Exchange
    data: Path
    set_clock_of: Callable[..., None]
    url: str

    @property
    def rows(self) -> Rows:
        """Return a function that runs SQL on the database."""
        return rows_of(self.url)

    @property
    def pid(self) -> int | None:
        """Return the server's process, as `db status` says it."""
        found: int | None = self.hlctl("db", "status", "--json").document["result"]["pid"]
        return found

    def at(self, minute: datetime, second: float = 2.0) -> None:
        """Set the clocks of database and exchange; the server must run."""
        moment = minute + timedelta(seconds=second)
        offset = moment.timestamp() - time.time()
        self.set_clock_of(self.url, moment)
        self.exchange.clock = lambda: time.time() + offset

    def next_minute_is_good(self, minute: datetime = M) -> None:
        """Check that the fault is over: the next command works at once, and the minute after `minute` is whole.

        A server that recovers on a busy machine may take longer than `status` waits for anything, and then it says so,
        in one of two ways: once is accepted.
        """
        self.exchange.behave()
        ran = self.hlctl("status")
        too_early = r"hlctl status: .*; a recovery goes on by itself: try again in a minute\n"
        if ran.err == "hlctl: the database did not answer in time\n" or re.fullmatch(too_early, ran.err):
            ran = self.hlctl("status")
        assert (ran.code, ran.err) == (0, "")
        self.at(after(minute))
        expected = good_again(self.rows, after(minute), is_remembered=(self.data / TOLD).exists())
        ran = self.hlctl("snapshot")
        assert ran.code == 0
        assert re.fullmatch(expected, ran.err), ran.err
        assert not (self.data / TOLD).exists()
        assert_whole(self.rows, self.exchange, after(minute))
        assert_nothing_false(self.rows, self.exchange)


Place = Callable[..., Embedded]


def url_of(hlctl: Hlctl) -> str:
    """Return what psql would be given."""
    return hlctl("db", "url").out.strip()


@pytest.fixture(scope="module")
def prepared(
    world: sim.World, set_clock_of: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """Return the data directory of a stopped server with a universe, which each test copies, and its URL."""
    home = tmp_path_factory.mktemp("prepared")
    with sim.serve(world) as exchange:
        hlctl = Hlctl({"HLCTL_DATA_DIR": str(home / "d"), "HLCTL_LEADERBOARD_URL": exchange.leaderboard_url}, home)
        assert hlctl("init-db").code == 0
        url = url_of(hlctl)
        set_clock_of(url, M)
        assert hlctl("refresh-universe").code == 0
        assert hlctl("db", "stop").code == 0
    yield home / "d", url
    shutil.rmtree(home)


@pytest.fixture
def place(
    prepared: tuple[Path, str],
    tmp_path: Path,
    exchange: sim.Exchange,
    make_hlctl: Callable[..., Hlctl],
    set_clock_of: Callable[..., None],
) -> Iterator[Place]:
    """Return a function that puts a database with a universe into a folder, running, two seconds into minute M."""
    original, url = prepared
    made = []

    def make(folder: Path = tmp_path) -> Embedded:
        made.append(folder / "d")
        subprocess.run(["cp", "-a", original, made[-1]], check=True)
        hlctl = make_hlctl(
            HLCTL_DATA_DIR=str(made[-1]),
            HLCTL_API_URL=exchange.url,
            HLCTL_LEADERBOARD_URL=exchange.leaderboard_url,
        )
        here = url.replace(quote(str(original), safe=""), quote(str(made[-1]), safe=""))
        found = Embedded(hlctl, exchange, made[-1], set_clock_of, here)
        assert hlctl("db", "start").code == 0
        found.at(M)
        return found

    yield make
    for data in made:
        servers.kill(*servers.processes(data))
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
def embedded(place: Place) -> Embedded:
    """Return a database with a universe, running, two seconds into minute M."""
    return place()


@pytest.fixture
def fresh(make_hlctl: Callable[..., Hlctl], tmp_path: Path) -> Iterator[Hlctl]:
    """Return a runner whose data directory, `d` in the test's folder, does not exist yet."""
    yield make_hlctl(HLCTL_DATA_DIR=str(tmp_path / "d"))
    servers.kill(*servers.processes(tmp_path / "d"))


def ended(process: subprocess.Popen[str]) -> Ran:
    began = time.monotonic()
    out, err = process.communicate(timeout=120)
    return Ran(process.returncode, out, err, time.monotonic() - began)


def run_server(hlctl: Hlctl, **settings: str) -> subprocess.Popen[str]:
    """Start `db run` and return it once it answers."""
    process = hlctl.start("db", "run", **settings)
    url = url_of(hlctl)
    servers.until(lambda: process.poll() is not None or servers.answers(url))
    assert process.poll() is None, process.communicate()
    return process


# ---- in the foreground


@linux_only
def test_db_run_is_the_server_itself(embedded: Embedded) -> None:
    """No process of ours stays beside it; commands use it and never start a second; its log is on stderr."""
    assert embedded.hlctl("db", "stop").code == 0
    server = run_server(embedded.hlctl, HLCTL_API_AUTHORIZATION="TOPSECRET")
    assert b"TOPSECRET" not in Path(f"/proc/{server.pid}/environ").read_bytes()
    assert embedded.pid == server.pid
    assert embedded.hlctl("db", "start").out.startswith(f"server   running, pid {server.pid}\n")
    embedded.at(M)
    assert embedded.hlctl("snapshot").code == 0
    assert embedded.pid == server.pid
    with (embedded.data / CLUSTER / "PG_VERSION").open() as life, pytest.raises(BlockingIOError):
        fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)  # by this lock other containers know that it lives
    server.send_signal(signal.SIGINT)
    ran = ended(server)
    assert (ran.code, ran.out) == (0, "")
    assert "database system is ready to accept connections" in ran.err
    assert "database system is shut down" in ran.err
    assert servers.processes(embedded.data) == {}
    embedded.next_minute_is_good()
    assert embedded.pid not in {None, server.pid}


@linux_only
def test_db_run_makes_a_whole_cluster_where_there_is_none(fresh: Hlctl, tmp_path: Path) -> None:
    """A container starts with an empty volume, and nobody of ours is there to make the database afterwards."""
    server = run_server(fresh)
    with closing(psycopg.connect(url_of(fresh))) as conn:
        assert conn.execute("SELECT current_database(), current_user").fetchone() == ("hlctl", "hlctl")
    server.send_signal(signal.SIGINT)
    assert ended(server).code == 0
    servers.assert_sound(tmp_path / "d")


@linux_only
def test_sigint_ends_db_run_though_a_client_stays(embedded: Embedded) -> None:
    """It is the signal to send: an open psql must not hold up a reboot. Ctrl-C is the same."""
    embedded.hlctl("db", "stop")
    server = run_server(embedded.hlctl)
    with closing(psycopg.connect(embedded.url)) as conn:
        conn.execute("SELECT 1")  # a transaction stays open
        server.send_signal(signal.SIGINT)
        assert ended(server).code == 0
        with pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT 1")
    embedded.next_minute_is_good()


@linux_only
def test_sigterm_ends_db_run_when_the_last_client_has_left(embedded: Embedded) -> None:
    """PostgreSQL's smart shutdown: nobody new comes in, nobody is thrown out."""
    embedded.hlctl("db", "stop")
    server = run_server(embedded.hlctl)
    with closing(psycopg.connect(embedded.url)) as conn:
        server.send_signal(signal.SIGTERM)
        servers.until(lambda: not servers.answers(embedded.url))
        assert conn.execute("SELECT 1").fetchone() == (1,)
        assert server.poll() is None
    assert ended(server).code == 0
    embedded.next_minute_is_good()


@linux_only
def test_db_stop_ends_db_run(embedded: Embedded) -> None:
    """An operator need not know who started it."""
    embedded.hlctl("db", "stop")
    server = run_server(embedded.hlctl)
    assert embedded.hlctl("db", "stop").out.startswith("server   stopped; ")
    assert ended(server).code == 0
    embedded.next_minute_is_good()


@linux_only
def test_db_run_refuses_a_second_server(embedded: Embedded) -> None:
    """Two servers on one directory destroy it: one line names the first and how to stop it."""
    pid = embedded.pid
    ran = embedded.hlctl("db", "run")
    assert (ran.code, ran.out) == (75, "")
    assert ran.err == (
        f"hlctl db run: a server already runs on the embedded database in {embedded.data} (process {pid});"
        " stop it with `hlctl db stop`\n"
    )
    error = embedded.hlctl("db", "run", "--json").document["error"]
    assert (error["code"], error["remedy"]) == ("busy", "stop it with `hlctl db stop`")
    assert embedded.pid == pid
    embedded.next_minute_is_good()


@linux_only
@pytest.mark.parametrize("how", ["its server", "all its processes"])
def test_db_run_comes_back_after_a_kill(embedded: Embedded, how: str) -> None:
    """A service manager restarts at once, while the last processes of the old server may still be there."""
    embedded.hlctl("db", "stop")
    server = run_server(embedded.hlctl)
    with closing(psycopg.connect(embedded.url)):
        servers.kill(*([server.pid] if how == "its server" else servers.processes(embedded.data)))
        again = run_server(embedded.hlctl)
    assert embedded.pid == again.pid
    embedded.next_minute_is_good()
    assert embedded.pid == again.pid


@linux_only
def test_a_signal_while_db_run_makes_the_cluster_leaves_nothing(fresh: Hlctl, tmp_path: Path) -> None:
    """Stopped by the service manager in its first second, it starts afresh the next time."""
    process = fresh.start("db", "run")
    servers.until((tmp_path / "d" / f"{CLUSTER}.new" / "PG_VERSION").exists)
    process.send_signal(signal.SIGTERM)
    assert ended(process).code == 143
    servers.until(lambda: not servers.processes(tmp_path / "d"))
    assert fresh("db", "start").code == 0
    assert fresh("db", "stop").code == 0
    servers.assert_sound(tmp_path / "d")


@root_only
def test_db_run_works_for_an_ordinary_user() -> None:
    """Containers and user services have no root to come down from."""
    command = servers.command_of("nobody")
    home = Path(tempfile.mkdtemp(prefix="hlctl-"))  # below a folder that everybody may enter
    os.chown(home, 65534, 65534)
    env = {"PATH": os.environ["PATH"], "HOME": str(home)}
    data = home / ".local/share/hlctl"
    try:
        with subprocess.Popen([*command, "db", "run"], env=env, cwd="/", stderr=subprocess.PIPE, text=True) as server:
            status = [*command, "db", "status", "--json"]

            def ready() -> bool:
                found = subprocess.run(status, env=env, cwd="/", capture_output=True, text=True, check=False)
                return bool((json.loads(found.stdout)["result"] or {}).get("version"))

            servers.until(lambda: server.poll() is not None or ready())
            server.send_signal(signal.SIGINT)
            _, err = server.communicate(timeout=60)
        assert server.returncode == 0, err
        servers.assert_sound(data)
        assert {path.lstat().st_uid for path in data.rglob("*")} == {65534}
    finally:
        servers.kill(*servers.processes(data))
        shutil.rmtree(home)


# ---- killed

HURTS: dict[str, Callable[[Embedded], set[int]]] = {
    "the server": lambda at: {at.pid or 0},
    "a backend": lambda at: {pid for pid, title in servers.processes(at.data).items() if "hlctl hlctl" in title},
    "all of its processes": lambda at: set(servers.processes(at.data)),
}


@linux_only
@pytest.mark.parametrize("whom", HURTS)
def test_killed_between_two_runs_it_costs_no_minute(embedded: Embedded, whom: str) -> None:
    """The out-of-memory killer chooses whom it likes; the next command finds everything in order."""
    assert embedded.hlctl("snapshot").code == 0
    before = known(embedded.rows)
    with closing(psycopg.connect(embedded.url)):  # a backend to kill
        victims = HURTS[whom](embedded)
        assert victims
        servers.kill(*victims)
        embedded.next_minute_is_good()
    assert known(embedded.rows, M) == before


@linux_only
@pytest.mark.parametrize("whom", HURTS)
def test_killed_while_a_run_asks_it_is_started_again_and_the_minute_is_whole(embedded: Embedded, whom: str) -> None:
    """The answers are kept, and whoever needs the server starts it: nobody is asked twice."""
    embedded.exchange.misbehave(None, sim.Fault(delay=0.4))
    process = embedded.hlctl.start("snapshot")
    servers.until(lambda: len(embedded.exchange.served_states()) > 16)
    servers.kill(*HURTS[whom](embedded))
    embedded.exchange.behave()
    ran = ended(process)
    assert (ran.code, ran.err) == (0, "")
    assert_whole(embedded.rows, embedded.exchange, M)
    assert embedded.rows("SELECT attempts, requests_sent FROM ingest_runs") == [(1, 200)]
    embedded.next_minute_is_good()


@linux_only
def test_a_reused_number_in_the_pid_file_is_left_in_peace(embedded: Embedded) -> None:
    """After a reboot it is some other program's, which no command may signal or wait for."""
    servers.kill(*servers.processes(embedded.data))
    servers.until(lambda: not servers.processes(embedded.data))
    pid_file = embedded.data / CLUSTER / "postmaster.pid"
    owner = pid_file.stat()
    become: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if IS_ROOT else {}
    with subprocess.Popen(["sleep", "600"], cwd="/", **become) as innocent:
        try:
            lines = pid_file.read_text().splitlines()
            pid_file.write_text("\n".join([str(innocent.pid), *lines[1:]]) + "\n")
            assert embedded.pid is None
            assert embedded.hlctl("db", "stop").out.startswith("server   stopped\n")
            embedded.next_minute_is_good()
            assert embedded.hlctl("db", "stop").code == 0
            assert innocent.poll() is None
        finally:
            innocent.kill()


# ---- slow, held, shared


@linux_only
def test_a_server_that_is_long_in_starting_is_waited_for(embedded: Embedded) -> None:
    """A recovery may take longer than anybody likes: a run has patience, and who asks is told at once."""
    embedded.hlctl("db", "stop")
    statistics = embedded.data / CLUSTER / "pg_stat" / "pgstat.stat"
    owner = statistics.stat()
    statistics.unlink()
    os.mkfifo(statistics, 0o600)  # the starting server reads it before it lets anybody in, and waits for a writer
    os.chown(statistics, owner.st_uid, owner.st_gid)
    process = embedded.hlctl.start("snapshot")
    servers.until(lambda: any("startup" in title for title in servers.processes(embedded.data).values()))
    ran = embedded.hlctl("status")
    assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1), ran.err
    assert ran.seconds < 10
    assert process.poll() is None
    with statistics.open("wb"):
        pass
    ran = ended(process)
    assert (ran.code, ran.err) == (0, "")
    embedded.next_minute_is_good()


@linux_only
def test_a_lock_that_somebody_keeps_holds_up_nobody_but_who_would_start_the_server(embedded: Embedded) -> None:
    """A frozen `db start`, a backup program: a running server needs no lock, and waiting for it has an end."""
    with (embedded.data / "hlctl.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert embedded.hlctl("snapshot").code == 0
        servers.kill(*servers.processes(embedded.data))
        servers.until(lambda: not servers.processes(embedded.data))
        ran = embedded.hlctl("status")
        assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1), ran.err
        assert ran.seconds < 10
        process = embedded.hlctl.start("snapshot")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
    assert ended(process).code == 0
    embedded.next_minute_is_good()


@root_only
def test_a_server_of_another_container_is_used_and_never_started_twice(embedded: Embedded) -> None:
    """Its processes cannot be seen from here; its socket can, and without that its lock."""
    inside = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"], check=False).returncode:
        pytest.skip("unshare: this root may not make a name space")
    pid = embedded.pid
    ran = ended(embedded.hlctl.start("db", "run", before=inside))
    assert (ran.code, ran.out, ran.err.count("\n")) == (75, "", 1)
    ran = ended(embedded.hlctl.start("snapshot", before=inside, HLCTL_DATA_DIR=str(embedded.data)))
    assert (ran.code, ran.err) == (0, "")
    assert_whole(embedded.rows, embedded.exchange, M)
    socket = embedded.data / CLUSTER / ".s.PGSQL.5432"
    socket.rename(f"{socket}.lost")
    ran = ended(embedded.hlctl.start("status", before=inside))
    assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1), ran.err
    assert not socket.exists()
    Path(f"{socket}.lost").rename(socket)
    assert embedded.pid == pid
    embedded.next_minute_is_good()


# ---- a disk that lies


@linux_only
def test_a_page_that_the_disk_spoilt_is_told_and_never_believed(embedded: Embedded) -> None:
    """Its checksum is wrong: no minute is written by that index, and `verify` does not call the record true."""
    assert embedded.hlctl("snapshot").code == 0
    ((index, file),) = embedded.rows(
        "SELECT indexrelid::regclass::text, pg_relation_filepath(indexrelid) FROM pg_index"
        " WHERE indisprimary AND indrelid = (SELECT tableoid FROM wallet_snapshots LIMIT 1)"
    )
    embedded.hlctl("db", "stop")
    with (embedded.data / CLUSTER / file).open("r+b") as spoilt:
        for end_of_page in range(8192, os.fstat(spoilt.fileno()).st_size + 1, 8192):
            spoilt.seek(end_of_page - 200)
            spoilt.write(b"spoilt")
    assert embedded.hlctl("db", "start").code == 0
    embedded.at(after(M), 40)  # it is tried again until second 55
    ran = embedded.hlctl("snapshot")
    assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1)
    assert "invalid page in block " in ran.err
    assert "(SQLSTATE XX001)" in ran.err
    embedded.at(after(after(M)))
    ran = embedded.hlctl("verify")
    assert (ran.code, "(SQLSTATE XX001)" in ran.err) == (5, True)
    assert embedded.rows("SELECT count(*) FROM ingest_runs") == [(1,)]
    with closing(psycopg.connect(embedded.url, autocommit=True)) as conn:
        conn.execute(f"REINDEX INDEX {index}".encode())
    embedded.next_minute_is_good(after(M))
    embedded.at(after(after(M)), 120)
    assert embedded.hlctl("verify", "--since", "1h").code == 0


# ---- a full disk


@root_only
@pytest.mark.parametrize("megabytes", [1, 8, 36, 44, 54])
def test_a_disk_too_small_for_the_first_start_is_one_line(
    make_hlctl: Callable[..., Hlctl], tmp_path: Path, megabytes: int
) -> None:
    """Nothing half made remains, and once there is room the same command works."""
    with servers.disk(tmp_path / "disk", megabytes=megabytes) as folder:
        hlctl = make_hlctl(HLCTL_DATA_DIR=str(folder / "d"))
        ran = hlctl("db", "start")
        assert (ran.code, ran.out, ran.err.count("\n"), FULL in ran.err) == (5, "", 1, True), ran.err
        assert not (folder / "d" / f"{CLUSTER}.new").exists()
        assert servers.processes(folder) == {}
        subprocess.run(["mount", "-o", "remount,size=200m", folder], check=True)
        assert hlctl("db", "start").code == 0
        assert servers.answers(url_of(hlctl))
        assert hlctl("db", "stop").code == 0
        servers.assert_sound(folder / "d")


@root_only
def test_a_disk_that_fills_during_a_run_costs_that_minute_only(place: Place, tmp_path: Path) -> None:
    """The line says why, nothing is half written, and with some room again the next minute is good."""
    with servers.disk(tmp_path / "disk", megabytes=160) as folder:
        embedded = place(folder)
        embedded.at(M, 35)  # it is tried again until second 55
        embedded.exchange.misbehave(None, sim.Fault(delay=0.2))
        process = embedded.hlctl.start("snapshot")
        servers.until(lambda: len(embedded.exchange.served_states()) > 16)
        ballast = servers.fill(folder)
        embedded.exchange.behave()
        ran = ended(process)
        assert (ran.code, ran.out, ran.err.count("\n"), FULL in ran.err) == (5, "", 1, True), ran.err
        ballast.unlink()
        assert embedded.rows("SELECT count(*) FROM wallet_snapshots") == [(0,)]
        assert embedded.rows("SELECT count(*) FROM ingest_runs") == [(0,)]
        embedded.next_minute_is_good()


def writes_log(url: str) -> bool:
    """Use up a segment of the write-ahead log; False if the server did not survive it."""
    try:
        with closing(psycopg.connect(url, autocommit=True)) as conn:
            for statement in ("SELECT pg_logical_emit_message(false, 'x', 'x')", "SELECT pg_switch_wal()"):
                conn.execute(statement.encode())
    except psycopg.OperationalError:
        return False
    return True


@root_only
def test_a_server_that_a_full_disk_brought_down_recovers_when_there_is_room(place: Place, tmp_path: Path) -> None:
    """Without room for its log the server gives up, and so does its recovery; what was committed stays."""
    with servers.disk(tmp_path / "disk", megabytes=160) as folder:
        embedded = place(folder)
        assert embedded.hlctl("snapshot").code == 0
        before = known(embedded.rows)
        ballast = servers.fill(folder)
        servers.until(lambda: not writes_log(embedded.url))
        servers.until(lambda: not servers.processes(folder))
        for command in (("status",), ("snapshot",), ("db", "start")):
            servers.fill(folder)  # not even the server's own log has room
            ran = embedded.hlctl(*command)
            assert (ran.code, ran.out, ran.err.count("\n"), FULL in ran.err) == (5, "", 1, True), ran.err
            assert "; make room on it" in ran.err
        ballast.unlink()
        embedded.next_minute_is_good()
        assert known(embedded.rows, M) == before


@root_only
def test_a_server_that_runs_on_a_full_disk_is_not_called_out_of_reach(place: Place, tmp_path: Path) -> None:
    """Each session must write a file that it lacks; the way out is room, and no patience."""
    with servers.disk(tmp_path / "disk", megabytes=160) as folder:
        embedded = place(folder)
        for file in (embedded.data / CLUSTER).rglob("pg_internal.init"):
            file.unlink()
        ballast = servers.fill(folder)
        ran = embedded.hlctl("status")
        assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1), ran.err
        assert "cannot connect to the database: the server's disk is full" in ran.err
        assert ran.err.endswith('; make room on it, see "The disk is full" in docs/runbook.md\n'), ran.err
        found = {check["id"]: check for check in embedded.hlctl("doctor", "--json").document["result"]["checks"]}
        server = found["embedded_server"]
        assert "it runs and does not answer: the server's disk is full" in server["finding"]
        assert server["remedy"].startswith("make room on it"), server
        ballast.unlink()
        assert embedded.hlctl("status").code == 0


# ---- a place that is not ours to use


def everything(folder: Path) -> list[tuple[str, int, int, int, int, int]]:
    """Return what `ls -lR` would show, to the nanosecond."""
    found = [(path, path.lstat()) for path in [folder, *sorted(folder.rglob("*"))]]
    return [(str(path), at.st_ino, at.st_mode, at.st_uid, at.st_size, at.st_mtime_ns) for path, at in found]


@linux_only
@pytest.mark.parametrize("content", ["17\n", "", None], ids=["of another major", "empty", "absent"])
def test_a_cluster_that_is_not_ours_is_never_touched(embedded: Embedded, content: str | None) -> None:
    """Every command that would start it refuses in one line; put right, it is what it was."""
    embedded.hlctl("db", "stop")
    version = embedded.data / CLUSTER / "PG_VERSION"
    before = version.read_text()
    if content is None:
        version.rename(embedded.data.parent / "PG_VERSION")
    else:
        version.write_text(content)
    seen = everything(embedded.data)
    for command in (("db", "start"), ("db", "run"), ("snapshot",), ("status",), ("init-db",)):
        ran = embedded.hlctl(*command)
        assert (ran.code, ran.out, ran.err.count("\n")) == (6, "", 1), command
        assert f"{embedded.data / CLUSTER} is " in ran.err
    (embedded.data / TOLD).unlink()  # what the snapshot keeps in mind; of it the folder's time alone remains
    found = everything(embedded.data)
    assert (found[0][:4], found[1:]) == (seen[0][:4], seen[1:])
    if content is None:
        (embedded.data.parent / "PG_VERSION").rename(version)
    else:
        version.write_text(before)
    embedded.next_minute_is_good()


IN_THE_WAY: dict[str, tuple[Callable[[Path], None], Callable[[Path], None], tuple[str, ...]]] = {
    "a file": (Path.touch, Path.unlink, ("d", f"d/{CLUSTER}", f"d/{CLUSTER}.new")),
    "a folder": (Path.mkdir, Path.rmdir, (f"d/{CLUSTER}", "d/hlctl.lock")),
    "a link to nowhere": (lambda path: path.symlink_to("x"), Path.unlink, ("d", f"d/{CLUSTER}", f"d/{CLUSTER}.new")),
}


@linux_only
@pytest.mark.parametrize("kind", IN_THE_WAY)
def test_something_else_in_the_way_is_refused_in_one_line(fresh: Hlctl, tmp_path: Path, kind: str) -> None:
    """Nobody's file is taken for ours, and none is deleted; without it the same command works."""
    put, take, names = IN_THE_WAY[kind]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        put(path)
        before = path.lstat()
        for command in ("start", "run"):
            ran = fresh("db", command)
            assert (ran.code, ran.out, ran.err.count("\n")) == (6, "", 1), ran.err
            assert str(path) in ran.err
        assert (path.lstat().st_ino, path.lstat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        take(path)
    assert fresh("db", "start").code == 0
    assert fresh("db", "stop").code == 0


@root_only
def test_a_read_only_disk_is_refused_in_one_line(place: Place, fresh: Hlctl, tmp_path: Path) -> None:
    """It is said before anything is tried; the cluster is as it was when the disk can be written again."""
    with servers.disk(tmp_path / "disk", megabytes=160) as folder:
        embedded = place(folder)
        embedded.hlctl("db", "stop")
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        runs = [embedded.hlctl(*command) for command in (("db", "start"), ("db", "run"), ("snapshot",))]
        runs.append(fresh("db", "start", HLCTL_DATA_DIR=str(folder / "o" / "d")))
        assert embedded.hlctl("db", "status").out.startswith("server   stopped\n")
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        for ran in runs:
            assert (ran.code, ran.out, ran.err.count("\n")) == (6, "", 1), ran.err
            assert "Read-only file system" in ran.err
        embedded.next_minute_is_good()


@linux_only
def test_a_removed_data_directory_is_a_new_beginning(embedded: Embedded) -> None:
    """`rm -rf` under a running server: the old one cannot be reached by mistake, and does not come back."""
    old = embedded.pid
    assert old is not None
    try:
        shutil.rmtree(embedded.data)
        assert embedded.hlctl("status").code == 6
        embedded.exchange.clock = time.time  # a new database has the real one
        ran = embedded.hlctl("snapshot")
        assert (ran.code, ran.err) == (0, "")
        assert embedded.pid not in {None, old}
        assert embedded.rows("SELECT status, count(*) FROM ingest_runs GROUP BY 1") == [("success", 1)]
        assert known(embedded.rows)
        embedded.at(M)
        embedded.next_minute_is_good()
    finally:
        servers.kill(old)


@linux_only
def test_a_copy_of_a_running_cluster_is_another_cluster(embedded: Embedded, tmp_path: Path) -> None:
    """The copied socket, pid file and locks are the first one's: neither server is taken for the other."""
    assert embedded.hlctl("snapshot").code == 0
    before = known(embedded.rows)
    with closing(psycopg.connect(embedded.url, autocommit=True)) as conn:
        conn.execute("CHECKPOINT")
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", embedded.data, copy], check=True)
    hlctl = Hlctl({**embedded.hlctl.settings, "HLCTL_DATA_DIR": str(copy)}, embedded.hlctl.home)
    other = replace(embedded, hlctl=hlctl, data=copy, url=url_of(hlctl))
    try:
        assert other.hlctl("db", "status").out.startswith("server   stopped\n")
        assert other.hlctl("db", "stop").out.startswith("server   stopped\n")
        assert embedded.pid is not None
        other.next_minute_is_good()
        assert other.pid not in {None, embedded.pid}
        assert known(other.rows, M) == before
        assert known(embedded.rows) == before, "nothing of the copy's is in the first"
        assert other.hlctl("db", "stop").code == 0
        embedded.next_minute_is_good()
    finally:
        servers.kill(*servers.processes(copy))


@linux_only
def test_a_place_where_nothing_can_be_made_is_refused_in_one_line(fresh: Hlctl) -> None:
    """A mistyped path must not keep the command trying."""
    for command in ("start", "run"):
        ran = fresh("db", command, HLCTL_DATA_DIR="/proc/hlctl/d")
        assert (ran.code, ran.out, ran.err.count("\n")) == (6, "", 1)
        assert "/proc/hlctl" in ran.err


@linux_only
def test_a_relative_path_in_a_folder_that_is_gone_is_refused_in_one_line(tmp_path: Path) -> None:
    """As any relative path is: there is not even anything it could be relative to."""
    gone = tmp_path / "gone"
    lines = [
        f"{shlex.quote(COMMAND.as_posix())} db {command}; echo $?" for command in ("start", "run", "status", "url")
    ]
    script = "; ".join([f"mkdir {gone} && cd {gone} && rmdir {gone}", *lines])
    env = {"PATH": os.environ["PATH"], "HLCTL_DATA_DIR": "d", "HOME": str(tmp_path)}
    ran = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=False, timeout=60)
    assert ran.stdout.split() == ["6"] * 4, ran.stderr
    assert ran.stderr.count("\n") == 4
    assert ran.stderr.count(" HLCTL_DATA_DIR: must be a whole path, from / on\n") == 4


def test_a_path_over_the_socket_limit_is_refused_in_one_line(fresh: Hlctl, tmp_path: Path) -> None:
    """Before anything is made, with the number of bytes to save."""
    deep = tmp_path / "d" / ("x" * 107)
    for command in ("start", "run", "stop", "status", "url"):
        ran = fresh("db", command, HLCTL_DATA_DIR=str(deep))
        assert (ran.code, ran.out, ran.err.count("\n")) == (6, "", 1)
        assert "the data directory is too long: the socket's would have " in ran.err
        assert "; set HLCTL_DATA_DIR to a path shorter by " in ran.err
    assert not (tmp_path / "d").exists()


@root_only
@pytest.mark.parametrize("settings", [True, False], ids=["HLCTL_DATA_DIR", "nothing set"])
def test_a_uid_without_a_passwd_entry_is_refused_in_one_line(*, settings: bool) -> None:
    """Containers run with any number as user, and often without HOME: the line says what to do."""
    hlctl = servers.command_of(54321)
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, 54321, 54321)
        env = {"PATH": os.environ["PATH"], **({"HLCTL_DATA_DIR": f"{folder}/d"} if settings else {})}
        for command in (("db", "start"), ("db", "run"), ("snapshot",)):
            ran = subprocess.run([*hlctl, *command], env=env, cwd="/", capture_output=True, text=True, check=False)
            assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (6, "", 1), ran.stderr
            if settings:
                assert "user id 54321 has no name on this machine" in ran.stderr
                assert "; run hlctl as a user that has a passwd entry, or set HLCTL_DATABASE_URL\n" in ran.stderr
            else:
                assert "this user has no home directory; set HLCTL_DATA_DIR to a directory\n" in ran.stderr
        assert not list(Path(folder).iterdir())


@root_only
@pytest.mark.parametrize("command", ["start", "run"])
def test_programs_the_servers_user_cannot_read_are_copied(embedded: Embedded, tmp_path: Path, command: str) -> None:
    """A virtualenv below /root is the normal case for root."""
    embedded.hlctl("db", "stop")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    package = servers.program("postgres").parents[2]
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, private / folder.name, copy_function=os.link)
    settings = {**embedded.hlctl.settings, "PYTHONPATH": str(private)}
    hidden = replace(embedded, hlctl=replace(embedded.hlctl, settings=settings))
    if command == "run":
        run_server(hidden.hlctl)
    else:
        assert hidden.hlctl("db", "start").code == 0
    program = Path(f"/proc/{hidden.pid}/exe").readlink()
    assert program.is_relative_to("/var/cache/hlctl")
    assert pwd.getpwuid(program.stat().st_uid).pw_name == "root"
    hidden.next_minute_is_good()
    assert hidden.hlctl("db", "stop").code == 0
    shutil.rmtree(program.parents[3])
