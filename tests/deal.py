"""Deals the test files that wait for servers and clocks to several processes, so that all end at about the same time.

    python deal.py LANES            the files of each process, a line each, the longest first
    python deal.py measured XML...  the table of seconds that pytest's --junitxml files tell, for seconds.txt

A file that is not in the table is taken for as slow as others of its size, and begins first, for it may be slower.
"""

import sys
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

TESTS = Path(__file__).parent
TABLE = TESTS / "seconds.txt"


def read(text: str) -> dict[str, float]:
    """Return the seconds of each file from the table's lines, `SECONDS FILE`; `#` begins a comment."""
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {file: float(seconds) for seconds, file in rows}


def weigh(sizes: Mapping[str, int], seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds to expect of each file, from its size in bytes where they were never measured."""
    known = sizes.keys() & seconds.keys()
    pace = sum(seconds[file] for file in known) / sum(sizes[file] for file in known) if known else 1.0
    return {file: seconds.get(file, pace * size) for file, size in sizes.items()}


def deal(weights: Mapping[str, float], lanes: int, *, measured: Container[str]) -> list[list[str]]:
    """Give each file, the unmeasured and then the longest first, to the lane that has least so far."""
    dealt: list[list[str]] = [[] for _ in range(lanes)]
    loads = [0.0] * lanes
    for file in sorted(weights, key=lambda file: (file in measured, -weights[file], file)):
        lane = loads.index(min(loads))
        dealt[lane].append(file)
        loads[lane] += weights[file]
    return dealt


def measured(documents: Iterable[str]) -> dict[str, float]:
    """Return the seconds that each file took, set-up included; one that several processes ran counts once."""
    found: dict[str, float] = {}
    for document in documents:
        seconds: dict[str, float] = defaultdict(float)
        for case in ET.fromstring(document).iter("testcase"):  # noqa: S314 - pytest has just written it
            seconds["/".join(case.get("classname", "").split(".")) + ".py"] += float(case.get("time", 0))
        found |= seconds
    return found


def main(given: list[str]) -> None:
    """Print what was asked for."""
    if given[0] == "measured":
        found = measured(Path(name).read_text() for name in given[1:])
        lines = [
            f"{max(1, round(seconds))} {file}"
            for file, seconds in sorted(found.items())
            if file.startswith(("tests/db/", "tests/e2e/"))
        ]
    else:
        files = [*TESTS.glob("db/test_*.py"), *TESTS.glob("e2e/test_*.py")]
        sizes = {file.relative_to(TESTS.parent).as_posix(): file.stat().st_size for file in files}
        seconds = read(TABLE.read_text())
        lines = [" ".join(lane) for lane in deal(weigh(sizes, seconds), int(given[0]), measured=seconds)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main(sys.argv[1:])
