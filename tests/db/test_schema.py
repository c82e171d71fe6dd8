"""The schema: what is there, what it refuses, and that every query file fits it."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from hlctl import audit, db
from hlctl.model import Asset, LeverageType, MissingReason

ELEVEN = {
    "wallet_universe_runs", "wallet_universe_members", "wallet_universe_current", "wallet_snapshots",
    "snapshot_anomalies", "ingest_runs", "ingest_health", "signals", "signal_contributors", "alerts", "alert_state",
}  # fmt: skip
VIEWS = {"v_positions", "v_universe", "v_universe_history", "v_latest_health", "v_latest_signals", "v_recent_alerts"}
M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
RUN = int(M.timestamp()) // 60
STAND_INS = {"count_shards": "citus_stand_in.sql", "count_chunks": "timescaledb_stand_in.sql"}
"""Queries that are asked only where an extension is, and what stands in for it."""
QUERIES = sorted((db.sql_root() / "queries").glob("*.sql"))


def relations(conn: db.Connection, kinds: str) -> set[str]:
    rows = conn.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = ANY (%s)"
        " AND NOT relispartition",
        [list(kinds)],
    )
    return {name for (name,) in rows}


def test_there_are_the_eleven_tables_and_the_two_beside_them(rolled_back: db.Connection) -> None:
    """The names are the contract with everybody who reads the record."""
    assert relations(rolled_back, "rp") == ELEVEN | {"wallets", "schema_migrations"}
    assert relations(rolled_back, "v") == VIEWS


def test_every_table_view_and_column_has_a_comment(rolled_back: db.Connection) -> None:
    """The comments are what a DBA reads first."""
    silent = rolled_back.execute("""
        SELECT c.relname, a.attname
          FROM pg_class c
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
           AND coalesce(trim(col_description(c.oid, a.attnum)), '') = ''
        UNION ALL
        SELECT c.relname, '(itself)'
          FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
           AND coalesce(trim(obj_description(c.oid)), '') = ''
    """).fetchall()
    assert silent == []


def test_no_column_is_a_float(rolled_back: db.Connection) -> None:
    """A float rounds money."""
    floats = rolled_back.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type IN ('real', 'double precision')"
    ).fetchall()
    assert floats == []


@pytest.mark.parametrize(
    ("name", "values"),
    [("asset", Asset), ("leverage_type", LeverageType), ("missing_reason", MissingReason)],
)
def test_the_enums_are_the_models(rolled_back: db.Connection, name: str, values: Any) -> None:
    """The assets and reasons are written down twice, so they are compared."""
    rows = rolled_back.execute(
        "SELECT enumlabel FROM pg_enum WHERE enumtypid = %s::regtype ORDER BY enumsortorder", [name]
    )
    assert [label for (label,) in rows] == [value.value for value in values]


def test_alert_state_has_its_seven_rows(rolled_back: db.Connection) -> None:
    """Later work updates them and inserts none."""
    rows = rolled_back.execute("SELECT asset, alert_type FROM alert_state").fetchall()
    assert set(rows) == {
        *((asset, kind) for asset in ("HYPE", "BTC", "ETH") for kind in ("regime_change", "exit_cluster")),
        ("SYSTEM", "system_stale"),
    }


UNPORTABLE = """
    WITH cells AS (SELECT 'wallet_snapshots'::regclass AS oid)
    SELECT 'foreign key ' || conname FROM pg_constraint, cells
     WHERE contype = 'f' AND cells.oid IN (conrelid, confrelid)
     UNION ALL
    SELECT 'trigger ' || tgname FROM pg_trigger, cells WHERE tgrelid = cells.oid AND NOT tgisinternal
     UNION ALL
    SELECT 'rule ' || rulename FROM pg_rewrite, cells WHERE ev_class = cells.oid
     UNION ALL
    SELECT 'policies' FROM pg_class c JOIN cells USING (oid) WHERE c.relrowsecurity
     UNION ALL
    SELECT 'identity ' || attname FROM pg_attribute, cells WHERE attrelid = cells.oid AND attidentity <> ''
     UNION ALL
    SELECT 'default ' || pg_get_expr(adbin, adrelid) FROM pg_attrdef, cells
     WHERE adrelid = cells.oid AND pg_get_expr(adbin, adrelid) LIKE '%nextval%'
     UNION ALL
    SELECT 'unique ' || indexrelid::regclass FROM pg_index, cells
     WHERE indrelid = cells.oid AND indisunique
       AND NOT array(SELECT attname::text FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey))
               @> '{snapshot_ts, wallet_id}'
     UNION ALL
    SELECT 'enum ' || t.typname FROM pg_type t, cells
     WHERE t.typtype = 'e' AND t.typnamespace = 'public'::regnamespace
       AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = cells.oid AND atttypid = t.oid)
     UNION ALL
    SELECT 'not a plain table ' || c.relname FROM pg_class c, cells
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('p', 'f', 'm') AND c.oid <> cells.oid
"""
"""What of the schema keeps a distributed engine from keeping the cells, or from keeping them alone."""


def test_nothing_ties_cells_to_other_tables(rolled_back: db.Connection) -> None:
    """No foreign key, trigger or identity, time and wallet in every unique key."""
    assert rolled_back.execute(UNPORTABLE.encode()).fetchall() == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("ALTER TABLE wallet_snapshots ADD FOREIGN KEY (wallet_id) REFERENCES wallets", "foreign key"),
        ("ALTER TABLE wallet_snapshots ADD COLUMN n int GENERATED ALWAYS AS IDENTITY", "identity"),
        ("CREATE SEQUENCE s; ALTER TABLE wallet_snapshots ADD COLUMN n int DEFAULT nextval('s')", "default"),
        ("CREATE UNIQUE INDEX ON wallet_snapshots (snapshot_ts, asset)", "unique"),
        ("ALTER TABLE wallet_snapshots ENABLE ROW LEVEL SECURITY", "policies"),
        ("CREATE RULE r AS ON DELETE TO wallet_snapshots DO INSTEAD NOTHING", "rule"),
        ("CREATE TYPE minute_status AS ENUM ('success')", "enum"),
        ("CREATE TABLE runs (n int) PARTITION BY RANGE (n)", "not a plain table"),
        ("""CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
            CREATE TRIGGER t BEFORE INSERT ON wallet_snapshots FOR EACH ROW EXECUTE FUNCTION f()""", "trigger"),
    ],
)  # fmt: skip
def test_a_tie_is_found(rolled_back: db.Connection, change: str, found: str) -> None:
    """A lint that cannot fail holds nothing."""
    rolled_back.execute(change.encode())
    assert any(row[0].startswith(found) for row in rolled_back.execute(UNPORTABLE.encode()))


# ---- query files


@pytest.mark.parametrize("file", QUERIES, ids=lambda file: file.stem)
def test_a_query_file_is_one_statement_that_the_schema_understands(rolled_back: db.Connection, file: Path) -> None:
    """A renamed column fails here, not at night."""
    text = file.read_text()
    assert text.startswith("-- "), "a query says what it does"
    statement = re.sub(r"%\(\w+\)s", "NULL", text)
    assert "%" not in statement, "psycopg takes a lone per cent sign for a parameter, in a comment too"
    if stand_in := STAND_INS.get(file.stem):
        try:
            rolled_back.execute((Path(__file__).parent / stand_in).read_bytes())
        except psycopg.errors.InsufficientPrivilege:
            pytest.skip("the role of TEST_DATABASE_URL may not make functions in pg_catalog")
    if "CREATE TABLE" in statement:
        rolled_back.execute(statement.encode())
    else:
        rolled_back.execute(b"PREPARE probe AS " + statement.encode())


def test_every_query_file_is_used_and_every_used_query_exists() -> None:
    """A query without a caller rots, a caller without a query fails at run time."""
    package = Path(db.__file__).parent
    code = "\n".join(file.read_text() for file in package.glob("*.py"))
    named = set(re.findall(r'(?:query\(|fetch_\w+\(\s*conn,\s*(?:\w+,\s*)?)"(\w+)"', code))
    named |= {f"check_{check.id}" for check in audit.CHECKS}
    assert named == {file.stem for file in QUERIES}


def test_no_statement_reads_cells_and_writes_another_table() -> None:
    """Such a statement is refused where the cells are distributed."""
    for file in QUERIES:
        text = re.sub(r"--.*", "", file.read_text())
        writes = re.findall(r"(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)", text)
        if "wallet_snapshots" in text and writes:
            assert set(writes) <= {"wallet_snapshots", "SET"}, file.stem


# ---- what cells refuse

CELL: dict[str, Any] = {
    "snapshot_ts": M, "observed_at": M, "wallet_id": 1, "asset": "BTC", "ingest_run_id": RUN, "attempt": 1,
    "position_szi": 1, "entry_px": 2, "liq_px": 3, "leverage": 4, "leverage_type": "cross", "margin_used": 5,
}  # fmt: skip
NULLED: dict[str, Any] = {
    **dict.fromkeys(
        ("observed_at", "position_szi", "entry_px", "liq_px", "leverage", "leverage_type", "margin_used"), None
    ),
    "missing_reason": "late",
}


def insert(conn: db.Connection, **overrides: Any) -> None:
    cell = {**CELL, **overrides}
    conn.execute(
        sql.SQL("INSERT INTO wallet_snapshots ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, cell)), sql.SQL(", ").join(map(sql.Placeholder, cell))
        ),
        cell,
    )


@pytest.mark.parametrize(
    "good",
    [
        {},
        NULLED,
        {"position_szi": 0, "entry_px": None, "liq_px": None, "leverage": None, "leverage_type": None,
         "margin_used": None},
        {"liq_px": None, "entry_px": None},
        {"position_szi": -1, "margin_used": -1},
        {"observed_at": M + timedelta(seconds=59.999999)},
        {"is_dirty": True, "dirty_reason": "x"},
    ],
)  # fmt: skip
def test_a_truthful_cell_is_taken(rolled_back: db.Connection, good: dict[str, Any]) -> None:
    """Held, missing, flat, without prices, short, at the minute's last moment."""
    insert(rolled_back, **good)


