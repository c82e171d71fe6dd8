"""A whole PostgreSQL server that is stopped, killed, restarted, or turns out to be a standby."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from hlctl import sim
from tests.conftest import clean_environment
from tests.e2e.conftest import COMMAND, Hlctl, M, Ran, rows_of, start_slowly
from tests.e2e.oracle import Rows, after, assert_nothing_false, assert_whole, universe

At = Callable[..., None]
NextMinute = Callable[..., None]

STOPPING = 7.0
"""Seconds that one wallet's answer takes: in them a command can start and stop a server, on a busy machine too."""


@dataclass(frozen=True)
class Server:
    """A server of the test's own, run by the command under test and reached by its URL like anybody's."""

    data_dir: Path

    def run(self, *args: str) -> str:
        """Run a command on it."""
        env = clean_environment(HLCTL_DATA_DIR=str(self.data_dir))
        return subprocess.run([COMMAND, *args], env=env, check=True, capture_output=True, text=True, timeout=90).stdout

    def start(self) -> None:
        """Start it unless it runs."""
        self.run("db", "start")

    def stop(self) -> None:
        """Stop it, its sessions too."""
        self.run("db", "stop")

    def url(self, dbname: str) -> str:
        """Return the connection string of one of its databases."""
        return make_conninfo(self.run("db", "url").strip(), dbname=dbname)

    def kill(self) -> None:
        """Kill the postmaster; its children find out by themselves."""
        with closing(psycopg.connect(self.url("postgres"))) as conn:
            ((pid,),) = conn.execute("SELECT pg_backend_pid()").fetchall()
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)


@pytest.fixture(scope="module")
def primary(
    tmp_path_factory: pytest.TempPathFactory, world: sim.World, set_clock_of: Callable[..., None]
) -> Iterator[Server]:
    """Return a server whose database hlctl has a schema and the universe of minute M."""
    folder = tmp_path_factory.mktemp("primary")
    server = Server(folder / "data")
    server.start()
    with closing(psycopg.connect(server.url("postgres"), autocommit=True)) as conn:
        conn.execute("ALTER SYSTEM SET wal_level = replica")  # else it cannot have a standby
    server.stop()
    server.start()
    server.run("init-db")
    set_clock_of(server.url("hlctl"), M)
    with sim.serve(world) as exchange:
        env = clean_environment(HLCTL_DATABASE_URL=server.url("hlctl"), HLCTL_LEADERBOARD_URL=exchange.leaderboard_url)
        subprocess.run([COMMAND, "refresh-universe"], env=env, check=True, capture_output=True, timeout=60)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def database(primary: Server) -> Iterator[str]:
    """Return a database of the test's own on that server, with a universe."""
    name = f"test_{uuid4().hex[:12]}"
    with closing(psycopg.connect(primary.url("postgres"), autocommit=True)) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE hlctl").format(sql.Identifier(name)))
    yield primary.url(name)
    primary.start()


def start_slowly_and_wait(hlctl: Hlctl, exchange: sim.Exchange, address: str, **settings: str) -> Callable[[], Ran]:
    """Start a snapshot that waits long enough for one wallet.

    The function returned waits for its end, and checks that it had to begin again.
    """
    exchange.misbehave(address, sim.Fault(delay=STOPPING))
    end = start_slowly(hlctl, exchange, 50, HLCTL_LOG_LEVEL="info", **settings)

    def end_well() -> Ran:
        ran = end()
        assert ran.code == 0, ran.err
        assert "; trying again\n" in ran.err
        assert {line[:12] for line in ran.err.splitlines()} == {"hlctl: INFO:"}
        return ran

    return end_well


