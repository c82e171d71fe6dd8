"""Ranking a leaderboard, believing it or not, and telling what changed."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlctl.model import LeaderboardRow, Selection
from hlctl.universe import RefusedError, difference, select

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
