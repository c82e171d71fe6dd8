"""`snapshot`: one minute, from the lock to the COMMIT, in one transaction (docs/architecture.md).

A lost connection does not lose the answers: the transaction begins again on a new one, for the same minute, as long as
a COMMIT can still be sent in time.
"""

import logging
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import psycopg

from hlctl import __version__, db, logs, memory, quiet, store
from hlctl.clock import RunClock, phases
from hlctl.errors import BusyError, DatabaseUnusableError, ExitCode, HlctlError, InterruptedRunError, MinuteMissedError
from hlctl.exchange import Exchange, Fetch, concurrency
from hlctl.jobs import interrupt
from hlctl.jobs.database import is_embedded, opened, prepare
from hlctl.jobs.universe import connect, require_universe
from hlctl.minute import COMMIT_BY, END_BY, START_LEAD, Plan, capacity
from hlctl.model import MINUTE, Answer, Attempt, MissingReason, Recorded, Rules, Transport, Wallet
from hlctl.results import SnapshotResult
from hlctl.settings import Settings
from hlctl.store import Task
from hlctl.watchdog import watchdog

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Told how many wallets are answered, and how many are asked."""

_PREPARATION = 45.0  # seconds in which database, schema and universe must be there
_FIRST_UNIVERSE = 30.0  # seconds of these for a leaderboard, on a fresh embedded database
_NAP = 0.1  # how often a waiting run looks for a signal, in seconds
_STALLED = "8s"  # after so long the server takes an idle client for lost: what it held is free when we have given up
_ASKING = "58s"  # the same while the exchange is asked
_LONGEST_WAIT = 2.0  # between two readings of the database's clock, which also keep the idle transaction alive
_RECONNECT_AFTER = 0.5  # seconds between two attempts to get a lost database back
_LAST_REPLY = 1.0  # seconds before the end of a run at which nothing more is expected of the database
_PARTITIONS_AHEAD = 2  # days
_DAYS_TIMEOUT = 25  # seconds of the preparation for them: the cells of a whole day may have to be moved
_PROMPT = 0.5  # seconds in which a reading of that clock is answered, or it is read anew
_CLOCKS_DIFFER = 5000  # ms: from here on answers may be refused for their time
_MISSED_REFRESHES = 2  # after so many refresh periods the universe is old


@dataclass(slots=True)
class _Taken:
    """The minute of this run, and the database's clock, carried on."""

    minute: datetime
    clock: RunClock

    def until(self, second: float) -> float:
        """Return the seconds to a second of the minute."""
        return second - self.clock.since(self.minute)


@dataclass(frozen=True, slots=True)
class _Asking:
    """A fetch, for whom it is, and what it has come to so far."""

    minute: datetime
    task: Task
    plan: Plan
    fetch: Fetch

    def error(self) -> str | None:
        """Return why no answer was believed, and how far the clocks are apart if that is why; None if some were."""
        offset = self.fetch.clock_offset_ms() or 0
        if not self.plan.error or abs(offset) < _CLOCKS_DIFFER:
            return self.plan.error
        where = "ahead of" if offset > 0 else "behind"
        return f"{self.plan.error}; their time is {abs(offset) / 1000:.0f} s {where} the database's clock"

    def transport(self) -> Transport:
        """Return what it took."""
        sent = self.plan.last_sent
        return Transport(
            requests_sent=self.plan.requests_sent,
            retries=self.plan.retries,
            rate_limited=self.plan.rate_limited,
            last_sent_at=None if sent is None else self.minute + timedelta(seconds=sent),
            sent_per_second=self.plan.sent_per_second,
            clock_offset_ms=self.fetch.clock_offset_ms(),
        )


