"""Connections, transactions and the SQL files: the only module that knows how psycopg is set up."""

import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow, class_row

from hlctl.errors import ConfigurationError, DatabaseUnusableError

logging.getLogger("psycopg").setLevel(logging.ERROR)  # a rollback that a lost connection spared us is no news

CONNECT_TIMEOUT = 5
"""Seconds a connection attempt may take, per address."""

STATEMENT_TIMEOUT = 10
"""Seconds the server may work on a statement, unless a transaction says otherwise."""

TRANSACTION_TIMEOUT = 180
"""Seconds a transaction may last, where the server can bound it, unless it says otherwise."""

_REPLY = 2.0  # seconds a reply may take beyond the statement's own timeout: then nobody is there

UNUSABLE = (
    psycopg.OperationalError,  # lost, refused, timed out, full, out of memory, locked, shutting down
    psycopg.InterfaceError,
    psycopg.NotSupportedError,  # a standby refuses READ WRITE in these words
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    psycopg.errors.DataCorrupted,
    psycopg.errors.IndexCorrupted,
)
"""What the database can do to a command that no command can mend."""

OLDEST_SERVER = 150_000

LOCK_CLASS = 1751908352
"""First key of every advisory lock hlctl takes (the bytes of "hlc" and a zero); the second is the minute number,
or one of the numbers below, which no minute can have."""
LOCK_MIGRATE = -1
LOCK_REFRESH = -2

# libpq reads the environment behind a URL's back. The URL is the only source; password file and TLS material stay.
_KEPT_FROM_ENVIRONMENT = frozenset({"PGPASSFILE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL"})

CANNOT = "cannot connect to the database: "
"""What the message begins with where nobody answered; the cause follows."""

# libpq's words may quote a mistyped URL, password included, so only what they mean is passed on.
_NO_ROOT = "there is no root certificate to know the server by"
_BAD_ROOT = "the file of root certificates cannot be read"
_STRANGER = "no authority known here vouches for the server's certificate, or it is over"
_FULL = "the server's disk is full"
_CAUSES = (
    ("No space left on device", _FULL),
    ("could not read root certificate file", _BAD_ROOT),
    ("root certificate file", _NO_ROOT),
    ("certificate verify failed", _STRANGER),
    ("does not match host name", "the server's certificate is for another host name"),
    ("Connection refused", "connection refused"),
    ("timeout expired", "no answer in time"),
    ("Connection timed out", "no answer in time"),
    ("authentication failed", "authentication failed"),
    ("no password supplied", "it asks for a password and the URL has none"),
    ("no pg_hba.conf entry", "the server does not admit this client"),
    ("does not exist", "that database or role does not exist"),
    ("No such file or directory", "no server is listening on that socket"),
    ("could not translate host name", "the host name is unknown"),
    ("failed to resolve host", "the host name is unknown"),
    ("Name or service not known", "the host name is unknown"),
    ("Network is unreachable", "the network is unreachable"),
    ("No route to host", "there is no route to the host"),
    ("too many clients", "the server has no connection left"),
    ("remaining connection slots", "the server has no connection left"),
    ("too many connections", "the server has no connection left"),
    ("starting up", "the server is starting up"),
    ("not yet accepting connections", "the server is recovering"),
    ("shutting down", "the server is shutting down"),
    ("recovery mode", "the server is recovering"),
    ("SSL", "the TLS connection failed"),
    ("closed the connection unexpectedly", "the server closed the connection"),
)
_NAME_THE_ROOT = (
    "in HLCTL_DATABASE_URL let sslrootcert=/PATH/TO/FILE name the certificate of the authority that signed"
    " the server's; a public one is in /etc/ssl/certs/ca-certificates.crt, or where this system has that"
)
_REMEDIES = {
    **dict.fromkeys((_NO_ROOT, _BAD_ROOT, _STRANGER), _NAME_THE_ROOT),
    _FULL: 'make room on it, see "The disk is full" in docs/runbook.md',
}

