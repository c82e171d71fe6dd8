"""JSON from the exchange to domain values: strict about what is read, indifferent to what is not.

Shapes are those `hlctl.sim` serves. What cannot be read truthfully is refused, with the reason its cells will carry.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cache
from typing import Any, NoReturn

from hlctl.model import Asset, LeaderboardRow, LeverageType, MissingReason, Position, WalletState

ADDRESS = re.compile(r"0x(?!0{40})[0-9a-f]{40}", re.ASCII)  # the zero address is nobody's
_DECIMAL = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,18})?", re.ASCII)
_BLANKS = b" \t\r\n"  # JSON's white space
_INK = re.compile(r"[^ \t\r\n]")  # whatever else
_CUT_CHARACTER = "unexpected end of data"  # what the codec says of a text that ends within a character
_MAX_LEVERAGE = 1000
_ONE_WAY = "oneWay"  # the one type there is: long and short are one position, and its size has the sign
_SOMETHING = 1  # USD: less is a remainder of the exchange's floats
# Fewer than 300 perpetuals with some 20 values each; a value costs up to 130 bytes of memory, however short its text.
_MAX_STATE_VALUES = 20_000
_ASSETS = {asset.value: asset for asset in Asset}
_LEVERAGE_TYPES = {kind.value: kind for kind in LeverageType}

MAX_LEADERBOARD_BYTES = 128 * 2**20
MAX_LEADERBOARD_ROWS = 1_000_000
MAX_ROW_CHARACTERS = 64 * 2**10
_LONG_ROW = 2 * 2**10  # characters: in a shorter text a row may only lack its end
_PIECE = 64 * 2**10  # bytes decoded at a time; pieces of 256 KiB leave 13 MB more of torn-up heap behind


class WireError(Exception):
    """A wallet's answer says nothing that could be recorded; `reason` is what its cells will carry."""

    def __init__(self, reason: MissingReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class LeaderboardError(Exception):
    """A leaderboard cannot be read; the message starts with the name of the rule it breaks."""


class _Number(str):
    """A JSON number, kept as its text: the exchange's decimals are strings, and a float would round."""

    __slots__ = ()


def _refuse_constant(_name: str) -> NoReturn:
    raise WireError(MissingReason.BAD_NUMBER)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise WireError(MissingReason.BAD_SHAPE)
    return fields


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant
)


