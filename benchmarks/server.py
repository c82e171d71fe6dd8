"""A PostgreSQL of the benchmark's own: hlctl's embedded one as it ships, whose clock can be set."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """Start an embedded PostgreSQL as hlctl sets it up; yield the URL of its maintenance database."""
    where = {"HLCTL_DATA_DIR": str(directory)}
    started = hlctl("db", "start", "--json", **where)
    try:
        yield make_conninfo(json.loads(started)["result"]["url"], dbname="postgres")
    finally:
        hlctl("db", "stop", **where)


@contextmanager
def running() -> Iterator[str]:
    """Start one in a folder that goes with it; yield the URL of a database with the schema."""
    with (
        tempfile.TemporaryDirectory(prefix="hlctl-benchmark-", ignore_cleanup_errors=True) as folder,
        server(Path(folder) / "data") as maintenance,
    ):
        yield make_database(maintenance, "benchmark")


def make_database(maintenance: str, name: str) -> str:
    """Make a database with the schema; return its URL."""
    with psycopg.connect(maintenance, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = make_conninfo(maintenance, dbname=name)
    hlctl("init-db", HLCTL_DATABASE_URL=url)
    return url


def hlctl(*arguments: str, **settings: str) -> str:
    """Run a command of hlctl's with nothing but these settings; return what it prints."""
    command = [sys.executable, "-m", "hlctl", *arguments]
    env = environment() | settings
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=600).stdout


def environment() -> dict[str, str]:
    """Return this process's environment without what would change a measurement."""
    dropped = ("HLCTL_", "PG", "PYTHON", "SSL_CERT_", "REQUESTS_CA", "CURL_CA")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


def set_clock(url: str, at: datetime) -> None:
    """Let a database believe that it is `at`, and go on from there; the function costs what the real one does."""
    ahead = (at - datetime.now(UTC)).total_seconds()
    function = "CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS {}"
    body = f"SELECT pg_catalog.clock_timestamp() + interval '{ahead:.6f} s'"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL(function).format(sql.Literal(body)))
