"""What `snapshot` and `refresh-universe` say to the database, in domain types; what others ask is in modules beside it.

Every function runs inside a transaction of the caller's (`db.transaction`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from hlctl import db, oddities
from hlctl.db import Connection, fetch_one, fetch_one_as
from hlctl.errors import BusyError, DatabaseUnusableError, MinuteMissedError, NoUniverseError
from hlctl.model import (
    Answer,
    Attempt,
    Held,
    LeaderboardRow,
    Recorded,
    Refresh,
    Rules,
    Transport,
    Universe,
    Wallet,
)
from hlctl.outage import STATUS_CODES, Past


@dataclass(frozen=True, slots=True)
class Taken:
    """A minute whose lock is ours until the transaction ends, and the database's time when it was taken."""

    minute: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Task:
    """Whom to ask for a minute: the wallets of the pinned universe that have no value yet."""

    universe_run_id: int
    wallets: tuple[Wallet, ...]


def ensure_partitions(conn: Connection, *, days: int) -> None:
    """Make the daily partitions that are missing from today to `days` later."""
    conn.execute(db.query("ensure_partitions"), {"days": days})


def read_clock(conn: Connection) -> datetime:
    """Return the database's time."""
    (at,) = conn.execute(db.query("read_clock")).fetchone() or (None,)
    if not isinstance(at, datetime):
        raise TypeError("hlctl_clock() gave no time")
    return at


def take_minute(conn: Connection, *, lead: timedelta) -> Taken:
    """Name the minute and take its lock; a start within `lead` of the next minute takes that one.

    Raises BusyError if another run holds it.
    """
    row = fetch_one(conn, "take_minute", {"lead": lead, "lock_class": db.LOCK_CLASS})
    minute, at, mine = row or (None, None, False)
    if not mine:
        raise BusyError(f"another run is recording {minute:%H:%M} UTC" if minute else "")
    return Taken(minute, at)


def find_attempt(conn: Connection, minute: datetime, attempt_id: UUID) -> Recorded | None:
    """Return the minute if this attempt at it was committed."""
    return fetch_one_as(conn, Recorded, "find_attempt", {"minute": minute, "attempt_id": attempt_id})


def read_past(conn: Connection, minute: datetime) -> Past | None:
    """Return what the record says of the time since the newest good minute, up to `minute`; None if it is empty."""
    row = fetch_one(conn, "read_past", {"minute": minute})
    if row is None or row[0] is None:
        return None
    since, minutes, statuses = row
    return Past(since, minutes, frozenset(STATUS_CODES[status] for status in statuses))


def count_gaps(conn: Connection, past: Past | None, minute: datetime) -> Past | None:
    """Return the past of a good `minute` with its gaps counted: that reads all of it, and is only wanted at its end."""
    if past is None or past.is_well:
        return past
    (recorded,) = fetch_one(conn, "count_recorded", {"since": past.since, "minute": minute}) or (0,)
    return replace(past, gaps=past.minutes - recorded)


def retake_minute(conn: Connection, minute: datetime, *, needed: bool) -> None:
    """Take the lock of a minute whose connection was lost.

    Raises DatabaseUnusableError if another session has it and it is `needed`: with answers in hand it is not. That may
    be another run's, or the one that was lost: its server may not have heard of it yet.
    """
    row = fetch_one(conn, "retake_minute", {"lock_class": db.LOCK_CLASS, "minute": minute})
    if needed and not (row and row[0]):
        raise DatabaseUnusableError(f"another session has the lock of {minute:%H:%M} UTC")


def set_idle_timeout(conn: Connection, timeout: str) -> None:
    """Bound anew how long the server lets the transaction sit between two statements."""
    db.set_local(conn, "idle_in_transaction_session_timeout", timeout)


def take_refresh(conn: Connection) -> None:
    """Take the lock of refreshes; raises BusyError if another one holds it."""
    row = fetch_one(conn, "try_lock", {"lock_class": db.LOCK_CLASS, "lock_key": db.LOCK_REFRESH})
    if not (row and row[0]):
        raise BusyError("another refresh of the universe is running")


