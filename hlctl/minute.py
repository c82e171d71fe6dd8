"""The rules of a minute: which answers are believed, whom to ask next, when to stop.

Pure: time comes in as an argument. Times are seconds since the minute began, so -3.5 is in the minute before.
"""

import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hlctl.model import MINUTE, Answer, Held, MissingReason, Wallet, WalletState

START_LEAD = timedelta(seconds=15)
"""A start this close to the next minute belongs to that one."""

COMMIT_BY = 55.0
"""Second of the minute up to which a COMMIT may be sent: what waits longer, for a lock or a disk, is rolled back."""

END_BY = 57.0
"""Second of the minute at which a run is over, whatever it waits for."""

STATE_WEIGHT = 2  # of one clearinghouseState request
RATE_WINDOW = 60.0
_ON_ITS_WAY = 0.5  # seconds: a request may reach the exchange so much later than it was sent, beside one that did not
_MADE_UP_FOR = 0.1  # seconds by which a request may be late and the next one in time
_FASTEST = 0.9  # of the time between two requests at the even pace of a whole minute
_SAFE_SHARE = 5 / 6  # of the exchange's limit: others may share the address

_EARLY, _LATE = timedelta(seconds=-5), timedelta(seconds=65)  # how far the exchange's clock may be from the minute

_CAN_HEAL = frozenset(
    {
        MissingReason.DNS,
        MissingReason.CONNECT,
        MissingReason.TIMEOUT,
        MissingReason.RESET,
        MissingReason.TRUNCATED,
        MissingReason.HTTP_5XX,
        MissingReason.RATE_LIMITED,
    }
)
_RETRY_WAITS = (0.5, 1.5)  # seconds before the second and third attempt
_RETRY_SHARE = 0.25  # of the wallets asked: at most so many extra requests a run
_COOL_DOWN = 1.0  # seconds after a 429 that names no time; doubled each time in a row
_BREAKER = 20  # wallets failed in a row, and none ever answered


def judge(state: WalletState, *, minute: datetime, observed_at: datetime) -> Answer:
    """Return what `state` says about `minute`, or why it says nothing: a fact of another minute is not recorded."""
    if not minute <= observed_at < minute + MINUTE:
        return MissingReason.LATE
    if state.time_ms is None:
        return MissingReason.STALE
    offset = timedelta(milliseconds=state.time_ms - round(minute.timestamp() * 1000))
    if not _EARLY <= offset <= _LATE:
        return MissingReason.STALE
    return Held(observed_at, state.positions)


def capacity(rate_limit: int) -> float:
    """Return how many states may be asked for in any 60 s under a limit in weight per minute; 0 means no limit."""
    return rate_limit * _SAFE_SHARE // STATE_WEIGHT if rate_limit else math.inf


@dataclass(frozen=True, slots=True)
class Send:
    """Ask for this wallet now."""

    wallet: Wallet


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing may be sent before this time; None: not before something else was answered."""

    until: float | None


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing will be sent any more."""


