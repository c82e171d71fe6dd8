"""Quiet by contract (docs/logs.md): what cron would mail, minute by minute, of outages of every kind."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl, M, Ran, closed_port, on_a_terminal
from tests.e2e.oracle import Rows, universe
from tests.e2e.servers import until

At = Callable[..., None]
Minute = Callable[..., tuple[int, str]]

ALL_FAIL, SOME_FAIL = "failed", "partial"
AWAY = "hlctl snapshot: cannot connect to the database: connection refused\n"


def failed(clock: str) -> str:
    """Return what is said of a failed minute."""
    return (
        f"hlctl snapshot: {clock} UTC is recorded as failed, 0 of 200 wallets known: no usable answer:"
        " all of the first 20 wallets asked failed (20 http_4xx)\n"
    )


def partial(clock: str) -> str:
    """Return what is said of a partial minute."""
    return f"hlctl snapshot: {clock} UTC is recorded as partial, 180 of 200 wallets known: 20 http_4xx\n"


def again(words: str) -> str:
    """Return what is said of the first good minute."""
    return f"hlctl snapshot: good again: 2026-01-06 {words}\n"


@pytest.fixture
def minute(with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, tmp_path: Path) -> Minute:
    """Return a function that runs a minute on a host as the exchange and the database are: its code and stderr.

    Odd minutes run with --quiet, which changes nothing of that. On stdout there is a line of each good run, and none
    with --quiet, which is checked here.
    """
    members = universe(rows)

    def run(number: int, *, exchange_is: str = "good", database_is: str = "good", host: str = "a") -> tuple[int, str]:
        at(minute=M + timedelta(minutes=number))
        options = ("--quiet",) * (number % 2)
        exchange.behave()
        for address in {ALL_FAIL: members, SOME_FAIL: members[100:120]}.get(exchange_is, ()):
            exchange.misbehave(address, sim.Fault(status=404))
        settings = {"HLCTL_DATA_DIR": str(tmp_path / host)}
        if database_is == "away":
            settings["HLCTL_DATABASE_URL"] = f"postgresql://u@127.0.0.1:{closed_port()}/x"
        ran = with_universe(*options, "snapshot", **settings)
        assert ran.out.count("\n") == (ran.code == 0 and not options), ran
        return ran.code, ran.err

    return run


def test_an_outage_of_the_exchange_is_told_at_its_begin_and_its_end(minute: Minute, tmp_path: Path) -> None:
    """The record is the memory: each minute is another host's, and none keeps a file."""
    story = [
        ("good", 0, ""),
        ("failed", 4, failed("20:45")),
        ("failed", 4, ""),
        ("partial", 3, partial("20:47")),
        ("failed", 4, ""),
        ("partial", 3, ""),
        ("good", 0, again("20:50 UTC, after 5 minutes not recorded well since 20:45")),
        ("good", 0, ""),
        ("partial", 3, partial("20:52")),
        ("good", 0, again("20:53 UTC, after 1 minute not recorded well since 20:52")),
    ]
    for number, (exchange_is, code, err) in enumerate(story):
        assert minute(number, exchange_is=exchange_is, host=str(number)) == (code, err), number
    assert list(tmp_path.glob("*/told-*")) == []


def test_an_outage_of_the_database_is_told_at_its_begin_and_its_end(minute: Minute, tmp_path: Path) -> None:
    """The host keeps in mind that it told, and the record knows how many minutes it lacks."""
    assert minute(0) == (0, "")
    for number, err in ((1, AWAY), (2, ""), (3, "")):
        assert minute(number, database_is="away") == (5, err)
    (file,) = tmp_path.glob("a/*")
    assert (file.name, file.stat().st_mode & 0o777) == ("told-snapshot.json", 0o600)
    end = again("20:48 UTC, after 3 minutes not recorded well since 20:45, 3 of them without a row")
    assert minute(4) == (0, end)
    assert list(tmp_path.glob("a/*")) == []
    assert minute(5) == (0, "")
    assert minute(6, database_is="away") == (5, AWAY)


def test_an_outage_of_both_is_one_outage(minute: Minute) -> None:
    """Each code is told once, wherever its memory is."""
    story = [
        ("good", "good", 0, ""),
        ("failed", "good", 4, failed("20:45")),
        ("failed", "away", 5, AWAY),
        ("failed", "good", 4, ""),
        ("good", "away", 5, ""),
        ("partial", "good", 3, partial("20:49")),
        ("good", "good", 0, again("20:50 UTC, after 5 minutes not recorded well since 20:45, 2 of them without a row")),
        ("good", "away", 5, AWAY),
    ]
    for number, (exchange_is, database_is, code, err) in enumerate(story):
        assert minute(number, exchange_is=exchange_is, database_is=database_is) == (code, err), number


