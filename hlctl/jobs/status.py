"""`status`: what the database says about itself."""

from collections.abc import Callable
from datetime import timedelta

from hlctl import access, db, migrate, overview, store
from hlctl.errors import ExitCode
from hlctl.jobs.database import countdown, opened, pinned
from hlctl.results import StatusDetails, StatusResult
from hlctl.settings import Settings
from hlctl.watchdog import watchdog

_PATIENCE = 3.2  # seconds: who asks whether all is well wants an answer, or to hear that there is none
_END = 4.4  # second of the process at which it ends, if something waits without a bound: a resolver, host after host
_WORST = 5  # wallets named
_LAST_HOUR = timedelta(minutes=59)  # before the current minute, which is a part of it

NO_ANSWER = "the database did not answer in time"


def end_in_time() -> None:
    """Let the process end in under 5 s from its start, whatever it waits for from now on."""
    watchdog.end_in(_END - watchdog.age(), ExitCode.DATABASE, NO_ANSWER)


def status(settings: Settings, *, verbose: bool = False) -> StatusResult:
    """Read the judgement and the facts behind it from one snapshot of the database; `verbose` adds details."""
    with opened(settings, create=False, left=countdown(_PATIENCE)) as conn, db.transaction(conn, read_only=True):
        access.require(conn, "status")
        migrate.require_current(conn)
        health = store.read_health(conn)
        run = store.read_latest_run(conn)
        return StatusResult(
            health=health,
            run=run,
            universe=store.read_universe(conn),
            last_hour=store.list_last_hour(conn),
            holders=store.summarize_minute(conn, run.snapshot_ts) if run else [],
            thresholds=overview.read_thresholds(conn),
            transport=overview.read_traffic(conn),
            last_refresh=overview.read_refresh(conn),
            details=StatusDetails(
                troubled_wallets=overview.list_troubled_wallets(
                    conn, since=health.judged_at.replace(second=0, microsecond=0) - _LAST_HOUR, wallets=_WORST
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
            known.append(pinned(load(), seconds=_PATIENCE))
        return status(known[0], verbose=verbose)

    return look
