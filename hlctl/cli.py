"""The command line: options to settings to one job to the renderer. Nothing is decided here.

Imports inside the commands are the product's start-up time: `--help` and `--version` load neither pydantic, requests
nor psycopg, and a command loads what it needs.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from hlctl import __version__, logs
from hlctl.errors import (
    BugError,
    DatabaseUnusableError,
    ExitCode,
    HlctlError,
    InterruptedRunError,
    MinuteMissedError,
    UsageError,
)
from hlctl.jobs.interrupt import Interrupt, Terminated, ignored, raising, remembered
from hlctl.watchdog import watchdog

if TYPE_CHECKING:
    from hlctl.results import Result
    from hlctl.settings import Settings

app = typer.Typer(
    name="hlctl",
    help="Keep an audited minute-by-minute record of what Hyperliquid's most profitable wallets hold.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db_app = typer.Typer(name="db", help="The embedded PostgreSQL server.")
app.add_typer(db_app)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document, on failure too.")]


@dataclass(frozen=True, slots=True)
class Invocation:
    """The options that stand before the command."""

    config: Path | None
    quiet: bool
    log_level: str | None
    interrupted: Interrupt  # by a signal that came before there was a job to end


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's signature
    if wanted:
        typer.echo(f"hlctl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file of HLCTL_NAME=value lines.", metavar="FILE")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing when all is well.")] = False,
    log_level: Annotated[
        str | None, typer.Option("--log-level", help="debug, info, warning or error.", metavar="LEVEL")
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    ctx.obj = Invocation(config=config, quiet=quiet, log_level=log_level, interrupted=ctx.obj)
    if log_level is not None:
        _log_from(log_level)


@app.command("init-db")
def init_db(
    ctx: typer.Context,
    writer: Annotated[
        list[str] | None,
        typer.Option("--writer", help="Let this role record: snapshot and refresh-universe.", metavar="ROLE"),
    ] = None,
    reader: Annotated[
        list[str] | None, typer.Option("--reader", help="Let this role read the record.", metavar="ROLE")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be applied and granted.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Create the schema, or bring it up to date, and let roles use it. Running it twice changes nothing."""

    def job() -> "Result":
        from hlctl.jobs import database

        return database.init_db(_settings(ctx), dry_run=dry_run, writers=writer or [], readers=reader or [])

    _finish(ctx, job, as_json=as_json)


