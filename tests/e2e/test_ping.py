"""HLCTL_PING_URL: who is told after each snapshot, what, and what it may cost."""

import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl, M
from tests.e2e.oracle import Rows, universe
from tests.e2e.test_tls import certificate, certify, listening  # noqa: F401 - fixtures

At = Callable[..., None]
PATH = "pgQ7LEFTxpgRIGHTk9"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


@dataclass(frozen=True, slots=True)
class Ping:
    """What was sent."""

    method: str
    code: str
    rid: str
    body: str
    headers: dict[str, str]


@dataclass(slots=True)
class Listener:
    """Writes down every ping, and answers as it is told to."""

    answer: bytes = GOOD
    heard: list[Ping] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Return the address to ping, its secret path included."""
        return f"http://127.0.0.1:{self.port}/{PATH}"

    def serve(self, connection: socket.socket) -> None:
        """Read one request as RFC 9112 has it."""
        said = b""
        while b"\r\n\r\n" not in said:
            said += connection.recv(65536)
        head, _, body = said.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers["content-length"]):
            body += connection.recv(65536)
        method, target, _ = first.split(" ")
        root, path, code = urlsplit(target).path.split("/")
        assert (root, path) == ("", PATH)
        self.heard.append(Ping(method, code, urlsplit(target).query, body.decode(), headers))
        connection.sendall(self.answer)


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Return somebody to ping."""
    found = Listener()
    with listening(found.serve) as port:
        found.port = port
        yield found


@pytest.fixture
def pinging(with_universe: Hlctl, listener: Listener) -> Hlctl:
    """Return a runner on a database with a universe that pings."""
    with_universe.settings["HLCTL_PING_URL"] = listener.url
    return with_universe


def test_a_good_minute_is_reported_with_its_line_and_its_id(pinging: Hlctl, listener: Listener, rows: Rows) -> None:
    """POST /0, the attempt's id, and what a person would have seen; --quiet or not."""
    ran = pinging("snapshot")
    assert (ran.code, ran.err) == (0, "")
    (ping,) = listener.heard
    assert (ping.method, ping.code, ping.body) == ("POST", "0", ran.out.strip())
    ((attempt,),) = rows("SELECT attempt_id FROM ingest_runs")
    assert ping.rid == f"rid={attempt}"
    assert ping.headers["content-type"] == "text/plain; charset=utf-8"
    assert "authorization" not in ping.headers
    assert pinging("--quiet", "snapshot").out == ""
    assert (listener.heard[1].code, listener.heard[1].body) == ("0", "2026-01-06 20:44 UTC: already complete")
    assert listener.heard[1].rid != ping.rid


def test_a_partial_minute_is_reported_as_good_and_says_what_it_is(
    pinging: Hlctl, exchange: sim.Exchange, listener: Listener, rows: Rows
) -> None:
    """An alarm at each wallet that fails would soon be ignored."""
    for address in universe(rows)[:30]:
        exchange.misbehave(address, sim.Fault(status=404))
    assert pinging("snapshot", "--json").code == 3
    (ping,) = listener.heard
    assert ping.code == "0"
    assert "partial, 170 of 200 wallets" in ping.body
    assert "{" not in ping.body


def test_a_failed_minute_is_reported_with_its_reason(
    pinging: Hlctl, exchange: sim.Exchange, listener: Listener, rows: Rows
) -> None:
    """The complaint a person would have seen."""
    exchange.misbehave(None, sim.Fault(status=500))
    ran = pinging("snapshot")
    assert ran.code == 4
    (ping,) = listener.heard
    assert (ping.code, ping.body) == ("4", ran.err.strip())
    assert rows("SELECT 'rid=' || attempt_id FROM ingest_runs") == [(ping.rid,)]


def test_a_database_that_is_gone_and_a_set_up_that_lacks_something_are_reported(
    pinging: Hlctl, listener: Listener, empty_database: str
) -> None:
    """The alarm does not need the database."""
    for url, code in (("postgresql://hlctl@127.0.0.1:1/x", 5), (empty_database, 6)):
        ran = pinging("snapshot", HLCTL_DATABASE_URL=url)
        assert ran.code == code
        assert (listener.heard[-1].code, listener.heard[-1].body) == (str(code), ran.err.strip())


