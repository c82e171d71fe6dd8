"""`export`: past days as files, exact to the last digit, and proof that they are what was recorded."""

import csv
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hlctl import sim
from tests.conftest import clean_environment
from tests.e2e.conftest import Hlctl, M, Ran, on_a_terminal
from tests.e2e.oracle import Rows, universe
from tests.e2e.proxy import proxied
from tests.e2e.record import fill
from tests.e2e.servers import folder_of_psql
from tests.e2e.test_oddities import steady

PAGE = (Path(__file__).parents[2] / "docs" / "archive.md").read_text()
TODAY = M.date()
YESTERDAY, BEFORE, FIRST = (TODAY - timedelta(days=days) for days in (1, 2, 4))
NAMES = {"parquet": "cells.parquet", "csv": "cells.csv.gz"}
NUMBERS = ("position_szi", "entry_px", "liq_px", "leverage", "margin_used")
COLUMNS = (
    "snapshot_ts", "address", "wallet_id", "asset", "position_szi", "entry_px", "liq_px", "leverage", "leverage_type",
    "margin_used", "missing_reason", "observed_at", "is_dirty", "dirty_reason", "attempt",
)  # fmt: skip


@pytest.fixture
def archive(with_universe: Hlctl) -> Path:
    """Return where the commands of a test export to by default."""
    return with_universe.home / "archive"


@pytest.fixture
def export(with_universe: Hlctl, database: str) -> Callable[..., Ran]:
    """Return a function that exports, of a record of three past days with a gap between them, and today."""
    fill(database, FIRST, BEFORE, YESTERDAY, TODAY)

    def run(*args: str, **settings: str) -> Ran:
        return with_universe("export", *args, **settings)

    return run


def formats() -> list[Any]:
    """Return the formats, without Parquet where pyarrow is not installed."""
    return [pytest.param("parquet", marks=NEEDS_PYARROW), "csv"]


def _is_installed(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True


NEEDS_PYARROW = pytest.mark.skipif(not _is_installed("pyarrow"), reason="pyarrow is not installed")
NEEDS_DUCKDB = pytest.mark.skipif(
    not (_is_installed("duckdb") and _is_installed("pyarrow")), reason="duckdb or pyarrow is not installed"
)


def stored(rows: Rows, day: date) -> list[tuple[Any, ...]]:
    """Return the day's cells as the database tells them, numbers digit for digit."""
    names = ", ".join(
        f"{name}::text" if name in {*NUMBERS, "asset", "leverage_type", "missing_reason"} else name for name in COLUMNS
    )
    return rows(
        f"SELECT {names} FROM wallet_snapshots JOIN wallets USING (wallet_id)"  # noqa: S608 - names from above
        " WHERE snapshot_ts::date = %s ORDER BY wallet_id, wallet_snapshots.asset, snapshot_ts",
        day,
    )


def printed(number: Decimal | None, zeros: int) -> str | None:
    """Return a number with so many zeros at its end."""
    if number is None:
        return None
    whole, _, decimals = format(number, "f").partition(".")
    decimals = decimals.rstrip("0") + "0" * zeros
    return f"{whole}.{decimals}" if decimals else whole


def in_file(file: Path) -> list[tuple[Any, ...]]:
    """Return the same of a file, by readers that share nothing with hlctl's."""
    if file.suffix == ".gz":
        with gzip.open(file, "rt", newline="") as text:
            return [_typed(line) for line in csv.DictReader(text)]
    import pyarrow.parquet as pq  # noqa: PLC0415 - may not be installed

    found = []
    for row in pq.read_table(file, partitioning=None).to_pylist():
        zeros = row.pop("trailing_zeros")
        for number, name in enumerate(NUMBERS):
            row[name] = printed(row[name], int(zeros[2 * number : 2 * number + 2]) if zeros else 0)
        found.append(tuple(row.values()))
    return found


def _typed(line: dict[str, str]) -> tuple[Any, ...]:
    row: dict[str, Any] = {name: line[name] or None for name in COLUMNS}
    for name in ("snapshot_ts", "observed_at"):
        row[name] = row[name] and M.fromisoformat(row[name])
    return tuple(
        {
            **row,
            "wallet_id": int(line["wallet_id"]),
            "attempt": int(line["attempt"]),
            "is_dirty": line["is_dirty"] == "true",
        }.values()
    )


def execute(database: str, statement: str, *params: Any) -> None:
    """Change the database behind hlctl's back."""
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        conn.execute("SET timezone = 'UTC'")
        conn.execute(statement.encode(), params or None)


def edit(database: str, change: str, day: date) -> None:
    """Change the short positions of a day."""
    execute(database, f"UPDATE wallet_snapshots SET {change} WHERE position_szi = -35 AND snapshot_ts::date = %s", day)  # noqa: S608 - a test's own words


def files(folder: Path) -> dict[str, bytes]:
    """Return every file with its content."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def manifest(archive: Path, day: date) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((archive / f"date={day}" / "_manifest.json").read_text())
    return found


# ---- what is written


@pytest.mark.parametrize("kind", formats())
def test_every_column_of_every_cell_comes_back_exactly(
    export: Callable[..., Ran], archive: Path, rows: Rows, kind: str
) -> None:
    """Digit for digit, noise and zeros at the end included; NULL is NULL."""
    ran = export("--day", str(BEFORE), "--format", kind)
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(rf"{BEFORE}  90 cells, [\d.]+ kB\nin {re.escape(str(archive))}\n", ran.out)
    folder = archive / f"date={BEFORE}"
    assert list(files(folder)) == ["_manifest.json", NAMES[kind]]
    assert in_file(folder / NAMES[kind]) == stored(rows, BEFORE)
    assert len({row[4] for row in stored(rows, BEFORE)}) > 8, "not all the same"


@pytest.mark.parametrize("kind", formats())
def test_a_manifest_says_what_is_there_and_is_linked_to_the_day_before(
    export: Callable[..., Ran], archive: Path, kind: str
) -> None:
    """A chain: whoever knows the newest link knows them all."""
    assert export("--format", kind).code == 0
    assert sorted(archive.iterdir()) == [archive / f"date={day}" for day in (FIRST, BEFORE, YESTERDAY)], (
        "all whole ones"
    )
    linked = None
    for day in (FIRST, BEFORE, YESTERDAY):
        found, folder = manifest(archive, day), archive / f"date={day}"
        content = (folder / NAMES[kind]).read_bytes()
        (file,) = found["files"]
        assert file == {
            "name": NAMES[kind],
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "rows": 90,
        }
        assert (found["schema_version"], found["day"], found["rows"], found["minutes"]) == (1, str(day), 90, 3)
        assert found["columns"] == [*COLUMNS, "trailing_zeros"]
        assert found["previous"] == linked
        digest = hashlib.sha256((folder / "_manifest.json").read_bytes()).hexdigest()
        linked = {"day": str(day), "sha256": digest}
    assert export("--format", kind).out == f"nothing to export: {archive} has every whole day of the record\n"


@pytest.mark.parametrize("kind", formats())
def test_the_same_day_makes_the_same_bytes_and_is_not_written_twice(
    export: Callable[..., Ran], archive: Path, tmp_path: Path, kind: str
) -> None:
    """So a manifest can be compared with a copy's."""
    assert export("--format", kind).code == 0
    before = files(archive)
    times = {file: file.stat().st_mtime_ns for file in archive.rglob("*.*")}
    again = export("--from", str(FIRST), "--to", str(YESTERDAY), "--format", kind, "--json")
    did = {day["day"]: day["did"] for day in again.document["result"]["days"]}
    assert (again.code, did) == (0, dict.fromkeys(map(str, (FIRST, BEFORE, YESTERDAY)), "unchanged"))
    assert {file: file.stat().st_mtime_ns for file in archive.rglob("*.*")} == times
    assert export("--format", kind, "--dir", str(tmp_path / "other")).code == 0
    assert export("--from", str(FIRST), "--to", str(YESTERDAY), "--format", kind, "--force").code == 0
    assert files(archive) == files(tmp_path / "other") == before


def test_a_day_that_is_not_over_or_no_day_is_refused_in_one_line(
    export: Callable[..., Ran], archive: Path, at: Callable[..., None]
) -> None:
    """What is exported never changes any more."""
    csv_only = ("--format", "csv")
    for args in (
        ("--day", str(TODAY)),
        ("--day", str(TODAY + timedelta(days=1))),
        ("--from", str(YESTERDAY), "--to", str(TODAY)),
        ("--day", "06.01.2026"),
        ("--day", "20260106"),
        ("--day", "2026-02-30"),
        ("--from", str(YESTERDAY)),
        ("--from", str(YESTERDAY), "--to", str(BEFORE)),
        ("--day", str(YESTERDAY), "--to", str(YESTERDAY)),
        ("--day", str(YESTERDAY), "--format", "xml"),
    ):
        ran = export(*csv_only, *args)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), args
    at(second=30, minute=M.replace(hour=0, minute=0))
    assert export("--day", str(YESTERDAY), *csv_only).code == 2, "its last minute can still change"
    assert not archive.exists()
    at(second=55, minute=M.replace(hour=0, minute=1))
    assert export("--day", str(YESTERDAY), *csv_only).code == 2, "the run of this minute may still mark its cells"
    assert not archive.exists()
    at(second=1, minute=M.replace(hour=0, minute=2))
    assert export("--day", str(YESTERDAY), *csv_only).code == 0


