"""What is seen of a machine: here one laid out in a folder."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from hlctl import machine
from hlctl.checks import Outcome
from hlctl.checks.machine import schedule

ROOT = Path(__file__).parents[2]
PLAIN = "* * * * * hlctl /opt/hlctl/bin/hlctl --quiet {}\n"
YIELDING = "* * * * * hlctl systemctl is-active -q hlctl-{0}.timer || /opt/hlctl/bin/hlctl --quiet {0}\n"


def systemd(state: str, *, crontab: str = "") -> machine.Ask:
    """Return a machine whose timers are all in a state, and whose user has a crontab."""

    def ask(argv: Sequence[str]) -> str:
        if argv[0] == "crontab":
            return crontab
        assert argv[0] == "systemctl"
        return "".join(f"{state}\n" for _ in argv[3:]) if argv[1] == "--system" else "inactive\ninactive\n"

    return ask


def cron_d(root: Path, line: str, name: str = "hlctl") -> None:
    folder = root / "etc" / "cron.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("# comment\n" + line.format("snapshot") + line.format("refresh-universe"))


def test_both_schedules_are_seen(tmp_path: Path) -> None:
    """Each minute would be started twice."""
    cron_d(tmp_path, PLAIN)
    check = schedule(machine.schedules(tmp_path, systemd("active")))
    assert check.outcome is Outcome.WARNING
    assert "both start snapshot, refresh-universe" in check.finding


def test_a_crontab_that_yields_to_the_timers_is_no_second_schedule(tmp_path: Path) -> None:
    """Its lines ask systemd first."""
    cron_d(tmp_path, YIELDING)
    assert schedule(machine.schedules(tmp_path, systemd("active"))).outcome is Outcome.OK
    assert schedule(machine.schedules(tmp_path, systemd("inactive"))).finding.startswith("cron start")


@pytest.mark.parametrize("where", ["etc/crontab", "var/spool/cron/crontabs/ann", "var/spool/cron/ann", "crontab -l"])
def test_a_crontab_is_found_wherever_it_is(tmp_path: Path, where: str) -> None:
    """Debian's place, Red Hat's, and what a user is told of its own."""
    text = PLAIN.format("snapshot") + PLAIN.format("refresh-universe --if-due")
    if where != "crontab -l":
        file = tmp_path / where
        file.parent.mkdir(parents=True)
        file.write_text(text)
    ask = systemd("", crontab=text if where == "crontab -l" else "")
    assert set(machine.schedules(tmp_path, ask).cron) == {"snapshot", "refresh-universe"}


@pytest.mark.parametrize("name", ["hlctl.bak", ".hlctl"])
def test_what_cron_passes_over_is_no_schedule(tmp_path: Path, name: str) -> None:
    """A name with a dot, and a comment."""
    cron_d(tmp_path, PLAIN, name=name)
    (tmp_path / "etc" / "crontab").write_text("# " + PLAIN.format("snapshot"))
    assert set(machine.schedules(tmp_path, systemd("inactive")).cron) == set()


@pytest.mark.parametrize(
    "end", ["", " >>/var/log/h", ">>/var/log/h 2>&1", "; true", "|logger", "&& true", "&", ")", "<&-"]
)
def test_a_command_ends_where_the_shell_ends_it(tmp_path: Path, end: str) -> None:
    """Nobody need leave a blank before a redirection."""
    cron_d(tmp_path, f"* * * * * hlctl /usr/bin/hlctl --quiet {{}}{end}\n")
    assert set(machine.schedules(tmp_path, systemd("inactive")).cron) == {"snapshot", "refresh-universe"}


@pytest.mark.parametrize("end", ["-old", "s", "/x", ".sh"])
def test_another_word_is_no_command(tmp_path: Path, end: str) -> None:
    """It starts something else."""
    cron_d(tmp_path, f"* * * * * hlctl /usr/bin/hlctl {{}}{end}\n")
    assert set(machine.schedules(tmp_path, systemd("inactive")).cron) == set()


def test_the_crontab_that_is_shipped_is_understood(tmp_path: Path) -> None:
    """Both of its commands."""
    folder = tmp_path / "etc" / "cron.d"
    folder.mkdir(parents=True)
    (folder / "hlctl").write_text((ROOT / "crontab.example").read_text())
    assert set(machine.schedules(tmp_path, systemd("failed")).cron) == {"snapshot", "refresh-universe"}


def test_a_machine_without_either_has_no_schedule(tmp_path: Path) -> None:
    """A container, say."""
    assert schedule(machine.schedules(tmp_path, lambda _argv: "")).outcome is Outcome.WARNING


def test_a_program_that_is_not_there_or_hangs_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doctor goes on without."""
    monkeypatch.setattr(machine, "_LOOK_UP", 0.2)
    assert machine.ask(["/nonexistent/systemctl"]) == ""
    assert machine.ask(["sleep", "5"]) == ""
    assert machine.ask(["echo", "active"]) == "active\n"


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/hlctl-snapshot.service\n", "hlctl-snapshot.service"),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/hlctl-postgres.service\n",
            "hlctl-postgres.service",
        ),
        ("0::/user.slice/user-0.slice/session-3.scope\n", None),
        ("0::/\n", None),
    ],
)
def test_a_process_is_found_in_its_unit(tmp_path: Path, cgroup: str, unit: str | None) -> None:
    """The innermost one."""
    folder = tmp_path / "proc" / "17"
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(cgroup)
    assert machine.unit_of(17, tmp_path) == unit
    assert machine.unit_of(None, tmp_path) is None


def test_dead_servers_are_counted(tmp_path: Path) -> None:
    """Of this user, PostgreSQL's, and dead for longer than it takes a parent to wait for it."""
    for pid, words in {"1": "(postgres) Z", "2": "(postgres) S", "3": "(sh) Z", "4": "(postgres) Z"}.items():
        (tmp_path / "proc" / pid).mkdir(parents=True)
        (tmp_path / "proc" / pid / "stat").write_text(f"{pid} {words} 0 0")
    owner = tmp_path.owner()
    assert machine.dead_servers("nobody-else", tmp_path, sleep=lambda _: None) == 0
    assert machine.dead_servers(owner, tmp_path, sleep=lambda _: (tmp_path / "proc" / "4" / "stat").unlink()) == 1


def test_a_pipe_is_no_file_to_look_at(tmp_path: Path) -> None:
    """Nobody else can read it; and what is not there is nobody's."""
    reader, writer = os.pipe()
    assert machine.private_file(Path(f"/dev/fd/{reader}"), "settings file") is None
    os.close(reader)
    os.close(writer)
    assert machine.private_file(tmp_path / "none", "settings file") is None
    assert machine.free_bytes(tmp_path / "none") is None
    assert machine.free_bytes(tmp_path) is not None
