"""crontab.example as it is, under Debian's own cron, on a machine of the test's own (tests/campaign)."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.machine import CANNOT_RUN, CRONTAB, Machine, UnavailableError, booted

ENVIRONMENT = dict(re.findall(r"^(\w+)=(.*)$", CRONTAB.read_text(), re.MULTILINE))
LINES = re.findall(r"^(?:# )?(?:[\d*]+ +){5}hlctl +(.*)$", CRONTAB.read_text(), re.MULTILINE)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Return a machine on which cron does not run."""
    try:
        with booted(tmp_path) as machine:
            yield machine
    except UnavailableError as exc:
        pytest.skip(str(exc))


@pytest.mark.timeout(520)
def test_three_minutes_under_cron_are_recorded_and_nobody_is_mailed(under_cron: subprocess.Popen[str]) -> None:
    """Cron mails whatever is printed: a good run that says a word is 1,440 mails a day."""
    told, _ = under_cron.communicate(timeout=480)
    if under_cron.returncode == CANNOT_RUN:
        pytest.skip(told.strip())
    assert under_cron.returncode == 0, told
    assert "minutes  3 of 3 recorded: 3 success; missing: none\n" in told
    assert "checks, 0 violations, 0 minutes in gaps\nmails    none\n" in told


@pytest.mark.parametrize(("timers_run", "ended"), [(True, (0, "")), (False, (127, "hlctl: not found\n"))])
def test_a_line_does_nothing_where_its_timer_runs(
    machine: Machine, *, timers_run: bool, ended: tuple[int, str]
) -> None:
    """Both may be installed. There is no hlctl on this machine, so a line that starts it fails."""
    machine.path(Path("/opt/hlctl")).unlink()
    systemctl = machine.path(Path("/usr/bin/systemctl"))
    systemctl.unlink(missing_ok=True)
    systemctl.write_text(f"#!/bin/sh\necho $* >>/tmp/asked\nexit {0 if timers_run else 3}\n")
    systemctl.chmod(0o755)
    assert len(LINES) == 4
    for line in LINES:
        ran = machine.run("/bin/sh", "-c", line, user="hlctl", **ENVIRONMENT)
        assert (ran.returncode, ran.stdout) == (ended[0], "")
        assert ran.stderr.endswith(ended[1])
        assert bool(ran.stderr) != timers_run
    asked = machine.path(Path("/tmp/asked")).read_text().splitlines()  # noqa: S108 - the machine's own
    assert asked == [f"is-active -q hlctl-{name}.timer" for name in ("snapshot", "refresh-universe", "verify", "prune")]
