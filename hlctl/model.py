"""The domain in plain values: what a wallet holds, what a minute is, what a refresh chose.

Sizes are in coins, prices and money in USD, all `Decimal`; times are aware UTC datetimes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum, unique
from uuid import UUID

MINUTE = timedelta(seconds=60)

HLP_VAULT = "0xdfc24b077bc1425ad1dea75bcb6f8158e10df303"
"""The protocol's own vault on mainnet, as docs.bitquery.io and docs.rs/df-hyperliquid-core name it."""


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
    """One open perpetual position, as the exchange states it."""

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

    @property
    def is_vault(self) -> bool | None:
        """Return True for the protocol's own vault, None for all others: a row bears no mark of a vault or of none."""
        return True if self.address == HLP_VAULT else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a leaderboard was read to: the ranked members, and how much of it was readable."""

    members: tuple[LeaderboardRow, ...]  # best first
    rows_seen: int
    rows_rejected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """A refresh of the universe as recorded, or as a dry run would record it."""

    run_id: int | None  # None: a dry run
    source: Source
    n_requested: int
    n_received: int
    entered: tuple[str, ...]  # addresses, best rank first
    exited: tuple[str, ...]  # addresses, best former rank first
    turnover: Decimal | None  # share of the wallets that changed since members were last stored; None: the first
    churn_warning_count: int  # refreshes in a row, this one included, with an unusual turnover
    rows_seen: int
    rows_rejected: int
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The thresholds a minute is published under; they are stored with it."""

    coverage_success: Decimal  # percent
    coverage_failed: Decimal  # percent
    stale_after: timedelta
    universe_stale_after: timedelta
    rate_limit: int  # weight a minute; 0: none


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """What it took to ask."""

    requests_sent: int
    retries: int
    rate_limited: int
    last_sent_at: datetime | None
    sent_per_second: Sequence[int]  # in each second of the minute, from the first to the last in which one was sent
    clock_offset_ms: int | None  # exchange clock minus database clock, median


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run's identity and cost, as it goes into the run row."""

    attempt_id: UUID
    host: str
    version: str
    duration_ms: int
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A minute as it stands in the table."""

    snapshot_ts: datetime
    status: str  # success, partial, failed
    wallets_expected: int
    wallets_succeeded: int
    rows_expected: int
    rows_written: int
    coverage_pct: Decimal
    missing: Mapping[str, int]  # reason -> wallets
    attempts: int
    universe_run_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Universe:
    """The universe in force at a glance."""

    run_id: int
    as_of_ts: datetime
    source: str
    entered_count: int
    exited_count: int
    churn_warning_count: int
    size: int
