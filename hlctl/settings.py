"""Settings: the environment over the file given by --config over the defaults, all validated before anything runs."""

import os
import re
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hlctl import logs
from hlctl.errors import ConfigurationError

PREFIX = "HLCTL_"
CONFIG = "HLCTL_CONFIG"
SECRETS = ("database_url", "api_authorization", "ping_url")
"""Settings that may be given as a file, for systemd credentials: HLCTL_DATABASE_URL_FILE and so on."""

_ONE_STATE = 2  # weight of one request; five sixths of a limit must hold at least one
_URL_FORM = "postgresql://user:password@host:5432/database"
_MAX_FILE_BYTES = 64 * 2**10
_NAME = re.compile(rf"{PREFIX}[A-Z0-9_]*", re.ASCII)  # whatever else stands there may have a secret in it
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+(%[\w.~-]+)?\]|[^\[\]:]*)(:[0-9]*)?", re.ASCII | re.IGNORECASE)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII | re.IGNORECASE)

LogLevel = Literal["debug", "info", "warning", "error"]


def _web_address(value: str, *, instead: str = "; use HLCTL_API_AUTHORIZATION") -> str:
    """Accept https anywhere and http on loopback; never user info, which would end up in logs."""
    if not value.isprintable() or " " in value:
        raise ValueError("must be one word of printable characters")
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        _port = parts.port  # raises where it is no number
    except ValueError:
        raise ValueError("is not a web address") from None  # its own message would repeat the value
    if parts.scheme not in {"https", "http"} or not host:
        raise ValueError("must be an https:// address")
    authority = parts.netloc.rpartition("@")[2]
    if not _AUTHORITY.fullmatch(authority) or not _is_host(host, is_bracketed=authority.startswith("[")):
        raise ValueError("has a host name that cannot be one")
    if parts.username or parts.password:
        raise ValueError(f"must not contain a user or password{instead}")
    if parts.query or parts.fragment:
        raise ValueError("must not contain a query or fragment")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("may be http:// only on this machine (127.0.0.1, [::1] or localhost)")
    return value


