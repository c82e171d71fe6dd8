"""Owner, writer, reader, and a stranger: every command under each, on a server where they log in as themselves."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from hlctl import sim
from tests.e2e.conftest import COMMAND, Hlctl, M, shown_in_the_readme, start_slowly
from tests.e2e.oracle import Rows, after, assert_nothing_false, assert_whole
from tests.e2e.private_server import PrivateServer, clean_environment, private_server
from tests.e2e.record import fill
from tests.e2e.servers import until

At = Callable[..., None]

WRITER, READER, STRANGER = "hlctl_writer", "Reader, the 2nd", "stranger"
TABLES = (
    "wallets", "wallet_universe_runs", "wallet_universe_members", "wallet_universe_current", "wallet_snapshots",
    "snapshot_anomalies", "ingest_runs", "ingest_health", "signals", "signal_contributors", "alerts", "alert_state",
    "schema_migrations",
)  # fmt: skip

OWN_RIGHTS = """
    SELECT of.relname, acl.privilege_type
      FROM (SELECT relname, relacl AS rights FROM pg_class
             UNION ALL
            SELECT c.relname, a.attacl FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             UNION ALL
            SELECT proname, proacl FROM pg_proc
             UNION ALL
            SELECT nspname, nspacl FROM pg_namespace
             UNION ALL
            SELECT typname, typacl FROM pg_type
             UNION ALL
            SELECT datname, datacl FROM pg_database WHERE datname = current_database()) AS of
     CROSS JOIN LATERAL aclexplode(of.rights) AS acl
      JOIN pg_roles r ON r.oid = acl.grantee
     WHERE r.rolname = '{}'
"""


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """Return a server that believes a role what it says it is."""
    folder = tmp_path_factory.mktemp("roles")
    with private_server(folder / "data", method="trust") as server:
        for role in (WRITER, READER, STRANGER):
            server.run(f'CREATE ROLE "{role}" LOGIN')
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def granted(private: PrivateServer, world: sim.World, set_clock_of: Callable[..., None]) -> str:
    """Return the name of a database with a universe of minute M, which writer and reader may use."""
    name = private.database()
    url = private.url(name)
    init = ("init-db", "--writer", WRITER, "--reader", READER)
    subprocess.run(
        [COMMAND, *init], env=clean_environment(HLCTL_DATABASE_URL=url), check=True, capture_output=True, timeout=60
    )
    set_clock_of(url, M)
    with sim.serve(world) as exchange:
        env = clean_environment(HLCTL_DATABASE_URL=url, HLCTL_LEADERBOARD_URL=exchange.leaderboard_url)
        subprocess.run([COMMAND, "refresh-universe"], env=env, check=True, capture_output=True, timeout=60)
    return name


@pytest.fixture
def name(private: PrivateServer, granted: str) -> str:
    """Return the name of the test's own copy of that database."""
    return private.database(granted)


@pytest.fixture
def database(private: PrivateServer, name: str) -> str:
    """Return its URL for the owner: what the fixtures of every test work on."""
    return private.url(name)


@pytest.fixture
def under(private: PrivateServer, name: str, hlctl: Hlctl) -> Callable[[str], Hlctl]:
    """Return a function that makes a runner which logs in as a role."""

    def make(role: str) -> Hlctl:
        url = private.url(name, role.replace(" ", "%20"))
        return Hlctl({**hlctl.settings, "HLCTL_DATABASE_URL": url}, hlctl.home, hlctl.started)

    return make


def contents(rows: Rows) -> list[Any]:
    """Return what is in every table, and which tables there are and who may use them."""
    return [
        *(rows(f"SELECT t::text FROM {table} t ORDER BY 1") for table in TABLES),  # noqa: S608 - names from above
        rows("SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"),
    ]


DONE: dict[tuple[str, ...], str] = {
    ("init-db",): "the schema is up to date (version ",
    ("init-db", "--dry-run"): "the schema is up to date (version ",
    (
        "refresh-universe",
    ): "universe: 200 of 200 wallets from 400 rows of stats-data (0 unreadable); 0 entered, 0 exited\n",
    ("snapshot",): "2026-01-06 20:44 UTC: success, 200 of 200 wallets, 600 cells, 100.00 % coverage, in ",
    ("status",): "health            stale: no good minute was ever recorded\n",
    ("status", "--verbose"): "health            stale: no good minute was ever recorded\n",
}
WRITES = {("refresh-universe",), ("snapshot",)}


