"""Settings: the environment over the file given by --config over the defaults, all validated before anything runs."""

import os
from collections.abc import Iterable, Mapping
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

from hlctl.errors import ConfigurationError

PREFIX = "HLCTL_"
CONFIG = "HLCTL_CONFIG"
SECRETS = ("database_url", "api_authorization")
"""Settings that may be given as a file, for systemd credentials: HLCTL_DATABASE_URL_FILE and so on."""

_ONE_STATE = 2  # weight of one request; five sixths of a limit must hold at least one

LogLevel = Literal["debug", "info", "warning", "error"]


def _web_address(value: str) -> str:
    """Accept https anywhere and http on loopback; never user info, which would end up in logs."""
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        _port = parts.port  # raises where it is no number
    except ValueError:
        raise ValueError("is not a web address") from None  # its own message would repeat the value
    if parts.scheme not in {"https", "http"} or not host:
        raise ValueError("must be an https:// address")
    if parts.username or parts.password:
        raise ValueError("must not contain a user or password; use HLCTL_API_AUTHORIZATION")
    if parts.query or parts.fragment:
        raise ValueError("must not contain a query or fragment")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("may be http:// only on this machine (127.0.0.1, [::1] or localhost)")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


WebAddress = Annotated[str, AfterValidator(_web_address)]


def _header_value(value: SecretStr) -> SecretStr:
    """Accept what an HTTP header can carry; the HTTP library's own message would show the secret."""
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("must be printable ASCII without blanks around it")
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

    database_url: SecretStr | None = Field(default=None, description="PostgreSQL 15 to 18; unset: the embedded server")
    data_dir: Path | None = Field(
        default=None, description="where the embedded server lives; unset: the system's usual place"
    )
    api_url: WebAddress = Field(default="https://api.hyperliquid.xyz", description="base of the exchange's /info")
    leaderboard_url: WebAddress = Field(
        default="https://stats-data.hyperliquid.xyz/Mainnet/leaderboard", description="the leaderboard file"
    )
    api_authorization: Annotated[SecretStr, AfterValidator(_header_value)] | None = Field(
        default=None, description="Authorization header for the exchange's API"
    )
    universe_size: int = Field(default=200, ge=1, le=100_000, description="wallets to record")
    universe_min_valid: Decimal = Field(
        default=Decimal("0.90"), gt=0, le=1, description="share of the universe a leaderboard must yield"
    )
    universe_refresh_hours: Decimal = Field(default=Decimal(6), gt=0, le=8760, description="hours between refreshes")
    max_concurrency: int = Field(default=8, ge=1, le=64, description="requests in flight")
    request_timeout: float = Field(default=8.0, gt=0, le=50, description="seconds for one request, all of it")
    max_attempts: int = Field(default=3, ge=1, le=3, description="attempts per wallet and minute")
    rate_limit: int = Field(default=1200, ge=0, description="the exchange's limit in weight per minute; 0: none")
    deadline: float = Field(default=50.0, gt=0, le=50, description="second of the minute at which fetching stops")
    coverage_success: Share = Field(default=Decimal(95), description="percent from which a minute is a success")
    coverage_failed: Share = Field(default=Decimal(80), description="percent below which a minute is failed")
    stale_after: int = Field(default=180, ge=60, le=86_400, description="age in seconds at which the data is stale")
    log_level: LogLevel = Field(default="warning", description="debug, info, warning or error")

    @model_validator(mode="after")
    def _figures_fit_together(self) -> "Settings":
        if self.coverage_failed > self.coverage_success:
            raise ValueError("HLCTL_COVERAGE_FAILED must not be above HLCTL_COVERAGE_SUCCESS")
        if 0 < self.rate_limit <= _ONE_STATE:
            raise ValueError(f"HLCTL_RATE_LIMIT must be 0, for none, or more than {_ONE_STATE}: one request weighs 2")
        return self


KNOWN = frozenset(
    {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    | {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS}
    | {CONFIG}
)


def load(config: Path | None = None) -> Settings:
    """Read and check every setting; raises ConfigurationError with one line that names the setting, never its value."""
    file = config or (Path(os.environ[CONFIG]) if os.environ.get(CONFIG) else None)
    in_file = {} if file is None else _read(file)
    in_environment = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    _refuse_unknown(in_environment, "the environment")
    _refuse_unknown(in_file, str(file))
    given = {name: value for name, value in {**in_file, **in_environment}.items() if name != CONFIG}
    for name, value in given.items():
        if not value:
            raise ConfigurationError(f"{name} is empty", remedy="give it a value, or leave it out for the default")
    secrets = _secrets_from_files(given)
    values: dict[str, Any] = {
        name.removeprefix(PREFIX).lower(): value for name, value in given.items() if not name.endswith("_FILE")
    }
    try:
        return Settings(**values, **secrets)
    except ValidationError as exc:
        raise ConfigurationError("; ".join(_words(error["loc"], error["msg"]) for error in exc.errors())) from None


def _read(file: Path) -> dict[str, str | None]:
    """Read a settings file, once: it may be a pipe. A line that is no NAME=value is refused, not passed over."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"cannot read the settings file {file}: {_why(exc)}") from None
    found: dict[str, str | None] = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            raise ConfigurationError(f"line {binding.original.line} of {file} is no NAME=value")
        if binding.key is not None:
            found[binding.key] = binding.value
    return found


def _secrets_from_files(given: Mapping[str, str | None]) -> dict[str, Any]:
    secrets: dict[str, Any] = {}
    for field in SECRETS:
        name = f"{PREFIX}{field.upper()}"
        path = given.get(f"{name}_FILE")
        if not path:
            continue
        if name in given:
            raise ConfigurationError(f"both {name} and {name}_FILE are set", remedy="keep one of them")
        try:
            secrets[field] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigurationError(f"cannot read the file named by {name}_FILE: {_why(exc)}") from None
        if not secrets[field]:
            raise ConfigurationError(f"the file named by {name}_FILE is empty")
    return secrets


def _refuse_unknown(names: Iterable[str], where: str) -> None:
    for name in names:
        if name not in KNOWN:
            endings = [known.removeprefix(PREFIX) for known in KNOWN]
            close = get_close_matches(name.removeprefix(PREFIX), endings, n=1)
            hint = f"did you mean {PREFIX}{close[0]}?" if close else "see the README for the settings there are"
            raise ConfigurationError(f"{name} in {where} is no setting of hlctl", remedy=hint)


def _words(loc: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if not message.startswith(PREFIX) else message
    return f"{PREFIX}{str(loc[0]).upper()}: {message}" if loc else message


def _why(exc: Exception) -> str:
    return (exc.strerror or "unreadable") if isinstance(exc, OSError) else "it is not UTF-8 text"
