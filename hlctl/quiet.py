"""Quiet by contract: what a scheduled command says where nobody watches, and what it keeps to itself (docs/logs.md)."""

import logging
import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hlctl.errors import ConfigurationError, ExitCode, HlctlError, Verdict
from hlctl.memory import Place, known
from hlctl.outage import FAULTS, Ending, Memory, Past, Word, judge
from hlctl.results import Result, SnapshotResult

if TYPE_CHECKING:
    from hlctl.settings import Settings

_PATIENCE = 1.0  # seconds a disk may take when the process is about to be ended


Speech = tuple[HlctlError | None, Result | None, str]
"""What a command is about to say: why it could not, what it did, and what is over."""


def hushed(
    command: str, code: ExitCode | Verdict, result: Result | None, speech: Speech, settings: "Settings | None"
) -> Speech:
    """Return what is left of a speech, and keep in mind what was said; all of it where somebody watches."""
    if sys.stderr.isatty() or logging.root.isEnabledFor(logging.DEBUG):
        return speech
    ending = _ending(code, result)
    place = _place(command, settings)
    memory = place.recall() if place else None
    now = datetime.now(UTC).replace(microsecond=0)
    judgement = judge(ending, code, past=known.past, memory=memory, is_recorded=_is_recorded(result), now=now)
    if place and judgement.memory != memory:
        place.keep(judgement.memory)
    error, shown, _ = speech
    if ending is Ending.FAULT:
        fault = error or (result.fault if result else None)
        return fault if judgement.word is Word.FAULT else None, None, ""
    if code is ExitCode.BUSY and result is None:  # another run does the work
        return None, None, ""
    return error, shown, _good_again(result, known.past, memory) if judgement.word is Word.GOOD_AGAIN else ""


def hushed_in_time(command: str, code: ExitCode | Verdict, speech: Speech, settings: "Settings | None") -> Speech:
    """Do the same for a process that waits for nothing any more: a disk that hangs is no memory."""
    left: list[Speech] = []
    thread = threading.Thread(target=lambda: left.append(hushed(command, code, None, speech, settings)), daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return left[0] if left else speech


def _ending(code: ExitCode | Verdict, result: Result | None) -> Ending:
    if isinstance(result, SnapshotResult) and result.recorded is None:  # nothing was missing, or a signal came first
        return Ending.NEITHER
    if code in FAULTS:
        return Ending.FAULT
    return Ending.GOOD if code in {ExitCode.OK, ExitCode.FOUND} else Ending.NEITHER


def _is_recorded(result: Result | None) -> bool:
    return isinstance(result, SnapshotResult) and result.recorded is not None


def _good_again(result: Result | None, past: Past | None, memory: Memory | None) -> str:
    """Say what is over, with the record's own figures where there is one."""
    if not isinstance(result, SnapshotResult) or past is None or past.since is None:
        at = "" if not isinstance(result, SnapshotResult) else f": {result.snapshot_ts:%Y-%m-%d %H:%M} UTC"
        return f"good again{at}, after failing since {memory.since:%Y-%m-%d %H:%M} UTC" if memory else "good again"
    again = f"good again: {result.snapshot_ts:%Y-%m-%d %H:%M} UTC"
    if not past.minutes:
        return f"{again}, and no minute is lost"
    day = "" if past.since.date() == result.snapshot_ts.date() else f"{past.since:%Y-%m-%d} "
    lost = f", {past.gaps} of them without a row" if past.gaps else ""
    return (
        f"{again}, after {past.minutes} minute{'s'[: past.minutes != 1]} not recorded well"
        f" since {day}{past.since:%H:%M}{lost}"
    )


def _place(command: str, settings: "Settings | None") -> Place | None:
    """Return where the memory is: with settings that cannot be read, where the environment says."""
    from hlctl import settings as sources  # noqa: PLC0415 - an error before they were read may need no more

    folder = settings.data_dir if settings else Path(os.environ.get("HLCTL_DATA_DIR", ""))
    if settings is None and not (folder and folder.is_absolute() and folder.is_dir()):
        folder = None
    try:
        folder = folder or sources.default_data_dir()
    except ConfigurationError:
        return None
    return Place(folder, command, makes=settings is not None and settings.database_url is not None)
