"""The command line: options to settings to one job to the renderer. Nothing is decided here.

Imports inside the commands are the product's start-up time: `--help` and `--version` load neither pydantic, requests
nor psycopg, and a command loads what it needs.
"""

import sys
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hlctl import __version__
from hlctl.boundary import Invocation, bug, finish, flush, log_from, refuse, settings_of
from hlctl.epilog import ends
from hlctl.errors import ExitCode, UsageError
from hlctl.jobs.interrupt import Interrupt, ignored, remembered

if TYPE_CHECKING:
    from hlctl.results import Result

app = typer.Typer(
    name="hlctl",
    help="Keep an audited minute-by-minute record of what Hyperliquid's most profitable wallets hold.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db_app = typer.Typer(name="db", help="The embedded PostgreSQL server.")
config_app = typer.Typer(name="config", help="The settings.")
app.add_typer(db_app)
app.add_typer(config_app)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document, on failure too.")]


@app.callback(invoke_without_command=True)
def _options(  # noqa: PLR0917 - typer's signature
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file of HLCTL_NAME=value lines.", metavar="FILE")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing when all is well.")] = False,
    log_level: Annotated[
        str | None, typer.Option("--log-level", help="debug, info, warning or error.", metavar="LEVEL")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version; with --json all there is to say.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", hidden=True)] = False,
) -> None:
    ctx.obj = Invocation(config=config, quiet=quiet, log_level=log_level, interrupted=ctx.obj)
    if log_level is not None:
        log_from(log_level)
    if version:
        _print_version(ctx, as_json=as_json)
    elif as_json:
        raise typer.BadParameter("--json stands behind the command")
    elif ctx.invoked_subcommand is None:
        ctx.fail("Missing command.")


def _print_version(ctx: typer.Context, *, as_json: bool) -> None:
    if as_json:
        _describe(ctx, as_json=True)
    typer.echo(f"hlctl {__version__}")
    raise typer.Exit


@app.command("init-db", epilog=ends("hlctl init-db --writer rec --dry-run", ExitCode.DATABASE, ExitCode.SETUP))
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

        return database.init_db(settings_of(ctx), dry_run=dry_run, writers=writer or [], readers=reader or [])

    finish(ctx, job, as_json=as_json)


@app.command(
    "refresh-universe",
    epilog=ends(
        "hlctl refresh-universe --if-due",
        ExitCode.FOUND,
        ExitCode.FAILED,
        ExitCode.DATABASE,
        ExitCode.SETUP,
        ExitCode.BUSY,
        failed="the universe is kept",
    ),
)
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

        settings = settings_of(ctx)
        if dry_run:
            return universe.plan_refresh(settings, if_due=if_due, force=force)
        if if_due:
            return universe.refresh_if_due(settings, force=force)
        return universe.refresh_universe(settings, force=force)

    finish(ctx, job, as_json=as_json, is_answer=dry_run)


