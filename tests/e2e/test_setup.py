"""`init-db`, `db`, the options before the command, and the envelope of every failure."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from hlctl import sim
from tests.e2e.conftest import COMMAND, Hlctl
from tests.e2e.test_tls import listening


def test_init_db_makes_the_schema_once(make_hlctl: Callable[..., Hlctl], empty_database: str) -> None:
    """And says what it did."""
    hlctl = make_hlctl(HLCTL_DATABASE_URL=empty_database)
    dry = hlctl("init-db", "--dry-run")
    assert (dry.code, dry.out.startswith("would apply 0001_universe, ")) == (0, True)
    first, second = hlctl("init-db"), hlctl("init-db", "--json")
    assert (first.code, first.out.startswith("applied 0001_universe, ")) == (0, True)
    assert second.document["result"]["applied"] == []


def test_a_dry_run_makes_no_embedded_server(make_hlctl: Callable[..., Hlctl], tmp_path: Path) -> None:
    """It would be the largest change of all."""
    data = tmp_path / "data"
    ran = make_hlctl(HLCTL_DATA_DIR=str(data))("init-db", "--dry-run")
    assert (ran.code, ran.out) == (6, "")
    assert not data.exists()


def test_ten_inits_started_together_all_succeed(make_hlctl: Callable[..., Hlctl], empty_database: str) -> None:
    """Ten real processes on an empty database; twenty rounds of it are in tests/db."""
    hlctl = make_hlctl(HLCTL_DATABASE_URL=empty_database)
    processes = [hlctl.start("init-db") for _ in range(10)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 10
    with closing(psycopg.connect(empty_database)) as conn:
        assert conn.execute("SELECT count(*) FROM alert_state").fetchone() == (7,)


NEWER = "INSERT INTO schema_migrations (version, name, checksum, tool_version) VALUES (999, '0999_x', 'x', '9')"
OLDER = "DELETE FROM schema_migrations WHERE version > 5"


@pytest.mark.parametrize(
    ("change", "words", "also"), [(NEWER, "version 999", ["init-db"]), (OLDER, "run `hlctl init-db`", [])]
)
def test_a_newer_or_older_database_is_refused(
    hlctl: Hlctl, database: str, change: str, words: str, also: list[str]
) -> None:
    """Every command that would read or write it; an older one is `init-db`'s to mend."""
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        conn.execute(change.encode())
    for command in (*also, "refresh-universe", "snapshot", "status"):
        ran = hlctl(command)
        assert (ran.code, words in ran.err, ran.err.count("\n")) == (6, True, 1), command


def test_an_edited_migration_is_refused(hlctl: Hlctl, database: str) -> None:
    """The migration is named."""
    with closing(psycopg.connect(database, autocommit=True)) as conn:
        conn.execute("UPDATE schema_migrations SET checksum = repeat('0', 64) WHERE version = 1")
    for command in ("init-db", "snapshot"):
        ran = hlctl(command)
        assert (ran.code, "0001_universe" in ran.err) == (6, True), command


@pytest.mark.parametrize(
    ("args", "command"),
    [
        (("snapshot", "--frobnicate"), "snapshot"),
        (("nonsense",), ""),
        (("snapshot", "extra"), "snapshot"),
        (("db",), "db"),
        (("--log-level", "loud", "status"), "status"),
    ],
)
def test_a_command_line_that_is_not_understood_is_one_line_and_exit_2(
    make_hlctl: Callable[..., Hlctl], args: tuple[str, ...], command: str
) -> None:
    """No box, no traceback; the envelope where it was asked for."""
    hlctl = make_hlctl()
    ran = hlctl(*args)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith(f"hlctl {command}".rstrip() + ": ")
    found = hlctl(*args, "--json").document
    assert (found["command"], found["error"]["code"]) == (command, "usage")


