"""Storms: minutes in which the exchange fails everybody, or every second request, and what is promised of them.

The clocks of database and exchange are moved from run to run, over time in which nobody asks anything. Within a run
they go as fast as any: what the exchange counts in 60 s is what it would have counted in real minutes.
"""

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import cycle, islice

from hlctl import sim
from hlctl.sim import Fault
from tests.e2e.conftest import Ran, good_again
from tests.e2e.killing import Lane
from tests.e2e.oracle import after, assert_nothing_false, assert_whole, universe

WALLETS = 200
MOST = WALLETS * 5 // 4  # requests of a run, whatever happens
BUDGET = 1000  # weight in any 60 s: five sixths of the limit
STATE, REFRESH = 2, 20  # weights; the second source of the leaderboard is asked once a refresh, and in no run's count
_MANY = 2 * MOST  # more answers than a run can get

GOOD = Fault()
THROTTLED = Fault(status=429)
THROTTLED_2_S = Fault(status=429, headers={"Retry-After": "2"})
ERRORS = [Fault(status=status) for status in (500, 502, 503, 504)]
RESETS = [Fault(drop=True, reset=True), Fault(drop=True), Fault(truncate_at=100, reset=True)]
SLOW = 0.1  # seconds

Weather = Callable[[random.Random, Sequence[str]], dict[str | None, Iterable[Fault]]]
"""Makes the faults of a minute, by target, from a source of chance and the wallets."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of storm."""

    weather: Weather
    most: int = MOST  # requests of a run
    hosts: int = 1  # that record each minute, one after the other: the second asks for what the first did not get
    asked: int | None = None  # wallets after which the breaker opens and nobody else is asked


def _all(*faults: Fault) -> Weather:
    """Do this to everybody, one after the other."""
    return lambda _chance, _members: {None: islice(cycle(replace(fault, times=1) for fault in faults), _MANY)}


def _half(*faults: Fault, otherwise: Fault = GOOD) -> Weather:
    """Do one of these to every second request, by chance."""

    def weather(chance: random.Random, _members: Sequence[str]) -> dict[str | None, Iterable[Fault]]:
        drawn = [chance.choice(faults) if chance.random() < 1 / 2 else otherwise for _ in range(_MANY)]
        return {None: [replace(fault, times=1) for fault in drawn]}

    return weather


def _half_of_the_wallets(*faults: Fault) -> Weather:
    """Do one of these to every second wallet, for ever, and nothing to the others."""
    return lambda _chance, members: {member: [chosen] for member, chosen in zip(members[::2], cycle(faults))}


def _slow(*faults: Fault) -> list[Fault]:
    return [replace(fault, delay=SLOW) for fault in faults]


KINDS = {
    "429": Kind(_all(THROTTLED), most=56),  # eight at once, and then pauses of 1, 2, 4, ... 32 s
    "429 for 2 s": Kind(_all(THROTTLED_2_S), most=56),
    "5xx": Kind(_all(*ERRORS), most=60, asked=20),  # three attempts each
    "resets": Kind(_all(*RESETS), most=60, asked=20),
    "half of the requests": Kind(_half(*ERRORS, *RESETS, THROTTLED)),
    "half of the wallets": Kind(_half_of_the_wallets(*ERRORS, *RESETS, Fault(status=404))),
    "half of the wallets, two hosts": Kind(_half_of_the_wallets(*ERRORS, *RESETS), hosts=2),
    "slow": Kind(_half(*_slow(*ERRORS, *RESETS), otherwise=_slow(GOOD)[0])),
}


