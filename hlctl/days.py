"""Whole UTC days of the record: which are stored, and dropping one. On the floor of `store`, and like it names queries.

Every function runs inside a transaction of the caller's (`db.transaction`).
"""

from datetime import UTC, date, datetime, time, timedelta

from hlctl import db
from hlctl.db import Connection, fetch_one
from hlctl.model import StoredDay


def span(day: date) -> dict[str, datetime]:
    """Return the first moment of a day and of the next one, as the queries take them."""
    begins = datetime.combine(day, time(), UTC)
    return {"begins": begins, "ends": begins + timedelta(days=1)}


def list_prunable(conn: Connection, *, keep: int) -> list[StoredDay]:
    """Return the days that are wholly older than `keep` days, oldest first, but never the newest one with cells."""
    found = conn.execute(db.query("list_prunable_days"), {"keep": keep}).fetchall()
    return [StoredDay(day=day, cells=count_cells(conn, day), bytes=size) for day, size in found]


def count_cells(conn: Connection, day: date) -> int:
    """Return how many cells are stored of a day."""
    row = fetch_one(conn, "count_cells", span(day))
    return int(row[0]) if row else 0


def drop_day(conn: Connection, day: date) -> None:
    """Drop the day's cells and anomalies and mark its minutes as pruned, when the transaction commits.

    Raises psycopg.errors.LockNotAvailable if somebody holds the cells, with the transaction to be rolled back.
    """
    conn.execute(db.query("drop_day"), {"day": day})
