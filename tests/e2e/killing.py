"""SIGKILL at a system call, again and again, and what must be so after each.

A lane is a database, an exchange and a place for files of its own, in which one command is killed at one system call
after the other. Nothing is begun anew between two kills: time goes on to the next minute, so that what a kill leaves
behind is there for all that follow.

strace kills as the call is entered, before it does anything: the n-th call of a name is the moment after all before it.
"""

import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from hlctl import sim
from tests.e2e import servers
from tests.e2e.conftest import COMMAND, Hlctl, M, Ran, rows_of

WALLETS = 20

# The name of a call differs between machines; strace passes over a name with "?" that this one does not have.
KINDS = {
    "sendto": ("sendto",),
    "recvfrom": ("recvfrom",),
    "poll": ("?poll", "?ppoll", "?epoll_wait", "?epoll_pwait", "?select", "?pselect6"),
    "write": ("write",),
    "openat": ("openat",),
    "connect": ("connect",),
    "fsync": ("fsync", "fdatasync"),
    "rename": ("?rename", "?renameat", "?renameat2"),
    "clone": ("?fork", "?vfork", "?clone", "?clone3"),
    "unlink": ("?unlink", "?unlinkat"),
    "mkdir": ("?mkdir", "?mkdirat"),
    "ftruncate": ("ftruncate",),
}
KIND_OF = {name.strip("?"): kind for kind, names in KINDS.items() for name in names}
TOUCHES = {"connect", "fsync", "rename", "unlink", "mkdir", "ftruncate"}
"""Before the first call of these kinds, or the first file that is made, nothing outside can have changed."""


class Point(NamedTuple):
    """The n-th system call of this name in a thread, from the start of the process."""

    call: str
    n: int


class Call(NamedTuple):
    """A system call, seen in a run that was not killed."""

    point: Point
    text: str
    is_worker: bool  # of a thread other than the first

    @property
    def kind(self) -> str:
        """Return what it does, by a name that is the same on every machine."""
        return KIND_OF[self.point.call]


