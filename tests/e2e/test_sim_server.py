"""The simulated exchange over real HTTP on loopback: answers, limits, faults and its record of them."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import FrozenInstanceError, replace
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import requests

from hlctl import sim
from hlctl.sim import Exchange, Fault, World

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "recorded"
WORLD = World.generate(seed=1, rows=300)
WALLET, OTHER = WORLD.addresses[0], WORLD.addresses[1]
UNREADABLE = "Failed to deserialize the JSON body into the target type"
NOON = 1_790_000_040.0  # epoch seconds; the start of a minute


class Clock:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        """Say the time it was set to."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exchange(clock: Clock) -> Iterator[Exchange]:
    with sim.serve(WORLD, clock=clock) as running:
        yield running


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.trust_env = False
        yield opened


def ask(session: requests.Session, exchange: Exchange, user: object = WALLET, **more: object) -> requests.Response:
    body = {"type": "clearinghouseState", "user": user, **more}
    return session.post(f"{exchange.url}/info", json=body, timeout=10)


def raw_request(user: str = WALLET, *, connection: str = "keep-alive") -> bytes:
    body = json.dumps({"type": "clearinghouseState", "user": user}).encode()
    head = f"POST /info HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def exchange_bytes(exchange: Exchange, sent: bytes) -> bytes:
    """Send bytes on a connection of their own and read until the server closes it."""
    address = ("127.0.0.1", int(exchange.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


# Answers


def test_a_state_is_the_worlds_at_the_servers_clock(
    exchange: Exchange, session: requests.Session, clock: Clock
) -> None:
    """Tests move time by this clock, and an answer dated by another would be refused as stale."""
    first = ask(session, exchange)
    clock.now += 3600.25
    second = ask(session, exchange, WALLET.upper().replace("X", "x"), dex="")

    assert first.status_code == second.status_code == 200
    assert first.content == WORLD.state(WALLET, int(NOON * 1000))
    assert second.content == WORLD.state(WALLET, int((NOON + 3600.25) * 1000))
    assert second.json()["time"] == 1_790_003_640_250
    assert second.headers["Content-Type"] == "application/json"
    assert parsedate_to_datetime(second.headers["Date"]).timestamp() == NOON + 3600


def test_the_default_clock_is_the_real_one(session: requests.Session) -> None:
    """The demo sets no clock, and answers that are not dated now would all be stale."""
    with sim.serve(WORLD) as exchange:
        assert abs(ask(session, exchange).json()["time"] / 1000 - time.time()) < 5


def test_unknown_wallets_and_other_dexes_are_all_zero(exchange: Exchange, session: requests.Session) -> None:
    """The real exchange does not tell an unknown wallet from a flat one, so no client may count on it."""
    holder = next(address for address in WORLD.addresses if len(WORLD.state(address, int(NOON * 1000))) > 1000)
    unknown = ask(session, exchange, "0x" + "12" * 20)

    assert unknown.status_code == 200
    assert len(unknown.content) == 309
    assert ask(session, exchange, holder, dex="xyz").content == unknown.content
    assert len(ask(session, exchange, holder).content) > 1000


@pytest.mark.parametrize("user", ["", "0x12", "12" * 21, "0x" + "g" * 40, WALLET + "0", None, 7, [WALLET]])
def test_a_malformed_address_is_refused(exchange: Exchange, session: requests.Session, user: object) -> None:
    """A client that garbles an address must hear of it here as it would there, not be told that the wallet is flat."""
    answer = ask(session, exchange, user)

    assert (answer.status_code, answer.text) == (422, UNREADABLE)
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"type":"meta"}', b'{"type":"leaderboard"}', b"[" * 9999]
)
def test_other_requests_are_refused(exchange: Exchange, session: requests.Session, body: bytes) -> None:
    """A simulator that guessed what was meant would hide that a client asks wrongly."""
    headers = {"Content-Type": "application/json"}
    answer = session.post(f"{exchange.url}/info", data=body, headers=headers, timeout=10)

    assert (answer.status_code, answer.text) == (422, UNREADABLE)


