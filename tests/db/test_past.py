"""What the record says of an outage: sql/queries/read_past.sql, held to the same question asked minute by minute."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from hlctl import db, store
from hlctl.errors import ExitCode
from hlctl.outage import STATUS_CODES, Past

FIRST = datetime(2026, 1, 6, 23, 50, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TOLD_OTHERWISE = {"interrupted": ("failed", {"cancelled": 9}), "bug": ("failed", {"internal": 10})}
EVENTS = ("success", "partial", "failed", "gap", *TOLD_OTHERWISE)

_RUN = b"""
    INSERT INTO ingest_runs (
        run_id, snapshot_ts, status, wallets_expected, wallets_succeeded, wallets_failed, rows_expected, rows_written,
        coverage_pct, missing, universe_run_id, attempts, attempt_id, coverage_success, coverage_failed, stale_after,
        universe_stale_after, requests_sent, retries, rate_limited, sent_per_second, duration_ms, host, version,
        published_at)
    SELECT extract(epoch FROM %(minute)s::timestamptz) / 60, %(minute)s, %(status)s, 10, 9, 1, 30, 30, 90, %(missing)s,
           (SELECT max(run_id) FROM wallet_universe_runs), 1, gen_random_uuid(), 95, 80, '3 min', '12 h', 10, 0, 0,
           '{10}', 1000, 'h', '0', %(minute)s
"""


@pytest.fixture
def conn(rolled_back: db.Connection) -> db.Connection:
    """Return a connection to a record that is empty but for a refresh of the universe."""
    store.add_failed_refresh(rolled_back, n_requested=1, duration_ms=1, rows_seen=0, rows_rejected=0, error="x")
    return rolled_back


def fill(conn: db.Connection, events: Sequence[str]) -> None:
    """Record these minutes, and no others."""
    conn.execute("DELETE FROM ingest_runs")
    for number, event in enumerate(events):
        status, missing = TOLD_OTHERWISE.get(event, (event, {"timeout": 1}))
        if event != "gap":
            conn.execute(_RUN, {"minute": FIRST + number * MINUTE, "status": status, "missing": Jsonb(missing)})


def expected(events: Sequence[str]) -> Past | None:
    """Count what `events` say of the time up to the last of them, which is the minute in question."""
    recorded = [number for number, event in enumerate(events) if event != "gap"]
    if not recorded:
        return None
    good = [number for number in recorded if events[number] == "success"]
    first = good[-1] + 1 if good else recorded[0]
    before, last = events[first:-1], events[-1:] if first < len(events) else []
    told = {STATUS_CODES[event] for event in [*before, *last] if event in STATUS_CODES}
    return Past(FIRST + first * MINUTE, len(before), frozenset(told), gaps=before.count("gap"))


def past_at(conn: db.Connection, minute: datetime) -> Past | None:
    """Return all that is known of the past of a minute that was good."""
    return store.count_gaps(conn, store.read_past(conn, minute), minute)


def test_the_past_is_what_counting_minutes_says(conn: db.Connection) -> None:
    """In any order of good and bad minutes, gaps, signals and bugs, past midnight, at the minute itself too."""
    dice = random.Random(20260106)  # noqa: S311 - dice
    for _ in range(150):
        events = dice.choices(EVENTS, k=dice.randint(1, 14))
        fill(conn, events)
        assert past_at(conn, FIRST + (len(events) - 1) * MINUTE) == expected(events), events


def test_a_minute_later_than_the_one_asked_for_says_nothing(conn: db.Connection) -> None:
    """A clock that was set back must not end an outage that is to come."""
    fill(conn, ["success", "failed", "gap", "success"])
    assert past_at(conn, FIRST + 2 * MINUTE) == Past(FIRST + MINUTE, 1, frozenset({ExitCode.FAILED}))
