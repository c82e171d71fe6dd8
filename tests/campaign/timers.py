"""The units under a real systemd, as docs/installation.md starts them.

`python -m tests.campaign.timers` lets the timer record three minutes, two without the exchange and one more, and stops
the embedded server. It ends with a summary in figures, and exits with 0 if all of it was as it must be, with 1 if not,
naming what was not, and with 77 where it cannot run.
"""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import psycopg

from hlctl import sim
from tests.campaign.machine import CANNOT_RUN, Machine, UnavailableError, booted_with_systemd, until
from tests.campaign.receiver import Posted, listening

STATUSES = ["success"] * 3 + ["failed"] * 2 + ["success"]
_TIMERS = tuple(f"hlctl-{name}.timer" for name in ("snapshot", "refresh-universe", "verify"))
_SERVER = "hlctl-postgres.service"


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was in the end."""

    statuses: list[str]  # of the minutes, oldest first
    minutes: list[datetime]
    told: list[Posted]
    server: str  # how the embedded server's unit ended
    versions: str

    @property
    def failures(self) -> list[Posted]:
        """Return what was told of failures."""
        return [posted for posted in self.told if "failed" in posted.body]

    @property
    def recoveries(self) -> list[Posted]:
        """Return the rest of what was told."""
        return [posted for posted in self.told if posted not in self.failures]


def broken(seen: Seen) -> Iterator[str]:
    """Say what was not as it must be."""
    if seen.statuses != STATUSES:
        yield f"the minutes are {', '.join(seen.statuses)}, not {', '.join(STATUSES)}"
    if any((later - earlier).total_seconds() != 60 for earlier, later in pairwise(seen.minutes)):
        yield "a minute is missing"
    if [posted.minute for posted in seen.failures] != seen.minutes[3:4]:
        yield f"failures are told {len(seen.failures)} times, not once, in the first minute that failed"
    if [posted.minute for posted in seen.recoveries] != seen.minutes[5:6]:
        yield f"recoveries are told {len(seen.recoveries)} times, not once, in the first good minute"
    if seen.server != "inactive success 0":
        yield f"the server's unit ends as {seen.server}"


def summary(seen: Seen) -> Iterator[str]:
    """Say it in figures."""
    yield f"versions {seen.versions}"
    yield f"minutes  {len(seen.minutes)} from {seen.minutes[0]:%Y-%m-%d %H:%M} UTC: {', '.join(seen.statuses)}"
    yield f"told     {len(seen.failures)} of failures, {len(seen.recoveries)} of recoveries"
    yield f"server   {seen.server}"


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)  # noqa: T201 - a script that prints


def _show(machine: Machine, unit: str, *properties: str) -> str:
    shown = dict(line.split("=", 1) for line in machine.run("systemctl", "show", unit).stdout.splitlines())
    return " ".join(shown[name] for name in properties)


def _recorded(database: str) -> list[tuple[datetime, str]]:
    """Return the record's minutes and their statuses; none before there is a schema."""
    try:
        with closing(psycopg.connect(database, connect_timeout=5)) as conn:
            return conn.execute("SELECT snapshot_ts, status FROM ingest_runs ORDER BY snapshot_ts").fetchall()
    except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
        return []


def _pass_minutes(machine: Machine, database: str, wanted: int) -> None:
    """Wait until so many minutes are recorded in all, and the unit has ended."""
    until(lambda: len(_recorded(database)) >= wanted, seconds=60.0 * (wanted + 2))
    until(lambda: _show(machine, "hlctl-snapshot.service", "ActiveState") in {"inactive", "failed"}, seconds=60)
    _say(f"{wanted} minutes: {', '.join(status for _, status in _recorded(database))}")


def run() -> bool:
    """Carry it out and print it; tell whether all was as it must be. Raises UnavailableError."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="hlctl-machine-")))
        machine = opened.enter_context(booted_with_systemd(folder))
        url, told = opened.enter_context(listening())
        exchange = sim.serve(sim.World.generate(seed=3, rows=400))
        exchange.leaderboard()  # made now, so that the first request is not slower than the others
        is_up = opened.enter_context(ExitStack())
        is_up.enter_context(exchange)
        machine.configure(HLCTL_API_URL=exchange.url, HLCTL_LEADERBOARD_URL=exchange.leaderboard_url)
        machine.path(Path("/etc/hlctl/notify.curl")).write_text(f'url = "{url}/hook"\n')
        machine.run("systemctl", "enable", "--now", _SERVER).check_returncode()
        until(lambda: machine.hlctl("db", "url").returncode == 0)
        database = machine.database()
        machine.run("systemctl", "enable", "--now", *_TIMERS).check_returncode()
        _say("the timers have begun")
        _pass_minutes(machine, database, 3)
        is_up.close()
        _say("the exchange is away")
        _pass_minutes(machine, database, 5)
        is_up.enter_context(exchange)
        _say("the exchange is back")
        _pass_minutes(machine, database, 6)
        machine.run("systemctl", "stop", *_TIMERS).check_returncode()
        minutes = _recorded(database)
        machine.run("systemctl", "stop", _SERVER).check_returncode()
        journal = machine.run("journalctl", "--no-pager", "--identifier=hlctl").stdout.splitlines()
        systemd, _features = machine.run("systemctl", "--version").stdout.splitlines()
        seen = Seen(
            [status for _, status in minutes],
            [minute.astimezone(UTC) for minute, _ in minutes],
            told,
            _show(machine, _SERVER, "ActiveState", "Result", "ExecMainStatus"),
            f"{machine.hlctl('--version').stdout.strip()}, {systemd}",
        )
    print(*(line for line in journal if "]: hlctl " in line), sep="\n")  # noqa: T201 - PostgreSQL says more
    for posted in told:
        _say(f"told at {posted.at:%H:%M:%S}: {posted.body}")
    complaints = [*broken(seen)]
    verdict = [f"broken   {complaint}" for complaint in complaints] or ["kept     all of it"]
    print(*summary(seen), *verdict, sep="\n", flush=True)  # noqa: T201
    return not complaints


def main() -> None:
    """Run it; there is nothing to choose."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on the way out everything is put away
    try:
        is_kept = run()
    except UnavailableError as exc:
        print(f"cannot run here: {exc}")  # noqa: T201
        sys.exit(CANNOT_RUN)
    sys.exit(not is_kept)


if __name__ == "__main__":
    main()
