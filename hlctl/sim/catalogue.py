"""Everything the exchange is known or feared to do wrong, by name, and what the record must say of it.

`python -m hlctl.sim --fault NAME` does it to every wallet; the tests do each to a few wallets and to all.
"""

import gzip
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from hlctl.model import MissingReason
from hlctl.sim.faults import HTML, TEXT, Fault, Spoil


@dataclass(frozen=True, slots=True, kw_only=True)
class Misdeed:
    """A fault, and the reason its cells must carry; None: the answer is good all the same, and must be believed."""

    fault: Fault
    reason: MissingReason | None


_MEBIBYTE = 2**20
_NO_LENGTH: Mapping[str, str | None] = {"Content-Length": None}
_LENGTH = re.compile(rb"Content-Length: [0-9]+")
_TIME = re.compile(rb'"time":([0-9]+)')
_TOTAL = re.compile(rb'"totalNtlPos":"[0-9.]+"')
_SIZE = re.compile(rb'"szi":"(-?)([0-9.]+)"')
_BTC = (
    '{"type":"oneWay","position":{"coin":"BTC","szi":"1.5","leverage":{"type":"cross","value":20},"entryPx":"90000.0",'
    '"positionValue":"135000.0","unrealizedPnl":"0.0","returnOnEquity":"0.0","liquidationPx":null,'
    '"marginUsed":"6750.0","maxLeverage":40}}'
)
_NEARLY = ("btc", "BTC ", "kBTC", "xyz:BTC", "@107", "\u0412\u0422\u0421", "BTC\0", "\ud800")
"""Coins that are not BTC: another case, dex or alphabet, and what no database would take."""


def _holding(*entries: str) -> Spoil:
    """Put these elements of assetPositions into an answer instead of its own."""

    def spoil(good: bytes) -> bytes:
        state = json.loads(good)
        state["assetPositions"] = "here"
        return json.dumps(state, separators=(",", ":")).replace('"here"', f"[{','.join(entries)}]").encode()

    return spoil


def _flat(good: bytes) -> bytes:
    """Close every position, and say so everywhere."""
    state = json.loads(_holding()(good))
    state |= {name: dict.fromkeys(state[name], "0.0") for name in ("marginSummary", "crossMarginSummary")}
    return json.dumps(state, separators=(",", ":")).encode()


def _forgetful(good: bytes) -> bytes:
    """Leave every position out, and not what they are worth together."""
    return _TOTAL.sub(b'"totalNtlPos":"135000.0"', _holding()(good))


def _btc(field: str, value: str) -> Fault:
    """Let the wallet hold BTC, one field of it replaced by this JSON."""
    entry, found = re.subn(f'"{field}":("[^"]*"|[a-z]+|{{[^}}]*}}|[0-9]+)', lambda _: f'"{field}":{value}', _BTC)
    if found != 1:
        raise ValueError(field)
    return Fault(body=_holding(entry))


def _dated(value: str) -> Fault:
    return Fault(body=lambda good: _TIME.sub(b'"time":' + value.encode(), good))


def _shifted(seconds: float, unit: int = 1000) -> Fault:
    """Date the answer so many seconds away, in so many units a second."""

    def spoil(good: bytes) -> bytes:
        return _TIME.sub(lambda at: b'"time":%d' % ((int(at[1]) / 1000 + seconds) * unit), good)

    return Fault(body=spoil)


def _tenfold(size: re.Match[bytes]) -> bytes:
    return b'"szi":"%b%b"' % (size[1], format(10 * Decimal(size[2].decode()), "f").encode())


@cache
def _gzip_bomb() -> bytes:
    """Make 1 MB of it that becomes 1 GiB: a thousand members, which gzip joins."""
    return gzip.compress(bytes(_MEBIBYTE)) * 1024


