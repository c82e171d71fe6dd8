"""docs/cookbook.md: each recipe's figures are those of a second reading, in plain Python, of a small nasty record."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from hlctl import db
from tests import small_record
from tests.pages import parse
from tests.small_record import ASSETS, FIRST, MINUTES, NOW, REFRESHED

PAGE = (Path(__file__).parents[2] / "docs" / "cookbook.md").read_text()
MINUTE = timedelta(minutes=1)
ALL = [FIRST + n * MINUTE for n in range(-1, MINUTES + 1)]
"""Every minute of the record, its gap and a minute on either side."""
LISTS = ((1, 2, 3, 4, 5), (2, 1, 3, 6, 5))
"""Members of the two lists by rank, as small_record has them."""

Rows = list[tuple[Any, ...]]


def address(wallet: int) -> str:
    return "0x" + str(wallet) * 40


@dataclass(frozen=True, slots=True)
class Cell:
    """A row of `wallet_snapshots`."""

    size: Decimal | None
    entry: Decimal | None
    liquidation: Decimal | None
    leverage: Decimal | None
    missing: str | None
    dirty: str | None

    @property
    def known(self) -> Decimal | None:
        """Return the size, or None where it is missing or not to be believed."""
        return None if self.dirty else self.size


@dataclass(frozen=True, slots=True)
class Record:
    """All cells by minute, wallet and asset; of each recorded minute whether it is good, suspect or usable."""

    cells: dict[tuple[datetime, int, str], Cell]
    good: dict[datetime, bool]
    suspect: dict[datetime, str | None]
    usable: dict[datetime, bool]

    def at(self, minute: datetime, asset: str) -> dict[int, Cell]:
        """Return the cells of a minute by wallet."""
        return {w: cell for (m, w, a), cell in self.cells.items() if (m, a) == (minute, asset)}


@pytest.fixture(scope="module")
def conn(server: str, template: str, create_database: Callable[..., str]) -> Iterator[db.Connection]:
    """Return a connection to a database that has the record."""
    with db.connect(make_conninfo(server, dbname=create_database(template))) as connection:
        small_record.write(connection)
        connection.execute("SET timezone = 'UTC'")
        yield connection


@pytest.fixture(scope="module")
def record(conn: db.Connection) -> Record:
    """Return what the tables hold, row by row: Python does the rest."""
    cells = conn.execute(
        "SELECT snapshot_ts, wallet_id, asset::text, position_szi, entry_px, liq_px, leverage, missing_reason::text,"
        " dirty_reason FROM wallet_snapshots"
    ).fetchall()
    runs = conn.execute("SELECT snapshot_ts, status, suspect FROM ingest_runs").fetchall()
    return Record(
        {(minute, wallet, asset): Cell(*cell) for minute, wallet, asset, *cell in cells},
        {minute: status != "failed" for minute, status, _ in runs},
        {minute: ", ".join(suspect) or None for minute, _, suspect in runs},
        {minute: status != "failed" and not suspect for minute, status, suspect in runs},
    )


def ask(conn: db.Connection, title: str, **values: object) -> Rows:
    r"""Run the recipe under a heading, with these values instead of those of its `\set` lines."""
    section = PAGE.partition(f"\n### {title}\n")[2].partition("\n### ")[0]
    block = next(block for block in parse(section).blocks if block.language == "sql")
    lines = block.text.splitlines()
    assert {line.split()[1] for line in lines if line.startswith("\\set ")} == values.keys()
    statement = "\n".join(line for line in lines if not line.startswith("\\"))
    statement = re.sub(r"(?<!:):(?:'(\w+)'|([a-z]\w*))", lambda m: f"%({m[1] or m[2]})s", statement)
    return conn.execute(statement.encode(), values or None).fetchall()


def set_clock(conn: db.Connection, now: datetime) -> None:
    """Let the database's clock stand still at this moment, until the transaction is rolled back."""
    clock = "CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$SELECT timestamptz"
    conn.execute(f"{clock} '{now}'$$".encode())


def total(sizes: list[Decimal]) -> Decimal | None:
    return sum(sizes, Decimal(0)) if sizes else None


def test_the_record_has_what_the_recipes_must_get_right(record: Record) -> None:
    """Else the tests below compare what is easy with what is easy."""
    assert {cell.missing for cell in record.cells.values()} >= set(small_record.MISSING.values())
    assert {cell.dirty for cell in record.cells.values()} == {None, "transient_collapse", "szi_jump", "null_szi"}
    assert Counter(record.good.values()) == {True: 64, False: 1}
    assert Counter(record.usable.values()) == {True: 63, False: 2}
    assert len({wallet for _, wallet, _ in record.cells}) == 6


