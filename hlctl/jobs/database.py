"""Opening the database a command works on, embedded or not, and bringing its schema up to date."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from hlctl import access, db, migrate
from hlctl.access import Access
from hlctl.errors import ConfigurationError, DatabaseUnusableError, ExitCode, SchemaMissingError, SchemaOlderError
from hlctl.results import SchemaResult
from hlctl.settings import Settings, default_data_dir
from hlctl.watchdog import watchdog

PATIENCE = 180.0
"""Seconds a command waits for its database in all, if it has no reason to be less patient."""

ANSWER = 3.2
"""Seconds for who asks a question: they want an answer, or to hear that there is none."""

_ANSWER_END = 4.4  # second of the process at which it ends, whatever has no bound of its own: a resolver, many hosts
_SETTINGS_END = 10.0  # seconds for the settings of who is not asked a question

NO_ANSWER = "the database did not answer in time"


@contextmanager
def opened(settings: Settings, *, create: bool, left: Callable[[], float] | None = None) -> Iterator[db.Connection]:
    """Connect to the database of `settings`; `create` makes and starts the embedded one where there is none.

    `left` says how many seconds the database may still take, by default `PATIENCE` in all. Raises DatabaseUnusableError
    for whatever makes a database unusable, at any time until it is closed, and NoClusterError if there is no embedded
    cluster and none may be made.
    """
    left = left or countdown(PATIENCE)
    try:
        with db.connect(_url(settings, create=create, seconds=left()), timeout=db.bounded(left())) as conn:
            conn.left = left
            yield conn
    except db.UNUSABLE as exc:
        raise DatabaseUnusableError(f"the database failed: {db.explain(exc)}", remedy=db.advice(exc)) from exc


def answer_in_time() -> None:
    """Let the process end in under 5 s from its start, whatever it waits for from now on."""
    watchdog.end_in(_ANSWER_END - watchdog.age(), ExitCode.DATABASE, NO_ANSWER)


def settings_in_time() -> None:
    """Let the process end if its settings are not read in time: a file system may hang, and cron comes every minute."""
    watchdog.end_in(_SETTINGS_END, ExitCode.SETUP, "the settings were not read in time")


def countdown(seconds: float) -> Callable[[], float]:
    """Return a function that says how many of these seconds are left."""
    ends = time.monotonic() + seconds
    return lambda: ends - time.monotonic()


def _url(settings: Settings, *, create: bool, seconds: float) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    from hlctl import embedded  # noqa: PLC0415 - who has a database of his own never loads it

    data_dir = settings.data_dir or default_data_dir()
    return embedded.ensure(data_dir, create=create, timeout=min(embedded.PATIENCE, max(0.0, seconds)))


def pinned(settings: Settings, *, seconds: float) -> Settings:
    """Return settings that mean the same database and start no server; an embedded one is started now if need be.

    Raises NoClusterError if there is no embedded cluster, DatabaseUnusableError if its server is not ready in time.
    """
    url = SecretStr(_url(settings, create=False, seconds=seconds))
    return settings.model_copy(update={"database_url": url})


def is_embedded(settings: Settings) -> bool:
    """Tell whether the database is hlctl's own."""
    return settings.database_url is None


def init_db(
    settings: Settings, *, dry_run: bool, writers: Sequence[str] = (), readers: Sequence[str] = ()
) -> SchemaResult:
    """Create or migrate the schema and give roles access to it; a dry run makes nothing, a server least of all.

    Raises ConfigurationError, with nothing done, if a role does not exist.
    """
    with opened(settings, create=not dry_run) as conn:
        with db.transaction(conn):
            access.require_roles(conn, [*writers, *readers])
        applied = migrate.plan(conn) if dry_run else migrate.migrate(conn)
        grants = _grant(conn, readers, writers, dry_run=dry_run)
    return SchemaResult(
        applied=[migration.name for migration in applied],
        version=migrate.packaged()[-1].version,
        dry_run=dry_run,
        grants=grants,
    )


def _grant(
    conn: db.Connection, readers: Sequence[str] = (), writers: Sequence[str] = (), *, dry_run: bool = False
) -> list[str]:
    """Give roles access, and to those who have it what an upgrade brought; return the statements."""
    with db.transaction(conn, statement_timeout=60, lock_timeout=60):  # another one may migrate
        roles = dict.fromkeys(readers, Access.READER) | access.holders(conn) | dict.fromkeys(writers, Access.WRITER)
        return access.plan(conn, roles) if dry_run or not roles else access.grant(conn, roles)


def prepare(conn: db.Connection, *, may_migrate: bool, command: str | None = None) -> None:
    """Check that the schema is this hlctl's, in a short transaction of its own, and that `command` may use it.

    The embedded database belongs to hlctl alone, so its schema is made and migrated as needed (`may_migrate`).
    """
    try:
        with db.transaction(conn):
            if command is not None:
                access.require(conn, command)
            migrate.require_current(conn)
    except (SchemaMissingError, SchemaOlderError):
        if not may_migrate:
            raise
        migrate.migrate(conn)
        _grant(conn)


def embedded_data_dir(settings: Settings) -> Path:
    """Return where the embedded server lives; raises ConfigurationError if another database is configured."""
    if settings.database_url is not None:
        raise ConfigurationError(
            "HLCTL_DATABASE_URL is set, so there is no embedded server here",
            remedy="unset it to manage the embedded server",
        )
    return settings.data_dir or default_data_dir()
