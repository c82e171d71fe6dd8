"""Quiet by contract: what a scheduled command says where nobody watches, and what it keeps to itself (docs/logs.md)."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hlctl.errors import ConfigurationError, ExitCode, HlctlError, Verdict
from hlctl.memory import Place, known
from hlctl.outage import FAULTS, Ending, Memory, Past, Word, cause_of, judge
from hlctl.results import Result, SnapshotResult

if TYPE_CHECKING:
    from hlctl.settings import Settings

_PATIENCE = 1.0  # seconds for the disk: it must not hold up the end of a process, and one that hangs is no memory

Speech = tuple[HlctlError | None, Result | None, str]
"""What a command is about to say: why it could not, what it did, and what is over."""

_T = TypeVar("_T")


def hushed(code: ExitCode | Verdict, result: Result | None, speech: Speech, place: Place | None) -> Speech:
    """Return what is left of a speech, and keep in mind what was said; all of it where somebody watches."""
    if sys.stderr.isatty() or logging.root.isEnabledFor(logging.DEBUG):
        return speech
    ending = _ending(code, result)
    memory = _in_time(place.recall) if place else None
    is_recorded = isinstance(result, SnapshotResult) and result.recorded is not None
    now = datetime.now(UTC).replace(microsecond=0)
    error, shown, _ = speech
    fault = error or (result.fault if result else None)
    cause = cause_of(code, str(fault))
    judgement = judge(ending, code, past=known.past, memory=memory, is_recorded=is_recorded, now=now, cause=cause)
    if place and judgement.memory != memory:
        _in_time(partial(place.keep, judgement.memory))
    if ending is Ending.FAULT:
        return fault if judgement.word is Word.FAULT else None, None, ""
    if code is ExitCode.BUSY and result is None:  # another run does the work
        return None, None, ""
    return error, shown, _good_again(result, known.past, memory) if judgement.word is Word.GOOD_AGAIN else ""


def is_news(place: Place | None, *, is_wrong: bool) -> bool:
    """Tell whether to speak of what goes wrong beside the work: when it begins, and always where somebody watches."""
    if place is None or sys.stderr.isatty() or logging.root.isEnabledFor(logging.DEBUG):
        return is_wrong
    memory = _in_time(place.recall)
    now = datetime.now(UTC).replace(microsecond=0)
    ending = Ending.FAULT if is_wrong else Ending.GOOD
    judgement = judge(ending, ExitCode.SETUP, past=None, memory=memory, is_recorded=False, now=now)
    if judgement.memory != memory:
        _in_time(partial(place.keep, judgement.memory))
    return judgement.word is Word.FAULT


def _in_time(deed: Callable[[], _T]) -> _T | None:
    done: list[_T] = []
    thread = threading.Thread(target=lambda: done.append(deed()), daemon=True)
    with suppress(RuntimeError):  # no thread can be had
        thread.start()
        thread.join(_PATIENCE)
    return done[0] if done else None


def _ending(code: ExitCode | Verdict, result: Result | None) -> Ending:
    if isinstance(result, SnapshotResult) and result.recorded is None:  # nothing was missing, or a signal came first
        return Ending.NEITHER
    if code in FAULTS:
        return Ending.FAULT
    return Ending.GOOD if code in {ExitCode.OK, ExitCode.FOUND} else Ending.NEITHER


def _good_again(result: Result | None, past: Past | None, memory: Memory | None) -> str:
    """Say what is over, with the record's own figures where there is one."""
    words = "good again"
    if isinstance(result, SnapshotResult):
        words += f": {result.snapshot_ts:%Y-%m-%d %H:%M} UTC"
        if past is not None:
            return f"{words}, {_lost(past, result.snapshot_ts)}"
    return f"{words}, after failing since {memory.since:%Y-%m-%d %H:%M} UTC" if memory else words


def _lost(past: Past, minute: datetime) -> str:
    if not past.minutes:
        return "and no minute is lost"
    since = format(past.since, "%H:%M" if past.since.date() == minute.date() else "%Y-%m-%d %H:%M")
    gaps = f", {past.gaps} of them without a row" if past.gaps else ""
    return f"after {past.minutes} minute{'s' * (past.minutes != 1)} not recorded well since {since}{gaps}"


def place_of(command: str, settings: "Settings | None", *, has_file: bool) -> Place | None:
    """Return where the memory of a command is; None if nobody can know.

    With settings that cannot be read it is where the environment says; a settings file (`has_file`) might say otherwise
    once it is mended, and what was kept elsewhere until then would never be taken back.
    """
    from hlctl.settings import default_data_dir  # noqa: PLC0415 - whose command line is wrong may never have loaded it

    folder = settings.data_dir if settings else None
    if settings is None and (named := os.environ.get("HLCTL_DATA_DIR")) is not None:
        folder = Path(named)
        if not (folder.is_absolute() and folder.is_dir()):
            return None
    elif settings is None and has_file:
        return None
    try:
        folder = folder or default_data_dir()
    except ConfigurationError:
        return None
    return Place(folder, command, makes=settings is not None and settings.database_url is not None)
