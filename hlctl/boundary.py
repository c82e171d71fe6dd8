"""The boundary of every command: the only place where an exception becomes words and an exit code."""

import gc
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from hlctl import logs
from hlctl.errors import (
    BugError,
    DatabaseUnusableError,
    ExitCode,
    HlctlError,
    InterruptedRunError,
    MinuteMissedError,
    Verdict,
)
from hlctl.jobs.interrupt import Interrupt, Terminated, ignored, raising
from hlctl.watchdog import watchdog

if TYPE_CHECKING:
    from hlctl.memory import Place
    from hlctl.results import Result
    from hlctl.settings import Settings


JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document, on failure too.")]


@dataclass(slots=True)
class Invocation:
    """The options that stand before the command, and what became of them."""

    config: Path | None
    quiet: bool
    log_level: str | None
    log_format: logs.Format | None
    interrupted: Interrupt  # by a signal that came before there was a job to end
    settings: "Settings | None" = None  # once they are read

    def memory_of(self, command: str) -> "Place | None":
        """Return where a command keeps in mind what it told."""
        from hlctl import quiet

        return quiet.place_of(command, self.settings, has_file=self.config is not None or "HLCTL_CONFIG" in os.environ)


def finish(
    ctx: typer.Context,
    job: Callable[[], "Result | None"],
    *,
    as_json: bool,
    is_answer: bool = False,
    as_check: bool = False,
    is_scheduled: bool = False,
    is_look: bool = False,
    command: str = "",
) -> None:
    """Run a job, print what it returned or why it could not, and exit with the code of what was committed.

    An answer is what its command is for, and is printed even with --quiet. A check is a monitoring plugin's: see
    `_code`. What is scheduled says little where nobody watches, see `quiet`, and is told of where the settings say, a
    look aside: it is somebody's own. None has printed itself. `command` is its name, if not as was typed.
    """
    result: Result | None = None
    error: HlctlError | None = None
    command = logs.run.command = command or ctx.command_path.partition(" ")[2]
    if as_json or as_check:
        _let_the_watchdog_speak(command, as_json=as_json, as_check=as_check)
    elif is_scheduled:
        _let_the_watchdog_be_quiet(command, ctx.obj)
    try:
        with raising(ctx.obj.interrupted):
            result = job()
        error = result.failure if result is not None else None
    except HlctlError as exc:
        logging.getLogger(__name__).debug("cause", exc_info=exc)
        exc.remedy = exc.remedy.replace("hlctl COMMAND", ctx.command_path)
        error = exc
    except KeyboardInterrupt as exc:
        if result is not None:  # it came too late to end anything
            error = result.failure
        else:
            error = InterruptedRunError()
            error.exit_code = ExitCode.SIGTERM if isinstance(exc, Terminated) else ExitCode.SIGINT
    except Exception as exc:  # the last line of defence: no traceback reaches an operator
        logging.getLogger(__name__).debug("bug", exc_info=exc)
        error = bug(exc)
    is_good = result is not None and result.exit_code is ExitCode.OK
    show_result = error is None and not (ctx.obj.quiet and is_good and not is_answer)
    code = _report(
        command,
        result,
        error,
        as_json=as_json,
        as_check=as_check,
        show_result=show_result,
        scheduled=ctx.obj if is_scheduled else None,
    )
    # A command line that was refused is no run of the task.
    if is_scheduled and not is_look and code != ExitCode.USAGE and ctx.obj.settings is not None:
        _tell_elsewhere(ctx.obj.settings, command, code, result, error)
    raise typer.Exit(code)


def _tell_elsewhere(
    settings: "Settings", command: str, code: int, result: "Result | None", error: HlctlError | None
) -> None:
    """Write the metrics file and send the ping, if the settings name them: all is said and settled before."""
    if settings.metrics_file is None and settings.ping_url is None:
        return
    flush()
    ignored()
    with suppress(Exception):  # it catches what it can; the rest, an import say, must not change the exit code either
        from hlctl.jobs import aftermath

        aftermath.follow(settings, command, code, result, error)


def _code(result: "Result | None", error: HlctlError | None, *, as_check: bool) -> ExitCode | Verdict:
    """Return the exit status; a check's is what a monitoring plugin's means: 3 for whatever kept it from judging."""
    code = result.exit_code if result is not None else error.exit_code if error is not None else ExitCode.OK
    if not as_check or code in {ExitCode.SIGINT, ExitCode.SIGTERM}:
        return code
    return result.verdict if result is not None else Verdict.UNKNOWN


