"""Who is recorded: ranking a leaderboard, accepting it or not, and telling what changed."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from heapq import heappush, heappushpop

from hlctl.model import LeaderboardRow, Selection

MAX_REJECTED = Decimal("0.10")
"""Share of unreadable rows up to which the readable ones are believed."""


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
        self.key = (-row.month_pnl, row.address)

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
        else:
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
