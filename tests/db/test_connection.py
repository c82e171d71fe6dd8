"""Connections whose waits end, whatever the server does."""

import threading
import time

import psycopg
import pytest

from hlctl import db


def test_a_wait_ends_when_no_second_is_left(conn: db.Connection) -> None:
    """What is left is asked again and again: a signal may come while the server is busy."""
    ends = [time.monotonic() + 60]
    conn.left = lambda: ends[0] - time.monotonic()
    signal = threading.Timer(0.5, ends.insert, (0, 0.0))
    signal.start()
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="timeout expired"), db.transaction(conn):
        conn.execute("SELECT pg_sleep(9)")
    assert time.monotonic() - began < 5
    assert conn.closed, "nobody knows what state it is in"


def test_a_statement_has_the_servers_own_timeout_and_a_little_more(conn: db.Connection) -> None:
    """A server that is there says so itself, in better words than ours."""
    with pytest.raises(psycopg.errors.QueryCanceled), db.transaction(conn, statement_timeout=1):
        conn.execute("SELECT pg_sleep(30)")
    assert not conn.closed


def test_what_comes_in_time_is_passed_on(conn: db.Connection) -> None:
    """Large results come in many pieces."""
    with db.transaction(conn):
        rows = conn.execute("SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) AS g").fetchall()
    assert len(rows) == 5000


def test_an_error_says_what_the_server_said_and_no_value(conn: db.Connection) -> None:
    """The detail of a violation quotes the row."""
    with pytest.raises(psycopg.errors.CheckViolation) as failure, db.transaction(conn):
        conn.execute("INSERT INTO wallets (address) VALUES ('TOPSECRET')")
    assert "TOPSECRET" not in db.explain(failure.value)
    assert "(SQLSTATE 23514)" in db.explain(failure.value)