def test_a_day_is_not_over_by_a_clock_that_the_exchange_says_is_ahead(
    export: Callable[..., Ran], with_universe: Hlctl, exchange: sim.Exchange, archive: Path, at: Callable[..., None]
) -> None:
    """Half of it would be in the archive for good, and the other half gone with `prune`."""
    honest = exchange.clock
    at(minute=M + timedelta(days=1))
    exchange.clock = honest
    assert with_universe("snapshot").code == 4
    assert export("--day", str(TODAY), "--format", "csv").code == 2
    assert export("--format", "csv").code == 0
    assert sorted(path.name for path in archive.iterdir()) == [f"date={day}" for day in (FIRST, BEFORE, YESTERDAY)]


def test_a_day_of_which_more_was_recorded_than_the_archive_has_is_not_passed_over(
    export: Callable[..., Ran], archive: Path, database: str, at: Callable[..., None]
) -> None:
    """It was exported while a clock was ahead that nobody contradicted: `prune` after it would take the rest."""
    at(minute=M + timedelta(days=1))
    assert export("--format", "csv").code == 0
    before = files(archive)
    at()
    fill(database, TODAY, at=datetime(2026, 1, 6, 23, 55, tzinfo=UTC).time())
    at(minute=M + timedelta(days=1))
    ran = export("--format", "csv")
    assert (ran.code, ran.out.splitlines()[0]) == (
        1,
        f"{TODAY}  is there with other cells, and left as it is; --force replaces it",
    )
    assert files(archive) == before


def test_a_day_of_which_the_archive_has_more_is_passed_over(
    export: Callable[..., Ran], archive: Path, database: str
) -> None:
    """A database from an older dump: what the archive has is right, and nobody is to be led to replace it."""
    assert export("--format", "csv").code == 0
    for table in ("ingest_runs", "wallet_snapshots"):
        execute(database, f"DELETE FROM {table} WHERE snapshot_ts = %s", datetime(2026, 1, 5, 23, 52, tzinfo=UTC))  # noqa: S608 - names from above
    assert export("--format", "csv").out == f"nothing to export: {archive} has every whole day of the record\n"


def test_a_day_without_cells_is_named_and_leaves_nothing(export: Callable[..., Ran], archive: Path) -> None:
    """Nothing was recorded, or it was pruned."""
    day = str(FIRST + timedelta(days=1))
    ran = export("--day", day, "--format", "csv")
    assert (ran.code, ran.out.splitlines()[0]) == (1, f"{day}  has no cells in the database")
    assert list(archive.iterdir()) == []