@pytest.mark.parametrize("command", DONE, ids=" ".join)
@pytest.mark.parametrize("role", ["hlctl", WRITER, READER])
def test_every_command_under_every_role_that_was_let_in(
    under: Callable[[str], Hlctl], exchange: sim.Exchange, rows: Rows, role: str, command: tuple[str, ...]
) -> None:
    """The owner and the writer do all of it; the reader reads, and is told in one line that it may do no more."""
    before = contents(rows)
    ran = under(role)(*command)
    if role == READER and command in WRITES:
        assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1)
        assert ran.err.startswith(f"hlctl {command[0]}: role {READER} lacks ")
        assert exchange.requests == 0, "known before anybody is asked"
    else:
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith(DONE[command])
    changes = command in WRITES and role != READER
    assert (contents(rows) != before) is changes
    if changes and command == ("snapshot",):
        assert_whole(rows, exchange, M)


def test_a_reader_may_verify_and_a_stranger_is_told_what_it_lacks(
    under: Callable[[str], Hlctl], at: Callable[..., None], rows: Rows
) -> None:
    """The auditor need not be able to write what is audited."""
    assert under(WRITER)("snapshot").code == 0
    at(120)
    before = contents(rows)
    for role in ("hlctl", WRITER, READER):
        ran = under(role)("verify")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith("verdict   every check holds\n")
    ran = under(STRANGER)("verify")
    assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1)
    assert {"SELECT on ingest_health", "EXECUTE on FUNCTION stray_cells"} <= set(re.split(", |lacks |;", ran.err))
    assert ran.err.endswith(f"; run `hlctl init-db --reader {STRANGER}` as the owner of the tables\n")
    assert contents(rows) == before
    assert under("hlctl")("init-db", "--reader", STRANGER).code == 0
    assert under(STRANGER)("verify").code == 0