def _filled(element: bytes, size: int = 2 * _MEBIBYTE) -> bytes:
    """Fill an array with one element until the document has so many bytes."""
    return b'{"assetPositions":[' + b",".join([element] * (size // (len(element) + 1))) + b"]}"


def _more_headers(head: bytes, count: int, length: int) -> bytes:
    more = b"".join(b"X%d: %b\r\n" % (number, b"x" * length) for number in range(count))
    return head[:-2] + more + b"\r\n"


_FAULTS: dict[MissingReason | None, dict[str, Fault]] = {
    None: {
        "chunks": Fault(chunked=True),
        "no-length": Fault(headers=_NO_LENGTH),
        "continue-first": Fault(head=lambda head: b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + head),
        "hints-first": Fault(
            head=lambda head: b"HTTP/1.1 103 Early Hints\r\nLink: </>; rel=preconnect\r\n\r\n" * 3 + head
        ),
        "encoding-empty": Fault(headers={"Content-Encoding": ""}),  # as S3 keeps it of some uploads
        "encoding-identity": Fault(headers={"Content-Encoding": "Identity"}),
        "length-blanks": Fault(head=lambda head: _LENGTH.sub(rb"\g<0> \t", head)),
        "type-html": Fault(headers={"Content-Type": HTML}),
        "type-text": Fault(headers={"Content-Type": TEXT}),
        "type-absent": Fault(headers={"Content-Type": None}),
        "white-space": Fault(body=lambda good: b"\r\n " + good + b" " * 65536),
        # Nothing in these answers tells that they are wrong: only the minutes or the wallets beside them can.
        "positions-none": Fault(body=_flat),
        "positions-same": Fault(body=_holding(_BTC)),
        "sizes-tenfold": Fault(body=lambda good: _SIZE.sub(_tenfold, good)),
        "coins-nearly-ours": Fault(body=_holding(*(_BTC.replace('"BTC"', json.dumps(coin)) for coin in _NEARLY))),
        "szi-minus-zero": _btc("szi", '"-0.0"'),
        "szi-18-decimals": _btc("szi", '"0.123456789012345678"'),
    },
    MissingReason.TIMEOUT: {
        "silent": Fault(delay=3600),
        "drip-head": Fault(drip_head=0.2),
        "drip-body": Fault(drip_body=0.2),
        "stall-in-body": Fault(headers={"Content-Length": "1000"}, body=b'{"assetPositions":['),
        "status-408": Fault(status=408),
    },
    MissingReason.RESET: {
        "drop": Fault(drop=True),
        "reset": Fault(drop=True, reset=True),
        "reset-in-body": Fault(truncate_at=100, reset=True),
    },
    MissingReason.TRUNCATED: {
        "cut": Fault(truncate_at=100),
        "cut-last-byte": Fault(truncate_at=-1),
        "cut-in-head": Fault(head=lambda head: head[:40], truncate_at=0),
        "cut-no-length": Fault(headers=_NO_LENGTH, truncate_at=100),
        "cut-no-length-last-byte": Fault(headers=_NO_LENGTH, truncate_at=-1),
        "cut-no-length-behind-brace": Fault(headers=_NO_LENGTH, body=lambda good: good[: good.index(b"}") + 1]),
        "cut-chunk": Fault(chunked=True, truncate_at=80),
        "cut-between-chunks": Fault(chunked=True, truncate_at=-5),
        "length-too-small": Fault(headers={"Content-Length": "120"}),
    },
    MissingReason.TOO_BIG: {
        "endless-body": Fault(headers=_NO_LENGTH, body=b" " * 65536, endless=True),
        "endless-chunks": Fault(
            headers={**_NO_LENGTH, "Transfer-Encoding": "chunked"},
            body=b"10000\r\n" + b" " * 65536 + b"\r\n",
            endless=True,
        ),
        "endless-continue": Fault(head=lambda _: b"", body=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, endless=True),
        "long-headers": Fault(head=lambda head: _more_headers(head, 90, 65_000)),
        "big": Fault(body=lambda good: good + b" " * 4 * _MEBIBYTE),
        "big-no-length": Fault(body=lambda good: good + b" " * 4 * _MEBIBYTE, headers=_NO_LENGTH),
        "length-too-big": Fault(headers={"Content-Length": "99999999999999999999"}),
        "many-ones": Fault(body=_filled(b"1", 200_000)),
        "many-arrays": Fault(body=_filled(b"[[[[[[[[[[1]]]]]]]]]]", 200_000)),
        "many-objects": Fault(body=_filled(b'{"":1}', 200_000)),
    },
    MissingReason.BAD_SHAPE: {
        "gzip": Fault(body=gzip.compress, headers={"Content-Encoding": "gzip"}),
        "gzip-bomb": Fault(body=lambda _: _gzip_bomb(), headers={"Content-Encoding": "gzip"}),
        "gzip-twice": Fault(
            body=lambda good: gzip.compress(gzip.compress(good)), headers={"Content-Encoding": "gzip, gzip"}
        ),
        "gzip-unsaid": Fault(body=gzip.compress),
        "deflate": Fault(body=zlib.compress, headers={"Content-Encoding": "deflate"}),
        "brotli-only-said": Fault(headers={"Content-Encoding": "br"}),
        "length-twice": Fault(head=lambda head: head[:-2] + b"Content-Length: 17\r\n\r\n"),
        "length-negative": Fault(headers={"Content-Length": "-1"}),
        "length-words": Fault(headers={"Content-Length": "ten"}),
        "many-headers": Fault(head=lambda head: _more_headers(head, 200, 1)),
        "endless-header": Fault(head=lambda head: head[:-4], body=b"x" * 65536, endless=True),
        "not-http": Fault(head=lambda _: b"hello\r\n"),
        "bare-body": Fault(head=lambda _: b"", body=lambda good: good + b"\r\n"),
        "status-204": Fault(status=204),
        "status-206": Fault(status=206),
        "html": Fault(body=b"<html><body>Just a moment...</body></html>", headers={"Content-Type": HTML}),
        "empty": Fault(body=b""),
        "null": Fault(body=b"null"),
        "list": Fault(body=b"[]"),
        "object": Fault(body=b"{}"),
        "word": Fault(body=b'"error"'),
        "error": Fault(body=b'{"error":"too many requests"}'),
        "positions-forgotten": Fault(body=_forgetful),
        "positions-absent": Fault(body=lambda good: good.replace(b'"assetPositions"', b'"positions"')),
        "positions-null": Fault(body=lambda good: _holding()(good).replace(b"[]", b"null")),
        "positions-object": Fault(body=lambda good: _holding()(good).replace(b"[]", b"{}")),
        "deep-arrays": Fault(body=b"[" * 10_000 + b"]" * 10_000),
        "deep-objects": Fault(body=b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
        "bom": Fault(body=lambda good: b"\xef\xbb\xbf" + good),
        "utf-16": Fault(body=lambda good: good.decode().encode("utf-16")),
        "not-utf-8": Fault(body=lambda good: good.replace(b'"time"', b'"\xff"')),
        "two-documents": Fault(body=lambda good: good + good),
        "key-twice": Fault(body=lambda good: good[:-1] + b',"time":1}'),
        "type-hedge": Fault(body=_holding(_BTC.replace("oneWay", "hedge"))),
        "szi-number": _btc("szi", "1.5"),
        "szi-1e400": _btc("szi", "1e400"),
        "szi-absent": Fault(body=_holding(_BTC.replace('"szi":"1.5",', ""))),
        "szi-null": _btc("szi", "null"),
        "szi-true": _btc("szi", "true"),
        "szi-list": _btc("szi", '["1.5"]'),
        "leverage-null": _btc("leverage", "null"),
        "leverage-surrogate": _btc("leverage", '{"type":"\\ud800","value":20}'),
        "leverage-string": _btc("leverage", '{"type":"cross","value":"20"}'),
        "margin-number": _btc("marginUsed", "6750"),
        "time-string": _dated('"1767732240000"'),
        "time-fraction": _dated("1767732240000.5"),
        "time-long": _dated("1" * 5000),
    },
    MissingReason.BAD_NUMBER: {
        "szi-nan": _btc("szi", '"NaN"'),
        "szi-snan": _btc("szi", '"sNaN"'),
        "szi-infinity": _btc("szi", '"-Infinity"'),
        "szi-exponent": _btc("szi", '"1e400"'),
        "szi-underscore": _btc("szi", '"1_000"'),
        "szi-wide-digits": _btc("szi", '"１２"'),  # noqa: RUF001 - the digits Decimal would take
        "szi-arabic-digits": _btc("szi", '"٣.٥"'),  # noqa: RUF001
        "szi-blank": _btc("szi", '" 1"'),
        "szi-plus": _btc("szi", '"+5"'),
        "szi-bare-point": _btc("szi", '".5"'),
        "szi-hex": _btc("szi", '"0x10"'),
        "szi-empty": _btc("szi", '""'),
        "szi-19-decimals": _btc("szi", '"0.1234567890123456789"'),
        "szi-long": _btc("szi", f'"{"9" * 5000}"'),
        "szi-nul": _btc("szi", '"1\\u0000"'),
        "szi-nan-bare": _btc("szi", "NaN"),
        "szi-infinity-bare": _btc("szi", "-Infinity"),
        "entry-negative": _btc("entryPx", '"-1.0"'),
        "leverage-long": _btc("leverage", '{"type":"cross","value":%s}' % ("9" * 5000)),
        "leverage-zero": _btc("leverage", '{"type":"cross","value":0}'),
        "margin-exponent": _btc("marginUsed", '"1E3"'),
    },
    MissingReason.DUPLICATE_COIN: {"coin-twice": Fault(body=_holding(_BTC, _BTC))},
    MissingReason.STALE: {
        "time-past": _shifted(-180),
        "time-future": _shifted(180),
        "time-in-seconds": _shifted(0, unit=1),
        "time-null": _dated("null"),
        "time-absent": Fault(body=lambda good: _TIME.sub(b'"when":0', good)),
    },
    MissingReason.HTTP_4XX: {f"status-{status}": Fault(status=status) for status in (400, 401, 403, 404, 422)},
    MissingReason.HTTP_5XX: {f"status-{status}": Fault(status=status) for status in (500, 502, 503, 504, 520)},
    MissingReason.RATE_LIMITED: {
        "status-429": Fault(status=429),
        "status-429-soon": Fault(status=429, headers={"Retry-After": "2"}),
        "status-429-nonsense": Fault(status=429, headers={"Retry-After": "-1e9 soon"}),
        "status-429-never": Fault(status=429, headers={"Retry-After": "1000000000"}),
    },
    MissingReason.REDIRECT: {
        f"status-{status}": Fault(status=status, headers={"Location": "http://127.0.0.1:9/info"})
        for status in (301, 302, 303, 307, 308)
    },
}

CATALOGUE: Mapping[str, Misdeed] = {
    name: Misdeed(fault=fault, reason=reason) for reason, faults in _FAULTS.items() for name, fault in faults.items()
}
"""Every fault by its name. One that answers 429 stops the whole run for a while, the others cost their wallet only."""
