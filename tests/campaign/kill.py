"""SIGKILL at every system call of every command that writes, and a thousand runs that leave nothing."""

import argparse
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from hlctl import __version__
from tests.conftest import clean_environment
from tests.e2e import killing
from tests.e2e.conftest import COMMAND
from tests.e2e.killing import Call, Lane, Point
from tests.e2e.leaks import Leaks
from tests.e2e.scenarios import SCENARIOS, Scenario

UNHIT = {"ftruncate"}  # kinds that no command has any use for: that they are not called is looked at, too
AT_ONCE = 4
CONNECTIONS = 200  # of the server: a lane that waits costs nothing else


@dataclass
class Tally:
    """What became of the kills of one command."""

    name: str
    points: int = 0  # of a run, where it could be killed
    hit: Counter[str] = field(default_factory=Counter)  # kind: kills
    before: int = 0  # kills that came before the work was committed
    behind: int = 0
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0
    is_whole: bool = False  # every call was killed

    def line(self) -> str:
        """Return one line of figures."""
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.hit.items()))
        kills = self.before + self.behind
        each = self.seconds / kills if kills else 0.0
        return (
            f"{self.name}: {kills} kills at {self.points} points{'' if self.is_whole else ', cut short'},"
            f" {self.before} before its work was committed and {self.behind} after,"
            f" {len(self.violations)} violations, {each:.1f} s a kill ({kinds})"
        )


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Start a server for all lanes; return the URL of its maintenance database."""
    env = clean_environment(HLCTL_DATA_DIR=str(folder))
    subprocess.run([COMMAND, "db", "start"], env=env, check=True, capture_output=True, timeout=120)
    try:
        url = subprocess.run([COMMAND, "db", "url"], env=env, check=True, capture_output=True, text=True).stdout.strip()
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET fsync = off")  # no power cut is meant here
            conn.execute(f"ALTER SYSTEM SET max_connections = {CONNECTIONS}")
        for change in ("stop", "start"):
            subprocess.run([COMMAND, "db", change], env=env, check=True, capture_output=True, timeout=120)
        yield make_conninfo(url, dbname="postgres")
    finally:
        subprocess.run([COMMAND, "db", "stop"], env=env, check=True, capture_output=True, timeout=120)


def points(calls: Sequence[Call], seed: str) -> list[tuple[Point, bool]]:
    """Return every point, and whether it is a worker's, shuffled: what is cut short has seen a bit of all."""
    main = {call.point: False for call in calls if not call.is_worker}
    workers = {call.point: True for call in calls if call.is_worker}  # where both come, the main thread comes first
    all_of_them = list((workers | main).items())
    random.Random(seed).shuffle(all_of_them)  # noqa: S311 - it only has to be the same each time
    return all_of_them


def campaign(name: str, lane: Lane, *, seed: int, until: float) -> Tally:
    """Kill a command at every call, as long as there is time; then look for calls that the trace did not have."""
    tally = Tally(name)
    began = time.monotonic()
    scenario: Scenario = SCENARIOS[name](lane)
    try:
        scenario.begin()
        calls = scenario.calls()
        last: Counter[str] = Counter()  # by the name of a call of the main thread
        found = points(calls, f"{seed} {name}")
        tally.points = len(found)
        for point, is_worker in found:
            if time.monotonic() > until:
                break
            _kill(scenario, point, tally, is_worker=is_worker)
            if not is_worker:
                last[point.call] = max(last[point.call], point.n)
        else:
            for call, n in last.items():  # a run may make a few calls more than the one that was traced
                further = n + 1
                while time.monotonic() < until and _kill(scenario, Point(call, further), tally):
                    further += 1
            tally.is_whole = time.monotonic() < until
        scenario.end()
    except Exception:  # noqa: BLE001 - the figures of the others are wanted all the same
        tally.violations.append(f"{name}: {traceback.format_exc(limit=-2)}")
    tally.seconds = time.monotonic() - began
    if tally.is_whole and (unhit := scenario.kinds - tally.hit.keys()):
        tally.violations.append(f"{name}: no kill ever hit {', '.join(sorted(unhit))}")
    return tally


def _kill(scenario: Scenario, point: Point, tally: Tally, *, is_worker: bool = False) -> bool:
    """Kill once; a violation is noted, with what plays it again, and the campaign goes on."""
    try:
        was_done = scenario.kill(point, is_worker=is_worker)
    except AssertionError:
        tally.violations.append(f"{tally.name} at {point.call} {point.n}: {traceback.format_exc(limit=-2)}")
        was_done = False
    if was_done is None:
        return False
    tally.hit[killing.KIND_OF[point.call]] += 1
    tally.before += not was_done
    tally.behind += was_done
    return True


def main() -> int:
    """Run what was asked for and print the summary; 1 if anything was violated."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=2026, help="order of the kills")
    options.add_argument(
        "--minutes", type=float, default=600.0, help="of kills, shared by the commands, which are cut short; 0: none"
    )
    options.add_argument("--only", action="append", choices=sorted(SCENARIOS), help="this command")
    options.add_argument("--at", nargs=2, metavar=("CALL", "N"), help="play one kill again, with --only")
    options.add_argument("--runs", type=int, default=1000, help="that must leave nothing")
    options.add_argument("--at-once", type=int, default=AT_ONCE)
    asked = options.parse_args()
    names = asked.only or (list(SCENARIOS) if asked.minutes else [])
    violations: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder) / "server") as url,
        killing.with_universe(url, Path(folder) / "template") as template,
    ):
        share = asked.minutes * 60 * min(1.0, asked.at_once / max(1, len(names)))  # seconds for each command
        printing = threading.Lock()

        def one(name: str) -> Tally:
            with killing.lane(url, Path(folder) / name.replace(" ", "-"), template) as lane:
                if asked.at:
                    scenario = SCENARIOS[name](lane)
                    scenario.begin()
                    print(scenario.kill(Point(asked.at[0], int(asked.at[1]))))
                    return Tally(name)
                tally = campaign(name, lane, seed=asked.seed, until=time.monotonic() + share)
            with printing:
                print(*tally.violations, tally.line(), sep="\n", flush=True)
            return tally

        with ThreadPoolExecutor(asked.at_once) as pool:
            tallies = list(pool.map(one, names))
        if asked.at:
            return 0
        hit = Counter[str]()
        for tally in tallies:
            hit += tally.hit
            violations += tally.violations
        if names and not asked.only:
            violations += [f"no command was killed at {kind}" for kind in killing.KINDS.keys() - hit.keys() - UNHIT]
            violations += [f"{kind} is called now, and not among what is killed" for kind in UNHIT & hit.keys()]
        told = "no runs were counted"
        if asked.runs and not asked.only:
            with killing.lane(url, Path(folder) / "leaks", template) as lane:
                leaks = Leaks(lane)
                leaks.run(asked.runs)
                told = leaks.summary()
                violations += leaks.found()
    kills = sum(tally.before + tally.behind for tally in tallies)
    print(f"\n{datetime.now(UTC):%F}, hlctl {__version__}, Python {platform.python_version()}, {_strace()}, ", end="")
    print(f"psycopg {psycopg.__version__}, {os.cpu_count()} processors, seed {asked.seed}")
    print(*(tally.line() for tally in tallies), told, sep="\n")
    print(*violations[:20], sep="\n")
    print(
        f"{kills} kills: {sum(t.before for t in tallies)} before, {sum(t.behind for t in tallies)} after the work was"
        f" committed; {len(violations)} violations"
    )
    return int(bool(violations))


def _strace() -> str:
    return subprocess.run(["strace", "-V"], check=True, capture_output=True, text=True).stdout.split("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
