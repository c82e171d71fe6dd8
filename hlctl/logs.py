"""What goes to stderr: what went wrong, and where in the code, without the words of strangers.

A library's exception may quote the URL, the header or the connection string it was given, whole or in pieces that no
search for the secret would find. So of a traceback only places and types are written, and the text only if it is ours.
Whatever else comes from outside is cleaned: no line ends early, and nothing steers a terminal (docs/logs.md).
"""

import json
import logging
import os
import sys
import traceback
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from types import TracebackType
from typing import Literal, get_args
from uuid import UUID, uuid4

from hlctl.errors import HlctlError

Format = Literal["text", "json"]
OPTION, SETTING = "--log-format", "HLCTL_LOG_FORMAT"

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_PRIORITIES = {"error": 3, "warning": 4, "info": 6, "debug": 7}  # syslog's, by our levels


@dataclass(slots=True)
class Run:
    """What every line says of the process that writes it."""

    format: Format = "text"
    command: str = ""
    minute: datetime | None = None  # the one it records


run = Run()
"""One a process."""


@cache
def run_id() -> UUID:
    """Return the name of this process; the minute that it records carries it as `attempt_id`."""
    return uuid4()


def clean(text: str) -> str:
    """Take out what could steer a terminal or hide in a line: control, format and line-breaking characters."""
    return "".join(c if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029" else "?" for c in text)


def begin(words: Sequence[str], environ: Mapping[str, str]) -> None:
    """Log in the format that the command line or else the environment names, until the settings are read.

    What is wrong with either is told soon enough, in text if no format can be made out.
    """
    spoken = [word.partition("=")[2] for word in words if word.startswith(f"{OPTION}=")]
    spoken += [follower for word, follower in pairwise(words) if word == OPTION]
    choices = [*spoken, environ.get(SETTING, "")]
    run.format = next((known for known in get_args(Format) if known == choices[0]), "text")
    log_from("warning")


def written(level: str, text: str, *, message: str, code: int | None = None, remedy: str = "", cause: str = "") -> str:
    """Return what to write to stderr: `text` for people, or an object of the others; both end with a newline.

    The journal reads a line's priority from its beginning, in either format.
    """
    if run.format == "json":
        known = {"code": code, "remedy": clean(remedy), "minute": run.minute and _utc(run.minute), "cause": cause}
        always = {
            "ts": _utc(datetime.now(UTC)),
            "level": level,
            "command": run.command,
            "run_id": str(run_id()),
            "message": clean(message),
        }
        text = json.dumps(always | {key: value for key, value in known.items() if value not in {None, ""}})
    priority = f"<{_PRIORITIES[level]}>" if _is_journal() else ""
    return "".join(f"{priority}{clean(line)}\n" for line in text.split("\n"))


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


@cache
def _is_journal() -> bool:
    """Tell whether stderr is the stream that systemd opened: somebody may have redirected it since."""
    try:
        stderr = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


class _Discreet(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Write a record; the handler ends the line."""
        message = clean(record.getMessage())
        level = record.levelname.lower()
        cause = self.formatException(record.exc_info) if record.exc_info else ""
        text = "\n".join([f"hlctl: {record.levelname}: {message}", *([cause] if cause else [])])
        known = level if level in _PRIORITIES else "error"
        return written(known, text, message=message, cause=cause).removesuffix("\n")

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        """Write an exception, its causes first."""
        chain: list[BaseException] = []
        exc = ei[1]
        while exc is not None and exc not in chain:
            chain.append(exc)
            exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
        lines = [line for exc in reversed(chain) for line in _one(exc).split("\n")]
        return "\n".join(map(clean, lines))


def _one(exc: BaseException) -> str:
    place = "".join(traceback.format_tb(exc.__traceback__))
    text = f": {clean(str(exc))}" if isinstance(exc, HlctlError) else ""
    state = getattr(exc, "sqlstate", None)
    return f"{place}{type(exc).__name__}{text}{f' (SQLSTATE {state})' if state else ''}"


def log_from(level: str) -> None:
    """Log to stderr from this level on: debug, info, warning or error."""
    # Once: a handler that is thrown away is cleaned up, where a signal would be lost with a traceback.
    if not logging.root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Discreet())
        logging.root.addHandler(handler)
    logging.root.setLevel(level.upper())
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # it prints the path, where providers put their keys
