"""One HTTP answer at a time: which one is an answer, and what the others are called."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
import responses
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from hlctl.exchange import MAX_STATE_BYTES, Exchange
from hlctl.model import MissingReason, Source
from hlctl.transport import RequestFailedError, _seconds

API = "https://api.example"
LEADERBOARD = "https://stats.example/leaderboard"
WALLET = "0x" + "a" * 40


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    client = Exchange(API, LEADERBOARD, connections=1, authorization="Bearer TOPSECRET")
    yield client
    client.close()


def ask(exchange: Exchange) -> bytes:
    return exchange.state(WALLET, seconds=5)


def failure(call: Callable[[], object]) -> RequestFailedError:
    with pytest.raises(RequestFailedError) as caught:
        call()
    assert "TOPSECRET" not in str(caught.value)
    return caught.value


@responses.activate
def test_a_state_is_asked_for_as_the_exchange_wants_it(exchange: Exchange) -> None:
    """Method, path, headers and body are the protocol."""
    responses.post(f"{API}/info", body=b'{"assetPositions":[]}', content_type="application/json")
    assert ask(exchange) == b'{"assetPositions":[]}'
    request = responses.calls[0].request
    assert request.body == b'{"type":"clearinghouseState","user":"%s"}' % WALLET.encode()
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["User-Agent"].startswith("hlctl/")
    assert request.headers["Authorization"] == "Bearer TOPSECRET"
    assert request.headers["Content-Length"] == str(len(request.body))


@responses.activate
def test_an_address_may_be_given_with_or_without_its_path() -> None:
    """Providers print it with /info."""
    responses.post(f"{API}/key/info", body=b"{}")
    for url in (f"{API}/key", f"{API}/key/", f"{API}/key/info"):
        client = Exchange(url, LEADERBOARD, connections=1, authorization=None)
        assert ask(client) == b"{}"
        client.close()


@responses.activate
def test_the_leaderboards_host_never_sees_the_credentials(exchange: Exchange) -> None:
    """It is another host, and needs none."""
    responses.get(LEADERBOARD, body=b"{}")
    assert b"".join(exchange.leaderboard(Source.STATS_DATA)) == b"{}"
    assert "Authorization" not in responses.calls[0].request.headers


@responses.activate
def test_the_info_api_is_asked_for_its_leaderboard_by_type(exchange: Exchange) -> None:
    """The second source speaks the same shape."""
    responses.post(f"{API}/info", body=b"{}")
    assert b"".join(exchange.leaderboard(Source.INFO_API)) == b"{}"
    assert responses.calls[0].request.body == b'{"type":"leaderboard"}'


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (204, MissingReason.BAD_SHAPE), (206, MissingReason.BAD_SHAPE), (301, MissingReason.REDIRECT),
        (302, MissingReason.REDIRECT), (400, MissingReason.HTTP_4XX), (403, MissingReason.HTTP_4XX),
        (404, MissingReason.HTTP_4XX), (408, MissingReason.TIMEOUT), (422, MissingReason.HTTP_4XX),
        (429, MissingReason.RATE_LIMITED), (500, MissingReason.HTTP_5XX), (502, MissingReason.HTTP_5XX),
        (520, MissingReason.HTTP_5XX),
    ],
)  # fmt: skip
@responses.activate
def test_every_other_status_has_its_reason(exchange: Exchange, status: int, reason: MissingReason) -> None:
    """Only 200 is an answer; a redirect is never followed."""
    responses.post(f"{API}/info", body=b"null", status=status, headers={"Location": "https://evil.example/"})
    assert failure(lambda: ask(exchange)).reason is reason
    assert len(responses.calls) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0", 0.0),
        ("\t7 ", 7.0),
        ("999999999999", 3600.0),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("", None),
    ],
)
@responses.activate
def test_retry_after_is_read_where_it_makes_sense(
    exchange: Exchange, header: str | None, seconds: float | None
) -> None:
    """Nobody has seen the exchange send one; whatever comes must not hurt."""
    headers = {} if header is None else {"Retry-After": header}
    responses.post(f"{API}/info", body=b"null", status=429, headers=headers)
    assert failure(lambda: ask(exchange)).retry_after == seconds


@responses.activate
def test_retry_after_may_be_a_date(exchange: Exchange) -> None:
    """The other form HTTP knows."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    responses.post(f"{API}/info", body=b"null", status=429, headers={"Retry-After": date})
    retry_after = failure(lambda: ask(exchange)).retry_after
    assert retry_after is not None
    assert 15 < retry_after < 21


@responses.activate
def test_a_date_to_retry_after_is_read_by_the_servers_own_clock(exchange: Exchange) -> None:
    """The clocks of this machine and of the exchange need not agree."""
    headers = {"Date": "Tue, 06 Jan 2026 20:44:10 GMT", "Retry-After": "Tue, 06 Jan 2026 20:44:25 GMT"}
    responses.post(f"{API}/info", body=b"null", status=429, headers=headers)
    assert failure(lambda: ask(exchange)).retry_after == 15.0


@given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,9} [A-Z][a-z]{2} \d{1,9} \d+:\d+(:\d+)? ?\S*"))
def test_no_retry_after_makes_anything_but_a_wait(header: str) -> None:
    """One that raised would hide the 429 and let the others go on."""
    for date in (None, header, "Tue, 06 Jan 2026 20:44:10 GMT"):
        seconds = _seconds(header, date)
        assert seconds is None or 0.0 <= seconds <= 3600.0


