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


@contextmanager
def running() -> Iterator[str]:
    """Start a server in a folder that goes with it; yields the URL of a database with the schema."""
    with tempfile.TemporaryDirectory(prefix="hlctl-benchmark-", ignore_cleanup_errors=True) as folder:
        env = environment() | {"HLCTL_DATA_DIR": str(Path(folder) / "data")}
        started = json.loads(_hlctl("db", "start", "--json", env=env))
        try:
            url: str = started["result"]["url"]
            _hlctl("init-db", env=env | {"HLCTL_DATABASE_URL": url})
            yield url
        finally:
            _hlctl("db", "stop", env=env)


def environment() -> dict[str, str]:
    """Return this process's environment without any setting of hlctl or libpq."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("HLCTL_", "PG"))}


def _hlctl(*arguments: str, env: dict[str, str]) -> str:
    command = [sys.executable, "-m", "hlctl", *arguments]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=180).stdout


def set_clock(url: str, at: datetime) -> None:
    """Let a database believe that it is `at`, and go on from there; the function costs what the real one does."""
    ahead = (at - datetime.now(UTC)).total_seconds()
    function = "CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS {}"
    body = f"SELECT pg_catalog.clock_timestamp() + interval '{ahead:.6f} s'"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL(function).format(sql.Literal(body)))