@pytest.mark.parametrize("kind", formats())
def test_a_day_with_other_cells_is_not_replaced_unless_forced(
    export: Callable[..., Ran], archive: Path, database: str, rows: Rows, kind: str
) -> None:
    """An archive that follows an edited database proves nothing."""
    assert export("--format", kind).code == 0
    before = files(archive)
    edit(database, "margin_used = 3", YESTERDAY)
    args = ("--day", str(YESTERDAY), "--format", kind)
    ran = export(*args)
    assert (ran.code, ran.out.splitlines()[0]) == (
        1,
        f"{YESTERDAY}  is there with other cells, and left as it is; --force replaces it",
    )
    assert files(archive) == before
    assert export(*args, "--force").code == 0
    assert in_file(archive / f"date={YESTERDAY}" / NAMES[kind]) == stored(rows, YESTERDAY)
    assert export(*args).out.startswith(f"{YESTERDAY}  is there already, with the same cells\n")


def test_half_a_day_replaces_no_whole_one(export: Callable[..., Ran], archive: Path, database: str) -> None:
    """Not even by force: what was published is more than what is left."""
    assert export("--format", "csv").code == 0
    before = files(archive)
    execute(database, "DELETE FROM wallet_snapshots WHERE asset = 'BTC' AND snapshot_ts::date = %s", BEFORE)
    for args in ((), ("--force",)):
        ran = export("--day", str(BEFORE), "--format", "csv", "--json", *args)
        assert (ran.code, ran.document["result"]["days"]) == (
            1,
            [{"day": str(BEFORE), "did": "incomplete", "format": "csv", "rows": 60, "published": 90, "bytes": 0}],
        )
        assert files(archive) == before


def test_a_day_with_more_cells_than_were_published_or_partly_pruned_is_left_out_too(
    export: Callable[..., Ran], archive: Path, database: str
) -> None:
    """Neither is what was published, and `--verify` would say so of the file."""
    first, pruned = (datetime(day.year, day.month, day.day, 23, 50, tzinfo=UTC) for day in (BEFORE, YESTERDAY))
    execute(database, "UPDATE ingest_runs SET rows_written = 29 WHERE snapshot_ts = %s", first)
    execute(database, "UPDATE ingest_runs SET pruned_at = now() WHERE snapshot_ts = %s", pruned)
    execute(database, "DELETE FROM wallet_snapshots WHERE snapshot_ts = %s", pruned)
    ran = export("--from", str(FIRST), "--to", str(YESTERDAY), "--format", "csv", "--json")
    found = {day["day"]: (day["did"], day["rows"], day["published"]) for day in ran.document["result"]["days"]}
    assert (ran.code, found) == (1, {
        str(FIRST): ("exported", 90, 90),
        str(BEFORE): ("incomplete", 90, 89),
        str(YESTERDAY): ("incomplete", 60, 90),
    })  # fmt: skip
    assert [path.name for path in archive.iterdir()] == [f"date={FIRST}"]


@NEEDS_PYARROW
def test_a_day_that_is_there_in_the_other_format_has_the_same_cells_and_is_left_as_it_is(
    export: Callable[..., Ran], archive: Path, database: str
) -> None:
    """Nothing is wrong, with a day named or without; who wants the other format says so."""
    assert export("--format", "csv").code == 0
    before = files(archive)
    assert export().code == 0
    ran = export("--day", str(BEFORE))
    assert (ran.code, ran.out.splitlines()[0]) == (0, f"{BEFORE}  is there already as csv, with the same cells")
    (day,) = export("--day", str(BEFORE), "--json").document["result"]["days"]
    assert (day["did"], day["format"], day["rows"]) == ("unchanged", "csv", 90)
    assert files(archive) == before
    edit(database, "margin_used = 3", YESTERDAY)
    assert "is there with other cells" in export("--day", str(YESTERDAY)).out
    assert export("--day", str(BEFORE), "--force").code == 0
    assert list(files(archive / f"date={BEFORE}")) == ["_manifest.json", "cells.parquet"]
    assert export("--day", str(BEFORE), "--format", "csv").out.startswith(f"{BEFORE}  is there already as parquet, ")
    forge(archive, FIRST, lambda text: text.replace("-35.0,", "-35.1,", 1))
    assert "is there with other cells" in export("--day", str(FIRST)).out, "whatever its manifest says of them"


def test_without_pyarrow_what_is_there_as_parquet_is_told_by_its_manifest(
    export: Callable[..., Ran], without_pyarrow: str
) -> None:
    """It cannot be read, and is no reason not to look at the other days."""
    if not _is_installed("pyarrow"):
        pytest.skip("pyarrow is not installed")
    assert export("--day", str(BEFORE)).code == 0
    ran = export("--from", str(BEFORE), "--to", str(YESTERDAY), "--format", "csv", PYTHONPATH=without_pyarrow)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{BEFORE}  is there already as parquet, with the same cells\n{YESTERDAY}  90 cells")


@NEEDS_PYARROW
def test_more_decimals_than_parquet_holds_are_refused_and_csv_keeps_them(
    export: Callable[..., Ran], archive: Path, database: str, rows: Rows
) -> None:
    """Nothing is ever rounded. The exchange prints ten; hlctl would record eighteen."""
    edit(database, "position_szi = 0.123456789012345678", BEFORE)
    ran = export("--day", str(BEFORE))
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.startswith(
        f"{BEFORE}  has a number with more than 10 decimals, which no column of these Parquet files holds;"
        " --format csv keeps every digit, in another --dir\n"
    )
    assert files(archive) == {}
    assert export().code == 1
    assert sorted(path.name for path in archive.iterdir()) == [f"date={FIRST}", f"date={YESTERDAY}"], "the others go on"
    shutil.rmtree(archive)
    assert export("--day", str(BEFORE), "--format", "csv").code == 0
    assert in_file(archive / f"date={BEFORE}" / "cells.csv.gz") == stored(rows, BEFORE)
    assert export().code == 0, "it is there, and the others are Parquet"
    assert export().out.startswith("nothing to export")


