"""Every command on a database that sql/engines has converted; stand-ins do what the engine itself would."""

import os
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from hlctl import sim
from tests.e2e.conftest import Hlctl, M
from tests.e2e.oracle import Rows, assert_whole
from tests.e2e.record import fill
from tests.e2e.servers import folder_of_psql

ROOT = Path(__file__).parents[2]
TODAY = M.date()


@pytest.fixture(params=["citus", "timescaledb"])
def engine(request: pytest.FixtureRequest, database: str) -> str:
    """Return the engine that keeps the cells of the test's database, in which two whole days are recorded."""
    fill(database, TODAY - timedelta(days=9), TODAY - timedelta(days=1))
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        try:
            conn.execute((ROOT / f"tests/db/{request.param}_stand_in.sql").read_bytes())
        except psycopg.errors.InsufficientPrivilege:
            pytest.skip("the role of TEST_DATABASE_URL may not make functions in pg_catalog")
    file = ROOT / f"sql/engines/{request.param}.sql"
    psql = [str(folder_of_psql() / "psql"), "-X", "-d", database, "-f", str(file)]
    ran = subprocess.run(psql, env=os.environ, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stderr == ""
    return str(request.param)


def test_every_command_works_where_an_engine_keeps_the_cells(
    engine: str, with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, at: Callable[..., None], tmp_path: Path
) -> None:
    """A minute with a hole, the run that fills it, the audit, an archive and a prune: nothing asks for a partition."""
    for (address,) in rows("SELECT address FROM v_universe WHERE rank <= 5"):
        exchange.misbehave(address, sim.Fault(status=404))
    assert with_universe("snapshot").code == 0
    exchange.behave()
    assert with_universe("snapshot").code == 0
    filled = "SELECT count(position_szi) FROM wallet_snapshots WHERE snapshot_ts = %s AND attempt = 2"
    assert rows(filled, M) == [(15,)]
    assert_whole(rows, exchange, M)
    ran = with_universe("doctor", "--json")
    checks = {check["id"]: check for check in ran.document["result"]["checks"]}
    assert checks["engine"]["outcome"] == checks["partitions_ahead"]["outcome"] == "ok"
    assert checks["engine"]["finding"].startswith({"citus": "Citus 13", "timescaledb": "TimescaleDB 2"}[engine])
    at(120)
    for command in (
        ("verify",),
        ("status", "--verbose", "--json"),
        ("init-db",),
        ("export", "--dir", str(tmp_path / "archive"), "--format", "csv"),
        ("export", "--dir", str(tmp_path / "archive"), "--verify"),
        ("prune", "--keep", "3d"),
        ("verify",),
    ):
        ran = with_universe(*command)
        assert (ran.code, ran.err) == (0, ""), (command, ran.out)
    days = "SELECT DISTINCT snapshot_ts::date FROM wallet_snapshots ORDER BY 1"
    assert rows(days) == [(TODAY - timedelta(days=1),), (TODAY,)]
