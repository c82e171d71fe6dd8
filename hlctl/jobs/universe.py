"""`refresh-universe`: read the leaderboard, choose the wallets, replace the universe or keep it."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

from hlctl import db, migrate, store, universe, wire
from hlctl.errors import UniverseKeptError
from hlctl.exchange import Exchange
from hlctl.jobs.database import is_embedded, opened, prepare
from hlctl.model import Refresh, Selection, Source
from hlctl.results import NotDueResult, RefreshPlanResult, RefreshResult
from hlctl.settings import Settings
from hlctl.transport import RequestFailedError

log = logging.getLogger(__name__)

Reason = TypeVar("Reason")

_STALLED = "8s"  # after so long the server takes an idle client for lost: its lock is free for the next refresh
_READING = "150s"  # the same while 42 MB may drip in, for the 120 s of both sources at most
_CHURNED = "a leaderboard that settles is accepted by itself, `hlctl refresh-universe --force` accepts it now"


@dataclass(frozen=True, slots=True)
class _Unread:
    """No source gave a leaderboard to be believed."""

    problem: str  # of each source
    rows_seen: int
    rows_rejected: int


def connect(settings: Settings) -> Exchange:
    """Return the exchange of `settings`; nothing is sent yet."""
    return Exchange(
        settings.api_url,
        settings.leaderboard_url,
        connections=settings.max_concurrency,
        authorization=settings.api_authorization.get_secret_value() if settings.api_authorization else None,
    )


def refresh_universe(settings: Settings, *, force: bool = False) -> RefreshResult:
    """Replace the universe by the wallets with the most 30-day PnL; `force` accepts any turnover.

    Raises UniverseKeptError, with the failed refresh recorded, if no source gave a leaderboard that can be believed, or
    if for the third time in a row too many wallets changed; BusyError if another refresh runs.
    """
    with opened(settings, create=True) as conn:
        prepare(conn, may_migrate=is_embedded(settings), command="refresh-universe")
        return RefreshResult(refresh=_refresh_unless(lambda _conn: None, conn, settings, force=force))


def refresh_if_due(settings: Settings, *, force: bool = False) -> RefreshResult | NotDueResult:
    """Do the same, but nothing at all while the universe in force is younger than the refresh period."""
    with opened(settings, create=True) as conn:
        prepare(conn, may_migrate=is_embedded(settings), command="refresh-universe")
        done = _refresh_unless(partial(_not_due, settings), conn, settings, force=force)
    return done if isinstance(done, NotDueResult) else RefreshResult(refresh=done)


def plan_refresh(settings: Settings, *, if_due: bool, force: bool) -> RefreshPlanResult | NotDueResult:
    """Read and judge the leaderboard without writing anything, and without a lock: a reader's rights are enough."""
    with opened(settings, create=False) as conn, db.transaction(conn, read_only=True):
        migrate.require_current(conn)
        if if_due and (waiting := _not_due(settings, conn)):
            return waiting
        in_force, stored = store.list_current_universe(conn), store.find_stored_members(conn)
    started = time.monotonic()
    read = _read(settings, seconds=None)
    if isinstance(read, _Unread):
        return RefreshPlanResult(refresh=None, refused=read.problem)
    refresh, refused = _judge(settings, *read, in_force=in_force, stored=stored, force=force, started=started)
    return RefreshPlanResult(refresh=refresh, refused=refused)


def require_universe(conn: db.Connection, settings: Settings, *, seconds: float | None = None) -> None:
    """Make the first universe where there is none; `seconds` bounds all its requests together.

    Raises UniverseKeptError if that fails.
    """
    _refresh_unless(store.read_universe, conn, settings, force=False, seconds=seconds)


def _not_due(settings: Settings, conn: db.Connection) -> NotDueResult | None:
    """Return until when there is nothing to do; None if a refresh is due. A failed one does not count as done."""
    in_force = store.read_universe(conn)
    period = timedelta(hours=float(settings.universe_refresh_hours))
    if in_force is None or universe.is_due(store.read_clock(conn) - in_force.as_of_ts, period):
        return None
    return NotDueResult(as_of_ts=in_force.as_of_ts, due_at=in_force.as_of_ts + universe.due_after(period))


