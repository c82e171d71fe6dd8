"""`snapshot` when the database goes: what a connection lost late, or with a COMMIT on its way, is told as."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hlctl.clock import RunClock
from hlctl.errors import DatabaseUnusableError, HlctlError, MinuteMissedError
from hlctl.jobs import snapshot
from hlctl.settings import Settings
from hlctl.watchdog import watchdog

M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
GONE = DatabaseUnusableError("the connection to the database was lost: simulated")


def ended(monkeypatch: pytest.MonkeyPatch, second: float, **run_is: Any) -> HlctlError:
    """Return how a run ends that finds its connection gone in a second of its minute, being what `run_is` says."""

    @contextmanager
    def opened(*_: Any, **__: Any) -> Iterator[None]:
        yield None

    def record(_conn: None, run: Any, *_: Any, **__: Any) -> None:
        run.taken = snapshot._Taken(M, RunClock(M + timedelta(seconds=second), elapsed=lambda: 0.0))
        for name, value in run_is.items():
            setattr(run, name, value)
        raise GONE

    monkeypatch.setattr(snapshot, "opened", opened)
    monkeypatch.setattr(snapshot, "_prepare", lambda *_: None)
    monkeypatch.setattr(snapshot, "_record", record)
    monkeypatch.setattr(watchdog, "end_in", lambda *_: None)
    with pytest.raises(HlctlError) as caught:
        snapshot.snapshot(Settings(), align=False, progress=lambda *_: None)
    return caught.value


def test_a_connection_found_lost_after_the_runs_end_is_a_missed_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait ends before: the process was frozen, and the server did not wait for it. The database is well."""
    assert type(ended(monkeypatch, 57.0)) is MinuteMissedError


def test_a_connection_lost_before_the_runs_end_is_the_databases_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """In second 56 the server still had to answer; nothing could be sent any more, so the run ends."""
    assert type(ended(monkeypatch, 56.9)) is DatabaseUnusableError


def test_a_database_that_was_lost_before_stays_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came first explains what followed."""
    before = DatabaseUnusableError("cannot connect to the database: simulated")
    error = ended(monkeypatch, 57.5, lost=before)
    assert (type(error), str(error)) == (DatabaseUnusableError, str(before))


def test_a_commit_without_a_reply_is_told_as_unknown_however_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have landed: to say that the minute was missed could be false."""
    error = ended(monkeypatch, 57.5, committing=True)
    assert type(error) is DatabaseUnusableError
    assert "whether 20:44 UTC was recorded is not known" in str(error)
