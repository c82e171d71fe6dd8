"""The boundary of every command: the only place where an exception becomes words and an exit code."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from hlctl import logs
from hlctl.errors import (
    BugError,
    DatabaseUnusableError,
    ExitCode,
    HlctlError,
    InterruptedRunError,
    MinuteMissedError,
)
from hlctl.jobs.interrupt import Interrupt, Terminated, raising
from hlctl.watchdog import watchdog

if TYPE_CHECKING:
    from hlctl.results import Result
    from hlctl.settings import Settings


@dataclass(frozen=True, slots=True)
class Invocation:
    """The options that stand before the command."""

    config: Path | None
    quiet: bool
    log_level: str | None
    interrupted: Interrupt  # by a signal that came before there was a job to end


def finish(
    ctx: typer.Context, job: Callable[[], "Result"], *, as_json: bool, is_answer: bool = False, command: str = ""
) -> None:
    """Run a job, print what it returned or why it could not, and exit with the code of what was committed.

    An answer is what its command is for, and is printed even with --quiet. `command` is its name, if not as was typed.
    """
    result: Result | None = None
    error: HlctlError | None = None
    command = command or ctx.command_path.partition(" ")[2]
    if as_json:
        _let_the_watchdog_speak_json(command)
    try:
        with raising(ctx.obj.interrupted):
            result = job()
        error = result.failure
    except HlctlError as exc:
        logging.getLogger(__name__).debug("cause", exc_info=exc)
        error = exc
    except KeyboardInterrupt as exc:
        error = InterruptedRunError()
        error.exit_code = ExitCode.SIGTERM if isinstance(exc, Terminated) else ExitCode.SIGINT
    except Exception as exc:  # the last line of defence: no traceback reaches an operator
        logging.getLogger(__name__).debug("bug", exc_info=exc)
        error = bug(exc)
    is_good = result is not None and result.exit_code is ExitCode.OK
    show_result = error is None and not (ctx.obj.quiet and is_good and not is_answer)
    raise typer.Exit(_report(command, result, error, as_json=as_json, show_result=show_result))


def _report(
    command: str, result: "Result | None", error: HlctlError | None, *, as_json: bool, show_result: bool
) -> ExitCode:
    code = result.exit_code if result is not None else error.exit_code if error is not None else ExitCode.OK
    watchdog.settle(code)
    # A closed stdout or a full disk never changes what was committed.
    with suppress(OSError, ValueError):
        if as_json:
            from hlctl.render import document

            sys.stdout.write(document.document(command, code, result, error) + "\n")
            return code
        if error is not None:
            from hlctl.render import screen

            screen.complain(command, error, sys.stderr)
        elif result is not None and show_result:
            from hlctl.render import text

            text.show(result, sys.stdout)
    return code


def _let_the_watchdog_speak_json(command: str) -> None:
    """Make its last words a document too; the renderer is loaded now, since it cannot wait for anything."""
    from hlctl.render import document

    def say(code: int, words: str) -> tuple[TextIO, str]:
        kinds = {ExitCode.DATABASE: DatabaseUnusableError, ExitCode.FAILED: MinuteMissedError}
        error = kinds.get(ExitCode(code), InterruptedRunError)(words)
        return sys.stdout, document.document(command, ExitCode(code), None, error) + "\n"

    watchdog.say = say


def bug(exc: Exception) -> BugError:
    """Name an unexpected exception by its type and its place in hlctl: its text might hold a secret."""
    place, trace = "", exc.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(Path(__file__).parent):
            place = f" in {file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    sqlstate = getattr(exc, "sqlstate", None)
    return BugError(f"hlctl has a bug: {type(exc).__name__}{f' ({sqlstate})' if sqlstate else ''}{place}")


def flush() -> None:
    """Flush here, where a failure can be swallowed: at interpreter exit it would become exit status 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def settings_of(ctx: typer.Context) -> "Settings":
    """Load the settings of an invocation; the log level of the command line outranks theirs."""
    from hlctl import settings

    loaded = settings.load(ctx.obj.config)
    if ctx.obj.log_level is None:
        log_from(loaded.log_level)
    return loaded


def log_from(level: str) -> None:
    """Log from this level on; raises typer.BadParameter if there is no such level."""
    if level not in {"debug", "info", "warning", "error"}:
        raise typer.BadParameter(f"--log-level {level!r} is none of debug, info, warning, error")
    logs.log_from(level)


def refuse(command: str, error: HlctlError, *, as_json: bool) -> ExitCode:
    """Turn what no command has caught into one line, or into the envelope where it was asked for."""
    try:
        return _report(command, None, error, as_json=as_json, show_result=False)
    except Exception as exc:  # noqa: BLE001 - the renderer is what is broken
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{bug(exc)}\n")
        return ExitCode.BUG
