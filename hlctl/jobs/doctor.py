"""`doctor`: everything that can be wrong with a set-up, looked at once, each thing whatever became of the others.

It reads and starts nothing, an embedded server least of all. Three threads look at the same time, at the database, the
exchange and the machine, and are not waited for longer than `PATIENCE`: what hangs is what it is about to report.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from hlctl import (
    __version__,
    access,
    binaries,
    db,
    embedded,
    engines,
    machine,
    migrate,
    overview,
    settings,
    store,
    wire,
)
from hlctl.answers import DoctorResult
from hlctl.checks import Check, CheckId, database, engine, ok, problem, skipped, warning
from hlctl.checks import machine as on_machine
from hlctl.checks.database import Growth, LackingRight, Session
from hlctl.checks.machine import PrivateFile, Server
from hlctl.errors import ConfigurationError, DatabaseUnusableError, HlctlError, SchemaMissingError
from hlctl.exchange import OTHER_FILES, Exchange
from hlctl.jobs.config import has_password
from hlctl.jobs.database import countdown
from hlctl.jobs.universe import connect
from hlctl.model import MissingReason, Source
from hlctl.settings import PREFIX, SECRETS, Settings, Sources, default_data_dir
from hlctl.transport import RequestFailedError

PATIENCE = 12.0
"""Seconds after which the answer is given, with what is known by then."""

_ANSWER = 5.0  # seconds for one answer of the database or the exchange
_NOBODY = "0x" + "0" * 40  # a wallet: any has an answer
_NETWORK = "look at the network, a proxy or firewall on the way, and HLCTL_API_URL"
_FILES = "look at the network, a proxy or firewall on the way, and HLCTL_LEADERBOARD_URL"

_NOT_THERE_YET = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction)


@dataclass(slots=True)
class _Seen:
    """What is known so far; each thread writes what nobody else writes."""

    checks: dict[CheckId, Check] = field(default_factory=dict)
    database_ahead: float | None = None  # of this machine's clock, in seconds
    exchange_ahead: float | None = None
    growth: Growth | None = None
    free: int | None = None  # bytes
    is_hypertable: bool = False  # the cells

    def add(self, check: Check) -> None:
        self.checks[check.id] = check

    def skip(self, reason: str, *checks: CheckId) -> None:
        for check in checks:
            self.checks.setdefault(check, skipped(check, reason))


def doctor(config: Path | None) -> DoctorResult:
    """Look at everything; `config` is the settings file named on the command line."""
    seen = _Seen()
    seen.add(on_machine.bytecode(*machine.modules()))
    looks: list[Callable[[], None]] = [lambda: seen.add(on_machine.schedule(machine.schedules()))]
    try:
        sources = settings.read_sources(config)  # once: it may be a pipe
        looks.append(lambda: _look_at_files(sources, seen))
        loaded = settings.checked(sources)
    except ConfigurationError as exc:
        seen.add(problem(CheckId.SETTINGS, str(exc), exc.remedy or "`hlctl config show` tells every setting"))
        seen.skip("the settings are not usable", *_NEED_SETTINGS)
    else:
        seen.add(ok(CheckId.SETTINGS, "every one is usable"))
        limit = machine.open_files()
        seen.add(on_machine.process_limits(limit, connections=loaded.max_concurrency, others=OTHER_FILES))
        looks.append(lambda: seen.add(_look_at_metrics_file(loaded.metrics_file)))
        looks += [lambda: _look_at_database(loaded, seen), lambda: _look_at_exchange(loaded, seen)]
    if len(looks) == 1:
        seen.skip("the settings file cannot be read", CheckId.PERMISSIONS)
    _at_once(looks)
    if CheckId.DATABASE_REACHABLE not in seen.checks:
        seen.add(_silent(CheckId.DATABASE_REACHABLE))
        seen.skip("the database cannot be asked", *_OF_DATABASE)
    _compare(seen)
    return DoctorResult(checks=[seen.checks.get(check) or _silent(check) for check in CheckId])


def _at_once(looks: list[Callable[[], None]]) -> None:
    """Run each in a thread; one that hangs is left behind, and a bug is raised here."""
    left = countdown(PATIENCE)
    bugs: list[BaseException] = []

    def run(look: Callable[[], None]) -> None:
        try:
            look()
        except BaseException as exc:  # noqa: BLE001 - handed to the main thread, which raises it
            bugs.append(exc)

    threads = [threading.Thread(target=run, args=(look,), daemon=True) for look in looks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, left()))
    if bugs:
        raise bugs[0]


def _silent(check: CheckId) -> Check:
    return problem(check, f"no answer within {PATIENCE:.0f} s", "what does not answer is named by the checks around it")


def _compare(seen: _Seen) -> None:
    """Judge what takes more than one look."""
    if seen.database_ahead is None or seen.exchange_ahead is None:
        whose = "database's" if seen.database_ahead is None else "exchange's"
        seen.skip(f"the {whose} clock is not known", CheckId.CLOCK_DATABASE_EXCHANGE)
    else:
        seen.add(database.clock_database_exchange(seen.database_ahead - seen.exchange_ahead))
    if CheckId.DISK not in seen.checks:
        seen.add(database.disk(seen.growth, seen.free))


# The database.


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whom the questions below are put to."""

    conn: db.Connection
    session: Session
    seen: _Seen


