"""End-to-end tests run the installed command as an operator does, against a real database and a real HTTP server.

They import nothing of hlctl but its model and the simulated exchange.
"""

import fcntl
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from hlctl import sim
from tests import contract
from tests.e2e.oracle import after, assert_nothing_false, assert_whole

M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
"""The minute most tests happen in."""

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
COMMAND = Path(sys.executable).with_name("hlctl")
SCHEDULED = {"snapshot", "refresh-universe", "verify", "prune"}


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> dict[str, Any]:
        """Return the JSON document on stdout, held to docs/json.md."""
        return contract.check(self.out, self.code)


@dataclass(frozen=True, slots=True)
class Hlctl:
    """Runs the command with its own environment and an empty HOME.

    Each run of a command that remembers what it told of an outage has a data directory of its own, and so remembers
    nothing, unless the settings name one.
    """

    settings: dict[str, str]
    home: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    command: tuple[str, ...] = (str(COMMAND),)

    def start(self, *args: str, before: Sequence[str] = (), **settings: str) -> subprocess.Popen[str]:
        """Start the command, with words `before` it as `env` or `unshare` take it, and return the process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HLCTL_", "PG"))}
        own = {"HOME": str(self.home)}
        if not SCHEDULED.isdisjoint(args):
            own["HLCTL_DATA_DIR"] = str(self.home / f"data{len(self.started)}")
        process = subprocess.Popen(
            [*before, *self.command, *args],
            env={**kept, **own, **self.settings, **settings},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def __call__(self, *args: str, **settings: str) -> Ran:
        """Run the command to its end."""
        began = time.monotonic()
        process = self.start(*args, **settings)
        out, err = process.communicate(timeout=180)  # `prune` waits 122 s for a silent server that is to count
        assert "Traceback" not in out + err or "debug" in args
        return Ran(process.returncode, out, err, time.monotonic() - began)


def closed_port() -> int:
    """Return a port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def open_terminal(lines: int = 24, columns: int = 80) -> tuple[int, int]:
    """Return the two ends of a terminal of that size."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    return master, slave


def on_a_terminal(hlctl: Hlctl, *args: str, columns: str = "80", **settings: str) -> Ran:
    """Run a command with a terminal for all it prints, which comes back as its output."""
    master, slave = open_terminal(columns=int(columns))
    env = {"PATH": os.environ["PATH"], "HOME": str(hlctl.home), "TERM": "xterm-256color", **hlctl.settings, **settings}
    began = time.monotonic()
    with subprocess.Popen(
        [COMMAND, *args], env=env, cwd=hlctl.home, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        shown = b""
        with suppress(OSError):  # the terminal's end when the last writer is gone
            while piece := os.read(master, 65536):
                shown += piece
    os.close(master)
    return Ran(process.returncode, shown.decode().replace("\r\n", "\n"), "", time.monotonic() - began)


def shape(text: str) -> list[str]:
    """Return the lines of an output without figures, units of time and widths: what a page can promise of it."""
    return [
        re.sub(r"# (ms|s|min)\b", "# s", re.sub(r"(?<!\w)-?\d[\d.,:-]*", "#", " ".join(line.split())))
        for line in text.splitlines()
    ]


def shown_in_the_readme(mark: str) -> str:
    """Return the block under a mark in the README."""
    (block,) = re.findall(rf"<!-- ci: {mark} -->\n```\w+\n(.*?)```", README.read_text(), re.DOTALL)
    return str(block)


def rows_of(database: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Return a function that runs SQL on a database, each time on a connection of its own: servers die here."""

    def run(statement: str, *params: Any) -> list[tuple[Any, ...]]:
        with closing(psycopg.connect(database, autocommit=True)) as conn:
            conn.execute("SET timezone = 'UTC'")
            return conn.execute(statement.encode(), params or None).fetchall()

    return run


def good_again(rows: Callable[..., list[tuple[Any, ...]]], minute: datetime, *, is_remembered: bool = False) -> str:
    """Return a pattern of what a good `minute` has to say on stderr: one line if it ends an outage, else nothing.

    The record tells of an outage if the minute before is not a success, or the host that runs it remembers one.
    """
    before = "SELECT status FROM ingest_runs WHERE snapshot_ts < %s ORDER BY snapshot_ts"
    is_well = rows(
        "SELECT FROM ingest_runs WHERE snapshot_ts = %s AND status = 'success'", minute - timedelta(minutes=1)
    )
    if rows(before, minute) and not is_well:
        words = r", after \d+ minutes? not recorded well since .*"
    elif is_remembered:
        words = ", (after failing since .*|and no minute is lost)"
    else:
        return ""
    return rf"hlctl snapshot: good again: {minute:%F %H:%M} UTC{words}\n"


def start_slowly(hlctl: Hlctl, exchange: sim.Exchange, asked: int, **settings: str) -> Callable[[], Ran]:
    """Start a snapshot, return once the exchange has been asked so often; the function returned waits for its end."""
    exchange.misbehave(None, sim.Fault(delay=0.05))
    process = hlctl.start("snapshot", **settings)
    began = time.monotonic()
    while exchange.requests < asked and process.poll() is None:
        time.sleep(0.01)

    def end() -> Ran:
        out, err = process.communicate(timeout=90)
        assert "Traceback" not in out + err
        return Ran(process.returncode, out, err, time.monotonic() - began)

    return end


