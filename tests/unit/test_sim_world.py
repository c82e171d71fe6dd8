"""The simulated exchange's worlds: shapes, distributions, determinism. No sockets."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlctl.sim import World
from hlctl.sim.board import NAMES
from hlctl.sim.market import COINS, QUANTILES, mark_price, noise, quantile, text
from hlctl.sim.recorded import stand_in

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "recorded"
needs_recorded = pytest.mark.skipif(
    not (RECORDED / "clearinghouse").is_dir(), reason="the recorded answers (../shared/data/recorded) are not here"
)

NOON = 1_790_000_040_000  # ms; the start of a minute
MINUTE = 60_000  # ms
NUMBER = re.compile(r"-?\d+\.\d{1,10}", re.ASCII)
STATE_KEYS = [
    *("marginSummary", "crossMarginSummary", "crossMaintenanceMarginUsed", "withdrawable", "assetPositions", "time"),
]
POSITION_KEYS = [
    *("coin", "szi", "leverage", "entryPx", "positionValue", "unrealizedPnl", "returnOnEquity", "liquidationPx"),
    *("marginUsed", "maxLeverage", "cumFunding"),
]
EMPTY_SUMMARY = '{"accountValue":"0.0","totalNtlPos":"0.0","totalRawUsd":"0.0","totalMarginUsed":"0.0"}'


@cache
def world() -> World:
    return World.generate(seed=1, rows=2000)


@cache
def states() -> dict[str, dict[str, Any]]:
    """Every wallet's state at NOON."""
    return {address: json.loads(world().state(address, NOON)) for address in world().addresses}


