"""Clocks that lie: the host's, the database's, the exchange's; and starts that come late."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl, M, start_slowly
from tests.e2e.oracle import Rows, after, assert_whole, known
from tests.e2e.test_process import meddled

At = Callable[..., None]
NextMinute = Callable[..., None]

HOUR = timedelta(hours=1)
HEALTH = "SELECT health_state, reasons, last_snapshot_ts FROM v_latest_health"
EVERYTHING = ("TABLE wallet_snapshots ORDER BY 1, 3, 4", "TABLE ingest_runs", "TABLE ingest_health ORDER BY 1")


# ---- the host's


def skewed(hlctl: Hlctl, clock: Path, seconds: int) -> Hlctl:
    """Return a runner on a host whose clock is off, and steps when its file is written anew."""
    clock.write_text(f"{seconds}")
    return meddled(
        hlctl,
        "import time; from pathlib import Path; right = time.time;"
        f"time.time = lambda: right() + int(Path({str(clock)!r}).read_text() or 0)",
    )


@pytest.mark.parametrize("step", [-86_400, 20])
def test_a_step_of_the_hosts_clock_changes_nothing(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    rows: Rows,
    tmp_path: Path,
    next_minute_is_good: NextMinute,
    step: int,
) -> None:
    """The database says which minute it is, once, and from then on only elapsed time counts."""
    clock = tmp_path / "clock"
    end = start_slowly(skewed(with_universe, clock, 0), exchange, 50)
    clock.write_text(f"{step}")
    ran = end()
    assert (ran.code, ran.err) == (0, "")
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_hosts_whose_clocks_differ_record_the_same_minute(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, tmp_path: Path, next_minute_is_good: NextMinute
) -> None:
    """One is a day behind, one 20 s ahead: both ask the database."""
    slow, fast = (skewed(with_universe, tmp_path / f"{seconds}", seconds) for seconds in (-86_400, 20))
    assert fast("snapshot").code == 0
    ran = slow("snapshot")
    assert (ran.code, ran.out) == (0, "2026-01-06 20:44 UTC: already complete\n")
    assert exchange.requests == 200
    assert_whole(rows, exchange, M)
    next_minute_is_good()


# ---- the database's


def test_a_database_clock_that_is_set_back_finds_its_minutes_complete(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """Ninety seconds: what was recorded stays, health does not go back, and nobody is asked again."""
    for minute in (M, after(M)):
        at(minute=minute)
        assert with_universe("snapshot").code == 0
    before = [rows(table) for table in EVERYTHING]
    at(32.0, minute=M)
    ran = with_universe("snapshot")
    assert (ran.code, ran.out) == (0, "2026-01-06 20:44 UTC: already complete\n")
    assert exchange.requests == 400
    assert [rows(table) for table in EVERYTHING] == before
    assert rows(HEALTH) == [("healthy", [], M)]
    next_minute_is_good(after(M))


def test_a_database_clock_an_hour_ahead_records_no_value_and_its_minutes_are_filled_when_they_come(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """The exchange's clock contradicts it. Once it is right again, what has not begun is not judged."""
    assert with_universe("snapshot").code == 0
    honest = exchange.clock
    at(minute=M + HOUR)
    exchange.clock = honest
    assert with_universe("snapshot").code == 4
    assert rows("SELECT status, missing FROM ingest_runs WHERE snapshot_ts = %s", M + HOUR) == [
        ("failed", {"stale": 20, "breaker": 180})
    ]
    assert rows(HEALTH) == [("stale", ["no_good_minute_lately", "last_minute_failed"], M + HOUR)]
    at(minute=after(M))
    assert with_universe("snapshot").code == 0
    assert_whole(rows, exchange, after(M))
    assert rows(HEALTH) == [("healthy", [], after(M))]
    assert with_universe("status", "--json").document["result"]["run"]["snapshot_ts"] == "2026-01-06T20:45:00Z"
    at(120, minute=after(M))
    ran = with_universe("verify", "--since", "1d")
    assert (ran.code, ran.err) == (0, ""), ran.out
    at(minute=M + HOUR)
    assert with_universe("snapshot").code == 0
    assert_whole(rows, exchange, M + HOUR)
    assert rows(HEALTH) == [("healthy", [], M + HOUR)]
    assert {row[0] for row in known(rows)} == {M, after(M), M + HOUR}
    next_minute_is_good(M + HOUR)


# ---- the exchange's


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_an_exchange_whose_clock_is_wrong_is_not_believed_and_the_record_says_by_how_much(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: NextMinute, seconds: int
) -> None:
    """Its answers would be facts of another minute."""
    right = exchange.clock
    exchange.clock = lambda: right() + seconds
    ran = with_universe("snapshot")
    assert (ran.code, ran.err.count("\n")) == (4, 1)
    ((missing, offset),) = rows("SELECT missing, clock_offset_ms FROM ingest_runs")
    assert missing == {"stale": 20, "breaker": 180}
    assert abs(offset - 1000 * seconds) < 5000
    exchange.clock = right
    next_minute_is_good()


# ---- late starts


@pytest.mark.parametrize("second", [5.0, 40.0])
def test_a_start_that_comes_late_records_its_own_minute_whole(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, next_minute_is_good: NextMinute, second: float
) -> None:
    """A busy machine, or a timer that is not exact."""
    at(second)
    ran = with_universe("snapshot")
    assert (ran.code, ran.err) == (0, "")
    assert_whole(rows, exchange, M)
    next_minute_is_good()
