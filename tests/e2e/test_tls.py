"""TLS: always verified, and its handshake is bound by the request's budget like everything else."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl

Rows = Callable[..., list[tuple[Any, ...]]]

NOW = datetime.now(UTC)
AUTHORITY = """
[ca]
default_ca = own
[own]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = optional
[names]
subjectAltName = {name}
"""
"""What OpenSSL needs to sign a certificate that is over."""


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Hand every connection to `serve` in a thread of its own; yields the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=quietly, args=(connection,), daemon=True).start()

        def quietly(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.fixture
def certify(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a certificate with its key, which no authority has signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: no certificate can be made")
    file = tmp_path / "server.pem"

    def make(name: str = "IP:127.0.0.1", *, ends: datetime = NOW + timedelta(days=2)) -> Path:
        (tmp_path / "index").write_text("")
        (tmp_path / "openssl.cnf").write_text(AUTHORITY.format(folder=tmp_path, name=name))
        dates = [f"{moment:%Y%m%d%H%M%SZ}" for moment in (ends - timedelta(days=9), ends)]
        orders: list[list[str | Path]] = [
            ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", "/CN=simulated exchange", "-keyout", file, "-out", tmp_path / "request.pem"],
            ["ca", "-selfsign", "-batch", "-notext", "-config", tmp_path / "openssl.cnf", "-keyfile", file,
             "-in", tmp_path / "request.pem", "-out", tmp_path / "certificate.pem",
             "-startdate", dates[0], "-enddate", dates[1]],
        ]  # fmt: skip
        for arguments in orders:
            subprocess.run([openssl, *arguments], check=True, capture_output=True)
        file.write_text(file.read_text() + (tmp_path / "certificate.pem").read_text())
        return file

    return make


@pytest.fixture
def certificate(certify: Callable[..., Path]) -> Path:
    """Return a certificate for 127.0.0.1 with its key."""
    return certify()


@contextmanager
def tls_in_front_of(
    exchange: sim.Exchange,
    certificate: Path,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    *,
    hang_up: int = 0,
    surplus: bytes = b"",
) -> Iterator[str]:
    """Put TLS before the simulated exchange; yields its https address.

    It hangs up on the first so many clients, and sends a surplus with the very first piece of an answer.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if newest < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")  # or OpenSSL itself would refuse to serve it
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = context.maximum_version = newest
    context.load_cert_chain(certificate)
    target = ("127.0.0.1", int(exchange.url.rpartition(":")[2]))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece + (next(surpluses, b"") if isinstance(sink, ssl.SSLSocket) else b""))
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    to_hang_up_on = iter(range(hang_up))
    surpluses = iter([surplus])

    def serve(connection: socket.socket) -> None:
        if next(to_hang_up_on, None) is not None:
            connection.recv(65536)  # what is unread would make a reset of it
            return
        with context.wrap_socket(connection, server_side=True) as inside, socket.create_connection(target) as outside:
            back = threading.Thread(target=pump, args=(outside, inside), daemon=True)
            back.start()
            pump(inside, outside)
            back.join(5)

    with listening(serve) as port:
        yield f"https://127.0.0.1:{port}"


def test_a_minute_over_tls(with_universe: Hlctl, exchange: sim.Exchange, certificate: Path) -> None:
    """The real exchange is reached this way; an authority of one's own is named the way OpenSSL does it."""
    with tls_in_front_of(exchange, certificate) as url:
        ran = with_universe("snapshot", HLCTL_API_URL=url, SSL_CERT_FILE=str(certificate))
    assert (ran.code, ran.err) == (0, "")
    assert "200 of 200 wallets" in ran.out


def test_a_certificate_nobody_vouches_for_is_refused_and_not_asked_again(
    with_universe: Hlctl, exchange: sim.Exchange, certificate: Path, rows: Rows
) -> None:
    """There is no switch to trust it."""
    with tls_in_front_of(exchange, certificate) as url:
        ran = with_universe("snapshot", HLCTL_API_URL=url)
    assert ran.code == 4
    assert rows("SELECT missing, retries FROM ingest_runs") == [({"tls": 20, "breaker": 180}, 0)]
    assert exchange.requests == 0


@pytest.mark.parametrize("odd", ["expired", "another name", "an old version"])
def test_a_server_that_could_be_another_is_refused_and_not_asked_again(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    certify: Callable[..., Path],
    rows: Rows,
    next_minute_is_good: Callable[..., None],
    *,
    odd: str,
) -> None:
    """Its authority is one that is trusted: the date, the name and the version are looked at all the same."""
    name = "DNS:exchange.example" if odd == "another name" else "IP:127.0.0.1"
    certificate = certify(name, ends=NOW + timedelta(days=-1 if odd == "expired" else 2))
    newest = ssl.TLSVersion.TLSv1_1 if odd == "an old version" else ssl.TLSVersion.MAXIMUM_SUPPORTED
    with tls_in_front_of(exchange, certificate, newest) as url:
        ran = with_universe("snapshot", HLCTL_API_URL=url, SSL_CERT_FILE=str(certificate))
    assert ran.code == 4
    assert "(20 tls)" in ran.err
    assert rows("SELECT missing, retries FROM ingest_runs") == [({"tls": 20, "breaker": 180}, 0)]
    assert exchange.requests == 0
    next_minute_is_good()


