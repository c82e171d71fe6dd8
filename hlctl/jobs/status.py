"""`status`: what the database says about itself."""

from collections.abc import Callable
from datetime import timedelta

from hlctl import access, db, migrate, overview, store
from hlctl.answers import StatusDetails, StatusResult
from hlctl.jobs.database import ANSWER, countdown, opened, pinned
from hlctl.settings import Settings

_WORST = 5  # wallets named
_LAST_HOUR = timedelta(minutes=59)  # before the current minute, which is a part of it


def status(settings: Settings, *, verbose: bool = False) -> StatusResult:
    """Read the judgement and the facts behind it from one snapshot of the database; `verbose` adds details."""
    with opened(settings, create=False, left=countdown(ANSWER)) as conn, db.transaction(conn, read_only=True):
        access.require(conn, "status")
        migrate.require_current(conn)
        health = overview.read_health(conn)
        run = overview.read_latest_run(conn)
        return StatusResult(
            health=health,
            run=run,
            universe=store.read_universe(conn),
            last_hour=overview.list_last_hour(conn),
            holders=overview.summarize_minute(conn, run.snapshot_ts) if run else [],
            thresholds=overview.read_thresholds(conn),
            transport=overview.read_traffic(conn),
            last_refresh=overview.read_refresh(conn),
            details=StatusDetails(
                troubled_wallets=overview.list_troubled_wallets(
                    conn,
                    since=health.judged_at.replace(second=0, microsecond=0) - _LAST_HOUR,
                    until=health.judged_at,
                    wallets=_WORST,
                ),
                storage=overview.measure_storage(conn),
                locks=overview.list_held_locks(conn),
            )
            if verbose
            else None,
        )


def looks(load: Callable[[], Settings], *, verbose: bool) -> Callable[[], StatusResult]:
    """Return a function that looks at the status, each time on a connection of its own.

    The embedded server is started by the first look at most: who stops it afterwards wants it to stay so.
    """
    known: list[Settings] = []

    def look() -> StatusResult:
        if not known:
            known.append(pinned(load(), seconds=ANSWER))
        return status(known[0], verbose=verbose)

    return look
