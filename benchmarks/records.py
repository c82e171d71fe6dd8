"""Records of several sizes in one server, each the beginning of the next, and one that looks much older than it is."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from psycopg.conninfo import make_conninfo

from benchmarks import generate
from hlctl import db, migrate

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)

TO_PRUNE = 3
"""Days before a record's first, with one day between: the last two are never dropped."""

_AGE = 900  # days
_AGED_SQL = Path(__file__).with_name("aged.sql")
_ROOM = timedelta(hours=1)  # of the last day, for the minutes that are recorded while it is measured
_ANSWERED_AFTER = timedelta(seconds=3)
_PATIENCE = 600  # seconds: gigabytes are written


@dataclass(slots=True)
class Record:
    """A database with so many days, and the minute that is to be recorded next."""

    days: int
    filled: int  # of these, days with cells
    url: str
    minute: datetime
    address: str  # of the wallet that is on the list for longest: 50 days if the record is as long

    def set_clock(self, minute: datetime) -> None:
        """Let the database's clock go on from the moment in `minute` at which its answers are there."""
        with db.connect(self.url) as conn:
            generate.set_clock(conn, minute + _ANSWERED_AFTER)


def records(url: str, sizes: list[int]) -> list[Record]:
    """Return a record of each size, smallest first; what is not there yet is generated."""
    urls = {size: make_conninfo(url, dbname=f"year_{size}") for size in sizes}
    with db.connect(url) as conn:
        there = {name for (name,) in conn.execute("SELECT datname FROM pg_database").fetchall()}
    if not {f"year_{size}" for size in sizes} <= there:
        _grow(url, sizes)
    return [_opened(size, urls[size]) for size in sizes]


def _grow(url: str, sizes: list[int]) -> None:
    """Generate the largest record day by day; a copy stays behind at each smaller size."""
    *smaller, largest = sizes
    name = f"year_{largest}"
    grown = make_conninfo(url, dbname=name)
    with db.connect(url) as conn:
        for size in sizes:
            conn.execute(f"DROP DATABASE IF EXISTS year_{size} WITH (FORCE)".encode())
        conn.execute(f"CREATE DATABASE {name}".encode())
    with db.connect(grown) as conn:
        migrate.migrate(conn)
    first = generate.midnight()
    _fill(grown, first - (TO_PRUNE + 1) * DAY, first - DAY)
    for day in range(1, largest + 1):
        ends = first + day * DAY
        _fill(grown, ends - DAY, ends - _ROOM)
        if day in smaller:
            with db.connect(url) as conn:
                conn.patience = _PATIENCE
                conn.execute(f"CREATE DATABASE year_{day} TEMPLATE {name} STRATEGY FILE_COPY".encode())
        if day < largest:
            _fill(grown, ends - _ROOM, ends)
        print(f"\rday {day} of {largest}", end="" if day < largest else "\n", flush=True)


def _fill(url: str, begins: datetime, ends: datetime) -> None:
    with db.connect(url) as conn:  # closed in between: nobody may be in a database that is copied
        generate.fill(conn, begins, ends)


def _opened(size: int, url: str) -> Record:
    with db.connect(url) as conn:
        conn.patience = _PATIENCE
        conn.execute("CHECKPOINT")
        (newest,) = conn.execute("SELECT max(snapshot_ts) FROM ingest_runs").fetchone() or (None,)
        (address,) = conn.execute(
            "SELECT address FROM wallets JOIN wallet_universe_current USING (wallet_id) ORDER BY wallet_id LIMIT 1"
        ).fetchone() or (None,)
    return Record(size, size, url, newest + MINUTE, address)


def aged(url: str, record: Record) -> Record:
    """Return a copy of a record that is as old as `_AGE` days."""
    name = f"year_{_AGE}"
    with db.connect(url) as conn:
        conn.patience = _PATIENCE
        conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        conn.execute(f"CREATE DATABASE {name} TEMPLATE year_{record.days} STRATEGY FILE_COPY".encode())
    copy = replace(record, days=_AGE, url=make_conninfo(url, dbname=name))
    copy.set_clock(record.minute)
    with db.connect(copy.url) as conn:
        conn.patience = _PATIENCE
        conn.execute("SET timezone = 'UTC'")
        conn.execute(_AGED_SQL.read_text().format(days=_AGE).encode())
        conn.execute("VACUUM (ANALYZE) ingest_runs, ingest_health, wallet_universe_runs, wallet_universe_members")
    return copy
