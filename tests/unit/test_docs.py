"""What an operator reads must be what the program does: README, unit files, crontab and gate fail when they drift."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from hlctl.cli import app
from hlctl.errors import ExitCode
from hlctl.render.status import REASONS, SUSPECTS
from hlctl.settings import KNOWN, SECRETS, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
UNITS = sorted(unit for unit in (ROOT / "systemd").iterdir() if unit.is_file())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
HOOKS = [unit for unit in SERVICES if "@" in unit.name]  # what systemd starts when another unit has ended
SANDBOX = ROOT / "systemd" / "hlctl-.service.d" / "sandbox.conf"  # systemd reads it for every hlctl-*.service
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
INSTALLATION = (ROOT / "docs" / "installation.md").read_text()


def commands() -> dict[str, set[str]]:
    """Return every command, sub-commands with a space, and its options."""
    found: dict[str, set[str]] = {}
    top = typer.main.get_group(app)
    for name, command in top.commands.items():
        for ending, leaf in {
            "": command,
            **{f" {sub}": c for sub, c in getattr(command, "commands", {}).items()},
        }.items():
            if not hasattr(leaf, "commands"):
                found[name + ending] = {option for parameter in leaf.params for option in parameter.opts}
    found[""] = {option for parameter in top.params for option in [*parameter.opts, *parameter.secondary_opts]}
    return found


def known_line(line: str) -> bool:
    """Tell whether a command line names an existing command with existing options."""
    words = re.sub(r"(--log-level) \w+", r"\1", line).split()[1:]
    before = [word for word in words if word.startswith("-")]
    names = [word for word in words if not word.startswith("-")]
    for length in (2, 1):
        name = " ".join(names[:length])
        if name in commands():
            return set(before) <= commands()[name] | commands()[""]
    return False


def prose(page: Path) -> str:
    """Return a page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the places of a page that a link can lead to."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings} | set(
        re.findall(r'<a id="([^"]+)">', prose(page))
    )


def test_the_readme_names_every_command() -> None:
    """A command nobody can find does not exist."""
    table = README.partition("## Commands")[2].partition("## Exit codes")[0]
    documented = set(re.findall(r"^\| `hlctl ([a-z-]+)`", table, re.MULTILINE))
    assert documented == {name for name in commands() if name and " " not in name}
    (servers,) = re.findall(r"^\| `hlctl db (\w+)`, (.*?) \|", table, re.MULTILINE)
    assert {servers[0], *re.findall(r"`(\w+)`", servers[1])} == {
        name.removeprefix("db ") for name in commands() if name.startswith("db ")
    }


def test_the_readme_names_every_exit_code() -> None:
    """Cron and systemd read nothing else."""
    table = README.partition("## Exit codes")[2].partition("## Configuration")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == {code.value for code in ExitCode}


def test_the_readme_names_every_setting_with_its_default() -> None:
    """And no other."""
    table = README.partition("## Configuration")[2].partition("## Where to read on")[0]
    documented = dict(re.findall(r"^\| `(HLCTL_\w+)` \| (.*?) \|", table, re.MULTILINE))
    defaults = {
        f"HLCTL_{name.upper()}": "unset" if field.default is None else f"`{field.default}`"
        for name, field in Settings.model_fields.items()
    }
    assert documented == defaults
    assert all(f"HLCTL_{secret.upper()}_FILE" in README for secret in SECRETS)


def test_the_page_on_scaling_names_every_file_of_the_engines_and_finds_them() -> None:
    """Its own blocks need an engine; what they name is held here, and tests/db/test_engines.py runs the files."""
    page = (ROOT / "docs" / "scaling.md").read_text()
    files = {file.name for file in (ROOT / "sql" / "engines").iterdir()}
    assert set(re.findall(r"^\| `(\w+\.sql)` \|", page, re.MULTILINE)) == files
    assert set(re.findall(r'"\$engines/(\w+\.sql)"', page)) <= files
    (program,) = re.findall(r"python -c '(.*?)'", page)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert Path(found.stdout.strip()).samefile(ROOT / "sql" / "engines")


