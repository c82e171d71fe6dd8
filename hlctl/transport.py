"""HTTP as hlctl needs it: every request has a wall-clock budget and a byte cap that no server can outlast.

`requests` bounds the silence between two bytes, not the whole (a dripping server held it 20 s at timeout=2). Here each
read of the socket itself gets what is left of the budget of time and bytes: status line, headers, TLS and body alike.
"""

import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from email.utils import parsedate_to_datetime
from typing import Any

import certifi
from requests import PreparedRequest, Response
from requests import exceptions as rq
from requests.adapters import HTTPAdapter
from requests.models import Request
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from hlctl import __version__
from hlctl.errors import ConfigurationError
from hlctl.model import MissingReason

USER_AGENT = f"hlctl/{__version__} (+audited position record; one run a minute)"
CHUNK = 256 * 2**10
_MAX_HEAD = 64 * 2**10  # bytes that an answer may have beside its body
_MAX_RETRY_AFTER = 3600.0
_INTERIM = range(102, 200)  # 101 is the end of HTTP on its connection
_BLANKS = " \t"  # may stand around a header's value, and http.client leaves those behind it

_Addresses = Sequence[tuple[int, int, int, str, Any]]
"""As socket.getaddrinfo gives them."""

_asking = threading.local()
"""What this thread's request may still cost: `ends` (monotonic), `octets`, `seconds` in all; and who resolves names."""


class RequestFailedError(Exception):
    """A request brought no body; `reason` says why, `retry_after` (seconds) when the server asks to come back."""

    def __init__(self, reason: MissingReason, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry_after = retry_after


class _TooLongError(OSError):
    """The answer has more bytes than it may have."""


def _left() -> float:
    """Return the seconds left of this thread's budget; raises TimeoutError if none are."""
    left: float = _asking.ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("the request's time is used up")
    return left


def _counted(received: int) -> int:
    """Count bytes against this thread's budget; raises _TooLongError if they are more than it has."""
    _asking.octets -= received
    if _asking.octets < 0:
        raise _TooLongError
    return received


class _BoundSocket(socket.socket):
    """A plain socket whose every read is bound by the budget."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left())
        return _counted(super().recv_into(*args, **kwargs))


class _BoundTLSSocket(ssl.SSLSocket):
    """A TLS socket whose every read is bound by the budget, the handshake too."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's signature
        self.settimeout(_left())
        super().do_handshake(block)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left())
        return _counted(super().recv_into(*args, **kwargs))


