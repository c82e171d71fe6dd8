"""Which engine keeps the cells, for `doctor`, in a transaction of the caller's: a module of the store's floor."""

from hlctl import db
from hlctl.checks.engine import FUNCTIONS, Engine
from hlctl.db import Connection


def present(conn: Connection) -> list[Engine]:
    """Return the extensions of this database that can keep cells, and whether they do."""
    engines = []
    for extension, version in conn.execute(db.query("list_engines")).fetchall():
        count = db.query("count_shards") if extension == "citus" else db.query("count_chunks")
        row = conn.execute(count).fetchone()
        engines.append(Engine(extension=extension, version=version, parts=row[0] if row else None))
    return engines


def served_by_functions(conn: Connection) -> dict[str, str | None]:
    """Return which engine each function that knows how cells are kept was made for; None: plain PostgreSQL."""
    return dict(conn.execute(db.query("list_engine_functions"), {"functions": list(FUNCTIONS)}).fetchall())
