"""What a minute, a refresh and the judge of health do in a real database."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from hlctl import db, oddities, overview, store
from hlctl.errors import BusyError, DatabaseUnusableError, MinuteMissedError, NoUniverseError
from hlctl.facts import Health
from hlctl.model import (
    Answer,
    Asset,
    Attempt,
    Held,
    LeaderboardRow,
    LeverageType,
    MissingReason,
    Position,
    Recorded,
    Refresh,
    Rules,
    Source,
    Transport,
    Wallet,
)

SetClock = Callable[..., None]
M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
RULES = Rules(
    coverage_success=Decimal(95),
    coverage_failed=Decimal(80),
    stale_after=timedelta(seconds=180),
    universe_stale_after=timedelta(hours=12),
    rate_limit=1200,
)
LONG = Position(
    szi=Decimal("1.5"),
    entry_px=Decimal(100),
    liq_px=None,
    leverage=Decimal(5),
    leverage_type=LeverageType.CROSS,
    margin_used=Decimal(30),
)


def address(number: int) -> str:
    return f"0x{number:040x}"


def make_members(numbers: Sequence[int]) -> list[LeaderboardRow]:
    return [
        LeaderboardRow(
            address=address(number),
            month_pnl=Decimal(1000 - rank),
            month_roi=Decimal("0.1"),
            month_volume=Decimal(0),
            account_value=Decimal(5),
        )
        for rank, number in enumerate(numbers)
    ]


def make_refresh(members: Sequence[LeaderboardRow], **overrides: Any) -> Refresh:
    fields: dict[str, Any] = {
        "run_id": None, "source": Source.STATS_DATA, "n_requested": len(members), "n_received": len(members),
        "entered": (), "exited": (), "turnover": None, "churn_warning_count": 0,
        "rows_seen": len(members), "rows_rejected": 0, "duration_ms": 1,
    }  # fmt: skip
    return Refresh(**{**fields, **overrides})


def make_universe(conn: db.Connection, numbers: Sequence[int]) -> int:
    members = make_members(numbers)
    with db.transaction(conn):
        recorded = store.replace_universe(conn, make_refresh(members), members)
    assert recorded.run_id is not None
    return recorded.run_id


def held(at: datetime = M, **positions: Position) -> Held:
    return Held(at + timedelta(seconds=1), {Asset(coin): position for coin, position in positions.items()})


def publish(
    conn: db.Connection,
    answers: Callable[[Sequence[Wallet]], Mapping[Wallet, Answer]],
    *,
    minute: datetime = M,
    rules: Rules = RULES,
    requests_sent: int = 10,
    attempt_id: UUID | None = None,
    universe_run_id: int | None = None,
    before_commit: Callable[[], object] = lambda: None,
) -> Recorded:
    with db.transaction(conn):
        task = store.list_task(conn, minute)
        recorded = store.publish(
            conn,
            minute,
            universe_run_id=universe_run_id or task.universe_run_id,
            answers=answers(task.wallets),
            rules=rules,
            transport=Transport(
                requests_sent=requests_sent,
                retries=1,
                rate_limited=0,
                last_sent_at=minute + timedelta(seconds=2.5),
                sent_per_second=[requests_sent - 10, 0, 10],
                clock_offset_ms=0,
            ),
            attempt=Attempt(attempt_id=attempt_id or uuid4(), host="here", version="0", duration_ms=5, error=None),
        )
        before_commit()
    return recorded


def own(wallet: Wallet) -> Held:
    """Return an answer no other wallet gives: the same one from two would be suspect."""
    return held(BTC=replace(LONG, margin_used=LONG.margin_used + wallet.wallet_id))


def all_held(wallets: Sequence[Wallet]) -> dict[Wallet, Answer]:
    return {wallet: own(wallet) for wallet in wallets}


def failing(
    count: int, reason: MissingReason = MissingReason.TIMEOUT
) -> Callable[[Sequence[Wallet]], dict[Wallet, Answer]]:
    """Return answers in which the first `count` wallets are missing."""

    def answers(wallets: Sequence[Wallet]) -> dict[Wallet, Answer]:
        return {wallet: reason if at < count else own(wallet) for at, wallet in enumerate(wallets)}

    return answers


def cells(conn: db.Connection) -> list[tuple[object, ...]]:
    return conn.execute("SELECT * FROM wallet_snapshots ORDER BY snapshot_ts, wallet_id, asset").fetchall()


# ---- taking a minute


@pytest.mark.parametrize(
    ("second", "lead", "minute"),
    [
        (0.0, 15, 0),
        (0.000001, 15, 0),
        (44.999999, 15, 0),
        (45.0, 15, 1),
        (59.999999, 15, 1),
        (0.0, 60, 1),
        (30.0, 60, 1),
    ],
)
def test_the_minute_is_the_database_clocks_and_its_last_quarter_belongs_to_the_next(
    conn: db.Connection, set_clock: SetClock, second: float, lead: int, minute: int
) -> None:
    """Floored to 60 s in UTC, whatever the session's time zone."""
    conn.execute("SET timezone = 'Asia/Kathmandu'")  # +05:45: flooring local time would show
    set_clock(M + timedelta(seconds=second), running=False)
    with db.transaction(conn):
        taken = store.take_minute(conn, lead=timedelta(seconds=lead))
    assert taken.minute == M + timedelta(minutes=minute)
    assert taken.at == M + timedelta(seconds=second)
    assert taken.minute.tzinfo is not None
    assert taken.minute.utcoffset() == timedelta(0)