@pytest.mark.parametrize("role", ["hlctl", WRITER, READER])
def test_a_refresh_that_writes_nothing_needs_a_writers_rights_only_where_it_might(
    under: Callable[[str], Hlctl], rows: Rows, role: str
) -> None:
    """A dry run is a reader's; one that is not due today may be due tomorrow, and must not fail only then."""
    before = contents(rows)
    ran = under(role)("refresh-universe", "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    ran = under(role)("refresh-universe", "--if-due")
    assert ran.code == (5 if role == READER else 0)
    assert contents(rows) == before


@pytest.mark.parametrize("command", DONE, ids=" ".join)
def test_a_role_that_was_not_let_in_is_told_everything_it_lacks(
    under: Callable[[str], Hlctl], exchange: sim.Exchange, rows: Rows, command: tuple[str, ...]
) -> None:
    """A DBA who grants one right after the other needs a minute for each."""
    before = contents(rows)
    ran = under(STRANGER)(*command)
    assert (ran.code, ran.out, ran.err.count("\n"), exchange.requests) == (5, "", 1, 0)
    assert contents(rows) == before
    if command[0] == "init-db":
        assert "permission denied for table schema_migrations" in ran.err
        return
    access = "reader" if command[0] == "status" else "writer"
    assert ran.err.endswith(f"; run `hlctl init-db --{access} {STRANGER}` as the owner of the tables\n")
    assert "SELECT on wallet_universe_runs" in ran.err
    assert "EXECUTE on FUNCTION hlctl_clock" in ran.err
    expected = {
        "status": {"SELECT on ingest_runs", "SELECT on v_latest_health", "EXECUTE on FUNCTION cell_storage"},
        "snapshot": {"INSERT on wallet_snapshots", "UPDATE on ingest_runs", "INSERT on ingest_health"},
        "refresh-universe": {"INSERT on wallets", "DELETE on wallet_universe_current"},
    }
    assert {right for right in expected[command[0]] if right not in ran.err} == set()
    assert "ensure_partitions" not in ran.err, "the DEFAULT partition takes the minute"
    assert under("hlctl")("init-db", f"--{access}", STRANGER).code == 0
    assert under(STRANGER)(*command).code == 0, "nothing was left out"


def test_a_role_shut_out_of_the_schema_is_told_so_and_not_that_there_is_none(
    under: Callable[[str], Hlctl], private: PrivateServer, name: str
) -> None:
    """A hardened server takes the schema from PUBLIC, and nothing in it can be seen then."""
    private.run("REVOKE ALL ON SCHEMA public FROM PUBLIC", database=name)
    for command in ("status", "snapshot", "refresh-universe"):
        ran = under(WRITER)(command)
        assert (ran.code, "lacks USAGE on SCHEMA public; run" in ran.err) == (5, True), ran.err
    assert under("hlctl")("init-db").out.endswith('GRANT USAGE ON SCHEMA public TO "hlctl_writer"\n')
    assert under(WRITER)("snapshot").code == 0
    assert under(READER)("status").code == 0


def test_the_readmes_statements_shut_a_role_out_for_good(
    under: Callable[[str], Hlctl], private: PrivateServer, name: str
) -> None:
    """Whoever leaves keeps no right that a grant gave, not even on a column, and gets none back by an upgrade."""
    for statement in shown_in_the_readme("shut out").splitlines():
        named = re.sub(r"\brec;$", f'"{WRITER}";', statement).replace("DATABASE hlctl ", f'DATABASE "{name}" ')
        private.run(named, database=name)
    assert under("hlctl")("init-db").code == 0
    assert private.run(OWN_RIGHTS.format(WRITER), database=name) == []
    assert private.run(OWN_RIGHTS.format(READER), database=name) != []
    ran = under(WRITER)("status")
    assert (ran.code, f"role {WRITER} lacks " in ran.err) == (5, True), ran.err
    assert under(READER)("status").code == 0


def test_the_writer_records_minute_after_minute_and_makes_tomorrows_partition(
    under: Callable[[str], Hlctl], exchange: sim.Exchange, at: Callable[..., None], rows: Rows
) -> None:
    """It has no right to make a table: the function does it with the owner's."""
    writer = under(WRITER)
    gap = "1438 minutes not recorded well since 2026-01-06 20:46, 1438 of them without a row"
    again = f"hlctl snapshot: good again: 2026-01-07 20:44 UTC, after {gap}\n"
    for minute, err in ((M, ""), (after(M), ""), (M + timedelta(days=1), again)):
        at(minute=minute)
        ran = writer("snapshot")
        assert (ran.code, ran.err) == (0, err)
        assert_whole(rows, exchange, minute)
    assert_nothing_false(rows, exchange)
    assert rows(
        "SELECT DISTINCT c.tableoid::regclass::text, pg_get_userbyid(relowner)::text FROM wallet_snapshots c"
        " JOIN pg_class p ON p.oid = c.tableoid ORDER BY 1"
    ) == [("wallet_snapshots_20260106", "hlctl"), ("wallet_snapshots_20260107", "hlctl")]
    assert rows("SELECT to_regclass('wallet_snapshots_20260109') IS NOT NULL") == [(True,)], "two days ahead"


def test_a_reader_sees_that_somebody_holds_the_minute_and_what_the_server_tells_of_him(
    under: Callable[[str], Hlctl], exchange: sim.Exchange
) -> None:
    """Of another user's session most is hidden from who has not pg_read_all_stats: unknown, and no error."""
    exchange.misbehave(None, sim.Fault(delay=0.5))
    process = under(WRITER).start("snapshot")
    while exchange.requests < 5:
        time.sleep(0.02)
    ran = under(READER)("status", "--verbose", "--json")
    screen = under(READER)("status", "--verbose")
    exchange.behave()
    assert process.wait(timeout=60) == 0
    (lock,) = ran.document["result"]["details"]["locks"]
    assert (lock["lock"], lock["minute"], lock["user"]) == ("minute", "2026-01-06T20:44:00Z", WRITER)
    assert lock["since"] is None
    assert f" locks minute 20:44 UTC: process {lock['pid']}, user {WRITER}, " in " ".join(screen.out.split())
    assert ", since unknown" in " ".join(screen.out.split())


@pytest.mark.parametrize("role", ["hlctl", WRITER, READER])
def test_the_writer_prunes_with_the_owners_function_and_a_reader_may_ask_what_would_go(
    under: Callable[[str], Hlctl], database: str, rows: Rows, role: str
) -> None:
    """It has no right to drop a table, to delete a cell or to write when a minute was pruned."""
    fill(database, *(M.date() - timedelta(days=days) for days in (9, 8, 0)))
    before = contents(rows)
    dry = under(role)("prune", "--keep", "3d", "--dry-run")
    assert (dry.code, dry.err, contents(rows)) == (0, "", before)
    ran = under(role)("prune", "--keep", "3d")
    if role == READER:
        assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1)
        assert ran.err.startswith(
            f"hlctl prune: role {READER} lacks EXECUTE on FUNCTION drop_day; run `hlctl init-db --wr"
        )
        assert contents(rows) == before
        return
    assert (ran.code, ran.err, ran.out.startswith("dropped 2 days older than 3 days: 180 cells, ")) == (0, "", True)
    assert rows("SELECT DISTINCT snapshot_ts::date FROM wallet_snapshots") == [(M.date(),)]
    assert rows("SELECT count(*) FROM ingest_runs WHERE pruned_at IS NOT NULL") == [(6,)]