def _report(
    command: str,
    result: "Result | None",
    error: HlctlError | None,
    *,
    as_json: bool,
    as_check: bool,
    show_result: bool,
    scheduled: Invocation | None = None,
) -> int:
    code = _code(result, error, as_check=as_check)
    if not (as_json or as_check):
        _load_words(error, result if show_result else None)
    watchdog.settle(code)
    # A closed stdout or a full disk never changes what was committed.
    with suppress(OSError, ValueError):
        if as_json:
            from hlctl.render import document

            sys.stdout.write(document.document(command, code, result, error) + "\n")
        elif as_check:
            from hlctl.render import check

            sys.stdout.write(check.line(result, error) + "\n")
        else:
            news = ""
            shown = result if show_result else None
            if scheduled is not None:
                from hlctl import quiet

                place = scheduled.memory_of(command)
                error, shown, news = quiet.hushed(code, result, (error, shown, news), place)
            _speak(command, code, error, shown, news)
    return code


def _load_words(error: HlctlError | None, result: "Result | None") -> None:
    """Load what speaks: once the end is settled there may be no more than moments, and a machine that is busy."""
    if error is not None:
        from hlctl.render import screen  # noqa: F401 - see above
    elif result is not None:
        from hlctl.render import text  # noqa: F401 - see above


def _speak(
    command: str, code: ExitCode | Verdict, error: HlctlError | None, result: "Result | None", news: str
) -> None:
    """Print for people: on stderr what is over and what went wrong, else on stdout what was done."""
    if news:
        # A warning, so that who reads of faults alone reads of their end.
        sys.stderr.write(logs.written("warning", f"hlctl {command}: {news}", message=news))
    if error is not None:
        from hlctl.render import screen

        screen.complain(command, code, error, sys.stderr)
    elif result is not None:
        from hlctl.render import text

        text.show(result, sys.stdout)


def _let_the_watchdog_speak(command: str, *, as_json: bool, as_check: bool) -> None:
    """Make its last words a document, or else a check; the renderer is loaded now, for it cannot wait for anything."""
    if as_json:
        from hlctl.render import document
    else:
        from hlctl.render import check

    def say(code: int, words: str) -> tuple[int, TextIO, str]:
        kinds = {ExitCode.DATABASE: DatabaseUnusableError, ExitCode.FAILED: MinuteMissedError}
        error = kinds.get(ExitCode(code), InterruptedRunError)(words)
        error.exit_code = ExitCode(code)
        ending = _code(None, error, as_check=as_check)
        line = document.document(command, ending, None, error) if as_json else check.line(None, error)
        return ending, sys.stdout, line + "\n"

    watchdog.say = say


def _let_the_watchdog_be_quiet(command: str, invocation: Invocation) -> None:
    """Make its last words subject to the contract."""
    from hlctl import quiet

    usual = watchdog.say

    def say(code: int, words: str) -> tuple[int, TextIO, str]:
        speech = (HlctlError(words), None, "")
        error, *_ = quiet.hushed(ExitCode(code), None, speech, invocation.memory_of(command))
        return usual(code, words) if error else (code, sys.stderr, "")

    watchdog.say = say


# No such table, column or function; no such key for ON CONFLICT.
_UNDEFINED = frozenset({"42P01", "42703", "42883", "42P10"})


def bug(exc: BaseException) -> BugError:
    """Name an unexpected exception by its type and its place in hlctl: its text might hold a secret."""
    place, trace = "", exc.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(Path(__file__).parent):
            place = f" in {file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    sqlstate = getattr(exc, "sqlstate", None)
    remedy = "`hlctl doctor` tells whether a part of the schema is gone; if none is, please report it"
    return BugError(
        f"hlctl has a bug: {type(exc).__name__}{f' ({sqlstate})' if sqlstate else ''}{place}",
        remedy=remedy if sqlstate in _UNDEFINED else None,
    )


def flush() -> None:
    """Flush here, where a failure can be swallowed: at interpreter exit it would become exit status 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def settings_of(ctx: typer.Context) -> "Settings":
    """Load the settings of an invocation; the log's level and format of the command line outrank theirs.

    They are the last of what a job loads, so the garbage collector goes to work from here on.
    """
    from hlctl import settings

    loaded = ctx.obj.settings = settings.load(ctx.obj.config)
    if not gc.isenabled():  # else --watch would keep what each look leaves behind
        gc.freeze()
        gc.enable()
    if ctx.obj.log_level is None:
        log_from(loaded.log_level)
    if ctx.obj.log_format is None:
        logs.run.format = loaded.log_format
    return loaded


def log_from(level: str) -> None:
    """Log from this level on; raises typer.BadParameter if there is no such level."""
    if level not in {"debug", "info", "warning", "error"}:
        raise typer.BadParameter(f"--log-level {level!r} is none of debug, info, warning, error")
    logs.log_from(level)


def refuse(command: str, error: HlctlError, *, as_json: bool, as_check: bool = False) -> int:
    """Turn what no command has caught into one line, or into the envelope where it was asked for."""
    try:
        return _report(command, None, error, as_json=as_json, as_check=as_check, show_result=False)
    except Exception as exc:  # noqa: BLE001 - the renderer is what is broken
        broken = bug(exc)
        with suppress(OSError, ValueError):
            sys.stderr.write(logs.written("error", str(broken), message=str(broken), code=broken.exit_code))
        return _code(None, broken, as_check=as_check)
