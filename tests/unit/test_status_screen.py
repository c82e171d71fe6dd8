"""The status screen as text: the screens in tests/unit/screens are what an operator sees.

A screen that was changed on purpose is written anew with WRITE_SCREENS=1 in the environment.
"""

import io
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlctl.answers import StatusDetails, StatusResult
from hlctl.errors import DatabaseUnusableError, ExitCode, Verdict
from hlctl.facts import Health, HeldLock, Holders, RefreshRun, Storage, Thresholds, Traffic, TroubledWallet
from hlctl.model import Asset, MissingReason, Recorded, Universe
from hlctl.render import check, text
from hlctl.render.screen import wrapped
from hlctl.render.status import REASONS, age_words, reasons_of

SCREENS = Path(__file__).parent / "screens"
NOW = datetime(2026, 1, 6, 20, 44, 28, 300_000, tzinfo=UTC)
M = NOW.replace(second=0, microsecond=0)


def hour(marks: str) -> list[tuple[datetime, str | None]]:
    """Return the minutes up to M as one character each says."""
    words = {".": "success", "p": "partial", "F": "failed", "-": None}
    return [(M - timedelta(minutes=len(marks) - 1 - n), words[mark]) for n, mark in enumerate(marks)]


HEALTHY = StatusResult(
    health=Health(
        health_state="healthy",
        reasons=[],
        judged_at=NOW,
        last_snapshot_ts=M,
        last_status="success",
        coverage_pct=Decimal("99.50"),
        last_snapshot_age=NOW - M,
        last_good_snapshot_ts=M,
        last_good_age=NOW - M,
        universe_as_of_ts=NOW - timedelta(hours=3, minutes=7),
        universe_age=timedelta(hours=3, minutes=7),
        suspect=[],
    ),
    run=Recorded(
        snapshot_ts=M,
        status="success",
        wallets_expected=200,
        wallets_succeeded=199,
        rows_expected=600,
        rows_written=600,
        coverage_pct=Decimal("99.50"),
        missing={"timeout": 1},
        attempts=1,
        universe_run_id=7,
    ),
    universe=Universe(
        run_id=7,
        as_of_ts=NOW - timedelta(hours=3, minutes=7),
        source="stats-data",
        entered_count=4,
        exited_count=4,
        churn_warning_count=0,
        size=200,
    ),
    last_hour=hour("." * 41 + "p" + "." * 9 + "F-" + "." * 7),
    holders=[
        Holders(asset=asset.value, long=28, short=46, flat=125, missing=1, net_szi=Decimal("-3548731.67"))
        for asset in Asset
    ],
    thresholds=Thresholds(
        coverage_success=Decimal("95.00"),
        coverage_failed=Decimal("80.00"),
        stale_after=timedelta(seconds=180),
        universe_stale_after=timedelta(hours=12),
    ),
    transport=Traffic(
        duration_ms=24_312,
        skew_ms=23_904,
        clock_offset_ms=-12,
        requests_sent=203,
        retries=3,
        rate_limited=1,
        weight=406,
        budget=1000,
        error=None,
    ),
    last_refresh=RefreshRun(
        as_of_ts=NOW - timedelta(hours=3, minutes=7),
        status="success",
        n_received=200,
        churn_warning_count=0,
        error=None,
    ),
)

LONG = (
    "\x1b[31mthe exchange said\n " + "very much that nobody wants to read in the middle of the night " * 9 + "x" * 300
)
AGE = timedelta(days=413, hours=5)
ALL_BAD = StatusResult(
    health=replace(
        HEALTHY.health,
        health_state="stale",
        reasons=["no_good_minute_lately", "last_minute_failed", "last_minute_old", "universe_old", "suspect"],
        last_status="failed",
        coverage_pct=Decimal("12.34"),
        last_snapshot_ts=NOW - AGE,
        last_snapshot_age=AGE,
        last_good_snapshot_ts=NOW - AGE - timedelta(days=9),
        last_good_age=AGE + timedelta(days=9),
        universe_as_of_ts=NOW - AGE - timedelta(days=99),
        universe_age=AGE + timedelta(days=99),
        suspect=["mass_zero", "same_answer"],
    ),
    run=Recorded(
        snapshot_ts=M - AGE,
        status="failed",
        wallets_expected=100_000,
        wallets_succeeded=12_340,
        rows_expected=300_000,
        rows_written=300_000,
        coverage_pct=Decimal("12.34"),
        missing={reason.value: 4600 + n for n, reason in enumerate(MissingReason)},
        attempts=32_767,
        universe_run_id=2_000_000,
    ),
    universe=Universe(
        run_id=2_000_000,
        as_of_ts=NOW - AGE - timedelta(days=99),
        source="stats-data",
        entered_count=100_000,
        exited_count=100_000,
        churn_warning_count=2,
        size=100_000,
    ),
    last_hour=hour("Fp.-" * 15),
    holders=[
        Holders(
            asset=asset.value, long=99_999, short=99_999, flat=99_999, missing=99_999, net_szi=Decimal(-9 * 10**19) / 7
        )
        for asset in Asset
    ],
    thresholds=HEALTHY.thresholds,
    transport=Traffic(
        duration_ms=2**31 - 1,
        skew_ms=2**31 - 1,
        clock_offset_ms=None,
        requests_sent=125_000,
        retries=25_000,
        rate_limited=99_999,
        weight=250_000,
        budget=1000,
        error=LONG,
    ),
    last_refresh=RefreshRun(
        as_of_ts=NOW - timedelta(days=40), status="failed", n_received=0, churn_warning_count=3, error=LONG
    ),
)
DETAILS = StatusDetails(
    troubled_wallets=[
        TroubledWallet(
            address=f"0x{n:040x}",
            missing={reason.value: 3 for reason in list(MissingReason)[: 4 * n]},
            minutes_missing=12 * n,
            minutes_dirty=n,
        )
        for n in range(5, 0, -1)
    ],
    storage=Storage(
        total_bytes=123_456_789_012,
        days=413,
        oldest_day=datetime(2025, 1, 1, tzinfo=UTC),
        newest_day=datetime(2026, 1, 8, tzinfo=UTC),
        days_ahead=2,
        strayed=1234,
    ),
    locks=[
        HeldLock(lock="refresh", minute=None, pid=77, user=None, client=None, since=None),
        HeldLock(lock="minute", minute=M, pid=123_456, user="hlctl_writer", client="2001:db8::1234", since=NOW),
    ],
)
RESULTS = {
    "healthy": HEALTHY,
    "worst": ALL_BAD,
    "verbose": replace(HEALTHY, details=DETAILS),
    "verbose-worst": replace(ALL_BAD, details=DETAILS),
}

