"""What an operator asks of a set-up, on the command line: is it right, what is set, what is installed."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from hlctl.boundary import JsonFlag, finish
from hlctl.epilog import ends
from hlctl.errors import ExitCode

if TYPE_CHECKING:
    from hlctl.results import Result

config_app = typer.Typer(name="config", help="The settings.")


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


def completion(ctx: typer.Context, shell: Annotated[Shell, typer.Argument()], as_json: JsonFlag = False) -> None:
    """Print the script that lets a shell complete commands and options."""

    def job() -> "Result":
        from typer.completion import get_completion_script  # type: ignore[attr-defined] # it has no public name

        from hlctl.answers import TextResult

        return TextResult(text=get_completion_script(prog_name="hlctl", complete_var="_HLCTL_COMPLETE", shell=shell))

    finish(ctx, job, as_json=as_json, is_answer=True)


def version_of_everything(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Print the versions of hlctl, Python, its libraries and the embedded PostgreSQL."""
    describe(ctx, as_json=as_json)


def describe(ctx: typer.Context, *, as_json: bool) -> None:
    """Do the same for whoever asks by option."""

    def job() -> "Result":
        from hlctl.jobs import version

        return version.describe()

    finish(ctx, job, as_json=as_json, is_answer=True, command="version")