def _refresh_unless(
    reason: Callable[[db.Connection], Reason | None],
    conn: db.Connection,
    settings: Settings,
    *,
    force: bool,
    seconds: float | None = None,
) -> Refresh | Reason:
    """Refresh in one transaction under the lock, unless there is a reason not to, which is returned.

    It is asked for again behind the lock, for another process may have been faster.
    """
    with db.transaction(conn, read_only=True):
        if (found := reason(conn)) is not None:
            return found
    with db.transaction(conn, idle_timeout=_STALLED):
        store.take_refresh(conn)
        if (found := reason(conn)) is not None:
            return found
        refreshed = _refresh(conn, settings, force=force, seconds=seconds)
    if isinstance(refreshed, UniverseKeptError):
        raise refreshed
    return refreshed


def _refresh(
    conn: db.Connection, settings: Settings, *, force: bool, seconds: float | None
) -> Refresh | UniverseKeptError:
    """Record one refresh in the caller's transaction; a failed one is returned, not raised, so that it is committed."""
    started = time.monotonic()
    store.set_idle_timeout(conn, _READING)
    read = _read(settings, seconds=seconds)
    store.set_idle_timeout(conn, _STALLED)
    if isinstance(read, _Unread):
        store.add_failed_refresh(
            conn,
            n_requested=settings.universe_size,
            duration_ms=_milliseconds_since(started),
            rows_seen=read.rows_seen,
            rows_rejected=read.rows_rejected,
            error=read.problem,
        )
        return UniverseKeptError(f"no leaderboard to be believed, {_what_stays(conn)}: {read.problem}")
    _source, selection = read
    refresh, refused = _judge(
        settings,
        *read,
        in_force=store.list_current_universe(conn),
        stored=store.find_stored_members(conn),
        force=force,
        started=started,
    )
    if refused:
        store.keep_universe(conn, refresh, selection.members, error=refused)
        return UniverseKeptError(f"too many wallets changed, {_what_stays(conn)}: {refused}", remedy=_CHURNED)
    return store.replace_universe(conn, refresh, selection.members)


def _judge(
    settings: Settings,
    source: Source,
    selection: Selection,
    *,
    in_force: Sequence[str],
    stored: tuple[int, Sequence[str]],
    force: bool,
    started: float,
) -> tuple[Refresh, str | None]:
    """Return the refresh that a selection makes, and why it is not accepted; what is accepted may be warned of."""
    warnings, before = stored
    addresses = [row.address for row in selection.members]
    churn = universe.weigh(before, addresses, warnings=warnings)
    entered, exited = universe.difference(in_force, addresses)
    refresh = Refresh(
        run_id=None,
        source=source,
        n_requested=settings.universe_size,
        n_received=len(addresses),
        entered=tuple(entered),
        exited=tuple(exited),
        turnover=churn.turnover,
        churn_warning_count=churn.warnings,
        rows_seen=selection.rows_seen,
        rows_rejected=selection.rows_rejected,
        duration_ms=_milliseconds_since(started),
    )
    if churn.is_refused and not force:
        return refresh, churn.problem
    if churn.problem:
        log.warning("%s", churn.problem)
    return refresh, None


def _what_stays(conn: db.Connection) -> str:
    kept = store.read_universe(conn)
    return f"the universe of {kept.as_of_ts:%Y-%m-%d %H:%M} UTC stays" if kept else "there is no universe yet"


def _milliseconds_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _read(settings: Settings, *, seconds: float | None) -> tuple[Source, Selection] | _Unread:
    """Try each source in order, all together for at most `seconds`: what the first good one gave, or what was wrong."""
    ends = None if seconds is None else time.monotonic() + seconds
    problems: list[str] = []
    counts = (0, 0)
    with closing(connect(settings)) as exchange:
        for source in Source:
            try:
                left = None if ends is None else ends - time.monotonic()
                rows = wire.read_leaderboard(exchange.leaderboard(source, seconds=left))
                selection = universe.select(rows, size=settings.universe_size, min_valid=settings.universe_min_valid)
            except RequestFailedError as exc:
                problems.append(f"{source.value}: {exc.reason.value}: {exc}")
            except wire.LeaderboardError as exc:
                problems.append(f"{source.value}: {exc}")
            except universe.RefusedError as exc:
                problems.append(f"{source.value}: {exc}")
                counts = max(counts, (exc.rows_seen, exc.rows_rejected))
            else:
                return source, selection
    return _Unread("; ".join(problems), *counts)
