"""Minutes in one process leave nothing in it."""

import gc
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from hlctl import db, sim, store
from hlctl.clock import RunClock
from hlctl.exchange import Exchange, Fetch
from hlctl.minute import Plan
from hlctl.model import Attempt, MissingReason, Transport
from tests.db.test_store import RULES, M, SetClock, make_universe

MINUTES = int(os.environ.get("TEST_MINUTES", "50"))
WARM = 10  # minutes after which caches are full
WALLETS = 20
GROWTH = 32 * 2**10  # bytes that may come to stay in the others, however many: less than an answer of a minute
FILES = Path("/proc/self/fd")

pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason="looks into /proc")


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """Return a function that tells how many bytes Python's objects take, garbage apart."""

    def traced() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    yield traced
    tracemalloc.stop()


def record(conn: db.Connection, exchange: sim.Exchange, number: int) -> None:
    """Ask for a minute and publish it, as `snapshot` does."""
    minute = M + timedelta(minutes=number)
    with (
        closing(Exchange(exchange.url, exchange.leaderboard_url, connections=8, authorization=None)) as api,
        db.transaction(conn),
    ):
        clock = RunClock(store.read_clock(conn))
        task = store.list_task(conn, minute)
        plan = Plan(task.wallets, seed=number, deadline=50.0, max_attempts=3, capacity=500.0, concurrency=8)
        fetch = Fetch(
            plan,
            lambda address, seconds: api.state(address, seconds=seconds),
            minute=minute,
            clock=clock,
            deadline=50.0,
            request_timeout=8.0,
        )
        fetch.run(threads=8, interrupted=lambda: False, progress=lambda _answered: None)
        recorded = store.publish(
            conn,
            minute,
            universe_run_id=task.universe_run_id,
            answers=plan.close(MissingReason.LATE),
            rules=RULES,
            transport=Transport(
                requests_sent=plan.requests_sent,
                retries=plan.retries,
                rate_limited=plan.rate_limited,
                last_sent_at=minute + timedelta(seconds=plan.last_sent or 0),
                sent_per_second=plan.sent_per_second,
                clock_offset_ms=fetch.clock_offset_ms(),
            ),
            attempt=Attempt(attempt_id=uuid4(), host="here", version="0", duration_ms=5, error=None),
        )
    assert (recorded.status, recorded.wallets_succeeded) == ("success", WALLETS)


def test_minutes_in_one_process_leave_no_thread_no_file_and_no_memory(
    conn: db.Connection, set_clock: SetClock, memory: Callable[[], int]
) -> None:
    """A run ends with its process today; what grows would be found by whoever runs these parts for longer."""
    world = sim.World.generate(seed=3, rows=3 * WALLETS)
    make_universe(conn, [int(address, 16) for address in world.addresses[:WALLETS]])
    with sim.serve(world, journal=False) as exchange:

        def there() -> tuple[int, int]:
            return threading.active_count(), len(list(FILES.iterdir()))

        before = there()
        for number in range(MINUTES):
            at = M + timedelta(minutes=number, seconds=2)
            set_clock(at)
            offset = at.timestamp() - time.time()
            exchange.clock = lambda offset=offset: time.time() + offset  # type: ignore[misc]
            record(conn, exchange, number)
            if number == WARM - 1:
                warm = memory()
        ends = time.monotonic() + 30
        while (left := there()) != before and time.monotonic() < ends:
            time.sleep(0.01)
        assert left == before
        grown = memory() - warm
        print(f"{MINUTES} minutes in one process: {grown} bytes came to stay after the first {WARM}")  # noqa: T201
        assert grown < GROWTH
