"""Half an hour under a real cron with an outage in the middle: what is recorded, and who is told what.

`python -m tests.campaign.half_hour` prints what happens, and ends with a summary in figures. It exits with 0 if the
contract was kept, with 1 if not, naming what was not, and with 77 where it cannot run.
"""

import argparse
import json
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import psycopg

from hlctl import sim
from tests.campaign.machine import CANNOT_RUN, Machine, Mail, UnavailableError, booted
from tests.campaign.receiver import Posted, listening

MINUTE = timedelta(minutes=1)
SERVER = "/srv/hlctl"
"""Where the database lives that can be taken away: a command would start its own embedded one again."""

_HOURLY = (7, 17)  # minutes at which the crontab has more to do
_NO_BEGINNING = (6, 7, 17)  # first minutes in which that would find no final minute, no database, or one being made
_RUN_IS_OVER = (
    45.0  # second of a minute at which a run without a database has given up, and none begins for this minute
)
_MINUTE_IS_OVER = 58.0  # second at which no run is left
_GOOD = ("success", "partial")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which minutes, and which of them without the exchange or the database."""

    first: datetime
    minutes: int
    outage: str  # exchange, database or none
    outage_minutes: int

    @property
    def all(self) -> list[datetime]:
        """Return every minute."""
        return [self.first + number * MINUTE for number in range(self.minutes)]

    @property
    def out(self) -> list[datetime]:
        """Return the minutes of the outage, which are those in the middle."""
        begin = (self.minutes - self.outage_minutes) // 2
        return self.all[begin : begin + self.outage_minutes] if self.outage != "none" else []

    @property
    def told(self) -> list[datetime]:
        """Return the minutes in which somebody is told: the outage's first, and the first good one after it."""
        return [self.out[0], self.out[-1] + MINUTE] if self.out else []


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was in the end."""

    recorded: dict[datetime, tuple[str, dict[str, int]]]  # status, and the reason of each wallet that is missing
    verified: dict[str, Any]  # the document of `hlctl verify --json`
    mails: list[Mail]
    pings: list[tuple[datetime, int]] | None  # minute and exit code; None: this hlctl sends none

    @property
    def violations(self) -> int:
        """Return how many violations were found by all checks."""
        return sum(check["violations"] for check in self.verified["result"]["checks"])

    @property
    def gaps(self) -> int:
        """Return how many minutes are in gaps."""
        return int(self.verified["result"]["gap_minutes"])

    @property
    def changes(self) -> list[tuple[datetime, bool]]:
        """Return when the pings went from well to ill or back, and whether it is well since."""
        pings = [(at, code == 0) for at, code in self.pings or ()]
        return [now for before, now in pairwise(pings) if before[1] != now[1]]


def broken(plan: Plan, seen: Seen) -> list[str]:
    """Say what of the contract was not kept."""
    return [*chain(_of_record(plan, seen), _of_mails(plan, seen), _of_pings(plan, seen))]


def _of_record(plan: Plan, seen: Seen) -> Iterator[str]:
    for minute in plan.all:
        status, missing = seen.recorded.get(minute, ("not recorded", {}))
        wanted = _GOOD if minute not in plan.out else ("failed",) if plan.outage == "exchange" else ("not recorded",)
        if status not in wanted:
            yield f"{minute:%H:%M} is {status}, not {wanted[0]}"
        if status == "failed" and not missing:
            yield f"{minute:%H:%M} failed for no reason"
    gaps = len(plan.out) if plan.outage == "database" else 0
    if seen.verified["exit_code"] != 0:  # a gap is no untruth
        yield f"verify exits with {seen.verified['exit_code']}"
    if seen.violations or seen.gaps != gaps:
        yield f"verify finds {seen.violations} violations, and {seen.gaps} minutes in gaps instead of {gaps}"


def _of_mails(plan: Plan, seen: Seen) -> Iterator[str]:
    mails = [_minute(mail.at) for mail in seen.mails if mail.is_of_snapshot]
    if mails != plan.told:
        yield f"cron mails of snapshots at {_times(mails)}, not at {_times(plan.told)}"
    for mail in seen.mails:
        is_hourly = plan.outage == "database" and mail.at.minute in _HOURLY  # these need the database too
        if not mail.is_of_snapshot and not is_hourly:
            yield f"cron mails at {mail.at:%H:%M}: {mail.subject}"


def _of_pings(plan: Plan, seen: Seen) -> Iterator[str]:
    if seen.pings is None:
        if plan.out:
            yield "HLCTL_PING_URL is no setting of this hlctl: nobody is pinged"
        return
    if [at for at, _ in seen.pings] != plan.all:
        yield f"{len(seen.pings)} pings, not one a minute"
    if seen.changes != [*zip(plan.told, (False, True), strict=False)]:
        yield f"the pings change at {_times([at for at, _ in seen.changes])}, not at {_times(plan.told)}"


def summary(plan: Plan, seen: Seen, versions: str) -> Iterator[str]:
    """Say it in figures."""
    statuses = Counter(status for status, _ in seen.recorded.values())
    reasons = sum((Counter(missing) for _, missing in seen.recorded.values()), Counter[str]())
    yield versions
    out = f", {plan.outage} away in {len(plan.out)} minutes from {plan.out[0]:%H:%M}" if plan.out else ", no outage"
    yield f"when     {plan.first:%Y-%m-%d %H:%M} to {plan.all[-1] + MINUTE:%H:%M} UTC{out}"
    yield f"minutes  {len(seen.recorded)} of {plan.minutes} recorded: {_counts(statuses)}; missing: {_counts(reasons)}"
    checks = len(seen.verified["result"]["checks"])
    audit = f"{checks} checks, {seen.violations} violations, {seen.gaps} minutes in gaps"
    yield f"verify   exit {seen.verified['exit_code']}, {audit}"
    mails = Counter("of snapshots" if mail.is_of_snapshot else "of others" for mail in seen.mails)
    yield f"mails    {_counts(mails)}"
    pings = Counter("well" if code == 0 else "ill" for _, code in seen.pings or ())
    changes = ", ".join(f"{'up' if well else 'down'} at {at:%H:%M}" for at, well in seen.changes)
    yield f"pings    {len(seen.pings or ())}: {_counts(pings)}; {changes or 'no change'}"


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.most_common()) or "none"


def _times(minutes: list[datetime]) -> str:
    return ", ".join(f"{minute:%H:%M}" for minute in minutes) or "no time"


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _now() -> datetime:
    return datetime.now(UTC)


def _ping(posted: Posted) -> tuple[datetime, int]:
    """Return the minute and the exit code that a ping tells of."""
    return posted.minute, int(posted.path.rpartition("/")[2])


def _say(text: str) -> None:
    print(f"{_now():%H:%M:%S} {text}", flush=True)  # noqa: T201 - a script that prints


def _until(is_so: Callable[[], bool], *, end: datetime) -> None:
    """Wait until something is so, but not beyond a time."""
    while not is_so() and _now() < end:
        time.sleep(0.2)


@dataclass(slots=True)
class Campaign:
    """A machine with the exchange it asks, and where its record is."""

    machine: Machine
    exchange: sim.Exchange
    outage: str
    database: str = ""
    exchange_is_up: ExitStack = field(default_factory=ExitStack)

    def set_up(self, ping_url: str) -> bool:
        """Do what the installation page says; tell whether this hlctl pings."""
        settings = {"HLCTL_API_URL": self.exchange.url, "HLCTL_LEADERBOARD_URL": self.exchange.leaderboard_url}
        known = json.loads(self.machine.hlctl("config", "show", "--json").stdout)["result"]["settings"]
        if pings := any(setting["name"] == "HLCTL_PING_URL" for setting in known):
            settings["HLCTL_PING_URL"] = ping_url
        self.database = self.machine.database()
        if self.outage == "database":
            self.machine.run("install", "-d", "-m", "700", "-o", "hlctl", "-g", "hlctl", SERVER).check_returncode()
            self.serve("start")
            settings["HLCTL_DATABASE_URL"] = self.serve("url").strip()
            self.database = self.machine.seen_from_here(settings["HLCTL_DATABASE_URL"])
        self.machine.configure(**settings)
        if self.outage == "database":
            for command in ("init-db", "refresh-universe"):
                self.machine.hlctl(command).check_returncode()
        return pings

    def serve(self, verb: str) -> str:
        """Start or stop the database that can be taken away, or print its URL."""
        done = self.machine.run("/opt/hlctl/bin/hlctl", "db", verb, user="hlctl", HLCTL_DATA_DIR=SERVER)
        done.check_returncode()
        return done.stdout

    def begin_outage(self) -> None:
        """Take the exchange or the database away."""
        if self.outage == "exchange":
            self.exchange_is_up.close()
        else:
            self.serve("stop")
        _say(f"the {self.outage} is away")

    def end_outage(self) -> None:
        """Bring it back."""
        if self.outage == "exchange":
            self.exchange_is_up.enter_context(self.exchange)
        else:
            self.serve("start")
        _say(f"the {self.outage} is back")

    def ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run SQL on the record; the database may be away, or not made yet: then there are no rows."""
        try:
            with closing(psycopg.connect(self.database, autocommit=True, connect_timeout=5)) as conn:
                cursor = conn.execute(statement.encode(), values)
                return cursor.fetchall() if cursor.description else []
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
            return []

    def is_recorded(self, minute: datetime) -> bool:
        """Tell whether a minute has its row."""
        return bool(self.ask("SELECT 1 FROM ingest_runs WHERE snapshot_ts = %s", minute))

    def pass_minutes(self, plan: Plan) -> None:
        """Let the minutes pass, the outage among them; it begins and ends when the run of the minute before is over."""
        for minute in plan.all:
            if plan.out and minute == plan.out[0]:
                self.begin_outage()
            if plan.out and minute == plan.out[-1] + MINUTE:
                self.end_outage()
            if _now() > minute and minute != plan.first:
                raise RuntimeError(
                    f"it was {_now():%H:%M:%S} when {minute:%H:%M} was prepared: this machine is too slow"
                )
            is_away = self.outage == "database" and minute in plan.out
            end = minute + timedelta(seconds=_RUN_IS_OVER if is_away else _MINUTE_IS_OVER)
            _until(lambda: self.is_recorded(minute), end=end)  # noqa: B023 - called before the next minute
            _say(f"{minute:%H:%M} {self.status(minute)}")

    def status(self, minute: datetime) -> str:
        """Return what became of a minute."""
        rows = self.ask("SELECT status, wallets_succeeded FROM ingest_runs WHERE snapshot_ts = %s", minute)
        return f"{rows[0][0]}, {rows[0][1]} wallets" if rows else "not recorded"

    def verify(self, plan: Plan) -> dict[str, Any]:
        """Let the record's clock go on until every minute is final, and have it audited."""
        clock = "CREATE OR REPLACE FUNCTION hlctl_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
        self.ask(clock + "$$SELECT pg_catalog.clock_timestamp() + interval '3 min'$$")
        span = ("--from", f"{plan.first:%Y-%m-%dT%H:%MZ}", "--to", f"{plan.all[-1] + MINUTE:%Y-%m-%dT%H:%MZ}")
        document: dict[str, Any] = json.loads(self.machine.hlctl("verify", *span, "--json").stdout)
        if document["result"] is None:
            raise RuntimeError(f"verify: {document['error']['message']}")
        return document

    def versions(self) -> str:
        """Return what ran."""
        hlctl = json.loads(self.machine.hlctl("version", "--json").stdout)["result"]
        cron = subprocess.run(["dpkg-query", "-W", "-f=${Version}", "cron"], capture_output=True, text=True, check=True)
        ((server,),) = self.ask("SHOW server_version")
        return (
            f"versions hlctl {hlctl['hlctl']}, Python {hlctl['python']}, PostgreSQL {server}, cron {cron.stdout}, "
            f"{platform.system()} {platform.release()}"
        )


