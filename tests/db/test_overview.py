"""What `status` asks besides the judgement, of a real database."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from hlctl import db, overview, store
from hlctl.minute import capacity
from hlctl.model import (
    Answer,
    Attempt,
    Held,
    LeaderboardRow,
    MissingReason,
    Refresh,
    Rules,
    Source,
    Transport,
    Wallet,
)

SetClock = Callable[..., None]
M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)


def address(number: int) -> str:
    """Return the address with this number."""
    return f"0x{number:040x}"


def make_universe(conn: db.Connection, numbers: Sequence[int]) -> None:
    """Put these wallets in force."""
    row = {"month_pnl": Decimal(1), "month_roi": Decimal(0), "month_volume": Decimal(0), "account_value": Decimal(5)}
    refresh = Refresh(
        run_id=None, source=Source.STATS_DATA, n_requested=4, n_received=4, entered=(), exited=(), turnover=None,
        churn_warning_count=0, rows_seen=4, rows_rejected=0, duration_ms=1,
    )  # fmt: skip
    with db.transaction(conn):
        store.replace_universe(conn, refresh, [LeaderboardRow(address=address(number), **row) for number in numbers])


def publish(
    conn: db.Connection, minute: datetime = M, *, missing: Mapping[int, MissingReason] | None = None, limit: int = 1200
) -> None:
    """Record a minute in which all wallets are flat but the missing ones, with ten requests under a limit."""
    rules = Rules(
        coverage_success=Decimal(95), coverage_failed=Decimal(80), stale_after=timedelta(seconds=180),
        universe_stale_after=timedelta(hours=12), rate_limit=limit,
    )  # fmt: skip
    transport = Transport(
        requests_sent=10, retries=1, rate_limited=0, last_sent_at=None, sent_per_second=[10],
        clock_offset_ms=0,
    )  # fmt: skip

    def answer(wallet: Wallet) -> Answer:
        return (missing or {}).get(int(wallet.address, 16)) or Held(minute, {})

    with db.transaction(conn):
        task = store.list_task(conn, minute)
        store.publish(
            conn, minute, universe_run_id=task.universe_run_id,
            answers={wallet: answer(wallet) for wallet in task.wallets}, rules=rules, transport=transport,
            attempt=Attempt(attempt_id=uuid4(), host="here", version="0", duration_ms=5, error=None),
        )  # fmt: skip


def test_storage_is_measured_whatever_the_session_says_of_time_and_dates(conn: db.Connection) -> None:
    """A server in Tokyo that writes dates its own way keeps the same days."""
    conn.execute("SET timezone = 'Asia/Tokyo'")
    conn.execute("SET datestyle = 'SQL, DMY'")
    row = conn.execute("SELECT oldest_day, newest_day, days, total_bytes > 0 FROM cell_storage()").fetchone()
    assert row is not None
    oldest, newest, days, is_measured = row
    ((today,),) = conn.execute("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date").fetchall()
    assert (newest - oldest, days, is_measured) == (timedelta(days=7), 8, True)
    assert abs(today - oldest) <= timedelta(days=1), "the template may be of yesterday"


def test_cells_outside_their_day_and_days_ahead_are_counted(conn: db.Connection, set_clock: SetClock) -> None:
    """Rows in DEFAULT and too few days ahead are what a DBA must hear of."""
    set_clock(M)
    make_universe(conn, [1, 2])
    publish(conn)
    with db.transaction(conn, read_only=True):
        storage = overview.measure_storage(conn)
    assert storage.strayed == 6, "the day has no partition yet"
    conn.execute("SELECT ensure_partitions(2)")
    with db.transaction(conn, read_only=True):
        storage = overview.measure_storage(conn)
    assert (storage.strayed, storage.oldest_day) == (0, datetime(2026, 1, 6, tzinfo=UTC))


def test_the_room_of_a_minute_is_that_of_the_newest_that_has_begun(conn: db.Connection, set_clock: SetClock) -> None:
    """A clock that ran ahead and was set back leaves others, perhaps of a universe of another size."""
    with db.transaction(conn, read_only=True):
        assert overview.measure_growth(conn).cells_a_minute == 0
    for minute, wallets in ((M, [1, 2]), (M + timedelta(hours=1), [1, 2, 3, 4])):
        set_clock(minute)
        make_universe(conn, wallets)
        publish(conn, minute)
    for now, cells in ((M + timedelta(minutes=2), 6), (M + timedelta(hours=2), 12)):
        set_clock(now)
        with db.transaction(conn, read_only=True):
            assert overview.measure_growth(conn).cells_a_minute == cells


def test_the_worst_wallets_are_counted_in_minutes_by_reason(conn: db.Connection, set_clock: SetClock) -> None:
    """Each minute once, though it has three cells; dirty ones come after missing ones; nobody is named for nothing.

    Nor is anybody for a minute that has not begun.
    """
    make_universe(conn, [1, 2, 3, 4])
    first, *minutes = [M + n * timedelta(minutes=1) for n in range(4)]
    for number, minute in enumerate([first, *minutes]):
        set_clock(minute)
        missing = {1: MissingReason.LATE if number % 2 else MissingReason.DNS}
        publish(conn, minute, missing=missing | ({2: MissingReason.TIMEOUT} if number == 3 else {}))
    conn.execute(
        "UPDATE wallet_snapshots SET is_dirty = true, dirty_reason = 'x' WHERE snapshot_ts = %s"
        " AND wallet_id = (SELECT wallet_id FROM wallets WHERE address = %s)",
        [minutes[0], address(3)],
    )
    ahead = minutes[-1] + timedelta(hours=1)  # of a clock that was put back
    set_clock(ahead)
    publish(conn, ahead, missing={4: MissingReason.LATE})
    span = {"since": minutes[0], "until": minutes[-1] + timedelta(seconds=59)}
    with db.transaction(conn, read_only=True):
        found = overview.list_troubled_wallets(conn, **span, wallets=5)
        assert overview.list_troubled_wallets(conn, **span, wallets=1) == found[:1]
    assert [(w.address, w.missing, w.minutes_missing, w.minutes_dirty) for w in found] == [
        (address(1), {"late": 2, "dns": 1}, 3, 0),
        (address(2), {"timeout": 1}, 1, 0),
        (address(3), {}, 0, 1),
    ]


@pytest.mark.parametrize(
    ("key", "name", "minute"),
    [
        (db.LOCK_MIGRATE, "migrate", None),
        (db.LOCK_REFRESH, "refresh", None),
        (-3, "partitions", None),
        (int(M.timestamp()) // 60, "minute", M),
    ],
)
def test_who_holds_a_lock_is_told(
    conn: db.Connection, database: str, key: int, name: str, minute: datetime | None
) -> None:
    """By the words of the commands, with the minute where it is one; other applications' locks are not ours."""
    with db.connect(database) as other, db.transaction(other):
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", [db.LOCK_CLASS, key])
        other.execute(
            "SELECT pg_advisory_xact_lock(%s, %s), pg_advisory_xact_lock(%s)", [7, key, (db.LOCK_CLASS << 32) + 5]
        )
        with db.transaction(conn, read_only=True):
            (lock,) = overview.list_held_locks(conn)
        assert (lock.lock, lock.minute, lock.pid) == (name, minute, other.info.backend_pid)
        assert lock.since is not None
    with db.transaction(conn, read_only=True):
        assert overview.list_held_locks(conn) == []


@pytest.mark.parametrize(("limit", "budget"), [(1200, 1000), (0, 0), (3, 2), (2**31 - 1, 1_789_569_705)])
def test_requests_are_weighed_as_the_plan_weighs_them(
    conn: db.Connection, set_clock: SetClock, limit: int, budget: int
) -> None:
    """Five sixths of the limit, 2 a request."""
    set_clock(M)
    make_universe(conn, [1])
    publish(conn, limit=limit)
    with db.transaction(conn, read_only=True):
        traffic = overview.read_traffic(conn)
    assert traffic is not None
    assert (traffic.weight, traffic.budget) == (20, budget)
    assert not limit or capacity(limit) == budget // 2