def test_the_newest_minute_to_use(conn: db.Connection, record: Record) -> None:
    """Final, not failed and not suspect, at every moment of the record."""
    for now in (*(minute + timedelta(seconds=s) for minute in ALL for s in (0, 59)), NOW):
        with conn.transaction(force_rollback=True):
            set_clock(conn, now)
            found = ask(conn, "The newest minute to use")
        usable = [minute for minute, usable in record.usable.items() if usable and minute + 2 * MINUTE <= now]
        assert [row[0] for row in found] == sorted(usable)[-1:], now
        for minute, _, known, missing, why in found:
            cells = record.at(minute, "BTC").values()
            assert known == sum(cell.size is not None for cell in cells)
            assert why == Counter(cell.missing for cell in cells if cell.missing)
            assert missing == sum(why.values())


def test_cells_that_can_be_trusted(conn: db.Connection, record: Record) -> None:
    """Neither a dirty cell nor a minute that is not final, failed or suspect."""
    expected = [
        (minute, address(wallet), asset, cell.known)
        for (minute, wallet, asset), cell in sorted(record.cells.items())
        if record.usable[minute] and minute + 2 * MINUTE <= NOW and asset == "ETH" and cell.known
    ]
    assert ask(conn, "Cells that can be trusted", since=ALL[0], until=ALL[-1]) == expected


def test_what_could_be_known_at_a_moment(conn: db.Connection, record: Record) -> None:
    """Nothing that is younger than three minutes, nor older than ten."""
    for at in (
        minute + timedelta(seconds=s) for minute in (*ALL, ALL[-2] + 10 * MINUTE, NOW + 11 * MINUTE) for s in (0, 30)
    ):
        minutes = [m for m, usable in record.usable.items() if usable and 3 * MINUTE <= at - m < 10 * MINUTE]
        expected = []
        for asset in ASSETS if minutes else ():
            sizes = [cell.known for cell in record.at(max(minutes), asset).values()]
            known = [size for size in sizes if size is not None]
            expected.append((max(minutes), at - max(minutes), asset, total(known), len(sizes) - len(known)))
        assert ask(conn, "What could be known at a moment", at=at) == expected, at


def exposure(cells: dict[int, Cell]) -> tuple[Decimal | None, Decimal | None, Decimal | None, int]:
    """Return (long, short, net, how many are not known); the sums are None if nobody is known."""
    known = [cell.known for cell in cells.values() if cell.known is not None]
    sides = ([max(size, Decimal(0)) for size in known], [min(size, Decimal(0)) for size in known], known)
    long, short, net = map(total, sides)
    return long, short, net, len(cells) - len(known)


def test_net_exposure_at_a_minute(conn: db.Connection, record: Record) -> None:
    """Whatever the minute is like, which it says; none in a gap."""
    for minute in ALL:
        expected = []
        doubt = "failed" if record.good.get(minute) is False else record.suspect.get(minute)
        for asset in ASSETS if minute in record.good else ():
            cells = record.at(minute, asset)
            long, short, net, not_known = exposure(cells)
            counts = Counter((cell.known > 0) - (cell.known < 0) for cell in cells.values() if cell.known is not None)
            expected.append((asset, long, short, net, counts[1], counts[-1], counts[0], not_known, doubt))
        assert ask(conn, "Net exposure at a minute", minute=minute) == expected, minute


def test_sums_over_nobody_are_not_zero(conn: db.Connection) -> None:
    """A minute in which no wallet answered."""
    with conn.transaction(force_rollback=True):
        conn.execute(
            "UPDATE wallet_snapshots SET (position_szi, entry_px, liq_px, leverage, leverage_type, margin_used,"
            " observed_at, missing_reason) = ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'breaker')"
            " WHERE snapshot_ts = %s",
            [FIRST],
        )
        found = ask(conn, "Net exposure at a minute", minute=FIRST)
    assert found == [(asset, None, None, None, 0, 0, 0, 5, None) for asset in ASSETS]


