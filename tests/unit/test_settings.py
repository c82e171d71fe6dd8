"""Settings: every rule, and that no message shows a value."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlctl import settings
from hlctl.errors import ConfigurationError, ExitCode

CANARY = "TOPSECRET"


def load(monkeypatch: pytest.MonkeyPatch, config: Path | None = None, /, **environment: Any) -> settings.Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return settings.load(config)


def problem(monkeypatch: pytest.MonkeyPatch, config: Path | None = None, /, **environment: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(monkeypatch, config, **environment)
    assert caught.value.exit_code is ExitCode.SETUP
    assert CANARY not in f"{caught.value} {caught.value.remedy}"
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any set-up it runs."""
    assert load(monkeypatch).model_dump() == {
        "database_url": None,
        "data_dir": None,
        "api_url": "https://api.hyperliquid.xyz",
        "leaderboard_url": "https://stats-data.hyperliquid.xyz/Mainnet/leaderboard",
        "api_authorization": None,
        "universe_size": 200,
        "universe_min_valid": Decimal("0.90"),
        "universe_refresh_hours": Decimal(6),
        "max_concurrency": 8,
        "request_timeout": 8.0,
        "max_attempts": 3,
        "rate_limit": 1200,
        "deadline": 50.0,
        "coverage_success": Decimal(95),
        "coverage_failed": Decimal(80),
        "stale_after": 180,
        "retention_days": None,
        "metrics_file": None,
        "ping_url": None,
        "log_level": "warning",
        "log_format": "text",
    }


def test_the_environment_outranks_the_file_and_the_file_the_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The order everybody expects."""
    file = tmp_path / "hlctl.env"
    file.write_text("# a comment\nHLCTL_UNIVERSE_SIZE=50\nHLCTL_MAX_CONCURRENCY=4\n")
    found = load(monkeypatch, file, HLCTL_UNIVERSE_SIZE="60")
    assert (found.universe_size, found.max_concurrency, found.max_attempts) == (60, 4, 3)


def test_the_file_may_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unit files set variables more easily than options."""
    file = tmp_path / "hlctl.env"
    file.write_text("HLCTL_UNIVERSE_SIZE=50\n")
    assert load(monkeypatch, HLCTL_CONFIG=str(file)).universe_size == 50


def test_a_env_file_in_the_working_directory_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Somebody else's folder must not configure hlctl."""
    (tmp_path / ".env").write_text("HLCTL_UNIVERSE_SIZE=50\n")
    monkeypatch.chdir(tmp_path)
    assert load(monkeypatch).universe_size == 200