def _look_at_database(loaded: Settings, seen: _Seen) -> None:
    url = _own_server(loaded, seen) if loaded.database_url is None else loaded.database_url.get_secret_value()
    if loaded.database_url is not None:
        seen.skip("HLCTL_DATABASE_URL is set: there is none", CheckId.EMBEDDED_SERVER)
    if url is not None:
        try:
            with closing(db.dial(url, timeout=int(_ANSWER))) as conn:
                conn.left = countdown(PATIENCE)
                seen.add(
                    ok(CheckId.DATABASE_REACHABLE, "the embedded server" if loaded.database_url is None else "yes")
                )
                _question(conn, seen)
        except ConfigurationError as exc:  # what only libpq knows of its options
            seen.add(problem(CheckId.SETTINGS, str(exc), exc.remedy))
            seen.skip("the settings are not usable", CheckId.DATABASE_REACHABLE)
        except DatabaseUnusableError as exc:
            remedy = exc.remedy or "look at the server, the network, and HLCTL_DATABASE_URL (`hlctl config show`)"
            seen.add(problem(CheckId.DATABASE_REACHABLE, str(exc), remedy))
    seen.skip("the database cannot be asked", *_OF_DATABASE)


def _own_server(loaded: Settings, seen: _Seen) -> str | None:
    """Look at the embedded server and its disk; return its URL if it answers."""
    try:
        data_dir = loaded.data_dir or default_data_dir()
        found = embedded.status(data_dir)
    except HlctlError as exc:
        seen.add(problem(CheckId.EMBEDDED_SERVER, str(exc), exc.remedy))
        seen.skip("the embedded server is not usable", CheckId.DATABASE_REACHABLE)
        return None
    seen.free = machine.free_bytes(found.data_dir)
    program, package = binaries.version()
    server = Server(
        exists=found.exists,
        running=found.running,
        ready=found.ready,
        version=found.version or program,
        package=package,
        unit=machine.unit_of(found.pid),
        silence=str(found.silence or "").removeprefix(db.CANNOT),
        remedy=found.silence.remedy if found.silence else "",
        log=str(found.log_dir),
        dead=machine.dead_servers(found.owner),
    )
    seen.add(on_machine.embedded_server(server, datetime.now(UTC).date()))
    if found.ready:
        return found.url
    if not found.exists:
        seen.add(problem(CheckId.DATABASE_REACHABLE, "there is no embedded database yet", "run `hlctl init-db`"))
    elif not found.running:
        finding = "the embedded server is stopped; the next command starts it"
        seen.add(warning(CheckId.DATABASE_REACHABLE, finding, "run `hlctl db start`"))
    else:
        seen.add(problem(CheckId.DATABASE_REACHABLE, "the embedded server does not answer", "see embedded_server"))
    return None


