"""`status`: one judgement, the same on the screen and in JSON."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hlctl import sim
from tests.e2e.conftest import Hlctl, M, on_a_terminal

At = Callable[..., None]
Rows = Callable[..., list[tuple[Any, ...]]]


def test_a_healthy_record_says_so_with_the_facts_behind_it(with_universe: Hlctl) -> None:
    """What an operator reads first."""
    with_universe("snapshot")
    ran = with_universe("status")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].split() == ["health", "healthy"]
    assert lines[1].startswith("last good minute  2026-01-06 20:44 UTC, ")
    assert lines[3] == "coverage          100.00 %, 200 of 200 wallets, 600 cells"
    assert lines[4] == "missing           none"
    assert lines[5].startswith("universe          200 wallets from stats-data, 2026-01-06 20:44 UTC, ")
    assert lines[6] == "last hour         1 success, 0 partial, 0 failed, 0 not recorded"
    assert lines[8].split() == ["asset", "long", "short", "flat", "missing", "net", "szi"]
    assert max(map(len, lines)) <= 100


def test_the_judgement_ages_with_the_clock_alone(with_universe: Hlctl, at: At) -> None:
    """61, 121 and 181 s past a good minute, and nothing else written."""
    with_universe("snapshot")
    seen = []
    for second in (61, 121, 181):
        at(second)
        health = with_universe("status", "--json").document["result"]["health"]
        seen.append((health["health_state"], health["reasons"]))
    assert seen == [
        ("healthy", []),
        ("degraded", ["last_minute_old"]),
        ("stale", ["no_good_minute_lately", "last_minute_old"]),
    ]


def test_a_partial_minute_says_who_is_missing_and_why(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """In words, not in codes."""
    for (address,) in rows("SELECT address FROM v_universe WHERE rank <= 20"):
        exchange.misbehave(address, sim.Fault(status=403))
    with_universe("snapshot")
    ran = with_universe("status")
    assert ran.code == 0
    assert "health            degraded: the newest minute is partial\n" in ran.out
    assert "missing           20 http_4xx\n" in ran.out


def test_a_sum_of_nothing_is_unknown_and_not_zero(with_universe: Hlctl, exchange: sim.Exchange) -> None:
    """Missing is not zero, on the screen too."""
    exchange.misbehave(None, sim.Fault(status=403))
    with_universe("snapshot")
    assert [line.split() for line in with_universe("status").out.splitlines()[-3:]] == [
        [asset, "0", "0", "0", "200", "unknown"] for asset in ("HYPE", "BTC", "ETH")
    ]
    holders = with_universe("status", "--json").document["result"]["holders"]
    assert [holder["net_szi"] for holder in holders] == [None] * 3


def test_the_last_hour_counts_gaps(with_universe: Hlctl, at: At) -> None:
    """A minute nobody recorded is told apart from one that failed."""
    with_universe("snapshot")
    at(2.0, minute=M + timedelta(minutes=3))
    with_universe("snapshot")
    assert "last hour         2 success, 0 partial, 0 failed, 2 not recorded\n" in with_universe("status").out


def test_an_empty_record_is_stale(hlctl: Hlctl) -> None:
    """It could judge, so it exits 0."""
    ran = hlctl("status")
    assert ran.code == 0
    assert ran.out.startswith("health            stale: no good minute was ever recorded\n")
    assert "universe          none\n" in ran.out
    assert ran.out.endswith("last hour         0 success, 0 partial, 0 failed, 0 not recorded\n"), (
        "no gap before the first"
    )


def test_a_terminal_shows_a_progress_bar_and_colour(with_universe: Hlctl, exchange: sim.Exchange) -> None:
    """For who watches; a pipe gets neither."""
    exchange.misbehave(None, sim.Fault(delay=0.05))
    shown = on_a_terminal(with_universe, "snapshot")
    assert shown.code == 0
    assert "asking the exchange" in shown.out
    assert "200 of 200 wallets" in shown.out
    assert "\x1b[1;32mhealthy" in on_a_terminal(with_universe, "status").out
    plain = on_a_terminal(with_universe, "status", NO_COLOR="1").out
    assert "healthy" in plain
    assert "\x1b[1;32m" not in plain


def test_the_json_has_the_facts_of_the_newest_minute(with_universe: Hlctl) -> None:
    """That each field is there with its type is the contract of every document (tests/contract.py)."""
    with_universe("snapshot")
    result = with_universe("status", "--json").document["result"]
    assert result["last_hour"] == [["2026-01-06T20:44:00Z", "success"]]
    assert [holder["asset"] for holder in result["holders"]] == ["HYPE", "BTC", "ETH"]
    assert all(holder["long"] + holder["short"] + holder["flat"] == 200 for holder in result["holders"])


def test_without_a_schema_or_a_cluster_the_command_to_run_is_named(
    make_hlctl: Callable[..., Hlctl], empty_database: str, tmp_path: Any
) -> None:
    """Looking never makes anything."""
    ran = make_hlctl(HLCTL_DATABASE_URL=empty_database)("status")
    assert (ran.code, ran.out) == (6, "")
    assert "run `hlctl init-db`" in ran.err
    data = tmp_path / "data"
    ran = make_hlctl(HLCTL_DATA_DIR=str(data))("status", "--json")
    assert ran.document["error"]["code"] == "no_cluster"
    assert ran.code == 6
    assert not data.exists()