def test_what_was_pruned_is_neither_a_gap_nor_a_minute_in_which_nothing_changed(
    conn: db.Connection, record: Record
) -> None:
    """Of the day before only the runs are left."""
    midnight = FIRST.replace(day=6, hour=0)
    minute = midnight + 3 * MINUTE
    with conn.transaction(force_rollback=True):
        conn.execute("DELETE FROM wallet_snapshots WHERE snapshot_ts < %s", [midnight])
        conn.execute("UPDATE ingest_runs SET pruned_at = %s WHERE snapshot_ts < %s", [NOW, midnight])
        changes = ask(conn, "The biggest changes of the last hour", minute=minute)
        at = {m: ask(conn, "Net exposure at a minute", minute=m) for m in (FIRST, FIRST + 10 * MINUTE)}
        over_time = ask(conn, "Net exposure over time", since=midnight - 20 * MINUTE, until=midnight + MINUTE)
        bounds = ask(conn, "Bounds where wallets are missing", minute=minute)
        none = ask(conn, "Bounds where wallets are missing", minute=FIRST)
        history = ask(conn, "One wallet's history", address=address(1), asset="BTC", since=ALL[0], until=minute)
    assert {row[0] for row in changes} == {midnight}
    assert [row[1:5] for row in changes] == [
        (address(w), "BTC", record.at(midnight, "BTC")[w].size, record.at(minute, "BTC")[w].size) for w in (1, 5)
    ]
    assert at[FIRST] == [(None,) * 8 + ("pruned",)]
    assert at[FIRST + 10 * MINUTE] == [(None,) * 8 + ("pruned, same_answer",)]
    assert [row[1] for row in over_time] == ["gap", "gap", *["pruned"] * 18, "success"]
    assert all(row[2:-1] == (None,) * 4 for row in over_time[:-1])
    assert {row[-1] for row in bounds} == {3}
    assert none == []
    assert [row[0] for row in history] == [midnight + n * MINUTE for n in range(3)]


def test_net_exposure_over_time(conn: db.Connection, record: Record) -> None:
    """A row for each minute, and no figure where the minute is none."""
    expected: Rows = []
    for minute in ALL[:-1]:
        figures: tuple[Any, ...] = (None,) * 4
        chosen_by = None
        if minute in record.good:
            chosen_by = 1 if minute < FIRST + REFRESHED * MINUTE else 3
        if record.usable.get(minute):
            long, short, net, not_known = exposure(record.at(minute, "BTC"))
            figures = (net, long, short, not_known)
        expected.append((minute, *figures, chosen_by))
    found = ask(conn, "Net exposure over time", since=ALL[0], until=ALL[-1])
    assert [(row[0], *row[2:]) for row in found] == expected
    assert {row[0] for row in found if row[1] == "gap"} == set(ALL[:-1]) - record.good.keys()
    unusable = {row[0] for row in found if row[1] in {"gap", "failed", "suspect"}}
    assert unusable == {minute for minute in ALL[:-1] if not record.usable.get(minute)}
    assert [row[0] for row in found if row[1] == "suspect"] == [FIRST + 10 * MINUTE]


def test_bounds_where_wallets_are_missing(conn: db.Connection, record: Record) -> None:
    """From the hour before, of usable answers; without any there is no bound at all."""
    unbounded_somewhere = False
    for minute in record.good:
        expected = []
        for asset in ASSETS:
            cells = record.at(minute, asset)
            seen = {
                wallet: [
                    cell.known
                    for (m, w, a), cell in sorted(record.cells.items())
                    if (w, a) == (wallet, asset) and minute - 60 * MINUTE <= m < minute and cell.known is not None
                    and m != FIRST + 10 * MINUTE  # suspect
                ]
                for wallet, cell in cells.items()
                if cell.known is None
            }  # fmt: skip
            unbounded = sum(not sizes for sizes in seen.values())
            unbounded_somewhere |= bool(unbounded)
            known = [cell.known for cell in cells.values() if cell.known is not None]
            bounds = [
                None if unbounded else total(known + [pick(sizes) for sizes in seen.values()])
                for pick in (lambda sizes: sizes[-1], min, max)
            ]
            minutes = sum(
                m not in (minute, FIRST + 10 * MINUTE) for m in record.good if 0 <= (minute - m) / MINUTE <= 60
            )
            expected.append((asset, total(known), *bounds, len(seen), unbounded, minutes))
        assert ask(conn, "Bounds where wallets are missing", minute=minute) == expected, minute
    assert unbounded_somewhere


