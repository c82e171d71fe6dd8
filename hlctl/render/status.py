"""`status` on a screen."""

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal

from hlctl.render.screen import Block, Facts, Grid
from hlctl.results import StatusResult, missing_words

REASONS = {
    "no_good_minute": "no good minute was ever recorded",
    "no_good_minute_lately": "the newest good minute is too old",
    "last_minute_failed": "the newest minute failed",
    "last_minute_partial": "the newest minute is partial",
    "last_minute_old": "the newest minute is more than 120 s old",
    "universe_old": "the universe is too old",
    "suspect": "the newest minute looks odd",
}
SUSPICIONS = {
    "mass_zero": "half of the open positions turned flat at once",
    "same_answer": "two wallets gave the same answer",
}
STYLES = {"healthy": "bold green", "degraded": "bold yellow", "stale": "bold red"}


def status(result: StatusResult) -> list[Block]:
    """Return the screen: the judgement first, then the facts behind it."""
    health, run = result.health, result.run
    reasons = "; ".join(REASONS.get(reason, reason) for reason in health.reasons)
    if health.suspect:  # always the last of the reasons
        reasons += f": {', '.join(SUSPICIONS.get(word, word) for word in health.suspect)}"
    counts = Counter(status for _minute, status in result.last_hour)
    facts = [
        ("health", f"{health.health_state}{f': {reasons}' if reasons else ''}"),
        ("last good minute", _moment(health.last_good_snapshot_ts, health.last_good_age)),
        ("newest minute", f"{_moment(run.snapshot_ts, health.last_snapshot_age)}, {run.status}" if run else "none"),
    ]
    if run:
        coverage = f"{run.coverage_pct} %, {run.wallets_succeeded} of {run.wallets_expected} wallets"
        facts += [
            ("coverage", f"{coverage}, {run.rows_written} cells"),
            ("missing", missing_words(run.missing) or "none"),
        ]
    universe, members = result.universe, "none"
    if universe:
        members = (
            f"{universe.size} wallets from {universe.source}, {_moment(universe.as_of_ts, health.universe_age)};"
            f" {universe.entered_count} entered, {universe.exited_count} exited"
        )
    hour = (
        f"{counts['success']} success, {counts['partial']} partial, {counts['failed']} failed,"
        f" {counts[None]} not recorded"
    )
    facts += [("universe", members), ("last hour", hour)]
    blocks: list[Block] = [Facts(facts, style=STYLES[health.health_state])]
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


def _coins(amount: Decimal | None) -> str:
    return "unknown" if amount is None else f"{amount:,.4f}"


def _moment(moment: datetime | None, age: timedelta | None) -> str:
    if moment is None or age is None:
        return "none"
    return f"{moment:%Y-%m-%d %H:%M} UTC, {_age(age)} ago"


def _age(age: timedelta) -> str:
    seconds = round(age.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