def test_every_hlctl_name_in_the_docs_is_a_setting() -> None:
    """A misspelt one would be refused at run time."""
    pages = (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
    for file in (*pages, ROOT / "crontab.example", *UNITS):
        named = set(re.findall(r"\bHLCTL_[A-Z_]+[A-Z]", file.read_text()))
        assert named <= KNOWN, file.name


@pytest.mark.parametrize("file", [ROOT / "crontab.example", *UNITS], ids=lambda file: file.name)
def test_unit_files_and_crontab_start_commands_that_exist(file: Path) -> None:
    """With options that exist."""
    lines = re.findall(r"/opt/hlctl/bin/(hlctl .*)$", file.read_text(), re.MULTILINE)
    assert lines or file.suffix == ".timer" or file in HOOKS
    assert all(known_line(line) for line in lines), lines


@pytest.mark.parametrize("timer", [unit for unit in UNITS if unit.suffix == ".timer"], ids=lambda unit: unit.name)
def test_a_timer_keeps_time_in_utc_and_to_the_second(timer: Path) -> None:
    """The default accuracy is a minute, and local time has days of 23 hours."""
    text = timer.read_text()
    assert re.search(r"^OnCalendar=.* UTC$", text, re.MULTILINE)
    assert "AccuracySec=1s" in text
    assert timer.with_suffix(".service") in UNITS


@pytest.mark.parametrize("service", SERVICES, ids=lambda unit: unit.name)
def test_a_service_is_bounded_and_is_told_of_where_somebody_listens(service: Path) -> None:
    """A oneshot has no time limit of its own; a hook must not call itself; only what ends well can be well again."""
    text = service.read_text()
    assert re.search(r"^TimeoutStartSec=\d+$", text, re.MULTILINE)
    assert ("OnFailure=hlctl-failure@%n.service" in text) != (service in HOOKS)
    assert ("OnSuccess=hlctl-recovery@%n.service" in text) == service.with_suffix(".timer").exists()


@pytest.mark.parametrize("service", SERVICES, ids=lambda unit: unit.name)
def test_a_service_is_locked_up(service: Path, tmp_path: Path) -> None:
    """By systemd's own measure, in which 10 is a service with every right of root and nothing kept from it."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed: nobody measures what a service may do")
    shutil.copytree(ROOT / "systemd", tmp_path / "etc/systemd/system")
    (tmp_path / "opt/hlctl/bin").mkdir(parents=True)
    (tmp_path / "opt/hlctl/bin/hlctl").symlink_to("/bin/true")
    name = service.name.replace("@", "@x")
    command = [analyze, "security", "--offline=true", f"--root={tmp_path}", "--threshold=20", "--no-pager", name]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout[-300:] + ran.stderr


DROP_IN = re.findall(r"cat >/etc/systemd/system/(\S+) <<'END'\n(.*?)\nEND\n", INSTALLATION, re.DOTALL)


def test_the_drop_in_of_the_installation_page_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """An operator learns of a misspelt one when the days are gone."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed: nobody reads the drop-in as systemd does")
    units = tmp_path / "etc/systemd/system"
    shutil.copytree(ROOT / "systemd", units)
    for path, text in DROP_IN:
        (units / path).parent.mkdir()
        (units / path).write_text(text + "\n")
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/sh", tmp_path / "bin")
    command = [analyze, "verify", "--man=no", "--recursive-errors=no", f"--root={tmp_path}", "hlctl-prune.service"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in ran.stderr.splitlines() if "hlctl-prune" in line] == []
    assert [path for path, _ in DROP_IN] == ["hlctl-prune.service.d/export.conf"]


@pytest.mark.parametrize("code", [ExitCode.OK, ExitCode.FOUND, ExitCode.BUSY])
@pytest.mark.parametrize("scheduler", ["systemd", "cron"])
def test_nothing_is_pruned_where_the_export_before_it_did_not_end_well(
    scheduler: str, code: ExitCode, tmp_path: Path
) -> None:
    """What prune drops is in the archive or nowhere."""
    (_, drop_in), *_rest = DROP_IN
    lines = {
        "systemd": re.findall(r"^ExecStart=/bin/sh -c '(.*)'$", drop_in, re.MULTILINE),
        "cron": re.findall(r"^37 3 \* \* \*  hlctl  systemctl .*? \|\| (.*)$", INSTALLATION, re.MULTILINE),
    }
    (line,) = lines[scheduler]
    stub = tmp_path / "hlctl"
    stub.write_text(f'#!/bin/sh\necho "$2"\n[ "$2" = prune ] || exit {code.value}\n')
    stub.chmod(0o755)
    ran = subprocess.run(
        ["sh", "-c", line.replace("/opt/hlctl/bin/hlctl", str(stub))], capture_output=True, text=True, check=False
    )
    assert ran.returncode == code
    assert ran.stdout.split() == (["export", "prune"] if code is ExitCode.OK else ["export"])
    assert all(known_line(command) for command in re.findall(r"/opt/hlctl/bin/(hlctl [^&;]*)", line))


