"""Who may do what without having been let in: default privileges, other people's functions, row level security."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from hlctl import access, days, db, migrate, overview, store
from hlctl.access import Access

OURS = """
    SELECT p.proname
      FROM pg_proc p
     WHERE p.pronamespace = 'public'::regnamespace AND has_function_privilege(%s, p.oid, 'EXECUTE')
     ORDER BY 1
"""
COLUMNS = """
    SELECT count(*)
      FROM pg_attribute a
     CROSS JOIN aclexplode(a.attacl) AS e
     WHERE e.grantee = %s::regrole
"""


@pytest.fixture
def roles(server: str) -> Iterator[tuple[str, str, str]]:
    """Return the names of an owner, who is no superuser, and of two others."""
    names = tuple(f"hlctl_test_{uuid.uuid4().hex[:12]}" for _ in range(3))
    with closing(psycopg.connect(server, autocommit=True)) as admin:
        try:
            for name in names:
                admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            pytest.skip("the role of TEST_DATABASE_URL may not create roles")
        yield names[0], names[1], names[2]
        for name in names:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def owned(server: str, create_database: Callable[[], str], roles: tuple[str, str, str]) -> Iterator[db.Connection]:
    """Return the owner's connection to an empty database."""
    name = create_database()
    with db.connect(make_conninfo(server, dbname=name)) as conn:
        me = conn.info.user
        conn.execute(f'GRANT {roles[0]} TO "{me}"; ALTER DATABASE {name} OWNER TO {roles[0]}'.encode())
        conn.execute(f"SET ROLE {roles[0]}".encode())
        yield conn
        conn.execute("RESET ROLE")
        conn.execute(f'REASSIGN OWNED BY {roles[0]} TO "{me}"'.encode())
        for role in roles:
            conn.execute(f"DROP OWNED BY {role}".encode())


def executable(conn: db.Connection, role: str) -> list[str]:
    """Return the functions that a role may run."""
    return [name for (name,) in conn.execute(OURS, [role])]


def init_db(conn: db.Connection, **named: Access) -> list[str]:
    """Do what `init-db` does."""
    migrate.migrate(conn)
    with db.transaction(conn):
        return access.grant(conn, {**access.holders(conn), **named})


@pytest.mark.parametrize("scope", ["IN SCHEMA public ", ""])
def test_default_privileges_let_nobody_in(owned: db.Connection, roles: tuple[str, str, str], scope: str) -> None:
    """Some hosts give named roles whatever is made: hlctl took that for a writer, who may drop days."""
    owner, anon, _ = roles
    owned.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} {scope}GRANT ALL ON FUNCTIONS TO {anon}".encode())
    owned.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} {scope}GRANT ALL ON TABLES TO {anon}".encode())
    assert init_db(owned) == []
    assert access.holders(owned) == {}
    assert executable(owned, anon) == []
    assert init_db(owned) == [], "and not later either"
    assert init_db(owned, **{anon: Access.READER}) != [], "who is named is let in, whatever it may do already"
    assert access.holders(owned) == {anon: Access.READER}


def test_who_was_let_in_is_told_by_what_only_hlctl_grants(owned: db.Connection, roles: tuple[str, str, str]) -> None:
    """Every right of another origin, a column of the record among them, makes nobody a reader or a writer."""
    _, writer, other = roles
    init_db(owned, **{writer: Access.WRITER})
    owned.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {other}".encode())
    owned.execute(f"GRANT ALL ON ALL FUNCTIONS IN SCHEMA public TO {other}".encode())
    owned.execute(f"GRANT INSERT (address) ON wallets TO {other}".encode())
    assert access.holders(owned) == {writer: Access.WRITER}
    init_db(owned, **{other: Access.WRITER})
    assert access.holders(owned) == {writer: Access.WRITER, other: Access.WRITER}


