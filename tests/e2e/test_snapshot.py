"""`snapshot`: exit code, output, rows, and what the exchange saw of it."""

import json
import re
import signal
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl, M, closed_port, rows_of
from tests.e2e.oracle import Rows, assert_whole, known, served, universe

At = Callable[..., None]

CELLS = "SELECT * FROM wallet_snapshots ORDER BY snapshot_ts, wallet_id, asset"


def test_a_minute_records_what_was_served_and_nothing_else(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """Every stored cell equals the bytes in the exchange's journal, read by another reader."""
    ran = with_universe("snapshot")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("2026-01-06 20:44 UTC: success, 200 of 200 wallets, 600 cells, 100.00 % coverage, in ")
    assert ran.out.count("\n") == 1
    assert known(rows) == served(exchange)
    assert rows("SELECT count(*) FROM wallet_snapshots") == [(600,)]
    assert rows(
        "SELECT snapshot_ts, status, wallets_expected, wallets_succeeded, rows_expected, rows_written, coverage_pct,"
        " missing, attempts, requests_sent, retries, rate_limited FROM ingest_runs"
    ) == [(M, "success", 200, 200, 600, 600, Decimal("100.00"), {}, 1, 200, 0, 0)]
    assert rows("SELECT health_state, reasons FROM v_latest_health") == [("healthy", [])]
    assert rows(
        "SELECT min(observed_at) >= %s, max(observed_at) < %s FROM wallet_snapshots", M, M + timedelta(minutes=1)
    ) == [(True, True)]
    assert exchange.weight_sent == 400


def test_a_quiet_good_minute_prints_nothing(with_universe: Hlctl) -> None:
    """Cron mails whatever is printed."""
    ran = with_universe("--quiet", "snapshot")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_the_json_says_what_was_committed(with_universe: Hlctl) -> None:
    """Decimals are strings, times end in Z."""
    found = with_universe("snapshot", "--json").document
    assert (found["command"], found["error"]) == ("snapshot", None)
    result = found["result"]
    assert result["snapshot_ts"] == "2026-01-06T20:44:00Z"
    assert result["recorded"]["coverage_pct"] == "100.00"
    assert result["recorded"]["status"] == "success"
    assert result["asked"] == 200


def test_running_a_complete_minute_again_asks_nobody_and_changes_no_row(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """A timer that fires twice costs nothing."""
    with_universe("snapshot")
    before = (rows(CELLS), rows("TABLE ingest_runs"), rows("TABLE ingest_health"))
    exchange.forget()
    ran = with_universe("snapshot")
    assert (ran.code, ran.out) == (0, "2026-01-06 20:44 UTC: already complete\n")
    assert exchange.requests == 0
    assert (rows(CELLS), rows("TABLE ingest_runs"), rows("TABLE ingest_health")) == before


def test_a_second_run_fills_exactly_the_holes(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """Twenty wallets failed: twenty are asked, sixty cells change."""
    broken = universe(rows)[50:70]
    for address in broken:
        exchange.misbehave(address, sim.Fault(status=404))
    assert with_universe("snapshot").code == 3
    before = rows(CELLS)
    exchange.behave()
    first = served(exchange)
    exchange.forget()
    ran = with_universe("snapshot")
    assert ran.code == 0
    assert {entry.address for entry in exchange.served_states()} == set(broken)
    assert exchange.requests == 20
    assert sum(old != new for old, new in zip(before, rows(CELLS), strict=True)) == 60
    assert known(rows) == first | served(exchange)
    assert rows("SELECT status, attempts, requests_sent, missing FROM ingest_runs") == [("success", 2, 220, {})]


@pytest.mark.parametrize("neighbours", [True, False], ids=["neighbours in rank", "spread"])
def test_thirty_wallets_answering_500_for_ever_make_a_partial_minute(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, *, neighbours: bool
) -> None:
    """85 % is partial; what is missing is NULL with its reason and never zero."""
    members = universe(rows)
    broken = members[:30] if neighbours else members[::6][:30]
    for address in broken:
        exchange.misbehave(address, sim.Fault(status=500))
    ran = with_universe("snapshot")
    assert ran.code == 3
    assert (ran.out, ran.err) == (
        "",
        "hlctl snapshot: 20:44 UTC is recorded as partial, 170 of 200 wallets known: 30 http_5xx\n",
    )
    assert rows("SELECT status, coverage_pct, missing FROM ingest_runs") == [
        ("partial", Decimal("85.00"), {"http_5xx": 30})
    ]
    missing = rows(
        "SELECT w.address, c.missing_reason, c.position_szi FROM wallet_snapshots c JOIN wallets w USING (wallet_id)"
        " WHERE c.missing_reason IS NOT NULL"
    )
    assert len(missing) == 90
    assert {(reason, szi) for _, reason, szi in missing} == {("http_5xx", None)}
    assert {address for address, _, _ in missing} == set(broken)
    assert known(rows) == served(exchange)
    assert rows("SELECT health_state, reasons FROM v_latest_health") == [("degraded", ["last_minute_partial"])]
    assert exchange.requests <= 250, "at most a quarter more than the wallets"


def test_an_unreachable_exchange_is_one_line_and_a_recorded_failed_minute(with_universe: Hlctl, rows: Rows) -> None:
    """600 holes with their reason: a gap would say that the database was not reached."""
    before = rows("TABLE wallet_universe_current")
    ran = with_universe("snapshot", HLCTL_API_URL=f"http://127.0.0.1:{closed_port()}")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == (
        "hlctl snapshot: 20:44 UTC is recorded as failed, 0 of 200 wallets known:"
        " no usable answer: all of the first 20 wallets asked failed (20 connect)\n"
    )
    assert rows("SELECT status, coverage_pct, missing, rows_written FROM ingest_runs") == [
        ("failed", Decimal(0), {"connect": 20, "breaker": 180}, 600)
    ]
    assert rows("SELECT count(*), count(missing_reason), count(position_szi) FROM wallet_snapshots") == [(600, 600, 0)]
    assert rows("TABLE wallet_universe_current") == before
    assert ran.seconds < 15


def test_an_unreachable_database_is_known_within_seconds_and_the_exchange_is_left_alone(
    with_universe: Hlctl, exchange: sim.Exchange
) -> None:
    """Weight spent on answers that nobody can keep is wasted."""
    ran = with_universe("snapshot", HLCTL_DATABASE_URL=f"postgresql://u:TOPSECRET@127.0.0.1:{closed_port()}/x")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err == "hlctl snapshot: cannot connect to the database: connection refused\n"
    assert exchange.requests == 0
    assert ran.seconds < 5


def test_without_a_schema_the_command_to_run_is_named(make_hlctl: Callable[..., Hlctl], empty_database: str) -> None:
    """Somebody else's database is never changed unasked."""
    hlctl = make_hlctl(HLCTL_DATABASE_URL=empty_database)
    ran = hlctl("snapshot")
    assert (ran.code, ran.out, ran.err) == (
        6, "", "hlctl snapshot: the database has no hlctl schema; run `hlctl init-db`\n"
    )  # fmt: skip


def test_without_a_universe_the_command_to_run_is_named(hlctl: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """Nothing is recorded of nobody."""
    ran = hlctl("snapshot")
    assert ran.code == 6
    assert ran.err == "hlctl snapshot: no universe has been read yet; run `hlctl refresh-universe`\n"
    assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]
    assert exchange.requests == 0


def test_a_universe_nobody_refreshes_costs_no_minute_and_degrades(
    with_universe: Hlctl, at: At, exchange: sim.Exchange, rows: Rows
) -> None:
    """Yesterday's wallets are recorded as long as nobody names better ones, and the health says how old they are."""
    tomorrow = M + timedelta(days=1)
    at(minute=tomorrow)
    ran = with_universe("snapshot")
    assert (ran.code, ran.err) == (0, "")
    assert_whole(rows, exchange, tomorrow)
    health = with_universe("status", "--json").document["result"]["health"]
    assert (health["health_state"], health["reasons"]) == ("degraded", ["universe_old"])


@pytest.mark.parametrize("concurrency", [2, 5, 16])
def test_as_many_requests_are_in_flight_as_the_setting_says(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, concurrency: int
) -> None:
    """Not more, which the exchange would mind, and not fewer, which would take longer."""
    exchange.misbehave(None, sim.Fault(delay=0.05))
    ran = with_universe("snapshot", HLCTL_MAX_CONCURRENCY=str(concurrency))
    assert ran.code == 0
    assert exchange.max_in_flight == concurrency
    assert rows("SELECT count(position_szi) FROM wallet_snapshots") == [(600,)]


def test_twelve_simultaneous_starts_are_one_run(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """Eleven leave while the one is still asking, and the exchange sees the weight of one."""
    exchange.misbehave(None, sim.Fault(delay=1.0))  # eight at a time: 25 s, were it to last
    processes = [with_universe.start("snapshot", "--json") for _ in range(12)]
    while sum(process.poll() is not None for process in processes) < 11:
        assert exchange.requests < 190, "somebody is still waiting for the one that runs"
        time.sleep(0.05)
    assert [process.returncode for process in processes if process.returncode is not None] == [75] * 11
    exchange.behave()
    assert sorted(process.wait(timeout=60) for process in processes) == [0, *[75] * 11]
    loser = next(process for process in processes if process.returncode == 75)
    assert json.loads(loser.communicate()[0])["error"]["code"] == "busy"
    assert exchange.weight_sent == 400
    assert rows("SELECT attempts, requests_sent FROM ingest_runs") == [(1, 200)]


def test_who_finds_the_minute_taken_leaves_within_a_second(with_universe: Hlctl, exchange: sim.Exchange) -> None:
    """Beside a command that starts and connects as well, and has nobody to wait for: the best of three each."""
    exchange.misbehave(None, sim.Fault(delay=1.0))
    winner = with_universe.start("snapshot")
    while exchange.requests == 0:
        time.sleep(0.02)
    losers = [with_universe("snapshot") for _ in range(3)]
    assert {(ran.code, ran.out, ran.err) for ran in losers} == {(75, "", "")}, "another run does the work"
    starting = min(with_universe("status").seconds for _ in range(3))
    assert min(ran.seconds for ran in losers) - starting < 1.0
    winner.send_signal(signal.SIGTERM)
    assert winner.wait(timeout=10) == 143


def test_a_start_in_the_last_seconds_waits_for_the_next_minute(with_universe: Hlctl, at: At, rows: Rows) -> None:
    """A database clock a few seconds behind the scheduler's costs nothing."""
    at(57.0)
    ran = with_universe("snapshot")
    assert ran.code == 0
    assert ran.out.startswith("2026-01-06 20:45 UTC: success")
    assert rows("SELECT count(*) FROM wallet_snapshots WHERE observed_at < snapshot_ts") == [(0,)]


def test_align_waits_for_the_next_boundary(with_universe: Hlctl, at: At) -> None:
    """Wherever in the minute it starts."""
    at(40.0)
    began = time.monotonic()
    process = with_universe.start("snapshot", "--align")
    out, _ = process.communicate(timeout=60)
    assert out.startswith("2026-01-06 20:45 UTC: success")
    assert time.monotonic() - began > 15


def test_what_is_not_answered_by_the_deadline_is_late(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows
) -> None:
    """The run ends on time whatever the exchange does."""
    for address in universe(rows)[:20]:
        exchange.misbehave(address, sim.Fault(delay=30))
    at(34.0)  # eight seconds before the deadline, of which a busy machine needs some to start
    ran = with_universe("snapshot", HLCTL_DEADLINE="42", HLCTL_REQUEST_TIMEOUT="20", HLCTL_MAX_CONCURRENCY="32")
    assert ran.code == 3
    ((missing,),) = rows("SELECT missing FROM ingest_runs")
    assert sum(missing.values()) == 20
    assert set(missing) <= {"late", "timeout"}
    assert ran.seconds < 12


def test_a_start_after_the_deadline_records_everybody_as_late(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows
) -> None:
    """No request is sent that could not be believed."""
    at(30.0)
    ran = with_universe("snapshot", HLCTL_DEADLINE="20")
    assert ran.code == 4
    assert rows("SELECT status, missing, requests_sent FROM ingest_runs") == [("failed", {"late": 200}, 0)]
    assert exchange.requests == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_publishes_what_is_known_and_says_which_it_was(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, number: signal.Signals
) -> None:
    """Within five seconds; the rest of the minute is cancelled, not lost."""
    exchange.misbehave(None, sim.Fault(delay=0.4))
    process = with_universe.start("snapshot")
    while len(exchange.served_states()) < 16:
        time.sleep(0.02)
    began = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=10)
    assert time.monotonic() - began < 5
    assert process.returncode == 128 + number
    ((status, missing, written),) = rows("SELECT status, missing, rows_written FROM ingest_runs")
    assert (status, written) == ("failed", 600)
    assert missing["cancelled"] == 200 - rows("SELECT wallets_succeeded FROM ingest_runs")[0][0]
    assert known(rows) <= served(exchange)
    exchange.behave()
    assert with_universe("snapshot").code == 0, "the next run of the minute completes it"


def test_an_odd_answer_costs_its_wallet_only(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """Each with its own reason, none of them zero."""
    stale = int((M - timedelta(minutes=3)).timestamp() * 1000)
    position = '{"position":{"coin":"BTC","szi":"%s","leverage":{"type":"cross","value":5},"marginUsed":"1"}}'
    odd = {
        "bad_shape": b"null",
        "stale": b'{"assetPositions":[],"time":%d}' % stale,
        "truncated": b'{"assetPositions":[',
        "bad_number": b'{"assetPositions":[' + (position % "NaN").encode() + b"]}",
        "duplicate_coin": b'{"assetPositions":[' + ",".join([position % "1"] * 2).encode() + b"]}",
    }
    members = universe(rows)
    for address, body in zip(members, odd.values(), strict=False):
        exchange.misbehave(address, sim.Fault(body=body))
    exchange.misbehave(members[10], sim.Fault(status=403))
    exchange.misbehave(members[11], sim.Fault(drop=True))
    ran = with_universe("snapshot")
    assert ran.code == 0, "seven of 200 missing is still a success"
    ((missing,),) = rows("SELECT missing FROM ingest_runs")
    assert missing == {**dict.fromkeys(odd, 1), "http_4xx": 1, "reset": 1}
    assert rows(
        "SELECT count(*) FROM wallet_snapshots WHERE missing_reason IS NOT NULL AND position_szi IS NOT NULL"
    ) == [(0,)]


def test_a_bug_is_exit_70_and_the_minute_is_no_gap(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """What was sent is remembered for the next run's rate; nothing false is kept."""
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        conn.execute("ALTER TABLE wallet_snapshots ADD CHECK (position_szi IS NULL)")
    ran = with_universe("snapshot")
    assert (ran.code, ran.out) == (70, "")
    assert re.fullmatch(
        r"hlctl snapshot: hlctl has a bug: CheckViolation \(23514\) in store\.py:\d+; please report it; .*\n", ran.err
    )
    assert rows("SELECT status, missing, requests_sent, error FROM ingest_runs") == [
        ("failed", {"internal": 200}, 200, "internal: hlctl has a bug")
    ]
    assert rows("SELECT count(*), count(position_szi) FROM wallet_snapshots") == [(600, 0)]
    assert exchange.requests == 200


def test_a_minute_that_cannot_be_committed_in_time_is_missed(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows
) -> None:
    """COMMIT is sent by second 55 or not at all: whatever waits that long is rolled back."""
    (slowest,) = (address for (address,) in rows("SELECT address FROM v_universe WHERE rank = 1"))
    exchange.misbehave(slowest, sim.Fault(delay=20))
    at(40.0)
    database = with_universe.settings["HLCTL_DATABASE_URL"]
    with closing(psycopg.connect(database)) as first, closing(psycopg.connect(database)) as last:
        process = with_universe.start("snapshot", HLCTL_REQUEST_TIMEOUT="20")
        while exchange.requests < 200:
            time.sleep(0.05)
        # No single lock would be waited for so long: one holds up the first table, the other the last.
        first.execute("LOCK TABLE ingest_runs IN SHARE MODE")
        last.execute("LOCK TABLE ingest_health IN SHARE MODE")
        time.sleep(max(0.0, 53.0 - exchange.clock() % 60))
        first.rollback()
        time.sleep(max(0.0, 56.0 - exchange.clock() % 60))
        last.rollback()
        _, err = process.communicate(timeout=30)
    assert err == (
        "hlctl snapshot: the minute was over before it could be recorded;"
        " nothing to do: the next run records the next minute\n"
    )
    assert process.returncode == 4
    assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]
    assert rows("SELECT count(*) FROM wallet_snapshots") == [(0,)]


def test_a_partition_that_cannot_be_made_costs_no_minute(with_universe: Hlctl, rows: Rows) -> None:
    """The DEFAULT partition takes it; the log says so."""
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        conn.execute(
            "CREATE TABLE somebodys PARTITION OF wallet_snapshots FOR VALUES FROM ('2026-01-08') TO ('2026-01-15')"
        )
    ran = with_universe("snapshot")
    assert ran.code == 0
    assert ran.err.startswith("hlctl: WARNING: the next days' partitions could not be made: ")
    assert rows("SELECT count(position_szi) FROM wallet_snapshots") == [(600,)]


def test_a_limit_is_met_with_patience_and_never_with_a_storm(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """429 makes everybody wait; what does not fit is missing because of the limit."""
    exchange.limit = 200  # half of what the universe needs
    ran = with_universe("snapshot", HLCTL_DEADLINE="15")
    assert ran.code == 4
    assert exchange.requests <= 250
    ((missing, rate_limited),) = rows("SELECT missing, rate_limited FROM ingest_runs")
    assert rate_limited > 0
    assert set(missing) <= {"rate_limited", "late"}
    assert rows("SELECT wallets_succeeded FROM ingest_runs") == [(100,)]


def test_a_fresh_embedded_database_needs_no_preparation(
    make_hlctl: Callable[..., Hlctl], exchange: sim.Exchange, tmp_path: Any
) -> None:
    """One command makes server, schema and universe, and records the minute."""
    hlctl = make_hlctl(
        HLCTL_DATA_DIR=str(tmp_path / "data"),
        HLCTL_API_URL=exchange.url,
        HLCTL_LEADERBOARD_URL=exchange.leaderboard_url,
    )
    try:
        ran = hlctl("snapshot", "--json")
        assert ran.code == 0
        recorded = ran.document["result"]["recorded"]
        assert (recorded["status"], recorded["rows_written"], recorded["coverage_pct"]) == ("success", 600, "100.00")
        rows = rows_of(hlctl("db", "url").out.strip())
        assert known(rows) == served(exchange)
        assert rows("SELECT status, rows_written FROM ingest_runs") == [("success", 600)]
    finally:
        assert hlctl("db", "stop").code == 0
