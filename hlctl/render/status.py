"""`status` on a screen: the judgement first, then the facts behind it. It fits 80 columns and 24 lines."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from math import ceil
from textwrap import shorten

from hlctl.answers import StatusDetails, StatusResult
from hlctl.facts import HeldLock, Storage, Traffic, TroubledWallet
from hlctl.model import Recorded
from hlctl.render import clean, size
from hlctl.render.screen import Block, Facts, Grid, Strip
from hlctl.results import missing_words

REASONS = {
    "no_good_minute": "no good minute was ever recorded",
    "no_good_minute_lately": "last good minute {last_good_age} old, more than {stale_after}",
    "last_minute_failed": "newest minute failed, {coverage_pct} % coverage below {coverage_failed} %",
    "last_minute_partial": "newest minute partial, {coverage_pct} % coverage below {coverage_success} %",
    "last_minute_old": "newest minute {last_snapshot_age} old, more than 120 s",
    "universe_old": "universe {universe_age} old, more than {universe_stale_after}",
    "suspect": "newest minute odd{suspect}",
}
"""Words for a reason of v_latest_health, with figures of the judgement and of the thresholds in force."""

SUSPECTS = {
    "mass_zero": "half of the open positions turned flat at once",
    "same_answer": "two wallets gave the same answer",
}
"""Words for what is odd about a minute as a whole."""

STYLES = {"healthy": "bold green", "degraded": "bold yellow", "stale": "bold red"}

_MARKS = {"success": ".", "partial": "p", "failed": "F", None: "-"}
_MARK_STYLES = {".": "green", "p": "yellow", "F": "bold red", "-": "red"}
_HOUR = 60  # minutes
_NAMED = 4  # reasons for missing wallets
_ROOM = 70  # characters of a stranger's words
_LITTLE_ROOM = 44  # where they are not the newest
_EXACT_BELOW, _WHOLE_BELOW = Decimal("1e9"), Decimal("1e12")  # coins


def status(result: StatusResult) -> list[Block]:
    """Return the screen."""
    health = result.health
    reasons = "; ".join(reasons_of(result))
    rows: list[tuple[str, str | Strip]] = [
        ("health", f"{health.health_state}{f': {reasons}' if reasons else ''}"),
        ("last good minute", _moment(health.last_good_snapshot_ts, health.last_good_age)),
        ("newest minute", _newest(result)),
    ]
    if run := result.run:
        coverage = f"{run.coverage_pct} %, {run.wallets_succeeded} of {run.wallets_expected} wallets"
        rows += [("coverage", f"{coverage}, {_cells(result, run)}"), ("missing", _missing(run.missing))]
    rows += [*_last_hour(result), ("universe", _universe(result)), *_failed_refresh(result)]
    if result.transport:
        rows.append(("transport", _transport(result.transport)))
    if result.details:
        rows += _details(result.details)
    blocks: list[Block] = [Facts(rows, style=STYLES.get(health.health_state, ""), wrapped=True)]
    if result.holders:
        blocks += [
            "",
            Grid(
                ("asset", "long", "short", "flat", "missing", "net szi"),
                [
                    (h.asset, str(h.long), str(h.short), str(h.flat), str(h.missing), _coins(h.net_szi))
                    for h in result.holders
                ],
            ),
        ]
    return blocks


def unknown(words: str, *, wrapped: bool) -> Block:
    """Return what stands in the screen's place if nothing can be judged, and why; one line unless it is `wrapped`."""
    return Facts([("health".ljust(len("last good minute")), f"unknown: {words}")], style="bold red", wrapped=wrapped)


def reasons_of(result: StatusResult) -> list[str]:
    """Return in words why the data is not healthy, worst first."""
    health, limits = result.health, result.thresholds
    odd = ", ".join(SUSPECTS.get(word, clean(word)) for word in health.suspect)
    figures = {"coverage_pct": str(health.coverage_pct), "suspect": f": {odd}" if odd else ""}
    figures |= {
        name: age_words(getattr(health, name)) for name in ("last_good_age", "last_snapshot_age", "universe_age")
    }
    if limits:
        figures |= {name: age_words(getattr(limits, name)) for name in ("stale_after", "universe_stale_after")}
        figures |= {name: figure(getattr(limits, name)) for name in ("coverage_failed", "coverage_success")}
    return [REASONS[why].format_map(figures) if why in REASONS else clean(why) for why in health.reasons]


def figure(number: Decimal) -> str:
    """Return a number without zeros that say nothing."""
    return f"{number.normalize():f}"


def age_words(age: timedelta | None) -> str:
    """Return a span of time in words, rounded up, so that what is more than a limit reads as more."""
    if age is None:
        return "unknown"
    seconds = seconds_of(age)
    for unit, length, part, below in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60)):
        if seconds >= 2 * length:
            whole, rest = divmod(ceil(seconds / below) * below, length)
            return f"{whole} {unit}{f' {rest // below} {part}' if rest else ''}"
    return f"{ceil(seconds / 60)} min" if seconds >= 5 * 60 else f"{seconds} s"


def seconds_of(age: timedelta) -> int:
    """Return whole seconds, rounded up: more than a limit stays more."""
    return ceil(age.total_seconds())


def _moment(moment: datetime | None, age: timedelta | None) -> str:
    if moment is None or age is None:
        return "none"
    return f"{moment:%Y-%m-%d %H:%M} UTC, {_ago(age, 'ago')}"