@pytest.mark.parametrize(
    "bad",
    [
        {"snapshot_ts": M + timedelta(seconds=1), "ingest_run_id": RUN},
        {"ingest_run_id": RUN + 1},
        {"observed_at": M - timedelta(microseconds=1)},
        {"observed_at": M + timedelta(seconds=60)},
        {"position_szi": None},
        {"missing_reason": "late"},
        {**NULLED, "missing_reason": None},
        {**NULLED, "observed_at": M},
        {**NULLED, "entry_px": 1},
        {"position_szi": 0},
        {"leverage": None},
        {"leverage_type": None},
        {"margin_used": None},
        {"position_szi": "NaN"},
        {"position_szi": "Infinity"},
        {"position_szi": "-Infinity"},
        {"position_szi": "1e15"},
        {"entry_px": "NaN"},
        {"entry_px": -1},
        {"liq_px": "Infinity"},
        {"liq_px": -1},
        {"leverage": 0},
        {"leverage": 1001},
        {"leverage": "NaN"},
        {"margin_used": "NaN"},
        {"is_dirty": True},
        {"dirty_reason": "x"},
        {"attempt": 0},
    ],
)
def test_an_untruthful_cell_is_refused(rolled_back: db.Connection, bad: dict[str, Any]) -> None:
    """The last wall, whatever a bug upstream lets through."""
    with pytest.raises(psycopg.errors.CheckViolation):
        insert(rolled_back, **bad)