def test_a_file_that_can_be_read_only_once_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe from a secret store: passing it over would record into another database."""
    reader, writer = os.pipe()
    os.write(writer, b"HLCTL_DATABASE_URL=postgresql://elsewhere/x\n")
    os.close(writer)
    found = load(monkeypatch, Path(f"/dev/fd/{reader}"))
    os.close(reader)
    assert found.database_url is not None
    assert found.database_url.get_secret_value() == "postgresql://elsewhere/x"


@pytest.mark.parametrize(
    "line",
    [
        "HLCTL_DATABASE_URL postgresql://x",
        "HLCTL_DATABASE_URL: TOPSECRET",
        "HLCTL_API_URL='x",
        "TOPSECRET==",
        "postgresql://u:TOPSECRET@h/x?connect_timeout=3",
        "DATABASE_PASSWORD=TOPSECRET",
        "HLCTL_API_AUTHORIZATION:TOPSECRET",
        "HLCTL_DATABASE_URLpostgresql://u:TOPSECRET@h/x?sslmode=prefer",
        "'HLCTL_ TOPSECRET'=1",
        "HLCTL_UNIVERSE\u200b_SIZE=5",
    ],
)
def test_a_line_that_is_no_setting_is_refused_by_its_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    """Passed over, it would leave the default in force: another database. Repeated, it may tell a secret."""
    file = tmp_path / "hlctl.env"
    file.write_text(f"# settings\nHLCTL_UNIVERSE_SIZE=50\n{line}\n")
    assert f"line 3 of the settings file {file} is no HLCTL_NAME=value" in str(problem(monkeypatch, file))


def test_a_value_means_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable is put into it, quotes are taken off, and a name in small letters is another program's."""
    file = tmp_path / "hlctl.env"
    file.write_text("HLCTL_API_AUTHORIZATION='Bearer a${HOME}b'\nexport HLCTL_UNIVERSE_SIZE=50  # wallets\n")
    found = load(monkeypatch, file, hlctl_max_attempts="1")
    assert found.api_authorization is not None
    assert found.api_authorization.get_secret_value() == "Bearer a${HOME}b"
    assert (found.universe_size, found.max_attempts) == (50, 3)


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An operator who names a file means it."""
    assert "nowhere.env" in str(problem(monkeypatch, tmp_path / "nowhere.env"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("HLCTL_UNIVERSE_SIZ", "did you mean HLCTL_UNIVERSE_SIZE?"),
        ("HLCTL_DATABASEURL", "did you mean HLCTL_DATABASE_URL?"),
        ("HLCTL_MAX_CONCURENCY", "did you mean HLCTL_MAX_CONCURRENCY?"),
        ("HLCTL_Q", "see the README for the settings there are"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, hint: str
) -> None:
    """A misspelt setting that is ignored is found at night."""
    error = problem(monkeypatch, **{name: CANARY})
    assert (name in str(error), error.remedy) == (True, hint)
    monkeypatch.delenv(name)
    file = tmp_path / "hlctl.env"
    file.write_text(f"{name}={CANARY}\n")
    assert name in str(problem(monkeypatch, file))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("HLCTL_UNIVERSE_SIZE", ["0", "-1", "100001", "many", "1.5", CANARY]),
        ("HLCTL_UNIVERSE_MIN_VALID", ["0", "1.01", "NaN", CANARY]),
        ("HLCTL_UNIVERSE_REFRESH_HOURS", ["0", "-6", "Infinity", "9999"]),
        ("HLCTL_MAX_CONCURRENCY", ["0", "65"]),
        ("HLCTL_REQUEST_TIMEOUT", ["0", "51", "nan", "inf"]),
        ("HLCTL_MAX_ATTEMPTS", ["0", "4"]),
        ("HLCTL_RATE_LIMIT", ["-1", "1000001", "2147483648", "9" * 400]),
        ("HLCTL_API_AUTHORIZATION", [f" {CANARY}", f"{CANARY}\n", f"{CANARY}\nX: y", f"{CANARY}\u00e9"]),
        ("HLCTL_DEADLINE", ["0", "50.1", "60"]),
        ("HLCTL_COVERAGE_SUCCESS", ["-1", "0", "101", "99.999"]),
        ("HLCTL_COVERAGE_FAILED", ["-1", "0", "101"]),
        ("HLCTL_STALE_AFTER", ["59", "86401"]),
        ("HLCTL_LOG_LEVEL", ["loud"]),
        (
            "HLCTL_API_URL",
            [
                "api.hyperliquid.xyz", "ftp://x.example", "http://api.hyperliquid.xyz", "file:///etc/passwd",
                "https://", f"https://me:{CANARY}@x.example", f"https://x.example/?key={CANARY}", "http://10.0.0.1",
                "https://a..b", "https://*.example", "https://-a.example", f"https://{'a' * 64}.example", "https://[x]",
                f"https://x.example/ {CANARY}", f"https://x.example/\n{CANARY}", "https://a b", "https://x.example:x",
                "https://[v1.a]", "https://[::1%25&lo]", "https://x[::1]", "https://[::1];x", "https://1\U0001f40b", "https://:\u0130[::1]",
                "http://169.254.169.254", "http://127.0.0.1.evil.example", "http://localhost.evil.example",
            ],
        ),
        ("HLCTL_DATA_DIR", [f"postgresql://u:{CANARY}@h/x", f"/a/postgresql://u:{CANARY}@h/x"]),
        ("HLCTL_LEADERBOARD_URL", ["stats", "http://stats-data.hyperliquid.xyz/Mainnet/leaderboard"]),
    ],
)  # fmt: skip
def test_a_value_outside_its_bounds_is_refused_by_the_settings_name(
    monkeypatch: pytest.MonkeyPatch, name: str, bad: list[str]
) -> None:
    """One line, and the value is not repeated: it may be a secret in the wrong place."""
    for value in bad:
        error = problem(monkeypatch, **{name: value})
        assert str(error).startswith(f"{name}: "), value


@pytest.mark.parametrize(
    "good",
    [
        "https://api.hyperliquid.xyz", "https://example.quiknode.pro/some-key", "http://127.0.0.1:3001",
        "http://localhost:3001", "http://[::1]:3001", "http://127.9.9.9", "https://my_node.example.:8443/x",
        "https://b\u00fccher.example",
    ],
)  # fmt: skip
def test_an_own_node_or_a_provider_is_an_address_away(monkeypatch: pytest.MonkeyPatch, good: str) -> None:
    """TLS anywhere, plain http on this machine only."""
    assert load(monkeypatch, HLCTL_API_URL=good).api_url == good


def test_the_thresholds_must_be_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute cannot be both a success and failed."""
    error = problem(monkeypatch, HLCTL_COVERAGE_SUCCESS="70", HLCTL_COVERAGE_FAILED="80")
    assert str(error) == "HLCTL_COVERAGE_FAILED must not be above HLCTL_COVERAGE_SUCCESS"


