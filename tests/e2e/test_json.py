"""`--json`: one document on stdout and nothing else, whatever happens; docs/json.md shows what comes out of here."""

import json
import platform
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from hlctl import sim
from tests import contract
from tests.e2e.conftest import COMMAND, Hlctl, M, Ran, on_a_terminal
from tests.e2e.oracle import Rows
from tests.e2e.record import fill

COMMANDS = (
    "init-db",
    "refresh-universe",
    "snapshot",
    "status",
    "verify",
    "prune",
    "export",
    "demo",
    "doctor",
    "config show",
    "completion",
    "version",
    "db start",
    "db run",
    "db stop",
    "db status",
    "db url",
)
"""Every command; tests/unit/test_json_docs.py holds that none is left out."""

ANSWERING = tuple(command for command in COMMANDS if command != "db run")
"""Those that come to an end of their own when all is well."""

EMBEDDED = tuple(command for command in COMMANDS if command.startswith("db "))
BESIDE = ("doctor", "config show", "completion", "version")
"""Commands that have an answer whatever the settings are."""

ARGUMENTS = {"completion": ("bash",)}
NOWHERE = "postgresql://u:secret@127.0.0.1:1/x"
COLOURFUL = {"FORCE_COLOR": "1", "GITHUB_ACTIONS": "true", "CLICOLOR_FORCE": "1", "TERM": "xterm-256color"}
SHORT = "3"  # wallets: few enough to be shown on a page
LOG = re.compile(r"hlctl: (DEBUG|INFO|WARNING|ERROR): .+")

Prepared = Callable[..., Hlctl]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return where these tests have an embedded server of their own."""
    folder = tmp_path_factory.mktemp("own")
    yield folder / "data"
    subprocess.run([COMMAND, "db", "stop"], env={"HLCTL_DATA_DIR": str(folder / "data")}, check=False, timeout=60)
    shutil.rmtree(folder)


@pytest.fixture
def prepared(
    with_universe: Hlctl, make_hlctl: Prepared, data_dir: Path, empty_database: str, at: Callable[..., None]
) -> Prepared:
    """Return a function that returns a runner with which a command will succeed."""

    def prepare(command: str) -> Hlctl:
        if command == "init-db":
            return make_hlctl(HLCTL_DATABASE_URL=empty_database)
        if command in {"status", "verify"}:
            assert with_universe("snapshot").code == 0
        if command == "verify":
            at(second=120)
        if command == "prune":
            fill(with_universe.settings["HLCTL_DATABASE_URL"], *(M.date() - timedelta(days) for days in (40, 39, 0)))
            return Hlctl({**with_universe.settings, "HLCTL_RETENTION_DAYS": "30"}, with_universe.home)
        if command == "export":
            pytest.importorskip("pyarrow")
            fill(with_universe.settings["HLCTL_DATABASE_URL"], *(M.date() - timedelta(days) for days in (2, 1, 0)))
        if command == "doctor":
            now = datetime.now(UTC)
            at(minute=now.replace(second=0, microsecond=0))
            assert with_universe("snapshot").code == 0
            at(0, minute=now)
        if command == "config show":
            return make_hlctl(HLCTL_DATABASE_URL=NOWHERE)
        if command not in EMBEDDED:
            return with_universe
        hlctl = make_hlctl(HLCTL_DATA_DIR=str(data_dir))
        assert hlctl("db", "stop" if command == "db start" else "start").code in {0, 6}
        return hlctl

    return prepare


@pytest.fixture
def broken(  # noqa: C901 - a case for each command
    make_hlctl: Prepared, with_universe: Hlctl, exchange: sim.Exchange, empty_database: str, tmp_path: Path
) -> Callable[[str], tuple[Hlctl, list[str]]]:
    """Return a function that returns a runner and arguments with which a command will fail."""

    def prepare(command: str) -> tuple[Hlctl, list[str]]:  # noqa: C901 - a case for each command
        match command:
            case "init-db":
                return make_hlctl(HLCTL_DATABASE_URL=NOWHERE), []
            case "refresh-universe":
                exchange.leaderboard_body = b"null"
                return with_universe, []
            case "snapshot":
                exchange.misbehave(None, sim.Fault(status=403))
                return with_universe, []
            case "status":
                return make_hlctl(HLCTL_DATABASE_URL=empty_database), []
            case "verify" | "prune":
                return with_universe, []
            case "export":
                return with_universe, ["--day", "tomorrow"]
            case "demo":
                return make_hlctl(), ["--data", str(tmp_path)]
            case "doctor" | "version":
                return make_hlctl(), ["now"]
            case "config show":
                return make_hlctl(HLCTL_CONFIG="nowhere"), []
            case "completion":
                return make_hlctl(), ["tcsh"]
            case "db start" | "db run" | "db url":
                return make_hlctl(HLCTL_DATABASE_URL=NOWHERE), []
        return make_hlctl(HLCTL_DATA_DIR=str(tmp_path / "none")), []

    return prepare


def assert_only_logs(text: str) -> None:
    """Check that every line is of the log."""
    assert [line for line in text.splitlines() if not LOG.fullmatch(line)] == []


def shape(value: Any) -> Any:
    """Return a JSON value without its figures: what a reader of the page can rely on."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"0x[0-9a-f]{40}|\d[\d.,:]*(post\d+)?", "#", value)
    return "a number" if type(value) in {int, float} else value


