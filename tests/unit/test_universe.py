"""Ranking a leaderboard, believing it or not, and telling what changed."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlctl.model import LeaderboardRow, Selection
from hlctl.universe import Churn, RefusedError, difference, due_after, is_due, select, weigh

NINETY = Decimal("0.90")


def make_row(number: int, pnl: str | None = None) -> LeaderboardRow:
    return LeaderboardRow(
        address=f"0x{number:040x}",
        month_pnl=Decimal(pnl if pnl is not None else number),
        month_roi=Decimal(0),
        month_volume=Decimal(0),
        account_value=Decimal(0),
    )


def choose(rows: Sequence[LeaderboardRow | None], *, size: int = 200) -> Selection:
    return select(rows, size=size, min_valid=NINETY)


def test_the_wallets_with_the_most_month_pnl_are_chosen_best_first() -> None:
    """The file is not sorted by PnL."""
    selection = choose([make_row(n) for n in (3, 9, 1, 7, 5)], size=3)
    assert [row.month_pnl for row in selection.members] == [9, 7, 5]


def test_ties_are_broken_by_address() -> None:
    """Two runs over the same file choose the same wallets."""
    rows = [make_row(n, "5") for n in (4, 2, 3, 1)] + [make_row(9, "6"), make_row(8, "7")]
    assert [row.address[-1] for row in choose(rows, size=4).members] == ["8", "9", "1", "2"]


def test_no_digit_of_a_profit_is_too_small_to_rank_by() -> None:
    """A leaderboard's figure may have 33 digits; arithmetic would round to 28, and `verify` compares all of them."""
    rows = [make_row(1, "100000000000000.000000000000000001"), make_row(2, "100000000000000.000000000000000002")]
    assert [row.address[-1] for row in choose(rows, size=2).members] == ["2", "1"]


def test_an_address_that_comes_twice_counts_once() -> None:
    """The second row is counted as unreadable."""
    selection = choose([make_row(n) for n in range(1, 21)] + [make_row(20, "99")], size=20)
    assert len(selection.members) == 20
    assert (selection.rows_seen, selection.rows_rejected) == (21, 1)


@pytest.mark.parametrize(("valid", "accepted"), [(179, False), (180, True), (200, True)])
def test_ninety_percent_of_the_universe_must_be_found(valid: int, *, accepted: bool) -> None:
    """From both sides of the rule."""
    rows = [make_row(n) for n in range(valid)]
    if accepted:
        assert len(choose(rows).members) == valid
    else:
        with pytest.raises(RefusedError, match="^too_few_valid: 179 of 200"):
            choose(rows)


@pytest.mark.parametrize(("valid", "accepted"), [(8, False), (9, True)])
def test_ninety_percent_is_rounded_in_nobodys_favour(valid: int, *, accepted: bool) -> None:
    """Of 9 wallets 8.1 are needed, and there are no tenths of a wallet."""
    rows = [make_row(n) for n in range(valid)]
    if accepted:
        assert len(choose(rows, size=9).members) == valid
    else:
        with pytest.raises(RefusedError, match="^too_few_valid: 8 of 9"):
            choose(rows, size=9)


@pytest.mark.parametrize(("unreadable", "accepted"), [(100, True), (101, False)])
def test_a_tenth_of_the_rows_may_be_unreadable(unreadable: int, *, accepted: bool) -> None:
    """From both sides of the rule."""
    rows: list[LeaderboardRow | None] = [make_row(n) for n in range(1000 - unreadable)]
    rows += [None] * unreadable
    if accepted:
        assert choose(rows).rows_rejected == unreadable
    else:
        with pytest.raises(RefusedError, match="^too_many_rejected: 101 of 1000 rows") as caught:
            choose(rows)
        assert (caught.value.rows_seen, caught.value.rows_rejected) == (1000, 101)


def test_an_empty_leaderboard_is_refused() -> None:
    """Nobody is not a universe."""
    with pytest.raises(RefusedError, match="^no_rows: "):
        choose([])


def test_a_leaderboard_without_pnl_is_no_ranking() -> None:
    """Where the month window is gone, everybody earned nothing and the addresses would decide."""
    with pytest.raises(RefusedError, match="^no_ranking: "):
        choose([make_row(n, "0.0") for n in range(1000)])


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(-5, 5)), min_size=1, max_size=80), st.integers(1, 30))
def test_the_choice_is_what_sorting_everything_would_give(pairs: list[tuple[int, int]], size: int) -> None:
    """The heap is only a cheaper way to say it."""
    rows = [make_row(number, str(pnl)) for number, pnl in dict(pairs).items()]
    try:
        members = select(rows, size=size, min_valid=Decimal("0.01")).members
    except RefusedError:
        return
    assert list(members) == sorted(rows, key=lambda row: (-row.month_pnl, row.address))[:size]


def test_the_difference_names_who_came_and_who_went_in_rank_order() -> None:
    """It is printed and stored."""
    assert difference(["a", "b", "c"], ["d", "b", "e"]) == (["d", "e"], ["a", "c"])


# ---- churn


def names(first: int, count: int) -> list[str]:
    return [f"wallet {number}" for number in range(first, first + count)]


def test_the_first_refresh_has_no_turnover() -> None:
    """There is nothing to measure it against."""
    assert weigh([], names(0, 200), warnings=0) == Churn(turnover=None, warnings=0)