@dataclass(slots=True, kw_only=True)
class _Run:
    """What outlives a lost connection: the minute, the answers, and who is writing."""

    settings: Settings
    started: float = field(default_factory=time.monotonic)
    attempt_id: UUID = field(default_factory=logs.run_id)
    interrupted: interrupt.Interrupt = field(default_factory=interrupt.Interrupt)
    taken: _Taken | None = None
    asking: _Asking | None = None
    answers: Mapping[Wallet, Answer] | None = None  # once the fetch has ended
    committing: bool = False
    lost: DatabaseUnusableError | None = None

    def left(self) -> float:
        """Return the seconds in which the database may still answer."""
        if self.taken is None:
            return self.started + _PREPARATION - time.monotonic()
        return min(self.interrupted.left(), self.taken.until(END_BY - _LAST_REPLY))

    def may_go_on(self, exc: DatabaseUnusableError) -> bool:
        """Tell whether a new connection could still save the minute: there is one, there is time, and it may heal."""
        return (
            self.taken is not None
            and min(self.interrupted.left(), self.taken.until(COMMIT_BY)) > _RECONNECT_AFTER
            and not isinstance(exc.__cause__, psycopg.errors.InsufficientPrivilege)
        )

    def require_time(self, taken: _Taken) -> None:
        """Roll back, by raising what took so long, if COMMIT would be sent too late."""
        if taken.until(COMMIT_BY) <= 0:
            raise self.lost or MinuteMissedError

    def attempt(self, error: str | None) -> Attempt:
        """Return this run's identity and cost so far."""
        return Attempt(
            attempt_id=self.attempt_id,
            host=socket.gethostname(),
            version=__version__,
            duration_ms=round((time.monotonic() - self.started) * 1000),
            error=error,
        )


_NOTHING_SENT = Transport(
    requests_sent=0,
    retries=0,
    rate_limited=0,
    last_sent_at=None,
    sent_per_second=[],
    clock_offset_ms=None,
)


def snapshot(settings: Settings, *, align: bool, progress: Progress) -> SnapshotResult:
    """Record the current minute, or what is still missing of it.

    On the embedded database schema and universe are made first where they are missing. Raises BusyError if another run
    has the minute, NoUniverseError, MinuteMissedError if the minute was over before it could be published, and
    DatabaseUnusableError if the database did not come back in time.
    """
    watchdog.end_in(_PREPARATION + _LAST_REPLY, ExitCode.DATABASE, "the database was not ready in time")
    phases.begin("prepare")
    run = _Run(settings=settings)
    with closing(connect(settings)) as exchange, ExitStack() as signals:
        signals.enter_context(interrupt.hastened())
        while True:
            try:
                with opened(settings, create=run.taken is None, left=run.left) as conn:
                    if run.taken is None:
                        _prepare(conn, settings)
                        run.interrupted = signals.enter_context(interrupt.deferred())
                    recorded = _record(conn, run, exchange, align=align, progress=progress)
                break
            except DatabaseUnusableError as exc:
                if run.taken and not (run.lost or run.committing) and run.taken.until(END_BY) <= 0:
                    # Every wait ends before: this process was frozen, and the server did not wait for it.
                    raise _fate(run, MinuteMissedError()) from exc
                run.lost = run.lost or exc  # what came first explains what followed
                if not run.may_go_on(exc):
                    raise _fate(run, run.lost) from exc
                _watch(run)
                log.info("%s; trying again", exc)
            except MinuteMissedError as exc:
                raise _fate(run, exc) from exc
            time.sleep(_RECONNECT_AFTER)
    return _result(run, recorded)


def _prepare(conn: db.Connection, settings: Settings) -> None:
    """See to the schema, the universe and the partitions, in short transactions of their own."""
    prepare(conn, may_migrate=is_embedded(settings), command="snapshot")
    if is_embedded(settings):
        require_universe(conn, settings, seconds=_FIRST_UNIVERSE)
    problem = _make_days(conn)
    if quiet.is_news(quiet.place_of("snapshot-days", settings, has_file=False), is_wrong=bool(problem)):
        log.warning("the next days' partitions could not be made: %s", problem)


