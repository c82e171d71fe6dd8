"""One PostgreSQL server for the session, and a database of its own for every test that wants one.

The server is the embedded one, started with the command under test, or the one of TEST_DATABASE_URL, whose role must be
allowed to create databases.
"""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

HLCTL = (sys.executable, "-m", "hlctl")


def clean_environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without any hlctl or libpq setting, plus `settings`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HLCTL_", "PG"))}
    return {**kept, **settings}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("HLCTL_", "PG")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return a connection string to the server's maintenance database."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    folder = tmp_path_factory.mktemp("server")
    env = clean_environment(HLCTL_DATA_DIR=str(folder / "data"))
    started = subprocess.run(
        [*HLCTL, "db", "start", "--json"], env=env, check=True, capture_output=True, text=True, timeout=120
    )
    server = make_conninfo(json.loads(started.stdout)["result"]["url"], dbname="postgres")
    with psycopg.connect(server, autocommit=True) as conn:  # it need not outlive a power cut
        for setting in ("fsync", "full_page_writes"):
            conn.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
        conn.execute("SELECT pg_reload_conf()")
    yield server
    subprocess.run([*HLCTL, "db", "stop"], env=env, check=True, capture_output=True, timeout=120)
    shutil.rmtree(folder)  # pytest keeps the folders of three sessions


@pytest.fixture(scope="session")
def create_database(server: str) -> Iterator[Callable[..., str]]:
    """Return a function that makes a database and returns its name; none outlives the session."""
    made: list[str] = []
    is_foreign = "TEST_DATABASE_URL" in os.environ

    def create(template: str = "template0", *, encoding: str | None = None) -> str:
        made.append(f"hlctl_test_{uuid.uuid4().hex[:12]}")
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(made[-1]), sql.Identifier(template))
        if not is_foreign:
            statement += sql.SQL(" STRATEGY FILE_COPY")  # without fsync three times as fast
        if encoding:
            statement += sql.SQL(" LOCALE_PROVIDER libc LOCALE 'C' ENCODING {}").format(sql.Literal(encoding))
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(statement)
        return made[-1]

    yield create
    if not is_foreign:
        return  # the server goes with all of them, and dropping one takes longer than making it
    with psycopg.connect(server, autocommit=True) as conn:
        for name in made:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def template(server: str, create_database: Callable[..., str]) -> str:
    """Return the name of a database that `hlctl init-db` has just made."""
    name = create_database()
    env = clean_environment(HLCTL_DATABASE_URL=make_conninfo(server, dbname=name))
    subprocess.run([*HLCTL, "init-db"], env=env, check=True, capture_output=True, timeout=120)
    return name


@pytest.fixture
def empty_database(server: str, create_database: Callable[..., str]) -> str:
    """Return the connection string of a database with nothing in it."""
    return make_conninfo(server, dbname=create_database())


@pytest.fixture
def database(server: str, template: str, create_database: Callable[..., str]) -> str:
    """Return the connection string of a database with the schema and no rows."""
    return make_conninfo(server, dbname=create_database(template))


@pytest.fixture(scope="session")
def set_clock_of() -> Callable[..., None]:
    """Return a function that makes a database believe it is `at`: running on from there, or standing still."""

    def set_to(database: str, at: datetime, *, running: bool = True) -> None:
        body = f"SELECT timestamptz '{at.isoformat()}'"
        if running:
            offset = (at - datetime.now(UTC)).total_seconds()
            body = f"SELECT pg_catalog.clock_timestamp() + interval '{offset:.6f} s'"
        function = "CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS {}"
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(sql.SQL(function).format(sql.Literal(body)))

    return set_to


@pytest.fixture
def set_clock(database: str, set_clock_of: Callable[..., None]) -> Callable[..., None]:
    """Return the same for the test's own database."""
    return partial(set_clock_of, database)
