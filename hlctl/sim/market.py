"""The coins of the simulated exchange, their prices by minute, and how it prints numbers.

Everything is a pure function of a seed: the same seed gives the same numbers in every process.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

_MASK = (1 << 64) - 1
_SIGNIFICANT = 5  # the exchange quotes prices with at most five significant figures


@dataclass(frozen=True, slots=True)
class Coin:
    """One perpetual of the main dex."""

    name: str
    index: int  # its place in the exchange's list: positions are answered in this order
    price: float  # USD, around which the mark price walks
    size_decimals: int
    max_leverage: int
    weight: float  # wallets of 1,000 recorded ones that hold it
    long_share: float  # of those, the fraction that is long


# name, price in USD, size decimals, highest leverage; holders and longs among 1,000 recorded wallets (daily, weekly)
_TABLE = """
BTC 85000 5 40 357 127 | ETH 2700 4 25 317 67 | ATOM 2.2986 2 5 35 20 | SOL 120.9 2 20 219 88 | AVAX 9.0512 2 10 76 8
BNB 625.53 3 10 82 28 | OP 0.12578 1 10 42 12 | LTC 54.583 2 10 59 21 | ARB 0.09717 1 10 46 10
DOGE 0.097966 0 10 84 21 | SUI 0.94352 1 10 79 23 | kPEPE 0.004129 0 10 61 14 | CRV 0.23769 1 10 47 10
LDO 0.32528 1 10 36 6 | LINK 8.8626 1 10 73 12 | XRP 1.4294 0 20 112 53 | BCH 563.14 3 10 67 19
APT 0.8727 2 10 64 28 | AAVE 120.56 2 10 70 22 | WLD 0.38465 1 10 50 7 | TRX 0.28939 0 10 43 16
kSHIB 0.006337 0 10 33 12 | UNI 3.5905 1 10 59 30 | SEI 0.070282 0 10 37 10 | ZRO 1.7265 1 5 79 20
DOT 1.3585 1 10 41 15 | TIA 0.32879 1 10 38 12 | ADA 0.27858 0 10 72 19 | TON 1.3293 1 10 35 4
PENDLE 1.2115 0 5 32 9 | NEAR 1.0402 1 10 43 6 | FIL 0.9619 1 5 41 7 | kBONK 0.006227 0 10 42 8
JUP 0.15585 0 10 39 12 | WIF 0.22012 0 5 46 12 | ONDO 0.26667 0 10 37 10 | STRK 0.04452 1 5 38 13
TAO 180.33 3 5 56 24 | ETHFI 0.45483 1 5 35 6 | ENA 0.10677 0 10 71 20 | HBAR 0.098964 0 5 40 2
POPCAT 0.050977 0 3 42 2 | EIGEN 0.1893 2 5 34 11 | POL 0.10864 0 5 39 11 | PURR 0.07078 0 3 34 7
XLM 0.15994 0 5 37 15 | HYPE 35 2 10 370 53 | VIRTUAL 0.63857 1 5 54 9 | PENGU 0.00678 0 5 48 15
FARTCOIN 0.18174 1 10 97 32 | GRIFFAIN 0.008652 0 3 32 4 | SPX 0.31394 1 5 44 10 | MORPHO 1.6254 1 5 35 9
TRUMP 3.4274 1 10 57 21 | VVV 4.4335 2 3 48 14 | BERA 0.568 1 5 48 23 | IP 1.1008 1 3 50 8 | PAXG 5134.1 3 10 63 36
PUMP 0.002107 0 10 100 28 | XPL 0.095268 0 10 85 20 | WLFI 0.11959 0 5 74 20 | ASTER 0.7145 0 5 93 11
AVNT 0.1871 0 5 36 18 | STBL 0.036595 0 3 40 12 | 2Z 0.072061 0 3 33 9 | ZEC 259.68 2 10 108 25
MON 0.020623 0 5 92 13 | MET 0.20902 0 3 33 5 | LIT 1.5114 0 5 107 36 | XMR 322.89 3 5 42 14 | DASH 33.853 2 5 33 23
AZTEC 0.034507 0 3 34 19
"""


def _coins() -> tuple[Coin, ...]:
    coins = []
    for index, entry in enumerate(_TABLE.replace("\n", "|").strip("|").split("|")):
        name, price, decimals, leverage, holders, longs = entry.split()
        share = int(longs) / int(holders)
        coins.append(Coin(name, index, float(price), int(decimals), int(leverage), float(holders), share))
    return tuple(coins)


COINS = _coins()


def stream(*key: object) -> random.Random:
    """Give a random stream that depends on the key's text only, never on Python's per-process hash seed."""
    digest = blake2b("\0".join(map(str, key)).encode(), digest_size=16).digest()
    return random.Random(int.from_bytes(digest, "big"))  # noqa: S311 - a simulation must be repeatable, not secret


def noise(key: int, step: int) -> float:
    """Give the `step`-th number in [0, 1) of the sequence `key`, without computing those before it (splitmix64)."""
    z = (key + step * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)


def mark_price(seed: int, coin: Coin, minute: int) -> float:
    """USD price of a coin in a minute (epoch seconds // 60): a walk within 8 % of the table's price."""
    key = (seed * 1_000_003 + coin.index * 7919) & _MASK
    slow = _smooth(key, minute, 1440) - 0.5
    quick = _smooth(key ^ 0x5555, minute, 60) - 0.5
    tick = noise(key ^ 0xAAAA, minute) - 0.5
    return quoted(coin.price * (1 + 0.12 * slow + 0.03 * quick + 0.001 * tick))


def _smooth(key: int, minute: int, period: int) -> float:
    """Join one random number per period by straight lines, so that neighbouring minutes are alike."""
    step, rest = divmod(minute, period)
    left = noise(key, step)
    return left + (noise(key, step + 1) - left) * rest / period


def quoted(price: float) -> float:
    """Round a positive price the way the exchange quotes: five significant figures, at most ten decimals."""
    return round(price, min(10, _SIGNIFICANT - 1 - math.floor(math.log10(price))))


def text(value: float, decimals: int = 6) -> str:
    """Print a number like the exchange: rounded, then all digits of the binary float up to ten decimals.

    This is where the recorded noise comes from: 1064075.6 is printed as 1064075.6000000001. There is never an
    exponent and never a negative zero.
    """
    printed = f"{round(value, decimals) or 0.0:.10f}".rstrip("0")
    return printed + "0" if printed[-1] == "." else printed


QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def quantile(points: Sequence[float], share: float) -> float:
    """Read a distribution at `share` in [0, 1), given its values (all positive) at QUANTILES; log-linear between."""
    right = next(i for i, q in enumerate(QUANTILES) if share < q)
    low, high = points[right - 1], points[right]
    inside = (share - QUANTILES[right - 1]) / (QUANTILES[right] - QUANTILES[right - 1])
    return low * math.exp(inside * math.log(high / low))