@pytest.mark.parametrize("limit", ["1", "2"])
def test_a_limit_below_one_request_is_refused(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Nothing could ever be sent."""
    assert "HLCTL_RATE_LIMIT must be 0, for none, or more than 2" in str(problem(monkeypatch, HLCTL_RATE_LIMIT=limit))


@pytest.mark.parametrize("name", sorted(settings.KNOWN))
def test_an_empty_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An empty HLCTL_DATABASE_URL must not quietly mean the embedded server."""
    assert str(problem(monkeypatch, **{name: ""})) == f"{name} is empty"


@pytest.mark.parametrize("field", settings.SECRETS)
def test_a_secret_may_come_from_a_file_and_is_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, field: str
) -> None:
    """Service managers hand them over as files; editors add a mark at the start and a newline at the end."""
    file = tmp_path / "secret"
    forms = {"database_url": f"postgresql://u:{CANARY}@h/x", "ping_url": f"https://127.0.0.1/{CANARY}"}
    secret = forms.get(field, CANARY)
    name = f"HLCTL_{field.upper()}"
    for content in (secret, f"{secret}\n", f"\ufeff{secret}\r\n"):
        file.write_text(content)
        found = load(monkeypatch, **{f"{name}_FILE": str(file)})
        assert getattr(found, field).get_secret_value() == secret
    assert CANARY not in repr(found)
    assert str(problem(monkeypatch, **{name: CANARY})) == f"both {name} and {name}_FILE are set"
    monkeypatch.delenv(name)
    file.write_text("\n")
    assert f"{name}_FILE is empty" in str(problem(monkeypatch))
    file.unlink()
    assert f"{name}_FILE" in str(problem(monkeypatch))


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0o700, "cannot read the file named by HLCTL_DATABASE_URL_FILE: Is a directory"),
        (b"", 0o600, "the file named by HLCTL_DATABASE_URL_FILE is empty"),
        (b" \n\n", 0o600, "the file named by HLCTL_DATABASE_URL_FILE is empty"),
        (b"\x7fELF\xff", 0o600, "the file named by HLCTL_DATABASE_URL_FILE is not UTF-8 text"),
        (b"postgresql://u:TOPSECRET@h/x\0", 0o600, "HLCTL_DATABASE_URL: must be one line of printable characters"),
        (b"postgresql://u:a@h/x\nTOPSECRET", 0o600, "HLCTL_DATABASE_URL: must be one line of printable characters"),
        (b"x" * 2**17, 0o600, "the file named by HLCTL_DATABASE_URL_FILE is longer than 64 KiB"),
        (b"postgresql://u:TOPSECRET@h/x", 0o602, "everybody may write the file named by HLCTL_DATABASE_URL_FILE"),
    ],
)
def test_a_secret_file_that_holds_no_secret_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, mode: int, words: str
) -> None:
    """Whatever was put where the secret should be, or whoever could have."""
    file = tmp_path / "secret"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    file.chmod(mode)
    assert str(problem(monkeypatch, HLCTL_DATABASE_URL_FILE=str(file))) == words


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Installed for another user than the one who runs."""
    file = tmp_path / "secret"
    file.write_text(CANARY)
    file.chmod(0)
    for name in ("HLCTL_DATABASE_URL_FILE", "HLCTL_CONFIG"):
        assert f"named by {name}: Permission denied" in str(problem(monkeypatch, **{name: str(file)}))
        monkeypatch.delenv(name)


def test_a_secret_may_come_through_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be read once, and everybody may write it."""
    reader, writer = os.pipe()
    os.write(writer, b"Bearer x\n")
    os.close(writer)
    found = load(monkeypatch, HLCTL_API_AUTHORIZATION_FILE=f"/dev/fd/{reader}")
    os.close(reader)
    assert found.api_authorization is not None
    assert found.api_authorization.get_secret_value() == "Bearer x"


def test_the_name_of_a_file_is_not_repeated_unless_it_was_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody puts the secret where its file belongs."""
    for name in ("HLCTL_CONFIG", "HLCTL_DATABASE_URL_FILE"):
        for value in (f"postgresql://u:{CANARY}@h/x", f"{CANARY}" * 100):
            assert f"named by {name}: " in str(problem(monkeypatch, **{name: value}))
        monkeypatch.delenv(name)
    assert str(tmp_path) in str(problem(monkeypatch, tmp_path / "hlctl.env"))


def test_a_settings_file_that_everybody_may_write_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Anybody could send the record to a database of his own."""
    file = tmp_path / "hlctl.env"
    file.write_text("HLCTL_UNIVERSE_SIZE=50\n")
    file.chmod(0o666)
    assert "everybody may write the settings file" in str(problem(monkeypatch, file))
    file.chmod(0o664)
    assert load(monkeypatch, file).universe_size == 50


