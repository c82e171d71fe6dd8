"""The log tells where and what, and repeats no stranger's words."""

import io
import json
import logging
import os
import re
import subprocess
import sys
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hlctl import logs
from hlctl.errors import DatabaseUnusableError, ExitCode

CANARY = "TOPSECRET"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return what is logged from now on."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(logging, "root", logging.RootLogger(logging.WARNING))
    monkeypatch.setattr(logging.Logger, "root", logging.root)
    logs.log_from("debug")
    return stream


def test_a_traceback_has_types_and_places_and_only_our_own_words(written: io.StringIO) -> None:
    """The HTTP library names the URL, libpq pieces of it; what we say ourselves is known to be clean."""

    def fail(exc: Exception) -> None:
        raise exc

    try:
        try:
            fail(ValueError(f"Max retries exceeded with url: /{CANARY}/info"))
        except ValueError as exc:
            raise DatabaseUnusableError("the database failed") from exc
    except DatabaseUnusableError as exc:
        logging.root.debug("cause", exc_info=exc)
    text = written.getvalue()
    assert text.startswith("hlctl: DEBUG: cause\n")
    assert CANARY not in text
    assert "\nValueError\n" in text
    assert text.endswith("DatabaseUnusableError: the database failed\n")
    assert "test_logs.py" in text
    assert " in fail\n" in text


def test_an_error_of_the_database_is_told_by_its_sqlstate(written: io.StringIO) -> None:
    """That is what its documentation lists, and its text may hold a row."""

    class CheckViolationError(Exception):
        sqlstate = "23514"

    logging.root.debug("bug", exc_info=CheckViolationError(CANARY))
    assert written.getvalue().endswith("CheckViolationError (SQLSTATE 23514)\n")


# ---- one object a line

OUTSIDE = st.text(st.characters(), max_size=40) | st.sampled_from(
    ["a\nb", "\r\x1b[31m", "\u202etxt", "\u2028", "\ud800", "\x00", "\x85", '"}\n{"level": "info"', "<3>", "é 数"]
)


@pytest.fixture(name="as_json")
def _as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process write objects."""
    monkeypatch.setattr(logs, "run", logs.Run(format="json", command="snapshot"))


def is_harmless(line: str) -> bool:
    """Tell whether a line is one, and steers nothing."""
    return not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for c in line)


@pytest.mark.usefixtures("as_json")
def test_an_object_says_who_writes_it_and_when() -> None:
    """The keys are a promise: docs/logs.md."""
    logs.run.minute = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
    line = logs.written("error", "for people", message="no", code=ExitCode.DATABASE, remedy="mend it", cause="a\nb")
    found = json.loads(line)
    at = datetime.fromisoformat(found.pop("ts"))
    assert at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    assert '"ts": "20' in line
    assert 'Z", "level"' in line
    assert found == {
        "level": "error", "command": "snapshot", "run_id": str(logs.run_id()), "message": "no",
        "code": 5, "remedy": "mend it", "minute": "2026-01-06T20:44:00Z", "cause": "a\nb",
    }  # fmt: skip


@pytest.mark.usefixtures("as_json")
def test_what_there_is_not_has_no_key() -> None:
    """A reader asks for what it wants, and an empty remedy is none."""
    assert set(json.loads(logs.written("info", "", message="so"))) == {"ts", "level", "command", "run_id", "message"}
    assert "code" in json.loads(logs.written("info", "", message="so", code=0))


@pytest.mark.usefixtures("as_json")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OUTSIDE, OUTSIDE, OUTSIDE)
def test_nothing_from_outside_leaves_its_place_in_an_object(message: str, remedy: str, cause: str) -> None:
    """One line of ASCII, whatever an exchange, a file or a library had to say."""
    exc = DatabaseUnusableError(cause)
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "%s", (message,), (DatabaseUnusableError, exc, None))
    for line in (logs.written("error", "", message=message, remedy=remedy), logs._Discreet().format(record) + "\n"):
        assert line.isascii()
        assert line.count("\n") == 1
        found = json.loads(line)
        assert found["message"] == logs.clean(message)
        assert all(is_harmless(part) for value in found.values() for part in str(value).split("\n"))


@given(OUTSIDE, OUTSIDE)
def test_nothing_from_outside_steers_a_line_of_text(message: str, cause: str) -> None:
    """Nor begins one of its own."""
    exc = DatabaseUnusableError(cause)
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "%s", (message,), (DatabaseUnusableError, exc, None))
    first, *others = logs._Discreet().format(record).split("\n")
    assert first == f"hlctl: WARNING: {logs.clean(message)}"
    assert others == [f"DatabaseUnusableError: {logs.clean(str(exc))}"]
    assert all(map(is_harmless, [first, *others]))


@pytest.mark.parametrize(
    ("words", "environ", "expected"),
    [
        ([], {}, "text"),
        (["snapshot"], {"HLCTL_LOG_FORMAT": "json"}, "json"),
        (["--log-format", "json", "snapshot"], {}, "json"),
        (["--log-format=json", "snapshot"], {"HLCTL_LOG_FORMAT": "text"}, "json"),
        (["--log-format", "text", "snapshot"], {"HLCTL_LOG_FORMAT": "json"}, "text"),
        (["snapshot", "--log-format"], {"HLCTL_LOG_FORMAT": "json"}, "json"),
        (["--log-format", "xml"], {"HLCTL_LOG_FORMAT": "json"}, "text"),
        ([], {"HLCTL_LOG_FORMAT": "JSON"}, "text"),
    ],
)
def test_before_settings_are_read_the_command_line_and_the_environment_name_the_format(
    monkeypatch: pytest.MonkeyPatch, words: list[str], environ: dict[str, str], expected: str
) -> None:
    """What is wrong with the settings is told in it too."""
    monkeypatch.setattr(logs, "run", logs.Run())
    logs.begin(words, environ)
    assert logs.run.format == expected


def test_the_journal_reads_the_priority_of_every_line(tmp_path: Path) -> None:
    """If it is the journal that stderr leads to: a variable alone is inherited by whoever is started."""
    script = (
        "import logging, sys; from hlctl import logs; logs.begin(sys.argv[1:], {}); logs.log_from('debug');"
        "logging.error('e'); logging.warning('w'); logging.info('i');"
        "logging.debug('d', exc_info=logs.HlctlError('x'))"
    )
    for stream, expected in (("ours", ["<3>", "<4>", "<6>", "<7>"]), ("another", []), ("", [])):
        for words in ([], ["--log-format=json"]):
            path = tmp_path / "journal"
            with path.open("wb") as stderr:
                found = os.fstat(stderr.fileno())
                name = {"ours": f"{found.st_dev}:{found.st_ino}", "another": f"{found.st_dev}:{found.st_ino + 1}"}
                env = {"JOURNAL_STREAM": name.get(stream, stream)}
                subprocess.run([sys.executable, "-c", script, *words], env=env, stderr=stderr, check=True, timeout=60)
            lines = path.read_text().splitlines()
            told = [found for line in lines for found in re.findall(r"^<\d>", line)]
            assert told == expected + expected[3:] * (not words)
            assert len(lines) == (4 if words else 5)
