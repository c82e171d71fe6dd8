"""Simulated time, and actors that take turns on real connections: one step is one round trip to the database.

Each actor is a thread, and only one of them runs at a time: the one a seeded scheduler has picked. A statement that
waits for another actor's lock lets the others go on. So the same seed gives the same order of the same statements.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from hlctl import db
from hlctl.sim.market import stream

_LOOK = 0.002  # seconds until a step that has not ended is suspected of waiting for a lock
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
        self.turn = threading.Event()
        self.is_over = False
        self.backend: int | None = None  # pid of the statement that may wait for a lock
        self.steps = 0
        self.result: Any = None
        self.error: BaseException | None = None
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
        self.offset = timedelta(0)
        self.offsets = {self.offset}  # all that there were since `play` began
        self._told: datetime | None = None
        self.current: Actor | None = None
        self._back = threading.Event()
        self.idle: list[Connection] = []  # to be used again: a new one has to learn the catalog, which takes longest
        self.reuses = True
        self.admin = psycopg.connect(url, autocommit=True)

    def now(self) -> datetime:
        """Return the database's time."""
        return self.at(self.elapsed, self.offset)

    def at(self, elapsed: float, offset: timedelta) -> datetime:
        """Return the database's time at another moment."""
        return self._origin + timedelta(seconds=elapsed) + offset

    def shift(self, seconds: float) -> None:
        """Step the database's clock."""
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
        if actor is None:
            self.elapsed += seconds
            return
        actor.wake = self.elapsed + max(0.0, seconds)
        self._yield(actor)

    def step(self, conn: "Connection") -> None:
        """Let the scheduler decide who is next, before a statement; some milliseconds pass."""
        actor = self.current
        if actor is None:
            return
        self.sleep(self.rng.uniform(0.0005, 0.02))
        actor.steps += 1
        actor.before_step(conn, actor.steps)
        self.tell()
        actor.backend = conn.info.backend_pid if not conn.closed else None

    def terminate(self, conn: "Connection") -> None:
        """End a connection on the server's side, and return when it is gone."""
        conn.is_doomed = True
        if not conn.closed:
            self.admin.execute("SELECT pg_terminate_backend(%s, 10000)", (conn.info.backend_pid,))

    def play(self, actors: list[Actor]) -> None:
        """Let the actors work until all are done."""
        self.lowest, self.offsets = self.now(), {self.offset}
        waiting: list[Actor] = []  # for another one's lock
        for actor in actors:
            threading.Thread(target=self._live, args=(actor,), name=actor.name, daemon=True).start()
        left = list(actors)
        while left := [actor for actor in left if not actor.is_over]:
            ready = [actor for actor in left if actor not in waiting]
            if not ready:
                waiting = [actor for actor in waiting if not self._waits(actor, patient=True)]
                continue
            awake = [actor for actor in ready if actor.wake <= self.elapsed]
            if not awake:
                self.elapsed = min(actor.wake for actor in ready)
                awake = [actor for actor in ready if actor.wake <= self.elapsed]
            actor = self.rng.choice(awake)
            self._back.clear()
            self.current = actor
            actor.turn.set()
            if self._waits(actor):
                waiting.append(actor)
            for other in list(waiting):
                if other is not actor:
                    self.current = other
                    if not self._waits(other):
                        waiting.remove(other)
        self.current = None

    def _waits(self, actor: Actor, *, patient: bool = False) -> bool:
        """Return True once the actor waits for a lock, False once its step has ended; `patient`: only the latter."""
        self.current = actor
        looks = 0
        while not self._back.wait(_LOOK):
            looks += 1
            if looks * _LOOK > _PATIENCE:
                raise RuntimeError(f"{actor.name} neither goes on nor waits for a lock")
            if actor.backend is None or patient:
                continue
            (blocking,) = self.admin.execute("SELECT pg_blocking_pids(%s)", (actor.backend,)).fetchone() or ([],)
            if blocking:
                return True
        self._back.clear()
        return False

    def _yield(self, actor: Actor) -> None:
        actor.backend = None
        self._back.set()
        actor.turn.wait()
        actor.turn.clear()

    def _live(self, actor: Actor) -> None:
        actor.turn.wait()
        actor.turn.clear()
        actor.run()
        actor.is_over = True
        self._back.set()


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
        return super().wait(gen, interval, timeout)

    def _exec_command(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        actor = self.stage.current
        is_commit = command == b"COMMIT" and actor is not None
        if is_commit and actor:
            actor.before_commit(self)
            self.stage.tell()
        result = yield from super()._exec_command(command, *args, **kwargs)
        if is_commit and actor:
            actor.after_commit(self)
        return result