def test_what_was_told_of_a_failure_is_told_to_be_over_once() -> None:
    """The flag that the one leaves is what the other waits for and takes away, each once it has told somebody."""
    failure, recovery = (unit.read_text().splitlines() for unit in HOOKS)
    flag = "/run/hlctl-failed/%i"
    for told, before, after in ((failure, f"!{flag}", f"touch {flag}"), (recovery, flag, f"rm -f {flag}")):
        assert f"ConditionPathExists={before}" in told
        assert "ConditionPathExists=/etc/hlctl/notify.curl" in told
        assert f"ExecStartPost=/usr/bin/{after}" in told
        assert {"RuntimeDirectory=hlctl-failed", "RuntimeDirectoryPreserve=yes"} <= set(told)
        assert "LogLevelMax=notice" in told, "else the journal has a line for every minute in which nothing happens"
    assert f'ExecStartPre=/usr/bin/test "${{MONITOR_EXIT_STATUS}}" != {ExitCode.BUSY.value}' in recovery
    postgres = (ROOT / "systemd" / "hlctl-postgres.service").read_text()
    assert f"ExecStartPost=/usr/bin/rm -f {flag.replace('%i', '%n')}" in postgres


def test_codes_of_normal_operation_are_no_failures() -> None:
    """A partial minute, and a lock that another run holds."""
    told = {unit.stem: re.findall(r"^SuccessExitStatus=(.*)$", unit.read_text(), re.MULTILINE) for unit in SERVICES}
    assert told == {
        "hlctl-failure@": [],
        "hlctl-postgres": [f"{ExitCode.BUSY.value}"],
        "hlctl-recovery@": [],
        "hlctl-prune": [f"{ExitCode.BUSY.value}"],
        "hlctl-refresh-universe": [f"{ExitCode.BUSY.value}"],
        "hlctl-snapshot": [f"{ExitCode.PARTIAL.value} {ExitCode.BUSY.value}"],
        "hlctl-verify": [],
    }


def test_the_installation_page_names_every_unit() -> None:
    """A unit nobody is told of is never enabled."""
    table = set(re.findall(r"^\| `(hlctl-[\w@.-]+)` \|", INSTALLATION, re.MULTILINE))
    timers = {unit.name for unit in UNITS if unit.suffix == ".timer"}
    started = {timer.replace(".timer", ".service") for timer in timers}
    assert table == {unit.name for unit in UNITS} - started


def test_every_reason_of_the_judge_has_words() -> None:
    """The view names reasons by code; an operator reads sentences."""
    migrations = [file.read_text() for file in sorted((ROOT / "sql" / "migrations").iterdir())]
    view = [text for text in migrations if "VIEW v_latest_health AS" in text][-1]
    assert set(re.findall(r"THEN '(\w+)' END", view.partition("VIEW v_latest_health AS")[2])) == set(REASONS)
    rules = [text for text in migrations if "FUNCTION suspect_cells(" in text][-1]
    assert set(re.findall(r"'kind', '(\w+)'", rules)) == set(SUSPECTS)


def test_the_runbook_has_an_entry_for_every_reason_and_every_suspicion() -> None:
    """`hlctl status` names them, and somebody has to do something then."""
    tables = RUNBOOK.partition("## Why the data is not healthy")[2].partition("## Alerts")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", tables, re.MULTILINE)) == {*REASONS, *SUSPECTS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_to_another_place_in_the_project_leads_somewhere(page: Path) -> None:
    """A link into nothing costs the minutes that matter."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        file, _, anchor = link.partition("#")
        if "://" not in link:
            target = page.parent / file if file else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    """With its options: a test of pages runs the blocks, and nobody the sentences."""
    named = re.findall(r"(?<!`)`(hlctl [^`]*)`", prose(page))
    assert [line for line in named if not known_line(line) and not re.search("COMMAND|[|]|^hlctl --help$", line)] == []


def test_the_architecture_names_statements_and_tables_that_exist() -> None:
    """All tables, for a page that leaves one out sends its reader to the wrong place."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert {
        file for file in re.findall(r"`(\w+\.sql)`", page) if not (ROOT / "sql" / "queries" / file).exists()
    } == set()
    created = "".join(file.read_text() for file in (ROOT / "sql" / "migrations").iterdir())
    tables = set(re.findall(r"^CREATE TABLE (\w+) \(", created, re.MULTILINE))
    assert {table for table in tables if not re.search(rf"\b{table}\b", page)} == set()


