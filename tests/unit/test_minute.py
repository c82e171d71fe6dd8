"""The rules of a minute: judging answers, and the plan of whom to ask when."""

import heapq
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlctl.minute import RATE_WINDOW, Plan, Send, Stop, Wait, capacity, judge
from hlctl.model import Held, MissingReason, Wallet, WalletState

M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
HELD = Held(M, {})


def wallets(count: int) -> list[Wallet]:
    return [Wallet(number, f"0x{number:040x}") for number in range(1, count + 1)]


def make_plan(
    count: int = 200,
    *,
    deadline: float = 50.0,
    max_attempts: int = 3,
    limit: float = math.inf,
    concurrency: int = 8,
    sent_before: Sequence[tuple[int, float]] = (),
) -> Plan:
    return Plan(
        wallets(count),
        seed=7,
        deadline=deadline,
        max_attempts=max_attempts,
        capacity=limit,
        concurrency=concurrency,
        sent_before=sent_before,
    )


def state(time_ms: int | None) -> WalletState:
    return WalletState(time_ms=time_ms, positions={})


@pytest.mark.parametrize(
    ("offset_ms", "expected"),
    [
        (-5_001, MissingReason.STALE),
        (-5_000, None),
        (0, None),
        (65_000, None),
        (65_001, MissingReason.STALE),
    ],
)
def test_an_answer_counts_only_if_the_exchange_dates_it_near_the_minute(
    offset_ms: int, expected: MissingReason | None
) -> None:
    """A fact of another minute must not be recorded as one of this."""
    seen = M + timedelta(seconds=3)
    answer = judge(state(round(M.timestamp() * 1000) + offset_ms), minute=M, observed_at=seen)
    assert answer == (expected or Held(seen, {}))


def test_an_answer_without_a_time_is_stale() -> None:
    """The oldest recorded shape has no time: nothing says which minute it speaks of."""
    assert judge(state(None), minute=M, observed_at=M) is MissingReason.STALE


@pytest.mark.parametrize("seconds", [-0.001, 60.0])
def test_an_answer_received_outside_the_minute_is_late(seconds: float) -> None:
    """The database refuses such a row, and one row refused would cost the whole minute."""
    answer = judge(state(round(M.timestamp() * 1000)), minute=M, observed_at=M + timedelta(seconds=seconds))
    assert answer is MissingReason.LATE


def test_every_wallet_is_asked_once_when_all_answer() -> None:
    """A good minute costs one request a wallet."""
    plan, asked = make_plan(), []
    while isinstance(step := plan.step(1.0), Send):
        asked.append(step.wallet)
        plan.answered(step.wallet, HELD)
    assert sorted(wallet.wallet_id for wallet in asked) == list(range(1, 201))
    assert (plan.requests_sent, plan.retries) == (200, 0)
    assert asked != wallets(200), "neighbours in rank must not be asked together"


def test_the_order_is_a_function_of_the_minute() -> None:
    """A replay of a minute asks in the same order."""
    first, second = make_plan(), make_plan()
    assert [first.step(0.0) for _ in range(20)] == [second.step(0.0) for _ in range(20)]


def test_a_failure_that_can_heal_is_retried_after_a_while_and_three_times_at_most() -> None:
    """Retries wait about 0.5 and 1.5 s, and then the reason stands."""
    plan, now, sent = make_plan(1), 0.0, []
    plan._extra = 5  # one wallet's share would be a single retry
    while not isinstance(step := plan.step(now), Stop):
        if isinstance(step, Send):
            sent.append(now)
            plan.failed(step.wallet, MissingReason.HTTP_5XX, now)
        else:
            assert step.until is not None
            now = step.until
    assert len(sent) == 3
    assert 0.4 <= sent[1] - sent[0] <= 0.6
    assert 1.2 <= sent[2] - sent[1] <= 1.8
    assert set(plan.close().values()) == {MissingReason.HTTP_5XX}


@pytest.mark.parametrize(
    "reason", [MissingReason.BAD_SHAPE, MissingReason.HTTP_4XX, MissingReason.TLS, MissingReason.REDIRECT]
)
def test_a_failure_that_cannot_heal_is_not_retried(reason: MissingReason) -> None:
    """Asking again would only cost weight."""
    plan = make_plan(1)
    step = plan.step(0.0)
    assert isinstance(step, Send)
    plan.failed(step.wallet, reason, 0.0)
    assert isinstance(plan.step(0.0), Stop)
    assert plan.close() == {step.wallet: reason}


