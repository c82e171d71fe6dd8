"""Decoding: every branch on small hand-written answers; the recorded ones are in test_recorded.py."""

import json
import random
import re
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlctl import wire
from hlctl.model import Asset, LeaderboardRow, LeverageType, MissingReason, Position


def position(**overrides: Any) -> dict[str, Any]:
    return {
        "coin": "BTC",
        "szi": "-1.5",
        "leverage": {"type": "cross", "value": 20},
        "entryPx": "100.5",
        "liquidationPx": None,
        "marginUsed": "7.25",
        **overrides,
    }


def body(*positions: Any, **overrides: Any) -> bytes:
    entries = [{"type": "oneWay", "position": fields} for fields in positions]
    return json.dumps({"assetPositions": entries, "time": 1767732245000, **overrides}).encode()


def reason_of(answer: bytes) -> MissingReason:
    with pytest.raises(wire.WireError) as caught:
        wire.decode_state(answer)
    return caught.value.reason


def test_a_position_is_read_field_by_field() -> None:
    """The names are the exchange's, the types are ours."""
    state = wire.decode_state(body(position()))
    assert state.time_ms == 1767732245000
    assert state.positions == {
        Asset.BTC: Position(
            szi=Decimal("-1.5"),
            entry_px=Decimal("100.5"),
            liq_px=None,
            leverage=Decimal(20),
            leverage_type=LeverageType.CROSS,
            margin_used=Decimal("7.25"),
        )
    }


@pytest.mark.parametrize("coin", ["xyz:BTC", "hyna:BTC", "kBTC", "UBTC", "btc", "BTC ", "@107", "SOL"])
def test_only_the_exact_coin_is_ours(coin: str) -> None:
    """Another dex's BTC is not BTC."""
    assert wire.decode_state(body(position(coin=coin))).positions == {}


def test_other_coins_may_be_as_odd_as_they_like() -> None:
    """A new field or a broken figure of a coin we do not record costs nothing."""
    assert wire.decode_state(body({"coin": "PEPE", "szi": 3})).positions == {}


def test_no_positions_is_flat() -> None:
    """An empty array is the exchange's way to say flat."""
    assert wire.decode_state(b'{"assetPositions":[]}').positions == {}


@pytest.mark.parametrize("total", ["1", "1.0", "108650403.9341599941", "-1.0"])
def test_an_empty_list_beside_a_total_of_open_positions_says_nothing(total: str) -> None:
    """In every recorded answer the two agree: one of them is wrong here, and a zero would be made up."""
    said, nothing = {"totalNtlPos": total}, {"totalNtlPos": "0.0"}
    assert reason_of(body(marginSummary=said)) is MissingReason.BAD_SHAPE
    assert reason_of(body(crossMarginSummary=said)) is MissingReason.BAD_SHAPE, "cross positions are open positions"
    assert reason_of(body(marginSummary=nothing, crossMarginSummary=said)) is MissingReason.BAD_SHAPE
    assert reason_of(body(marginSummary=said, crossMarginSummary=nothing)) is MissingReason.BAD_SHAPE


@pytest.mark.parametrize(
    "summary",
    [
        {"totalNtlPos": "0.0"}, {"totalNtlPos": "0.999999"}, {"totalNtlPos": "-0.0"}, {"totalNtlPos": None},
        {"totalNtlPos": 7}, {"totalNtlPos": "1e9"}, {"totalNtlPos": "NaN"}, {}, None, [], "108650403.9",
    ],
)  # fmt: skip
def test_an_empty_list_is_flat_unless_its_own_total_says_otherwise(summary: Any) -> None:
    """What is left of a dollar is noise, and what cannot be read says nothing."""
    assert wire.decode_state(body(marginSummary=summary)).positions == {}


def test_a_total_is_held_against_an_empty_list_alone() -> None:
    """Other coins, and what they are worth, are not read."""
    other = {"coin": "PEPE", "szi": 3}
    assert wire.decode_state(body(other, marginSummary={"totalNtlPos": "9.5"})).positions == {}


def test_a_size_of_zero_is_flat_and_its_terms_are_not_read() -> None:
    """The oldest shape spells closed positions out, without an entry price."""
    assert wire.decode_state(body(position(szi="0.0", entryPx=None, leverage=None))).positions == {}