# Of these only the option's name is passed on. libpq finds them before it connects, or as it begins to.
_WRONG_OPTION = re.compile(
    r'invalid "?([a-z_]+)"? value: "'
    r'|for connection option "([a-z_]+)"'
    r"|invalid (port) number: "
    r"|could not match \d+ (port) numbers"
    r"|could not match \d+ host names with \d+ (hostaddr) values"
    r"|weak (sslmode) "
)


_T = TypeVar("_T")


class Connection(psycopg.Connection[TupleRow]):
    """A connection on which no wait is for ever.

    A server that falls silent in the middle of a session holds its client for ever, whatever timeouts it was told:
    something on the way goes on acknowledging. So every wait ends here, `patience` seconds after it began, or when
    `left` (asked again and again: a signal may shorten it) says that no second is left. The connection is then closed,
    and psycopg.OperationalError raised.
    """

    patience: float = STATEMENT_TIMEOUT + _REPLY
    left: Callable[[], float] = staticmethod(lambda: math.inf)

    def wait(self, gen: PQGen[_T], interval: float = 0.1, timeout: float | None = None) -> _T:
        """Consume a generator operating on the connection, within bounds."""
        return super().wait(self._bounded(gen), interval, timeout)

    def _bounded(self, gen: PQGen[_T]) -> PQGen[_T]:
        """Pass on what `gen` waits for; psycopg resumes it every `interval`, even if nothing came."""
        ends = time.monotonic() + self.patience
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                wanted = gen.send(ready)
                if time.monotonic() > ends or self.left() <= 0:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("timeout expired")
        except StopIteration as done:
            result: _T = done.value
            return result


def connect(conninfo: str, *, timeout: int = CONNECT_TIMEOUT) -> Connection:
    """Connect in autocommit mode: nothing runs outside `transaction`.

    No startup options and no prepared statements, so that a transaction pooler is no obstacle.
    Raises ConfigurationError if the string cannot be read or has an option that is wrong, and DatabaseUnusableError if
    nobody answers or the server cannot keep the record, without a word of the URL that could be secret.
    """
    conn = dial(conninfo, timeout=timeout)
    if problem := unsupported(conn.info.server_version, conn.info.parameter_status("server_encoding")):
        conn.close()
        raise DatabaseUnusableError(problem)
    return conn


def dial(conninfo: str, *, timeout: int = CONNECT_TIMEOUT) -> Connection:
    """Do the same with any server, whether or not it can keep the record."""
    for name in [name for name in os.environ if name.startswith("PG") and name not in _KEPT_FROM_ENVIRONMENT]:
        del os.environ[name]
    try:
        return Connection.connect(
            conninfo,
            autocommit=True,
            prepare_threshold=None,
            client_encoding="UTF8",
            application_name="hlctl",
            connect_timeout=timeout,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )
    except (psycopg.ProgrammingError, UnicodeError):  # psycopg takes what is percent-encoded for UTF-8
        raise ConfigurationError(
            "the database URL is not a PostgreSQL connection string",
            remedy="HLCTL_DATABASE_URL looks like postgresql://user:password@host:5432/database;"
            " percent-encode special characters in the password",
        ) from None
    except psycopg.OperationalError as exc:
        if wrong := _WRONG_OPTION.search(str(exc)):
            option = next(filter(None, wrong.groups()))
            raise ConfigurationError(
                f"the database URL's {option} has a value that it cannot have",
                remedy="correct it in HLCTL_DATABASE_URL;"
                " https://www.postgresql.org/docs/current/libpq-connect.html lists the values",
            ) from None
        text = f"{CANNOT}{_cause(str(exc))}"
        raise DatabaseUnusableError(text, remedy=remedy(str(exc))) from None


def bounded(seconds: float) -> int:
    """Return the timeout of a connection attempt that has so long: libpq takes whole seconds, and two at least."""
    return max(2, min(CONNECT_TIMEOUT, int(seconds)))


