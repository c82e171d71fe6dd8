"""What a command found or did: the same value feeds the screen, the JSON and the exit code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hlctl.errors import ExitCode, HlctlError, MinuteFailedError, Verdict
from hlctl.model import Recorded, Refresh
from hlctl.outage import STATUS_CODES


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