@pytest.mark.parametrize("zero", ["-0", "-0.0", "0", "0.00"])
def test_minus_zero_is_zero(zero: str) -> None:
    """A sign on nothing is no short."""
    assert wire.decode_state(body(position(szi=zero))).positions == {}


def test_nan_as_liquidation_price_means_none_was_given() -> None:
    """The exchange's own schema shows it."""
    assert wire.decode_state(body(position(liquidationPx="NaN"))).positions[Asset.BTC].liq_px is None


def test_an_absent_entry_or_liquidation_price_is_none() -> None:
    """Both may be null."""
    fields = position(entryPx=None)
    del fields["liquidationPx"]
    found = wire.decode_state(body(fields)).positions[Asset.BTC]
    assert (found.entry_px, found.liq_px) == (None, None)


@pytest.mark.parametrize(
    "answer",
    [
        b"null", b"[]", b"{}", b'"error"', b"7", b"[null,null]", b'{"assetPositions":null}', b'{"assetPositions":{}}',
        b'{"assetPositions":[null]}', b'{"assetPositions":[{}]}', b'{"assetPositions":[{"position":null}]}',
        b'{"assetPositions":[{"position":{"szi":"1"}}]}', b'{"assetPositions":[{"position":{"coin":7}}]}',
        b"<html>502</html>", b"", b"\xff\xfe", b'{"assetPositions":[]} trailing}', b"[" * 10_000,
        b'{"a":' * 10_000,
        b'{"assetPositions":[],"assetPositions":[]}', b'\xef\xbb\xbf{"assetPositions":[]}',
        body(time="1767732245000"), body(time=1767732245000.5), body(time=-1), body(time=10**20), body(time=True),
    ],
)  # fmt: skip
def test_an_answer_of_another_shape_is_no_answer(answer: bytes) -> None:
    """Never an empty list of positions: that would be three false zeros."""
    assert reason_of(answer) is MissingReason.BAD_SHAPE


def test_an_answer_that_stops_early_is_truncated() -> None:
    """Without a length, only the missing brace tells."""
    whole = body(position())
    assert {reason_of(whole[:cut]) for cut in range(1, len(whole))} == {MissingReason.TRUNCATED}


@pytest.mark.parametrize(
    "answer",
    [
        b'\r\n {"assetPositions":[',
        b'{"assetPositions":[],"note":"a}',
        '{"assetPositions":[],"note":"\u00e9'.encode()[:-1],
        b'{"assetPositions":[],"note":{} ',
    ],
)
def test_an_answer_that_stops_behind_blanks_in_a_string_or_within_a_character_is_truncated(answer: bytes) -> None:
    """What was cut is asked for again; what has another shape is not. Each of them the fuzzer found."""
    assert reason_of(answer) is MissingReason.TRUNCATED


@pytest.mark.parametrize("element", [b"1", b"[]", b"{}", b'""', b"[[[[[1]]]]]", b'{"":1}'])
def test_more_values_than_a_state_can_have_are_not_decoded(element: bytes) -> None:
    """A short text can hold very many: each costs up to 130 bytes of memory, and eight answers come at a time."""
    answer = b'{"assetPositions":[],"more":[' + b",".join([element] * 20_000) + b"]}"
    assert reason_of(answer) is MissingReason.TOO_BIG
    every_coin = [position(coin=f"COIN{number}", cumFunding=dict.fromkeys("abcdefgh", "1.0")) for number in range(600)]
    assert wire.decode_state(body(*every_coin)).positions == {}, "twice as many perpetuals as there are"