def test_a_handshake_that_is_hung_up_on_is_tried_again(
    with_universe: Hlctl, exchange: sim.Exchange, certificate: Path, rows: Rows
) -> None:
    """A balancer that restarts closes new connections for a moment, and says nothing about certificates."""
    with tls_in_front_of(exchange, certificate, hang_up=8) as url:
        ran = with_universe("snapshot", HLCTL_API_URL=url, SSL_CERT_FILE=str(certificate))
    assert (ran.code, ran.err) == (0, "")
    assert rows("SELECT missing, retries FROM ingest_runs") == [({}, 8)]


def test_what_follows_an_answer_is_not_taken_for_the_next_one(
    with_universe: Hlctl, exchange: sim.Exchange, certificate: Path, rows: Rows
) -> None:
    """TLS hands out records: what is left of one lies where no look at the socket finds it; the next wallet pays."""
    with tls_in_front_of(exchange, certificate, surplus=b"x" * 10_000) as url:
        ran = with_universe("snapshot", HLCTL_API_URL=url, SSL_CERT_FILE=str(certificate), HLCTL_MAX_CONCURRENCY="1")
    assert (ran.code, ran.err) == (0, "")
    assert rows("SELECT missing, retries FROM ingest_runs") == [({}, 0)]


def test_a_handshake_that_stalls_costs_one_requests_time(
    with_universe: Hlctl, rows: Rows, next_minute_is_good: Callable[..., None]
) -> None:
    """A server that takes the connection and then says nothing, or a byte now and then."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        for byte in b"\x16\x03\x03\x3f\xff" + b"\x02" * 100:  # a record of 16 kB begins
            connection.sendall(bytes([byte]))
            time.sleep(0.2)

    with listening(serve) as port:
        ran = with_universe(
            "snapshot",
            HLCTL_API_URL=f"https://127.0.0.1:{port}",
            HLCTL_REQUEST_TIMEOUT="1",
            HLCTL_MAX_ATTEMPTS="1",
            HLCTL_MAX_CONCURRENCY="20",
        )
    assert ran.code == 4
    assert rows("SELECT missing FROM ingest_runs") == [({"timeout": 20, "breaker": 180},)]
    assert ran.seconds < 10
    next_minute_is_good()


@contextmanager
def database_with_tls(certificate: Path) -> Iterator[int]:
    """Stand for a PostgreSQL that admits nobody once it has proved its name; yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(connection: socket.socket) -> None:
        connection.recv(8)  # what asks for TLS
        connection.sendall(b"S")
        with context.wrap_socket(connection, server_side=True) as inside:
            inside.recv(65536)
            refusal = b"SFATAL\0C53300\0Msorry, too many clients already\0\0"
            inside.sendall(b"E" + (4 + len(refusal)).to_bytes(4, "big") + refusal)

    with listening(serve) as port:
        yield port


@pytest.mark.parametrize(
    ("root", "name", "cause"),
    [
        ("", "IP:127.0.0.1", "there is no root certificate to know the server by"),
        ("/nowhere/root.crt", "IP:127.0.0.1", "there is no root certificate to know the server by"),
        ("{folder}/openssl.cnf", "IP:127.0.0.1", "the file of root certificates cannot be read"),
        ("{other}", "IP:127.0.0.1", "no authority known here vouches for the server's certificate, or it is over"),
        ("system", "IP:127.0.0.1", "no authority known here vouches for the server's certificate, or it is over"),
        ("{own}", "DNS:db.example", "the server's certificate is for another host name"),
        ("{own}", "IP:127.0.0.1", "the server has no connection left"),
    ],
    ids=["none", "not there", "no certificate", "another's", "the system's", "another host's", "good"],
)
def test_a_database_that_cannot_prove_its_name_is_one_line_that_says_what_is_lacking(
    make_hlctl: Callable[..., Hlctl], certify: Callable[..., Path], tmp_path: Path, root: str, name: str, cause: str
) -> None:
    """The library says that a file does not exist, in the words that others use of a database."""
    other = tmp_path / "other.pem"
    certify().rename(other)
    own = certify(name)
    with database_with_tls(own) as port:
        url = f"postgresql://u:TOPSECRET@127.0.0.1:{port}/x?sslmode=verify-full"
        if root:
            url += f"&sslrootcert={root.format(folder=tmp_path, own=own, other=other)}"
        ran = make_hlctl(HLCTL_DATABASE_URL=url)("status", SSL_CERT_FILE=str(other))
    assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1)
    assert ran.err.startswith(f"hlctl status: cannot connect to the database: {cause}"), ran.err
    assert ("sslrootcert" in ran.err) == ("root" in cause or "authority" in cause), ran.err
    assert "TOPSECRET" not in ran.err


def test_the_systems_authorities_are_known_where_a_variable_names_their_file(
    make_hlctl: Callable[..., Hlctl], certificate: Path
) -> None:
    """The wheel's OpenSSL looks for them in a directory that no system has."""
    with database_with_tls(certificate) as port:
        url = f"postgresql://u@127.0.0.1:{port}/x?sslmode=verify-full&sslrootcert=system"
        ran = make_hlctl(HLCTL_DATABASE_URL=url)("status", SSL_CERT_FILE=str(certificate))
    assert ran.err == "hlctl status: cannot connect to the database: the server has no connection left\n"
