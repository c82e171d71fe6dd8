"""The list of rights: exactly what the statements need, column by column, and nothing more for anybody."""

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from hlctl import access, audit, days, db, migrate, overview, store
from hlctl.access import Access, Right
from hlctl.model import Answer, Attempt, Held, LeaderboardRow, MissingReason, Refresh, Rules, Source, Transport

M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
RULES = Rules(
    coverage_success=Decimal(95),
    coverage_failed=Decimal(80),
    stale_after=timedelta(seconds=180),
    universe_stale_after=timedelta(hours=12),
    rate_limit=1200,
)
SENT = Transport(
    requests_sent=1, retries=0, rate_limited=0, last_sent_at=None, sent_per_second=[],
    clock_offset_ms=None,
)  # fmt: skip


@pytest.fixture(scope="module")
def role(server: str) -> Iterator[str]:
    """Return the name of a role without any right."""
    name = f"hlctl_test_{uuid.uuid4().hex[:12]}"
    with closing(psycopg.connect(server, autocommit=True)) as conn:
        try:
            conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            pytest.skip("the role of TEST_DATABASE_URL may not create roles")
        yield name
        conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def as_owner(database: str, role: str, set_clock: Callable[..., None]) -> Iterator[db.Connection]:
    """Return a connection whose role may do anything, to a database with two wallets, in which it is minute M."""
    set_clock(M, running=False)
    with db.connect(database) as conn:
        with conn.transaction():
            refresh(conn, 1, 2)
            conn.execute(
                "INSERT INTO wallet_snapshots (snapshot_ts, wallet_id, asset, ingest_run_id, missing_reason, attempt)"
                " VALUES (%s, 9, 'BTC', %s, 'late', 1)",
                [M - timedelta(days=1), int(M.timestamp()) // 60 - 1440],
            )
        yield conn
        conn.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))


def refresh(conn: db.Connection, *numbers: int) -> None:
    """Do what `refresh-universe` does, well and badly."""
    migrate.require_current(conn)
    store.take_refresh(conn)
    store.list_current_universe(conn)
    row = {"month_pnl": Decimal(1), "month_roi": Decimal(0), "month_volume": Decimal(0), "account_value": Decimal(5)}
    members = tuple(LeaderboardRow(address=f"0x{number:040x}", **row) for number in numbers)
    store.find_stored_members(conn)
    store.replace_universe(
        conn,
        Refresh(
            run_id=None, source=Source.STATS_DATA, n_requested=2, n_received=2, entered=(), exited=(), turnover=None,
            churn_warning_count=0, rows_seen=2, rows_rejected=0, duration_ms=1,
        ),
        members,
    )  # fmt: skip
    store.add_failed_refresh(conn, n_requested=2, duration_ms=1, rows_seen=0, rows_rejected=0, error="x")
    store.read_universe(conn)


def snapshot(conn: db.Connection) -> None:
    """Do what `snapshot` does, twice in a minute, and in the two after it, the first of which is odd."""
    migrate.require_current(conn)
    minute = store.take_minute(conn, lead=timedelta(0)).minute
    store.list_recent_requests(conn)
    store.read_clock(conn)
    store.retake_minute(conn, minute, needed=True)
    store.find_attempt(conn, minute, uuid4())
    answers: list[tuple[int, Answer]] = [
        (0, MissingReason.LATE),
        (0, Held(M, {})),
        (1, MissingReason.BAD_SHAPE),
        (2, MissingReason.LATE),
    ]
    for minutes, answer in answers:
        minute = M + timedelta(minutes=minutes)
        task = store.list_task(conn, minute)
        attempt = Attempt(attempt_id=uuid4(), host="h", version="1", duration_ms=1, error=None)
        store.publish(
            conn, minute, universe_run_id=task.universe_run_id, answers=dict.fromkeys(task.wallets, answer),
            rules=RULES, transport=SENT, attempt=attempt,
        )  # fmt: skip


def status(conn: db.Connection) -> None:
    """Do what `status` does."""
    migrate.require_current(conn)
    run = overview.read_latest_run(conn)
    overview.read_health(conn)
    store.read_universe(conn)
    overview.list_last_hour(conn)
    overview.summarize_minute(conn, run.snapshot_ts if run else M)
    overview.read_thresholds(conn)
    overview.read_traffic(conn)
    overview.read_refresh(conn)
    overview.list_troubled_wallets(conn, since=M, until=M, wallets=5)
    overview.measure_storage(conn)
    overview.list_held_locks(conn)


def verify(conn: db.Connection) -> None:
    """Do what `verify` does."""
    migrate.require_current(conn)
    audit.read_record(conn)
    audit.find_pruned(conn, M, M)
    audit.distrust_constraints(conn)
    for check in audit.CHECKS:
        audit.violations(conn, check, M, M + timedelta(minutes=1))
    audit.count_runs(conn, M, M)
    audit.list_gaps(conn, M, M + timedelta(minutes=1))
    audit.list_addresses(conn, {1})