class _Resolver:
    """Looks a host up once for all threads: getaddrinfo has no timeout, so it runs in a thread that may hang.

    A name server that has been silent for as long as one request may take is not waited for again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lookups: dict[tuple[str, int], tuple[float, Future[_Addresses]]] = {}

    def addresses(self, host: str, port: int) -> _Addresses:
        """Return the addresses of a host; raises OSError if it has none, or its name server does not answer in time."""
        with self._lock:
            ends, found = self._lookups.get((host, port), (0.0, None))
            if found is None or (found.done() and found.exception()):
                ends, found = time.monotonic() + _asking.seconds, Future()
                self._lookups[host, port] = ends, found
                threading.Thread(target=_look_up, args=(host, port, found), name="resolve", daemon=True).start()
        return found.result(max(0.0, min(ends, _asking.ends) - time.monotonic()))


def _look_up(host: str, port: int, found: "Future[_Addresses]") -> None:
    try:
        found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as exc:  # UnicodeError: a label is too long
        found.set_exception(exc)


def _open_socket(connection: HTTPConnection) -> socket.socket:
    """Connect to the first address that answers; each has its share of what is left of the budget."""
    host, port = connection._dns_host, connection.port  # noqa: SLF001 - the hook urllib3 offers is this method's caller
    resolver: _Resolver = _asking.resolver
    try:
        addresses = resolver.addresses(host, port)
    except (OSError, UnicodeError) as exc:
        raise NameResolutionError(host, connection, socket.gaierror(str(exc))) from exc
    problem: OSError | None = None
    for untried, (family, kind, protocol, _name, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        sock: socket.socket | None = None
        try:
            sock = _BoundSocket(family, kind, protocol)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(_left() / untried)
            sock.connect(address)
        except OSError as exc:
            if sock is not None:
                sock.close()
            problem = exc
        else:
            return sock
    if isinstance(problem, TimeoutError):
        raise ConnectTimeoutError(connection, "no answer to the connection attempt") from problem
    raise NewConnectionError(connection, f"{problem}") from problem


class _Answer(http.client.HTTPResponse):
    """The answer itself: what may come before it is passed over, which http.client does with 100 Continue alone."""

    def begin(self) -> None:
        super().begin()
        while self.status in _INTERIM:
            self.headers = None  # type: ignore[assignment]  # or it has begun
            super().begin()


class _Connection(HTTPConnection):
    response_class = _Answer

    def _new_conn(self) -> socket.socket:
        return _open_socket(self)


class _TLSConnection(HTTPSConnection):
    response_class = _Answer

    def _new_conn(self) -> socket.socket:
        return _open_socket(self)

    @property
    def is_connected(self) -> bool:
        """Tell whether to ask on it again: not if TLS holds bytes behind the last answer, which no poll can see."""
        return super().is_connected and not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending())


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _Adapter(HTTPAdapter):
    """requests' adapter over bound sockets, with one SSLContext for all connections: each one costs 25 ms of CPU.

    What requests does anew for every question, and nobody here asks for, is a quarter of its cost: which pool, which
    proxy, which cookies and encoding.
    """

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002 - requests' signature
        super().init_poolmanager(connections, maxsize, block, ssl_context=_tls_context(), **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        self._pools: dict[str | None, ConnectionPool] = {}

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> ConnectionPool:
        """Return the pool of an address."""
        pool = self._pools.get(request.url)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            self._pools[request.url] = pool
        return pool

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:  # noqa: ARG002 - requests' signature
        """Return what to ask for: there is no proxy."""
        return request.path_url

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """Return the answer's status, its headers and what is still to be read."""
        response = Response()
        response.request, response.raw = req, resp
        response.status_code, response.headers = resp.status, resp.headers
        return response

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the certificates to the shared context, which has read them already."""


def _tls_context() -> ssl.SSLContext:
    own = os.environ.get("SSL_CERT_FILE")
    try:
        context = ssl.create_default_context(cafile=own or certifi.where())
    except OSError:  # SSLError is one
        raise ConfigurationError(
            "the certificate authorities cannot be read",
            remedy=f"SSL_CERT_FILE={own} must name a file of PEM certificates" if own else "reinstall certifi",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _BoundTLSSocket
    return context


class Transport:
    """Connections to the exchange, shared by all threads of a run."""

    def __init__(self, *, connections: int, authorization: str | None = None) -> None:
        self._adapter = _Adapter(pool_connections=2, pool_maxsize=connections, pool_block=False)
        self._resolver = _Resolver()
        self._headers = {"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"}
        if authorization:
            self._headers["Authorization"] = authorization

    def close(self) -> None:
        """Close idle connections."""
        self._adapter.close()

    def post_template(self, url: str) -> PreparedRequest:
        """Return a prepared POST of JSON to `url`, to be copied per body."""
        headers = {**self._headers, "Content-Type": "application/json"}
        return Request("POST", url, headers=headers).prepare()

    def post(self, template: PreparedRequest, body: bytes, *, seconds: float, limit: int) -> bytes:
        """Send `body` and return the answer's body; raises RequestFailedError.

        The whole exchange of bytes takes at most `seconds`, the answer at most `limit` bytes.
        """
        return b"".join(self.stream(template, body, seconds=seconds, limit=limit))

    def stream(self, template: PreparedRequest, body: bytes, *, seconds: float, limit: int) -> Iterator[bytes]:
        """Do the same and return the answer's body in pieces, which must be read in the thread that called."""
        request = template.copy()
        request.body = body
        request.headers["Content-Length"] = str(len(body))
        return self._send(request, seconds=seconds, limit=limit)

    def get(self, url: str, *, seconds: float, limit: int) -> Iterator[bytes]:
        """Send a GET without credentials and return the answer's body in pieces; raises RequestFailedError.

        The pieces must be read in the thread that called.
        """
        headers = {name: value for name, value in self._headers.items() if name != "Authorization"}
        return self._send(Request("GET", url, headers=headers).prepare(), seconds=seconds, limit=limit)

    def _send(self, request: PreparedRequest, *, seconds: float, limit: int) -> Iterator[bytes]:
        if seconds <= 0:
            raise RequestFailedError(MissingReason.LATE, "there is no time left to ask")
        _asking.ends, _asking.seconds = time.monotonic() + seconds, seconds
        _asking.octets, _asking.resolver = limit + _MAX_HEAD, self._resolver
        response: Response | None = None
        whole = False
        try:
            response = self._adapter.send(request, stream=True, timeout=seconds, verify=True)
            _require_ok(response)
            declared = _require_length(response, limit)
            received = 0
            while chunk := response.raw.read(min(CHUNK, limit + 1), decode_content=False):
                received += len(chunk)
                if received > limit:
                    raise _TooLongError
                yield chunk
            if not (declared or received):  # as when the connection ends within the headers
                raise RequestFailedError(MissingReason.TRUNCATED, "the answer ends before its body")
            whole = True
        except (rq.RequestException, HTTPError, OSError) as exc:
            raise _failure(exc) from exc
        finally:
            if response is not None:
                if whole:
                    response.raw.release_conn()
                else:  # what is left on this connection belongs to nobody
                    response.raw.close()


