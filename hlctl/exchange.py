"""Asking the exchange: many wallets at once under a plan, and the leaderboard as a stream."""

import json
import logging
import resource
import threading
from collections.abc import Callable, Iterator
from datetime import datetime

from hlctl import wire
from hlctl.clock import RunClock
from hlctl.minute import Plan, Send, Stop, judge
from hlctl.model import Answer, Held, MissingReason, Source, Wallet
from hlctl.transport import RequestFailedError, Transport

log = logging.getLogger(__name__)

MAX_STATE_BYTES = 256 * 2**10
"""Four times the largest state recorded; a position has some 550 bytes, and there are fewer than 300 perpetuals."""
LEADERBOARD_SECONDS = {Source.STATS_DATA: 90.0, Source.INFO_API: 30.0}
OTHER_FILES = 16
"""Files that a run may have open beside its connections to the exchange."""
_LOOK_UP = 0.1  # how often the main thread looks for a signal, in seconds


def concurrency(wanted: int) -> int:
    """Return how many requests may be in flight: as wanted, unless the process may not have so many files open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = max(1, files - OTHER_FILES)
    if files == resource.RLIM_INFINITY or allowed >= wanted:
        return wanted
    log.warning("only %d requests at once: this process may have no more than %d files open", allowed, files)
    return allowed


class Exchange:
    """The exchange's public API under one base URL."""

    def __init__(self, api_url: str, leaderboard_url: str, *, connections: int, authorization: str | None) -> None:
        self._transport = Transport(connections=connections, authorization=authorization)
        # Providers print their address with the path, the exchange without.
        self._info = self._transport.post_template(f"{api_url.rstrip('/').removesuffix('/info')}/info")
        self._leaderboard_url = leaderboard_url

    def close(self) -> None:
        """Close idle connections; threads still waiting for an answer are left to end with the process."""
        self._transport.close()

    def state(self, address: str, *, seconds: float) -> bytes:
        """Return the clearinghouseState of `address` as sent; raises RequestFailedError."""
        body = json.dumps({"type": "clearinghouseState", "user": address}, separators=(",", ":")).encode()
        return self._transport.post(self._info, body, seconds=seconds, limit=MAX_STATE_BYTES)

    def leaderboard(self, source: Source, *, seconds: float | None = None) -> Iterator[bytes]:
        """Return the leaderboard in pieces, in at most LEADERBOARD_SECONDS of its source, or `seconds` if that is less.

        Raises RequestFailedError, also while it is read.
        """
        bound = LEADERBOARD_SECONDS[source] if seconds is None else min(seconds, LEADERBOARD_SECONDS[source])
        limit = wire.MAX_LEADERBOARD_BYTES
        if source is Source.STATS_DATA:
            return self._transport.get(self._leaderboard_url, seconds=bound, limit=limit)
        return self._transport.stream(self._info, b'{"type":"leaderboard"}', seconds=bound, limit=limit)


class Fetch:
    """One run's questions and answers: worker threads ask what the plan says, the main thread watches the clock."""

    def __init__(  # everything a worker needs, by name
        self,
        plan: Plan,
        ask: Callable[[str, float], bytes],
        *,
        minute: datetime,
        clock: RunClock,
        deadline: float,
        request_timeout: float,
    ) -> None:
        self._plan = plan
        self._ask = ask
        self._minute = minute
        self._clock = clock
        self._deadline = deadline
        self._request_timeout = request_timeout
        self._turn = threading.Lock()  # one thread waits for what the plan says, the others for their turn to do so
        lock = threading.Lock()
        self._changed = threading.Condition(lock)  # what the plan says may be another thing now
        self._ended = threading.Condition(lock)  # a thread has nothing left to do
        self._decoding = threading.Lock()  # a hostile answer costs memory while it is decoded: one at a time
        self._closed = False
        self._clock_offsets: list[float] = []
        self._bug: BaseException | None = None

    def run(self, *, threads: int, interrupted: Callable[[], bool], progress: Callable[[int], None]) -> None:
        """Ask until every wallet is answered, nothing more can be sent, the deadline is over, or a signal came.

        The threads are daemons and never waited for: one that hangs costs its wallet, not the run's end.
        """
        for number in range(threads):
            try:
                threading.Thread(target=self._work, name=f"ask-{number}", daemon=True).start()
            except RuntimeError:  # this process may have no more: those there are do the work
                if number == 0:
                    raise
                break
        with self._changed:
            while not (self._bug or interrupted() or self._plan.is_over(self._now())):
                progress(len(self._plan.answers))
                self._ended.wait(min(_LOOK_UP, max(0.0, self._deadline - self._now())))
            self._closed = True
            self._changed.notify()
            progress(len(self._plan.answers))
        if self._bug:
            raise self._bug

    def clock_offset_ms(self) -> int | None:
        """Return the exchange's clock minus the database's, median over the answers that told the time."""
        offsets = sorted(self._clock_offsets)
        return round(offsets[len(offsets) // 2]) if offsets else None

    def _now(self) -> float:
        return self._clock.since(self._minute)

    def _work(self) -> None:
        try:
            while (wallet := self._next()) is not None:
                self._ask_one(wallet)
        except BaseException as exc:  # noqa: BLE001 - handed to the main thread, which raises it
            self._bug = exc
        with self._ended:
            self._ended.notify()

    def _next(self) -> Wallet | None:
        """Return the wallet to ask now, waiting for its time; None when there is nothing left to do."""
        with self._turn, self._changed:
            while not self._closed:
                now = self._now()
                step = self._plan.step(now)
                if isinstance(step, Send):
                    return step.wallet
                if isinstance(step, Stop):
                    break
                self._changed.wait(None if step.until is None else step.until - now)
            return None

    def _ask_one(self, wallet: Wallet) -> None:
        answer: Answer
        retry_after: float | None = None
        offset: float | None = None
        try:
            body = self._ask(wallet.address, min(self._request_timeout, self._deadline - self._now()))
            observed_at = self._clock.now()
            with self._decoding:
                state = wire.decode_state(body)
            if state.time_ms is not None:
                offset = state.time_ms - observed_at.timestamp() * 1000
            answer = judge(state, minute=self._minute, observed_at=observed_at)
        except RequestFailedError as exc:
            answer, retry_after = exc.reason, exc.retry_after
        except wire.WireError as exc:
            answer = exc.reason
        except Exception as exc:  # what nobody thought of costs its wallet, and not the others
            log.warning("%s: %s", wallet.address, type(exc).__name__)
            log.debug("cause", exc_info=exc)
            answer = MissingReason.INTERNAL
        with self._changed:
            if self._closed:
                return
            if offset is not None:
                self._clock_offsets.append(offset)
            if isinstance(answer, Held):
                self._plan.answered(wallet, answer)
            else:
                self._plan.failed(wallet, answer, self._now(), retry_after=retry_after)
            self._changed.notify()
