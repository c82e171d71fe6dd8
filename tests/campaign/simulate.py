"""Minutes by the thousand on a real PostgreSQL, in simulated time: hlctl's own jobs, few wallets, seeded misfortunes.

`python -m tests.campaign.simulate --minutes 1000 --seed 1` ends with a summary in figures. It exits with 0 if every
promise was kept after every minute and every fault did something, with 1 if not, naming the line that replays it.
"""

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psycopg
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from hlctl import clock, days, db, store
from hlctl.audit import CHECKS
from hlctl.errors import BusyError, DatabaseUnusableError, HlctlError
from hlctl.exchange import Fetch
from hlctl.jobs import interrupt, snapshot, universe
from hlctl.jobs.status import status
from hlctl.minute import Send, Wait
from hlctl.settings import Settings
from hlctl.sim.market import stream
from tests.campaign.ledger import MINUTE, BrokenError, Ledger
from tests.campaign.market import Market
from tests.campaign.misfortunes import FAULTS, REASONS, Scene
from tests.campaign.stage import CLOCK, Actor, Connection, KilledError, Stage

START = datetime(2026, 1, 6, 20, 0, tzinfo=UTC)
_AUDIT_EVERY = 50  # minutes: the whole record, else the newest ones
_JUDGES_FAULTS_FROM = 1000  # minutes: in fewer, a fault may well not have come
_HOSTILE = {
    "timezone": "Asia/Kathmandu",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "0",
}
_UNHARMED = "success"


class StraightFetch(Fetch):
    """The same questions in the caller's thread: on a stage nobody runs beside the others."""

    sleep: Callable[[float], None]

    def run(self, *, threads: int, interrupted: Any, progress: Any) -> None:  # noqa: ARG002
        """Ask one after the other."""
        while not self._plan.is_over(self._now()):
            step = self._plan.step(now := self._now())
            if isinstance(step, Send):
                self._ask_one(step.wallet)
            elif isinstance(step, Wait) and step.until is not None:
                self.sleep(max(0.001, step.until - now))
            else:
                break
        self._closed = True