def _make_days(conn: db.Connection) -> str:
    """Make the next days' partitions; return why that failed, if it did: then DEFAULT takes the minute."""
    try:
        with db.transaction(conn, statement_timeout=_DAYS_TIMEOUT):
            store.ensure_partitions(conn, days=_PARTITIONS_AHEAD)
    except psycopg.Error as exc:
        if conn.closed:
            raise
        return db.explain(exc)
    return ""


def _record(conn: db.Connection, run: _Run, exchange: Exchange, *, align: bool, progress: Progress) -> Recorded | None:
    """Take the minute, ask for it unless that was done before, and publish it: in one transaction.

    None if there was nothing to write.
    """
    try:
        with db.transaction(conn, idle_timeout=_STALLED):
            taken = run.taken
            if taken is None:
                phases.begin("wait")
                taken = run.taken = _take(conn, lead=MINUTE if align else START_LEAD)
                _watch(run)
            elif found := store.find_attempt(conn, taken.minute, run.attempt_id):
                return found  # the COMMIT whose reply was lost
            else:
                store.retake_minute(conn, taken.minute, needed=run.answers is None)
            taken.clock = _wait_until(conn, taken, run.interrupted)
            memory.known.past = store.read_past(conn, taken.minute)
            task = store.list_task(conn, taken.minute)
            if not task.wallets or taken.until(0) > 0:
                return None
            if run.asking is None or run.answers is None:
                phases.begin("fetch")
                run.asking = _plan(conn, run.settings, exchange, taken, task)
                store.set_idle_timeout(conn, _ASKING)
                run.answers = _ask(run.asking, run.interrupted, progress)
                run.require_time(taken)  # the machine may have slept
                store.set_idle_timeout(conn, _STALLED)
                phases.begin("publish")
            recorded = _publish(conn, run, taken.minute, run.answers, run.asking.task, error=run.asking.error())
            if recorded.status == "success":
                memory.known.past = store.count_gaps(conn, memory.known.past, taken.minute)
            run.require_time(taken)
            run.committing = True
            _watch(run)
    except (HlctlError, *db.UNUSABLE):
        raise
    except Exception:
        _publish_as_internal(conn, run)
        raise
    return recorded


def _take(conn: db.Connection, *, lead: timedelta) -> _Taken:
    """Take the minute. Raises BusyError."""
    asked = time.monotonic()
    try:
        taken = store.take_minute(conn, lead=lead)
    except BusyError:
        memory.known.past = store.read_past(conn, store.read_clock(conn).replace(second=0, microsecond=0))
        raise
    logs.run.minute = taken.minute
    is_prompt = time.monotonic() - asked < _PROMPT
    return _Taken(taken.minute, RunClock(taken.at) if is_prompt else _read_clock(conn))


def _read_clock(conn: db.Connection) -> RunClock:
    """Read the database's clock, anew while the reply is late: by as much the whole run would be slow."""
    for _ in range(3):
        asked = time.monotonic()
        clock = RunClock(store.read_clock(conn))
        if time.monotonic() - asked < _PROMPT:
            break
    return clock


def _watch(run: _Run) -> None:
    """Let the run end with its minute, whatever it waits for then, and say what is known of the minute by now."""
    if run.taken is None:
        return
    fate: HlctlError = MinuteMissedError()
    if run.lost or run.committing:
        fate = _fate(run, run.lost or DatabaseUnusableError("the database did not answer"))
    watchdog.end_in(run.taken.until(END_BY), fate.exit_code, str(fate))


def _wait_until(conn: db.Connection, taken: _Taken, interrupted: interrupt.Interrupt) -> RunClock:
    """Return the database's clock, carried on, once the minute has begun by it or a signal came."""
    clock = taken.clock
    while clock.since(taken.minute) < 0 and not interrupted:
        nap_ends = time.monotonic() + min(-clock.since(taken.minute), _LONGEST_WAIT)
        while (left := nap_ends - time.monotonic()) > 0 and not interrupted:
            time.sleep(min(left, _NAP))
        clock = _read_clock(conn)
    return clock


