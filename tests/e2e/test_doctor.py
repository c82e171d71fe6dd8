"""`doctor`: a healthy set-up with one thing wrong at a time; and `config show` beside it."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from hlctl import sim
from tests.e2e.conftest import Hlctl, Ran
from tests.e2e.oracle import Rows
from tests.e2e.pooler import PROGRAM, Bouncer
from tests.e2e.test_pgbouncer import bouncer  # noqa: F401 - a fixture

At = Callable[..., None]
MACHINE = {"schedule", "process_limits"}
"""Checks whose outcome is the test machine's own."""
NOT_SET = {"metrics_file"}
"""Checks of what only one test sets."""


def now(second: float = 0.0) -> dict[str, Any]:
    """Return what sets the clocks to the real time."""
    return {"second": second, "minute": datetime.now(UTC)}


@pytest.fixture
def healthy(with_universe: Hlctl, at: At) -> Hlctl:
    """Return a set-up of which every check is content: a universe and a minute of just now."""
    at(2.0, minute=datetime.now(UTC).replace(second=0, microsecond=0))
    for command in ("refresh-universe", "snapshot"):
        assert with_universe(command).code == 0
    at(**now())
    return with_universe


def found(ran: Ran) -> dict[str, tuple[str, str, str]]:
    """Return outcome, finding and remedy of each check."""
    return {c["id"]: (c["outcome"], c["finding"], c["remedy"]) for c in ran.document["result"]["checks"]}


def odd(ran: Ran) -> dict[str, str]:
    """Return the outcome of each check that is not content, the machine's own aside."""
    aside = MACHINE | {name for name in NOT_SET if found(ran)[name][0] == "skipped"}
    return {name: check[0] for name, check in found(ran).items() if check[0] != "ok" and name not in aside}


