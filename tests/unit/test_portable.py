"""Every statement stays within what a distributed engine takes, and the lint that says so can fail."""

import re
from pathlib import Path

import pytest

from tests.portable import faults

SQL = Path(__file__).parents[2] / "sql"
QUERIES = sorted((SQL / "queries").glob("*.sql"))
BODIES = [
    body
    for file in sorted((SQL / "migrations").glob("*.sql"))
    for body in re.findall(r"^BEGIN ATOMIC\n(.*?)\nEND;", file.read_text(), re.DOTALL | re.MULTILINE)
]
KNOWN = "SELECT DISTINCT wallet_id FROM wallet_snapshots WHERE snapshot_ts = %(minute)s"
MEMBERS = "SELECT m.rank FROM members m WHERE NOT EXISTS (SELECT FROM known k WHERE k.wallet_id = m.wallet_id)"

BAD = {
    "SELECT * FROM wallet_snapshots c JOIN wallets w USING (wallet_id)": "joins cells with wallets",
    "SELECT * FROM wallets w, wallet_snapshots c WHERE w.wallet_id = c.wallet_id": "joins cells with wallets",
    "SELECT * FROM ingest_runs r LEFT JOIN (SELECT snapshot_ts FROM wallet_snapshots) AS c USING (snapshot_ts)":
        "joins cells with ingest_runs",
    "WITH known AS (<known>) SELECT * FROM wallets w JOIN known USING (wallet_id)": "joins cells with wallets",
    "WITH known AS (<known>), few AS (SELECT * FROM known) SELECT * FROM wallets w JOIN few USING (wallet_id)":
        "joins cells with wallets",
    "WITH known AS MATERIALIZED (<known>) SELECT * FROM wallet_snapshots c JOIN known k USING (wallet_id)":
        "joins cells with known",
    "SELECT 1 FROM wallets UNION ALL SELECT 1 FROM wallet_snapshots c JOIN ingest_runs r USING (snapshot_ts)":
        "joins cells with ingest_runs",
    "WITH known AS (<known>) <members>": "correlates cells",
    "SELECT r.run_id, (SELECT count(*) FROM wallet_snapshots c WHERE c.snapshot_ts = r.snapshot_ts) FROM ingest_runs r":
        "correlates cells",
    "SELECT * FROM wallet_snapshots c WHERE EXISTS (SELECT FROM wallets w WHERE w.wallet_id = c.wallet_id)":
        "correlates cells",
    "INSERT INTO ingest_runs (run_id) SELECT DISTINCT ingest_run_id FROM wallet_snapshots":
        "reads wallet_snapshots and writes ingest_runs",
    "INSERT INTO snapshot_anomalies SELECT * FROM odd_cells(%(a)s, %(b)s)": "reads odd_cells and writes",
    "WITH gone AS (DELETE FROM wallet_snapshots RETURNING 1) UPDATE ingest_runs SET pruned_at = %(at)s":
        "reads wallet_snapshots and writes ingest_runs",
    "UPDATE wallet_snapshots SET is_dirty = true WHERE snapshot_ts < hlctl_clock()": "calls hlctl_clock",
    "INSERT INTO wallet_snapshots SELECT 1 ON CONFLICT (snapshot_ts) DO UPDATE SET observed_at = now()": "calls now",
    "INSERT INTO wallet_snapshots SELECT 1 ON CONFLICT ON CONSTRAINT wallet_snapshots_pkey DO NOTHING": "ON CONSTRAINT",
    "-- A comment.\nSELECT * FROM wallet_snapshots c JOIN wallets w USING (wallet_id)": "joins cells with wallets",
    "SELECT tableoid::regclass FROM wallet_snapshots": "tableoid",
    "SELECT * FROM wallet_snapshots_default": "a name of a partition",
    "SELECT count(*) FROM wallet_snapshots_20260106": "a name of a partition",
    "SELECT * FROM pg_inherits": "pg_inherits",
    "ALTER TABLE wallet_snapshots DETACH PARTITION x": "partition DDL",
    "DROP TABLE IF EXISTS x": "partition DDL",
    "SELECT * FROM v_positions WHERE address = %(address)s": "the view by address",
    "SELECT * FROM wallet_snapshots WHERE snapshot_ts = %(minute)s FOR UPDATE": "locks rows of cells",
    "SELECT * FROM wallet_snapshots FOR KEY SHARE": "locks rows of cells",
}  # fmt: skip
GOOD = (
    KNOWN,
    "WITH known AS MATERIALIZED (<known>) <members>",
    "WITH known AS (<known>), n AS (SELECT count(*) FROM known) SELECT * FROM known, n",
    "WITH known AS MATERIALIZED (<known>) SELECT 1 FROM known UNION ALL SELECT 2 FROM wallets",
    "SELECT * FROM wallet_snapshots -- as wallet_snapshots_default has it, FOR UPDATE",
    "SELECT 'wallet_snapshots_default', 1 FROM wallets",
    "SELECT * FROM wallet_snapshots WHERE snapshot_ts >= (SELECT min(r.snapshot_ts) FROM ingest_runs r)",
    "SELECT * FROM ingest_runs WHERE snapshot_ts = (SELECT max(c.snapshot_ts) FROM wallet_snapshots c)",
    "SELECT extract(epoch FROM snapshot_ts) FROM wallet_snapshots WHERE a IS DISTINCT FROM b",
    "UPDATE wallet_snapshots c SET is_dirty = true FROM unnest(%(a)s::int[]) AS v (n) WHERE c.wallet_id = v.n",
    "SELECT * FROM ingest_runs WHERE snapshot_ts < hlctl_clock() FOR UPDATE",
)


