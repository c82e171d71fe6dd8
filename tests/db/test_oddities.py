"""What looks odd: the rules from both sides of each threshold, the marks a run makes, the check that looks after it."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hlctl import db, migrate, oddities, overview, store
from hlctl.model import Answer, Asset, Attempt, Held, MissingReason, Recorded, Wallet
from tests.db.test_access import SENT
from tests.db.test_store import LONG, RULES, SetClock, make_universe, publish

M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REASONS = ("bad_shape", "bad_number", "duplicate_coin", "stale", "late", "timeout")

Size = Decimal | str | None
"""What a minute says of a cell: a size, why it is missing, or None if it has no row."""

Cells = Mapping[tuple[int, str], Size]
"""By wallet and asset."""


def d(number: object) -> Decimal:
    return Decimal(str(number))


def record(conn: db.Connection, minute: datetime, cells: Cells, **run: Any) -> None:
    """Insert a minute as if it had been recorded; a column of its run that is `...` is not there yet."""
    row = {
        "run_id": int(minute.timestamp()) // 60, "snapshot_ts": minute, "status": "success", "wallets_expected": 0,
        "wallets_succeeded": 0, "wallets_failed": 0, "rows_expected": 0, "rows_written": 0, "coverage_pct": 0,
        "missing": "{}", "attempts": 1, "attempt_id": "00000000-0000-0000-0000-000000000000",
        "coverage_success": 95, "coverage_failed": 80, "stale_after": "3 min", "universe_stale_after": "12 h",
        "requests_sent": 0, "retries": 0, "rate_limited": 0, "sent_per_second": "{}", "duration_ms": 0, "host": "here",
        "version": "0", "published_at": minute, "anomaly_rules": 1, **run,
    }  # fmt: skip
    row = {name: value for name, value in row.items() if value is not ...}
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    statement = (
        f"INSERT INTO ingest_runs ({names}, universe_run_id)"  # noqa: S608 - the names are those above
        f" SELECT {values}, max(run_id) FROM wallet_universe_runs"
    )
    conn.execute(statement.encode(), row)
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO wallet_snapshots (snapshot_ts, wallet_id, asset, position_szi, missing_reason, observed_at,"
            " leverage, leverage_type, margin_used, ingest_run_id, attempt)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 1)",
            [
                (
                    minute, wallet, asset, *((None, size, None) if isinstance(size, str) else (size, None, minute)),
                    *((5, "cross", 30 + wallet) if isinstance(size, Decimal) and size else (None, None, None)),
                    row["run_id"],
                )
                for (wallet, asset), size in cells.items()
                if size is not None
            ],
        )  # fmt: skip


@pytest.fixture
def history(rolled_back: db.Connection) -> db.Connection:
    """Return a connection to a database to insert minutes into, which forgets them."""
    rolled_back.execute(
        "INSERT INTO wallet_universe_runs"
        " (as_of_ts, status, source, n_requested, n_received, duration_ms, rows_seen, rows_rejected)"
        " VALUES (%s, 'success', 'stats-data', 1, 1, 0, 1, 0)",
        [M],
    )
    return rolled_back


def odd_cells(conn: db.Connection, since: datetime, until: datetime) -> dict[tuple[datetime, int, str], str]:
    """Return why each dirty cell is dirty."""
    rows = conn.execute(
        "SELECT snapshot_ts, wallet_id, asset::text, reason FROM odd_cells(%s, %s)", [since, until]
    ).fetchall()
    found = {(minute, wallet, asset): reason for minute, wallet, asset, reason in rows}
    assert len(found) == len(rows), "a cell has one reason"
    return found


def judge(conn: db.Connection, *sizes: Size, at: int = 1) -> str | None:
    """Return what is said of one of a cell's consecutive minutes, by itself the only one judged."""
    for number, size in enumerate(sizes):
        record(conn, M + number * MINUTE, {(1, "BTC"): size})
    found = odd_cells(conn, M + at * MINUTE, M + (at + 1) * MINUTE)
    assert set(found) <= {(M + at * MINUTE, 1, "BTC")}
    return found.get((M + at * MINUTE, 1, "BTC"))


# ---- the rules of a cell


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scale", ["0.00001", "1", "100000000000"])
@pytest.mark.parametrize(
    ("before", "at", "after", "reason"),
    [
        ("10", "0", "10", "transient_collapse"),
        ("10", "0", "5.000001", "transient_collapse"),
        ("10", "0", "5", None),
        ("10", "0", "4.999999", None),
        ("10", "0", "400", "transient_collapse"),
        ("10", "0", "-10", None),
        ("10", "0", "0", None),
        ("0", "0", "10", None),
        ("10", "20.00001", "10", "szi_jump"),
        ("10", "20", "10", None),
        ("10", "5", "10", None),
        ("10", "4.999999", "10", "szi_jump"),
        ("10", "-10", "10", "szi_jump"),
        ("10", "-0.000001", "10", "szi_jump"),
        ("10", "30", "9", "szi_jump"),
        ("10", "30", "8.999999", None),
        ("9", "30", "10", "szi_jump"),
        ("8.999999", "30", "10", None),
        ("10", "20", "9", None),
        ("10", "4.6", "9", None),
        ("10", "4.4", "9", "szi_jump"),
        ("10", "30", "-10", None),
        ("10", "30", "30", None),
        ("0", "30", "0", None),
        ("0", "30", "10", None),
        ("10", "30", "0", None),
        ("10", "10", "10", None),
    ],
)
def test_a_size_that_is_gone_or_jumps_for_a_minute_is_dirty(
    history: db.Connection, *, sign: int, scale: str, before: str, at: str, after: str, reason: str | None
) -> None:
    """On each side of each threshold, long and short, dust and fortune; a change that lasts is a trade."""
    assert judge(history, *(sign * d(scale) * d(size) for size in (before, at, after))) == reason


