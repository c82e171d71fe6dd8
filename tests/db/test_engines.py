"""The opt-in conversions of sql/engines, run by psql, with stand-ins for what an engine that is not here would do."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from hlctl import access, audit, binaries, db, engines
from hlctl.access import Access
from hlctl.checks import Outcome
from hlctl.checks.engine import engine as judged
from hlctl.errors import ConfigurationError
from tests import small_record

ENGINES = db.sql_root() / "engines"
EACH = pytest.mark.parametrize("engine", ["citus", "timescaledb"])
SPAN = {"since": small_record.FIRST, "until": small_record.NOW}

# What an operator and a DBA see of the schema, as rows that can be compared.
CATALOGS = {
    "relations": """
        SELECT c.relname, pg_get_userbyid(c.relowner), obj_description(c.oid), c.reloptions,
               array(SELECT a::text FROM unnest(c.relacl) AS a ORDER BY 1)
          FROM pg_class c
         WHERE c.relname = 'wallet_snapshots' OR c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace""",
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum),
               array(SELECT x::text FROM unnest(a.attacl) AS x ORDER BY 1)
          FROM pg_attribute a
          JOIN pg_class c ON c.oid = a.attrelid
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE a.attnum > 0 AND NOT a.attisdropped
           AND (c.relname = 'wallet_snapshots' OR c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace)""",
    "constraints": """
        SELECT conname, contype, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint')
          FROM pg_constraint WHERE conrelid = 'wallet_snapshots'::regclass""",
    "indexes": """
        SELECT i.indexrelid::regclass::text, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ')
          FROM pg_index i WHERE i.indrelid = 'wallet_snapshots'::regclass""",
    "views": """
        SELECT relname, pg_get_viewdef(oid)
          FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace""",
    "functions": """
        SELECT p.oid::regprocedure::text, pg_get_function_result(p.oid), pg_get_userbyid(p.proowner),
               obj_description(p.oid, 'pg_proc'), p.prosecdef, p.provolatile, p.proconfig,
               array(SELECT a::text FROM unnest(p.proacl) AS a ORDER BY 1)
          FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace""",
    "bodies": """
        SELECT p.oid::regprocedure::text, replace(pg_get_functiondef(p.oid), '::text AS text', '::text')
          FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace""",
    "partitions": """
        SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'wallet_snapshots'::regclass""",
    "cells": "SELECT c.*::text FROM wallet_snapshots c",
}  # fmt: skip
AROUND = CATALOGS.keys() - {"bodies", "partitions"}
"""What an engine leaves as it is."""


def catalogs(conn: db.Connection, names: set[str] | None = None) -> dict[str, set[Any]]:
    """Return what the catalogs, or those named, say, the rows in no order."""
    return {name: {repr(row) for row in conn.execute(CATALOGS[name].encode())} for name in names or CATALOGS}


