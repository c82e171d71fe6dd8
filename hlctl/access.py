"""Roles with less than the owner's rights: what a reader and a writer need, who has it, and granting it.

The rights themselves are listed in one place, `sql/queries/list_missing_rights.sql`: what a later version needs besides
is granted by its `init-db` to every role that was given access before.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from psycopg import sql

from hlctl import db
from hlctl.errors import ConfigurationError, DatabaseUnusableError

READING = frozenset({"status", "verify", "export"})
"""Commands for which a reader's rights are enough."""


class Access(StrEnum):
    """What a role may do; a writer may also do what a reader may."""

    READER = "reader"
    WRITER = "writer"


@dataclass(frozen=True, slots=True)
class Right:
    """A right that a role lacks."""

    role: str
    access: str  # whose right it is, an Access
    privilege: str
    object: str
    columns: Sequence[str] | None  # the ones lacking; None: the whole object
    is_partial: bool  # some of the columns are granted
    is_there: bool  # False: the object does not exist yet
    needed_by: Collection[str]  # commands

    def __str__(self) -> str:
        columns = f" ({', '.join(self.columns)})" if self.columns and self.is_partial else ""
        return f"{self.privilege}{columns} on {self.object}"

    def statement(self, conn: db.Connection) -> str:
        """Return the statement that grants it: the only one that no file holds, for a role is no parameter."""
        columns = f" ({', '.join(self.columns)})" if self.columns else ""
        role = sql.Identifier(self.role).as_string(conn)
        return f"GRANT {self.privilege}{columns} ON {self.object} TO {role}"


def require(conn: db.Connection, command: str) -> None:
    """Raise DatabaseUnusableError, naming each of them, if the session's role lacks rights that `command` needs."""
    needed = [right for right in lacking(conn) if command in right.needed_by]
    if needed:
        role = needed[0].role
        access = Access.READER if command in READING else Access.WRITER
        raise DatabaseUnusableError(
            f"role {role} lacks {', '.join(map(str, needed))}",
            remedy=f"run `hlctl init-db --{access} {role}` as the owner of the tables",
        )


def lacking(conn: db.Connection) -> list[Right]:
    """Return every right of a writer's that the session's role lacks."""
    return [right for right in _missing(conn, None) if right.is_there]


def absent(conn: db.Connection) -> list[str]:
    """Return what a current schema has and this one has not: relations, functions, keys, a partition."""
    objects = sorted({right.object for right in _missing(conn, None) if not right.is_there})
    return [*objects, *(words for (words,) in conn.execute(db.query("list_lost_parts")).fetchall())]


def require_roles(conn: db.Connection, roles: Collection[str]) -> None:
    """Raise ConfigurationError if one of these roles does not exist."""
    printable = [role for role in roles if role.isprintable()]  # nor has any other a name that SQL could carry
    known = {name for (name,) in conn.execute(db.query("list_roles"), {"roles": printable}).fetchall()}
    if unknown := [role for role in roles if role not in known]:
        raise ConfigurationError(
            f"there is no role {', '.join(unknown)} on this server", remedy="a DBA makes it: CREATE ROLE name LOGIN"
        )


def holders(conn: db.Connection) -> dict[str, Access]:
    """Return the roles that were given access."""
    return {role: Access(access) for role, access in conn.execute(db.query("list_access")).fetchall()}


def creators(conn: db.Connection) -> list[str]:
    """Return who may make things in the schema besides those whom it belongs to; `PUBLIC` is everybody."""
    return [role for (role,) in conn.execute(db.query("list_creators")).fetchall()]


def plan(conn: db.Connection, grants: Mapping[str, Access]) -> list[str]:
    """Return the statements that `grant` would run."""
    return [right.statement(conn) for role, access in grants.items() for right in _lacking(conn, role, access)]


def grant(conn: db.Connection, grants: Mapping[str, Access]) -> list[str]:
    """Grant each role what it lacks of its access, in the caller's transaction, and return the statements run.

    Raises DatabaseUnusableError if the session's own role has not the right to.
    """
    # Two GRANTs on one object at the same time would disturb each other.
    conn.execute(db.query("lock_migrations"), {"lock_class": db.LOCK_CLASS, "lock_key": db.LOCK_MIGRATE})
    statements = plan(conn, grants)
    statement = ""
    try:
        for statement in statements:
            conn.execute(statement.encode())
        refused = next(iter(plan(conn, grants)), "")  # where it has some right to, the server only warns
    except psycopg.errors.InsufficientPrivilege:
        refused = statement
    if refused:
        raise DatabaseUnusableError(
            f"this role may not {refused}", remedy="run `hlctl init-db` as the owner of the tables"
        )
    return statements


def _lacking(conn: db.Connection, role: str, access: Access) -> list[Right]:
    return [right for right in _missing(conn, role) if access is Access.WRITER or right.access == Access.READER]


def _missing(conn: db.Connection, role: str | None) -> list[Right]:
    return db.fetch_as(conn, Right, "list_missing_rights", {"role": role})
