"""The dashboard's SQL: each panel is asked as Grafana would, by a reader; its figures are reckoned again in Python."""

import json
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row, namedtuple_row

from hlctl import access, db
from hlctl.access import Access

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
RECORD = (Path(__file__).parent / "generated_record.sql").read_bytes()
FIRST = datetime(2026, 1, 6, 20, 0, tzinfo=UTC)
MINUTES = 150
WALLETS = 20
LAST = FIRST + timedelta(minutes=MINUTES - 1)
NOW = LAST + timedelta(seconds=80)

PANELS: dict[str, dict[str, Any]] = {
    panel["title"].removesuffix(": $asset"): panel
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    if any("rawSql" in target for target in panel.get("targets", []))
}
NUMBERS = {20, 21, 23, 701, 1700}  # the types that Grafana takes for numbers: int8, int2, int4, float8, numeric
TIME, TEXT, NUMERIC = 1184, {25, 1043}, 1700

# The rest of what can happen to a record: a gap, pruned minutes, one that failed, two that are suspect, wallets that
# are missing for a while or for more than an hour, dirty cells, positions that move, close, are isolated, or have no
# liquidation price. What is not to be believed is far from the truth.
TROUBLE = """
    DELETE FROM wallet_snapshots WHERE snapshot_ts = '{first}'::timestamptz + interval '70 min';
    DELETE FROM ingest_health    WHERE health_ts   = '{first}'::timestamptz + interval '70 min';
    DELETE FROM ingest_runs      WHERE snapshot_ts = '{first}'::timestamptz + interval '70 min';
    UPDATE ingest_runs SET skew_ms = 700 + extract(minute FROM snapshot_ts), clock_offset_ms = -40, retries = 2;
    UPDATE ingest_runs SET clock_offset_ms = 30 WHERE extract(minute FROM snapshot_ts) = 5;
    UPDATE ingest_runs
       SET status = 'failed', missing = '{{"dns": 12, "timeout": 8}}', skew_ms = NULL, clock_offset_ms = NULL
     WHERE snapshot_ts = '{first}'::timestamptz + interval '80 min';
    UPDATE ingest_runs SET suspect = '{{mass_zero}}'
     WHERE snapshot_ts IN ('{first}'::timestamptz + interval '85 min', '{first}'::timestamptz + interval '149 min');
    UPDATE wallet_snapshots
       SET position_szi = NULL, observed_at = NULL, missing_reason = 'late', entry_px = NULL, liq_px = NULL,
           leverage = NULL, leverage_type = NULL, margin_used = NULL
     WHERE (wallet_id = 4 AND snapshot_ts BETWEEN '{first}'::timestamptz + interval '20 min'
                                              AND '{first}'::timestamptz + interval '95 min')
        OR (wallet_id = 7 AND snapshot_ts >= '{first}'::timestamptz + interval '140 min');
    UPDATE wallet_snapshots
       SET position_szi = CASE wallet_id % 2 WHEN 0 THEN 1 ELSE -1 END
                          * (position_szi + extract(epoch FROM snapshot_ts - '{first}') / 60 * wallet_id / 7),
           liq_px = CASE wallet_id % 5 WHEN 0 THEN NULL WHEN 1 THEN 1e9 ELSE 100 + wallet_id - wallet_id % 2 * 15 END,
           margin_used = 10.0 * (position_szi + extract(epoch FROM snapshot_ts - '{first}') / 60 * wallet_id / 7)
     WHERE position_szi <> 0;
    UPDATE wallet_snapshots
       SET position_szi = 0, entry_px = NULL, liq_px = NULL, leverage = NULL, leverage_type = NULL, margin_used = NULL
     WHERE wallet_id = 19 AND snapshot_ts >= '{first}'::timestamptz + interval '120 min' AND position_szi IS NOT NULL;
    UPDATE wallet_snapshots SET leverage_type = 'isolated', margin_used = 3 * margin_used
     WHERE wallet_id IN (1, 10) AND position_szi <> 0;
    UPDATE wallet_snapshots SET position_szi = 50 * position_szi
     WHERE snapshot_ts = '{first}'::timestamptz + interval '85 min';
    UPDATE wallet_snapshots SET is_dirty = true, dirty_reason = 'szi_jump', position_szi = 30 * position_szi
     WHERE (wallet_id, snapshot_ts) IN ((13, '{first}'::timestamptz + interval '75 min'),
                                        (7,  '{first}'::timestamptz + interval '130 min'),
                                        (13, '{first}'::timestamptz + interval '148 min'),
                                        (16, '{first}'::timestamptz + interval '148 min'))
       AND position_szi IS NOT NULL;
    DELETE FROM wallet_snapshots WHERE snapshot_ts BETWEEN '{first}'::timestamptz + interval '60 min'
                                                       AND '{first}'::timestamptz + interval '62 min';
    UPDATE ingest_runs SET pruned_at = '{first}' WHERE snapshot_ts BETWEEN '{first}'::timestamptz + interval '60 min'
                                                                       AND '{first}'::timestamptz + interval '62 min';
    INSERT INTO wallet_universe_runs (as_of_ts, status, n_requested, n_received, churn_warning_count, duration_ms,
                                      rows_seen, rows_rejected, error)
    VALUES ('{first}'::timestamptz + interval '30 min', 'failed', 20, 20, 3, 1, 20, 0, 'churn: everybody changed');
    UPDATE wallet_universe_runs SET as_of_ts = '{first}'::timestamptz, entered_count = 20 WHERE status = 'success';
"""


