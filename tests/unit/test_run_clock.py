"""The database's clock as a run carries it on: what a reply that comes late must not do to it."""

from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from hlctl import store
from hlctl.clock import RunClock
from hlctl.jobs import snapshot
from hlctl.store import Taken

M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)


@pytest.mark.parametrize(
    ("late", "slow"),
    [
        ([0.01], 0.01),
        ([0.4], 0.4),
        ([6.0, 0.01], 0.01),  # a reading more, and that one is prompt
        ([6.0, 2.0, 0.01], 0.01),
        ([6.0, 2.0, 2.0, 1.0], 1.0),  # nothing better is to be had
    ],
)
def test_a_late_reply_does_not_make_the_run_slow(
    monkeypatch: pytest.MonkeyPatch, late: list[float], slow: float
) -> None:
    """Each answer of the exchange is dated by this clock: a network that stalls for 6 s would date all of them back."""
    passed = 2.0  # seconds of the minute, in truth
    delays = iter(late)

    def read() -> datetime:
        nonlocal passed
        told = M + timedelta(seconds=passed)
        passed += next(delays)
        return told

    monkeypatch.setattr(snapshot, "time", SimpleNamespace(monotonic=lambda: passed))
    monkeypatch.setattr(snapshot, "RunClock", partial(RunClock, elapsed=lambda: passed))
    monkeypatch.setattr(store, "take_minute", lambda _conn, **_lead: Taken(M, read()))
    monkeypatch.setattr(store, "read_clock", lambda _conn: read())
    conn: Any = None
    taken = snapshot._take(conn, lead=timedelta())
    assert taken.clock.since(M) == pytest.approx(passed - slow)
    assert next(delays, None) is None
