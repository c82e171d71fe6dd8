"""What is asked of the record to look at it, in domain types: a module of the store's floor.

Every function runs inside a transaction of the caller's (`db.transaction`).
"""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from hlctl import db
from hlctl.checks.database import Growth, Session
from hlctl.db import Connection, fetch_as, fetch_one, fetch_one_as, fetch_the_one_as
from hlctl.facts import Health, HeldLock, Holders, RefreshRun, Storage, Thresholds, Traffic, TroubledWallet
from hlctl.model import Recorded

if TYPE_CHECKING:
    from hlctl.metrics import Facts


def read_thresholds(conn: Connection) -> Thresholds | None:
    """Return what the newest minute is judged by; None if there is no minute."""
    return fetch_one_as(conn, Thresholds, "latest_thresholds")


def read_traffic(conn: Connection) -> Traffic | None:
    """Return what the newest minute took; None if there is no minute."""
    return fetch_one_as(conn, Traffic, "latest_traffic")


def read_refresh(conn: Connection) -> RefreshRun | None:
    """Return the newest refresh, accepted or not."""
    return fetch_one_as(conn, RefreshRun, "latest_refresh")


def list_troubled_wallets(conn: Connection, *, since: datetime, until: datetime, wallets: int) -> list[TroubledWallet]:
    """Return the wallets of which most is missing from one moment up to another, worst first, at most so many."""
    asked = {"since": since, "until": until, "wallets": wallets}
    return fetch_as(conn, TroubledWallet, "list_troubled_wallets", asked)


def measure_storage(conn: Connection) -> Storage:
    """Return how the cells are kept."""
    return fetch_the_one_as(conn, Storage, "measure_storage")


def list_held_locks(conn: Connection) -> list[HeldLock]:
    """Return who holds which of hlctl's advisory locks."""
    return fetch_as(conn, HeldLock, "list_held_locks", {"lock_class": db.LOCK_CLASS})


def read_metrics(conn: Connection) -> "Facts":
    """Return what the metrics file says of the record, without its sizes."""
    from hlctl.metrics import Facts  # noqa: PLC0415 - who has no metrics file never loads it

    return fetch_the_one_as(conn, Facts, "read_metrics")


def add_sizes(conn: Connection, facts: "Facts") -> "Facts":
    """Return what the metrics file says with the room that the record takes."""
    cells, database = fetch_one(conn, "read_sizes") or (None, None)
    return replace(facts, snapshots_bytes=cells, database_bytes=database)


def read_health(conn: Connection) -> Health:
    """Return the database's judgement; there always is one."""
    return fetch_the_one_as(conn, Health, "latest_health")


def read_latest_run(conn: Connection) -> Recorded | None:
    """Return the newest recorded minute."""
    return fetch_one_as(conn, Recorded, "latest_run")


def list_last_hour(conn: Connection) -> list[tuple[datetime, str | None]]:
    """Return (minute, status) of the last 60 minutes, oldest first; None where nothing was recorded."""
    return [(minute, status) for minute, status in conn.execute(db.query("list_last_hour")).fetchall()]


def summarize_minute(conn: Connection, minute: datetime) -> list[Holders]:
    """Return what the cells of a minute say, one line per asset."""
    return fetch_as(conn, Holders, "summarize_minute", {"minute": minute})


def describe_session(conn: Connection) -> Session:
    """Return who the session is and what its server is; needs no schema."""
    return fetch_the_one_as(conn, Session, "describe_session")


def measure_growth(conn: Connection) -> Growth:
    """Return how much room the record takes."""
    return fetch_the_one_as(conn, Growth, "measure_growth")
