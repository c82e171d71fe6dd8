"""What it costs to start: every command that a timer or an operator runs, beside `snapshot` with nothing to ask.

`python -m benchmarks.start [--rounds 15]` starts a PostgreSQL and an exchange of its own, records two minutes of 200
wallets, stops the database's clock in the second one, and prints what each command took and its ratios, round by round.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks import exchange, paired
from benchmarks.minute import HLCTL, await_room, environment
from tests.campaign.simulate import server

_CLOCK = """
    CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT {}'
"""
_BETWEEN = timedelta(minutes=3)  # the minutes: the older one is final


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, server() as url:
        database_url = make_conninfo(url, dbname="hlctl_template")
        with psycopg.connect(database_url, autocommit=True) as conn:
            for behind in (_BETWEEN, timedelta(0)):
                conn.execute(_CLOCK.format(f"clock_timestamp() - interval ''{behind}''").encode())
                with exchange.serving(rows=1_000, behind=behind.total_seconds()) as address:
                    env = environment(**exchange.settings(address, database_url=database_url), HLCTL_DATA_DIR=folder)
                    if behind:
                        paired.once([HLCTL, "refresh-universe"], env)
                    await_room()
                    paired.once([HLCTL, "snapshot"], env)
            row = conn.execute("SELECT min(snapshot_ts), max(snapshot_ts) FROM ingest_runs").fetchone()
            if row is None or row[0] == row[1]:
                raise RuntimeError("two minutes were to be recorded")
            older, newer = row
            conn.execute(_CLOCK.format(f"timestamptz ''{newer + timedelta(seconds=10)}''").encode())
        commands = {
            "snapshot": ["snapshot"],
            "refresh-universe --if-due": ["refresh-universe", "--if-due"],
            "status": ["status"],
            "status --check": ["status", "--check"],
            "status --verbose": ["status", "--verbose"],
            "verify --minute": ["verify", "--minute", f"{older:%Y-%m-%dT%H:%MZ}"],
            "--version": ["--version"],
        }
        candidates = {name: partial(paired.once, [HLCTL, *words], env) for name, words in commands.items()}
        candidates["python -c pass"] = partial(paired.once, [sys.executable, "-c", "pass"], env)
        paired.show(paired.rounds(candidates, options.rounds), to="snapshot")


if __name__ == "__main__":
    main()
