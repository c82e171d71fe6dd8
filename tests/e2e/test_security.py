"""What a stranger, another user or a hostile database may try: nothing of it runs, leaks or is shown."""

import json
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from itertools import cycle
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from hlctl import sim
from tests.e2e.conftest import Hlctl, M
from tests.e2e.oracle import Rows, assert_whole, universe
from tests.e2e.test_refresh_universe import document, make_row

At = Callable[..., None]
Check = Callable[..., None]


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="/proc is not here: nobody tells the limits")
def test_a_crash_leaves_no_core_file_with_the_secrets(
    with_universe: Hlctl, exchange: sim.Exchange, next_minute_is_good: Check
) -> None:
    """Whatever limit the caller had: the password is in the process's memory, and a core file is read by others."""
    exchange.misbehave(None, sim.Fault(delay=30))
    allowed = ["sh", "-c", 'ulimit -S -c "$(ulimit -H -c)" && exec "$@"', "sh"]
    process = with_universe.start("snapshot", before=allowed)
    began = time.monotonic()
    while not exchange.in_flight:
        assert process.poll() is None
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    process.send_signal(signal.SIGABRT)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGABRT
    (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4] == "0"
    assert list(with_universe.home.glob("*core*")) == []
    next_minute_is_good()


def test_modules_and_settings_that_lie_about_are_not_loaded(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: Check
) -> None:
    """The working directory and the home may be anybody's: a `requests.py` there would run with our rights."""
    home = with_universe.home
    personal = home / f".local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    personal.mkdir(parents=True)
    for name in ("hlctl", "requests", "psycopg", "typer", "json", "resource", "sitecustomize", "usercustomize"):
        for folder in (home, personal):
            (folder / f"{name}.py").write_text(f"open({str(home / 'trapped')!r}, 'a').write({name!r})\n")
    (home / ".env").write_text("HLCTL_UNIVERSE_SIZE=none\n")
    ran = with_universe("snapshot")
    assert (ran.code, ran.err) == (0, "")
    assert with_universe("status").code == 0
    assert not (home / "trapped").exists()
    assert_whole(rows, exchange, M)
    next_minute_is_good()


WORDS = [
    "'; DROP TABLE wallet_snapshots CASCADE; --",
    '"; DROP TABLE wallet_snapshots CASCADE; --',
    "$$; DELETE FROM wallets; $$",
    "\\'; COMMIT; --",
    "' || pg_sleep(60) || '",
    "' UNION SELECT rolpassword FROM pg_authid --",
    "%(since)s",
    "%s %b {} $1",
]


def test_no_word_from_outside_becomes_sql(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: Check
) -> None:
    """Names and addresses of a leaderboard, coins and kinds of an answer, times and roles of a command line."""
    words = cycle(WORDS)
    known = universe(rows)
    hostile = [make_row(number, ethAddress=known[number - 1], displayName=next(words)) for number in range(1, 201)]
    exchange.leaderboard_body = document(*hostile, *(make_row(500, ethAddress=word) for word in WORDS))
    ran = with_universe("refresh-universe")
    assert (ran.code, ran.err) == (0, "")
    assert rows("SELECT rows_rejected FROM wallet_universe_runs ORDER BY run_id DESC LIMIT 1") == [(len(WORDS),)]
    for address, word in zip(known, WORDS, strict=False):
        lever = {"type": word, "value": 2}
        held = [{"position": {"coin": word}}, {"position": {"coin": "BTC", "szi": "1", "leverage": lever}}]
        exchange.misbehave(address, sim.Fault(body=json.dumps({"assetPositions": held}).encode()))
    assert with_universe("snapshot").code == 0
    assert rows("SELECT missing FROM ingest_runs") == [({"bad_shape": len(WORDS)},)]
    for word in WORDS[:2]:  # each is two commands, and costs as much as a minute
        assert with_universe("verify", "--minute", word).code == 2
        assert with_universe("init-db", "--reader", word).code == 6
    assert len(universe(rows)) == 200
    next_minute_is_good()


ODD = "\x1b[2J\u202e[/red]\r\n<2>HLCTL OK - forged"
SIGNS = ("\x1b", "\u202e", "\r", "\n<2>", "\nHLCTL OK - forged")
ROGUE = [
    "CREATE SCHEMA rogue",
    "CREATE FUNCTION rogue.hlctl_clock() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '2000-01-01Z' $$",
    "CREATE FUNCTION rogue.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT timestamptz '2000-01-01Z' $$",
    "CREATE FUNCTION rogue.pg_try_advisory_xact_lock(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT false'",
    "CREATE VIEW rogue.v_latest_health AS SELECT 'healthy' AS health_state",
    "CREATE TABLE rogue.ingest_runs (snapshot_ts timestamptz)",
    "CREATE TABLE rogue.wallet_snapshots (snapshot_ts timestamptz)",
]


def test_a_hostile_database_neither_stands_in_for_ours_nor_steers_a_terminal(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, database: str, next_minute_is_good: Check
) -> None:
    """Functions and tables of the same names stand before ours on the path; texts of the record drive a terminal."""
    with closing(psycopg.connect(database, autocommit=True)) as owner:
        name = sql.Identifier(owner.info.dbname)
        for statement in ROGUE:
            owner.execute(statement.encode())
        owner.execute(sql.SQL("ALTER DATABASE {} SET search_path = rogue, pg_catalog, public").format(name))
        ran = with_universe("snapshot")
        owner.execute(sql.SQL("ALTER DATABASE {} RESET search_path").format(name))
        assert (ran.code, ran.err) == (0, "")
        assert owner.execute("SELECT count(*) FROM rogue.ingest_runs").fetchone() == (0,)
        assert_whole(rows, exchange, M)
        owner.execute("UPDATE ingest_runs SET host = %s, version = %s, error = %s", [ODD, ODD, ODD])
        owner.execute("UPDATE ingest_health SET error = %s", [ODD])
    for command in (("status",), ("status", "--verbose"), ("status", "--check"), ("verify", "--minute", f"{M:%FT%RZ}")):
        for options in ((), ("--json",)):
            if "--check" in command and options:
                continue
            shown = with_universe(*command, *options)
            assert [sign for sign in SIGNS if sign in shown.out + shown.err] == [], command
    next_minute_is_good()
