"""A port or socket in front of PostgreSQL that cuts, swallows and falls silent when told to.

A rule waits for words in what the client sends, and then does its worst, once. Of the protocol it knows where a
message begins and ends, so that it can also do so at the n-th message of either side, or in the middle of it.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Deed = Callable[["_Pair"], bool]
"""What a rule does to a connection; returns whether the client's words still go to the server."""


Side = Literal["client", "server"]
"""Who says something."""

_LENGTH = struct.Struct("!I")
_ENCRYPTION = {_LENGTH.pack(80877103), _LENGTH.pack(80877104)}  # SSLRequest and GSSENCRequest: answered by one byte


class Point(NamedTuple):
    """A moment of a stream: after the n-th message of a side, counted over all connections, or in the middle of it."""

    side: Side
    n: int
    within: bool = False


class Message(NamedTuple):
    """A message that was passed on: its type (a startup packet has none) and its bytes."""

    side: Side
    kind: str
    data: bytes


def cut(pair: "_Pair") -> bool:
    """Close both ends before the server hears it."""
    pair.close()
    return False


def lose_the_reply(pair: "_Pair") -> bool:
    """Let the server hear it and do it, and close the client's end instead of passing on what the server says."""
    pair.swallow = True
    return True


def fall_silent(pair: "_Pair") -> bool:
    """Take everything from now on and pass nothing on: the kernel goes on acknowledging."""
    pair.silent = True
    return False


@dataclass(eq=False)
class _Pair:
    """A client's connection and the one to the server that stands behind it."""

    client: socket.socket
    server: socket.socket
    heard: bytes = b""
    silent: bool = False
    swallow: bool = False
    is_untyped: bool = True  # the client's next message
    is_asked: bool = False  # the server answers by a single byte
    is_closed: bool = False
    unread: dict[Side, bytes] = field(default_factory=lambda: {"client": b"", "server": b""})

    def read(self, side: Side, data: bytes) -> Iterator[Message]:
        """Yield every message that is whole by now."""
        self.unread[side] += data
        while True:
            unread = self.unread[side]
            untyped = side == "client" and self.is_untyped
            size = self._size(side, unread)
            if size is None or len(unread) < size:
                return
            whole, self.unread[side] = unread[:size], unread[size:]
            if untyped:
                self.is_asked = whole[4:8] in _ENCRYPTION
                self.is_untyped = self.is_asked
            elif self.is_asked:
                self.is_asked = False
            yield Message(side, "" if untyped else chr(whole[0]), whole)

    def _size(self, side: Side, unread: bytes) -> int | None:
        """Return how long the next message is; None if that cannot be told yet."""
        if side == "server" and self.is_asked:
            return 1
        start = 0 if side == "client" and self.is_untyped else 1
        if len(unread) < start + 4:
            return None
        return start + int(_LENGTH.unpack_from(unread, start)[0])

    def close(self) -> None:
        self.is_closed = True
        for end in (self.client, self.server):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not a farewell
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@dataclass
class Proxy:
    """The proxy; `url` is the database's through it."""

    database: str
    folder: Path | None = None  # of its socket; else it has a port
    port: int = 5432
    connections: int = 0
    silent: bool = False
    delay: float = 0.0  # seconds before each piece of what the server says
    messages: list[Message] = field(default_factory=list)
    """All that was passed on, in order."""
    _rules: list[tuple[bytes, Deed]] = field(default_factory=list)
    _points: dict[Point, Deed] = field(default_factory=dict)
    _pairs: list[_Pair] = field(default_factory=list)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """Return the connection string of the database behind the proxy."""
        host = str(self.folder or "127.0.0.1")
        return make_conninfo(self.database, host=host, port=self.port, sslmode="disable", gssencmode="disable")

    def when(self, words: bytes, deed: Deed) -> None:
        """Do `deed` to the connection on which the client has said `words`; ... stands for whatever is between."""
        self._rules.append((words, deed))

    def at(self, point: Point, deed: Deed) -> None:
        """Do `deed` to the connection on which that message is passed on."""
        self._points[point] = deed

    @property
    def done(self) -> bool:
        """Whether every rule has been carried out, and every point was reached."""
        return not self._rules and not self._points

    def cut_all(self) -> None:
        """Reset every connection there is."""
        for pair in self._pairs:
            pair.close()

    def fall_silent(self) -> None:
        """Pass nothing on from now on, on no connection, new ones included."""
        self.silent = True

    def serve(self, client: socket.socket) -> None:
        """Stand between a client and the server until one of them leaves."""
        self.connections += 1
        with suppress(OSError):
            pair = _Pair(client, _connect(self.database))
            self._pairs.append(pair)
            back = threading.Thread(target=self._pump, args=(pair, "server"), daemon=True)
            back.start()
            self._pump(pair, "client")
            back.join()

    def _pump(self, pair: _Pair, side: Side) -> None:
        source, sink = (pair.client, pair.server) if side == "client" else (pair.server, pair.client)
        with suppress(OSError):
            while data := source.recv(65536):
                if pair.silent or self.silent:
                    continue
                if side == "server" and pair.swallow:
                    break
                if side == "server" and self.delay:
                    time.sleep(self.delay)
                self._pass_on(pair, side, data, sink)
        if not (pair.silent or self.silent):
            if side == "server":
                pair.close()
            else:
                with suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)

    def _pass_on(self, pair: _Pair, side: Side, data: bytes, sink: socket.socket) -> None:
        """Pass on what is whole by now, up to the message at which something is to be done."""
        passed = b""
        for message in pair.read(side, data):
            if side == "client" and not self._goes_on(pair, message.data):
                break
            with self._counting:
                if pair.is_closed:  # the other side's thread has cut it: what nobody gets does not count
                    return
                self.messages.append(message)
                if not self._points:  # and nobody counts: a day of cells is hundreds of thousands
                    passed += message.data
                    continue
                point = Point(side, sum(said.side == side for said in self.messages))
                for place in (point._replace(within=True), point):
                    if deed := self._points.pop(place, None):
                        sink.sendall(passed + message.data[: len(message.data) // (2 if place.within else 1)])
                        deed(pair)
                        return
            passed += message.data
        if passed:
            sink.sendall(passed)

    def _goes_on(self, pair: _Pair, data: bytes) -> bool:
        pair.heard += data
        for rule in self._rules:
            words, deed = rule
            at = 0
            for part in words.split(b"..."):
                at = pair.heard.find(part, at)
                if at < 0:
                    break
            else:
                self._rules.remove(rule)
                return deed(pair)
        return True


def _connect(database: str) -> socket.socket:
    parts = conninfo_to_dict(database)
    host, port = str(parts.get("host") or "localhost"), int(parts.get("port") or 5432)
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{host}/.s.PGSQL.{port}")
    return connection


def _listen(folder: Path | None, port: int) -> socket.socket:
    if folder is None:
        return socket.create_server(("127.0.0.1", 0), backlog=64)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / f".s.PGSQL.{port}"))
    listener.listen(64)
    return listener


@contextmanager
def proxied(database: str, *, folder: Path | None = None) -> Iterator[Proxy]:
    """Put a proxy in front of a database for as long as the block lasts: on a port, or with a socket in a folder."""
    proxy = Proxy(database, folder)
    with _listen(folder, proxy.port) as listener:
        if folder is None:
            proxy.port = listener.getsockname()[1]

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            proxy.cut_all()
            if folder is not None:
                (folder / f".s.PGSQL.{proxy.port}").unlink()
