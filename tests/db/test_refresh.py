"""A refresh in a real database: what is stored of it, and that neither servers nor the network outlast its bounds."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from hlctl import db, exchange, store
from hlctl.errors import DatabaseUnusableError, UniverseKeptError
from hlctl.jobs import universe
from hlctl.model import LeaderboardRow, Refresh, Source
from hlctl.results import NotDueResult
from hlctl.settings import Settings

RUN = """
    SELECT status, source, n_requested, n_received, entered_count, exited_count, churn_warning_count, rows_seen, error
      FROM wallet_universe_runs ORDER BY run_id DESC LIMIT 1
"""
IN_FORCE = "SELECT address FROM v_universe ORDER BY rank"


def address(number: int) -> str:
    return f"0x{number:040x}"


def make_members(*numbers: int) -> list[LeaderboardRow]:
    return [
        LeaderboardRow(
            address=address(number),
            month_pnl=Decimal(1000 - rank),
            month_roi=Decimal(0),
            month_volume=Decimal(0),
            account_value=Decimal(0),
        )
        for rank, number in enumerate(numbers)
    ]


def make_refresh(**overrides: Any) -> Refresh:
    fields: dict[str, Any] = {
        "run_id": None, "source": Source.INFO_API, "n_requested": 3, "n_received": 3, "entered": (), "exited": (),
        "turnover": None, "churn_warning_count": 0, "rows_seen": 9, "rows_rejected": 1, "duration_ms": 5,
    }  # fmt: skip
    return Refresh(**{**fields, **overrides})


# ---- what is stored


def test_before_the_first_refresh_there_are_no_members_to_measure_against(conn: db.Connection) -> None:
    """And no warning."""
    with db.transaction(conn):
        assert store.find_stored_members(conn) == (0, [])


def test_a_refresh_that_is_not_accepted_stores_its_members_and_the_universe_stays(conn: db.Connection) -> None:
    """Nobody entered and nobody exited, and the next turnover is measured against these members."""
    with db.transaction(conn):
        store.replace_universe(conn, make_refresh(entered=(address(1),) * 3), make_members(1, 2, 3))
        refused = make_refresh(entered=(address(5),), exited=(address(1),), churn_warning_count=3)
        kept = store.keep_universe(conn, refused, make_members(5, 2, 9), error="churn: 67%")
    assert conn.execute(IN_FORCE.encode()).fetchall() == [(address(n),) for n in (1, 2, 3)]
    assert conn.execute(RUN.encode()).fetchone() == ("failed", "info-api", 3, 3, 0, 0, 3, 9, "churn: 67%")
    assert (kept.entered, kept.exited) == ((), ())
    with db.transaction(conn):
        assert store.find_stored_members(conn) == (3, [address(n) for n in (5, 2, 9)])
        assert [wallet.address for wallet in store.list_task(conn, store.read_clock(conn)).wallets] == [
            address(n) for n in (1, 2, 3)
        ], "a snapshot asks who is in force"


@pytest.mark.parametrize(
    ("behind", "numbers"),
    [("wallet_universe_runs", (1, 2, 3)), ("wallets", (1, 2, 4)), ("a gap in wallet_universe_runs", (1, 2, 3))],
)
def test_a_sequence_that_did_not_come_along_is_named_with_its_remedy(
    conn: db.Connection, behind: str, numbers: tuple[int, ...]
) -> None:
    """Logical replication copies rows and no sequences; a refresh whose number is not the highest is never in force."""
    with db.transaction(conn):
        store.replace_universe(conn, make_refresh(), make_members(1, 2, 3))
        if behind.startswith("a gap"):
            conn.execute("SELECT nextval(pg_get_serial_sequence('wallet_universe_runs', 'run_id'))")
            store.replace_universe(conn, make_refresh(), make_members(3, 2, 1))
    table = behind.rpartition(" ")[2]
    column = "wallet_id" if table == "wallets" else "run_id"
    to = 1 + behind.startswith("a gap")
    conn.execute(f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), {to}, {to} > 2)".encode())
    with pytest.raises(DatabaseUnusableError, match=f"sequence of {table}.{column} is behind") as raised:
        refresh_again(conn, numbers)
    conn.execute(raised.value.remedy.partition(": ")[2].encode())
    refresh_again(conn, numbers)
    assert conn.execute(IN_FORCE).fetchall() == [(address(number),) for number in numbers]


def refresh_again(conn: db.Connection, numbers: tuple[int, ...]) -> None:
    with db.transaction(conn):
        store.replace_universe(conn, make_refresh(), make_members(*numbers))


def test_a_refresh_that_gave_nothing_leaves_the_members_to_measure_against_as_they_were(conn: db.Connection) -> None:
    """An outage between two warnings is no calm."""
    with db.transaction(conn):
        store.replace_universe(conn, make_refresh(churn_warning_count=2), make_members(1, 2, 3))
        store.add_failed_refresh(conn, n_requested=3, duration_ms=1, rows_seen=0, rows_rejected=0, error="reset")
        assert store.find_stored_members(conn) == (2, [address(n) for n in (1, 2, 3)])
    assert conn.execute(RUN.encode()).fetchone() == ("failed", None, 3, 0, 0, 0, 0, 0, "reset")


# ---- bounds


def test_the_sources_the_idle_transaction_and_the_transaction_are_bounded_in_this_order() -> None:
    """The server frees the lock of a frozen client, and never that of one that is still within its time."""
    idle_timeout = float(universe._READING.removesuffix("s"))
    assert sum(exchange.LEADERBOARD_SECONDS.values()) < idle_timeout < db.TRANSACTION_TIMEOUT


def test_the_transaction_is_bounded_whatever_the_database_says(database: str) -> None:
    """PostgreSQL arms this timeout only when it comes from 0; here with one second instead of 180."""
    with psycopg.connect(database, autocommit=True) as owner:
        if owner.info.server_version < 170_000:
            pytest.skip("transaction_timeout exists from PostgreSQL 17 on; the idle timeout bounds it before")
        owner.execute(f"ALTER DATABASE \"{owner.info.dbname}\" SET transaction_timeout = '1h'".encode())
    with db.connect(database) as conn:
        with db.transaction(conn):
            assert conn.execute("SHOW transaction_timeout").fetchone() == ("3min",)
        with pytest.raises(psycopg.errors.TransactionTimeout), db.transaction(conn, transaction_timeout=1):
            conn.execute("SELECT pg_sleep(9)")


@pytest.fixture
def listening() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Return a function that hands every connection to `serve` in a thread of its own, and returns the address."""
    listeners = []

    def listen(serve: Callable[[socket.socket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=quietly, args=(listener.accept()[0],), daemon=True).start()

        def quietly(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield listen
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def drip(at_once: bytes, slowly: bytes) -> Callable[[socket.socket], None]:
    """Send the rest of an answer a byte at a time, never silent for as long as any read timeout."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(at_once)
        for byte in slowly:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    return serve


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 42000000\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
DRIPS = {
    "in its headers": drip(b"", HEAD * 100),
    "in its body": drip(HEAD + b'\r\n{"leaderboardRows":[', b" " * 9000),
    "in its chunks": drip(CHUNKED, b"1\r\n \r\n" * 2000),
    "without a word": lambda connection: time.sleep(connection.gettimeout() or 60),
}


@pytest.mark.parametrize("where", DRIPS)
def test_all_sources_together_are_bounded_whatever_drips(
    conn: db.Connection, listening: Callable[[Callable[[socket.socket], None]], str], where: str
) -> None:
    """The first universe is made within a snapshot, which has a minute to end in."""
    url = listening(DRIPS[where])
    began = time.monotonic()
    with pytest.raises(UniverseKeptError, match="there is no universe yet"):
        universe.require_universe(conn, Settings(api_url=url, leaderboard_url=url), seconds=1.0)
    assert 1.0 <= time.monotonic() - began < 10
    row = conn.execute("SELECT status, error FROM wallet_universe_runs").fetchone()
    late = "info-api: late: there is no time left to ask"
    assert row == ("failed", f"stats-data: timeout: no answer in time; {late}")


@pytest.mark.parametrize("where", DRIPS)
def test_each_source_is_bounded_on_its_own_too(
    conn: db.Connection,
    listening: Callable[[Callable[[socket.socket], None]], str],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second source has its chance although the first used up all of its time; here a second each."""
    monkeypatch.setattr(exchange, "LEADERBOARD_SECONDS", dict.fromkeys(Source, 1.0))
    url = listening(DRIPS[where])
    began = time.monotonic()
    with pytest.raises(UniverseKeptError):
        universe.require_universe(conn, Settings(api_url=url, leaderboard_url=url), seconds=60.0)
    assert 2.0 <= time.monotonic() - began < 15
    row = conn.execute("SELECT error FROM wallet_universe_runs").fetchone()
    assert row == ("stats-data: timeout: no answer in time; info-api: timeout: no answer in time",)


# ---- when


def test_a_refresh_that_another_process_has_just_made_is_not_made_again(conn: db.Connection) -> None:
    """What was due before the lock need not be due behind it; nothing is asked of anybody."""
    seen: list[int] = []

    def reason(_conn: db.Connection) -> str | None:
        seen.append(1)
        return None if len(seen) == 1 else "another process was faster"

    nowhere = Settings(api_url="http://127.0.0.1:9", leaderboard_url="http://127.0.0.1:9")
    assert universe._refresh_unless(reason, conn, nowhere, force=False) == "another process was faster"
    assert conn.execute("SELECT count(*) FROM wallet_universe_runs").fetchone() == (0,)


def test_a_failed_refresh_makes_the_universe_no_younger(conn: db.Connection) -> None:
    """Its age is that of the newest success, in the database's own time."""
    settings = Settings(universe_refresh_hours=Decimal(6))
    with db.transaction(conn):
        assert universe._not_due(settings, conn) is None
        store.replace_universe(conn, make_refresh(), make_members(1, 2, 3))
        waiting = universe._not_due(settings, conn)
    assert isinstance(waiting, NotDueResult)
    assert waiting.due_at - waiting.as_of_ts == timedelta(hours=5, minutes=42)
    conn.execute("UPDATE wallet_universe_runs SET as_of_ts = as_of_ts - interval '343 min'")
    with db.transaction(conn):
        store.add_failed_refresh(conn, n_requested=3, duration_ms=1, rows_seen=0, rows_rejected=0, error="reset")
        store.keep_universe(conn, make_refresh(churn_warning_count=3), make_members(5, 6, 7), error="churn")
        assert universe._not_due(settings, conn) is None