def start(machine: Machine) -> datetime:
    """Start cron well before a minute and return that minute: the first one, which makes the database."""
    while _now().second >= 50 or (_now() + MINUTE).minute in _NO_BEGINNING:
        time.sleep(0.2)
    first = _minute(_now()) + MINUTE
    machine.start_cron()
    _say(f"cron has begun; the first minute is {first:%H:%M}")
    return first


def run(minutes: int, outage: str, outage_minutes: int) -> bool:
    """Carry it out and print it; tell whether the contract was kept. Raises UnavailableError."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="hlctl-machine-")))
        machine = opened.enter_context(booted(folder))
        url, posted = opened.enter_context(listening())
        campaign = Campaign(machine, sim.serve(sim.World.generate(seed=3, rows=400)), outage)
        with campaign.exchange_is_up:
            campaign.exchange.leaderboard()  # made now, so that the first request is not slower than the others
            campaign.exchange_is_up.enter_context(campaign.exchange)
            does_ping = campaign.set_up(f"{url}/ping")
            plan = Plan(start(machine), minutes, outage, outage_minutes)
            campaign.pass_minutes(plan)
            machine.stop_cron()
            rows = campaign.ask("SELECT snapshot_ts, status, missing FROM ingest_runs")
            seen = Seen(
                {minute.astimezone(UTC): (status, missing) for minute, status, missing in rows},
                campaign.verify(plan),
                machine.mails(),
                [_ping(post) for post in posted] if does_ping else None,
            )
            versions = campaign.versions()
    for mail in seen.mails:
        _say(f"mail of {mail.at:%H:%M:%S}: {mail.subject}\n{mail.body.rstrip()}")
    complaints = broken(plan, seen)
    verdict = [f"broken   {complaint}" for complaint in complaints] or ["kept     all of it"]
    print(*summary(plan, seen, versions), *verdict, sep="\n", flush=True)  # noqa: T201
    return not complaints


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=30, help="minutes in all (30)")
    parser.add_argument("--outage", choices=("exchange", "database", "none"), default="exchange")
    parser.add_argument("--outage-minutes", type=int, default=5, help="minutes of them without it (5)")
    given = parser.parse_args()
    if given.outage != "none" and not 0 < given.outage_minutes <= given.minutes - 2:
        parser.error("an outage needs a good minute before it and one after")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on the way out everything is put away
    try:
        is_kept = run(given.minutes, given.outage, given.outage_minutes)
    except UnavailableError as exc:
        print(f"cannot run here: {exc}")  # noqa: T201
        sys.exit(CANNOT_RUN)
    sys.exit(not is_kept)


if __name__ == "__main__":
    main()
