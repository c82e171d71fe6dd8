"""`refresh-universe`: how much may change, when it is due, and what a dry run says of both."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from hlctl import sim
from tests.e2e.conftest import Hlctl, M
from tests.e2e.test_refresh_universe import address, document, make_row

Rows = Callable[..., list[tuple[Any, ...]]]
At = Callable[..., None]

IN_FORCE = "SELECT address FROM v_universe ORDER BY rank"
LAST_RUN = """
    SELECT status, source, n_received, entered_count, exited_count, churn_warning_count, error
      FROM wallet_universe_runs ORDER BY run_id DESC LIMIT 1
"""
RUNS = "SELECT count(*) FROM wallet_universe_runs"
RELATIONS = """
    SELECT relname, CASE relkind WHEN 'S' THEN 'last_value, is_called' ELSE 'count(*)' END
      FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S')
"""


def board(first: int, count: int = 200) -> bytes:
    """Give a leaderboard of the wallets from one number on."""
    return document(*(make_row(number) for number in range(first, first + count)))


def written(rows: Rows) -> dict[str, list[tuple[Any, ...]]]:
    """Count the rows of every table, and read how far every sequence has come."""
    return {name: rows(f'SELECT {what} FROM "{name}"') for name, what in rows(RELATIONS)}  # noqa: S608 - names of ours


def churn(share: str, times: str) -> str:
    return f"churn: {share}% of the wallets changed, more than 30% for {times} in a row"


@pytest.fixture
def settled(hlctl: Hlctl, exchange: sim.Exchange) -> Hlctl:
    """Return a runner whose universe is the wallets 1 to 200, whatever it was before."""
    exchange.leaderboard_body = board(1)
    assert [hlctl("refresh-universe").code for _ in range(2)] == [0, 0]
    return hlctl


# ---- churn


def test_thirty_percent_is_no_warning_and_one_wallet_more_is_one_line(
    settled: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """60 and 61 of 200; a warning is accepted all the same, and said on stderr."""
    exchange.leaderboard_body = board(61)
    ran = settled("refresh-universe")
    assert (ran.code, ran.err) == (0, "")
    assert rows(LAST_RUN) == [("success", "stats-data", 200, 60, 60, 0, None)]
    exchange.leaderboard_body = board(122)
    ran = settled("refresh-universe", "--json")
    assert (ran.code, ran.err) == (0, f"hlctl: WARNING: {churn('30.5', '1 refresh')}\n")
    found = ran.document["result"]["refresh"]
    assert (found["turnover"], found["churn_warning_count"]) == ("0.305000", 1)
    assert rows(LAST_RUN) == [("success", "stats-data", 200, 61, 61, 1, None)]


def test_the_third_churn_in_a_row_keeps_the_universe_and_a_settled_leaderboard_is_accepted_by_itself(
    settled: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: Callable[..., None]
) -> None:
    """Its members are stored, and the next refresh is measured against them."""
    for first, times in ((101, "1 refresh"), (201, "2 refreshes")):
        exchange.leaderboard_body = board(first)
        ran = settled("refresh-universe")
        assert (ran.code, ran.err) == (0, f"hlctl: WARNING: {churn('50.0', times)}\n")
    members = rows(IN_FORCE)
    exchange.leaderboard_body = board(301)
    ran = settled("refresh-universe")
    rule = churn("50.0", "3 refreshes")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == (
        f"hlctl refresh-universe: too many wallets changed, the universe of 2026-01-06 20:44 UTC stays: {rule};"
        " a leaderboard that settles is accepted by itself, `hlctl refresh-universe --force` accepts it now\n"
    )
    assert rows(LAST_RUN) == [("failed", "stats-data", 200, 0, 0, 3, rule)]
    assert rows(IN_FORCE) == members
    assert rows("SELECT run_id, count(*) FROM wallet_universe_members GROUP BY 1 ORDER BY 1 DESC LIMIT 1") == rows(
        "SELECT max(run_id), 200 FROM wallet_universe_runs"
    )
    ran = settled("refresh-universe")
    assert (ran.code, ran.err) == (0, "")
    assert rows(LAST_RUN) == [("success", "stats-data", 200, 100, 100, 0, None)]
    assert {found for (found,) in rows(IN_FORCE)} == {address(number) for number in range(301, 501)}
    next_minute_is_good()


def test_a_leaderboard_that_never_settles_is_never_accepted_by_itself(
    settled: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """The fourth in a row is refused as the third was; the operator may think otherwise, and the count goes on."""
    for number, code in enumerate((0, 0, 4, 4), 1):
        exchange.leaderboard_body = board(1 + 100 * number)
        assert settled("refresh-universe").code == code
        assert rows("SELECT churn_warning_count FROM wallet_universe_runs ORDER BY run_id DESC LIMIT 1") == [(number,)]
    exchange.leaderboard_body = board(501)
    ran = settled("refresh-universe", "--force")
    assert (ran.code, ran.err) == (0, f"hlctl: WARNING: {churn('50.0', '5 refreshes')}\n")
    assert rows(LAST_RUN) == [("success", "stats-data", 200, 200, 200, 5, None)]
    assert {found for (found,) in rows(IN_FORCE)} == {address(number) for number in range(501, 701)}


def test_an_outage_between_two_churns_is_no_calm(settled: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """In a row means among the leaderboards that could be read."""
    for first in (101, 201):
        exchange.leaderboard_body = board(first)
        assert settled("refresh-universe").code == 0
    exchange.misbehave(sim.LEADERBOARD, sim.Fault(status=503, times=1))
    assert settled("refresh-universe").code == 4
    assert rows("SELECT churn_warning_count, n_received FROM wallet_universe_runs ORDER BY 1, 2 LIMIT 1") == [(0, 0)]
    exchange.leaderboard_body = board(301)
    ran = settled("refresh-universe")
    assert ran.code == 4
    assert "3 refreshes in a row" in ran.err


def test_another_universe_size_is_no_churn(settled: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """A third, and all of it again: half of each universe is new or gone, and nobody was replaced."""
    exchange.leaderboard_body = board(1, 400)
    for size in ("400", "100", "400", "100"):
        ran = settled("refresh-universe", HLCTL_UNIVERSE_SIZE=size)
        assert (ran.code, ran.err) == (0, "")
    assert rows("SELECT max(churn_warning_count) FROM wallet_universe_runs") == [(0,)]


# ---- when


@pytest.fixture
def moment(rows: Rows, at: At) -> Callable[[timedelta], datetime]:
    """Return a function that sets the clocks to a time after the universe in force was recorded, and returns that."""

    def set_to(age: timedelta) -> datetime:
        ((as_of,),) = rows("SELECT max(as_of_ts) FROM v_universe")
        at((as_of + age - M).total_seconds())
        found: datetime = as_of
        return found

    return set_to


@pytest.mark.parametrize("minutes", [0, 60, 341])
def test_while_the_universe_is_young_nothing_is_asked_and_nothing_is_written(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    rows: Rows,
    moment: Callable[[timedelta], datetime],
    minutes: int,
) -> None:
    """An hourly timer may ask as often as it likes."""
    as_of = moment(timedelta(minutes=minutes))
    before = written(rows)
    ran = with_universe("refresh-universe", "--if-due")
    due = as_of + timedelta(hours=5, minutes=42)
    assert (ran.code, ran.out, ran.err) == (0, f"not due before {due:%Y-%m-%d %H:%M:%S} UTC\n", "")
    found = with_universe("refresh-universe", "--if-due", "--json").document["result"]
    assert found["refresh"] is None
    assert datetime.fromisoformat(found["due_at"]) == due
    ran = with_universe("--quiet", "refresh-universe", "--if-due", "--force")
    assert (ran.code, ran.out, ran.err) == (0, "", ""), "--force is about what to accept, not about when"
    assert exchange.requests == 0
    assert written(rows) == before


@pytest.mark.parametrize("minutes", [343, 359, 9000, -9000])
def test_a_universe_that_is_due_is_refreshed(
    with_universe: Hlctl, rows: Rows, moment: Callable[[timedelta], datetime], minutes: int
) -> None:
    """From 95 % of the period on, so that an early timer skips nothing; and after the clock was set back."""
    moment(timedelta(minutes=minutes))
    ran = with_universe("refresh-universe", "--if-due")
    assert (ran.code, ran.err) == (0, "")
    assert "0 entered, 0 exited" in ran.out
    assert rows(RUNS) == [(2,)]


def test_a_period_of_ones_own_is_heard(
    with_universe: Hlctl, exchange: sim.Exchange, moment: Callable[[timedelta], datetime]
) -> None:
    """An hour instead of six."""
    moment(timedelta(minutes=58))
    assert with_universe("refresh-universe", "--if-due").out.startswith("not due")
    assert exchange.requests == 0
    assert with_universe("refresh-universe", "--if-due", HLCTL_UNIVERSE_REFRESH_HOURS="1").out.startswith("universe: ")


def test_without_a_universe_a_refresh_is_due(hlctl: Hlctl, rows: Rows) -> None:
    """The same unit file makes the first one."""
    assert hlctl("refresh-universe", "--if-due").code == 0
    assert rows("SELECT count(*) FROM v_universe") == [(200,)]


def test_a_failed_refresh_stays_due(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, moment: Callable[[timedelta], datetime]
) -> None:
    """The next start of the timer tries again, and not only the next period."""
    moment(timedelta(hours=7))
    exchange.misbehave(sim.LEADERBOARD, sim.Fault(status=503, times=1))
    assert with_universe("refresh-universe", "--if-due").code == 4
    assert with_universe("refresh-universe", "--if-due").code == 0
    assert with_universe("refresh-universe", "--if-due").out.startswith("not due")
    assert rows("SELECT status FROM wallet_universe_runs ORDER BY run_id") == [("success",), ("failed",), ("success",)]


# ---- a dry run


def test_a_dry_run_says_who_would_enter_and_exit_and_writes_nothing(
    settled: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """Not a row of a wallet nor a number of a sequence; and --quiet does not silence an answer."""
    exchange.leaderboard_body = board(13)
    before = written(rows)
    ran = settled("--quiet", "refresh-universe", "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[:3] == [
        "would be accepted",
        "universe: 200 of 200 wallets from 200 rows of stats-data (0 unreadable); 12 would enter, 12 would exit",
        f"  would enter {address(212)}",
    ]
    assert lines[-1] == "  and 2 more would exit"
    found = settled("refresh-universe", "--dry-run", "--json").document["result"]
    assert (found["refused"], found["refresh"]["run_id"], found["refresh"]["turnover"]) == (None, None, "0.060000")
    assert found["refresh"]["entered"] == [address(number) for number in range(212, 200, -1)]
    assert written(rows) == before


def test_a_dry_run_before_the_first_refresh_would_enter_everybody(hlctl: Hlctl, rows: Rows) -> None:
    """There is nobody to exit, and no turnover."""
    before = written(rows)
    ran = hlctl("refresh-universe", "--dry-run", "--json")
    refresh = ran.document["result"]["refresh"]
    assert (ran.code, len(refresh["entered"]), refresh["exited"], refresh["turnover"]) == (0, 200, [], None)
    assert written(rows) == before


def test_a_dry_run_finds_churn_that_would_be_refused_and_force_would_accept_it(
    settled: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """Exit 1: the check found something; nothing was kept or replaced."""
    for first in (101, 201):
        exchange.leaderboard_body = board(first)
        settled("refresh-universe")
    exchange.leaderboard_body = board(301)
    before = written(rows)
    ran = settled("refresh-universe", "--dry-run")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.startswith(f"would be refused: {churn('50.0', '3 refreshes')}\nuniverse: 200 of 200")
    ran = settled("refresh-universe", "--dry-run", "--force")
    assert ran.code == 0
    assert ran.out.startswith("would be accepted\n")
    assert written(rows) == before
    assert settled("refresh-universe").code == 4, "as it was said"


def test_a_dry_run_says_what_is_wrong_with_every_source(settled: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """As the failed run's row would."""
    exchange.misbehave(sim.LEADERBOARD, sim.Fault(status=503))
    before = written(rows)
    wrong = "stats-data: http_5xx: the exchange answered 503; info-api: http_4xx: the exchange answered 422"
    ran = settled("refresh-universe", "--dry-run")
    assert (ran.code, ran.out, ran.err) == (1, f"would be refused: {wrong}\n", "")
    ran = settled("refresh-universe", "--dry-run", "--json")
    assert (ran.document["result"], ran.document["error"]) == ({"refresh": None, "refused": wrong}, None)
    assert written(rows) == before


