"""docs/exit-codes.md: every exit code has a meaning, and a test that sees a process end with it."""

import ast
import re
from pathlib import Path

import pytest

from hlctl.errors import ExitCode, Verdict

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "exit-codes.md").read_text()
TABLE = {
    int(row[0]): row[1:]
    for row in (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if re.match(r"\| \d", line)
    )
}
STATUS = re.compile(r"\b(code|returncode|exit_code)\b|\.wait\(")


def named_for(code: ExitCode) -> list[str]:
    """Return the tests the table names."""
    named: list[str] = re.findall(r"`(tests/[\w/]+\.py::\w+)`", TABLE[code][-1])
    return named


def function(test: str) -> ast.FunctionDef:
    """Return a test by its name."""
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)
    return found


def integers(node: ast.AST) -> set[int]:
    """Return every integer written in a piece of code."""
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and type(part.value) is int}


def statuses(test: ast.FunctionDef) -> set[int]:
    """Return what a test compares an exit status with, through its parameters too."""
    compared = [
        node
        for check in ast.walk(test)
        if isinstance(check, ast.Assert)
        for node in ast.walk(check.test)
        if isinstance(node, ast.Compare) and STATUS.search(ast.unparse(node))
    ]
    names = {part.id for node in compared for part in ast.walk(node) if isinstance(part, ast.Name)}
    given = [d for d in test.decorator_list if names & set(re.findall(r"\w+", ast.unparse(d).partition("[")[0]))]
    return {number for node in [*compared, *given] for number in integers(node)}


def test_the_table_has_every_code_under_its_name() -> None:
    """A script compares the number, a reader of the code the name."""
    assert {code: row[0] for code, row in TABLE.items()} == {code.value: code.name for code in ExitCode}
    assert all(meaning and remedy for _, meaning, remedy, _ in TABLE.values())


@pytest.mark.parametrize("code", list(ExitCode))
def test_every_code_is_reached_by_the_tests_named_beside_it(code: ExitCode) -> None:
    """Each exists, runs the command, and compares an exit status with the code."""
    assert named_for(code), f"docs/exit-codes.md: no test reaches {code.value}"
    for test in named_for(code):
        assert test.startswith("tests/e2e/")
        assert code.value in statuses(function(test)), f"{test} asserts no exit status {code.value}"


def test_the_four_codes_of_a_check_are_reached_by_the_tests_named_beside_them() -> None:
    """They are another language, and have a table of their own."""
    rows = re.findall(r"^\| ([A-Z]+) \| (\d) \| .+ \| `(tests/e2e/[\w/]+\.py::\w+)` \|$", PAGE, re.MULTILINE)
    assert [(word, int(code)) for word, code, _ in rows] == [(verdict.name, verdict.value) for verdict in Verdict]
    for _, code, test in rows:
        assert int(code) in integers(function(test)), f"{test} asserts no exit status {code}"
