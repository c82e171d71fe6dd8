"""What a command found or did: the same value feeds the screen, the JSON and the exit code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hlctl.checks import Check, Outcome
from hlctl.errors import ExitCode, HlctlError, MinuteFailedError
from hlctl.model import Health, Holders, Recorded, Refresh, Universe

_STATUS_CODES = {"success": ExitCode.OK, "partial": ExitCode.PARTIAL, "failed": ExitCode.FAILED}


def missing_words(missing: Mapping[str, int]) -> str:
    """Say how many wallets are missing for which reason, most first."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(missing.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What every command returns."""

    @property
    def exit_code(self) -> ExitCode:
        """Return what the exit status will be."""
        return ExitCode.OK

    @property
    def failure(self) -> HlctlError | None:
        """Return what to say besides the result if the command did not do what it is for."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaResult(Result):
    """`init-db`: the migrations applied and the rights granted, or, on a dry run, those that would be."""

    applied: Sequence[str]
    version: int
    dry_run: bool
    grants: Sequence[str] = ()  # statements


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult(Result):
    """`refresh-universe`: a new universe is in force."""

    refresh: Refresh


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDueResult(Result):
    """`refresh-universe --if-due`: the universe in force is young enough."""

    refresh: None = None  # as RefreshResult has one
    as_of_ts: datetime  # of the universe in force
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshPlanResult(Result):
    """`refresh-universe --dry-run`: what a refresh would do now."""

    refresh: Refresh | None  # None: no source gives a leaderboard to be believed
    refused: str | None  # the rule that would keep the universe in force

    @property
    def exit_code(self) -> ExitCode:
        """Say whether the check found something."""
        return ExitCode.FOUND if self.refused else ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotResult(Result):
    """`snapshot`: the minute as it now stands."""

    snapshot_ts: datetime
    recorded: Recorded | None  # None: nothing was written, because all was known already or a signal came first
    asked: int  # wallets
    seconds: float
    problem: str | None  # what went wrong as a whole
    signal: int | None = None  # a signal that ended the fetch early

    @property
    def exit_code(self) -> ExitCode:
        """Say what was committed; a signal outranks it."""
        if self.signal is not None:
            return ExitCode(128 + self.signal)
        return _STATUS_CODES[self.recorded.status] if self.recorded else ExitCode.OK

    @property
    def failure(self) -> HlctlError | None:
        """Say in one line that a failed minute was recorded, and why."""
        if self.recorded is None or self.recorded.status != "failed":
            return None
        why = self.problem or missing_words(self.recorded.missing)
        return MinuteFailedError(
            f"{self.snapshot_ts:%H:%M} UTC is recorded as failed,"
            f" {self.recorded.wallets_succeeded} of {self.recorded.wallets_expected} wallets known: {why}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusResult(Result):
    """`status`: can the data be trusted right now, and why not."""

    health: Health
    run: Recorded | None
    universe: Universe | None
    last_hour: Sequence[tuple[datetime, str | None]]  # minute, status; None: not recorded
    holders: Sequence[Holders]  # of the newest recorded minute


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult(Result):
    """`demo`: what one minute of the whole pipeline recorded."""

    refresh: Refresh
    snapshot: SnapshotResult
    status: StatusResult
    seconds: float
    kept: Path | None  # the data directory, if it was kept
    url: str | None  # its database

    @property
    def exit_code(self) -> ExitCode:
        """Pass on the snapshot's."""
        return self.snapshot.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerResult(Result):
    """`db`: the embedded server as it is now."""

    running: bool
    pid: int | None
    version: str | None
    data_dir: Path
    url: str
    did: str  # what the command changed, in a word: started, stopped, nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class TextResult(Result):
    """One line that is its own answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting as it may be shown."""

    name: str  # in the environment
    value: str | None  # secrets masked; None: unset, or refused
    origin: str  # default, environment, file PATH, file named by X_FILE
    problem: str | None  # what is wrong with it


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigResult(Result):
    """`config show`: every setting, and names that are none."""

    settings: Sequence[Setting]

    @property
    def exit_code(self) -> ExitCode:
        """Say whether every command would refuse these settings."""
        return ExitCode.SETUP if any(setting.problem for setting in self.settings) else ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorResult(Result):
    """`doctor`: what every check found, in the order of their ids' list."""

    checks: Sequence[Check]

    @property
    def exit_code(self) -> ExitCode:
        """Say whether there is a problem; a warning alone is none."""
        return ExitCode.FOUND if any(check.outcome is Outcome.PROBLEM for check in self.checks) else ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionResult(Result):
    """`version`: what an error report needs to say."""

    hlctl: str
    python: str
    platform: str
    libraries: Mapping[str, str]
    embedded_postgresql: str | None  # of the wheel's programs; None: there are none for this platform
