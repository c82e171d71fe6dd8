"""`python -m hlctl.sim`: the simulated exchange as a process.

Prints its URL as the first line, then answers until SIGTERM, SIGINT or, if its input is a pipe, until that closes (so
it never outlives the program that started it).
"""

import argparse
import os
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

from hlctl.sim.catalogue import CATALOGUE
from hlctl.sim.faults import NO_FAULT
from hlctl.sim.server import serve
from hlctl.sim.world import World


def main(arguments: list[str] | None = None) -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m hlctl.sim", description="A simulated exchange on 127.0.0.1.")
    parser.add_argument("--wallets", type=int, default=2000, help="leaderboard rows of the generated world (2000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated world (1)")
    parser.add_argument("--pretty", action="store_true", help="indent the generated leaderboard")
    parser.add_argument("--data", type=Path, metavar="DIR", help="serve recorded data instead")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (any free one)")
    parser.add_argument("--limit", type=int, metavar="W", help="request weight served in any 60 s (no limit)")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="delay of every state (0)")
    parser.add_argument(
        "--fault", choices=CATALOGUE, metavar="NAME", help="do this wrong for every wallet; ? lists them"
    )
    parser.add_argument("--info-leaderboard", action="store_true", help="answer the leaderboard through /info too")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="append what was served, one JSON object a line")
    given = parser.parse_args(arguments)
    try:
        world = (
            World.recorded(given.data)
            if given.data
            else World.generate(seed=given.seed, rows=given.wallets, pretty=given.pretty)
        )
    except ValueError as exc:
        parser.error(str(exc))
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _stop)
    exchange = serve(world, port=given.port, limit=given.limit, journal=False, journal_file=given.journal)
    exchange.info_leaderboard = given.info_leaderboard
    fault = CATALOGUE[given.fault].fault if given.fault else NO_FAULT
    exchange.misbehave(None, replace(fault, delay=fault.delay + given.delay))
    exchange.leaderboard()  # made now, so that the first request is not slower than the others
    try:
        with exchange:
            sys.stdout.write(f"{exchange.url}\n")
            sys.stdout.flush()
            _wait()
    except OSError as exc:  # the port is taken, or the journal cannot be written
        parser.error(str(exc))


def _stop(_signum: int, _frame: FrameType | None) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)  # the first one is enough: the way out must not be cut short
    raise SystemExit(0)


def _wait() -> None:
    """Return when the other end of standard input is closed; wait for a signal if it has none."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # closed from the start: nothing to watch
        mode = 0
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        while os.read(0, 4096):
            pass
        return
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