def test_content_type_method_and_path_matter(exchange: Exchange, session: requests.Session) -> None:
    """A client that the real exchange would turn away must fail in the tests, not in its first real minute."""
    assert session.post(f"{exchange.url}/info", data=b"{}", timeout=10).status_code == 415
    assert session.get(f"{exchange.url}/info", timeout=10).status_code == 405
    assert session.get(f"{exchange.url}/", timeout=10).status_code == 404
    assert exchange.weight_sent == 0


def test_the_leaderboard_is_served_whole(exchange: Exchange, session: requests.Session) -> None:
    """A client counts the bytes against Content-Length, and a wrong one would look like a truncated file."""
    answer = session.get(exchange.leaderboard_url, timeout=10)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert answer.content == b"".join(WORLD.leaderboard())


def test_the_leaderboard_can_be_replaced_and_asked_for_through_info(
    exchange: Exchange, session: requests.Session
) -> None:
    """Tests of a refresh bring their own rows, and its second source no longer answers in the real world."""
    exchange.info_leaderboard = True
    exchange.leaderboard_body = b'{"leaderboardRows":[]}'
    info = session.post(f"{exchange.url}/info", json={"type": "leaderboard"}, timeout=10)

    assert info.content == session.get(exchange.leaderboard_url, timeout=10).content == b'{"leaderboardRows":[]}'
    exchange.leaderboard_body = None
    assert session.get(exchange.leaderboard_url, timeout=10).content == b"".join(WORLD.leaderboard())


def test_a_large_leaderboard_arrives_whole(session: requests.Session) -> None:
    """More than the socket takes at once, to a client that is slow to read."""
    with sim.serve(World.generate(seed=1, rows=20_000)) as exchange:
        with session.get(exchange.leaderboard_url, stream=True, timeout=30) as answer:
            time.sleep(0.2)
            body = answer.content

        assert len(body) > 8_000_000
        assert len(json.loads(body)["leaderboardRows"]) == 20_000


# HTTP