def test_a_signal_is_reported_and_a_busy_run_is_not(pinging: Hlctl, exchange: sim.Exchange, listener: Listener) -> None:
    """The run that holds the lock reports for both."""
    exchange.misbehave(None, sim.Fault(delay=0.25))
    process = pinging.start("snapshot")
    began = time.monotonic()
    while exchange.requests < 20:
        assert time.monotonic() - began < 60
        time.sleep(0.01)
    assert pinging("snapshot").code == 75
    assert listener.heard == []
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert [ping.code for ping in listener.heard] == ["143"]


def test_only_a_snapshot_reports(pinging: Hlctl, listener: Listener, at: At) -> None:
    """One address is one cadence."""
    assert pinging("snapshot").code == 0
    listener.heard.clear()
    at(130)
    for words in (("verify",), ("refresh-universe", "--if-due"), ("prune", "--keep", "30d"), ("status",)):
        assert pinging(*words).code == 0
    assert pinging("doctor").code in {0, 1}
    assert listener.heard == []


def test_the_lock_is_released_before_anybody_is_told(pinging: Hlctl, listener: Listener, rows: Rows) -> None:
    """Who hears of a minute finds it recorded, and may record it again."""
    seen: list[object] = []
    serve = listener.serve

    def look(connection: socket.socket) -> None:
        seen.extend(rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
        seen.extend(rows("SELECT status FROM ingest_runs"))
        serve(connection)

    with listening(look) as port:
        assert pinging("snapshot", HLCTL_PING_URL=f"http://127.0.0.1:{port}/{PATH}").code == 0
    assert seen == [(0,), ("success",)]


def drip(connection: socket.socket) -> None:
    """Send a good answer, a byte a time and never the last one."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
    while True:
        connection.sendall(b"O")
        time.sleep(0.1)


def drip_head(connection: socket.socket) -> None:
    """Do the same with the headers."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"O")
        time.sleep(0.1)


def silent(connection: socket.socket) -> None:
    """Read and say nothing."""
    while connection.recv(65536):
        pass


BAD: dict[str, tuple[Callable[[socket.socket], None] | bytes, str]] = {
    "silence": (silent, "timeout"),
    "a body that drips": (drip, "timeout"),
    "headers that drip": (drip_head, "timeout"),
    "a redirect": (b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n", "redirect"),
    "not found": (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "http_4xx"),
    "too many": (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", "rate_limited"),
    "broken": (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "http_5xx"),
    "no HTTP": (b"\x00\xff nonsense\r\n\r\n", "bad_shape"),
    "closed": (b"", "reset"),
}


def test_whatever_the_other_side_does_costs_two_seconds_and_one_warning(pinging: Hlctl, listener: Listener) -> None:
    """One attempt, the reason in a word, never the address; the exit code stays."""
    attempts: list[float] = []

    def serve(answer: Callable[[socket.socket], None] | bytes, connection: socket.socket) -> None:
        attempts.append(time.monotonic())
        if callable(answer):
            answer(connection)
        else:
            connection.recv(65536)
            connection.sendall(answer.replace(b"%b", listener.url.encode()))

    for name, (answer, reason) in BAD.items():  # the first records the minute, which the others find complete
        with listening(partial(serve, answer)) as port:
            ran = pinging("--quiet", "snapshot", HLCTL_PING_URL=f"http://127.0.0.1:{port}/{PATH}")
            ended = time.monotonic()
        assert (ran.code, ran.out) == (0, ""), name
        assert ran.err == f"hlctl: WARNING: the ping was not delivered: {reason}\n"
        assert listener.heard == [], "a redirect is not followed"
        assert ended - attempts.pop() < 2 + 2, "the end of the process is the rest"
        assert attempts == [], name


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"http://127.0.0.1:1/{PATH}", "connect"),
        (f"https://no-such-host.invalid/{PATH}", "dns"),
        (f"https://192.0.2.1/{PATH}", None),
    ],
    ids=["refused", "a name nobody knows", "packets that are swallowed"],
)
def test_nobody_to_ping_is_one_warning_too(pinging: Hlctl, url: str, reason: str | None) -> None:
    """A name server, a port, and a network that drops; the last as this machine's network has it."""
    ran = pinging("--quiet", "snapshot", HLCTL_PING_URL=url)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("hlctl: WARNING: the ping was not delivered: ")
    assert ran.err.count("\n") == 1
    assert reason is None or ran.err.endswith(f": {reason}\n")
    assert PATH not in ran.err


