"""Run after run, nothing is left behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import killing, servers
from tests.e2e.leaks import Leaks

RUNS = 60

pytestmark = [servers.linux_only, pytest.mark.timeout(300)]


@pytest.fixture
def lane(server: str, tmp_path: Path) -> Iterator[killing.Lane]:
    """Return a database with a small universe, an exchange and a place for files."""
    with (
        killing.with_universe(server, tmp_path / "template") as template,
        killing.lane(server, tmp_path / "lane", template) as opened,
    ):
        yield opened


def test_sixty_runs_leave_nothing_but_their_rows(lane: killing.Lane) -> None:
    """No session, lock, file or process; the growth is that of the rows, the last run needs no more than the first."""
    leaks = Leaks(lane)
    leaks.run(RUNS)
    assert leaks.found() == []
