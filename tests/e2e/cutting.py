"""The stream to PostgreSQL cut or silenced at one of its messages, and what must be so after each.

The commands and what must be so of the record are those of `scenarios`. A cut resets the connection, towards both ends;
silence is a black hole: the connection stays, and whatever either end says is swallowed. A new connection works.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.e2e.conftest import M, Ran
from tests.e2e.killing import Lane
from tests.e2e.pooler import Bouncer
from tests.e2e.proxy import Deed, Message, Point, Proxy, cut, fall_silent, proxied
from tests.e2e.scenarios import SCENARIOS, Scenario

COMMANDS = ("snapshot", "snapshot again", "refresh-universe", "init-db", "prune")
"""Those of the scenarios that are cut."""

DEEDS: dict[str, Deed] = {"cut": cut, "silence": fall_silent}

UNUSABLE = 5

QUESTIONS = {"status": ({0}, UNUSABLE), "status --check": ({0, 1, 2}, 3), "verify": ({0}, UNUSABLE)}
"""The commands that only ask, the exit codes of an answer, and the one when nobody answers."""

ANSWER = 5.0  # seconds a question takes at most, from the start of its process to the end
DUE = 4.4  # second of a process at which it ends: on a machine that is slow to start one, all takes so much longer
OVER = 57  # second of the minute by which a snapshot is over
LET_GO = 160.0
"""Seconds until a server lets go of a client that fell silent while it read a leaderboard, which is the longest."""
LATE = 20.0  # second at which a snapshot begins that is to meet silence: it has not long to wait then

Route = Callable[[str], AbstractContextManager[Proxy]]
"""From a database to a proxy on the way to it."""


class Harm(NamedTuple):
    """What is done, and at which message."""

    deed: str
    point: Point


class Harmed(NamedTuple):
    """How a command ended that was harmed."""

    ran: Ran
    was_done: bool  # its work was committed, or its question answered


@contextmanager
def by_socket(database: str) -> Iterator[Proxy]:
    """Stand before a database with a socket in a folder, as the embedded server's is."""
    with tempfile.TemporaryDirectory() as folder, proxied(database, folder=Path(folder)) as proxy:
        yield proxy


def routes(bouncer: Bouncer | None) -> dict[str, Route]:
    """Return the ways to a database, by name."""
    found: dict[str, Route] = {"TCP": proxied, "socket": by_socket}
    if bouncer is not None:
        found["PgBouncer"] = lambda database: proxied(bouncer.url(database))
    return found


def points(messages: Sequence[Message], *, within: bool = True) -> list[Point]:
    """Return the points of a run: after each message of either side, and in the middle of it or not."""
    count = {"client": 0, "server": 0}
    found = []
    for message in messages:
        count[message.side] += 1
        place = Point(message.side, count[message.side])
        found += [place, place._replace(within=True)] if within else [place]
    return found


class Cutting:
    """A command that writes, which is harmed in a lane again and again."""

    def __init__(self, lane: Lane, name: str) -> None:
        self.scenario: Scenario = SCENARIOS[name](lane)
        self.lane = lane
        self.scenario.begin()

    def messages(self, route: Route) -> list[Message]:
        """Return what is said in a run that nobody harms."""
        self.scenario.before()
        with route(self.lane.database) as proxy:
            self.lane.run(*self.scenario.args, HLCTL_DATABASE_URL=proxy.url)
        self.lane.is_let_go(by_a_pooler=True)
        self.scenario.after()
        return proxy.messages

    def harm(self, harm: Harm, route: Route) -> Harmed | None:
        """Harm the command, check all; None if it came to its end without reaching the point."""
        lane, scenario = self.lane, self.scenario
        is_snapshot = scenario.args[0] == "snapshot"
        is_late = is_snapshot and harm.deed == "silence"
        scenario.before()
        for memory in (lane.home / "data").glob("told-*"):  # of an outage: this one is to be told
            memory.unlink()
        if is_late:
            lane.at(lane.now, LATE)
        with route(lane.database) as proxy:
            proxy.at(harm.point, DEEDS[harm.deed])
            ran = lane.hlctl(*scenario.args, HLCTL_DATABASE_URL=proxy.url)
            ended = lane.exchange.clock() - lane.now.timestamp()
        lane.is_let_go(by_a_pooler=True, seconds=LET_GO)
        was_done = scenario.is_done()
        self._assert_honest(ran, was_done=was_done)
        assert not is_snapshot or ended < OVER, (ended, ran)
        if is_late:
            lane.at(lane.now, LATE)  # there would be no time left for the next run
        scenario.after()
        return Harmed(ran, was_done) if proxy.done else None

    def _assert_honest(self, ran: Ran, *, was_done: bool) -> None:
        """Check that the code says what was committed, as far as it can be known, in one line if that is nothing."""
        if ran.code != UNUSABLE:
            assert was_done, ran
            assert ran.code == self._code_of_the_record(), ran
            return
        assert (ran.out, ran.err.count("\n")) == ("", 1), ran
        # Only a snapshot looks whether a COMMIT landed that nobody answered, and it may have no time for that.
        assert not was_done or self.scenario.args[0] != "snapshot" or "is not known" in ran.err, ran

    def _code_of_the_record(self) -> int:
        """Return what the record of the minute says: it is failed where silence lasted until it was too late to ask."""
        if self.scenario.args[0] != "snapshot":
            return 0
        ((status,),) = self.lane.rows("SELECT status FROM ingest_runs WHERE snapshot_ts = %s", self.lane.now)
        return {"success": 0, "partial": 3, "failed": 4}[status]

    def end(self) -> None:
        """Check all that was recorded."""
        self.scenario.end()


class Asking:
    """A command that only asks, about a minute that is final."""

    def __init__(self, lane: Lane, name: str) -> None:
        self.lane, self.args = lane, name.split()
        if name == "verify":  # of this minute: the newest final one is another after some seconds
            self.args += ["--minute", f"{M:%FT%H:%MZ}"]
        self.answers, self.unusable = QUESTIONS[name]
        lane.at(M)
        lane.run("snapshot")
        lane.at(M, 125)
        self.longest = ANSWER
        self.measure()

    def measure(self) -> None:
        """Allow for a machine as slow to start a process as it is now; in a crowd all measure at once."""
        self.longest = max(self.longest, DUE + self.lane.hlctl(*self.args).seconds)

    def messages(self, route: Route) -> list[Message]:
        """Return what is said while nobody harms it."""
        with route(self.lane.database) as proxy:
            ran = self.lane.hlctl(*self.args, HLCTL_DATABASE_URL=proxy.url)
        assert ran.code in self.answers, ran
        return proxy.messages

    def harm(self, harm: Harm, route: Route) -> Harmed | None:
        """Ask, and check that there is an answer in time, or one line that says that there is none."""
        with route(self.lane.database) as proxy, tempfile.TemporaryDirectory() as memory:  # which tells what is news
            proxy.at(harm.point, DEEDS[harm.deed])
            ran = self.lane.hlctl(*self.args, HLCTL_DATABASE_URL=proxy.url, HLCTL_DATA_DIR=memory)
        assert ran.seconds < self.longest, ran
        was_answered = ran.code in self.answers
        assert was_answered or (ran.code, (ran.out + ran.err).count("\n")) == (self.unusable, 1), ran
        return Harmed(ran, was_answered) if proxy.done else None

    def end(self) -> None:
        """Nothing was written."""


def harmed(lane: Lane, name: str) -> Cutting | Asking:
    """Return the command of that name, ready to be harmed in the lane."""
    return Asking(lane, name) if name in QUESTIONS else Cutting(lane, name)
