"""What reading a leaderboard costs beside skipping it, and what memory a whole `hlctl refresh-universe` takes.

`python -m benchmarks.refresh [--rows 50000] [--rounds 7]` makes up a leaderboard, spaced out to 34 MB for 50,000 rows,
and has it read by processes of their own, in turn; each tells the processor time between the document in memory and
the result:

- hlctl: every row is checked and read as it arrives in pieces, and the 200 best wallets are chosen;
- skip: the least that finds the end of every row with nothing but Python's own library, a regular expression that
  knows strings and braces. It checks nothing and keeps nothing; it is the floor;
- msgspec, where it is installed: the fastest reader there is checks that the document is JSON and keeps nothing;
- json.loads, with the garbage collector off: the whole document as objects, nothing chosen.

Then the command is run against an exchange that serves the same document, for its peak memory.
"""

import argparse
import gc
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import process_time

from benchmarks import exchange, server
from benchmarks.paired import once, ratios, rounds, spread
from hlctl import universe, wire
from hlctl.sim.generated import Generated

_CHUNK = 64 * 2**10  # bytes, as they come from the transport
_STRINGS = rb'[^"{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}]*+)*+'  # up to the next brace outside of a string
_ROW = re.compile(rb"\{%b(?:\{%b\}%b)*+\}" % (_STRINGS, _STRINGS, _STRINGS))


def _hlctl(document: bytes) -> int:
    def pieces() -> Iterator[bytes]:
        for at in range(0, len(document), _CHUNK):
            yield document[at : at + _CHUNK]

    return universe.select(wire.read_leaderboard(pieces()), size=200, min_valid=Decimal("0.9")).rows_seen


def _skip(document: bytes) -> int:
    count = 0
    at = document.index(b"[")
    while row := _ROW.search(document, at):
        at = row.end()
        count += 1
    return count


def _msgspec(document: bytes) -> int:
    msgspec = import_module("msgspec")  # need not be installed
    msgspec.json.decode(document, type=msgspec.Raw)
    return document.count(b'"ethAddress"')


def _loads(document: bytes) -> int:
    gc.disable()
    return len(json.loads(document)["leaderboardRows"])


_READERS: dict[str, Callable[[bytes], int]] = {
    "hlctl": _hlctl,
    "skip": _skip,
    "msgspec": _msgspec,
    "json.loads": _loads,
}


def _alone(reader: str, file: Path) -> float:
    """Read the document in a process of its own; return milliseconds."""
    command = [sys.executable, "-m", "benchmarks.refresh", "--read", str(file), "--by", reader]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _read(reader: str, file: Path) -> None:
    """Print the milliseconds of processor that a reader takes."""
    document = file.read_bytes()
    began = process_time()
    if not _READERS[reader](document):
        raise RuntimeError("no row was found")
    print((process_time() - began) * 1000)


def compare_readers(file: Path, count: int) -> None:
    """Print what each takes, and its ratio to the floor and to what hlctl takes."""
    readers = [name for name in _READERS if name != "msgspec" or find_spec("msgspec")]
    found = rounds({name: partial(_alone, name, file) for name in readers}, count)
    print(f"{file.stat().st_size / 1e6:.1f} MB, {count} rounds of processes, CPU ms, median (least to largest)")
    for name, took in found.items():
        print(f"  {name:12} {spread(took)}")
    for floor in ("skip", "msgspec"):
        if floor in found:
            print(f"  hlctl / {floor:7} {ratios(found['hlctl'], found[floor])}")


def run_command(rows: int, count: int) -> None:
    """Print what the whole command takes."""
    with server.running() as url, exchange.serving(rows=rows, pretty=True) as address:
        env = {**server.environment(), **exchange.settings(address, database_url=url)}
        samples = rounds({"": partial(once, [sys.executable, "-m", "hlctl", "refresh-universe"], env)}, count)[""]
    print(f"\nhlctl refresh-universe, {count} rounds, median (least to largest)")
    print(f"  peak RSS MiB {spread([one.rss for one in samples])}")
    print(f"  CPU s        {spread([one.cpu for one in samples])}")
    print(f"  wall s       {spread([one.wall for one in samples])}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refresh", description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--read", type=Path, help="only tell how long one reader takes for a file")
    parser.add_argument("--by", choices=_READERS, default="hlctl", help="which reader")
    options = parser.parse_args()
    if options.read:
        _read(options.by, options.read)
        return
    with tempfile.TemporaryDirectory(prefix="hlctl-benchmark-") as folder:
        file = Path(folder, "leaderboard.json")
        file.write_bytes(b"".join(Generated(seed=7, rows=options.rows, pretty=True).leaderboard()))
        compare_readers(file, options.rounds)
    run_command(options.rows, options.rounds)


if __name__ == "__main__":
    main()