@pytest.mark.parametrize(("changed", "warnings"), [(0, 0), (59, 0), (60, 0), (61, 1), (200, 1)])
def test_more_than_thirty_percent_is_a_warning(changed: int, warnings: int) -> None:
    """From both sides of the rule."""
    churn = weigh(names(0, 200), names(changed, 200), warnings=0)
    assert churn == Churn(turnover=Decimal(changed) / 200, warnings=warnings)
    assert (churn.problem is None) == (warnings == 0)
    assert not churn.is_refused


@pytest.mark.parametrize(("size", "changed"), [(100_000, 30_001), (99_999, 30_000)])
def test_one_wallet_above_thirty_percent_is_seen_in_the_largest_universe(size: int, changed: int) -> None:
    """Turnover is rounded, and the rule must not notice."""
    assert weigh(names(0, size), names(changed - 1, size), warnings=0).warnings == 0
    assert weigh(names(0, size), names(changed, size), warnings=0).warnings == 1


@pytest.mark.parametrize(("before", "refused"), [(0, False), (1, False), (2, True), (3, True), (9, True)])
def test_the_third_warning_in_a_row_is_refused_and_so_are_those_after_it(before: int, *, refused: bool) -> None:
    """Only a leaderboard that settles, or an operator, ends that."""
    churn = weigh(names(0, 200), names(100, 200), warnings=before)
    assert (churn.warnings, churn.is_refused) == (before + 1, refused)


def test_a_calm_refresh_ends_the_count() -> None:
    """In a row means in a row."""
    assert weigh(names(0, 200), names(60, 200), warnings=7) == Churn(turnover=Decimal("0.3"), warnings=0)


def test_the_problem_names_the_rule_the_share_and_the_count() -> None:
    """It is logged, and it goes into the failed refresh's row."""
    assert weigh(names(0, 200), names(75, 200), warnings=0).problem == (
        "churn: 37.5% of the wallets changed, more than 30% for 1 refresh in a row"
    )
    assert weigh(names(0, 200), names(75, 200), warnings=2).problem == (
        "churn: 37.5% of the wallets changed, more than 30% for 3 refreshes in a row"
    )


NAMES = st.lists(st.integers(0, 40).map(str), unique=True, max_size=30)


@given(NAMES, NAMES, st.integers(0, 5))
def test_turnover_is_the_smaller_of_the_shares_that_came_and_went(
    before: list[str], after: list[str], warnings: int
) -> None:
    """Reckoned a second way, in fractions."""
    churn = weigh(before, after, warnings=warnings)
    if not before or not after:
        assert churn == Churn(turnover=None, warnings=0)
        return
    stayed = len(set(before) & set(after))
    exact = min(1 - Fraction(stayed, len(after)), 1 - Fraction(stayed, len(before)))
    assert churn.turnover is not None
    assert abs(Fraction(churn.turnover) - exact) <= Fraction(1, 10**6)
    assert churn.warnings == (warnings + 1 if exact > Fraction(3, 10) else 0)
    assert churn.is_refused == (churn.warnings >= 3)


@given(NAMES, NAMES)
def test_a_universe_that_only_grows_or_only_shrinks_has_no_turnover(some: list[str], more: list[str]) -> None:
    """HLCTL_UNIVERSE_SIZE is the operator's to change."""
    larger = list(dict.fromkeys([*some, *more]))
    for before, after in ((some, larger), (larger, some)):
        assert weigh(before, after, warnings=2).warnings == 0


@given(NAMES, NAMES)
def test_order_is_no_turnover_and_turnover_has_no_direction(before: list[str], after: list[str]) -> None:
    """Ranks change all day; and going there and back is the same distance."""
    assert weigh(before, before[::-1], warnings=2).warnings == 0
    assert weigh(before, after, warnings=0) == weigh(after[::-1], before, warnings=0)


@given(st.lists(st.sampled_from(["calm", "churn"]), max_size=12))
def test_a_refresh_is_refused_only_after_two_warnings_and_a_calm_one_never(days: list[str]) -> None:
    """Each is measured against the one before, accepted or not: that alone is carried from one to the next."""
    members, warnings, first = names(0, 10), 0, 0
    for number, day in enumerate(days):
        first += 10 if day == "churn" else 1
        churn = weigh(members, names(first, 10), warnings=warnings)
        assert churn.is_refused == (days[max(0, number - 2) : number + 1] == ["churn"] * 3)
        members, warnings = names(first, 10), churn.warnings


# ---- when


@pytest.mark.parametrize(
    ("age", "due"),
    [
        (timedelta(0), False),
        (timedelta(hours=5, minutes=41, seconds=59), False),
        (timedelta(hours=5, minutes=42), True),
        (timedelta(hours=5, minutes=59, seconds=30), True),
        (timedelta(days=9), True),
        (timedelta(seconds=-1), True),
    ],
)
def test_a_universe_is_due_from_95_percent_of_the_period_on(age: timedelta, *, due: bool) -> None:
    """A timer that fires half a minute early must not skip six hours, nor a clock that was set back a year."""
    assert is_due(age, timedelta(hours=6)) is due


@given(st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=365)))
def test_a_universe_is_never_due_twice_within_nine_tenths_of_a_period_and_always_after_one(period: timedelta) -> None:
    """Whatever the period."""
    assert not is_due(0.9 * period, period)
    assert is_due(period, period)
    assert is_due(due_after(period), period)
