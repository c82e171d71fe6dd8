"""The reference: what an answer of the exchange says, read once more, slowly and by other means.

Its rules are what the project promises: docs/semantics.md ("NULL is not zero", "The universe") says what is believed,
`sql/migrations` which values a cell may have. It shares no code with hlctl and is meant to be read in one sitting.
Whole documents are parsed by plain `json`; nothing is streamed, cut short or fast. It is not blind: its author had read
the decoder, and a mistake in the understanding of a page can be in both.

Where more than one thing is wrong with an answer no page says which is found first, so a refusal is the set of
everything that is wrong. Some rules are hlctl's own choice and repeated here: 20,000 values in a state, 18 decimals, 15
digits of `time`, a price of "NaN" for none, and what makes a window of a leaderboard's row. Two more are left to who
makes the bodies, for a parsed document does not show them: how deep one may nest, and how long a row may be.
"""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeGuard

ASSETS = ("HYPE", "BTC", "ETH")
DIGITS = frozenset("0123456789")
HEX = DIGITS | frozenset("abcdef")

Terms = tuple[Decimal, Decimal | None, Decimal | None, Decimal, str, Decimal]
"""szi, entry price, liquidation price, leverage, its type, margin used."""

Cells = dict[str, Terms | None]
"""What a wallet holds of each asset; None: it is flat."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is believed; `reasons` is everything that is wrong."""

    reasons: frozenset[str]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The wallets a leaderboard puts in force: (address, pnl, roi, volume, account value), best first."""

    members: tuple[tuple[str, Decimal, Decimal, Decimal, Decimal], ...]
    rows_seen: int
    rows_rejected: int


class Number(str):
    """A JSON number as it is written, told from a string by its class."""

    __slots__ = ()


class Doubled(dict[str, Any]):
    """A JSON object in which a key comes twice; `names` has every key as often as it comes."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.names = [name for name, _value in pairs]


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and not isinstance(value, Number)


def is_plain(text: str) -> bool:
    """Tell whether a text is a finite decimal in ASCII digits: no exponent, no plus, no bare point, no blanks."""
    whole, point, fraction = text.removeprefix("-").partition(".")
    if not 1 <= len(whole) <= 15 or not DIGITS.issuperset(whole):
        return False
    return not point or (1 <= len(fraction) <= 18 and DIGITS.issuperset(fraction))


