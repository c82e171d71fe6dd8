"""Every way a command can end other than well: the class is the exit code, its docstring the default message.

Anything below the command line may simply raise one of these. `boundary` turns them into words, and `watch` those that
ended one of its looks.
"""

from enum import IntEnum, unique


@unique
class ExitCode(IntEnum):
    """What a command's exit status says about what was committed."""

    OK = 0  # done, already complete, or not due
    FOUND = 1  # verify, doctor or a check found something
    USAGE = 2
    PARTIAL = 3  # the minute in the table is partial
    FAILED = 4  # the minute is failed or was missed, or the universe was kept after a failed refresh
    DATABASE = 5  # the database is unusable
    SETUP = 6  # configuration, schema, universe or cluster is missing or wrong
    BUG = 70
    BUSY = 75  # another run holds the lock
    SIGINT = 130
    SIGTERM = 143


@unique
class Verdict(IntEnum):
    """What the exit status of `status --check` says instead: a monitoring plugin's four."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3  # nothing could be judged, for whatever reason


def _sentence(docstring: str) -> str:
    """Return the first line of a docstring as the start of a message: no capital, no period."""
    line = docstring.partition("\n")[0].removesuffix(".")
    return line[:1].lower() + line[1:]


class HlctlError(Exception):
    """hlctl could not do what was asked.

    `code` is the stable name scripts may match on; `remedy` is what the operator can do, empty if nothing.
    """

    exit_code = ExitCode.BUG
    code = "bug"
    remedy = ""

    def __init__(self, message: str = "", *, remedy: str | None = None) -> None:
        super().__init__(message or _sentence(self.__doc__ or ""))
        if remedy is not None:
            self.remedy = remedy


class BugError(HlctlError):
    """hlctl has a bug."""

    remedy = "please report it; --log-level debug tells more"


class UsageError(HlctlError):
    """The command line is not understood."""

    exit_code = ExitCode.USAGE
    code = "usage"
    remedy = "see `hlctl COMMAND --help`"  # the boundary names the command


class MinuteRefusedError(UsageError):
    """There is nothing to be verified of that minute or range."""

    code = "minute_refused"
    remedy = ""


class ConfigurationError(HlctlError):
    """A setting is not usable."""

    exit_code = ExitCode.SETUP
    code = "configuration"


class DatabaseUnusableError(HlctlError):
    """The database is not usable."""

    exit_code = ExitCode.DATABASE
    code = "database"


class SchemaMissingError(HlctlError):
    """The database has no hlctl schema."""

    exit_code = ExitCode.SETUP
    code = "schema_missing"
    remedy = "run `hlctl init-db`"


class SchemaOlderError(HlctlError):
    """The database's schema is older than this hlctl."""

    exit_code = ExitCode.SETUP
    code = "schema_older"
    remedy = "run `hlctl init-db`"


class SchemaNewerError(HlctlError):
    """The database's schema is newer than this hlctl."""

    exit_code = ExitCode.SETUP
    code = "schema_newer"
    remedy = "upgrade hlctl on this machine"


class SchemaEditedError(HlctlError):
    """A migration was edited after it had been applied."""

    exit_code = ExitCode.SETUP
    code = "schema_edited"
    remedy = "reinstall hlctl; migrations are never edited after a release"


class SchemaForeignError(HlctlError):
    """The database's public schema has objects of another application."""

    exit_code = ExitCode.SETUP
    code = "schema_foreign"
    remedy = (
        "give hlctl a database of its own; if its record is in this one, see docs/runbook.md,"
        " `A part of the schema is gone`"
    )


class NoUniverseError(HlctlError):
    """No universe has been read yet."""

    exit_code = ExitCode.SETUP
    code = "no_universe"
    remedy = "run `hlctl refresh-universe`"


class NoClusterError(HlctlError):
    """There is no embedded database yet."""

    exit_code = ExitCode.SETUP
    code = "no_cluster"
    remedy = "run `hlctl init-db`, or set HLCTL_DATABASE_URL"


class BusyError(HlctlError):
    """Another run holds the lock."""

    exit_code = ExitCode.BUSY
    code = "busy"


class MinuteMissedError(HlctlError):
    """The minute was over before it could be recorded."""

    exit_code = ExitCode.FAILED
    code = "minute_missed"
    remedy = "nothing to do: the next run records the next minute"


class UniverseKeptError(HlctlError):
    """The refresh failed and the universe was kept as it was."""

    exit_code = ExitCode.FAILED
    code = "universe_kept"


class MinuteFailedError(HlctlError):
    """The minute is recorded as failed."""

    exit_code = ExitCode.FAILED
    code = "minute_failed"


class InterruptedRunError(HlctlError):
    """A signal ended the run."""

    exit_code = ExitCode.SIGINT
    code = "interrupted"


class DayObstructedError(HlctlError):
    """Somebody made something of a day's partition, which cannot be dropped while that is there."""

    exit_code = ExitCode.SETUP
    code = "day_obstructed"
    remedy = "drop that, or make it of wallet_snapshots instead, and prune again"


class ArchiveError(HlctlError):
    """The archive cannot be written or read."""

    exit_code = ExitCode.SETUP
    code = "archive"
