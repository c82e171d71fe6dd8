"""--log-format json: whatever hlctl writes to stderr is one object a line, with the keys of docs/logs.md."""

import json
import re
import subprocess
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hlctl import sim
from tests.e2e.conftest import COMMAND, Hlctl, M, Ran, closed_port, on_a_terminal
from tests.e2e.oracle import Rows

At = Callable[..., None]
PAGE = (Path(__file__).parents[2] / "docs" / "logs.md").read_text()
KEYS = dict(re.findall(r"^\| `(\w+)` \| (always|\w.*?) \|", PAGE, re.MULTILINE))
JSON = {"HLCTL_LOG_FORMAT": "json"}


def objects(err: str) -> list[dict[str, Any]]:
    """Return what stderr holds, held to the page."""
    assert err.isascii()
    assert err.endswith("\n") or not err
    found = [json.loads(line) for line in err.splitlines()]
    for each in found:
        assert set(each) <= set(KEYS)
        assert {key for key, when in KEYS.items() if when == "always"} <= set(each)
        assert each["level"] in {"debug", "info", "warning", "error"}
        assert datetime.fromisoformat(each["ts"]).utcoffset() == timedelta(0)
        assert str(uuid.UUID(each["run_id"])) == each["run_id"]
    assert len({each["run_id"] for each in found}) <= 1, "one process"
    return found


def the_one(ran: Ran) -> dict[str, Any]:
    """Return the one object on stderr, without what differs from run to run."""
    (found,) = objects(ran.err)
    return {key: value for key, value in found.items() if key not in {"ts", "run_id"}}


def test_a_run_is_named_as_its_minute_is_in_the_record(
    with_universe: Hlctl, exchange: sim.Exchange, at: At, rows: Rows
) -> None:
    """From a line to its row and back; the last word of a failed minute, and the first of a good one."""
    assert with_universe("snapshot").code == 0
    at(minute=M + timedelta(minutes=1))
    exchange.misbehave(None, sim.Fault(status=404))
    ran = with_universe("--log-format", "json", "snapshot")
    attempt = rows("SELECT attempt_id::text FROM ingest_runs ORDER BY snapshot_ts DESC LIMIT 1")
    assert [(each["run_id"],) for each in objects(ran.err)] == attempt
    assert the_one(ran) == {
        "level": "error", "command": "snapshot", "code": 4, "minute": "2026-01-06T20:45:00Z",
        "message": "20:45 UTC is recorded as failed, 0 of 200 wallets known: no usable answer:"
        " all of the first 20 wallets asked failed (20 http_4xx)",
    }  # fmt: skip
    at(minute=M + timedelta(minutes=2))
    exchange.behave()
    assert the_one(with_universe("snapshot", **JSON)) == {
        "level": "warning", "command": "snapshot", "minute": "2026-01-06T20:46:00Z",
        "message": "good again: 2026-01-06 20:46 UTC, after 1 minute not recorded well since 20:45",
    }  # fmt: skip


def test_a_complaint_has_its_remedy_and_its_cause(make_hlctl: Callable[..., Hlctl], empty_database: str) -> None:
    """The cause is what debug shows of where it came from: places and types."""
    hlctl = make_hlctl(HLCTL_DATABASE_URL=empty_database, **JSON)
    complaint = {
        "level": "error", "command": "status", "code": 6, "message": "the database has no hlctl schema",
        "remedy": "run `hlctl init-db`",
    }  # fmt: skip
    assert the_one(hlctl("status")) == complaint
    ran = hlctl("--log-level", "debug", "status")
    cause, last = objects(ran.err)
    assert (cause["level"], cause["message"]) == ("debug", "cause")
    assert cause["cause"].splitlines()[-1] == "SchemaMissingError: the database has no hlctl schema"
    assert complaint.items() <= last.items()


REFUSED: list[tuple[tuple[str, ...], dict[str, str], tuple[int, str]]] = [
    (("--log-format", "json", "snapsot"), {}, (2, "")),
    (("--log-format=json", "snapshot", "--no-such-option"), {}, (2, "snapshot")),
    (("snapshot", "--no-such-option"), JSON, (2, "snapshot")),
    (("--log-format", "json"), {}, (2, "")),
    (("--log-format", "json", "--log-level", "loud", "verify"), {}, (2, "verify")),
    (("--log-format", "json", "prune"), {}, (2, "prune")),
    (("--log-format", "json", "status"), {"HLCTL_RATE_LIMIT": "1"}, (6, "status")),
    (("status",), {"HLCTL_RATE_LIMIT": "1", **JSON}, (6, "status")),
    (("status",), {"HLCTL_CONFIG": "/nowhere", **JSON}, (6, "status")),
    (("--config", "/nowhere", "--log-format=json", "snapshot"), {}, (6, "snapshot")),
]


