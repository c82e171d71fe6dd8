"""The registry of checks, its page, its queries, and the screen of `verify`."""

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hlctl import db
from hlctl.answers import VerifyResult
from hlctl.audit import CHECKS
from hlctl.errors import ExitCode
from hlctl.facts import Checked, Clip, Gap, Tally, Violation
from hlctl.render import text
from hlctl.render.audit import REASONS

PAGE = (Path(__file__).parents[2] / "docs" / "semantics.md").read_text().partition("`hlctl verify` checks")[2]
QUERIES = db.sql_root() / "queries"
M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
GOOD = VerifyResult(
    since=M,
    until=M + timedelta(minutes=1),
    minutes=1,
    is_minute=True,
    clipped=(),
    runs=Tally(recorded=1, success=1, partial=0, failed=0, pruned=0, without_fingerprint=0),
    checks=[Checked(id=check.id, sentence=check.sentence, violations=0, examples=[]) for check in CHECKS],
    gap_count=0,
    gap_minutes=0,
    gaps=(),
    seconds=0.1,
)
VIOLATION = Violation(
    snapshot_ts=M, wallet_id=7, asset="HYPE", found="fingerprint " + "1" * 20 + ", " + "2" * 20 + " by the cells",
    address=f"0x{7:040x}",
)  # fmt: skip


def test_the_page_has_every_check_and_no_other() -> None:
    """With the sentence the command prints."""
    assert re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE) == [
        (check.id, check.sentence) for check in CHECKS
    ]


def test_every_check_has_its_query_and_every_query_its_check() -> None:
    """A query nobody asks finds nothing."""
    assert {file.stem for file in QUERIES.glob("check_*.sql")} == {f"check_{check.id}" for check in CHECKS}
    for check in CHECKS:
        assert db.query(f"check_{check.id}").decode().startswith(f"-- {check.sentence}\n"), check.id


def shown(result: VerifyResult) -> list[str]:
    """Return the screen, which never is wider than 80 columns."""
    stream = io.StringIO()
    text.show(result, stream)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    return lines


def test_a_good_minute_is_a_verdict_and_a_table() -> None:
    """Every check is named: who reads it knows what was looked at."""
    lines = shown(GOOD)
    assert lines[:3] == [
        "verdict   every check holds",
        "minutes   2026-01-06 20:44 UTC",
        "recorded  1 success, 0 partial, 0 failed, 0 not at all",
    ]
    assert [line.split()[0] for line in lines[5:]] == [check.id for check in CHECKS]
    assert {line.split()[-1] for line in lines[5:]} == {"0"}
    assert GOOD.exit_code is ExitCode.OK


def test_everything_bad_at_once_fits_80_columns() -> None:
    """Figures as large as they come, ten of each kind and how many more."""
    gap = Gap(since=M, minutes=1, known=[])
    told = replace(gap, minutes=120_000, known=["the next run: " + "word " * 60 + "\x1b[31m", "hlctl 1 before"])
    bad = replace(
        GOOD,
        until=M + timedelta(days=900),
        minutes=900 * 1440,
        is_minute=False,
        clipped=[Clip(bound=bound, asked=M, reason=reason) for reason in REASONS for bound in ("since", "until")],
        runs=Tally(
            recorded=999_999, success=999_999, partial=999_999, failed=999_999, pruned=999_999, without_fingerprint=9
        ),
        checks=[replace(check, violations=3_456_789, examples=[VIOLATION] * 20) for check in GOOD.checks],
        gap_count=150,
        gap_minutes=1_000_000,
        gaps=[told] * 11 + [gap] * 89,
    )
    lines = shown(bad)
    assert lines[0] == f"verdict   {len(CHECKS)} of {len(CHECKS)} checks are violated; 150 gaps"
    assert "  and 3,456,779 more" in lines
    assert lines[-1] == "  and 140 more"
    assert lines.count(f"    0x{7:040x} HYPE") == 10 * len(CHECKS)
    assert not any("\x1b" in line for line in lines)
    assert bad.exit_code is ExitCode.FOUND


def test_a_violation_names_what_is_known_of_its_place() -> None:
    """A wallet without an address keeps its number, and the database as it is has no minute."""
    examples = [
        replace(VIOLATION, found="x"),
        replace(VIOLATION, found="x", address=None, asset=None),
        replace(VIOLATION, found="x", address=None, asset=None, wallet_id=None),
        replace(VIOLATION, found="x", address=None, asset=None, snapshot_ts=None),
    ]
    lines = shown(replace(GOOD, checks=[replace(GOOD.checks[0], violations=4, examples=examples)]))
    assert lines[lines.index("rows: 4 found") + 1 :] == [
        "  2026-01-06 20:44 UTC: x",
        f"    0x{7:040x} HYPE",
        "  2026-01-06 20:44 UTC: x",
        "    wallet 7",
        "  2026-01-06 20:44 UTC: x",
        "  x",
        "    wallet 7",
    ]


def test_a_gap_is_an_exit_code_only_where_its_minute_was_asked_for() -> None:
    """A range says how much is missing; that is no untruth."""
    gap = Gap(since=M, minutes=1, known=[])
    alone = replace(GOOD, gap_count=1, gap_minutes=1, gaps=[gap])
    assert alone.exit_code is ExitCode.FOUND
    assert shown(alone)[0] == "verdict   every check holds; the minute was not recorded"
    assert shown(alone)[-1] == "  2026-01-06 20:44 UTC, 1 minute: nothing is known of the cause"
    assert replace(alone, is_minute=False).exit_code is ExitCode.OK