@pytest.mark.parametrize("coin", ["SOL", "btc", "xyz:BTC"])
def test_an_asset_that_is_not_recorded_is_refused(rolled_back: db.Connection, coin: str) -> None:
    """The assets are fixed."""
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        insert(rolled_back, asset=coin)


@pytest.mark.parametrize("address", ["0x" + "A" * 40, "0x" + "a" * 39, "0X" + "a" * 40, " 0x" + "a" * 40, ""])
def test_an_address_in_another_form_is_refused(rolled_back: db.Connection, address: str) -> None:
    """One wallet has one spelling."""
    with pytest.raises(psycopg.errors.CheckViolation):
        rolled_back.execute("INSERT INTO wallets (address) VALUES (%s)", [address])


# ---- partitions


def partition_of(conn: db.Connection, moment: datetime) -> str:
    row = conn.execute(
        "SELECT tableoid::regclass::text FROM wallet_snapshots WHERE snapshot_ts = %s", [moment]
    ).fetchone()
    return str(row[0]) if row else ""


def test_todays_and_the_next_seven_days_partitions_are_there_from_the_start(rolled_back: db.Connection) -> None:
    """The first minute must not fall into DEFAULT."""
    made = rolled_back.execute("SELECT ensure_partitions(7)").fetchone()
    assert made == (0,)
    days = rolled_back.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'wallet_snapshots'::regclass"
    ).fetchone()
    assert days == (9,), "eight days and DEFAULT"


def test_a_minute_without_a_partition_is_kept_and_moves_to_its_day_later(conn: db.Connection, set_clock: Any) -> None:
    """A late partition costs nothing."""
    insert(conn)
    assert partition_of(conn, M) == "wallet_snapshots_default"
    set_clock(M, running=False)
    assert conn.execute("SELECT ensure_partitions(0)").fetchone() == (1,)
    assert partition_of(conn, M) == "wallet_snapshots_20260106"