def test_pipelined_requests_are_answered_in_order(exchange: Exchange) -> None:
    """Also when the first is slow, and when the requests arrive in odd pieces."""
    exchange.misbehave(WALLET, Fault(delay=0.1))
    received = exchange_bytes(exchange, raw_request() + raw_request(OTHER) + raw_request(connection="close"))
    now = int(NOON * 1000)
    expected = [WORLD.state(address, now) for address in (WALLET, OTHER, WALLET)]

    assert [part.partition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 200 OK\r\n")[1:]] == expected
    assert exchange.max_in_flight == 1


def test_a_request_may_arrive_byte_by_byte(exchange: Exchange) -> None:
    """TCP cuts where it likes, and a request cut by chance would fail a test now and then."""
    with socket.create_connection(("127.0.0.1", int(exchange.url.rpartition(":")[2])), timeout=10) as connection:
        for byte in raw_request(connection="close"):
            connection.sendall(bytes([byte]))
        received = b""
        while piece := connection.recv(65536):
            received += piece

    assert received.endswith(WORLD.state(WALLET, int(NOON * 1000)))


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/3\r\n\r\n",
        b"GET / HTTP/1.1\r\nnonsense\r\n\r\n",
        b"POST /info HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /info HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"POST /info HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_not_a_request_is_answered_400_and_closed(exchange: Exchange, sent: bytes) -> None:
    """A client that breaks HTTP learns it at once, not from a test that hangs until its timeout."""
    assert exchange_bytes(exchange, sent).startswith(b"HTTP/1.1 400 ")


# Rate limit


def test_over_the_limit_the_answer_is_429_until_the_window_has_passed(
    exchange: Exchange, session: requests.Session, clock: Clock
) -> None:
    """Three states of weight 2 fit into 7; what was refused does not count against the client."""
    exchange.limit = 7
    assert [ask(session, exchange).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = ask(session, exchange)
    assert (refused.content, refused.headers["X-Cache"]) == (b"null", "Error from cloudfront")
    assert refused.headers["Content-Type"] == "application/json"
    assert "Retry-After" not in refused.headers
    assert session.get(exchange.leaderboard_url, timeout=10).status_code == 200
    clock.now += 59.9
    assert ask(session, exchange).status_code == 429
    clock.now += 0.2
    exchange.retry_after = 12
    assert [ask(session, exchange).status_code for _ in range(3)] == [200, 200, 200]
    assert ask(session, exchange).headers["Retry-After"] == "12"

    assert (exchange.requests, exchange.weight_sent, exchange.max_weight_60s) == (11, 20, 12)


def test_other_info_requests_weigh_twenty(exchange: Exchange, session: requests.Session) -> None:
    """A job that comes to ask for something dearer than states must show in the weight that tests assert."""
    session.post(f"{exchange.url}/info", json={"type": "meta"}, timeout=10)
    session.post(f"{exchange.url}/info", json={"type": "leaderboard"}, timeout=10)

    assert exchange.weight_sent == 40


def test_the_window_slides(exchange: Exchange, session: requests.Session, clock: Clock) -> None:
    """A burst across two clock minutes must show in the peak: which window the real limit uses is not documented."""
    for _ in range(4):
        ask(session, exchange)
        clock.now += 25

    assert exchange.max_weight_60s == 6
    assert exchange.weight_sent == 8


# Faults


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (403, "text/plain; charset=utf-8", b"blocked"),
        (404, "text/html", b"404 Not Found"),
        (422, "text/plain; charset=utf-8", UNREADABLE.encode()),
        (429, "application/json", b"null"),
        (500, "application/json", b"null"),
        (502, "text/html", b"<center><h1>502 Bad Gateway</h1></center>"),
        (503, "text/html", b"503 Service Unavailable"),
        (504, "text/html", b"504 Gateway Timeout"),
        (599, "text/html", b"599 Unknown"),
    ],
)
def test_a_status_comes_with_what_is_reported_for_it(
    exchange: Exchange, session: requests.Session, status: int, content_type: str, body: bytes
) -> None:
    """Refusals are null, text or HTML by turns, and a client that expects JSON must stumble here first."""
    exchange.misbehave(WALLET, Fault(status=status))
    answer = ask(session, exchange)

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == content_type
    assert body in answer.content
    assert ask(session, exchange, OTHER).status_code == 200
    exchange.behave()
    assert ask(session, exchange).status_code == 200


def test_headers_and_body_can_be_set(exchange: Exchange, session: requests.Session) -> None:
    """An answer that nobody foresaw can be tested without a change to the simulator."""
    exchange.misbehave(WALLET, Fault(body=b"[null]", headers={"content-TYPE": "text/html", "Retry-After": "3"}))
    answer = ask(session, exchange)

    assert (answer.status_code, answer.content) == (200, b"[null]")
    assert answer.headers["Content-Type"] == "text/html"
    assert answer.headers["Retry-After"] == "3"


def test_faults_follow_each_other_and_run_out(exchange: Exchange, session: requests.Session) -> None:
    """A wallet's own faults come before those for all; a target in any letter case."""
    exchange.misbehave(None, Fault(status=503))
    exchange.misbehave(WALLET.upper(), Fault(status=500, times=2), Fault(status=502, times=1), Fault(times=1))

    assert [ask(session, exchange).status_code for _ in range(5)] == [500, 500, 502, 200, 503]
    assert ask(session, exchange, OTHER).status_code == 503
    assert session.get(exchange.leaderboard_url, timeout=10).status_code == 200
    exchange.misbehave(None)
    assert ask(session, exchange, OTHER).status_code == 200


