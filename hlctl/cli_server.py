"""`hlctl db`: the embedded server on the command line."""

from typing import TYPE_CHECKING

import typer

from hlctl.boundary import JsonFlag, finish, settings_of
from hlctl.epilog import ends
from hlctl.errors import ExitCode

if TYPE_CHECKING:
    from hlctl.results import Result

db_app = typer.Typer(name="db", help="The embedded PostgreSQL server.")


@db_app.command("start", epilog=ends("hlctl db start", ExitCode.DATABASE, ExitCode.SETUP))
def db_start(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Start the embedded server, making it if there is none."""

    def job() -> "Result":
        from hlctl.jobs import server

        return server.start(settings_of(ctx))

    finish(ctx, job, as_json=as_json)


@db_app.command(
    "run",
    epilog=ends("hlctl db run", ExitCode.DATABASE, ExitCode.SETUP, ExitCode.BUSY, busy="a server already runs"),
)
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
