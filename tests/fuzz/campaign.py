"""A run of many cases: what it met, what disagrees, and the shortest body that still does."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.fuzz import bodies
from tests.fuzz.compare import KINDS, judged
from tests.fuzz.spoil import TREES

SHARES = {"state": 0.6, "board": 0.16, "config": 0.08, "url": 0.08, "minute": 0.08}
"""How a run of every kind is divided."""

BATCH = 1000


@dataclass(slots=True)
class Tally:
    """What a run of one kind met."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[int, str]] = field(default_factory=list)  # case, what is wrong with it
    seconds: float = 0.0  # CPU
    slowest: tuple[float, int] = (0.0, 0)  # CPU seconds, case

    def add(self, other: "Tally") -> None:
        """Count what another run met."""
        self.cases += other.cases
        self.outcomes += other.outcomes
        self.tags += other.tags
        self.problems += other.problems
        self.seconds += other.seconds
        self.slowest = max(self.slowest, other.slowest)

    def unmet(self, kind: str) -> set[str]:
        """Return the classes of cases and of outcomes that were never met: what is not met is not tested."""
        wanted = KINDS[kind].outcomes | KINDS[kind].tags
        if "recorded" in bodies.pools() and kind in TREES:
            wanted |= {"recorded"}
        return set(wanted - self.outcomes.keys() - self.tags.keys())


def run(kind: str, seed: int, first: int, count: int) -> Tally:
    """Compare `count` cases of a seed from number `first` on."""
    tally = Tally(cases=count)
    began = time.process_time()
    for index in range(first, first + count):
        case = KINDS[kind].make(seed, index)
        at = time.process_time()
        verdict = judged(kind, case)
        tally.slowest = max(tally.slowest, (time.process_time() - at, index))
        tally.outcomes[verdict.outcome] += 1
        tally.tags.update(set(case.tags))
        if verdict.problem:
            tally.problems.append((index, verdict.problem))
    tally.seconds = time.process_time() - began
    return tally


def batches(kinds: dict[str, int]) -> Iterator[tuple[str, int, int]]:
    """Divide a run: (kind, first case, cases), in such an order that a run that is ended early met all kinds."""
    found = [(first / count, kind, first) for kind, count in kinds.items() for first in range(0, count, BATCH)]
    for _share, kind, first in sorted(found):
        yield kind, first, min(BATCH, kinds[kind] - first)


def shortest(kind: str, case: Any, problem: str) -> Any:
    """Take out of a body whatever its disagreement does not need, and the places where it is cut on its way.

    Options and addresses are short enough. Where the disagreement is with what was done to the body, or goes away with
    those places, the body is left as it is.
    """
    if not hasattr(case, "content") or getattr(case, "expect", None):
        return case
    uncut = replace(case, cuts=()) if isinstance(case, bodies.Body) else case

    def same(content: bytes) -> bool:
        found = judged(kind, replace(uncut, content=content)).problem or ""
        return found.partition(":")[0] == problem.partition(":")[0]

    return replace(uncut, content=_without(case.content, same)) if same(case.content) else case


def _without(content: bytes, same: Callable[[bytes], bool]) -> bytes:
    length = len(content) // 2
    while length:
        at = 0
        while at < len(content):
            shorter = content[:at] + content[at + length :]
            if same(shorter):
                content = shorter
            else:
                at += length
        length //= 2
    return content
