"""`verify` on a screen."""

import textwrap

from hlctl.answers import VerifyResult
from hlctl.facts import Clip, Gap, Violation
from hlctl.moments import words
from hlctl.render import clean
from hlctl.render.screen import Block, Facts, Grid

REASONS = {
    "before_record": "the record begins later",
    "pruned": "earlier minutes were pruned",
    "not_final": "later ones are not final yet",
}
_SHOWN = 10  # violations of a check, and gaps
_WIDTH = 80


def verify(result: VerifyResult) -> list[Block]:
    """Return the screen: the verdict and what was looked at, each check, and then what was found."""
    violated = [check for check in result.checks if check.violations]
    verdict = f"{len(violated)} of {len(result.checks)} checks are violated" if violated else "every check holds"
    facts = [("verdict", f"{verdict}{_gap_words(result)}"), ("minutes", _minutes(result))]
    facts.append(("recorded", _recorded(result)))
    if result.runs.pruned:
        facts.append(
            ("pruned", f"{_count(result.runs.pruned, 'minute')}: their runs are checked, their cells are gone")
        )
    if older := result.runs.without_fingerprint:
        facts.append(("older", f"{_count(older, 'minute')} from before there were fingerprints"))
    facts += [("clipped", _clip(clip)) for clip in result.clipped]
    blocks: list[Block] = [Facts(facts, style="bold red" if violated else "bold green"), ""]
    blocks.append(
        Grid(
            ("check", "found"),
            [(f"{check.id:<12}{check.sentence}", f"{check.violations:,}") for check in result.checks],
        )
    )
    for check in violated:
        blocks += ["", f"{check.id}: {check.violations:,} found"]
        blocks += [line for example in check.examples[:_SHOWN] for line in _violation(example)]
        blocks += _rest(check.violations)
    if result.gaps:
        blocks += ["", "not recorded:"]
        blocks += [line for gap in result.gaps[:_SHOWN] for line in _gap(gap)]
        blocks += _rest(result.gap_count)
    return blocks


def _gap_words(result: VerifyResult) -> str:
    if not result.gap_minutes:
        return ""
    return "; the minute was not recorded" if result.is_minute else f"; {_count(result.gap_count, 'gap')}"


def _minutes(result: VerifyResult) -> str:
    if result.minutes == 1:
        return words(result.since)
    return f"{result.minutes:,}, from {words(result.since)} up to {words(result.until)}"


def _recorded(result: VerifyResult) -> str:
    runs = result.runs
    good = f"{runs.success:,} success, {runs.partial:,} partial"
    return f"{good}, {runs.failed:,} failed, {result.gap_minutes:,} not at all"


def _clip(clip: Clip) -> str:
    return f"{'from' if clip.bound == 'since' else 'up to'} {words(clip.asked)} was asked: {REASONS[clip.reason]}"


def _violation(violation: Violation) -> list[str]:
    place = f"{words(violation.snapshot_ts)}: " if violation.snapshot_ts else ""
    who = violation.address or (f"wallet {violation.wallet_id}" if violation.wallet_id is not None else "")
    lines = _wrapped(f"{place}{violation.found}")
    return [*lines, f"    {who} {violation.asset or ''}".rstrip()] if who else lines


def _gap(gap: Gap) -> list[str]:
    known = "; ".join(gap.known) or "nothing is known of the cause"
    return _wrapped(f"{words(gap.since)}, {_count(gap.minutes, 'minute')}: {known}")


def _rest(count: int) -> list[str]:
    return [f"  and {count - _SHOWN:,} more"] if count > _SHOWN else []


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(clean(text), _WIDTH, initial_indent="  ", subsequent_indent="    ")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
