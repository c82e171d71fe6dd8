"""`config show`: every setting, its value and where that came from."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic.fields import FieldInfo

from hlctl import settings
from hlctl.answers import ConfigResult, Setting
from hlctl.settings import PREFIX, Given, Settings

_SHOWN = {
    "user": "user",
    "host": "host",
    "hostaddr": "address",
    "port": "port",
    "dbname": "database",
    "sslmode": "sslmode",
}
"""What of a connection string is no secret, and how it is called."""

_HARMLESS = re.compile(r"[\w.,:/\[\]-]*", re.ASCII)  # no part of another connection string, as libpq takes for dbname
_TLS = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def show(config: Path | None) -> ConfigResult:
    """Tell every setting, the wrong ones too; raises ConfigurationError if the settings file cannot be read."""
    sources = settings.read_sources(config)
    problems = settings.problems_of(sources)
    fields = {f"{PREFIX}{name.upper()}": field for name, field in Settings.model_fields.items()}
    strangers = sorted((sources.given.keys() | problems.keys()) - fields.keys())
    return ConfigResult(
        settings=[
            *(_setting(name, field, sources.given, problems) for name, field in fields.items()),
            *(_stranger(name, sources.given, problems) for name in strangers),
        ]
    )


def _setting(name: str, field: FieldInfo, given: Mapping[str, Given], problems: Mapping[str, str]) -> Setting:
    found = given.get(name)
    problem = problems.get(name)
    if found is None:
        value = None if field.default is None else str(field.default)
        return Setting(name=name, value=value, origin="default", problem=problem)
    # A value that is refused may be a secret that belongs somewhere else.
    value = None if problem else _masked(name, str(found.value), is_secret="SecretStr" in str(field.annotation))
    return Setting(name=name, value=value, origin=found.origin, problem=problem)


def _stranger(name: str, given: Mapping[str, Given], problems: Mapping[str, str]) -> Setting:
    origin = given[name].origin if name in given else "environment"
    return Setting(name=name, value=None, origin=origin, problem=problems.get(name, "is no setting of hlctl"))


def _masked(name: str, value: str, *, is_secret: bool) -> str:
    """Return what may be shown of a value: nothing of a secret but that it is set, where in doubt."""
    if name == f"{PREFIX}DATABASE_URL":
        return database_words(value)
    if is_secret:
        return "set"
    if "://" in value:  # providers put their keys into the path
        parts = urlsplit(value)
        default = Settings.model_fields[name.removeprefix(PREFIX).lower()].default
        is_known = value == default or parts.path in {"", "/", "/info"}
        return value if is_known else f"{parts.scheme}://{parts.netloc}/***"
    return value


def database_words(url: str) -> str:
    """Say which database a connection string means, without any of its secrets."""
    try:
        parts = conninfo_to_dict(url)
    except (psycopg.Error, UnicodeError):
        return "set"
    shown = {words: str(parts[key]) for key, words in _SHOWN.items() if parts.get(key)}
    if not all(_HARMLESS.fullmatch(value) and "://" not in value for value in shown.values()):
        return "set"
    if not shown.get("port", "1").replace(",", "").isdecimal() or shown.get("sslmode", _TLS[0]) not in _TLS:
        return "set"
    return ", ".join(["set", *(f"{words} {value}" for words, value in shown.items())])


def has_password(url: str) -> bool:
    """Tell whether there is a secret in a connection string, where in doubt that there is."""
    try:
        return bool(conninfo_to_dict(url).keys() & {"password", "sslpassword"})
    except (psycopg.Error, UnicodeError):
        return True