def positions(of: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [held["position"] for state in of for held in state["assetPositions"]]


def sizes(state: bytes) -> dict[str, str]:
    return {position["coin"]: position["szi"] for position in positions([json.loads(state)])}


def rows(of: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(b"".join(of.leaderboard()))["leaderboardRows"]
    return found


def month(row: dict[str, Any], figure: str) -> Decimal:
    return Decimal(dict(row["windowPerformances"])["month"][figure])


def strings(value: object) -> Iterator[str]:
    """Every figure of a document: its strings, but for those that are names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in {"coin", "type", "ethAddress", "displayName"}:
                yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str) and value not in {"day", "week", "month", "allTime"}:
        yield value


# Numbers


@given(st.floats(min_value=-1e12, max_value=1e12), st.integers(0, 10))
def test_a_printed_number_has_no_exponent_and_at_most_ten_decimals(value: float, decimals: int) -> None:
    """The decoder refuses an exponent, and the demo would miss cells through the simulator's own fault."""
    printed = text(value, decimals)

    assert NUMBER.fullmatch(printed)
    assert float(printed) == pytest.approx(value, rel=1e-12, abs=10.0**-decimals)
    assert not printed.startswith("-0.0") or Decimal(printed) != 0


def test_a_printed_number_carries_the_noise_of_its_binary_float() -> None:
    """Both are recorded answers of the real exchange."""
    assert text(1064075.6, 1) == "1064075.6000000001"
    assert text(12489663.946542) == "12489663.9465420004"


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_noise_is_a_share(key: int, step: int) -> None:
    """Sizes, prices and funding are scaled by it, and a value outside would break the bounds they promise."""
    assert 0.0 <= noise(key, step) < 1.0


def test_quantile_meets_the_points_it_was_given() -> None:
    """Sizes and liquidation prices are as recorded only if the curve runs through the recorded points."""
    points = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)

    assert [round(quantile(points, share), 9) for share in QUANTILES[:-1]] == list(points[:-1])


def test_prices_walk_in_small_steps_around_the_table() -> None:
    """Margins follow the mark, and a series that jumps or stands still looks like no market's."""
    for coin in COINS:
        walk = [mark_price(1, coin, NOON // MINUTE + minute) for minute in range(3000)]

        assert max(abs(price / coin.price - 1) for price in walk) < 0.09
        assert max(abs(b / a - 1) for a, b in pairwise(walk)) < 0.01
        assert len(set(walk)) > 300


# Generated states


def test_a_state_is_a_pure_function_of_seed_wallet_and_minute() -> None:
    """In any order of minutes, in any world of the same seed; only the time follows the millisecond."""
    address = world().addresses[1]
    other = World.generate(seed=1, rows=2000)
    later = [other.state(address, NOON + minute * MINUTE) for minute in (500, 3, 0)]

    assert later == [world().state(address, NOON + minute * MINUTE) for minute in (500, 3, 0)]
    within = world().state(address, NOON + MINUTE - 1)
    assert within == later[-1].replace(b"%d}" % NOON, b"%d}" % (NOON + MINUTE - 1))
    assert World.generate(seed=2, rows=2000).addresses != world().addresses


def test_states_have_the_modern_shape() -> None:
    """Tests against another shape would prove the decoder for an exchange that does not exist."""
    for address, state in states().items():
        raw = world().state(address, NOON)
        assert raw == json.dumps(state, separators=(",", ":")).encode()
        assert list(state) == STATE_KEYS
        assert state["time"] == NOON
        assert all(NUMBER.fullmatch(figure) for figure in strings(state))
    for position in positions(states().values()):
        assert list(position) == POSITION_KEYS
        assert Decimal(position["szi"]) != 0
        assert list(position["leverage"])[:2] == ["type", "value"]
        assert (position["leverage"]["type"] == "isolated") == ("rawUsd" in position["leverage"])
        assert 1 <= position["leverage"]["value"] <= position["maxLeverage"]
        assert ":" not in position["coin"]


def test_no_coin_appears_twice_in_a_wallet() -> None:
    """The decoder refuses such a state, so the wallet would be missing whenever it is asked."""
    for state in states().values():
        coins = [position["coin"] for position in positions([state])]
        assert len(coins) == len(set(coins))


def test_an_unknown_address_is_all_zero() -> None:
    """309 bytes, as recorded of an address without perp activity; a flat wallet may look the same."""
    empty = world().state("0x" + "0" * 40, NOON)

    assert len(empty) == 309
    assert empty.decode() == (
        f'{{"marginSummary":{EMPTY_SUMMARY},"crossMarginSummary":{EMPTY_SUMMARY},'
        f'"crossMaintenanceMarginUsed":"0.0","withdrawable":"0.0","assetPositions":[],"time":{NOON}}}'
    )
    flat = [world().state(address, NOON) for address, state in states().items() if not state["assetPositions"]]
    assert 0.3 < flat.count(empty) / len(flat) < 0.7


def test_the_figures_of_a_state_agree() -> None:
    """Whoever compares a sum with its summary must not chase a difference that only the simulator made."""
    near = Decimal("0.0001")
    for state in states().values():
        held = positions([state])
        cross = [position for position in held if position["leverage"]["type"] == "cross"]
        for summary, of in ((state["marginSummary"], held), (state["crossMarginSummary"], cross)):
            values = [Decimal(position["positionValue"]) for position in of]
            signs = [Decimal(position["szi"]).copy_sign(1) / Decimal(position["szi"]) for position in of]
            signed = sum(value * sign for value, sign in zip(values, signs, strict=True))
            margins = sum(Decimal(position["marginUsed"]) for position in of)
            assert abs(Decimal(summary["totalNtlPos"]) - sum(values)) < near
            assert abs(Decimal(summary["totalMarginUsed"]) - margins) < near
            assert abs(Decimal(summary["totalRawUsd"]) + signed - Decimal(summary["accountValue"])) < near
        assert Decimal(state["withdrawable"]) >= 0


def test_the_figures_of_a_position_agree() -> None:
    """A size, sign or margin read wrongly shows as a contradiction only where the figures fit together."""
    marks = {coin.name: Decimal(text(mark_price(1, coin, NOON // MINUTE), 10)) for coin in COINS}
    for position in positions(states().values()):
        szi, value = Decimal(position["szi"]), Decimal(position["positionValue"])
        mark, near = marks[position["coin"]], max(Decimal("0.000002"), value / 10**12)
        assert abs(value - abs(szi) * mark) < near
        assert abs(Decimal(position["marginUsed"]) - value / position["leverage"]["value"]) < near
        assert abs(Decimal(position["unrealizedPnl"]) - szi * (mark - Decimal(position["entryPx"]))) < near * 10
        if position["liquidationPx"] is None:
            assert szi > 0
        else:
            assert (Decimal(position["liquidationPx"]) < mark) == (szi > 0)


def test_positions_evolve_by_the_minute() -> None:
    """Sizes drift, positions open and close, some wallets stand still; flat ones mostly stay flat."""
    wallets = world().addresses[:400]
    before = {address: sizes(world().state(address, NOON)) for address in wallets}
    resized, opened, closed, still, awoken = 0, 0, 0, 0, 0
    for minute in range(1, 31):
        after = {address: sizes(world().state(address, NOON + minute * MINUTE)) for address in wallets}
        for was, now in zip(before.values(), after.values(), strict=True):
            opened += len(now.keys() - was.keys())
            closed += len(was.keys() - now.keys())
            resized += sum(was[coin] != now[coin] for coin in was.keys() & now.keys())
            still += was == now and bool(was)
            awoken += not was and bool(now)
        before = after
    assert min(resized, opened, closed) > 30
    assert still > 400 * 30 * 0.3
    assert awoken < 400 * 30 * 0.002
    kept = {coin: size for coin, size in sizes(world().state(wallets[1], NOON)).items() if coin in before[wallets[1]]}
    assert all((size[0] == "-") == (before[wallets[1]][coin][0] == "-") for coin, size in kept.items())


@needs_recorded
def test_distributions_follow_the_recorded_ones() -> None:
    """Compared with the digest's daily and weekly wallets, 1,000 entries."""
    path = next((RECORDED / "leaderboard").glob("derived_*.json.gz"))
    tracker = json.loads(gzip.decompress(path.read_bytes()))["whaleTracker"]
    entries = tracker["daily"] + tracker["weekly"]
    counts = [len(entry["positions"]) for entry in entries]
    made = [len(state["assetPositions"]) for state in states().values()]
    for low, high in ((0, 0), (1, 1), (2, 2), (3, 3), (4, 9), (10, 29), (30, 1000)):
        share = sum(low <= count <= high for count in counts) / len(counts)
        assert sum(low <= count <= high for count in made) / len(made) == pytest.approx(share, abs=0.03), (low, high)

    for coin in ("BTC", "ETH", "HYPE"):
        real = [held for entry in entries for held in entry["positions"] if held["coin"] == coin]
        fake = [position for position in positions(states().values()) if position["coin"] == coin]
        assert len(fake) / len(made) == pytest.approx(len(real) / len(entries), abs=0.04)
        longs = sum(held["direction"] == "Long" for held in real) / len(real)
        assert sum(Decimal(position["szi"]) > 0 for position in fake) / len(fake) == pytest.approx(longs, abs=0.05)
        nulls = sum(held["liquidationPx"] is None for held in real) / len(real)
        assert sum(position["liquidationPx"] is None for position in fake) / len(fake) == pytest.approx(nulls, abs=0.04)
        real_sizes, fake_sizes = (
            sorted(held["size"] for held in real),
            sorted(abs(float(position["szi"])) for position in fake),
        )
        for share in (0.05, 0.25, 0.5, 0.75, 0.95):
            expected = real_sizes[int(share * len(real_sizes))]
            assert expected / 2 < fake_sizes[int(share * len(fake_sizes))] < expected * 2, (coin, share)
        usual = [leverage for leverage, _ in Counter(int(held["leverage"]) for held in real).most_common(2)]
        assert [lev for lev, _ in Counter(position["leverage"]["value"] for position in fake).most_common(2)] == usual


def test_the_oddities_of_real_answers_occur() -> None:
    """Isolated margin, float noise and large wallets break readers that were tested on tidy ones."""
    held = positions(states().values())
    assert 0.01 < sum(position["leverage"]["type"] == "isolated" for position in held) / len(held) < 0.08
    assert any(re.fullmatch(r"-?\d+\.\d{10}", position["szi"]) for position in held)
    assert len({position["coin"] for position in held}) > 60
    assert max(len(state["assetPositions"]) for state in states().values()) >= 50
    assert any(state["withdrawable"] == "0.0" and state["assetPositions"] for state in states().values())
    assert any(state["marginSummary"] != state["crossMarginSummary"] for state in states().values())


# The generated leaderboard


def test_rows_have_the_recorded_shape() -> None:
    """A refresh that works here must work on the real file, whose windows are pairs and whose figures are strings."""
    found = rows(world())

    assert len(found) == 2000
    assert [row["ethAddress"] for row in found] == list(world().addresses)
    assert len(set(world().addresses)) == 2000
    for row in found:
        assert list(row) == ["ethAddress", "accountValue", "windowPerformances", "prize", "displayName"]
        assert re.fullmatch("0x[0-9a-f]{40}", row["ethAddress"])
        assert [name for name, _ in row["windowPerformances"]] == ["day", "week", "month", "allTime"]
        assert all(list(figures) == ["pnl", "roi", "vlm"] for _, figures in row["windowPerformances"])
        assert row["prize"] == 0
        assert all(NUMBER.fullmatch(figure) for figure in strings(row))


def test_rows_fall_by_month_volume_not_by_pnl() -> None:
    """On a board sorted by PnL, a refresh that just took the first 200 rows would pass."""
    found = rows(world())
    volumes = [month(row, "vlm") for row in found]
    pnls = [month(row, "pnl") for row in found]

    assert volumes == sorted(volumes, reverse=True)
    assert len(set(volumes[:100])) == 100
    assert pnls != sorted(pnls, reverse=True)
    assert 0.35 < sum(pnl < 0 for pnl in pnls) / len(pnls) < 0.5
    assert max(pnls) > 50 * sorted(pnls)[-200] > 0


@pytest.mark.parametrize(("seed", "size"), [(1, 2000), (2, 2000), (3, 2000), (1, 20000)])
def test_some_of_the_best_have_no_volume(seed: int, size: int) -> None:
    """Holders of spot coins and vaults; the rest of the best trade."""
    best = sorted(rows(World.generate(seed=seed, rows=size)), key=lambda row: -month(row, "pnl"))[:200]

    assert any(month(row, "vlm") == 0 for row in best[:10])
    assert 20 <= sum(month(row, "vlm") == 0 for row in best) <= 80


def test_display_names_are_rare_and_hostile() -> None:
    """A stranger's name may try to break a parser or a terminal, and a board full of them would look unreal."""
    names = [row["displayName"] for row in rows(world())]
    given_names = [name for name in names if name is not None]

    assert 0.025 < len(given_names) / len(names) < 0.045
    assert set(given_names) <= set(NAMES)
    assert len(set(given_names)) > 30
    raw = b"".join(world().leaderboard())
    assert b"\x1b" not in raw
    assert b"\\u001b" in raw


def test_vaults_are_few_and_hold_many_coins() -> None:
    """A vault is a row without volume whose month is a small return on a large account; 0.5 % of all rows."""
    vaults = [row for row in rows(world()) if month(row, "vlm") == 0 and 0.003 < month(row, "roi") < 0.03]
    held = [len(states()[row["ethAddress"]]["assetPositions"]) for row in vaults]

    assert sum(count >= 20 for count in held) >= 8
    assert len(vaults) < 60


@pytest.mark.parametrize("size", [0, 1, 3, 499, 500, 501])
def test_any_number_of_rows_is_one_document(size: int) -> None:
    """Blocks of 500 rows are joined by hand, and a wrong comma at a seam is no JSON."""
    made = World.generate(seed=5, rows=size)

    assert [row["ethAddress"] for row in rows(made)] == list(made.addresses)
    assert len(made.addresses) == size


def test_a_pretty_leaderboard_holds_the_same_rows() -> None:
    """The real file is probably indented, and whoever compares the two must have changed white space only."""
    pretty = World.generate(seed=1, rows=700, pretty=True)

    assert b'",\n  "' in b"".join(pretty.leaderboard())
    assert rows(pretty) == rows(World.generate(seed=1, rows=700))


def test_the_largest_leaderboard_comes_in_pieces() -> None:
    """The reader claims to hold a chunk and a row, and only small pieces can put that to the test."""
    size = pieces = 0
    for piece in World.generate(seed=1, rows=100_000).leaderboard():
        size += piece.count(b'"ethAddress":"0x')
        pieces += 1
        assert len(piece) < 1_000_000

    assert size >= 100_000
    assert pieces > 100


@pytest.mark.parametrize("size", [-1, 100_001])
def test_an_impossible_number_of_rows_is_refused(size: int) -> None:
    """A mistyped --wallets ends in a sentence, not in an empty board or a full memory."""
    with pytest.raises(ValueError, match=f"0 to 100000 wallets, not {size}"):
        World.generate(seed=1, rows=size)


# The recorded world


@cache
def recorded() -> World:
    return World.recorded(RECORDED)


def index() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((RECORDED / "clearinghouse" / "index.json").read_bytes())
    return [entry for entry in entries if not entry.get("dex")]


@needs_recorded
def test_every_main_dex_body_is_served_byte_for_byte_but_for_its_time() -> None:
    """A wallet with several bodies shows them in turn, a minute each."""
    entries = index()
    assert len(entries) == 21
    for entry in entries:
        raw = (RECORDED / entry["file"]).read_bytes().rstrip()
        address = (entry.get("user") or stand_in(Path(entry["file"]).name)).lower()
        served = [recorded().state(address, NOON + turn * MINUTE) for turn in range(2)]
        if b'"time"' in raw:
            expected = [re.sub(rb'("time"\s*:\s*)\d+', rb"\g<1>%d" % (NOON + turn * MINUTE), raw) for turn in range(2)]
        else:
            expected = [raw[:-1] + b',"time":%d}' % (NOON + turn * MINUTE) for turn in range(2)]
        assert served == expected, entry["file"]


@needs_recorded
def test_every_wallet_of_the_digest_is_served_as_it_was() -> None:
    """The demo on recorded data shows real wallets, and a figure lost on the way would be a lie about one."""
    path = next((RECORDED / "leaderboard").glob("derived_*.json.gz"))
    tracker = json.loads(gzip.decompress(path.read_bytes()))["whaleTracker"]
    listed = {row["ethAddress"]: row for row in rows(recorded())}
    for entry in tracker["daily"] + tracker["weekly"]:
        state = json.loads(recorded().state(entry["address"], NOON))
        assert list(state) == STATE_KEYS
        assert all(NUMBER.fullmatch(figure) for figure in strings(state))
        got = [
            (position["coin"], float(position["szi"]), position["entryPx"], position["liquidationPx"])
            for position in positions([state])
        ]
        assert got == [
            (
                held["coin"],
                held["size"] if held["direction"] == "Long" else -held["size"],
                held["entryPx"],
                held["liquidationPx"],
            )
            for held in entry["positions"]
        ]
        assert entry["address"] in listed
    for held in tracker["biggestPositions"]:
        assert held["coin"] in sizes(recorded().state(held["traderAddress"], NOON))
        assert held["traderAddress"] in listed


@needs_recorded
def test_recorded_rows_are_served_unchanged_and_only_for_wallets_whose_state_is_known() -> None:
    """A real wallet listed without its positions would be answered all zero, and so recorded as flat."""
    listed = {row["ethAddress"]: row for row in rows(recorded())}
    head = json.loads(next((RECORDED / "leaderboard").glob("head_*.json")).read_bytes())["leaderboardRows"]
    known = [row for row in head if row["ethAddress"] in listed]

    assert len(known) > 10
    assert all(listed[row["ethAddress"]] == row for row in known)
    assert set(listed) == set(recorded().addresses)


@needs_recorded
def test_the_recorded_leaderboard_is_ordered_and_has_a_universe() -> None:
    """The demo on recorded data chooses its 200 wallets from it, and must rank them itself as with the real file."""
    found = rows(recorded())
    volumes = [month(row, "vlm") for row in found]

    assert len({row["ethAddress"] for row in found}) == len(found) > 800
    assert volumes == sorted(volumes, reverse=True)
    assert sum(month(row, "pnl") > 0 for row in found) > 700
    assert all(NUMBER.fullmatch(figure) for row in found for figure in strings(row))


def test_a_folder_without_recorded_data_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """Whoever mistypes `demo --data` is told which file is missing, not shown a traceback."""
    with pytest.raises(ValueError, match=r"recorded data: cannot read .*index\.json"):
        World.recorded(tmp_path)
    (tmp_path / "clearinghouse").mkdir()
    (tmp_path / "leaderboard").mkdir()
    index_file = tmp_path / "clearinghouse" / "index.json"
    index_file.write_text("[]")
    with pytest.raises(ValueError, match=r"recorded data: no derived_\*\.json\.gz in"):
        World.recorded(tmp_path)
    digest = tmp_path / "leaderboard" / "derived_1.json.gz"
    digest.write_bytes(gzip.compress(b'{"whaleTracker":{"daily":[],"weekly":[],"biggestPositions":[]}}'))
    with pytest.raises(ValueError, match=r"recorded data: no \*rows\*\.json in"):
        World.recorded(tmp_path)
    (tmp_path / "leaderboard" / "rows.json").write_text('{"leaderboardRows":[]}')
    assert rows(World.recorded(tmp_path)) == []
    index_file.write_text('[{"file":"clearinghouse/gone.json"}]')
    with pytest.raises(ValueError, match=r"recorded data: cannot read .*gone\.json"):
        World.recorded(tmp_path)
    index_file.write_text("[{}]")
    with pytest.raises(ValueError, match="not laid out as expected"):
        World.recorded(tmp_path)
    digest.write_bytes(b"not gzip")
    with pytest.raises(ValueError, match="recorded data"):
        World.recorded(tmp_path)
