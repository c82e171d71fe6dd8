"""`status` for machines: `--json` byte by byte, `--check` as a monitoring plugin, and an answer in under 5 s."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import contract
from tests.e2e.conftest import Hlctl, M, on_a_terminal

SNAPSHOT = Path(__file__).with_name("status.json")
RECORD = Path(__file__).with_name("status_record.sql")
NOWHERE = "postgresql://u:secret@127.0.0.1:1/x"
COLOURFUL = (
    {"FORCE_COLOR": "1"},
    {"GITHUB_ACTIONS": "true"},
    {"TERM": "xterm-256color", "COLORTERM": "truecolor", "CLICOLOR_FORCE": "1", "COLUMNS": "20"},
    {"NO_COLOR": "1", "TERM": "dumb"},
)


@pytest.fixture
def recorded(hlctl: Hlctl, database: str, set_clock: Callable[..., None]) -> Hlctl:
    """Return a runner on a small record that is the same each time, at a moment that is the same."""
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        conn.execute(RECORD.read_bytes())
    set_clock(M + timedelta(seconds=75, microseconds=250_000), running=False)
    return hlctl


def test_the_document_is_the_one_that_is_kept_whatever_the_environment_says_of_colour(recorded: Hlctl) -> None:
    """Byte by byte: a script may compare it. WRITE_SCREENS=1 writes it anew."""
    plain = recorded("status", "--json")
    if os.environ.get("WRITE_SCREENS"):
        SNAPSHOT.write_text(json.dumps(plain.document, indent=2) + "\n")
    assert plain.out == json.dumps(json.loads(SNAPSHOT.read_text())) + "\n"
    for colour in COLOURFUL:
        ran = recorded("status", "--json", **colour)
        assert (ran.code, ran.out, ran.err) == (0, plain.out, "")
    assert on_a_terminal(recorded, "status", "--json", FORCE_COLOR="1").out == plain.out
    quiet = recorded("--quiet", "status", "--json")
    assert quiet.out == plain.out


def test_the_text_is_plain_in_a_pipe_whatever_the_environment_says_of_colour(recorded: Hlctl) -> None:
    """FORCE_COLOR is for terminals that do not say so; ours goes to files and mails."""
    plain = recorded("status").out
    assert plain.startswith("health            degraded: newest minute partial, 66.66 % coverage below 95 %\n")
    for colour in (*COLOURFUL[:2], COLOURFUL[3]):
        assert recorded("status", **colour).out == plain
        assert recorded("status", "--check", **colour).out == recorded("status", "--check").out


def test_a_check_with_json_is_the_document_under_the_checks_code(recorded: Hlctl) -> None:
    """Both at once: the words for a machine and the status for another."""
    plain = recorded("status", "--json").document
    ran = recorded("status", "--json", "--check")
    assert (ran.code, ran.err) == (1, "")
    assert ran.document == plain | {"exit_code": 1}


def test_quiet_does_not_silence_a_check(recorded: Hlctl) -> None:
    """A monitoring system reads the line."""
    assert recorded("--quiet", "status", "--check").out == recorded("status", "--check").out != ""


UNKNOWN = re.compile(r"HLCTL UNKNOWN - [^|\n]+\n")


@pytest.mark.parametrize(
    ("args", "settings", "words"),
    [
        (["status", "--check"], {"HLCTL_DATABASE_URL": NOWHERE}, "connection refused"),
        (["status", "--check"], {"HLCTL_DATABASE_URL": "nonsense"}, "HLCTL_DATABASE_URL"),
        (["status", "--check"], {"HLCTL_DATA_DIR": "/nowhere"}, "run `hlctl init-db`"),
        (["status", "--check", "--frobnicate"], {}, "--frobnicate"),
        (["status", "--check", "extra"], {}, "extra"),
        (["status", "--check", "--watch"], {}, "--watch"),
        (["--frobnicate", "status", "--check"], {}, "--frobnicate"),
        (["--log-level", "loud", "status", "--check"], {}, "loud"),
        (["--config", "/nowhere", "status", "--check"], {}, "/nowhere"),
        (["-q", "status", "--check"], {"HLCTL_FOO": "1"}, "HLCTL_FOO"),
    ],
)
def test_what_keeps_a_check_from_judging_is_unknown(
    make_hlctl: Callable[..., Hlctl], args: list[str], settings: dict[str, str], words: str
) -> None:
    """One line on stdout, which is where plugins are read, and 3: 2 would wake somebody up."""
    ran = make_hlctl(**settings)(*args)
    assert (ran.code, ran.err) == (3, "")
    assert UNKNOWN.fullmatch(ran.out)
    assert words in ran.out
    assert "secret" not in ran.out
    found = make_hlctl(**settings)(*args, "--json")
    assert (found.code, found.err) == (3, "")
    assert found.document["command"] == "status"


def test_a_schema_that_is_missing_and_a_bug_are_unknown(
    make_hlctl: Callable[..., Hlctl], empty_database: str, with_universe: Hlctl, database: str
) -> None:
    """Nothing was judged."""
    ran = make_hlctl(HLCTL_DATABASE_URL=empty_database)("status", "--check")
    assert (ran.code, ran.out, ran.err) == (
        3,
        "HLCTL UNKNOWN - the database has no hlctl schema; run `hlctl init-db`\n",
        "",
    )
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        conn.execute("DROP VIEW v_latest_health")
    ran = with_universe("status", "--check")
    assert (ran.code, ran.err) == (3, "")
    assert ran.out.startswith("HLCTL UNKNOWN - hlctl has a bug: UndefinedTable (42P01) in ")


def test_a_stale_record_is_critical(hlctl: Hlctl) -> None:
    """Nobody has ever recorded anything."""
    ran = hlctl("status", "--check")
    assert (ran.code, ran.err) == (2, "")
    assert ran.out == (
        "HLCTL CRITICAL - stale: no good minute was ever recorded | age=U coverage=U missing=U universe_age=U\n"
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_a_signal_keeps_its_code(with_universe: Hlctl, database: str, number: signal.Signals, code: int) -> None:
    """Who ended it knows."""
    with closing(psycopg.connect(database)) as conn:
        conn.execute("LOCK TABLE ingest_runs")
        process = with_universe.start("status", "--check")
        while conn.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (code, "")
    assert UNKNOWN.fullmatch(out)


# ---- an answer in under 5 s


@contextmanager
def swallowing(*hosts: str) -> Iterator[int]:
    """Yield a port on which these addresses swallow every packet: the queue of connections is full."""
    with ExitStack() as stack:
        port = 0
        for host in hosts:
            server = stack.enter_context(socket.socket())
            server.bind((host, port))
            server.listen(0)
            port = server.getsockname()[1]
            for _ in range(8):
                client = stack.enter_context(socket.socket())
                client.settimeout(0)
                with suppress(BlockingIOError):
                    client.connect((host, port))
        time.sleep(0.1)
        yield port


@contextmanager
def silent() -> Iterator[int]:
    """Yield a port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(params=["packets are swallowed", "three hosts", "silence", "no such name", "nobody writes the file"])
