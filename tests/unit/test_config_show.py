"""`config show`: every setting, its origin, and no secret."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlctl.answers import Setting
from hlctl.errors import ConfigurationError, ExitCode
from hlctl.jobs import config
from hlctl.settings import PREFIX, Settings

CANARY = "TOPSECRET"


def shown(path: Path | None = None) -> dict[str, Setting]:
    return {setting.name: setting for setting in config.show(path).settings}


def test_every_setting_is_shown_with_its_default() -> None:
    """A setting that is added is there by itself."""
    found = shown()
    assert list(found) == [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    assert {setting.origin for setting in found.values()} == {"default"}
    assert (found["HLCTL_UNIVERSE_MIN_VALID"].value, found["HLCTL_DATABASE_URL"].value) == ("0.90", None)


def test_each_origin_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is looked for when a value is not the one that was expected."""
    file, secret = tmp_path / "hlctl.env", tmp_path / "url"
    file.write_text("HLCTL_UNIVERSE_SIZE=50\nHLCTL_DEADLINE=40\n")
    secret.write_text(f"postgresql://ann:{CANARY}@db:5433/x?sslmode=require&sslpassword={CANARY}\n")
    monkeypatch.setenv("HLCTL_DEADLINE", "30")
    monkeypatch.setenv("HLCTL_DATABASE_URL_FILE", str(secret))
    monkeypatch.setenv("HLCTL_API_AUTHORIZATION", f"Bearer {CANARY}")
    found = shown(file)
    said = {name: (found[f"HLCTL_{name}"].value, found[f"HLCTL_{name}"].origin) for name in (
        "UNIVERSE_SIZE", "DEADLINE", "DATABASE_URL", "API_AUTHORIZATION", "LOG_LEVEL"
    )}  # fmt: skip
    assert said == {
        "UNIVERSE_SIZE": ("50", f"file {file}"),
        "DEADLINE": ("30", "environment"),
        "DATABASE_URL": (
            "set, user ann, host db, port 5433, database x, sslmode require",
            "file named by HLCTL_DATABASE_URL_FILE",
        ),
        "API_AUTHORIZATION": ("set", "environment"),
        "LOG_LEVEL": ("warning", "default"),
    }
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HLCTL_UNIVERSE_SIZE", "many", "input should be a valid integer"),
        ("HLCTL_DATABASE_URL", f"postgresql://ann:p@{CANARY}@db/x", "percent-encoded"),
        ("HLCTL_COVERAGE_FAILED", "99", "must not be above HLCTL_COVERAGE_SUCCESS"),
        ("HLCTL_RATE_LIMIT", "1", "must be 0, for none"),
        ("HLCTL_DEADLINE", "", "is empty"),
        ("HLCTL_DATABASEURL", CANARY, "did you mean HLCTL_DATABASE_URL?"),
        ("HLCTL_DATABASE_URL_FILE", "/nonexistent", "cannot read the file named by HLCTL_DATABASE_URL_FILE"),
    ],
)
def test_a_setting_that_is_refused_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """With why, and without its value: it may be a secret that belongs somewhere else."""
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("HLCTL_MAX_ATTEMPTS", "2")
    found = shown()
    bad = [setting for setting in found.values() if setting.problem]
    assert [setting.name for setting in bad] == [name.removesuffix("_FILE")]
    assert words in str(bad[0].problem)
    assert bad[0].value is None
    assert (found["HLCTL_MAX_ATTEMPTS"].value, found["HLCTL_STALE_AFTER"].value) == ("2", "180")
    assert CANARY not in str(found)
    assert config.show(None).exit_code is ExitCode.SETUP


def test_a_settings_file_that_cannot_be_read_is_no_answer(tmp_path: Path) -> None:
    """Defaults would be shown that are not in force."""
    with pytest.raises(ConfigurationError, match="cannot read the settings file"):
        config.show(tmp_path / "none")


def test_the_path_of_an_address_may_be_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers put it there; the usual ones are shown."""
    monkeypatch.setenv("HLCTL_API_URL", f"https://rpc.example/{CANARY}/info")
    monkeypatch.setenv("HLCTL_LEADERBOARD_URL", Settings.model_fields["leaderboard_url"].default)
    found = shown()
    assert found["HLCTL_API_URL"].value == "https://rpc.example/***"
    assert found["HLCTL_LEADERBOARD_URL"].value == "https://stats-data.hyperliquid.xyz/Mainnet/leaderboard"
    monkeypatch.setenv("HLCTL_API_URL", "http://127.0.0.1:8000/info")
    assert shown()["HLCTL_API_URL"].value == "http://127.0.0.1:8000/info"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("host=db user=ann password=TOPSECRET dbname=x", "set, user ann, host db, database x"),
        ("dbname=postgresql://ann:TOPSECRET@db/x user=ann", "set"),
        ("postgresql://ann:TOPSECRET", "set"),
        ("host='db TOPSECRET", "set"),
        ("postgresql://ann:TOPSECRET@/x?host=%2Frun%2Fpg", "set, user ann, host /run/pg, database x"),
        ("service=TOPSECRET user=ann", "set, user ann"),
        ("postgresql://ann@db:TOPSECRET/x", "set"),
        ("postgresql://ann:TOPSECRET%80@db/x", "set"),
        ("postgresql://ann@db/x?sslmode=TOPSECRET", "set"),
        ("postgresql://ann@db/x?TOPSECRET=1", "set"),
        ("postgresql://ann@db/x?options=TOPSECRET&passfile=TOPSECRET", "set, user ann, host db, database x"),
        ("postgresql://ann:@TOPSECRET@db/x", "set"),
        ("postgresql://ann@db/a@TOPSECRET", "set"),
        ("postgresql://ann:5432/TOPSECRET@db/x", "set"),
    ],
)
def test_of_a_database_only_its_address_is_shown(url: str, words: str) -> None:
    """In doubt nothing but that it is set."""
    assert config.database_words(url) == words


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8))
def test_no_password_is_ever_shown(password: str) -> None:
    """However it is written, quoted or not: nothing that a word of eight characters could be found in again."""
    for url in (
        f"postgresql://u:{password}@h/d",
        f"host=h password={password}",
        f"postgresql://h/d?password={password}",
    ):
        said = config.database_words(url)
        assert password not in said