def state(body: bytes, minute_ms: int) -> Cells | Refused:
    """Read a clearinghouseState that arrived within the minute that began at `minute_ms` (since the epoch)."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > 20_000:
        return Refused(frozenset({"too_big"}))
    wrong: set[str] = set()

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _value in pairs}) < len(pairs):
            wrong.add("bad_shape")
        return dict(pairs)

    def constant(_name: str) -> None:
        wrong.add("bad_number")

    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=unique,
            parse_int=Number,
            parse_float=Number,
            parse_constant=constant,
        )
    except (ValueError, RecursionError):
        # Whether a text that opens well was cut or never closed well cannot be told from every text.
        opens = body.lstrip(b" \t\r\n").startswith(b"{")
        return Refused(frozenset(wrong | {"bad_shape"} | ({"truncated"} if opens else set())))
    cells = _cells(document, wrong)
    time_ms = _time(document, wrong)
    if not wrong and (time_ms is None or not minute_ms - 5_000 <= time_ms <= minute_ms + 65_000):
        wrong.add("stale")
    return Refused(frozenset(wrong)) if wrong else cells


def _cells(document: Any, wrong: set[str]) -> Cells:
    cells: Cells = dict.fromkeys(ASSETS)
    entries = document.get("assetPositions") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        wrong.add("bad_shape")
        return cells
    for name in ("marginSummary", "crossMarginSummary"):
        summary = document.get(name)
        total = summary.get("totalNtlPos") if isinstance(summary, dict) else None
        if entries == [] and _is_text(total) and is_plain(total) and not -1 < Decimal(total) < 1:
            wrong.add("bad_shape")  # nothing is open, and it is worth something
    coins: list[str] = []
    for entry in entries:
        position = entry.get("position") if isinstance(entry, dict) else None
        position = position if isinstance(position, dict) else {}
        coin = position.get("coin")
        if not _is_text(coin):
            wrong.add("bad_shape")
            continue
        if coin in coins:
            wrong.add("duplicate_coin")
        coins.append(coin)
        if coin in ASSETS:
            if "type" in entry and entry["type"] != "oneWay":
                wrong.add("bad_shape")  # another kind of position, whose sign may mean something else
            cells[coin] = _terms(position, wrong)
    return cells


def _terms(position: dict[str, Any], wrong: set[str]) -> Terms | None:
    szi = _figure(position.get("szi"), wrong)
    if szi == 0:
        return None  # flat, and the rest of it is not read
    leverage = position.get("leverage")
    if not isinstance(leverage, dict):
        leverage = {}
    kind, factor = leverage.get("type"), leverage.get("value")
    if kind not in ("cross", "isolated") or not isinstance(factor, Number):
        wrong.add("bad_shape")
    elif not is_plain(factor) or not 0 < Decimal(factor) <= 1000:
        wrong.add("bad_number")
    entry, liquidation = (_price(position.get(name), wrong) for name in ("entryPx", "liquidationPx"))
    margin = _figure(position.get("marginUsed"), wrong)
    if wrong or szi is None or margin is None or factor is None or kind is None:
        return None
    return szi, entry, liquidation, Decimal(factor), kind, margin


def _figure(value: Any, wrong: set[str]) -> Decimal | None:
    if not _is_text(value):
        wrong.add("bad_shape")
    elif not is_plain(value):
        wrong.add("bad_number")
    else:
        return Decimal(value)
    return None


def _price(value: Any, wrong: set[str]) -> Decimal | None:
    if value is None or value == "NaN":
        return None
    price = _figure(value, wrong)
    if price is not None and price < 0:
        wrong.add("bad_number")
    return price


def _time(document: Any, wrong: set[str]) -> int | None:
    value = document.get("time") if isinstance(document, dict) else None
    if value is None:
        return None
    if not isinstance(value, Number) or not DIGITS.issuperset(value) or len(value) > 15:
        wrong.add("bad_shape")
        return None
    return int(value)


def board(body: bytes, *, size: int, min_valid: Decimal) -> Ranking | Refused:
    """Read a leaderboard and choose its `size` best wallets, of which at least the share `min_valid` must be there.

    An object in which a key comes twice, and a bare NaN, cost their row and nothing else.
    """
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=lambda pairs: Doubled(pairs) if len(dict(pairs)) < len(pairs) else dict(pairs),
            parse_int=Number,
            parse_float=Number,
            parse_constant=lambda _name: None,
        )
    except (ValueError, RecursionError):
        return Refused(frozenset({"bad_shape", "truncated"}))
    rows = document.get("leaderboardRows") if isinstance(document, dict) else None
    is_doubled = isinstance(document, Doubled) and document.names.count("leaderboardRows") > 1
    if is_doubled or not isinstance(rows, list):
        return Refused(frozenset({"bad_shape"}))
    return _ranked(rows, size, min_valid)


def _ranked(rows: list[Any], size: int, min_valid: Decimal) -> Ranking | Refused:
    found: dict[str, tuple[str, Decimal, Decimal, Decimal, Decimal]] = {}
    for row in rows:
        member = _member(row)
        if member and member[0] not in found:
            found[member[0]] = member
    rejected = len(rows) - len(found)
    members = sorted(found.values(), key=lambda member: (-member[1], member[0]))[:size]
    wrong = {
        "no_rows": not rows,
        "too_many_rejected": rejected * 10 > len(rows),
        "too_few_valid": len(members) < min_valid * size,
        "no_ranking": len({member[1] for member in members}) * 2 < len(members),
    }
    if any(wrong.values()):
        return Refused(frozenset(rule for rule, broken in wrong.items() if broken))
    return Ranking(tuple(members), len(rows), rejected)


def _member(row: Any) -> tuple[str, Decimal, Decimal, Decimal, Decimal] | None:
    """Read a row by its month window; a window, or a figure of it, that is not there counts as nothing earned."""
    if not isinstance(row, dict) or isinstance(row, Doubled):
        return None
    address, windows = row.get("ethAddress"), row.get("windowPerformances")
    if not _is_text(address) or not isinstance(windows, list):
        return None
    address = address[:2] + address[2:].lower()
    digits = address[2:]
    if address[:2] != "0x" or len(digits) != 40 or not HEX.issuperset(digits) or digits == "0" * 40:
        return None
    if not all(isinstance(window, list) and len(window) == 2 and _is_text(window[0]) for window in windows):
        return None
    months: list[Any] = [figures for name, figures in windows if name == "month"] or [{}]
    if len(months) > 1 or not isinstance(months[0], dict) or isinstance(months[0], Doubled):
        return None
    wrong: set[str] = set()
    pnl, roi, volume = (_figure(months[0].get(name, "0.0"), wrong) for name in ("pnl", "roi", "vlm"))
    value = _figure(row.get("accountValue"), wrong)
    if pnl is None or roi is None or volume is None or value is None:
        return None
    return address, pnl, roi, volume, value