class Cell(NamedTuple):
    """What a wallet held; None: not known, or not to be believed."""

    minute: datetime
    wallet: int
    szi: Decimal | None
    liq_px: Decimal | None
    px: Decimal | None  # of its size, as its margin tells; of cross-margined positions


@dataclass(frozen=True)
class Grafana:
    """Asks a database as Grafana's data source for PostgreSQL does."""

    conn: psycopg.Connection[Any]
    role: str

    def ask(
        self,
        title: str,
        *,
        asset: str = "BTC",
        since: datetime = FIRST,
        until: datetime = NOW,
        interval: timedelta = timedelta(minutes=1),
        explain: bool = False,
    ) -> tuple[dict[str, int], list[dict[str, Any]]]:
        """Return a panel's columns with their types, and its rows."""
        (target,) = PANELS[title]["targets"]
        query = expanded(target["rawSql"], asset=asset, since=since, until=until, interval=interval)
        with self.conn.transaction(force_rollback=True), self.conn.cursor(row_factory=dict_row) as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(self.role)))
            cursor.execute("SET LOCAL timezone = 'America/New_York'")  # its server's, whatever that is
            if explain:
                cursor.execute("SET LOCAL enable_seqscan = off")  # so small a record is read as a whole otherwise
                query = f"EXPLAIN {query}"
            cursor.execute(query.encode())
            assert cursor.description
            return {column.name: column.type_code for column in cursor.description}, cursor.fetchall()

    def __call__(self, title: str, **given: Any) -> list[dict[str, Any]]:
        """Return the rows of a panel, with the numbers of seconds that Grafana takes for times as such."""
        _, rows = self.ask(title, **given)
        for row in rows:
            if isinstance(row.get("time"), Decimal):
                row["time"] = datetime.fromtimestamp(int(row["time"]), UTC)
        return rows


def expanded(query: str, *, asset: str, since: datetime, until: datetime, interval: timedelta) -> str:
    """Return a query without its variables and macros, as pkg/tsdb/grafana-postgresql-datasource/macros.go has them."""
    ends = {"__timeFrom": f"'{since:%Y-%m-%dT%H:%M:%SZ}'", "__timeTo": f"'{until:%Y-%m-%dT%H:%M:%SZ}'"}
    seconds = int(interval.total_seconds())

    def expand(found: re.Match[str]) -> str:
        name, args = found[1], [arg.strip() for arg in found[2].split(",")]
        if name in ends:
            return ends[name]
        if name == "__timeFilter":
            return f"{args[0]} BETWEEN {ends['__timeFrom']} AND {ends['__timeTo']}"
        assert name == "__timeGroup"
        assert args[1] == f"{seconds}s"
        assert args[2:] in ([], ["NULL"])
        assert query[query.index("$__timeGroup") :].partition(")")[2][:1] != ",", (
            "Grafana would add an alias of its own"
        )
        return f"floor(extract(epoch from {args[0]})/{seconds})*{seconds}"

    query = query.replace("$__interval", f"{seconds}s").replace("${asset:sqlstring}", f"'{asset}'")
    query = re.sub(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)", expand, query)
    assert "$" not in query
    return query


