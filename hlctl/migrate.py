"""Schema migrations: forward only, one transaction each, under a lock, never edited after a release."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

import psycopg

from hlctl import __version__, db
from hlctl.errors import SchemaEditedError, SchemaForeignError, SchemaMissingError, SchemaNewerError, SchemaOlderError


@dataclass(frozen=True, slots=True)
class Applied:
    """A line of the database's own book."""

    version: int
    name: str
    checksum: str
    tool_version: str = ""  # the hlctl that applied it


@dataclass(frozen=True, slots=True)
class Migration:
    """A file of `sql/migrations`: `NNNN_name.sql`."""

    version: int
    name: str
    sql: bytes = field(repr=False)

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        return sha256(self.sql).hexdigest()


def packaged() -> list[Migration]:
    """Return the migrations this hlctl ships, oldest first."""
    files = sorted((db.sql_root() / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [Migration(int(file.name[:4]), file.stem, file.read_bytes()) for file in files]


def pending(applied: Sequence[Applied], shipped: Sequence[Migration]) -> list[Migration]:
    """Return what is still to be applied.

    Raises SchemaNewerError if the database knows a migration this hlctl does not, SchemaEditedError if one that both
    know differs.
    """
    if len(applied) > len(shipped):
        raise SchemaNewerError(
            f"the database's schema has version {applied[-1].version}, this hlctl {__version__} knows {len(shipped)}"
        )
    for there, here in zip(applied, shipped, strict=False):
        if (there.version, there.checksum) != (here.version, here.checksum):
            raise SchemaEditedError(
                f"migration {here.name} is not the one that was applied: this hlctl {__version__} and the database"
                f" disagree (sha256 {here.checksum[:12]} here, {there.checksum[:12]} there)"
            )
    return list(shipped[len(applied) :])


_TAKEN = (
    psycopg.errors.DuplicateTable,  # a view's name too
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
)
"""What a migration meets in a database that somebody else uses or has meddled with."""


def read_applied(conn: db.Connection) -> list[Applied]:
    """Return the database's own book, oldest first; empty if it has none.

    Raises SchemaForeignError if there is a book of that name which is not hlctl's.
    """
    return _read_book(conn) if has_book(conn) else []


def _read_book(conn: db.Connection) -> list[Applied]:
    try:
        return db.fetch_as(conn, Applied, "list_migrations")
    except psycopg.errors.UndefinedColumn:
        raise SchemaForeignError("public.schema_migrations is another application's") from None


def has_book(conn: db.Connection) -> bool:
    """Tell whether there is a schema of hlctl's, old or new; needs no right to read it."""
    found = db.fetch_one(conn, "find_schema_migrations")
    return bool(found and found[0])


def require_current(conn: db.Connection) -> None:
    """Check, inside a transaction, that the schema is the one this hlctl speaks.

    Raises SchemaMissingError, SchemaOlderError, SchemaNewerError or SchemaEditedError.
    """
    applied = read_applied(conn)
    if not applied:
        raise SchemaMissingError
    if todo := pending(applied, packaged()):
        raise SchemaOlderError(f"the database's schema lacks {', '.join(migration.name for migration in todo)}")


def plan(conn: db.Connection) -> list[Migration]:
    """Return what `migrate` would apply, without applying it."""
    with db.transaction(conn):
        return pending(read_applied(conn), packaged())


def migrate(conn: db.Connection) -> list[Migration]:
    """Bring the schema up to date and return what was applied; two processes at once apply each migration once."""
    done: list[Migration] = []
    if plan(conn):  # which waits for no lock and needs no right to create anything
        done.extend(iter(partial(_apply_next, conn), None))
    return done


def _apply_next(conn: db.Connection) -> Migration | None:
    with db.transaction(conn, statement_timeout=60, lock_timeout=60):
        conn.execute(db.query("lock_migrations"), {"lock_class": db.LOCK_CLASS, "lock_key": db.LOCK_MIGRATE})
        conn.execute(db.query("create_schema_migrations"))
        todo = pending(_read_book(conn), packaged())
        if not todo:
            return None
        migration = todo[0]
        try:
            conn.execute(migration.sql)
        except _TAKEN as exc:
            raise SchemaForeignError(f"{migration.name} does not fit into this database: {db.explain(exc)}") from exc
        conn.execute(
            db.query("add_migration"),
            {
                "version": migration.version,
                "name": migration.name,
                "checksum": migration.checksum,
                "tool_version": __version__,
            },
        )
    return migration
