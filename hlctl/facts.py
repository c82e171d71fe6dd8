"""What the record says of itself, in plain values: what the commands read that look at it and keep it.

Times are aware UTC datetimes, money and sizes `Decimal`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal


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
class ObstructedDay:
    """A day that cannot be dropped, for something that is not hlctl's depends on its partition."""

    day: date
    because: str  # the database's words, which name it


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedDay:
    """What became of a day that was to be exported."""

    day: date
    did: str  # exported, unchanged, differs, incomplete, empty, too_precise
    format: str  # of the file that is there, else the one asked for: parquet, csv
    rows: int
    published: int  # cells, by its runs
    bytes: int  # of the file


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedDay:
    """A day of an archive, looked at."""

    day: date
    rows: int  # read from its file
    against: str  # besides its manifest: cells, published, unrecorded or files (nothing); unreadable: not even that
    without_fingerprint: int  # of the minutes that the database knows, those from before there were fingerprints
    problems: Sequence[str]