def _unique_or_null(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else None


# A leaderboard's NaN, or a key that comes twice, costs its row, not the document: it reads as null, which nothing that
# is read may be.
_row_decoder = json.JSONDecoder(
    object_pairs_hook=_unique_or_null, parse_int=_Number, parse_float=_Number, parse_constant=lambda _name: None
)


def decode_state(body: bytes) -> WalletState:
    """Decode a clearinghouseState answer; raises WireError if any part that matters is odd."""
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_STATE_VALUES:
        raise WireError(MissingReason.TOO_BIG)
    try:
        state = _decoder.decode(body.decode())
    except RecursionError:
        raise WireError(MissingReason.BAD_SHAPE) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as exc:
        raise WireError(MissingReason.TRUNCATED if _ends_early(body, exc) else MissingReason.BAD_SHAPE) from None
    entries = state.get("assetPositions") if type(state) is dict else None
    if type(entries) is not list:
        raise WireError(MissingReason.BAD_SHAPE)
    if not entries and _total(state) >= _SOMETHING:
        raise WireError(MissingReason.BAD_SHAPE)
    seen: set[str] = set()
    positions: dict[Asset, Position] = {}
    for entry in entries:
        fields = entry.get("position") if type(entry) is dict else None
        coin = fields.get("coin") if type(fields) is dict else None
        if type(coin) is not str or type(fields) is not dict:
            raise WireError(MissingReason.BAD_SHAPE)
        if coin in seen:
            raise WireError(MissingReason.DUPLICATE_COIN)
        seen.add(coin)
        if (asset := _ASSETS.get(coin)) and (position := _position(entry.get("type", _ONE_WAY), fields)):
            positions[asset] = position
    return WalletState(time_ms=_milliseconds(state.get("time")), positions=positions)


def _total(state: dict[str, Any]) -> Decimal:
    """Return what the answer says its open positions are worth, all or those with cross margin; 0 if it does not say.

    It is the sum over the list in every recorded answer, in USD. With an empty list it contradicts the answer.
    """
    summaries = (state.get("marginSummary"), state.get("crossMarginSummary"))
    totals = [summary.get("totalNtlPos") for summary in summaries if type(summary) is dict]
    figures = [total for total in totals if type(total) is str and _DECIMAL.fullmatch(total)]
    return max((abs(Decimal(figure)) for figure in figures), default=Decimal(0))


def _ends_early(body: bytes, exc: UnicodeDecodeError | json.JSONDecodeError) -> bool:
    """Tell whether a state was cut: it opens, and does not close or breaks where it ends."""
    body = body.strip(_BLANKS)
    if not body.startswith(b"{"):
        return False
    if isinstance(exc, UnicodeDecodeError):
        return exc.reason == _CUT_CHARACTER
    in_a_string = exc.msg.startswith("Unterminated string")
    return in_a_string or not body.endswith(b"}") or exc.pos >= len(exc.doc.rstrip(_BLANKS.decode()))


def _position(mode: object, fields: dict[str, Any]) -> Position | None:
    """Read an open position; None if its size is zero, which the oldest shape spells out."""
    if mode != _ONE_WAY:
        raise WireError(MissingReason.BAD_SHAPE)
    szi = _decimal(fields.get("szi"))
    if not szi:
        return None
    leverage = fields.get("leverage")
    kind = leverage.get("type") if type(leverage) is dict else None
    value = leverage.get("value") if type(leverage) is dict else None
    if type(kind) is not str or kind not in _LEVERAGE_TYPES or type(value) is not _Number:
        raise WireError(MissingReason.BAD_SHAPE)
    factor = _decimal(str(value))
    if not 0 < factor <= _MAX_LEVERAGE:
        raise WireError(MissingReason.BAD_NUMBER)
    return Position(
        szi=szi,
        entry_px=_price(fields.get("entryPx")),
        liq_px=_price(fields.get("liquidationPx")),
        leverage=factor,
        leverage_type=_LEVERAGE_TYPES[kind],
        margin_used=_decimal(fields.get("marginUsed")),
    )


def _decimal(value: object) -> Decimal:
    """Read a decimal string: digits and a point, nothing else that Decimal would take."""
    if type(value) is not str:
        raise WireError(MissingReason.BAD_SHAPE)
    if not _DECIMAL.fullmatch(value):
        raise WireError(MissingReason.BAD_NUMBER)
    return Decimal(value)


def _price(value: object) -> Decimal | None:
    """Read a price that may be absent; the exchange's own schema shows "NaN" for none."""
    if value is None or value == "NaN":
        return None
    price = _decimal(value)
    if price < 0:
        raise WireError(MissingReason.BAD_NUMBER)
    return price


def _milliseconds(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not _Number or not value.isdecimal() or len(value) > 15:  # noqa: PLR2004 - keeps int() small
        raise WireError(MissingReason.BAD_SHAPE)
    return int(value)


def read_leaderboard(chunks: Iterable[bytes]) -> Iterator[LeaderboardRow | None]:
    """Read a leaderboard as it arrives: one item per row, None for a row that cannot be read.

    Never holds more than a chunk, a piece of it as text, and a row. Raises LeaderboardError unless the document is
    whole: an object with one array of leaderboardRows, which closes and has nothing behind it.
    """
    text = _Text(chunks)
    text.expect("{")
    while text.peek() != "}":
        key = text.key()
        if key == "leaderboardRows":
            break
        text.value()
        if text.peek() != "}":
            text.expect(",")
    else:
        raise LeaderboardError("bad_shape: there is no leaderboardRows")
    yield from _counted(_rows(text))
    while text.expect(",}") == ",":
        if text.key() == "leaderboardRows":
            raise LeaderboardError("bad_shape: leaderboardRows comes twice")
        text.value()
    if text.peek():
        raise LeaderboardError("bad_shape: something follows the document")


def _counted(rows: Iterator[LeaderboardRow | None]) -> Iterator[LeaderboardRow | None]:
    for number, row in enumerate(rows):
        if number >= MAX_LEADERBOARD_ROWS:
            raise LeaderboardError(f"too_big: more than {MAX_LEADERBOARD_ROWS:,} rows")
        yield row


def _rows(text: "_Text") -> Iterator[LeaderboardRow | None]:
    """Read the array of rows."""
    text.expect("[")
    if text.peek() == "]":
        text.expect("]")
        return
    while True:
        yield from text.plain_rows()
        yield _row(text.value())
        if text.expect(",]") == "]":
            return


@cache
def _plain_row() -> re.Pattern[str]:
    """Return the pattern of the shape that nearly every row has, and of the comma behind it.

    It is narrower than what the decoder takes for a row, and means the same: whatever does not match is left to that,
    which takes more than twice as long. Made when first needed, because a snapshot never is in need of it.
    """
    string = r'"[^"\\\x00-\x1f]*+"'  # without an escape
    figure = rf'"({_DECIMAL.pattern})"'

    def window(name: str, value: str) -> tuple[str, ...]:
        return (
            r"\[", f'"{name}"', ",", r"\{", '"pnl"', ":", value, ",", '"roi"', ":", value, ",", '"vlm"', ":", value,
            r"\}", r"\]",
        )  # fmt: skip

    tokens = (
        "", r"\{", '"ethAddress"', ":", '"(0x(?!0{40})[0-9a-fA-F]{40})"', ",", '"accountValue"', ":", figure, ",",
        '"windowPerformances"', ":", r"\[", *window("day", string), ",", *window("week", string), ",",
        *window("month", figure), ",", *window("allTime", string), r"\]", ",",
        '"prize"', ":", "(?:0|[1-9][0-9]*+)", ",", '"displayName"', ":", f"(?:null|{string})", r"\}", ",",
    )  # fmt: skip
    return re.compile(r"[ \t\r\n]*+".join(tokens), re.ASCII)


class _Text:
    """A JSON document that arrives in pieces, read value by value."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._pieces = (chunk[at : at + _PIECE] for chunk in chunks for at in range(0, len(chunk), _PIECE))
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._buffer = ""
        self._at = 0
        self._bytes = 0

    def _more(self) -> bool:
        """Drop what was read and take in the next piece; False at the end."""
        piece = next(self._pieces, None)
        self._bytes += len(piece or b"")
        if self._bytes > MAX_LEADERBOARD_BYTES:
            raise LeaderboardError(f"too_big: more than {MAX_LEADERBOARD_BYTES // 2**20} MiB")
        try:
            fresh = self._utf8.decode(piece or b"", final=piece is None)
        except UnicodeDecodeError:
            raise LeaderboardError("bad_shape: the text is not UTF-8") from None
        self._buffer = self._buffer[self._at :] + fresh
        self._at = 0
        return piece is not None

    def peek(self) -> str:
        """Return the next character that is not white space, or "" at the end."""
        while not (found := _INK.search(self._buffer, self._at)):
            self._at = len(self._buffer)
            if not self._more():
                return ""
        self._at = found.start()
        return found[0]

    def expect(self, allowed: str) -> str:
        """Read one of the allowed characters."""
        character = self.peek()
        if not character:
            raise LeaderboardError("truncated: the document does not close")
        if character not in allowed:
            raise LeaderboardError(f"bad_shape: {character!r} where one of {allowed!r} belongs")
        self._at += 1
        return character

    def key(self) -> str:
        """Read a key and the colon behind it."""
        key = self.value()
        if type(key) is not str:
            raise LeaderboardError("bad_shape: a key is no string")
        self.expect(":")
        return key

    def plain_rows(self) -> Iterator[LeaderboardRow]:
        """Read rows of the usual shape, each with the comma behind it, up to the first that is not."""
        match = _plain_row().match
        while True:
            found = match(self._buffer, self._at)
            if found is None:
                if len(self._buffer) - self._at < _LONG_ROW and self._more():
                    continue
                return
            end = found.end()
            if end - self._at > MAX_ROW_CHARACTERS:
                return
            self._at = end
            address, account_value, pnl, roi, volume = found.groups()
            yield LeaderboardRow(
                address=address.lower(),
                month_pnl=Decimal(pnl),
                month_roi=Decimal(roi),
                month_volume=Decimal(volume),
                account_value=Decimal(account_value),
            )

    def value(self) -> Any:  # noqa: ANN401 - any JSON value
        """Read one JSON value, taking in more text while it is not complete."""
        while True:
            self.peek()
            try:
                value, end = _row_decoder.raw_decode(self._buffer, self._at)
            except (json.JSONDecodeError, RecursionError, WireError) as exc:
                if isinstance(exc, json.JSONDecodeError) and len(self._buffer) - self._at <= MAX_ROW_CHARACTERS:
                    could_go_on = _could_go_on(exc)
                    if self._more():
                        continue
                    if could_go_on:
                        raise LeaderboardError("truncated: the document does not close") from None
                raise LeaderboardError("bad_shape: a row is not JSON, or longer than 64 KiB") from None
            length = end - self._at
            if length > MAX_ROW_CHARACTERS:
                raise LeaderboardError("bad_shape: a row is not JSON, or longer than 64 KiB")
            # At the end of the text so far a number could go on in the next piece, behind its point or exponent too.
            rest = self._buffer[end : end + len("e+1")]
            if len(rest) <= len("e+") and not rest.strip(".eE+-"):
                if self._more():
                    continue
                if rest:
                    raise LeaderboardError("truncated: the document does not close")
            self._at += length
            return value


def _could_go_on(exc: json.JSONDecodeError) -> bool:
    """Tell whether the text only stops where more of it could make sense."""
    rest = exc.doc[exc.pos :]
    in_an_escape = exc.msg.startswith("Invalid \\") and len(rest) <= len("\\u0000") and '"' not in rest
    in_a_word = any(word.startswith(rest) for word in ("true", "false", "null", "NaN", "Infinity", "-Infinity"))
    return exc.msg.startswith("Unterminated") or in_an_escape or in_a_word


def _row(row: object) -> LeaderboardRow | None:
    """Read a leaderboard row; None if it cannot be. No month window counts as nothing earned."""
    try:
        address = row["ethAddress"]  # type: ignore[index]
        address = address[:2] + address[2:].lower()
        windows = row["windowPerformances"]  # type: ignore[index]
        names = [name for name, _figures in windows]
        if not all(type(part) is list for part in (windows, *windows)) or not all(type(name) is str for name in names):
            return None
        if names.count("month") > 1 or not ADDRESS.fullmatch(address):
            return None
        month = dict(windows).get("month", {})
        return LeaderboardRow(
            address=address,
            month_pnl=_decimal(month.get("pnl", "0.0")),
            month_roi=_decimal(month.get("roi", "0.0")),
            month_volume=_decimal(month.get("vlm", "0.0")),
            account_value=_decimal(row["accountValue"]),  # type: ignore[index]
        )
    except (WireError, TypeError, ValueError, KeyError, AttributeError):  # any other shape than a row's
        return None