def test_a_misspelt_setting_is_exit_6_for_every_command(make_hlctl: Callable[..., Hlctl]) -> None:
    """Before anything is touched."""
    hlctl = make_hlctl(HLCTL_DATABASEURL="postgresql://u:TOPSECRET@db.example/x")
    for command in (("init-db",), ("refresh-universe",), ("snapshot",), ("status",), ("db", "status")):
        ran = hlctl(*command)
        assert ran.code == 6
        assert ran.err == (
            f"hlctl {' '.join(command)}: HLCTL_DATABASEURL in the environment is no setting of hlctl;"
            " did you mean HLCTL_DATABASE_URL?\n"
        )


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("postgresql://u:p@ss:TOPSECRET@127.0.0.1:1/x", 6, "HLCTL_DATABASE_URL: has special characters"),
        ("postgresql://u:TOPSECRET@127.0.0.1:notaport/x", 6, "the database URL's port has a value"),
        ("postgresql://u:TOPSECRET@127.0.0.1:99999/x", 6, "the database URL's port has a value"),
        (
            "postgresql://u:TOPSECRET@127.0.0.1:1/x?sslmode=verify-ful",
            6,
            "the database URL's sslmode has a value",
        ),
        (
            "host=127.0.0.1 port=1 password=TOPSECRET sslmode=on",
            6,
            "the database URL's sslmode has a value",
        ),
        (
            "postgresql://u:TOPSECRET@127.0.0.1:1/x?sslrootcert=system&sslmode=require",
            6,
            "the database URL's sslmode has a value",
        ),
        (
            "postgresql://u:TOPSECRET@127.0.0.1:1/x?target_session_attrs=readwrite",
            6,
            "the database URL's target_session_attrs has a value",
        ),
        (
            "postgresql://u:TOPSECRET@127.0.0.1:1/x?keepalives=of",
            6,
            "the database URL's keepalives has a value",
        ),
        (
            "postgresql://u:TOPSECRET@127.0.0.1:1/x?ssl_min_protocol_version=1.3",
            6,
            "the database URL's ssl_min_protocol_version has a value",
        ),
        ("not a url TOPSECRET", 6, "HLCTL_DATABASE_URL: must look like postgresql://"),
        ("postgresql://u:TOPSECRET@h/x?nonsense=1", 6, "the database URL is not a PostgreSQL connection string"),
        (
            "postgresql://u:TOPSECRET@no-such-host.invalid/x",
            5,
            "cannot connect to the database: the host name is unknown",
        ),
    ],
)
def test_a_database_url_that_leads_nowhere_is_one_line_without_its_password(
    make_hlctl: Callable[..., Hlctl], url: str, code: int, words: str
) -> None:
    """The library's message would quote a mistyped password as a host name."""
    for args in (("status",), ("status", "--json"), ("--log-level", "debug", "snapshot")):
        ran = make_hlctl(HLCTL_DATABASE_URL=url)(*args)
        assert ran.code == code
        assert "TOPSECRET" not in ran.out + ran.err
        assert words in ran.out + ran.err


def test_a_database_in_another_encoding_is_refused(
    make_hlctl: Callable[..., Hlctl], server: str, create_database: Callable[..., str]
) -> None:
    """Text would come back as bytes, or not go in at all."""
    name = create_database(encoding="SQL_ASCII")
    ran = make_hlctl(HLCTL_DATABASE_URL=make_conninfo(server, dbname=name))("init-db")
    assert (ran.code, ran.err) == (5, "hlctl init-db: the database's encoding is SQL_ASCII: it must be UTF8\n")


def test_a_database_somebody_else_uses_is_left_alone(make_hlctl: Callable[..., Hlctl], empty_database: str) -> None:
    """The tables' names are common words."""
    with closing(psycopg.connect(empty_database, autocommit=True)) as conn:
        conn.execute("CREATE TABLE wallets (id int)")
        ran = make_hlctl(HLCTL_DATABASE_URL=empty_database)("init-db", "--json")
        assert (ran.code, ran.document["error"]["code"]) == (6, "schema_foreign")
        assert "wallets" in ran.document["error"]["message"]
        assert conn.execute("SELECT to_regclass('schema_migrations')").fetchone() == (None,)
        conn.execute("CREATE TABLE schema_migrations (version varchar PRIMARY KEY)")
    for command in ("init-db", "status"):
        ran = make_hlctl(HLCTL_DATABASE_URL=empty_database)(command)
        assert (ran.code, "another application's" in ran.err) == (6, True)


def test_an_option_before_the_command_is_checked_for_every_command(make_hlctl: Callable[..., Hlctl]) -> None:
    """The demo reads no settings, and still must not swallow a mistake."""
    assert make_hlctl()("--log-level", "loud", "demo").code == 2


def test_authorities_that_cannot_be_read_are_a_matter_of_configuration(
    with_universe: Hlctl, database: str, exchange: sim.Exchange
) -> None:
    """Known before the minute is taken, so nothing is recorded as failed."""
    ran = with_universe("snapshot", SSL_CERT_FILE="/nowhere.pem")
    assert (ran.code, ran.out, exchange.requests) == (6, "", 0)
    assert "SSL_CERT_FILE=/nowhere.pem" in ran.err
    with closing(psycopg.connect(database)) as conn:
        assert conn.execute("SELECT count(*) FROM ingest_runs").fetchone() == (0,)


def test_a_key_in_the_path_reaches_no_log(with_universe: Hlctl, exchange: sim.Exchange) -> None:
    """Providers put them there."""
    ran = with_universe("--log-level", "debug", "snapshot", HLCTL_API_URL=f"{exchange.url}/TOPSECRET/info")
    assert ran.code == 4
    assert "TOPSECRET" not in ran.out + ran.err


