"""What `doctor` makes of the facts, and that docs/doctor.md explains every check."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hlctl.access import READING
from hlctl.checks import Check, CheckId, Outcome, age, database, machine
from hlctl.checks.database import Growth, LackingRight
from hlctl.checks.engine import FUNCTIONS, Engine, engine
from hlctl.checks.machine import PrivateFile, Schedules, Server
from hlctl.facts import Health
from hlctl.model import Universe

PAGE = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
TODAY = date(2026, 11, 25)
GB = 10**9
NOW = datetime(2026, 11, 25, tzinfo=UTC)
OK, WARNING, PROBLEM, SKIPPED = Outcome.OK, Outcome.WARNING, Outcome.PROBLEM, Outcome.SKIPPED


def health(state: str = "healthy", *reasons: str, universe_age: timedelta | None = timedelta(hours=1)) -> Health:
    return Health(
        health_state=state, reasons=reasons, judged_at=NOW, last_snapshot_ts=NOW, last_status="success",
        coverage_pct=Decimal(100), last_snapshot_age=timedelta(seconds=30), last_good_snapshot_ts=NOW,
        last_good_age=timedelta(seconds=30), universe_as_of_ts=NOW, universe_age=universe_age, suspect=(),
    )  # fmt: skip


def rights(role: str, lacking: Sequence[LackingRight]) -> Check:
    return database.rights(role, lacking, reading=READING)


def server(**changes: Any) -> Server:
    facts = {
        "exists": True,
        "running": True,
        "ready": True,
        "version": "18.4",
        "package": "0.6.0",
        "unit": None,
        "silence": "the server is recovering",
        "remedy": "",
        "log": "/data/log",
        "dead": 0,
    }
    return Server(**{**facts, **changes})


def growth(cells: int = 864_000, cell_bytes: int = 864_000 * 160, cells_a_minute: int = 600) -> Growth:
    return Growth(
        database_bytes=2 * cell_bytes, cell_bytes=cell_bytes, cells=cells, cells_a_minute=cells_a_minute, days_ahead=7,
        misplaced=[],
    )  # fmt: skip


PLAIN = dict.fromkeys(FUNCTIONS)
ON_CITUS = dict.fromkeys(FUNCTIONS, "citus")
ON_TIMESCALEDB = PLAIN | dict.fromkeys(FUNCTIONS[:5], "timescaledb")


def kept(parts: int | None, extension: str = "citus", version: str = "13.2-1") -> Engine:
    return Engine(extension=extension, version=version, parts=parts)


def schedules(timers: str = "", cron: str = "", *, yields: bool = False) -> Schedules:
    return Schedules(timers=timers.split(), cron=cron.split(), cron_yields=yields)


UNIVERSE = Universe(
    run_id=1, as_of_ts=NOW, source="stats-data", entered_count=0, exited_count=0, churn_warning_count=0, size=200
)
BOTH = "snapshot refresh-universe"
DATA = PrivateFile("/var/lib/hlctl", "data directory", 0o700, 999)
VERSIONS = {"oldest": 150_000, "newest_major": 18}


def files(*found: PrivateFile, user: int = 999) -> Check:
    return machine.permissions(found, user=user)


def tls(host: str, address: str, mode: str, *, is_encrypted: bool = True) -> Check:
    return database.database_tls(host=host, address=address, mode=mode, is_encrypted=is_encrypted)


CASES: dict[str, tuple[Check, Outcome, str]] = {
    "no file": (files(), OK, "there is no file with a secret"),
    "a private directory": (files(DATA), OK, "private: data directory /var/lib/hlctl"),
    "a directory others may enter": (
        files(PrivateFile("/d", "data directory", 0o755, 999)),
        WARNING,
        "others may enter the data directory /d (mode 755)",
    ),
    "another user's directory": (files(DATA, user=1000), PROBLEM, "belongs to user 999"),
    "root may see to anybody's": (files(DATA, user=0), OK, "private"),
    "a readable secret": (
        files(PrivateFile("/e", "settings file", 0o644, 0)),
        PROBLEM,
        "everybody may read the settings file /e",
    ),
    "a secret for a group": (files(PrivateFile("/e", "settings file", 0o640, 0)), OK, "private: settings file /e"),
    "a socket": (tls("/run/postgresql", "", "prefer"), OK, "on this machine"),
    "a loopback address": (tls("localhost", "::1", "disable"), OK, "on this machine"),
    "a server that proves its name": (tls("db.example", "192.0.2.7", "verify-full"), OK, "proved its name"),
    "a server that proves nothing": (
        tls("db.example", "192.0.2.7", "prefer"),
        WARNING,
        "encrypted with sslmode=prefer, and another server could pose as this one",
    ),
    "a server in the clear": (
        tls("db.example", "fe80::1%eth0", "disable", is_encrypted=False),
        WARNING,
        "the connection is not encrypted with sslmode=disable",
    ),
    "an old server": (database.database_version(140_012, "14.12", **VERSIONS), PROBLEM, "PostgreSQL 14.12: 15 to 18"),
    "the oldest server": (database.database_version(150_000, "15.0", **VERSIONS), OK, "PostgreSQL 15.0"),
    "the newest server": (database.database_version(180_004, "18.4", **VERSIONS), OK, "PostgreSQL 18.4"),
    "a server from the future": (database.database_version(190_000, "19.0", **VERSIONS), WARNING, "newer than any"),
    "utf8": (database.database_encoding("UTF8"), OK, "UTF8"),
    "another encoding": (database.database_encoding("SQL_ASCII"), PROBLEM, "SQL_ASCII: it must be UTF8"),
    "a standby": (database.database_writable(is_in_recovery=True, is_read_only=True), PROBLEM, "a standby"),
    "a primary": (database.database_writable(is_in_recovery=False, is_read_only=False), OK, "yes"),
    "read-only by default": (database.database_writable(is_in_recovery=False, is_read_only=True), OK, "no obstacle"),
    "no pooler": (database.pooler(told_pid=7, pids=(7, 7)), OK, "none in the way"),
    "a pooler": (database.pooler(told_pid=1, pids=(7, 7)), OK, "a pooler stands before"),
    "a transaction pooler": (database.pooler(told_pid=1, pids=(7, 8)), OK, "a transaction pooler"),
    "the same tool": (database.tool_version("0.1.0", "0.1.0"), OK, "hlctl 0.1.0"),
    "an older schema's tool": (database.tool_version("0.9.0", "0.10.0"), OK, "migrated by 0.9.0"),
    "a newer tool": (database.tool_version("0.10.0", "0.9.1"), WARNING, "migrated by hlctl 0.10.0, this is 0.9.1"),
    "every right": (rights("rec", []), OK, "role rec may run every command"),
    "a right for people": (
        rights("rec", [LackingRight("SELECT on alerts", [])]),
        WARNING,
        "lacks SELECT on alerts",
    ),
    "rights": (
        rights("rec", [LackingRight(f"INSERT on t{n}", ["snapshot"]) for n in range(5)]),
        PROBLEM,
        "role rec lacks INSERT on t0, INSERT on t1, INSERT on t2 and 2 more, for snapshot",
    ),
    "nobody creates": (database.schema_creators([]), OK, "only its owner may create"),
    "everybody creates": (database.schema_creators(["PUBLIC", "ann"]), WARNING, "PUBLIC, ann may create in the schema"),
    "no universe": (database.universe(None, health(universe_age=None)), PROBLEM, "no universe has been read yet"),
    "a universe": (database.universe(UNIVERSE, health()), OK, "200 wallets from stats-data, 60 min old"),
    "an old universe": (database.universe(UNIVERSE, health("degraded", "universe_old")), WARNING, "200 wallets"),
    "a universe of the future": (
        database.universe(UNIVERSE, replace(health(), universe_age=timedelta(hours=-26))),
        WARNING,
        "200 wallets from stats-data, 26 h ahead of the clock",
    ),
    "healthy": (database.recording(health()), OK, "healthy, the newest minute is 30 s old"),
    "degraded": (
        database.recording(health("degraded", "last_minute_old", "suspect")),
        WARNING,
        ": last_minute_old, suspect",
    ),
    "stale": (database.recording(health("stale", "no_good_minute")), PROBLEM, "stale"),
    "no engine": (engine("18.4", [], PLAIN), OK, "plain PostgreSQL 18.4, in daily partitions"),
    "an idle engine": (
        engine("15.18", [kept(None)], PLAIN),
        OK,
        "plain PostgreSQL 15.18, in daily partitions; Citus 13.2-1 is there and does not keep the cells",
    ),
    "citus": (
        engine("15.18", [kept(4)], ON_CITUS),
        OK,
        "Citus 13.2-1: wallet_snapshots is distributed, 4 shards",
    ),
    "timescaledb": (
        engine("15.18", [kept(None), kept(30, "timescaledb", "2.28.3")], ON_TIMESCALEDB),
        OK,
        "TimescaleDB 2.28.3: wallet_snapshots is a hypertable, 30 chunks",
    ),
    "a new hypertable": (engine("15.18", [kept(0, "timescaledb")], ON_TIMESCALEDB), OK, "a hypertable, 0 chunks"),
    "a migration on citus": (
        engine("15.18", [kept(4)], ON_CITUS | {"odd_cells": None}),
        PROBLEM,
        "4 shards; not made for it: odd_cells",
    ),
    "a migration on timescaledb": (
        engine("15.18", [kept(9, "timescaledb")], ON_TIMESCALEDB | {"drop_day": None}),
        PROBLEM,
        "not made for it: drop_day",
    ),
    "a lost function": (
        engine("15.18", [kept(4)], {"odd_cells": "citus"}),
        PROBLEM,
        "not made for it: cell_storage, drop_day, ensure_partitions, stored_days, stray_cells, suspect_cells",
    ),
    "another engine's functions": (
        engine("18.4", [], ON_TIMESCALEDB),
        PROBLEM,
        "in daily partitions; not made for it: cell_storage, drop_day",
    ),
    "a whole schema": (database.schema_current(17, []), OK, "version 17"),
    "a schema with a part gone": (
        database.schema_current(17, ["FUNCTION odd_cells", "a", "b", "c"]),
        PROBLEM,
        "version 17, and this is not there any more: FUNCTION odd_cells, a, b and 1 more",
    ),
    "no partition": (database.partitions_ahead(None, []), PROBLEM, "today has no partition"),
    "yesterday's partition": (database.partitions_ahead(-1, []), PROBLEM, "today has no partition"),
    "today's partition": (database.partitions_ahead(0, []), WARNING, "0 days ahead"),
    "tomorrow's partition": (database.partitions_ahead(1, []), OK, "1 day ahead"),
    "a partition that was detached": (
        database.partitions_ahead(2, ["wallet_snapshots_20260106", "wallet_snapshots_20260107"]),
        PROBLEM,
        "wallet_snapshots_20260106 and 1 more is not the partition of its day",
    ),
    "a full disk": (database.disk(growth(), 0), PROBLEM, "0 MB are free: 0 days"),
    "less than the reserve": (database.disk(growth(), 200 * 2**20), PROBLEM, ": 0 days"),
    "two days": (database.disk(growth(), 2**28 + 138_240_000 * 3 - 1), PROBLEM, ": 2 days"),
    "three days": (database.disk(growth(), 2**28 + 138_240_000 * 3), WARNING, "a day adds 138 MB"),
    "two weeks": (database.disk(growth(), 2**28 + 138_240_000 * 14), OK, ": 14 days"),
    "a disk out of sight": (database.disk(growth(), None), OK, "cannot be seen from here"),
    "a disk and no database": (database.disk(None, 100 * GB), OK, "a day adds 147 MB"),
    "nothing to see": (database.disk(None, None), SKIPPED, "neither"),
    "too little to measure": (database.disk(growth(600, 200_000, 600), None), OK, "a day adds 147 MB"),
    "no cluster": (machine.embedded_server(server(exists=False, running=False), TODAY), PROBLEM, "no cluster yet"),
    "running": (
        machine.embedded_server(server(), TODAY),
        OK,
        "running; PostgreSQL 18.4 of the package 0.6.0, 195 days old",
    ),
    "stopped": (machine.embedded_server(server(running=False, ready=False), TODAY), OK, "stopped"),
    "silent": (
        machine.embedded_server(server(ready=False), TODAY),
        PROBLEM,
        "does not answer: the server is recovering",
    ),
    "in its own unit": (
        machine.embedded_server(server(unit="hlctl-postgres.service"), TODAY),
        OK,
        "in hlctl-postgres.service",
    ),
    "in a command's unit": (
        machine.embedded_server(server(unit="hlctl-snapshot.service"), TODAY),
        PROBLEM,
        "ends with it",
    ),
    "in cron's unit": (machine.embedded_server(server(unit="cron.service"), TODAY), OK, "running in cron.service"),
    "zombies": (machine.embedded_server(server(dead=2), TODAY), WARNING, "2 dead processes"),
    "old programs": (machine.embedded_server(server(), date(2027, 6, 1)), WARNING, "383 days old"),
    "unknown programs": (machine.embedded_server(server(version="18.99"), date(2030, 1, 1)), OK, "PostgreSQL 18.99"),
    "clocks agree": (database.clock_host_database(-0.04), OK, "0.0 s behind this machine's"),
    "clocks 6 s apart": (database.clock_host_database(6), WARNING, "6.0 s ahead of this machine's"),
    "clocks 16 s apart": (database.clock_host_database(-16), PROBLEM, "16.0 s behind"),
    "clocks a day apart": (database.clock_host_database(86_400 * 3), PROBLEM, "3 d ahead"),
    "the exchange agrees": (database.clock_database_exchange(1.9), OK, "ahead of the exchange's"),
    "the exchange 3 s apart": (database.clock_database_exchange(-3), WARNING, "3.0 s behind"),
    "the exchange 6 s apart": (database.clock_database_exchange(6), PROBLEM, "6.0 s ahead"),
    "nobody": (machine.schedule(schedules()), WARNING, "neither a systemd timer nor a crontab"),
    "timers": (machine.schedule(schedules(timers=BOTH)), OK, "systemd start snapshot and refresh-universe"),
    "a crontab": (machine.schedule(schedules(cron=BOTH)), OK, "cron start"),
    "one each": (machine.schedule(schedules("snapshot", "refresh-universe")), OK, "cron and systemd start"),
    "half": (machine.schedule(schedules(timers="snapshot")), WARNING, "nothing starts `hlctl refresh-universe`"),
    "both": (
        machine.schedule(schedules(BOTH, BOTH)),
        WARNING,
        "systemd and cron both start snapshot, refresh-universe",
    ),
    "a crontab that yields": (machine.schedule(schedules(BOTH, BOTH, yields=True)), OK, "systemd start"),
    "files enough": (machine.process_limits(24, connections=8, others=16), OK, "24 files open, a run needs 24"),
    "files too few": (machine.process_limits(23, connections=8, others=16), WARNING, "asks fewer wallets"),
    "bytecode of most": (machine.bytecode(300, 600), OK, "kept for 300 of 600 modules"),
    "no bytecode": (machine.bytecode(20, 600), WARNING, "580 of 600 modules are compiled again at every start"),
    "no metrics file": (machine.metrics_file(None, is_there=False, is_writable=False), SKIPPED, "is not set"),
    "a metrics file": (machine.metrics_file("/d/x.prom", is_there=True, is_writable=True), OK, "can be written"),
    "a metrics file nowhere": (
        machine.metrics_file("/d/x.prom", is_there=False, is_writable=False),
        WARNING,
        "the directory of /d/x.prom does not exist",
    ),
    "a metrics file of others": (
        machine.metrics_file("/d/x.prom", is_there=True, is_writable=False),
        WARNING,
        "may not write to the directory of /d/x.prom",
    ),
    "a metrics file nobody reads": (
        machine.metrics_file("/d/x.txt", is_there=True, is_writable=True),
        WARNING,
        "does not read /d/x.txt",
    ),
    "any files": (machine.process_limits(None, connections=64, others=16), OK, "any number of files"),
}


def test_the_page_on_scaling_shows_what_the_check_of_the_engine_says() -> None:
    """Its block cannot be run where there is no engine."""
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
    assert f"# engine: {engine('15.18', [kept(4)], ON_CITUS).finding}\n" in page


@pytest.mark.parametrize(("check", "outcome", "words"), CASES.values(), ids=CASES)
def test_facts_become_one_line_and_a_remedy(check: Check, outcome: Outcome, words: str) -> None:
    """At each edge of every limit; what deserves a look says what to do, and what is well does not."""
    assert check.outcome is outcome, check.finding
    assert words in check.finding
    assert "\n" not in check.finding + check.remedy
    assert bool(check.remedy) is (outcome in {WARNING, PROBLEM})


def test_a_reader_is_let_in_as_one() -> None:
    """The remedy does not give away more than is missing."""
    for commands in (["status"], ["export", "verify"], ["export", "status", "verify"]):
        reader = rights("ann", [LackingRight("SELECT on ingest_runs", commands)])
        assert "--reader ann`" in reader.remedy, commands
    writer = rights("ann", [LackingRight("SELECT on ingest_runs", ["status", "snapshot"])])
    assert "--writer ann`" in writer.remedy


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")]
)
def test_an_age_is_told_in_one_unit(seconds: int, words: str) -> None:
    """The one that needs few digits."""
    assert age(timedelta(seconds=seconds)) == words


def test_the_page_explains_every_check_and_no_other() -> None:
    """In their order, with what each looks at and what to do."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", PAGE.partition("## Checks")[2], re.MULTILINE)
    assert [name for name, _, _ in rows] == list(CheckId)
    assert set(re.findall(r"^\| `(\w+)` \| [^|]+ \|$", PAGE, re.MULTILINE)) == set(Outcome)
