"""`snapshot`: one minute, from the lock to the COMMIT, in one transaction (design.md section 3)."""

import logging
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import psycopg

from hlctl import __version__, db, store
from hlctl.clock import RunClock
from hlctl.errors import HlctlError, MinuteMissedError
from hlctl.exchange import Exchange, Fetch
from hlctl.jobs import interrupt
from hlctl.jobs.database import UNUSABLE, is_embedded, opened, prepare
from hlctl.jobs.universe import connect, require_universe
from hlctl.minute import COMMIT_BY, START_LEAD, Plan, capacity
from hlctl.model import MINUTE, Answer, Attempt, MissingReason, Recorded, Rules, Transport, Wallet
from hlctl.results import SnapshotResult
from hlctl.settings import Settings
from hlctl.store import Task

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Told how many wallets are answered, and how many are asked."""

_NAP = 0.1  # how often a waiting run looks for a signal, in seconds
_LONGEST_WAIT = 20.0  # between two readings of the database's clock, which also keep the idle transaction alive
_PARTITIONS_AHEAD = 2  # days
_MISSED_REFRESHES = 2  # after so many refresh periods the universe is old


@dataclass(frozen=True, slots=True)
class _Asking:
    """A fetch, and what it has come to so far."""

    minute: datetime
    plan: Plan
    fetch: Fetch

    def transport(self) -> Transport:
        """Return what it took."""
        sent = self.plan.last_sent
        return Transport(
            requests_sent=self.plan.requests_sent,
            retries=self.plan.retries,
            rate_limited=self.plan.rate_limited,
            last_sent_at=None if sent is None else self.minute + timedelta(seconds=sent),
            sent_per_second=self.plan.sent_per_second,
            skew_ms=self.fetch.skew_ms(),
            clock_offset_ms=self.fetch.clock_offset_ms(),
        )


_NOTHING_SENT = Transport(
    requests_sent=0,
    retries=0,
    rate_limited=0,
    last_sent_at=None,
    sent_per_second=[],
    skew_ms=None,
    clock_offset_ms=None,
)


def snapshot(settings: Settings, *, align: bool, progress: Progress) -> SnapshotResult:
    """Record the current minute, or what is still missing of it.

    On the embedded database schema and universe are made first where they are missing. Raises BusyError if another run
    has the minute, NoUniverseError, and MinuteMissedError if the minute was over before it could be published.
    """
    started = time.monotonic()
    recorded, problem, asked = None, None, 0
    minute: datetime | None = None
    asking: _Asking | None = None
    with opened(settings, create=True) as conn, closing(connect(settings)) as exchange:
        prepare(conn, may_migrate=is_embedded(settings))
        if is_embedded(settings):
            require_universe(conn, settings)
        _ensure_partitions(conn)
        try:
            with interrupt.deferred() as interrupted, db.transaction(conn):
                taken = store.take_minute(conn, lead=MINUTE if align else START_LEAD)
                minute = taken.minute
                clock = _wait_until(conn, minute, taken.at, interrupted)
                task = store.list_task(conn, minute)
                asked = len(task.wallets)
                if asked and clock.since(minute) >= 0:
                    asking = _asking(conn, settings, minute, task, clock=clock, exchange=exchange)
                    asking.fetch.run(
                        threads=min(settings.max_concurrency, asked),
                        interrupted=lambda: bool(interrupted),
                        progress=lambda answered: progress(answered, asked),
                    )
                    problem = asking.plan.error
                    recorded = _publish(
                        conn,
                        settings,
                        minute,
                        task,
                        answers=asking.plan.close(MissingReason.CANCELLED if interrupted else MissingReason.LATE),
                        transport=asking.transport(),
                        error=problem,
                        started=started,
                    )
                    _require_time(clock, minute)
        except (HlctlError, *UNUSABLE):
            raise
        except Exception:
            if minute is not None:
                transport = asking.transport() if asking else _NOTHING_SENT
                _publish_as_internal(conn, settings, minute, transport, started)
            raise
    return SnapshotResult(
        snapshot_ts=minute,
        recorded=recorded,
        asked=asked,
        seconds=time.monotonic() - started,
        problem=problem,
        signal=interrupted.signal,
    )


def _require_time(clock: RunClock, minute: datetime) -> None:
    """Raise MinuteMissedError, which rolls back, if publishing waited so long that COMMIT would be sent too late."""
    if clock.since(minute) >= COMMIT_BY:
        raise MinuteMissedError


def _ensure_partitions(conn: db.Connection) -> None:
    """Make the next days' partitions; a minute is never lost for want of one, DEFAULT takes it."""
    try:
        with db.transaction(conn):
            store.ensure_partitions(conn, days=_PARTITIONS_AHEAD)
    except psycopg.Error as exc:
        if conn.closed:
            raise
        log.warning("the next days' partitions could not be made: %s", db.explain(exc))