def test_a_key_in_the_path_reaches_no_log_through_an_odd_header(with_universe: Hlctl) -> None:
    """The HTTP library warns of what it cannot read, and names the whole address."""
    answer = b"HTTP/1.1 404 Not Found\r\nthis is no header\r\nContent-Length: 0\r\n\r\n"

    def refuse(connection: socket.socket) -> None:
        while connection.recv(65536):
            connection.sendall(answer)

    with listening(refuse) as port:
        ran = with_universe("snapshot", HLCTL_API_URL=f"http://127.0.0.1:{port}/TOPSECRET")
    assert (ran.code, ran.err.count("\n")) == (4, 1)
    assert "TOPSECRET" not in ran.out + ran.err


def test_the_embedded_server_by_hand(make_hlctl: Callable[..., Hlctl], tmp_path: Path) -> None:
    """Start, look, connect as psql does, stop."""
    hlctl = make_hlctl(HLCTL_DATA_DIR=str(tmp_path / "data"))
    assert hlctl("db", "status").code == 6
    assert hlctl("db", "start").out.startswith("server   started; running, pid ")
    try:
        assert hlctl("db", "start").out.startswith("server   running, pid ")
        status = hlctl("db", "status", "--json").document["result"]
        assert (status["running"], status["version"].startswith("18")) == (True, True)
        url = hlctl("db", "url").out.strip()
        with closing(psycopg.connect(url)) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
        if psql := shutil.which("psql"):
            shown = subprocess.run([psql, url, "-Atc", "SELECT 2"], capture_output=True, text=True, check=True)
            assert shown.stdout == "2\n"
    finally:
        assert hlctl("db", "stop").out.startswith("server   stopped; stopped\n")
    assert hlctl("db", "stop").code == 0
    assert hlctl("db", "status", "--json").document["result"]["running"] is False


def test_the_embedded_commands_refuse_where_another_database_is_set(
    make_hlctl: Callable[..., Hlctl], empty_database: str
) -> None:
    """There is no embedded server to manage, and the URL with its password is not printed."""
    for command in ("start", "stop", "status", "url"):
        ran = make_hlctl(HLCTL_DATABASE_URL=empty_database)("db", command)
        assert (ran.code, ran.out) == (6, "")


def test_python_dash_m_is_the_same_command(make_hlctl: Callable[..., Hlctl]) -> None:
    """For who has no scripts on PATH."""
    ran = make_hlctl()("--version")
    other = subprocess.run([sys.executable, "-m", "hlctl", "--version"], capture_output=True, text=True, check=True)
    assert other.stdout == ran.out
    assert ran.out.startswith("hlctl ")


def test_a_closed_stdout_does_not_change_the_exit_code(with_universe: Hlctl, database: str) -> None:
    """The code says what was committed."""
    process = with_universe.start("snapshot")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    process.communicate(timeout=60)
    assert process.returncode == 0
    with closing(psycopg.connect(database)) as conn:
        assert conn.execute("SELECT status FROM ingest_runs").fetchall() == [("success",)]


@pytest.mark.parametrize("words", ["--help", "--version", "snapshot --help", "db --help", ""])
@pytest.mark.parametrize("kind", ["full", "closed"])
def test_help_that_nobody_can_read_is_no_fault(tmp_path: Path, words: str, kind: str) -> None:
    """As `hlctl --help | true`, or onto a disk that is full."""
    reader, writer = os.pipe()
    os.close(reader)
    with Path("/dev/full").open("w") as full, os.fdopen(writer, "w") as closed:
        out = {"full": full, "closed": closed}[kind]
        ran = subprocess.run(
            [COMMAND, *words.split()],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_a_full_disk_for_the_output_does_not_change_the_exit_code(with_universe: Hlctl) -> None:
    """/dev/full fails at the last flush, which would be exit 120."""
    env = {"PATH": os.environ["PATH"], "HOME": str(with_universe.home), **with_universe.settings}
    with Path("/dev/full").open("w") as full:
        run = subprocess.run([COMMAND, "snapshot"], env=env, stdout=full, stderr=full, check=False, timeout=60)
    assert run.returncode == 0


def test_the_exchange_is_asked_with_the_credentials_and_shows_them_to_nobody_else(
    with_universe: Hlctl, exchange: sim.Exchange
) -> None:
    """A provider's key goes to its API only, and into no output."""
    ran = with_universe("--log-level", "debug", "snapshot", "--json", HLCTL_API_AUTHORIZATION="Bearer TOPSECRET")
    assert ran.code == 0
    assert "TOPSECRET" not in ran.out + ran.err
    headers: list[Any] = [entry.headers.get("authorization") for entry in exchange.journal]
    assert set(headers) == {"Bearer TOPSECRET"}
