"""A TCP port in front of PostgreSQL that cuts, swallows and falls silent when told to.

It reads no protocol: a rule waits for words in what the client sends, and then does its worst, once.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Deed = Callable[["_Pair"], bool]
"""What a rule does to a connection; returns whether the client's words still go to the server."""


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

    def close(self) -> None:
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
    port: int = 0
    connections: int = 0
    silent: bool = False
    closed: bool = False
    _rules: list[tuple[bytes, Deed]] = field(default_factory=list)
    _pairs: list[_Pair] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return the connection string of the database behind the proxy."""
        return make_conninfo(self.database, host="127.0.0.1", port=self.port, sslmode="disable", gssencmode="disable")

    def when(self, words: bytes, deed: Deed) -> None:
        """Do `deed` to the connection on which the client has said `words`; ... stands for whatever is between."""
        self._rules.append((words, deed))

    @property
    def done(self) -> bool:
        """Whether every rule has been carried out."""
        return not self._rules

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
            back = threading.Thread(target=self._pump_back, args=(pair,), daemon=True)
            back.start()
            self._pump(pair)
            back.join()

    def _pump(self, pair: _Pair) -> None:
        with suppress(OSError):
            while data := pair.client.recv(65536):
                if pair.silent or self.silent:
                    continue
                pair.heard += data
                if self._goes_on(pair):
                    pair.server.sendall(data)
        if not (pair.silent or self.silent):
            with suppress(OSError):
                pair.server.shutdown(socket.SHUT_WR)

    def _goes_on(self, pair: _Pair) -> bool:
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

    def _pump_back(self, pair: _Pair) -> None:
        with suppress(OSError):
            while data := pair.server.recv(65536):
                if pair.silent or self.silent:
                    continue
                if pair.swallow:
                    break
                pair.client.sendall(data)
        if not (pair.silent or self.silent):
            pair.close()


def _connect(database: str) -> socket.socket:
    parts = conninfo_to_dict(database)
    host, port = str(parts.get("host") or "localhost"), int(parts.get("port") or 5432)
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{host}/.s.PGSQL.{port}")
    return connection


@contextmanager
def proxied(database: str) -> Iterator[Proxy]:
    """Put a proxy in front of a database for as long as the block lasts."""
    proxy = Proxy(database)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
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