def _require_length(response: Response, limit: int) -> bool:
    """Return whether the answer says how long it is, before any of it is read; refuse what cannot be or is too much."""
    length = response.headers.get("Content-Length")
    if length is None:
        return False
    length = length.strip(_BLANKS)
    if not (length.isascii() and length.isdecimal()):
        raise RequestFailedError(MissingReason.BAD_SHAPE, "the answer's length is no number")
    if len(length) > len(str(limit)) or int(length) > limit:
        raise _TooLongError
    return True


def _require_ok(response: Response) -> None:
    status = response.status_code
    if status == 200:  # noqa: PLR2004 - the one good answer
        encoding = response.headers.get("Content-Encoding", "").strip(_BLANKS).lower()
        if encoding not in {"", "identity"}:  # S3 sends an empty one with what was uploaded in chunks
            raise RequestFailedError(MissingReason.BAD_SHAPE, "the answer is encoded, unasked")
        return
    detail = f"the exchange answered {status}"
    if status == 429:  # noqa: PLR2004
        retry_after = _seconds(response.headers.get("Retry-After"), response.headers.get("Date"))
        raise RequestFailedError(MissingReason.RATE_LIMITED, detail, retry_after=retry_after)
    if status == 408:  # noqa: PLR2004 - the server's own word for a timeout
        raise RequestFailedError(MissingReason.TIMEOUT, detail)
    reason = {3: MissingReason.REDIRECT, 4: MissingReason.HTTP_4XX, 5: MissingReason.HTTP_5XX}
    raise RequestFailedError(reason.get(status // 100, MissingReason.BAD_SHAPE), detail)


def _seconds(retry_after: str | None, date: str | None) -> float | None:
    """Read Retry-After, seconds or a date by the server's own clock; None if it is absent or nonsense."""
    retry_after = (retry_after or "").strip(_BLANKS)
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.isdecimal():
        return min(float(retry_after[:10]), _MAX_RETRY_AFTER)
    try:
        now = parsedate_to_datetime(date).timestamp() if date else time.time()
        seconds = parsedate_to_datetime(retry_after).timestamp() - now
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER)


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and everything it wraps: requests and urllib3 nest them in args, reason and __cause__."""
    todo: list[BaseException] = [exc]
    seen: set[int] = set()
    while todo:
        current = todo.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = (*current.args, getattr(current, "reason", None), current.__cause__, current.__context__)
        todo.extend(item for item in inner if isinstance(item, BaseException))


_REASONS: tuple[tuple[tuple[type[BaseException], ...], MissingReason, str], ...] = (
    ((_TooLongError,), MissingReason.TOO_BIG, "the answer is too long"),
    ((NameResolutionError, socket.gaierror), MissingReason.DNS, "the exchange's host name is unknown"),
    # A handshake that is hung up on says nothing about certificates, and heals.
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError), MissingReason.RESET, "the exchange closed the connection"),
    ((SSLError, ssl.SSLError), MissingReason.TLS, "the TLS connection to the exchange failed"),
    ((http.client.IncompleteRead,), MissingReason.TRUNCATED, "the answer ends too early"),
    ((http.client.RemoteDisconnected,), MissingReason.RESET, "the exchange closed the connection"),
    ((http.client.HTTPException, InvalidHeader), MissingReason.BAD_SHAPE, "the answer is not HTTP"),
    # Before the timeouts, because urllib3 derives it from one.
    ((NewConnectionError,), MissingReason.CONNECT, "cannot connect to the exchange"),
    ((TimeoutError, rq.Timeout, ConnectTimeoutError, ReadTimeoutError), MissingReason.TIMEOUT, "no answer in time"),
    ((ProtocolError, OSError), MissingReason.RESET, "the exchange closed the connection"),
)


def _failure(exc: BaseException) -> RequestFailedError:
    causes = list(_causes(exc))
    for kinds, reason, words in _REASONS:
        if any(isinstance(cause, kinds) for cause in causes):
            return RequestFailedError(reason, words)
    return RequestFailedError(MissingReason.INTERNAL, f"the request failed: {type(exc).__name__}")