def test_a_minute_has_one_holder_and_the_next_minute_another(
    database: str, conn: db.Connection, set_clock: SetClock
) -> None:
    """A hung run of one minute must not block the next."""
    set_clock(M, running=False)
    with db.transaction(conn):
        store.take_minute(conn, lead=timedelta(0))
        with db.connect(database) as other, pytest.raises(BusyError, match="20:44"), db.transaction(other):
            store.take_minute(other, lead=timedelta(0))
        set_clock(M + timedelta(minutes=1), running=False)
        with db.connect(database) as other, db.transaction(other):
            store.take_minute(other, lead=timedelta(0))


def test_without_a_universe_there_is_nobody_to_ask(conn: db.Connection) -> None:
    """The message names the command to run."""
    with pytest.raises(NoUniverseError), db.transaction(conn):
        store.list_task(conn, M)


# ---- publishing


def test_every_wallet_and_asset_of_the_universe_has_its_row(conn: db.Connection, set_clock: SetClock) -> None:
    """Zeros and holes are written down too."""
    set_clock(M + timedelta(seconds=3), running=False)
    make_universe(conn, range(10))
    recorded = publish(conn, failing(2))
    assert (recorded.wallets_expected, recorded.wallets_succeeded, recorded.rows_expected) == (10, 8, 30)
    assert (recorded.rows_written, recorded.coverage_pct, recorded.missing) == (30, Decimal("80.00"), {"timeout": 2})
    counts = conn.execute(
        "SELECT asset, count(position_szi), sum(position_szi), count(missing_reason) FROM wallet_snapshots"
        " GROUP BY asset ORDER BY asset"
    ).fetchall()
    assert counts == [("HYPE", 8, 0, 2), ("BTC", 8, Decimal("12.0"), 2), ("ETH", 8, 0, 2)]


def test_a_wallet_without_an_answer_is_internal_and_never_zero(conn: db.Connection, set_clock: SetClock) -> None:
    """Whatever was forgotten upstream, the database says so."""
    set_clock(M, running=False)
    make_universe(conn, range(3))
    recorded = publish(conn, lambda _wallets: {})
    assert recorded.status == "failed"
    assert recorded.missing == {"internal": 3}
    assert conn.execute("SELECT count(position_szi) FROM wallet_snapshots").fetchone() == (0,)


@pytest.mark.parametrize(
    ("missing", "status"),
    [(0, "success"), (10, "success"), (11, "partial"), (40, "partial"), (41, "failed"), (200, "failed")],
)
def test_the_status_is_decided_on_counts_from_both_sides_of_each_threshold(
    conn: db.Connection, set_clock: SetClock, missing: int, status: str
) -> None:
    """95 % and 80 % of 200."""
    set_clock(M, running=False)
    make_universe(conn, range(200))
    assert publish(conn, failing(missing)).status == status


def test_the_status_is_decided_on_counts_and_not_on_a_rounded_percentage(
    conn: db.Connection, set_clock: SetClock
) -> None:
    """94.957 % rounds to 95.0."""
    set_clock(M, running=False)
    make_universe(conn, range(119))
    recorded = publish(conn, failing(6))
    assert (recorded.status, recorded.coverage_pct) == ("partial", Decimal("94.95"))


