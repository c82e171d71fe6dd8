"""The log tells where and what, and repeats no stranger's words."""

import io
import logging

import pytest

from hlctl import logs
from hlctl.errors import DatabaseUnusableError

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
