"""Which minutes somebody means: reading moments and spans, and bounding a range by what can be looked at.

Pure. A range is half-open: it ends before `until`. Every mistake is one line and exit 2.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hlctl.errors import MinuteRefusedError, UsageError
from hlctl.facts import Clip
from hlctl.model import MINUTE

FINAL_AFTER = timedelta(seconds=120)
"""How long after it began a minute is final: no cell of it changes any more."""

_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d)(:(?P<second>\d\d(\.\d+)?))?(?P<zone>[Zz]|[+-]\d\d:\d\d)?",
    re.ASCII,
)
_SPAN = re.compile(r"(?P<count>\d{1,9})(?P<unit>[mhd])?", re.ASCII)
_HOUR = timedelta(hours=1)
_UNITS = {"m": MINUTE, "h": _HOUR, "d": timedelta(days=1)}
_LONGEST = timedelta(days=36_500)
_EXAMPLE = "write it as 2026-01-06T20:44Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for: one minute, a span up to now, bounds, or nothing, which means the newest minute."""

    minute: datetime | None = None
    span: timedelta | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_minute(self) -> bool:
        """Tell whether a single minute is meant."""
        return self.span is None and self.since is None and self.until is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The minutes of [since, until), and where it was cut."""

    since: datetime
    until: datetime
    is_minute: bool  # asked for as one
    clips: tuple[Clip, ...] = ()

    @property
    def minutes(self) -> int:
        """Return how many minutes these are."""
        return (self.until - self.since) // MINUTE

    def pieces(self, length: timedelta) -> Iterator[tuple[datetime, datetime]]:
        """Yield the range in pieces that end where a multiple of `length` since the full hour does, or the hour."""
        since = self.since
        while since < self.until:
            hour = since.replace(minute=0)
            until = min(self.until, hour + min(_HOUR, ((since - hour) // length + 1) * length))
            yield since, until
            since = until

    def without_pruned(self, last: datetime, pruned_at: datetime) -> "Range":
        """Return what follows `last`, the minute up to which cells were dropped. Raises MinuteRefusedError: nothing."""
        if last + MINUTE >= self.until:
            what = words(last) if self.is_minute else f"the range up to {words(last)}"
            raise MinuteRefusedError(f"{what} was pruned on {pruned_at:%Y-%m-%d}: its cells were dropped on purpose")
        clip = Clip(bound="since", asked=self.since, reason="pruned")
        return replace(self, since=last + MINUTE, clips=(*self.clips, clip))


def words(minute: datetime) -> str:
    """Write a minute for people."""
    return f"{minute:%Y-%m-%d %H:%M} UTC"


def parse_minute(text: str, option: str) -> datetime:
    """Read an RFC 3339 moment with its zone; the seconds are 00 or left out. Raises UsageError."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise UsageError(f"{option} {text!r} is no moment", remedy=_EXAMPLE)
    if found["zone"] is None:
        raise UsageError(f"{option} {text!r} has no zone", remedy="append Z for UTC, or an offset as in +01:00")
    try:
        moment = datetime.fromisoformat(f"{found['date']}T{found['time']}{found['zone'].upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text!r} names no moment there ever was", remedy=_EXAMPLE) from None
    if float(found["second"] or 0) or moment.second:
        raise UsageError(f"{option} {text!r} is no whole minute", remedy="the seconds are 00 or left out")
    return moment


def parse_span(text: str, option: str) -> timedelta:
    """Read a span such as 90m, 24h or 7d. Raises UsageError."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise UsageError(f"{option} {text!r} is no span of time", remedy="write it as 90m, 24h or 7d")
    if found["unit"] is None:
        raise UsageError(f"{option} {text!r} has no unit", remedy="append m, h or d: minutes, hours, days")
    count, unit = int(found["count"]), _UNITS[found["unit"]]
    if count == 0:
        raise UsageError(f"{option} {text!r} is no time at all", remedy="")
    if count > _LONGEST // unit:
        raise UsageError(f"{option} {text!r} is more than a hundred years", remedy="")
    return count * unit


def wanted(minute: str | None, since: str | None, start: str | None, end: str | None) -> Wanted:
    """Read --minute, --since, --from and --to, which exclude each other, the last two apart. Raises UsageError."""
    given = [minute is not None, since is not None, start is not None or end is not None]
    if sum(given) > 1:
        raise UsageError("--minute, --since and --from/--to exclude each other")
    asked = Wanted(
        minute=None if minute is None else parse_minute(minute, "--minute"),
        span=None if since is None else parse_span(since, "--since"),
        since=None if start is None else parse_minute(start, "--from"),
        until=None if end is None else parse_minute(end, "--to"),
    )
    if asked.since and asked.until and asked.since >= asked.until:
        raise UsageError("--from must be before --to, which is not part of the range", remedy="")
    return asked


def bound(asked: Wanted, *, at: datetime, final: datetime, first: datetime | None) -> Range:
    """Return which minutes to look at: recorded ones from `first` on, up to the newest `final` one, `at` being now.

    Raises MinuteRefusedError if there is none.
    """
    if first is None:
        raise MinuteRefusedError("nothing is recorded yet", remedy="run `hlctl snapshot` every minute")
    if asked.is_minute:
        return _one(asked.minute, at=at, final=final, first=first)
    end = final + MINUTE
    until = asked.until or end
    since = _before(end, asked.span) if asked.span else asked.since or first
    clips = [Clip(bound="since", asked=since, reason="before_record")] if since < first else []
    if until > end:
        clips.append(Clip(bound="until", asked=until, reason="not_final"))
    if since >= end or first >= end:
        raise MinuteRefusedError(f"the range has no final minute yet: the newest final one is {words(final)}")
    if until <= first:
        raise MinuteRefusedError(f"the range ends before the record, which begins at {words(first)}")
    return Range(since=max(since, first), until=min(until, end), is_minute=False, clips=tuple(clips))


def _one(minute: datetime | None, *, at: datetime, final: datetime, first: datetime) -> Range:
    if minute is None and final < first:
        final_from = first + FINAL_AFTER
        raise MinuteRefusedError(f"no recorded minute is final yet: {words(first)} is at {final_from:%H:%M:%S}")
    minute = minute or final
    if minute > at:
        raise MinuteRefusedError(f"{words(minute)} is in the future")
    if minute > final:
        raise MinuteRefusedError(f"{words(minute)} is not final yet: it is at {minute + FINAL_AFTER:%H:%M:%S}")
    if minute < first:
        raise MinuteRefusedError(f"{words(minute)} is before the record, which begins at {words(first)}")
    return Range(since=minute, until=minute + MINUTE, is_minute=True)


def _before(moment: datetime, span: timedelta) -> datetime:
    """Go back in time, as far as the calendar goes."""
    return moment - min(span, moment - datetime.min.replace(tzinfo=UTC))