def test_a_dry_run_asks_nothing_while_the_universe_is_young(
    with_universe: Hlctl, exchange: sim.Exchange, moment: Callable[[timedelta], datetime]
) -> None:
    """--if-due means the same with it."""
    moment(timedelta(hours=1))
    ran = with_universe("refresh-universe", "--if-due", "--dry-run")
    assert (ran.code, exchange.requests) == (0, 0)
    assert ran.out.startswith("not due before 2026-01-07 02:2")


def test_a_dry_run_needs_a_readers_rights_only(hlctl: Hlctl, database: str, rows: Rows) -> None:
    """It takes no lock either, so it runs beside a refresh."""
    as_reader = make_conninfo(database, options="-c role=pg_read_all_data")
    try:
        psycopg.connect(as_reader).close()
    except psycopg.OperationalError:
        pytest.skip("the tests' role may not become pg_read_all_data")
    before = written(rows)
    assert hlctl("refresh-universe", HLCTL_DATABASE_URL=as_reader).code == 5, "it cannot write"
    ran = hlctl("refresh-universe", "--dry-run", HLCTL_DATABASE_URL=as_reader)
    assert (ran.code, ran.err) == (0, "")
    assert "200 would enter" in ran.out
    assert written(rows) == before


def test_a_dry_run_makes_no_embedded_server(
    make_hlctl: Callable[..., Hlctl], exchange: sim.Exchange, tmp_path: Path
) -> None:
    """Looking is not making."""
    folder = tmp_path / "data"
    runner = make_hlctl(
        HLCTL_DATA_DIR=str(folder), HLCTL_API_URL=exchange.url, HLCTL_LEADERBOARD_URL=exchange.leaderboard_url
    )
    ran = runner("refresh-universe", "--dry-run", "--json")
    assert (ran.code, json.loads(ran.out)["error"]["code"]) == (6, "no_cluster")
    assert not folder.exists()
    assert exchange.requests == 0