def _plan(conn: db.Connection, settings: Settings, exchange: Exchange, taken: _Taken, task: Task) -> _Asking:
    """Plan the questions of this run: nothing is sent yet."""
    may_send = capacity(settings.rate_limit)
    if len(task.wallets) > may_send:
        log.warning(
            "%d wallets do not fit into a minute at %d weight: some will be late",
            len(task.wallets),
            settings.rate_limit,
        )
    recent = store.list_recent_requests(conn)
    plan = Plan(
        task.wallets,
        seed=round(taken.minute.timestamp()) // 60,
        deadline=settings.deadline,
        max_attempts=settings.max_attempts,
        capacity=may_send,
        concurrency=concurrency(settings.max_concurrency),
        sent_before=[(count, (at - taken.minute).total_seconds()) for count, at in recent],
    )
    fetch = Fetch(
        plan,
        lambda address, seconds: exchange.state(address, seconds=seconds),
        minute=taken.minute,
        clock=taken.clock,
        deadline=settings.deadline,
        request_timeout=settings.request_timeout,
    )
    return _Asking(taken.minute, task, plan, fetch)


def _ask(asking: _Asking, interrupted: interrupt.Interrupt, progress: Progress) -> Mapping[Wallet, Answer]:
    """Ask, until the deadline at most, and return an answer for every wallet."""
    asked = len(asking.task.wallets)
    asking.fetch.run(
        threads=min(asking.plan.concurrency, asked),
        interrupted=lambda: bool(interrupted),
        progress=lambda answered: progress(answered, asked),
    )
    return asking.plan.close(MissingReason.CANCELLED if interrupted else MissingReason.LATE)


def _publish(
    conn: db.Connection,
    run: _Run,
    minute: datetime,
    answers: Mapping[Wallet, Answer],
    task: Task,
    *,
    error: str | None,
) -> Recorded:
    settings = run.settings
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
            rate_limit=settings.rate_limit,
        ),
        transport=run.asking.transport() if run.asking else _NOTHING_SENT,
        attempt=run.attempt(error),
    )


def _publish_as_internal(conn: db.Connection, run: _Run) -> None:
    """Record what a bug left unknown as such, so that the minute is not a gap; the bug itself is raised on."""
    if run.taken is None:
        return
    minute = run.taken.minute
    try:
        with db.transaction(conn):
            task = store.list_task(conn, minute)
            if task.wallets:
                _publish(conn, run, minute, {}, task, error="internal: hlctl has a bug")
                run.require_time(run.taken)
    except (HlctlError, psycopg.Error) as exc:
        log.warning("the minute could not be recorded as failed either: %s", type(exc).__name__)


def _result(run: _Run, recorded: Recorded | None) -> SnapshotResult:
    if run.taken is None:
        raise TypeError("no minute was taken")
    return SnapshotResult(
        snapshot_ts=run.taken.minute,
        recorded=recorded,
        asked=len(run.asking.task.wallets) if run.asking else 0,
        seconds=time.monotonic() - run.started,
        problem=run.asking.error() if run.asking else None,
        signal=run.interrupted.signal,
    )


def _fate(run: _Run, exc: DatabaseUnusableError | MinuteMissedError) -> HlctlError:
    """Say what became of the minute: a COMMIT without a reply may have landed, and a signal outranks the rest."""
    text, remedy = str(exc), exc.remedy
    if run.committing and run.taken:
        text += f"; whether {run.taken.minute:%H:%M} UTC was recorded is not known"
        remedy = "`hlctl status` tells"
    if run.interrupted.signal is None:
        return type(exc)(text, remedy=remedy)
    error = InterruptedRunError(f"ended by a signal: {text}", remedy=remedy)
    error.exit_code = ExitCode(128 + run.interrupted.signal)
    return error
