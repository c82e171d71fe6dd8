"""SIGKILL at the system calls that decide, and at a few others: the next run is good, and nothing is left.

`tests/campaign/kill.py` does it at every system call.
"""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import killing, servers
from tests.e2e.scenarios import SCENARIOS

SEED = 20260106
SAMPLED = 1  # call of a command besides those that decide

pytestmark = [
    servers.linux_only,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def template(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the name of a database with a small universe."""
    with killing.with_universe(server, tmp_path_factory.mktemp("template") / "lane") as name:
        yield name


@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - {"export as Parquet"}))
def test_killed_where_it_becomes_true_a_command_leaves_nothing_half_done(
    server: str, template: str, tmp_path: Path, name: str
) -> None:
    """What was committed stays, what was not is done by the next run, and no lock, draft or row tells of the kill."""
    with killing.lane(server, tmp_path / "lane", template) as lane:
        scenario = SCENARIOS[name](lane)
        scenario.begin()
        calls = scenario.calls()
        dice = random.Random(f"{SEED} {name}")  # noqa: S311 - it only has to be the same each time
        sample = dice.sample([call for call in calls if not call.is_worker], SAMPLED)
        killed = [scenario.kill(call.point) for call in scenario.turning(calls)]
        assert killed[::2] in ([], [False, True]), "it is another COMMIT that makes its work true"
        others = [*scenario.filing(calls), *sample]
        killed += [scenario.kill(call.point, is_worker=call.is_worker) for call in others]
        assert False in killed, "no kill came before the work was done"
        scenario.end()