def test_the_leaderboard_misbehaves_on_its_own(exchange: Exchange, session: requests.Session) -> None:
    """A refresh has two sources, and a test of the second must break the first alone."""
    exchange.misbehave(sim.LEADERBOARD, Fault(status=403))
    exchange.misbehave(sim.INFO_LEADERBOARD, Fault(status=500))

    assert session.get(exchange.leaderboard_url, timeout=10).text == "blocked"
    info = session.post(f"{exchange.url}/info", json={"type": "leaderboard"}, timeout=10)
    assert info.status_code == 500
    assert ask(session, exchange).status_code == 200


def test_a_dropped_request_gets_no_byte(exchange: Exchange, session: requests.Session) -> None:
    """The client must see the connection end, and the record must not list a state that nobody received."""
    exchange.misbehave(WALLET, Fault(drop=True, times=1))

    assert exchange_bytes(exchange, raw_request()) == b""
    (entry,) = exchange.journal
    assert (entry.status, entry.body, entry.complete) == (0, b"", False)
    assert ask(session, exchange).status_code == 200
    assert len(exchange.served_states()) == 1


def test_a_truncated_answer_promises_more_than_it_sends(exchange: Exchange) -> None:
    """The length betrays the cut to the client, and half a state is nothing to check a cell against."""
    exchange.misbehave(WALLET, Fault(truncate_at=100))
    head, _, body = exchange_bytes(exchange, raw_request()).partition(b"\r\n\r\n")
    whole = WORLD.state(WALLET, int(NOON * 1000))

    assert b"Content-Length: %d\r\n" % len(whole) in head
    assert body == whole[:100]
    (entry,) = exchange.journal
    assert (entry.body, entry.complete) == (body, False)
    assert exchange.served_states() == []