def test_coverage_is_cut_off_not_rounded(conn: db.Connection, set_clock: SetClock) -> None:
    """99.99 % is not 100 %."""
    set_clock(M, running=False)
    make_universe(conn, range(3))
    assert publish(conn, failing(1)).coverage_pct == Decimal("66.66")


def test_running_a_complete_minute_again_changes_no_row(conn: db.Connection, set_clock: SetClock) -> None:
    """There is nobody left to ask."""
    set_clock(M, running=False)
    make_universe(conn, range(5))
    publish(conn, all_held)
    before = cells(conn)
    with db.transaction(conn):
        task = store.list_task(conn, M)
    assert task.wallets == ()
    assert cells(conn) == before


def test_the_skew_is_that_of_the_minute_however_often_it_was_asked_for(
    conn: db.Connection, set_clock: SetClock
) -> None:
    """Who sums over wallets must know how far apart they were seen; the newest attempt alone does not tell."""
    make_universe(conn, range(10))
    set_clock(M + timedelta(seconds=3))
    skew = "SELECT skew_ms FROM ingest_runs"
    publish(conn, failing(10))
    assert conn.execute(skew).fetchone() == (None,)
    publish(
        conn, lambda wallets: {w: Held(M + timedelta(seconds=1, milliseconds=n), {}) for n, w in enumerate(wallets[:8])}
    )
    assert conn.execute(skew).fetchone() == (7,)
    publish(conn, lambda wallets: {wallets[0]: Held(M + timedelta(seconds=41), {})})
    assert conn.execute(skew).fetchone() == (40_000,)
    publish(conn, failing(1))
    assert conn.execute(skew).fetchone() == (40_000,)


def test_a_second_run_fills_exactly_the_holes(conn: db.Connection, set_clock: SetClock) -> None:
    """A value is write-once: a worse second answer changes nothing that was known."""
    set_clock(M, running=False)
    make_universe(conn, range(10))
    publish(conn, failing(4))
    before = cells(conn)
    asked: list[Wallet] = []

    def second(wallets: Sequence[Wallet]) -> dict[Wallet, Answer]:
        asked.extend(wallets)
        return {wallet: held(ETH=LONG) for wallet in wallets[:3]}

    recorded = publish(conn, second)
    after = cells(conn)
    assert len(asked) == 4
    assert (recorded.wallets_succeeded, recorded.attempts, recorded.missing) == (9, 2, {"timeout": 1})
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 9, "three wallets, three assets"


def test_a_value_never_becomes_another_value_or_null(conn: db.Connection, set_clock: SetClock) -> None:
    """Even if a run that lost its lock answers everything anew."""
    set_clock(M, running=False)
    make_universe(conn, range(5))
    publish(conn, all_held)
    before = cells(conn)
    with db.transaction(conn):
        wallets = [Wallet(row[0], "") for row in conn.execute("SELECT wallet_id FROM wallets").fetchall()]
    publish(
        conn, lambda _task: {w: held(BTC=LONG, ETH=LONG) if w.wallet_id % 2 else MissingReason.LATE for w in wallets}
    )
    assert cells(conn) == before


def test_the_first_publisher_pins_the_universe(conn: db.Connection, set_clock: SetClock) -> None:
    """A refresh in the middle of a minute belongs to the next one."""
    set_clock(M, running=False)
    first = make_universe(conn, range(5))
    publish(conn, failing(2))
    make_universe(conn, range(100, 110))
    recorded = publish(conn, all_held)
    assert recorded.universe_run_id == first
    assert (recorded.wallets_expected, recorded.status) == (5, "success")
    set_clock(M + timedelta(minutes=1), running=False)
    later = publish(conn, lambda ws: {w: held(M + timedelta(minutes=1)) for w in ws}, minute=M + timedelta(minutes=1))
    assert later.wallets_expected == 10


def test_a_second_publisher_that_looked_before_the_first_one_published_changes_no_universe(
    conn: db.Connection, set_clock: SetClock
) -> None:
    """Each saw the newest universe of its own moment, and a refresh came between."""
    set_clock(M, running=False)
    first = make_universe(conn, range(5))
    publish(conn, all_held)
    second = make_universe(conn, range(100, 110))
    recorded = publish(conn, all_held, universe_run_id=second)
    assert (recorded.universe_run_id, recorded.wallets_expected, recorded.rows_written) == (first, 5, 15)