@app.command("refresh-universe")
def refresh_universe(
    ctx: typer.Context,
    if_due: Annotated[
        bool,
        typer.Option("--if-due", help="Do nothing while the universe is younger than HLCTL_UNIVERSE_REFRESH_HOURS."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Accept it however many wallets changed; when to read it, --if-due decides.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say who would enter and exit; write nothing. Exit 1: it would be refused."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Read the leaderboard and put its most profitable wallets in force.

    The universe is kept, with exit 4, if no leaderboard can be believed, or if more than 30 % of the wallets changed
    for the third time in a row.
    """

    def job() -> "Result":
        from hlctl.jobs import universe

        settings = _settings(ctx)
        if dry_run:
            return universe.plan_refresh(settings, if_due=if_due, force=force)
        if if_due:
            return universe.refresh_if_due(settings, force=force)
        return universe.refresh_universe(settings, force=force)

    _finish(ctx, job, as_json=as_json, is_answer=dry_run)


@app.command("snapshot")
def snapshot(
    ctx: typer.Context,
    align: Annotated[bool, typer.Option("--align", help="Wait for the next minute boundary first.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Record one minute: what every wallet of the universe holds."""

    def job() -> "Result":
        from hlctl.jobs import snapshot as snapshots
        from hlctl.render import progress_bar

        with progress_bar("asking the exchange", wanted=not as_json) as progress:
            return snapshots.snapshot(_settings(ctx), align=align, progress=progress)

    _finish(ctx, job, as_json=as_json)


@app.command("status")
def status(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Say whether the data can be trusted right now, and if not, why."""

    def job() -> "Result":
        from hlctl.jobs import status as statuses

        return statuses.status(_settings(ctx))

    _finish(ctx, job, as_json=as_json, is_answer=True)


@app.command("demo")
def demo(
    ctx: typer.Context,
    data: Annotated[
        Path | None, typer.Option("--data", help="Serve the recorded answers in this folder.", metavar="DIR")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the database and say how to look at it.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the whole pipeline once against a simulated exchange and a throw-away database. Needs no network."""

    def job() -> "Result":
        from hlctl.jobs import demo as demos
        from hlctl.render import progress_bar, tell

        with progress_bar("asking the exchange", wanted=not as_json) as progress:
            return demos.demo(data=data, keep=keep, tell=partial(tell, wanted=not as_json), progress=progress)

    _finish(ctx, job, as_json=as_json, is_answer=True)


@db_app.command("start")
def db_start(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Start the embedded server, making it if there is none."""

    def job() -> "Result":
        from hlctl.jobs import server

        return server.start(_settings(ctx))

    _finish(ctx, job, as_json=as_json)


@db_app.command("run")
def db_run(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Run the embedded server in the foreground, for a service manager, making it if there is none.

    This process becomes PostgreSQL and logs to standard error. End it with SIGINT (KillSignal=SIGINT in systemd,
    stopsignal=INT in supervisord, STOPSIGNAL SIGINT in a container): it rolls back what is open and exits with 0 at
    once. SIGTERM waits until the last client has left, which may be for ever.
    """

    def job() -> "Result":
        from hlctl.jobs import server

        server.run(_settings(ctx))

    _finish(ctx, job, as_json=as_json)


@db_app.command("stop")
def db_stop(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Stop the embedded server."""

    def job() -> "Result":
        from hlctl.jobs import server

        return server.stop(_settings(ctx))

    _finish(ctx, job, as_json=as_json)


@db_app.command("status")
def db_status(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Say whether the embedded server runs, and where it lives."""

    def job() -> "Result":
        from hlctl.jobs import server

        return server.status(_settings(ctx))

    _finish(ctx, job, as_json=as_json, is_answer=True)


@db_app.command("url")
def db_url(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Print the embedded server's URL, for psql "$(hlctl db url)"."""

    def job() -> "Result":
        from hlctl.jobs import server

        return server.url(_settings(ctx))

    _finish(ctx, job, as_json=as_json, is_answer=True)


# ---- the boundary: the only place where an exception becomes words and an exit code


def main(args: Sequence[str] | None = None, *, interrupted: Interrupt | None = None) -> int:
    """Run one command and return its exit status, which no signal changes any more; never raises.

    A signal ends a job and nothing else: parsing and printing are short, and end with one whole answer.
    """
    words = list(sys.argv[1:] if args is None else args) or ["--help"]
    interrupted = remembered() if interrupted is None else interrupted
    try:
        code = app(args=words, prog_name="hlctl", standalone_mode=False, obj=interrupted)
    except typer.TyperException as exc:
        code = _refuse(words, UsageError(exc.format_message()), getattr(exc, "ctx", None))
    except Exception as exc:  # noqa: BLE001 - whatever the boundary itself got wrong
        code = _refuse(words, _bug(exc))
    _flush()
    ignored()
    return int(code or 0)


def _refuse(words: Sequence[str], error: HlctlError, ctx: typer.Context | None = None) -> ExitCode:
    """Turn what no command has caught into one line, or into the envelope where it was asked for."""
    command = ctx.command_path.partition(" ")[2] if ctx is not None else ""
    try:
        return _report(command or _command_in(words), None, error, as_json="--json" in words, show_result=False)
    except Exception as exc:  # noqa: BLE001 - the renderer is what is broken
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{_bug(exc)}\n")
        return ExitCode.BUG


def _command_in(words: Sequence[str]) -> str:
    """Name the first command in a command line; empty if there is none."""
    names = {command.name for command in app.registered_commands}
    names |= {f"db {command.name}" for command in db_app.registered_commands}
    spoken = [word for word in words if not word.startswith("-")]
    pairs = (f"{word} {follower}" for word, follower in zip(spoken, [*spoken[1:], ""], strict=False))
    return next((name for pair in pairs for name in (pair, pair.partition(" ")[0]) if name in names), "")


def _finish(ctx: typer.Context, job: Callable[[], "Result"], *, as_json: bool, is_answer: bool = False) -> None:
    """Run a job, print what it returned or why it could not, and exit with the code of what was committed.

    An answer is what its command is for, and is printed even with --quiet.
    """
    result: Result | None = None
    error: HlctlError | None = None
    command = ctx.command_path.partition(" ")[2]
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
        error = _bug(exc)
    is_good = result is not None and result.exit_code is ExitCode.OK
    show_result = error is None and not (ctx.obj.quiet and is_good and not is_answer)
    raise typer.Exit(_report(command, result, error, as_json=as_json, show_result=show_result))


def _report(
    command: str, result: "Result | None", error: HlctlError | None, *, as_json: bool, show_result: bool
) -> ExitCode:
    from hlctl import render

    code = result.exit_code if result is not None else error.exit_code if error is not None else ExitCode.OK
    watchdog.settle(code)
    # A closed stdout or a full disk never changes what was committed.
    with suppress(OSError, ValueError):
        if as_json:
            sys.stdout.write(render.document(command, code, result, error) + "\n")
            return code
        if error is not None:
            render.complain(command, error, sys.stderr)
        elif result is not None and show_result:
            render.show(result, sys.stdout)
    return code


def _let_the_watchdog_speak_json(command: str) -> None:
    """Make its last words a document too; the renderer is loaded now, since it cannot wait for anything."""
    from hlctl import render

    def say(code: int, words: str) -> tuple[TextIO, str]:
        kinds = {ExitCode.DATABASE: DatabaseUnusableError, ExitCode.FAILED: MinuteMissedError}
        error = kinds.get(ExitCode(code), InterruptedRunError)(words)
        return sys.stdout, render.document(command, ExitCode(code), None, error) + "\n"

    watchdog.say = say


def _bug(exc: Exception) -> BugError:
    """Name an unexpected exception by its type and its place in hlctl: its text might hold a secret."""
    place, trace = "", exc.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(Path(__file__).parent):
            place = f" in {file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    sqlstate = getattr(exc, "sqlstate", None)
    return BugError(f"hlctl has a bug: {type(exc).__name__}{f' ({sqlstate})' if sqlstate else ''}{place}")


def _flush() -> None:
    """Flush here, where a failure can be swallowed: at interpreter exit it would become exit status 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _settings(ctx: typer.Context) -> "Settings":
    from hlctl import settings

    loaded = settings.load(ctx.obj.config)
    if ctx.obj.log_level is None:
        _log_from(loaded.log_level)
    return loaded


def _log_from(level: str) -> None:
    if level not in {"debug", "info", "warning", "error"}:
        raise typer.BadParameter(f"--log-level {level!r} is none of debug, info, warning, error")
    logs.log_from(level)