def test_retries_never_exceed_a_quarter_of_the_wallets() -> None:
    """A storm of errors must not become a storm of requests."""
    plan, now = make_plan(), 0.0
    step = plan.step(now)
    assert isinstance(step, Send)
    plan.answered(step.wallet, HELD)
    while not isinstance(step := plan.step(now), Stop):
        if isinstance(step, Send):
            plan.failed(step.wallet, MissingReason.HTTP_5XX, now)
        else:
            assert step.until is not None
            now = step.until
    assert plan.retries == 50
    assert plan.requests_sent == 250


def test_a_retry_that_would_miss_the_deadline_is_not_planned() -> None:
    """The minute's end is not moved by a failure."""
    plan = make_plan(1, deadline=50.0)
    step = plan.step(49.8)
    assert isinstance(step, Send)
    plan.failed(step.wallet, MissingReason.TIMEOUT, 49.9)
    assert isinstance(plan.step(49.9), Stop)


def test_a_dead_exchange_costs_sixty_requests_at_most_and_opens_the_breaker() -> None:
    """With nobody answering, 20 wallets are proof enough; the others are not even tried."""
    plan, now = make_plan(), 0.0
    while not isinstance(step := plan.step(now), Stop):
        if isinstance(step, Send):
            plan.failed(step.wallet, MissingReason.CONNECT, now)
        else:
            assert step.until is not None
            now = step.until
    assert plan.requests_sent <= 60
    assert plan.error is not None
    reasons = list(plan.close().values())
    assert reasons.count(MissingReason.CONNECT) == 20
    assert reasons.count(MissingReason.BREAKER) == 180


def test_one_answer_keeps_the_breaker_closed_for_the_run() -> None:
    """A third of the wallets failing is a partial minute, not a dead exchange."""
    plan = make_plan(100, max_attempts=1)
    for number in range(100):
        step = plan.step(0.0)
        assert isinstance(step, Send)
        if number == 19:
            plan.answered(step.wallet, HELD)
        else:
            plan.failed(step.wallet, MissingReason.HTTP_5XX, 0.0)
    assert plan.error is None
    assert list(plan.close().values()).count(MissingReason.HTTP_5XX) == 99


def test_a_429_makes_everybody_wait() -> None:
    """The limit is the address's, not the wallet's."""
    plan = make_plan()
    first, second = plan.step(0.0), plan.step(0.0)
    assert isinstance(first, Send)
    assert isinstance(second, Send)
    plan.failed(first.wallet, MissingReason.RATE_LIMITED, 0.1, retry_after=7.0)
    plan.failed(second.wallet, MissingReason.RATE_LIMITED, 0.2)
    step = plan.step(1.0)
    assert isinstance(step, Wait)
    assert step.until == pytest.approx(7.1)
    assert isinstance(plan.step(7.1), Send)
    assert plan.rate_limited == 2


def test_a_429_that_asks_to_wait_beyond_the_deadline_ends_the_run() -> None:
    """What was not asked is missing because of the limit, and the answers so far are published now."""
    plan = make_plan(10)
    step, other = plan.step(0.0), plan.step(0.0)
    assert isinstance(step, Send)
    assert isinstance(other, Send)
    plan.answered(other.wallet, HELD)
    plan.failed(step.wallet, MissingReason.RATE_LIMITED, 0.1, retry_after=3600)
    assert isinstance(plan.step(0.2), Stop)
    assert plan.is_over(0.2)
    reasons = list(plan.close().values())
    assert reasons.count(MissingReason.RATE_LIMITED) == 9


def test_cool_downs_in_a_row_grow() -> None:
    """A server that does not say how long is given more time each time."""
    plan = make_plan()
    waits, now = [], 0.0
    for _ in range(3):
        step = plan.step(now)
        assert isinstance(step, Send)
        plan.failed(step.wallet, MissingReason.RATE_LIMITED, now)
        wait = plan.step(now)
        assert isinstance(wait, Wait)
        assert wait.until is not None
        waits.append(wait.until - now)
        now = wait.until
    assert waits == sorted(waits)
    assert waits[2] > 2 * waits[0]


def test_an_answer_ends_a_row_of_cool_downs() -> None:
    """The server had room again: the next 429 is the first of another row."""
    plan, now = make_plan(), 0.0
    for _ in range(3):
        good, limited = plan.step(now), plan.step(now)
        assert isinstance(good, Send)
        assert isinstance(limited, Send)
        plan.answered(good.wallet, HELD)
        plan.failed(limited.wallet, MissingReason.RATE_LIMITED, now)
        wait = plan.step(now)
        assert isinstance(wait, Wait)
        assert wait.until is not None
        assert 1.0 <= wait.until - now <= 1.2
        now = wait.until + 0.01


