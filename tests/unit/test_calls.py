"""Which function a call in a query means: the one whose parameters have just its types, whoever made it."""

import re
from pathlib import Path

import pytest

QUERIES = sorted((Path(__file__).parents[2] / "sql" / "queries").glob("*.sql"))
_COMMENT = re.compile(r"--[^\n]*")
_TOKEN = re.compile(
    r"""%\(\w+\)s(?P<cast>::\w+)?|(?P<text>'(?:[^']|'')*')(?P<type>::["\w]+)?|(?P<name>[a-zA-Z_][\w.]*)?\s*\(|\)|,"""
    r"|=>|[\w.]+|\S"
)
_CONSTRUCTS = {
    "all", "and", "any", "array", "as", "between", "by", "case", "coalesce", "conflict", "else", "exists", "extract",
    "filter", "from", "greatest", "in", "key", "least", "materialized", "not", "nullif", "on", "or", "over", "row",
    "select", "then", "using", "values", "when", "where",
}  # fmt: skip
"""What stands before a parenthesis and is no function."""
_EXACT = {
    "array_to_string", "bool_or", "concat", "concat_ws", "current_setting", "date_trunc", "generate_series",
    "has_function_privilege", "has_schema_privilege", "max", "min", "pg_has_role", "substring", "to_char",
    "to_regclass",
}  # fmt: skip
"""Functions whose literals are text or beside the point: an untyped one means text where there is a choice."""


def faults(statement: str) -> list[str]:
    """Return each call with an argument whose type is not told."""
    found = []
    calls: list[str] = []
    before = ""
    for token in _TOKEN.finditer(_COMMENT.sub("", statement)):
        word = token[0].strip()
        if word.endswith("(") and not word.startswith("%"):
            calls.append(token["name"] or "")
        elif word == ")":
            calls.pop()
        else:
            name = calls[-1] if calls else ""
            is_call = bool(name) and name.lower() not in _CONSTRUCTS and not name.startswith("pg_catalog.")
            is_argument = before.endswith(("(", ",", "=>"))
            is_literal = bool(token["text"]) and not token["type"] and name not in _EXACT
            if is_call and is_argument and ((word.startswith("%(") and not token["cast"]) or is_literal):
                found.append(f"{name}: {word}")
        before = word
    return found


@pytest.mark.parametrize("file", QUERIES, ids=lambda file: file.stem)
def test_what_a_query_passes_to_a_function_has_the_type_that_the_function_takes(file: Path) -> None:
    """A small number is sent as smallint: where PUBLIC may create, somebody's overload for it would be meant."""
    assert faults(file.read_text()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT ensure_partitions(%(days)s)",
        "SELECT make_interval(days => %(keep)s)",
        "SELECT f(1, %(x)s)",
        "SELECT date_bin('1 minute', at, timestamptz 'epoch')",
        "SELECT stray_cells(g(1), 'infinity')",
    ],
)
def test_an_argument_without_a_type_is_found(statement: str) -> None:
    """A lint that cannot fail holds nothing."""
    assert faults(statement) != []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT f(%(days)s::int), pg_catalog.set_config('a', %(b)s, true) WHERE a IN ('x', %(y)s)",
        "INSERT INTO t (a) VALUES (%(a)s, 'x')",
        "SELECT date_bin(interval '1 minute', at + %(lead)s::interval, timestamptz 'epoch')",
    ],
)
def test_what_has_its_type_is_not_found_fault_with(statement: str) -> None:
    """Nor is a list of values, which calls nothing."""
    assert faults(statement.replace("INSERT INTO t (a)", "INSERT INTO t")) == []