def test_a_minute_that_is_over_is_not_written(conn: db.Connection, set_clock: SetClock) -> None:
    """A late run never lies about time; nothing of it is left behind."""
    set_clock(M + timedelta(seconds=59.999), running=False)
    make_universe(conn, range(3))
    publish(conn, failing(1))
    before = cells(conn)
    set_clock(M + timedelta(seconds=60), running=False)
    with pytest.raises(MinuteMissedError):
        publish(conn, all_held)
    with pytest.raises(MinuteMissedError):
        publish(conn, all_held, minute=M - timedelta(minutes=1))
    assert cells(conn) == before
    assert conn.execute("SELECT count(*) FROM ingest_runs").fetchone() == (1,)


def test_a_minute_that_ends_while_it_is_published_is_not_written(
    conn: db.Connection, set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was claimed in time may wait for a cell or a disk until it is too late."""
    set_clock(M + timedelta(seconds=59), running=False)
    make_universe(conn, range(3))
    find = oddities.find

    def find_slowly(conn: db.Connection, minute: datetime) -> oddities.Oddities:
        set_clock(M + timedelta(seconds=60), running=False)
        return find(conn, minute)

    monkeypatch.setattr(oddities, "find", find_slowly)
    with pytest.raises(MinuteMissedError):
        publish(conn, all_held)
    assert cells(conn) == []
    assert conn.execute("SELECT count(*) FROM ingest_runs").fetchone() == (0,)


def test_publishers_without_a_lock_still_make_one_true_minute(
    database: str, conn: db.Connection, set_clock: SetClock
) -> None:
    """The lock saves requests; truth does not rest on it."""
    set_clock(M, running=False)
    make_universe(conn, range(40))
    start = threading.Barrier(4)
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            with db.connect(database) as other:
                start.wait()
                publish(
                    other,
                    lambda ws: {w: held(BTC=LONG) if w.wallet_id % 4 == number else MissingReason.RESET for w in ws},
                )
        except BaseException as exc:  # noqa: BLE001 - shown by the assertion below
            errors.append(exc)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    run = conn.execute(
        "SELECT attempts, wallets_succeeded, rows_written, status, requests_sent FROM ingest_runs"
    ).fetchall()
    assert run == [(4, 40, 120, "success", 40)]


def test_what_was_sent_lately_is_told_to_the_next_run(conn: db.Connection, set_clock: SetClock) -> None:
    """The rate limit does not begin anew with each process, and counts each request for a second more than a minute."""
    set_clock(M + timedelta(seconds=5), running=False)
    make_universe(conn, range(3))
    publish(conn, failing(1), requests_sent=250)
    publish(conn, failing(1), requests_sent=50)
    set_clock(M + timedelta(seconds=62), running=False)
    with db.transaction(conn):
        assert store.list_recent_requests(conn) == [(20, M + timedelta(seconds=2.5))]
    set_clock(M + timedelta(seconds=61.5), running=False)
    with db.transaction(conn):
        assert store.list_recent_requests(conn) == [(280, M + timedelta(seconds=1)), (20, M + timedelta(seconds=2.5))]
    set_clock(M + timedelta(seconds=64), running=False)
    with db.transaction(conn):
        assert store.list_recent_requests(conn) == []


def test_what_a_clock_that_ran_ahead_sent_is_not_held_against_the_minutes_after_it_was_set_back(
    conn: db.Connection, set_clock: SetClock
) -> None:
    """A quarter of an hour of it would leave no room for an hour's minutes."""
    set_clock(M + timedelta(hours=1, seconds=5), running=False)
    make_universe(conn, range(3))
    publish(conn, failing(3), minute=M + timedelta(hours=1), requests_sent=250)
    set_clock(M + timedelta(seconds=5), running=False)
    with db.transaction(conn):
        assert store.list_recent_requests(conn) == []


def test_an_attempt_that_meets_its_own_row_is_counted_once(conn: db.Connection, set_clock: SetClock) -> None:
    """Its COMMIT landed after it had been given up: what was sent is not sent twice by being published twice."""
    set_clock(M + timedelta(seconds=5), running=False)
    make_universe(conn, range(3))
    mine = uuid4()
    counts = "SELECT attempts, requests_sent, retries, sent_per_second FROM ingest_runs"
    publish(conn, failing(1), requests_sent=30)
    publish(conn, failing(1), requests_sent=20, attempt_id=mine)
    once = conn.execute(counts).fetchall()
    assert once == [(2, 50, 2, [30, 0, 20])]
    publish(conn, failing(1), requests_sent=20, attempt_id=mine)
    assert conn.execute(counts).fetchall() == once


def test_a_commit_whose_reply_was_lost_is_found_by_its_own_attempt_alone(
    conn: db.Connection, set_clock: SetClock
) -> None:
    """Another run's row for the same minute says nothing of it: whoever took it for his would drop his answers."""
    set_clock(M + timedelta(seconds=5), running=False)
    make_universe(conn, range(3))
    mine, other = uuid4(), uuid4()
    recorded = publish(conn, failing(1), attempt_id=mine)
    with db.transaction(conn):
        assert store.find_attempt(conn, M, mine) == recorded
        assert store.find_attempt(conn, M, other) is None
        assert store.find_attempt(conn, M + timedelta(minutes=1), mine) is None


def test_who_takes_a_minute_again_finds_out_whether_it_is_still_his(conn: db.Connection, database: str) -> None:
    """Without answers he waits for the other, who may be himself; with answers they are published all the same."""
    with db.connect(database) as other, db.transaction(other):
        store.retake_minute(other, M, needed=True)
        with db.transaction(conn):
            store.retake_minute(conn, M, needed=False)
            with pytest.raises(DatabaseUnusableError, match="another session has the lock of 20:44"):
                store.retake_minute(conn, M, needed=True)


def test_a_minute_that_is_committed_after_the_next_one_counts_and_the_next_one_stays_the_newest(
    database: str, conn: db.Connection, set_clock: SetClock
) -> None:
    """A COMMIT may wait for a disk: what it says was true in time, and health does not go back."""
    set_clock(M + timedelta(seconds=59), running=False)
    make_universe(conn, range(5))
    later = M + timedelta(minutes=1)

    def next_minute() -> None:
        set_clock(later, running=False)
        with db.connect(database) as other:
            publish(other, lambda ws: {w: held(later) for w in ws}, minute=later)

    publish(conn, failing(3), before_commit=next_minute)
    health = judge(conn)
    assert health.last_snapshot_ts == later
    assert conn.execute("SELECT snapshot_ts, status FROM ingest_runs ORDER BY 1").fetchall() == [
        (M, "failed"),
        (later, "success"),
    ]


def test_the_server_frees_a_minute_whose_holder_says_nothing_any_more(
    database: str, conn: db.Connection, set_clock: SetClock
) -> None:
    """It is frozen, or gone behind a half-open connection: after 58 s, here after one, it no longer matters which."""
    with db.transaction(conn):
        assert conn.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("58s",)
    set_clock(M, running=False)
    with db.connect(database) as holder, suppress(psycopg.Error), db.transaction(holder, idle_timeout="1s"):
        store.take_minute(holder, lead=timedelta(0))
        is_free, ends = False, time.monotonic() + 20
        with pytest.raises(BusyError), db.transaction(conn):
            store.take_minute(conn, lead=timedelta(0))
        while not is_free and time.monotonic() < ends:
            with suppress(BusyError), db.transaction(conn):
                is_free = store.take_minute(conn, lead=timedelta(0)).minute == M
    assert is_free


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2016, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),  # a leap second follows
        datetime(2028, 2, 29, 23, 59, 30, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),  # Europe's clocks go forward
        datetime(2026, 10, 25, 1, 0, tzinfo=UTC),  # and back
        datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),  # 2**31 seconds since 1970
        datetime(2100, 2, 28, 23, 59, 30, tzinfo=UTC),
    ],
    ids=str,
)
def test_an_odd_moment_is_in_a_minute_like_any_other(
    conn: db.Connection, set_clock: SetClock, moment: datetime
) -> None:
    """Minutes are counted in seconds since 1970, in whatever time zone the session is."""
    conn.execute("SET timezone = 'Europe/Berlin'")
    set_clock(moment, running=False)
    minute = moment.replace(second=0, microsecond=0)
    make_universe(conn, range(3))
    with db.transaction(conn):
        assert store.take_minute(conn, lead=timedelta(0)).minute == minute
        store.ensure_partitions(conn, days=2)
    recorded = publish(conn, lambda ws: {w: held(minute, BTC=LONG) for w in ws}, minute=minute)
    assert (recorded.snapshot_ts, recorded.rows_written) == (minute, 9)
    assert conn.execute("SELECT run_id FROM ingest_runs").fetchone() == (minute.timestamp() // 60,)
    assert conn.execute("SELECT count(*) FROM wallet_snapshots_default").fetchone() == (0,)


# ---- health


def judge(conn: db.Connection) -> Health:
    with db.transaction(conn, read_only=True):
        return overview.read_health(conn)


def test_before_the_first_minute_the_data_is_stale(conn: db.Connection) -> None:
    """There is always exactly one judgement, also over nothing."""
    health = judge(conn)
    assert (health.health_state, health.reasons) == ("stale", ["no_good_minute"])
    assert health.last_snapshot_ts is None


@pytest.mark.parametrize(
    ("seconds", "state", "reasons"),
    [
        (1, "healthy", []),
        (120, "healthy", []),
        (120.5, "degraded", ["last_minute_old"]),
        (180, "degraded", ["last_minute_old"]),
        (180.5, "stale", ["no_good_minute_lately", "last_minute_old"]),
    ],
)
def test_a_good_minute_ages_without_anybody_writing(
    conn: db.Connection, set_clock: SetClock, seconds: float, state: str, reasons: list[str]
) -> None:
    """When ingestion dies, nobody is left to say so."""
    set_clock(M, running=False)
    make_universe(conn, range(3))
    publish(conn, all_held)
    set_clock(M + timedelta(seconds=seconds), running=False)
    health = judge(conn)
    assert (health.health_state, list(health.reasons)) == (state, reasons)
    assert health.last_good_age == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("missing", "state", "reasons"),
    [
        (0, "healthy", []),
        (15, "degraded", ["last_minute_partial"]),
        (50, "stale", ["no_good_minute", "last_minute_failed"]),
    ],
)
def test_the_newest_minute_decides(
    conn: db.Connection, set_clock: SetClock, missing: int, state: str, reasons: list[str]
) -> None:
    """Partial is degraded, failed is stale at once; the history keeps what was judged."""
    set_clock(M, running=False)
    make_universe(conn, range(100))
    publish(conn, failing(missing))
    health = judge(conn)
    assert (health.health_state, list(health.reasons)) == (state, reasons)
    kept = conn.execute("SELECT health_ts, health_state, last_success_snapshot_ts FROM ingest_health").fetchall()
    assert kept == [(M, state, None if missing == 50 else M)]


