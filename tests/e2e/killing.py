"""SIGKILL at a system call, again and again, and what must be so after each.

A lane is a database, an exchange and a place for files of its own, in which one command is killed at one system call
after the other. Nothing is begun anew between two kills: time goes on to the next minute, so that what a kill leaves
behind is there for all that follow.

strace kills as the call is entered, before it does anything: the n-th call of a name is the moment after all before it.
"""

import hashlib
import json
import re
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from hlctl import sim
from tests.e2e import servers
from tests.e2e.conftest import COMMAND, Hlctl, M, Ran, closed_port, rows_of
from tests.e2e.oracle import after, assert_whole, known, served
from tests.e2e.proxy import cut, proxied
from tests.e2e.record import fill

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
"""Before the first call of these kinds, or the first file that is opened to be made, nothing outside can have changed."""


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
            "HLCTL_UNIVERSE_SIZE": str(WALLETS),
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
                count[called.groups()] += 1
                is_worker = not line.startswith(lines[0].split()[0])
                call = Call(Point(called[2], count[called.groups()]), line, is_worker)
                if calls or call.kind in TOUCHES or "O_CREAT" in line:
                    calls.append(call)
        return calls

    def killed(self, point: Point, *args: str, codes: Sequence[int] = (0,), is_worker: bool = False) -> bool:
        """Run a command with SIGKILL at that point; False if it came to its end without reaching it.

        The point is the main thread's, or else that of whichever thread comes there first, and there is one that asks.
        """
        call, n = point
        options = ("-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}")
        options, one = (("-f", *options), {"HLCTL_MAX_CONCURRENCY": "1"}) if is_worker else (options, {})
        ran = replace(self.hlctl, command=("strace", *options, str(COMMAND)))(*args, **one)
        assert ran.code in {-9, *codes}, (ran.code, ran.err)
        self.is_let_go()
        return ran.code == -9

    def run(self, *args: str, code: int = 0, **settings: str) -> Ran:
        """Run a command to its end, which must be this one."""
        ran = self.hlctl(*args, **settings)
        assert ran.code == code, (args, ran.code, ran.out, ran.err)
        return ran

    def is_let_go(self) -> None:
        """Wait until the server has noticed: with its backend a dead client's locks are gone."""
        backends = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hlctl'"
        locks = (
            "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE d.datname = current_database() AND l.locktype = 'advisory'"
        )
        servers.until(lambda: not self.rows(backends) and not self.rows(locks), seconds=30)

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
def lane(server: str, home: Path, template: str) -> Iterator[Lane]:
    """Open a lane with a database of its own, a copy of `template`."""
    (home / "tmp").mkdir(parents=True)
    (home / "data").mkdir(mode=0o700)
    with sim.serve(sim.World.generate(seed=3, rows=3 * WALLETS)) as exchange:
        opened = Lane(server, exchange, home)
        opened.renew(template)
        try:
            yield opened
        finally:
            for name in opened.made:
                drop_database(server, name)


@contextmanager
def with_universe(server: str, home: Path) -> Iterator[str]:
    """Make the database that lanes begin with, which has a schema and a universe; its name."""
    with lane(server, home, "template0") as first:
        first.run("init-db")
        first.at(M)
        first.run("refresh-universe")
        yield first.made[0]


@dataclass
class Scenario:
    """A command, how to come to the moment before it, and what must be so after it was killed."""

    lane: Lane
    args: ClassVar[tuple[str, ...]]
    codes: ClassVar[tuple[int, ...]] = (0,)  # of a run that nobody kills
    commit: ClassVar[int] = -1  # which of its COMMITs makes its work true
    kinds: ClassVar[frozenset[str]] = frozenset({"sendto", "recvfrom", "poll", "connect", "write"})
    """What the command does: a kind that no kill ever hit would mean that this knows its calls no longer."""

    def begin(self) -> None:
        """Make what all kills share."""

    def before(self) -> None:
        """Come to the moment before the command."""

    def is_done(self) -> bool:
        """Tell whether the command's work was committed."""
        raise NotImplementedError

    def after(self) -> None:
        """Check what the kill left, and that the next run makes it good."""
        raise NotImplementedError

    def end(self) -> None:
        """Check all that was recorded: the last run is final then."""
        lane = self.lane
        lane.at(after(lane.now), 2)
        lane.run("snapshot")
        assert_whole(lane.rows, lane.exchange, lane.now, wallets=WALLETS)
        recorded = {cell for cell in known(lane.rows) if cell[0] >= M}
        assert recorded <= served(lane.exchange)
        lane.at(lane.now, 120)
        lane.run("verify", "--since", "1d")

    def calls(self) -> list[Call]:
        """Return the calls of a run that nobody kills."""
        self.before()
        found = self.lane.traced(*self.args, codes=self.codes)
        self.lane.is_let_go()
        self.after()
        return found

    def decisive(self, calls: Sequence[Call]) -> list[Call]:
        """Return the calls at which a run becomes true: COMMIT and the call after it, and those that make files."""
        main = [call for call in calls if not call.is_worker]
        commits = [n for n, call in enumerate(main) if call.kind == "sendto" and 'COMMIT\\0"' in call.text]
        return [
            *(main[n] for commit in commits[self.commit :][:1] for n in (commit, commit + 1)),
            *(call for call in calls if call.kind in {"fsync", "rename", "unlink", "ftruncate"}),
            *(call for call in main if "O_CREAT" in call.text),
        ]

    def kill(self, point: Point, *, is_worker: bool = False) -> bool | None:
        """Kill the command there, check all, and tell whether its work was committed; None if it came to its end."""
        self.before()
        was_killed = self.lane.killed(point, *self.args, codes=self.codes, is_worker=is_worker)
        was_done = self.is_done()
        assert was_killed or was_done
        self.after()
        return was_done if was_killed else None


