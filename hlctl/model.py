"""The domain in plain values: what a wallet holds, what a minute is, what a refresh chose.

Sizes are in coins, prices and money in USD, all `Decimal`; times are aware UTC datetimes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
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
    skew_ms: int | None  # first to last answer
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
class Health:
    """The database's judgement on whether the data can be trusted right now."""

    health_state: str  # healthy, degraded, stale
    reasons: Sequence[str]
    judged_at: datetime
    last_snapshot_ts: datetime | None
    last_status: str | None
    coverage_pct: Decimal | None
    last_snapshot_age: timedelta | None
    last_good_snapshot_ts: datetime | None
    last_good_age: timedelta | None
    universe_as_of_ts: datetime | None
    universe_age: timedelta | None
    suspect: Sequence[str]  # what is odd about the newest minute as a whole: mass_zero, same_answer


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshRun:
    """The newest refresh of the universe, whether it was accepted or not."""

    as_of_ts: datetime
    status: str  # success, failed: the universe before it stays
    n_received: int
    churn_warning_count: int
    error: str | None  # the rule that failed and what was seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the newest minute is judged by, as its run wrote it down."""

    coverage_success: Decimal  # percent
    coverage_failed: Decimal  # percent
    stale_after: timedelta
    universe_stale_after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the newest minute took; requests are those of all its attempts together."""

    duration_ms: int  # of the newest attempt
    skew_ms: int | None  # first to last answer
    clock_offset_ms: int | None  # exchange clock minus database clock, median
    requests_sent: int
    retries: int
    rate_limited: int  # answers with status 429
    weight: int  # of these requests
    budget: int | None  # weight a minute that may be used; 0: no limit, None: not written down
    error: str | None  # what went wrong as a whole


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubledWallet:
    """A wallet of which some of the last hour is missing or dirty."""

    address: str
    missing: Mapping[str, int]  # reason -> minutes
    minutes_missing: int
    minutes_dirty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """How the cells are kept."""

    total_bytes: int  # with indexes
    days: int  # that have a partition
    oldest_day: datetime | None  # its beginning
    newest_day: datetime | None
    days_ahead: int | None  # partitions after today's
    strayed: int  # cells outside the partition of their day


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLock:
    """An advisory lock of hlctl's and who holds it; what this role may not see of others is None."""

    lock: str  # minute, refresh, migrate, partitions
    minute: datetime | None
    pid: int | None
    user: str | None
    client: str | None  # address, else the name the client gave
    since: datetime | None  # the start of its transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """What a minute says of one asset."""

    asset: str
    long: int  # wallets
    short: int
    flat: int
    missing: int
    net_szi: Decimal | None  # coins, long minus short, over the wallets that are known; None: none is


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What a check found wrong: with a cell, a wallet's cells, a minute as a whole, or the database as it is."""

    snapshot_ts: datetime | None  # None: it is of no minute
    wallet_id: int | None
    asset: str | None
    found: str
    address: str | None = None  # the wallet's, once it was looked up


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What became of a check."""

    id: str
    sentence: str  # what holds if nothing is violated
    violations: int
    examples: Sequence[Violation]  # the first of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Minutes in a row that no run recorded."""

    since: datetime
    minutes: int
    known: Sequence[str]  # facts about the cause, as far as the database knows any


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Where less was verified than was asked for."""

    bound: str  # since, until
    asked: datetime
    reason: str  # before_record, pruned, not_final


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The runs of a range."""

    recorded: int
    success: int
    partial: int
    failed: int
    pruned: int  # their cells were dropped on purpose
    without_fingerprint: int  # recorded before there were fingerprints


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDay:
    """A UTC day of cells in the database."""

    day: date
    cells: int
    bytes: int  # on disk, indexes included


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedDay:
    """What became of a day that was to be exported."""

    day: date
    did: str  # exported, unchanged, differs, empty
    rows: int
    bytes: int  # of the file


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedDay:
    """A day of an archive, looked at."""

    day: date
    rows: int  # read from its file
    against: str  # what it was compared with besides its manifest: cells, published, or files (nothing)
    problems: Sequence[str]
