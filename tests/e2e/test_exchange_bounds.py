"""What a run may cost whatever the world does: memory, time to resolve a name and to connect, file descriptors."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl
from tests.e2e.oracle import Rows, assert_nothing_false, universe

Check = Callable[..., None]

MIB = 2**20
WORST = {
    "a body as long as a state may be": sim.Fault(body=b'{"":"' + b"\xf0\x9f\x98\x80" + b"x" * 262_000 + b'"}'),
    "as many values as a state may have": sim.Fault(
        body=b'{"assetPositions":[],"":[' + b",".join(b"%d" % n for n in range(19_990)) + b"]}"
    ),
    "as many objects as a state may have": sim.Fault(
        body=b'{"assetPositions":[],"":[' + b",".join(b'{"%d":1}' % n for n in range(9_990)) + b"]}"
    ),
    "256 KiB of 1,1,1": sim.Fault(body=b'{"assetPositions":[' + b"1," * 130_000 + b"1]}"),
    "2 MiB of 1,1,1": sim.Fault(body=b'{"assetPositions":[' + b"1," * MIB + b"1]}"),
    "256 KiB of [],[]": sim.Fault(body=b'{"assetPositions":[' + b"[]," * 80_000 + b"1]}"),
    "2 MiB of [],[] without a length": sim.Fault(body=b"[" + b"[]," * MIB + b"1]", headers={"Content-Length": None}),
    "a string of 32 MiB": sim.Fault(body=b'{"":"' + b"x" * 32 * MIB + b'"}', headers={"Content-Length": None}),
    "deep": sim.Fault(body=b"[" * 250_000),
    **{name: sim.CATALOGUE[name].fault for name in ("gzip-bomb", "long-headers", "endless-body", "endless-chunks")},
}


def peak_memory(process: "subprocess.Popen[str]") -> int:
    """Wait for a process and return the most memory it ever held at a time, in bytes."""
    peak = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text() if process.poll() is None else ""
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                peak = max(peak, int(line.split()[1]) * 1024)
        time.sleep(0.005)
    return peak


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc is not here: nobody tells the peak memory")
def test_the_worst_answers_cost_little_more_memory_than_good_ones(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: Check
) -> None:
    """Sixteen MiB more than a normal run of the same wallets, where one bomb alone would be a thousand."""
    normal = peak_memory(with_universe.start("snapshot"))
    rows("DELETE FROM ingest_runs RETURNING 1")
    rows("DELETE FROM wallet_snapshots RETURNING 1")
    members = universe(rows)
    for number, address in enumerate(members):
        if number % 5:  # somebody answers, or the others would not be asked
            exchange.misbehave(address, list(WORST.values())[number % len(WORST)])
    process = with_universe.start("snapshot")
    worst = peak_memory(process)
    assert process.returncode == 4
    assert rows("SELECT wallets_succeeded FROM ingest_runs") == [(40,)]
    assert set(rows("SELECT DISTINCT missing_reason::text FROM wallet_snapshots")) == {
        (None,), ("too_big",), ("bad_shape",), ("stale",)
    }  # fmt: skip
    assert_nothing_false(rows, exchange)
    assert worst - normal < 16 * MIB, f"{normal / MIB:.1f} MiB, and {worst / MIB:.1f} MiB"
    next_minute_is_good()


@contextmanager
def silent_name_server() -> Iterator[str]:
    """Take the questions of a resolver and answer none; yields the address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        try:
            server.bind(("127.53.0.1", 53))
        except OSError:
            pytest.skip("port 53 cannot be had: no name server can be put in place")
        yield "127.53.0.1"


@contextmanager
def black_holes(port: int, addresses: list[str]) -> Iterator[None]:
    """Let connections to these loopback addresses hang: their queue is full, and nobody accepts."""
    with ExitStack() as opened:
        for address in addresses:
            listener = opened.enter_context(socket.create_server((address, port), backlog=0))
            for _ in range(3):
                filler = opened.enter_context(socket.socket())
                filler.settimeout(0)
                filler.connect_ex(listener.getsockname())
        yield