def list_task(conn: Connection, minute: datetime) -> Task:
    """Return whom to ask for `minute`; no wallets if everything is known.

    Raises NoUniverseError if there never was a universe.
    """
    found = fetch_one(conn, "find_minute", {"minute": minute})
    if found is None:
        rows = conn.execute(db.query("list_universe")).fetchall()
        if not rows:
            raise NoUniverseError
        universe_run_id = rows[0][0]
    else:
        (universe_run_id,) = found
        rows = conn.execute(db.query("list_missing"), {"minute": minute, "universe_run_id": universe_run_id}).fetchall()
    return Task(universe_run_id, tuple(Wallet(row[1], row[2]) for row in rows))


def list_recent_requests(conn: Connection) -> list[tuple[int, datetime]]:
    """Return (requests, the latest moment they may have been sent at) of the last 60 s, oldest first."""
    rows = conn.execute(db.query("list_recent_requests")).fetchall()
    return [(int(requests), last_sent_at) for requests, last_sent_at in rows]


def publish(
    conn: Connection,
    minute: datetime,
    *,
    universe_run_id: int,
    answers: Mapping[Wallet, Answer],
    rules: Rules,
    transport: Transport,
    attempt: Attempt,
) -> Recorded:
    """Write a minute's run row, its cells, its health facts and what is odd; return the minute as it now stands.

    Raises MinuteMissedError, with nothing to be committed, if the minute is over.
    """
    claimed = fetch_one(
        conn,
        "claim_minute",
        {
            "minute": minute,
            "universe_run_id": universe_run_id,
            **{field: getattr(rules, field) for field in rules.__slots__},
            **{field: getattr(transport, field) for field in transport.__slots__},
            **{field: getattr(attempt, field) for field in attempt.__slots__},
        },
    )
    if claimed is None:
        raise MinuteMissedError
    conn.execute(db.query("write_cells"), {"minute": minute, **_columns(answers)})
    counted = fetch_one(conn, "count_minute", {"minute": minute})
    expected, succeeded, rows_written, missing, skew_ms, fingerprint = counted or (0, 0, 0, {}, None, None)
    odd = oddities.find(conn, minute)
    counts = {
        "expected": expected,
        "succeeded": succeeded,
        "rows_written": rows_written,
        "missing": Jsonb(missing),
        "skew_ms": skew_ms,
        "fingerprint": fingerprint,
    }
    found = {"minute": minute, **counts, "suspect": odd.suspect, "anomaly_rules": odd.rules}
    recorded = fetch_one_as(conn, Recorded, "publish_minute", found)
    if recorded is None:
        raise MinuteMissedError
    conn.execute(db.query("record_health"), {"minute": minute})
    oddities.note(conn, minute, odd)
    return recorded


def _columns(answers: Mapping[Wallet, Answer]) -> dict[str, str]:
    """Lay the answers out as one array per column: an element a wallet, and an element a position."""
    positions = [
        (wallet.wallet_id, asset, position)
        for wallet, answer in answers.items()
        if isinstance(answer, Held)
        for asset, position in answer.positions.items()
    ]
    return {
        "wallet_id": _array(wallet.wallet_id for wallet in answers),
        "observed_at": _array(answer.observed_at if isinstance(answer, Held) else None for answer in answers.values()),
        "reason": _array(None if isinstance(answer, Held) else answer for answer in answers.values()),
        "holder_id": _array(wallet_id for wallet_id, _, _ in positions),
        "asset": _array(asset for _, asset, _ in positions),
        "szi": _array(position.szi for _, _, position in positions),
        "entry_px": _array(position.entry_px for _, _, position in positions),
        "liq_px": _array(position.liq_px for _, _, position in positions),
        "leverage": _array(position.leverage for _, _, position in positions),
        "leverage_type": _array(position.leverage_type for _, _, position in positions),
        "margin_used": _array(position.margin_used for _, _, position in positions),
    }


def _array(values: Iterable[object]) -> str:
    """Write numbers, times or words of an enum as an array; psycopg takes four times as long over lists of them."""
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


