"""`--help`, `--version` and completion: what an operator meets first."""

import re
import subprocess
import sys
from typing import Any

import pytest
import typer.main

from hlctl.cli import app
from hlctl.errors import ExitCode
from tests import contract
from tests.unit.test_docs import commands, known_line

PROBE = (
    "import sys; from hlctl.cli import main; code = main(sys.argv[1:]);"
    "heavy = {'pydantic', 'pydantic_settings', 'requests', 'psycopg', 'urllib3'} & set(sys.modules);"
    "sys.exit(f'{heavy} loaded' if heavy else code)"
)


def run(*args: str, **environment: str) -> tuple[int, str, str]:
    """Run the command line in a process of its own, which fails if it loads what is heavy."""
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, *args],
        env={"COLUMNS": "200", "TERM": "dumb", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ran.returncode, ran.stdout, ran.stderr


def epilog(name: str) -> str:
    """Return how the help of a command ends."""
    command: Any = typer.main.get_group(app)
    for word in name.split():
        command = command.commands[word]
    return command.epilog or ""


@pytest.mark.parametrize("name", sorted(commands().keys() - {""}))
def test_the_help_of_a_command_ends_with_its_exit_codes_and_an_example(name: str) -> None:
    """Codes that exist, and a command line that does."""
    codes, _, example = epilog(name).partition("\n\nExample: ")
    assert codes.startswith("Exit codes: 0 done")
    named = {int(code) for code in re.findall(r"\b\d+\b", codes)}
    assert named <= set(ExitCode)
    assert {ExitCode.USAGE, ExitCode.BUG, ExitCode.SIGINT, ExitCode.SIGTERM} <= named
    line = re.sub(r'^eval "\$\((.*)\)"$', r"\1", example)
    assert name in line
    words = [word for word in line.split() if not word.startswith("/")]
    assert known_line(" ".join(words)), line


def test_the_help_shows_that_end() -> None:
    """On the screen too, without loading what is heavy."""
    code, out, err = run("snapshot", "--help")
    assert (code, err) == (0, "")
    assert "Exit codes: 0 done, 3 the minute is partial, 4 the minute is failed or missed" in out
    assert "Example: hlctl --quiet snapshot" in out


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_help_of_a_command_shows_its_words_as_they_are_written(name: str) -> None:
    """What stands in brackets is markup to the library that prints it, unless it is escaped, and vanishes."""
    command: Any = typer.main.get_group(app)
    for word in name.split():
        command = command.commands[word]
    words = [command.help, command.epilog, *(parameter.help for parameter in command.params if not parameter.hidden)]
    code, out, _ = run(*name.split(), "--help")
    assert code == 0
    shown = re.sub(r"[\s│]+", "", out)
    for text in filter(None, words):
        assert re.sub(r"\s+", "", text.replace("\\[", "[")) in shown


def test_the_version_is_one_line_or_a_document() -> None:
    """In either order, and `version` says the same; without a library that talks to anybody."""
    code, out, err = run("--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"hlctl \d+\.\d+\.\d+\n", out)
    documents = [run(*args) for args in (("--version", "--json"), ("--json", "--version"), ("version", "--json"))]
    assert {(code, err) for code, _, err in documents} == {(0, "")}
    (said,) = {out for _, out, _ in documents}
    found = contract.check(said, 0)
    assert found["command"] == "version"
    assert found["result"]["hlctl"] == out.split()[1]
    assert found["result"]["libraries"]["psycopg"]


@pytest.mark.parametrize(
    ("args", "words"), [(("--json",), "--json stands behind the command"), (("-q",), "Missing command")]
)
def test_options_alone_are_no_command(args: tuple[str, ...], words: str) -> None:
    """They would do nothing, and look as if they had."""
    code, out, err = run(*args)
    assert code == 2
    assert words in out + err


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("snapshot --quiet", "--quiet stands before the command"),
        ("status -q", "-q stands before the command"),
        ("db url --log-level debug", "--log-level stands before the command"),
        ("status --jsn", "see `hlctl status --help`"),
        ("db", "see `hlctl db --help`"),
        ("db url extra", "see `hlctl db url --help`"),
        ("nonsense", "see `hlctl --help`"),
        ("--log-level loud status", "see `hlctl --help`"),
    ],
)
def test_a_line_that_is_not_understood_leads_to_the_help_that_explains_it(line: str, remedy: str) -> None:
    """That of hlctl itself does not list a command's options, and an option before the command is in no command's."""
    code, out, err = run(*line.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.endswith(f"; {remedy}\n"), err


def test_a_server_that_runs_already_is_no_lock() -> None:
    """Who reads of a lock looks for another run."""
    assert "75 a server already runs;" in epilog("db run")
    assert "75 another run holds the lock;" in epilog("prune")


def test_completing_loads_nothing_heavy() -> None:
    """It runs at every press of a key."""
    code, out, err = run(COMP_WORDS="hlctl d", COMP_CWORD="1", _HLCTL_COMPLETE="complete_bash")
    assert (code, err) == (0, "")
    assert {"db", "demo", "doctor"} <= set(out.split())
    code, out, _ = run("completion", "zsh")
    assert code == 0
    assert out.startswith("#compdef hlctl\n")
