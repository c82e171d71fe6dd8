"""What docs/runbook.md says of dumps: a record that was restored elsewhere is the same record, and goes on."""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from hlctl import sim
from tests.e2e.conftest import ROOT, Hlctl, M, rows_of
from tests.e2e.oracle import Rows, universe
from tests.e2e.servers import IS_ROOT, program

MINUTES = 4
NOBODY = 65534
INTO_AN_OLDER = re.compile(r"<!-- run: restore into an older server -->\n```sh\n(.*?)```", re.DOTALL)
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
            pytest.skip("pg_restore 18 restores into no older server by itself")
    hlctl = make_hlctl(HLCTL_DATA_DIR=str(tmp_path / "own"))
    shown = hlctl("db", "start").out.splitlines()
    assert hlctl("db", "stop").code == 0
    (found,) = [line.removeprefix("tools").strip() for line in shown if line.startswith("tools")]
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


@pytest.fixture
def older() -> Iterator[Callable[[str], str]]:
    """Return the URL of a role on a server that is older than the embedded one, where `own` owns an empty database.

    It is the other PostgreSQL of the wheel. Root may not be it, and leaves it to nobody.
    """
    programs = program("postgres").parents[2] / "pginstall" / "bin"
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if IS_ROOT else {}
    with tempfile.TemporaryDirectory(prefix="hlctl-older-") as name:  # short: a socket's path has a limit
        folder = Path(name)
        if IS_ROOT:
            os.chown(folder, NOBODY, NOBODY)

        def run(name: str, *args: str) -> None:
            environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
            output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            argv = [programs / name, "-D", folder / "data", *args]
            subprocess.run(argv, cwd=folder, env=environment, check=True, timeout=60, **output, **user)  # type: ignore[call-overload]

        def url(role: str, database: str = "record") -> str:
            return f"postgresql://{role}@/{database}?host={folder}"

        try:
            run("initdb", "-A", "trust", "-U", "dba", "-E", "UTF8", "--no-sync")
        except PermissionError:
            pytest.skip(f"nobody may not run {programs}")
        run("pg_ctl", "-w", "-o", f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off", "start")
        try:
            with closing(psycopg.connect(url("dba", "postgres"), autocommit=True)) as conn:
                assert conn.info.server_version // 10_000 < 17
                for statement in ("CREATE ROLE own LOGIN", "CREATE ROLE rec LOGIN", "CREATE DATABASE record OWNER own"):
                    conn.execute(statement.encode())
            yield url
        finally:
            run("pg_ctl", "-w", "-m", "fast", "stop")


@pytest.fixture
def embedded(make_hlctl: Callable[..., Hlctl], exchange: sim.Exchange, tmp_path: Path) -> Iterator[Hlctl]:
    """Return a runner on an embedded server with a schema, on which `rec` may record."""
    hlctl = make_hlctl(
        HLCTL_DATA_DIR=str(tmp_path / "own"),
        HLCTL_API_URL=exchange.url,
        HLCTL_LEADERBOARD_URL=exchange.leaderboard_url,
    )
    assert hlctl("init-db").code == 0
    try:
        with closing(psycopg.connect(hlctl("db", "url").out.strip(), autocommit=True)) as conn:
            conn.execute("CREATE ROLE rec")
        assert hlctl("init-db", "--writer", "rec").code == 0
        yield hlctl
    finally:
        assert hlctl("db", "stop").code == 0


def test_a_record_moves_from_the_embedded_server_to_an_older_one_with_its_rights(
    embedded: Hlctl,
    exchange: sim.Exchange,
    older: Callable[[str], str],
    tmp_path: Path,
    set_clock_of: Callable[..., None],
) -> None:
    """As the page says. Its owner is no superuser, its writer goes on, and nobody else may drop a day."""

    def at(database: str, moment: datetime) -> None:
        set_clock_of(database, moment)
        offset = moment.timestamp() - time.time()
        exchange.clock = lambda: time.time() + offset

    source = embedded("db", "url").out.strip()
    at(source, M + timedelta(seconds=2))
    assert embedded("refresh-universe").code == 0
    assert embedded("snapshot").code == 0
    programs = program("pg_dump").parent
    dump = [str(programs / "pg_dump"), "--format=custom", f"--file={tmp_path / 'hlctl.dump'}", source]
    subprocess.run(dump, check=True, timeout=60)
    (block,) = INTO_AN_OLDER.findall((ROOT / "docs" / "runbook.md").read_text())
    environment = {"PATH": os.environ["PATH"], "programs": str(programs), "URL": older("own")}
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, env=environment, check=True, timeout=60)

    rows, there = rows_of(source), rows_of(older("own"))
    assert there(CELLS) == rows(CELLS)
    assert there(RUNS) == rows(RUNS)
    assert [(name, definer, public) for name, definer, _, public in there(FUNCTIONS)] == [
        (name, definer, public) for name, definer, _, public in rows(FUNCTIONS)
    ]
    assert {owner for _, _, owner, _ in there(FUNCTIONS)} == {"own"}

    writer = Hlctl({**embedded.settings, "HLCTL_DATABASE_URL": older("rec")}, embedded.home)
    later = M + timedelta(minutes=3)
    at(older("own"), later + timedelta(seconds=2))
    assert writer("snapshot").code == 0
    set_clock_of(older("own"), later + timedelta(minutes=2, seconds=5))
    ran = writer("verify", "--from", M.isoformat(), "--json")
    assert ran.code == 0
    assert [gap["minutes"] for gap in ran.document["result"]["gaps"]] == [2]


