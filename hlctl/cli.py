"""The command line: options to settings to one job to the renderer. Nothing is decided here.

Imports inside the commands are the product's start-up time: `--help` and `--version` load neither pydantic, requests
nor psycopg, and a command loads what it needs.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hlctl import __version__, logs
from hlctl.boundary import Invocation, JsonFlag, bug, finish, flush, log_from, refuse, settings_of
from hlctl.cli_server import db_app
from hlctl.cli_setup import completion, config_app, describe, doctor, version_of_everything
from hlctl.epilog import ends
from hlctl.errors import ExitCode, HlctlError, UsageError
from hlctl.jobs.interrupt import Interrupt, ignored, remembered

if TYPE_CHECKING:
    from hlctl.results import Result

app = typer.Typer(
    name="hlctl",
    help="Keep an audited minute-by-minute record of what Hyperliquid's most profitable wallets hold.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(db_app)
app.add_typer(config_app)


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
    log_format: Annotated[
        logs.Format | None,
        typer.Option(logs.OPTION, help="text, or json: one object a line on stderr.", metavar="FORMAT"),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version; with --json all there is to say.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", hidden=True)] = False,
) -> None:
    ctx.obj = Invocation(config=config, quiet=quiet, log_level=log_level, log_format=log_format, interrupted=ctx.obj)
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
        describe(ctx, as_json=True)
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

    finish(ctx, job, as_json=as_json, is_answer=dry_run, is_scheduled=not dry_run)


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
        from hlctl.jobs.database import settings_in_time
        from hlctl.render.screen import progress_bar

        settings_in_time()
        settings = settings_of(ctx)
        with progress_bar("asking the exchange", wanted=not as_json) as progress:
            return snapshots.snapshot(settings, align=align, progress=progress)

    finish(ctx, job, as_json=as_json, is_scheduled=True)


@app.command(
    "status", epilog=ends("hlctl status --check", ExitCode.DATABASE, ExitCode.SETUP, also="--check has its own: 0 to 3")
)
def status(
    ctx: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Print one line for a monitoring system, and exit with its 0, 1, 2 or 3.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every 5 s, until interrupted.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Add the worst wallets, storage and locks.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say whether the data can be trusted right now, and if not, why."""
    if watch and (check or as_json):
        raise typer.BadParameter("--watch is for people: it goes neither with --json nor with --check")

    def job() -> "Result | None":
        from hlctl.jobs import status as statuses
        from hlctl.jobs.database import answer_in_time

        if watch:
            from hlctl.watch import watch as look_on

            look_on(statuses.looks(partial(settings_of, ctx), verbose=verbose), sys.stdout)
            return None
        answer_in_time()
        return statuses.status(settings_of(ctx), verbose=verbose)

    finish(ctx, job, as_json=as_json, as_check=check, is_answer=True)


@app.command("verify", epilog=ends("hlctl verify --since 24h", ExitCode.FOUND, ExitCode.DATABASE, ExitCode.SETUP))
def verify(  # noqa: PLR0917 - typer's signature
    ctx: typer.Context,
    minute: Annotated[
        str | None, typer.Option("--minute", help="This minute, as 2026-01-06T20:44Z.", metavar="TIME")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="The last 90m, 24h or 7d of final minutes.", metavar="SPAN")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="From this minute on; else from the first.", metavar="TIME")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Up to this minute, itself left out; else to the newest.", metavar="TIME")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say whether minutes were recorded truthfully: by default the newest final one, recorded or not.

    A minute is final 120 s after it began. A check that is violated is exit 1; so is a minute that was asked for and
    not recorded. In a range such gaps are listed, with what is known of the cause.
    """

    def job() -> "Result":
        from hlctl import moments
        from hlctl.jobs import verify as audits
        from hlctl.render.screen import progress_bar

        asked = moments.wanted(minute, since, start, end)
        audits.watch(asked)
        settings = settings_of(ctx)
        with progress_bar("asking the record", wanted=not as_json) as progress:
            return audits.verify(settings, asked, progress=progress)

    is_range = any(bound is not None for bound in (since, start, end))
    finish(ctx, job, as_json=as_json, is_scheduled=True, is_look=not is_range or sys.stderr.isatty())


@app.command("prune", epilog=ends("hlctl prune --keep 30d --dry-run", ExitCode.DATABASE, ExitCode.SETUP, ExitCode.BUSY))
def prune(
    ctx: typer.Context,
    keep: Annotated[
        str | None,
        typer.Option("--keep", help="Whole days to keep, as 30d; by default HLCTL_RETENTION_DAYS.", metavar="DAYS"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which days would go; drop nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Drop whole days of cells and their anomalies for good. Runs, health, universes and wallets stay.

    Today and the newest day that has cells are never dropped. Each day goes as a whole or not at all.
    """

    def job() -> "Result":
        from hlctl.jobs import prune as pruning
        from hlctl.render.screen import progress_bar

        settings = settings_of(ctx)
        with progress_bar("dropping days", wanted=not as_json) as progress:
            return pruning.prune(settings, keep=keep, dry_run=dry_run, progress=progress)

    finish(ctx, job, as_json=as_json, is_answer=dry_run, is_scheduled=not dry_run)