def _is_host(host: str, *, is_bracketed: bool) -> bool:
    """Tell whether the HTTP library will take it: its own refusal would come late and repeat the address."""
    try:
        return ip_address(host).version == (6 if is_bracketed else 4)
    except ValueError:
        pass
    if is_bracketed:
        return False
    if not host.isascii():
        from requests import Request, RequestException  # noqa: PLC0415 - few hosts need it, and it costs start-up time

        try:
            host = urlsplit(Request("GET", f"https://{host}").prepare().url or "").hostname or ""
        except RequestException:
            return False
    return all(_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


WebAddress = Annotated[str, AfterValidator(_web_address)]


def _ping_address(value: SecretStr) -> SecretStr:
    """Accept what `_web_address` does; its path is the secret."""
    _web_address(value.get_secret_value(), instead="")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    """Accept what an HTTP header can carry; the HTTP library's own message would show the secret."""
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("must be printable ASCII without blanks around it")
    return value


def _connection_string(value: SecretStr) -> SecretStr:
    """Refuse a URL that libpq would cut in the wrong place.

    It takes the first @ or / for the end of the password. The rest of the password would be looked up as a host, or be
    sent to a server as the name of a database and stand in its log.
    """
    text = value.get_secret_value()
    scheme, found, rest = text.partition("://")
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    if not found:
        if "=" not in text:
            raise ValueError(f"must look like {_URL_FORM}")
        return value
    if scheme not in {"postgresql", "postgres"}:
        raise ValueError(f"must look like {_URL_FORM}")
    userinfo, at, after = rest.partition("@")
    host_and_database = (after if at and "/" not in userinfo else rest).partition("?")[0]
    if " " in text or "@" in host_and_database:
        raise ValueError("has special characters that must be percent-encoded: @ is %40, / is %2F, a blank is %20")
    return value


def _whole_path(value: Path) -> Path:
    """Refuse what would mean another place wherever a command is started, and an address, which may hold a password."""
    if not value.is_absolute() or re.search(":/", str(value)):
        raise ValueError("must be a whole path, from / on")
    return value


Share = Annotated[Decimal, Field(gt=0, le=100, decimal_places=2)]


class Settings(BaseSettings):
    """Every setting with its default; the name in the environment is HLCTL_ and the field's name in capitals.

    The values come from `load`, which refuses what the library's own reading passes over: unknown names, lines that do
    not parse, files that can be read only once.
    """

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the values given and look nowhere else."""
        return (init_settings,)

    database_url: Annotated[SecretStr, AfterValidator(_connection_string)] | None = Field(
        default=None, description="URL of a PostgreSQL 15 to 18 database; unset: the embedded server"
    )
    data_dir: Annotated[Path, AfterValidator(_whole_path)] | None = Field(
        default=None,
        description="where the embedded server and the memory of an outage live; unset: the system's usual place",
    )
    api_url: WebAddress = Field(default="https://api.hyperliquid.xyz", description="base of the exchange's /info")
    leaderboard_url: WebAddress = Field(
        default="https://stats-data.hyperliquid.xyz/Mainnet/leaderboard", description="the leaderboard file"
    )
    api_authorization: Annotated[SecretStr, AfterValidator(_header_value)] | None = Field(
        default=None, description="Authorization header for the exchange's API"
    )
    universe_size: int = Field(default=200, ge=1, le=100_000, description="wallets to record, from the next refresh on")
    universe_min_valid: Decimal = Field(
        default=Decimal("0.90"), gt=0, le=1, description="share of the universe a leaderboard must yield"
    )
    universe_refresh_hours: Decimal = Field(
        default=Decimal(6), gt=0, le=8760, description="hours between refreshes; after two of them the universe is old"
    )
    max_concurrency: int = Field(default=8, ge=1, le=64, description="requests in flight")
    request_timeout: float = Field(default=8.0, gt=0, le=50, description="seconds for one request, all of it")
    max_attempts: int = Field(default=3, ge=1, le=3, description="attempts per wallet and minute")
    rate_limit: int = Field(
        default=1200,
        ge=0,
        le=1_000_000,
        description="the exchange's limit in weight per minute, of which 5/6 are used; a wallet weighs 2; 0: none",
    )
    deadline: float = Field(default=50.0, gt=0, le=50, description="second of the minute at which fetching stops")
    coverage_success: Share = Field(
        default=Decimal(95), description="percent of wallets from which a minute is a success"
    )
    coverage_failed: Share = Field(default=Decimal(80), description="percent of wallets below which a minute is failed")
    stale_after: int = Field(
        default=180, ge=60, le=86_400, description="age in seconds of the newest good minute at which the data is stale"
    )
    retention_days: int | None = Field(
        default=None, ge=1, le=36_500, description="whole days of cells that prune keeps; unset: only --keep says"
    )
    metrics_file: Annotated[Path, AfterValidator(_whole_path)] | None = Field(
        default=None, description="file for Prometheus' node_exporter, written after each scheduled command"
    )
    ping_url: Annotated[SecretStr, AfterValidator(_ping_address)] | None = Field(
        default=None, description="address that each snapshot reports its exit status to, as healthchecks.io takes it"
    )
    log_level: LogLevel = Field(default="warning", description="debug, info, warning or error")
    log_format: logs.Format = Field(default="text", description="text, or json: one object a line on stderr")

    @model_validator(mode="after")
    def _figures_fit_together(self) -> "Settings":
        if self.coverage_failed > self.coverage_success:
            raise ValueError("HLCTL_COVERAGE_FAILED must not be above HLCTL_COVERAGE_SUCCESS")
        if 0 < self.rate_limit <= _ONE_STATE:
            raise ValueError(f"HLCTL_RATE_LIMIT must be 0, for none, or more than {_ONE_STATE}: one request weighs 2")
        return self


def default_data_dir() -> Path:
    """Return where hlctl keeps what is its own unless HLCTL_DATA_DIR says otherwise.

    Raises ConfigurationError if the user has no home directory.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/hlctl")
    from platformdirs import user_data_path  # noqa: PLC0415 - root never loads it

    with suppress(RuntimeError):  # neither HOME nor an entry in passwd
        path = user_data_path("hlctl", appauthor=False)
        if path.is_absolute():
            return path
    raise ConfigurationError("this user has no home directory", remedy="set HLCTL_DATA_DIR to a directory")


KNOWN = frozenset(
    {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    | {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS}
    | {CONFIG}
)


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody set, and where."""

    value: str | None = field(repr=False)
    origin: str  # environment, file PATH, file named by X_FILE
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that was set, by the name in the environment, and what is wrong with how it was set."""

    given: Mapping[str, Given]
    problems: Mapping[str, ConfigurationError]


def load(config: Path | None = None) -> Settings:
    """Read and check every setting; raises ConfigurationError with one line that names the setting, never its value."""
    return checked(read_sources(config))


def checked(sources: Sources) -> Settings:
    """Return the settings that sources give; raises ConfigurationError as `load` does."""
    for problem in sources.problems.values():
        raise problem
    values: dict[str, Any] = {name.removeprefix(PREFIX).lower(): given.value for name, given in sources.given.items()}
    try:
        return Settings(**values)
    except ValidationError as exc:
        raise ConfigurationError("; ".join(_words(error["loc"], error["msg"]) for error in exc.errors())) from None


def read_sources(config: Path | None = None) -> Sources:
    """Return what the environment, the settings file and the files of secrets say, and what of it is no setting.

    Raises ConfigurationError if the settings file cannot be read: what it says would outrank the defaults.
    """
    problems: dict[str, ConfigurationError] = {}
    in_environment = {
        name: Given(value, "environment") for name, value in os.environ.items() if name.startswith(PREFIX)
    }
    _look(in_environment, KNOWN, "the environment", problems)
    named = in_environment.pop(CONFIG, None)
    in_file: dict[str, Given] = {}
    if config is not None:
        in_file = _read(config, f"the settings file {config}", problems)
    elif named is not None and named.value:
        # Which may be anything, put there by mistake.
        in_file = _read(Path(named.value), f"the settings file named by {CONFIG}", problems)
    return Sources(_with_secrets({**in_file, **in_environment}, problems), problems)


def problems_of(sources: Sources) -> dict[str, str]:
    """Return what is wrong with each setting, by its name, in words that never show a value."""
    found = {name: f"{exc}{f'; {exc.remedy}' if exc.remedy else ''}" for name, exc in sources.problems.items()}
    good = {name: given for name, given in sources.given.items() if name not in found}
    values: dict[str, Any] = {name.removeprefix(PREFIX).lower(): given.value for name, given in good.items()}
    try:
        Settings(**values)
    except ValidationError as exc:
        for error in exc.errors():
            words = _words(error["loc"], error["msg"])
            name = words.partition(" ")[0].removesuffix(":")  # every message begins with it
            found.setdefault(name, words.removeprefix(f"{name}: "))
    return found


def _read(file: Path, what: str, problems: dict[str, ConfigurationError]) -> dict[str, Given]:
    """Read a settings file. A line that is no HLCTL_NAME=value is refused by its number: it may be a secret."""
    found: dict[str, Given] = {}
    for binding in parse_stream(StringIO(_content(file, what))):
        if binding.error or (binding.key is not None and not _NAME.fullmatch(binding.key)):
            raise ConfigurationError(f"line {binding.original.line} of {what} is no {PREFIX}NAME=value")
        if binding.key is not None:
            found[binding.key] = Given(binding.value, f"file {file}", file)
    _look(found, KNOWN - {CONFIG}, what, problems)  # a file names no other
    return found


def _content(file: Path, what: str) -> str:
    """Return the text of a file, read once: it may be a pipe. Refuse one that everybody may write."""
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"cannot read {what}: {getattr(exc, 'strerror', None) or 'that is no path'}") from None
    if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
        raise ConfigurationError(f"everybody may write {what}", remedy="take that right away: chmod o-w")
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{what} is longer than {_MAX_FILE_BYTES // 2**10} KiB")
    try:
        return content.decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what} is not UTF-8 text") from None


def _with_secrets(given: Mapping[str, Given], problems: dict[str, ConfigurationError]) -> dict[str, Given]:
    """Put the secrets in the place of the names of their files."""
    files = {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS}
    found = {name: value for name, value in given.items() if name not in files}
    for field_name in SECRETS:
        name = f"{PREFIX}{field_name.upper()}"
        path = given.get(f"{name}_FILE")
        if path is None or not path.value:
            continue
        if name in given:
            problems.setdefault(
                name, ConfigurationError(f"both {name} and {name}_FILE are set", remedy="keep one of them")
            )
            continue
        file, origin, secret = Path(path.value), f"file named by {name}_FILE", ""
        try:
            secret = _content(file, f"the {origin}").strip()
        except ConfigurationError as exc:
            problems.setdefault(name, exc)
        if not secret:
            problems.setdefault(name, ConfigurationError(f"the {origin} is empty"))
        found[name] = Given(secret, origin, file)
    return found


def _look(
    given: Mapping[str, Given], known: Collection[str], where: str, problems: dict[str, ConfigurationError]
) -> None:
    """Find names that are no setting's, and settings without a value."""
    for name in given:
        if name not in known:
            endings = sorted(there.removeprefix(PREFIX) for there in known)
            close = get_close_matches(name.removeprefix(PREFIX), endings, n=1)
            hint = f"did you mean {PREFIX}{close[0]}?" if close else "see the README for the settings there are"
            problems[name] = ConfigurationError(f"{name} in {where} is no setting of hlctl", remedy=hint)
    for name, value in given.items():
        if not value.value:
            problems.setdefault(
                name, ConfigurationError(f"{name} is empty", remedy="give it a value, or leave it out for the default")
            )


def _words(loc: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if not message.startswith(PREFIX) else message
    return f"{PREFIX}{str(loc[0]).upper()}: {message}" if loc else message