@pytest.mark.parametrize("missing", MissingReason)
@pytest.mark.parametrize(("before", "after"), [(None, None), ("late", "late"), (d(1), d(1)), (None, d(0))])
def test_an_answer_without_a_usable_size_is_dirty_whatever_is_beside_it(
    history: db.Connection, missing: MissingReason, before: Size, after: Size
) -> None:
    """The wallet answered; who did not answer is missing, and that is all."""
    expected = {"bad_shape": "null_szi", "bad_number": "null_szi", "duplicate_coin": "null_szi", "stale": "stale_time"}
    assert judge(history, before, missing.value, after) == expected.get(missing.value)


@pytest.mark.parametrize("at", [d(0), d(100)])
@pytest.mark.parametrize("unknown", ["late", "bad_shape", None])
def test_a_window_with_an_unknown_side_judges_nothing(history: db.Connection, at: Decimal, unknown: Size) -> None:
    """Missing is not zero, and a wallet that was not in the universe then has no size either."""
    assert judge(history, unknown, at, d(10)) is None
    record(history, M + 60 * MINUTE, {(1, "BTC"): d(10)})
    record(history, M + 61 * MINUTE, {(1, "BTC"): at})
    record(history, M + 62 * MINUTE, {(1, "BTC"): unknown})
    assert odd_cells(history, M, M + 63 * MINUTE).keys() <= {(M, 1, "BTC"), (M + 62 * MINUTE, 1, "BTC")}


def test_who_is_gone_for_two_minutes_has_closed_and_reopened(history: db.Connection) -> None:
    """Two answers in a row are believed."""
    for number, size in enumerate((10, 0, 0, 10, 30, 30, 10)):
        record(history, M + number * MINUTE, {(1, "BTC"): d(size)})
    assert odd_cells(history, M - MINUTE, M + 9 * MINUTE) == {}


@pytest.mark.parametrize("gap", ["before", "after"])
def test_a_minute_that_nobody_recorded_is_no_neighbour(history: db.Connection, gap: str) -> None:
    """What is two minutes apart may have been traded in between."""
    minutes = [M, M + 2 * MINUTE, M + 3 * MINUTE] if gap == "before" else [M, M + MINUTE, M + 3 * MINUTE]
    for minute, size in zip(minutes, (10, 0, 10), strict=True):
        record(history, minute, {(1, "BTC"): d(size), (1, "ETH"): d(size and 50)})
    assert odd_cells(history, M, M + 4 * MINUTE) == {}


@pytest.mark.parametrize("gap", ["before", "after"])
def test_a_minute_without_the_wallet_is_no_neighbour(history: db.Connection, gap: str) -> None:
    """It left the universe and came back: nobody knows what it held in between, whoever else was recorded."""
    absent = 1 if gap == "before" else 2
    sizes = iter((10, 0, 10))
    for number in range(4):
        mine = {} if number == absent else {(1, "BTC"): d(next(sizes))}
        record(history, M + number * MINUTE, {(2, "BTC"): d(7), **mine})
    assert odd_cells(history, M, M + 4 * MINUTE) == {}


def test_a_missing_size_waits_for_the_next_minute(history: db.Connection) -> None:
    """A second run may still fill the hole; after a gap nobody looks."""
    record(history, M, {(1, "BTC"): "bad_shape", (1, "ETH"): "stale"})
    assert odd_cells(history, M, M + MINUTE) == {}
    record(history, M + 2 * MINUTE, {(1, "BTC"): d(1), (1, "ETH"): d(1)})
    assert odd_cells(history, M, M + 3 * MINUTE) == {}
    record(history, M + MINUTE, {})
    assert set(odd_cells(history, M, M + MINUTE).values()) == {"null_szi", "stale_time"}


def test_wallets_and_assets_are_not_mixed_up(history: db.Connection) -> None:
    """Each cell has its own neighbours, across midnight too."""
    midnight = datetime(2026, 1, 7, tzinfo=UTC)
    record(history, midnight - MINUTE, {(1, "BTC"): d(10), (2, "BTC"): d(0), (1, "ETH"): d(10)})
    record(history, midnight, {(1, "BTC"): d(0), (2, "BTC"): d(0), (1, "ETH"): d(0)})
    record(history, midnight + MINUTE, {(1, "BTC"): d(10), (2, "BTC"): d(10), (1, "ETH"): d(0)})
    assert odd_cells(history, midnight - MINUTE, midnight + 2 * MINUTE) == {(midnight, 1, "BTC"): "transient_collapse"}