class Simulation:
    """A record, the exchange and the time, minute by minute."""

    def __init__(self, url: str, seed: int) -> None:
        rng = stream(seed)
        self.seed = seed
        self.stage = Stage(url, f"{seed}:stage", START)
        self.market = Market(self.stage, f"{seed}:market", rng.randint(5, 30))
        self.settings = Settings(
            database_url=SecretStr(url), universe_size=self.market.size, max_concurrency=1, rate_limit=0
        )
        self.stage.admin.execute(CLOCK.encode())
        self.stage.tell()
        self.ledger = Ledger()
        self.judge = db.connect(url)
        self.judge.prepare_threshold = 3  # most of a check's time is its planning
        self.minutes = 0
        self.hits: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.is_hostile = False
        self.scene: Scene | None = None
        self.planned: list[str] = []  # faults of the newest minute

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """Replace, in hlctl, what tells time, sleeps, connects, or belongs to a process of its own."""
        Connection.stage = self.stage
        StraightFetch.sleep = staticmethod(self.stage.sleep)
        fake = SimpleNamespace(monotonic=self.stage.mono, sleep=self.stage.sleep)
        quiet = SimpleNamespace(end_in=lambda *_: None, call_off=lambda: None, age=lambda: 0.0)
        deferred = SimpleNamespace(
            Interrupt=interrupt.Interrupt, deferred=lambda: nullcontext(interrupt.Interrupt(interrupt.GRACE))
        )
        run = snapshot._Run  # below: a name and a start of its own for each run of this process
        ids = stream(f"{self.seed}:ids")
        real_dial, ensure = db.dial, store.ensure_partitions

        def dial(conninfo: str, *, timeout: int = 5) -> db.Connection:
            if self.scene and self.scene.is_unreachable and self.stage.current:
                self.stage.sleep(timeout)
                raise DatabaseUnusableError("cannot connect to the database: simulated")
            if self.stage.current and self.stage.reuses and self.stage.idle:
                return self.stage.idle.pop()
            return real_dial(conninfo, timeout=timeout)

        def partitions(conn: db.Connection, *, days: int) -> int:
            if self.scene and self.scene.has_no_partitions:
                raise psycopg.errors.LockNotAvailable("simulated")
            return ensure(conn, days=days)

        def begin(**given: Any) -> Any:
            return run(attempt_id=uuid.UUID(int=ids.getrandbits(128)), started=self.stage.mono(), **given)

        with ExitStack() as stack:
            for target, name, new in (
                (db, "Connection", Connection),
                (db, "dial", dial),
                (store, "ensure_partitions", partitions),
                (snapshot, "_Run", begin),
                (snapshot, "time", fake),
                (snapshot, "watchdog", quiet),
                (snapshot, "interrupt", deferred),
                (snapshot, "Fetch", StraightFetch),
                (snapshot, "RunClock", partial(clock.RunClock, elapsed=self.stage.mono)),
                (snapshot, "connect", lambda _settings: self.market),
                (universe, "connect", lambda _settings: self.market),
            ):
                stack.enter_context(mock.patch.object(target, name, new))
            yield

    def close(self) -> None:
        """Close the connections."""
        for conn in (self.judge, self.stage.admin, *self.stage.idle):
            conn.close()

    def begin(self) -> None:
        """Read the first universe."""
        universe.refresh_universe(self.settings)

    def arrange(self, index: int) -> Scene:
        """Return a minute's scene: the same for the same seed and index."""
        rng = stream(f"{self.seed}:{index}")
        now = self.stage.now()
        self.stage.elapsed += (now.replace(second=0, microsecond=0) + MINUTE - now).total_seconds()
        self.stage.elapsed += 60 * rng.choice((0,) * 9 + (rng.randint(1, 5),))  # no run started
        self.stage.rng.seed(f"{self.seed}:{index}:stage")
        self.market.rng.seed(f"{self.seed}:{index}:market")
        self.market.drift()
        self.market.moods, self.market.hits, self.market.journal, self.market.board = {}, set(), [], "good"
        begins = self.stage.elapsed
        starts = [rng.uniform(0, 3)]
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            starts.append(rng.choice((starts[0] + rng.uniform(0, 0.1), rng.uniform(0, 4), rng.uniform(10, 42))))
        publishers = [
            Actor(
                f"snapshot-{n}",
                begins + at,
                partial(snapshot.snapshot, self.settings, align=False, progress=lambda *_: None),
            )
            for n, at in enumerate(starts)
        ]
        scene = Scene(self.stage, self.market, rng, list(publishers), publishers, begins)
        for fault in rng.sample(FAULTS, rng.choice((0, 1, 1, 2))):
            scene.planned.append(fault.name)
            fault.arrange(scene)
        self._others(scene)
        return scene

    def _others(self, scene: Scene) -> None:
        def enter(name: str, work: Any) -> Actor:
            scene.actors.append(Actor(name, scene.begins + scene.rng.uniform(0, 6), work))
            return scene.actors[-1]

        if {"refresh", "refresh_killed"} & scene.extras:
            actor = enter("refresh", partial(universe.refresh_universe, self.settings))
            if "refresh_killed" in scene.extras:
                number = scene.rng.randint(4, 25)

                def kill(conn: Connection, step: int) -> None:
                    if step == number:
                        self.stage.terminate(conn)
                        conn.pgconn.finish()
                        raise KilledError

                actor.before_step = kill
        if "prune" in scene.extras:
            enter("prune", self._prune)
        if "readers" in scene.extras:
            enter("status", partial(status, self.settings, verbose=True))
            enter("verify", self._verify)
        for name, value in _HOSTILE.items():
            change = f"SET {name} = '{value}'" if "hostile_settings" in scene.extras else f"RESET {name}"
            if self.is_hostile or "hostile_settings" in scene.extras:
                self.stage.admin.execute(f"ALTER DATABASE {self.stage.admin.info.dbname} {change}".encode())
        self.is_hostile = "hostile_settings" in scene.extras
        self.stage.reuses = not self.is_hostile  # only a new connection has them

    def _prune(self) -> None:
        with closing(db.connect(self._url())) as conn:
            with db.transaction(conn, read_only=True):
                found = days.list_prunable(conn, keep=1)
            for day in found:
                with db.transaction(conn):
                    days.drop_day(conn, day.day)

    def _verify(self) -> None:
        with closing(db.connect(self._url())) as conn, db.transaction(conn, read_only=True):
            minute = self.stage.now().replace(second=0, microsecond=0)
            self.ledger.audit(conn, minute - 10 * MINUTE, minute - 2 * MINUTE, whole=False)

    def _url(self) -> str:
        return self.settings.database_url.get_secret_value() if self.settings.database_url else ""

    def play(self, index: int) -> None:
        """Play one minute and judge the record. Raises BrokenError."""
        before = self.ledger.runs
        scene = self.scene = self.arrange(index)
        self.planned = scene.planned
        self.stage.play(scene.actors)
        self.scene = None
        self.minutes += 1
        self.ledger.has_stepped_back |= "clock_back" in scene.hit
        for actor in scene.actors:
            if actor.error is not None and not isinstance(actor.error, HlctlError | KilledError | psycopg.Error):
                raise BrokenError(f"{actor.name}: {actor.error!r}") from actor.error
        self.stage.tell()
        conn = self.judge
        with db.transaction(conn, read_only=True, statement_timeout=60):
            self.ledger.judge(conn, self.stage, self.market.journal)
            whole = index % _AUDIT_EVERY == _AUDIT_EVERY - 1
            until = max(self.ledger.runs, default=START) + MINUTE
            since = START if whole else self.stage.lowest.replace(second=0, microsecond=0) - 3 * MINUTE
            self.ledger.audit(
                conn,
                self._since_pruned(conn, since),
                until,
                whole=whole,
                excused={"strays"} if scene.has_no_partitions else set(),
            )
        self._account(scene, before)

    def _since_pruned(self, conn: db.Connection, since: datetime) -> datetime:
        row = conn.execute(b"SELECT max(snapshot_ts) FROM ingest_runs WHERE pruned_at IS NOT NULL").fetchone()
        return max(since, row[0] + MINUTE) if row and row[0] else since

    def _account(self, scene: Scene, before: dict[datetime, Any]) -> None:
        new = {ts: run for ts, run in self.ledger.runs.items() if before.get(ts) != run}
        committed = [a.result for a in scene.publishers if a.error is None and a.result.recorded]
        for result in committed:
            run = self.ledger.runs.get(result.snapshot_ts)
            if run is None or run.succeeded < result.recorded.wallets_succeeded:
                raise BrokenError(f"a snapshot said {result.recorded}, the record says {run}")
        errors = [a.error for a in scene.actors if a.error is not None and not isinstance(a.error, BusyError)]
        if not scene.planned and (errors or not new):
            raise BrokenError(f"a minute without a fault was not recorded: {errors}")
        hit = scene.hit | ({name for name in scene.planned if self.market.hits & _moods_of(name)})
        worst = "gap" if not new else min((run.status for run in new.values()), default="gap")
        self.outcomes[worst] += 1
        is_changed = bool(errors) or worst != _UNHARMED or any(run.attempts > 1 for run in new.values())
        self.hits.update(hit & set(scene.planned))
        if is_changed:
            self.changes.update(hit & set(scene.planned))


