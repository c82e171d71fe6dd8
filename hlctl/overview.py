"""What `status` asks besides the judgement, in domain types: a module of the store's floor.

Every function runs inside a transaction of the caller's (`db.transaction`).
"""

from datetime import datetime
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from hlctl import db
from hlctl.db import Connection
from hlctl.model import HeldLock, RefreshRun, Storage, Thresholds, Traffic, TroubledWallet

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


def list_troubled_wallets(conn: Connection, *, since: datetime, wallets: int) -> list[TroubledWallet]:
    """Return the wallets of which most is missing since a minute, worst first, at most so many."""
    with conn.cursor(row_factory=class_row(TroubledWallet)) as cursor:
        return cursor.execute(db.query("list_troubled_wallets"), {"since": since, "wallets": wallets}).fetchall()


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
    """Return what the metrics file says of the record."""
    from hlctl.metrics import Facts  # noqa: PLC0415 - who has no metrics file never loads it

    with conn.cursor(row_factory=class_row(Facts)) as cursor:
        facts = cursor.execute(db.query("read_metrics")).fetchone()
    if facts is None:
        raise TypeError("v_latest_health has no row")
    return facts