def test_the_values_are_written_down_as_they_are_stored(history: db.Connection) -> None:
    """No float: all digits, trailing zeros included."""
    judge(history, d("1234567890.123456789010"), d("0"), d("1234567890.0"))
    (details,) = history.execute("SELECT details::text FROM odd_cells(%s, %s)", [M, M + 3 * MINUTE]).fetchone() or ("",)
    assert json.loads(details, parse_float=Decimal, parse_int=Decimal) == {
        "reason": "transient_collapse", "before": d("1234567890.123456789010"), "at": 0, "after": d("1234567890.0"),
    }  # fmt: skip
    assert '"before": 1234567890.123456789010' in details


def read_dirty(minutes: Sequence[Cells | None]) -> dict[tuple[int, tuple[int, str]], str]:
    """Read the rules of a cell once more, in Python; None is a minute that nobody recorded."""
    found = {}
    for number, cells in enumerate(minutes):
        after = minutes[number + 1] if number + 1 < len(minutes) else None
        if cells is None or after is None:
            continue
        before = minutes[number - 1] if number else None
        for key, at in cells.items():
            if isinstance(at, str):
                if at in {"bad_shape", "bad_number", "duplicate_coin", "stale"}:
                    found[number, key] = "stale_time" if at == "stale" else "null_szi"
                continue
            sides = [(beside or {}).get(key) for beside in (before, after)]
            first, second = (side if isinstance(side, Decimal) else Decimal(0) for side in sides)
            if at is None or first * second <= 0:
                continue
            small, large = sorted((abs(first), abs(second)))
            if at == 0:
                if 2 * abs(second) > abs(first):
                    found[number, key] = "transient_collapse"
            elif 10 * small >= 9 * large and (at * first < 0 or abs(at) > 2 * large or 2 * abs(at) < small):
                found[number, key] = "szi_jump"
    return found


