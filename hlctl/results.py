"""What a command found or did: the same value feeds the screen, the JSON and the exit code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from hlctl.checks import Check, Outcome
from hlctl.errors import BusyError, ExitCode, HlctlError, MinuteFailedError, Verdict
from hlctl.model import (
    Checked,
    CheckedDay,
    Clip,
    ExportedDay,
    Gap,
    Health,
    HeldLock,
    Holders,
    Recorded,
    Refresh,
    RefreshRun,
    Storage,
    StoredDay,
    Tally,
    Thresholds,
    Traffic,
    TroubledWallet,
    Universe,
)
from hlctl.outage import STATUS_CODES

_VERDICTS = {"healthy": Verdict.OK, "degraded": Verdict.WARNING, "stale": Verdict.CRITICAL}


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
    def verdict(self) -> Verdict:
        """Return what a monitoring plugin says of it."""
        return Verdict.UNKNOWN

    @property
    def failure(self) -> HlctlError | None:
        """Return what to say besides the result if the command did not do what it is for."""
        return None

    @property
    def fault(self) -> HlctlError | None:
        """Return what to say instead of the result where only faults are told."""
        return self.failure


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
        return STATUS_CODES[self.recorded.status] if self.recorded else ExitCode.OK

    @property
    def failure(self) -> HlctlError | None:
        """Say in one line that a failed minute was recorded, and why."""
        is_failed = self.recorded is not None and self.recorded.status == "failed"
        return MinuteFailedError(self._shortfall()) if is_failed else None

    @property
    def fault(self) -> HlctlError | None:
        """Say it of a partial minute too."""
        fault = self.failure
        if fault is None and self.exit_code is ExitCode.PARTIAL:
            fault = HlctlError(self._shortfall())
            fault.exit_code = ExitCode.PARTIAL
        return fault

    def _shortfall(self) -> str:
        run = self.recorded
        if run is None:
            return ""
        return (
            f"{self.snapshot_ts:%H:%M} UTC is recorded as {run.status}, {run.wallets_succeeded} of"
            f" {run.wallets_expected} wallets known: {self.problem or missing_words(run.missing)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusDetails:
    """What `status --verbose` adds."""

    troubled_wallets: Sequence[TroubledWallet]  # worst first, of the last 60 minutes
    storage: Storage
    locks: Sequence[HeldLock]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusResult(Result):
    """`status`: can the data be trusted right now, and why not."""

    health: Health
    run: Recorded | None
    universe: Universe | None
    last_hour: Sequence[tuple[datetime, str | None]]  # minute, status; None: not recorded
    holders: Sequence[Holders]  # of the newest recorded minute
    thresholds: Thresholds | None
    transport: Traffic | None  # of the newest recorded minute
    last_refresh: RefreshRun | None
    details: StatusDetails | None = None

    @property
    def verdict(self) -> Verdict:
        """Say what the one judge of health says, in a monitoring plugin's words."""
        return _VERDICTS.get(self.health.health_state, Verdict.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult(Result):
    """`verify`: whether these minutes were recorded truthfully."""

    since: datetime
    until: datetime  # the first minute that is no part of it
    minutes: int
    is_minute: bool  # asked for as one minute
    clipped: Sequence[Clip]
    runs: Tally
    checks: Sequence[Checked]
    gap_count: int
    gap_minutes: int
    gaps: Sequence[Gap]  # the first of them
    seconds: float

    @property
    def exit_code(self) -> ExitCode:
        """Say whether a check is violated; a gap is normal in a range, and is what was asked about in a minute."""
        is_violated = any(check.violations for check in self.checks)
        return ExitCode.FOUND if is_violated or (self.is_minute and self.gap_minutes) else ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult(Result):
    """`prune`: the days dropped, or, on a dry run, those that would be."""

    keep_days: int
    dry_run: bool
    days: Sequence[StoredDay]  # oldest first
    bytes: int  # of these days on disk
    held: Sequence[StoredDay]  # days that should have been dropped, and whose cells somebody held

    @property
    def exit_code(self) -> ExitCode:
        """Say that it was not all done."""
        return ExitCode.BUSY if self.held else ExitCode.OK

    @property
    def failure(self) -> HlctlError | None:
        """Say in one line what was done and what not."""
        if not self.held:
            return None
        return BusyError(
            f"somebody holds the cells: {self.held[0].day} could not be dropped, {len(self.days)} days before it were",
            remedy="end whoever reads for minutes on end, and prune again",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult(Result):
    """`export`: what became of each day."""

    directory: Path
    format: str  # parquet, csv
    days: Sequence[ExportedDay]  # oldest first

    @property
    def exit_code(self) -> ExitCode:
        """Say whether a day is there with other cells, or none of several days had any."""
        did = {day.did for day in self.days}
        return ExitCode.FOUND if "differs" in did or did == {"empty"} else ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveResult(Result):
    """`export --verify`: what is wrong with each day."""

    directory: Path
    days: Sequence[CheckedDay]  # oldest first
    missing: Sequence[date]  # days between them that were recorded, and not exported

    @property
    def exit_code(self) -> ExitCode:
        """Say whether the check found something."""
        return ExitCode.FOUND if self.missing or any(day.problems for day in self.days) else ExitCode.OK


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
    programs: Path  # the directory of psql, pg_dump and their like, of the server's own version
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
