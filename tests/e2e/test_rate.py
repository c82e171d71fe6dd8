"""The exchange's limit: no 60 seconds see more than five sixths of it, by the exchange's own count, across runs."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl, M
from tests.e2e.oracle import Rows, after, assert_nothing_false, assert_whole, universe

At = Callable[..., None]

WALLETS = 400  # as many as the world has; 500 fit into the minute of the default limit


@pytest.fixture
def big_universe(hlctl: Hlctl, exchange: sim.Exchange) -> Hlctl:
    """Return a runner whose universe nearly fills the minute."""
    assert hlctl("refresh-universe", HLCTL_UNIVERSE_SIZE=str(WALLETS)).code == 0
    exchange.forget()
    return hlctl


def test_consecutive_minutes_share_the_limit(big_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows) -> None:
    """Each run starts earlier in its minute than the one before and waits for what that one sent; nobody is lost."""
    members = universe(rows)
    at(4.0)
    assert big_universe("snapshot").code == 0
    for number, second in ((1, 2.0), (2, 0.5), (3, 1.0)):
        minute = M + timedelta(minutes=number)
        exchange.misbehave(None, sim.Fault(status=503, times=10), sim.Fault(drop=True, times=10))
        exchange.misbehave(members[number], sim.Fault(status=429, times=1))
        at(second, minute=minute)
        ran = big_universe("snapshot")
        assert (ran.code, ran.err) == (0, "")
        assert_whole(rows, exchange, minute, wallets=WALLETS)
    assert exchange.requests == 4 * WALLETS + 3 * 21
    assert exchange.max_weight_60s <= 1000
    assert rows("SELECT sum(requests_sent), sum(rate_limited) FROM ingest_runs") == [(exchange.requests, 3)]


def test_runs_of_the_same_minute_share_the_limit(
    big_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows
) -> None:
    """What the first run sent counts for those that complete its minute, and for the minute after."""
    for address in universe(rows)[:150]:
        exchange.misbehave(address, sim.Fault(status=404))
    at(3.0)
    assert big_universe("snapshot").code == 4
    assert exchange.requests == 400
    exchange.behave()
    assert big_universe("snapshot", HLCTL_DEADLINE="12").code == 3
    assert exchange.requests == 500, "what more there was had to wait, and the deadline came first"
    assert rows("SELECT wallets_succeeded, missing FROM ingest_runs") == [(350, {"http_4xx": 50})]
    at(1.0, minute=after(M))
    assert big_universe("snapshot").code == 0
    assert exchange.max_weight_60s == 1000
    assert_nothing_false(rows, exchange)


def test_a_refresh_from_the_second_source_fits_beside_the_minutes(
    big_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows
) -> None:
    """Its 20 weight is no snapshot's; the sixth that snapshots leave alone has room for it."""
    at(4.0)
    assert big_universe("snapshot").code == 0
    exchange.misbehave(sim.LEADERBOARD, sim.Fault(status=503))
    exchange.info_leaderboard = True
    assert big_universe("refresh-universe", HLCTL_UNIVERSE_SIZE=str(WALLETS)).code == 0
    at(0.5, minute=after(M))
    assert big_universe("snapshot").code == 0
    assert_whole(rows, exchange, after(M), wallets=WALLETS)
    assert 1000 < exchange.max_weight_60s <= 1020
    assert rows("SELECT sum(rate_limited) FROM ingest_runs") == [(0,)]


def test_a_universe_too_big_for_the_minute_is_spread_over_it_and_said_so(
    big_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows
) -> None:
    """Not all that fits at once and then nothing; the whole allowance is used, minute after minute, and never more."""
    for number in range(2):
        minute = M + timedelta(minutes=number)
        at(0.5, minute=minute)
        ran = big_universe("snapshot", HLCTL_RATE_LIMIT="360", HLCTL_DEADLINE="9")
        assert ran.code == 4
        assert "400 wallets do not fit into a minute at 360 weight" in ran.err
        times = [entry.at % 60 for entry in exchange.journal if entry.at >= minute.timestamp() and entry.weight]
        sent = Counter(map(int, times))
        whole = range(min(sent) + 1, 8)  # seconds; the run may have started late, and stops in the ninth
        assert len(whole) >= 2
        assert all(11 <= sent[second] <= 19 for second in whole), sent
        ((succeeded, missing),) = rows(
            "SELECT wallets_succeeded, missing FROM ingest_runs WHERE snapshot_ts = %s", minute
        )
        assert missing == {"late": WALLETS - succeeded}
        left = 9 - min(times)
        # What the limit allows minute after minute, at a pace that is up to a tenth faster than that of a whole one.
        assert succeeded >= 0.97 * 150 * min(left / (left + 1.5), left / (0.9 * 10.5))
    assert exchange.max_weight_60s <= 300
    assert_nothing_false(rows, exchange)