@pytest.fixture(scope="module")
def grafana(
    server: str, template: str, create_database: Callable[[str], str], set_clock_of: Callable[..., None]
) -> Iterator[Grafana]:
    """Return a data source whose role was let in as a reader, on a record with all kinds of trouble."""
    database = psycopg.conninfo.make_conninfo(server, dbname=create_database(template))
    role = f"hlctl_test_{uuid.uuid4().hex[:12]}"
    set_clock_of(database, NOW, running=False)
    with db.connect(database) as conn:
        try:
            conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        except psycopg.errors.InsufficientPrivilege:
            pytest.skip("the role of TEST_DATABASE_URL may not create roles")
        with db.transaction(conn):
            access.grant(conn, {role: Access.READER})
            conn.execute("SELECT ensure_partitions(2)")
            conn.execute(RECORD, {"first": FIRST, "minutes": MINUTES, "wallets": WALLETS})
            conn.execute(TROUBLE.format(first=FIRST.isoformat()).encode())
        conn.execute("ANALYZE")
        yield Grafana(conn, role)
        conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture(scope="module")
def cells(grafana: Grafana) -> dict[datetime, dict[int, Cell]]:
    """Return the cells of BTC, minute by minute."""
    found: dict[datetime, dict[int, Cell]] = defaultdict(dict)
    rows = grafana.conn.execute(
        "SELECT snapshot_ts, wallet_id, position_szi, liq_px, margin_used, leverage, leverage_type = 'cross', is_dirty"
        "  FROM wallet_snapshots WHERE asset = 'BTC'"
    )
    for minute, wallet, szi, liq_px, margin, leverage, is_cross, is_dirty in rows:
        is_known = szi is not None and not is_dirty
        px = abs(margin * leverage / szi) if is_known and is_cross else None
        found[minute][wallet] = Cell(minute, wallet, szi if is_known else None, liq_px if is_known else None, px)
    return found


@pytest.fixture(scope="module")
def runs(grafana: Grafana) -> dict[datetime, Any]:
    """Return the run rows by minute."""
    with grafana.conn.cursor(row_factory=namedtuple_row) as cursor:
        rows: list[Any] = cursor.execute("SELECT * FROM ingest_runs").fetchall()
        return {run.snapshot_ts: run for run in rows}


def usable(runs: dict[datetime, Any], until: datetime = NOW) -> list[datetime]:
    """Return the minutes that may be counted and summed over, oldest first."""
    return sorted(
        minute
        for minute, run in runs.items()
        if run.status != "failed" and run.suspect == [] and run.pruned_at is None and minute <= until
    )


# That end, or lie an hour after, a minute that is pruned, failed, suspect, or has dirty cells.
ENDS = [NOW, *(FIRST + timedelta(minutes=number) for number in (62, 80, 85, 121, 135, 140, 145))]


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_answers_a_reader_in_the_form_it_needs(grafana: Grafana, title: str) -> None:
    """Grafana shows an error, or nothing at all, for what has another form."""
    columns, rows = grafana.ask(title)
    assert rows
    if PANELS[title]["targets"][0]["format"] == "table":
        assert set(columns.values()) <= NUMBERS | TEXT | {TIME}, "Grafana shows other types as text, if at all"
        return
    assert next(iter(columns)) == "time"
    assert columns.pop("time") in {TIME, NUMERIC}
    assert columns.pop("metric", 25) in TEXT
    assert columns
    assert set(columns.values()) <= NUMBERS
    times = [row["time"] for row in rows]
    assert times == sorted(times)
    assert "metric" in rows[0] or len(set(times)) == len(times)


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_takes_a_year_and_a_span_without_a_record(grafana: Grafana, title: str) -> None:
    """Points of half a day; and what is not known makes no points."""
    grafana(title, since=NOW - timedelta(days=365), interval=timedelta(hours=12))
    lively = {"State", "Why", "Age of the last good minute", "Coverage of the newest minute", "Age", "Wallets in force"}
    lively |= {"Missing in the newest minute", "Days kept", "Days prepared", "Cells without a day"}
    empty = grafana(title, since=FIRST - timedelta(days=9), until=FIRST - timedelta(days=8))
    if title not in lively:
        assert all(value is None for row in empty for name, value in row.items() if name != "distance"), empty


