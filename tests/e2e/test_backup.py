"""What docs/runbook.md says of dumps: a record that was restored elsewhere is the same record, and goes on."""

import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl, M, rows_of
from tests.e2e.oracle import Rows, universe

MINUTES = 4
FUNCTIONS = """
    SELECT oid::regprocedure::text, prosecdef, pg_get_userbyid(proowner),
           has_function_privilege('public', oid, 'EXECUTE')
      FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1
"""
CELLS = "SELECT * FROM wallet_snapshots ORDER BY snapshot_ts, wallet_id, asset"
RUNS = "SELECT * FROM ingest_runs ORDER BY snapshot_ts"


@pytest.fixture
def programs(server: str, make_hlctl: Callable[..., Hlctl], tmp_path: Path) -> Path:
    """Return the directory of pg_dump and pg_restore, found as the page finds it."""
    with closing(psycopg.connect(server)) as conn:
        if conn.info.server_version // 10_000 != 18:
            pytest.skip("pg_restore 18 restores into no older server")
    hlctl = make_hlctl(HLCTL_DATA_DIR=str(tmp_path / "own"))
    shown = hlctl("db", "start").out.splitlines()
    assert hlctl("db", "stop").code == 0
    (found,) = [line.removeprefix("programs").strip() for line in shown if line.startswith("programs")]
    return Path(found)


def test_a_restored_record_is_the_record_and_goes_on(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    at: Callable[..., None],
    rows: Rows,
    empty_database: str,
    programs: Path,
    tmp_path: Path,
    set_clock_of: Callable[..., None],
) -> None:
    """Rows and rights alike; the minutes since the dump are a gap, and nothing else is found."""
    for number in range(MINUTES):
        exchange.behave()
        if number == 1:  # one of them has something missing
            exchange.misbehave(universe(rows)[0], sim.Fault(status=500))
        at(minute=M + timedelta(minutes=number))
        assert with_universe("snapshot").code in {0, 3}
    exchange.behave()
    dump = tmp_path / "hlctl.dump"
    database = with_universe.settings["HLCTL_DATABASE_URL"]
    subprocess.run([programs / "pg_dump", "--format=custom", f"--file={dump}", database], check=True, timeout=60)
    subprocess.run(
        [
            programs / "pg_restore",
            "--exit-on-error",
            "--single-transaction",
            "--no-owner",
            f"--dbname={empty_database}",
            dump,
        ],
        check=True,
        timeout=60,
    )
    restored_rows = rows_of(empty_database)
    for question in (CELLS, RUNS, FUNCTIONS):
        assert restored_rows(question) == rows(question)

    restored = Hlctl({**with_universe.settings, "HLCTL_DATABASE_URL": empty_database}, with_universe.home)
    later = M + timedelta(minutes=MINUTES + 3)
    set_clock_of(empty_database, later + timedelta(seconds=2))
    at(minute=later)  # the exchange's clock
    assert restored("init-db").out.startswith("the schema is up to date")
    assert restored("snapshot").code == 0
    set_clock_of(empty_database, later + timedelta(minutes=2, seconds=5))
    ran = restored("verify", "--from", M.isoformat(), "--json")
    assert ran.code == 0
    result = ran.document["result"]
    assert (result["gaps"][0]["minutes"], len(result["gaps"])) == (3, 1)
    assert all(not check["violations"] for check in result["checks"])
