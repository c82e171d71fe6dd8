"""What a database can do to a minute: leave, fall silent, refuse, and lie about a COMMIT."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql

from hlctl import sim
from tests.e2e.conftest import Hlctl, M, start_slowly
from tests.e2e.oracle import Rows, after, assert_whole, known, universe
from tests.e2e.proxy import Deed, Proxy, cut, fall_silent, lose_the_reply, proxied

At = Callable[..., None]
NextMinute = Callable[..., None]

PUBLISHING = b"INSERT INTO ingest_runs"
COMMIT = b"INSERT INTO ingest_health...COMMIT"
COST = "SELECT status, attempts, requests_sent, retries FROM ingest_runs"


@pytest.fixture
def proxy(with_universe: Hlctl) -> Iterator[Proxy]:
    """Return a proxy in front of the test's database."""
    with proxied(with_universe.settings["HLCTL_DATABASE_URL"]) as proxy:
        yield proxy


# ---- lost connections


def test_a_connection_lost_during_the_fetch_costs_nothing(
    with_universe: Hlctl, exchange: sim.Exchange, proxy: Proxy, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """The answers are kept, the same minute is published on a new connection, and nobody is asked twice."""
    end = start_slowly(with_universe, exchange, 50, HLCTL_DATABASE_URL=proxy.url)
    proxy.cut_all()
    ran = end()
    assert (ran.code, ran.err) == (0, "")
    assert rows(COST) == [("success", 1, 200, 0)]
    assert exchange.requests == 200
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_a_session_ended_by_the_dba_costs_nothing(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """The server says so itself (57P01), which is not a bug and not the end of the minute."""
    end = start_slowly(with_universe, exchange, 50)
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    assert (True,) in rows(f"{ended} AND application_name = 'hlctl'")
    ran = end()
    assert (ran.code, ran.err) == (0, "")
    assert rows(COST) == [("success", 1, 200, 0)]
    assert exchange.requests == 200
    next_minute_is_good()


@pytest.mark.parametrize(
    ("words", "deed"),
    [
        (PUBLISHING, cut),
        (PUBLISHING, lose_the_reply),
        (b"INSERT INTO wallet_snapshots", cut),
        (b"UPDATE ingest_runs", lose_the_reply),
        (COMMIT, cut),
        (COMMIT, lose_the_reply),
    ],
    ids=[
        "before its claim",
        "after its claim",
        "before its cells",
        "after its counts",
        "before COMMIT",
        "after COMMIT",
    ],
)
def test_a_connection_lost_while_publishing_publishes_once(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    proxy: Proxy,
    rows: Rows,
    next_minute_is_good: NextMinute,
    words: bytes,
    deed: Deed,
) -> None:
    """Whether the COMMIT landed is decided by the attempt's id, never guessed: counted once, asked once."""
    proxy.when(words, deed)
    ran = with_universe("snapshot", HLCTL_DATABASE_URL=proxy.url)
    assert (ran.code, ran.err) == (0, "")
    assert "success, 200 of 200 wallets, 600 cells" in ran.out
    assert proxy.done
    assert proxy.connections == 2
    assert rows(COST) == [("success", 1, 200, 0)]
    assert exchange.requests == 200
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_another_run_may_have_the_lock_by_then_and_both_publish(
    with_universe: Hlctl, exchange: sim.Exchange, proxy: Proxy, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """The lock saves requests; what is known is never thrown away for want of it."""
    for address in universe(rows)[:20]:
        exchange.misbehave(address, sim.Fault(status=404, times=1))
    end = start_slowly(with_universe, exchange, 50, HLCTL_DATABASE_URL=proxy.url)
    proxy.cut_all()
    exchange.misbehave(None, sim.Fault(delay=0.2))
    other = with_universe("snapshot")
    ran = end()
    assert {ran.code, other.code} <= {0, 3}
    assert_whole(rows, exchange, M)
    assert rows("SELECT attempts FROM ingest_runs") == [(2,)]
    next_minute_is_good()


def test_a_run_that_lost_the_lock_before_it_asked_leaves_the_minute_to_who_has_it(
    with_universe: Hlctl, exchange: sim.Exchange, proxy: Proxy, database: str, at: At, rows: Rows
) -> None:
    """It waited for the minute to begin; two runs that ask would cost the limit twice."""
    minute = after(M)
    at(second=54.0)
    process = with_universe.start("snapshot", HLCTL_DATABASE_URL=proxy.url)
    number = round(minute.timestamp()) // 60
    while not rows("SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s", number):
        assert process.poll() is None
        time.sleep(0.02)
    proxy.cut_all()
    with closing(psycopg.connect(database, autocommit=True)) as other:
        other.execute("SELECT pg_advisory_lock(1751908352, %s)", [number])  # waits until the server knows of the cut
        while rows("SELECT hlctl_clock() < %s", minute + timedelta(seconds=3)) == [(True,)]:
            assert process.poll() is None, "it tries again: who has the lock may have been its own lost session"
            time.sleep(0.1)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert exchange.requests == 0
    assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]


@pytest.mark.parametrize(
    "words",
    [b"WITH ORDINALITY AS s (requests, second)", PUBLISHING, b"INSERT INTO ingest_health"],
    ids=["before it asks", "before its claim", "after its cells"],
)
def test_a_server_that_falls_silent_is_given_up_and_asked_on_a_new_connection(
    with_universe: Hlctl, proxy: Proxy, rows: Rows, next_minute_is_good: NextMinute, words: bytes
) -> None:
    """Neither timeouts of the server nor keepalives notice: something on the way goes on acknowledging.

    So the session is still there, with the lock of the minute and of its row, until the server finds it idle.
    """
    proxy.when(words, fall_silent)
    ran = with_universe("snapshot", HLCTL_DATABASE_URL=proxy.url)
    assert (ran.code, ran.err) == (0, "")
    assert rows(COST) == [("success", 1, 200, 0)]
    assert 11 < ran.seconds < 30
    next_minute_is_good()


@pytest.mark.parametrize("moment", ["while publishing", "from the start"])
def test_a_run_ends_before_second_57_though_the_database_is_silent_for_ever(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    proxy: Proxy,
    rows: Rows,
    at: At,
    next_minute_is_good: NextMinute,
    moment: str,
) -> None:
    """One line, exit 5, no row: the next minute must not find this run still there."""
    at(40.0)
    if moment == "from the start":
        proxy.fall_silent()
        ran = with_universe("snapshot", HLCTL_DATABASE_URL=proxy.url)
        assert ran.err == "hlctl snapshot: cannot connect to the database: no answer in time\n"
        assert exchange.requests == 0
    else:
        end = start_slowly(with_universe, exchange, 50, HLCTL_DATABASE_URL=proxy.url)
        proxy.fall_silent()
        ran = end()
        assert ran.err == "hlctl snapshot: the database failed: no answer in time\n"
    assert ran.code == 5
    assert exchange.clock() % 60 < 57
    assert exchange.clock() // 60 == M.timestamp() // 60
    assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]
    proxy.silent = False
    next_minute_is_good()


def test_a_commit_nobody_answers_is_not_called_failed(
    with_universe: Hlctl, exchange: sim.Exchange, proxy: Proxy, rows: Rows, at: At, next_minute_is_good: NextMinute
) -> None:
    """It may have landed, so the line says that this is not known, and how to know it."""
    at(40.0)

    def swallow_it_and_all_that_follows(pair: object) -> bool:
        lose_the_reply(pair)  # type: ignore[arg-type]
        threading.Timer(0.3, proxy.fall_silent).start()
        return True

    proxy.when(COMMIT, swallow_it_and_all_that_follows)
    ran = with_universe("snapshot", HLCTL_DATABASE_URL=proxy.url)
    assert ran.code == 5
    assert ran.err.endswith("; whether 20:44 UTC was recorded is not known; `hlctl status` tells\n")
    assert ran.err.count("\n") == 1
    assert_whole(rows, exchange, M)
    proxy.silent = False
    next_minute_is_good()


def test_status_says_within_seconds_that_the_database_is_silent(with_universe: Hlctl, proxy: Proxy) -> None:
    """Who asks whether all is well must not hang: at the connection, and in the middle of the session."""
    usual = with_universe("status").seconds
    proxy.when(b"v_latest_health", fall_silent)
    for _ in ("in the session", "at the connection"):
        ran = with_universe("status", "--json", HLCTL_DATABASE_URL=proxy.url)
        assert ran.code == 5
        # In whose words depends on how fast the machine starts a process.
        assert ran.document["error"]["message"].endswith("answer in time")
        assert ran.seconds < usual + 5
        proxy.fall_silent()


# ---- servers that refuse


def test_a_lock_held_for_a_while_is_waited_for(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """Longer than the lock timeout: the answers are kept and the transaction begins again."""
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"])) as holder:
        end = start_slowly(with_universe, exchange, 50)
        holder.execute("LOCK TABLE wallet_snapshots IN SHARE MODE")
        time.sleep(8)
        holder.rollback()
        ran = end()
    assert ran.seconds > 8
    assert (ran.code, ran.err) == (0, "")
    assert rows(COST) == [("success", 1, 200, 0)]
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_a_lock_held_for_ever_costs_the_minute_and_says_so(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """Exit 5 and no row: a gap means that the database could not be written."""
    at(40.0)
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"])) as holder:
        holder.execute("LOCK TABLE ingest_runs IN SHARE MODE")
        ran = with_universe("snapshot")
        assert ran.code == 5
        assert "(SQLSTATE 55P03)" in ran.err
        assert exchange.clock() % 60 < 57
    assert rows("SELECT count(*) FROM ingest_runs") == [(0,)]
    next_minute_is_good()


@pytest.mark.parametrize(
    ("misfortune", "lasts"), [("PERFORM pg_sleep(30)", 10), ("RAISE serialization_failure", 0)], ids=["57014", "40001"]
)
def test_a_statement_that_takes_too_long_or_is_refused_is_tried_again(
    with_universe: Hlctl, rows: Rows, next_minute_is_good: NextMinute, misfortune: str, lasts: int
) -> None:
    """A slow disk for ten seconds must not cost a minute that has thirty left; a distributed engine just gives up."""
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        # A sequence is not rolled back: only the first statement is slow.
        conn.execute("CREATE SEQUENCE called")
        conn.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF nextval('called') = 1 THEN {misfortune}; END IF; RETURN NULL; END $$".encode()
        )
        conn.execute("CREATE TRIGGER slow BEFORE INSERT ON ingest_health EXECUTE FUNCTION slow()")
    ran = with_universe("snapshot")
    assert (ran.code, ran.err) == (0, "")
    assert ran.seconds > lasts
    assert rows("SELECT last_value > 1 FROM called") == [(True,)]
    assert rows(COST) == [("success", 1, 200, 0)]
    next_minute_is_good()


def test_a_deadlock_is_tried_again(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """A stranger who has what the run wants, and waits for what the run has: the server throws the run out (40P01)."""
    url = with_universe.settings["HLCTL_DATABASE_URL"]
    with closing(psycopg.connect(url, autocommit=True)) as conn:
        conn.execute("CREATE SEQUENCE called")
        conn.execute(
            "CREATE FUNCTION embrace() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('called') = 1 THEN"
            " WHILE NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'ingest_runs'::regclass AND NOT granted) LOOP"
            " PERFORM pg_sleep(0.01); END LOOP; LOCK TABLE alerts; END IF; RETURN NULL; END $$"
        )
        conn.execute("CREATE TRIGGER embrace BEFORE INSERT ON ingest_health EXECUTE FUNCTION embrace()")
    claimed = "SELECT FROM pg_locks WHERE relation = 'ingest_runs'::regclass AND mode = 'RowExclusiveLock'"
    with closing(psycopg.connect(url)) as stranger:
        stranger.execute("SET deadlock_timeout = '1min'")  # the run is the one that looks for deadlocks
        stranger.execute("LOCK TABLE alerts")
        process = with_universe.start("--log-level", "info", "snapshot")
        while process.poll() is None and not rows(claimed):
            time.sleep(0.01)
        stranger.execute("LOCK TABLE ingest_runs")  # the run was thrown out
        stranger.rollback()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "(SQLSTATE 40P01); trying again\n" in err) == (0, True), err
    assert rows(COST) == [("success", 1, 200, 0)]
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_a_transaction_ended_by_the_server_for_its_idleness_costs_nothing(
    with_universe: Hlctl, exchange: sim.Exchange, proxy: Proxy, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """A statement was so long on its way that the server took its client for lost (25P03)."""

    def dawdle(_pair: object) -> bool:
        time.sleep(9)
        return True

    proxy.when(PUBLISHING, dawdle)
    ran = with_universe("--log-level", "info", "snapshot", HLCTL_DATABASE_URL=proxy.url)
    assert ran.code == 0
    assert "(SQLSTATE 25P03); trying again\n" in ran.err, ran.err
    assert rows(COST) == [("success", 1, 200, 0)]
    assert_whole(rows, exchange, M)
    next_minute_is_good()


@pytest.mark.parametrize("off", [-86400, -37, 37])
def test_a_database_clock_that_is_off_makes_no_false_minute(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    rows: Rows,
    set_clock: Callable[..., None],
    next_minute_is_good: NextMinute,
    off: int,
) -> None:
    """What the exchange dates outside the minute is not recorded in it, and the figure is told, not 200 riddles."""
    began = M + timedelta(seconds=2 - off)
    offset = began.timestamp() - time.time()
    set_clock(M + timedelta(seconds=2))
    exchange.clock = lambda: time.time() + offset
    ran = with_universe("snapshot")
    if off == -37:  # the exchange is in the minute's other half
        assert (ran.code, ran.err) == (0, "")
        assert rows("SELECT clock_offset_ms / 1000 BETWEEN 36 AND 38 FROM ingest_runs") == [(True,)]
    else:
        told = re.search(r"\(20 stale\); their time is (\d+) s (\w+)", ran.err)
        assert ran.code == 4
        assert told, ran.err
        assert abs(int(told[1]) - abs(off)) <= 1
        assert told[2] == ("behind" if off > 0 else "ahead")
        assert known(rows) == set()
    next_minute_is_good()


def test_without_its_key_a_table_takes_no_cell(
    with_universe: Hlctl, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """Somebody dropped it: then nothing tells a second value from a first one, and nothing is written."""
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        conn.execute("ALTER TABLE wallet_snapshots DROP CONSTRAINT wallet_snapshots_pkey")
        ran = with_universe("snapshot")
        assert (ran.code, "InvalidColumnReference (42P10)" in ran.err) == (70, True)
        assert rows("SELECT count(*) FROM wallet_snapshots") == rows("SELECT count(*) FROM ingest_runs") == [(0,)]
        conn.execute("ALTER TABLE wallet_snapshots ADD PRIMARY KEY (snapshot_ts, wallet_id, asset)")
    next_minute_is_good()


HOSTILE = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "America/St_Johns",
    "search_path": "pg_temp",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "statement_timeout": "100ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "100ms",
    "synchronous_commit": "off",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "client_encoding": "SQL_ASCII",
    "backslash_quote": "on",
    "jit": "on",
    "enable_indexscan": "off",
    "row_security": "off",
    "client_min_messages": "debug5",
}


def test_hostile_settings_of_role_and_database_change_nothing(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, next_minute_is_good: NextMinute
) -> None:
    """Somebody's ALTER DATABASE ... SET must neither stop a minute nor change a value in it."""
    at(20.0)
    exchange.misbehave(universe(rows)[0], sim.Fault(delay=1.0))  # longer than the idle timeout
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        database = sql.Identifier(conn.info.dbname)
        for name, value in HOSTILE.items():
            conn.execute(sql.SQL("ALTER DATABASE {} SET {} = {}").format(database, sql.Identifier(name), value))
    ran = with_universe("snapshot")
    assert (ran.code, ran.err) == (0, "")
    assert with_universe("status").out.startswith("health            healthy\n")
    assert with_universe("refresh-universe").code == 0
    assert with_universe("init-db").code == 0
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        conn.execute("SET default_transaction_read_only = off")
        conn.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(database))
    assert_whole(rows, exchange, M)
    next_minute_is_good()