Show = Callable[[StatusResult, int], str]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Return a function that returns what is printed in so many columns."""

    def shown(result: StatusResult, columns: int, stream: io.StringIO | None = None) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        stream = stream or io.StringIO()
        text.show(result, stream)
        return stream.getvalue()

    return shown


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("name", RESULTS)
def test_the_screen_is_the_one_that_is_kept(show: Show, name: str, columns: int) -> None:
    """Whoever changes it sees what an operator will see."""
    file = SCREENS / f"{name}-{columns}.txt"
    shown = show(RESULTS[name], columns)
    if os.environ.get("WRITE_SCREENS"):
        file.write_text(shown)
    assert shown == file.read_text()


@pytest.mark.parametrize("name", RESULTS)
def test_no_line_is_longer_than_the_screen_and_the_worst_one_fits_24_lines(show: Show, name: str) -> None:
    """A terminal would break it in the middle of a word; and the first line, the judgement, must not scroll away."""
    for columns in (80, 60):
        lines = show(RESULTS[name], columns).splitlines()
        assert max(map(len, lines)) <= columns
        assert all(line.isprintable() for line in lines)
    if "verbose" not in name:
        assert len(show(RESULTS[name], 80).splitlines()) <= 23, "a prompt follows"


@pytest.mark.parametrize("name", RESULTS)
def test_a_terminal_shows_the_same_characters(show: Any, name: str) -> None:
    """Colour is all it adds."""
    for columns in (80, 60):
        coloured = show(RESULTS[name], columns, Terminal())
        plain = re.sub(r"\x1b\[[\d;]*m", "", coloured)
        assert [line.rstrip() for line in plain.splitlines()] == show(RESULTS[name], columns).splitlines()


def test_a_terminal_colours_the_judgement_and_the_marks(show: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves it to NO_COLOR."""
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = show(ALL_BAD, 80, Terminal())
    assert "\x1b[1;31mstale: last good minute 422 d" in shown
    assert "\x1b[1;31mF\x1b[0m\x1b[33mp\x1b[0m\x1b[32m.\x1b[0m\x1b[31m-\x1b[0m" in shown
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;31m" not in show(ALL_BAD, 80, Terminal())


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), max_size=30)), st.integers(20, 80))
def test_wrapping_loses_no_word_and_exceeds_no_line(words: list[str], room: int) -> None:
    """Only a word that is longer than a line is cut, and shows it."""
    lines = wrapped(" ".join(words), room)
    assert all(len(line) <= room for line in lines)
    whole = " ".join(words).split()
    found = " ".join(lines).split()
    assert len(found) == len(whole)
    assert all(a == b or (len(b) > room and a.endswith("...")) for a, b in zip(found, whole, strict=True))


def test_a_figure_stays_with_what_it_counts() -> None:
    """`0` at the end of a line and `gaps` on the next is what nobody can read at a glance."""
    assert wrapped("1 good (.), 0 gaps (-)", 17) == ["1 good (.),", "0 gaps (-)"]
    assert wrapped("1 2 3 4 5 6 7 8 9 10 11 12", 20) == ["1 2 3 4 5 6 7 8 9 10", "11 12"]


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=180), "180 s"),
        (timedelta(seconds=180, microseconds=1), "181 s"),
        (timedelta(seconds=299, microseconds=1), "5 min"),
        (timedelta(minutes=60, seconds=1), "61 min"),
        (timedelta(hours=12), "12 h"),
        (timedelta(hours=12, seconds=1), "12 h 1 min"),
        (timedelta(days=2, seconds=-1), "48 h"),
        (timedelta(days=30, seconds=1), "30 d 1 h"),
        (timedelta(seconds=-5), "-5 s"),
        (None, "unknown"),
    ],
)
def test_an_age_that_is_more_than_a_limit_reads_as_more(age: timedelta | None, words: str) -> None:
    """`180 s old, more than 180 s` is no reason."""
    assert age_words(age) == words


