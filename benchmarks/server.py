"""An embedded PostgreSQL for a benchmark, set up as hlctl sets it up for itself."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def hlctl(*arguments: str, **settings: str) -> str:
    """Run a command of hlctl's with nothing but these settings; return what it prints."""
    command = [sys.executable, "-m", "hlctl", *arguments]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HLCTL_", "PG"))} | settings
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=600).stdout