@pytest.mark.parametrize("role", ["hlctl", WRITER, READER, STRANGER])
def test_a_reader_may_export_and_verify(under: Callable[[str], Hlctl], database: str, role: str) -> None:
    """Researchers do."""
    fill(database, *(M.date() - timedelta(days=days) for days in (2, 1, 0)))
    ran = under(role)("export", "--format", "csv")
    if role == STRANGER:
        assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1)
        assert "SELECT on wallet_snapshots" in ran.err
        assert ran.err.endswith(f"; run `hlctl init-db --reader {STRANGER}` as the owner of the tables\n")
        return
    assert (ran.code, ran.err, ran.out.count("90 cells")) == (0, "", 2)
    assert under(role)("export", "--verify").code == 0


def test_a_reader_who_may_not_see_all_of_a_day_exports_nothing(
    under: Callable[[str], Hlctl], private: PrivateServer, name: str, database: str
) -> None:
    """Row level security would take cells away without a word, and the night's prune the originals."""
    fill(database, *(M.date() - timedelta(days=days) for days in (2, 1, 0)))
    private.run("ALTER TABLE wallet_snapshots ENABLE ROW LEVEL SECURITY", database=name)
    private.run("CREATE POLICY p ON wallet_snapshots USING (asset <> 'BTC')", database=name)
    reader = under(READER)
    ran = reader("export", "--format", "csv")
    assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1)
    assert "; row level security would hide a part of the record: " in ran.err
    assert list((reader.home / "archive").iterdir()) == []
    assert under("hlctl")("export", "--format", "csv").code == 0, "who sees all of it exports it"


def test_a_writer_can_drop_neither_what_is_young_nor_the_newest_day(
    private: PrivateServer, name: str, database: str, rows: Rows
) -> None:
    """Whatever it asks the server for: the function has the owner's rights, and judges by itself."""
    fill(database, *(M.date() - timedelta(days=days) for days in (9, 8)))
    before = contents(rows)
    statements = [f"SELECT drop_day('2026-01-06'::date - {days})" for days in (-400, -1, 0, 1, 8)]
    statements += ["SELECT drop_day(NULL)", "SELECT drop_day('infinity')", "DROP TABLE wallet_snapshots_20251228"]
    statements += ["DELETE FROM wallet_snapshots", "TRUNCATE wallet_snapshots", "DELETE FROM snapshot_anomalies"]
    statements += [
        "UPDATE ingest_runs SET pruned_at = NULL",
        "ALTER TABLE wallet_snapshots DETACH PARTITION wallet_snapshots_20251228",
    ]
    for statement in statements:
        with (
            closing(psycopg.connect(private.url(name, WRITER), autocommit=True)) as conn,
            pytest.raises((psycopg.errors.InvalidParameterValue, psycopg.errors.InsufficientPrivilege)),
        ):
            conn.execute(statement.encode())
    assert contents(rows) == before