def cut(value: Any) -> Any:
    """Return a JSON value with its lists as the page shows them."""
    if isinstance(value, dict):
        return {name: cut(item) for name, item in value.items()}
    return [cut(item) for item in value[:3]] if isinstance(value, list) else value


def assert_shown(name: str, ran: Ran, paths: Mapping[object, str]) -> None:
    """Check that the page shows what was printed just now, its figures and these paths apart."""
    text = ran.out
    for path, place in paths.items():
        text = text.replace(str(path), place).replace(quote(str(path), safe=""), quote(place, safe=""))
    printed = cut(json.loads(text))
    _, shown = contract.EXAMPLES.get(name, ("", None))
    assert shape(shown) == shape(printed), (
        f"docs/json.md must show as the example {name!r}:\n{json.dumps(printed, indent=2)}"
    )


@pytest.mark.parametrize("command", ANSWERING)
def test_success_is_one_document_as_the_page_shows_it(
    prepared: Prepared, command: str, data_dir: Path, tmp_path: Path
) -> None:
    """Whatever an environment says about colour, and beside nothing: stderr stays empty."""
    arguments = ARGUMENTS.get(command, ())
    ran = prepared(command)(*command.split(), *arguments, "--json", HLCTL_UNIVERSE_SIZE=SHORT, **COLOURFUL)
    assert (ran.code, ran.err) == (0, "")
    assert ran.document["command"] == command
    assert ran.document["error"] is None
    assert_shown(
        command,
        ran,
        {
            data_dir: "/var/lib/hlctl",
            tmp_path / "home": "/home/hlctl",
            platform.platform(): "Linux",
            sysconfig.get_path("purelib"): "/opt/hlctl/lib/python3.11/site-packages",
        },
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_failure_is_one_document_as_the_page_shows_it(
    broken: Callable[[str], tuple[Hlctl, list[str]]], command: str, tmp_path: Path
) -> None:
    """With the code and the remedy, and without a word on stderr."""
    hlctl, args = broken(command)
    ran = hlctl(*command.split(), *args, "--json", **COLOURFUL)
    assert ran.err == ""
    assert ran.code != 0
    assert ran.document["command"] == command
    assert ran.document["error"]
    assert "secret" not in ran.out
    assert_shown(f"{command} fails", ran, {tmp_path / "none": "/var/lib/hlctl", tmp_path: "recorded"})


@pytest.mark.parametrize("command", ANSWERING)
def test_a_terminal_gets_the_same_document_and_nothing_around_it(prepared: Prepared, command: str) -> None:
    """No colour, no progress bar, no word about what goes on, though all of it is the same terminal."""
    ran = on_a_terminal(prepared(command), *command.split(), *ARGUMENTS.get(command, ()), "--json", **COLOURFUL)
    assert ran.code == 0
    assert ran.document["command"] == command


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_line_that_is_refused_is_one_document(make_hlctl: Prepared, command: str) -> None:
    """Though no command has seen `--json` yet, wherever it stands."""
    words = command.split()
    hlctl = make_hlctl(**COLOURFUL)
    for args in (
        (*words, "--json", "--frobnicate"),
        ("--json", *words),
        ("--log-level", "loud", *words, "--json"),
    ):
        ran = hlctl(*args)
        assert (ran.code, ran.err) == (2, "")
        assert (ran.document["command"], ran.document["error"]["code"]) == (command, "usage")


@pytest.mark.parametrize(
    ("args", "command"),
    [
        (("--json",), ""),
        (("nonsense", "--json"), ""),
        (("--config", "--json"), ""),
        (("db", "--json"), "db"),
        (("db", "nonsense", "--json"), "db"),
        (("status", "--json", "extra"), "status"),
        (("--config", "status", "snapshot", "--json", "--frobnicate"), "snapshot"),
    ],
)
def test_a_command_that_is_not_known_is_not_guessed(make_hlctl: Prepared, args: tuple[str, ...], command: str) -> None:
    """`command` is a command's name, or as much of one as was understood."""
    ran = make_hlctl()(*args)
    assert (ran.code, ran.err) == (2, "")
    assert (ran.document["command"], ran.document["error"]["code"]) == (command, "usage")


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in {"demo", *BESIDE}])
def test_a_setting_that_is_refused_is_one_document(make_hlctl: Prepared, command: str) -> None:
    """The demo has settings of its own."""
    ran = make_hlctl(HLCTL_DATABASEURL=NOWHERE)(*command.split(), "--json")
    assert (ran.code, ran.err) == (6, "")
    assert (ran.document["command"], ran.document["error"]["code"]) == (command, "configuration")
    assert "secret" not in ran.out