KEYS = [(1, "HYPE"), (1, "BTC"), (2, "BTC")]
sizes = st.sampled_from([d(n) for n in ("0", "0.0", "1", "1.00", "0.9", "0.5", "2", "2.1", "0.45", "10", "-1", "-0.5")])
minutes_of_cells = st.lists(
    st.none() | st.fixed_dictionaries({key: st.none() | sizes | sizes | st.sampled_from(REASONS) for key in KEYS}),
    min_size=3,
    max_size=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(minutes=minutes_of_cells)
@example(minutes=[{(1, "BTC"): d(10)}, {(1, "BTC"): d(0)}, {(1, "BTC"): d(10)}])
def test_the_rules_of_a_cell_are_what_a_second_reader_makes_of_them(
    history: db.Connection, minutes: list[Cells | None]
) -> None:
    """Over any history, looked at as a whole and minute by minute."""
    with history.transaction(force_rollback=True):
        for number, cells in enumerate(minutes):
            if cells is not None:
                record(history, M + number * MINUTE, cells)
        expected = {(M + number * MINUTE, *key): reason for (number, key), reason in read_dirty(minutes).items()}
        assert odd_cells(history, M, M + 9 * MINUTE) == expected
        singly: dict[tuple[datetime, int, str], str] = {}
        for start, end in pairwise(M + number * MINUTE for number in range(6)):
            singly |= odd_cells(history, start, end)
        assert singly == expected


# ---- the rules of a minute


def suspect_cells(conn: db.Connection, minute: datetime) -> dict[tuple[int, str], tuple[str, Any]]:
    """Return the word and the details of each cell for which a minute is suspect."""
    rows = conn.execute(
        "SELECT wallet_id, asset::text, word, details FROM suspect_cells(%s, %s)", [minute, minute + MINUTE]
    ).fetchall()
    found = {(wallet, asset): (word, details) for wallet, asset, word, details in rows}
    assert len(found) == len(rows), "no cell is named for two words: it could have one anomaly only"
    return found


def crowd(open_: int, flat: int = 0, missing: int = 0, absent: int = 0) -> Cells:
    """Return the cells of wallets, each with its own size in BTC."""
    sizes: list[Size] = [*(d(n + 1) for n in range(open_)), *[d(0)] * flat, *["late"] * missing, *[None] * absent]
    return {(n, "BTC"): size for n, size in enumerate(sizes, 1)}


@pytest.mark.parametrize(
    ("before", "now", "suspect"),
    [
        (crowd(10), crowd(5, flat=5), True),
        (crowd(10), crowd(6, flat=4), False),
        (crowd(11), crowd(5, flat=6), True),
        (crowd(11), crowd(6, flat=5), False),
        (crowd(9), crowd(0, flat=9), False),
        (crowd(10), crowd(0, flat=10), True),
        (crowd(10), crowd(0, flat=5, missing=5), True),
        (crowd(10), crowd(0, flat=4, missing=6), False),
        (crowd(12), crowd(5, flat=5, absent=2), True),
        (crowd(12), crowd(5, flat=4, absent=3), False),
        (crowd(10), crowd(0, missing=10), False),
        (crowd(0, flat=20), crowd(0, flat=20), False),
        (crowd(10, flat=100), crowd(5, flat=105), True),
    ],
)
def test_a_minute_in_which_half_of_the_open_positions_turn_flat_is_suspect(
    history: db.Connection, before: Cells, now: Cells, *, suspect: bool
) -> None:
    """Ten at least; who is not known now has not turned flat, who left the universe is not counted."""
    record(history, M, before)
    record(history, M + MINUTE, now)
    found = suspect_cells(history, M + MINUTE)
    gone = {key for key, size in now.items() if size == 0 and before[key]}
    assert found.keys() == (gone if suspect else set())
    for key, (word, details) in found.items():
        assert (word, details) == ("mass_zero", {"kind": "mass_zero", "before": before[key]})


@pytest.mark.parametrize(
    ("run", "minutes", "suspect"),
    [
        ({}, 1, True),
        ({"status": "partial"}, 1, True),
        ({"status": "failed"}, 1, False),
        ({"suspect": ["same_answer"]}, 1, True),
        ({"suspect": ["mass_zero"]}, 1, False),
        ({"suspect": ["mass_zero", "same_answer"]}, 1, False),
        ({"anomaly_rules": None}, 1, True),
        ({}, 60, True),
        ({}, 61, False),
    ],
)
def test_a_minute_is_compared_with_the_newest_good_one_of_the_last_hour(
    history: db.Connection, run: dict[str, Any], minutes: int, *, suspect: bool
) -> None:
    """One that was emptied itself is none, so what lasts stays suspect, for an hour."""
    record(history, M, crowd(10), **run)
    record(history, M + minutes * MINUTE, crowd(0, flat=10))
    assert bool(suspect_cells(history, M + minutes * MINUTE)) is suspect


def test_an_emptied_minute_is_no_measure_for_the_next(history: db.Connection) -> None:
    """Else the second bad minute would be believed."""
    record(history, M, crowd(10))
    record(history, M + MINUTE, crowd(0, flat=10), suspect=["mass_zero"])
    record(history, M + 2 * MINUTE, crowd(0, flat=10))
    assert len(suspect_cells(history, M + 2 * MINUTE)) == 10
    record(history, M + 3 * MINUTE, crowd(10))
    assert suspect_cells(history, M + 3 * MINUTE) == {}


def read_emptied(minutes: Mapping[int, tuple[str, bool, list[Size]]]) -> set[tuple[int, int]]:
    """Read the rule of emptied minutes once more, in Python: which (minute, wallet) it names."""
    found: set[tuple[int, int]] = set()
    for number, (_, _, now) in minutes.items():
        good = [n for n, (status, emptied, _) in minutes.items() if status != "failed" and not emptied and n < number]
        if not good or number - max(good) > 60:
            continue
        before = minutes[max(good)][2]
        open_ = [w for w, size in enumerate(before) if isinstance(size, Decimal) and size and now[w] is not None]
        gone = [w for w in open_ if now[w] == 0]
        if len(open_) >= 10 and len(gone) >= len(open_) / 2:
            found |= {(number, wallet + 1) for wallet in gone}
    return found


wallet_sizes = st.lists(
    st.sampled_from([d(1), d(1), d(1), d(0)]) | st.sampled_from([d(1), d(0), "late", None]), min_size=14, max_size=14
)
emptied_minutes = st.dictionaries(
    st.integers(0, 5) | st.integers(59, 67),
    st.tuples(st.sampled_from(["success", "partial", "failed"]), st.booleans(), wallet_sizes),
    min_size=2,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(minutes=emptied_minutes)
def test_the_rule_of_emptied_minutes_is_what_a_second_reader_makes_of_it(
    history: db.Connection, minutes: dict[int, tuple[str, bool, list[Size]]]
) -> None:
    """Over any hour with gaps, looked at as a whole and minute by minute."""
    expected = {(M + number * MINUTE, wallet) for number, wallet in read_emptied(minutes)}
    query = "SELECT snapshot_ts, wallet_id FROM suspect_cells(%s, %s) WHERE word = 'mass_zero'"
    with history.transaction(force_rollback=True):
        for number, (status, emptied, now) in minutes.items():
            cells = {(wallet, "BTC"): size for wallet, size in enumerate(now, 1)}
            words = ["mass_zero"] if emptied else []
            record(history, M + number * MINUTE, cells, status=status, suspect=words)
        assert set(history.execute(query, [M, M + 99 * MINUTE]).fetchall()) == expected
        singly: set[tuple[Any, ...]] = set()
        for number in minutes:
            singly |= set(history.execute(query, [M + number * MINUTE, M + (number + 1) * MINUTE]).fetchall())
        assert singly == expected


def test_positions_that_were_never_believed_are_not_missed(history: db.Connection) -> None:
    """After a minute in which everybody was said to hold the same, the truth must not be suspect for an hour."""
    shared = json.dumps({"kind": "same_answer"})
    record(history, M, crowd(30), suspect=["same_answer"])
    history.execute(
        "INSERT INTO snapshot_anomalies SELECT snapshot_ts, wallet_id, asset, 'other', %s FROM wallet_snapshots"
        " WHERE wallet_id > 10",
        [shared],
    )
    for left, named in ((6, []), (5, [6, 7, 8, 9, 10])):
        with history.transaction(force_rollback=True):
            record(history, M + MINUTE, {key: size if key[0] <= left else d(0) for key, size in crowd(30).items()})
            assert sorted(wallet for wallet, _ in suspect_cells(history, M + MINUTE)) == named


HELD = {"szi": "1.5", "entry_px": "90000", "liq_px": None, "leverage": "5", "leverage_type": "cross", "margin": "30"}


def hold(conn: db.Connection, wallet: int, asset: str, **terms: str | None) -> None:
    """Give a wallet a position in minute M."""
    row = {**HELD, **terms, "minute": M, "wallet": wallet, "asset": asset, "run": int(M.timestamp()) // 60}
    conn.execute(
        "INSERT INTO wallet_snapshots (snapshot_ts, wallet_id, asset, position_szi, entry_px, liq_px, leverage,"
        " leverage_type, margin_used, observed_at, ingest_run_id, attempt) VALUES (%(minute)s, %(wallet)s, %(asset)s,"
        " %(szi)s, %(entry_px)s, %(liq_px)s, %(leverage)s, %(leverage_type)s, %(margin)s, %(minute)s, %(run)s, 1)",
        row,
    )


def test_two_wallets_with_the_same_answer_make_a_minute_suspect(history: db.Connection) -> None:
    """One was perhaps served the other's; numbers are compared, not their digits."""
    record(history, M, {(1, "HYPE"): d(0), (2, "HYPE"): d(0)})
    for wallet in (1, 2):
        hold(history, wallet, "BTC", szi="1.50" if wallet == 1 else "1.5")
        hold(history, wallet, "ETH", liq_px="5")
    found = suspect_cells(history, M)
    assert found == {
        (wallet, asset): ("same_answer", {"kind": "same_answer", "wallets": 2, "same_as": [3 - wallet]})
        for wallet in (1, 2)
        for asset in ("BTC", "ETH")
    }


@pytest.mark.parametrize(
    ("coin", "other"),
    [
        ("BTC", {"szi": "1.6"}),
        ("BTC", {"szi": "-1.5"}),
        ("BTC", {"entry_px": "90000.1"}),
        ("BTC", {"entry_px": None}),
        ("BTC", {"liq_px": "1"}),
        ("BTC", {"leverage": "6"}),
        ("BTC", {"leverage_type": "isolated"}),
        ("BTC", {"margin": "30.1"}),
        ("ETH", {}),
    ],
)
def test_answers_that_differ_anywhere_are_two_answers(
    history: db.Connection, coin: str, other: dict[str, str | None]
) -> None:
    """In one term, in the coin, or in what else is held."""
    record(history, M, {(5, "BTC"): d(0), (6, "BTC"): d(0), (7, "BTC"): "late", (8, "BTC"): "late"})
    hold(history, 1, "BTC")
    hold(history, 2, coin, **other)
    hold(history, 3, "BTC", szi="7")
    hold(history, 4, "BTC", szi="7")
    hold(history, 4, "ETH")
    assert suspect_cells(history, M) == {}


def test_the_same_answer_from_everybody_is_written_down_in_little_room(history: db.Connection) -> None:
    """A fault that lasts must not fill the disk with names."""
    record(history, M, {(n, "BTC"): d(0) for n in range(100, 103)})
    for wallet in range(1, 31):
        hold(history, wallet, "BTC")
    found = suspect_cells(history, M)
    assert len(found) == 30
    assert found[3, "BTC"][1] == {
        "kind": "same_answer", "wallets": 30, "same_as": [1, 2, 4, 5, 6, 7, 8, 9, 10, 11],
    }  # fmt: skip


def test_no_cell_is_named_for_two_words(history: db.Connection) -> None:
    """Emptied cells are flat, those of a shared answer are not."""
    record(history, M - MINUTE, {**crowd(12), (50, "BTC"): d(3), (51, "BTC"): d(4)})
    record(history, M, crowd(0, flat=12))
    hold(history, 50, "BTC")
    hold(history, 51, "BTC")
    assert {word for word, _ in suspect_cells(history, M).values()} == {"mass_zero", "same_answer"}


# ---- what a run does about it


def answers(minute: datetime, **coins: Sequence[Size]) -> Callable[[Sequence[Wallet]], Mapping[Wallet, Answer]]:
    """Return the answers of a minute: the sizes of all wallets by coin; a reason in BTC is the wallet's."""

    def of(wallet: Wallet, place: int) -> Answer:
        held = {}
        for coin, sizes in coins.items():
            size = sizes[place]
            if isinstance(size, str):
                return MissingReason(size)
            if size:
                held[Asset(coin)] = replace(LONG, szi=size, margin_used=Decimal(wallet.wallet_id))
        return Held(minute + timedelta(seconds=1), held)

    return lambda wallets: {wallet: of(wallet, wallet.wallet_id - 1) for wallet in wallets}


@pytest.fixture
def run(conn: db.Connection, set_clock: SetClock) -> Callable[..., Recorded]:
    """Return a function that publishes minute M + n with these sizes in BTC, one a wallet, of four wallets."""
    make_universe(conn, range(4))

    def publish_minute(number: int, *sizes: Size, on: db.Connection = conn) -> Recorded:
        minute = M + number * MINUTE
        set_clock(minute + timedelta(seconds=3), running=False)
        return publish(on, answers(minute, BTC=[*sizes, d(7), d(7), d(7)]), minute=minute)

    return publish_minute


Run = Callable[..., Recorded]


def marks(conn: db.Connection) -> dict[tuple[int, int, str], str]:
    """Return why each marked cell is dirty, by minute after M, wallet and asset."""
    rows = conn.execute(
        "SELECT snapshot_ts, wallet_id, asset::text, dirty_reason FROM wallet_snapshots WHERE is_dirty"
    ).fetchall()
    return {(round((minute - M) / MINUTE), wallet, asset): reason for minute, wallet, asset, reason in rows}


def anomalies(conn: db.Connection) -> dict[tuple[int, int, str, str], Any]:
    """Return the details of each anomaly, by minute after M, wallet, asset and type."""
    rows = conn.execute(
        "SELECT snapshot_ts, wallet_id, asset::text, anomaly_type, details FROM snapshot_anomalies"
    ).fetchall()
    return {(round((minute - M) / MINUTE), *key): details for minute, *key, details in rows}


def violations(conn: db.Connection) -> list[tuple[Any, ...]]:
    """Return what both checks find around M."""
    span = {"since": M - 60 * MINUTE, "until": M + 60 * MINUTE}
    return [
        tuple(row) for name in ("check_dirty", "check_suspect") for row in conn.execute(db.query(name), span).fetchall()
    ]


VALUES = (
    "SELECT snapshot_ts, wallet_id, asset, position_szi, entry_px, liq_px, leverage, leverage_type, margin_used,"
    " missing_reason, observed_at, attempt FROM wallet_snapshots ORDER BY 1, 2, 3"
)


def test_a_run_marks_the_cell_whose_window_it_completes_and_keeps_its_values(conn: db.Connection, run: Run) -> None:
    """Middle only, with the three values beside it; another run of the same minute changes nothing."""
    run(0, d(10))
    run(1, d(0))
    assert (marks(conn), anomalies(conn)) == ({}, {})
    before = conn.execute(VALUES).fetchall()
    run(2, d(10))
    assert marks(conn) == {(1, 1, "BTC"): "transient_collapse"}
    found = anomalies(conn)
    assert found == {
        (1, 1, "BTC", "transient_collapse"): {"reason": "transient_collapse", "before": 10, "at": 0, "after": 10}
    }
    assert conn.execute(VALUES).fetchall()[: len(before)] == before
    assert conn.execute(db.query("find_odd_cells"), {"minute": M + 3 * MINUTE}).fetchall() == [], (
        "what is marked is done"
    )
    run(2, d(10))
    run(3, d(10))
    assert (marks(conn), anomalies(conn)) == ({(1, 1, "BTC"): "transient_collapse"}, found)
    assert conn.execute("SELECT DISTINCT anomaly_rules, suspect FROM ingest_runs").fetchall() == [(1, [])]
    assert violations(conn) == []


def test_each_kind_is_marked_and_written_down_under_its_name(conn: db.Connection, run: Run) -> None:
    """An answer that could not be used costs three cells; what is stale has no type of its own; no value changes."""
    run(0, d(10), d(10), d(10))
    run(1, d(30), "bad_shape", "stale")
    before = conn.execute(VALUES).fetchall()
    run(2, d(10), "late", d(10))
    assert conn.execute(VALUES).fetchall()[: len(before)] == before
    assets = ("HYPE", "BTC", "ETH")
    assert marks(conn) == {
        (1, 1, "BTC"): "szi_jump",
        **{(1, 2, asset): "null_szi" for asset in assets},
        **{(1, 3, asset): "stale_time" for asset in assets},
    }
    found = anomalies(conn)
    assert found[1, 2, "BTC", "null_szi"] == {"reason": "null_szi", "before": 10, "at": None, "after": None}
    assert found[1, 3, "BTC", "other"] == {"reason": "stale_time", "before": 10, "at": None, "after": 10}
    assert found[1, 1, "BTC", "szi_jump"] == {"reason": "szi_jump", "before": 10, "at": 30, "after": 10}
    assert len(found) == 7
    assert violations(conn) == []


def test_a_hole_that_a_second_run_fills_completes_the_window(conn: db.Connection, run: Run) -> None:
    """And one that is filled before the next minute is no hole."""
    run(0, d(10), "bad_number")
    run(0, d(10), d(10))
    run(1, d(0), d(10))
    run(2, "late", d(10))
    assert marks(conn) == {}
    run(2, d(10), d(10))
    assert marks(conn) == {(1, 1, "BTC"): "transient_collapse"}
    assert violations(conn) == []


def test_a_minute_that_became_visible_late_is_looked_at_again(
    conn: db.Connection, database: str, run: Run, set_clock: SetClock
) -> None:
    """Its COMMIT was on the way when the next minute was published; a minute later the mark is there."""
    run(0, d(10))
    with db.connect(database) as slow:
        with db.transaction(slow):
            set_clock(M + MINUTE + timedelta(seconds=3), running=False)
            task = store.list_task(slow, M + MINUTE)
            _publish_within(slow, M + MINUTE, answers(M + MINUTE, BTC=[d(0), d(7), d(7), d(7)]), task)
            run(2, d(10))
            assert marks(conn) == {}
        assert marks(conn) == {}
    found = violations(conn)
    assert [(row[1], row[2], row[3]) for row in found] == [(1, "BTC", "not marked as dirty: transient_collapse")]
    run(3, d(10))
    assert marks(conn) == {(1, 1, "BTC"): "transient_collapse"}
    assert violations(conn) == []


def _publish_within(
    conn: db.Connection, minute: datetime, made: Callable[[Sequence[Wallet]], Mapping[Wallet, Answer]], task: store.Task
) -> None:
    """Publish inside a transaction that is still open."""
    store.publish(
        conn, minute, universe_run_id=task.universe_run_id, answers=made(task.wallets), rules=RULES, transport=SENT,
        attempt=Attempt(attempt_id=uuid4(), host="here", version="0", duration_ms=5, error=None),
    )  # fmt: skip


def test_cells_that_another_run_holds_cost_a_moment_and_not_the_minute(
    conn: db.Connection, database: str, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """The minute is published and says so once; the next one marks what was left."""
    run(0, d(10))
    run(1, d(0))
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM wallet_snapshots WHERE snapshot_ts = %s FOR UPDATE", [M + MINUTE])
        began = time.monotonic()
        recorded = run(2, d(10))
        assert time.monotonic() - began < 3
        other.rollback()
    assert recorded.status == "success"
    assert (marks(conn), anomalies(conn)) == ({}, {})
    (warning,) = caplog.messages
    assert warning.startswith(
        "dirty cells were not marked, the next minute tries again: canceling statement due to lock"
    )
    run(3, d(10))
    assert marks(conn) == {(1, 1, "BTC"): "transient_collapse"}
    assert len(anomalies(conn)) == 1
    assert violations(conn) == []


def test_a_cell_that_is_no_longer_what_was_judged_is_not_marked(conn: db.Connection, run: Run) -> None:
    """Between the look and the mark another run may have filled the hole."""
    run(0, d(10))
    run(1, d(10))
    judged = [(M, 1, "BTC", "null_szi", None, "null_szi", "{}"), (M, 2, "BTC", "szi_jump", d("7.0"), "szi_jump", "{}")]
    with db.transaction(conn):
        oddities.note(conn, M + MINUTE, oddities.Oddities(1, [], [], judged))
    assert marks(conn) == {(0, 2, "BTC"): "szi_jump"}
    assert anomalies(conn) == {(0, 2, "BTC", "szi_jump"): {}}


@pytest.mark.parametrize(
    "broken",
    [
        "DROP FUNCTION odd_cells(timestamptz, timestamptz)",
        """CREATE OR REPLACE FUNCTION minutes_after(moment timestamptz, minutes int) RETURNS timestamptz
           LANGUAGE sql AS 'SELECT moment FROM pg_sleep(20)'""",
        "ALTER TABLE snapshot_anomalies RENAME TO elsewhere",
        "ALTER TABLE snapshot_anomalies ADD CHECK (wallet_id < 0)",
    ],
)
def test_whatever_goes_wrong_with_oddities_the_minute_stays(
    conn: db.Connection, run: Run, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """A rule that fails or hangs, a table that is not there: one warning, and all cells."""
    run(0, d(10))
    run(1, "bad_shape")
    conn.execute(broken.encode())
    began = time.monotonic()
    recorded = run(2, d(10))
    assert time.monotonic() - began < 4
    assert (recorded.status, recorded.rows_written) == ("success", 12)
    assert len(caplog.messages) == 1
    assert marks(conn) == {}
    looked = conn.execute("SELECT anomaly_rules FROM ingest_runs ORDER BY snapshot_ts").fetchall()
    assert looked == [(1,), (1,), (1 if "TABLE" in broken else None,)]


def test_a_bug_in_here_costs_no_minute_and_a_lost_connection_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first is said in the log; the second is the caller's, who begins again on another one."""
    monkeypatch.setattr(db, "set_local", lambda *_: int("a bug"))
    assert run(0, d(10)).status == "success"
    assert caplog.messages == ["nobody looked for oddities: ValueError"]
    caplog.clear()
    monkeypatch.setattr(db, "set_local", lambda conn, *_: conn.close())
    with pytest.raises(psycopg.OperationalError):
        run(1, d(10))
    assert caplog.messages == []


def test_suspect_words_are_of_the_whole_minute_and_degrade_it(conn: db.Connection, set_clock: SetClock) -> None:
    """The cells concerned are written down; a second run can only add; the next good minute is healthy."""
    make_universe(conn, range(12))
    full = [d(n + 1) for n in range(12)]

    def minute(number: int, *sizes: Size) -> tuple[list[str], str, list[str]]:
        at = M + number * MINUTE
        set_clock(at + timedelta(seconds=3), running=False)
        publish(conn, answers(at, BTC=list(sizes)), minute=at)
        with db.transaction(conn, read_only=True):
            health = overview.read_health(conn)
        kept = conn.execute("SELECT suspect FROM ingest_runs WHERE snapshot_ts = %s", [at]).fetchone()
        assert kept == (list(health.suspect),)
        return list(health.suspect), health.health_state, list(health.reasons)

    assert minute(0, *full) == ([], "healthy", [])
    assert minute(1, *[d(0)] * 5, *["late"] * 1, *full[6:]) == ([], "degraded", ["last_minute_partial"])
    assert minute(1, *[d(0)] * 6, *full[6:]) == (["mass_zero"], "degraded", ["suspect"])
    found = anomalies(conn)
    assert found == {(1, n + 1, "BTC", "other"): {"kind": "mass_zero", "before": n + 1} for n in range(6)}
    assert minute(1, *full) == (["mass_zero"], "degraded", ["suspect"])
    assert violations(conn) == []
    assert minute(2, *full) == ([], "healthy", [])
    assert set(marks(conn).values()) == {"transient_collapse"}
    assert violations(conn) == []


# ---- the check


UNMARK = "UPDATE wallet_snapshots SET is_dirty = false, dirty_reason = NULL WHERE is_dirty"
MARK_ANOTHER = """
    UPDATE wallet_snapshots SET is_dirty = true, dirty_reason = 'null_szi'
     WHERE wallet_id = 2 AND asset = 'ETH' AND snapshot_ts = '2026-01-06 20:46Z'
"""
SUSPECT = "UPDATE ingest_runs SET suspect = '{mass_zero}' WHERE snapshot_ts = '2026-01-06 20:45Z'"
SHARE = """
    UPDATE wallet_snapshots SET margin_used = 5
     WHERE asset = 'BTC' AND wallet_id > 2 AND snapshot_ts = '2026-01-06 20:44Z'
"""


@pytest.mark.parametrize(
    ("meddle", "found"),
    [
        (
            UNMARK,
            [
                (1, "BTC", "anomaly without a mark: transient_collapse"),
                (1, "BTC", "not marked as dirty: transient_collapse"),
            ],
        ),
        (
            "UPDATE wallet_snapshots SET dirty_reason = 'szi_jump' WHERE is_dirty",
            [
                (1, "BTC", "anomaly without a mark: transient_collapse"),
                (1, "BTC", "marked as dirty without an anomaly: szi_jump"),
                (1, "BTC", "marked as dirty: szi_jump, should be transient_collapse"),
            ],
        ),
        (
            MARK_ANOTHER,
            [
                (2, "ETH", "marked as dirty for nothing: null_szi"),
                (2, "ETH", "marked as dirty without an anomaly: null_szi"),
            ],
        ),
        ("DELETE FROM snapshot_anomalies", [(1, "BTC", "marked as dirty without an anomaly: transient_collapse")]),
        (SUSPECT, [(None, None, "suspect is {mass_zero}, should be {}")]),
        (
            SHARE,
            [
                (None, None, "suspect is {}, should be {same_answer}"),
                (3, "BTC", "suspect without an anomaly: same_answer"),
                (4, "BTC", "suspect without an anomaly: same_answer"),
            ],
        ),
    ],
)
def test_the_check_finds_what_was_meddled_with_and_spares_what_no_rule_looked_at(
    conn: db.Connection, run: Run, meddle: str, found: list[tuple[int | None, str | None, str]]
) -> None:
    """One row for each; a record from before the rules is no violation."""
    for number, size in enumerate((10, 0, 10, 10)):
        run(number, d(size))
    assert violations(conn) == []
    conn.execute(meddle.encode())
    assert [row[1:] for row in violations(conn)] == found
    conn.execute("UPDATE ingest_runs SET anomaly_rules = NULL")
    assert violations(conn) == []


def test_a_record_from_before_the_rules_keeps_its_cells_unmarked(conn: db.Connection, run: Run) -> None:
    """The minute in which the new version begins looks at the two before it and at nothing else."""
    for number, size in enumerate((10, 0, 10, 0, 10, 10)):
        run(number, d(size))
    conn.execute("UPDATE wallet_snapshots SET is_dirty = false, dirty_reason = NULL")
    conn.execute("DELETE FROM snapshot_anomalies")
    conn.execute("UPDATE ingest_runs SET anomaly_rules = NULL")
    run(6, d(10))
    assert marks(conn) == {}
    assert violations(conn) == []


def test_an_older_record_is_taken_over_as_it_is(
    empty_database: str, set_clock_of: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its odd cells stay as they were, except what a run of this version sees beside its own minute."""
    shipped = migrate.packaged()
    (place,) = [n for n, migration in enumerate(shipped) if migration.name.endswith("_oddities")]
    with db.connect(empty_database) as conn:
        with monkeypatch.context() as older:
            older.setattr(migrate, "packaged", lambda: shipped[:place])
            migrate.migrate(conn)
        make_universe(conn, range(2))
        for number, size in enumerate((10, 0, 10, 10, 0)):
            cells: Cells = {(1, "BTC"): d(size), (2, "BTC"): "bad_shape"}
            record(conn, M + number * MINUTE, cells, anomaly_rules=...)
        before = conn.execute(VALUES).fetchall()
        assert migrate.migrate(conn) == shipped[place:]
        assert violations(conn) == []
        minute = M + 5 * MINUTE
        set_clock_of(empty_database, minute, running=False)
        publish(conn, answers(minute, BTC=[d(10), d(7)]), minute=minute)
        assert marks(conn) == {
            (4, 1, "BTC"): "transient_collapse", (4, 2, "BTC"): "null_szi", (3, 2, "BTC"): "null_szi",
        }  # fmt: skip
        assert conn.execute(VALUES).fetchall()[: len(before)] == before
        assert violations(conn) == []


@pytest.mark.parametrize("query", ["find_odd_cells", "find_suspect_cells", "mark_cells"])
def test_a_run_opens_the_partitions_of_its_own_minutes_only(
    conn: db.Connection, set_clock: SetClock, query: str
) -> None:
    """The others are not even planned: years of days cost nothing."""
    set_clock(M, running=False)
    conn.execute("SELECT ensure_partitions(5)")
    cells = {"snapshot_ts": [M], "wallet_id": [1], "asset": ["BTC"], "reason": ["x"], "position_szi": [1]}
    with db.transaction(conn):
        plan = conn.execute(b"EXPLAIN " + db.query(query), {"minute": M, **cells}).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert set(re.findall(r"wallet_snapshots_(\d{8}|default)(?!\w*idx|\w*key)", text)) == {"20260106"}
