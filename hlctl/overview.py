"""What is asked of the record to look at it, in domain types: a module of the store's floor.

Every function runs inside a transaction of the caller's (`db.transaction`).
"""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from hlctl import db
from hlctl.checks.database import Growth, Session
from hlctl.db import Connection, fetch_one
from hlctl.facts import Health, HeldLock, Holders, RefreshRun, Storage, Thresholds, Traffic, TroubledWallet
from hlctl.model import Recorded

if TYPE_CHECKING:
    from hlctl.metrics import Facts


def read_thresholds(conn: Connection) -> Thresholds | None:
    """Return what the newest minute is judged by; None if there is no minute."""
    with conn.cursor(row_factory=class_row(Thresholds)) as cursor:
        return cursor.execute(db.query("latest_thresholds")).fetchone()


def read_traffic(conn: Connection) -> Traffic | None:
    """Return what the newest minute took; None if there is no minute."""
    with conn.cursor(row_factory=class_row(Traffic)) as cursor:
        return cursor.execute(db.query("latest_traffic")).fetchone()


def read_refresh(conn: Connection) -> RefreshRun | None:
    """Return the newest refresh, accepted or not."""
    with conn.cursor(row_factory=class_row(RefreshRun)) as cursor:
        return cursor.execute(db.query("latest_refresh")).fetchone()


def list_troubled_wallets(conn: Connection, *, since: datetime, until: datetime, wallets: int) -> list[TroubledWallet]:
    """Return the wallets of which most is missing from one moment up to another, worst first, at most so many."""
    asked = {"since": since, "until": until, "wallets": wallets}
    with conn.cursor(row_factory=class_row(TroubledWallet)) as cursor:
        return cursor.execute(db.query("list_troubled_wallets"), asked).fetchall()


def measure_storage(conn: Connection) -> Storage:
    """Return how the cells are kept."""
    with conn.cursor(row_factory=class_row(Storage)) as cursor:
        storage = cursor.execute(db.query("measure_storage")).fetchone()
    if storage is None:
        raise TypeError("cell_storage() gave no row")
    return storage


def list_held_locks(conn: Connection) -> list[HeldLock]:
    """Return who holds which of hlctl's advisory locks."""
    with conn.cursor(row_factory=class_row(HeldLock)) as cursor:
        return cursor.execute(db.query("list_held_locks"), {"lock_class": db.LOCK_CLASS}).fetchall()


def read_metrics(conn: Connection) -> "Facts":
    """Return what the metrics file says of the record, without its sizes."""
    from hlctl.metrics import Facts  # noqa: PLC0415 - who has no metrics file never loads it

    with conn.cursor(row_factory=class_row(Facts)) as cursor:
        facts = cursor.execute(db.query("read_metrics")).fetchone()
    if facts is None:
        raise TypeError("v_latest_health has no row")
    return facts


def add_sizes(conn: Connection, facts: "Facts") -> "Facts":
    """Return what the metrics file says with the room that the record takes."""
    cells, database = fetch_one(conn, "read_sizes") or (None, None)
    return replace(facts, snapshots_bytes=cells, database_bytes=database)


def read_health(conn: Connection) -> Health:
    """Return the database's judgement; there always is one."""
    with conn.cursor(row_factory=class_row(Health)) as cursor:
        health = cursor.execute(db.query("latest_health")).fetchone()
    if health is None:
        raise TypeError("v_latest_health has no row")
    return health


def read_latest_run(conn: Connection) -> Recorded | None:
    """Return the newest recorded minute."""
    with conn.cursor(row_factory=class_row(Recorded)) as cursor:
        return cursor.execute(db.query("latest_run")).fetchone()


def list_last_hour(conn: Connection) -> list[tuple[datetime, str | None]]:
    """Return (minute, status) of the last 60 minutes, oldest first; None where nothing was recorded."""
    return [(minute, status) for minute, status in conn.execute(db.query("list_last_hour")).fetchall()]


def summarize_minute(conn: Connection, minute: datetime) -> list[Holders]:
    """Return what the cells of a minute say, one line per asset."""
    with conn.cursor(row_factory=class_row(Holders)) as cursor:
        return cursor.execute(db.query("summarize_minute"), {"minute": minute}).fetchall()


def describe_session(conn: Connection) -> Session:
    """Return who the session is and what its server is; needs no schema."""
    with conn.cursor(row_factory=class_row(Session)) as cursor:
        session = cursor.execute(db.query("describe_session")).fetchone()
    if session is None:
        raise TypeError("a session has one row")
    return session


def measure_growth(conn: Connection) -> Growth:
    """Return how much room the record takes."""
    with conn.cursor(row_factory=class_row(Growth)) as cursor:
        growth = cursor.execute(db.query("measure_growth")).fetchone()
    if growth is None:
        raise TypeError("a measurement has one row")
    return growth
