"""Each result in words."""

from typing import TextIO

from hlctl.answers import (
    ArchiveResult,
    ConfigResult,
    DemoResult,
    DoctorResult,
    ExportResult,
    PruneResult,
    ServerResult,
    StatusResult,
    TextResult,
    VerifyResult,
    VersionResult,
)
from hlctl.model import Refresh
from hlctl.render import clean, setup
from hlctl.render.archive import checked, exported, prune
from hlctl.render.audit import verify
from hlctl.render.screen import Block, Facts, put
from hlctl.render.status import status
from hlctl.results import (
    NotDueResult,
    RefreshPlanResult,
    RefreshResult,
    Result,
    SchemaResult,
    SnapshotResult,
    missing_words,
)

_SHOWN = 10  # wallets named in a list


def show(result: Result, stream: TextIO) -> None:
    """Print a result for people."""
    put(_blocks(result), stream)


def _blocks(result: Result) -> list[Block]:  # noqa: C901, PLR0912 - a case, a result
    match result:
        case SchemaResult():
            return _schema(result)
        case RefreshResult():
            return _refresh(result.refresh)
        case NotDueResult():
            return [f"not due before {result.due_at:%Y-%m-%d %H:%M:%S} UTC"]
        case RefreshPlanResult():
            return _plan(result)
        case SnapshotResult():
            return [_snapshot(result)]
        case StatusResult():
            return status(result)
        case VerifyResult():
            return verify(result)
        case ExportResult():
            return exported(result)
        case ArchiveResult():
            return checked(result)
        case PruneResult():
            return prune(result)
        case ServerResult():
            return [_server(result)]
        case TextResult():
            return [result.text]
        case ConfigResult():
            return setup.config(result)
        case DoctorResult():
            return setup.doctor(result)
        case VersionResult():
            return setup.version(result)
        case DemoResult():
            return _demo(result)
    raise TypeError(type(result).__name__)


def _schema(result: SchemaResult) -> list[Block]:
    grants = [f"{'would run: ' if result.dry_run else ''}{clean(grant)}" for grant in result.grants]
    if not result.applied:
        return [f"the schema is up to date (version {result.version})", *grants]
    verb = "would apply" if result.dry_run else "applied"
    return [f"{verb} {', '.join(result.applied)}; the schema's version is {result.version}", *grants]


def _plan(plan: RefreshPlanResult) -> list[Block]:
    verdict = f"would be refused: {clean(plan.refused)}" if plan.refused else "would be accepted"
    return [verdict, *(_refresh(plan.refresh, entered="would enter", exited="would exit") if plan.refresh else [])]


def _refresh(refresh: Refresh, *, entered: str = "entered", exited: str = "exited") -> list[Block]:
    summary = (
        f"universe: {refresh.n_received} of {refresh.n_requested} wallets from {refresh.rows_seen:,} rows"
        f" of {refresh.source.value} ({refresh.rows_rejected} unreadable);"
        f" {len(refresh.entered)} {entered}, {len(refresh.exited)} {exited}"
    )
    blocks: list[Block] = [summary]
    for word, addresses in ((entered, refresh.entered), (exited, refresh.exited)):
        blocks += [f"  {word} {address}" for address in addresses[:_SHOWN]]
        if len(addresses) > _SHOWN:
            blocks.append(f"  and {len(addresses) - _SHOWN} more {word}")
    return blocks


def _snapshot(result: SnapshotResult) -> str:
    minute = f"{result.snapshot_ts:%Y-%m-%d %H:%M} UTC"
    if result.recorded is None:
        return f"{minute}: nothing was written" if result.signal else f"{minute}: already complete"
    run = result.recorded
    missing = f", missing {missing_words(run.missing)}" if run.missing else ""
    return (
        f"{minute}: {run.status}, {run.wallets_succeeded} of {run.wallets_expected} wallets,"
        f" {run.rows_written} cells, {run.coverage_pct} % coverage{missing}, in {result.seconds:.1f} s"
    )


def _server(result: ServerResult) -> Facts:
    state = f"running, pid {result.pid}" if result.running else "stopped"
    return Facts(
        [
            ("server", state if result.did == "nothing" else f"{result.did}; {state}"),
            ("version", result.version or "unknown"),
            ("data", str(result.data_dir)),
            ("tools", str(result.programs)),
            ("url", result.url),
        ]
    )


def _demo(result: DemoResult) -> list[Block]:
    blocks = [*_refresh(result.refresh)[:1], _snapshot(result.snapshot), "", *status(result.status), ""]
    if result.kept is None:
        return [*blocks, f"done in {result.seconds:.1f} s; nothing is left behind"]
    return [
        *blocks,
        f"done in {result.seconds:.1f} s; kept in {result.kept}, its server is running. To look at it:",
        f"  psql '{result.url}' -c 'TABLE v_latest_health'",
        f"  HLCTL_DATA_DIR={result.kept} hlctl status",
        f"  HLCTL_DATA_DIR={result.kept} hlctl db stop",
    ]