@app.command(
    "snapshot",
    epilog=ends(
        "hlctl --quiet snapshot", ExitCode.PARTIAL, ExitCode.FAILED, ExitCode.DATABASE, ExitCode.SETUP, ExitCode.BUSY
    ),
)
def snapshot(
    ctx: typer.Context,
    align: Annotated[bool, typer.Option("--align", help="Wait for the next minute boundary first.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Record one minute: what every wallet of the universe holds."""

    def job() -> "Result":
        from hlctl.jobs import snapshot as snapshots
        from hlctl.render.screen import progress_bar

        with progress_bar("asking the exchange", wanted=not as_json) as progress:
            return snapshots.snapshot(settings_of(ctx), align=align, progress=progress)

    finish(ctx, job, as_json=as_json)


@app.command("status", epilog=ends("hlctl status --json", ExitCode.DATABASE, ExitCode.SETUP))
def status(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Say whether the data can be trusted right now, and if not, why."""

    def job() -> "Result":
        from hlctl.jobs import status as statuses

        return statuses.status(settings_of(ctx))

    finish(ctx, job, as_json=as_json, is_answer=True)


@app.command("doctor", epilog=ends("hlctl doctor --json", ExitCode.FOUND))
def doctor(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Look for everything that can be wrong with this set-up: one line for each check, with a remedy.

    It reads only, and starts nothing. A warning alone is exit 0. docs/doctor.md explains every check.
    """

    def job() -> "Result":
        from hlctl.jobs import doctor as doctors

        return doctors.doctor(ctx.obj.config)

    finish(ctx, job, as_json=as_json)


@config_app.command("show", epilog=ends("hlctl --config /etc/hlctl/hlctl.env config show", ExitCode.SETUP))
def config_show(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Print every setting: its value, and where that comes from. No secret is shown, and nothing is connected to."""

    def job() -> "Result":
        from hlctl.jobs import config

        return config.show(ctx.obj.config)

    finish(ctx, job, as_json=as_json, is_answer=True)


class Shell(StrEnum):
    """A shell that can complete hlctl's commands."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command("completion", epilog=ends('eval "$(hlctl completion bash)"'))
def completion(ctx: typer.Context, shell: Annotated[Shell, typer.Argument()], as_json: JsonFlag = False) -> None:
    """Print the script that lets a shell complete commands and options."""

    def job() -> "Result":
        from typer.completion import get_completion_script  # type: ignore[attr-defined] # it has no public name

        from hlctl.results import TextResult

        return TextResult(text=get_completion_script(prog_name="hlctl", complete_var="_HLCTL_COMPLETE", shell=shell))

    finish(ctx, job, as_json=as_json, is_answer=True)


@app.command("version", epilog=ends("hlctl version --json"))
def version_of_everything(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Print the versions of hlctl, Python, its libraries and the embedded PostgreSQL."""
    _describe(ctx, as_json=as_json)


def _describe(ctx: typer.Context, *, as_json: bool) -> None:
    def job() -> "Result":
        from hlctl.jobs import version

        return version.describe()

    finish(ctx, job, as_json=as_json, is_answer=True, command="version")


@app.command(
    "demo", epilog=ends("hlctl demo --keep", ExitCode.PARTIAL, ExitCode.FAILED, ExitCode.DATABASE, ExitCode.SETUP)
)
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
        from hlctl.render.screen import progress_bar, tell

        with progress_bar("asking the exchange", wanted=not as_json) as progress:
            return demos.demo(data=data, keep=keep, tell=partial(tell, wanted=not as_json), progress=progress)

    finish(ctx, job, as_json=as_json, is_answer=True)


@db_app.command("start", epilog=ends("hlctl db start", ExitCode.DATABASE, ExitCode.SETUP))
def db_start(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Start the embedded server, making it if there is none."""

    def job() -> "Result":
        from hlctl.jobs import server

        return server.start(settings_of(ctx))

    finish(ctx, job, as_json=as_json)


@db_app.command("run", epilog=ends("hlctl db run", ExitCode.DATABASE, ExitCode.SETUP, ExitCode.BUSY))
def db_run(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Run the embedded server in the foreground, for a service manager, making it if there is none.

    This process becomes PostgreSQL and logs to standard error. End it with SIGINT (KillSignal=SIGINT in systemd,
    stopsignal=INT in supervisord, STOPSIGNAL SIGINT in a container): it rolls back what is open and exits with 0 at
    once. SIGTERM waits until the last client has left, which may be for ever.
    """

    def job() -> "Result":
        from hlctl.jobs import server

        server.run(settings_of(ctx))

    finish(ctx, job, as_json=as_json)


@db_app.command("stop", epilog=ends("hlctl db stop", ExitCode.DATABASE, ExitCode.SETUP))
def db_stop(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Stop the embedded server."""

    def job() -> "Result":
        from hlctl.jobs import server

        return server.stop(settings_of(ctx))

    finish(ctx, job, as_json=as_json)


@db_app.command("status", epilog=ends("hlctl db status", ExitCode.SETUP))
def db_status(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Say whether the embedded server runs, and where it lives."""

    def job() -> "Result":
        from hlctl.jobs import server

        return server.status(settings_of(ctx))

    finish(ctx, job, as_json=as_json, is_answer=True)


@db_app.command("url", epilog=ends("hlctl db url", ExitCode.SETUP))
def db_url(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Print the embedded server's URL, for psql "$(hlctl db url)"."""

    def job() -> "Result":
        from hlctl.jobs import server

        return server.url(settings_of(ctx))

    finish(ctx, job, as_json=as_json, is_answer=True)


def main(args: Sequence[str] | None = None, *, interrupted: Interrupt | None = None) -> int:
    """Run one command and return its exit status, which no signal changes any more; never raises.

    A signal ends a job and nothing else: parsing and printing are short, and end with one whole answer.
    """
    words = list(sys.argv[1:] if args is None else args) or ["--help"]
    interrupted = remembered() if interrupted is None else interrupted
    try:
        code = app(args=words, prog_name="hlctl", standalone_mode=False, obj=interrupted)
    except typer.TyperException as exc:
        code = refuse(_command(words, exc), UsageError(exc.format_message()), as_json="--json" in words)
    except Exception as exc:  # noqa: BLE001 - whatever the boundary itself got wrong
        code = refuse(_command_in(words), bug(exc), as_json="--json" in words)
    flush()
    ignored()
    return int(code or 0)


def _command(words: Sequence[str], exc: typer.TyperException) -> str:
    """Name the command whose line was not understood."""
    ctx = getattr(exc, "ctx", None)
    return (ctx.command_path.partition(" ")[2] if ctx is not None else "") or _command_in(words)


def _command_in(words: Sequence[str]) -> str:
    """Name the first command in a command line; empty if there is none."""
    names = {command.name for command in app.registered_commands}
    groups = {"db": db_app, "config": config_app}
    names |= {f"{name} {command.name}" for name, group in groups.items() for command in group.registered_commands}
    spoken = [word for word in words if not word.startswith("-")]
    pairs = (f"{word} {follower}" for word, follower in zip(spoken, [*spoken[1:], ""], strict=False))
    return next((name for pair in pairs for name in (pair, pair.partition(" ")[0]) if name in names), "")
