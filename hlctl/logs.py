"""The log on stderr: what went wrong, and where in the code, without the words of strangers.

A library's exception may quote the URL, the header or the connection string it was given, whole or in pieces that no
search for the secret would find. So of a traceback only places and types are written, and the text only if it is ours.
"""

import logging
import sys
import traceback
from functools import cache
from types import TracebackType
from uuid import UUID, uuid4

from hlctl.errors import HlctlError

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


@cache
def run_id() -> UUID:
    """Return the name of this process; the minute that it records carries it as `attempt_id`."""
    return uuid4()


class _Discreet(logging.Formatter):
    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's name
        """Write an exception, its causes first."""
        chain: list[BaseException] = []
        exc = ei[1]
        while exc is not None and exc not in chain:
            chain.append(exc)
            exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
        return "\n".join(_one(exc) for exc in reversed(chain))


def _one(exc: BaseException) -> str:
    place = "".join(traceback.format_tb(exc.__traceback__))
    text = f": {exc}" if isinstance(exc, HlctlError) else ""
    state = getattr(exc, "sqlstate", None)
    return f"{place}{type(exc).__name__}{text}{f' (SQLSTATE {state})' if state else ''}"


def log_from(level: str) -> None:
    """Log to stderr from this level on: debug, info, warning or error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Discreet("hlctl: %(levelname)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # it prints the path, where providers put their keys
