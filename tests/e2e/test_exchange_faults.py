"""Everything the exchange can do wrong: to some wallets, which alone are missing, and to all, which is a failed minute.

The faults and the reasons they must leave are those of `hlctl.sim.CATALOGUE`. After each the next minute is good.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from itertools import cycle, islice

import pytest

from hlctl import sim
from hlctl.model import MissingReason
from tests.e2e.conftest import Hlctl, M
from tests.e2e.oracle import Rows, assert_nothing_false, assert_whole, known, universe

At = Callable[..., None]
Check = Callable[..., None]

IMPATIENT = {"HLCTL_REQUEST_TIMEOUT": "0.8", "HLCTL_MAX_ATTEMPTS": "2", "HLCTL_MAX_CONCURRENCY": "20"}
PROBE = 20  # wallets that must fail, and nobody answer, before a run gives up

OF_ONE_WALLET = [name for name, misdeed in sim.CATALOGUE.items() if misdeed.reason is not MissingReason.RATE_LIMITED]
"""All but 429, which concerns everybody whoever is told."""


def reasons(rows: Rows) -> dict[str, str | None]:
    """Return why each wallet is missing in the newest minute, None if it is known."""
    found = rows(
        "SELECT address, array_agg(DISTINCT missing_reason::text) FROM v_positions"
        " WHERE snapshot_ts = (SELECT max(snapshot_ts) FROM ingest_runs) GROUP BY address HAVING count(*) = 3"
    )
    assert all(len(different) == 1 for _, different in found), "a wallet's three cells come from one answer"
    return {address: different[0] for address, different in found}


@pytest.mark.parametrize("batch", range(3))
def test_a_fault_costs_its_own_wallet_and_says_why(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: Check, batch: int
) -> None:
    """Some forty faults in a minute, a wallet each: the other wallets are recorded, and nothing false of anybody."""
    names = OF_ONE_WALLET[batch::3]
    victims = dict(zip(universe(rows)[batch::4], names, strict=False))
    assert len(victims) == len(names)
    for address, name in victims.items():
        exchange.misbehave(address, sim.CATALOGUE[name].fault)
    ran = with_universe("snapshot", **IMPATIENT)
    found = reasons(rows)
    assert {name: found.pop(address) for address, name in victims.items()} == {
        name: sim.CATALOGUE[name].reason for name in names
    }
    assert set(found.values()) == {None}, "the others answered well"
    assert len(found) == 200 - len(victims)
    assert_nothing_false(rows, exchange)
    assert ran.code in {3, 4}
    assert exchange.requests <= 250, "a quarter more than the wallets"
    assert ran.seconds < 20
    next_minute_is_good()


def test_the_rest_of_a_refusal_is_not_the_next_wallets_answer(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: Check
) -> None:
    """It is never read, and so its connection is never used again."""
    victims = universe(rows)[10:60:10]
    for address in victims:
        exchange.misbehave(address, sim.Fault(status=404, drip_body=0.05))
    with_universe("snapshot", HLCTL_MAX_CONCURRENCY="1")
    found = reasons(rows)
    assert {address: reason for address, reason in found.items() if reason} == dict.fromkeys(victims, "http_4xx")
    assert_nothing_false(rows, exchange)
    next_minute_is_good()


def by_reason() -> Iterator[tuple[MissingReason | None, list[str]]]:
    """Yield the faults by the reason they leave, as many as the first wallets can all meet."""
    for reason in dict.fromkeys(misdeed.reason for misdeed in sim.CATALOGUE.values()):
        names = [name for name in OF_ONE_WALLET if sim.CATALOGUE[name].reason is reason]
        for start in range(0, len(names), PROBE):
            yield reason, names[start : start + PROBE]


@pytest.mark.parametrize(("reason", "names"), list(by_reason()))
def test_faults_of_all_wallets_are_a_failed_minute(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    rows: Rows,
    next_minute_is_good: Check,
    *,
    reason: MissingReason | None,
    names: list[str],
) -> None:
    """Each request meets the next fault of its kind; twenty wallets are proof enough, and nobody else is asked.

    What only looks odd is believed, from everybody: truth rests on the body.
    """
    faults = cycle(replace(sim.CATALOGUE[name].fault, times=1) for name in names)
    exchange.misbehave(None, *islice(faults, 200))
    ran = with_universe("snapshot", **IMPATIENT | {"HLCTL_MAX_ATTEMPTS": "1"})
    if reason is None:
        assert (ran.code, ran.err) == (0, "")
        assert_whole(rows, exchange, M)
    else:
        assert (ran.code, ran.out) == (4, "")
        assert f"all of the first 20 wallets asked failed (20 {reason})" in ran.err
        assert rows("SELECT missing, rows_written FROM ingest_runs") == [({reason.value: 20, "breaker": 180}, 600)]
        assert rows("SELECT count(*), count(missing_reason), count(position_szi) FROM wallet_snapshots") == [
            (600, 600, 0)
        ]
        assert exchange.requests == PROBE
        assert ran.seconds < 10
    next_minute_is_good()


def test_no_request_outlasts_its_budget_whatever_drips(
    with_universe: Hlctl, exchange: sim.Exchange, next_minute_is_good: Check
) -> None:
    """A byte in time satisfies the HTTP library for ever: here 300 of them, a fifth of a second apart."""
    exchange.misbehave(None, sim.CATALOGUE["drip-head"].fault)
    short = with_universe("snapshot", **IMPATIENT | {"HLCTL_MAX_ATTEMPTS": "1"})
    exchange.misbehave(None, sim.CATALOGUE["drip-body"].fault)
    long = with_universe("snapshot", **IMPATIENT | {"HLCTL_MAX_ATTEMPTS": "1", "HLCTL_REQUEST_TIMEOUT": "1.8"})
    assert (short.code, long.code) == (4, 4)
    assert long.seconds - short.seconds < 5, "a second more for each request, all of them at the same time"
    next_minute_is_good()


def test_no_run_outlasts_its_deadline_whatever_drips(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, next_minute_is_good: Check
) -> None:
    """Nor does the process wait for the threads that are still reading."""
    slow = universe(rows)[::10]
    for address in slow:
        exchange.misbehave(address, sim.CATALOGUE["drip-body"].fault)
    at(30.0)
    ran = with_universe("snapshot", HLCTL_DEADLINE="34", HLCTL_REQUEST_TIMEOUT="20", HLCTL_MAX_CONCURRENCY="32")
    assert ran.code == 3
    found = reasons(rows)
    assert {found[address] for address in slow} <= {"late", "timeout"}
    assert sum(reason is None for reason in found.values()) == 180
    assert exchange.clock() % 60 < 42, "published right after the deadline"
    next_minute_is_good()


def test_an_error_storm_costs_a_quarter_more_requests_at_most(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: Check
) -> None:
    """One wallet in seven answers, so nobody gives up: the retries must not become a storm of their own."""
    exchange.misbehave(None, sim.Fault(status=503))
    for address in universe(rows)[::7]:
        exchange.misbehave(address, sim.Fault())
    ran = with_universe("snapshot")
    assert ran.code == 4
    assert exchange.requests == 250
    assert rows("SELECT requests_sent, retries, missing FROM ingest_runs") == [(250, 50, {"http_5xx": 171})]
    next_minute_is_good()


def test_a_storm_that_ends_costs_nothing(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: Check
) -> None:
    """The first requests fail, and a second try heals each of them."""
    faults = [sim.Fault(status=502), sim.Fault(drop=True), sim.Fault(truncate_at=50), sim.Fault(drop=True, reset=True)]
    exchange.misbehave(None, *(replace(fault, times=4) for fault in faults))
    ran = with_universe("snapshot")
    assert (ran.code, ran.err) == (0, "")
    assert rows("SELECT retries FROM ingest_runs") == [(16,)]
    assert_whole(rows, exchange, M)
    next_minute_is_good()


def test_a_redirect_is_never_followed(
    with_universe: Hlctl, exchange: sim.Exchange, world: sim.World, rows: Rows, next_minute_is_good: Check
) -> None:
    """The other host would be believed, and would see the credentials; nor is a file or a cloud's metadata read."""
    with sim.serve(world) as other:
        statuses = [301, 302, 303, 307, 308]
        places = [f"{other.url}/info", f"{exchange.url}/info", "file:///etc/passwd", "http://169.254.169.254/"]
        for address, status, place in zip(universe(rows)[::10], statuses * 4, cycle(places), strict=False):
            exchange.misbehave(address, sim.Fault(status=status, headers={"Location": place}))
        ran = with_universe("snapshot", HLCTL_API_AUTHORIZATION="Bearer TOPSECRET", HLCTL_COVERAGE_SUCCESS="90")
        assert other.requests == 0
    assert ran.code == 0
    assert rows("SELECT missing, requests_sent FROM ingest_runs") == [({"redirect": 20}, 200)]
    assert exchange.requests == 200
    next_minute_is_good()


