"""What looks odd in a minute and the one before it: found by the database's rules, written beside the values.

The rules are `odd_cells` and `suspect_cells` (sql/migrations). Nothing that goes wrong here costs the minute: it is
undone to a savepoint and said in the log, and the next minute looks at these cells again.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from hlctl import db
from hlctl.db import Connection

log = logging.getLogger(__name__)

RULES = 1
"""Number of the rules this version judges by, as it is stored in `ingest_runs.anomaly_rules`."""

_LOOK = "1s"  # a statement that finds may take; it takes milliseconds
_LOCK = "500ms"  # to wait for a cell that another run has not committed yet

_COLUMNS = ("snapshot_ts", "wallet_id", "asset", "reason", "position_szi", "anomaly_type", "details")
_REASON = _COLUMNS.index("reason")

Odd = tuple[Any, ...]
"""An odd cell: the columns above; the details are JSON text, because a float would lose digits."""


@dataclass(frozen=True, slots=True)
class Oddities:
    """What was found; `suspect` and `rules` are None if nobody could look."""

    rules: int | None = None
    suspect: list[str] | None = None  # words, sorted
    suspect_cells: Sequence[Odd] = ()
    dirty_cells: Sequence[Odd] = ()  # not marked yet


def find(conn: Connection, minute: datetime) -> Oddities:
    """Judge a claimed minute whose cells are written, and the two before it whose neighbours are there by now."""
    found: list[list[Odd]] = []
    with _spared(conn, "nobody looked for oddities", undo=True):
        db.set_local(conn, "statement_timeout", _LOOK)
        found += [
            conn.execute(db.query("find_suspect_cells"), {"minute": minute}).fetchall(),
            conn.execute(db.query("find_odd_cells"), {"minute": minute}).fetchall(),
        ]
    if not found:
        return Oddities()
    suspect, dirty = found
    return Oddities(RULES, sorted({row[_REASON] for row in suspect}), suspect, dirty)


def note(conn: Connection, minute: datetime, odd: Oddities) -> None:
    """Mark what was found and write it down with its values; to be the transaction's last writes."""
    if odd.suspect_cells:
        with _spared(conn, "what is suspect about the minute was not written down"):
            _add(conn, odd.suspect_cells)
    if odd.dirty_cells:
        with _spared(conn, "dirty cells were not marked, the next minute tries again"):
            db.set_local(conn, "lock_timeout", _LOCK)
            rows = conn.execute(db.query("mark_cells"), {"minute": minute, **_columns(odd.dirty_cells)}).fetchall()
            marked = set(rows)
            if noted := [cell for cell in odd.dirty_cells if cell[:3] in marked]:
                _add(conn, noted)


@contextmanager
def _spared(conn: Connection, consequence: str, *, undo: bool = False) -> Iterator[None]:
    """Undo what is done inside, settings too, if it fails or is only a look, and go on; a lost connection is passed on.

    So is a missing right: the preflight tells all of them before anything is asked.
    """
    try:
        with conn.transaction(force_rollback=undo):
            yield
    except psycopg.errors.InsufficientPrivilege:
        raise
    except psycopg.Error as exc:
        if conn.closed:
            raise
        log.warning("%s: %s", consequence, db.explain(exc))
    except Exception as exc:  # noqa: BLE001 - a bug in here is no reason to lose the cells
        log.warning("%s: %s", consequence, type(exc).__name__)


def _add(conn: Connection, cells: Sequence[Odd]) -> None:
    conn.execute(db.query("add_anomalies"), _columns(cells))


def _columns(cells: Sequence[Odd]) -> dict[str, list[Any]]:
    """Lay cells out as one array per column."""
    return dict(zip(_COLUMNS, map(list, zip(*cells, strict=True)), strict=True))