def prune(conn: db.Connection) -> None:
    """Do what `prune` does."""
    migrate.require_current(conn)
    store.read_clock(conn)
    assert days.list_prunable(conn, keep=1) == []
    days.drop_day(conn, M.date() - timedelta(days=2))


def export(conn: db.Connection) -> None:
    """Do what `export` does, and `export --verify`."""
    migrate.require_current(conn)
    day = M.date() - timedelta(days=1)
    assert days.list_recorded(conn) == []
    assert list(days.copy_cells(conn, day)) == [], "its wallet is nobody"
    assert days.list_published(conn, day) == {}
    assert len(days.fingerprint_cells(conn, day)) == 1
    assert days.list_dirty(conn, day) == set()
    assert audit.list_addresses(conn, {9}) == {}


COMMANDS: dict[str, Callable[[db.Connection], None]] = {
    "snapshot": snapshot,
    "refresh-universe": lambda conn: refresh(conn, 2, 3),
    "status": status,
    "verify": verify,
    "prune": prune,
    "export": export,
}


def grant(conn: db.Connection, role: str, kind: Access) -> list[Right]:
    """Let the role in and return the rights it was given."""
    given = access._lacking(conn, role, kind)
    with db.transaction(conn):
        access.grant(conn, {role: kind})
    return given


def refused(conn: db.Connection, role: str, command: Callable[[db.Connection], None]) -> bool:
    """Tell whether the role may not run a command; whatever it did is undone."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
            command(conn)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction):
        return True
    return False


def test_a_writer_may_run_every_command_and_a_reader_those_that_only_read(as_owner: db.Connection, role: str) -> None:
    """With nothing but what init-db grants."""
    assert all(refused(as_owner, role, command) for command in COMMANDS.values())
    grant(as_owner, role, Access.READER)
    assert [name for name, command in COMMANDS.items() if not refused(as_owner, role, command)] == [
        "status", "verify", "export"
    ]  # fmt: skip
    grant(as_owner, role, Access.WRITER)
    assert not any(refused(as_owner, role, command) for command in COMMANDS.values())


def test_each_right_is_needed_by_exactly_the_commands_that_ask_for_it(as_owner: db.Connection, role: str) -> None:
    """Taken away one by one, column by column: the command fails if, and only if, the preflight would have said so."""
    given = grant(as_owner, role, Access.WRITER)
    # The statements name these columns, and the server asks for no right to write the ones they leave alone.
    parts: list[tuple[Right, str]] = [(right, column) for right in given for column in right.columns or [""]]
    assert len(parts) > 100
    wrong = []
    for right, column in parts:
        if right.object == "SCHEMA public":
            continue  # PUBLIC's, unless the server is hardened: tests/e2e/test_roles.py
        with as_owner.transaction(force_rollback=True):
            words = f"{right.privilege} ({column})" if column else right.privilege
            as_owner.execute(f"REVOKE {words} ON {right.object} FROM {role}".encode())
            failing = {name for name, command in COMMANDS.items() if refused(as_owner, role, command)}
            lacking = access._missing(as_owner, role)
            assert {(lack.privilege, lack.object) for lack in lacking} == {(right.privilege, right.object)}
            assert lacking[0].columns == ([column] if column else None)
        if failing != set(right.needed_by):
            wrong.append((words, right.object, failing))
    assert wrong == []


@pytest.mark.parametrize("kind", Access)
def test_nothing_else_is_granted(as_owner: db.Connection, role: str, kind: Access) -> None:
    """Asked of the server for every object and every privilege there is, column by column."""
    given = grant(as_owner, role, kind)
    marks = [right for right in given if (right.privilege, bool(right.columns)) == ("SELECT", True)]
    assert {right.object for right in marks} == {"schema_migrations"}, "which it may read as a whole"
    listed = {
        (r.privilege, r.object, column)
        for r in given if r not in marks
        for column in r.columns or [""] if "public" not in r.object
    }  # fmt: skip
    found = as_owner.execute(
        """
        SELECT p.privilege, c.relname, ''
          FROM pg_class c
         CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS p (privilege)
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
           AND has_table_privilege(%(role)s, c.oid, p.privilege)
         UNION ALL
        SELECT p.privilege, c.relname, a.attname
          FROM pg_class c
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
         CROSS JOIN unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) AS p (privilege)
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
           AND has_column_privilege(%(role)s, c.oid, a.attnum, p.privilege)
           AND NOT has_table_privilege(%(role)s, c.oid, p.privilege)
         UNION ALL
        SELECT 'sequence', seqrelid::regclass::text, '' FROM pg_sequence
         WHERE has_sequence_privilege(%(role)s, seqrelid, 'USAGE, SELECT, UPDATE')
         UNION ALL
        SELECT 'EXECUTE', 'FUNCTION ' || proname, '' FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND has_function_privilege(%(role)s, oid, 'EXECUTE')
         UNION ALL
        SELECT 'CREATE', 'SCHEMA public', '' WHERE has_schema_privilege(%(role)s, 'public', 'CREATE')
         UNION ALL
        SELECT 'CREATE', 'DATABASE', '' WHERE has_database_privilege(%(role)s, current_database(), 'CREATE')
        """,
        {"role": role},
    ).fetchall()
    assert set(found) == listed
    whole = {(privilege, what) for privilege, what, column in listed if not column and privilege != "SELECT"}
    functions = ["hlctl_clock", "cell_fingerprint", "stray_cells", "cell_storage", "stored_days"]
    functions += ["minutes_after", "odd_cells", "suspect_cells"]
    expected = {("EXECUTE", f"FUNCTION {name}") for name in functions}
    if kind is Access.WRITER:
        expected |= {("EXECUTE", "FUNCTION ensure_partitions"), ("EXECUTE", "FUNCTION drop_day")}
        expected |= {("DELETE", "wallet_universe_current")}
    assert whole == expected, "whatever else is written is written by column"


def test_every_table_and_view_is_a_readers(rolled_back: db.Connection, role: str) -> None:
    """A later migration's table that is not in the list would be seen by nobody but the owner."""
    relations = rolled_back.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
        " AND NOT relispartition"
    ).fetchall()
    readable = {right.object for right in access._missing(rolled_back, role) if right.privilege == "SELECT"}
    assert readable == {name for (name,) in relations}


