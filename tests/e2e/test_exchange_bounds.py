"""What a run may cost whatever the exchange and its surroundings do: memory, time to resolve and connect, descriptors."""

import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hlctl import sim
from tests.e2e.conftest import COMMAND, Hlctl
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
    print(f"normal {normal / MIB:.1f} MiB, worst {worst / MIB:.1f} MiB")
    assert worst - normal < 16 * MIB
    next_minute_is_good()
