"""`refresh-universe` when the world is unkind: a whole universe or the old one, whatever is cut, lost or killed."""

import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import chain, repeat
from typing import Any

import psycopg
import pytest

from hlctl import sim
from tests.e2e.conftest import COMMAND, Hlctl
from tests.e2e.proxy import fall_silent, proxied
from tests.e2e.test_refresh_universe import address, document, make_row, numbered

Rows = Callable[..., list[tuple[Any, ...]]]

UNIVERSE = "SELECT rank, address, month_pnl, month_roi, account_value, as_of_ts, run_id FROM v_universe ORDER BY rank"
OPENING = b'{"leaderboardRows":['
GOOD = document(*numbered(200))
OTHER_SPELLING = [
    document(*(make_row(n, ethAddress="0x" + address(n)[2:].upper()) for n in range(1, 201)))[len(OPENING) + 1 : -2]
]
AT_A_ROW = GOOD.index(b"}, {", 20_000) + 1  # where every row before is whole


@contextmanager
def answering(*head: bytes, body: Callable[[], Iterable[bytes]]) -> Iterator[str]:
    """Answer every request with these bytes and close the connection; yields the address."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = b"".join(iter(self.rfile.readline, b"\r\n"))
            if length := re.search(rb"(?i)content-length: (\d+)", request):
                self.rfile.read(int(length[1]))
            with suppress(OSError):  # the client has heard enough
                self.wfile.write(b"".join(line + b"\r\n" for line in (b"HTTP/1.1 200 OK", *head, b"")))
                for piece in body():
                    self.wfile.write(piece)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture
def universe(rows: Rows) -> list[tuple[Any, ...]]:
    """Return the members in force."""
    return rows(UNIVERSE)


@pytest.fixture
def is_over(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    rows: Rows,
    universe: list[tuple[Any, ...]],
    next_minute_is_good: Callable[..., None],
) -> Callable[..., None]:
    """Return what every test of a fault ends with: the next minute is good, and so is the next refresh."""

    def check() -> None:
        next_minute_is_good()
        exchange.leaderboard_body = None
        assert with_universe("refresh-universe").code == 0
        assert len(universe) == 200
        assert [row[:5] for row in rows(UNIVERSE)] == [row[:5] for row in universe]

    return check


@pytest.fixture
def is_kept(with_universe: Hlctl, rows: Rows, universe: list[tuple[Any, ...]]) -> Callable[..., None]:
    """Return a function that refreshes and expects to be refused by a rule, with one run more that says so."""
    recorded = "SELECT status, source, n_received, error FROM wallet_universe_runs ORDER BY run_id DESC"

    def check(stats_data: str, *, info_api: str = "http_4xx: the exchange answered 422", **settings: str) -> None:
        before = rows(recorded)
        ran = with_universe("refresh-universe", **settings)
        assert (ran.code, ran.out, ran.err.count("\n")) == (4, "", 1)
        assert ran.seconds < 60
        (status, source, n_received, error), *earlier = rows(recorded)
        assert (status, source, n_received) == ("failed", None, 0)
        assert earlier == before
        assert error in ran.err
        first, second = re.fullmatch("stats-data: (.*); info-api: (.*)", error, re.DOTALL).groups()  # type: ignore[union-attr]
        assert first.startswith(stats_data)
        assert second.startswith(info_api)
        assert rows(UNIVERSE) == universe
        assert rows("SELECT count(DISTINCT run_id) FROM wallet_universe_members") == [(1,)]

    return check


# ---- what is sent


def test_a_body_cut_at_a_row_boundary_is_refused_however_it_is_framed(
    is_kept: Callable[..., None], is_over: Callable[..., None]
) -> None:
    """Without a length the connection just ends, and HTTP itself sees nothing wrong."""
    chunked = b"Transfer-Encoding: chunked"
    for head, *body in (
        (b"Content-Length: %d" % len(GOOD), GOOD[:AT_A_ROW]),
        (b"Connection: close", GOOD[:AT_A_ROW]),
        (chunked, chunk(GOOD[:9000]), chunk(GOOD[9000:AT_A_ROW]), chunk(b"")),
        (chunked, chunk(GOOD)[: AT_A_ROW + len(b"abcd\r\n")]),  # in a chunk
    ):
        with answering(head, body=partial(iter, body)) as url:
            is_kept("truncated: ", HLCTL_LEADERBOARD_URL=url)
    is_over()


BAD: dict[str, tuple[list[bytes], Callable[[], Iterable[bytes]], str]] = {
    "something behind it": ([], lambda: [GOOD, b" {}"], "bad_shape: something follows the document"),
    "the document twice": ([], lambda: [GOOD, GOOD], "bad_shape: something follows the document"),
    "no end": ([], lambda: chain([OPENING], repeat(b'"' + b"x" * 60_000 + b'",')), "too_big: "),
    "a row without an end": ([], lambda: chain([OPENING, b'"'], repeat(b"x" * 60_000)), "bad_shape: a row is not JSON"),
    "blanks without an end": ([], lambda: chain([GOOD], repeat(b" " * 60_000)), "too_big: "),
    "a row of 65 KiB": (
        [],
        lambda: [document(*numbered(200), make_row(201, displayName="x" * 65 * 1024))],
        "bad_shape: a row is not JSON, or longer than 64 KiB",
    ),
    "a million rows and one": ([], lambda: [OPENING, b"0," * 1_000_000, b"0]}"], "too_big: more than 1,000,000 rows"),
    "deep nesting": ([], lambda: [OPENING, b"[" * 60_000, b"]" * 60_000, b"]}"], "bad_shape: a row is not JSON"),
    "deep nesting before the rows": ([], lambda: [b'{"a":', b'{"a":' * 20_000, b"0"], "bad_shape: a row is not JSON"),
    "gzip that is said": ([b"Content-Encoding: gzip"], lambda: [zlib.compress(GOOD, wbits=31)], "bad_shape: "),
    "gzip that is not said": ([], lambda: [zlib.compress(GOOD, wbits=31)], "bad_shape: the text is not UTF-8"),
    "a gzip bomb": ([b"Content-Encoding: gzip"], lambda: [zlib.compress(b" " * 2**28, wbits=31)], "bad_shape: "),
    "a byte order mark": ([], lambda: [b"\xef\xbb\xbf", GOOD], "bad_shape: "),
    "UTF-16": ([], lambda: [GOOD.decode().encode("utf-16")], "bad_shape: the text is not UTF-8"),
    "UTF-16 without a mark": ([], lambda: [GOOD.decode().encode("utf-16-le")], "bad_shape: "),
    "bad UTF-8 in a name": (
        [],
        lambda: [document(*numbered(200), make_row(201, displayName="NAME")).replace(b"NAME", b"\xff\xfe")],
        "bad_shape: the text is not UTF-8",
    ),
    "UTF-8 cut in a character": ([], lambda: [OPENING, b'"\xe8\x80'], "bad_shape: the text is not UTF-8"),
    "two arrays of rows": (
        [],
        lambda: [GOOD[:-1], b', "leaderboardRows": []}'],
        "bad_shape: leaderboardRows comes twice",
    ),
    "a bare array": ([], lambda: [json.dumps(numbered(200)).encode()], "bad_shape: "),
    "another name for the rows": ([], lambda: [GOOD.replace(b"leaderboardRows", b"rows")], "bad_shape: "),
    "month under another name": ([], lambda: [GOOD.replace(b'"month"', b'"30d"')], "no_ranking: "),
    "equal figures for all": ([], lambda: [re.sub(rb'"pnl": "\d+\.5"', b'"pnl": "7.0"', GOOD)], "no_ranking: "),
    "numbers instead of texts": (
        [],
        lambda: [re.sub(rb'"pnl": "([\d.]+)"', rb'"pnl": \1', GOOD)],
        "too_many_rejected: 200 of 200 rows",
    ),
    "a million characters of a name": (
        [],
        lambda: [document(make_row(201, displayName="x" * 10**6), *numbered(200))],
        "bad_shape: a row is not JSON, or longer than 64 KiB",
    ),
    "every wallet again in capitals": (
        [],
        lambda: [GOOD[:-2], b", ", *OTHER_SPELLING, b"]}"],
        "too_many_rejected: 200 of 400 rows",
    ),
    "179 of 200 wallets": ([], lambda: [document(*numbered(179))], "too_few_valid: 179 of 200 wallets"),
    "101 of 1,000 rows unreadable": (
        [],
        lambda: [document(*numbered(899), *[make_row(n, ethAddress="0x" + "0" * 40) for n in range(101)])],
        "too_many_rejected: 101 of 1000 rows",
    ),
}


@pytest.mark.parametrize("quarter", range(4))
def test_an_odd_leaderboard_is_refused_by_name(
    is_kept: Callable[..., None], is_over: Callable[..., None], quarter: int
) -> None:
    """The old universe stays, and a failed run says which rule it was, however many came before."""
    for head, body, rule in [*BAD.values()][quarter::4]:
        with answering(*head, body=body) as url:
            is_kept(rule, HLCTL_LEADERBOARD_URL=url)
    is_over()


def test_a_source_that_gives_no_leaderboard_is_named_with_its_reason(
    is_kept: Callable[..., None], is_over: Callable[..., None], exchange: sim.Exchange
) -> None:
    """No redirect is followed, nobody waits for an hour, and each of the two is asked once."""
    exchange.info_leaderboard = True
    for fault, rule in (
        (sim.Fault(status=301, headers={"Location": "/elsewhere"}), "redirect: "),
        (sim.Fault(status=307, headers={"Location": "/elsewhere"}), "redirect: "),
        (sim.Fault(status=429, headers={"Retry-After": "3600"}), "rate_limited: "),
        (sim.Fault(status=429), "rate_limited: "),
        (sim.Fault(status=500), "http_5xx: "),
        (sim.Fault(status=204), "bad_shape: "),
        (sim.Fault(status=206), "bad_shape: "),
        (sim.Fault(drop=True), "reset: "),
        (sim.Fault(body=b"blocked", headers={"Content-Type": "text/plain"}), "bad_shape: "),
    ):
        exchange.forget()
        exchange.misbehave(sim.LEADERBOARD, fault)
        exchange.misbehave(sim.INFO_LEADERBOARD, fault)
        is_kept(rule, info_api=rule)
        assert [entry.path for entry in exchange.journal] == ["/Mainnet/leaderboard", "/info"]
    is_over()


def test_the_second_source_is_judged_as_the_first(
    is_kept: Callable[..., None], is_over: Callable[..., None], exchange: sim.Exchange
) -> None:
    """It is the same reader and the same rules."""
    exchange.misbehave(sim.LEADERBOARD, sim.Fault(status=503))
    for what in ("something behind it", "a row of 65 KiB", "gzip that is said", "179 of 200 wallets"):
        head, body, rule = BAD[what]
        with answering(*head, body=body) as url:
            is_kept("http_5xx: ", info_api=rule, HLCTL_API_URL=url)
    is_over()


def test_a_file_that_is_refused_by_a_rule_gives_the_second_source_its_chance(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, is_over: Callable[..., None]
) -> None:
    """And its rows are recorded as its own."""
    exchange.info_leaderboard = True
    for what in ("something behind it", "no end", "179 of 200 wallets"):
        _head, body, _rule = BAD[what]
        with answering(body=body) as url:
            ran = with_universe("refresh-universe", HLCTL_LEADERBOARD_URL=url)
        assert (ran.code, ran.err) == (0, ""), what
        assert rows(
            "SELECT source, n_received, rows_seen, rows_rejected, error"
            " FROM wallet_universe_runs ORDER BY run_id DESC LIMIT 1"
        ) == [("info-api", 200, 400, 0, None)]
    is_over()


def test_a_leaderboard_that_lost_most_of_its_rows_is_told_by_who_changed(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows
) -> None:
    """A tenth of the rows closes as a whole one does; nine tenths of the best wallets are gone with the others."""
    exchange.leaderboard_body = document(*numbered(2000))
    for _ in range(2):  # the second is calm: it has nothing to warn of
        assert with_universe("refresh-universe", "--force").code == 0
    exchange.leaderboard_body = document(*numbered(2000)[9::10])
    ran = with_universe("refresh-universe")
    assert (ran.code, ran.err.count("\n")) == (0, 1)
    assert "churn: 90.0% of the wallets changed, more than 30%" in ran.err
    assert rows(
        "SELECT rows_seen, exited_count, churn_warning_count FROM wallet_universe_runs ORDER BY run_id DESC LIMIT 1"
    ) == [(200, 180, 1)]


def test_a_wallet_that_returns_has_the_key_it_had(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, is_over: Callable[..., None]
) -> None:
    """Its series goes on where it stopped."""
    keys: dict[str, int] = dict(rows("SELECT address, wallet_id FROM v_universe"))
    exchange.leaderboard_body = document(*numbered(200))
    assert with_universe("refresh-universe").code == 0
    assert dict(rows("SELECT address, wallet_id FROM v_universe")).keys().isdisjoint(keys)
    is_over()
    assert dict(rows("SELECT address, wallet_id FROM v_universe")) == keys


# ---- what is lost or killed while it is read


def wait_until(condition: Callable[[], Any]) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_signal_during_the_download_leaves_nothing(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    rows: Rows,
    universe: list[tuple[Any, ...]],
    is_over: Callable[..., None],
    *,
    number: int,
    code: int,
) -> None:
    """No row, no lock, and at once."""
    exchange.misbehave(sim.LEADERBOARD, sim.Fault(delay=60.0))
    process = with_universe.start("refresh-universe")
    wait_until(lambda: exchange.in_flight)
    began = time.monotonic()
    process.send_signal(number)
    _out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert time.monotonic() - began < 5
    assert err == ("" if number == signal.SIGKILL else "hlctl refresh-universe: a signal ended the run\n")
    assert rows("SELECT count(*) FROM wallet_universe_runs") == [(1,)]
    assert rows(UNIVERSE) == universe
    exchange.behave()
    wait_until(lambda: not rows(BACKENDS))
    assert with_universe("refresh-universe").code == 0, "no lock is left"
    is_over()


BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hlctl'"


def test_a_connection_lost_during_the_download_is_exit_5_and_the_old_universe(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    rows: Rows,
    universe: list[tuple[Any, ...]],
    is_over: Callable[..., None],
) -> None:
    """The leaderboard is the same in six hours; there is no minute to be saved by connecting again."""
    exchange.misbehave(sim.LEADERBOARD, sim.Fault(delay=1.5))
    process = with_universe.start("refresh-universe")
    wait_until(lambda: exchange.in_flight)
    assert rows(f"SELECT pg_terminate_backend(pid) FROM ({BACKENDS}) AS b") == [(True,)]  # noqa: S608 - no value in it
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, "")
    assert err.startswith("hlctl refresh-universe: the database failed: ")
    assert err.count("\n") == 1
    assert rows("SELECT count(*) FROM wallet_universe_runs") == [(1,)]
    assert rows(UNIVERSE) == universe
    is_over()


@pytest.mark.parametrize(
    "words", [b"INSERT INTO wallet_universe_runs", b"INSERT INTO wallet_universe_current"], ids=["run row", "current"]
)
def test_a_server_that_falls_silent_while_it_is_written_has_freed_the_lock_by_the_end(
    with_universe: Hlctl, rows: Rows, universe: list[tuple[Any, ...]], is_over: Callable[..., None], words: bytes
) -> None:
    """Only while it downloads may a session that nobody hears of hold the lock for as long as a download takes."""
    with proxied(with_universe.settings["HLCTL_DATABASE_URL"]) as proxy:
        proxy.when(words, fall_silent)
        ran = with_universe("refresh-universe", HLCTL_DATABASE_URL=proxy.url)
        assert (ran.code, ran.out, ran.err.count("\n")) == (5, "", 1)
        assert rows(BACKENDS) == []
        assert rows(UNIVERSE) == universe
        is_over()


STALL = """
    CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END'