def _question(conn: db.Connection, seen: _Seen) -> None:
    """Ask the database one thing after the other, each in a transaction of its own."""
    mode = conn.info.get_parameters().get("sslmode", "prefer")  # libpq's own, which goes without if it must
    where = {"host": conn.info.host, "address": conn.info.hostaddr}
    seen.add(database.database_tls(**where, mode=mode, is_encrypted=conn.pgconn.ssl_in_use))
    number, words = conn.info.server_version, conn.info.parameter_status("server_version") or "of unknown version"
    seen.add(database.database_version(number, words, oldest=db.OLDEST_SERVER, newest_major=binaries.MAJOR))
    try:
        session = _describe(conn)
        later = _describe(conn)
    except psycopg.Error as exc:
        finding = f"it answers, and then not: {db.explain(exc)}"
        seen.add(problem(CheckId.DATABASE_REACHABLE, finding, "look at the server's log"))
        return
    seen.add(database.database_encoding(session.encoding))
    seen.add(database.database_writable(is_in_recovery=session.is_in_recovery, is_read_only=session.is_read_only))
    seen.add(database.pooler(told_pid=conn.info.backend_pid, pids=(session.pid, later.pid)))
    asked = _Asked(conn, session, seen)
    for check, question in _QUESTIONS.items():
        if conn.closed:
            seen.add(problem(CheckId.DATABASE_REACHABLE, "the connection was lost", "look at the server's log"))
            return
        seen.add(_answer(check, question, asked))


def _describe(conn: db.Connection) -> Session:
    with db.transaction(conn, read_only=True, statement_timeout=int(_ANSWER)):
        return overview.describe_session(conn)


def _answer(check: CheckId, question: Callable[[_Asked], Check], asked: _Asked) -> Check:
    """Put one question; whatever goes wrong is this check's alone."""
    try:
        with db.transaction(asked.conn, read_only=True, statement_timeout=int(_ANSWER)):
            return question(asked)
    except HlctlError as exc:
        return problem(check, str(exc), exc.remedy)
    except _NOT_THERE_YET:
        return skipped(check, "the schema is not there, or is older: see schema")
    except psycopg.errors.InsufficientPrivilege as exc:
        if remedy := db.advice(exc):
            return problem(check, f"the database failed: {db.explain(exc)}", remedy)
        return skipped(check, "this role may not ask: see rights")
    except psycopg.Error as exc:
        return problem(check, f"the database failed: {db.explain(exc)}", "look at the server's log")


def _schema(asked: _Asked) -> Check:
    migrate.require_current(asked.conn)
    return database.schema_current(migrate.packaged()[-1].version, access.absent(asked.conn))


def _tool_version(asked: _Asked) -> Check:
    applied = migrate.read_applied(asked.conn)
    if not applied:
        return skipped(CheckId.TOOL_VERSION, str(SchemaMissingError()))
    return database.tool_version(applied[-1].tool_version, __version__)


def _rights(asked: _Asked) -> Check:
    if not migrate.has_book(asked.conn):
        return skipped(CheckId.RIGHTS, str(SchemaMissingError()))
    lacking = [LackingRight(str(right), right.needed_by) for right in access.lacking(asked.conn)]
    return database.rights(asked.session.role, lacking, reading=access.READING)


def _clock(asked: _Asked) -> Check:
    before = time.time()
    at = store.read_clock(asked.conn)
    asked.seen.database_ahead = at.timestamp() - (before + time.time()) / 2
    return database.clock_host_database(asked.seen.database_ahead)


def _engine(asked: _Asked) -> Check:
    present = engines.present(asked.conn)
    keeper = engine.keeper(present)
    asked.seen.is_hypertable = keeper is not None and keeper.extension == "timescaledb"
    server = asked.conn.info.parameter_status("server_version") or "of unknown version"
    return engine.engine(server, present, engines.served_by_functions(asked.conn))


def _partitions(asked: _Asked) -> Check:
    asked.seen.growth = overview.measure_growth(asked.conn)
    if asked.seen.is_hypertable:
        return ok(CheckId.PARTITIONS_AHEAD, "a hypertable makes each day with its first cell")
    return database.partitions_ahead(asked.seen.growth.days_ahead, asked.seen.growth.misplaced)