def unsupported(version: int, encoding: str | None) -> str | None:
    """Say why a server cannot keep the record; a pooler may not tell its encoding, which is no reason."""
    if version < OLDEST_SERVER:
        return f"the server is PostgreSQL {version // 10_000}: 15 to 18 are supported"
    if encoding not in {None, "UTF8"}:
        return f"the database's encoding is {encoding}: it must be UTF8"
    return None


def remedy(text: str) -> str:
    """Return what can be done about what libpq, or the server's log, says; empty if that is not known."""
    return _REMEDIES.get(_cause(text), "")


def _cause(text: str) -> str:
    return next((meaning for words, meaning in _CAUSES if words in text), "the connection failed")


@contextmanager
def transaction(
    conn: Connection,
    *,
    read_only: bool = False,
    idle_timeout: str = "58s",
    statement_timeout: int = STATEMENT_TIMEOUT,
    lock_timeout: int = 5,
    transaction_timeout: int = TRANSACTION_TIMEOUT,
) -> Iterator[None]:
    """Run one transaction, READ COMMITTED (REPEATABLE READ if read-only), with every setting that matters pinned.

    `idle_timeout` bounds how long the server lets the transaction sit between statements: it frees the lock of a
    frozen client. The other timeouts are seconds.
    """
    conn.patience = statement_timeout + _REPLY
    conn.isolation_level = (
        psycopg.IsolationLevel.REPEATABLE_READ if read_only else psycopg.IsolationLevel.READ_COMMITTED
    )
    conn.read_only = read_only
    with conn.transaction():
        timeouts = {
            "idle_timeout": idle_timeout,
            "statement_timeout": f"{statement_timeout}s",
            "lock_timeout": f"{lock_timeout}s",
            "transaction_timeout": f"{transaction_timeout}s",
        }
        conn.execute(query("pin_transaction"), timeouts)
        yield


def set_local(conn: Connection, setting: str, value: str) -> None:
    """Set one thing more, until the transaction ends or the savepoint it was made in is rolled back."""
    conn.execute(query("set_local"), {"setting": setting, "value": value})


def explain(exc: psycopg.Error) -> str:
    """One line of what the server said: its primary message and SQLSTATE, never a row's values."""
    if exc.diag.message_primary:
        return f"{exc.diag.message_primary} (SQLSTATE {exc.sqlstate})"
    return _cause(str(exc))


def advice(exc: psycopg.Error) -> str:
    """Return what can be done about what the server says in a session, where its words do not tell; else empty."""
    if exc.diag.source_function == "check_enable_rls":  # its message may be in any language
        return "row level security would hide a part of the record: ALTER ROLE ... BYPASSRLS, or take the policies away"
    return ""


@cache
def sql_root() -> Path:
    """Return the folder of SQL files: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    packaged = package / "_sql"
    return packaged if packaged.is_dir() else package.parent / "sql"


@cache
def query(name: str) -> bytes:
    """Return the statement in `sql/queries/<name>.sql`."""
    return (sql_root() / "queries" / f"{name}.sql").read_bytes()


def fetch_one(conn: Connection, name: str, params: dict[str, Any] | None = None) -> TupleRow | None:
    """Run the named query and return its first row, or None."""
    return conn.execute(query(name), params).fetchone()


def fetch_as(conn: Connection, kind: type[_T], name: str, params: Mapping[str, Any] | None = None) -> list[_T]:
    """Run the named query and return its rows, each as a dataclass whose fields its columns are."""
    with conn.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(query(name), params).fetchall()


def fetch_one_as(conn: Connection, kind: type[_T], name: str, params: Mapping[str, Any] | None = None) -> _T | None:
    """Do the same with a query that has one row, or none."""
    return next(iter(fetch_as(conn, kind, name, params)), None)


def fetch_the_one_as(conn: Connection, kind: type[_T], name: str, params: Mapping[str, Any] | None = None) -> _T:
    """Do the same with a query that always has one."""
    (found,) = fetch_as(conn, kind, name, params)
    return found