class Plan:
    """Whom to ask when, for one run of a minute: a state machine without threads, clocks or network.

    Keeps the retry budget, the rate limit, the cool-down that one 429 imposes on everybody, and the circuit breaker.
    Wallets are asked in an order shuffled by `seed`, so that neighbours in rank do not share a bad moment. More than
    fit into a minute are asked at an even pace up to the deadline, as far as one gets.
    """

    def __init__(
        self,
        wallets: Sequence[Wallet],
        *,
        seed: int,
        deadline: float,
        max_attempts: int,
        capacity: float,
        concurrency: int,
        sent_before: Sequence[tuple[int, float]] = (),
    ) -> None:
        self.answers: dict[Wallet, Answer] = {}
        self.requests_sent = 0
        self.retries = 0
        self.rate_limited = 0
        self.last_sent: float | None = None
        self.sent_per_second: list[int] = []
        self.error: str | None = None
        self._random = random.Random(seed)  # noqa: S311 - spreads requests, protects nothing
        self._fresh = deque(self._random.sample(list(wallets), len(wallets)))
        self._wallets = tuple(wallets)
        self._deadline = deadline
        self._max_attempts = max_attempts
        self._capacity = capacity
        self._sent_before = tuple(sent_before)
        self._sent: deque[float] = deque()
        self._attempts: dict[Wallet, int] = {}
        self._failures: dict[Wallet, MissingReason] = {}
        self._again: list[tuple[float, int, Wallet]] = []
        self._in_flight: set[Wallet] = set()
        self._extra = math.ceil(_RETRY_SHARE * min(len(wallets), capacity / (1 + _RETRY_SHARE)))
        # The runs before are known by the second: a pace that leaves room for one second's requests never has to wait
        # for them, and so does not fall behind from minute to minute.
        self._paced_until = deadline + 1.0 + _ON_ITS_WAY if len(wallets) > capacity else 0.0
        self._due = -math.inf
        self._resume = -math.inf
        self._cool_downs = 0
        self._heard = False
        self.concurrency = concurrency
        self._probe = max(_BREAKER, concurrency)

    def step(self, now: float) -> Send | Wait | Stop:
        """Return what to do next; a Send is counted as sent."""
        if self.error or now >= self._deadline or self._resume >= self._deadline:
            return Stop()
        if not self._fresh and not self._again:
            return Wait(None) if self._in_flight else Stop()
        # Until somebody has answered only a few wallets are tried: a dead exchange costs a few requests, not all.
        may_start = bool(self._fresh) and (self._heard or len(self._attempts) < self._probe)
        again_at = self._again[0][0] if self._again else math.inf
        ready = max(self._resume, self._due, self._free_at(now), now if may_start else again_at)
        if ready > now:
            return Wait(None if math.isinf(ready) else ready)
        wallet = heapq.heappop(self._again)[2] if again_at <= now else self._fresh.popleft()
        self._count(wallet, now)
        return Send(wallet)

    def _free_at(self, now: float) -> float:
        """Return the earliest time at which one more request fits into the last 60 s, as the exchange sees them."""
        window = RATE_WINDOW + _ON_ITS_WAY
        while self._sent and self._sent[0] <= now - window:
            self._sent.popleft()
        earlier = sorted(((at, count) for count, at in self._sent_before if at > now - window))
        excess = len(self._sent) + sum(count for _, count in earlier) - self._capacity + 1
        for at, count in heapq.merge(earlier, ((at, 1) for at in self._sent)):
            if excess <= 0:
                break
            excess -= count
            now = at + window
        return now

    def _count(self, wallet: Wallet, now: float) -> None:
        self._in_flight.add(wallet)
        self._attempts[wallet] = self._attempts.get(wallet, 0) + 1
        self.retries += self._attempts[wallet] > 1
        self.requests_sent += 1
        self.last_sent = now
        second = max(0, int(now))
        self.sent_per_second += [0] * (second + 1 - len(self.sent_per_second))
        self.sent_per_second[second] += 1
        if not math.isinf(self._capacity):
            self._sent.append(now)
        if self._paced_until:
            self._due = self._next_due(now)

    def _next_due(self, now: float) -> float:
        """Return when the next request is due: what may still be sent is spread evenly over the rest of the minute.

        So a late start, a pause and a thread that wakes up late are made up for, but not by crowding the minute's end:
        the minutes after it would have to wait for that, each for the one before.
        """
        due = self._due if now - self._due < _MADE_UP_FOR else now
        even = (self._paced_until - due) / max(1.0, self._capacity - self.requests_sent + 1)
        return due + max(even, _FASTEST * self._paced_until / self._capacity)

    def answered(self, wallet: Wallet, answer: Held) -> None:
        """Take in a good answer."""
        self._in_flight.discard(wallet)
        self.answers[wallet] = answer
        self._heard = True
        self._cool_downs = 0

    def failed(self, wallet: Wallet, reason: MissingReason, now: float, *, retry_after: float | None = None) -> None:
        """Take in a failure; the wallet is asked again if that can heal it and the budget allows."""
        self._in_flight.discard(wallet)
        self._failures[wallet] = reason
        if reason is MissingReason.RATE_LIMITED:
            self._cool_down(now, retry_after)
        attempt = self._attempts[wallet]
        if reason in _CAN_HEAL and attempt < self._max_attempts and self._extra > 0:
            wait = _RETRY_WAITS[min(attempt, len(_RETRY_WAITS)) - 1] * self._random.uniform(0.8, 1.2)
            if now + wait < self._deadline:
                self._extra -= 1
                heapq.heappush(self._again, (now + wait, wallet.wallet_id, wallet))
                return
        self.answers[wallet] = reason
        if not self._heard and len(self.answers) >= _BREAKER:
            counts = Counter(reason.value for reason in self.answers.values() if isinstance(reason, MissingReason))
            why = ", ".join(f"{count} {name}" for name, count in counts.most_common())
            self.error = f"no usable answer: all of the first {_BREAKER} wallets asked failed ({why})"

    def _cool_down(self, now: float, retry_after: float | None) -> None:
        self.rate_limited += 1
        if now >= self._resume:  # those in flight together hear of one limit, not of many
            wait = _COOL_DOWN * 2**self._cool_downs * self._random.uniform(1.0, 1.2)
            self._cool_downs += 1
            self._resume = now + wait
        if retry_after is not None:
            self._resume = max(self._resume, now + retry_after)

    def is_over(self, now: float) -> bool:
        """Tell whether nothing more will be sent or heard."""
        if now >= self._deadline:
            return True
        nothing_to_send = self.error or self._resume >= self._deadline or not (self._fresh or self._again)
        return bool(nothing_to_send) and not self._in_flight

    def close(self, otherwise: MissingReason = MissingReason.LATE) -> dict[Wallet, Answer]:
        """Return an answer for every wallet: what is still open keeps its last failure, or the reason for the end."""
        if self.error:
            otherwise = MissingReason.BREAKER
        elif self._resume >= self._deadline:
            otherwise = MissingReason.RATE_LIMITED
        return {wallet: self.answers.get(wallet, self._failures.get(wallet, otherwise)) for wallet in self._wallets}
