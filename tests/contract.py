"""docs/json.md as data: what each command prints, and of which JSON type each field is.

The unit tests hold the page to the code, the end-to-end tests hold each document a command prints to the page.
"""

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "json.md").read_text()

_CODE = re.compile(r"`([^`]*)`")
_SCALARS: dict[str, tuple[type, str]] = {
    "string": (str, ""),
    "time": (str, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z"),
    "date": (str, r"\d{4}-\d\d-\d\d"),
    "decimal": (str, r"-?\d+(\.\d+)?"),
    "integer": (int, ""),
    "boolean": (bool, ""),
    "null": (type(None), ""),
}


def _tables() -> dict[str, list[list[str]]]:
    """Return the rows of the table under each heading, without its head."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in PAGE.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip("`")
        elif line.startswith("| "):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.setdefault(heading, []).append(cells)
    return {heading: rows[1:] for heading, rows in found.items()}


TABLES = _tables()
RESULTS = {row[0].strip("`"): re.findall(r"\[(\w+)\]", row[1]) for row in TABLES["Commands"]}
"""Command -> the names of the results it prints."""

ERRORS = {row[0].strip("`"): row[1:] for row in TABLES["Errors"]}
"""Code -> exit codes, remedy, meaning."""

FIELDS = {
    name: {row[0].strip("`"): re.sub(r"\[(\w+)\]\(#\w+\)", r"\1", row[1]) for row in rows}
    for name, rows in TABLES.items()
    if name.isalpha() and name not in {"Commands", "Errors", "Envelope", "Types"}
}
"""Name of an object -> field -> JSON type."""

MEANINGS = {(name, row[0].strip("`")): row[2] for name in FIELDS for row in TABLES[name]}

EXAMPLES = {
    name: (command, json.loads(text))
    for name, command, text in re.findall(
        r"<!-- example: ([\w -]+) -->\n```console\n\$ (?:\w+=\w+ )*hlctl ([^\n]*) --json \| jq \.\n(.*?)```",
        PAGE,
        re.DOTALL,
    )
}
"""Name of an example -> the words of its command line, and the document it printed."""


def words_of(cell: str) -> set[str]:
    """Return what a cell of a table says in code."""
    return set(_CODE.findall(cell))


def oddities(value: Any, kind: str, where: str = "") -> list[str]:
    """Say where a JSON value is not of a type of the page; a field too many or too few is one."""
    if kind.endswith(" or null"):
        return [] if value is None else oddities(value, kind.removesuffix(" or null"), where)
    if kind in _SCALARS:
        wanted, pattern = _SCALARS[kind]
        fits = type(value) is wanted and (not pattern or re.fullmatch(pattern, str(value), re.ASCII) is not None)
        return [] if fits else [f"{where}: {value!r} is no {kind}"]
    if kind in {"number", "seconds"}:
        return [] if type(value) in {int, float} else [f"{where}: {value!r} is no {kind}"]
    if kind.startswith("array of "):
        if not isinstance(value, list):
            return [f"{where}: {value!r} is no array"]
        return [odd for n, item in enumerate(value) for odd in oddities(item, kind[9:], f"{where}[{n}]")]
    if kind.startswith("["):
        kinds = kind[1:-1].split(", ")
        if not isinstance(value, list) or len(value) != len(kinds):
            return [f"{where}: {value!r} is no {kind}"]
        return [odd for n, item in enumerate(value) for odd in oddities(item, kinds[n], f"{where}[{n}]")]
    if not isinstance(value, dict):
        return [f"{where}: {value!r} is no object"]
    if kind.startswith("object of "):
        return [odd for key, item in value.items() for odd in oddities(item, kind[10:], f"{where}.{key}")]
    fields = FIELDS[kind]
    odd = [f"{where}.{name} is not documented" for name in value.keys() - fields.keys()]
    odd += [f"{where}.{name} is missing" for name in fields.keys() - value.keys()]
    return odd + [
        o for name in value.keys() & fields.keys() for o in oddities(value[name], fields[name], f"{where}.{name}")
    ]


def check(text: str, exit_code: int) -> dict[str, Any]:
    """Return the one document `text` is, after holding it to the page in every respect."""
    assert text.endswith("}\n"), text
    assert text.count("\n") == 1, text
    assert text.isascii(), "a document is read in any locale"
    assert "\x1b" not in text
    found: dict[str, Any] = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
    assert list(found) == ["schema_version", "command", "exit_code", "result", "error"]
    assert (found["schema_version"], found["exit_code"]) == (1, exit_code)
    result, error = found["result"], found["error"]
    if error is not None:
        assert list(error) == ["code", "message", "remedy"]
        assert all(type(words) is str for words in error.values())
        assert error["message"]
        is_check = (found["command"], exit_code) == ("status", 3)
        assert is_check or str(exit_code) in words_of(ERRORS[error["code"]][0])
    if result is None:
        assert error is not None, "a document without a result says why"
    else:
        odd = {name: oddities(result, name, name) for name in RESULTS[found["command"]]}
        assert [] in odd.values(), odd
    return found


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs), "a name occurs twice"
    return dict(pairs)