def test_two_hosts_tell_what_one_would(minute: Minute) -> None:
    """Who is second finds the minute complete; who sees the database gone tells it, for nobody else may."""
    assert (minute(0), minute(0, host="b")) == ((0, ""), (0, ""))
    assert minute(1, exchange_is="failed", host="b") == (4, failed("20:45"))
    assert minute(2, exchange_is="failed") == (4, "")
    assert minute(2, exchange_is="failed", host="b") == (4, "")
    for host in "ab":
        assert minute(3, database_is="away", host=host) == (5, AWAY)
    end = again("20:48 UTC, after 3 minutes not recorded well since 20:45, 1 of them without a row")
    assert (minute(4), minute(4, host="b")) == ((0, end), (0, ""))
    # The end was told by the first, so the second knows of no outage any more, and tells the next.
    assert (minute(5), minute(5, host="b")) == ((0, ""), (0, ""))
    assert minute(6, database_is="away", host="b") == (5, AWAY)


def test_a_second_attempt_that_completes_the_minute_ends_its_outage(minute: Minute) -> None:
    """And one that does not repeats nothing."""
    assert minute(0) == (0, "")
    assert minute(1, exchange_is="partial") == (3, partial("20:45"))
    assert minute(1, exchange_is="partial") == (3, "")
    assert minute(1) == (0, again("20:45 UTC, and no minute is lost"))
    assert minute(1) == (0, "")
    assert minute(2) == (0, "")


def test_a_host_that_was_off_says_when_it_is_back(minute: Minute) -> None:
    """Nobody could tell the beginning, so the end is all there is to know of the gap."""
    assert minute(0) == (0, "")
    gap = "136 minutes not recorded well since 20:45, 136 of them without a row"
    assert minute(137) == (0, again(f"23:01 UTC, after {gap}"))
    gap = "162 minutes not recorded well since 2026-01-06 23:02, 162 of them without a row"
    assert minute(300) == (0, f"hlctl snapshot: good again: 2026-01-07 01:44 UTC, after {gap}\n")


@pytest.fixture
def told(with_universe: Hlctl, tmp_path: Path) -> Callable[..., Ran]:
    """Return the runner with one data directory for all its runs."""

    def run(*args: str, **settings: str) -> Ran:
        return with_universe(*args, **{"HLCTL_DATA_DIR": str(tmp_path / "data"), **settings})

    return run


def broken(path: Path) -> None:
    """Leave half a file."""
    path.write_bytes(path.read_bytes()[:-3])


def foreign(path: Path) -> None:
    """Let others write it."""
    path.chmod(0o666)


def a_pipe(path: Path) -> None:
    """Put something there that would be waited for."""
    path.unlink()
    os.mkfifo(path, 0o600)


def a_link(path: Path) -> None:
    """Put it elsewhere."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("spoil", [broken, foreign, a_pipe, a_link, Path.unlink], ids=lambda spoil: spoil.__name__)
def test_a_memory_that_is_none_is_told_again_and_made_anew(
    told: Callable[..., Ran], tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """A word too much, and no failure."""
    away = {"HLCTL_DATABASE_URL": f"postgresql://u@127.0.0.1:{closed_port()}/x"}
    for spoils in (True, False):
        ran = told("snapshot", **away)
        assert (ran.code, ran.out, ran.err) == (5, "", AWAY)
        if spoils:
            spoil(tmp_path / "data" / "told-snapshot.json")
    ran = told("snapshot", **away)
    assert (ran.code, ran.out, ran.err) == (5, "", "")


def test_without_a_place_for_its_memory_every_run_tells(told: Callable[..., Ran], tmp_path: Path) -> None:
    """A container whose disk is read-only, say."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "data", Path("/proc/hlctl")):
        for _ in range(2):
            ran = told(
                "snapshot",
                HLCTL_DATA_DIR=str(folder),
                HLCTL_DATABASE_URL=f"postgresql://u@127.0.0.1:{closed_port()}/x",
            )
            assert (ran.code, ran.out, ran.err) == (5, "", AWAY)


@pytest.mark.parametrize(
    "command", [("verify",), ("prune", "--keep", "3d"), ("refresh-universe", "--if-due")], ids=lambda words: words[0]
)
def test_every_scheduled_command_tells_when_it_fails_and_when_it_is_good_again(
    told: Callable[..., Ran], at: At, command: tuple[str, ...]
) -> None:
    """What it did before stands in no table, so it remembers by itself, and not for another command."""
    assert told("snapshot").code == 0
    at(second=125)
    away = {"HLCTL_DATABASE_URL": f"postgresql://u@127.0.0.1:{closed_port()}/x"}
    assert told("snapshot", **away).err == AWAY
    ran = [told("--quiet", *command, **away) for _ in range(3)]
    assert [(r.code, r.out) for r in ran] == [(5, "")] * 3
    assert [r.err for r in ran] == [AWAY.replace("snapshot", command[0]), "", ""]
    broken_set_up = {**away, "HLCTL_RATE_LIMIT": "1"}
    ran = [told("--quiet", *command, **broken_set_up) for _ in range(2)]
    assert [(r.code, r.out, r.err.count("\n")) for r in ran] == [(6, "", 1), (6, "", 0)]
    ran = [told("--quiet", *command) for _ in range(2)]
    assert [(r.code, r.out) for r in ran] == [(0, "")] * 2
    assert ran[0].err.startswith(f"hlctl {command[0]}: good again, after failing since 20")
    assert (ran[0].err.count("\n"), ran[1].err) == (1, "")