def test_the_newest_minute_decides_though_an_older_one_is_committed_last(
    conn: db.Connection, set_clock: SetClock
) -> None:
    """The clock of a database may be set back into a minute that had a hole."""
    newest = M + timedelta(minutes=1)
    set_clock(M, running=False)
    make_universe(conn, range(10))
    set_clock(newest, running=False)
    publish(conn, lambda wallets: {wallet: held(newest) for wallet in wallets}, minute=newest)
    set_clock(M + timedelta(seconds=30), running=False)
    publish(conn, failing(1))
    set_clock(newest + timedelta(seconds=1), running=False)
    health = judge(conn)
    assert (health.health_state, health.last_snapshot_ts, health.last_good_snapshot_ts) == ("healthy", newest, newest)


def test_a_failed_minute_after_a_good_one_remembers_the_good_one(conn: db.Connection, set_clock: SetClock) -> None:
    """The record says since when."""
    set_clock(M, running=False)
    make_universe(conn, range(3))
    publish(conn, all_held)
    after = M + timedelta(minutes=1)
    set_clock(after, running=False)
    publish(conn, failing(3), minute=after)
    kept = conn.execute("SELECT last_success_snapshot_ts FROM ingest_health ORDER BY health_ts").fetchall()
    assert kept == [(M,), (M,)]


