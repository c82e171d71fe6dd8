"""Results as text for people and as JSON for programs: the only module that words and prints them."""

import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

from hlctl.errors import ExitCode, HlctlError
from hlctl.model import Refresh
from hlctl.results import (
    DemoResult,
    NotDueResult,
    RefreshPlanResult,
    RefreshResult,
    Result,
    SchemaResult,
    ServerResult,
    SnapshotResult,
    StatusResult,
    TextResult,
    missing_words,
)

SCHEMA_VERSION = 1
_SHOWN = 10  # wallets named in a list

_WORDS = {
    "no_good_minute": "no good minute was ever recorded",
    "no_good_minute_lately": "the newest good minute is too old",
    "last_minute_failed": "the newest minute failed",
    "last_minute_partial": "the newest minute is partial",
    "last_minute_old": "the newest minute is more than 120 s old",
    "universe_old": "the universe is too old",
    "suspect": "the newest minute looks odd",
}
_ODD = {
    "mass_zero": "half of the open positions turned flat at once",
    "same_answer": "two wallets gave the same answer",
}
_STYLES = {"healthy": "bold green", "degraded": "bold yellow", "stale": "bold red"}


def clean(text: str) -> str:
    """Take out what could steer a terminal or hide in a line: control, format and line-breaking characters."""
    return "".join(c if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029" else "?" for c in text)


# ---- JSON


def document(command: str, code: ExitCode, result: Result | None, error: HlctlError | None) -> str:
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
    """Return JSON types: decimals as strings, times as RFC 3339 with Z, ages in seconds."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 3)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
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


# ---- text


@dataclass(frozen=True, slots=True)
class Facts:
    """Lines of a name and what is known of it; a style colours the first one on a terminal."""

    rows: Sequence[tuple[str, str]]
    style: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A small table: the first column is text, the others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = str | Facts | Grid


def show(result: Result, stream: TextIO) -> None:
    """Print a result for people: in colour on a terminal, as plain text elsewhere."""
    blocks = _blocks(result)
    if stream.isatty():
        _show_rich(blocks, stream)
    else:
        stream.write("\n".join(line for block in blocks for line in _plain_lines(block)) + "\n")


def complain(command: str, error: HlctlError, stream: TextIO) -> None:
    """Print one line: what is wrong and what to do."""
    remedy = f"; {error.remedy}" if error.remedy else ""
    name = f"hlctl {command}".rstrip()
    stream.write(f"{name}: {clean(str(error)).removesuffix('.')}{clean(remedy)}\n")


def tell(text: str, *, wanted: bool) -> None:
    """Say what goes on, where somebody watches."""
    if wanted and sys.stderr.isatty():
        sys.stderr.write(f"{text}\n")


@contextmanager
def progress_bar(words: str, *, wanted: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; elsewhere nothing."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines(block: Block) -> list[str]:
    if isinstance(block, str):
        return [block]
    if isinstance(block, Facts):
        width = max(len(name) for name, _ in block.rows) + 2
        return [f"{name:<{width}}{words}" for name, words in block.rows]
    table = [block.header, *block.rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(block.header))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _show_rich(blocks: Sequence[Block], stream: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 - 40 ms that only a terminal needs
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=stream, highlight=False)
    for block in blocks:
        if isinstance(block, str):
            console.print(Text(block))
            continue
        table = Table(box=None, show_header=isinstance(block, Grid), padding=(0, 2, 0, 0), header_style="dim")
        if isinstance(block, Facts):
            table.add_column(style="dim", no_wrap=True)
            table.add_column()
            for number, (name, words) in enumerate(block.rows):
                table.add_row(Text(name), Text(words, style=block.style if number == 0 else ""))
        else:
            for column, name in enumerate(block.header):
                table.add_column(name, justify="left" if column == 0 else "right", no_wrap=True)
            for row in block.rows:
                table.add_row(*(Text(cell) for cell in row))
        console.print(table)


def _blocks(result: Result) -> list[Block]:
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
            return _status(result)
        case ServerResult():
            return [_server(result)]
        case TextResult():
            return [result.text]
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


def _status(result: StatusResult) -> list[Block]:
    health, run = result.health, result.run
    reasons = "; ".join(_WORDS.get(reason, reason) for reason in health.reasons)
    if health.suspect:  # always the last of the reasons
        reasons += f": {', '.join(_ODD.get(word, word) for word in health.suspect)}"
    counts = Counter(status for _minute, status in result.last_hour)
    facts = [
        ("health", f"{health.health_state}{f': {reasons}' if reasons else ''}"),
        ("last good minute", _moment(health.last_good_snapshot_ts, health.last_good_age)),
        ("newest minute", f"{_moment(run.snapshot_ts, health.last_snapshot_age)}, {run.status}" if run else "none"),
    ]
    if run:
        coverage = f"{run.coverage_pct} %, {run.wallets_succeeded} of {run.wallets_expected} wallets"
        facts += [
            ("coverage", f"{coverage}, {run.rows_written} cells"),
            ("missing", missing_words(run.missing) or "none"),
        ]
    universe, members = result.universe, "none"
    if universe:
        members = (
            f"{universe.size} wallets from {universe.source}, {_moment(universe.as_of_ts, health.universe_age)};"
            f" {universe.entered_count} entered, {universe.exited_count} exited"
        )
    hour = (
        f"{counts['success']} success, {counts['partial']} partial, {counts['failed']} failed,"
        f" {counts[None]} not recorded"
    )
    facts += [("universe", members), ("last hour", hour)]
    blocks: list[Block] = [Facts(facts, style=_STYLES[health.health_state])]
    if result.holders:
        blocks += [
            "",
            Grid(
                ("asset", "long", "short", "flat", "missing", "net szi"),
                [
                    (h.asset, str(h.long), str(h.short), str(h.flat), str(h.missing), _coins(h.net_szi))
                    for h in result.holders
                ],
            ),
        ]
    return blocks


def _coins(amount: Decimal | None) -> str:
    return "unknown" if amount is None else f"{amount:,.4f}"


def _moment(moment: datetime | None, age: timedelta | None) -> str:
    if moment is None or age is None:
        return "none"
    return f"{moment:%Y-%m-%d %H:%M} UTC, {_age(age)} ago"


def _age(age: timedelta) -> str:
    seconds = round(age.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _server(result: ServerResult) -> Facts:
    state = f"running, pid {result.pid}" if result.running else "stopped"
    return Facts(
        [
            ("server", state if result.did == "nothing" else f"{result.did}; {state}"),
            ("version", result.version or "unknown"),
            ("data", str(result.data_dir)),
            ("url", result.url),
        ]
    )


def _demo(result: DemoResult) -> list[Block]:
    blocks = [*_refresh(result.refresh)[:1], _snapshot(result.snapshot), "", *_status(result.status), ""]
    if result.kept is None:
        return [*blocks, f"done in {result.seconds:.1f} s; nothing is left behind"]
    return [
        *blocks,
        f"done in {result.seconds:.1f} s; kept in {result.kept}, its server is running. To look at it:",
        f"  psql '{result.url}' -c 'TABLE v_latest_health'",
        f"  HLCTL_DATA_DIR={result.kept} hlctl status",
        f"  HLCTL_DATA_DIR={result.kept} hlctl db stop",
    ]