@pytest.mark.parametrize("command", ["snapshot", "status", "export"])
def test_row_level_security_is_refused_in_one_line(
    under: Callable[[str], Hlctl], private: PrivateServer, name: str, database: str, rows: Rows, command: str
) -> None:
    """What a policy hides would be missing from the record, and nobody would know."""
    fill(database, *(M.date() - timedelta(days=days) for days in (2, 1)))
    for table in ("wallet_universe_members", "ingest_runs"):
        private.run(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY", database=name)
        private.run(f"CREATE POLICY half ON {table} USING (true)", database=name)
    before = contents(rows)[:-1]
    ran = under(WRITER)(command)
    assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1)
    assert "row-level security policy" in ran.err
    assert "; row level security would hide a part of the record: ALTER ROLE ... BYPASSRLS, or take" in ran.err
    assert contents(rows)[:-1] == before, "but for a partition it had made"
    checks = {check["id"]: check for check in under(WRITER)("doctor", "--json").document["result"]["checks"]}
    assert checks["partitions_ahead"]["outcome"] == "problem"
    assert "BYPASSRLS" in checks["partitions_ahead"]["remedy"]
    private.run(f"ALTER ROLE {WRITER} BYPASSRLS")
    try:
        assert under(WRITER)(command).code == 0
    finally:
        private.run(f"ALTER ROLE {WRITER} NOBYPASSRLS")


def test_without_the_right_to_make_partitions_the_minute_is_recorded_all_the_same(
    under: Callable[[str], Hlctl],
    private: PrivateServer,
    name: str,
    exchange: sim.Exchange,
    rows: Rows,
    next_minute_is_good: Callable[[], None],
) -> None:
    """DEFAULT takes it: a warning, not a gap."""
    private.run(f"REVOKE EXECUTE ON FUNCTION ensure_partitions FROM {WRITER}", database=name)
    ran = under(WRITER)("snapshot")
    assert (ran.code, ran.err.count("\n")) == (0, 1)
    assert "partitions could not be made" in ran.err
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_a_right_only_the_refresh_needs_does_not_cost_a_minute(
    under: Callable[[str], Hlctl], private: PrivateServer, name: str, exchange: sim.Exchange, rows: Rows
) -> None:
    """Each command asks for what it needs."""
    private.run(f"REVOKE DELETE ON wallet_universe_current FROM {WRITER}", database=name)
    private.run(f"REVOKE INSERT (month_pnl, rank) ON wallet_universe_current FROM {WRITER}", database=name)
    ran = under(WRITER)("refresh-universe", "--json")
    error = ran.document["error"]
    assert (ran.code, error["code"], exchange.requests) == (5, "database", 0)
    assert error["message"] == (
        f"role {WRITER} lacks DELETE on wallet_universe_current, INSERT (rank, month_pnl) on wallet_universe_current"
    )
    assert under(WRITER)("snapshot").code == 0
    assert_whole(rows, exchange, M)


def test_roles_are_let_in_by_the_owner_only_and_only_if_they_exist(under: Callable[[str], Hlctl], rows: Rows) -> None:
    """One line each, and nothing is granted halfway."""
    before = contents(rows)
    for role in ("hlctl_wirter", "public", "\udcff"):
        ran = under("hlctl")("init-db", "--writer", WRITER, "--reader", role)
        assert (ran.code, ran.out, ran.err.count("\n")) == (6, "", 1), role
        assert ran.err.startswith("hlctl init-db: there is no role "), role
    for role in (WRITER, READER):
        ran = under(role)("init-db", "--writer", STRANGER)
        assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1), role
        assert ran.err.startswith("hlctl init-db: this role may not GRANT "), role
    assert contents(rows) == before


def test_a_dry_run_shows_the_grants_and_runs_none(
    under: Callable[[str], Hlctl], private: PrivateServer, name: str
) -> None:
    """A DBA may run them by hand instead, and nothing is left for hlctl to grant then."""
    private.run(f'DROP OWNED BY "{READER}"', database=name)
    dry = under("hlctl")("init-db", "--reader", READER, "--dry-run", "--json").document["result"]
    assert len(dry["grants"]) == 28, "nineteen tables and views, eight functions, and the mark of who was let in"
    assert under(READER)("status").code == 5
    for statement in dry["grants"]:
        private.run(statement, database=name)
    assert under("hlctl")("init-db", "--reader", READER, "--json").document["result"]["grants"] == []
    assert under(READER)("status").code == 0


