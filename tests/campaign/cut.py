"""The stream to PostgreSQL cut and silenced at every protocol message of every command that writes or asks."""

import argparse
import os
import platform
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg

from hlctl import __version__
from tests.campaign.kill import server
from tests.e2e import cutting, killing
from tests.e2e.cutting import COMMANDS, DEEDS, QUESTIONS, Asking, Cutting, Harm, Harmed, Route
from tests.e2e.killing import Lane
from tests.e2e.pooler import PROGRAM, pooler
from tests.e2e.proxy import Point

AT_ONCE = {"cut": 2, "silence": 6}  # the one costs processor, the other waiting
FEW = 4  # lanes that begin or end at once: nothing waits then, and a crowd's minutes would be late
POOLED = 40  # connections of the pooler to a database: it is not what is tried here


@dataclass
class Tally:
    """What became of a command that was harmed in one way on one route."""

    name: str
    points: int = 0
    before: int = 0  # harmed before the work was committed; a question had no answer
    behind: int = 0
    missed: int = 0  # runs that came to their end without reaching the point
    saved: int = 0  # that ended with 0 all the same
    longest: float = 0.0  # seconds of a run
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    def note(self, point: Point | None, deed: Callable[[], Harmed | None]) -> None:
        """Do it and count what became of it; a violation is noted, with what plays it again."""
        try:
            found = deed()
        except Exception:  # noqa: BLE001 - the figures of the others are wanted all the same
            at = f" --at {point.side} {point.n} {'within' if point.within else 'after'}" if point else ""
            self.violations.append(f"{self.name}{at}: {traceback.format_exc(limit=-2)}")
            return
        if found is not None:
            self.before += not found.was_done
            self.behind += found.was_done
            self.saved += found.ran.code == 0
            self.longest = max(self.longest, found.ran.seconds)
        elif point is not None:
            self.missed += 1

    def line(self) -> str:
        """Return one line of figures."""
        played = self.before + self.behind
        return (
            f"{self.name}: {played} of {self.points} points, {self.before} before and {self.behind} after its work was"
            f" committed or answered, {self.saved} ended with 0, {self.missed} not reached,"
            f" {len(self.violations)} violations, {self.longest:.1f} s at most, in {self.seconds:.0f} s"
        )


@dataclass
class Stage:
    """Where the campaign plays: one server, and lanes that are opened as they are needed."""

    url: str
    template: str
    folder: Path
    routes: dict[str, Route]
    at_once: dict[str, int]
    within: bool
    skip: int = 0
    opened: int = 0

    @contextmanager
    def lanes(self, count: int) -> Iterator[list[Lane]]:
        """Open lanes."""
        with ExitStack() as stack:
            made = []
            for _ in range(count):
                self.opened += 1
                made.append(stack.enter_context(killing.lane(self.url, self.folder / str(self.opened), self.template)))
            yield made

    def play(self, name: str, deed: str, route: str, *, seed: int, until: float, at: Point | None = None) -> Tally:
        """Do a deed at every point, or one, as long as there is time, in several lanes at once."""
        tally = Tally(f"{name}, {deed}, {route}")
        way = self.routes[route]
        began = time.monotonic()
        with self.lanes(1 if at else self.at_once[deed]) as lanes, ThreadPoolExecutor(len(lanes)) as pool:
            with ThreadPoolExecutor(FEW) as few:
                commands = list(few.map(partial(cutting.harmed, name=name), lanes))
            list(pool.map(Asking.measure, [command for command in commands if isinstance(command, Asking)]))
            points = [at] if at else cutting.points(commands[0].messages(way), within=self.within)
            random.Random(f"{seed} {tally.name}").shuffle(points)  # noqa: S311 - it only has to be the same each time
            tally.points = len(points)
            waiting = iter(points[self.skip :])

            def work(command: Cutting | Asking) -> None:
                for point in waiting:
                    tally.note(point, partial(command.harm, Harm(deed, point), way))
                    if time.monotonic() > until:
                        break

            list(pool.map(work, commands))
            with ThreadPoolExecutor(FEW) as few:
                list(few.map(lambda command: tally.note(None, command.end), commands))
        tally.seconds = time.monotonic() - began
        return tally


def main() -> int:
    """Run what was asked for and print the summary; 1 if anything was violated."""
    names = [*COMMANDS, *QUESTIONS]
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=2026, help="order of the points")
    options.add_argument("--minutes", type=float, default=600.0, help="shared by the parts, which are cut short")
    options.add_argument("--only", action="append", choices=names, help="this command")
    options.add_argument("--deed", action="append", choices=list(DEEDS))
    options.add_argument("--route", action="append", choices=["TCP", "socket", "PgBouncer"])
    options.add_argument("--at-once", type=int, metavar="N", help=f"lanes, instead of {AT_ONCE}")
    options.add_argument("--after", action="store_true", help="after each message, and not in the middle of it as well")
    options.add_argument("--skip", type=int, default=0, metavar="N", help="of each part the first N points")
    options.add_argument("--at", nargs=3, metavar=("SIDE", "N", "after|within"), help="one point, with all the others")
    asked = options.parse_args()
    at = Point(asked.at[0], int(asked.at[1]), asked.at[2] == "within") if asked.at else None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(server(folder / "server"))
        template = stack.enter_context(killing.with_universe(url, folder / "template"))
        bouncer = stack.enter_context(pooler(url, connections=POOLED)) if PROGRAM else None
        at_once = dict.fromkeys(DEEDS, asked.at_once) if asked.at_once else AT_ONCE
        stage = Stage(url, template, folder, cutting.routes(bouncer), at_once, not asked.after, asked.skip)
        parts = [
            (name, deed, route)
            for route in asked.route or stage.routes
            for deed in asked.deed or DEEDS
            for name in asked.only or names
        ]
        tallies = []
        for part in parts:
            until = time.monotonic() + asked.minutes * 60 / len(parts)
            try:
                tallies.append(stage.play(*part, seed=asked.seed, until=until, at=at))
            except AssertionError:
                tallies.append(Tally(", ".join(part), violations=[f"{part} did not begin: {traceback.format_exc()}"]))
            print(*tallies[-1].violations, tallies[-1].line(), sep="\n", flush=True)
    print(f"\n{datetime.now(UTC):%F}, hlctl {__version__}, Python {platform.python_version()}, ", end="")
    print(f"psycopg {psycopg.__version__}, {os.cpu_count()} processors, seed {asked.seed}")
    print(*(tally.line() for tally in tallies), sep="\n")
    violations = [violation for tally in tallies for violation in tally.violations]
    print(*violations[:20], sep="\n")
    print(
        f"{sum(t.before + t.behind for t in tallies)} of {sum(t.points for t in tallies)} points:"
        f" {sum(t.before for t in tallies)} before, {sum(t.behind for t in tallies)} after the work was committed or"
        f" answered; {len(violations)} violations"
    )
    return int(bool(violations))


if __name__ == "__main__":
    sys.exit(main())