def test_a_server_restarted_between_fetch_and_write_costs_nothing(
    with_universe: Hlctl, exchange: sim.Exchange, primary: Server, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """An upgrade of the database at the wrong second loses no minute and asks nobody twice."""
    end = start_slowly_and_wait(with_universe, exchange, universe(rows)[0])
    primary.stop()
    primary.start()
    end()
    assert rows("SELECT attempts, requests_sent FROM ingest_runs") == [(1, 200)]
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_a_server_killed_and_away_for_a_while_costs_nothing(
    with_universe: Hlctl, exchange: sim.Exchange, primary: Server, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """Out of memory, crash recovery: the run knocks until it is let in."""
    end = start_slowly_and_wait(with_universe, exchange, universe(rows)[0])
    primary.kill()
    time.sleep(8)  # longer than the run waits for the exchange
    primary.start()
    assert end().seconds > 8
    assert rows("SELECT attempts, requests_sent FROM ingest_runs") == [(1, 200)]
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_a_server_that_does_not_come_back_is_exit_5_and_a_gap(
    with_universe: Hlctl, exchange: sim.Exchange, primary: Server, rows: Rows, at: At, next_minute_is_good: NextMinute
) -> None:
    """No row means that the database was not reached; the run ends in its minute."""
    at(40.0)
    exchange.misbehave(universe(rows)[0], sim.Fault(delay=STOPPING))
    end = start_slowly(with_universe, exchange, 50)
    primary.stop()
    ran = end()
    assert ran.code == 5
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("hlctl snapshot: the database failed: ")
    assert exchange.clock() % 60 < 57
    primary.start()
    next_minute_is_good()
    assert rows("SELECT count(*) FROM ingest_runs WHERE snapshot_ts = %s", M) == [(0,)]


@pytest.fixture
def standby(primary: Server, database: str, tmp_path: Path) -> Iterator[str]:
    """Return the same database on a server that only follows: a copy, told to wait for a primary."""
    assert database
    copy = Server(tmp_path / "standby")
    primary.stop()
    shutil.copytree(primary.data_dir, copy.data_dir, symlinks=True)
    for path in (primary.data_dir, *primary.data_dir.rglob("*")):
        found = path.lstat()
        os.chown(copy.data_dir / path.relative_to(primary.data_dir), found.st_uid, found.st_gid, follow_symlinks=False)
    cluster = next(copy.data_dir.glob("postgres*"))
    (cluster / "standby.signal").touch()
    primary.start()
    copy.start()
    yield copy.url(str(conninfo_to_dict(database)["dbname"]))
    copy.stop()


def whichever_can_write(*urls: str) -> str:
    """Return the URL of several servers, by which libpq finds the one that is no standby."""
    parts = [conninfo_to_dict(url) for url in urls]
    hosts = ",".join(str(part["host"]) for part in parts)
    return make_conninfo("", **{**parts[0], "host": hosts, "port": "5432,5432", "target_session_attrs": "read-write"})


def test_a_standby_is_refused_in_one_line_and_the_exchange_is_left_alone(
    with_universe: Hlctl, exchange: sim.Exchange, standby: str
) -> None:
    """After a failover the old address may lead to one: what it cannot keep is not asked for."""
    for command in ("snapshot", "refresh-universe", "init-db"):
        ran = with_universe(command, HLCTL_DATABASE_URL=standby)
        assert (ran.code, ran.out) == (5, "")
        assert ran.err == (
            f"hlctl {command}: the database failed:"
            " cannot set transaction read-write mode during recovery (SQLSTATE 0A000)\n"
        )
    assert exchange.requests == 0
    assert with_universe("status", HLCTL_DATABASE_URL=standby).code == 0, "a reader may ask it"


@pytest.mark.usefixtures("primary")
def test_a_gap_at_the_end_of_a_standby_is_told_with_that_it_is_one(
    with_universe: Hlctl, set_clock_of: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    """It answers with what it has replayed: who audits it may be looking for minutes that its primary has."""
    assert with_universe("snapshot").code == 0
    set_clock_of(with_universe.settings["HLCTL_DATABASE_URL"], M + timedelta(minutes=3, seconds=5))
    ran = with_universe("verify", HLCTL_DATABASE_URL=request.getfixturevalue("standby"))
    assert ran.code == 1
    words = " ".join(ran.out.split())
    assert "no run was recorded after it; this server is a standby, which may not have heard of it yet" in words


def test_a_url_of_several_hosts_finds_the_one_that_can_write(
    with_universe: Hlctl, exchange: sim.Exchange, standby: str, rows: Rows
) -> None:
    """Libpq's own way to survive a failover."""
    url = whichever_can_write(standby, with_universe.settings["HLCTL_DATABASE_URL"])
    ran = with_universe("snapshot", HLCTL_DATABASE_URL=url)
    assert (ran.code, ran.err) == (0, "")
    assert_whole(rows, exchange, M)


@pytest.mark.parametrize("moment", ["during the fetch", "after a COMMIT it never heard of"])
def test_a_failover_costs_no_minute_that_is_asked_for_again(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    primary: Server,
    standby: str,
    set_clock_of: Callable[..., None],
    moment: str,
) -> None:
    """The primary is gone and the standby promoted: the answers go there, and what it lost is recorded anew."""
    url = whichever_can_write(with_universe.settings["HLCTL_DATABASE_URL"], standby)
    if moment == "during the fetch":
        slowest = universe(rows_of(standby))[0]
        end = start_slowly_and_wait(with_universe, exchange, slowest, HLCTL_DATABASE_URL=url)
    else:
        assert with_universe("snapshot", HLCTL_DATABASE_URL=url).code == 0
    primary.stop()
    with closing(psycopg.connect(standby, autocommit=True)) as conn:
        assert conn.execute("SELECT pg_promote()").fetchone() == (True,)
    exchange.behave()
    if moment == "during the fetch":
        end()
    else:
        assert with_universe("snapshot", HLCTL_DATABASE_URL=url).code == 0
    rows = rows_of(standby)
    assert rows("SELECT attempts, requests_sent FROM ingest_runs") == [(1, 200)]
    assert_whole(rows, exchange, M)
    offset = (after(M) + timedelta(seconds=2)).timestamp() - time.time()
    set_clock_of(standby, after(M) + timedelta(seconds=2))
    exchange.clock = lambda: time.time() + offset
    ran = with_universe("snapshot", HLCTL_DATABASE_URL=url)
    assert (ran.code, ran.err) == (0, "")
    assert_whole(rows, exchange, after(M))
    assert_nothing_false(rows, exchange)
    set_clock_of(standby, after(M) + timedelta(seconds=120))
    ran = with_universe("verify", "--since", "1d", HLCTL_DATABASE_URL=url)
    assert (ran.code, ran.err) == (0, ""), ran.out
