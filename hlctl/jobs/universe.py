"""`refresh-universe`: read the leaderboard, choose the wallets, replace the universe or keep it."""

import time

from hlctl import db, store, universe, wire
from hlctl.errors import UniverseKeptError
from hlctl.exchange import Exchange
from hlctl.jobs.database import is_embedded, opened, prepare
from hlctl.model import Refresh, Selection, Source
from hlctl.results import RefreshResult
from hlctl.settings import Settings
from hlctl.transport import RequestFailedError

_IDLE_TIMEOUT = "150s"  # the lock is held while 42 MB may drip in


def connect(settings: Settings) -> Exchange:
    """Return the exchange of `settings`; nothing is sent yet."""
    return Exchange(
        settings.api_url,
        settings.leaderboard_url,
        connections=settings.max_concurrency,
        authorization=settings.api_authorization.get_secret_value() if settings.api_authorization else None,
    )


def refresh_universe(settings: Settings) -> RefreshResult:
    """Replace the universe by the wallets with the most 30-day PnL.

    Raises UniverseKeptError, with the failed refresh recorded, if no source gave a leaderboard that can be believed.
    """
    with opened(settings, create=True) as conn:
        prepare(conn, may_migrate=is_embedded(settings), command="refresh-universe")
        with db.transaction(conn, idle_timeout=_IDLE_TIMEOUT):
            store.take_refresh(conn)
            refreshed = _refresh(conn, settings)
    if isinstance(refreshed, UniverseKeptError):
        raise refreshed
    return RefreshResult(refresh=refreshed)


def require_universe(conn: db.Connection, settings: Settings) -> None:
    """Make the first universe where there is none; raises UniverseKeptError if that fails."""
    with db.transaction(conn, read_only=True):
        if store.read_universe(conn) is not None:
            return
    with db.transaction(conn, idle_timeout=_IDLE_TIMEOUT):
        store.take_refresh(conn)
        if store.read_universe(conn) is not None:  # another process was faster
            return
        refreshed = _refresh(conn, settings)
    if isinstance(refreshed, UniverseKeptError):
        raise refreshed


def _refresh(conn: db.Connection, settings: Settings) -> Refresh | UniverseKeptError:
    """Record one refresh in the caller's transaction; a failed one is returned, not raised, so that it is committed."""
    started = time.monotonic()
    source, selection, problems, (rows_seen, rows_rejected) = _read(settings)
    duration_ms = round((time.monotonic() - started) * 1000)
    if selection is not None:
        before = store.list_current_universe(conn)
        entered, exited = universe.difference(before, [row.address for row in selection.members])
        return store.replace_universe(
            conn,
            selection,
            source=source,
            n_requested=settings.universe_size,
            entered=entered,
            exited=exited,
            duration_ms=duration_ms,
        )
    error = "; ".join(problems)
    store.add_failed_refresh(
        conn,
        n_requested=settings.universe_size,
        duration_ms=duration_ms,
        rows_seen=rows_seen,
        rows_rejected=rows_rejected,
        error=error,
    )
    kept = store.read_universe(conn)
    stays = f"the universe of {kept.as_of_ts:%Y-%m-%d %H:%M} UTC stays" if kept else "there is no universe yet"
    return UniverseKeptError(f"no leaderboard to be believed, {stays}: {error}")


def _read(settings: Settings) -> tuple[Source, Selection | None, list[str], tuple[int, int]]:
    """Try each source in order: the one that answered, what it gave, what was wrong with the others, rows read."""
    exchange = connect(settings)
    problems: list[str] = []
    counts = (0, 0)
    try:
        for source in Source:
            try:
                rows = wire.read_leaderboard(exchange.leaderboard(source))
                selection = universe.select(rows, size=settings.universe_size, min_valid=settings.universe_min_valid)
            except RequestFailedError as exc:
                problems.append(f"{source.value}: {exc.reason.value}: {exc}")
            except wire.LeaderboardError as exc:
                problems.append(f"{source.value}: {exc}")
            except universe.RefusedError as exc:
                problems.append(f"{source.value}: {exc}")
                counts = max(counts, (exc.rows_seen, exc.rows_rejected))
            else:
                return source, selection, problems, counts
    finally:
        exchange.close()
    return Source.STATS_DATA, None, problems, counts