def test_what_is_open_at_the_end_is_late_unless_it_failed_before() -> None:
    """The last thing known of a wallet is the better reason."""
    plan = make_plan(3)
    sent = [step.wallet for step in (plan.step(0.0), plan.step(0.0)) if isinstance(step, Send)]
    plan.failed(sent[0], MissingReason.RESET, 0.0)
    answers = plan.close()
    assert answers[sent[0]] is MissingReason.RESET
    assert answers[sent[1]] is MissingReason.LATE
    assert len(answers) == 3


def test_a_signal_names_its_reason() -> None:
    """Cancelled is not late."""
    assert set(make_plan(3).close(MissingReason.CANCELLED).values()) == {MissingReason.CANCELLED}


def test_capacity_is_five_sixths_of_the_limit_in_states() -> None:
    """1,000 of 1,200 weight, two a request; 0 means no limit."""
    assert capacity(1200) == 500
    assert math.isinf(capacity(0))


def test_what_the_run_before_sent_counts_against_the_limit() -> None:
    """Two runs in a row share the exchange's window."""
    plan = make_plan(300, limit=500, sent_before=[(300, -10.0)])
    sent = 0
    while isinstance(step := plan.step(5.0), Send):
        sent += 1
        plan.answered(step.wallet, HELD)
    assert sent == 200
    assert step == Wait(50.5), "the earlier requests leave the window 60 s after the last of them arrived"


def spent(plan: Plan, *, now: float = 0.0, threads: int = 8, answer_after: float = 0.3) -> list[int]:
    """Run a plan against an exchange that answers everything, and return what it sent in each second."""
    flying: list[tuple[float, int, Wallet]] = []
    while True:
        step = plan.step(now) if len(flying) < threads else Wait(None)
        if isinstance(step, Send):
            heapq.heappush(flying, (now + answer_after, step.wallet.wallet_id, step.wallet))
            continue
        if isinstance(step, Stop) and not flying:
            return plan.sent_per_second
        nexts = [flying[0][0]] if flying else []
        if isinstance(step, Wait) and step.until is not None:
            nexts.append(step.until)
        now = min(nexts)
        while flying and flying[0][0] <= now:
            plan.answered(heapq.heappop(flying)[2], HELD)


@pytest.mark.parametrize("count", [200, 300, 400, 480])
def test_a_universe_that_fits_the_limit_is_recorded_whole_minute_after_minute(count: int) -> None:
    """What the run before sent delays this one, and must not delay it a little more each time."""
    before: list[tuple[int, float]] = []
    for _ in range(30):
        plan = make_plan(count, limit=capacity(1200), sent_before=before)
        sent = spent(plan)
        assert all(isinstance(answer, Held) for answer in plan.close().values())
        assert plan.last_sent is not None
        before = [(n, min(second + 1.0, plan.last_sent) - 60.0) for second, n in enumerate(sent) if n]


def fair_share(limit: int, start: float) -> float:
    """Return how many requests a minute may send of a limit, minute after minute.

    Those of its last 1.5 s are still in the way of the next minute when that one ends: nobody knows at which moment of
    its second a request was sent, nor how long it was on its way.
    """
    return limit * (50.0 - start) / (51.5 - start)


@pytest.mark.parametrize("count", [501, 600, 2000])
@pytest.mark.parametrize("start", [0.0, 2.5])
def test_a_universe_too_big_is_asked_at_an_even_pace_minute_after_minute(count: int, start: float) -> None:
    """Nearly the whole allowance is used in each minute, up to its end, and none starts later than the one before."""
    before: list[tuple[int, float]] = []
    for _ in range(30):
        plan = make_plan(count, limit=capacity(1200), sent_before=before)
        sent = spent(plan, now=start)
        assert sum(sent) >= math.floor(fair_share(500, start))
        assert len(sent) == 50
        assert max(sent) - min(sent[math.ceil(start) :]) <= 2
        assert plan.last_sent is not None
        before = [(n, min(second + 1.0, plan.last_sent) - 60.0) for second, n in enumerate(sent) if n]


@dataclass
class Paced:
    """Minutes one after the other in which everything is answered at once, by threads that wake up a little late."""

    count: int
    limit: int
    sent: list[float] = field(default_factory=list)  # seconds since the first minute began
    before: list[tuple[int, float]] = field(default_factory=list)

    def play(self, number: int, *, start: float, late: Sequence[float]) -> int:
        """Record a minute and return how many requests it sent."""
        plan = make_plan(self.count, limit=self.limit, sent_before=self.before)
        now = start
        while not isinstance(step := plan.step(now), Stop):
            if isinstance(step, Send):
                self.sent.append(number * 60.0 + now)
                plan.answered(step.wallet, HELD)
            else:
                assert step.until is not None
                now = step.until + late[plan.requests_sent % len(late)]
        last = plan.last_sent or 0.0
        self.before = [(n, min(second + 1.0, last) - 60.0) for second, n in enumerate(plan.sent_per_second) if n]
        return plan.requests_sent

    def most(self, seconds: float) -> int:
        """Return the most requests of any so many seconds."""
        return max(number + 1 - bisect_right(self.sent, at - seconds) for number, at in enumerate(self.sent))


