"""`refresh-universe`: who is chosen, what is refused, and that a refused leaderboard changes nothing."""

import json
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl

Rows = Callable[..., list[tuple[Any, ...]]]
MEMBERS = "SELECT rank, address, month_pnl, month_roi, account_value, as_of_ts FROM v_universe ORDER BY rank"


def address(number: int) -> str:
    return f"0x{number:040x}"


def make_row(number: int, **overrides: Any) -> dict[str, Any]:
    return {
        "ethAddress": address(number),
        "accountValue": "1000.0",
        "windowPerformances": [["day", {}], ["month", {"pnl": f"{number}.5", "roi": "0.03", "vlm": "7.0"}]],
        "prize": 0,
        "displayName": None,
        **overrides,
    }


def document(*rows: Any) -> bytes:
    return json.dumps({"leaderboardRows": list(rows)}).encode()


def numbered(count: int) -> list[Any]:
    return [make_row(number) for number in range(1, count + 1)]


def best_by_month(body: bytes, size: int) -> list[tuple[str, Decimal]]:
    """Rank a leaderboard a second way: all of it in memory, sorted."""
    found = []
    for row in json.loads(body)["leaderboardRows"]:
        month = dict(row["windowPerformances"])["month"]
        found.append((row["ethAddress"].lower(), Decimal(month["pnl"])))
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:size]


