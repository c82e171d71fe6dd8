"""Data that knows when it is odd: what a minute's neighbours show, and what is wrong with a minute as a whole."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl, M
from tests.e2e.oracle import Rows, after, assert_nothing_false, assert_whole, read, universe

At = Callable[..., None]
Check = Callable[..., None]
Record = Callable[..., None]

NOBODY_HOLDS = sim.CATALOGUE["positions-none"].fault


@pytest.fixture
def record(with_universe: Hlctl, exchange: sim.Exchange, at: At) -> Record:
    """Return a function that records minute M + n, in which these wallets, or all (None), meet these faults."""

    def run(number: int, faults: Mapping[str | None, sim.Fault] | None = None) -> None:
        exchange.behave()
        for target, fault in (faults or {}).items():
            exchange.misbehave(target, fault)
        at(minute=M + timedelta(minutes=number))
        ran = with_universe("snapshot")
        assert (ran.code, ran.err) == (0, "")

    return run


def sizes(world: sim.World, address: str, minute: datetime) -> dict[str, Any]:
    """Return what a wallet holds in a minute if nothing is wrong with its answer."""
    terms = read(world.state(address, int(minute.timestamp() * 1000)))
    assert terms
    return {asset: held[0] for asset, held in terms.items() if held[0]}


def steady(world: sim.World, rows: Rows) -> str:
    """Return a wallet with a position in BTC, which holds what it holds for three minutes."""

    def held(address: str) -> list[dict[str, Any]]:
        return [sizes(world, address, M + timedelta(minutes=number)) for number in range(3)]

    return next(a for a in universe(rows) if "BTC" in held(a)[0] and held(a) == [held(a)[0]] * 3)


def status(hlctl: Hlctl) -> dict[str, Any]:
    """Return the judgement in JSON."""
    health: dict[str, Any] = hlctl("status", "--json").document["result"]["health"]
    return health


@pytest.mark.parametrize(
    ("fault", "reason", "factor"), [("positions-none", "transient_collapse", 0), ("sizes-tenfold", "szi_jump", 10)]
)
def test_a_size_that_one_minute_alone_tells_is_dirty_and_stays_in_the_record(
    world: sim.World,
    rows: Rows,
    record: Record,
    next_minute_is_good: Check,
    *,
    fault: str,
    reason: str,
    factor: int,
) -> None:
    """A trader who filters by is_dirty never sees it; whoever looks closer sees the three sizes."""
    victim = steady(world, rows)
    held = sizes(world, victim, M)
    record(0)
    record(1, {victim: sim.CATALOGUE[fault].fault})
    assert rows("SELECT count(*) FROM wallet_snapshots WHERE is_dirty") == [(0,)], "nobody can know yet"
    next_minute_is_good(after(M))
    seen = rows(
        "SELECT asset::text, position_szi, missing_reason, dirty_reason FROM v_positions"
        " WHERE address = %s AND snapshot_ts = %s AND is_dirty ORDER BY asset",
        victim,
        after(M),
    )
    assert {asset: tuple(rest) for asset, *rest in seen} == {
        asset: (factor * size, None, reason) for asset, size in held.items()
    }
    noted = rows("SELECT asset::text, details FROM snapshot_anomalies WHERE anomaly_type = %s", reason)
    assert dict(noted) == {
        asset: {"reason": reason, "before": float(size), "at": float(factor * size), "after": float(size)}
        for asset, size in held.items()
    }
    assert rows("SELECT DISTINCT suspect, anomaly_rules FROM ingest_runs") == [([], 1)]


@pytest.mark.parametrize(("fault", "reason"), [("szi-nan", "null_szi"), ("time-past", "stale_time")])
def test_an_answer_that_said_nothing_usable_is_dirty_a_minute_later(
    rows: Rows, record: Record, next_minute_is_good: Check, *, fault: str, reason: str
) -> None:
    """Apart from who did not answer, it is the exchange that is odd."""
    victim, silent = universe(rows)[:2]
    record(0, {victim: sim.CATALOGUE[fault].fault, silent: sim.Fault(status=403)})
    next_minute_is_good()
    found = rows("SELECT address, asset::text, dirty_reason FROM v_positions WHERE is_dirty ORDER BY v_positions.asset")
    assert found == [(victim, asset, reason) for asset in ("HYPE", "BTC", "ETH")]


def test_a_minute_in_which_everybody_is_flat_is_never_silently_believed(
    with_universe: Hlctl, rows: Rows, record: Record, next_minute_is_good: Check, exchange: sim.Exchange
) -> None:
    """Each answer is valid, so it is recorded; all together they are suspect, and the next minute is good."""
    record(0)
    assert status(with_universe)["health_state"] == "healthy"
    record(1, {None: NOBODY_HOLDS})
    assert rows("SELECT status, suspect FROM ingest_runs WHERE snapshot_ts = %s", after(M)) == [
        ("success", ["mass_zero"])
    ]
    health = status(with_universe)
    assert (health["health_state"], health["reasons"], health["suspect"]) == ("degraded", ["suspect"], ["mass_zero"])
    shown = with_universe("status").out.partition("last good minute")[0].split()
    assert " ".join(shown) == "health degraded: newest minute odd: half of the open positions turned flat at once"
    assert rows("SELECT health_state FROM ingest_health ORDER BY health_ts") == [("healthy",), ("degraded",)]
    held = rows("SELECT wallet_id, asset::text FROM wallet_snapshots WHERE snapshot_ts = %s AND position_szi <> 0", M)
    noted = rows("SELECT wallet_id, asset::text FROM snapshot_anomalies WHERE details->>'kind' = 'mass_zero'")
    assert sorted(noted) == sorted(held)
    assert_whole(rows, exchange, after(M))
    record(2, {None: NOBODY_HOLDS})
    assert status(with_universe)["suspect"] == ["mass_zero"], "an empty minute is no measure for the next"
    next_minute_is_good(M + timedelta(minutes=2))
    assert status(with_universe)["health_state"] == "healthy"


def test_one_wallets_answer_served_for_another_makes_the_minute_suspect(
    with_universe: Hlctl,
    world: sim.World,
    exchange: sim.Exchange,
    rows: Rows,
    record: Record,
    next_minute_is_good: Check,
) -> None:
    """Nobody can say whose it is, so both are named."""
    record(0)
    owner = steady(world, rows)
    other = next(address for address in universe(rows) if address != owner)
    pairs = [(owner, other), (other, owner)]
    record(1, {other: sim.Fault(body=lambda _: world.state(owner, int(exchange.clock() * 1000)))})
    noted = rows("""
        SELECT w.address, a.asset::text, o.address
          FROM snapshot_anomalies a
          JOIN wallets w USING (wallet_id)
          JOIN wallets o
            ON a.details = jsonb_build_object('kind', 'same_answer', 'wallets', 2, 'same_as', ARRAY[o.wallet_id])
    """)
    assert sorted(noted) == sorted(
        (one, asset, another) for one, another in pairs for asset in sizes(world, owner, after(M))
    )
    shown = with_universe("status").out.partition("last good minute")[0].split()
    assert " ".join(shown) == "health degraded: newest minute odd: two wallets gave the same answer"
    next_minute_is_good(after(M))
    assert status(with_universe)["suspect"] == []
    assert_nothing_false(rows, exchange)
