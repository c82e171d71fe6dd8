"""The one JSON document that every command prints with --json (docs/json.md)."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from hlctl.errors import ExitCode, HlctlError, Verdict
from hlctl.render import clean
from hlctl.results import Result

SCHEMA_VERSION = 1


def document(command: str, code: ExitCode | Verdict, result: Result | None, error: HlctlError | None) -> str:
    """Return the one envelope every command prints with --json, on success and on failure."""
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "command": command,
            "exit_code": int(code),
            "result": None if result is None else plain(result),
            "error": None
            if error is None
            else {"code": error.code, "message": clean(str(error)), "remedy": clean(error.remedy)},
        },
        allow_nan=False,
    )


def plain(value: Any) -> Any:  # noqa: ANN401 - any value of the domain
    """Return JSON types: decimals as strings, times as RFC 3339 with Z, days as YYYY-MM-DD, ages in seconds."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 3)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (Path, date)):
        return str(value)
    if isinstance(value, float):
        return round(value, 3)
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