def test_the_net_and_its_bounds_are_those_of_the_cells(
    grafana: Grafana, cells: dict[datetime, dict[int, Cell]], runs: dict[datetime, Any]
) -> None:
    """A missing wallet is within what it held in the hour before, and where nobody knows that there are no bounds."""
    good = usable(runs)
    unsuspected = [minute for minute in cells if runs[minute].suspect == []]
    expected: list[dict[str, Any]] = []
    for minute in good:
        hour = [before for before in unsuspected if minute - timedelta(hours=1) <= before < minute]
        lows: list[Decimal | None] = []
        highs: list[Decimal | None] = []
        for cell in cells[minute].values():
            seen = [szi for before in hour if (szi := cells[before][cell.wallet].szi) is not None]
            lows.append(cell.szi if cell.szi is not None else min(seen, default=None))
            highs.append(cell.szi if cell.szi is not None else max(seen, default=None))
        known = [cell.szi for cell in cells[minute].values() if cell.szi is not None]
        expected.append({
            "time": minute,
            "known": sum(known, Decimal()),
            "lowest": None if None in lows else sum(filter(None, lows), Decimal()),
            "highest": None if None in highs else sum(filter(None, highs), Decimal()),
        })  # fmt: skip
    shown = grafana("Net position")
    assert shown == expected
    assert {row["lowest"] is None for row in shown} == {True, False}
    assert any(row["lowest"] < row["highest"] for row in shown if row["lowest"] is not None)
    for ten, rows in groupby(expected, lambda row: row["time"].timestamp() // 600):
        begins = datetime.fromtimestamp(ten * 600, UTC)
        until = begins + timedelta(seconds=599)
        (point,) = grafana("Net position", since=begins, until=until, interval=timedelta(minutes=10))
        assert point["known"] == list(rows)[-1]["known"], "the last usable minute of a longer point, and no average"


def test_who_is_long_short_or_not_known_is_counted(
    grafana: Grafana, cells: dict[datetime, dict[int, Cell]], runs: dict[datetime, Any]
) -> None:
    """Dirty cells are not known."""
    sizes = {minute: [cell.szi for cell in cells[minute].values()] for minute in usable(runs)}
    expected = [
        {
            "time": minute,
            "long": sum(szi is not None and szi > 0 for szi in held),
            "short": sum(szi is not None and szi < 0 for szi in held),
            "not known": held.count(None),
        }
        for minute, held in sizes.items()
    ]
    assert grafana("Wallets") == expected
    assert {row["not known"] for row in expected} >= {0, 1, 3}
    assert all(sizes.values()), "a pruned minute is no minute of which nothing is known"


def test_minutes_that_were_not_good_are_those_without_a_good_run(grafana: Grafana, runs: dict[datetime, Any]) -> None:
    """In points of ten minutes; before the record began and in the minute that runs there are none."""
    expected: dict[datetime, Counter[str]] = defaultdict(Counter)
    for number in range(MINUTES):
        minute = FIRST + timedelta(minutes=number)
        ten = minute - timedelta(minutes=minute.minute % 10)
        expected[ten][runs[minute].status if minute in runs else "gap"] += 1
    shown = grafana("Minutes that were not good", since=FIRST - timedelta(hours=3), interval=timedelta(minutes=10))
    assert shown == [
        {"time": ten, "partial": tally["partial"], "failed": tally["failed"], "gap": tally["gap"]}
        for ten, tally in expected.items()
    ]
    assert sum(row["gap"] for row in shown) == 1
    later = grafana("Minutes that were not good", until=NOW + timedelta(hours=1))
    assert later[-1]["time"] == LAST, "the minute that runs is no gap yet"


def test_missing_wallets_are_those_of_the_runs(grafana: Grafana, runs: dict[datetime, Any]) -> None:
    """By reason, and summed over the minutes of a longer point."""
    expected: Counter[str] = Counter()
    for run in runs.values():
        expected.update(run.missing)
    shown: Counter[str] = Counter()
    for row in grafana("Missing wallets by reason", interval=timedelta(minutes=10)):
        shown[row["metric"]] += row["wallets"]
    assert shown == expected
    assert set(shown) == {"dns", "timeout"}


@pytest.mark.parametrize("until", ENDS)
def test_the_biggest_changes_are_between_known_cells_an_hour_apart(
    grafana: Grafana, cells: dict[datetime, dict[int, Cell]], runs: dict[datetime, Any], until: datetime
) -> None:
    """A wallet that is missing in one of them has not traded."""
    newest = usable(runs, until)[-1]
    oldest = next(minute for minute in usable(runs) if minute >= newest - timedelta(hours=1))
    changes = [
        (after.szi - before.szi, before, after)
        for wallet, after in cells[newest].items()
        if after.szi is not None and (before := cells[oldest][wallet]).szi is not None and before.szi != after.szi
    ]
    changes.sort(key=lambda change: (-abs(change[0]), change[1].wallet))
    shown = grafana("Biggest changes of the last hour", until=until)
    assert [(int(row["address"], 16), row["before"], row["now"], row["change"]) for row in shown] == [
        (before.wallet, before.szi, after.szi, change) for change, before, after in changes[:10]
    ]
    words = {int(row["address"], 16): row["what"] for row in shown}
    assert words
    if until == NOW:
        assert words[19] == "closed"
        assert not words.keys() & {7, 13, 16}, "missing or dirty in one of the two"


@pytest.mark.parametrize("until", ENDS)
def test_the_ladder_and_what_is_beside_it_are_all_open_positions(
    grafana: Grafana, cells: dict[datetime, dict[int, Cell]], runs: dict[datetime, Any], until: datetime
) -> None:
    """By distance from a price that the positions themselves tell; none is left out silently."""
    newest = usable(runs, until)[-1]
    held = cells[newest].values()
    mark = median_low([cell.px for cell in held if cell.px is not None])
    steps: dict[int, list[Decimal]] = defaultdict(list)
    for cell in held:
        if cell.szi and cell.liq_px is not None:
            steps[int((100 * (cell.liq_px / mark - 1)).__floor__())].append(cell.szi)
    shown = grafana("Liquidations near the mark", until=until)
    assert [row["distance"] for row in shown] == [f"{step} %" for step in range(-25, 25)]
    assert {
        row["distance"]: (row["long"], row["short"]) for row in shown if (row["long"], row["short"]) != (None, None)
    } == {
        f"{step} %": (
            sum((szi for szi in sizes if szi > 0), Decimal()) or None,
            -sum((szi for szi in sizes if szi < 0), Decimal()) or None,
        )
        for step, sizes in steps.items()
        if -25 <= step < 25
    }
    (beside,) = grafana("Beside the ladder", until=until)
    assert beside == {
        "minute": newest,
        "asset": "BTC",
        "mark": mark,
        "on_ladder": sum(len(sizes) for step, sizes in steps.items() if -25 <= step < 25),
        "beyond": sum(len(sizes) for step, sizes in steps.items() if not -25 <= step < 25),
        "no_price": sum(bool(cell.szi) and cell.liq_px is None for cell in held),
        "not_known": sum(cell.szi is None for cell in held),
    }
    assert until != NOW or all(beside[name] for name in ("on_ladder", "beyond", "no_price", "not_known"))


def test_health_now_is_what_the_judge_says(grafana: Grafana, runs: dict[datetime, Any]) -> None:
    """And nothing the dashboard made up."""
    judged = grafana.conn.execute(
        "SELECT health_state, reasons, suspect, last_good_age FROM v_latest_health"
    ).fetchone()
    assert judged is not None
    assert grafana("State") == [{"health_state": judged[0]}] == [{"health_state": "degraded"}]
    assert grafana("Why") == [{"reasons": ", ".join(judged[1] + judged[2])}]
    assert grafana("Age of the last good minute") == [{"age": 80.0}]
    assert grafana("Coverage of the newest minute") == [{"coverage_pct": runs[LAST].coverage_pct}]
    assert grafana("Missing in the newest minute") == [
        {"reason": reason, "wallets": wallets} for reason, wallets in runs[LAST].missing.items()
    ]


def test_a_minute_that_has_not_begun_is_not_the_newest(grafana: Grafana) -> None:
    """A clock that was set back leaves such minutes, and what was missing in them is not what is missing now."""
    with grafana.conn.transaction(force_rollback=True):
        at = FIRST + timedelta(minutes=80, seconds=20)
        clock = "CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS"
        grafana.conn.execute(f"{clock} $$SELECT timestamptz '{at}'$$".encode())
        assert grafana("Missing in the newest minute") == [
            {"reason": "dns", "wallets": 12},
            {"reason": "timeout", "wallets": 8},
        ]


def test_before_the_first_minute_nothing_is_good_bad_or_zero(conn: db.Connection) -> None:
    """A set-up that has not begun to record has no gaps, and nobody holds nothing."""
    owner = Grafana(conn, conn.info.user)
    counts = {"Wallets in force", "Days kept", "Days prepared", "Cells without a day", "Cells on disk, by day"}
    words = {"State", "Why"}
    for title in PANELS.keys() - counts - words:
        rows = owner(title, since=datetime.now(UTC) - timedelta(days=1), until=datetime.now(UTC))
        assert all(value is None for row in rows for name, value in row.items() if name != "distance"), title
    assert owner("State") == [{"health_state": "stale"}]
    assert owner("Why") == [{"reasons": "no_good_minute"}]


def test_what_is_not_known_is_no_figure(grafana: Grafana) -> None:
    """A minute in which nobody answered has no skew; a clock that is behind is as wrong as one that is ahead."""
    at = FIRST + timedelta(minutes=80)
    assert grafana("Skew and clock", since=at, until=at) == [{"time": at, "skew": None, "clock offset": None}]
    until = FIRST + timedelta(minutes=9)
    known = {"skew": Decimal("0.709"), "clock offset": Decimal("0.040")}
    assert grafana("Skew and clock", until=until, interval=timedelta(minutes=10)) == [{"time": FIRST, **known}]


def test_a_table_of_all_assets_has_each_of_them(grafana: Grafana) -> None:
    """It is not drawn once for each, and gets the chosen ones as a list."""
    everything = "HYPE', 'BTC', 'ETH"
    assert [row["asset"] for row in grafana("Beside the ladder", asset=everything)] == ["HYPE", "BTC", "ETH"]
    for title in ("Beside the ladder", "Biggest changes of the last hour"):
        each = [row for asset in ("HYPE", "BTC", "ETH") for row in grafana(title, asset=asset)]
        assert grafana(title, asset=everything) == each


@pytest.mark.parametrize("title", ["Net position", "Wallets", "Coverage", "Missing wallets by reason"])
def test_a_panel_over_time_finds_its_minutes_by_index(grafana: Grafana, title: str) -> None:
    """A scan of everything would take longer with each day of the record."""
    at = FIRST + timedelta(minutes=30)
    until = at + timedelta(minutes=5)
    _, plan = grafana.ask(title, since=at, until=until, explain=True)
    scans = [line for (line,) in (row.values() for row in plan) if re.search(r"Scan .*(snapshot|ingest)", line)]
    assert scans
    assert not [line for line in scans if "Seq Scan" in line]
