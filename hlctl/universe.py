"""Who is recorded: ranking a leaderboard, accepting it or not, and telling what changed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from heapq import heappush, heappushpop

from hlctl.model import LeaderboardRow, Selection

MAX_REJECTED = Decimal("0.10")
"""Share of unreadable rows up to which the readable ones are believed."""

MAX_TURNOVER = Decimal("0.30")
"""Share of the wallets that may change from one refresh to the next without a warning."""
REFUSED_FROM = 3
"""So many warnings in a row are no longer believed."""

DUE_FROM = 0.95
"""Share of the refresh period after which the next one is due: a timer that fires early must not skip a period."""


class RefusedError(Exception):
    """A leaderboard was read and is not believed; the message starts with the name of the rule it breaks."""

    def __init__(self, message: str, *, rows_seen: int, rows_rejected: int) -> None:
        super().__init__(message)
        self.rows_seen = rows_seen
        self.rows_rejected = rows_rejected


class _Place:
    """A row's place: more PnL is better, and of two equal ones the lower address."""

    __slots__ = ("key", "row")

    def __init__(self, row: LeaderboardRow) -> None:
        self.row = row
        self.key = (row.month_pnl.copy_negate(), row.address)  # which rounds nothing

    def __lt__(self, other: "_Place") -> bool:
        return self.key > other.key  # the heap's head is the worst place


def select(rows: Iterable[LeaderboardRow | None], *, size: int, min_valid: Decimal) -> Selection:
    """Return the `size` wallets with the most month PnL, best first, in one pass and bounded memory.

    `rows` has None for a row that could not be read; a second row of an address counts as unreadable too. Raises
    RefusedError unless at least `min_valid` (a share of `size`) wallets were found, at most a tenth of the rows was
    unreadable, and the ranking is one: a leaderboard without month windows would rank by address alone.
    """
    seen = rejected = 0
    addresses: set[str] = set()
    best: list[_Place] = []
    for row in rows:
        seen += 1
        if row is None or row.address in addresses:
            rejected += 1
            continue
        addresses.add(row.address)
        if len(best) < size:
            heappush(best, _Place(row))
        elif row.month_pnl >= best[0].row.month_pnl:
            heappushpop(best, _Place(row))
    members = tuple(place.row for place in sorted(best, reverse=True))
    if problem := _problem(members, seen=seen, rejected=rejected, size=size, min_valid=min_valid):
        raise RefusedError(problem, rows_seen=seen, rows_rejected=rejected)
    return Selection(members=members, rows_seen=seen, rows_rejected=rejected)


def _problem(
    members: Sequence[LeaderboardRow], *, seen: int, rejected: int, size: int, min_valid: Decimal
) -> str | None:
    if not seen:
        return "no_rows: the leaderboard is empty"
    if rejected > MAX_REJECTED * seen:
        return f"too_many_rejected: {rejected} of {seen} rows are unreadable, at most {MAX_REJECTED:.0%} may be"
    if len(members) < min_valid * size:
        return f"too_few_valid: {len(members)} of {size} wallets, at least {min_valid:.0%} are needed"
    if 2 * len({row.month_pnl for row in members}) < len(members):
        return f"no_ranking: {len(members)} wallets share {len({row.month_pnl for row in members})} month PnLs"
    return None


def difference(before: Sequence[str], after: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (entered, exited) addresses, each in the order of its own list."""
    old, new = set(before), set(after)
    return [address for address in after if address not in old], [address for address in before if address not in new]


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """How much of the universe a refresh changes, and whether that is believed."""

    turnover: Decimal | None  # share of the wallets, to six places; None: there is nothing to measure against
    warnings: int  # refreshes in a row, this one included, that changed more than MAX_TURNOVER

    @property
    def problem(self) -> str | None:
        """Say what is unusual, starting with the rule's name; None if nothing is."""
        if not self.warnings:
            return None
        return (
            f"churn: {self.turnover:.1%} of the wallets changed, more than {MAX_TURNOVER:.0%}"
            f" for {self.warnings} refresh{'es' if self.warnings > 1 else ''} in a row"
        )

    @property
    def is_refused(self) -> bool:
        """Tell whether the universe in force is kept because of it."""
        return self.warnings >= REFUSED_FROM


def weigh(before: Sequence[str], after: Sequence[str], *, warnings: int) -> Churn:
    """Measure a choice against the members stored last, in force or not, whose refresh had so many `warnings`.

    Turnover is the smaller of the shares that are new and that are gone: a universe that only grows or shrinks, because
    HLCTL_UNIVERSE_SIZE was changed, has none.
    """
    if not before or not after:
        return Churn(turnover=None, warnings=0)
    entered, exited = difference(before, after)
    # Six places tell every share of 100,000 wallets from 30 %.
    turnover = round(min(Decimal(len(entered)) / len(after), Decimal(len(exited)) / len(before)), 6)
    return Churn(turnover=turnover, warnings=warnings + 1 if turnover > MAX_TURNOVER else 0)


def due_after(period: timedelta) -> timedelta:
    """Return the age at which a universe is due to be refreshed."""
    return DUE_FROM * period


def is_due(age: timedelta, period: timedelta) -> bool:
    """Tell whether a universe of that age is due.

    So is one from the future: the clock was set back, and waiting for it could take years.
    """
    return not timedelta(0) <= age < due_after(period)
