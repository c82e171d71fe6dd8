"""Every recorded answer of the exchange decodes to exactly the positions in it.

The table was read off the files by eye and by a plain JSON dump, before there was a decoder.
"""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from hlctl import wire
from hlctl.model import HLP_VAULT, Asset, LeverageType, Position

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "recorded"
pytestmark = pytest.mark.skipif(
    not (RECORDED / "clearinghouse").is_dir(), reason="the recorded answers (../shared/data/recorded) are not here"
)

# file: time, and for each recorded asset held: szi, entryPx, liquidationPx, leverage, type, marginUsed
HELD: dict[str, tuple[int | None, dict[str, tuple[str, str, str | None, str, str, str]]]] = {
    "01": (
        None,
        {
            "BTC": ("-0.00785", "26951.0", "173198.69592357", "20", "cross", "10.582271"),
            "ETH": ("0.1334", "1705.82", None, "20", "cross", "11.383755"),
        },
    ),
    "02": (1765661071083, {}),
    "03": (1765661080145, {}),
    "04": (1741344311840, {}),
    "05": (1741344314396, {}),
    "06": (1780297478106, {}),
    "07": (1780300831153, {}),
    "08": (1780300832159, {}),
    "09": (1780300832492, {}),
    "10": (1780300832897, {}),
    "11": (1780300833228, {}),
    "12": (1780300833704, {}),
    "13": (1780300834031, {}),
    "14": (1780300834444, {}),
    "15": (1780300834736, {}),
    "16": (1754467216357, {"HYPE": ("2.0", "37.829", "35.8559189474", "10", "isolated", "7.525754")}),
    "17": (1733968369395, {}),
    "18": (
        1781214420725,
        {
            "BTC": ("-45.028", "62378.8", "139627.6962997839", "30", "cross", "95339.285333"),
            "ETH": ("-1010.8358", "1672.18", "5044.6131261533", "20", "cross", "84874.827947"),
        },
    ),
    "19": (1708622398623, {"ETH": ("0.0335", "2986.3", "2866.26936529", "20", "isolated", "4.967826")}),
    "20": (1790951246099, {"BTC": ("-21.0955", "61884.8", "432027.8823055762", "20", "cross", "91047.545135")}),
    "21": (1790951249103, {"BTC": ("30.7907", "86419.5", None, "5", "cross", "531566.949916")}),
    "22": (1790951249103, {"ETH": ("-2769.4754", "2748.73", "5934.2520974107", "5", "cross", "1515733.8864200001")}),
    "23": (1790951249103, {}),
    "24": (1788010069754, {}),
    "25": (1789957688945, {"BTC": ("1333.08472", "78056.9", None, "3", "cross", "36216801.3113859966")}),
    "26": (
        1789957687337,
        {
            "BTC": ("-2110.66337", "72730.6", "117632.8442441016", "5", "cross", "34400773.5757469982"),
            "ETH": ("-102911.9699", "2297.25", "3402.9333324602", "5", "cross", "54907652.420446001"),
        },
    ),
    "27": (1789957676460, {}),
    "28": (
        1791171743743,
        {
            "HYPE": ("461.91", "90.2905", None, "10", "cross", "4193.496126"),
            "BTC": ("-2.24198", "86575.0", "273632.9842300991", "40", "cross", "4834.308609"),
            "ETH": ("-12.0556", "2722.7", "37314.2529519273", "25", "cross", "1313.095952"),
        },
    ),
    "29": (
        1790518335406,
        {
            "HYPE": ("166.08", "92.9341", None, "20", "cross", "767.14594"),
            "BTC": ("0.5681", "84255.8", None, "20", "cross", "2413.885305"),
            "ETH": ("5.1248", "2705.82", None, "20", "cross", "693.651929"),
        },
    ),
    "30": (1791280776159, {}),
    "31": (1770747726916, {}),
}


def _expected(terms: tuple[str, str, str | None, str, str, str]) -> Position:
    szi, entry_px, liq_px, leverage, leverage_type, margin_used = terms
    return Position(
        szi=Decimal(szi),
        entry_px=Decimal(entry_px),
        liq_px=None if liq_px is None else Decimal(liq_px),
        leverage=Decimal(leverage),
        leverage_type=LeverageType(leverage_type),
        margin_used=Decimal(margin_used),
    )


@pytest.mark.parametrize("number", sorted(HELD))
def test_a_recorded_answer_decodes_to_exactly_the_positions_in_it(number: str) -> None:
    """The decoder is judged by what the exchange really sent, digit for digit."""
    (file,) = (RECORDED / "clearinghouse").glob(f"{number}_*.json")
    time_ms, held = HELD[number]

    state = wire.decode_state(file.read_bytes())

    assert {Asset(coin): _expected(terms) for coin, terms in held.items()} == dict(state.positions)
    assert time_ms == state.time_ms


def test_the_table_covers_every_recorded_answer() -> None:
    """A recording that nobody checked proves nothing."""
    files = {
        entry["file"].split("/")[1][:2] for entry in json.loads((RECORDED / "clearinghouse/index.json").read_text())
    }
    assert set(HELD) == files


def test_no_recorded_leaderboard_row_bears_a_mark_of_a_vault() -> None:
    """HLP's is told by its address alone: all rows have the same few keys, and display names are users' own."""
    documents = [file.read_bytes() for file in sorted((RECORDED / "leaderboard").glob("*.json"))]
    keys = {key for document in documents for row in json.loads(document)["leaderboardRows"] for key in row}
    assert keys == {"ethAddress", "accountValue", "windowPerformances", "prize", "displayName"}
    rows = [row for document in documents for row in wire.read_leaderboard([document]) if row]
    assert len(rows) == 45
    assert {row.address: row.is_vault for row in rows if row.is_vault is not None} == {HLP_VAULT: True}
