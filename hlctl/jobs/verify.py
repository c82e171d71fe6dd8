"""`verify`: was it recorded truthfully? Every check over the minutes asked for, on one snapshot of the database."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from hlctl import access, audit, db, migrate, moments
from hlctl.answers import VerifyResult
from hlctl.audit import CHECKS, Check
from hlctl.errors import ExitCode
from hlctl.facts import Checked, Violation
from hlctl.jobs.database import ANSWER, NO_ANSWER, answer_in_time, countdown, opened
from hlctl.model import MINUTE
from hlctl.moments import Range, Wanted
from hlctl.settings import Settings
from hlctl.watchdog import watchdog

Progress = Callable[[int, int], None]
"""Told how many questions are answered, and how many there are."""

_ANSWER_BY = 4.0  # seconds for a range's first answer, whatever it is that hangs: a resolver, many addresses
_LONGEST = 6 * 3600  # seconds: some years of minutes; each statement has its own bound
_PIECE = timedelta(hours=1)  # what one statement looks at, at most: never two days' partitions
_PIECE_CELLS = 100_000  # the same in cells: of 200 wallets an hour has 36,000, and takes some 40 ms
_EXAMPLES = 20  # violations kept of a check


def watch(asked: Wanted) -> None:
    """Let the process end if the first answer, or whatever comes before it, takes too long."""
    if asked.is_minute:
        answer_in_time()
    else:
        watchdog.end_in(_ANSWER_BY, ExitCode.DATABASE, NO_ANSWER)


def verify(settings: Settings, asked: Wanted, *, progress: Progress) -> VerifyResult:
    """Ask every check about the minutes asked for: a single one within seconds, a range as long as it takes.

    Raises MinuteRefusedError if there is nothing to be looked at: not final yet, before the record, pruned.
    """
    started = time.monotonic()
    with opened(settings, create=False, left=countdown(ANSWER)) as conn:
        result = _verify(conn, asked, progress)
        # Cells are dropped under a record that is still read as it was: they seem to have been taken away.
        if any(check.violations for check in result.checks) and _count_pruned(conn, result) > result.runs.pruned:
            result = _verify(conn, asked, progress)
    return replace(result, seconds=time.monotonic() - started)


def _count_pruned(conn: db.Connection, result: VerifyResult) -> int:
    with db.transaction(conn, read_only=True):
        return audit.count_runs(conn, result.since, result.until).pruned


def _verify(conn: db.Connection, asked: Wanted, progress: Progress) -> VerifyResult:
    with db.transaction(conn, read_only=True, transaction_timeout=_LONGEST):
        access.require(conn, "verify")
        migrate.require_current(conn)
        if not asked.is_minute:
            watchdog.call_off()  # it answers: from now on only silence ends the work
            conn.left = countdown(_LONGEST)
        span = _range(conn, asked)
        audit.distrust_constraints(conn)
        checks = _ask(conn, span, progress)
        gap_count, gap_minutes, gaps = audit.list_gaps(conn, span.since, span.until)
        return VerifyResult(
            since=span.since,
            until=span.until,
            minutes=span.minutes,
            is_minute=span.is_minute,
            clipped=span.clips,
            runs=audit.count_runs(conn, span.since, span.until),
            checks=_with_addresses(conn, checks),
            gap_count=gap_count,
            gap_minutes=gap_minutes,
            gaps=gaps,
            seconds=0.0,
        )


def _range(conn: db.Connection, asked: Wanted) -> Range:
    record = audit.read_record(conn)
    span = moments.bound(asked, at=record.at, final=record.final, first=record.first)
    pruned = audit.find_pruned(conn, span.since, span.until)
    return span.without_pruned(*pruned) if pruned else span


def _ask(conn: db.Connection, span: Range, progress: Progress) -> list[Checked]:
    """Ask piece by piece, so that what was read for one check is still at hand for the next."""
    found: dict[Check, tuple[int, list[Violation]]] = {check: (0, []) for check in CHECKS}
    of_minutes = [check for check in CHECKS if check.is_of_minutes]
    fit = _PIECE_CELLS // max(1, audit.largest_minute(conn, span.since, span.until))
    length = MINUTE * min(max(1, fit), _PIECE // MINUTE)
    questions = [(check, *piece) for piece in span.pieces(length) for check in of_minutes]
    questions += [(check, span.since, span.until) for check in CHECKS if not check.is_of_minutes]
    for answered, (check, since, until) in enumerate(questions, start=1):
        violations = audit.violations(conn, check, since, until)
        count, examples = found[check]
        found[check] = (count + len(violations), (examples + violations)[:_EXAMPLES])
        progress(answered, len(questions))
    return [
        Checked(id=check.id, sentence=check.sentence, violations=count, examples=examples)
        for check, (count, examples) in found.items()
    ]


def _with_addresses(conn: db.Connection, checks: Sequence[Checked]) -> list[Checked]:
    """Return the same with the address of every wallet that is shown."""
    shown = {v.wallet_id for check in checks for v in check.examples if v.wallet_id is not None}
    addresses = audit.list_addresses(conn, shown)
    return [
        replace(check, examples=[replace(v, address=addresses.get(v.wallet_id or 0)) for v in check.examples])
        for check in checks
    ]