"""
STATEMENT = "CREATE TRIGGER stall BEFORE {} FOR EACH STATEMENT EXECUTE FUNCTION stall()"
BEFORE = {
    "the run row": STATEMENT.format("INSERT ON wallet_universe_runs"),
    "the wallets": STATEMENT.format("INSERT ON wallets"),
    "the members": STATEMENT.format("INSERT ON wallet_universe_members"),
    "the old universe is cleared": STATEMENT.format("DELETE ON wallet_universe_current"),
    "the new universe is filled in": STATEMENT.format("INSERT ON wallet_universe_current"),
    "the end of COMMIT": """
        CREATE CONSTRAINT TRIGGER stall AFTER INSERT ON wallet_universe_current DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION stall()
    """,
}


@pytest.mark.parametrize("what", BEFORE)
def test_a_kill_between_any_two_statements_leaves_the_universe_whole(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    database: str,
    rows: Rows,
    is_over: Callable[..., None],
    *,
    what: str,
) -> None:
    """The old one, or, once COMMIT was sent, the new one; the server is held up, and the client dies."""
    universe = rows(UNIVERSE)
    exchange.leaderboard_body = document(*numbered(200))
    with closing(psycopg.connect(database, autocommit=True)) as owner:
        owner.execute(STALL.encode())
        owner.execute(BEFORE[what].encode())
        owner.execute("SELECT pg_advisory_lock(7)")
        process = with_universe.start("refresh-universe")
        wait_until(lambda: rows("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        process.kill()
        process.wait(30)
    wait_until(lambda: not rows(BACKENDS))
    found = rows(UNIVERSE)
    if what == "the end of COMMIT":
        assert [row[:2] for row in found] == [(rank, address(201 - rank)) for rank in range(1, 201)]
        assert rows("SELECT run_id, n_received, status FROM wallet_universe_runs ORDER BY run_id DESC LIMIT 1") == [
            (found[0][-1], 200, "success")
        ]
    else:
        assert found == universe
        assert rows("SELECT count(*) FROM wallet_universe_runs") == [(1,)]
        assert rows("SELECT count(*) FROM wallets") == [(200,)]
    with closing(psycopg.connect(database, autocommit=True)) as owner:
        owner.execute("DROP FUNCTION stall() CASCADE")
    is_over()


# ---- a large one

PROBE = """
import json, resource, subprocess, sys
ran = subprocess.run(sys.argv[1:], capture_output=True, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([ran.returncode, ran.stdout, ran.stderr, used.ru_maxrss / 1024]))
"""
"""Run a command and tell its peak memory, MiB: a child starts with its parent's, so the parent must be small."""