SMUGGLED = b'{"assetPositions":[{"position":{"coin":"BTC","szi":"123456.789","leverage":{"type":"cross","value":2},'
SMUGGLED += b'"entryPx":"1.0","marginUsed":"1.0"}}],"time":%d}'
ANOTHER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


def test_more_answers_than_requests_on_a_connection_are_nobodys(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: Check
) -> None:
    """A confused proxy goes on answering: what no buffer holds is still there when the next wallet has its turn."""

    def repeated(good: bytes) -> bytes:
        more = SMUGGLED % (exchange.clock() * 1000)
        return good + 200 * (ANOTHER % (len(more), more))

    extra = len(repeated(b""))

    def of_the_first(head: bytes) -> bytes:
        return re.sub(rb"(?<=Content-Length: )\d+", lambda length: b"%d" % (int(length[0]) - extra), head)

    exchange.misbehave(None, sim.Fault(body=repeated, head=of_the_first))
    ran = with_universe("snapshot", HLCTL_MAX_CONCURRENCY="2")
    assert (ran.code, ran.err) == (0, "")
    assert rows("SELECT wallets_succeeded, retries FROM ingest_runs") == [(200, 0)]
    assert rows("SELECT count(*) FROM wallet_snapshots WHERE position_szi = 123456.789") == [(0,)]
    rows("DELETE FROM wallet_snapshots RETURNING 1")  # the journal has many documents where one was read
    rows("DELETE FROM ingest_runs RETURNING 1")
    rows("DELETE FROM ingest_health RETURNING 1")
    next_minute_is_good()