def test_another_cause_under_the_same_code_is_told_too(told: Callable[..., Ran], tmp_path: Path) -> None:
    """Who mends the one would take the silence for success; the first one is not told again when it is back."""
    address = f"postgresql://u@127.0.0.1:{closed_port()}/x"
    nobody = {"HLCTL_DATABASE_URL": address}
    unknown = {"HLCTL_DATABASE_URL": f"{address}?sslmode=require&host=no-such-host.invalid"}
    stale, typo = {"HLCTL_STALE_AFTER": "1"}, {"HLCTL_BLA": "1"}
    ran = [told("snapshot", **which) for which in (nobody, unknown, nobody, stale, typo, stale, typo, unknown)]
    assert [r.code for r in ran] == [5, 5, 5, 6, 6, 6, 6, 5]
    assert [r.err.count("\n") for r in ran] == [1, 1, 0, 1, 1, 0, 0, 0], [r.err for r in ran]
    assert "the host name is unknown" in ran[1].err
    assert "HLCTL_BLA" in ran[4].err
    assert told("snapshot").code == 0
    assert list((tmp_path / "data").iterdir()) == []


def test_a_failed_refresh_is_told_once(told: Callable[..., Ran], exchange: sim.Exchange) -> None:
    """The leaderboard may be away for hours."""
    exchange.leaderboard_body = b"null"
    ran = [told("refresh-universe") for _ in range(2)]
    assert [(r.code, r.out, r.err.count("\n")) for r in ran] == [(4, "", 1), (4, "", 0)]


def test_what_verify_finds_is_an_answer_and_told_every_time(told: Callable[..., Ran], at: At, rows: Rows) -> None:
    """It is what the command is for; and it means that the command works again."""
    assert told("snapshot").code == 0
    at(second=125)
    rows("UPDATE ingest_runs SET coverage_pct = 1 RETURNING 1")
    assert told("verify", HLCTL_DATABASE_URL=f"postgresql://u@127.0.0.1:{closed_port()}/x").code == 5
    ran = [told("--quiet", "verify") for _ in range(2)]
    assert [r.code for r in ran] == [1, 1]
    assert ran[0].out == ran[1].out != ""
    assert ("good again" in ran[0].err, ran[1].err) == (True, "")


def test_what_no_time_mends_is_told_every_time(told: Callable[..., Ran]) -> None:
    """A command line that is wrong, and a bug, which somebody has to look at."""
    for _ in range(2):
        ran = told("prune")
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        ran = told("verify", "--since", "24")
        assert (ran.code, ran.err.count("\n")) == (2, 1)


def test_who_looks_on_is_told_every_time(told: Callable[..., Ran], with_universe: Hlctl, tmp_path: Path) -> None:
    """A terminal, a program that reads documents, and who asked for all there is to know."""
    away = {
        "HLCTL_DATABASE_URL": f"postgresql://u@127.0.0.1:{closed_port()}/x",
        "HLCTL_DATA_DIR": str(tmp_path / "data"),
    }
    assert told("snapshot", **away).err == AWAY
    for _ in range(2):
        assert on_a_terminal(with_universe, "snapshot", **away).out.endswith(AWAY)
        assert told("snapshot", "--json", **away).document["error"]["code"] == "database"
        assert told("--log-level", "debug", "snapshot", **away).err.endswith(AWAY)
        assert told("snapshot", **away, HLCTL_LOG_LEVEL="debug").err.endswith(AWAY)
    assert told("snapshot", **away).err == ""


def test_a_signal_is_told_and_does_not_hide_the_fault_after_it(
    told: Callable[..., Ran], with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows
) -> None:
    """The minute it ended is recorded as failed too, but nobody was told of a fault."""
    assert told("snapshot").code == 0
    at(minute=M + timedelta(minutes=1))
    exchange.misbehave(None, sim.Fault(delay=0.05))
    process = with_universe.start("snapshot")
    until(lambda: exchange.requests > 250)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, (out + err).count("\n")) == (143, 1)
    assert rows("SELECT status FROM ingest_runs ORDER BY snapshot_ts") == [("success",), ("failed",)]
    at(minute=M + timedelta(minutes=2))
    exchange.misbehave(None, sim.Fault(status=404))
    assert told("snapshot").err == failed("20:46")


@pytest.fixture
def silent_address() -> Iterator[str]:
    """Return a host and port that take connections and say nothing, not even that they are there."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for client in (first, second):
            client.setblocking(False)  # noqa: FBT003 - socket's signature
            client.connect_ex(full.getsockname())
        yield f"host=127.0.0.1,127.0.0.1,127.0.0.1 port={full.getsockname()[1]}"


def test_a_run_that_only_the_watchdog_ends_is_told_once_too(told: Callable[..., Ran], silent_address: str) -> None:
    """A database that swallows packets does so every hour."""
    ran = [told("verify", HLCTL_DATABASE_URL=f"{silent_address} user=u dbname=x") for _ in range(2)]
    assert [(r.code, r.out, r.err.count("\n")) for r in ran] == [(5, "", 1), (5, "", 0)]
