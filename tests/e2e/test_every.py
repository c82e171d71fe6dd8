"""docs/containers/every, the loop that a container runs, as a plain process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl
from tests.e2e.oracle import Rows

EVERY = str(Path(__file__).parents[2] / "docs" / "containers" / "every.py")


def wait_for(is_so: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_command_is_run_again_and_again_though_it_fails(tmp_path: Path) -> None:
    """A minute that failed is no reason to record no more."""
    log = tmp_path / "log"
    with subprocess.Popen([EVERY, "0", "sh", "-c", f"echo ran >>{log}; exit 4"]) as loop:
        wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 3)
        loop.send_signal(signal.SIGTERM)
        assert loop.wait(timeout=10) == 0


def test_a_pause_is_ended_by_a_signal(tmp_path: Path) -> None:
    """Nobody waits an hour for the audit's next turn."""
    log = tmp_path / "log"
    with subprocess.Popen([EVERY, "3600", "touch", str(log)]) as loop:
        wait_for(log.exists)
        time.sleep(0.2)
        loop.send_signal(signal.SIGTERM)
        assert loop.wait(timeout=10) == 0


def test_a_signal_that_was_there_before_the_first_run_ends_it_too() -> None:
    """None is lost between a start and who would pass it on: with its container the run would be killed."""
    waiting = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); os.kill(os.getpid(), 15)"
    argv = [sys.executable, "-c", f"{waiting}; os.execv(sys.argv[1], sys.argv[1:])", EVERY, "0", "sleep", "60"]
    with subprocess.Popen(argv, start_new_session=True) as loop:
        try:
            assert loop.wait(timeout=30) == 0
            with pytest.raises(ProcessLookupError):
                os.killpg(loop.pid, 0)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(loop.pid, signal.SIGKILL)


def test_a_signal_reaches_the_run_which_publishes_what_it_knows(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """As `docker compose stop` sends it."""
    exchange.misbehave(None, sim.Fault(delay=0.2))
    loop = with_universe.start("--quiet", "snapshot", before=[EVERY, "1"])
    wait_for(lambda: exchange.requests >= 20)
    loop.send_signal(signal.SIGTERM)
    assert loop.wait(timeout=20) == 0
    ((status, cancelled),) = rows("SELECT status, (missing->>'cancelled')::int FROM ingest_runs")
    assert status == "failed"
    assert 0 < cancelled <= 190