def list_current_universe(conn: Connection) -> list[str]:
    """Return the addresses of the universe in force, best first."""
    return [address for (address,) in conn.execute(db.query("list_current_universe")).fetchall()]


def find_stored_members(conn: Connection) -> tuple[int, list[str]]:
    """Return the members stored last, in force or not, best first, and how many warnings in a row they were."""
    row = fetch_one(conn, "find_stored_members")
    return (int(row[0]), list(row[1])) if row else (0, [])


def replace_universe(conn: Connection, refresh: Refresh, members: Sequence[LeaderboardRow]) -> Refresh:
    """Record a good refresh: its run row and members, which are in force when the transaction commits."""
    recorded = _add_refresh(conn, refresh, members, error=None)
    conn.execute(db.query("clear_current_universe"))
    conn.execute(db.query("fill_current_universe"), {"run_id": recorded.run_id})
    return recorded


def keep_universe(conn: Connection, refresh: Refresh, members: Sequence[LeaderboardRow], *, error: str) -> Refresh:
    """Record a refresh that was read and not accepted: the universe stays, the next turnover is measured against these.

    Nobody entered or exited, for these members are not in force.
    """
    return _add_refresh(conn, replace(refresh, entered=(), exited=()), members, error=error)


def _add_refresh(
    conn: Connection, refresh: Refresh, members: Sequence[LeaderboardRow], *, error: str | None
) -> Refresh:
    run_id = _add_universe_run(
        conn,
        status="failed" if error else "success",
        source=refresh.source,
        n_requested=refresh.n_requested,
        n_received=refresh.n_received,
        entered_count=len(refresh.entered),
        exited_count=len(refresh.exited),
        churn_warning_count=refresh.churn_warning_count,
        duration_ms=refresh.duration_ms,
        rows_seen=refresh.rows_seen,
        rows_rejected=refresh.rows_rejected,
        error=error,
    )
    columns = {
        "addresses": [row.address for row in members],
        "month_pnl": [row.month_pnl for row in members],
        "month_roi": [row.month_roi for row in members],
        "account_value": [row.account_value for row in members],
        "month_volume": [row.month_volume for row in members],
        "is_vault": [row.is_vault for row in members],
    }
    try:
        conn.execute(db.query("add_wallets"), {"addresses": columns["addresses"]})
    except psycopg.errors.UniqueViolation:  # of an id: an address that is there is no conflict
        raise _sequence_behind("wallets", "wallet_id") from None
    conn.execute(db.query("add_members"), {"run_id": run_id, **columns})
    return replace(refresh, run_id=run_id)


def add_failed_refresh(
    conn: Connection, *, n_requested: int, duration_ms: int, rows_seen: int, rows_rejected: int, error: str
) -> None:
    """Record a refresh that gave nothing to be believed, with the rule that failed; the universe stays.

    Its warning count is 0: it says nothing of turnover, and the next count goes on from the members stored last.
    """
    _add_universe_run(
        conn,
        status="failed",
        source=None,
        n_requested=n_requested,
        n_received=0,
        entered_count=0,
        exited_count=0,
        churn_warning_count=0,
        duration_ms=duration_ms,
        rows_seen=rows_seen,
        rows_rejected=rows_rejected,
        error=error,
    )


def _add_universe_run(conn: Connection, **columns: object) -> int:
    try:
        run_id, is_newest = fetch_one(conn, "add_universe_run", columns) or (0, False)
    except psycopg.errors.UniqueViolation:
        is_newest = False
    if not is_newest:
        raise _sequence_behind("wallet_universe_runs", "run_id")
    return int(run_id)


def _sequence_behind(table: str, column: str) -> DatabaseUnusableError:
    """Return what is wrong where a sequence did not come along with its rows, as with logical replication."""
    cure = f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table}"  # noqa: S608 - shown
    return DatabaseUnusableError(f"the sequence of {table}.{column} is behind the rows", remedy=f"as the owner: {cure}")


def read_universe(conn: Connection) -> Universe | None:
    """Return the universe in force at a glance."""
    return fetch_one_as(conn, Universe, "summarize_universe")