def _moods_of(fault: str) -> set[str]:
    """Return the moods of the exchange by which a fault is known to have come."""
    return set(REASONS) if fault == "a_few_of_all_kinds" else {fault, fault.removeprefix("some_").removeprefix("all_")}


@contextmanager
def server() -> Iterator[str]:
    """Start a PostgreSQL of our own, without fsync, with a database that has the schema; yield its URL."""
    with tempfile.TemporaryDirectory(prefix="hlctl-simulate-", ignore_cleanup_errors=True) as folder:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HLCTL_", "PG"))}
        env["HLCTL_DATA_DIR"] = str(Path(folder) / "data")
        hlctl = partial(subprocess.run, env=env, check=True, capture_output=True, text=True, timeout=180)
        started = hlctl([sys.executable, "-m", "hlctl", "db", "start", "--json"])
        url = make_conninfo(json.loads(started.stdout)["result"]["url"])
        try:
            with psycopg.connect(url, autocommit=True) as conn:
                for name in ("fsync", "full_page_writes", "autovacuum"):
                    conn.execute(f"ALTER SYSTEM SET {name} = off".encode())
                conn.execute("SELECT pg_reload_conf()")
            hlctl([sys.executable, "-m", "hlctl", "init-db"])
            yield url
        finally:
            hlctl([sys.executable, "-m", "hlctl", "db", "stop"])


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.simulate", description=__doc__)
    parser.add_argument("--minutes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only-minute", type=int, help="play this minute alone, on an empty record")
    options = parser.parse_args(arguments)
    indexes = [options.only_minute] if options.only_minute is not None else range(options.minutes)
    began = time.monotonic()
    with server() as url, closing(Simulation(url, options.seed)) as simulation, simulation.replaced():
        simulation.begin()
        for index in indexes:
            try:
                simulation.play(index)
            except (BrokenError, RuntimeError) as exc:
                replay = f"--minutes {index + 1} --seed {options.seed}"
                _say(f"minute {index}, {simulation.planned}: {exc}")
                _say(f"replay: python -m tests.campaign.simulate {replay}")
                return 1
    return report(simulation, time.monotonic() - began)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a script that prints


def report(simulation: Simulation, seconds: float) -> int:
    """Print the figures; return 1 if a fault never did anything."""
    idle = []
    for fault in FAULTS:
        hits, changes = simulation.hits[fault.name], simulation.changes[fault.name]
        _say(f"{fault.name:24} hit {hits:6}, changed {changes:6}")
        if not hits or (fault.changes and not changes):
            idle.append(fault.name)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(simulation.outcomes.items()))
    _say(
        f"{datetime.now(UTC):%F}, Python {platform.python_version()}, seed {simulation.seed}:"
        f" {simulation.minutes} minutes ({outcomes})"
        f", {len(CHECKS)} checks, nothing broken; {simulation.minutes / seconds:.1f} minutes a second"
    )
    if idle and simulation.minutes >= _JUDGES_FAULTS_FROM:
        _say(f"never did anything: {', '.join(idle)}")
        return 1
    return 0


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # hlctl tells of every fault
    sys.exit(main())