def test_two_who_grant_at_the_same_time_do_not_disturb_each_other(
    as_owner: db.Connection, database: str, role: str
) -> None:
    """The server fails a GRANT on an object whose rights another one has just changed."""

    def grant_too() -> list[str]:
        with db.connect(database) as other, db.transaction(other):
            return access.grant(other, {role: Access.WRITER})

    with ThreadPoolExecutor() as pool:
        with db.transaction(as_owner):
            access.grant(as_owner, {role: Access.READER})
            waiting = pool.submit(grant_too)
            time.sleep(0.5)
            assert not waiting.done()
        statements = waiting.result(timeout=30)
    assert statements
    assert not any("SELECT ON" in statement for statement in statements), "it sees what the other one has done"


@pytest.mark.parametrize("days", [-1, 32, 1_000_000, None])
def test_a_writer_cannot_make_tables_at_will(conn: db.Connection, days: int | None) -> None:
    """It calls the function with the owner's rights."""
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="0 to 31"):
        conn.execute("SELECT ensure_partitions(%s)", [days])


def test_rights_that_come_through_a_group_count(as_owner: db.Connection, role: str) -> None:
    """DBAs grant to groups and put people into them."""
    member = f"{role}_member"
    grant(as_owner, role, Access.READER)
    with as_owner.transaction(force_rollback=True):
        as_owner.execute(f"CREATE ROLE {member} IN ROLE {role}".encode())
        assert access._lacking(as_owner, member, Access.READER) == []
        assert access._lacking(as_owner, member, Access.WRITER) != []
        assert access.holders(as_owner) == {role: Access.READER}, "the group was let in, not its members"


def test_the_owner_lacks_nothing_and_is_nobody_who_was_let_in(as_owner: db.Connection) -> None:
    """Without roles init-db grants nothing, on the embedded server too."""
    access.require(as_owner, "snapshot")
    assert access.holders(as_owner) == {}


def test_an_empty_database_lacks_a_schema_and_no_rights(empty_database: str) -> None:
    """The remedy is init-db, not a grant."""
    with db.connect(empty_database) as conn:
        access.require(conn, "snapshot")


def test_the_preflight_costs_the_server_little(as_owner: db.Connection, role: str) -> None:
    """It runs 1,440 times a day: compared with a statement that plans and counts about as much."""
    grant(as_owner, role, Access.WRITER)

    def server_ms(statement: bytes) -> float:
        explained = b"EXPLAIN (ANALYZE, SUMMARY, FORMAT JSON) " + statement
        found = []
        for _ in range(20):
            (plan,) = as_owner.execute(explained, {"role": role}).fetchone() or ([{}],)
            found.append(float(plan[0]["Planning Time"] + plan[0]["Execution Time"]))
        return min(found)

    assert server_ms(db.query("list_missing_rights")) < 10 * server_ms(
        b"SELECT count(*) FROM pg_class CROSS JOIN pg_am"
    )