ASIDE = {
    "HTTP_PROXY": "http://{0}", "HTTPS_PROXY": "http://{0}", "ALL_PROXY": "http://{0}", "http_proxy": "http://{0}",
    "all_proxy": "http://{0}", "no_proxy": "", "REQUESTS_CA_BUNDLE": "/nowhere", "CURL_CA_BUNDLE": "/nowhere",
}  # fmt: skip


def test_neither_the_environment_nor_netrc_says_where_or_as_whom_to_ask(
    with_universe: Hlctl, exchange: sim.Exchange, world: sim.World, rows: Rows, next_minute_is_good: Check
) -> None:
    """The HTTP library would hand the requests to a proxy named there, and send a password found in the home."""
    netrc = with_universe.home / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password TOPSECRET\ndefault login me password TOPSECRET\n")
    netrc.chmod(0o600)
    with sim.serve(world) as other:
        proxy = other.url.removeprefix("http://")
        aside = {name: value.format(proxy) for name, value in ASIDE.items()} | {"NETRC": str(netrc)}
        ran = with_universe("snapshot", **aside)
        assert with_universe("refresh-universe", **aside).code == 0
        assert other.requests == 0
    assert (ran.code, ran.err) == (0, "")
    assert_whole(rows, exchange, M)
    assert all("authorization" not in entry.headers for entry in exchange.journal)
    next_minute_is_good()


@pytest.mark.parametrize(("retry_after", "pause"), [(None, 1.0), ("2", 2.0), ("a date", None)])
def test_one_429_makes_everybody_wait_and_costs_nothing(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    rows: Rows,
    next_minute_is_good: Check,
    *,
    retry_after: str | None,
    pause: float | None,
) -> None:
    """The limit is the address's; as long as the exchange asks for, a second where what it says makes no sense."""
    then = M + timedelta(seconds=round(exchange.clock() % 60) + 6)
    if retry_after == "a date":
        retry_after = format_datetime(then, usegmt=True)
    headers: dict[str, str | None] = {} if retry_after is None else {"Retry-After": retry_after}
    exchange.misbehave(universe(rows)[0], sim.Fault(status=429, headers=headers, times=1))
    exchange.misbehave(None, sim.Fault(delay=0.02))  # so that it does not come at the very end
    ran = with_universe("snapshot")
    assert (ran.code, ran.err) == (0, "")
    assert_whole(rows, exchange, M)
    assert rows("SELECT rate_limited, retries FROM ingest_runs") == [(1, 1)]
    (refused,) = [entry for entry in exchange.journal if entry.status == 429]
    silence = [entry.at - refused.at for entry in exchange.journal if entry.at > refused.at + 0.5]
    pause = then.timestamp() - refused.at if pause is None else pause
    assert pause - 0.1 <= min(silence) < pause + 2.0
    next_minute_is_good()


def test_a_429_that_asks_for_too_long_ends_the_run_with_what_is_known(
    with_universe: Hlctl, exchange: sim.Exchange, rows: Rows, next_minute_is_good: Check
) -> None:
    """Nothing is sent that was asked not to be, and what was answered before is kept."""
    exchange.misbehave(None, sim.Fault(delay=0.02, times=100), sim.CATALOGUE["status-429-never"].fault)
    ran = with_universe("snapshot")
    assert ran.code == 4
    assert exchange.requests <= 108, "those in flight together hear of it together"
    assert rows("SELECT wallets_succeeded, missing FROM ingest_runs") == [(100, {"rate_limited": 100})]
    assert len(known(rows)) == 300
    assert ran.seconds < 10
    next_minute_is_good()


@pytest.mark.parametrize("name", ["status-429-soon", "status-429-nonsense"])
def test_a_429_for_all_is_met_with_patience_and_few_requests(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows, next_minute_is_good: Check, *, name: str
) -> None:
    """Each pause is longer than the one before, up to the deadline."""
    exchange.misbehave(None, sim.CATALOGUE[name].fault)
    at(2.0)
    ran = with_universe("snapshot", HLCTL_DEADLINE="7")
    assert ran.code == 4
    assert set(reasons(rows).values()) == {"rate_limited"}
    assert exchange.requests <= 40, "eight at a time, and then a pause"
    assert ran.seconds < 10
    next_minute_is_good()
