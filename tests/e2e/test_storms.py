"""The exchange fails for minutes on end: bounded requests, the truth about it, and a whole minute right after it."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.e2e import killing, servers, storms
from tests.e2e.storms import KINDS, WALLETS, Storm

AT_ONCE = 4  # a storm is mostly waiting
LONG_ONLY = {"429", "resets", "half of the wallets"}  # tests/campaign/storms.py has them too
NAMES = [name for name in KINDS if name not in LONG_ONLY]

pytestmark = [servers.linux_only, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def all_storms(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Storm]]]:
    """Return what becomes of each storm, which rage side by side, each on a database and an exchange of its own."""
    folder = tmp_path_factory.mktemp("storms")
    with killing.with_universe(server, folder / "template", wallets=WALLETS) as template:

        def rage(name: str) -> Storm:
            with killing.lane(server, folder / name, template, wallets=WALLETS) as lane:
                # The breaker opens after 2.5 s, and a busy machine takes some to begin; others go on to their deadline.
                storm = Storm(name, lane, seed=2026, patience=10.0 if KINDS[name].asked else 4.0)
                storm.run(minutes=2)
                return storm

        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield {name: pool.submit(rage, name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_storm_is_met_with_few_requests_told_once_and_over_when_it_is_over(
    all_storms: dict[str, Future[storms.Storm]], name: str
) -> None:
    """The runs are a late one and an early one after it, which is the most that 60 s can see."""
    storm = all_storms[name].result()
    assert len(storm.requests) == 2 * storm.kind.hosts