@pytest.mark.parametrize(("beyond", "state", "reasons"), [(0, "healthy", []), (1, "degraded", ["universe_old"])])
def test_an_old_universe_degrades(
    conn: db.Connection, set_clock: SetClock, beyond: int, state: str, reasons: list[str]
) -> None:
    """Two refreshes missed, and not a moment before."""
    set_clock(M - timedelta(hours=12, seconds=beyond), running=False)
    make_universe(conn, range(3))
    set_clock(M, running=False)
    publish(conn, all_held)
    health = judge(conn)
    assert (health.health_state, list(health.reasons)) == (state, reasons)


def test_the_thresholds_in_force_are_those_the_run_wrote_down(conn: db.Connection, set_clock: SetClock) -> None:
    """A reader needs no configuration."""
    set_clock(M, running=False)
    make_universe(conn, range(3))
    rules = Rules(
        coverage_success=Decimal(50),
        coverage_failed=Decimal(10),
        stale_after=timedelta(seconds=600),
        universe_stale_after=timedelta(hours=1),
        rate_limit=1200,
    )
    assert publish(conn, failing(1), rules=rules).status == "success"
    set_clock(M + timedelta(seconds=500), running=False)
    assert judge(conn).health_state == "degraded"


# ---- views and universe


def test_positions_are_read_by_address(conn: db.Connection, set_clock: SetClock) -> None:
    """People know addresses, not keys."""
    set_clock(M, running=False)
    make_universe(conn, [7])
    publish(conn, all_held)
    rows = conn.execute("SELECT address, asset, position_szi FROM v_positions ORDER BY asset").fetchall()
    assert rows == [(address(7), "HYPE", 0), (address(7), "BTC", Decimal("1.5")), (address(7), "ETH", 0)]


