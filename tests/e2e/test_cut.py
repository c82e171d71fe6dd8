"""The stream to PostgreSQL is cut, or falls silent, at its messages: values are kept, and nothing is half done.

`tests/campaign/cut.py` does it at every message of every command, on every way to a database.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e import cutting, killing
from tests.e2e.conftest import M
from tests.e2e.cutting import COMMANDS, QUESTIONS, Asking, Cutting, Harm
from tests.e2e.killing import WALLETS, Lane
from tests.e2e.oracle import assert_whole
from tests.e2e.pooler import PROGRAM, pooler
from tests.e2e.proxy import Message, Point, Proxy, _Pair, cut, proxied

SEED = 20260106
AT_ONCE = 6
HOLES = 4  # of each question
SAMPLED = list(zip(COMMANDS, ("socket", "PgBouncer", "TCP", "socket", "PgBouncer"), strict=True))
CLAIM = b"INSERT INTO ingest_runs"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def template(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the name of a database with a small universe."""
    with killing.with_universe(server, tmp_path_factory.mktemp("template") / "lane") as name:
        yield name


def publishing(lane: Lane) -> list[Message]:
    """Return what is said from the claim of a minute to the end of its run."""
    lane.at(M)
    with proxied(lane.database) as proxy:
        lane.run("snapshot", HLCTL_DATABASE_URL=proxy.url)
    (start,) = [n for n, message in enumerate(proxy.messages) if CLAIM in message.data]
    return proxy.messages[start:]


def cut_again_and_again(proxy: Proxy, points: Sequence[Point]) -> None:
    """Cut at the first of these points, which are counted from the claim; the next claim at the second, and so on."""
    waiting = iter(points)

    def claimed(_pair: _Pair) -> bool:
        if point := next(waiting, None):
            said = Counter(message.side for message in proxy.messages)
            proxy.at(point._replace(n=said[point.side] + point.n), cut)
            proxy.when(CLAIM, claimed)
        return True

    proxy.when(CLAIM, claimed)


def test_cut_at_every_message_of_its_publication_a_run_publishes_once(
    server: str, template: str, tmp_path: Path
) -> None:
    """The same answers on one new connection after the other, until one lets them through; nobody is asked twice."""
    with killing.lane(server, tmp_path / "lane", template) as lane:
        said = publishing(lane)
    (commit,) = [n for n, message in enumerate(said) if message.kind == "Q" and b"COMMIT" in message.data[:11]]
    before, behind = cutting.points(said[:commit]), cutting.points(said)[2 * commit :]
    tries = [before[n::AT_ONCE] for n in range(AT_ONCE)] + [[point] for point in behind[:4]]

    def run(points: Sequence[Point]) -> None:
        with killing.lane(server, tmp_path / str(points[0]), template) as lane, proxied(lane.database) as proxy:
            lane.at(M)
            cut_again_and_again(proxy, points)
            lane.run("snapshot", HLCTL_DATABASE_URL=proxy.url)
            assert proxy.connections > len(points)
            assert lane.rows("SELECT attempts, requests_sent FROM ingest_runs") == [(1, WALLETS)]
            assert_whole(lane.rows, lane.exchange, M, wallets=WALLETS)
            lane.at(M, 120)
            lane.run("verify")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run, tries))


@pytest.mark.parametrize(("name", "route"), SAMPLED)
def test_cut_anywhere_a_command_is_done_or_not_and_its_code_says_so(
    server: str, template: str, tmp_path: Path, name: str, route: str
) -> None:
    """On every way to a database: what was not done is done by the next run."""
    if route == "PgBouncer" and PROGRAM is None:
        pytest.skip("pgbouncer is not installed")
    with killing.lane(server, tmp_path / "lane", template) as lane, pooler(server) as bouncer:
        command = Cutting(lane, name)
        way = cutting.routes(bouncer)[route]
        points = cutting.points(command.messages(way))
        for point in random.Random(f"{SEED} {name}").sample(points, 2):  # noqa: S311 - it only has to be the same each time
            assert command.harm(Harm("cut", point), way)
        command.end()


def test_a_question_ends_in_five_seconds_wherever_the_database_falls_silent(
    server: str, template: str, tmp_path: Path
) -> None:
    """With its answer, or with one line that says that there is none."""
    with killing.lane(server, tmp_path / "lane", template) as lane, ThreadPoolExecutor(HOLES * len(QUESTIONS)) as pool:
        harms = []
        for name in QUESTIONS:
            asking = Asking(lane, name)
            points = cutting.points(asking.messages(proxied))
            sample = random.Random(f"{SEED} {name}").sample(points, HOLES)  # noqa: S311 - as above
            harms += [(asking, Harm("silence", point)) for point in sample]
        list(pool.map(Asking.measure, [asking for asking, _ in harms]))  # as many at once as will be harmed
        pending = [pool.submit(asking.harm, harm, proxied) for asking, harm in harms]  # the lane's clock stands by now
        reached = [harmed.result() for harmed in pending]
    assert any(reached), "every question had ended before it came to its point"