def unreachable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the setting of a database that keeps its client waiting."""
    match request.param:
        case "packets are swallowed":
            with swallowing("127.0.0.1") as port:
                yield {"HLCTL_DATABASE_URL": f"postgresql://u:secret@127.0.0.1:{port}/x"}
        case "three hosts":
            hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
            with swallowing(*hosts) as port:
                yield {"HLCTL_DATABASE_URL": f"postgresql://u:secret@{','.join(f'{h}:{port}' for h in hosts)}/x"}
        case "silence":
            with silent() as port:
                yield {"HLCTL_DATABASE_URL": f"postgresql://u:secret@127.0.0.1:{port}/x"}
        case "no such name":
            yield {"HLCTL_DATABASE_URL": "postgresql://u:secret@nowhere.invalid/x"}
        case _:
            os.mkfifo(tmp_path / "pipe", 0o600)
            yield {"HLCTL_DATABASE_URL_FILE": str(tmp_path / "pipe")}


def ended(process: subprocess.Popen[str], began: float) -> tuple[int, str, str, float]:
    """Return how a process ended and after how many seconds."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err, time.monotonic() - began


def test_a_database_that_keeps_one_waiting_is_one_line_in_under_five_seconds(
    make_hlctl: Callable[..., Hlctl], unreachable: dict[str, str]
) -> None:
    """By the clock on the wall, from the start of the process: a plugin has ten, an operator less patience."""
    hlctl = make_hlctl(**unreachable)
    began = time.monotonic()
    started = [hlctl.start("status", *args) for args in ([], ["--json"], ["--check"])]
    plain, document, check = (ended(process, began) for process in started)
    assert max(plain[3], document[3], check[3]) < 5
    assert (plain[0], plain[1], plain[2].count("\n")) == (5, "", 1)
    assert (document[0], document[2]) == (5, "")
    assert contract.check(document[1], 5)["error"]["code"] == "database"
    assert (check[0], check[2]) == (3, "")
    assert UNKNOWN.fullmatch(check[1])
    assert "secret" not in f"{plain}{document}{check}"


def test_a_statement_that_waits_for_a_lock_is_one_line_in_under_five_seconds(
    with_universe: Hlctl, database: str
) -> None:
    """The database is there and does not answer: a DBA has locked the table."""
    with closing(psycopg.connect(database)) as conn:
        conn.execute("LOCK TABLE ingest_runs")
        ran = with_universe("status", "--check")
    assert (ran.code, ran.err) == (3, "")
    assert UNKNOWN.fullmatch(ran.out)
    assert ran.seconds < 5


def test_a_reader_who_does_not_read_holds_nothing_up(recorded: Hlctl) -> None:
    """The code is what was judged."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 65536)
    os.set_blocking(write, True)
    began = time.monotonic()
    kept: dict[str, Any] = {name: value for name, value in os.environ.items() if not name.startswith(("HLCTL_", "PG"))}
    code = subprocess.run(
        [*recorded.command, "status", "--check"],
        env={**kept, "HOME": str(recorded.home), **recorded.settings},
        stdout=write,
        stderr=subprocess.DEVNULL,
        timeout=30,
        check=False,
    ).returncode
    os.close(read)
    os.close(write)
    assert code == 1
    assert time.monotonic() - began < 5