def test_the_universe_is_the_leaderboards_best_by_month_pnl(hlctl: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """200 of 400 rows, which come sorted by volume."""
    ran = hlctl("refresh-universe")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(
        "universe: 200 of 200 wallets from 400 rows of stats-data (0 unreadable); 200 entered, 0 exited\n  entered 0x"
    )
    assert "  and 190 more entered\n" in ran.out
    assert rows("SELECT address, month_pnl FROM v_universe ORDER BY rank") == best_by_month(exchange.leaderboard(), 200)
    assert rows(
        "SELECT status, source, n_requested, n_received, entered_count, exited_count, rows_seen, rows_rejected, error"
        " FROM wallet_universe_runs"
    ) == [("success", "stats-data", 200, 200, 200, 0, 400, 0, None)]
    assert rows("SELECT count(*) FROM wallet_universe_members") == [(200,)]


def test_who_came_and_who_went_is_counted_stored_and_printed(hlctl: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """The ten best of each are named."""
    exchange.leaderboard_body = document(*numbered(200))
    hlctl("refresh-universe")
    exchange.leaderboard_body = document(*numbered(212))
    ran = hlctl("refresh-universe")
    assert "12 entered, 12 exited" in ran.out
    assert [line.split() for line in ran.out.splitlines() if line.startswith("  entered")] == [
        ["entered", address(number)] for number in range(212, 202, -1)
    ]
    assert "  and 2 more exited\n" in ran.out
    found = hlctl("refresh-universe", "--json").document["result"]["refresh"]
    assert (found["entered"], found["exited"], found["source"]) == ([], [], "stats-data")
    assert rows("SELECT entered_count, exited_count FROM wallet_universe_runs ORDER BY run_id") == [
        (200, 0), (12, 12), (0, 0)
    ]  # fmt: skip


def test_hostile_names_change_nothing_and_are_shown_nowhere(hlctl: Hlctl, exchange: sim.Exchange) -> None:
    """A display name is whatever a stranger typed."""
    exchange.leaderboard_body = document(
        *(make_row(number, displayName='\x1b[2J\u202e]}, {"ethAddress": [/red]') for number in range(1, 201))
    )
    ran = hlctl("refresh-universe")
    assert ran.code == 0
    assert all(odd not in ran.out + ran.err for odd in ("\x1b", "\u202e", "[/red]", "{"))


def test_the_info_api_is_the_second_source_and_is_recorded_as_such(
    hlctl: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """Who answered is told truthfully."""
    exchange.misbehave(sim.LEADERBOARD, sim.Fault(status=503))
    exchange.info_leaderboard = True
    ran = hlctl("refresh-universe")
    assert ran.code == 0
    assert "rows of info-api" in ran.out
    assert rows("SELECT status, source, error FROM wallet_universe_runs") == [("success", "info-api", None)]


BAD: dict[str, tuple[bytes | sim.Fault, str]] = {
    "answers 503": (sim.Fault(status=503), "http_5xx"),
    "answers 403 blocked": (sim.Fault(status=403), "http_4xx"),
    "closes the connection": (sim.Fault(drop=True), "reset"),
    "stops in the middle": (sim.Fault(truncate_at=5000), "truncated"),
    "is a web page": (b"<html>blocked</html>", "bad_shape"),
    "is null": (b"null", "bad_shape"),
    "has another key": (b'{"error": "unavailable"}', "bad_shape"),
    "is empty": (document(), "no_rows"),
    "has too many unreadable rows": (
        document(*numbered(800), *[make_row(n, ethAddress="0xNOPE") for n in range(100)]),
        "too_many_rejected",
    ),
    "has no month": (document(*[make_row(n, windowPerformances=[]) for n in range(1, 400)]), "no_ranking"),
    "repeats a few wallets": (document(*numbered(150), *numbered(150)), "too_many_rejected"),
    "has figures that are none": (
        document(*[make_row(n, accountValue="NaN") for n in range(1, 400)]),
        "too_many_rejected",
    ),
}


@pytest.fixture
def with_members(with_universe: Hlctl, rows: Rows) -> tuple[Hlctl, list[tuple[Any, ...]]]:
    """Return a runner and the 200 members in force."""
    members = rows(MEMBERS)
    assert len(members) == 200
    return with_universe, members


@pytest.mark.parametrize("what", BAD)
def test_a_bad_leaderboard_leaves_the_members_and_one_row_that_names_the_rule(
    with_members: tuple[Hlctl, list[tuple[Any, ...]]], exchange: sim.Exchange, rows: Rows, what: str
) -> None:
    """The universe is kept rather than guessed."""
    hlctl, members = with_members
    bad, rule = BAD[what]
    if isinstance(bad, sim.Fault):
        exchange.misbehave(sim.LEADERBOARD, bad)
    else:
        exchange.leaderboard_body = bad
    ran = hlctl("refresh-universe")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith("hlctl refresh-universe: no leaderboard to be believed, the universe of 2026-01-06 20:44")
    assert ran.err.count("\n") == 1
    assert rows(MEMBERS) == members
    ((status, source, error),) = rows(
        "SELECT status, source, error FROM wallet_universe_runs ORDER BY run_id DESC LIMIT 1"
    )
    assert (status, source) == ("failed", None)
    assert error.startswith(f"stats-data: {rule}: ")
    assert "info-api: http_4xx: the exchange answered 422" in error
    assert error in ran.err
    assert rows("SELECT count(*) FROM wallet_universe_runs WHERE status = 'failed'") == [(1,)]


def test_a_failed_first_refresh_says_that_there_is_no_universe(hlctl: Hlctl, exchange: sim.Exchange) -> None:
    """In the envelope too."""
    exchange.leaderboard_body = b"null"
    error = hlctl("refresh-universe", "--json").document["error"]
    assert error["code"] == "universe_kept"
    assert "there is no universe yet" in error["message"]


def test_two_refreshes_at_once_are_one(hlctl: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """The second leaves at once."""
    exchange.misbehave(sim.LEADERBOARD, sim.Fault(delay=5.0))
    first = hlctl.start("refresh-universe")
    while exchange.in_flight == 0:
        time.sleep(0.02)
    ran = hlctl("refresh-universe")
    assert (ran.code, ran.out, ran.err) == (75, "", ""), "another run does the work"
    ran = hlctl("--log-level", "debug", "refresh-universe")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        75, "hlctl refresh-universe: another refresh of the universe is running"
    )  # fmt: skip
    assert first.wait(timeout=20) == 0
    assert rows("SELECT count(*) FROM wallet_universe_runs") == [(1,)]


def test_addresses_in_capitals_are_the_same_wallets(hlctl: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """EIP-55 is a spelling."""
    exchange.leaderboard_body = document(*numbered(200))
    hlctl("refresh-universe")
    exchange.leaderboard_body = document(
        *(make_row(number, ethAddress="0x" + address(number)[2:].upper()) for number in range(1, 201))
    )
    assert "0 entered, 0 exited" in hlctl("refresh-universe").out
    assert rows("SELECT count(*) FROM wallets") == [(200,)]
