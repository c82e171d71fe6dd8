"""A record in simulated time: hlctl's own jobs, few wallets, seeded misfortunes, and the judge after every minute."""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psycopg
from pydantic import SecretStr

from hlctl import audit, clock, days, db, quiet, store
from hlctl.audit import CHECKS
from hlctl.errors import BusyError, DatabaseUnusableError, HlctlError
from hlctl.exchange import Fetch
from hlctl.jobs import interrupt, snapshot, universe
from hlctl.jobs.status import status
from hlctl.minute import RATE_WINDOW, Send, Wait, capacity
from hlctl.settings import Settings
from hlctl.sim.market import stream
from tests.campaign.ledger import MINUTE, BrokenError, Ledger, Run
from tests.campaign.market import Market
from tests.campaign.misfortunes import REASONS, Scene, choose
from tests.campaign.stage import CLOCK, Actor, Connection, KilledError, Stage

START = datetime(2026, 1, 6, 20, 0, tzinfo=UTC)
_AUDIT_EVERY = 50  # minutes: the whole record, else the newest ones
_HOSTILE = {
    "timezone": "Asia/Kathmandu",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "0",
}
_STRAYS = next(check for check in CHECKS if check.id == "strays")
_FACTS = b"""
    SELECT (SELECT count(*) FROM snapshot_anomalies), (SELECT max(run_id) FROM wallet_universe_runs),
           (SELECT count(*) FROM ingest_runs WHERE suspect <> '{}'), (SELECT max(pruned_at) FROM ingest_runs)
"""


class StraightFetch(Fetch):
    """The same questions in the caller's thread: on a stage nobody runs beside the others."""

    sleep: Callable[[float], None]

    def run(self, *, threads: int, interrupted: Callable[[], bool], progress: Any) -> None:  # noqa: ARG002
        """Ask one after the other."""
        while not (interrupted() or self._plan.is_over(self._now())):
            step = self._plan.step(now := self._now())
            if isinstance(step, Send):
                self._ask_one(step.wallet)
            elif isinstance(step, Wait) and step.until is not None:
                self.sleep(max(0.001, min(step.until, self._deadline) - now))
            else:
                break
        self._closed = True