class Fresh(Scenario):
    """A minute of which nothing is known."""

    args = ("snapshot",)

    def before(self) -> None:
        self.lane.at(after(self.lane.now))

    def is_done(self) -> bool:
        return bool(self.lane.rows("SELECT FROM ingest_runs WHERE snapshot_ts = %s AND attempts = 1", self.lane.now))

    def after(self) -> None:
        lane = self.lane
        recorded = known(lane.rows, lane.now)
        assert len(recorded) in {0, 3 * WALLETS}
        lane.run("snapshot")
        assert_whole(lane.rows, lane.exchange, lane.now, wallets=WALLETS)
        assert known(lane.rows, lane.now) >= recorded
        assert lane.files() == {"data", "tmp"}


class Rerun(Fresh):
    """A minute of which half the wallets are known."""

    def before(self) -> None:
        lane = self.lane
        lane.at(after(lane.now))
        for (address,) in lane.rows("SELECT address FROM v_universe WHERE rank %% 2 = %s", 0):
            lane.exchange.misbehave(address, sim.Fault(status=404))
        lane.run("snapshot", code=4)
        assert lane.rows("SELECT wallets_succeeded FROM ingest_runs WHERE snapshot_ts = %s", lane.now) == [(10,)]
        lane.exchange.behave()

    def is_done(self) -> bool:
        return bool(self.lane.rows("SELECT FROM ingest_runs WHERE snapshot_ts = %s AND attempts = 2", self.lane.now))

    def after(self) -> None:
        lane = self.lane
        recorded = known(lane.rows, lane.now)
        assert len(recorded) in {3 * WALLETS // 2, 3 * WALLETS}
        lane.run("snapshot")
        assert_whole(lane.rows, lane.exchange, lane.now, wallets=WALLETS)
        assert known(lane.rows, lane.now) >= recorded
        assert lane.rows("SELECT attempts FROM ingest_runs WHERE snapshot_ts = %s", lane.now) == [(2,)]
        lane.at(after(lane.now))
        lane.run("snapshot")  # takes back what the first run told
        assert lane.files() == {"data", "tmp"}


class Failing(Fresh):
    """A minute of which nobody tells anything, with a metrics file."""

    codes = (4,)
    kinds = Fresh.kinds | {"openat", "rename", "unlink"}

    def before(self) -> None:
        lane = self.lane
        lane.at(after(lane.now))
        (lane.home / "metrics").mkdir(exist_ok=True)
        lane.settings = {"HLCTL_METRICS_FILE": str(lane.home / "metrics" / "hlctl.prom")}
        lane.exchange.misbehave(None, sim.Fault(status=404))

    def after(self) -> None:
        lane = self.lane
        assert not known(lane.rows, lane.now)
        lane.exchange.behave()
        lane.run("snapshot")
        assert_whole(lane.rows, lane.exchange, lane.now, wallets=WALLETS)
        assert lane.files() == {"data", "tmp", "metrics", "metrics/hlctl.prom"}


class Away(Fresh):
    """A minute whose database is away: that this was told is kept in a file, by a thread of its own."""

    codes = (5,)
    kinds = frozenset({"rename"})

    def before(self) -> None:
        lane = self.lane
        lane.at(after(lane.now))
        lane.settings = {"HLCTL_DATABASE_URL": f"postgresql://u@127.0.0.1:{closed_port()}/x"}

    def is_done(self) -> bool:
        return (self.lane.home / "data" / "told-snapshot.json").exists()

    def after(self) -> None:
        lane = self.lane
        lane.run("snapshot", code=5)
        assert lane.files() == {"data", "data/told-snapshot.json", "tmp"}
        lane.settings = {}
        lane.run("snapshot")
        assert_whole(lane.rows, lane.exchange, lane.now, wallets=WALLETS)
        assert lane.files() == {"data", "tmp"}


class RefreshUniverse(Scenario):
    """A leaderboard with other wallets on it than the last one, but not too many."""

    args = ("refresh-universe",)

    def before(self) -> None:
        lane = self.lane
        lane.at(after(lane.now))
        ranked = [address for (address,) in lane.rows("SELECT address FROM v_universe ORDER BY rank")]
        lane.exchange.leaderboard_body = _board([_address(lane.now), *ranked[: WALLETS - 1]])

    def is_done(self) -> bool:
        return bool(self.lane.rows("SELECT FROM v_universe WHERE address = %s", _address(self.lane.now)))

    def after(self) -> None:
        lane = self.lane
        torn = """
            SELECT FROM wallet_universe_runs r
              LEFT JOIN wallet_universe_members m USING (run_id)
             GROUP BY r.run_id HAVING count(m.wallet_id) <> %s
        """
        current = "SELECT count(*), count(DISTINCT run_id), max(rank) FROM wallet_universe_current"
        assert lane.rows(torn, WALLETS) == []
        assert lane.rows(current) == [(WALLETS, 1, WALLETS)]
        lane.run("refresh-universe")
        assert lane.rows(current) == [(WALLETS, 1, WALLETS)]
        assert self.is_done()
        assert lane.files() == {"data", "tmp"}


def _address(minute: datetime) -> str:
    return f"0x{int(minute.timestamp()):040x}"


def _board(addresses: Sequence[str]) -> bytes:
    rows = ",".join(
        '{"ethAddress":"%s","accountValue":"1.0","displayName":null,"prize":0,"windowPerformances":'
        '[["month",{"pnl":"%d.5","roi":"0.1","vlm":"1.0"}]]}' % (address, 1000 - place)
        for place, address in enumerate(addresses)
    )
    return f'{{"leaderboardRows":[{rows}]}}'.encode()


SCHEMA = """
    SELECT 'r', c.relname, c.relkind::text, obj_description(c.oid) FROM pg_class c
     WHERE c.relnamespace = 'public'::regnamespace AND c.relname !~ '_[0-9]{8}'
    UNION ALL
    SELECT 'c', attrelid::regclass::text, attname, format_type(atttypid, atttypmod) FROM pg_attribute
     WHERE attrelid::regclass::text !~ '[._][0-9]{8}' AND attnum > 0
       AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
    UNION ALL
    SELECT 'f', proname, pg_get_function_identity_arguments(oid), md5(prosrc) FROM pg_proc
     WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'm', version::text, name, checksum FROM schema_migrations
     ORDER BY 1, 2, 3, 4
"""


@dataclass
class InitDb(Scenario):
    """A database with nothing in it."""

    empty: str = ""  # the name of the database each kill begins with
    whole: list[tuple[Any, ...]] = field(default_factory=list)
    versions: int = 0  # of the schema before

    args = ("init-db",)
    commit = -2  # the last one belongs to the look whether there is anything left to do

    def begin(self) -> None:
        self.lane.renew("template0")
        self.empty = self.lane.made[-1]
        self.before()
        self.lane.run("init-db")
        self.whole = self.lane.rows(SCHEMA)

    def before(self) -> None:
        self.lane.renew(self.empty)

    def is_done(self) -> bool:
        return self.version() == len([row for row in self.whole if row[0] == "m"])

    def version(self) -> int:
        """Return how many migrations the database knows."""
        if self.lane.rows("SELECT to_regclass('schema_migrations')") == [(None,)]:
            return 0
        ((version,),) = self.lane.rows("SELECT count(*)::int FROM schema_migrations")
        return int(version)

    def after(self) -> None:
        lane = self.lane
        assert self.version() >= self.versions
        lane.run("init-db")
        assert lane.rows(SCHEMA) == self.whole
        assert lane.files() == {"data", "tmp"}

    def end(self) -> None:
        self.lane.at(M)
        self.lane.run("refresh-universe")
        super().end()


class Upgrade(InitDb):
    """A database with the schema as it was some versions ago."""

    def begin(self) -> None:
        super().begin()
        lane = self.lane
        lane.renew(self.empty)
        with proxied(lane.database) as proxy:
            proxy.when(b"0006_audit", cut)
            lane.run("init-db", code=5, HLCTL_DATABASE_URL=proxy.url)
        lane.is_let_go()
        self.empty = lane.made[-1]
        self.versions = self.version()
        assert 0 < self.versions < len([row for row in self.whole if row[0] == "m"])


class Prune(Scenario):
    """Two days too many."""

    args = ("prune", "--keep", "3d")
    day = 10  # days ago, of the youngest of them

    def begin(self) -> None:
        self.lane.at(M)
        self.lane.run("snapshot")  # the newest day that has cells is never dropped

    def before(self) -> None:
        self.lane.at(M)
        self.day += 2
        fill(self.lane.database, *self.days())

    def days(self) -> list[Any]:
        """Return the days to drop."""
        return [(M - timedelta(days=self.day + more)).date() for more in (1, 0)]

    def left(self) -> list[int]:
        """Return how many cells each of them has."""
        count = "SELECT count(*)::int FROM wallet_snapshots WHERE snapshot_ts::date = %s"
        return [self.lane.rows(count, day)[0][0] for day in self.days()]

    def is_done(self) -> bool:
        return self.left() == [0, 0]

    def after(self) -> None:
        lane = self.lane
        assert set(self.left()) <= {0, 90}
        torn = """
            SELECT FROM ingest_runs r WHERE (r.pruned_at IS NULL) <>
                   EXISTS (SELECT FROM wallet_snapshots c WHERE c.snapshot_ts = r.snapshot_ts)
            UNION ALL
            SELECT FROM snapshot_anomalies a JOIN ingest_runs r USING (snapshot_ts) WHERE r.pruned_at IS NOT NULL
        """
        assert lane.rows(torn) == []
        lane.run("prune", "--keep", "3d")
        assert self.is_done()
        assert lane.rows("SELECT FROM pg_class WHERE relname ~ '^wallet_snapshots_2025' AND relkind = 'r'") == []
        assert lane.files() == {"data", "tmp"}


class Export(Scenario):
    """A day that the archive lacks, behind one that it has."""

    kinds = Scenario.kinds | {"openat", "fsync", "rename", "unlink", "mkdir"}
    kind = "csv"
    file = "cells.csv.gz"
    days = tuple((M - timedelta(days=ago)).date() for ago in (3, 2))

    @property
    def args(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("export", "--format", self.kind)

    def begin(self) -> None:
        self.lane.at(M)
        fill(self.lane.database, *self.days)
        self.lane.run(*self.args)

    @property
    def folder(self) -> Path:
        """Return where the second day is."""
        return self.lane.home / "archive" / f"date={self.days[-1]}"

    def before(self) -> None:
        shutil.rmtree(self.folder)

    def is_done(self) -> bool:
        return (self.folder / "_manifest.json").exists()

    def after(self) -> None:
        lane = self.lane
        lane.run(*self.args)
        folders = [f"archive/date={day}" for day in self.days]
        files = {f"{folder}/{name}" for folder in folders for name in (self.file, "_manifest.json")}
        assert lane.files() == {"data", "tmp", "archive", *folders, *files}
        first, second = (json.loads((lane.home / folder / "_manifest.json").read_bytes()) for folder in folders)
        assert second["files"][0]["sha256"] == _sha256(self.folder / self.file)
        assert second["previous"]["sha256"] == _sha256(lane.home / folders[0] / "_manifest.json")
        assert (first["rows"], second["rows"]) == (90, 90)

    def end(self) -> None:
        self.lane.run("export", "--verify")
        super().end()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class ExportParquet(Export):
    """The same as Parquet."""

    kind = "parquet"
    file = "cells.parquet"


class ExportAgain(Export):
    """A day that the archive has, with other cells, and is to replace."""

    kinds = Export.kinds - {"mkdir"}
    manifest = b""

    @property
    def args(self) -> tuple[str, ...]:
        return (*super().args, "--force", "--day", str(self.days[-1]))

    def begin(self) -> None:
        self.lane.at(M)
        fill(self.lane.database, *self.days)
        self.lane.run("export", "--format", self.kind)

    def before(self) -> None:
        self.manifest = (self.folder / "_manifest.json").read_bytes()
        self.lane.rows(
            "UPDATE wallet_snapshots SET dirty_reason = gen_random_uuid()"
            " WHERE is_dirty AND snapshot_ts::date = %s RETURNING 1",
            self.days[-1],
        )

    def is_done(self) -> bool:
        return (self.folder / "_manifest.json").read_bytes() != self.manifest


SCENARIOS: dict[str, type[Scenario]] = {
    "snapshot": Fresh,
    "snapshot again": Rerun,
    "snapshot without an exchange": Failing,
    "snapshot without a database": Away,
    "refresh-universe": RefreshUniverse,
    "init-db": InitDb,
    "init-db of an older schema": Upgrade,
    "prune": Prune,
    "export": Export,
    "export as Parquet": ExportParquet,
    "export --force": ExportAgain,
}
