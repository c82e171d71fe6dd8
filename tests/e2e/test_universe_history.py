"""The record tells for ever who was on the list at a minute, though the list changes while minutes are recorded."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from hlctl import sim
from hlctl.model import HLP_VAULT
from tests.e2e.conftest import Hlctl, M, start_slowly
from tests.e2e.test_refresh_universe import address, document, make_row

Rows = Callable[..., list[tuple[Any, ...]]]

SIZE = 60
LISTED = """
    SELECT address, rank FROM v_universe_history
     WHERE from_minute <= %s AND (until_minute > %s OR until_minute IS NULL) ORDER BY rank
"""
PINNED = """
    SELECT w.address, m.rank
      FROM ingest_runs r
      JOIN wallet_universe_members m ON m.run_id = r.universe_run_id
      JOIN wallets w USING (wallet_id)
     WHERE r.snapshot_ts = %s ORDER BY m.rank
"""


def best(newest: int) -> list[tuple[str, int]]:
    """Return the members, with their ranks, of a leaderboard that ends with the wallet of a number."""
    return [(address(number), rank) for rank, number in enumerate(range(newest, newest - SIZE, -1), start=1)]


def test_the_history_is_what_the_runs_pinned_while_the_list_changed(
    hlctl: Hlctl, exchange: sim.Exchange, at: Callable[..., None], rows: Rows
) -> None:
    """A refresh in a minute's first seconds, one during a running snapshot, one that is refused, one in an outage."""
    small = Hlctl({**hlctl.settings, "HLCTL_UNIVERSE_SIZE": str(SIZE)}, hlctl.home, hlctl.started)
    lists: dict[datetime, list[tuple[str, int]]] = {}

    def minute(number: int) -> datetime:
        return M + timedelta(minutes=number)

    def refresh(newest: int) -> None:
        exchange.leaderboard_body = document(*(make_row(number) for number in range(1, newest + 1)))
        assert small("refresh-universe").code == 0

    def record(number: int, newest: int) -> None:
        at(minute=minute(number))
        assert small("snapshot").code == 0
        lists[minute(number)] = best(newest)

    refresh(100)
    record(0, 100)

    at(minute=minute(1))
    end = start_slowly(small, exchange, exchange.requests + 5, HLCTL_MAX_CONCURRENCY="1")
    refresh(110)
    assert end().code == 0
    exchange.behave()
    lists[minute(1)] = best(100)
    assert rows(
        "SELECT u.as_of_ts BETWEEN r.snapshot_ts AND r.published_at FROM wallet_universe_runs u, ingest_runs r"
        " WHERE u.run_id = 2 AND r.snapshot_ts = %s",
        minute(1),
    ) == [(True,)], "the refresh landed while the minute was being recorded"

    record(2, 110)
    exchange.leaderboard_body = b"null"
    assert small("refresh-universe").code == 4
    record(3, 110)

    at(30.0, minute=minute(4))
    refresh(115)
    lists[minute(4)] = best(110)  # not recorded: by the clock
    lists[minute(5)] = best(115)
    record(6, 115)

    for at_minute, expected in lists.items():
        assert rows(LISTED, at_minute, at_minute) == expected
        pinned = rows(PINNED, at_minute)
        assert pinned in (expected, []), "the test's own list is the run's"
        recorded = {found for (found,) in rows("SELECT address FROM v_positions WHERE snapshot_ts = %s", at_minute)}
        assert recorded == {found for found, _ in pinned}
    assert rows("SELECT count(*) FROM ingest_runs") == [(5,)]
    assert rows(
        "SELECT exited_minute, array_agg(address ORDER BY rank DESC) FROM v_universe_history"
        " WHERE exited_minute IS NOT NULL GROUP BY 1 ORDER BY 1"
    ) == [
        (minute(2), [address(number) for number in range(41, 51)]),
        (minute(5), [address(number) for number in range(51, 56)]),
    ]


def test_what_the_leaderboard_says_of_a_wallet_is_stored_when_it_says_it(
    hlctl: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """HLP is known by its address; whether another wallet is a vault is not known, and no volume is a fact."""
    idle = [["month", {"pnl": "900.0", "roi": "0.03", "vlm": "0.0"}]]
    best_two = "SELECT address, month_volume, zero_volume, is_vault FROM v_universe WHERE rank <= 2 ORDER BY rank"
    others = [make_row(number) for number in range(1, 200)]
    exchange.leaderboard_body = document(make_row(0, ethAddress=HLP_VAULT, windowPerformances=idle), *others)
    assert hlctl("refresh-universe").code == 0
    assert rows(best_two) == [(HLP_VAULT, 0, True, True), (address(199), 7, False, None)]
    exchange.leaderboard_body = document(make_row(0, ethAddress=HLP_VAULT), make_row(200), *others)
    assert hlctl("refresh-universe").code == 0
    assert rows(best_two) == [(address(200), 7, False, None), (address(199), 7, False, None)]
    assert rows("SELECT count(*) FROM wallet_universe_members WHERE run_id = 1 AND is_vault AND zero_volume") == [(1,)]
