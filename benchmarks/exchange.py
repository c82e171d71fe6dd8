"""An exchange that costs the measured machine as little as Python can: made-up answers, TLS and latency on request.

`python -m benchmarks.exchange [--latency 0.1] [--tls FILE]` prints its address and serves until its standard input
ends. POST /info answers with the same clearinghouseState for a wallet all the time, but for the time in it; whatever is
got is the leaderboard. Every answer comes `latency` after its question, the first one of a connection after the round
trips that opening one takes over a real network: one more, two with TLS.
"""

import argparse
import asyncio
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import certifi

from hlctl.sim.generated import Generated

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_ADDRESS = b"0x"
_PLACE = b"%013d"  # of the time, in ms


class World:
    """The answers; a wallet's is made when it is first asked for."""

    def __init__(self, rows: int, behind: float) -> None:
        self._behind_ms = round(behind * 1000)
        self._made = Generated(seed=7, rows=rows, pretty=False)
        self._states: dict[bytes, tuple[bytes, bytes]] = {}
        self._leaderboard = b""

    def leaderboard(self) -> bytes:
        """Return the answer to any GET."""
        if not self._leaderboard:
            body = b"".join(self._made.leaderboard())
            self._leaderboard = _HEAD % len(body) + body
        return self._leaderboard

    def state(self, question: bytes) -> bytes:
        """Return the answer to a POST that names an address."""
        at = question.rfind(_ADDRESS)
        address = question[at : at + 42].lower()
        if (known := self._states.get(address)) is None:
            before = self._made.state(address.decode(), 1)[: -len(b"1}")]
            known = self._states[address] = (_HEAD % (len(before) + 14) + before, b"}")
        return known[0] + _PLACE % (time.time_ns() // 1_000_000 - self._behind_ms) + known[1]


class Answering(asyncio.Protocol):
    """One connection."""

    def __init__(self, world: World, latency: float, opening: float) -> None:
        self._world, self._latency, self._opening = world, latency, opening
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own types are wider than what it gives
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            whole = end + 4 + int(length or 0)
            if len(self._received) < whole:
                return
            body, self._received = self._received[end + 4 : whole], self._received[whole:]
            delay = self._latency + self._opening
            self._opening = 0.0
            if delay:
                asyncio.get_running_loop().call_later(delay, self._answer, body)
            else:
                self._answer(body)

    def _answer(self, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._world.state(body) if body else self._world.leaderboard())


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the exchange shows, and the authorities that a client knows: all of certifi's, as anywhere, and that one."""

    chain: Path  # with its key
    authorities: Path


def certify(folder: Path) -> Certificate:
    """Make an authority that vouches for 127.0.0.1 alone."""
    made = Certificate(folder / "exchange.pem", folder / "authorities.pem")
    own = folder / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=benchmark", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", made.chain, "-out", own],
        check=True, capture_output=True,
    )  # fmt: skip
    made.chain.write_text(made.chain.read_text() + own.read_text())
    made.authorities.write_text(Path(certifi.where()).read_text() + own.read_text())
    return made


@contextmanager
def serving(
    *, rows: int, latency: float = 0.0, behind: float = 0.0, certificate: Certificate | None = None
) -> Iterator[str]:
    """Serve from a process of its own; yields the base address. Its wallets are those of a leaderboard of `rows`."""
    tls = ["--tls", str(certificate.chain)] if certificate else []
    figures = ["--rows", str(rows), "--latency", str(latency), "--behind", str(behind)]
    command = [sys.executable, "-m", "benchmarks.exchange", *figures, *tls]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None or not (address := process.stdout.readline().strip()):
            raise RuntimeError("the exchange did not start")
        try:
            yield address
        finally:
            process.terminate()


def settings(address: str, *, database_url: str, certificate: Certificate | None = None) -> Mapping[str, str]:
    """Return the environment in which hlctl asks this exchange."""
    own = {
        "HLCTL_API_URL": address,
        "HLCTL_LEADERBOARD_URL": f"{address}/leaderboard",
        "HLCTL_DATABASE_URL": database_url,
        "HLCTL_RATE_LIMIT": "0",
    }
    return own | ({"SSL_CERT_FILE": str(certificate.authorities)} if certificate else {})


async def _serve(world: World, latency: float, tls: Path | None) -> None:
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
    opening = latency * (2 if tls else 1)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Answering(world, latency, opening), "127.0.0.1", 0, ssl=context, backlog=512
    )
    scheme, port = ("https" if tls else "http"), server.sockets[0].getsockname()[1]
    print(f"{scheme}://127.0.0.1:{port}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exchange", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000, help="of the leaderboard")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--behind", type=float, default=0.0, help="seconds that its clock is behind this machine's")
    parser.add_argument("--tls", type=Path, help="a file with key and certificate")
    options = parser.parse_args()
    asyncio.run(_serve(World(options.rows, options.behind), options.latency, options.tls))


if __name__ == "__main__":
    main()
