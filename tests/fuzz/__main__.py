"""The long campaign: `python -m tests.fuzz --seed 1 --count 2000000`, or one case of it again with `--only`.

Ends with 1 if anything disagrees, or a class of cases was never met. Ctrl-C ends it early, with the figures so far.
"""

import argparse
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TextIO

from tests.fuzz import bodies
from tests.fuzz.campaign import SHARES, Tally, batches, run, shortest
from tests.fuzz.compare import KINDS, judged
from tests.fuzz.spoil import TREES

ENOUGH = 20_000
"""So many cases of a kind meet every class of it."""

_SHOWN = 20  # disagreements of a kind


def main() -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=50_000, help="cases, of all kinds together")
    parser.add_argument("--kind", choices=tuple(KINDS), help="by default all of them")
    parser.add_argument("--only", type=int, metavar="CASE", help="this case alone, in full")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("HLCTL_")]:
        del os.environ[name]  # a settings file is read beneath them
    if asked.only is not None:
        return _again(asked.kind or "state", asked.seed, asked.only)
    shares = {asked.kind: 1.0} if asked.kind else SHARES
    return _campaign(asked.seed, {kind: round(asked.count * share) for kind, share in shares.items()}, asked.processes)


def _campaign(seed: int, kinds: dict[str, int], processes: int) -> int:
    began = time.monotonic()
    tallies = {kind: Tally() for kind in kinds}
    work = [(kind, seed, first, count) for kind, first, count in batches(kinds)]
    with ProcessPoolExecutor(processes, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            for done, (task, tally) in enumerate(zip(work, pool.map(run, *zip(*work, strict=True)), strict=True), 1):
                tallies[task[0]].add(tally)
                if done % 50 == 0 or done == len(work):
                    wrong = sum(len(found.problems) for found in tallies.values())
                    _say(
                        f"{done / len(work):4.0%}  {time.monotonic() - began:.0f} s  {wrong} disagreements", sys.stderr
                    )
        except KeyboardInterrupt:  # what was met until then is told all the same
            pool.shutdown(cancel_futures=True)
    bad = [kind for kind, tally in tallies.items() if _report(kind, seed, tally)]
    cases = sum(tally.cases for tally in tallies.values())
    _say(f"seed {seed}: {cases:,} cases in {time.monotonic() - began:.0f} s, {processes} at a time")
    return int(bool(bad))


def _report(kind: str, seed: int, tally: Tally) -> bool:
    """Print what a kind met; return whether anything is wrong."""
    for index, problem in tally.problems[:_SHOWN]:
        case = shortest(kind, KINDS[kind].make(seed, index), problem)
        _say(f"{problem[:500]}\n  {case!r}\n  again: python -m tests.fuzz --kind {kind} --seed {seed} --only {index}")
    mean = tally.seconds / max(1, tally.cases)
    _say(f"{kind}: {tally.cases:,} cases, {len(tally.problems)} disagreements, {tally.seconds:.0f} s of CPU")
    _say(f"  slowest: case {tally.slowest[1]}, {tally.slowest[0] * 1000:.1f} ms, {mean * 1000:.2f} ms in the mean")
    for what, counts in (("outcomes", tally.outcomes), ("classes", tally.tags)):
        _say(f"  {what}: " + ", ".join(f"{name} {count:,}" for name, count in counts.most_common()))
    unmet = tally.unmet(kind) if tally.cases >= ENOUGH else set()
    if unmet:
        _say(f"  never met: {', '.join(sorted(unmet))}")
    if "recorded" not in bodies.pools() and kind in TREES:
        _say("  without the recorded answers, which are not here")
    return bool(tally.problems or unmet)


def _again(kind: str, seed: int, index: int) -> int:
    case = KINDS[kind].make(seed, index)
    verdict = judged(kind, case)
    _say(f"{case!r}\n{verdict.outcome}: {verdict.problem or 'no disagreement'}")
    if verdict.problem:
        _say(f"at its shortest: {shortest(kind, case, verdict.problem)!r}")
    return int(verdict.problem is not None)


def _say(line: str, where: TextIO | None = None) -> None:
    print(line, file=where or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