def test_a_healthy_set_up_has_nothing_to_mend(healthy: Hlctl, exchange: sim.Exchange, rows: Rows) -> None:
    """One line a check, exit 0, two requests, and nothing written."""
    before = rows("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables")
    exchange.forget()
    ran = healthy("doctor", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert odd(ran) == {"embedded_server": "skipped"}
    assert exchange.weight_sent == 2
    assert sorted(entry.kind for entry in exchange.journal) == ["clearinghouseState", "leaderboard"]
    assert rows("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables") == before
    assert re.fullmatch(r"plain PostgreSQL \d.*, in daily partitions", found(ran)["engine"][1])
    text = healthy("doctor")
    assert len(text.out.splitlines()) == len(found(ran)) + 1
    assert text.out.splitlines()[0].split()[:2] == ["ok", "settings"]
    assert healthy("--quiet", "doctor").out == ""


def test_a_set_up_without_a_universe_is_told_what_to_run(hlctl: Hlctl, at: At) -> None:
    """The day after init-db."""
    at(**now())
    ran = hlctl("doctor", "--json")
    assert ran.code == 1
    assert odd(ran) == {"universe": "problem", "recording": "problem", "embedded_server": "skipped"}
    assert found(ran)["universe"][2] == "run `hlctl refresh-universe`"
    assert found(ran)["recording"][1] == "stale: no_good_minute"
    text = hlctl("--quiet", "doctor")
    assert text.code == 1
    assert "problem  universe                 no universe has been read yet; run `hlctl refresh-universe`\n" in text.out


def test_a_database_that_refuses_leaves_the_other_checks(healthy: Hlctl) -> None:
    """The exchange and the machine are looked at all the same."""
    ran = healthy("doctor", "--json", HLCTL_DATABASE_URL="postgresql://ann:TOPSECRET@127.0.0.1:1/x")
    assert ran.code == 1
    checks = found(ran)
    assert checks["database_reachable"][:2] == ("problem", "cannot connect to the database: connection refused")
    assert checks["exchange_reachable"][0] == checks["leaderboard_reachable"][0] == "ok"
    assert {checks[name][0] for name in ("schema", "rights", "universe", "clock_host_database")} == {"skipped"}
    assert checks["clock_database_exchange"][1] == "the database's clock is not known"
    assert "TOPSECRET" not in ran.out


def test_an_option_of_the_url_that_cannot_be_is_a_setting_to_mend(healthy: Hlctl) -> None:
    """Nobody was asked, so no server and no network is to blame; only libpq knows its options."""
    ran = healthy("doctor", "--json", HLCTL_DATABASE_URL="postgresql://u:TOPSECRET@127.0.0.1:1/x?sslmode=verify-ful")
    checks = found(ran)
    assert checks["settings"][:2] == ("problem", "the database URL's sslmode has a value that it cannot have")
    assert {checks[name][0] for name in ("database_reachable", "schema")} == {"skipped"}
    assert checks["exchange_reachable"][0] == "ok"
    assert "TOPSECRET" not in ran.out


def test_an_exchange_that_is_not_there_leaves_the_other_checks(healthy: Hlctl) -> None:
    """And each of its two addresses is named by its setting."""
    nowhere = "http://127.0.0.1:1"
    ran = healthy("doctor", "--json", HLCTL_API_URL=nowhere, HLCTL_LEADERBOARD_URL=f"{nowhere}/board")
    assert ran.code == 1
    checks = found(ran)
    assert checks["exchange_reachable"][1].startswith("connect: ")
    assert "HLCTL_API_URL" in checks["exchange_reachable"][2]
    assert "HLCTL_LEADERBOARD_URL" in checks["leaderboard_reachable"][2]
    assert checks["clock_database_exchange"] == ("skipped", "the exchange's clock is not known", "")
    assert checks["recording"][0] == "ok"


@contextmanager
def silence() -> Iterator[int]:
    """Yield a port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def accept() -> None:
            with listener:
                while True:
                    try:
                        kept.append(listener.accept()[0])
                    except OSError:
                        return

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


def test_silence_everywhere_is_an_answer_in_time(make_hlctl: Callable[..., Hlctl]) -> None:
    """Who asks what is wrong does not wait for what is."""
    with silence() as port:
        ran = make_hlctl(
            HLCTL_DATABASE_URL=f"postgresql://u@127.0.0.1:{port},127.0.0.1:{port},127.0.0.1:{port}/x",
            HLCTL_API_URL=f"http://127.0.0.1:{port}",
            HLCTL_LEADERBOARD_URL=f"http://127.0.0.1:{port}/board",
        )("doctor", "--json")
    assert ran.code == 1
    assert ran.seconds < 15
    checks = found(ran)
    assert checks["exchange_reachable"][1].startswith("timeout: ")
    assert checks["database_reachable"][0] == "problem"
    assert "no answer" in checks["database_reachable"][1]
    assert checks["schema"][:2] == ("skipped", "the database cannot be asked")


@pytest.mark.parametrize(("seconds", "outcome", "code"), [(8, "warning", 0), (40, "problem", 1)])
def test_a_clock_that_is_off_is_measured_from_both_sides(
    healthy: Hlctl, at: At, exchange: sim.Exchange, seconds: int, outcome: str, code: int
) -> None:
    """The database's, from this machine and from the exchange."""
    at(float(seconds), minute=datetime.now(UTC))
    checks = found(ran := healthy("doctor", "--json"))
    assert (ran.code, checks["clock_host_database"][0]) == (code, outcome)
    assert checks["clock_database_exchange"][0] == "ok", "the exchange has the same clock in this test"
    exchange.clock = time.time
    checks = found(healthy("doctor", "--json"))
    assert checks["clock_database_exchange"][0] == "problem"
    assert (
        f"{seconds}." in checks["clock_database_exchange"][1]
        or f"{seconds - 1}.9" in checks["clock_database_exchange"][1]
    )


@pytest.mark.parametrize(
    ("change", "words", "remedy"),
    [
        ("DELETE FROM schema_migrations WHERE version > 5", "lacks 0006", "run `hlctl init-db`"),
        (
            "INSERT INTO schema_migrations VALUES (99, 'x', 'y', now(), '9.0.0')",
            "has version 99",
            "upgrade hlctl on this machine",
        ),
        (
            "UPDATE schema_migrations SET checksum = 'x' WHERE version = 1",
            "0001_universe is not the one",
            "reinstall hlctl",
        ),
    ],
)
def test_another_schema_is_told(healthy: Hlctl, rows: Rows, change: str, words: str, remedy: str) -> None:
    """Older, newer, edited; what can be asked all the same is."""
    with closing(psycopg.connect(healthy.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        conn.execute(change.encode())
    ran = healthy("doctor", "--json")
    checks = found(ran)
    assert (ran.code, checks["schema"][0]) == (1, "problem")
    assert words in checks["schema"][1]
    assert remedy in checks["schema"][2]
    assert checks["tool_version"][0] == ("warning" if "99" in change else "ok")
    assert checks["universe"][0] == "ok"
    assert rows("SELECT count(*) FROM v_universe") == [(200,)]


def test_a_database_without_a_schema_is_told_what_to_run(make_hlctl: Callable[..., Hlctl], empty_database: str) -> None:
    """Nothing is made, and what needs a schema is no second problem."""
    checks = found(make_hlctl(HLCTL_DATABASE_URL=empty_database)("doctor", "--json"))
    assert checks["schema"] == ("problem", "the database has no hlctl schema", "run `hlctl init-db`")
    assert {checks[name][0] for name in ("tool_version", "rights", "universe", "recording", "partitions_ahead")} == {
        "skipped"
    }
    assert checks["database_writable"][0] == "ok"
    with closing(psycopg.connect(empty_database)) as conn:
        assert conn.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").fetchone() == (
            0,
        )


def test_a_database_of_another_encoding_is_told(
    make_hlctl: Callable[..., Hlctl], server: str, create_database: Callable[..., str]
) -> None:
    """Every other command refuses it; this one says what to do."""
    url = make_conninfo(server, dbname=create_database(encoding="SQL_ASCII"))
    checks = found(make_hlctl(HLCTL_DATABASE_URL=url)("doctor", "--json"))
    assert checks["database_encoding"][:2] == ("problem", "the database's encoding is SQL_ASCII: it must be UTF8")
    assert checks["database_reachable"][0] == "ok"


def test_missing_partitions_are_told_before_they_are_needed(healthy: Hlctl, rows: Rows) -> None:
    """Counted in days after today; one of a later day, which a clock that ran ahead leaves, is not the next."""
    with closing(psycopg.connect(healthy.settings["HLCTL_DATABASE_URL"], autocommit=True)) as conn:
        for day in range(1, 9):
            name = f"wallet_snapshots_{datetime.now(UTC) + timedelta(days=day):%Y%m%d}"
            conn.execute(f"DROP TABLE IF EXISTS {name}".encode())
        conn.execute(
            "CREATE TABLE wallet_snapshots_20990101 PARTITION OF wallet_snapshots"
            " FOR VALUES FROM ('2099-01-01 00:00Z') TO ('2099-01-02 00:00Z')"
        )
    checks = found(healthy("doctor", "--json"))
    assert checks["partitions_ahead"][:2] == ("warning", "0 days ahead")
    assert rows("SELECT count(*) FROM v_positions") == [(600,)]


@pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")
def test_a_pooler_is_told_and_no_obstacle(healthy: Hlctl, bouncer: Bouncer) -> None:  # noqa: F811 - the fixture
    """In transaction mode, with one server connection."""
    ran = healthy("doctor", "--json", HLCTL_DATABASE_URL=bouncer.url(healthy.settings["HLCTL_DATABASE_URL"]))
    assert found(ran)["pooler"][0] == "ok"
    assert found(ran)["pooler"][1].endswith("stands before the server, which is no obstacle")
    assert ran.code == 0
    assert found(healthy("doctor", "--json"))["pooler"][1] == "none in the way"


def test_a_settings_file_that_everybody_may_read_is_told_if_there_is_a_password_in_it(
    healthy: Hlctl, tmp_path: Path
) -> None:
    """And only then: where the database is is no secret."""
    file = tmp_path / "hlctl.env"
    for password, outcome in ((" password=TOPSECRET", "problem"), ("", "ok")):
        file.write_text(f'HLCTL_DATABASE_URL="{healthy.settings["HLCTL_DATABASE_URL"]}{password}"\n')
        file.chmod(0o644)
        kept = {name: value for name, value in healthy.settings.items() if name != "HLCTL_DATABASE_URL"}
        ran = Hlctl(kept, healthy.home, healthy.started)("--config", str(file), "doctor", "--json")
        assert found(ran)["permissions"][0] == outcome
        assert "TOPSECRET" not in ran.out
    file.chmod(0o600)


def test_a_setting_that_is_refused_is_the_first_thing_told(healthy: Hlctl) -> None:
    """With the machine's checks, which need none."""
    ran = healthy("doctor", "--json", HLCTL_UNIVERSE_SIZE="TOPSECRET")
    checks = found(ran)
    assert ran.code == 1
    assert checks["settings"][0] == "problem"
    assert "HLCTL_UNIVERSE_SIZE" in checks["settings"][1]
    assert {checks["schema"][0], checks["exchange_reachable"][0]} == {"skipped"}
    assert checks["schedule"][0] != "skipped"
    assert "TOPSECRET" not in ran.out
    shown = healthy("config", "show", HLCTL_UNIVERSE_SIZE="TOPSECRET")
    assert (shown.code, shown.err) == (6, "")
    assert "HLCTL_UNIVERSE_SIZE           refused: " in shown.out
    assert "TOPSECRET" not in shown.out


def test_the_embedded_server_is_looked_at_and_never_made_or_started(
    make_hlctl: Callable[..., Hlctl], tmp_path: Path
) -> None:
    """None at all, one that runs, one that is stopped."""
    data = tmp_path / "data"
    nowhere = "http://127.0.0.1:1"
    hlctl = make_hlctl(HLCTL_DATA_DIR=str(data), HLCTL_API_URL=nowhere, HLCTL_LEADERBOARD_URL=f"{nowhere}/board")
    checks = found(hlctl("doctor", "--json"))
    assert checks["embedded_server"][::2] == ("problem", "run `hlctl init-db`")
    assert checks["database_reachable"][::2] == ("problem", "run `hlctl init-db`")
    assert not data.exists()
    assert hlctl("init-db").code == 0
    try:
        checks = found(hlctl("doctor", "--json"))
        assert checks["embedded_server"][0] == "ok"
        assert checks["embedded_server"][1].startswith("running")
        assert "PostgreSQL 18." in checks["embedded_server"][1]
        assert (checks["database_reachable"][:2], checks["schema"][0]) == (("ok", "the embedded server"), "ok")
        assert "are free" in checks["disk"][1]
        assert checks["permissions"][1] == f"private: data directory {data}"
        data.chmod(0o755)
        assert found(hlctl("doctor", "--json"))["permissions"][0] == "warning"
        data.chmod(0o700)
    finally:
        assert hlctl("db", "stop").code == 0
    checks = found(hlctl("doctor", "--json"))
    assert checks["database_reachable"][::2] == ("warning", "run `hlctl db start`")
    assert checks["embedded_server"][1].startswith("stopped; the next command starts it")
    assert hlctl("db", "status", "--json").document["result"]["running"] is False


def test_the_place_of_the_metrics_file_is_looked_at_and_nothing_is_written_there(
    healthy: Hlctl, tmp_path: Path
) -> None:
    """A file that is not written looks to Prometheus like a file of long ago."""
    folder = tmp_path / "textfiles"
    settings = {"HLCTL_METRICS_FILE": str(folder / "hlctl.prom")}
    ran = healthy("doctor", "--json", **settings)
    assert ran.code == 0
    assert odd(ran) == {"embedded_server": "skipped", "metrics_file": "warning"}
    folder.mkdir()
    assert odd(healthy("doctor", "--json", **settings)) == {"embedded_server": "skipped"}
    assert list(folder.iterdir()) == []


def test_an_installation_without_bytecode_costs_twice_the_cpu(healthy: Hlctl, at: At, tmp_path: Path) -> None:
    """Nothing is wrong but the bill, 1,440 times a day."""
    at(**now())
    ran = healthy("doctor", "--json", PYTHONDONTWRITEBYTECODE="1", PYTHONPYCACHEPREFIX=str(tmp_path / "none"))
    outcome, finding, remedy = found(ran)["bytecode"]
    assert (ran.code, outcome) == (0, "warning")
    assert re.fullmatch(r"\d+ of \d+ modules are compiled again at every start, .*", finding)
    assert "compileall" in remedy
