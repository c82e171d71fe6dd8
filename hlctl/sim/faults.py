"""What the exchange says when it refuses, and how it can be told to misbehave.

A reply is what is to be said; a fault changes it (`spoiled`) or the way it is sent (`pieces`, and `server` for the
connection's end). A new kind of misbehaviour is an entry of `catalogue`, or a field of Fault and a few lines here.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

JSON, TEXT, HTML = "application/json", "text/plain; charset=utf-8", "text/html"

_PIECE = 256 * 1024  # of a long body: what is written at a time, so that a client can stop it

UNREADABLE = b"Failed to deserialize the JSON body into the target type"

LEADERBOARD = "leaderboard"
"""Target of a fault: the leaderboard file."""
INFO_LEADERBOARD = "info-leaderboard"
"""Target of a fault: the leaderboard asked for through /info."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer before it is written; Content-Length and Date are added then.

    A header that is None is left out.
    """

    status: int = 200
    content_type: str = JSON
    body: bytes = b""
    headers: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def has_end(self) -> bool:
        """Whether the answer says where it ends; one that does not ends with its connection."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        return headers.get("content-length", "ours") is not None or "transfer-encoding" in headers


Spoil = Callable[[bytes], bytes]
"""Makes bad bytes of good ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to misbehave; fields left alone change nothing.

    A `status` comes with the body, type and headers reported for it; `headers` are set over those of the answer,
    whatever their letter case, and left out where they are None; `body` replaces the answer's bytes or is made of them,
    and so is `head`, the status line and headers. Nothing checks that the parts fit together: that is the point.
    """

    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    head: Spoil | None = None
    body: bytes | Spoil | None = None
    delay: float = 0.0  # seconds from the request to the answer; the answer is then of that later moment
    drip_head: float = 0.0  # seconds before each byte of status line and headers
    drip_body: float = 0.0  # seconds before each byte of the body
    chunked: bool = False  # send the body in chunks, without a Content-Length
    endless: bool = False  # the body over and over again, until the client goes away
    times: int | None = None  # only so many requests, None = for ever
    drop: bool = False  # close the connection without an answer
    truncate_at: int | None = None  # send the body up to there (a slice) under the full Content-Length, then close
    reset: bool = False  # end the connection with RST


NO_FAULT = Fault()


def refusal(status: int) -> Reply:
    """Give an error answer as it is reported of the real exchange."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Reply(status=status, body=b"null", headers={"X-Cache": "Error from cloudfront"})
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return Reply(status=status, body=b"null")
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return Reply(status=status, content_type=TEXT, body=UNREADABLE)
    if status == HTTPStatus.FORBIDDEN:
        return Reply(status=status, content_type=TEXT, body=b"blocked")
    title = f"{status} {reason(status)}"
    page = f"<html>\n<head><title>{title}</title></head>\n<body>\n<center><h1>{title}</h1></center>\n<hr><center>nginx"
    return Reply(status=status, content_type=HTML, body=f"{page}</center>\n</body>\n</html>\n".encode())


def reason(status: int) -> str:
    """Reason phrase of a status, known or not."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def spoiled(reply: Reply, fault: Fault) -> Reply:
    """Give the reply that a fault makes of a good one."""
    if fault.status is not None and fault.status != reply.status:
        reply = refusal(fault.status)
    if fault.body is not None:
        reply = replace(reply, body=fault.body(reply.body) if callable(fault.body) else fault.body)
    chunked: dict[str, str | None] = {"Content-Length": None, "Transfer-Encoding": "chunked"} if fault.chunked else {}
    if chunked or fault.headers:
        reply = replace(reply, headers={**reply.headers, **chunked, **fault.headers})
    return reply


def chunks(body: bytes) -> bytes:
    """Give a body as two chunks and the end."""
    parts = (body[:50], body[50:])
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


def pieces(head: bytes, body: bytes, fault: Fault) -> Iterator[tuple[float, bytes]]:
    """Give what is written of an answer, each piece after so many seconds: mostly one piece, at once."""
    if fault.drip_head:
        yield from ((fault.drip_head, head[i : i + 1]) for i in range(len(head)))
        head = b""
    if fault.drip_body:
        yield 0.0, head
        yield from ((fault.drip_body, body[i : i + 1]) for i in range(len(body)))
    else:
        yield 0.0, head + body[:_PIECE]
        yield from ((0.0, body[i : i + _PIECE]) for i in range(_PIECE, len(body), _PIECE))
    while fault.endless and body:
        yield 0.0, body


class Faults:
    """The faults in force, by target; safe to change while the exchange answers.

    A target is a wallet's address, LEADERBOARD, INFO_LEADERBOARD, or None for every wallet without a fault of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[str | None, list[Fault]] = {}  # in order; `times` is what is left of it

    def set(self, target: str | None, faults: Iterable[Fault]) -> None:
        """Put faults in force for a target instead of those it had; each lasts for its `times`, then the next."""
        with self._lock:
            self._left[target.lower() if target else None] = list(faults)

    def clear(self) -> None:
        """Let every target answer well."""
        with self._lock:
            self._left.clear()

    def take(self, *targets: str | None) -> Fault:
        """Give the fault of the first target that has one, and count it as used."""
        with self._lock:
            for target in targets:
                left = self._left.get(target)
                if not left:
                    continue
                fault = left[0]
                if fault.times is not None:
                    left[:1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                return fault
        return NO_FAULT
