"""The generated leaderboard: rows in the recorded shape and order, made in blocks so that no list of rows exists.

The file is sorted by falling month volume, not by PnL; a fifth of the rows have no volume at all, some of them with
the largest PnL of all (holders of spot coins), as recorded.
"""

import json
import random
from collections.abc import Iterator
from enum import Enum
from functools import cached_property
from hashlib import blake2b
from itertools import cycle

from hlctl.sim.market import stream, text

_BLOCK = 500  # rows of one chunk
_VOLUMELESS, _HOLDERS, _VAULTS = 0.2, 0.02, 0.005  # shares of all rows; the last two are part of the first
_NAMED = 0.035
_MAX_PNL = 3e8  # USD

NAMES = (
    "MachiBigBrother", "thank you JEFF", "neet to $1", "x.com/someone", "0x18aa...8d92", "perpfumbler",
    "burger capital", "憨巴小龙", "韦小宝.eth", "Jerome Loo老王", "someone@example.com", "@handle", "Don't, panic!",
    "cat / hot wallet", "\U0001f40b\U0001f680", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07", "\u202egnp.exe", "\u2066hidden\u2069", "tab\tnew\nline\rhome",
    'say "hi"', "back\\slash\\", "=cmd()", "+1+1", "-2",
    "[/red]", "[bold]loud[/]", "]}", "}}}}", "[[[[", "{", '","ethAddress":"0x0000000000000000000000000000000000000000',
    '{"leaderboardRows":[', "%s %d %n", "{0} {name}", "'; DROP TABLE wallets; --", "<script>alert(1)</script>", "null",
    "NaN", "", " ", "\u00a0\u200b\ufeff", "nul\x00byte", "Z\u0351\u036b\u0343\u036aalgo\u0334\u0331", "\ufdfa" * 8,
    "x" * 300,
)  # fmt: skip
"""Display names: some recorded, most as hostile as a user could make them."""


class Kind(Enum):
    """What sort of account a row is."""

    TRADER = "trader"
    HOLDER = "holder"  # no month volume, a large month PnL
    VAULT = "vault"  # no month volume, a large account, many positions
    DORMANT = "dormant"  # no month volume, hardly any PnL


class Board:
    """The rows 0 to `rows` - 1 of a seed, in the order of the file."""

    def __init__(self, *, seed: int, rows: int, pretty: bool) -> None:
        self._seed = seed
        self._rows = rows
        self._key = stream(seed, "address").randbytes(32)
        self._traders = rows - round(rows * _VOLUMELESS)
        self._holders = round(rows * _HOLDERS)
        self._vaults = round(rows * _VAULTS)
        self._template = _template(pretty=pretty)

    @cached_property
    def _places(self) -> list[int]:
        """Places in which the rows without volume stand, so that their kinds are mixed."""
        places = list(range(self._rows - self._traders))
        stream(self._seed, "places").shuffle(places)
        return places

    def address(self, row: int) -> str:
        """Address of a row: lower case, 42 characters."""
        return "0x" + blake2b(b"%d" % row, key=self._key, digest_size=20).hexdigest()

    def kind(self, row: int) -> Kind:
        """Sort of account of a row."""
        return self._ranked(row)[0]

    def _ranked(self, row: int) -> tuple[Kind, int]:
        """Sort of account of a row, and its rank among those of its sort, from 1."""
        if row < self._traders:
            return Kind.TRADER, row + 1
        place = self._places[row - self._traders]
        if place < self._holders:
            return Kind.HOLDER, place + 1
        place -= self._holders
        if place < self._vaults:
            return Kind.VAULT, place + 1
        return Kind.DORMANT, place - self._vaults + 1

    def chunks(self) -> Iterator[bytes]:
        """Give the whole document in pieces of some hundred rows."""
        yield b'{"leaderboardRows":['
        for first in range(0, self._rows, _BLOCK):
            rng = stream(self._seed, "block", first // _BLOCK)
            names = cycle(rng.sample(NAMES, len(NAMES)))
            rows = range(first, min(first + _BLOCK, self._rows))
            block = ",".join([self._row(rng, row, names) for row in rows]).encode()
            yield block if first == 0 else b"," + block
        yield b"]}"

    def _row(self, rng: random.Random, row: int, names: Iterator[str]) -> str:
        kind, rank = self._ranked(row)
        uniform = rng.uniform
        volume = 0.0
        if kind is Kind.TRADER:
            volume = self._volume(row + 1 + rng.random())
            pnl, start = _trader(rng, volume)
        elif kind is Kind.HOLDER:
            pnl = 1.5e8 * rank**-1.4 * uniform(0.7, 1.3)
            start = pnl / uniform(0.05, 0.4)
        elif kind is Kind.VAULT:
            pnl = 1.5e6 * rank**-3.0 * uniform(0.7, 1.3)
            start = pnl / uniform(0.004, 0.02)
        else:
            pnl, start = _dormant(rng)
        per_usd = 1 / start if start else 0.0
        day, week, ever = pnl * uniform(-0.15, 0.25), pnl * uniform(-0.4, 0.7), pnl * uniform(-0.5, 4.0)
        week_volume = volume * uniform(0.1, 0.4)
        return self._template % (
            self.address(row),
            text(start + pnl),
            *(text(day), text(day * per_usd, 10), text(week_volume * uniform(0.02, 0.35), 2)),
            *(text(week), text(week * per_usd, 10), text(week_volume, 2)),
            *(text(pnl), text(pnl * per_usd, 10), text(volume, 2)),
            *(text(ever), text(ever * per_usd, 10), text(volume * uniform(1.0, 12.0), 2)),
            json.dumps(next(names), ensure_ascii=False) if rng.random() < _NAMED else "null",
        )

    def _volume(self, rank: float) -> float:
        """Month volume in USD at a rank in [1, traders + 1]: the recorded head's fall, then towards nothing."""
        fall: float = rank**-0.9
        return 4.2e10 * fall * (1 - rank / (self._traders + 2)) ** 2


def _trader(rng: random.Random, volume: float) -> tuple[float, float]:
    """Month PnL and the account's value before it, in USD: as many lose as win, and the tails are heavy."""
    size = min(_MAX_PNL, 0.16 * (volume + 1) ** 0.7 * rng.lognormvariate(0.0, 1.6))
    roi = min(3.3, max(0.0002, rng.lognormvariate(-3.0, 1.45)))
    if rng.random() < 0.5:  # noqa: PLR2004 - a fair coin
        return size, size / roi
    return -size, size / min(roi, 0.97)


def _dormant(rng: random.Random) -> tuple[float, float]:
    """Month PnL and the account's value before it, in USD: most rows show nothing at all."""
    start = rng.choice((0.0, rng.lognormvariate(5.0, 2.5)))
    return start * rng.choice((0.0, 0.0, rng.uniform(-0.2, 0.2))), start


def _template(*, pretty: bool) -> str:
    """Give a row with `%s` for every value; indented by two spaces a level if pretty."""
    windows = [[name, {"pnl": "%s", "roi": "%s", "vlm": "%s"}] for name in ("day", "week", "month", "allTime")]
    row = {"ethAddress": "%s", "accountValue": "%s", "windowPerformances": windows, "prize": 0, "displayName": "NAME"}
    style = json.dumps(row, indent=2) if pretty else json.dumps(row, separators=(",", ":"))
    return style.replace('"NAME"', "%s")