def test_a_universe_replaces_the_one_before_as_a_whole_and_keys_stay(conn: db.Connection) -> None:
    """A wallet that comes back has the key it had, and no number is used up in vain."""
    make_universe(conn, [1, 2, 3])
    first: dict[str, int] = dict(conn.execute("SELECT address, wallet_id FROM wallets").fetchall())
    make_universe(conn, [2, 4])
    make_universe(conn, [3, 2, 1])
    now: dict[str, int] = dict(conn.execute("SELECT address, wallet_id FROM wallets").fetchall())
    assert first.items() <= now.items()
    assert sorted(now.values()) == [1, 2, 3, 4]
    rows = conn.execute("SELECT rank, address FROM v_universe ORDER BY rank").fetchall()
    assert rows == [(1, address(3)), (2, address(2)), (3, address(1))]
    assert conn.execute("SELECT count(*) FROM wallet_universe_members").fetchone() == (8,)


def test_recent_alerts_are_the_told_ones_of_a_day_with_the_systems_first(
    conn: db.Connection, set_clock: SetClock
) -> None:
    """At most five."""
    set_clock(M, running=False)
    insert = b"""
        INSERT INTO alerts (alert_ts, asset, alert_type, severity, message, suppressed)
        VALUES (%s, %s, %s, 'high', %s, %s)
    """
    for hours in range(1, 8):
        conn.execute(insert, [M - timedelta(hours=hours), "BTC", "exit_cluster", str(hours), False])
    conn.execute(insert, [M - timedelta(hours=20), None, "system_stale", "stale", False])
    conn.execute(insert, [M - timedelta(hours=1), "ETH", "exit_cluster", "hidden", True])
    conn.execute(insert, [M - timedelta(hours=25), "ETH", "exit_cluster", "old", False])
    rows = conn.execute("SELECT message FROM v_recent_alerts").fetchall()
    assert [message for (message,) in rows] == ["stale", "1", "2", "3", "4"]


def test_latest_signals_are_one_per_asset(conn: db.Connection) -> None:
    """The newest of each."""
    for minute, asset in ((0, "BTC"), (5, "BTC"), (0, "ETH")):
        conn.execute(
            "INSERT INTO signals VALUES"
            " (%s, %s, 1, 2, 3, 'flat', 'No-trade', 'Normal', false, false, 1, 0, 0, false, NULL, 1)",
            [M + timedelta(minutes=minute), asset],
        )
    rows = conn.execute("SELECT asset, signal_ts FROM v_latest_signals ORDER BY asset").fetchall()
    assert rows == [("BTC", M + timedelta(minutes=5)), ("ETH", M)]


# ---- transactions


def test_hostile_settings_of_the_role_are_pinned_away(database: str, set_clock: SetClock) -> None:
    """Whatever a DBA or a pooler left behind, a transaction means the same."""
    set_clock(M, running=False)
    with psycopg.connect(database, autocommit=True) as owner:
        name = owner.info.dbname
        for setting in (
            "datestyle = 'German'", "intervalstyle = 'sql_standard'", "timezone = 'Asia/Tokyo'",
            "search_path = 'pg_temp, pg_catalog'", "default_transaction_isolation = 'serializable'",
            "default_transaction_read_only = on", "statement_timeout = '200ms'", "bytea_output = 'escape'",
            "array_nulls = off",
        ):  # fmt: skip
            owner.execute(f'ALTER DATABASE "{name}" SET {setting}'.encode())
    with db.connect(database) as conn, db.transaction(conn):
        shown = conn.execute("""
            SELECT current_setting('datestyle'), current_setting('intervalstyle'), current_setting('timezone'),
                   current_setting('search_path'), current_setting('transaction_isolation'),
                   current_setting('transaction_read_only'), current_setting('statement_timeout')
        """).fetchone()
        conn.execute("SELECT pg_sleep(0.3)")
    assert shown == ("ISO, MDY", "postgres", "UTC", "public, pg_temp", "read committed", "off", "10s")
    with db.connect(database) as conn:
        make_universe(conn, range(5))
        assert publish(conn, failing(2)).rows_written == 15