def test_quiet_does_not_silence_a_document(with_universe: Hlctl) -> None:
    """Who asks for one reads it."""
    assert with_universe("--quiet", "snapshot", "--json").document["result"]["recorded"]["status"] == "success"


def test_the_log_goes_beside_the_document(with_universe: Hlctl) -> None:
    """All of it, with every level switched on."""
    ran = with_universe("--log-level", "debug", "snapshot", "--json", HLCTL_RATE_LIMIT="240", HLCTL_DEADLINE="5")
    assert "do not fit into a minute" in ran.err
    assert_only_logs(ran.err)
    assert ran.document["result"]["recorded"]["missing"]


@pytest.mark.parametrize(
    ("command", "damage"),
    [
        ("refresh-universe", "ALTER TABLE wallet_universe_members ADD CHECK (rank < 0) NOT VALID"),
        ("snapshot", "ALTER TABLE wallet_snapshots ADD CHECK (position_szi IS NULL)"),
        ("status", "DROP VIEW v_latest_health"),
    ],
)
def test_a_bug_is_one_document(with_universe: Hlctl, rows: Rows, command: str, damage: str) -> None:
    """A traceback is no answer to a script; the words of the exception might hold a secret and are left out."""
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        conn.execute(damage.encode())
    ran = with_universe(command, "--json")
    assert (ran.code, ran.err) == (70, "")
    error = ran.document["error"]
    assert error["code"] == "bug"
    assert re.fullmatch(r"hlctl has a bug: \w+ \(\w{5}\) in \w+\.py:\d+", error["message"])
    assert rows("SELECT count(*) FROM v_positions WHERE position_szi IS NOT NULL") == [(0,)]


