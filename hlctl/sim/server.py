"""The simulated exchange: an HTTP server on loopback that answers from a world, counts, and misbehaves when told to."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from hlctl.sim.faults import (
    INFO_LEADERBOARD,
    LEADERBOARD,
    TEXT,
    Fault,
    Faults,
    Reply,
    chunks,
    pieces,
    reason,
    refusal,
    spoiled,
)
from hlctl.sim.ledger import Ledger, Served
from hlctl.sim.protocol import Connection, Request, Step
from hlctl.sim.world import World

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_BACKLOG = 1024
_START_SECONDS = 10.0
_STATE_WEIGHT, _INFO_WEIGHT = 2, 20
_API_HEADERS = {"Server": "nginx/1.22.1", "X-Cache": "Miss from cloudfront"}
_FILE_HEADERS = {"Server": "AmazonS3", "X-Cache": "Hit from cloudfront"}


@dataclass(frozen=True, slots=True)
class _Call:
    """What a request asks for."""

    kind: str
    reply: Callable[[float], Reply]  # the answer, given the moment of answering (epoch seconds)
    weight: int = 0
    address: str | None = None  # lower case
    targets: tuple[str | None, ...] = ()  # of faults, the first that has one counts


class Exchange:
    """A simulated exchange; a context manager that answers from entry to exit, in a thread of its own.

    It listens on 127.0.0.1, at a free port unless one is given, and keeps that port if entered again. What it served
    is kept in memory (`journal`) and appended to `journal_file`, one JSON object a line.

    Its attributes may be changed while it runs:

    - `clock` gives epoch seconds: the times in answers, the journal and the rate limit are its times;
    - `limit` is the request weight served in any 60 s of that clock, None = any; over it the answer is 429,
      with Retry-After if `retry_after` (seconds) is set;
    - `leaderboard_body` replaces the leaderboard file's bytes unless it is None;
    - `info_leaderboard` lets POST /info answer {"type":"leaderboard"} too, which the real one has stopped doing.
    """

    def __init__(
        self,
        world: World,
        *,
        port: int = 0,
        limit: int | None = None,
        clock: Callable[[], float] = time.time,
        journal: bool = True,
        journal_file: Path | None = None,
    ) -> None:
        self.world = world
        self.clock = clock
        self.retry_after: float | None = None
        self.leaderboard_body: bytes | None = None
        self.info_leaderboard = False
        self._port = port
        self._ledger = Ledger(limit=limit, keep=journal)
        self._journal_path = journal_file
        self._journal_file: IO[str] | None = None
        self._faults = Faults()
        self._leaderboard: bytes | None = None
        self._date = (0, "")
        self._connections: set[Connection] = set()
        self._crashes: list[str] = []
        self._opened = ExitStack()  # to be closed at the end: loop, thread, journal file, socket
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event

    # What a test or a job may ask and tell it.

    @property
    def url(self) -> str:
        """Base URL of the API, without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def leaderboard_url(self) -> str:
        """URL of the leaderboard file."""
        return f"{self.url}/Mainnet/leaderboard"

    def misbehave(self, target: str | None, *faults: Fault) -> None:
        """Answer badly from now on: one wallet (its address), None for all wallets, LEADERBOARD, INFO_LEADERBOARD.

        Several faults follow each other, each for its `times`; none at all is good behaviour. A wallet's own faults
        come before those for all.
        """
        self._faults.set(target, faults)

    def behave(self) -> None:
        """Answer everybody well again; a replaced leaderboard stays replaced."""
        self._faults.clear()

    @property
    def limit(self) -> int | None:
        """Request weight served in any 60 s, None = any."""
        return self._ledger.limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._ledger.limit = limit

    @property
    def journal(self) -> tuple[Served, ...]:
        """Every request and the bytes it got, in the order of answering."""
        return self._ledger.entries()

    def served_states(self, minute: int | None = None) -> list[Served]:
        """Give the states served whole and with status 200, of one minute (epoch seconds // 60) or of all."""
        return [
            entry
            for entry in self.journal
            if entry.kind == "clearinghouseState" and entry.status == HTTPStatus.OK and entry.complete
            if minute is None or int(entry.at) // 60 == minute
        ]

    def forget(self) -> None:
        """Empty the journal and set the counters to zero."""
        self._ledger.clear()

    @property
    def requests(self) -> int:
        """Requests that came, answered or not."""
        return self._ledger.requests

    @property
    def weight_sent(self) -> int:
        """Weight of the requests that came."""
        return self._ledger.weight_sent

    @property
    def max_weight_60s(self) -> int:
        """Largest weight that came in any 60 s of the exchange's clock, refused requests included."""
        return self._ledger.max_weight_60s

    @property
    def in_flight(self) -> int:
        """Requests being answered now."""
        return self._ledger.in_flight

    @property
    def max_in_flight(self) -> int:
        """Largest number of requests that were being answered at the same time."""
        return self._ledger.max_in_flight

    def leaderboard(self) -> bytes:
        """Give the leaderboard file's bytes; made at the first call."""
        if self.leaderboard_body is not None:
            return self.leaderboard_body
        if self._leaderboard is None:
            self._leaderboard = b"".join(self.world.leaderboard())
        return self._leaderboard

    # Start and stop.

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            listener = opened.enter_context(socket.create_server(("127.0.0.1", self._port), backlog=_BACKLOG))
            if self._journal_path is not None:
                self._journal_file = opened.enter_context(self._journal_path.open("a", encoding="utf-8"))
            self._port = listener.getsockname()[1]
            ready = threading.Event()
            thread = threading.Thread(target=lambda: asyncio.run(self._run(listener, ready)), name="sim", daemon=True)
            thread.start()
            if not ready.wait(_START_SECONDS):
                raise RuntimeError("the simulated exchange did not start")
            opened.callback(thread.join)
            opened.callback(lambda: self._loop.call_soon_threadsafe(self._stop.set))
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, exc: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._opened.close()
        if self._crashes:
            # Otherwise a bug of the simulator would pass for a fault of the exchange.
            crash = "the simulated exchange crashed: " + "; ".join(self._crashes)
            if exc is None:
                raise RuntimeError(crash)
            exc.add_note(crash)

    async def _run(self, listener: socket.socket, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._loop.set_exception_handler(lambda _loop, context: self._crashes.append(repr(context)))
        server = await self._loop.create_server(
            lambda: Connection(self._answer, self._connections), sock=listener, backlog=_BACKLOG
        )
        ready.set()
        await self._stop.wait()
        server.close()
        while self._connections:
            for connection in tuple(self._connections):
                connection.abort()
            await asyncio.sleep(0)

    # Answering.

    def _answer(self, request: Request) -> Generator[Step, None, None]:
        """Say what happens for a request."""
        call = self._read(request)
        admitted = self._ledger.arrive(self.clock(), call.weight)
        try:
            fault = self._faults.take(*call.targets) if admitted else self._refused()
            if fault.delay > 0:
                yield Step(wait=fault.delay)
            at = self.clock()
            if fault.drop:
                self._record(request, call, at, status=0, body=b"", complete=False)
                yield Step(close=True, reset=fault.reset)
                return
            yield from self._send(request, call, at, spoiled(call.reply(at), fault), fault)
        finally:
            self._ledger.leave()

    def _send(self, request: Request, call: _Call, at: float, reply: Reply, fault: Fault) -> Iterator[Step]:
        """Write an answer; the journal tells how much of its body was written before the client went away.

        An answer that is written whole is in the journal before the client can have it.
        """
        head = self._head(reply, at, keep_alive=request.keep_alive)
        head = fault.head(head) if fault.head else head
        full = chunks(reply.body) if fault.chunked else reply.body
        body = full[: fault.truncate_at]
        whole = len(body) == len(full) and not fault.endless
        written, recorded = 0, False
        try:
            for wait, data in pieces(head, body, fault):
                if wait:
                    yield Step(wait=wait)
                if written + len(data) == len(head) + len(body) and not fault.endless:
                    recorded = True
                    sent = reply.body if whole else body
                    self._record(request, call, at, status=reply.status, body=sent, complete=whole)
                yield Step(data=data)
                written += len(data)
        finally:
            if not recorded:
                body = body[: max(0, written - len(head))]
                self._record(request, call, at, status=reply.status, body=body, complete=False)
        if fault.reset or not whole or not reply.has_end:
            yield Step(close=True, reset=fault.reset)

    def _refused(self) -> Fault:
        headers = {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:g}"}
        return Fault(status=HTTPStatus.TOO_MANY_REQUESTS, headers=headers)

    def _read(self, request: Request) -> _Call:
        """Understand a request."""
        if request.path == "/Mainnet/leaderboard" and request.method == "GET":
            return _Call(
                "leaderboard", lambda _at: Reply(body=self.leaderboard(), headers=_FILE_HEADERS), targets=(LEADERBOARD,)
            )
        if request.path != "/info":
            return _Call("other", lambda _at: refusal(HTTPStatus.NOT_FOUND))
        if request.method != "POST":
            return _Call("other", lambda _at: refusal(HTTPStatus.METHOD_NOT_ALLOWED))
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            missing = b"Expected request with `Content-Type: application/json`"
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            return _Call("other", lambda _at: Reply(status=status, content_type=TEXT, body=missing))
        return self._read_info(request.body)

    def _read_info(self, body: bytes) -> _Call:
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            asked = None
        fields: dict[str, Any] = asked if isinstance(asked, dict) else {}
        kind = str(fields.get("type", "other"))
        user = fields.get("user")
        if kind == "clearinghouseState":
            if not isinstance(user, str) or not _ADDRESS.fullmatch(user):
                return _Call(kind, lambda _at: refusal(HTTPStatus.UNPROCESSABLE_ENTITY), _STATE_WEIGHT)
            address = user.lower()
            # Nobody holds anything on the other dexes: an address that no world knows is all zero.
            asked_of = "" if fields.get("dex") else address
            return _Call(kind, lambda at: self._state(asked_of, at), _STATE_WEIGHT, address, (address, None))
        if kind == "leaderboard" and self.info_leaderboard:
            return _Call(
                kind,
                lambda _at: Reply(body=self.leaderboard(), headers=_API_HEADERS),
                _INFO_WEIGHT,
                targets=(INFO_LEADERBOARD,),
            )
        targets = (INFO_LEADERBOARD,) if kind == "leaderboard" else ()
        return _Call(kind, lambda _at: refusal(HTTPStatus.UNPROCESSABLE_ENTITY), _INFO_WEIGHT, targets=targets)

    def _state(self, address: str, at: float) -> Reply:
        return Reply(body=self.world.state(address, int(at * 1000)), headers=_API_HEADERS)

    def _head(self, reply: Reply, at: float, *, keep_alive: bool) -> bytes:
        """Give status line and headers; a header of the reply is set instead of ours, whatever its letter case."""
        second = int(at)
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        headers = {
            "Content-Type": reply.content_type,
            "Content-Length": str(len(reply.body)),
            "Connection": "keep-alive" if keep_alive else "close",
            "Date": self._date[1],
        }
        over = {name.lower() for name in reply.headers}
        lines = [f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() not in over]
        lines += [f"{name}: {value}\r\n" for name, value in reply.headers.items() if value is not None]
        return f"HTTP/1.1 {reply.status} {reason(reply.status)}\r\n{''.join(lines)}\r\n".encode("latin-1")

    def _record(self, request: Request, call: _Call, at: float, *, status: int, body: bytes, complete: bool) -> None:
        served = Served(at, request.path, call.kind, call.address, status, body, call.weight, complete, request.headers)
        self._ledger.record(served)
        if self._journal_file is not None:
            entry = {"at": at, "path": served.path, "kind": served.kind, "address": served.address, "status": status}
            rest = {"body": body.decode("utf-8", "backslashreplace"), "weight": served.weight, "complete": complete}
            print(json.dumps(entry | rest), file=self._journal_file, flush=True)


serve = Exchange
"""To be read as it is used: `with serve(world) as exchange`."""
