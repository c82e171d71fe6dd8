"""What the commands found that answer a question or keep house."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from hlctl.checks import Check, Outcome
from hlctl.errors import BusyError, DayObstructedError, ExitCode, HlctlError, Verdict
from hlctl.facts import (
    Checked,
    CheckedDay,
    Clip,
    ExportedDay,
    Gap,
    Health,
    HeldLock,
    Holders,
    ObstructedDay,
    RefreshRun,
    Storage,
    StoredDay,
    Tally,
    Thresholds,
    Traffic,
    TroubledWallet,
)
from hlctl.model import Recorded, Refresh, Universe
from hlctl.results import Result, SnapshotResult

_VERDICTS = {"healthy": Verdict.OK, "degraded": Verdict.WARNING, "stale": Verdict.CRITICAL}


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
    def violations(self) -> int:
        """Return how many violations there are, of all checks together; a gap is none."""
        return sum(check.violations for check in self.checks)

    @property
    def exit_code(self) -> ExitCode:
        """Say whether a check is violated; a gap is normal in a range, and is what was asked about in a minute."""
        return ExitCode.FOUND if self.violations or (self.is_minute and self.gap_minutes) else ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult(Result):
    """`prune`: the days dropped, or, on a dry run, those that would be."""

    keep_days: int
    dry_run: bool
    days: Sequence[StoredDay]  # oldest first
    bytes: int  # of these days on disk
    held: Sequence[StoredDay]  # days that should have been dropped, and whose cells somebody held
    obstructed: Sequence[ObstructedDay]  # days that should have been dropped, and on which something depends

    @property
    def exit_code(self) -> ExitCode:
        """Say that it was not all done."""
        return self.failure.exit_code if self.failure else ExitCode.OK

    @property
    def failure(self) -> HlctlError | None:
        """Say in one line what was done and what not."""
        if self.obstructed:
            first, *others = self.obstructed
            neither = f", nor could {len(others)} others" if others else ""
            return DayObstructedError(
                f"{first.day} could not be dropped: {first.because}{neither}; {len(self.days)} days were"
            )
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
        """Say whether a day is there with other cells, or cannot be there, or none of several days had any."""
        did = {day.did for day in self.days}
        is_found = did & {"differs", "incomplete", "too_precise"} or did == {"empty"}
        return ExitCode.FOUND if is_found else ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveResult(Result):
    """`export --verify`: what is wrong with each day."""

    directory: Path
    days: Sequence[CheckedDay]  # oldest first
    missing: Sequence[date]  # days between them that were recorded, and not exported
    no_days: Sequence[str]  # folders with something in them that are named like a day and are none

    @property
    def exit_code(self) -> ExitCode:
        """Say whether the check found something."""
        is_found = self.missing or self.no_days or any(day.problems for day in self.days)
        return ExitCode.FOUND if is_found else ExitCode.OK


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