def test_roles_that_earlier_versions_let_in_are_known_after_the_upgrade(
    owned: db.Connection, roles: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were told by the functions they may run; nobody should have to name them again."""
    _, writer, reader = roles
    all_of_them = migrate.packaged()
    monkeypatch.setattr(migrate, "packaged", lambda: all_of_them[:14])
    migrate.migrate(owned)
    for role, kind in ((writer, Access.WRITER), (reader, Access.READER)):
        for right in access._lacking(owned, role, kind):
            if right.columns is None or right.object != "schema_migrations":
                owned.execute(right.statement(owned).encode())
    monkeypatch.setattr(migrate, "packaged", lambda: all_of_them)
    assert init_db(owned) == []
    assert access.holders(owned) == {writer: Access.WRITER, reader: Access.READER}
    assert {"drop_day", "ensure_partitions"} <= set(executable(owned, writer))
    assert {"hlctl_clock", "stray_cells"} <= set(executable(owned, reader))
    assert "drop_day" not in executable(owned, reader)


def test_the_upgrade_takes_from_a_role_what_default_privileges_made_hlctl_give_it(
    owned: db.Connection, roles: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier init-db had made it a writer; who has an entry on every function was let in by nobody."""
    owner, anon, _ = roles
    owned.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT EXECUTE ON FUNCTIONS TO {anon}".encode())
    all_of_them = migrate.packaged()
    monkeypatch.setattr(migrate, "packaged", lambda: all_of_them[:14])
    migrate.migrate(owned)
    for right in access._lacking(owned, anon, Access.WRITER):
        if right.columns is None or right.object != "schema_migrations":
            owned.execute(right.statement(owned).encode())
    owned.execute("CREATE FUNCTION of_a_dba() RETURNS int LANGUAGE sql RETURN 1")
    monkeypatch.setattr(migrate, "packaged", lambda: all_of_them)
    assert init_db(owned) == []
    assert executable(owned, anon) == ["of_a_dba"], "what is not hlctl's is left alone"
    assert owned.execute(COLUMNS, [anon]).fetchone() == (0,)
    may = "SELECT has_table_privilege(%s, 'wallet_universe_current', 'DELETE')"
    assert owned.execute(may, [anon]).fetchone() == (False,)


def test_the_owner_of_the_tables_needs_its_own_right_to_create_before_everybody_loses_it(
    owned: db.Connection, roles: tuple[str, str, str]
) -> None:
    """Where the schema is a superuser's, as in a database that began with PostgreSQL 14, it may only as PUBLIC."""
    owner, _, _ = roles
    init_db(owned)
    owned.execute("RESET ROLE")
    if owned.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() != (True,):
        pytest.skip("the role of TEST_DATABASE_URL is no superuser")
    owned.execute("ALTER SCHEMA public OWNER TO CURRENT_USER")
    owned.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")

    def revoke() -> None:
        with owned.transaction():
            owned.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            owned.execute(f"SET LOCAL ROLE {owner}".encode())
            owned.execute("SELECT ensure_partitions(31)")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        revoke()
    owned.execute(f"GRANT CREATE ON SCHEMA public TO {owner}".encode())
    revoke()
    assert access.creators(owned) == []


def test_a_function_that_somebody_else_made_is_not_taken_for_ours(
    owned: db.Connection, roles: tuple[str, str, str]
) -> None:
    """Where PUBLIC may create, an overload for a small number would be the better match, and run as the owner."""
    owner, stranger, _ = roles
    init_db(owned)
    assert access.creators(owned) == []
    owned.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    owned.execute(f"GRANT CREATE ON SCHEMA public TO {stranger}".encode())
    assert access.creators(owned) == ["PUBLIC", stranger]
    owned.execute(f"SET ROLE {stranger}".encode())
    trap = "LANGUAGE plpgsql AS 'BEGIN RAISE ''run as %'', current_user; END'"
    for signature, result in (
        ("ensure_partitions(days smallint)", "int"),
        ("make_interval(days smallint)", "interval"),
        ("pg_advisory_xact_lock(int, smallint)", "void"),
        ("pg_try_advisory_xact_lock(int, smallint)", "boolean"),
        ("date_bin(text, timestamptz, text)", "timestamptz"),
        ("stray_cells(text, text)", "int"),
        ("set_config(text, text, bool)", "text"),
    ):
        owned.execute(f"CREATE FUNCTION public.{signature} RETURNS {result} {trap}".encode())
    owned.execute(f"SET ROLE {owner}".encode())
    with pytest.raises(psycopg.errors.RaiseException, match=owner), db.transaction(owned):
        owned.execute("SELECT ensure_partitions(%s)", [2])
    with db.transaction(owned):
        store.ensure_partitions(owned, days=2)
        store.take_minute(owned, lead=timedelta(0))
        store.take_refresh(owned)
        store.set_idle_timeout(owned, "5s")
        days.list_prunable(owned, keep=1)
        overview.measure_storage(owned)
        overview.list_last_hour(owned)
    assert init_db(owned) == []


def test_a_policy_that_hides_rows_is_an_error_and_no_shorter_record(
    owned: db.Connection, roles: tuple[str, str, str]
) -> None:
    """A list of which half is hidden would be recorded as all of it."""
    _, reader, _ = roles
    init_db(owned, **{reader: Access.READER})
    owned.execute("ALTER TABLE wallets ENABLE ROW LEVEL SECURITY")
    with db.transaction(owned):
        owned.execute(f"SET LOCAL ROLE {reader}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught, owned.transaction():
            owned.execute("SELECT count(*) FROM wallets")
    assert "BYPASSRLS" in db.advice(caught.value)
    with db.transaction(owned):
        assert owned.execute("SELECT count(*) FROM wallets").fetchone() == (0,), "the owner's policies are for others"