def psql(database: str, file: str, **options: str) -> subprocess.CompletedProcess[str]:
    """Run a file of sql/engines as docs/scaling.md says, in a session with these settings."""
    try:
        program = str(binaries.locate() / "psql")
    except ConfigurationError:
        program = shutil.which("psql") or pytest.skip("psql is not installed")
    return subprocess.run(
        [program, "-X", "-d", database, "-f", str(ENGINES / file)],
        env={**os.environ, "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in options.items())},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def convert(database: str) -> Callable[[str], None]:
    """Return a function that runs a file and expects that it says nothing of an error."""

    def run(file: str) -> None:
        ran = psql(database, file)
        assert (ran.returncode, ran.stderr) == (0, "")

    return run


@pytest.fixture
def converted(database: str, engine: str, server: str) -> Iterator[db.Connection]:
    """Return a connection to a database with a record, roles that were let in, a DBA's own view, and the stand-ins."""
    with db.connect(database) as conn, closing(psycopg.connect(server, autocommit=True)) as admin:
        roles = {f"hlctl_test_{uuid.uuid4().hex[:12]}": kind for kind in Access}
        small_record.write(conn)
        try:
            conn.execute((Path(__file__).parent / f"{engine}_stand_in.sql").read_bytes())
            for role in roles:
                admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        except psycopg.errors.InsufficientPrivilege:
            pytest.skip("the role of TEST_DATABASE_URL may not make roles, or functions in pg_catalog")
        conn.execute("CREATE VIEW own WITH (security_barrier = true) AS SELECT snapshot_ts FROM wallet_snapshots")
        conn.execute("COMMENT ON VIEW own IS 'A DBA''s own.'")
        conn.execute("GRANT SELECT ON own TO PUBLIC")
        with conn.transaction():
            access.grant(conn, roles)
        yield conn
        for name in map(sql.Identifier, roles):
            conn.execute(sql.SQL("DROP OWNED BY {}").format(name))
            admin.execute(sql.SQL("DROP ROLE {}").format(name))


@EACH
def test_a_conversion_leaves_all_but_the_place_of_the_cells(
    converted: db.Connection, convert: Callable[[str], None], engine: str
) -> None:
    """Cells, rules, indexes, views, grants, owners and comments are the same, and nobody has to be let in again."""
    before = catalogs(converted, AROUND)
    convert(f"{engine}.sql")
    assert catalogs(converted, AROUND) == before
    assert access.plan(converted, access.holders(converted)) == []


@EACH
def test_the_way_back_leads_to_the_schema_that_was(
    converted: db.Connection, convert: Callable[[str], None], engine: str
) -> None:
    """To the last function's text, so that the next migration finds what it expects."""
    before = catalogs(converted)
    convert(f"{engine}.sql")
    assert catalogs(converted) != before
    convert(f"{engine}_back.sql")
    after = catalogs(converted)
    days = {day for day in before["partitions"] if "default" in day or "20260105" in day or "20260106" in day}
    assert days <= after.pop("partitions"), "the other days were made beforehand, and are empty"
    del before["partitions"]
    assert after == before


@EACH
def test_a_conversion_that_is_run_again_only_puts_the_functions_back(
    converted: db.Connection, convert: Callable[[str], None], engine: str, database: str
) -> None:
    """A migration may have replaced some of them by those of plain PostgreSQL."""
    convert(f"{engine}.sql")
    after = catalogs(converted)
    assert psql(database, "plain.sql", check_function_bodies="off").returncode == 0
    assert catalogs(converted)["bodies"] != after["bodies"]
    convert(f"{engine}.sql")
    assert catalogs(converted) == after


@EACH
def test_the_functions_of_an_engine_say_what_the_plain_ones_say(
    converted: db.Connection, convert: Callable[[str], None], engine: str
) -> None:
    """What is odd, which days there are, and what verify finds."""

    def told() -> list[Any]:
        asked = (
            "SELECT * FROM odd_cells(%(since)s, %(until)s)", "SELECT * FROM suspect_cells(%(since)s, %(until)s)",
            "SELECT * FROM stray_cells(%(since)s, %(until)s)",
            "SELECT day FROM stored_days('2026-01-07') WHERE day >= '2026-01-05'",
        )  # fmt: skip
        rows = [sorted(map(repr, converted.execute(statement.encode(), SPAN))) for statement in asked]
        checks = [converted.execute(db.query(f"check_{check.id}"), SPAN).fetchall() for check in audit.CHECKS]
        return [*rows, checks]

    before = told()
    assert before[0]
    assert before[1]
    assert before[3] == ["(datetime.date(2026, 1, 5),)", "(datetime.date(2026, 1, 6),)"]
    convert(f"{engine}.sql")
    assert told() == before
    storage = converted.execute("SELECT total_bytes > 0, oldest_day::text FROM cell_storage()").fetchone()
    assert storage == (True, "2026-01-05")


@EACH
def test_doctor_names_the_engine_and_a_function_that_is_not_made_for_it(
    converted: db.Connection, convert: Callable[[str], None], engine: str, database: str
) -> None:
    """Before, after, and when a migration has put a plain function back."""

    def look() -> tuple[Outcome, str]:
        check = judged("18.4", engines.present(converted), engines.served_by_functions(converted))
        return check.outcome, check.finding

    names = {"citus": "Citus 13.2-1", "timescaledb": "TimescaleDB 2.28.3"}
    idle = f"plain PostgreSQL 18.4, in daily partitions; {names[engine]} is there and does not keep the cells"
    assert look() == (Outcome.OK, idle)
    convert(f"{engine}.sql")
    words = {"citus": "is distributed, 4 shards", "timescaledb": "is a hypertable, 2 chunks"}
    assert look() == (Outcome.OK, f"{names[engine]}: wallet_snapshots {words[engine]}")
    assert psql(database, "plain.sql", check_function_bodies="off").returncode == 0
    assert look()[0] is Outcome.PROBLEM
    convert(f"{engine}.sql")
    convert(f"{engine}_back.sql")
    assert look() == (Outcome.OK, idle)


@EACH
def test_a_day_is_dropped_where_an_engine_keeps_it(
    converted: db.Connection, convert: Callable[[str], None], engine: str, set_clock: Callable[..., None]
) -> None:
    """With the guards that the plain function has."""
    convert(f"{engine}.sql")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="over for a whole day"):
        converted.execute("SELECT drop_day('2026-01-05')")
    set_clock(small_record.NOW.replace(day=9), running=False)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="newest day"):
        converted.execute("SELECT drop_day('2026-01-06')")
    converted.execute("SELECT drop_day('2026-01-05')")
    days = "SELECT DISTINCT snapshot_ts::date::text FROM wallet_snapshots"
    assert converted.execute(days.encode()).fetchall() == [("2026-01-06",)]
    pruned = "SELECT DISTINCT snapshot_ts::date::text FROM ingest_runs WHERE pruned_at IS NOT NULL"
    assert converted.execute(pruned.encode()).fetchall() == [("2026-01-05",)]
    left = "SELECT count(*) FROM stored_days('2026-01-06') WHERE day = '2026-01-05'"
    assert converted.execute(left.encode()).fetchone() == (0,)


