"""The checks of `verify`: what must hold of the record, each a sentence and a query of its own.

Every query takes a half-open range of minutes and returns one row per violation. All run in one transaction of the
caller's, so that they look at one and the same record.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from hlctl import db
from hlctl.db import Connection, fetch_as, fetch_one, fetch_the_one_as
from hlctl.facts import Gap, Tally, Violation


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold; its id is stable, its query is `sql/queries/check_<id>.sql`."""

    id: str
    sentence: str
    is_of_minutes: bool = True  # False: of the database as it is now, and asked once


CHECKS = (
    Check("rows", "Each member of the pinned universe has its three cells."),
    Check("keys", "No cell is of a wallet outside the pinned universe."),
    Check("orphans", "No cell is of a minute without a run, or of a pruned one."),
    Check("counts", "A run's expected wallets and rows are its universe's."),
    Check("coverage", "A run's wallets known, unknown, percent are its cells'."),
    Check("missing", "A run's missing wallets by reason are its cells'."),
    Check("status", "A run's status is what its cells and thresholds make it."),
    Check("whole", "A wallet's cells are of one answer: all known or none."),
    Check("reasons", "A cell has a size and a time, or a reason: never both."),
    Check("terms", "A position has its terms; flat and missing cells none."),
    Check("times", "A cell was seen within its minute."),
    Check("finite", "A figure is finite and possible: no NaN, no price < 0."),
    Check("aligned", "A minute is whole, numbered by the minutes since 1970."),
    Check("attempts", "A cell is of an attempt of its run, and of no other run."),
    Check("published", "A run sent and published within its minute, cells first."),
    Check("write_once", "No cell has changed since it was published."),
    Check("universe", "A run's universe is whole, good, and then the newest."),
    Check("current", "The universe in force is the newest good refresh's.", is_of_minutes=False),
    Check("health", "What a minute noted of health is what its run says."),
    Check("dirty", "A cell is dirty if the minutes around it make it so."),
    Check("suspect", "A minute is suspect if its cells make it so."),
    Check("requests", "A run's requests add up, and suffice for what it knows."),
    Check("rate", "No 60 s of requests weigh more than 5/6 of the limit."),
    Check("strays", "No cell lies outside the partition of its day."),
)


@dataclass(frozen=True, slots=True)
class Record:
    """What there is to verify."""

    at: datetime  # now
    final: datetime  # the newest final minute, recorded or not
    first: datetime | None  # the first minute of which something is recorded


def read_record(conn: Connection) -> Record:
    """Return what there is to verify: it begins with whatever is there, cells whose runs were lost included."""
    record = fetch_the_one_as(conn, Record, "read_record")
    (cell,) = fetch_one(conn, "first_cell", {"before": record.first or record.at}) or (None,)
    return replace(record, first=cell or record.first)


def find_pruned(conn: Connection, since: datetime, until: datetime) -> tuple[datetime, datetime] | None:
    """Return the last of the pruned minutes a range begins with, and when it was pruned; None if there is none."""
    row = fetch_one(conn, "find_pruned", {"since": since, "until": until})
    return (row[0], row[1]) if row else None


def distrust_constraints(conn: Connection) -> None:
    """Let the transaction look at rows that a CHECK says cannot exist: an audit asks the rows, not the rules."""
    db.set_local(conn, "constraint_exclusion", "off")


def violations(conn: Connection, check: Check, since: datetime, until: datetime) -> list[Violation]:
    """Return what violates a check in [since, until), oldest first."""
    return fetch_as(conn, Violation, f"check_{check.id}", {"since": since, "until": until})


def largest_minute(conn: Connection, since: datetime, until: datetime) -> int:
    """Return how many cells the largest run of [since, until) says to have; 0 if there is none."""
    row = fetch_one(conn, "largest_minute", {"since": since, "until": until})
    return int(row[0]) if row else 0


def count_runs(conn: Connection, since: datetime, until: datetime) -> Tally:
    """Return what is recorded of [since, until)."""
    return fetch_the_one_as(conn, Tally, "count_runs", {"since": since, "until": until})


def list_gaps(conn: Connection, since: datetime, until: datetime) -> tuple[int, int, list[Gap]]:
    """Return how many gaps there are in [since, until), their minutes, and the first hundred, oldest first."""
    rows = conn.execute(db.query("list_gaps"), {"since": since, "until": until}).fetchall()
    gaps = [Gap(since=begins, minutes=minutes, known=known) for _, _, begins, minutes, known in rows]
    return (rows[0][0], rows[0][1], gaps) if rows else (0, 0, [])


def list_addresses(conn: Connection, wallet_ids: Collection[int]) -> dict[int, str]:
    """Return the addresses of wallets by their ids; an id that no wallet has is left out."""
    if not wallet_ids:
        return {}
    return dict(conn.execute(db.query("list_addresses"), {"wallet_ids": sorted(wallet_ids)}).fetchall())