def test_cron_and_systemd_read_the_same_file_and_keep_the_data_in_the_same_place() -> None:
    """A crontab without the URL would record into an embedded database of its own, and nobody would notice."""
    recording = [unit.read_text() for unit in SERVICES if "ExecStart=/opt/hlctl/bin/hlctl " in unit.read_text()]
    assert len(recording) == 5
    for text in (INSTALLATION, (ROOT / "crontab.example").read_text(), *recording):
        assert "/etc/hlctl/hlctl.env" in text
        assert re.search(r'HLCTL_DATA_DIR=("\$\{HLCTL_DATA_DIR:-)?/var/lib/hlctl\b', text)


def test_who_tells_of_a_failure_does_not_need_the_settings_nor_know_the_password() -> None:
    """A settings file that is not there fails every unit that loads it, and somebody has to say so."""
    for unit in SERVICES:
        is_ours = "ExecStart=/opt/hlctl/bin/hlctl " in unit.read_text()
        assert ("hlctl.env" in unit.read_text()) is is_ours, unit.name
    assert "hlctl.env" not in SANDBOX.read_text()


def test_the_embedded_server_may_use_no_network() -> None:
    """What systemd reads last counts: drop-ins come after the unit, in the order of their names."""
    unit = ROOT / "systemd" / "hlctl-postgres.service"
    dropins = [file for folder in ("hlctl-.service.d", f"{unit.name}.d") for file in (unit.parent / folder).iterdir()]
    families: list[str] = []
    for file in (unit, *sorted(dropins, key=lambda file: file.name)):
        for value in re.findall(r"^RestrictAddressFamilies=(.*)$", file.read_text(), re.MULTILINE):
            families = [*families, *value.split()] if value else []
    assert families == ["AF_UNIX"]


def test_audits_overlap_wherever_they_are_scheduled() -> None:
    """One that starts late, or that cannot run at all, leaves its minutes to the next ones."""
    files = ("systemd/hlctl-verify.service", "crontab.example", "docs/containers/compose.yaml")
    for file in files:
        (hours,) = re.findall(r"verify,? --since,? (\d+)h\b", (ROOT / file).read_text())
        assert int(hours) >= 3, file
    assert re.search(r"^OnCalendar=\*-\*-\* \*:", (ROOT / "systemd" / "hlctl-verify.timer").read_text(), re.MULTILINE)


def test_a_line_of_the_crontab_does_nothing_where_its_timer_runs() -> None:
    """Both at once would only fight for the lock, but an operator would wonder."""
    lines = re.findall(r"^[# ]*[\d*].*$", (ROOT / "crontab.example").read_text(), re.MULTILINE)
    for line in lines:
        timer = re.findall(r"is-active -q (hlctl-[\w-]+)\.timer 2>/dev/null \|\| ", line)[0]
        command = re.findall(r"/opt/hlctl/bin/hlctl --quiet ([\w-]+)", line)[0]
        assert timer == f"hlctl-{command}"
        assert (ROOT / "systemd" / f"{timer}.timer").exists()
    assert len(lines) == sum(unit.suffix == ".timer" for unit in UNITS)


def test_the_crontab_ends_with_a_newline_and_has_no_per_cent_sign() -> None:
    """Cron drops a last line without one, and takes % for a newline."""
    text = (ROOT / "crontab.example").read_text()
    assert text.endswith("\n")
    assert "%" not in text


def test_the_readme_leads_to_every_page_of_the_docs() -> None:
    """A page nobody is led to is not read; and none is led to a page that is not there."""
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").iterdir()}
    assert set(re.findall(r"`(docs/[\w.-]+)`", README)) == pages


def test_the_gate_runs_the_readmes_own_commands() -> None:
    """It reads them from the README by these marks."""
    gate = (ROOT / ".ci" / "run").read_text()
    for name in ("demo", "test"):
        (command,) = re.findall(rf"<!-- ci: {name} -->\n```sh\n(.*)\n```", README)
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -q ")
        assert f"readme_command {name}" in gate


def test_every_test_that_the_list_of_faults_names_exists() -> None:
    """A line whose test is gone promises what nobody sees."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text())
    sources: dict[str, str] = {}
    for file in (ROOT / "tests").rglob("test_*.py"):  # two folders may have one of the same name
        sources[file.name] = sources.get(file.name, "") + file.read_text()
    assert len(named) > 40
    assert [f"{file}::{name}" for file, name in named if f"def {name}(" not in sources.get(file, "")] == []
