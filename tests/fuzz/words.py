"""The reference for what an operator writes: moments, spans, days, and lines of a settings file.

Its rules are those of README.md and of the messages that refuse; the bounds of the settings stand on no page and repeat
hlctl's. It shares no code with it. None means that it must be refused.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation

DIGITS = frozenset("0123456789")
CENTURY = timedelta(days=36_500)

Wanted = tuple[datetime | None, timedelta | None, datetime | None, datetime | None]
"""A minute, a span up to now, or the bounds of a range."""

BOUNDS = {
    "HLCTL_UNIVERSE_SIZE": (1, 100_000, True),
    "HLCTL_UNIVERSE_MIN_VALID": (0, 1, False),
    "HLCTL_UNIVERSE_REFRESH_HOURS": (0, 8760, False),
    "HLCTL_MAX_CONCURRENCY": (1, 64, True),
    "HLCTL_REQUEST_TIMEOUT": (0, 50, False),
    "HLCTL_MAX_ATTEMPTS": (1, 3, True),
    "HLCTL_RATE_LIMIT": (0, 1_000_000, True),  # 1 and 2 are refused too: one request weighs 2
    "HLCTL_DEADLINE": (0, 50, False),
    "HLCTL_COVERAGE_SUCCESS": (0, 100, False),
    "HLCTL_COVERAGE_FAILED": (0, 100, False),
    "HLCTL_STALE_AFTER": (60, 86_400, True),
    "HLCTL_RETENTION_DAYS": (1, 36_500, True),
}
"""Every figure among the settings: its bounds, and whether it is whole and may be the lower one."""


def _fits(text: str, form: str) -> bool:
    """Tell whether a text has this form: 0 stands for a digit, anything else for itself."""
    return len(text) == len(form) and all(c in DIGITS if f == "0" else c == f for c, f in zip(text, form, strict=True))


def day(text: str) -> date | None:
    """Read a day such as 2026-01-06."""
    try:
        return date.fromisoformat(text) if _fits(text, "0000-00-00") else None
    except ValueError:
        return None


def moment(text: str) -> datetime | None:
    """Read a whole minute with its zone, such as 2026-01-06T20:44Z: RFC 3339, its seconds 00 or left out."""
    if text[-1:] in ("Z", "z"):
        text = text[:-1] + "+00:00"
    head, seconds, zone = text[:16], text[16:-6], text[-6:]
    if head[10:11] not in ("T", "t", " ") or zone[:1] not in ("+", "-"):
        return None
    if not _fits(head.replace(head[10], "T", 1), "0000-00-00T00:00") or not _fits(zone[1:], "00:00"):
        return None
    if seconds and seconds != ":00" and not (seconds[:4] == ":00." and seconds[4:] and set(seconds[4:]) == {"0"}):
        return None
    try:
        return datetime.fromisoformat(f"{head[:10]}T{head[11:]}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def span(text: str) -> timedelta | None:
    """Read a span such as 90m, 24h or 7d, up to a hundred years."""
    count, unit = text[:-1], text[-1:]
    if unit not in ("m", "h", "d") or not 1 <= len(count) <= 9 or not DIGITS.issuperset(count):
        return None
    minutes = int(count) * {"m": 1, "h": 60, "d": 1440}[unit]
    return timedelta(minutes=minutes) if 0 < minutes <= CENTURY // timedelta(minutes=1) else None


def keep(text: str) -> int | None:
    """Read how many days to keep, such as 30d."""
    found = span(text)
    return found.days if found and text.endswith("d") and len(text) <= 6 else None


def minutes(minute: str | None, since: str | None, start: str | None, end: str | None) -> Wanted | None:
    """Read --minute, --since, --from and --to, of which only the last two go together."""
    if sum((minute is not None, since is not None, start is not None or end is not None)) > 1:
        return None
    found = (
        moment(minute) if minute is not None else None,
        span(since) if since is not None else None,
        moment(start) if start is not None else None,
        moment(end) if end is not None else None,
    )
    if any(got is None for got, given in zip(found, (minute, since, start, end), strict=True) if given is not None):
        return None
    return None if found[2] and found[3] and found[2] >= found[3] else found


def days(one: str | None, first: str | None, last: str | None) -> tuple[date | None, date | None] | None:
    """Read --day, or --from and --to, both of them or none; the last day is meant too."""
    if one is not None:
        found = day(one)
        return (found, found) if found and first is None and last is None else None
    if first is None and last is None:
        return None, None
    bounds = (day(first or ""), day(last or ""))
    return bounds if bounds[0] and bounds[1] and bounds[0] <= bounds[1] else None


def settings(content: str) -> dict[str, str] | None:
    """Read the lines of a settings file that nobody can read in two ways; None if one of them is not of that sort."""
    found: dict[str, str] = {}
    for line in content.split("\n"):
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        is_name = name.startswith("HLCTL_") and name.replace("_", "").isascii() and name.replace("_", "").isalpha()
        if not equals or not is_name or not name.isupper() or not value.isascii():
            return None
        if not value.isprintable() or set(value) & set(" '\"#\\`$"):
            return None
        found[name] = value
    return found


def is_in_bounds(name: str, value: str) -> bool | None:
    """Tell whether a figure may stand there; None if it is spelled so that either answer is right."""
    low, high, is_whole = BOUNDS[name]
    try:
        figure = Decimal(value)
    except InvalidOperation:
        return False if not DIGITS & set(value) else None
    if not DIGITS.issuperset(value.removeprefix("-").replace(".", "", 1)) or not value[-1:].isdecimal():
        return None
    if len(value) > 15 or not value.removeprefix("-")[:1].isdecimal() or (is_whole and "." in value):
        return None
    if name.startswith("HLCTL_COVERAGE") and len(value.partition(".")[2]) > 2:
        return None
    if name == "HLCTL_RATE_LIMIT" and figure in (1, 2):
        return False
    return (low <= figure if is_whole else low < figure) and figure <= high
