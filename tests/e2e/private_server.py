"""A PostgreSQL of one test module's own, on which roles log in as themselves.

The embedded server admits its owner only: by the name the operating system vouches for. Here its pg_hba.conf is
rewritten, so that any role may come through the socket: with no questions asked, or with its password. Roles are global
to a server, so they and the server end together.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from tests.e2e.conftest import COMMAND


def clean_environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without any hlctl or libpq setting, plus `settings`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HLCTL_", "PG"))}
    return {**kept, **settings}


@dataclass(frozen=True, slots=True)
class PrivateServer:
    """A running server; its superuser hlctl owns every database made here."""

    data_dir: Path

    @property
    def cluster(self) -> Path:
        """Return the server's own directory: socket, configuration, logs."""
        (found,) = self.data_dir.glob("postgres*")
        return found

    def url(self, database: str, role: str = "hlctl", password: str = "") -> str:
        """Return the URL by which a role reaches a database."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{role}{secret}@/{database}?host={quote(str(self.cluster), safe='')}&port=5432"

    def run(self, statement: str, *, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run SQL as the superuser."""
        with closing(psycopg.connect(self.url(database), autocommit=True)) as conn:
            cursor = conn.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self, template: str = "template0") -> str:
        """Make a database, with the rights granted in its template, and return its name."""
        name = f"hlctl_test_{uuid.uuid4().hex[:12]}"
        with closing(psycopg.connect(self.url("postgres"), autocommit=True)) as conn:
            names = (sql.Identifier(name), sql.Identifier(template))
            conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        return name

    def log(self) -> str:
        """Return everything the server wrote."""
        return "".join(file.read_text(errors="replace") for file in (self.cluster / "log").iterdir())


@contextmanager
def private_server(data_dir: Path, *, method: str) -> Iterator[PrivateServer]:
    """Start a server on which every role but hlctl logs in by `method`: trust, or scram-sha-256."""
    env = clean_environment(HLCTL_DATA_DIR=str(data_dir))
    started = subprocess.run(
        [COMMAND, "db", "start", "--json"], env=env, check=False, capture_output=True, text=True, timeout=120
    )
    assert started.returncode == 0, started.stderr
    assert json.loads(started.stdout)["result"]["running"] is True
    server = PrivateServer(data_dir)
    try:
        (server.cluster / "pg_hba.conf").write_text(f"local all hlctl peer map=hlctl\nlocal all all {method}\n")
        server.run("ALTER SYSTEM SET fsync = off")  # nothing here outlives the test
        server.run("SELECT pg_reload_conf()")
        yield server
    finally:
        subprocess.run([COMMAND, "db", "stop"], env=env, check=True, capture_output=True, timeout=120)