@pytest.mark.parametrize("field", ["szi", "entryPx", "liquidationPx", "marginUsed"])
@pytest.mark.parametrize(
    "value",
    ["NaN", "Infinity", "-Infinity", "sNaN", "1e3", "1E400", "1_000", " 1", "1 ", "+5", ".5", "5.", "0x10", "",
     "\uff11\uff12", "\u0663.\u0665", "1000000000000000", "1.1234567890123456789", "--1"],
)  # fmt: skip
def test_a_figure_that_is_not_a_plain_decimal_is_refused(field: str, value: str) -> None:
    """Decimal and PostgreSQL would take most of these, and each would be a lie."""
    if field == "liquidationPx" and value == "NaN":
        return
    if field == "entryPx" and value == "NaN":
        return
    assert reason_of(body(position(**{field: value}))) is MissingReason.BAD_NUMBER


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}])
@pytest.mark.parametrize("field", ["szi", "marginUsed"])
def test_a_required_figure_must_be_a_string(field: str, value: object) -> None:
    """A JSON number went through a float somewhere."""
    assert reason_of(body(position(**{field: value}))) is MissingReason.BAD_SHAPE


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_a_constant_that_json_does_not_know_is_refused(literal: str) -> None:
    """Python's parser would take it."""
    assert reason_of(b'{"assetPositions":[],"x":' + literal.encode() + b"}") is MissingReason.BAD_NUMBER


@pytest.mark.parametrize(
    ("leverage", "reason"),
    [
        (None, MissingReason.BAD_SHAPE),
        ({}, MissingReason.BAD_SHAPE),
        ({"type": "cross"}, MissingReason.BAD_SHAPE),
        ({"type": "hedge", "value": 5}, MissingReason.BAD_SHAPE),
        ({"type": ["cross"], "value": 5}, MissingReason.BAD_SHAPE),
        ({"type": "cross", "value": "5"}, MissingReason.BAD_SHAPE),
        ({"type": "cross", "value": 0}, MissingReason.BAD_NUMBER),
        ({"type": "cross", "value": -3}, MissingReason.BAD_NUMBER),
        ({"type": "cross", "value": 1001}, MissingReason.BAD_NUMBER),
    ],
)
def test_an_unreadable_leverage_costs_the_wallet(leverage: object, reason: MissingReason) -> None:
    """A position is recorded whole or not at all."""
    assert reason_of(body(position(leverage=leverage))) is reason


def test_a_negative_price_is_refused() -> None:
    """The database would refuse it too, and with it the whole minute."""
    assert reason_of(body(position(entryPx="-1"))) is MissingReason.BAD_NUMBER


@pytest.mark.parametrize("kind", ["hedge", "oneway", "", None, 1, ["oneWay"]])
def test_a_position_of_another_type_is_refused(kind: object) -> None:
    """Only of "oneWay" is it known that the sign of its size is its side; another coin's type is nobody's business."""
    entries = [{"type": "oneWay", "position": position()}, {"type": kind, "position": position(coin="SOL")}]
    assert len(wire.decode_state(body(assetPositions=entries)).positions) == 1
    entries += [{"type": kind, "position": position(coin="ETH")}]
    assert reason_of(body(assetPositions=entries)) is MissingReason.BAD_SHAPE


def test_a_position_without_a_type_is_read() -> None:
    """A field that the exchange gives up says nothing."""
    assert len(wire.decode_state(body(assetPositions=[{"position": position()}])).positions) == 1


def test_a_coin_that_comes_twice_is_never_summed() -> None:
    """Which of the two is true cannot be told."""
    assert reason_of(body(position(), position(szi="2"))) is MissingReason.DUPLICATE_COIN


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_the_decoder_raise_anything_but_its_own_error(answer: bytes) -> None:
    """One wallet's odd answer costs that wallet, never the run."""
    with suppress(wire.WireError):
        wire.decode_state(answer)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["assetPositions", "position", "coin", "szi", "leverage", "type", "value", "time"]),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_no_json_makes_the_decoder_raise_anything_but_its_own_error(document: object) -> None:
    """The same with documents that look like the real ones."""
    with suppress(wire.WireError):
        wire.decode_state(json.dumps({"assetPositions": document}).encode())


# ---- the leaderboard

ADDRESS = "0x85ecf584f25db6f146718b86d493e33c5af72052"


def row(**overrides: Any) -> dict[str, Any]:
    window = {"pnl": "12.5", "roi": "0.03", "vlm": "100.0"}
    return {
        "ethAddress": ADDRESS,
        "accountValue": "7.0",
        "windowPerformances": [["day", {"pnl": "1"}], ["month", window], ["allTime", {"pnl": "3"}]],
        "prize": 0,
        "displayName": None,
        **overrides,
    }


def read(document: bytes, *, size: int = 7) -> list[LeaderboardRow | None]:
    return list(wire.read_leaderboard(document[at : at + size] for at in range(0, len(document), size)))


