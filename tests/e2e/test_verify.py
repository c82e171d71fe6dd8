"""`verify`: what hlctl records passes its own audit, and what somebody changed afterwards does not."""

import socket
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl, M, on_a_terminal, start_slowly
from tests.e2e.oracle import Rows, after

At = Callable[..., None]


def change(hlctl: Hlctl, *statements: str) -> None:
    """Change the record behind hlctl's back."""
    with closing(psycopg.connect(hlctl.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def test_a_minute_recorded_well_passes_every_check(with_universe: Hlctl, at: At) -> None:
    """And says which checks these were."""
    assert with_universe("snapshot").code == 0
    at(120)
    ran = with_universe("verify")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[:3] == [
        "verdict   every check holds",
        "minutes   2026-01-06 20:44 UTC",
        "recorded  1 success, 0 partial, 0 failed, 0 not at all",
    ]
    assert len(lines) > 20
    assert max(map(len, lines)) <= 80
    assert with_universe("verify", "--minute", "2026-01-06T21:44+01:00").out == ran.out
    quiet = with_universe("--quiet", "verify")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_a_record_of_many_faults_is_a_true_record(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows
) -> None:
    """Partial, failed, cut off by the breaker, re-run, rate-limited, interrupted, with a lost connection and a gap."""
    addresses = [address for (address,) in rows("SELECT address FROM v_universe ORDER BY rank")]
    minute = M
    codes = []

    def next_minute() -> None:
        nonlocal minute
        exchange.behave()
        minute = after(minute)
        at(minute=minute)

    def record(faults: dict[str | None, sim.Fault], *, again: bool, **settings: str) -> None:
        for address, fault in faults.items():
            exchange.misbehave(address, fault)
        codes.append(with_universe("snapshot", HLCTL_DEADLINE="9", **settings).code)
        exchange.behave()
        if again:  # what was missing is asked for once more, in the same minute
            codes.append(with_universe("snapshot").code)
        next_minute()

    everything = [misdeed.fault for misdeed in sim.CATALOGUE.values() if misdeed.fault.status != 429]
    record(dict(zip(addresses, everything, strict=False)), again=True, HLCTL_RATE_LIMIT="600")
    record({address: sim.Fault(status=403) for address in addresses[:25]}, again=False)
    record({None: sim.Fault(drop=True, reset=True)}, again=False)
    record({None: sim.Fault(status=429)}, again=False)
    record({address: sim.Fault(truncate_at=100) for address in addresses[:60]}, again=True)
    assert codes == [4, 0, 3, 4, 4, 4, 0]
    end = start_slowly(with_universe, exchange, 50)
    change(
        with_universe,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'hlctl'",
    )
    assert end().code == 0
    next_minute()
    next_minute()  # nobody records the one between
    assert with_universe("refresh-universe").code == 0
    served = exchange.served_states()
    exchange.misbehave(None, sim.Fault(delay=0.4))
    process = with_universe.start("snapshot")
    while len(exchange.served_states()) < len(served) + 16:
        time.sleep(0.02)
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143
    next_minute()
    assert with_universe("snapshot").code == 0
    at(120, minute=minute)
    ran = with_universe("verify", "--since", "1h")
    assert (ran.code, ran.err) == (0, ""), ran.out
    result = with_universe("verify", "--since", "1h", "--json").document["result"]
    assert sum(check["violations"] for check in result["checks"]) == 0
    assert result["clipped"][0]["reason"] == "before_record"
    assert result["gap_minutes"] == 1
    assert (result["minutes"], result["runs"]["recorded"]) == (9, 8)


@pytest.mark.parametrize("as_json", [False, True])
def test_what_somebody_changed_is_found_and_told_by_address(
    with_universe: Hlctl,
    at: At,
    rows: Rows,
    as_json: bool,  # noqa: FBT001 - a parameter
) -> None:
    """With what was expected, for people and for programs; --quiet does not hide it."""
    assert with_universe("snapshot").code == 0
    ((address, wallet_id),) = rows("SELECT address, wallet_id FROM v_universe WHERE rank = 7")
    statement = "DELETE FROM wallet_snapshots WHERE asset = 'BTC' AND wallet_id = "
    change(with_universe, f"{statement}{wallet_id}")
    at(120)
    if as_json:
        checks = {c["id"]: c for c in with_universe("verify", "--json").document["result"]["checks"]}
        assert {name for name, check in checks.items() if check["violations"]} == {"rows", "write_once"}
        (example,) = checks["rows"]["examples"]
        assert (example["address"], example["found"]) == (address, "599 rows, 600 expected")
        return
    ran = with_universe("--quiet", "verify")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.startswith("verdict   2 of ")
    assert f"rows: 1 found\n  2026-01-06 20:44 UTC: 599 rows, 600 expected\n    {address}\n" in ran.out


def test_a_gap_is_exit_1_for_its_minute_and_none_for_a_range(with_universe: Hlctl, at: At) -> None:
    """It is no untruth, but it is not what was asked for."""
    assert with_universe("snapshot").code == 0
    later = M + timedelta(minutes=3)
    at(minute=later)
    assert with_universe("snapshot").code == 0
    at(120, minute=later)
    ran = with_universe("verify", "--minute", "2026-01-06T20:45Z")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.splitlines()[0] == "verdict   every check holds; the minute was not recorded"
    ran = with_universe("verify", "--since", "4m")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "verdict   every check holds; 1 gap"
    assert ran.out.endswith("\nnot recorded:\n  2026-01-06 20:45 UTC, 2 minutes: nothing is known of the cause\n")
    assert with_universe("verify", "--from", "2026-01-06T20:44Z", "--to", "2026-01-06T20:45Z").code == 0


REFUSED = {
    ("--minute", "2026-01-06T20:45Z"): "2026-01-06 20:45 UTC is not final yet: it is at 20:47:00",
    ("--minute", "2026-01-06T20:47Z"): "2026-01-06 20:47 UTC is in the future",
    (
        "--minute",
        "2026-01-06T20:43Z",
    ): "2026-01-06 20:43 UTC is before the record, which begins at 2026-01-06 20:44 UTC",
    ("--minute", "20:44"): "--minute '20:44' is no moment; write it as 2026-01-06T20:44Z",
    ("--minute", "2026-01-06T20:44"): (
        "--minute '2026-01-06T20:44' has no zone; append Z for UTC, or an offset as in +01:00"
    ),
    ("--since", "24"): "--since '24' has no unit; append m, h or d: minutes, hours, days",
    ("--from", "2026-01-06T20:45Z"): (
        "the range has no final minute yet: the newest final one is 2026-01-06 20:44 UTC"
    ),
    ("--to", "2026-01-06T20:44Z"): "the range ends before the record, which begins at 2026-01-06 20:44 UTC",
    ("--minute", "2026-01-06T20:44Z", "--since", "1h"): (
        "--minute, --since and --from/--to exclude each other; see `hlctl verify --help`"
    ),
}


def test_a_minute_that_cannot_be_verified_is_one_line(with_universe: Hlctl, at: At) -> None:
    """Which of the reasons it is decides what to do."""
    ran = with_universe("verify")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "hlctl verify: nothing is recorded yet; run `hlctl snapshot` every minute\n"
    assert with_universe("snapshot").code == 0
    ran = with_universe("verify")
    assert ran.err == "hlctl verify: no recorded minute is final yet: 2026-01-06 20:44 UTC is at 20:46:00\n"
    at(122)
    for args, words in REFUSED.items():
        ran = with_universe("verify", *args)
        assert (ran.code, ran.out, ran.err) == (2, "", f"hlctl verify: {words}\n")
    change(with_universe, "UPDATE ingest_runs SET pruned_at = hlctl_clock()")
    for args in ((), ("--since", "1h")):
        ran = with_universe("verify", *args)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert "was pruned on 2026-01-06: its cells were dropped on purpose" in ran.err


def test_a_database_that_swallows_packets_is_known_in_seconds(with_universe: Hlctl) -> None:
    """One line and exit 5: whoever asks wants to hear that there is no answer."""
    start = with_universe("verify", HLCTL_DATABASE_URL="host=127.0.0.1 port=1 user=u dbname=x").seconds
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (first, second):
            client.setblocking(False)  # noqa: FBT003 - socket's signature
            client.connect_ex(full.getsockname())
        for host in ("127.0.0.1", "127.0.0.1,127.0.0.1,127.0.0.1"):
            url = f"host={host} port={full.getsockname()[1]} user=u dbname=x"
            ran = with_universe("verify", HLCTL_DATABASE_URL=url)
            assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1)
            assert ran.seconds < 5 + start


def test_a_terminal_shows_how_far_it_is_and_then_the_answer_alone(with_universe: Hlctl, at: At) -> None:
    """A day takes seconds."""
    assert with_universe("snapshot").code == 0
    at(120)
    ran = on_a_terminal(with_universe, "verify")
    assert ran.code == 0
    assert "every check holds" in ran.out
    assert "asking the record" not in ran.out.rpartition("every check holds")[2]
