"""`status --watch`: one look after the other, until a signal or until nobody reads."""

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from tests.e2e.conftest import COMMAND, Hlctl, open_terminal

ENTER, LEAVE, AFRESH = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l", "\x1b[H\x1b[J"


class Reader:
    """Reads what a process shows, as it comes."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.shown = ""

    def until(self, pattern: str, *, seconds: float = 20) -> str:
        """Read until the pattern is found in all that was shown; return all of it."""
        ends = time.monotonic() + seconds
        while not re.search(pattern, self.shown, re.DOTALL):
            left = ends - time.monotonic()
            assert left > 0, f"{pattern!r} is not in {self.shown!r}"
            if select.select([self.stream], [], [], left)[0]:
                self.shown += self.piece()
        return self.shown

    def piece(self) -> str:
        """Return what comes next; empty at the end."""
        with suppress(OSError):  # the terminal's end when the last writer is gone
            return os.read(self.stream, 65536).decode().replace("\r\n", "\n")
        return ""

    def rest(self) -> str:
        """Read to the end and return all of it."""
        while piece := self.piece():
            self.shown += piece
        return self.shown


def watch_in_a_pipe(hlctl: Hlctl) -> tuple[subprocess.Popen[str], Reader]:
    """Start `status --watch` with pipes."""
    process = hlctl.start("status", "--watch")
    assert process.stdout is not None
    return process, Reader(process.stdout.fileno())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_a_pipe_the_screen_comes_again_after_an_empty_line_and_a_signal_is_the_normal_end(
    with_universe: Hlctl, number: signal.Signals
) -> None:
    """Every 5 s; the last one is whole."""
    with_universe("snapshot")
    began = time.monotonic()
    process, reader = watch_in_a_pipe(with_universe)
    reader.until(r"health .*\n\nhealth .*ETH [^\n]*\n")
    assert 5 <= time.monotonic() - began < 10
    process.send_signal(number)
    signalled = time.monotonic()
    assert process.wait(timeout=10) == 0
    assert time.monotonic() - signalled < 1
    screens = reader.rest().split("\n\nhealth ")
    assert len(screens) == 2
    assert screens[0].startswith("health            healthy\nlast good minute ")
    assert screens[1].startswith("           healthy\nlast good minute ")
    assert screens[1].count("\n") == screens[0].count("\n") + 1
    assert process.stderr is not None
    assert process.stderr.read() == ""


def on_screen(hlctl: Hlctl, *args: str, lines: int = 24, **env: str) -> tuple[subprocess.Popen[bytes], Reader]:
    """Start a command on a terminal of so many lines."""
    master, slave = open_terminal(lines=lines)
    process = subprocess.Popen(
        [COMMAND, *args],
        env={"PATH": os.environ["PATH"], "HOME": str(hlctl.home), "TERM": "xterm-256color", **hlctl.settings, **env},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    return process, Reader(master)


def test_a_terminal_is_redrawn_on_a_screen_of_its_own_and_left_as_it_was(with_universe: Hlctl) -> None:
    """With its cursor, and with what stood on it before; nothing scrolls, however small it is."""
    with_universe("snapshot")
    process, reader = on_screen(with_universe, "status", "--watch", lines=10)
    reader.until(r"\[H.*\[H.*universe")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
    shown = reader.rest()
    os.close(reader.stream)
    assert shown.startswith(ENTER + AFRESH)
    assert shown.endswith(LEAVE)
    frames = shown.removeprefix(ENTER).removesuffix(LEAVE).split(AFRESH)[1:]
    assert len(frames) == 2
    assert all(frame.count("\n") == 9 for frame in frames)
    assert "\x1b[1;32mhealthy" in frames[1]


def test_a_dumb_terminal_gets_no_control_characters(with_universe: Hlctl) -> None:
    """It would show them."""
    process, reader = on_screen(with_universe, "status", "--watch", TERM="dumb")
    reader.until(r"universe .*\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0
    assert "\x1b" not in reader.rest()
    os.close(reader.stream)


def test_a_database_that_goes_away_is_one_line_and_is_asked_again(
    with_universe: Hlctl, server: str, database: str
) -> None:
    """Who watches wants to see it come back."""
    ((name,),) = rows_of_server(database, "SELECT current_database()")
    process, reader = watch_in_a_pipe(with_universe)
    reader.until(r"^health            stale: .*universe ")
    rows_of_server(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    reader.until(r"\n\nhealth            unknown: cannot connect to the database: [^\n]*\n")
    rows_of_server(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    reader.until(r"unknown: [^\n]*\n\nhealth            stale: .*universe ")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0


def rows_of_server(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run a statement."""
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        cursor = conn.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_reader_who_goes_away_ends_it(with_universe: Hlctl) -> None:
    """`hlctl status --watch | head -1`."""
    process, reader = watch_in_a_pipe(with_universe)
    reader.until("universe")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=10) == 0


def test_an_embedded_server_that_was_stopped_stays_so(make_hlctl: Callable[..., Hlctl], tmp_path: Path) -> None:
    """`status` starts it, as every command does; but who stops it while somebody watches wants it stopped."""
    hlctl = make_hlctl(HLCTL_DATA_DIR=str(tmp_path / "data"))
    assert hlctl("init-db").code == 0
    assert hlctl("db", "stop").code == 0
    process, reader = watch_in_a_pipe(hlctl)
    try:
        reader.until(r"^health            stale: ")
        assert hlctl("db", "stop").code == 0
        reader.until(r"\n\nhealth            unknown: cannot connect to the database: no server is listening")
        assert hlctl("db", "status").out.startswith("server   stopped\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    finally:
        hlctl("db", "stop")


@pytest.mark.parametrize("also", ["--json", "--check"])
def test_it_is_for_people(make_hlctl: Callable[..., Hlctl], also: str) -> None:
    """A stream of documents or of checks has no reader."""
    ran = make_hlctl()("status", "--watch", also)
    assert ran.code == (3 if also == "--check" else 2)
    assert ran.out.count("\n") == 1
    assert "--watch is for people" in ran.out