@app.command(
    "export",
    epilog=ends("hlctl export --day 2026-01-06", ExitCode.FOUND, ExitCode.DATABASE, ExitCode.SETUP, ExitCode.BUSY),
)
def export(  # noqa: PLR0917 - typer's signature
    ctx: typer.Context,
    day: Annotated[str | None, typer.Option("--day", help="The day, as 2026-01-06.", metavar="DAY")] = None,
    first: Annotated[str | None, typer.Option("--from", help="The first of several days.", metavar="DAY")] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last of them.", metavar="DAY")] = None,
    kind: Annotated[
        Literal["parquet", "csv"],
        typer.Option("--format", help="parquet needs pyarrow: pip install pyarrow."),
    ] = "parquet",
    directory: Annotated[Path, typer.Option("--dir", help="Where the archive is.", metavar="DIR")] = Path("archive"),
    force: Annotated[bool, typer.Option("--force", help="Replace a day that is there with other cells.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Write nothing: compare the archive with its manifests and the database.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write whole past days to files, one folder a day; without a day, all that the archive lacks.

    DuckDB, Polars and Spark read the folders as one table. A manifest beside each file proves that it is what was
    recorded; --verify compares them, and exits with 1 if something differs.
    """

    def job() -> "Result":
        from hlctl.jobs import export as exporting
        from hlctl.render.screen import progress_bar

        wanted, settings = exporting.ranged(day, first, last), settings_of(ctx)
        with progress_bar("comparing cells" if verify else "writing cells", wanted=not as_json) as progress:
            if verify:
                return exporting.verify(settings, wanted=wanted, directory=directory, progress=progress)
            return exporting.export(
                settings, wanted=wanted, directory=directory, kind=kind, force=force, progress=progress
            )

    finish(ctx, job, as_json=as_json, is_answer=verify)


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


app.command("doctor", epilog=ends("hlctl doctor --json", ExitCode.FOUND))(doctor)
app.command("completion", epilog=ends('eval "$(hlctl completion bash)"'))(completion)
app.command("version", epilog=ends("hlctl version --json"))(version_of_everything)


def main(args: Sequence[str] | None = None, *, interrupted: Interrupt | None = None) -> int:
    """Run one command and return its exit status, which no signal changes any more; never raises.

    A signal ends a job and nothing else: parsing and printing are short, and end with one whole answer.
    """
    words = list(sys.argv[1:] if args is None else args) or ["--help"]
    interrupted = remembered() if interrupted is None else interrupted
    logs.begin(words, os.environ)
    try:
        code = app(args=words, prog_name="hlctl", standalone_mode=False, obj=interrupted)
    except typer.TyperException as exc:
        code = _refuse(_command(words, exc), UsageError(exc.format_message(), remedy=_remedy(exc)), words)
    except (OSError, SystemExit) as exc:  # the latter is what typer makes of a closed pipe
        # Help and the version print themselves. What becomes of the output is no fault of theirs.
        code = 0 if {"--help", "--version"} & set(words) else _refuse(_command_in(words), bug(exc), words)
    except Exception as exc:  # noqa: BLE001 - whatever the boundary itself got wrong
        code = _refuse(_command_in(words), bug(exc), words)
    flush()
    ignored()
    return int(code or 0)


def _refuse(command: str, error: HlctlError, words: Sequence[str]) -> int:
    """Refuse in the form that was asked for, as far as the command line was understood."""
    logs.run.command = command
    return refuse(command, error, as_json="--json" in words, as_check=command == "status" and "--check" in words)


def _remedy(exc: typer.TyperException) -> str:
    """Say where an option belongs that stands behind the command, or else which help explains the line."""
    ctx = getattr(exc, "ctx", None)
    option = getattr(exc, "option_name", None)
    for param in ctx.find_root().command.params if ctx is not None and ctx.parent is not None else ():
        if option in param.opts and not param.hidden:
            return f"{option} stands before the command"
    return f"see `{ctx.command_path if ctx is not None else 'hlctl'} --help`"


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