def test_an_answer_that_drips_takes_its_time_and_the_record_has_what_was_sent(exchange: Exchange) -> None:
    """A client that gives up in the middle was not served, and one that waits was."""
    exchange.misbehave(WALLET, Fault(drip_head=0.001, drip_body=0.01, body=b"[1,2,3]"))
    assert exchange_bytes(exchange, raw_request(connection="close")).endswith(b"[1,2,3]")
    exchange.misbehave(WALLET, Fault(drip_body=0.05, body=b"x" * 100))
    with socket.create_connection(("127.0.0.1", int(exchange.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(raw_request())
        time.sleep(0.4)
    while exchange.in_flight:
        time.sleep(0.01)
    first, second = exchange.journal
    assert (first.body, first.complete) == (b"[1,2,3]", True)
    assert 0 < len(second.body) < 100
    assert (set(second.body), second.complete) == (set(b"x"), False)


def test_an_endless_answer_ends_with_its_client(exchange: Exchange, session: requests.Session) -> None:
    """Nobody else waits for it, and it is not in the record as served."""
    exchange.misbehave(WALLET, Fault(body=b"x" * 65536, headers={"Content-Length": None}, endless=True))
    with socket.create_connection(("127.0.0.1", int(exchange.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(raw_request())
        received = 0
        while received < 1_000_000:
            received += len(connection.recv(65536))
        assert ask(session, exchange, OTHER).status_code == 200
    while exchange.in_flight:
        time.sleep(0.01)
    assert [entry.address for entry in exchange.served_states()] == [OTHER]
    assert len(exchange.journal) == 2


def test_a_reset_is_not_an_end(exchange: Exchange) -> None:
    """The two ways to lose a connection look different to a client."""
    exchange.misbehave(WALLET, Fault(drop=True, reset=True))
    with pytest.raises(ConnectionResetError):
        exchange_bytes(exchange, raw_request())
    assert [(entry.status, entry.complete) for entry in exchange.journal] == [(0, False)]


def test_an_answer_in_chunks_is_recorded_without_them(exchange: Exchange, session: requests.Session) -> None:
    """The record is what a client makes of the answer; of one that is cut, it is what was sent."""
    exchange.misbehave(WALLET, Fault(chunked=True, times=1), Fault(chunked=True, truncate_at=-5))
    answer = ask(session, exchange)
    cut = exchange_bytes(exchange, raw_request()).partition(b"\r\n\r\n")[2]
    whole, part = exchange.journal
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in answer.headers
    assert answer.content == whole.body == WORLD.state(WALLET, int(NOON * 1000))
    assert (whole.complete, part.complete, part.body) == (True, False, cut)


def test_head_and_body_can_be_made_of_the_good_ones(exchange: Exchange) -> None:
    """A fault that needs the good answer, such as a coin that comes twice, would else have to rebuild it."""
    exchange.misbehave(WALLET, Fault(head=lambda head: head[:-2] + b"X: y\r\n\r\n", body=lambda good: good + b" "))
    head, _, body = exchange_bytes(exchange, raw_request(connection="close")).partition(b"\r\n\r\n")
    assert head.endswith(b"\r\nX: y")
    assert body == WORLD.state(WALLET, int(NOON * 1000)) + b" "


@pytest.mark.parametrize("name", sim.CATALOGUE)
def test_every_named_fault_changes_the_answer(exchange: Exchange, name: str) -> None:
    """A name that did nothing would make its test pass."""
    exchange.misbehave(WALLET, replace(sim.CATALOGUE[name].fault, delay=0.0, drip_head=0.0, drip_body=0.0))
    request = raw_request(connection="close")
    if name in {"silent", "drip-head", "drip-body"}:
        assert sim.CATALOGUE[name].fault != Fault()
        return
    with socket.create_connection(("127.0.0.1", int(exchange.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(request)
        connection.settimeout(0.5)
        received = b""
        with suppress(OSError):
            while (piece := connection.recv(65536)) and len(received) < 1_000_000:
                received += piece
    exchange.behave()
    assert received != exchange_bytes(exchange, request)


def test_a_delayed_answer_is_of_the_moment_it_is_given(
    exchange: Exchange, session: requests.Session, clock: Clock
) -> None:
    """A state asked for before the minute's end and given after it is a fact of the later minute."""
    exchange.misbehave(None, Fault(delay=0.3))
    mover = threading.Timer(0.1, lambda: setattr(clock, "now", NOON + 61))
    mover.start()
    answer = ask(session, exchange)
    mover.join()

    assert answer.content == WORLD.state(WALLET, int((NOON + 61) * 1000))
    assert [entry.at for entry in exchange.served_states(int(NOON + 61) // 60)] == [NOON + 61]
    assert exchange.served_states(int(NOON) // 60) == []


def test_delays_overlap_and_the_most_at_a_time_is_counted(exchange: Exchange) -> None:
    """An exchange that answered one by one could not show how many requests a client has open."""
    exchange.misbehave(None, Fault(delay=0.05))
    local = threading.local()
    sessions = []

    def one(address: str) -> int:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            sessions.append(local.session)
        return ask(local.session, exchange, address).status_code

    started = time.monotonic()
    with ThreadPoolExecutor(7) as pool:
        answers = list(pool.map(one, WORLD.addresses[:70]))
    taken = time.monotonic() - started
    for opened in sessions:
        opened.close()

    assert answers == [200] * 70
    assert exchange.max_in_flight == 7
    assert 0.5 <= taken < 2.5  # one after the other: 3.5 s


def test_a_client_that_gives_up_is_no_longer_in_flight(exchange: Exchange, session: requests.Session) -> None:
    """Its request counts, but nothing was served."""
    exchange.misbehave(WALLET, Fault(delay=30))
    with pytest.raises(requests.ReadTimeout):
        session.post(f"{exchange.url}/info", json={"type": "clearinghouseState", "user": WALLET}, timeout=0.1)
    session.close()
    ends = time.monotonic() + 5
    while exchange.in_flight and time.monotonic() < ends:
        time.sleep(0.01)

    assert (exchange.in_flight, exchange.requests, exchange.weight_sent, exchange.journal) == (0, 1, 2, ())


# The record


def test_the_journal_holds_the_bytes_that_were_received(
    exchange: Exchange, session: requests.Session, clock: Clock
) -> None:
    """Every stored cell is checked against these bytes, so they must be what the client got."""
    exchange.misbehave(OTHER, Fault(status=500, times=1))
    received = []
    for address in (WALLET, OTHER, OTHER):
        received.append(ask(session, exchange, address).content)
        clock.now += 30
    received.append(session.get(exchange.leaderboard_url, timeout=10).content)

    assert [entry.body for entry in exchange.journal] == received
    assert [
        (entry.at, entry.path, entry.kind, entry.address, entry.status, entry.weight) for entry in exchange.journal
    ] == [
        (NOON, "/info", "clearinghouseState", WALLET, 200, 2),
        (NOON + 30, "/info", "clearinghouseState", OTHER, 500, 2),
        (NOON + 60, "/info", "clearinghouseState", OTHER, 200, 2),
        (NOON + 90, "/Mainnet/leaderboard", "leaderboard", None, 200, 0),
    ]
    assert all(entry.complete and entry.headers["accept-encoding"] for entry in exchange.journal)
    assert [entry.body for entry in exchange.served_states()] == [received[0], received[2]]
    assert [entry.body for entry in exchange.served_states(int(NOON) // 60)] == [received[0]]
    with pytest.raises(FrozenInstanceError):
        exchange.journal[0].status = 1  # type: ignore[misc]  # that it is refused is the point
    exchange.forget()
    assert (exchange.journal, exchange.requests, exchange.weight_sent, exchange.max_in_flight) == ((), 0, 0, 0)


def test_the_journal_file_says_the_same(tmp_path: Path, session: requests.Session, clock: Clock) -> None:
    """Whoever runs the exchange as a process has only this file to check a record against."""
    path = tmp_path / "journal.jsonl"
    with sim.serve(WORLD, clock=clock, journal=False, journal_file=path) as exchange:
        bodies = [ask(session, exchange, address).text for address in (WALLET, OTHER)]
        assert exchange.journal == ()
    entries = [json.loads(line) for line in path.read_text().splitlines()]

    assert [entry["body"] for entry in entries] == bodies
    assert entries[0].keys() == {"at", "path", "kind", "address", "status", "body", "weight", "complete"}


# Start and stop


def test_it_can_be_left_and_entered_again(session: requests.Session) -> None:
    """The same port, so that a client finds it unreachable in between and then back."""
    exchange = sim.serve(WORLD)
    with exchange:
        url = exchange.url
        assert ask(session, exchange).status_code == 200
    with pytest.raises(requests.ConnectionError):
        ask(session, exchange)
    with exchange:
        assert exchange.url == url
        assert ask(session, exchange).status_code == 200


def test_leaving_ends_what_is_still_being_answered(exchange: Exchange) -> None:
    """A test with slow answers must neither wait for them nor leave a thread to the next one."""
    exchange.misbehave(None, Fault(delay=60))
    with sim.serve(WORLD) as short:
        short.misbehave(None, Fault(delay=60))
        waiting = threading.Thread(target=lambda: exchange_bytes_or_reset(short))
        waiting.start()
        while short.in_flight == 0:
            time.sleep(0.01)
        started = time.monotonic()
    waiting.join(5)

    assert not waiting.is_alive()
    assert time.monotonic() - started < 2
    assert sum(thread.name == "sim" for thread in threading.enumerate()) == 1  # the fixture's


def exchange_bytes_or_reset(exchange: Exchange) -> None:
    try:
        exchange_bytes(exchange, raw_request())
    except ConnectionError:
        return


def test_a_taken_port_is_refused_and_leaks_nothing(exchange: Exchange, tmp_path: Path) -> None:
    """A start that fails must say so, and a socket left open would fail whichever test comes next."""
    port = int(exchange.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), sim.serve(WORLD, port=port):
        pass
    with pytest.raises(OSError, match="No such file"), sim.serve(WORLD, journal_file=tmp_path / "no" / "file"):
        pass


def test_a_crash_of_the_simulator_does_not_pass_for_a_fault(session: requests.Session) -> None:
    """A client copes with a broken connection, and the simulator's bug would hide in a test that passes."""

    def broken(_address: str, _time_ms: int) -> bytes:
        raise ArithmeticError("broken world")

    world = World(addresses=(), leaderboard=WORLD.leaderboard, state=broken)
    with pytest.raises(RuntimeError, match="broken world"), sim.serve(world) as exchange:  # noqa: PT012 - the exit raises
        with pytest.raises(requests.ConnectionError):
            ask(session, exchange)
        assert session.get(exchange.leaderboard_url, timeout=10).status_code == 200


# As a process


def start(*arguments: str, stdin: int = subprocess.PIPE) -> tuple["subprocess.Popen[str]", str]:
    command = [sys.executable, "-m", "hlctl.sim", *arguments]
    process = subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 20)[0]
    return process, process.stdout.readline().strip()


def test_a_process_serves_the_same_world_until_its_input_closes(tmp_path: Path, session: requests.Session) -> None:
    """Another process with another hash seed: what it serves depends on the arguments alone."""
    journal = tmp_path / "journal.jsonl"
    process, url = start("--wallets", "300", "--seed", "1", "--limit", "3", "--journal", str(journal))
    body = {"type": "clearinghouseState", "user": WALLET}
    with process:
        leaderboard = session.get(f"{url}/Mainnet/leaderboard", timeout=10).content
        states = [session.post(f"{url}/info", json=body, timeout=10) for _ in range(2)]
        _, errors = process.communicate(timeout=10)

    assert (process.returncode, errors) == (0, "")
    assert leaderboard == b"".join(WORLD.leaderboard())
    assert [state.status_code for state in states] == [200, 429]
    assert states[0].content == WORLD.state(WALLET, states[0].json()["time"])
    assert len(journal.read_text().splitlines()) == 3


def test_a_process_can_be_told_what_to_do_wrong(session: requests.Session) -> None:
    """To look at a fault by hand, the exchange must show it to every wallet."""
    process, url = start("--wallets", "10", "--fault", "coin-twice")
    with process:
        body = {"type": "clearinghouseState", "user": WALLET}
        answer = session.post(f"{url}/info", json=body, timeout=10)
        process.communicate(timeout=10)
    assert [entry["position"]["coin"] for entry in answer.json()["assetPositions"]] == ["BTC", "BTC"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_process_stops_on_a_signal(signum: signal.Signals) -> None:
    """Its input is no pipe here: nothing but the signal ends it."""
    process, url = start("--wallets", "10", stdin=subprocess.DEVNULL)
    with process:
        assert url.startswith("http://127.0.0.1:")
        process.send_signal(signum)
        _, errors = process.communicate(timeout=10)

    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--wallets", "-1"], "0 to 100000 wallets"),
        (["--fault", "?"], "choose from 'chunks'"),
        (["--data", "/nonexistent"], "recorded data: cannot read"),
    ],
)
def test_a_process_refuses_what_it_cannot_serve(arguments: list[str], complaint: str) -> None:
    """Whoever starts it by hand gets a sentence to read and the exit code of a wrong usage."""
    command = [sys.executable, "-m", "hlctl.sim", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(
    not (RECORDED / "clearinghouse").is_dir(), reason="the recorded answers (../shared/data/recorded) are not here"
)
def test_the_whole_recorded_leaderboard_is_answered(session: requests.Session) -> None:
    """The demo on recorded data may choose any of these wallets, and must not show one as missing."""
    world = World.recorded(RECORDED)
    with sim.serve(world) as exchange:
        rows = session.get(exchange.leaderboard_url, timeout=10).json()["leaderboardRows"]
        answers = [ask(session, exchange, row["ethAddress"]) for row in rows]

    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["time"] // 1000 for answer in answers] == [
        int(entry.at) for entry in exchange.served_states()
    ]
    assert sum(bool(answer.json()["assetPositions"]) for answer in answers) > 500