@dataclass(slots=True)
class Lane:
    """Where one command is killed; `now` is the minute by both clocks."""

    database: str
    exchange: sim.Exchange
    home: Path
    wallets: int = WALLETS
    settings: dict[str, str] = field(default_factory=dict)
    now: datetime = M
    made: list[str] = field(default_factory=list)  # names of databases

    @property
    def rows(self) -> Callable[..., list[tuple[Any, ...]]]:
        """Return a function that runs SQL on the database."""
        return rows_of(self.database)

    @property
    def hlctl(self) -> Hlctl:
        """Return a runner, with the same places for files each time."""
        own = {
            "HLCTL_DATABASE_URL": self.database,
            "HLCTL_API_URL": self.exchange.url,
            "HLCTL_LEADERBOARD_URL": self.exchange.leaderboard_url,
            "HLCTL_UNIVERSE_SIZE": str(self.wallets),
            "HLCTL_DATA_DIR": str(self.home / "data"),
            "TMPDIR": str(self.home / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return Hlctl({**own, **self.settings}, self.home)

    def renew(self, template: str) -> None:
        """Go on with a new database, a copy of `template`; the last one goes, unless it is that."""
        server = make_conninfo(self.database, dbname="postgres")
        if self.made and self.made[-1] != template:
            drop_database(server, self.made.pop())
        self.made.append(make_database(server, template))
        self.database = make_conninfo(server, dbname=self.made[-1])

    def at(self, minute: datetime, second: float = 2.0) -> None:
        """Set both clocks."""
        self.now = minute
        moment = minute + timedelta(seconds=second)
        offset = moment.timestamp() - time.time()
        self.exchange.clock = lambda: time.time() + offset
        body = f"SELECT pg_catalog.clock_timestamp() + interval '{(moment - datetime.now(UTC)).total_seconds():.6f} s'"
        function = "CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS {}"
        with closing(psycopg.connect(self.database, autocommit=True)) as conn:
            conn.execute(sql.SQL(function).format(sql.Literal(body)))

    def traced(self, *args: str, codes: Sequence[int] = (0,)) -> list[Call]:
        """Run a command to its end; return its calls from the first that touches the world."""
        trace = self.home / "trace"
        names = ",".join(name for kind in KINDS.values() for name in kind)
        options = ("-f", "--seccomp-bpf", "-s", "256", "-o", str(trace), "-e", f"trace={names}", "-e", "signal=none")
        ran = replace(self.hlctl, command=("strace", *options, str(COMMAND)))(*args)
        assert ran.code in codes, ran.err
        count: Counter[tuple[str, str]] = Counter()
        calls: list[Call] = []
        lines = trace.read_text(errors="replace").splitlines()
        trace.unlink()
        for line in lines:
            if called := re.match(r"(\d+) +(\w+)\(", line):
                thread, name = called.groups()
                count[thread, name] += 1
                is_worker = thread != lines[0].split()[0]
                call = Call(Point(name, count[thread, name]), line, is_worker)
                if calls or call.kind in TOUCHES or "O_CREAT" in line:
                    calls.append(call)
        return calls

    def killed(self, point: Point, *args: str, codes: Sequence[int] = (0,), is_worker: bool = False) -> bool:
        """Run a command with SIGKILL at that point; False if it came to its end without reaching it.

        The point is the main thread's, or else that of whichever thread comes there first, and there is one that asks.
        """
        call, n = point
        options = ("-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}")
        strace, alone = (("strace", "-f"), {"HLCTL_MAX_CONCURRENCY": "1"}) if is_worker else (("strace",), {})
        ran = replace(self.hlctl, command=(*strace, *options, str(COMMAND)))(*args, **alone)
        assert ran.code in {-9, *codes}, (ran.code, ran.err)
        self.is_let_go()
        return ran.code == -9

    def run(self, *args: str, code: int = 0, **settings: str) -> Ran:
        """Run a command to its end, which must be this one."""
        ran = self.hlctl(*args, **settings)
        assert ran.code == code, (args, ran.code, ran.out, ran.err)
        return ran

    def is_let_go(self, *, by_a_pooler: bool = False, seconds: float = 30) -> None:
        """Wait until the server has noticed: with its backend a dead client's locks are gone.

        A pooler keeps the backend, with nothing of its client in it.
        """
        backends = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hlctl'"
        backends += " AND state <> 'idle'" if by_a_pooler else ""
        locks = (
            "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE d.datname = current_database() AND l.locktype = 'advisory'"
        )
        servers.until(lambda: not self.rows(backends) and not self.rows(locks), seconds=seconds)

    def files(self) -> set[str]:
        """Return every file and folder there is."""
        return {str(path.relative_to(self.home)) for path in self.home.rglob("*")}


def make_database(server: str, template: str) -> str:
    """Make a database and return its name."""
    name = f"hlctl_test_{uuid.uuid4().hex[:12]}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
    with closing(psycopg.connect(server, autocommit=True)) as conn:
        conn.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    return name


def drop_database(server: str, name: str) -> None:
    """Drop a database, whoever is in it."""
    with closing(psycopg.connect(server, autocommit=True)) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def lane(server: str, home: Path, template: str, *, wallets: int = WALLETS) -> Iterator[Lane]:
    """Open a lane with a database of its own, a copy of `template`."""
    (home / "tmp").mkdir(parents=True)
    (home / "data").mkdir(mode=0o700)
    with sim.serve(sim.World.generate(seed=3, rows=3 * wallets)) as exchange:
        opened = Lane(server, exchange, home, wallets)
        opened.renew(template)
        try:
            yield opened
        finally:
            for name in opened.made:
                drop_database(server, name)


@contextmanager
def with_universe(server: str, home: Path, *, wallets: int = WALLETS) -> Iterator[str]:
    """Make the database that lanes begin with, which has a schema and a universe; its name."""
    with lane(server, home, "template0", wallets=wallets) as first:
        first.run("init-db")
        first.at(M)
        first.run("refresh-universe")
        yield first.made[0]
