"""Migrations: once, in order, by one process at a time, and never over something unknown."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from psycopg.conninfo import make_conninfo

from hlctl import db, migrate
from hlctl.errors import SchemaEditedError, SchemaMissingError, SchemaNewerError, SchemaOlderError

SCHEMA = """
    SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '' FROM pg_constraint
    UNION ALL
    SELECT 'function', proname, '', prosrc, '' FROM pg_proc WHERE pronamespace = 'public'::regnamespace
     ORDER BY 1, 2, 3, 4
"""

# A process that migrates each database it is told of, so that ten of them can start at the same moment.
MIGRATOR = """
import os, sys
from hlctl import cli
from hlctl.jobs import database  # imported before the race, not in it
print("ready", flush=True)
for line in sys.stdin:
    os.environ["HLCTL_DATABASE_URL"] = line.strip()
    print(cli.main(["--quiet", "init-db"]), flush=True)
"""


def test_the_shipped_migrations_are_numbered_without_a_gap() -> None:
    """The version of a schema is the number of its migrations."""
    assert [m.version for m in migrate.packaged()] == list(range(1, len(migrate.packaged()) + 1))


def test_a_second_run_changes_nothing(empty_database: str) -> None:
    """init-db is safe to repeat, from a unit file or by a nervous hand."""
    with db.connect(empty_database) as conn:
        assert migrate.migrate(conn) == migrate.packaged()
        before = conn.execute(SCHEMA).fetchall()
        assert migrate.migrate(conn) == []
        assert conn.execute(SCHEMA).fetchall() == before


def test_a_dry_run_applies_nothing(empty_database: str) -> None:
    """It only says what would be done."""
    with db.connect(empty_database) as conn:
        assert migrate.plan(conn) == migrate.packaged()
        assert conn.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").fetchone() == (
            0,
        )


def test_ten_processes_at_once_make_one_schema_twenty_times_over(
    server: str, create_database: Callable[..., str], template: str
) -> None:
    """Timers on ten machines start in the same second."""
    workers = [
        subprocess.Popen([sys.executable, "-c", MIGRATOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        with db.connect(make_conninfo(server, dbname=template)) as conn:
            expected = conn.execute(SCHEMA).fetchall()
        for _ in range(20):
            url = make_conninfo(server, dbname=create_database())
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write(url + "\n")
                worker.stdin.flush()
            assert [worker.stdout.readline() for worker in workers if worker.stdout] == ["0\n"] * 10
            with db.connect(url) as conn:
                assert conn.execute(SCHEMA).fetchall() == expected
                assert conn.execute("SELECT count(*) FROM schema_migrations").fetchone() == (len(migrate.packaged()),)
    finally:
        for worker in workers:
            worker.communicate(timeout=30)


def test_a_database_without_a_schema_is_named_as_such(empty_database: str) -> None:
    """It tells the command to run."""
    with db.connect(empty_database) as conn, db.transaction(conn), pytest.raises(SchemaMissingError) as caught:
        migrate.require_current(conn)
    assert caught.value.remedy == "run `hlctl init-db`"


def test_an_older_schema_is_refused_until_it_is_migrated(conn: db.Connection) -> None:
    """A command never guesses at columns."""
    conn.execute("DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)")
    with pytest.raises(SchemaOlderError), db.transaction(conn):
        migrate.require_current(conn)


def test_a_newer_schema_is_refused_by_every_door(conn: db.Connection) -> None:
    """An old hlctl must not write into a schema it does not know."""
    conn.execute(
        "INSERT INTO schema_migrations (version, name, checksum, tool_version) VALUES (999, '0999_x', 'x', '9.9')"
    )
    with pytest.raises(SchemaNewerError, match="version 999"), db.transaction(conn):
        migrate.require_current(conn)
    with pytest.raises(SchemaNewerError):
        migrate.migrate(conn)


def test_an_edited_migration_is_refused_by_every_door(conn: db.Connection) -> None:
    """What was applied is not what this hlctl ships: nobody knows what the schema is."""
    conn.execute("UPDATE schema_migrations SET checksum = repeat('0', 64) WHERE version = 2")
    with pytest.raises(SchemaEditedError, match="0002_minutes"), db.transaction(conn):
        migrate.require_current(conn)
    with pytest.raises(SchemaEditedError):
        migrate.migrate(conn)
