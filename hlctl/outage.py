"""Who is told of a fault that lasts: when it begins, once for each exit code and cause, and when it is over. Pure.

An outage is what lies between two good runs. What it has told by then stands in the record, which every host reads;
what no row can say (that the database is away, or how another command than `snapshot` ended) each host keeps to itself.
"""

import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from hlctl.errors import ExitCode

STATUS_CODES = {"success": ExitCode.OK, "partial": ExitCode.PARTIAL, "failed": ExitCode.FAILED}
"""What the run of a minute with this status exits with."""

FAULTS = frozenset({ExitCode.PARTIAL, ExitCode.FAILED, ExitCode.DATABASE, ExitCode.SETUP})
"""The codes that last until somebody or something is mended."""

MOST_CAUSES = 8
"""Causes told in one outage beside the first of each code: some words are ever others, as those of a server's log."""

_FIGURE = re.compile(r"\S*\d\S*")  # a time, a duration, a process: no two runs have the same


@dataclass(frozen=True, slots=True)
class Past:
    """What the record says of the time since the newest good minute, up to the one to be recorded."""

    since: datetime  # the first minute that is not good, or could be
    minutes: int  # not good, from it on
    told: frozenset[int]  # exit codes of their runs, and of those before at the minute itself
    gaps: int = 0  # of these minutes, without a row; counted once a good minute ends the outage

    @property
    def is_well(self) -> bool:
        """Tell whether there is no outage."""
        return not (self.minutes or self.told)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a host told of an outage that no row tells of."""

    since: datetime  # by the host's clock
    told: frozenset[int]
    causes: frozenset[int] = frozenset()


def cause_of(code: int, words: str) -> int | None:
    """Return a digest of what is wrong, figures aside; None with a code that rows tell of, for they have no words."""
    if code not in {ExitCode.DATABASE, ExitCode.SETUP}:
        return None
    return zlib.crc32(f"{code} {_FIGURE.sub('', words)}".encode())


class Ending(Enum):
    """What a run means for an outage."""

    GOOD = auto()  # the work was done: whatever was, is over
    FAULT = auto()
    NEITHER = auto()  # another run had the work, a signal came, the command line was wrong, a bug


class Word(Enum):
    """What is said of it."""

    NOTHING = auto()
    FAULT = auto()
    GOOD_AGAIN = auto()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to say, and what to keep in mind."""

    word: Word
    memory: Memory | None


def judge(
    ending: Ending,
    code: int,
    *,
    past: Past | None,
    memory: Memory | None,
    is_recorded: bool,
    now: datetime,
    cause: int | None = None,
) -> Judgement:
    """Decide what to say of a run that ended so, with this code, for this cause as `cause_of` gives it.

    `past` is None where the record was not read. `is_recorded` tells whether a row says how it ended; `now` is the
    host's time. A memory of what the record says is over counts only for its own end: another host's good minute ended
    the outage, and this one still owes its reader that word.
    """
    is_over = past is not None and past.is_well
    if ending is Ending.NEITHER:
        return Judgement(Word.NOTHING, None if is_over else memory)
    if ending is Ending.GOOD:
        was_out = memory is not None or (past is not None and not past.is_well)
        return Judgement(Word.GOOD_AGAIN if was_out else Word.NOTHING, None)
    if is_over:
        memory = None
    told = (past.told if past else frozenset()) | (memory.told if memory else frozenset())
    causes = memory.causes if memory else frozenset()
    is_told = code in told and (cause is None or cause in causes or len(causes) >= MOST_CAUSES)
    if not is_recorded:
        if not is_told and cause is not None:
            causes |= {cause}
        memory = Memory(memory.since if memory else now, (memory.told if memory else frozenset()) | {code}, causes)
    return Judgement(Word.NOTHING if is_told else Word.FAULT, memory)