def test_proxies_of_the_environment_are_not_asked(pinging: Hlctl, listener: Listener) -> None:
    """Nor told the address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as proxy:
        proxy.settimeout(0.1)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        ran = pinging("snapshot", http_proxy=address, HTTP_PROXY=address, all_proxy=address, ALL_PROXY=address)
        assert (ran.code, ran.err) == (0, "")
        assert len(listener.heard) == 1
        with pytest.raises(TimeoutError):
            proxy.accept()


def test_a_certificate_nobody_vouches_for_is_not_told_anything(
    pinging: Hlctl,
    certificate: Path,  # noqa: F811 - the fixture
) -> None:
    """Somebody in between could read the address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    heard: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            heard.append(secure.recv(65536))

    with listening(serve) as port:
        ran = pinging("snapshot", HLCTL_PING_URL=f"https://127.0.0.1:{port}/{PATH}")
    assert (ran.code, ran.err) == (0, "hlctl: WARNING: the ping was not delivered: tls\n")
    assert heard == []


def test_a_ping_and_a_file_that_both_fail_are_one_warning(pinging: Hlctl) -> None:
    """A line a minute is enough."""
    ran = pinging(
        "--quiet", "snapshot", HLCTL_PING_URL=f"http://127.0.0.1:1/{PATH}", HLCTL_METRICS_FILE="/nowhere/hlctl.prom"
    )
    assert ran.err == (
        "hlctl: WARNING: the ping was not delivered: connect;"
        " the metrics file was not written: No such file or directory\n"
    )


def test_a_ping_that_fails_for_long_is_told_of_once(pinging: Hlctl, listener: Listener, at: At, tmp_path: Path) -> None:
    """Cron mails each line, every minute; and a ping that is lost tells its receiver by its absence."""
    told = []
    for minute, url in enumerate(
        ["http://127.0.0.1:1/lost", "http://127.0.0.1:1/lost", listener.url, "http://127.0.0.1:1/lost"]
    ):
        at(minute=M + timedelta(minutes=minute))
        told.append(pinging("--quiet", "snapshot", HLCTL_PING_URL=url, HLCTL_DATA_DIR=str(tmp_path / "data")).err)
    warning = "hlctl: WARNING: the ping was not delivered: connect\n"
    assert told == [warning, "", "", warning]


def test_a_ping_that_fails_hides_no_file_that_fails(pinging: Hlctl, listener: Listener, at: At, tmp_path: Path) -> None:
    """Each is told when it begins, though the other has lasted: nobody mends what he was not told of."""
    lost, nowhere, good = "http://127.0.0.1:1/lost", "/nowhere/hlctl.prom", str(tmp_path / "hlctl.prom")
    told = []
    for minute, (url, file) in enumerate(
        [(lost, good), (lost, nowhere), (lost, nowhere), (listener.url, nowhere), (lost, good), (lost, nowhere)]
    ):
        at(minute=M + timedelta(minutes=minute))
        settings = {"HLCTL_PING_URL": url, "HLCTL_METRICS_FILE": file, "HLCTL_DATA_DIR": str(tmp_path / "data")}
        told.append(pinging("--quiet", "snapshot", **settings).err.removeprefix("hlctl: WARNING: "))
    ping, metrics = (
        "the ping was not delivered: connect\n",
        "the metrics file was not written: No such file or directory\n",
    )
    assert told == [ping, metrics, "", "", ping, metrics]


def test_a_body_is_one_clean_line_of_a_thousand_bytes_at_most(pinging: Hlctl, listener: Listener) -> None:
    """A role's name is foreign text, and as long as its owner likes."""
    with closing(psycopg.connect(pinging.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        conn.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = E'\\x1b[31m\\u202e' || repeat('\u00e9', 2000); END $$"
        )
        conn.execute("CREATE TRIGGER t BEFORE INSERT ON ingest_runs EXECUTE FUNCTION refuse()")
    ran = pinging("snapshot", HLCTL_DEADLINE="3")
    assert ran.code == 5, ran.err
    (ping,) = listener.heard
    assert ping.code == "5"
    assert len(ping.body.encode()) <= 1000
    assert ping.body.isprintable()
    assert ping.body.endswith("\u00e9")