@pytest.mark.parametrize("engine", ["citus"])
def test_on_citus_no_function_in_sql_reads_cells_by_a_parameter(
    converted: db.Connection, convert: Callable[[str], None]
) -> None:
    """Citus refuses these; a new one has to find its way into citus.sql."""

    def refused() -> set[str]:
        rows = converted.execute("""
            SELECT p.proname
              FROM pg_proc p
              JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'sql'
             WHERE p.pronamespace = 'public'::regnamespace AND p.pronargs > 0
               AND coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) ~ 'wallet_snapshots'""")
        return {name for (name,) in rows}

    assert refused() == {"odd_cells", "suspect_cells", "stray_cells", "stored_days"}
    convert("citus.sql")
    assert refused() == set()


@pytest.mark.parametrize("engine", ["citus"])
def test_cells_without_a_partition_move_to_their_day_on_citus_too(
    converted: db.Connection, convert: Callable[[str], None], set_clock: Callable[..., None]
) -> None:
    """There the function is another one."""
    convert("citus.sql")
    converted.execute(
        "INSERT INTO wallet_snapshots (snapshot_ts, wallet_id, asset, ingest_run_id, missing_reason, attempt)"
        " VALUES ('2026-03-01 12:00Z', 1, 'BTC', extract(epoch FROM timestamptz '2026-03-01 12:00Z') / 60, 'late', 1)"
    )
    strays = "SELECT snapshot_ts::date::text FROM stray_cells('-infinity', 'infinity')"
    assert converted.execute(strays.encode()).fetchall() == [("2026-03-01",)]
    set_clock(small_record.NOW.replace(month=4), running=False)
    assert converted.execute("SELECT ensure_partitions(1)").fetchone() == (3,)
    assert converted.execute("SELECT ensure_partitions(1)").fetchone() == (0,)
    assert converted.execute(strays.encode()).fetchall() == []


@pytest.mark.parametrize("engine", ["timescaledb"])
def test_what_stands_in_the_way_leaves_all_as_it_was(converted: db.Connection, database: str) -> None:
    """A view that cannot be pointed at another table, here."""
    converted.execute("CREATE MATERIALIZED VIEW own_kept AS SELECT count(*) FROM wallet_snapshots")
    before = catalogs(converted)
    ran = psql(database, "timescaledb.sql")
    assert ran.returncode == 3
    assert "materialized view own_kept depends on" in ran.stderr
    assert catalogs(converted) == before


def test_the_plain_functions_of_the_ways_back_are_the_migrations(database: str, conn: db.Connection) -> None:
    """They are written down twice; a migration that changes one changes plain.sql, and most likely the engines'."""
    before = catalogs(conn)
    ran = psql(database, "plain.sql")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert catalogs(conn) == before