@pytest.fixture
def make_hlctl(tmp_path: Path) -> Iterator[Callable[..., Hlctl]]:
    """Return a function that makes a runner with the settings given."""
    home = tmp_path / "home"
    home.mkdir()
    made: list[Hlctl] = []

    def make(**settings: str) -> Hlctl:
        made.append(Hlctl(settings, home))
        return made[-1]

    yield make
    for process in (process for hlctl in made for process in hlctl.started):
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="session")
def under_cron() -> Iterator[subprocess.Popen[str]]:
    """Return three minutes under a real cron, as a process that tells about them at its end."""
    command = [sys.executable, "-m", "tests.campaign.half_hour", "--minutes", "3", "--outage", "none"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process
        process.terminate()


def _waits_for_cron(item: pytest.Item) -> bool:
    return "under_cron" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put last what waits for cron: its minutes pass while the other tests run."""
    items.sort(key=_waits_for_cron)


@pytest.fixture(scope="session", autouse=True)
def _cron_has_begun(request: pytest.FixtureRequest) -> None:
    """Begin at once what is waited for last; one of several workers may not be the one that waits, and does not."""
    if any(map(_waits_for_cron, request.session.items)) and not hasattr(request.config, "workerinput"):
        request.getfixturevalue("under_cron")


@pytest.fixture(scope="session")
def world() -> sim.World:
    """Return a small world: enough wallets for a universe of 200."""
    return sim.World.generate(seed=3, rows=400)


@pytest.fixture(scope="session")
def universe_template(
    server: str, template: str, create_database: Callable[..., str], world: sim.World, set_clock_of: Callable[..., None]
) -> str:
    """Return the name of a database in which `hlctl refresh-universe` has read the world's leaderboard in minute M."""
    name = create_database(template)
    database = make_conninfo(server, dbname=name)
    set_clock_of(database, M)
    with sim.serve(world) as exchange:
        settings = {"HLCTL_DATABASE_URL": database, "HLCTL_LEADERBOARD_URL": exchange.leaderboard_url}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HLCTL_", "PG"))}
        subprocess.run(
            [COMMAND, "refresh-universe"], env={**kept, **settings}, check=True, capture_output=True, timeout=60
        )
    return name


@pytest.fixture
def database(server: str, template: str, create_database: Callable[..., str], request: pytest.FixtureRequest) -> str:
    """Return a database of the test's own: with a universe if it asks for one, else with the schema only."""
    if "with_universe" in request.fixturenames:
        template = request.getfixturevalue("universe_template")
    return make_conninfo(server, dbname=create_database(template))


@pytest.fixture
def exchange(world: sim.World) -> Iterator[sim.Exchange]:
    """Return a simulated exchange of its own for the test."""
    with sim.serve(world) as server:
        yield server


@pytest.fixture
def at(set_clock: Callable[..., None], exchange: sim.Exchange) -> Callable[..., None]:
    """Return a function that sets the clocks of database and exchange to a second of a minute."""

    def set_both(second: float = 2.0, *, minute: datetime = M) -> None:
        moment = minute + timedelta(seconds=second)
        offset = moment.timestamp() - time.time()
        set_clock(moment)
        exchange.clock = lambda: time.time() + offset

    return set_both


@pytest.fixture
def hlctl(database: str, exchange: sim.Exchange, make_hlctl: Callable[..., Hlctl], at: Callable[..., None]) -> Hlctl:
    """Return a runner on a database with a schema and an exchange, both in the third second of minute M."""
    at()
    return make_hlctl(
        HLCTL_DATABASE_URL=database, HLCTL_API_URL=exchange.url, HLCTL_LEADERBOARD_URL=exchange.leaderboard_url
    )


@pytest.fixture
def with_universe(hlctl: Hlctl) -> Hlctl:
    """Return the runner on a database that has a universe too (see `database`)."""
    return hlctl


@pytest.fixture
def rows(database: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Return a function that runs SQL on the test's database."""
    return rows_of(database)


@pytest.fixture
def next_minute_is_good(
    with_universe: Hlctl, exchange: sim.Exchange, at: Callable[..., None], rows: Callable[..., list[tuple[Any, ...]]]
) -> Callable[..., None]:
    """Return what every test of a fault ends with: the fault is over, and so are its effects.

    It lets the exchange behave, records the minute after `minute`, which says that it is the first good one if it is,
    compares every stored cell with the journal, and verifies the whole record once all of it is final.
    """

    def check(minute: datetime = M) -> None:
        exchange.behave()
        at(minute=after(minute))
        expected = good_again(rows, after(minute))
        ran = with_universe("snapshot")
        assert ran.code == 0
        assert re.fullmatch(expected, ran.err), ran.err
        assert_whole(rows, exchange, after(minute))
        assert_nothing_false(rows, exchange)
        at(second=120, minute=after(minute))
        ran = with_universe("verify", "--since", "1d")
        assert (ran.code, ran.err) == (0, ""), ran.out
        at(minute=after(minute))

    return check
