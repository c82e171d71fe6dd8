"""The commands that are killed, and what must be so after each kill (see `killing`)."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from hlctl import sim
from tests.e2e.conftest import M, closed_port
from tests.e2e.killing import WALLETS, Call, Lane, Point
from tests.e2e.oracle import after, assert_whole, known, served
from tests.e2e.proxy import cut, proxied
from tests.e2e.record import fill


@dataclass
class Scenario:
    """A command, how to come to the moment before it, and what must be so after it was killed."""

    lane: Lane
    args: ClassVar[tuple[str, ...]]
    codes: ClassVar[tuple[int, ...]] = (0,)  # of a run that nobody kills
    commit: ClassVar[int | None] = -1  # which of its COMMITs makes its work true
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

    def turning(self, calls: Sequence[Call]) -> list[Call]:
        """Return the call that sends the COMMIT by which a run becomes true, the call after it, and the next to send.

        The one between them is counted as it came in this run: another run waits oftener, or not as often.
        """
        if self.commit is None:
            return []
        main = [call for call in calls if not call.is_worker]
        sending = [n for n, call in enumerate(main) if call.kind == "sendto"]
        commit = [n for n in sending if 'COMMIT\\0"' in main[n].text][self.commit]
        return [main[commit], main[commit + 1], main[min(n for n in sending if n > commit)]]

    def filing(self, calls: Sequence[Call]) -> list[Call]:
        """Return the calls that make files."""
        return [
            *(call for call in calls if call.kind in {"fsync", "rename", "unlink", "ftruncate"}),
            *(call for call in calls if not call.is_worker and "O_CREAT" in call.text),
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
    commit = None
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
    rows = [
        {
            "ethAddress": address,
            "accountValue": "1.0",
            "windowPerformances": [["month", {"pnl": f"{1000 - place}.5", "roi": "0.1", "vlm": "1.0"}]],
            "prize": 0,
            "displayName": None,
        }
        for place, address in enumerate(addresses)
    ]
    return json.dumps({"leaderboardRows": rows}).encode()


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
    commit = -3  # behind it come a look whether there is anything left to do, and what roles are given

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

    commit = None
    kinds = Scenario.kinds | {"openat", "fsync", "rename", "unlink", "mkdir"}
    args: ClassVar[tuple[str, ...]] = ("export", "--format", "csv")
    file = "cells.csv.gz"
    days = tuple((M - timedelta(days=ago)).date() for ago in (3, 2))

    def begin(self) -> None:
        self.lane.at(M)
        fill(self.lane.database, *self.days)
        self.lane.run(*self.args[:3])

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

    args = ("export", "--format", "parquet")
    file = "cells.parquet"


class ExportAgain(Export):
    """A day that the archive has, with other cells, and is to replace."""

    args = (*Export.args, "--force", "--day", str(Export.days[-1]))
    manifest = b""

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
