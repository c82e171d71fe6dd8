"""Minutes by the thousand on a real PostgreSQL, in simulated time: hlctl's own jobs, few wallets, seeded misfortunes.

`python -m tests.campaign.simulate --records 200 --minutes 500 --seed 1` plays records of their own, each with a seed
of its own, and ends with a summary in figures. It exits with 0 if every promise was kept after every minute and every
fault did something, with 1 if not, naming the line that replays it.
"""

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from hlctl.audit import CHECKS
from tests.campaign.ledger import BrokenError
from tests.campaign.misfortunes import FAULTS
from tests.campaign.simulation import Simulation

_JUDGES_HITS_FROM = 1_000  # minutes: in fewer, a fault may well not have come
_JUDGES_CHANGES_FROM = 10_000  # or not alone, or too gently
_TEMPLATE = "hlctl_template"


@dataclass(frozen=True, slots=True)
class Played:
    """What became of one record."""

    minutes: int
    outcomes: Counter[str]
    hits: Counter[str]
    changes: Counter[str]
    broken: str | None  # and the line that replays it


@contextmanager
def server() -> Iterator[str]:
    """Start a PostgreSQL of our own, without fsync; yield its URL. `_TEMPLATE` has the schema."""
    with tempfile.TemporaryDirectory(prefix="hlctl-simulate-", ignore_cleanup_errors=True) as folder:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HLCTL_", "PG"))}
        env["HLCTL_DATA_DIR"] = str(Path(folder) / "data")
        hlctl = partial(subprocess.run, check=True, capture_output=True, text=True, timeout=180)
        started = hlctl([sys.executable, "-m", "hlctl", "db", "start", "--json"], env=env)
        url = make_conninfo(json.loads(started.stdout)["result"]["url"], dbname="postgres")
        try:
            with psycopg.connect(url, autocommit=True) as conn:
                for name in ("fsync", "full_page_writes", "autovacuum"):
                    conn.execute(f"ALTER SYSTEM SET {name} = off".encode())
                conn.execute("SELECT pg_reload_conf()")
                conn.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
            template = env | {"HLCTL_DATABASE_URL": make_conninfo(url, dbname=_TEMPLATE)}
            hlctl([sys.executable, "-m", "hlctl", "init-db"], env=template)
            yield url
        finally:
            hlctl([sys.executable, "-m", "hlctl", "db", "stop"], env=env)


def play(url: str, seed: int, minutes: int) -> Played:
    """Play one record in a database of its own, up to the first broken promise."""
    logging.disable(logging.CRITICAL)  # hlctl tells of every fault
    name = f"simulated_{seed}"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}".encode())
        broken = None
        with closing(Simulation(make_conninfo(url, dbname=name), seed)) as simulation, simulation.replaced():
            simulation.begin()
            for index in range(minutes):
                try:
                    simulation.play(index)
                except (BrokenError, RuntimeError) as exc:
                    broken = (
                        f"minute {index}, {simulation.planned}: {exc}\n"
                        f"replay: python -m tests.campaign.simulate --records 1 --minutes {index + 1} --seed {seed}"
                    )
                    break
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    return Played(simulation.minutes, simulation.outcomes, simulation.hits, simulation.changes, broken)


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.simulate", description=__doc__)
    parser.add_argument("--records", type=int, default=2, help="each with the next seed")
    parser.add_argument("--minutes", type=int, default=500, help="of each record")
    parser.add_argument("--seed", type=int, default=1, help="of the first record")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args(arguments)
    seeds = range(options.seed, options.seed + options.records)
    began = time.monotonic()
    played: list[Played] = []
    with server() as url, ProcessPoolExecutor(options.processes) as pool:
        for one in pool.map(partial(play, url, minutes=options.minutes), seeds):
            played.append(one)
            if one.broken:
                _say(one.broken)
    return report(played, seeds, time.monotonic() - began)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a script that prints


def report(played: list[Played], seeds: range, seconds: float) -> int:
    """Print the figures; return 1 if a promise was broken, or a fault never did anything."""
    hits = sum((one.hits for one in played), Counter[str]())
    changes = sum((one.changes for one in played), Counter[str]())
    outcomes = sum((one.outcomes for one in played), Counter[str]())
    minutes = sum(one.minutes for one in played)
    broken = sum(one.broken is not None for one in played)
    idle = []
    for fault in FAULTS:
        hit, changed = hits[fault.name], changes[fault.name]
        _say(f"{fault.name:24} hit {hit:6}, alone in a minute that came out differently {changed:6}")
        never_came = minutes >= _JUDGES_HITS_FROM and not hit
        never_mattered = minutes >= _JUDGES_CHANGES_FROM and fault.changes and not changed
        if never_came or never_mattered:
            idle.append(fault.name)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    _say(
        f"{datetime.now(UTC):%F}, Python {platform.python_version()}, seeds {seeds.start} to {seeds.stop - 1}:"
        f" {minutes} minutes ({counts}), {len(CHECKS)} checks, {broken} records broken;"
        f" {minutes / seconds:.1f} minutes a second"
    )
    if idle:
        _say(f"never did anything: {', '.join(idle)}")
        return 1
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
