"""The domain in plain values: what a wallet holds, what a minute is, what a refresh chose.

Sizes are in coins, prices and money in USD, all `Decimal`; times are aware UTC datetimes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum, unique

MINUTE = timedelta(seconds=60)


@unique
class Asset(StrEnum):
    """The three recorded perpetuals of the main dex, in the order of the database's enum."""

    HYPE = "HYPE"
    BTC = "BTC"
    ETH = "ETH"


@unique
class LeverageType(StrEnum):
    """How a position is margined."""

    CROSS = "cross"
    ISOLATED = "isolated"


@unique
class MissingReason(StrEnum):
    """Why a cell is NULL: a closed list, the same as the database's enum."""

    LATE = "late"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    RESET = "reset"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    RATE_LIMITED = "rate_limited"
    REDIRECT = "redirect"
    TOO_BIG = "too_big"
    TRUNCATED = "truncated"
    BAD_SHAPE = "bad_shape"
    BAD_NUMBER = "bad_number"
    DUPLICATE_COIN = "duplicate_coin"
    STALE = "stale"
    BREAKER = "breaker"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


@unique
class Source(StrEnum):
    """Where a leaderboard came from."""

    STATS_DATA = "stats-data"
    INFO_API = "info-api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One open perpetual position, as the exchange states it (api.md 1.2)."""

    szi: Decimal  # signed size in coins, negative = short, never 0
    entry_px: Decimal | None  # USD; None: the exchange gave none
    liq_px: Decimal | None  # USD; None: the exchange gave none, which is normal for cross longs
    leverage: Decimal  # the user's setting, not the account's leverage
    leverage_type: LeverageType
    margin_used: Decimal  # USD


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletState:
    """A wallet's answer, decoded: the open positions in recorded assets; an asset not in the mapping is flat."""

    time_ms: int | None  # the exchange's clock, ms since the epoch; absent in the oldest recorded shape
    positions: Mapping[Asset, Position]


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet of the universe, by the database's key and its address (42 lower-case characters)."""

    wallet_id: int
    address: str


@dataclass(frozen=True, slots=True)
class Held:
    """A wallet's judged answer: what it held when it was seen, from one response."""

    observed_at: datetime
    positions: Mapping[Asset, Position]


Answer = Held | MissingReason
"""What a minute knows of a wallet: what it held, or why that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardRow:
    """One trader of the leaderboard, by its 30-day ("month") window."""

    address: str
    month_pnl: Decimal  # USD
    month_roi: Decimal  # fraction, 0.03 = 3 %
    month_volume: Decimal  # USD
    account_value: Decimal  # USD
