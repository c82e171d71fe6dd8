"""Many questions at once: what a thread does to the run, and what it does not."""

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from hlctl.clock import RunClock
from hlctl.exchange import Fetch
from hlctl.minute import Plan, Send, Stop, Wait
from hlctl.model import Answer, Held, MissingReason, Wallet

M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
WALLETS = [Wallet(number, f"0x{number:040x}") for number in range(1, 11)]
GOOD = b'{"assetPositions":[],"time":%d}' % int(M.timestamp() * 1000)


def fetch(
    ask: Callable[[str, float], bytes], *, seconds: float = 5.0, interrupted: Callable[[], bool] = lambda: False
) -> tuple[dict[Wallet, Answer], Fetch, list[int]]:
    """Ask for ten wallets with four threads, `seconds` before the deadline."""
    plan = Plan(WALLETS, seed=1, deadline=10.0, max_attempts=1, capacity=math.inf, concurrency=4)
    clock = RunClock(M + timedelta(seconds=10.0 - seconds))
    run = Fetch(plan, ask, minute=M, clock=clock, deadline=10.0, request_timeout=8.0)
    told: list[int] = []
    run.run(threads=4, interrupted=interrupted, progress=told.append)
    return plan.close(), run, told


def test_every_wallet_gets_its_own_answer_and_the_progress_is_told() -> None:
    """The bar ends where the work ends."""
    answers, run, told = fetch(lambda _address, _seconds: GOOD)
    assert set(answers) == set(WALLETS)
    assert all(isinstance(answer, Held) for answer in answers.values())
    assert told == sorted(told)
    assert told[-1] == 10
    offset = run.clock_offset_ms()
    assert offset is not None
    assert -10_000 < offset <= -5_000, "the answers were dated at the start of the minute"


def test_an_error_nobody_thought_of_costs_its_wallet_only() -> None:
    """One wallet's odd answer must never cost the run."""

    def ask(address: str, _seconds: float) -> bytes:
        if address == WALLETS[3].address:
            raise LookupError("a bug")
        return GOOD

    answers, _, _ = fetch(ask)
    assert answers.pop(WALLETS[3]) is MissingReason.INTERNAL
    assert all(isinstance(answer, Held) for answer in answers.values())


def test_a_bug_outside_a_wallets_answer_is_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the run would wait for its deadline and call answered wallets late."""

    def broken(_plan: Plan, _wallet: Wallet, _held: Held) -> None:
        raise LookupError("a bug in the plan")

    monkeypatch.setattr(Plan, "answered", broken)
    began = time.monotonic()
    with pytest.raises(LookupError):
        fetch(lambda _address, _seconds: GOOD)
    assert time.monotonic() - began < 4


def test_a_thread_that_hangs_does_not_hold_the_run_beyond_the_deadline() -> None:
    """A name server that never answers cannot be interrupted; the minute ends without it."""
    release = threading.Event()

    def ask(address: str, _seconds: float) -> bytes:
        if address in {WALLETS[0].address, WALLETS[1].address}:
            release.wait(30)
        return GOOD

    began = time.monotonic()
    answers, _, _ = fetch(ask, seconds=0.5)
    release.set()
    assert time.monotonic() - began < 5
    assert [answers[wallet] for wallet in WALLETS[:2]] == [MissingReason.LATE] * 2
    assert all(isinstance(answers[wallet], Held) for wallet in WALLETS[2:])


@pytest.mark.parametrize("allowed", [0, 2])
def test_with_fewer_threads_than_wanted_the_work_is_done_by_those_there_are(
    monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    """A limit on processes must not cost the minute; with none at all there is nobody to do it."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if len(started) == allowed:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    if not allowed:
        with pytest.raises(RuntimeError):
            fetch(lambda _address, _seconds: GOOD)
        return
    answers, _, _ = fetch(lambda _address, _seconds: GOOD)
    assert all(isinstance(answer, Held) for answer in answers.values())


def test_no_request_may_last_beyond_the_deadline() -> None:
    """What is left of the minute bounds the budget of each request."""
    budgets: list[float] = []

    def ask(_address: str, seconds: float) -> bytes:
        budgets.append(seconds)
        return GOOD

    fetch(ask, seconds=3.0)
    assert 0 < max(budgets) <= 3.0


def test_threads_that_wait_are_not_all_woken_by_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One asks what may be sent when, the others wait for their turn: 64 that all did cost 2.8 ms of CPU a request."""
    steps: list[float] = []
    step = Plan.step

    def counted(plan: Plan, now: float) -> Send | Wait | Stop:
        steps.append(now)
        return step(plan, now)

    monkeypatch.setattr(Plan, "step", counted)
    wallets = [Wallet(number, f"0x{number:040x}") for number in range(1, 101)]
    plan = Plan(wallets, seed=1, deadline=2.0, max_attempts=1, capacity=99, concurrency=32)
    run = Fetch(plan, lambda _a, _s: GOOD, minute=M, clock=RunClock(M), deadline=2.0, request_timeout=8.0)
    run.run(threads=32, interrupted=lambda: False, progress=lambda _answered: None)
    asked = plan.requests_sent
    assert asked > 10
    assert len(steps) <= 4 * asked + 32, "a wait, an answer and a send each, and each thread's end"


def test_an_interrupt_ends_the_run_with_what_is_known() -> None:
    """The answers that came before it are kept."""
    release = threading.Event()
    calls: list[str] = []

    def ask(address: str, _seconds: float) -> bytes:
        calls.append(address)
        if len(calls) > 4:
            release.wait(30)
        return GOOD

    began = time.monotonic()
    answers, _, _ = fetch(ask, interrupted=lambda: len(calls) >= 8)
    release.set()
    assert time.monotonic() - began < 4
    assert sum(isinstance(answer, Held) for answer in answers.values()) == 4


def test_without_an_answer_there_is_no_clock() -> None:
    """Nothing was measured."""
    _, run, _ = fetch(lambda _address, _seconds: b"null")
    assert run.clock_offset_ms() is None