_QUESTIONS: dict[CheckId, Callable[[_Asked], Check]] = {
    CheckId.SCHEMA: _schema,
    CheckId.TOOL_VERSION: _tool_version,
    CheckId.RIGHTS: _rights,
    CheckId.SCHEMA_CREATORS: lambda asked: database.schema_creators(access.creators(asked.conn)),
    CheckId.CLOCK_HOST_DATABASE: _clock,
    CheckId.UNIVERSE: lambda asked: database.universe(
        store.read_universe(asked.conn), overview.read_health(asked.conn)
    ),
    CheckId.RECORDING: lambda asked: database.recording(overview.read_health(asked.conn)),
    CheckId.ENGINE: _engine,
    CheckId.PARTITIONS_AHEAD: _partitions,
}
_OF_DATABASE = (
    CheckId.DATABASE_TLS, CheckId.DATABASE_VERSION, CheckId.DATABASE_ENCODING, CheckId.DATABASE_WRITABLE,
    CheckId.POOLER, *_QUESTIONS,
)  # fmt: skip
_NEED_SETTINGS = (
    CheckId.DATABASE_REACHABLE, *_OF_DATABASE, CheckId.EMBEDDED_SERVER, CheckId.DISK, CheckId.EXCHANGE_REACHABLE,
    CheckId.LEADERBOARD_REACHABLE, CheckId.CLOCK_DATABASE_EXCHANGE, CheckId.PROCESS_LIMITS, CheckId.METRICS_FILE,
)  # fmt: skip


# The exchange.


def _look_at_exchange(loaded: Settings, seen: _Seen) -> None:
    """Ask for one wallet, and for the first bytes of the leaderboard."""
    try:
        exchange = connect(loaded)
    except ConfigurationError as exc:
        seen.add(problem(CheckId.EXCHANGE_REACHABLE, str(exc), exc.remedy))
        seen.skip("the exchange cannot be asked", CheckId.LEADERBOARD_REACHABLE)
        return
    with closing(exchange):
        seen.add(_ask_state(exchange, seen))
        seen.add(_ask_leaderboard(exchange))


def _ask_state(exchange: Exchange, seen: _Seen) -> Check:
    before = time.time()
    try:
        state = wire.decode_state(exchange.state(_NOBODY, seconds=_ANSWER))
    except RequestFailedError as exc:
        if exc.reason is MissingReason.RATE_LIMITED:
            return warning(CheckId.EXCHANGE_REACHABLE, str(exc), "something else here uses up the exchange's limit")
        return problem(CheckId.EXCHANGE_REACHABLE, f"{exc.reason.value}: {exc}", _NETWORK)
    except wire.WireError as exc:
        return problem(CheckId.EXCHANGE_REACHABLE, f"{exc.reason.value}: {exc}", _NETWORK)
    after = time.time()
    if state.time_ms is not None:
        seen.exchange_ahead = state.time_ms / 1000 - (before + after) / 2
    return ok(CheckId.EXCHANGE_REACHABLE, f"an answer in {after - before:.1f} s")


def _ask_leaderboard(exchange: Exchange) -> Check:
    try:
        first = next(exchange.leaderboard(Source.STATS_DATA, seconds=_ANSWER), b"")
    except RequestFailedError as exc:
        return problem(CheckId.LEADERBOARD_REACHABLE, f"{exc.reason.value}: {exc}", _FILES)
    if not first.lstrip().startswith(b"{"):
        return problem(CheckId.LEADERBOARD_REACHABLE, "bad_shape: what it sends is no JSON object", _FILES)
    return ok(CheckId.LEADERBOARD_REACHABLE, "it begins as a leaderboard does")


# The machine.


def _look_at_files(sources: Sources, seen: _Seen) -> None:
    files: list[PrivateFile | None] = []
    for name in SECRETS:
        given = sources.given.get(f"{PREFIX}{name.upper()}")
        if given is None or given.file is None or (name == "database_url" and not has_password(given.value or "")):
            continue
        what = "file of a secret" if given.origin.startswith("file named") else "settings file"
        files.append(machine.private_file(given.file, what))
    if f"{PREFIX}DATABASE_URL" not in sources.given:
        data_dir = sources.given.get(f"{PREFIX}DATA_DIR")
        with suppress(ConfigurationError):
            folder = Path(data_dir.value or "") if data_dir else default_data_dir()
            files.append(machine.private_file(folder, "data directory"))
    seen.add(on_machine.permissions([file for file in files if file is not None], user=os.geteuid()))


def _look_at_metrics_file(file: Path | None) -> Check:
    if file is None:
        return on_machine.metrics_file(None, is_there=False, is_writable=False)
    folder = file.parent
    return on_machine.metrics_file(
        str(file), is_there=folder.is_dir(), is_writable=os.access(folder, os.W_OK | os.X_OK)
    )
