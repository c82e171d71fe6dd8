"""`v_universe_history`: who was on the list at any minute: as its run pinned it, else by the clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hlctl import db, migrate, store
from hlctl.model import HLP_VAULT, LeaderboardRow, Refresh, Source

NOON = datetime(2026, 1, 6, 12, tzinfo=UTC)
LISTED = b"""
    SELECT address, rank FROM v_universe_history
     WHERE from_minute <= %(minute)s AND (until_minute > %(minute)s OR until_minute IS NULL)
     ORDER BY rank
"""


def address(wallet: str) -> str:
    return f"0x{ord(wallet):040x}"


def minutes(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


def row_of(wallet: str) -> LeaderboardRow:
    """Return a leaderboard row; only a wallet in capitals has traded."""
    return LeaderboardRow(
        address=address(wallet),
        month_pnl=Decimal(5),
        month_roi=Decimal("0.1"),
        month_volume=Decimal(int(wallet.isupper())),
        account_value=Decimal(7),
    )


@dataclass(frozen=True, slots=True)
class Listing:
    """A refresh: its moment in seconds after noon, and its members, a letter each, best first."""

    second: float
    members: str
    good: bool = True


@dataclass(frozen=True, slots=True)
class History:
    """Refreshes by number, in their order, and of each recorded minute after noon the one its run pinned."""

    refreshes: Sequence[Listing]
    pins: Mapping[int, int]

    def write(self, conn: db.Connection) -> None:
        """Store it into empty tables, as `refresh-universe` and `snapshot` would have."""
        for number, refresh in enumerate(self.refreshes):
            conn.execute(
                b"INSERT INTO wallet_universe_runs (run_id, as_of_ts, status, error, source, n_requested, n_received,"
                b" duration_ms, rows_seen, rows_rejected) OVERRIDING SYSTEM VALUE"
                b" VALUES (%s, %s, %s, %s, 'stats-data', 9, 9, 1, 9, 0)",
                [
                    number,
                    NOON + timedelta(seconds=refresh.second),
                    "success" if refresh.good else "failed",
                    None if refresh.good else "churn",
                ],
            )
            rows = [row_of(wallet) for wallet in refresh.members]
            names = ("month_pnl", "month_roi", "account_value", "month_volume", "is_vault")
            members: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in names}
            members["addresses"] = [row.address for row in rows]
            conn.execute(db.query("add_wallets"), members)
            conn.execute(db.query("add_members"), {"run_id": number, **members})
        for minute, number in self.pins.items():
            record(conn, minutes(minute), number)

    def newest(self, minute: int) -> int | None:
        """Tell whose members a minute's are, the second way.

        The newest good refresh that was recorded when the minute began and is no newer than what a later minute used;
        but none older than what this or an earlier minute used.
        """
        used_later = min((number for m, number in self.pins.items() if m >= minute), default=len(self.refreshes))
        used = [number for m, number in self.pins.items() if m <= minute]
        recorded = [
            number
            for number, refresh in enumerate(self.refreshes)
            if refresh.good and refresh.second <= 60 * minute and number <= used_later
        ]
        return max(used + recorded, default=None)

    def periods(self, until: int) -> list[tuple[int, int | None, str]]:
        """Return (first minute, the next list's first minute, members) of each list, asking minute by minute."""
        known = [(minute, number) for minute in range(until) if (number := self.newest(minute)) is not None]
        starts = [next(group) for _, group in groupby(known, key=lambda pair: pair[1])]
        ends = [minute for minute, _ in starts[1:]]
        return [
            (minute, end, self.refreshes[number].members)
            for (minute, number), end in zip(starts, [*ends, None], strict=False)
        ]

    def expected(self, until: int) -> set[tuple[Any, ...]]:
        """Return what the view must show: (from, until, address, rank, exited)."""
        periods = self.periods(until)
        nexts = [*(members for _, _, members in periods[1:]), ""]
        return {
            (
                minutes(start),
                end if end is None else minutes(end),
                address(wallet),
                rank,
                None if end is None or wallet in after else minutes(end),
            )
            for (start, end, members), after in zip(periods, nexts, strict=False)
            for rank, wallet in enumerate(members, start=1)
        }


def record(conn: db.Connection, minute: datetime, universe_run_id: int) -> None:
    """Store a run row; nothing of it matters here but which universe it pins."""
    conn.execute(
        b"INSERT INTO ingest_runs (run_id, snapshot_ts, universe_run_id, status, wallets_expected, wallets_succeeded,"
        b" wallets_failed, rows_expected, rows_written, coverage_pct, missing, attempts, attempt_id, coverage_success,"
        b" coverage_failed, stale_after, universe_stale_after, requests_sent, retries, rate_limited, sent_per_second,"
        b" duration_ms, host, version, published_at)"
        b" VALUES (extract(epoch FROM %(minute)s::timestamptz) / 60, %(minute)s, %(universe)s, 'failed', 0, 0,"
        b" 0, 0, 0, 0, '{}', 1, gen_random_uuid(), 95,"
        b" 80, '180 s', '12 h', 0, 0, 0, '{}', 1, 'here', '0', %(minute)s)",
        {"minute": minute, "universe": universe_run_id},
    )


def shown(conn: db.Connection) -> list[tuple[Any, ...]]:
    return conn.execute(
        "SELECT from_minute, until_minute, address, rank, exited_minute FROM v_universe_history"
    ).fetchall()


def listed(conn: db.Connection, minute: datetime) -> str:
    """Return the members at a minute as letters, after a check that their ranks are 1, 2, 3 and so on."""
    rows = conn.execute(LISTED, {"minute": minute}).fetchall()
    assert [rank for _, rank in rows] == list(range(1, len(rows) + 1))
    return "".join(chr(int(found, 16)) for found, _ in rows)


# Refreshes, {recorded minute: refresh pinned}, and the list of each minute from noon on, "" where there is none.
CASES: dict[str, tuple[History, str]] = {
    "nothing recorded: from the first minute that begins at or after the refresh": (
        History([Listing(10, "a"), Listing(120, "b")], {}),
        " a b b",
    ),
    "a run that starts after the refresh, in its minute": (
        History([Listing(10, "a")], {0: 0}),
        "a a a",
    ),
    "a refresh during a running snapshot is in force from the next minute": (
        History([Listing(-60, "a"), Listing(70, "b")], {0: 0, 1: 0, 2: 1}),
        "a a b b",
    ),
    "a refresh that becomes visible only when the next minute has read the list": (
        History([Listing(-60, "a"), Listing(59.9, "b")], {0: 0, 1: 0, 2: 1}),
        "a a b b",
    ),
    "the same, and the minute after was not recorded": (
        History([Listing(-60, "a"), Listing(59.9, "b")], {0: 0, 1: 0, 4: 1}),
        "a a b b b",
    ),
    "an outage after the refresh: by the clock and not from the first pin": (
        History([Listing(-60, "a"), Listing(70, "b")], {0: 0, 6: 1}),
        "a a b b b b b",
    ),
    "two refreshes in one minute, none pinned between: the first never was in force": (
        History([Listing(-60, "a"), Listing(70, "b"), Listing(80, "c")], {1: 0, 2: 2}),
        "a a c c",
    ),
    "two refreshes in one minute, with a run between them": (
        History([Listing(-60, "a"), Listing(70, "b"), Listing(80, "c")], {0: 0, 1: 1, 2: 2}),
        "a b c c",
    ),
    "a refresh that no minute used": (
        History([Listing(-60, "a"), Listing(70, "b"), Listing(190, "c")], {0: 0, 5: 2}),
        "a a b b c c",
    ),
    "a failed refresh that stored its members": (
        History([Listing(-60, "a"), Listing(70, "b", good=False), Listing(130, "c")], {0: 0, 2: 0, 3: 2}),
        "a a a c c",
    ),
    "only failed refreshes": (
        History([Listing(10, "a", good=False)], {}),
        "  ",
    ),
    "the clock was an hour ahead for the refresh alone: its pins decide": (
        History([Listing(-60, "a"), Listing(3670, "b")], {0: 0, 1: 0, 2: 1, 3: 1}),
        "a a b b b",
    ),
    "the clock was set back, and minutes ahead were recorded before the refresh": (
        History([Listing(-60, "a"), Listing(70, "b")], {0: 0, 1: 0, 2: 0, 3: 0, 5: 1}),
        "a a a a b b",
    ),
    "the clock was set back before anything was recorded: the newer refresh is believed": (
        History([Listing(190, "a"), Listing(70, "b")], {}),
        "  b b b",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_list_of_a_minute(rolled_back: db.Connection, case: str) -> None:
    """What the pins say, what the clock says, and which of the two where they differ."""
    history, lists = CASES[case]
    history.write(rolled_back)
    found = [listed(rolled_back, minutes(minute)) for minute in range(len(lists.split(" ")))]
    assert found == lists.split(" ")


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw refreshes at any moments of ten minutes, in any order, and runs that pin any good ones of them."""
    members = st.lists(st.sampled_from("abcD"), min_size=1, unique=True).map("".join)
    refresh = st.builds(Listing, st.integers(0, 600), members, good=st.sampled_from([True, True, False]))
    refreshes = draw(st.lists(refresh, min_size=1, max_size=6))
    if draw(st.booleans()):  # as a clock that is never set back stamps them
        refreshes.sort(key=lambda listing: listing.second)
    good = [number for number, listing in enumerate(refreshes) if listing.good]
    recorded = sorted(draw(st.sets(st.integers(0, 12), max_size=9))) if good else []
    pins = draw(st.lists(st.sampled_from(good), min_size=len(recorded), max_size=len(recorded))) if recorded else []
    if draw(st.sampled_from([True, True, False])):  # as runs that follow each other read the list
        pins.sort()
    return History(refreshes, dict(zip(recorded, pins, strict=True)))


@given(history=histories())
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example undoes what it wrote
)
def test_any_history_is_told_as_a_reader_of_every_minute_would(rolled_back: db.Connection, history: History) -> None:
    """No hole, no overlap, and a recorded minute has the members that its run pinned."""
    with rolled_back.transaction(force_rollback=True):
        history.write(rolled_back)
        found = shown(rolled_back)
        assert len(found) == len(set(found))
        assert set(found) == history.expected(until=15)
        pinned = sorted(history.pins.items())
        if [number for _, number in pinned] == sorted(history.pins.values()):
            for minute, number in pinned:
                assert listed(rolled_back, minutes(minute)) == history.refreshes[number].members


def test_who_left_and_when(rolled_back: db.Connection) -> None:
    """A wallet that comes back leaves again; one that only changes its rank does not leave."""
    History([Listing(0, "abc"), Listing(60, "ca"), Listing(120, "bc"), Listing(180, "ca")], {}).write(rolled_back)
    left = rolled_back.execute(
        "SELECT exited_minute, address FROM v_universe_history WHERE exited_minute IS NOT NULL ORDER BY exited_minute"
    ).fetchall()
    assert left == [(minutes(1), address("b")), (minutes(2), address("a")), (minutes(3), address("b"))]


def test_a_list_shows_what_its_refresh_read_of_a_wallet(rolled_back: db.Connection) -> None:
    """Facts of then, and not of the newest refresh."""
    History([Listing(0, "aB"), Listing(60, "B")], {}).write(rolled_back)
    rolled_back.execute("UPDATE wallet_universe_members SET month_pnl = 99, month_volume = 0 WHERE run_id = 1")
    facts = rolled_back.execute(
        "SELECT rank, month_pnl, month_roi, account_value, month_volume, zero_volume, is_vault, run_id, as_of_ts"
        " FROM v_universe_history WHERE run_id = 0 ORDER BY rank"
    ).fetchall()
    figures = (Decimal(5), Decimal("0.1"), Decimal(7))
    assert facts == [(1, *figures, 0, True, None, 0, NOON), (2, *figures, 1, False, None, 0, NOON)]


def test_a_refresh_stores_who_is_the_protocols_vault_and_who_traded_nothing(rolled_back: db.Connection) -> None:
    """Of other wallets it is not known whether they are vaults, and that is not false."""
    figures = {"month_roi": Decimal(0), "account_value": Decimal(1)}
    members = [
        LeaderboardRow(address=HLP_VAULT, month_pnl=Decimal(3), month_volume=Decimal(0), **figures),
        LeaderboardRow(address=address("a"), month_pnl=Decimal(2), month_volume=Decimal("0.1"), **figures),
    ]
    refresh = Refresh(
        run_id=None, source=Source.STATS_DATA, n_requested=2, n_received=2, entered=(), exited=(), turnover=None,
        churn_warning_count=0, rows_seen=2, rows_rejected=0, duration_ms=1,
    )  # fmt: skip
    store.replace_universe(rolled_back, refresh, members)
    facts = [(HLP_VAULT, 0, True, True), (address("a"), Decimal("0.1"), False, None)]
    for view in (b"v_universe", b"v_universe_history"):
        columns = b"SELECT address, month_volume, zero_volume, is_vault FROM "
        assert rolled_back.execute(columns + view + b" ORDER BY rank").fetchall() == facts


def test_an_older_databases_members_have_their_facts_after_the_upgrade(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were read from leaderboards that are gone; what can be told of them is told."""
    shipped = migrate.packaged()
    (this,) = [migration for migration in shipped if migration.name.endswith("_universe_history")]
    with db.connect(empty_database) as conn:
        with monkeypatch.context() as older:
            older.setattr(migrate, "packaged", lambda: shipped[: this.version - 1])
            migrate.migrate(conn)
        conn.execute(f"INSERT INTO wallets (address) VALUES ('{HLP_VAULT}'), ('{address('a')}')".encode())  # noqa: S608 - ours
        conn.execute("""
            INSERT INTO wallet_universe_runs
                   (as_of_ts, status, source, n_requested, n_received, duration_ms, rows_seen, rows_rejected)
            SELECT g, 'success', 'stats-data', 2, 2, 1, 2, 0 FROM generate_series(%s, %s, interval '6 h') AS g
        """, [NOON, NOON + timedelta(hours=6)])  # fmt: skip
        conn.execute("""
            INSERT INTO wallet_universe_members
                   (run_id, wallet_id, rank, month_pnl, month_roi, account_value, month_volume)
            VALUES (1, 1, 1, 9, 0, 1, 0), (1, 2, 2, 8, 0, 1, 4), (2, 2, 1, 8, 0, 1, 0.0)
        """)
        conn.execute("""
            INSERT INTO wallet_universe_current (wallet_id, run_id, rank, month_pnl, month_roi, account_value, as_of_ts)
            SELECT wallet_id, run_id, rank, month_pnl, month_roi, account_value, as_of_ts
              FROM wallet_universe_members JOIN wallet_universe_runs USING (run_id)
             WHERE run_id = 2
        """)
        record(conn, NOON + timedelta(minutes=1), 1)
        assert this in migrate.migrate(conn)
        history = conn.execute(
            "SELECT run_id, wallet_id, zero_volume, is_vault, exited_minute FROM v_universe_history"
            " ORDER BY run_id, rank"
        ).fetchall()
        assert history == [
            (1, 1, True, True, NOON + timedelta(hours=6)), (1, 2, False, None, None), (2, 2, True, None, None)
        ]  # fmt: skip
        current = conn.execute("SELECT wallet_id, month_volume, zero_volume, is_vault FROM v_universe").fetchall()
        assert current == [(2, 0, True, None)]
