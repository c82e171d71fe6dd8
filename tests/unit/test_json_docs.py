"""docs/json.md is a promise to scripts: this holds it to the code, field by field and in both directions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from hlctl.errors import ExitCode, HlctlError
from hlctl.model import MissingReason
from hlctl.render import document
from hlctl.render.document import plain
from hlctl.render.status import REASONS, STYLES
from hlctl.results import Result
from tests import contract
from tests.e2e import test_json
from tests.unit.test_docs import commands

SCALARS: dict[Any, tuple[str, Any]] = {
    str: ("string", "words"),
    Path: ("string", Path("/var/lib/hlctl")),
    bool: ("boolean", True),
    int: ("integer", 7),
    float: ("number", 0.12345),
    Decimal: ("decimal", Decimal("-1E+2")),
    datetime: ("time", datetime(2026, 1, 6, 20, 44, tzinfo=UTC)),
    date: ("date", date(2026, 1, 6)),
    timedelta: ("seconds", timedelta(milliseconds=1500)),
    NoneType: ("null", None),
}
"""Annotation -> its JSON type on the page, and a value."""

ALSO = {"interrupted": {ExitCode.SIGTERM}, "minute_failed": {ExitCode.SIGINT, ExitCode.SIGTERM}}
"""Exit codes an error may end with besides its class's: a signal outranks it."""


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    """Yield every class below one."""
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def json_type(annotation: Any) -> str:
    """Return what the page must say of a field with this annotation."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is UnionType:
        (kind,) = (arg for arg in args if arg is not NoneType)
        return f"{json_type(kind)} or null"
    if origin is tuple and args[-1] is not Ellipsis:
        return f"[{', '.join(map(json_type, args))}]"
    if origin in {Sequence, tuple}:
        return f"array of {json_type(args[0])}"
    if origin is Mapping:
        assert args[0] is str
        return f"object of {json_type(args[1])}"
    if is_dataclass(annotation):
        assert isinstance(annotation, type)
        return annotation.__name__
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "string"
    return SCALARS[annotation][0]


def sample(annotation: Any) -> Any:
    """Return a value of an annotation."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is UnionType:
        return sample(args[0])
    if origin is tuple and args[-1] is not Ellipsis:
        return tuple(map(sample, args))
    if origin in {Sequence, tuple}:
        return [sample(args[0])]
    if origin is Mapping:
        return {"late": sample(args[1])}
    if is_dataclass(annotation):
        return make(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return next(iter(annotation))
    return SCALARS[annotation][1]


def make(kind: Any) -> Any:
    """Return an object with a value in each field."""
    return kind(**{name: sample(annotation) for name, annotation in annotations(kind).items()})


def annotations(kind: type[Any]) -> dict[str, Any]:
    """Return the annotation of each field."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def reachable(annotation: Any) -> Iterator[type[Any]]:
    """Yield every dataclass that can be inside a value of an annotation."""
    if is_dataclass(annotation):
        assert isinstance(annotation, type)
        yield annotation
        for inner in annotations(annotation).values():
            yield from reachable(inner)
    for inner in get_args(annotation):
        yield from reachable(inner)


OBJECTS = {kind.__name__: kind for result in subclasses(Result) for kind in reachable(result)}
CODES = {error.code: error for error in subclasses(HlctlError)}


def test_the_page_has_every_object_and_no_other() -> None:
    """An object nobody returns any more was removed, and that needs another schema version."""
    assert set(contract.FIELDS) == set(OBJECTS)


@pytest.mark.parametrize("name", OBJECTS)
def test_the_page_has_every_field_with_its_type(name: str) -> None:
    """A field that is missing, removed, retyped or without a meaning fails with its name."""
    documented = contract.FIELDS.get(name, {})
    in_code = {field: json_type(annotation) for field, annotation in annotations(OBJECTS[name]).items()}
    for field in documented.keys() | in_code.keys():
        assert documented.get(field) == in_code.get(field), f"docs/json.md: {name}.{field}"
        assert contract.MEANINGS[name, field], f"docs/json.md: {name}.{field} has no meaning"


@pytest.mark.parametrize("name", OBJECTS)
def test_the_renderer_prints_the_types_the_page_names(name: str) -> None:
    """Each kind of value goes through it once."""
    assert contract.oddities(plain(make(OBJECTS[name])), name, name) == []


@pytest.mark.parametrize("name", OBJECTS)
def test_the_page_has_every_word_of_a_closed_list(name: str) -> None:
    """A script compares them."""
    for field, annotation in annotations(OBJECTS[name]).items():
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            words = contract.words_of(contract.MEANINGS[name, field])
            assert {member.value for member in annotation} <= words, f"docs/json.md: {name}.{field}"


def test_the_page_has_every_reason() -> None:
    """Of a NULL cell, and of the judgement."""
    assert [row[0].strip("`") for row in contract.TABLES["Reasons a cell is missing for"]] == list(MissingReason)
    assert {row[0].strip("`") for row in contract.TABLES["Reasons of the judgement"]} == set(REASONS)
    assert contract.words_of(contract.MEANINGS["Health", "health_state"]) >= set(STYLES)


def test_the_page_says_what_every_command_prints() -> None:
    """And every result is some command's."""
    assert set(contract.RESULTS) == set(commands()) - {""}
    assert {name for names in contract.RESULTS.values() for name in names} == {
        result.__name__ for result in subclasses(Result)
    }


def test_the_page_shows_a_success_and_a_failure_of_every_command() -> None:
    """With a command line that starts it."""
    names = {f"{command} fails" for command in contract.RESULTS}
    names |= {command for command, results in contract.RESULTS.items() if results}
    assert set(contract.EXAMPLES) == names
    for name, (line, shown) in contract.EXAMPLES.items():
        assert f"{line} ".startswith(f"{name.removesuffix(' fails')} ")
        assert shown["command"] == name.removesuffix(" fails")
        assert (shown["error"] is None) == (not name.endswith(" fails"))


def test_no_command_is_left_out_of_the_end_to_end_tests() -> None:
    """They know the package only from outside, and cannot ask it."""
    assert set(test_json.COMMANDS) == set(commands()) - {""}
    assert set(test_json.ANSWERING) == {command for command, results in contract.RESULTS.items() if results}


def test_the_page_has_every_error_code_and_no_other() -> None:
    """Two errors with one code could not be told apart."""
    assert set(contract.ERRORS) == set(CODES)
    assert len(CODES) == len(list(subclasses(HlctlError)))


@pytest.mark.parametrize("code", CODES)
def test_the_page_has_an_errors_exit_code_and_remedy(code: str) -> None:
    """Word for word: what an operator shall do is part of the promise."""
    exit_codes, remedy, meaning = contract.ERRORS.get(code, ("", "", ""))
    wanted = {CODES[code].exit_code} | ALSO.get(code, set())
    assert {int(word) for word in contract.words_of(exit_codes)} == wanted, f"docs/json.md: {code}"
    assert remedy == CODES[code].remedy, f"docs/json.md: {code}"
    assert meaning, f"docs/json.md: {code}"


def test_the_page_has_the_envelope() -> None:
    """The same for every command, in this order."""
    names = [row[0].strip("`") for row in contract.TABLES["Envelope"]]
    found = contract.check(document.document("db url", ExitCode.USAGE, None, CODES["usage"]("no")) + "\n", 2)
    assert list(found) == names
    assert found["error"] == {"code": "usage", "message": "no", "remedy": "see `hlctl COMMAND --help`"}
    assert re.search(rf"Within `schema_version` {document.SCHEMA_VERSION} ", contract.PAGE)


def test_what_is_no_number_is_not_printed_as_one() -> None:
    """NaN is not JSON: whoever computes one has a bug, and that is what is reported."""
    result = make(OBJECTS["DemoResult"])
    object.__setattr__(result, "seconds", float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        document.document("demo", ExitCode.OK, result, None)