def _ago(age: timedelta | None, past: str) -> str:
    """Return an age in words that end in `past`; a clock that was set back makes some negative."""
    return f"{age_words(-age)} ahead of the clock" if age and age < timedelta(0) else f"{age_words(age)} {past}"


def _newest(result: StatusResult) -> str:
    if result.run is None:
        return "none"
    error = result.transport.error if result.transport else None
    why = f": {_brief(error)}" if error else ""
    return f"{_moment(result.run.snapshot_ts, result.health.last_snapshot_age)}, {result.run.status}{why}"


def _cells(result: StatusResult, run: Recorded) -> str:
    """Return how many cells the run wrote, and how many there are if not all of them are there any more."""
    there = sum(h.long + h.short + h.flat + h.missing for h in result.holders)
    return f"{there} cells" if there == run.rows_written else f"{there} of {run.rows_written} cells"


def _missing(missing: Mapping[str, int]) -> str:
    worst = dict(sorted(missing.items(), key=lambda item: -item[1]))
    others = list(worst.values())[_NAMED:]
    words = missing_words(dict(list(worst.items())[:_NAMED])) or "none"
    return f"{words}, {sum(others)} otherwise" if others else words


def _last_hour(result: StatusResult) -> list[tuple[str, str | Strip]]:
    minutes = Counter(status for _minute, status in result.last_hour)
    names = {"success": "good", "partial": "partial", "failed": "failed", None: "gap" if minutes[None] == 1 else "gaps"}
    legend = ", ".join(f"{minutes[status]} {name} ({_MARKS[status]})" for status, name in names.items())
    marks = "".join(_MARKS.get(status, "?") for _minute, status in result.last_hour)
    strip: list[tuple[str, str | Strip]] = [("", Strip(marks.rjust(_HOUR), _MARK_STYLES))] if marks else []
    return [("last hour", legend), *strip]


def _universe(result: StatusResult) -> str:
    universe = result.universe
    if universe is None:
        return "none"
    warnings = universe.churn_warning_count
    churn = f"; churn warning {warnings}" if warnings else ""
    return (
        f"{universe.size} wallets from {universe.source}, {_ago(result.health.universe_age, 'old')};"
        f" {universe.entered_count} entered, {universe.exited_count} exited{churn}"
    )


def _failed_refresh(result: StatusResult) -> list[tuple[str, str | Strip]]:
    refresh = result.last_refresh
    if refresh is None or refresh.error is None:
        return []
    ago = _ago(result.health.judged_at - refresh.as_of_ts, "ago")
    return [("last refresh", f"failed {ago}: {_brief(refresh.error, _LITTLE_ROOM)}")]


def _transport(took: Traffic) -> str:
    skew = "unknown" if took.skew_ms is None else _milliseconds(took.skew_ms)
    budget = f"budget {100 * took.weight // took.budget} %" if took.budget else "no limit"
    if took.budget is None:
        budget = "limit unknown"
    return (
        f"{_milliseconds(took.duration_ms)}, skew {skew}, {took.requests_sent} sent, {took.retries} retries,"
        f" {took.rate_limited} x 429, {budget}"
    )


def _details(details: StatusDetails) -> list[tuple[str, str | Strip]]:
    return [
        *_listed("worst wallets", [_wallet(wallet) for wallet in details.troubled_wallets]),
        ("storage", _storage(details.storage)),
        *_listed("locks", [_lock(lock) for lock in details.locks]),
    ]


def _listed(name: str, lines: Sequence[str]) -> list[tuple[str, str | Strip]]:
    return [("" if number else name, line) for number, line in enumerate(lines or ["none"])]


def _wallet(wallet: TroubledWallet) -> str:
    why = f" ({_missing(wallet.missing)})" if wallet.missing else ""
    return f"{wallet.address} {wallet.minutes_missing} min missing{why}, {wallet.minutes_dirty} min dirty"


def _storage(storage: Storage) -> str:
    days = (
        f"{storage.days} days, {storage.oldest_day:%Y-%m-%d} to {storage.newest_day:%Y-%m-%d}"
        f" ({storage.days_ahead} ahead)"
        if storage.oldest_day and storage.newest_day
        else "no day has a partition"
    )
    return f"{size(storage.total_bytes)} of cells; {days}; {storage.strayed} cells outside their day"


def _lock(lock: HeldLock) -> str:
    minute = f" {lock.minute:%H:%M} UTC" if lock.minute else ""
    since = f"{lock.since:%H:%M:%S} UTC" if lock.since else "unknown"
    return (
        f"{lock.lock}{minute}: process {lock.pid or 'unknown'}, user {_brief(lock.user or 'unknown')},"
        f" client {_brief(lock.client or 'unknown')}, since {since}"
    )


def _brief(words: str, room: int = _ROOM) -> str:
    """Return a stranger's words cleaned, and cut between two of them where they are many."""
    return shorten(clean(words), room, placeholder=" ...")


def _milliseconds(span: int) -> str:
    return f"{span} ms" if span < 1000 else f"{span / 1000:.1f} s"  # noqa: PLR2004 - ms in a second


def _coins(amount: Decimal | None) -> str:
    if amount is None:
        return "unknown"
    if abs(amount) >= _WHOLE_BELOW:
        return f"{amount:.4e}"
    return f"{amount:,.4f}" if abs(amount) < _EXACT_BELOW else f"{amount:,.0f}"