def test_a_name_that_cannot_be_looked_up_is_a_name_nobody_knows() -> None:
    """Python raises another error for a label that is too long than for a name without an address."""
    client = Exchange(f"https://{'a' * 64}.example", LEADERBOARD, connections=1, authorization=None)
    assert failure(lambda: ask(client)).reason is MissingReason.DNS
    client.close()


def test_a_name_is_looked_up_once_and_a_silent_name_server_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wallets ask; and a lookup that has failed is tried again."""
    asked: list[str] = []
    release = threading.Event()

    def lookup(host: str, _port: int, **_kwargs: Any) -> list[Any]:
        asked.append(host)
        if host == "silent.example":
            release.wait(30)
        if host == "unknown.example":
            raise socket.gaierror("unknown")
        return []

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    took = []
    for host in ("silent.example", "unknown.example", "known.example"):
        client = Exchange(f"https://{host}", LEADERBOARD, connections=1, authorization=None)
        for _ in range(3):
            began = time.monotonic()
            reason = failure(lambda client=client: client.state(WALLET, seconds=0.5)).reason  # type: ignore[misc]
            assert reason is (MissingReason.CONNECT if host == "known.example" else MissingReason.DNS)
            took.append(time.monotonic() - began)
        client.close()
    release.set()
    assert asked == ["silent.example", *["unknown.example"] * 3, "known.example"]
    assert took[0] >= 0.5
    assert took[1] + took[2] < 0.5


@responses.activate
def test_an_encoding_that_was_not_asked_for_is_refused(exchange: Exchange) -> None:
    """A bomb comes compressed."""
    responses.post(f"{API}/info", body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert failure(lambda: ask(exchange)).reason is MissingReason.BAD_SHAPE


@pytest.mark.parametrize("encoding", ["", " ", "identity", "Identity", "\tidentity "])
@responses.activate
def test_an_encoding_that_is_none_is_read(exchange: Exchange, encoding: str) -> None:
    """S3, where the leaderboard lies, sends an empty one with what was uploaded in chunks."""
    responses.get(LEADERBOARD, body=b"{}", headers={"Content-Encoding": encoding})
    assert b"".join(exchange.leaderboard(Source.STATS_DATA)) == b"{}"


@responses.activate
def test_a_body_longer_than_a_state_can_be_is_not_read_to_its_end(exchange: Exchange) -> None:
    """The largest state recorded has 65 kB."""
    responses.post(f"{API}/info", body=b" " * (MAX_STATE_BYTES + 1))
    assert failure(lambda: ask(exchange)).reason is MissingReason.TOO_BIG
    responses.replace(responses.POST, f"{API}/info", body=b" " * MAX_STATE_BYTES)
    assert len(ask(exchange)) == MAX_STATE_BYTES


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (requests.ConnectionError(urllib3.exceptions.NewConnectionError(None, "refused")), MissingReason.CONNECT),  # type: ignore[arg-type]
        (requests.ConnectionError(urllib3.exceptions.NameResolutionError("h", None, OSError())), MissingReason.DNS),  # type: ignore[arg-type]
        (requests.ConnectTimeout(), MissingReason.TIMEOUT),
        (requests.ReadTimeout(), MissingReason.TIMEOUT),
        (TimeoutError(), MissingReason.TIMEOUT),
        (requests.exceptions.SSLError(ssl.SSLError("bad certificate")), MissingReason.TLS),
        (requests.exceptions.SSLError(ssl.SSLEOFError("EOF occurred")), MissingReason.RESET),
        (requests.exceptions.SSLError(ssl.SSLZeroReturnError("closed")), MissingReason.RESET),
        (
            requests.ConnectionError(urllib3.exceptions.ProtocolError("aborted", ConnectionResetError())),
            MissingReason.RESET,
        ),
        (ConnectionResetError(), MissingReason.RESET),
        (
            requests.ConnectionError(urllib3.exceptions.ProtocolError("x", http.client.RemoteDisconnected("x"))),
            MissingReason.RESET,
        ),
        (
            requests.ConnectionError(urllib3.exceptions.ProtocolError("x", http.client.BadStatusLine("hello"))),
            MissingReason.BAD_SHAPE,
        ),
        (requests.exceptions.InvalidHeader(urllib3.exceptions.InvalidHeader("two lengths")), MissingReason.BAD_SHAPE),
        (requests.exceptions.ChunkedEncodingError(urllib3.exceptions.IncompleteRead(3, 5)), MissingReason.TRUNCATED),
        (requests.RequestException("never seen before"), MissingReason.RESET),
    ],
)
@responses.activate
def test_every_way_to_fail_below_http_has_its_reason(
    exchange: Exchange, raised: Exception, reason: MissingReason
) -> None:
    """The reason goes into the cell, the library's words nowhere."""
    responses.post(f"{API}/info", body=raised)
    error = failure(lambda: ask(exchange))
    assert error.reason is reason
    assert "bad certificate" not in str(error)


def test_the_authorities_are_read_once_for_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading them costs 25 ms of CPU, and the library would do it for each connection."""
    read: list[object] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:
        read.append(args)
        load(context, *args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    client = Exchange(API, LEADERBOARD, connections=8, authorization=None)
    adapter = client._transport._adapter
    contexts = set()
    for url in (f"{API}/info", LEADERBOARD):
        request = requests.Request("GET", url).prepare()
        pool = adapter.get_connection_with_tls_context(request, verify=True)
        assert isinstance(pool, urllib3.HTTPSConnectionPool)
        for _ in range(4):
            connection = pool._new_conn()
            adapter.cert_verify(connection, url, verify=True, cert=None)
            contexts.add(id(connection.ssl_context))
            assert (connection.ca_certs, connection.ca_cert_dir) == (None, None)
    client.close()
    assert len(read) == 1
    assert len(contexts) == 1