def leaderboard(*rows: Any) -> bytes:
    return json.dumps({"leaderboardRows": rows}).encode()


def test_a_row_is_read_by_its_month() -> None:
    """The other windows contradict each other and are left alone."""
    assert read(leaderboard(row())) == [
        LeaderboardRow(
            address=ADDRESS,
            month_pnl=Decimal("12.5"),
            month_roi=Decimal("0.03"),
            month_volume=Decimal("100.0"),
            account_value=Decimal("7.0"),
        )
    ]


def test_a_row_without_a_month_earned_nothing() -> None:
    """A missing window counts as zero."""
    (found,) = read(leaderboard(row(windowPerformances=[["day", {"pnl": "1"}]])))
    assert found is not None
    assert (found.month_pnl, found.month_roi, found.month_volume) == (Decimal(0),) * 3


def plain_row(**overrides: Any) -> dict[str, Any]:
    """Return a row of the shape that is recorded, which is read without the decoder."""
    windows = [[name, {"pnl": "-12.5", "roi": "0.03", "vlm": "100.0"}] for name in ("day", "week", "month", "allTime")]
    return row(windowPerformances=windows, displayName="老王 ]}, {", **overrides)


def both_ways(document: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[object, object]:
    """Return what a document is read to, and what by the decoder alone."""

    def outcome() -> object:
        try:
            return read(document, size=len(document))
        except wire.LeaderboardError as exc:
            return str(exc)

    with monkeypatch.context() as patched:
        patched.setattr(wire, "_plain_row", lambda: re.compile("(?!)"))
        decoded = outcome()
    return outcome(), decoded


def test_a_row_of_the_usual_shape_is_read_without_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly every row is one, however the document is spaced; the last of a document has no comma behind it."""
    decoded: list[object] = []
    monkeypatch.setattr(wire, "_row", decoded.append)
    document = {"leaderboardRows": [plain_row() for _ in range(5)]}
    for style in ({"separators": (",", ":")}, {"indent": 2}, {}):
        decoded.clear()
        assert len(read(json.dumps(document, ensure_ascii=False, **style).encode(), size=1000)) == 5
        assert len(decoded) == 1


def test_spoiled_anywhere_a_row_of_the_usual_shape_is_what_the_decoder_makes_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The faster way takes nothing for a row that the decoder does not, and no other figures from one."""
    rng = random.Random(7)  # noqa: S311 - protects nothing
    text = json.dumps({"leaderboardRows": [plain_row(), plain_row(), plain_row()]}, ensure_ascii=False)
    parts = ("NaN", "null", "month", "e1", *'"\\{}[],:0-.ä\t\n\x00', "")
    refused = unreadable = 0
    for _ in range(4000):
        at = rng.randrange(len(text))
        spoiled = text[:at] + rng.choice(parts) + text[at + rng.choice((0, 1, 1, 3)) :]
        found, decoded = both_ways(spoiled.encode(), monkeypatch)
        assert found == decoded, spoiled
        refused += isinstance(found, str)
        unreadable += isinstance(found, list) and None in found
    assert refused > 1000
    assert unreadable > 100


@pytest.mark.parametrize(
    ("good", "odd"),
    [
        (ADDRESS, "0x" + "0" * 40),
        (ADDRESS, ADDRESS.upper()),
        (ADDRESS[2:], ADDRESS[2:].upper()),
        ('"month"', '"week"'),
        ('"allTime"', '"month"'),
        ('"roi": "0.03"', '"pnl": "0.03"'),
        ('"roi"', '"pnl"'),
        ('"-12.5"', '"-1234567890123456.5"'),
        ('"-12.5"', '"٣"'),
        ('"7.0"', "7.0"),
        ('"prize": 0', '"prize": 01'),
        ('"prize": 0', '"prize": 0.5'),
        ('"prize": 0', '"ethAddress": 0'),
        ("老", "x" * 70_000),
        ("老", "x" * (2**16 - 600)),
        ("老", "\x7f\u2028"),
    ],
)
def test_an_odd_row_of_nearly_the_usual_shape_is_what_the_decoder_makes_of_it(
    good: str, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the decoder refuses in a row is no row of the usual shape."""
    text = json.dumps({"leaderboardRows": [plain_row(), plain_row()]}, ensure_ascii=False)
    assert good in text
    found, decoded = both_ways(text.replace(good, odd, 1).encode(), monkeypatch)
    assert found == decoded


def test_an_address_is_lower_cased() -> None:
    """EIP-55 capitals are the same wallet."""
    (found,) = read(leaderboard(row(ethAddress=ADDRESS.upper().replace("0X", "0x"))))
    assert found is not None
    assert found.address == ADDRESS


@pytest.mark.parametrize(
    "odd",
    [
        None, 7, [], "row", {},
        row(ethAddress=None), row(ethAddress=7), row(ethAddress=ADDRESS[:-1]), row(ethAddress=ADDRESS + "0"),
        row(ethAddress="0x" + "g" * 40), row(ethAddress="0x" + "0" * 40),
        row(ethAddress=" " + ADDRESS), row(ethAddress="' OR 1=1--"),
        row(ethAddress="0X" + ADDRESS[2:]),
        row(ethAddress="0x" + "\u0661" * 40),
        row(ethAddress="0x" + "\u0430" * 40), row(ethAddress=ADDRESS + "\n"),
        row(accountValue=None), row(accountValue=7), row(accountValue="NaN"),
        row(windowPerformances=None), row(windowPerformances=[["month"]]), row(windowPerformances=[["month", None]]),
        row(windowPerformances=[["month", {"pnl": "Infinity"}]]), row(windowPerformances=[["month", {"pnl": None}]]),
        row(windowPerformances=[["month", {"pnl": 12.5}]]), row(windowPerformances={"month": {"pnl": "1"}}),
        row(windowPerformances=[[["month"], {}]]), row(windowPerformances=[["month", {"pnl": "1e5"}]]),
        row(windowPerformances=[["month", {"pnl": "1"}], ["month", {"pnl": "2"}]]),
        row(windowPerformances=["ab", ["month", {}]]), row(windowPerformances=[{"month": 1, "b": 2}]),
        row(windowPerformances=[[None, {}], ["month", {}]]),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_none_and_costs_nobody_else(odd: object) -> None:
    """Rows are counted as rejected, never guessed."""
    first, second = read(leaderboard(odd, row()))
    assert first is None
    assert second is not None


@pytest.mark.parametrize(
    ("good", "doubled"),
    [
        (b'"accountValue": "7.0"', b'"accountValue": "7.0", "accountValue": "8.0"'),
        (b'{"pnl": "12.5"', b'{"pnl": "1.0", "pnl": "12.5"'),
        (b'"ethAddress"', b'"ethAddress": "0x", "ethAddress"'),
    ],
)
def test_a_key_that_comes_twice_costs_its_row(good: bytes, doubled: bytes) -> None:
    """Which of the two is true cannot be told."""
    first, second = read(leaderboard(row(), row()).replace(good, doubled, 1))
    assert first is None
    assert second is not None


def test_a_bare_nan_costs_its_row_only() -> None:
    """It is not JSON, but Python's parser and some servers think so."""
    document = leaderboard(row(), row()).replace(b'"7.0"', b"NaN", 1)
    first, second = read(document)
    assert first is None
    assert second is not None


@pytest.mark.parametrize("size", [1, 2, 3, 64, 10_000])
def test_pieces_of_any_size_give_the_same_rows(size: int) -> None:
    """The network cuts where it likes, inside a character too."""
    rows = [row(displayName='老王 ]}, {"ethAddress":'), plain_row(), plain_row(), row()]
    document = json.dumps({"leaderboardRows": rows}, ensure_ascii=False, indent=2).encode()
    assert read(document, size=size) == [read(leaderboard(one))[0] for one in rows]


def test_a_large_piece_gives_the_same_rows_as_small_ones() -> None:
    """It is cut before it is decoded, and a row across the cut is one row."""
    document = leaderboard(*(row(displayName=f"{number} \U0001f40b") for number in range(1000)))
    assert len(document) > 3 * wire._PIECE
    assert read(document, size=len(document)) == [read(leaderboard(row()))[0]] * 1000


def test_other_keys_before_and_after_the_rows_are_skipped() -> None:
    """The exchange adds keys."""
    assert (
        len(read(b'{"a": 1.5, "leaderboardRows": [' + json.dumps(row()).encode() + b'], "b": [1, {}], "c": 12}')) == 1
    )


@pytest.mark.parametrize("number", ["1.5", "-0.5", "1e5", "2.5E+7", "0"])
def test_a_number_may_be_cut_anywhere_on_its_way(number: str) -> None:
    """Behind its point or exponent it is no number yet, and looked like one with something odd behind it."""
    assert read(f'{{"a":{number},"leaderboardRows":[],"b":{number}}}'.encode(), size=1) == []


def test_an_empty_leaderboard_has_no_rows() -> None:
    """It is the selection that refuses it."""
    assert read(b' { "leaderboardRows" : [ ] } \n') == []


@pytest.mark.parametrize(
    ("document", "rule"),
    [
        (b"", "truncated"), (b"{", "truncated"), (b'{"leaderboardRows"', "truncated"),
        (b'{"leaderboardRows":[', "truncated"),
        (b"<html>blocked</html>", "bad_shape"), (b"blocked", "bad_shape"), (b"null", "bad_shape"), (b"[]", "bad_shape"),
        (b"{}", "bad_shape"), (b'{"error":"no"}', "bad_shape"), (b'{"leaderboardRows":{}}', "bad_shape"),
        (b'{"leaderboardRows":null}', "bad_shape"), (b'{"leaderboardRows":[]}x', "bad_shape"),
        (b'{"leaderboardRows":[]}{}', "bad_shape"), (b'{"leaderboardRows":[1 2]}', "bad_shape"), (b"\xff", "bad_shape"),
        (b'{"leaderboardRows":[' + b"[" * 70_000, "bad_shape"),
        (b'{"leaderboardRows":["' + b"x" * 70_000, "bad_shape"),
        (b'{"leaderboardRows":["' + b"x" * 70_000 + b'"]}', "bad_shape"),
        (b'{"leaderboardRows":[],"leaderboardRows":[]}', "bad_shape"),
        (b'{1:2,"leaderboardRows":[]}', "bad_shape"), (b'{"leaderboardRows":[],5:6}', "bad_shape"),
        (b'{"leaderboardRows":[],"b":1.', "truncated"), (b'{"leaderboardRows":[],"b":N', "truncated"),
        (b'{"leaderboardRows":[],"b":-Inf', "truncated"),
        (b'{"leaderboardRows":[{"a":]}', "bad_shape"), (b'{"leaderboardRows":[nonsense]}', "bad_shape"),
    ],
)  # fmt: skip
def test_a_document_that_is_not_a_whole_leaderboard_is_refused_by_name(document: bytes, rule: str) -> None:
    """The name goes into the failed refresh's row."""
    with pytest.raises(wire.LeaderboardError, match=f"^{rule}: "):
        read(document, size=1000)


@pytest.mark.parametrize("size", [1, 1000])
def test_a_document_cut_anywhere_is_truncated(size: int) -> None:
    """Whatever the last piece of it looks like, and were it for its last brace."""
    document = leaderboard(row(displayName="a\u00e9\n"))
    for cut in range(1, len(document)):
        with pytest.raises(wire.LeaderboardError, match="^truncated: "):
            read(document[:cut], size=size)


def test_a_document_cut_at_a_row_boundary_is_truncated() -> None:
    """Every row before the cut is whole, and still the document is not."""
    document = leaderboard(row(), row())
    cut = document.index(b"}, {") + 1
    with pytest.raises(wire.LeaderboardError, match="^truncated: "):
        read(document[:cut])


def test_a_document_without_an_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes and rows are capped."""

    def endless() -> Iterator[bytes]:
        yield b'{"leaderboardRows":[1'
        while True:
            yield b",1" * 1000

    monkeypatch.setattr(wire, "MAX_LEADERBOARD_ROWS", 5000)
    with pytest.raises(wire.LeaderboardError, match="^too_big: more than 5,000 rows"):
        list(wire.read_leaderboard(endless()))
    monkeypatch.setattr(wire, "MAX_LEADERBOARD_ROWS", 10**9)
    monkeypatch.setattr(wire, "MAX_LEADERBOARD_BYTES", 2**20)
    with pytest.raises(wire.LeaderboardError, match="^too_big: more than 1 MiB"):
        list(wire.read_leaderboard(endless()))
