"""What `doctor` makes of what it sees: facts in, one line and a remedy out. docs/doctor.md explains every check."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, unique


@unique
class Outcome(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"  # works today, and deserves a look
    PROBLEM = "problem"  # minutes are lost, or will be
    SKIPPED = "skipped"  # cannot be known, because of something another check has found, or does not apply


@unique
class CheckId(StrEnum):
    """The checks, in the order they are told in. A script compares these names: they never change."""

    SETTINGS = "settings"
    PERMISSIONS = "permissions"
    DATABASE_REACHABLE = "database_reachable"
    DATABASE_TLS = "database_tls"
    DATABASE_VERSION = "database_version"
    DATABASE_ENCODING = "database_encoding"
    DATABASE_WRITABLE = "database_writable"
    POOLER = "pooler"
    SCHEMA = "schema"
    TOOL_VERSION = "tool_version"
    RIGHTS = "rights"
    SCHEMA_CREATORS = "schema_creators"
    UNIVERSE = "universe"
    RECORDING = "recording"
    ENGINE = "engine"
    PARTITIONS_AHEAD = "partitions_ahead"
    DISK = "disk"
    EMBEDDED_SERVER = "embedded_server"
    EXCHANGE_REACHABLE = "exchange_reachable"
    LEADERBOARD_REACHABLE = "leaderboard_reachable"
    CLOCK_HOST_DATABASE = "clock_host_database"
    CLOCK_DATABASE_EXCHANGE = "clock_database_exchange"
    SCHEDULE = "schedule"
    PROCESS_LIMITS = "process_limits"
    BYTECODE = "bytecode"
    METRICS_FILE = "metrics_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `doctor`."""

    id: CheckId
    outcome: Outcome
    finding: str  # for people
    remedy: str  # what to do; empty if nothing


def ok(check: CheckId, finding: str) -> Check:
    """Return that all is well."""
    return Check(id=check, outcome=Outcome.OK, finding=finding, remedy="")


def warning(check: CheckId, finding: str, remedy: str) -> Check:
    """Return what deserves a look."""
    return Check(id=check, outcome=Outcome.WARNING, finding=finding, remedy=remedy)


def problem(check: CheckId, finding: str, remedy: str) -> Check:
    """Return what costs minutes."""
    return Check(id=check, outcome=Outcome.PROBLEM, finding=finding, remedy=remedy)


def skipped(check: CheckId, reason: str) -> Check:
    """Return why this cannot be known."""
    return Check(id=check, outcome=Outcome.SKIPPED, finding=reason, remedy="")


def age(span: timedelta) -> str:
    """Return a span of time in one unit."""
    seconds = round(span.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