def _wait_until(conn: db.Connection, minute: datetime, at: datetime, interrupted: interrupt.Interrupt) -> RunClock:
    """Return the database's clock, carried on, once the minute has begun by it or a signal came."""
    clock = RunClock(at)
    while clock.since(minute) < 0 and not interrupted:
        nap_ends = time.monotonic() + min(-clock.since(minute), _LONGEST_WAIT)
        while (left := nap_ends - time.monotonic()) > 0 and not interrupted:
            time.sleep(min(left, _NAP))
        clock = RunClock(store.read_clock(conn))
    return clock


def _asking(
    conn: db.Connection,
    settings: Settings,
    minute: datetime,
    task: Task,
    *,
    clock: RunClock,
    exchange: Exchange,
) -> _Asking:
    """Plan the questions of this run: nothing is sent yet."""
    may_send = capacity(settings.rate_limit)
    if len(task.wallets) > may_send:
        log.warning(
            "%d wallets do not fit into a minute at %d weight: some will be late",
            len(task.wallets),
            settings.rate_limit,
        )
    plan = Plan(
        task.wallets,
        seed=round(minute.timestamp()) // 60,
        deadline=settings.deadline,
        max_attempts=settings.max_attempts,
        capacity=may_send,
        concurrency=settings.max_concurrency,
        sent_before=[(count, (at - minute).total_seconds()) for count, at in store.list_recent_requests(conn)],
    )
    fetch = Fetch(
        plan,
        lambda address, seconds: exchange.state(address, seconds=seconds),
        minute=minute,
        clock=clock,
        deadline=settings.deadline,
        request_timeout=settings.request_timeout,
    )
    return _Asking(minute, plan, fetch)


def _publish(
    conn: db.Connection,
    settings: Settings,
    minute: datetime,
    task: Task,
    *,
    answers: Mapping[Wallet, Answer],
    transport: Transport,
    error: str | None,
    started: float,
) -> Recorded:
    return store.publish(
        conn,
        minute,
        universe_run_id=task.universe_run_id,
        answers=answers,
        rules=Rules(
            coverage_success=settings.coverage_success,
            coverage_failed=settings.coverage_failed,
            stale_after=timedelta(seconds=settings.stale_after),
            universe_stale_after=timedelta(hours=float(_MISSED_REFRESHES * settings.universe_refresh_hours)),
        ),
        transport=transport,
        attempt=Attempt(
            attempt_id=uuid4(),
            host=socket.gethostname(),
            version=__version__,
            duration_ms=round((time.monotonic() - started) * 1000),
            error=error,
        ),
    )


def _publish_as_internal(
    conn: db.Connection, settings: Settings, minute: datetime, transport: Transport, started: float
) -> None:
    """Record what a bug left unknown as such, so that the minute is not a gap; the bug itself is raised on."""
    error = "internal: hlctl has a bug"
    try:
        with db.transaction(conn):
            task = store.list_task(conn, minute)
            if task.wallets:
                _publish(conn, settings, minute, task, answers={}, transport=transport, error=error, started=started)
    except (HlctlError, psycopg.Error) as exc:
        log.warning("the minute could not be recorded as failed either: %s", type(exc).__name__)