@pytest.mark.parametrize(
    ("command", "asked"), [("snapshot", None), ("refresh-universe", sim.LEADERBOARD)], ids=["snapshot", "refresh"]
)
def test_who_finds_the_lock_taken_is_one_document(
    with_universe: Hlctl, exchange: sim.Exchange, command: str, asked: Any
) -> None:
    """75 is normal operation for a timer, and still says who has the lock."""
    exchange.misbehave(asked, sim.Fault(delay=4.0 if asked else 1.5))  # one question, or two hundred
    first = with_universe.start(command, "--json")
    while exchange.requests == 0 and exchange.in_flight == 0:
        time.sleep(0.02)
    ran = with_universe(command, "--json")
    assert (ran.code, ran.err, ran.document["error"]["code"]) == (75, "", "busy")
    exchange.behave()
    out, err = first.communicate(timeout=60)
    assert err == ""
    assert contract.check(out, first.returncode)["command"] == command


LOCKED = {
    "init-db": "LOCK TABLE schema_migrations",
    "refresh-universe": "LOCK TABLE wallet_universe_runs",
    "status": "LOCK TABLE ingest_runs",
    "verify": "LOCK TABLE ingest_runs",
}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
@pytest.mark.parametrize("command", LOCKED)
def test_a_signal_is_one_document(with_universe: Hlctl, command: str, number: signal.Signals, code: int) -> None:
    """In the middle of a statement that waits for a lock, with nothing done yet."""
    with closing(psycopg.connect(with_universe.settings["HLCTL_DATABASE_URL"])) as conn:
        conn.execute(LOCKED[command].encode())
        process = with_universe.start(command, "--json")
        while conn.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (code, "")
    found = contract.check(out, code)
    assert (found["command"], found["error"]["code"]) == (command, "interrupted")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_a_signal_in_the_middle_of_a_minute_says_what_was_committed(
    with_universe: Hlctl,
    exchange: sim.Exchange,
    number: signal.Signals,
    code: int,
    next_minute_is_good: Callable[..., None],
) -> None:
    """A result with the minute as it stands, under the signal's code."""
    exchange.misbehave(None, sim.Fault(delay=0.4))
    process = with_universe.start("snapshot", "--json")
    while len(exchange.served_states()) < 16:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (code, "")
    found = contract.check(out, code)
    assert found["result"]["signal"] == code - 128
    assert found["result"]["recorded"]["missing"]["cancelled"] > 0
    assert found["error"]["code"] == "minute_failed"
    next_minute_is_good()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_a_signal_at_any_moment_of_a_short_command_is_one_document(
    make_hlctl: Prepared, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """While modules load, while the answer is printed, while the interpreter ends: the status is the document's."""
    hlctl = make_hlctl(HLCTL_DATA_DIR=str(tmp_path / "data"))
    whole = min(hlctl("db", "url", "--json").seconds for _ in range(3))
    codes = []
    for step in range(16):
        process = hlctl.start("db", "url", "--json")
        time.sleep(whole * step / 12)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        if process.returncode in {-number, 1} and not out and "cli.py" not in err:
            continue  # Python itself was not ready yet
        assert err == ""
        assert process.returncode in {0, code}
        assert contract.check(out, process.returncode)["command"] == "db url"
        codes.append(process.returncode)
    assert code in codes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_document_changes_nothing(
    make_hlctl: Prepared, tmp_path: Path, number: signal.Signals
) -> None:
    """The interpreter takes its time to end, and the exit status must stay the one that was printed."""
    process = make_hlctl(HLCTL_DATA_DIR=str(tmp_path / "data")).start("db", "url", "--json")
    assert process.stdout is not None
    line = process.stdout.readline()
    while process.poll() is None:
        process.send_signal(number)
        time.sleep(0.002)
    assert process.communicate(timeout=10) == ("", "")
    assert contract.check(line, process.returncode)["exit_code"] == 0


def test_partial_is_a_result_and_no_error(with_universe: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """The exit code says that something is missing, the result says what."""
    for (address,) in rows("SELECT address FROM v_universe WHERE rank <= 20"):
        exchange.misbehave(address, sim.Fault(status=403))
    ran = with_universe("snapshot", "--json")
    assert (ran.code, ran.err, ran.document["error"]) == (3, "", None)
    assert ran.document["result"]["recorded"]["missing"] == {"http_4xx": 20}