@pytest.fixture
def without_pyarrow(tmp_path: Path) -> str:
    """Return a PYTHONPATH with which pyarrow is not installed."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "pyarrow.py").write_text("raise ImportError")
    return str(shadow)


def test_without_pyarrow_parquet_says_what_to_install_and_csv_works(
    export: Callable[..., Ran], archive: Path, without_pyarrow: str
) -> None:
    """It is an extra. The command is one that works wherever hlctl came from."""
    ran = export(PYTHONPATH=without_pyarrow)
    assert (ran.code, ran.out, ran.err.count("\n")) == (6, "", 1)
    python = rf"{re.escape(str(Path(sys.executable).parent))}/python[\d.]*"  # of several names
    assert re.search(f"run `{python} -m pip install pyarrow`", ran.err)
    assert not archive.exists()
    assert export("--format", "csv", PYTHONPATH=without_pyarrow).code == 0
    assert export("--verify", PYTHONPATH=without_pyarrow).code == 0


@pytest.mark.parametrize("kind", formats())
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["KILL", "TERM"])
def test_an_export_ended_in_the_middle_leaves_no_final_name(
    export: Callable[..., Ran], with_universe: Hlctl, archive: Path, database: str, rows: Rows, kind: str, number: int
) -> None:
    """A name that is there is whole. The next export clears away what was left."""
    args = ("--day", str(BEFORE), "--format", kind)
    with closing(psycopg.connect(database)) as holder:
        holder.execute("LOCK TABLE wallets")
        process = with_universe.start("export", *args)
        while not rows("SELECT FROM pg_locks WHERE NOT granted"):
            assert process.poll() is None
            time.sleep(0.02)
        assert process.poll() is None
        os.kill(process.pid, number)
        process.wait(timeout=10)
    assert [name for name in files(archive) if "/." not in name] == []
    if number == signal.SIGTERM:
        assert (process.returncode, files(archive)) == (143, {})
    assert export(*args).code == 0
    assert list(files(archive / f"date={BEFORE}")) == ["_manifest.json", NAMES[kind]]


def test_an_export_that_is_terminated_while_its_file_grows_is_gone_within_seconds(
    with_universe: Hlctl, database: str, archive: Path, rows: Rows
) -> None:
    """In the middle of a day, and of a stream of cells that the server goes on sending."""
    fill(database, BEFORE, minutes=1440, at=datetime.min.time())
    more = "SELECT (jsonb_populate_record(c, jsonb_build_object('wallet_id', wallet_id + 1000 * n))).*"
    more += " FROM wallet_snapshots c CROSS JOIN generate_series(1, 4) AS n"
    addresses = "SELECT wallet_id + 1000 * n, '0x' || lpad((wallet_id + 1000 * n)::text, 40, '0')"
    addresses += " FROM wallets CROSS JOIN generate_series(1, 4) AS n"
    execute(database, f"INSERT INTO wallets (wallet_id, address) OVERRIDING SYSTEM VALUE {addresses}")
    execute(database, f"INSERT INTO wallet_snapshots {more}")
    execute(database, "UPDATE ingest_runs SET rows_written = 150, fingerprint = NULL")
    args = ("export", "--day", str(BEFORE), "--format", "csv")
    draft = archive / f"date={BEFORE}" / ".cells.csv.gz.tmp"
    with proxied(database) as proxy:
        proxy.delay = 0.02
        process = with_universe.start(*args, HLCTL_DATABASE_URL=proxy.url)
        while not (draft.exists() and draft.stat().st_size > 100_000):
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        assert process.wait(timeout=20) == 143
    assert files(archive) == {}
    assert rows("SELECT FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'") == []
    ran = with_universe(*args)
    assert (ran.code, ran.out.splitlines()[0].partition(",")[0]) == (0, f"{BEFORE}  216")
    assert with_universe("export", "--verify").code == 0


def test_what_exports_that_were_killed_left_of_other_days_is_swept(export: Callable[..., Ran], archive: Path) -> None:
    """A day that was pruned since is never exported again, nor is one that the archive has."""
    assert export("--day", str(BEFORE), "--format", "csv").code == 0
    pruned = archive / "date=2025-01-01"
    pruned.mkdir()
    for folder in (pruned, archive / f"date={BEFORE}"):
        (folder / ".cells.parquet.tmp").touch()
    assert export("--format", "csv").code == 0
    assert not pruned.exists()
    assert [name for name in files(archive) if "/." in name] == []


def test_two_exports_into_one_directory_do_not_mix(
    export: Callable[..., Ran], with_universe: Hlctl, database: str, rows: Rows
) -> None:
    """The second leaves with 75; timers meet."""
    with closing(psycopg.connect(database)) as holder:
        holder.execute("LOCK TABLE wallets")
        process = with_universe.start("export", "--format", "csv")
        while not rows("SELECT FROM pg_locks WHERE NOT granted"):
            assert process.poll() is None
            time.sleep(0.02)
        ran = export("--format", "csv")
        assert (ran.code, ran.err.startswith("hlctl export: another export writes to ")) == (75, True)
    assert process.wait(timeout=30) == 0


def test_a_directory_that_cannot_be_written_is_one_line(export: Callable[..., Ran], tmp_path: Path) -> None:
    """With what the system said."""
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        ran = export("--format", "csv", "--dir", str(directory))
        assert (ran.code, ran.out, ran.err.count("\n")) == (6, "", 1), directory
        assert ran.err.startswith(f"hlctl export: cannot use {directory}"), ran.err
    assert export("--verify", "--dir", str(tmp_path / "none")).code == 6


def test_a_terminal_sees_the_same_words(export: Callable[..., Ran], with_universe: Hlctl) -> None:
    """And a bar that goes away."""
    assert export("--format", "csv").code == 0
    ran = on_a_terminal(with_universe, "export", "--verify")
    assert ran.code == 0
    assert f"{YESTERDAY}  90 cells, compared with the database: as recorded" in ran.out


# ---- who reads it


@NEEDS_DUCKDB
def test_duckdb_reads_the_archive_as_one_table_with_the_pages_own_words(
    export: Callable[..., Ran], archive: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And finds what the database says, in numbers."""
    import duckdb  # noqa: PLC0415 - may not be installed

    assert export().code == 0
    monkeypatch.chdir(archive.parent)
    conn = duckdb.connect()
    assert conn.execute(block("<!-- run: duckdb -->")).fetchall() == rows(
        "SELECT snapshot_ts::date, asset::text, count(*), count(*) FILTER (WHERE position_szi IS NULL)"
        "  FROM wallet_snapshots c WHERE snapshot_ts < %s GROUP BY 1, c.asset ORDER BY 1, c.asset::text",
        TODAY,
    )  # fmt: skip
    table = "read_parquet('archive/*/*.parquet', hive_partitioning = true)"
    query = (
        "SELECT sum(position_szi), sum(position_szi * entry_px) FILTER (WHERE abs(position_szi) < 1e9), max(liq_px),"
        " min(margin_used), count(leverage), max(epoch_us(observed_at)), count(*) FILTER (WHERE is_dirty) FROM "
    )
    assert conn.execute(query + table).fetchall() == rows(
        query.replace("epoch_us(observed_at)", "(extract(epoch FROM observed_at) * 1000000)::bigint")
        + "wallet_snapshots WHERE snapshot_ts < %s",
        TODAY,
    )
    found: dict[str, Any] = {}
    exec(block("<!-- run: pandas -->"), found)  # noqa: S102 - the page's own lines
    assert found["cells"].num_rows == 90