def test_a_settings_file_cannot_name_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would be passed over."""
    file = tmp_path / "hlctl.env"
    file.write_text("HLCTL_CONFIG=/etc/hlctl/hlctl.env\n")
    assert "HLCTL_CONFIG in the settings file" in str(problem(monkeypatch, file))


@pytest.mark.parametrize(
    "good",
    [
        "postgresql://u:p@h:5432/x?sslmode=verify-full", "postgres://u@h/x", "postgresql:///x?host=/run", "postgresql://",
        "postgresql://u:p%40%2F%3Aq@h/x", "postgresql://u:p?#:q@h/x", "postgresql://h1,h2:1/x", "postgresql://u@[::1]/x",
        "postgresql://h/x?user=u&password=p@q", "host=h user=u password='p q' dbname=x", "dbname=x", "service=x",
    ],
)  # fmt: skip
def test_a_database_url_that_libpq_reads_right_is_taken(monkeypatch: pytest.MonkeyPatch, good: str) -> None:
    """Whatever form its author likes."""
    found = load(monkeypatch, HLCTL_DATABASE_URL=good).database_url
    assert found is not None
    assert found.get_secret_value() == good


@pytest.mark.parametrize(
    "bad",
    [
        "postgresql://u:p@TOPSECRET@h/x", "postgresql://u:p/TOPSECRET@h/x", "postgresql://u:p@h/x@TOPSECRET",
        "postgresql://u:p TOPSECRET@h/x", "postgresql://u:p@ss:TOPSECRET#@h/x", "postgresql://u:1/TOPSECRET@h?a=b",
        "mysql://u:TOPSECRET@h/x", "https://TOPSECRET", "TOPSECRET", "host=h dbname=postgresql://u:TOPSECRET@h/x",
        "postgresql://u:TOPSECRET@h/x\n", "postgresql://u:TOPSECRET@h/x\x7f",
    ],
)  # fmt: skip
def test_a_database_url_that_libpq_would_cut_in_the_wrong_place_is_refused(
    monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    """A piece of the password would go to a name server, or into another server's log."""
    assert str(problem(monkeypatch, HLCTL_DATABASE_URL=bad)).startswith("HLCTL_DATABASE_URL: ")


def test_a_settings_file_that_is_not_text_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line, not a traceback."""
    file = tmp_path / "hlctl.env"
    file.write_bytes(b"HLCTL_UNIVERSE_SIZE=\xff\xfe")
    assert "not UTF-8" in str(problem(monkeypatch, file))


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=30))
def test_no_value_makes_the_loader_raise_anything_but_its_own_error(value: str) -> None:
    """Whatever an operator's editor left in the file."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HLCTL_")]:
            patch.delenv(name)
        patch.setenv("HLCTL_UNIVERSE_SIZE", value)
        patch.setenv("HLCTL_API_URL", f"https://{value}")
        try:
            assert settings.load().universe_size >= 1
        except ConfigurationError as exc:
            assert "HLCTL_" in str(exc)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("value", ["hlctl.prom", "./hlctl.prom", "https://h/hlctl.prom", "/a/https:/h/x.prom"])
def test_a_metrics_file_that_depends_on_where_a_command_starts_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Cron starts in the user's home, systemd in /, a person anywhere: each would write a file of its own."""
    assert str(problem(monkeypatch, HLCTL_METRICS_FILE=value)) == (
        "HLCTL_METRICS_FILE: must be a whole path, from / on"
    )


@pytest.mark.parametrize("value", ["data", "./data", "../data", "~/data", "."])
def test_a_data_directory_that_depends_on_where_a_command_starts_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Each place would get a record of its own, with a server that keeps running."""
    assert str(problem(monkeypatch, HLCTL_DATA_DIR=value)) == ("HLCTL_DATA_DIR: must be a whole path, from / on")


@pytest.mark.parametrize(
    "value",
    [
        f"http://hc.example/{CANARY}", f"https://u:{CANARY}@h/x", f"https://h/x?{CANARY}", f"https://h/x#{CANARY}",
        f"https://h/{CANARY} x", f"https://h/{CANARY}\n", CANARY, f"ftp://h/{CANARY}", f"https://{CANARY}..x/",
    ],
)  # fmt: skip
def test_a_ping_address_that_would_be_read_or_cut_on_its_way_is_refused_without_a_word_of_it(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Its path is the secret: who has it can silence the alarm."""
    words = str(problem(monkeypatch, HLCTL_PING_URL=value))
    assert words.startswith("HLCTL_PING_URL: ")
    assert CANARY not in words