@pytest.mark.parametrize("source", ["stats-data", "info-api"])
def test_a_leaderboard_of_42_megabytes_takes_hardly_more_memory_than_a_small_one(
    hlctl: Hlctl, exchange: sim.Exchange, rows: Rows, source: str
) -> None:
    """It is read row by row: 50,000 rows as objects would take 300 MiB."""
    if source == "info-api":
        exchange.misbehave(sim.LEADERBOARD, sim.Fault(status=503))
        exchange.info_leaderboard = True

    def peak() -> float:
        ran = subprocess.run(
            [sys.executable, "-c", PROBE, COMMAND, "refresh-universe", "--force"],
            env={"PATH": os.environ["PATH"], "HOME": str(hlctl.home), **hlctl.settings},
            check=True, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        code, out, err, mebibytes = json.loads(ran.stdout)
        assert code == 0, err
        assert out.startswith("universe: 200 of 200 wallets from ")
        return float(mebibytes)

    small = peak()
    exchange.leaderboard_body = b"".join(sim.World.generate(seed=1, rows=50_000, pretty=True).leaderboard()).replace(
        b"\n", b"\n" + b" " * 5
    )
    assert 42e6 < len(exchange.leaderboard_body) < 46e6
    large = peak()
    assert rows("SELECT source, rows_seen, rows_rejected FROM wallet_universe_runs ORDER BY run_id DESC LIMIT 1") == [
        (source, 50_000, 0)
    ]
    assert large - small <= 16
    assert large <= 96
