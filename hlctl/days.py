"""Whole UTC days of the record: which there are, dropping one, reading one. Names queries, as `store` does.

Every function runs inside a transaction of the caller's (`db.transaction`).
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from hlctl import db
from hlctl.db import Connection, fetch_as, fetch_one
from hlctl.facts import StoredDay


def span(day: date) -> dict[str, datetime]:
    """Return the first moment of a day and of the next one, as the queries take them."""
    begins = datetime.combine(day, time(), UTC)
    return {"begins": begins, "ends": begins + timedelta(days=1)}


def list_prunable(conn: Connection, *, keep: int) -> list[StoredDay]:
    """Return the days that are wholly older than `keep` days, oldest first, but never the newest one with cells."""
    found = conn.execute(db.query("list_prunable_days"), {"keep": keep, "newest": _newest_cell(conn)}).fetchall()
    return [StoredDay(day=day, cells=count_cells(conn, day), bytes=size) for day, size in found]


def _newest_cell(conn: Connection) -> datetime | None:
    """Return the newest minute that has cells: only where there is none since yesterday are all days opened for it."""
    newest: datetime | None = None
    (at,) = fetch_one(conn, "read_clock") or (None,)
    for since in (at - timedelta(days=1), "-infinity"):
        (newest,) = fetch_one(conn, "newest_cell", {"since": since}) or (None,)
        if newest:
            break
    return newest


def count_cells(conn: Connection, day: date) -> int:
    """Return how many cells are stored of a day."""
    row = fetch_one(conn, "count_cells", span(day))
    return int(row[0]) if row else 0


def drop_day(conn: Connection, day: date) -> None:
    """Drop the day's cells and anomalies and mark its minutes as pruned, when the transaction commits.

    Raises psycopg.errors.LockNotAvailable if somebody holds the cells, with the transaction to be rolled back.
    """
    conn.execute(db.query("drop_day"), {"day": day})


@dataclass(frozen=True, slots=True)
class RecordedDay:
    """A past day that has run rows."""

    day: date
    cells: int  # published
    is_pruned: bool
    is_final: bool  # none of its cells can change any more


@dataclass(frozen=True, slots=True)
class Published:
    """What a minute's run row says of its cells."""

    cells: int
    fingerprint: int | None  # None: recorded before there were fingerprints
    is_pruned: bool


def list_recorded(conn: Connection) -> list[RecordedDay]:
    """Return the days before today on which something was recorded, oldest first."""
    return fetch_as(conn, RecordedDay, "list_recorded_days")


def copy_cells(conn: Connection, day: date) -> Generator[bytes, None, None]:
    """Yield the day's cells as lines of CSV, in the order of the file.

    Close it before the transaction ends: until then it holds the connection's lock, for which a rollback waits.
    """
    statement = b"COPY (" + db.query("list_cells") + b") TO STDOUT (FORMAT csv)"
    with conn.cursor().copy(statement, span(day)) as lines:
        for line in lines:  # the server sends one a message
            yield bytes(line)


def list_published(conn: Connection, day: date) -> dict[datetime, Published]:
    """Return what was published for each minute of the day that was recorded."""
    rows = conn.execute(db.query("list_published"), span(day)).fetchall()
    return {
        minute: Published(cells, None if fingerprint is None else int(fingerprint), is_pruned)
        for minute, cells, fingerprint, is_pruned in rows
    }


def fingerprint_cells(conn: Connection, day: date) -> dict[datetime, tuple[int, int]]:
    """Return (cells, fingerprint) of each minute of the day that has cells."""
    rows = conn.execute(db.query("fingerprint_cells"), span(day)).fetchall()
    return {minute: (cells, int(fingerprint)) for minute, cells, fingerprint in rows}


def list_dirty(conn: Connection, day: date) -> set[tuple[datetime, int, str, str]]:
    """Return (minute, wallet_id, asset, reason) of the day's dirty cells."""
    return set(conn.execute(db.query("list_dirty_cells"), span(day)).fetchall())
