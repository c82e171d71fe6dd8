"""`status`: one judgement, the same on the screen and in JSON."""

import re
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl, M, on_a_terminal, shape, shown_in_the_readme, start_slowly

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
    assert lines[5] == "last hour         1 good (.), 0 partial (p), 0 failed (F), 0 gaps (-)"
    assert lines[6] == f"{'.':>78}"
    assert lines[7].startswith("universe          200 wallets from stats-data, ")
    assert lines[8].endswith(" 200 sent, 0 retries, 0 x 429, budget 40 %")
    assert lines[10].split() == ["asset", "long", "short", "flat", "missing", "net", "szi"]


AGES = {
    59: ("healthy", 0, ""),
    60: ("healthy", 0, ""),
    61: ("healthy", 0, ""),
    119: ("healthy", 0, ""),
    121: ("degraded", 1, "newest minute 121 s old, more than 120 s"),
    179: ("degraded", 1, "newest minute 179 s old, more than 120 s"),
    181: ("stale", 2, "last good minute 181 s old, more than 180 s; newest minute 181 s old, more than 120 s"),
}
"""Seconds since a good minute began -> state, code of --check, reasons."""


def test_the_judgement_ages_with_the_clock_alone_and_everybody_says_the_same(
    with_universe: Hlctl, set_clock: Callable[..., None], rows: Rows
) -> None:
    """View, screen, JSON and check at each step, with nothing written in between."""
    with_universe("snapshot")
    written = rows("SELECT i::text, h::text FROM ingest_runs i, ingest_health h")
    for second, (state, code, words) in AGES.items():
        set_clock(M + timedelta(seconds=second), running=False)
        ((viewed, reasons, age),) = rows("SELECT health_state, reasons, last_good_age FROM v_latest_health")
        assert (viewed, age) == (state, timedelta(seconds=second))
        screen = with_universe("status")
        assert (screen.code, screen.err) == (0, "")
        shown = " ".join(screen.out.partition("last good minute  ")[0].split())
        assert shown == f"health {state}{': ' if words else ''}{words}"
        found = with_universe("status", "--json")
        health = found.document["result"]["health"]
        assert (found.code, health["health_state"], health["reasons"]) == (0, state, reasons)
        assert health["last_good_age"] == second
        check = with_universe("status", "--check")
        assert (check.code, check.err) == (code, "")
        verdict = ("OK", "WARNING", "CRITICAL")[code]
        said = words or f"last good minute {second} s old, 100.00 % coverage"
        assert check.out.startswith(f"HLCTL {verdict} - {state}: {said} | age={second}s;120;180;0; coverage=100%;")
    assert rows("SELECT i::text, h::text FROM ingest_runs i, ingest_health h") == written


def test_the_marks_move_on_and_a_minute_is_no_gap_before_it_is_over(
    with_universe: Hlctl, set_clock: Callable[..., None]
) -> None:
    """From the 60th second on the next minute runs; it is a gap from the 120th on."""
    with_universe("snapshot")
    marks = []
    for second in (59.9, 60, 119.9, 120, 180):
        set_clock(M + timedelta(seconds=second), running=False)
        marks.append(with_universe("status").out.splitlines())
    found = [next(line.strip() for line in lines if set(line) <= set(" .-") and line) for lines in marks]
    assert found == [".", ".", ".", ".-", ".--"]


