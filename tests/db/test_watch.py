"""`status --watch` for hours: nothing is left of a look, and none holds up the end."""

import io
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from hlctl import db, watch
from hlctl.errors import DatabaseUnusableError
from hlctl.jobs import status
from hlctl.settings import Settings


class Tired(io.StringIO):
    """A stream whose reader goes away after so many screens."""

    def __init__(self, screens: int) -> None:
        super().__init__()
        self.left = screens

    def flush(self) -> None:
        """Count a screen."""
        self.left -= 1
        if self.left < 0:
            raise BrokenPipeError


def open_files() -> int:
    """Return how many there are."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_hundred_looks_leave_nothing_behind(database: str, conn: db.Connection) -> None:
    """Neither a connection nor a file nor a thread nor a transaction."""
    look = status.looks(lambda: Settings(database_url=SecretStr(database)), verbose=True)
    watch.watch(look, Tired(1), period=0)
    files, threads = open_files(), threading.active_count()
    stream = Tired(100)
    watch.watch(look, stream, period=0)
    assert stream.getvalue().count("health  ") == 101
    assert open_files() <= files
    assert threading.active_count() <= threads + 1, "its own, which nobody waits for"
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ends = time.monotonic() + 5
    while (found := conn.execute(others).fetchone()) != (0,) and time.monotonic() < ends:
        time.sleep(0.05)
    assert found == (0,)


def test_a_look_that_never_comes_back_is_news_and_holds_up_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver may hang; what was shown before would look like what is."""
    monkeypatch.setattr(watch, "_PATIENCE", 0.2)
    never = threading.Event()
    stream = io.StringIO()

    def look() -> Any:
        never.wait(60)
        raise DatabaseUnusableError

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a command run in this process leaves it ignored
    try:
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        watch.watch(look, stream, period=0.3)
    finally:
        signal.signal(signal.SIGINT, before)
    assert 0.9 < time.monotonic() - began < 3
    never.set()
    line = "health            unknown: the database did not answer in time"
    assert set(stream.getvalue().splitlines()) == {line, ""}
    assert stream.getvalue().count(line) >= 2


def test_a_bug_is_no_look_that_failed() -> None:
    """It ends the command, with 70."""

    def look() -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        watch.watch(look, io.StringIO())


def test_a_look_that_fails_with_time_is_told_from_one_that_takes_too_long() -> None:
    """TimeoutError is also what a socket raises; that one is a bug of ours and must not be asked for ever."""

    def look() -> Any:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        watch.watch(look, io.StringIO(), period=0)
