"""Which minutes are meant, and which of them there are."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlctl.errors import MinuteRefusedError, UsageError
from hlctl.facts import Clip
from hlctl.jobs import export
from hlctl.model import MINUTE
from hlctl.moments import Range, Wanted, bound, parse_minute, parse_span, wanted

M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
AT = M + timedelta(seconds=125)
HOUR = timedelta(hours=1)
FIRST = M - 10 * HOUR

minutes = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)).map(  # noqa: DTZ001 - the next line gives the zone
    lambda moment: moment.replace(second=0, microsecond=0, tzinfo=UTC)
)
zones = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda m: timezone(timedelta(minutes=m)))


@given(minutes, zones, st.booleans())
def test_a_moment_is_the_same_in_every_zone(moment: datetime, zone: timezone, with_seconds: bool) -> None:  # noqa: FBT001 - drawn
    """As RFC 3339 writes it, the seconds left out or 00."""
    text = moment.astimezone(zone).isoformat(timespec="seconds" if with_seconds else "minutes")
    parsed = parse_minute(text, "--minute")
    assert (parsed, parsed.tzinfo) == (moment, UTC)


@pytest.mark.parametrize("text", ["2026-01-06T20:44Z", "2026-01-06t20:44z", "2026-01-06 21:44:00.000+01:00"])
def test_the_usual_spellings_are_read(text: str) -> None:
    """RFC 3339 allows them all."""
    assert parse_minute(text, "--minute") == M


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no moment"),
        ("yesterday", "is no moment"),
        ("2026-01-06", "is no moment"),
        ("20260106T2044Z", "is no moment"),
        ("2026-01-06T20:44Z ", "is no moment"),
        ("2026-01-06T20:44+0100", "is no moment"),
        ("٢٠٢٦-01-06T20:44Z", "is no moment"),
        ("1767732240", "is no moment"),
        ("2026-01-06T20:44", "has no zone"),
        ("2026-01-06T20:44:00", "has no zone"),
        ("2026-01-06T20:44:30Z", "is no whole minute"),
        ("2026-01-06T20:44:00.001Z", "is no whole minute"),
        ("2026-01-06T20:44:60Z", "is no whole minute"),
        ("2026-13-06T20:44Z", "names no moment"),
        ("2026-02-30T20:44Z", "names no moment"),
        ("2026-01-06T24:44Z", "names no moment"),
        ("2026-01-06T20:44+24:00", "names no moment"),
        ("0001-01-01T00:00+01:00", "names no moment"),
        ("9999-12-31T23:59-01:00", "names no moment"),
    ],
)
def test_each_mistake_in_a_moment_is_named(text: str, words: str) -> None:
    """With the option it was made in."""
    with pytest.raises(UsageError, match=f"--from .* {words}") as caught:
        parse_minute(text, "--from")
    assert "\n" not in str(caught.value)


@given(st.text())
def test_no_text_is_more_than_a_usage_error(text: str) -> None:
    """Whatever a shell hands over."""
    for parse in (parse_minute, parse_span):
        with suppress(UsageError):
            parse(text, "--x")


@given(st.integers(1, 36_500), st.sampled_from([("m", MINUTE), ("h", HOUR), ("d", 24 * HOUR)]))
def test_a_span_is_a_number_and_its_unit(count: int, unit: tuple[str, timedelta]) -> None:
    """Minutes, hours or days."""
    letter, length = unit
    assert parse_span(f"{count}{letter}", "--since") == count * length


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no span"), ("-1h", "is no span"), ("1.5h", "is no span"), ("1h30m", "is no span"),
        ("1w", "is no span"),
        ("24", "has no unit"), ("0h", "is no time at all"), ("36501d", "more than a hundred years"),
        ("999999999h", "more than a hundred years"), ("٢h", "is no span"),
    ],
)  # fmt: skip
def test_each_mistake_in_a_span_is_named(text: str, words: str) -> None:
    """What a unit is everybody knows better than the program."""
    with pytest.raises(UsageError, match=words):
        parse_span(text, "--since")


@pytest.mark.parametrize(
    "given_",
    [
        ("2026-01-06T20:44Z", "24h", None, None),
        ("2026-01-06T20:44Z", None, "2026-01-06T20:44Z", None),
        (None, "24h", None, "2026-01-06T20:44Z"),
    ],
)
def test_options_that_exclude_each_other_are_refused(given_: tuple[str | None, ...]) -> None:
    """Rather than one of them ignored."""
    with pytest.raises(UsageError, match="exclude each other"):
        wanted(*given_)


@pytest.mark.parametrize("end", ["2026-01-06T20:44Z", "2026-01-06T20:43Z"])
def test_a_range_of_nothing_is_refused(end: str) -> None:
    """It ends before --to."""
    with pytest.raises(UsageError, match="--from must be before --to"):
        wanted(None, None, "2026-01-06T20:44Z", end)


def of(asked: Wanted, *, at: datetime = AT, first: datetime | None = FIRST) -> Range:
    """Bound what was asked for as the database would: final is what began 120 s ago."""
    final = (at - timedelta(seconds=120)).replace(second=0, microsecond=0)
    return bound(asked, at=at, final=final, first=first)


@pytest.mark.parametrize(
    ("asked", "since", "until", "clips"),
    [
        (Wanted(span=HOUR), M - HOUR + MINUTE, M + MINUTE, []),
        (Wanted(since=M), M, M + MINUTE, []),
        (Wanted(since=M - HOUR, until=M), M - HOUR, M, []),
        (Wanted(until=M), FIRST, M, []),
        (Wanted(span=24 * HOUR), FIRST, M + MINUTE, [("since", M + MINUTE - 24 * HOUR, "before_record")]),
        (Wanted(since=FIRST - HOUR), FIRST, M + MINUTE, [("since", FIRST - HOUR, "before_record")]),
        (Wanted(since=M, until=M + HOUR), M, M + MINUTE, [("until", M + HOUR, "not_final")]),
    ],
)
def test_a_range_is_cut_to_what_can_be_looked_at(
    asked: Wanted, since: datetime, until: datetime, clips: list[tuple[str, datetime, str]]
) -> None:
    """And says where."""
    span = of(asked)
    assert (span.since, span.until, span.is_minute) == (since, until, False)
    assert list(span.clips) == [Clip(bound=b, asked=a, reason=r) for b, a, r in clips]


def test_the_newest_final_minute_is_meant_where_nothing_is_said() -> None:
    """Recorded or not."""
    assert of(Wanted()) == Range(since=M, until=M + MINUTE, is_minute=True)
    assert of(Wanted(minute=M)) == of(Wanted())


def test_a_minute_is_final_after_120_seconds_to_the_digit() -> None:
    """The writer is done with it long before."""
    exactly = M + timedelta(seconds=120)
    assert of(Wanted(minute=M), at=exactly).since == M
    with pytest.raises(MinuteRefusedError, match="2026-01-06 20:44 UTC is not final yet: it is at 20:46:00"):
        of(Wanted(minute=M), at=exactly - timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Wanted(minute=M + HOUR), "is in the future"),
        (Wanted(minute=M + 3 * MINUTE), "is in the future"),
        (Wanted(minute=M + 2 * MINUTE), "is not final yet"),
        (Wanted(minute=FIRST - MINUTE), "is before the record, which begins at 2026-01-06 10:44 UTC"),
        (Wanted(until=FIRST), "ends before the record"),
        (Wanted(since=M + MINUTE), "has no final minute yet: the newest final one is 2026-01-06 20:44 UTC"),
    ],
)
def test_minutes_nobody_can_look_at_are_refused(asked: Wanted, words: str) -> None:
    """One line that says why."""
    with pytest.raises(MinuteRefusedError, match=words):
        of(asked)


def test_a_record_that_has_just_begun_is_refused() -> None:
    """There is nothing, or nothing final, whatever is asked for."""
    for asked in (Wanted(), Wanted(span=HOUR), Wanted(since=M), Wanted(until=M + HOUR)):
        with pytest.raises(MinuteRefusedError, match="nothing is recorded yet"):
            of(asked, first=None)
        with pytest.raises(MinuteRefusedError, match="final"):
            of(asked, first=M + MINUTE)


def test_pruned_minutes_are_cut_off_the_beginning() -> None:
    """What is left of the range is looked at, and where there is nothing left that is said."""
    span = of(Wanted(span=HOUR))
    left = span.without_pruned(M - 10 * MINUTE, M)
    assert (left.since, left.until) == (M - 9 * MINUTE, span.until)
    assert left.clips == (Clip(bound="since", asked=span.since, reason="pruned"),)
    with pytest.raises(MinuteRefusedError, match="the range up to 2026-01-06 20:44 UTC was pruned on 2026-01-06"):
        span.without_pruned(M, M)
    with pytest.raises(MinuteRefusedError, match="^2026-01-06 20:44 UTC was pruned on"):
        of(Wanted()).without_pruned(M, M)


@given(minutes, st.integers(1, 5_000), st.integers(1, 60))
def test_pieces_make_up_the_range_and_straddle_no_hour(since: datetime, count: int, length: int) -> None:
    """Nor, therefore, a day: one statement reads one partition."""
    span = Range(since=since, until=since + count * MINUTE, is_minute=False)
    assert span.minutes == count
    pieces = list(span.pieces(length * MINUTE))
    assert pieces[0][0] == span.since
    assert pieces[-1][1] == span.until
    assert all(end == begin for (_, end), (begin, _) in pairwise(pieces))
    assert all(begin < end <= begin + length * MINUTE and begin.hour == (end - MINUTE).hour for begin, end in pieces)


@given(st.none() | minutes, st.integers(0, 10_000), st.none() | st.integers(1, 50_000), st.none() | minutes)
def test_a_range_lies_within_the_record_or_is_refused(
    since: datetime | None, age: int, span: int | None, until: datetime | None
) -> None:
    """Whatever is asked for: never a minute that is not final, never one before the first."""
    first = M - age * MINUTE
    asked = Wanted(span=span * MINUTE) if span else Wanted(since=since, until=until)
    try:
        found = of(asked, first=first)
    except MinuteRefusedError:
        return
    assert first <= found.since < found.until <= M + MINUTE
    assert all(clip.bound in {"since", "until"} for clip in found.clips)


@pytest.mark.parametrize(
    "day", ["2026-W01-1", "20260106", "2026-1-6", "2026-02-29", "2026-01-06\n", "\uff12026-01-06", ""]
)
def test_a_day_to_export_is_written_with_its_month(day: str) -> None:
    """The first is a date to Python: a Monday in the year before."""
    with pytest.raises(UsageError, match="is no day"):
        export.ranged(day, None, None)