def test_a_part_of_the_schema_that_is_gone_is_named_and_comes_back(
    with_universe: Hlctl, rows: Rows, empty_database: str, programs: Path
) -> None:
    """A DROP ... CASCADE takes a view along, and every command would call that a bug of hlctl's."""
    assert with_universe("snapshot").code == 0
    url = with_universe.settings["HLCTL_DATABASE_URL"]
    functions, cells = rows(FUNCTIONS), rows(CELLS)
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        conn.execute("DROP VIEW v_positions, v_latest_health")
        conn.execute("DROP FUNCTION odd_cells, cell_fingerprint")
        conn.execute("ALTER TABLE ingest_runs DROP CONSTRAINT ingest_runs_pkey")
        conn.execute("DROP TABLE wallet_snapshots_default")
    ran = with_universe("status")
    assert ran.code == 70
    assert "`hlctl doctor` tells whether a part of the schema is gone" in ran.err
    gone = _schema(with_universe)
    assert gone[0] == "problem"
    assert "FUNCTION cell_fingerprint, FUNCTION odd_cells, v_latest_health and 3 more" in gone[1]
    fresh = Hlctl({**with_universe.settings, "HLCTL_DATABASE_URL": empty_database}, with_universe.home)
    assert fresh("init-db").code == 0

    def bring_over(*options: str) -> None:
        dump = subprocess.run(
            [programs / "pg_dump", *options, empty_database], check=True, capture_output=True, timeout=60
        )
        psql = (programs / "psql", "--quiet", "--no-psqlrc", "--output=/dev/null", url)
        subprocess.run(psql, input=dump.stdout, check=True, capture_output=True, timeout=60)

    bring_over("--schema-only", "--no-owner", "--exclude-table=wallet_snapshots_2*")
    assert with_universe("init-db").code == 0
    assert _schema(with_universe) == ("ok", "version 17")
    assert (rows(FUNCTIONS), rows(CELLS)) == (functions, cells)
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        conn.execute("DELETE FROM schema_migrations")
    assert "A part of the schema is gone" in with_universe("init-db").err
    bring_over("--data-only", "--table=schema_migrations")
    assert with_universe("status").code == 0


def test_a_day_that_was_detached_is_named_and_attached_again(
    with_universe: Hlctl, at: Callable[..., None], rows: Rows, set_clock_of: Callable[..., None]
) -> None:
    """Its name is taken, so no run makes it anew, and the default one keeps what comes; so it is with other bounds."""
    url = with_universe.settings["HLCTL_DATABASE_URL"]
    assert with_universe("snapshot").code == 0
    assert _doctor(with_universe, "partitions_ahead")[0] == "ok"
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        conn.execute("ALTER TABLE wallet_snapshots DETACH PARTITION wallet_snapshots_20260106")
    at(minute=M + timedelta(minutes=1))
    assert with_universe("snapshot").code == 0
    assert rows("SELECT count(*) FROM wallet_snapshots_default") == [(600,)]
    outcome, words = _doctor(with_universe, "partitions_ahead")
    assert (outcome, words.partition(" is ")[0]) == ("problem", "wallet_snapshots_20260106")
    page = (ROOT / "docs/runbook.md").read_text()
    (block,) = re.findall(r"```sql\n(BEGIN;\n.*?)```", page, re.DOTALL)
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        conn.execute(block.encode())
    assert _doctor(with_universe, "partitions_ahead")[0] == "ok"
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        conn.execute("SET timezone = 'America/New_York'")
        conn.execute("ALTER TABLE wallet_snapshots DETACH PARTITION wallet_snapshots_20260108")
        conn.execute(
            "ALTER TABLE wallet_snapshots ATTACH PARTITION wallet_snapshots_20260108"
            " FOR VALUES FROM ('2026-01-08') TO ('2026-01-09')"
        )
    outcome, words = _doctor(with_universe, "partitions_ahead")
    assert (outcome, words.partition(" is ")[0]) == ("problem", "wallet_snapshots_20260108")
    set_clock_of(url, M + timedelta(minutes=3, seconds=5))
    ran = with_universe("verify", "--from", M.isoformat())
    assert ran.code == 0, ran.out


def _schema(hlctl: Hlctl) -> tuple[str, str]:
    return _doctor(hlctl, "schema")


def _doctor(hlctl: Hlctl, name: str) -> tuple[str, str]:
    checks = json.loads(hlctl("doctor", "--json").out)["result"]["checks"]
    (check,) = [check for check in checks if check["id"] == name]
    return check["outcome"], check["finding"]