@pytest.fixture
def elsewhere(with_universe: Hlctl, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Return a function that starts the command where other files lie over those of /etc."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is not installed: /etc cannot be changed for one process")

    def start(files: dict[str, str], **settings: str) -> "subprocess.Popen[str]":
        script = ""
        for number, (path, text) in enumerate(files.items()):
            (tmp_path / str(number)).write_text(text)
            script += f"mount --bind {tmp_path / str(number)} {path} && "
        arguments = [unshare, "-m", "sh", "-c", script + 'exec "$@"', "sh"]
        if subprocess.run([*arguments, "true"], capture_output=True, check=False).returncode:
            pytest.skip(
                f"unshare -m or mount --bind is not allowed: {', '.join(files)} cannot be changed for one process"
            )
        return with_universe.start("snapshot", before=arguments, **settings)

    return start


def test_a_name_server_that_never_answers_costs_one_requests_time(
    elsewhere: Callable[..., "subprocess.Popen[str]"], rows: Rows, next_minute_is_good: Check
) -> None:
    """The resolver itself would wait for ten seconds, and for each wallet again; nobody waits for its thread."""
    with silent_name_server() as address:
        began = time.monotonic()
        process = elsewhere(
            {"/etc/resolv.conf": f"nameserver {address}\n"},
            HLCTL_API_URL="https://exchange.example",
            HLCTL_REQUEST_TIMEOUT="1",
        )
        process.communicate(timeout=60)
    assert process.returncode == 4
    assert rows("SELECT missing, retries FROM ingest_runs") == [({"dns": 20, "breaker": 180}, 40)]
    assert time.monotonic() - began < 8
    next_minute_is_good()


def test_all_dead_addresses_of_a_name_cost_one_requests_time(
    elsewhere: Callable[..., "subprocess.Popen[str]"], exchange: sim.Exchange, rows: Rows, next_minute_is_good: Check
) -> None:
    """The budget is the request's, not each address's: four of them are tried."""
    port = int(exchange.url.rpartition(":")[2])
    dead = [f"127.0.0.{last}" for last in range(2, 6)]
    with black_holes(port, dead):
        began = time.monotonic()
        process = elsewhere(
            {"/etc/hosts": "".join(f"{address} localhost\n" for address in dead)},
            HLCTL_API_URL=f"http://localhost:{port}",
            HLCTL_REQUEST_TIMEOUT="2.5",
            HLCTL_MAX_ATTEMPTS="1",
            HLCTL_MAX_CONCURRENCY="20",
        )
        process.communicate(timeout=60)
    assert process.returncode == 4
    assert rows("SELECT missing FROM ingest_runs") == [({"timeout": 20, "breaker": 180},)]
    assert time.monotonic() - began < 8, "10 s for four addresses one after the other"
    next_minute_is_good()


def test_a_dead_address_does_not_hide_a_good_one(
    elsewhere: Callable[..., "subprocess.Popen[str]"], exchange: sim.Exchange, rows: Rows, next_minute_is_good: Check
) -> None:
    """As when the road to one of two is broken: each address has its share of the budget."""
    port = int(exchange.url.rpartition(":")[2])
    with black_holes(port, ["127.0.0.2"]):
        process = elsewhere(
            {
                "/etc/hosts": "127.0.0.2 localhost\n127.0.0.1 localhost\n",
                "/etc/gai.conf": "precedence ::ffff:127.0.0.2/128 100\n",  # the dead one is given first
            },
            HLCTL_API_URL=f"http://localhost:{port}",
            HLCTL_REQUEST_TIMEOUT="3",
        )
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert rows("SELECT wallets_succeeded, retries FROM ingest_runs") == [(200, 0)]
    next_minute_is_good()
