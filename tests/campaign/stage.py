"""Simulated time, and actors that take turns on real connections: one step is one round trip to the database.

Each actor is a thread, and only one of them runs at a time: the one a seeded scheduler has picked. A statement that
waits for another actor's lock lets the others go on, and once it has the lock its actor waits for its next turn. So the
same seed gives the same order of the same statements.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg

from hlctl import db
from hlctl.sim.market import stream

if TYPE_CHECKING:
    from hlctl.jobs.interrupt import Interrupt

_LOOK = 0.003  # seconds until a statement that has not ended is suspected of waiting for a lock
_PATIENCE = 30.0  # seconds after which a step that waits for nobody is a bug of the stage
CLOCK = """
    CREATE SEQUENCE sim_clock MINVALUE 0;
    CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT timestamptz ''epoch'' + last_value * interval ''1 microsecond'' FROM public.sim_clock'
"""
"""A sequence is outside of transactions: every statement sees the moment it runs at."""


class KilledError(BaseException):
    """The process of an actor is gone, in the middle of whatever it did."""


class Actor:
    """Someone who works on the database; `before_step(number)` and the commit hooks do its faults."""

    def __init__(self, name: str, at: float, work: Callable[[], Any]) -> None:
        self.name, self.wake = name, at
        self._work = work
        self.turn, self.back = threading.Event(), threading.Event()
        self.is_over = self.is_waiting = False  # the latter for another one's lock
        self.backend: int | None = None  # pid of the statement that may wait for a lock
        self.conn: Connection | None = None  # of its newest statement
        self.steps = 0
        self.result: Any = None
        self.error: BaseException | None = None
        self.interrupt: Interrupt | None = None  # once a signal would be heard
        self.published: datetime | None = None  # the minute that the open transaction has written
        self.before_step: Callable[[Connection, int], None] = lambda _conn, _step: None
        self.before_commit: Callable[[Connection], None] = lambda _conn: None
        self.after_commit: Callable[[Connection], None] = lambda _conn: None

    def run(self) -> None:
        """Do the work, and remember how it ended."""
        try:
            self.result = self._work()
        except BaseException as exc:  # noqa: BLE001 - the judge looks at it
            self.error = exc


class Stage:
    """The actors on stage, and the time: `elapsed` is every machine's, `offset` the database clock's lead over it."""

    def __init__(self, url: str, seed: str, start: datetime) -> None:
        self.rng = stream(seed)
        self.elapsed = 0.0
        self.lowest = start  # the earliest that the database's clock was since `play` began
        self._origin = start
        self.unordered_until = start  # before this moment, the clock has told some moments twice
        self.offset = timedelta(0)
        self.offsets = {self.offset}  # all that there were since `play` began
        self.has_ended_a_session = self.went_back = False  # since `play` began; the latter is the clock's
        self._told: datetime | None = None
        self.landed: Callable[[Actor], None] = lambda _actor: None  # told of each COMMIT, before its actor is
        self._left: list[Actor] = []
        self._local = threading.local()
        self.idle: list[Connection] = []  # to be used again: a new one has to learn the catalog, which takes longest
        self.reuses = True
        self.admin = psycopg.connect(url, autocommit=True)

    @property
    def current(self) -> Actor | None:
        """The actor whose thread this is."""
        return getattr(self._local, "actor", None)

    def now(self) -> datetime:
        """Return the database's time."""
        return self.at(self.elapsed, self.offset)

    def at(self, elapsed: float, offset: timedelta) -> datetime:
        """Return the database's time at another moment."""
        return self._origin + timedelta(seconds=elapsed) + offset

    def shift(self, seconds: float) -> None:
        """Step the database's clock."""
        if seconds < 0:
            self.unordered_until = max(self.unordered_until, self.now())
            self.went_back = True
        self.offset += timedelta(seconds=seconds)
        self.offsets.add(self.offset)

    def tell(self) -> None:
        """Let the database know the time."""
        now = self.now()
        self.lowest = min(self.lowest, now)
        if now != self._told:
            micros = (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
            self.admin.execute("SELECT setval('sim_clock', %s)", (micros,))
            self._told = now

    def mono(self) -> float:
        """Return the machine's time in seconds."""
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        """Let the others go on until that time has passed."""
        actor = self.current
        wake = self.elapsed + max(0.0, seconds)
        if actor is None or self._is_alone(actor, wake):
            self.elapsed = wake
            return
        actor.wake = wake
        self.give_way(actor)

    def _is_alone(self, actor: Actor, until: float) -> bool:
        """Tell whether nobody else has anything to do by then: to change threads for nothing takes most of the time."""
        return all(other is actor or (other.wake > until and not other.is_waiting) for other in self._left)

    def step(self, conn: "Connection") -> None:
        """Let the scheduler decide who is next, before a statement; now and then some milliseconds pass."""
        actor = self.current
        if actor is None:
            return
        self.sleep(self.rng.choice((0.0, 0.0, 0.0, self.rng.uniform(0.001, 0.08))))
        actor.steps += 1
        actor.conn = conn
        actor.before_step(conn, actor.steps)
        self.tell()
        actor.backend = conn.info.backend_pid if not conn.closed else None

    def terminate(self, conn: "Connection") -> None:
        """End a connection on the server's side, and return when it is gone."""
        conn.is_doomed = self.has_ended_a_session = True
        if not conn.closed:
            self.admin.execute("SELECT pg_terminate_backend(%s, 10000)", (conn.info.backend_pid,))

    def play(self, actors: list[Actor]) -> None:
        """Let the actors work until all are done."""
        self.lowest, self.offsets = self.now(), {self.offset}
        self.has_ended_a_session = self.went_back = False
        for actor in actors:
            threading.Thread(target=self._live, args=(actor,), name=actor.name, daemon=True).start()
        self._left = list(actors)
        while self._left:
            if ready := [actor for actor in self._left if not actor.is_waiting]:
                self._go_on(self._next(ready))
            for other in [actor for actor in self._left if actor.is_waiting]:
                if not ready or not self._is_blocked(other):
                    self._await(other)
                    other.is_waiting = False
            self._left = [actor for actor in self._left if not actor.is_over]

    def _next(self, ready: list[Actor]) -> Actor:
        """Pick one of those whose time has come; time passes until there is one."""
        self.elapsed = max(self.elapsed, min(actor.wake for actor in ready))
        return self.rng.choice([actor for actor in ready if actor.wake <= self.elapsed])

    def _go_on(self, actor: Actor) -> None:
        """Let an actor go on until it gives way, or waits for a lock."""
        actor.back.clear()
        actor.turn.set()
        step = 0
        while not actor.back.wait(_LOOK):
            if step == actor.steps and self._is_blocked(actor):
                actor.is_waiting = True
                return
            step = actor.steps

    def _await(self, actor: Actor) -> None:
        if not actor.back.wait(_PATIENCE):
            raise RuntimeError(f"{actor.name} neither goes on nor waits for a lock")

    def _is_blocked(self, actor: Actor) -> bool:
        if (backend := actor.backend) is None:
            return False
        return bool(self.admin.execute("SELECT pg_blocking_pids(%s) <> '{}'", (backend,)).fetchone() == (True,))

    def give_way(self, actor: Actor) -> None:
        """Wait for the next turn."""
        actor.backend = None
        actor.back.set()
        actor.turn.wait()
        actor.turn.clear()

    def _live(self, actor: Actor) -> None:
        self._local.actor = actor
        actor.turn.wait()
        actor.turn.clear()
        actor.run()
        actor.is_over = True
        actor.back.set()


class Connection(db.Connection):
    """hlctl's connection, on which every wait for the database is a step of the stage."""

    stage: Stage
    is_doomed = False

    def close(self) -> None:
        """Keep it for the next who connects, as a pooler does, if nothing befell it."""
        is_idle = not self.closed and self.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if is_idle and self.stage.reuses and self.stage.current and not self.is_doomed:
            self.left = db.Connection.left
            self.stage.idle.append(self)
        else:
            super().close()

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Take a step, then wait."""
        self.stage.step(self)
        try:
            return super().wait(gen, interval, timeout)
        finally:
            if (actor := self.stage.current) and actor.is_waiting:
                self.stage.give_way(actor)

    def _exec_command(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        actor = self.stage.current
        is_commit = command == b"COMMIT" and actor is not None
        if actor and command.startswith(b"BEGIN"):
            actor.published = None
        if is_commit and actor:
            actor.before_commit(self)
            self.stage.tell()
        result = yield from super()._exec_command(command, *args, **kwargs)
        if is_commit and actor:
            self.stage.landed(actor)
            actor.after_commit(self)
        return result