class Simulation:
    """A record, the exchange and the time, minute by minute."""

    def __init__(self, url: str, seed: int) -> None:
        rng = stream(f"{seed}:settings")
        self.seed = seed
        self.stage = Stage(url, f"{seed}:stage", START)
        self.market = Market(self.stage, f"{seed}:market", rng.randint(4, 20))
        success, failed = map(Decimal, rng.choice(((95, 80), (95, 80), (100, 50), (90, 90))))
        self.settings = Settings(
            database_url=SecretStr(url),
            universe_size=self.market.size,
            max_concurrency=1,
            rate_limit=rng.choice((0, 4 * self.market.size, 12 * self.market.size)),
            coverage_success=success,
            coverage_failed=failed,
        )
        self.stage.admin.execute(CLOCK.encode())
        self.stage.tell()
        self.stage.landed = self._look
        self.ledger = Ledger()
        self.judge = db.connect(url)
        self.judge.prepare_threshold = 3  # most of a check's time is its planning
        self.judge.execute(b"SET plan_cache_mode = force_generic_plan")
        self.minutes = 0
        self.hits: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.is_hostile = self.has_strays = False
        self.scene: Scene | None = None
        self.planned: list[str] = []  # faults of the newest minute
        self.facts: tuple[Any, ...] | None = None  # beside the minutes, what a fault may change
        self.counted_from = 0.0  # since when each request is in some run's row, by the stage's elapsed time

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """Replace, in hlctl, what tells time, sleeps, connects, or belongs to a process of its own."""
        Connection.stage = self.stage
        StraightFetch.sleep = staticmethod(self.stage.sleep)
        fake = SimpleNamespace(monotonic=self.stage.mono, sleep=self.stage.sleep)
        leash = SimpleNamespace(end_in=lambda *_: None, call_off=lambda: None, age=lambda: 0.0, hasten=lambda *_: None)
        deferred = SimpleNamespace(Interrupt=interrupt.Interrupt, deferred=self._deferred, hastened=nullcontext)
        run = snapshot._Run  # below: a name and a start of its own for each run of this process
        ids = stream(f"{self.seed}:ids")
        real_dial, ensure, real_publish = db.dial, store.ensure_partitions, store.publish

        def dial(conninfo: str, *, timeout: int = 5) -> db.Connection:
            if self.scene and self.scene.is_unreachable and self.stage.current:
                self.stage.sleep(timeout)
                raise DatabaseUnusableError("cannot connect to the database: simulated")
            if self.stage.current and self.stage.reuses and self.stage.idle:
                return self.stage.idle.pop()
            return real_dial(conninfo, timeout=timeout)

        def partitions(conn: db.Connection, *, days: int) -> None:
            if self.scene and self.scene.has_no_partitions:
                raise psycopg.errors.LockNotAvailable("simulated")
            ensure(conn, days=days)

        def publish(conn: db.Connection, minute: datetime, **given: Any) -> Any:
            recorded = real_publish(conn, minute, **given)
            if self.stage.current:
                self.stage.current.published = minute
            return recorded

        def begin(**given: Any) -> Any:
            return run(attempt_id=uuid.UUID(int=ids.getrandbits(128)), started=self.stage.mono(), **given)

        with ExitStack() as stack:
            for target, name, new in (
                (db, "Connection", Connection),
                (db, "dial", dial),
                (store, "ensure_partitions", partitions),
                (store, "publish", publish),
                (interrupt, "time", fake),
                (interrupt, "watchdog", leash),
                (snapshot, "_Run", begin),
                (snapshot, "time", fake),
                (snapshot, "watchdog", leash),
                (snapshot, "interrupt", deferred),
                (quiet, "is_news", lambda _place, *, is_wrong: is_wrong),  # a host's memory
                (snapshot, "Fetch", StraightFetch),
                (snapshot, "RunClock", partial(clock.RunClock, elapsed=self.stage.mono)),
                (snapshot, "connect", lambda _settings: self.market),
                (universe, "connect", lambda _settings: self.market),
            ):
                stack.enter_context(mock.patch.object(target, name, new))
            yield

    @contextmanager
    def _deferred(self) -> Iterator[interrupt.Interrupt]:
        """Let signals come from the stage."""
        heard = interrupt.Interrupt(interrupt.GRACE)
        if self.stage.current:
            self.stage.current.interrupt = heard
        yield heard

    def _look(self, actor: Actor) -> None:
        """Look at a minute once it is published: the next publisher would hide what this one did."""
        if actor.published is not None:
            minute, actor.published = actor.published, None
            self.ledger.look(self.judge, self.stage, self.market.journal, minute)

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
        self.market.asked = [(at, who) for at, who in self.market.asked if at > self.stage.elapsed - 120]
        begins = self.stage.elapsed
        starts = [rng.uniform(0, 3)]
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            starts.append(rng.choice((starts[0] + rng.uniform(0, 0.1), rng.uniform(0, 4), rng.uniform(10, 42))))
        scene = Scene(self.stage, self.market, rng, [], [], begins, self.stage.offset)

        def enter(at: float) -> None:
            work = partial(snapshot.snapshot, self.settings, align=False, progress=lambda *_: None)
            scene.publishers.append(Actor(f"snapshot-{index}-{len(scene.publishers)}", at, work))

        scene.enter = enter
        for at in starts:
            enter(begins + at)
        for fault in choose(rng):
            scene.planned.append(fault.name)
            fault.arrange(scene)
        scene.actors += scene.publishers
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
        for name, value in _HOSTILE.items() if self.is_hostile or "hostile_settings" in scene.extras else ():
            change = f"SET {name} = '{value}'" if "hostile_settings" in scene.extras else f"RESET {name}"
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
            excused = {"strays"} if self.has_strays else set()
            self.ledger.audit(conn, minute - 10 * MINUTE, minute - 2 * MINUTE, whole=False, excused=excused)

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
            self.has_strays |= scene.has_no_partitions  # until a run has made their day
            excused = {"strays"} if self.has_strays else set()
            self.ledger.audit(conn, self._since_pruned(conn, since), until, whole=whole, excused=excused)
            self.has_strays = self.has_strays and any(audit.violations(conn, _STRAYS, START, until))
            facts = conn.execute(_FACTS).fetchone()
        self._rate(scene)
        self._account(scene, before, facts)
        self.facts = facts

    def _since_pruned(self, conn: db.Connection, since: datetime) -> datetime:
        row = conn.execute(b"SELECT max(snapshot_ts) FROM ingest_runs WHERE pruned_at IS NOT NULL").fetchone()
        return max(since, row[0] + MINUTE) if row and row[0] else since

    def _rate(self, scene: Scene) -> None:
        """Hold that what was sent in any 60 s is within the limit, as far as each run left a row to know of."""
        asked, limit = self.market.asked, capacity(self.settings.rate_limit)
        unrecorded = {a.name for a in scene.publishers if a.error is not None or a.result.recorded is None}
        if len(self.stage.offsets) > 1 or self.stage.has_ended_a_session:
            self.counted_from = self.stage.elapsed
        self.counted_from = max([self.counted_from, *(at for at, who in asked if who in unrecorded)])
        times = [at for at, _ in asked if at > self.counted_from]
        for first, last in zip(times, times[int(min(limit, len(times))) :], strict=False):
            if last - first < RATE_WINDOW:
                raise BrokenError(f"more than {limit} requests within {last - first:.1f} s")

    def _account(self, scene: Scene, before: dict[datetime, Run], facts: tuple[Any, ...] | None) -> None:
        new = {ts: run for ts, run in self.ledger.runs.items() if before.get(ts) != run}
        committed = [a.result for a in scene.publishers if a.error is None and a.result.recorded]
        for result in committed:
            run = self.ledger.runs.get(result.snapshot_ts)
            if run is None or run.succeeded < result.recorded.wallets_succeeded:
                raise BrokenError(f"a snapshot said {result.recorded}, the record says {run}")
        errors = [a.error for a in scene.actors if a.error is not None and not isinstance(a.error, BusyError)]
        minute = self.stage.at(scene.begins, scene.offset).replace(second=0, microsecond=0)
        if not scene.planned and (errors or minute not in self.ledger.runs):
            raise BrokenError(f"a minute without a fault was not recorded: {errors}")
        worst = "gap" if not new else min((run.status for run in new.values()), default="gap")
        self.outcomes[worst] += 1
        hit = (scene.hit | {name for name in scene.planned if self.market.hits & _moods_of(name)}) & set(scene.planned)
        self.hits.update(hit)
        is_harmed = (
            errors
            or worst != "success"
            or minute not in self.ledger.runs
            or any(run.attempts > 1 for run in new.values())
        )
        if len(scene.planned) == 1 and (is_harmed or facts != self.facts):  # of a pair nobody knows which it was
            self.changes.update(hit)


def _moods_of(fault: str) -> set[str]:
    """Return the moods of the exchange by which a fault is known to have come."""
    return set(REASONS) if fault == "a_few_of_all_kinds" else {fault, fault.removeprefix("some_").removeprefix("all_")}