def test_a_partial_minute_says_who_is_missing_and_why(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """In words, not in codes."""
    for (address,) in rows("SELECT address FROM v_universe WHERE rank <= 20"):
        exchange.misbehave(address, sim.Fault(status=403))
    with_universe("snapshot")
    ran = with_universe("status")
    assert ran.code == 0
    assert "health            degraded: newest minute partial, 90.00 % coverage below 95 %\n" in ran.out
    assert "missing           20 http_4xx\n" in ran.out
    ran = with_universe("status", "--check")
    assert (ran.code, ran.out.partition(" | ")[0]) == (
        1,
        "HLCTL WARNING - degraded: newest minute partial, 90.00 % coverage below 95 %",
    )
    assert " coverage=90%;95:;80:;0;100 missing=20;;;0;200 " in ran.out


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
    out = with_universe("status").out
    assert f"last hour         2 good (.), 0 partial (p), 0 failed (F), 2 gaps (-)\n{'.--.':>78}\n" in out


def test_an_empty_record_is_stale(hlctl: Hlctl) -> None:
    """It could judge, so it exits 0."""
    ran = hlctl("status")
    assert ran.code == 0
    assert ran.out.startswith("health            stale: no good minute was ever recorded\n")
    assert "last hour         0 good (.), 0 partial (p), 0 failed (F), 0 gaps (-)\n" in ran.out, (
        "no gap before the first"
    )
    assert ran.out.endswith("universe          none\n")
    assert hlctl("status", "--check").code == 2


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


@pytest.mark.parametrize("columns", [80, 60])
def test_no_line_is_wider_than_the_terminal(with_universe: Hlctl, exchange: sim.Exchange, columns: int) -> None:
    """It would be broken in the middle of a word; and all of it is to be seen at once."""
    exchange.leaderboard_body = b"null"
    with_universe("refresh-universe", "--force")
    exchange.misbehave(None, sim.Fault(status=403))
    with_universe("snapshot")
    shown = on_a_terminal(with_universe, "status", columns=str(columns)).out
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert max(map(len, lines)) <= columns
    if columns == 80:
        assert len(lines) <= 23
    assert lines[0].startswith("health            stale: no good minute was ever recorded;")
    words = " ".join(" ".join(lines).split())
    assert " newest minute failed, 0.00 % coverage below 80 % " in words
    assert ", failed: no usable answer: " in words
    assert re.search(r" last refresh failed \d+ s ago: stats-data: ", words)


def test_the_json_has_the_facts_of_the_newest_minute(with_universe: Hlctl) -> None:
    """That each field is there with its type is the contract of every document (tests/contract.py)."""
    with_universe("snapshot")
    result = with_universe("status", "--json").document["result"]
    assert result["last_hour"] == [["2026-01-06T20:44:00Z", "success"]]
    assert [holder["asset"] for holder in result["holders"]] == ["HYPE", "BTC", "ETH"]
    assert all(holder["long"] + holder["short"] + holder["flat"] == 200 for holder in result["holders"])


def test_verbose_names_the_worst_wallets_the_storage_and_who_holds_a_lock(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, at: At
) -> None:
    """Where to look next; a run that goes on holds its minute."""
    ((worst,), (other,)) = rows("SELECT address FROM v_universe WHERE rank IN (7, 9) ORDER BY rank")
    exchange.misbehave(worst, sim.Fault(status=403))
    with_universe("snapshot")
    exchange.misbehave(other, sim.Fault(status=500))
    at(minute=M + timedelta(minutes=1))
    with_universe("snapshot")
    dirt = "UPDATE wallet_snapshots SET is_dirty = true, dirty_reason = 'x' WHERE wallet_id = 3 AND asset = 'BTC'"
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        conn.execute(dirt)
    at(minute=M + timedelta(minutes=2))
    end = start_slowly(with_universe, exchange, exchange.requests + 5)
    exchange.misbehave(None, sim.Fault(delay=0.5))
    ran = with_universe("status", "--verbose", "--json")
    screen = with_universe("status", "--verbose")
    exchange.behave()
    end()
    details = ran.document["result"]["details"]
    first, second, third = details["troubled_wallets"]
    assert (first["address"], first["missing"], first["minutes_dirty"]) == (worst, {"http_4xx": 2}, 0)
    assert (second["address"], second["missing"]) == (other, {"http_5xx": 1})
    assert (third["minutes_missing"], third["minutes_dirty"], third["missing"]) == (0, 2, {})
    assert details["storage"]["days"] >= 3
    assert details["storage"]["oldest_day"] == "2026-01-06T00:00:00Z"
    assert details["storage"]["strayed"] == 0
    assert details["storage"]["total_bytes"] > 100_000
    (lock,) = details["locks"]
    assert (lock["lock"], lock["minute"], lock["client"]) == ("minute", "2026-01-06T20:46:00Z", "hlctl")
    words = " ".join(screen.out.split())
    assert (
        f" worst wallets {worst} 2 min missing (2 http_4xx), 0 min dirty {other} 1 min missing (1 http_5xx), " in words
    )
    assert re.search(r" locks minute 20:46 UTC: process \d+, user \w+, client hlctl, since ", words)
    assert with_universe("status", "--json").document["result"]["details"] is None


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


def test_the_readme_shows_what_status_and_its_check_print(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, at: At
) -> None:
    """Line by line; the figures are those of their day."""
    with_universe("snapshot")
    for (address,) in rows("SELECT address FROM v_universe WHERE rank <= 14"):
        exchange.misbehave(address, sim.Fault(status=403))
    for minutes in (1, 2, 4):
        at(2.0, minute=M + timedelta(minutes=minutes))
        with_universe("snapshot")
    at(27.0, minute=M + timedelta(minutes=4))
    printed = (
        f"$ hlctl status\n{with_universe('status').out}$ hlctl status --check\n{with_universe('status', '--check').out}"
    )
    assert shape(printed) == shape(shown_in_the_readme("status output")), f"README.md must show\n{printed}"