@pytest.mark.parametrize(("args", "settings", "expected"), REFUSED)
def test_what_keeps_a_command_from_starting_is_told_in_the_format_asked_for(
    make_hlctl: Callable[..., Hlctl], args: tuple[str, ...], settings: dict[str, str], expected: tuple[int, str]
) -> None:
    """The command line and the environment are known before anything can be wrong with the settings."""
    ran = make_hlctl()(*args, **settings)
    found = the_one(ran)
    assert (ran.code, ran.out) == (expected[0], "")
    assert (found["code"], found["command"], found["level"]) == (*expected, "error")


def test_the_command_line_outranks_the_environment_and_that_the_file(
    make_hlctl: Callable[..., Hlctl], tmp_path: Path
) -> None:
    """As for every setting; and a format there is not is told in text."""
    file = tmp_path / "hlctl.env"
    file.write_text("HLCTL_LOG_FORMAT=json\n")
    hlctl = make_hlctl(HLCTL_DATABASE_URL=f"postgresql://u@127.0.0.1:{closed_port()}/x", HLCTL_CONFIG=str(file))
    text = "hlctl status: cannot connect to the database: connection refused\n"
    assert the_one(hlctl("status"))["code"] == 5
    assert hlctl("status", HLCTL_LOG_FORMAT="text").err == text
    assert hlctl("--log-format", "text", "status", **JSON).err == text
    assert the_one(hlctl("--log-format", "json", "status", HLCTL_LOG_FORMAT="text"))["code"] == 5
    ran = hlctl("status", HLCTL_LOG_FORMAT="xml")
    assert (ran.code, ran.err) == (6, "hlctl status: HLCTL_LOG_FORMAT: input should be 'text' or 'json'\n")
    ran = hlctl("--log-format", "xml", "status")
    assert (ran.code, ran.err.count("\n"), "'text', 'json'" in ran.err) == (2, 1, True)


def test_a_warning_of_the_log_is_an_object_and_the_document_stays_alone_on_stdout(with_universe: Hlctl) -> None:
    """Both formats are for machines, on two streams."""
    ran = with_universe("--log-format", "json", "snapshot", "--json", HLCTL_RATE_LIMIT="240", HLCTL_DEADLINE="5")
    assert ran.document["command"] == "snapshot"
    found = the_one(ran)
    assert (found["level"], found["command"]) == ("warning", "snapshot")
    assert "do not fit into a minute" in found["message"]


def test_a_terminal_sees_objects_and_no_progress_bar(with_universe: Hlctl, tmp_path: Path) -> None:
    """A bar is many lines that are none; a settings file that asks for objects is read before there could be one."""
    file = tmp_path / "hlctl.env"
    file.write_text("HLCTL_LOG_FORMAT=json\n")
    away = {"HLCTL_DATABASE_URL": f"postgresql://u@127.0.0.1:{closed_port()}/x"}
    for command in (("snapshot",), ("verify",), ("prune", "--keep", "3d"), ("export",)):
        for options, settings in ((("--log-format", "json"), {}), ((), {"HLCTL_CONFIG": str(file)})):
            ran = on_a_terminal(with_universe, *options, *command, **away, **settings)
            (found,) = objects(ran.out)
            assert (ran.code, found["code"], found["command"]) == (5, 5, command[0])


def test_under_systemd_every_line_has_the_journals_priority(make_hlctl: Callable[..., Hlctl], tmp_path: Path) -> None:
    """So that `journalctl -p warning` finds what matters."""
    hlctl = make_hlctl(HLCTL_DATABASE_URL=f"postgresql://u@127.0.0.1:{closed_port()}/x")
    script = 'exec 2>"$1"; export JOURNAL_STREAM="$(stat -Lc %d:%i /proc/self/fd/2)"; shift; exec "$0" "$@"'
    for args, beginning in (
        (["snapshot"], "<3>hlctl snapshot: cannot connect"),
        (["--log-format", "json", "snapshot"], '<3>{"ts": "'),
        (["snapshot", "--no-such-option"], "<3>hlctl snapshot: "),
    ):
        path = tmp_path / "journal"
        command = ["/bin/sh", "-c", script, str(COMMAND), str(path), *args]
        env = {"PATH": "/usr/bin:/bin", "HOME": str(hlctl.home), "HLCTL_DATA_DIR": str(tmp_path), **hlctl.settings}
        subprocess.run(command, env=env, check=False, timeout=60)
        assert path.read_text().startswith(beginning)
        assert path.read_text().count("\n") == 1
        (tmp_path / "told-snapshot.json").unlink(missing_ok=True)
