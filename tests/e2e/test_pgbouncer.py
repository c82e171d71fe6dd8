"""Through PgBouncer in transaction mode with a single server connection: nothing of a session may be relied on."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from hlctl import sim
from tests.e2e.conftest import Hlctl, M, start_slowly
from tests.e2e.oracle import Rows, assert_whole

NextMinute = Callable[..., None]

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="pgbouncer is not installed: nothing was tested through a pooler"
)


@dataclass
class Bouncer:
    """A pooler in front of a server, whichever database is asked for."""

    config: Path
    folder: str  # its working directory
    port: int
    uid: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert PROGRAM
        own = os.geteuid() == self.uid
        process = subprocess.Popen(
            [PROGRAM, "-q", self.config],
            cwd=self.folder,
            stderr=subprocess.DEVNULL,
            user=None if own else self.uid,
            group=None if own else self.uid,
            extra_groups=None if own else [],
        )
        self.processes.append(process)
        began = time.monotonic()
        while process.poll() is None and time.monotonic() < began + 20:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("pgbouncer did not start")

    def kill(self) -> None:
        """End it as a crash would."""
        self.processes[-1].kill()
        self.processes[-1].wait()

    def url(self, database: str) -> str:
        """Return the connection string of a database through it."""
        return make_conninfo("", host="127.0.0.1", port=self.port, user="anybody", dbname=dbname(database))


def dbname(database: str) -> str:
    return str(conninfo_to_dict(database)["dbname"])


@pytest.fixture
def bouncer(server: str) -> Iterator[Bouncer]:
    """Return a running pooler with one server connection per database."""
    parts = conninfo_to_dict(server)
    host, folder, uid = str(parts.get("host") or "localhost"), "/", os.geteuid() or 65534
    if host.startswith("/"):
        # The embedded server admits who has its user's id, and that user may be unable to enter the path.
        host, folder, uid = "/proc/self/cwd", host, Path(host).stat().st_uid
    target = {"host": host, **{name: parts[name] for name in ("port", "user", "password") if parts.get(name)}}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as config:
        config.write(
            f"""
[databases]
* = {" ".join(f"{name}='{value}'" for name, value in target.items())}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
max_db_connections = 1
"""
        )
        config.flush()
        os.chown(config.name, uid, -1)
        bouncer = Bouncer(Path(config.name), folder, port, uid)
        try:
            bouncer.start()
            yield bouncer
        finally:
            bouncer.kill()


@pytest.fixture
def pooled(bouncer: Bouncer, with_universe: Hlctl) -> dict[str, str]:
    """Return the setting that leads through the pooler to the test's database."""
    return {"HLCTL_DATABASE_URL": bouncer.url(with_universe.settings["HLCTL_DATABASE_URL"])}


def test_the_whole_pipeline_through_a_pool_of_one(
    make_hlctl: Callable[..., Hlctl], bouncer: Bouncer, exchange: sim.Exchange, empty_database: str
) -> None:
    """Schema, universe and minutes, each on whatever session it gets."""
    hlctl = make_hlctl(
        HLCTL_DATABASE_URL=bouncer.url(empty_database),
        HLCTL_API_URL=exchange.url,
        HLCTL_LEADERBOARD_URL=exchange.leaderboard_url,
    )
    for command, words in (
        ("init-db", "applied 0001_universe"),
        ("refresh-universe", "universe: 200 of 200 wallets"),
        ("snapshot", "success, 200 of 200 wallets, 600 cells"),
        ("status", "health            healthy"),
        ("init-db", "the schema is up to date"),
    ):
        ran = hlctl(command)
        assert (ran.code, ran.err) == (0, ""), command
        assert words in ran.out


def test_nothing_of_a_run_is_left_in_the_pooled_session(
    with_universe: Hlctl, bouncer: Bouncer, pooled: dict[str, str], rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """The next client of the session is somebody else: no setting, no lock, no prepared statement is for him."""
    url = bouncer.url(with_universe.settings["HLCTL_DATABASE_URL"])
    names = "SELECT name, setting FROM pg_settings WHERE name <> 'application_name' AND source = 'session'"
    for _ in range(6):  # psycopg would prepare a statement at its fifth execution
        assert with_universe("snapshot", **pooled).code == 0
    with closing(psycopg.connect(url, autocommit=True, prepare_threshold=None)) as conn:
        left: dict[str, str] = dict(conn.execute(names).fetchall())
        assert set(left) <= {"client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings"}, left
        assert left.get("client_encoding", "UTF8") == "UTF8"
        assert conn.execute("SHOW search_path").fetchone() == ('"$user", public',)
        assert conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    assert rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database"
                " WHERE datname = current_database())") == [(0,)]  # fmt: skip
    next_minute_is_good()


def test_two_runs_at_once_in_a_pool_of_one_are_one_run(
    with_universe: Hlctl, exchange: sim.Exchange, pooled: dict[str, str], rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """The second waits for the session, then finds the minute complete: the exchange is asked once."""
    exchange.misbehave(None, sim.Fault(delay=0.05))
    both = [with_universe.start("snapshot", **pooled) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert exchange.requests == 200
    assert rows("SELECT attempts FROM ingest_runs") == [(1,)]
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_a_pooler_killed_and_restarted_during_the_fetch_costs_nothing(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    bouncer: Bouncer,
    pooled: dict[str, str],
    rows: Rows,
    next_minute_is_good: NextMinute,
) -> None:
    """The answers are kept, as with a server that is restarted."""
    end = start_slowly(with_universe, exchange, 50, **pooled)
    bouncer.kill()
    time.sleep(3)
    bouncer.start()
    ran = end()
    assert (ran.code, ran.err) == (0, "")
    assert rows("SELECT attempts, requests_sent FROM ingest_runs") == [(1, 200)]
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_status_does_not_wait_for_a_session_that_a_run_has(
    with_universe: Hlctl, exchange: sim.Exchange, pooled: dict[str, str], next_minute_is_good: NextMinute
) -> None:
    """A pool of one is one too few for it; it says so in seconds, and the run is not disturbed."""
    usual = with_universe("status", **pooled).seconds
    exchange.misbehave(None, sim.Fault(delay=0.4))  # eight at a time: ten seconds
    process = with_universe.start("snapshot", **pooled)
    while exchange.requests == 0:
        time.sleep(0.02)
    ran = with_universe("status", **pooled)
    assert (ran.code, ran.out) == (5, "")
    # The second is the watchdog's, on a machine on which Python takes a second to start.
    assert ran.err in {
        "hlctl status: the database failed: no answer in time\n",
        "hlctl: the database did not answer in time\n",
    }
    assert ran.seconds < usual + 5
    assert process.wait(timeout=60) == 0
    next_minute_is_good()


def test_a_run_does_not_wait_for_a_session_that_somebody_keeps(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    bouncer: Bouncer,
    pooled: dict[str, str],
    next_minute_is_good: NextMinute,
) -> None:
    """The pooler itself would let it wait for two minutes, in silence."""
    with closing(psycopg.connect(pooled["HLCTL_DATABASE_URL"], prepare_threshold=None)) as somebody:
        somebody.execute("SELECT 1")  # the transaction stays open
        ran = with_universe("snapshot", **pooled)
        assert (ran.code, ran.out, ran.err) == (5, "", "hlctl snapshot: the database failed: no answer in time\n")
        assert exchange.requests == 0
        assert ran.seconds < 30
        assert bouncer.processes[-1].poll() is None
    next_minute_is_good()