@pytest.mark.parametrize(
    ("title", "price", "word"),
    [("Entry-price ladder", "entry", "entry"), ("Liquidation ladder", "liquidation", "liquidation")],
)
def test_a_ladder(conn: db.Connection, record: Record, title: str, price: str, word: str) -> None:
    """Every open position is in one row, and so is everybody who is not known."""
    for minute in ALL:
        for asset, step in (("BTC", 1000), ("HYPE", 1), ("ETH", 250)):
            ladder: dict[tuple[str, Decimal | None], list[Decimal | None]] = {}
            for cell in record.at(minute, asset).values():
                at: Decimal | None = getattr(cell, price)
                if cell.known is None:
                    ladder.setdefault(("not known", None), []).append(None)
                elif cell.known and at is None:
                    ladder.setdefault(("no price", None), []).append(cell.known)
                elif cell.known and at is not None:
                    ladder.setdefault((word, at // step * step), []).append(cell.known)
            expected = {
                (*rung, total([s for s in sizes if s and s > 0]), total([s for s in sizes if s and s < 0]), len(sizes))
                for rung, sizes in ladder.items()
            }
            found = ask(conn, title, minute=minute, asset=asset, step=step)
            assert (set(found), len(found)) == (expected, len(expected)), (minute, asset)


def kind(before: Decimal, now: Decimal) -> str:
    if not before or not now:
        return "closed" if before else "opened"
    if (before > 0) != (now > 0):
        return "turned"
    return "grown" if abs(now) > abs(before) else "shrunk"


def test_the_biggest_changes_of_the_last_hour(conn: db.Connection, record: Record) -> None:
    """Between two known cells only: nobody closes by being missing, leaving or coming. The doubt is shown."""
    kinds = set()
    for minute in ALL:
        usable = [m for m, usable in record.usable.items() if usable and minute - 60 * MINUTE <= m < minute]
        expected: Rows = []
        for asset in ASSETS if usable else ():
            before, now = record.at(min(usable), asset), record.at(minute, asset)
            changes = [
                (min(usable), address(w), asset, b, n, n - b, kind(b, n), record.suspect[minute])
                for w in before.keys() & now.keys()
                if (b := before[w].known) is not None and (n := now[w].known) is not None and b != n
            ]
            expected += sorted(changes, key=lambda change: (-abs(change[5]), change[1]))
        found = ask(conn, "The biggest changes of the last hour", minute=minute)
        assert found == expected, minute
        kinds |= {row[6:] for row in found}
    assert kinds == {
        *((kind, None) for kind in ("opened", "closed", "turned", "grown", "shrunk")),
        *((kind, "same_answer") for kind in ("opened", "grown", "shrunk")),
    }


def test_the_biggest_changes_are_those_of_each_asset(conn: db.Connection) -> None:
    """However many change in one of them, the others are there too."""
    minute, since = FIRST + 63 * MINUTE, FIRST + 3 * MINUTE
    with conn.transaction(force_rollback=True):
        others = ask(conn, "The biggest changes of the last hour", minute=minute)
        conn.execute(
            "INSERT INTO wallets (address) SELECT '0xff' || lpad(n::text, 38, '0') FROM generate_series(1, 60) AS n"
        )
        conn.execute(
            "INSERT INTO wallet_snapshots SELECT (jsonb_populate_record(c, jsonb_build_object('wallet_id', w.wallet_id,"
            " 'position_szi', CASE WHEN c.snapshot_ts = %s THEN 700 + ltrim(w.address, '0xf')::int ELSE 700 END))).*"
            " FROM wallet_snapshots c CROSS JOIN wallets w"
            " WHERE c.wallet_id = 1 AND c.asset = 'HYPE' AND c.snapshot_ts IN (%s, %s) AND w.address LIKE '0xff%%'",
            [minute, minute, since],
        )
        found = ask(conn, "The biggest changes of the last hour", minute=minute)
    assert {row[2] for row in others} == {"BTC", "ETH"}
    assert (
        found
        == [
            (since, f"0xff{n:038}", "HYPE", Decimal(700), Decimal(700 + n), Decimal(n), "grown", None)
            for n in range(60, 40, -1)
        ]
        + others
    )


@pytest.mark.parametrize("wallet", [1, 2, 3, 4, 5, 6])
def test_one_wallets_history(conn: db.Connection, record: Record, wallet: int) -> None:
    """Between two rows no size changed, nothing was unseen and all is as doubtful; an address may have capitals."""
    for asset in ASSETS:
        series = sorted((m, cell) for (m, w, a), cell in record.cells.items() if (w, a) == (wallet, asset))
        changed = [series[0][0]] + [
            m
            for (m_before, before), (m, cell) in pairwise(series)
            if m - m_before > MINUTE
            or (before.size, bool(before.dirty)) != (cell.size, bool(cell.dirty))
            or record.suspect[m] != record.suspect[m_before]
        ]
        unseen = {m: m - before - MINUTE for (before, _), (m, _) in pairwise(series) if m - before > MINUTE}
        expected = [
            (m, cell.size, cell.entry, cell.liquidation, cell.leverage, doubt, unseen.get(m))
            for m, cell in series
            if m in changed
            for doubt in [cell.missing or cell.dirty or record.suspect[m]]
        ]
        asked = {"address": address(wallet).replace("x", "X"), "asset": asset, "since": ALL[0], "until": ALL[-1]}
        assert ask(conn, "One wallet's history", **asked) == expected


def test_who_was_on_the_list_at_a_minute(conn: db.Connection, record: Record) -> None:
    """The wallets that have cells, and of a gap those of the list in force."""
    for n, minute in enumerate(ALL[1:-1]):
        members = LISTS[n >= REFRESHED]
        found = ask(conn, "Who was on the list at a minute", minute=minute)
        assert [row[:2] for row in found] == [(rank, address(w)) for rank, w in enumerate(members, start=1)]
        assert minute not in record.good or set(members) == record.at(minute, "BTC").keys()


def test_who_entered_and_who_left(conn: db.Connection) -> None:
    """One each, in the minute in which the second list begins."""
    first, second = map(set, LISTS)
    at = FIRST + REFRESHED * MINUTE
    entered = [(at, "entered", LISTS[1].index(w) + 1, address(w)) for w in second - first]
    left = [(at, "left", LISTS[0].index(w) + 1, address(w)) for w in first - second]
    assert ask(conn, "Who entered and who left") == entered + left


def test_coverage_per_day(conn: db.Connection, record: Record) -> None:
    """With a day that nobody recorded: its minutes are gaps, and its coverage is not known."""
    later = FIRST.replace(day=8, hour=0, minute=1)
    with conn.transaction(force_rollback=True):
        conn.execute(
            "INSERT INTO ingest_runs SELECT (jsonb_populate_record(r, jsonb_build_object("
            "'snapshot_ts', %s::timestamptz, 'run_id', %s::int))).* FROM ingest_runs r WHERE snapshot_ts = %s",
            [later, int(later.timestamp()) // 60, FIRST],
        )
        set_clock(conn, later + MINUTE)
        found = ask(conn, "Coverage per day")
    status = {
        minute: sum(cell.size is not None for cell in record.at(minute, "BTC").values()) for minute in record.good
    } | {later: 5}
    expected = []
    for day, minutes in ((5, 60), (6, 1440), (7, 1440), (8, 2)):
        known = [wallets for minute, wallets in status.items() if minute.day == day]
        success, partial = known.count(5), known.count(4)
        figures = (success, partial, len(known) - success - partial) if known else (None,) * 3
        suspect = (1 if day == 5 else 0) if known else None
        percent = Decimal(10000 * sum(known) // (5 * len(known))) / 100 if known else None
        date = datetime(2026, 1, day, tzinfo=UTC).date()
        expected.append((date, minutes, *figures, minutes - len(known), suspect, percent))
    assert found == expected


@pytest.mark.parametrize("ahead", [NOW.replace(day=8, hour=0, minute=1, second=0), NOW.replace(hour=1, second=0)])
def test_what_has_not_begun_has_no_coverage_and_no_gaps(conn: db.Connection, ahead: datetime) -> None:
    """A clock that ran ahead and was set back leaves minutes of it."""
    expected = ask(conn, "Coverage per day")
    with conn.transaction(force_rollback=True):
        conn.execute(
            "INSERT INTO ingest_runs SELECT (jsonb_populate_record(r, jsonb_build_object("
            "'snapshot_ts', %s::timestamptz, 'run_id', %s::int))).* FROM ingest_runs r WHERE snapshot_ts = %s",
            [ahead, int(ahead.timestamp()) // 60, FIRST],
        )
        assert ask(conn, "Coverage per day") == expected


def test_why_wallets_were_missing(conn: db.Connection, record: Record) -> None:
    """As the cells say it, not the runs."""
    missing = [(cell.missing, m) for (m, _, asset), cell in record.cells.items() if cell.missing and asset == "BTC"]
    minutes = {reason: [m for why, m in missing if why == reason] for reason, _ in missing}
    expected = [(reason, len(m), len(set(m)), max(m)) for reason, m in minutes.items()]
    found = ask(conn, "Why wallets were missing", since=ALL[0], until=ALL[-1])
    assert found == sorted(expected, key=lambda row: (-row[1], row[0]))