def test_the_libpq_environment_is_not_heard(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL is the only source of where to connect and how."""
    heard = {
        "PGOPTIONS": "-c search_path=nowhere", "PGDATABASE": "elsewhere", "PGAPPNAME": "somebody",
        "PGHOST": "elsewhere", "PGHOSTADDR": "192.0.2.1", "PGPORT": "1", "PGSERVICE": "nowhere",
        "PGTARGETSESSIONATTRS": "standby", "PGSSLMODE": "verify-full", "PGREQUIREAUTH": "scram-sha-256",
        "PGDATESTYLE": "German",
    }  # fmt: skip
    for name, value in heard.items():
        monkeypatch.setenv(name, value)
    with db.connect(database) as conn:
        assert conn.execute("SELECT current_setting('application_name')").fetchone() == ("hlctl",)
        assert conn.execute("SHOW search_path").fetchone() != ("nowhere",)


# ---- the fingerprint


FINGERPRINT = """
    SELECT fingerprint,
           (SELECT sum(cell_fingerprint(wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type,
                                        margin_used, observed_at, missing_reason, attempt))
              FROM wallet_snapshots c WHERE c.snapshot_ts = r.snapshot_ts)
      FROM ingest_runs r WHERE snapshot_ts = %s
"""


def test_a_minute_carries_the_fingerprint_of_its_cells_whoever_asks(conn: db.Connection, set_clock: SetClock) -> None:
    """A re-run renews it, and it does not depend on the session's time zone or the order of the cells."""
    set_clock(M, running=False)
    make_universe(conn, [1, 2])
    seen = []

    def half_held(wallets: Sequence[Wallet]) -> dict[Wallet, Answer]:
        return {wallets[0]: held(BTC=LONG), wallets[1]: MissingReason.TIMEOUT}

    for answers in (half_held, all_held):
        publish(conn, answers)
        with db.transaction(conn):
            stored, told = conn.execute(FINGERPRINT.encode(), [M]).fetchone() or (None, None)
            assert stored is not None
            assert stored == told
        seen.append(stored)
    conn.execute("SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'")
    assert conn.execute(FINGERPRINT.encode(), [M]).fetchone() == (seen[1], seen[1])
    assert seen[0] != seen[1]


@pytest.mark.parametrize(
    "change",
    [
        "position_szi = 1.50", "position_szi = -1.5", "entry_px = NULL", "liq_px = 90", "leverage = 6",
        "margin_used = 31", "leverage_type = 'isolated'", "observed_at = observed_at + interval '1 us'", "attempt = 2",
        "wallet_id = 77", "asset = 'ETH'",
    ],
)  # fmt: skip
def test_no_change_of_a_value_leaves_the_fingerprint_as_it_was(
    conn: db.Connection, set_clock: SetClock, change: str
) -> None:
    """What was published is proven; the dirty mark, which comes later, is not part of it."""
    set_clock(M, running=False)
    make_universe(conn, [1])
    publish(conn, lambda wallets: {wallets[0]: held(BTC=LONG)})
    conn.execute("UPDATE wallet_snapshots SET is_dirty = true, dirty_reason = 'odd'")
    stored, told = conn.execute(FINGERPRINT.encode(), [M]).fetchone() or (None, None)
    assert stored == told
    conn.execute("DELETE FROM wallet_snapshots WHERE asset <> 'BTC'")
    before = conn.execute(FINGERPRINT.encode(), [M]).fetchone() or (None, None)
    conn.execute(f"UPDATE wallet_snapshots SET {change}".encode())  # noqa: S608 - a literal of this file
    after = conn.execute(FINGERPRINT.encode(), [M]).fetchone() or (None, None)
    assert before[1] != after[1]
    assert before[1] != before[0], "a cell that is gone shows too"