def found(statement: str) -> list[str]:
    return faults(statement.replace("<known>", KNOWN).replace("<members>", MEMBERS))


@pytest.mark.parametrize("file", QUERIES, ids=lambda file: file.stem)
def test_a_query_is_one_that_a_distributed_engine_takes(file: Path) -> None:
    """Whoever outgrows one server converts the cells, and not the program."""
    assert faults(file.read_text()) == []


@pytest.mark.parametrize("body", BODIES)
def test_so_is_the_body_of_a_function_that_reads_cells(body: str) -> None:
    """Citus runs the same statement, in PL/pgSQL."""
    assert faults(body) == []


@pytest.mark.parametrize(("statement", "words"), BAD.items())
def test_a_statement_that_an_engine_refuses_is_found(statement: str, words: str) -> None:
    """A lint that cannot fail holds nothing."""
    assert any(words in fault for fault in found(statement)), found(statement)


@pytest.mark.parametrize("name", ["check_keys", "check_dirty", "check_write_once", "list_cells", "list_missing"])
def test_a_query_of_ours_would_be_found_without_its_materialized(name: str) -> None:
    """The lint reads the files as they are, comments and all."""
    text = (SQL / "queries" / f"{name}.sql").read_text()
    assert "MATERIALIZED" in text
    assert faults(text.replace("MATERIALIZED", "")) != []


@pytest.mark.parametrize("body", BODIES)
def test_so_would_a_function(body: str) -> None:
    """Both reduce cells and then join them."""
    assert faults(body.replace("MATERIALIZED", "")) != []


@pytest.mark.parametrize("statement", GOOD)
def test_what_an_engine_takes_is_not_found_fault_with(statement: str) -> None:
    """Nor one that finds fault with everything."""
    assert found(statement) == []


def test_nobody_asks_how_many_cells_a_write_changed() -> None:
    """Citus tells the rows that were fed, not those that changed."""
    asking = [file.name for file in (SQL.parent / "hlctl").rglob("*.py") if "rowcount" in file.read_text()]
    assert asking == ["embedded.py"], "which looks whether a database is there"