@given(st.integers(1, 40), st.sampled_from([1, 60, 3600, 86_400]), st.integers(1, 10**6))
def test_no_age_reads_like_the_limit_it_exceeds(limit: int, unit: int, microseconds: int) -> None:
    """Whatever the limit is."""
    threshold = timedelta(seconds=limit * unit)
    assert age_words(threshold + timedelta(microseconds=microseconds)) != age_words(threshold)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_its_figures(reason: str) -> None:
    """In words, without a brace or a code left over."""
    (words,) = reasons_of(replace(ALL_BAD, health=replace(ALL_BAD.health, reasons=[reason])))
    assert not re.search(r"[{}_]|None", words)


def test_a_reason_nobody_has_words_for_is_shown_as_it_is(show: Show) -> None:
    """The view may be newer than this hlctl."""
    odd = replace(HEALTHY, health=replace(HEALTHY.health, health_state="odd", reasons=["sun{spots}\x1b"]))
    assert show(odd, 80).startswith("health            odd: sun{spots}?\n")
    assert odd.verdict is Verdict.UNKNOWN


def test_cells_that_are_not_there_any_more_are_told(show: Show) -> None:
    """The run row alone would say that all is well while its day's partition is detached, say."""
    assert "199 of 200 wallets, 0 of 600 cells\n" in show(replace(HEALTHY, holders=[]), 80)


def test_a_minute_from_the_future_is_no_age(show: Show) -> None:
    """The clock was set back; nor is a refresh."""
    health = replace(HEALTHY.health, last_good_age=timedelta(minutes=-9), universe_age=timedelta(hours=-26))
    ahead = show(replace(HEALTHY, health=health), 80)
    assert "last good minute  2026-01-06 20:44 UTC, 9 min ahead of the clock\n" in ahead
    assert "stats-data, 26 h ahead of the clock;" in ahead


@pytest.mark.parametrize(
    ("budget", "words"),
    [(1000, "budget 40 %"), (0, "no limit"), (None, "limit unknown"), (100, "budget 406 %")],
)
def test_requests_are_weighed_against_the_budget(show: Show, budget: int | None, words: str) -> None:
    """There may be no limit, and old rows did not write it down."""
    assert HEALTHY.transport
    shown = show(replace(HEALTHY, transport=replace(HEALTHY.transport, budget=budget)), 80)
    assert f" 1 x 429, {words} asset " in " ".join(shown.split())


# ---- --check

PERFDATA = re.compile(r"(?:[a-z_]+=(?:U|-?\d+(?:\.\d+)?(?:s|%)?)(?:;(?:[\d.]+:?)?){0,2}(?:;[\d.]*){0,2} ?)+", re.ASCII)
"""label=value[unit];[warn];[crit];[min];[max], with ranges of one number."""


@pytest.mark.parametrize("name", RESULTS)
def test_a_check_is_one_line_with_one_bar_and_figures(name: str) -> None:
    """Whatever a stranger's words are."""
    line = check.line(RESULTS[name], None)
    assert line.isprintable()
    words, bar, figures = line.partition(" | ")
    assert (bar, "|" in words, "|" in figures) == (" | ", False, False)
    assert PERFDATA.fullmatch(figures), figures


def test_the_figures_of_a_check() -> None:
    """With the thresholds that the newest run wrote down."""
    assert check.line(HEALTHY, None) == (
        "HLCTL OK - healthy: last good minute 29 s old, 99.50 % coverage"
        " | age=29s;120;180;0; coverage=99.5%;95:;80:;0;100 missing=1;;;0;200 universe_age=11220s;43200;;0;"
    )


def test_a_check_of_an_empty_record_has_no_figures_to_give() -> None:
    """U, and not zero."""
    health = replace(
        HEALTHY.health, health_state="stale", reasons=["no_good_minute"], last_good_age=None, universe_age=None
    )
    empty = replace(HEALTHY, health=health, run=None, thresholds=None, transport=None, universe=None)
    assert check.line(empty, None) == (
        "HLCTL CRITICAL - stale: no good minute was ever recorded | age=U coverage=U missing=U universe_age=U"
    )


def test_what_cannot_be_judged_is_unknown_without_a_bar() -> None:
    """A message with one would be read as figures."""
    error = DatabaseUnusableError("a | b\nc")
    assert check.line(None, error) == "HLCTL UNKNOWN - a / b?c"


@pytest.mark.parametrize(("state", "code"), [("healthy", 0), ("degraded", 1), ("stale", 2)])
def test_a_checks_code_is_the_judges_word(state: str, code: int) -> None:
    """One judge; and without --check it is 0 whenever it could judge."""
    result = replace(HEALTHY, health=replace(HEALTHY.health, health_state=state))
    assert (result.verdict, result.exit_code) == (code, ExitCode.OK)
