"""Database tests talk to a real PostgreSQL through the package's own connections."""

from collections.abc import Callable, Iterator

import pytest
from psycopg.conninfo import make_conninfo

from hlctl import db


@pytest.fixture
def conn(database: str) -> Iterator[db.Connection]:
    """Return a connection to a fresh database with the schema."""
    with db.connect(database) as connection:
        yield connection


@pytest.fixture(scope="session")
def _rolled_back_database(server: str, template: str, create_database: Callable[[str], str]) -> str:
    return make_conninfo(server, dbname=create_database(template))


@pytest.fixture
def rolled_back(_rolled_back_database: str) -> Iterator[db.Connection]:
    """Return a connection inside a transaction that leaves nothing behind: cheaper than a database per test."""
    with db.connect(_rolled_back_database) as connection, connection.transaction(force_rollback=True):
        yield connection