@dataclass
class Storm:
    """Minutes of one kind on one database, and what comes after them."""

    name: str
    lane: Lane
    seed: int
    patience: float  # seconds that a run has in a storm
    requests: list[int] = field(default_factory=list)  # of each run
    seconds: list[float] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """Return what is done."""
        return KINDS[self.name]

    def run(self, minutes: int) -> None:
        """Go through all of it: a good minute, the storm, and two good minutes."""
        self.lane.at(self.lane.now)
        self._good(after(self.lane.now))
        for number in range(minutes):
            self._stormy(after(self.lane.now), late=number % 2 == 0)
        self._over(after(self.lane.now))

    def _at(self, minute: datetime, second: float) -> None:
        """Move the clocks: forward, or the exchange's count would be none."""
        assert self.lane.exchange.clock() < (minute + timedelta(seconds=second)).timestamp()
        self.lane.at(minute, second)

    def _asked(self, *command: str, **settings: str) -> tuple[int, Ran]:
        """Run a command; return how many requests it made, too."""
        before = self.lane.exchange.requests
        ran = self.lane.hlctl(*command, **settings)
        return self.lane.exchange.requests - before, ran

    def _good(self, minute: datetime) -> None:
        self.lane.exchange.behave()
        self._at(minute, 2.0)
        said = good_again(self.lane.rows, minute)
        requests, ran = self._asked("snapshot")
        assert (requests, ran.code) == (self.lane.wallets, 0), ran
        assert re.fullmatch(said, ran.err), ran.err
        assert_whole(self.lane.rows, self.lane.exchange, minute, wallets=self.lane.wallets)
        assert self.lane.hlctl("status", "--check").code == 0

    def _stormy(self, minute: datetime, *, late: bool) -> None:
        """Let a minute be stormy: a late run and an early one are the most that 60 s can see."""
        members = universe(self.lane.rows)
        exchange = self.lane.exchange
        exchange.behave()
        for target, faults in self.kind.weather(random.Random(f"{self.seed} {minute}"), members).items():  # noqa: S311
            exchange.misbehave(target, *faults)
        second = 34.0 if late else 2.0
        self._at(minute, second)
        is_first = not self.codes
        for host in range(self.kind.hosts):
            self._failing(minute, host, deadline=min(50.0, second + (host + 1) * self.patience))
        if is_first:
            self._kept(members)
        assert self.lane.hlctl("status", "--check").code == (2 if self.codes[-1] == 4 else 1)

    def _failing(self, minute: datetime, host: int, *, deadline: float) -> None:
        """Let a host try."""
        folder = {"HLCTL_DATA_DIR": str(self.lane.home / f"data{host}")}
        requests, ran = self._asked("snapshot", HLCTL_DEADLINE=f"{deadline:g}", **folder)
        assert requests <= self.kind.most, f"{requests} requests"
        assert ran.code in {3, 4}, ran
        assert ran.err.count("\n") == (ran.code not in self.codes), ran.err
        assert ran.seconds < self.patience + 10
        ((missing,),) = self.lane.rows("SELECT missing FROM ingest_runs WHERE snapshot_ts = %s", minute)
        assert missing.get("breaker") == (self.kind.asked and self.lane.wallets - self.kind.asked), missing
        assert self._asked_though_told_to_wait(minute) == []
        self.requests.append(requests)
        self.seconds.append(ran.seconds)
        self.codes.append(ran.code)

    def _asked_though_told_to_wait(self, minute: datetime) -> list[float]:
        """Return the requests within the second after a 429, but those that were on their way when it was heard."""
        entries = [entry for entry in self.lane.exchange.journal if entry.at >= minute.timestamp()]
        told = [entry.at for entry in entries if entry.status == 429]
        return [entry.at for entry in entries if any(0.7 < entry.at - at < 1.0 for at in told)]

    def _kept(self, members: list[str]) -> None:
        """Look for a new universe in the storm: each source is asked once, and the old universe stays."""
        exchange = self.lane.exchange
        exchange.info_leaderboard = True
        for target in (sim.LEADERBOARD, sim.INFO_LEADERBOARD):
            exchange.misbehave(target, *ERRORS)
        requests, ran = self._asked("refresh-universe")
        assert (requests, ran.code, ran.err.count("\n")) == (2, 4, 1), ran
        assert universe(self.lane.rows) == members

    def _over(self, minute: datetime) -> None:
        """Let the first minute after the storm be a full one, which is told, and the one after it an ordinary one."""
        self._good(minute)
        refreshed = self.lane.run("refresh-universe")
        assert "good again" in refreshed.err
        self._good(after(minute))
        self._at(after(minute), 125.0)
        self.lane.run("verify", "--since", "1d")
        assert_nothing_false(self.lane.rows, self.lane.exchange)
        assert self.weight <= BUDGET, f"states of a weight of {self.weight} in 60 s"
        assert self.lane.exchange.max_weight_60s <= BUDGET + REFRESH

    def line(self) -> str:
        """Return the figures."""
        return (
            f"{self.name}: {len(self.requests)} runs, {min(self.requests)} to {max(self.requests)} requests in"
            f" {min(self.seconds):.1f} to {max(self.seconds):.1f} s; states of a weight of {self.weight}"
            f" at most in 60 s, {self.lane.exchange.max_weight_60s} with all that was asked"
        )

    @property
    def weight(self) -> int:
        """Return the most that states weighed in any 60 s, by the exchange's journal."""
        at = sorted(entry.at for entry in self.lane.exchange.journal if entry.kind == "clearinghouseState")
        first = most = 0
        for last, moment in enumerate(at):
            while at[first] <= moment - 60:
                first += 1
            most = max(most, last - first + 1)
        return STATE * most
