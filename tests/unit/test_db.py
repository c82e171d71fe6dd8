"""What can be said about a server without asking it."""

import pytest

from hlctl import db


@pytest.mark.parametrize(
    ("version", "encoding", "problem"),
    [
        (140_018, "UTF8", "the server is PostgreSQL 14: 15 to 18 are supported"),
        (150_000, "UTF8", None),
        (180_004, "UTF8", None),
        (180_004, None, None),
        (180_004, "SQL_ASCII", "the database's encoding is SQL_ASCII: it must be UTF8"),
    ],
)
def test_a_server_that_cannot_keep_the_record_is_named(version: int, encoding: str | None, problem: str | None) -> None:
    """Before the first statement that it would not understand."""
    assert db.unsupported(version, encoding) == problem