def test_an_upgrade_reaches_the_roles_that_were_let_in_before(
    under: Callable[[str], Hlctl], private: PrivateServer, name: str, rows: Rows
) -> None:
    """A later version's tables are new to them; whoever upgrades need not know the roles' names."""
    private.run(f'REVOKE ALL ON ingest_health, v_positions FROM {WRITER}, "{READER}"', database=name)
    before = rows("SELECT has_table_privilege(%s, 'v_positions', 'SELECT')", READER)
    ran = under("hlctl")("init-db")
    assert (ran.code, ran.err, before) == (0, "", [(False,)])
    assert ran.out.count("\nGRANT SELECT ON v_positions TO ") == 2
    assert rows("SELECT has_table_privilege(%s, 'ingest_health', 'INSERT')", READER) == [(False,)]
    assert under(WRITER)("snapshot").code == 0
    assert under("hlctl")("init-db").out.count("\n") == 1, "and then there is nothing left to grant"


def test_a_reader_becomes_a_writer_and_no_writer_loses_anything(
    under: Callable[[str], Hlctl], private: PrivateServer, name: str
) -> None:
    """init-db gives; REVOKE takes."""
    assert under("hlctl")("init-db", "--writer", READER).code == 0
    assert under(READER)("snapshot").code == 0
    assert under("hlctl")("init-db", "--reader", WRITER, "--json").document["result"]["grants"] == []
    assert under(WRITER)("refresh-universe").code == 0
    private.run(f'DROP OWNED BY "{READER}"', database=name)
    assert under(READER)("status").code == 5


def test_the_commands_of_the_embedded_server_refuse_every_role(under: Callable[[str], Hlctl]) -> None:
    """The URL is somebody's own database."""
    for role in (WRITER, READER):
        for command in ("start", "stop", "status", "url"):
            assert under(role)("db", command).code == 6


@pytest.mark.parametrize(
    ("role", "outcome", "words"),
    [
        ("hlctl", "ok", "role hlctl may run every command"),
        (WRITER, "ok", f"role {WRITER} may run every command"),
        (READER, "problem", f"role {READER} lacks "),
        (STRANGER, "problem", f"role {STRANGER} lacks "),
    ],
)
def test_doctor_says_what_a_role_lacks(under: Callable[[str], Hlctl], role: str, outcome: str, words: str) -> None:
    """A reader can be a reader, and still cannot record; whatever a role may not ask is no bug."""
    ran = under(role)("doctor", "--json")
    checks = {check["id"]: check for check in ran.document["result"]["checks"]}
    assert checks["rights"]["outcome"] == outcome
    assert checks["rights"]["finding"].startswith(words)
    if outcome == "problem":
        assert checks["rights"]["remedy"] == f"run `hlctl init-db --writer {role}` as the owner of the tables"
    asked = {checks[name]["outcome"] for name in ("schema", "universe", "recording", "partitions_ahead")}
    assert ("skipped" in asked) is (role == STRANGER)


def test_a_run_needs_one_connection_and_waits_for_it_once_it_has_answers(
    under: Callable[[str], Hlctl], private: PrivateServer, name: str, exchange: sim.Exchange, rows: Rows, at: At
) -> None:
    """The role may have no second one (53300): told at the start; later the run knocks until it is let in."""
    sessions = f"FROM pg_stat_activity WHERE usename = '{WRITER}'"
    none_left = "hlctl snapshot: cannot connect to the database: the server has no connection left\n"
    private.run(f"ALTER ROLE {WRITER} CONNECTION LIMIT 1")
    try:
        with closing(psycopg.connect(private.url(name, WRITER))):
            ran = under(WRITER)("snapshot")
            assert (ran.code, ran.out, ran.err, exchange.requests) == (5, "", none_left, 0)
        until(lambda: not rows(f"SELECT {sessions}"))
        end = start_slowly(under(WRITER), exchange, 50)
        rows(f"SELECT pg_terminate_backend(pid, 5000) {sessions}")
        with closing(psycopg.connect(private.url(name, WRITER))):
            time.sleep(4)
        ran = end()
        assert (ran.code, ran.err) == (0, "")
        assert ran.seconds > 4
        assert rows("SELECT attempts, requests_sent FROM ingest_runs") == [(1, 200)]
        assert_whole(rows, exchange, M)
        exchange.behave()
        at(minute=after(M))
        assert under(WRITER)("snapshot").code == 0
        assert_whole(rows, exchange, after(M))
    finally:
        private.run(f"ALTER ROLE {WRITER} CONNECTION LIMIT -1")
