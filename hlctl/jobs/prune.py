"""`prune`: drop the days nobody wants to keep, one transaction each."""

import logging
import re
import time
from collections.abc import Callable
from datetime import date

import psycopg

from hlctl import days, db, migrate, store
from hlctl.answers import PruneResult
from hlctl.errors import UsageError
from hlctl.facts import ObstructedDay, StoredDay
from hlctl.jobs.database import countdown, is_embedded, opened, prepare
from hlctl.settings import Settings

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Told how many days are done, and how many there are."""

LONGEST_KEPT = 36_500  # days

_PATIENCE = 3600  # seconds for all of it: the first time there may be years to count
_COUNT_TIMEOUT = 120  # seconds to list the days, and to count the cells of each
_DROP_TIMEOUT = 30  # seconds, of which the cells are locked for the last few milliseconds
_IDLE_TIMEOUT = "2s"  # a frozen prune must not keep readers out
_ATTEMPTS = 8  # at a day whose cells somebody holds: now, and in the last seconds of the next minutes
_QUIET_FROM, _QUIET_UNTIL = 57.0, 59.0  # seconds of a minute in which no snapshot holds cells: it is over by then


def prune(settings: Settings, *, keep: str | None, dry_run: bool, progress: Progress) -> PruneResult:
    """Drop the cells and anomalies of every day wholly older than `keep`, or than HLCTL_RETENTION_DAYS.

    A dry run says which, and a reader's rights are enough for it. Raises UsageError if neither says how long to keep. A
    day whose cells somebody holds all the time ends it; the days before are gone then, the others untouched. One with
    something of somebody's on its partition stays whole, and the later ones go.
    """
    kept = _kept(keep, settings)
    with opened(settings, create=False, left=countdown(_PATIENCE)) as conn:
        if not dry_run:
            prepare(conn, may_migrate=is_embedded(settings), command="prune")
        with db.transaction(conn, read_only=True, statement_timeout=_COUNT_TIMEOUT, transaction_timeout=_PATIENCE):
            migrate.require_current(conn)
            found = days.list_prunable(conn, keep=kept)
        done, held, obstructed = (found, [], []) if dry_run else _drop_all(conn, found, progress)
    return PruneResult(
        keep_days=kept,
        dry_run=dry_run,
        days=done,
        bytes=sum(day.bytes for day in done),
        held=held,
        obstructed=obstructed,
    )


def _drop_all(
    conn: db.Connection, found: list[StoredDay], progress: Progress
) -> tuple[list[StoredDay], list[StoredDay], list[ObstructedDay]]:
    """Drop days; return those that are gone, those from the first one on that was held, and those that cannot go."""
    done: list[StoredDay] = []
    obstructed: list[ObstructedDay] = []
    for number, stored in enumerate(found):
        try:
            if not _drop(conn, stored.day):
                return done, found[number:], obstructed
            done.append(stored)
        except psycopg.errors.DependentObjectsStillExist as exc:
            because = (exc.diag.message_detail or db.explain(exc)).partition("\n")[0]  # a line for each thing
            obstructed.append(ObstructedDay(day=stored.day, because=because))
        progress(number + 1, len(found))
    return done, [], obstructed


def _kept(keep: str | None, settings: Settings) -> int:
    if keep is None:
        if settings.retention_days is None:
            raise UsageError(
                "nothing says how long to keep cells", remedy="give --keep 30d, or set HLCTL_RETENTION_DAYS"
            )
        return settings.retention_days
    if not re.fullmatch(r"[0-9]{1,5}d", keep, re.ASCII) or not 1 <= int(keep[:-1]) <= LONGEST_KEPT:
        raise UsageError("--keep is a number of days, from 1d on", remedy="give --keep 30d, for instance")
    return int(keep[:-1])


def _drop(conn: db.Connection, day: date) -> bool:
    """Drop a day; False if its cells were held whenever it was tried."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_until_quiet(conn))
        try:
            with db.transaction(conn, idle_timeout=_IDLE_TIMEOUT, statement_timeout=_DROP_TIMEOUT):
                days.drop_day(conn, day)
        except psycopg.errors.LockNotAvailable:
            log.info("somebody holds the cells: %s is tried again between two minutes", day)
        else:
            return True
    return False


def _until_quiet(conn: db.Connection) -> float:
    """Return the seconds to the next moment at which no snapshot should hold cells."""
    with db.transaction(conn):
        at = store.read_clock(conn)
    second = at.second + at.microsecond / 1e6
    if second < _QUIET_FROM:
        return _QUIET_FROM - second
    return 1.0 if second < _QUIET_UNTIL else 60 - second + _QUIET_FROM