def test_strays_of_a_day_that_is_over_are_told_and_go_to_a_partition_of_their_own(
    conn: db.Connection, set_clock: Any
) -> None:
    """Whoever drops whole days would leave them in DEFAULT for ever."""
    insert(conn)
    strays = "SELECT wallet_id, asset::text FROM stray_cells(%s, %s)"
    assert conn.execute(strays, [M, M + timedelta(minutes=1)]).fetchall() == [(1, "BTC")]
    assert conn.execute(strays, [M - timedelta(days=1), M]).fetchall() == []
    set_clock(M + timedelta(days=3), running=False)
    assert conn.execute("SELECT ensure_partitions(0)").fetchone() == (2,)
    assert partition_of(conn, M) == "wallet_snapshots_20260106"
    assert conn.execute(strays, [M, M + timedelta(minutes=1)]).fetchall() == []
    assert conn.execute("SELECT ensure_partitions(0)").fetchone() == (0,)


def test_days_of_strays_that_take_long_to_move_are_moved_a_few_a_call_behind_the_days_to_come(
    conn: db.Connection, set_clock: Any
) -> None:
    """Of several at once each call would be ended for its length, and none ever moved."""
    for minute in (M + timedelta(days=day) for day in range(3)):
        insert(conn, snapshot_ts=minute, observed_at=minute, ingest_run_id=minute.timestamp() // 60)
    conn.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(3) FROM moved; RETURN NULL; END'"
    )
    conn.execute(
        "CREATE TRIGGER dawdle AFTER DELETE ON wallet_snapshots_default REFERENCING OLD TABLE AS moved"
        " FOR EACH STATEMENT EXECUTE FUNCTION dawdle()"
    )
    set_clock(M + timedelta(days=9), running=False)
    assert conn.execute("SELECT ensure_partitions(1)").fetchone() == (4,)
    assert partition_of(conn, M + timedelta(days=1)) == "wallet_snapshots_20260107"
    assert conn.execute("SELECT count(*) FROM wallet_snapshots_default").fetchone() == (1,)
    assert conn.execute("SELECT ensure_partitions(1)").fetchone() == (1,)
    assert conn.execute("SELECT count(*) FROM wallet_snapshots_default").fetchone() == (0,)


def test_cells_of_a_day_far_ahead_wait_in_default_until_it_is_near(conn: db.Connection, set_clock: Any) -> None:
    """With many of them a call ran out of locks, and so did each after it; they are a writer's to insert."""
    set_clock(M, running=False)
    conn.execute(
        "INSERT INTO wallet_snapshots (snapshot_ts, wallet_id, asset, ingest_run_id, missing_reason, attempt)"
        " SELECT at, 1, 'BTC', extract(epoch FROM at) / 60, 'late', 1"
        "   FROM generate_series(timestamptz '2026-01-09 12:00+0', '2046-01-01', '1 day') AS at"
    )
    strays = conn.execute("SELECT count(*) FROM wallet_snapshots_default").fetchone()
    assert strays is not None
    assert conn.execute("SELECT ensure_partitions(2)").fetchone() == (3,), "none of these days has a stray"
    assert conn.execute("SELECT count(*) FROM wallet_snapshots_default").fetchone() == strays
    set_clock(M + timedelta(days=1), running=False)
    assert conn.execute("SELECT ensure_partitions(2)").fetchone() == (1,)
    assert partition_of(conn, datetime(2026, 1, 9, 12, tzinfo=UTC)) == "wallet_snapshots_20260109"


def test_of_many_days_of_the_past_a_call_makes_some_and_the_days_to_come(conn: db.Connection, set_clock: Any) -> None:
    """Each holds locks to the end, of which a server has only so many."""
    conn.execute(
        "INSERT INTO wallet_snapshots (snapshot_ts, wallet_id, asset, ingest_run_id, missing_reason, attempt)"
        " SELECT at, 1, 'BTC', extract(epoch FROM at) / 60, 'late', 1"
        "   FROM generate_series(timestamptz '2025-09-01 12:00+0', '2025-12-01', '1 day') AS at"
    )
    set_clock(M, running=False)
    made = conn.execute("SELECT ensure_partitions(1)").fetchone()
    assert made is not None
    assert 2 < made[0] <= 64
    assert conn.execute("SELECT to_regclass('wallet_snapshots_20260107') IS NOT NULL").fetchone() == (True,)


def test_the_day_is_utc_whatever_the_session_says(conn: db.Connection, set_clock: Any) -> None:
    """A server in Tokyo keeps the same days."""
    conn.execute("SET timezone = 'Asia/Tokyo'")
    set_clock(datetime(2026, 1, 6, 23, 59, tzinfo=UTC), running=False)
    conn.execute("SELECT ensure_partitions(0)")
    insert(conn)
    assert partition_of(conn, M) == "wallet_snapshots_20260106"