@NEEDS_DUCKDB
def test_an_archive_of_csv_is_the_same_table_digit_for_digit_with_the_pages_own_words(
    export: Callable[..., Ran], archive: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left to guess, DuckDB makes doubles of the numbers; an empty field is no zero there either."""
    import duckdb  # noqa: PLC0415 - may not be installed

    assert export("--format", "csv").code == 0
    assert export("--format", "parquet", "--dir", "other").code == 0
    monkeypatch.chdir(archive.parent)
    conn = duckdb.connect()
    view = block("<!-- run: duckdb csv -->")
    conn.execute(view)
    parquet = "read_parquet('other/*/*.parquet', hive_partitioning = true)"
    sums = f"SELECT {', '.join(f'sum({name}), typeof(any_value({name}))' for name in NUMBERS)} FROM "  # noqa: S608 - names from above
    assert conn.execute(sums + "cells").fetchall() == conn.execute(sums + parquet).fetchall()
    for one, other in (("cells", parquet), (parquet, "cells")):
        assert conn.execute(f"SELECT * FROM {one} EXCEPT ALL SELECT * FROM {other}").fetchall() == []  # noqa: S608 - names from above
    assert conn.execute("SELECT count(*), count(position_szi) FROM cells").fetchall() == [(270, 243)]
    edit(database, "position_szi = 123456789012345.123456789012345678", YESTERDAY)
    assert export("--format", "csv", "--day", str(YESTERDAY), "--force").code == 0
    conn.execute(view.replace("VIEW cells", "VIEW finer").replace("DECIMAL(25, 10)", "DECIMAL(33, 18)"))
    assert conn.execute("SELECT DISTINCT position_szi FROM finer WHERE position_szi > 1e14").fetchall() == [
        (Decimal("123456789012345.123456789012345678"),)
    ]


@NEEDS_DUCKDB
def test_the_runs_beside_the_archive_tell_which_minutes_not_to_count_on(
    export: Callable[..., Ran], archive: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files do not: a minute of one answer for everybody looks like any other."""
    import duckdb  # noqa: PLC0415 - may not be installed

    first, second = (datetime(FIRST.year, FIRST.month, FIRST.day, 23, 50 + number, tzinfo=UTC) for number in (0, 1))
    execute(database, "UPDATE ingest_runs SET suspect = '{mass_zero,same_answer}' WHERE snapshot_ts = %s", first)
    execute(database, "UPDATE ingest_runs SET status = 'failed' WHERE snapshot_ts = %s", second)
    assert export().code == 0
    monkeypatch.chdir(archive.parent)
    psql(block("<!-- run: runs -->"), archive.parent, database)
    found = duckdb.connect().execute(block("<!-- run: duckdb runs -->")).fetchall()
    minutes = {FIRST: 1, BEFORE: 3, YESTERDAY: 3}
    assert found == [(day, asset, number) for day, number in minutes.items() for asset in ("BTC", "ETH", "HYPE")]


def block(mark: str) -> str:
    """Return the page's block of this mark."""
    (found,) = re.findall(rf"{mark}\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def psql(script: str, folder: Path, database: str) -> None:
    """Run a script of the page in a folder."""
    argv = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", database]
    path = f"{folder_of_psql()}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(argv, input=script, cwd=folder, env=clean_environment(PATH=path), check=True, text=True, timeout=60)


def restore(database: str, folder: Path, day: date) -> None:
    """Follow the page: DuckDB in the folder with the archive, then psql with the owner's URL."""
    import duckdb  # noqa: PLC0415 - may not be installed

    duckdb.connect().execute(block("<!-- run: restore duckdb -->").replace("2026-01-05", str(day)))
    psql(block("<!-- run: restore psql -->"), folder, database)


@NEEDS_DUCKDB
def test_a_pruned_day_is_restored_as_the_page_says_and_is_what_was_published(
    export: Callable[..., Ran], with_universe: Hlctl, archive: Path, database: str, rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """To the last zero: its fingerprints are those of the run rows. And it is a partition again."""
    assert export().code == 0
    before = stored(rows, FIRST)
    assert with_universe("prune", "--keep", "3d").code == 0
    assert stored(rows, FIRST) == []
    monkeypatch.chdir(archive.parent)
    restore(database, archive.parent, FIRST)
    assert stored(rows, FIRST) == before
    where = "SELECT DISTINCT tableoid::regclass::text FROM wallet_snapshots WHERE snapshot_ts::date = %s"
    assert rows(where, FIRST) == [(f"wallet_snapshots_{FIRST:%Y%m%d}",)]
    checked = export("--verify", "--day", str(FIRST), "--json")
    assert (checked.code, checked.document["result"]["days"][0]["against"]) == (0, "cells")


@NEEDS_DUCKDB
@pytest.mark.parametrize("order", [(TODAY, TODAY + timedelta(days=1)), (TODAY + timedelta(days=1), TODAY)], ids=str)
def test_what_was_odd_in_a_restored_day_is_told_again_and_the_audit_finds_nothing(
    with_universe: Hlctl, exchange: sim.Exchange, world: sim.World, at: Callable[..., None], database: str, rows: Rows,
    archive: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[date, date],
) -> None:  # fmt: skip
    """A dropped day's anomalies go with it, and no archive has them: the restored cells give each of them again.

    Two days are dropped and restored, the later one first: what lies at their border is judged with both.
    """
    owner = steady(world, rows)
    other, second, third = [address for address in universe(rows) if address != owner][:3]
    fault = {name: found.fault for name, found in sim.CATALOGUE.items()}
    odd = {second: fault["szi-nan"], third: fault["time-past"]}
    shared = {other: sim.Fault(body=lambda _: world.state(owner, int(exchange.clock() * 1000)))}
    nobody_holds = {None: fault["positions-none"]}
    midnight = datetime.combine(TODAY + timedelta(days=1), datetime.min.time(), UTC)
    minutes: list[tuple[datetime, dict[Any, sim.Fault]]] = [
        *enumerate_from(M, {}, {**odd, owner: fault["sizes-tenfold"]}, {}, nobody_holds, {}, shared, nobody_holds, {}),
        *enumerate_from(midnight - timedelta(minutes=2), {}, {**odd, **shared}, nobody_holds, {}),
    ]  # fmt: skip
    for minute, faults in minutes:
        exchange.behave()
        for target, met in faults.items():
            exchange.misbehave(target, met)
        at(minute=minute)
        assert with_universe("snapshot").code == 0
    kinds = "SELECT DISTINCT coalesce(details->>'reason', details->>'kind')"
    kinds += " FROM snapshot_anomalies WHERE snapshot_ts {} %s"
    assert {kind for (kind,) in rows(kinds.format("<"), midnight)} == {
        "transient_collapse", "szi_jump", "null_szi", "stale_time", "mass_zero", "same_answer",
    }  # fmt: skip
    assert {kind for (kind,) in rows(kinds.format(">="), midnight)} == {"transient_collapse", "mass_zero"}

    exchange.behave()
    at(minute=midnight + timedelta(days=4, hours=20))
    assert with_universe("snapshot").code == 0
    anomalies = "SELECT * FROM snapshot_anomalies ORDER BY snapshot_ts, wallet_id, asset, anomaly_type"
    before = rows(anomalies)
    audit = ("verify", "--from", M.isoformat(), "--to", (midnight + timedelta(minutes=2)).isoformat(), "--json")
    assert with_universe(*audit).code == 0
    assert with_universe("export").code == 0
    assert with_universe("prune", "--keep", "2d").code == 0
    assert rows(anomalies) == []
    monkeypatch.chdir(archive.parent)
    for day in order:
        restore(database, archive.parent, day)
        ran = with_universe(*audit)
        assert ran.code == 0, [check for check in ran.document["result"]["checks"] if check["violations"]]
    assert rows(anomalies) == before


@NEEDS_DUCKDB
@pytest.mark.parametrize(
    "other",
    [
        "UPDATE wallets SET address = '0x' || md5(address) || left(md5(address), 8)",
        "UPDATE ingest_runs SET snapshot_ts = snapshot_ts - interval '9 days', run_id = run_id - 9 * 1440",
    ],
    ids=["another wallet", "no run"],
)
def test_a_day_of_another_database_is_not_restored(
    export: Callable[..., Ran], with_universe: Hlctl, archive: Path, database: str, rows: Rows,
    monkeypatch: pytest.MonkeyPatch, other: str,
) -> None:  # fmt: skip
    """A wallet's number is its database's own: the positions would be somebody else's there."""
    assert export().code == 0
    assert with_universe("prune", "--keep", "3d").code == 0
    execute(database, other)
    monkeypatch.chdir(archive.parent)
    with pytest.raises(subprocess.CalledProcessError):
        restore(database, archive.parent, FIRST)
    assert stored(rows, FIRST) == []


def enumerate_from(minute: datetime, *each: dict[Any, sim.Fault]) -> list[tuple[datetime, dict[Any, sim.Fault]]]:
    """Return what happens in each minute from this one on."""
    return [(minute + timedelta(minutes=number), faults) for number, faults in enumerate(each)]


# ---- verification

UNRECORDED = "this database has no record of that day; is it the right one?"


def verify(export: Callable[..., Ran], code: int) -> dict[str, list[str]]:
    """Verify the whole archive, and return what was found of each day."""
    ran = export("--verify", "--json")
    assert (ran.code, ran.err) == (code, "")
    result = ran.document["result"]
    found = {day["day"]: day["problems"] for day in result["days"] if day["problems"]}
    return {**found, **{day: ["missing"] for day in result["missing"]}}


@pytest.mark.parametrize("kind", formats())
def test_verification_finds_nothing_where_nothing_is_wrong(
    export: Callable[..., Ran], with_universe: Hlctl, archive: Path, kind: str
) -> None:
    """With the cells in the database, with only their fingerprints, and with no database at all."""
    assert export("--format", kind).code == 0
    assert (
        export("--verify").out
        == "".join(f"{day}  90 cells, compared with the database: as recorded\n" for day in (FIRST, BEFORE, YESTERDAY))
        + f"3 days of {archive}: nothing found\n"
    )
    assert with_universe("prune", "--keep", "3d").code == 0
    assert export("--verify", "--day", str(FIRST)).out.startswith(
        f"{FIRST}  90 cells, pruned from the database, compared with what was published then: as recorded\n"
    )
    alone = Hlctl({"HLCTL_DATA_DIR": str(archive.parent / "none")}, with_universe.home, with_universe.started)
    ran = alone("export", "--verify")
    assert (ran.code, ran.out.count("compared with its manifest only, for there is no database: as recorded")) == (0, 3)


@pytest.mark.parametrize("kind", formats())
def test_a_file_that_is_cut_changed_or_gone_is_found(export: Callable[..., Ran], archive: Path, kind: str) -> None:
    """Whatever else is right about it."""
    assert export("--format", kind).code == 0
    file = archive / f"date={BEFORE}" / NAMES[kind]
    whole = file.read_bytes()
    broken = f"{NAMES[kind]} is missing, or not what its manifest says"
    for content in (whole[:-1], whole[:100], b"", whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]):
        file.write_bytes(content)
        found = verify(export, 1)
        assert list(found) == [str(BEFORE)]
        assert found[str(BEFORE)][0] == broken
    file.unlink()
    gone = f"{NAMES[kind]} cannot be read: No such file or directory"
    assert verify(export, 1) == {str(BEFORE): [broken, gone]}
    assert export("--day", str(BEFORE), "--format", kind).code == 1
    assert export("--day", str(BEFORE), "--format", kind, "--force").code == 0
    assert verify(export, 0) == {}


def forge(archive: Path, day: date, change: Callable[[str], str]) -> None:
    """Change a cell in a CSV file and make its manifest agree."""
    folder = archive / f"date={day}"
    text = gzip.decompress((folder / "cells.csv.gz").read_bytes()).decode()
    changed = gzip.compress(change(text).encode())
    assert changed != gzip.compress(text.encode())
    (folder / "cells.csv.gz").write_bytes(changed)
    found = manifest(archive, day)
    found["files"][0] |= {"bytes": len(changed), "sha256": hashlib.sha256(changed).hexdigest()}
    (folder / "_manifest.json").write_text(json.dumps(found, indent=2) + "\n")


def test_a_cell_that_is_changed_with_its_manifest_is_found_even_when_its_day_is_pruned(
    export: Callable[..., Ran], with_universe: Hlctl, archive: Path
) -> None:
    """What was published with its minute stays in the database; and the day after is linked to another manifest."""
    assert export("--format", "csv").code == 0
    forge(archive, FIRST, lambda text: text.replace("-35.0,", "-35.1,", 1))
    linked = f"the manifest of {FIRST} is not the one it is linked to"
    published = "1 minutes are not as it was published: 23:50"
    assert verify(export, 1) == {
        str(FIRST): [published, "1 minutes are not as in the database: 23:50"],
        str(BEFORE): [linked],
    }
    assert with_universe("prune", "--keep", "3d").code == 0
    assert verify(export, 1) == {str(FIRST): [published], str(BEFORE): [linked]}


def test_a_fingerprint_that_is_gone_is_no_minute_from_before_there_were_any(
    export: Callable[..., Ran], with_universe: Hlctl, database: str
) -> None:
    """Erased, it would let any cells of a pruned day pass; such an old minute has no rate limit either."""
    assert export("--format", "csv").code == 0
    assert with_universe("prune", "--keep", "3d").code == 0
    execute(database, "UPDATE ingest_runs SET fingerprint = NULL, rate_limit = NULL")
    assert verify(export, 0) == {}
    execute(database, "UPDATE ingest_runs SET rate_limit = 0 WHERE snapshot_ts::date = %s", FIRST)
    assert verify(export, 1) == {str(FIRST): ["3 minutes are not as it was published: 23:50, 23:51, 23:52"]}


def test_of_minutes_from_before_there_were_fingerprints_is_said_that_they_are(
    export: Callable[..., Ran], with_universe: Hlctl, archive: Path, database: str
) -> None:
    """Once they are pruned, any cells would pass, and "as recorded" alone would be a proof that there is not."""
    execute(database, "UPDATE ingest_runs SET fingerprint = NULL WHERE snapshot_ts::date = %s", FIRST)
    assert export("--format", "csv").code == 0
    assert with_universe("prune", "--keep", "3d").code == 0
    forge(archive, FIRST, lambda text: text.replace("-35.0,", "-35.1,", 1))
    later = ("--from", str(BEFORE), "--to", str(YESTERDAY), "--format", "csv", "--force")
    assert export(*later).code == 0, "and so the later days are linked to what was forged"
    ran = export("--verify")
    words = "pruned from the database, compared with what was published then: as recorded"
    assert (ran.code, ran.out.splitlines()[:2]) == (0, [
        f"{FIRST}  90 cells, {words}; 3 of its minutes are from before there were fingerprints",
        f"{BEFORE}  90 cells, compared with the database: as recorded",
    ])  # fmt: skip
    days = export("--verify", "--json").document["result"]["days"]
    assert [day["without_fingerprint"] for day in days] == [3, 0, 0]


def test_a_zero_more_an_address_and_a_mark_are_found_too(export: Callable[..., Ran], archive: Path, rows: Rows) -> None:
    """The fingerprint covers the digits, not the address nor the mark."""
    assert export("--format", "csv").code == 0
    ((address,),) = rows("SELECT address FROM v_universe WHERE rank = 1")
    forge(archive, YESTERDAY, lambda text: text.replace("35.271,", "35.2710,", 1))
    assert verify(export, 1)[str(YESTERDAY)][0].startswith("1 minutes are not as it was published")
    assert export("--day", str(YESTERDAY), "--format", "csv", "--force").code == 0
    forge(archive, YESTERDAY, lambda text: text.replace(address, address[:-1] + ("0" if address[-1] != "0" else "1")))
    assert verify(export, 1) == {str(YESTERDAY): ["1 wallets have another address in the database"]}
    assert export("--day", str(YESTERDAY), "--format", "csv", "--force").code == 0
    forge(archive, YESTERDAY, lambda text: text.replace('"a, ""b"""', "c"))
    assert verify(export, 1) == {
        str(YESTERDAY): ["3 minutes are marked as dirty otherwise in the database: 23:50, 23:51, 23:52"]
    }


def test_a_row_that_is_taken_out_or_put_in_is_found(export: Callable[..., Ran], archive: Path) -> None:
    """By the manifest, and by what was published."""
    assert export("--format", "csv").code == 0
    forge(archive, YESTERDAY, lambda text: text[: text.rindex("\n", 0, -1) + 1])
    (found,) = verify(export, 1).values()
    assert found[0] == "89 rows and 3 minutes, the manifest says otherwise"
    assert len(found) == 3


def test_an_edited_database_is_found(export: Callable[..., Ran], database: str) -> None:
    """The archive is the witness, and what was published agrees with it."""
    assert export("--format", "csv").code == 0
    edit(database, "position_szi = 36", BEFORE)
    assert verify(export, 1) == {str(BEFORE): ["3 minutes are not as in the database: 23:50, 23:51, 23:52"]}
    execute(database, "DELETE FROM wallet_snapshots WHERE snapshot_ts::date = %s", BEFORE)
    assert list(verify(export, 1)) == [str(BEFORE)], "gone, and not pruned"
    execute(database, "DELETE FROM ingest_runs WHERE snapshot_ts::date = %s", BEFORE)
    assert verify(export, 1) == {str(BEFORE): [UNRECORDED]}


def test_a_database_that_knows_nothing_of_a_day_accuses_nobody(
    export: Callable[..., Ran], with_universe: Hlctl, archive: Path, empty_database: str
) -> None:
    """A new one, or another one's: it has nothing to compare with, and that is what has to be said."""
    assert export("--format", "csv").code == 0
    assert with_universe("init-db", HLCTL_DATABASE_URL=empty_database).code == 0
    ran = export("--verify", HLCTL_DATABASE_URL=empty_database)
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.splitlines() == [
        line
        for day in (FIRST, BEFORE, YESTERDAY)
        for line in (f"{day}  90 cells, compared with its manifest only", f"  {UNRECORDED}")
    ] + [f"3 days of {archive}: 3 found"]


def test_what_is_unreadable_is_said_to_be_just_that(export: Callable[..., Ran], archive: Path) -> None:
    """And not to have been compared with anything; a folder of no day would be read with the others."""
    assert export("--format", "csv").code == 0
    broken = "cells.csv.gz is missing, or not what its manifest says"
    spoilt, cut = (archive / f"date={day}" / "cells.csv.gz" for day in (FIRST, BEFORE))
    whole = spoilt.read_bytes()
    spoilt.write_bytes(whole[:10] + b"\xff" * 20 + whole[30:])
    cut.write_bytes(cut.read_bytes()[:-20])
    (archive / "date=2026-02-30").mkdir()
    (archive / "date=2026-02-31").mkdir()
    (archive / "date=2026-02-30" / "cells.csv.gz").touch()
    ran = export("--verify")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.splitlines() == [
        f"{FIRST}  cannot be read, and was compared with nothing",
        f"  {broken}",
        "  cells.csv.gz cannot be read: its compressed data is damaged",
        f"{BEFORE}  cannot be read, and was compared with nothing",
        f"  {broken}",
        "  cells.csv.gz cannot be read: it ends too early",
        f"{YESTERDAY}  90 cells, compared with the database: as recorded",
        "date=2026-02-30  is no day, and not hlctl's; who reads all folders reads it too",
        f"3 days of {archive}: 5 found",
    ]
    assert export("--verify", "--day", str(YESTERDAY)).code == 0, "it was asked about this one alone"
    assert export("--verify", "--json").document["result"]["no_days"] == ["date=2026-02-30"]


def test_a_day_that_is_taken_away_is_found(export: Callable[..., Ran], archive: Path) -> None:
    """By the link of the day after, and by what the database recorded."""
    assert export("--format", "csv").code == 0
    shutil.rmtree(archive / f"date={BEFORE}")
    assert verify(export, 1) == {
        str(YESTERDAY): [f"{BEFORE}, which it is linked to, is missing"],
        str(BEFORE): ["missing"],
    }
    assert export("--format", "csv").code == 0, "it is put back, with the same manifest"
    assert verify(export, 0) == {}
    (archive / f"date={FIRST}" / "_manifest.json").unlink()
    assert verify(export, 1) == {
        str(FIRST): ["there is no manifest"],
        str(BEFORE): [f"{FIRST}, which it is linked to, is missing"],
    }
    (archive / f"date={FIRST}" / "_manifest.json").write_text("{}")
    assert "is no manifest of this version" in verify(export, 1)[str(FIRST)][0]


def test_damage_of_one_day_is_said_of_it_and_the_day_after_is_looked_at_all_the_same(
    export: Callable[..., Ran], archive: Path
) -> None:
    """Cells and link: whoever damages one day does not hide what was done to another."""
    assert export("--format", "csv").code == 0
    edited = manifest(archive, BEFORE)
    path = archive / f"date={BEFORE}" / "_manifest.json"
    path.write_text(json.dumps(edited | {"previous": {}}))
    forge(archive, YESTERDAY, lambda text: text[: text.rindex("\n", 0, -1) + 1])
    first, second = verify(export, 1).values()
    assert first == [f"{path.relative_to(archive.parent)} is no manifest of this version of hlctl"]
    assert "89 rows and 3 minutes, the manifest says otherwise" in second
    path.unlink()
    path.mkdir()
    first, second = verify(export, 1).values()
    assert [len(first), "Is a directory" in first[0], "Is a directory" in second[0]] == [1, True, True]
    assert "89 rows and 3 minutes, the manifest says otherwise" in second


def test_days_exported_out_of_order_are_not_linked_until_the_later_one_is_written_again(
    export: Callable[..., Ran],
) -> None:
    """A link that is missing hides nothing, and is said."""
    for day in (YESTERDAY, BEFORE):
        assert export("--day", str(day), "--format", "csv").code == 0
    assert verify(export, 1) == {str(YESTERDAY): [f"not linked to {BEFORE}, which was exported later"]}
    assert export("--day", str(YESTERDAY), "--format", "csv", "--force").code == 0
    assert verify(export, 0) == {}
