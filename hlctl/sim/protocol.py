"""HTTP/1.1 on one connection, by hand: keep-alive, pipelining, bodies with a Content-Length.

Small on purpose: a general server would answer a tenth as many requests, and would hide the bytes a fault must spoil.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import cast

_MAX_HEAD = 64 * 1024
_MAX_BODY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; header names in lower case."""

    method: str
    path: str  # without the query
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens on a connection: wait, then write; or close it."""

    wait: float = 0.0  # seconds
    data: bytes = b""
    close: bool = False
    reset: bool = False  # close with RST, and lose what has not been sent


Answer = Callable[[Request], Generator[Step, None, None]]
"""Says what happens for a request; it is closed when the client goes away before its end."""


class _MalformedError(Exception):
    """These bytes are not a request this server reads."""


class Connection(asyncio.Protocol):
    """A client's connection: takes requests off the stream one by one and plays each one's steps."""

    def __init__(self, answer: Answer, connections: set["Connection"]) -> None:
        self._answer = answer
        self._connections = connections
        self._buffer = b""
        self._steps: Generator[Step, None, None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._keep_alive = True
        self._paused = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the connection so that the server can end it."""
        self._transport = cast("asyncio.Transport", transport)
        # asyncio does so only for sockets that name their protocol; without it an answer in two writes takes 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Stop what was going on for a client that is gone."""
        self._connections.discard(self)
        self._buffer = b""
        self._end_steps()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read what has come; requests that come while one is being answered wait in the buffer."""
        self._buffer += data
        self._serve()

    def pause_writing(self) -> None:
        """Wait with further steps until the client has read."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on: the client has read; not at once, for asyncio is in the middle of writing and must not be closed."""
        self._paused = False
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._steps is not None and self._timer is None:
            self._play()
            self._serve()

    def _serve(self) -> None:
        """Answer the requests in the buffer, until one has to wait."""
        while self._steps is None and not self._transport.is_closing():
            try:
                request = self._take()
            except _MalformedError:
                self._transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                self._transport.close()
                return
            if request is None:
                return
            self._keep_alive = request.keep_alive
            self._steps = self._answer(request)
            self._play()

    def _play(self) -> None:
        """Take steps until one has to wait or none is left."""
        while self._steps is not None and not self._paused and not self._transport.is_closing():
            step = next(self._steps, None)
            if step is None:
                self._steps = None
                if not self._keep_alive:
                    self._transport.close()
            elif step.wait > 0:
                self._timer = asyncio.get_running_loop().call_later(step.wait, self._after_wait, step)
                return
            else:
                self._perform(step)

    def _after_wait(self, step: Step) -> None:
        self._timer = None
        self._perform(step)
        self._play()
        self._serve()

    def _perform(self, step: Step) -> None:
        if step.data:
            self._transport.write(step.data)
        if step.reset:
            linger_not = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
            self._end_steps()
            self._transport.abort()
        elif step.close:
            self._end_steps()
            self._transport.close()

    def _end_steps(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()

    def _take(self) -> Request | None:
        """Take the next whole request off the buffer; None if it has not come yet."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise _MalformedError
            return None
        request_line, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        method, _, rest = request_line.partition(" ")
        target, _, version = rest.partition(" ")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise _MalformedError
            headers[name.lower()] = value.strip()
        length = headers.get("content-length", "0")
        if version not in {"HTTP/1.1", "HTTP/1.0"} or "transfer-encoding" in headers or not length.isdecimal():
            raise _MalformedError
        stop = end + 4 + int(length)
        if stop > end + 4 + _MAX_BODY:
            raise _MalformedError
        if len(self._buffer) < stop:
            return None
        body, self._buffer = self._buffer[end + 4 : stop], self._buffer[stop:]
        keep_alive = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return Request(method, target.partition("?")[0], headers, body, keep_alive)
