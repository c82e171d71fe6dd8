"""The campaigns' judge: half an hour is too long to find out that it would have let anything pass."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.campaign import timers
from tests.campaign.half_hour import MINUTE, Plan, Seen, broken, summary
from tests.campaign.machine import Mail
from tests.campaign.receiver import Posted

FIRST = datetime(2026, 1, 6, 20, 1, tzinfo=UTC)
EXCHANGE = Plan(FIRST, 8, "exchange", 2)
DATABASE = Plan(FIRST, 8, "database", 2)
QUIET = Plan(FIRST, 8, "none", 0)


def minute(number: int) -> datetime:
    """Return the minute with that number, from 0."""
    return FIRST + number * MINUTE


def mail(number: int, command: str = "snapshot") -> Mail:
    """Return what cron sends within a minute."""
    return Mail(minute(number) + timedelta(seconds=3), f"Cron <hlctl@host> hlctl --quiet {command}", "words")


def verified(*, gaps: int = 0, violations: int = 0) -> dict[str, Any]:
    """Return the parts of verify's document that are looked at."""
    result = {"gap_minutes": gaps, "checks": [{"violations": violations}]}
    return {"exit_code": int(bool(violations)), "result": result}


def kept(plan: Plan) -> Seen:
    """Return what is seen if the contract is kept: minutes 3 and 4 are the outage's."""
    recorded: dict[datetime, tuple[str, dict[str, int]]] = {
        at: ("success", {}) for at in plan.all if at not in plan.out
    }
    if plan.outage == "exchange":
        recorded |= dict.fromkeys(plan.out, ("failed", {"connect": 200}))
    return Seen(
        recorded=recorded,
        verified=verified(gaps=2 if plan.outage == "database" else 0),
        mails=[mail(3), mail(5)] if plan.out else [],
        pings=[(at, 4 if at in plan.out else 0) for at in plan.all],
    )


@pytest.mark.parametrize("plan", [EXCHANGE, DATABASE, QUIET], ids=lambda plan: plan.outage)
def test_a_contract_that_is_kept_is_not_complained_of(plan: Plan) -> None:
    """Otherwise every campaign would fail."""
    assert plan.out == ([minute(3), minute(4)] if plan.out else [])
    assert broken(plan, kept(plan)) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"recorded": {}}, "20:01 is not recorded, not success"),
        ({"recorded": dict.fromkeys(EXCHANGE.all, ("success", {}))}, "20:04 is success, not failed"),
        ({"recorded": dict.fromkeys(EXCHANGE.all, ("failed", {}))}, "20:01 failed for no reason"),
        ({"verified": verified(violations=1)}, "verify finds 1 violations, and 0 minutes in gaps instead of 0"),
        ({"verified": verified(gaps=1)}, "verify finds 0 violations, and 1 minutes in gaps instead of 0"),
        ({"verified": verified(violations=1)}, "verify exits with 1"),
        ({"mails": []}, "cron mails of snapshots at no time, not at 20:04, 20:06"),
        ({"mails": [mail(3), mail(4), mail(5)]}, "cron mails of snapshots at 20:04, 20:05, 20:06, not at 20:04, 20:06"),
        (
            {"mails": [mail(3), mail(5), mail(6, "verify")]},
            "cron mails at 20:07: Cron <hlctl@host> hlctl --quiet verify",
        ),
        ({"pings": None}, "HLCTL_PING_URL is no setting of this hlctl: nobody is pinged"),
        ({"pings": [(minute(0), 0)]}, "1 pings, not one a minute"),
        ({"pings": [(at, 0) for at in EXCHANGE.all]}, "the pings change at no time, not at 20:04, 20:06"),
    ],
)
def test_whatever_is_not_kept_is_named(change: dict[str, Any], complaint: str) -> None:
    """A judge that overlooks it would make the campaign's half hour worthless."""
    assert complaint in broken(EXCHANGE, replace(kept(EXCHANGE), **change))


def test_without_the_database_the_hourly_jobs_may_say_so_at_their_minutes() -> None:
    """They have faults of their own, and only then."""
    at_seven = replace(kept(DATABASE), mails=[mail(3), mail(5), mail(6, "verify")])
    at_eight = replace(kept(DATABASE), mails=[mail(3), mail(5), mail(7, "verify")])
    assert broken(DATABASE, at_seven) == []
    assert broken(DATABASE, at_eight) == ["cron mails at 20:08: Cron <hlctl@host> hlctl --quiet verify"]


def test_the_summary_says_it_in_figures() -> None:
    """It goes into docs/reliability.md as it is."""
    assert [*summary(EXCHANGE, kept(EXCHANGE), "versions hlctl 1")] == [
        "versions hlctl 1",
        "when     2026-01-06 20:01 to 20:09 UTC, exchange away in 2 minutes from 20:04",
        "minutes  8 of 8 recorded: 6 success, 2 failed; missing: 400 connect",
        "verify   exit 0, 1 checks, 0 violations, 0 minutes in gaps",
        "mails    2 of snapshots",
        "pings    8: 6 well, 2 ill; down at 20:04, up at 20:06",
    ]


FAILURE = Posted(minute(3) + timedelta(seconds=4), "/hook", "hlctl on host: hlctl-snapshot.service failed")
RECOVERY = Posted(minute(5) + timedelta(seconds=4), "/hook", "hlctl on host: hlctl-snapshot.service is well again")
BY_TIMER = timers.Seen(
    statuses=timers.STATUSES,
    minutes=[minute(number) for number in range(6)],
    told=[FAILURE, RECOVERY],
    server="inactive success 0",
    versions="systemd 252",
)


def test_units_that_do_as_they_must_are_not_complained_of() -> None:
    """Otherwise every campaign would fail."""
    assert [*timers.broken(BY_TIMER)] == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"statuses": ["success"] * 6}, "the minutes are success, success, success, success, success, success, not "),
        ({"minutes": [minute(number) for number in (-1, 1, 2, 3, 4, 5)]}, "a minute is missing"),
        ({"told": [RECOVERY]}, "failures are told 0 times, not once, in the first minute that failed"),
        (
            {"told": [FAILURE, FAILURE, RECOVERY]},
            "failures are told 2 times, not once, in the first minute that failed",
        ),
        ({"told": [FAILURE]}, "recoveries are told 0 times, not once, in the first good minute"),
        ({"told": [FAILURE, RECOVERY, RECOVERY]}, "recoveries are told 2 times, not once, in the first good minute"),
        ({"server": "failed exit-code 1"}, "the server's unit ends as failed exit-code 1"),
    ],
)
def test_whatever_the_units_do_wrong_is_named(change: dict[str, Any], complaint: str) -> None:
    """As above."""
    (found,) = timers.broken(replace(BY_TIMER, **change))
    assert found.startswith(complaint)