@given(
    limit=st.integers(2, 600),
    starts=st.lists(st.floats(0, 5), min_size=2, max_size=5),
    late=st.lists(st.floats(0, 0.05), min_size=1, max_size=7),
)
@settings(deadline=None, max_examples=60)
def test_a_universe_too_big_gets_all_the_limit_allows_and_no_more(
    limit: int, starts: list[float], late: list[float]
) -> None:
    """Wherever in its first seconds a run begins, and however late its threads wake up: nothing is lost for good.

    A request may be on its way for half a second longer than another one, so the limit must hold for 60.5 s.
    """
    paced = Paced(limit + 1, limit)
    for number, start in enumerate(starts):
        sent = paced.play(number, start=start, late=late)
        assert sent >= math.floor(fair_share(limit, max(starts[: number + 1]))) - 1
    assert paced.most(60.5) <= limit


def test_ten_thousand_wallets_at_a_limit_of_half_of_them_lose_no_request_to_threads_that_wake_up_late() -> None:
    """At 10 ms between two requests a thread's 3 ms must not become a third of the pace."""
    paced = Paced(10_000, 5_000)
    for number in range(3):
        assert paced.play(number, start=1.0, late=(0.0, 0.003, 0.001)) >= math.floor(fair_share(5_000, 1.0))
    assert paced.most(60.5) <= 5_000


def test_a_late_start_does_not_crowd_the_end_of_its_minute() -> None:
    """The next minute would wait for what was sent there, and the one after it for that one, for ever."""
    paced = Paced(2_000, 500)
    late = paced.play(0, start=20.0, late=(0.0,))
    assert 0.9 * 500 * 30 / 50 <= late <= 500 * 30 / 50 / 0.9
    assert min(paced.play(number, start=0.0, late=(0.0,)) for number in range(1, 5)) >= 484


def test_retries_of_a_universe_too_big_are_a_quarter_of_what_is_asked() -> None:
    """They are sent in the place of others: a quarter of all the wallets would be as many as fit at all."""
    plan, now = make_plan(2000, limit=capacity(1200)), 0.0
    step = plan.step(now)
    assert isinstance(step, Send)
    plan.answered(step.wallet, HELD)
    while not isinstance(step := plan.step(now), Stop):
        if isinstance(step, Send):
            plan.failed(step.wallet, MissingReason.HTTP_5XX, now)
        else:
            assert step.until is not None
            now = step.until
    assert plan.retries == 100


@given(
    count=st.integers(1, 120),
    limit=st.integers(1, 80),
    before=st.lists(st.tuples(st.integers(0, 60), st.floats(-70, 0)), max_size=3),
    pace=st.floats(0.01, 2.0),
    outcomes=st.lists(st.sampled_from(["ok", "5xx", "429"]), min_size=1, max_size=30),
)
def test_no_sixty_seconds_ever_see_more_requests_than_allowed(
    count: int, limit: int, before: list[tuple[int, float]], pace: float, outcomes: list[str]
) -> None:
    """Whatever happens, retries and the runs before included."""
    plan = make_plan(count, limit=limit, sent_before=before)
    now, sent, turn = 0.0, [], 0
    while not isinstance(step := plan.step(now), Stop):
        if isinstance(step, Wait):
            assert step.until is not None, "nothing is in flight"
            assert step.until > now
            now = step.until
            continue
        sent.append(now)
        outcome = outcomes[turn % len(outcomes)]
        turn += 1
        now += pace
        if outcome == "ok":
            plan.answered(step.wallet, HELD)
        else:
            reason = MissingReason.HTTP_5XX if outcome == "5xx" else MissingReason.RATE_LIMITED
            plan.failed(step.wallet, reason, now)
    everything = sorted([*sent, *(at for n, at in before for _ in range(n))])
    budget = max([limit, *(sum(n for n, at in before if start <= at < start + RATE_WINDOW) for _, start in before)])
    for start in sent:
        assert sum(start - RATE_WINDOW < at <= start for at in everything) <= budget
    assert set(plan.close()) == set(wallets(count))
    assert plan.retries <= math.ceil(count / 4)
