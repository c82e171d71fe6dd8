"""The metrics file: what Prometheus reads of hlctl, as the text that node_exporter's textfile collector takes.

Pure: facts in, text out, and the text of the last run back in. docs/monitoring.md explains every metric.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from hlctl.model import MissingReason

COMMANDS = ("snapshot", "refresh-universe", "verify", "prune")
"""The commands that a timer starts: these are told of."""

_PHASES = ("prepare", "wait", "fetch", "publish")
_STATES = ("healthy", "degraded", "stale")
_STATUSES = ("success", "partial", "failed")
_ANOMALIES = ("transient_collapse", "szi_jump", "null_szi", "other")
_ANY: Sequence[str] = ()


class Family(NamedTuple):
    """A metric, its sentence and its labels, each with all the values it can have."""

    name: str
    help: str
    labels: Mapping[str, Sequence[str]] = {}
    lasts: bool = False  # a time that stays true while the database is silent


_ALL = (
    Family("build_info", "Always 1; who wrote this file.", {"version": _ANY, "python": _ANY}),
    Family("last_attempt_timestamp_seconds", "When the command last ended, however.", {"command": COMMANDS}),
    Family("last_exit_code", "The exit status it then had.", {"command": COMMANDS}),
    Family("last_success_timestamp_seconds", "When it last did what it is for.", {"command": COMMANDS}),
    Family("last_duration_seconds", "How long its last run took.", {"command": COMMANDS}),
    Family("phase_duration_seconds", "What the last snapshot spent in each phase it reached.", {"phase": _PHASES}),
    Family("verify_violations", "Violations that the last audit found."),
    Family("database_up", "1 if the database answered after the last run, else 0."),
    Family("health", "1 for the state that v_latest_health judges, 0 for the others.", {"state": _STATES}),
    Family("last_good_minute_timestamp_seconds", "The newest minute that is success or partial.", lasts=True),
    Family("newest_minute_timestamp_seconds", "The newest recorded minute, good or not.", lasts=True),
    Family("newest_minute_status", "1 for the status of that minute, 0 for the others.", {"status": _STATUSES}),
    Family("coverage_ratio", "The share of the wallets that answered in that minute, 0 to 1."),
    Family("wallets_expected", "The wallets of its universe."),
    Family("wallets_succeeded", "The wallets of these that are known."),
    Family("wallets_missing", "The wallets that are not, by reason.", {"reason": [r.value for r in MissingReason]}),
    Family("minute_duration_seconds", "From the start of its newest run to its publication."),
    Family("requests_sent", "Requests that it took, retries included."),
    Family("requests_retried", "Requests of these that asked again."),
    Family("requests_rate_limited", "Answers of these with status 429."),
    Family("requests_weight", "What its requests weigh."),
    Family("requests_weight_limit", "The exchange's limit in weight per minute that was set; absent if none was."),
    Family("answer_skew_seconds", "From its first answer to its last."),
    Family("clock_offset_seconds", "The exchange's clock minus the database's, median over its answers."),
    Family("suspect_kinds", "In how many ways that minute is odd as a whole."),
    Family("rows_written", "The cells of that minute."),
    Family("last_hour_minutes", "The last 60 minutes, by what became of them.", {"status": (*_STATUSES, "gap")}),
    Family("anomalies_last_hour", "What was found odd about the cells of the last 60 minutes.", {"type": _ANOMALIES}),
    Family("universe_wallets", "The wallets in force."),
    Family("universe_refreshed_timestamp_seconds", "When they were chosen.", lasts=True),
    Family("universe_entered", "The wallets of these that were not in force before."),
    Family("universe_exited", "The wallets that were in force before and are no longer."),
    Family("universe_churn_warnings", "How many leaderboards in a row changed unusually many wallets."),
    Family("universe_refresh_failed", "1 if the newest refresh failed and kept the universe, else 0."),
    Family("snapshots_bytes", "What all cells take on disk, with their indexes."),
    Family("database_bytes", "What the whole database takes on disk."),
)
FAMILIES = {family.name: family for family in (family._replace(name=f"hlctl_{family.name}") for family in _ALL)}


class Sample(NamedTuple):
    """One figure."""

    name: str  # of its family
    labels: tuple[tuple[str, str], ...]  # in the family's order
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the database says of the record. None: there is no such thing yet, or it is not known."""

    health_state: str
    last_good_ts: datetime | None
    newest_ts: datetime | None  # the next ones are of this minute
    status: str | None
    coverage_pct: Decimal | None
    wallets_expected: int | None
    wallets_succeeded: int | None
    missing: Mapping[str, int] | None  # reason -> wallets
    duration_ms: int | None
    requests_sent: int | None
    retries: int | None
    rate_limited: int | None
    weight: int | None
    rate_limit: int | None  # weight a minute; 0: none
    skew_ms: int | None
    clock_offset_ms: int | None
    suspect_kinds: int | None
    rows_written: int | None
    last_hour: Mapping[str, int]  # success, partial, failed, gap -> minutes
    anomalies: Mapping[str, int]  # type -> cells of the last hour
    universe_wallets: int
    universe_ts: datetime | None
    entered: int | None
    exited: int | None
    churn_warnings: int | None
    refresh_failed: bool | None
    snapshots_bytes: int | None = None
    database_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is known of the run that writes the file."""

    command: str
    version: str  # of hlctl
    python: str
    ended: float  # seconds since the epoch, by this machine's clock
    seconds: float  # that it took
    exit_code: int
    is_success: bool
    phases: Mapping[str, float]  # those of a snapshot that it reached, seconds
    violations: int | None  # that an audit found; None: it is none, or did not get so far


def of_run(run: Run) -> Iterator[Sample]:
    """Yield what a run says of itself."""
    yield _sample("build_info", 1, version=run.version, python=run.python)
    yield _sample("last_attempt_timestamp_seconds", run.ended, command=run.command)
    yield _sample("last_exit_code", run.exit_code, command=run.command)
    if run.is_success:
        yield _sample("last_success_timestamp_seconds", run.ended, command=run.command)
    yield _sample("last_duration_seconds", run.seconds, command=run.command)
    for phase, seconds in run.phases.items():
        yield _sample("phase_duration_seconds", seconds, phase=phase)
    if run.violations is not None:
        yield _sample("verify_violations", run.violations)


def of_database(facts: Facts | None, *, is_up: bool) -> Iterator[Sample]:
    """Yield what the database says, and whether it answered at all."""
    yield _sample("database_up", is_up)
    if facts is None:
        return
    figures = {
        "last_good_minute_timestamp_seconds": _epoch(facts.last_good_ts),
        "newest_minute_timestamp_seconds": _epoch(facts.newest_ts),
        "coverage_ratio": None if facts.coverage_pct is None else facts.coverage_pct / 100,
        "wallets_expected": facts.wallets_expected,
        "wallets_succeeded": facts.wallets_succeeded,
        "minute_duration_seconds": _seconds(facts.duration_ms),
        "requests_sent": facts.requests_sent,
        "requests_retried": facts.retries,
        "requests_rate_limited": facts.rate_limited,
        "requests_weight": facts.weight,
        "requests_weight_limit": facts.rate_limit or None,
        "answer_skew_seconds": _seconds(facts.skew_ms),
        "clock_offset_seconds": _seconds(facts.clock_offset_ms),
        "suspect_kinds": facts.suspect_kinds,
        "rows_written": facts.rows_written,
        "universe_wallets": facts.universe_wallets,
        "universe_refreshed_timestamp_seconds": _epoch(facts.universe_ts),
        "universe_entered": facts.entered,
        "universe_exited": facts.exited,
        "universe_churn_warnings": facts.churn_warnings,
        "universe_refresh_failed": facts.refresh_failed,
        "snapshots_bytes": facts.snapshots_bytes,
        "database_bytes": facts.database_bytes,
    }
    yield from (_sample(name, figure) for name, figure in figures.items() if figure is not None)
    yield from _each("health", {facts.health_state: 1})
    yield from _each("last_hour_minutes", facts.last_hour)
    yield from _each("anomalies_last_hour", facts.anomalies)
    if facts.status is not None:
        yield from _each("newest_minute_status", {facts.status: 1})
    if facts.missing is not None:
        yield from _each("wallets_missing", facts.missing)


def carried(before: Iterable[Sample], run: Run, *, is_told: bool) -> Iterator[Sample]:
    """Yield what stays true of the file that is there: what is other commands', and times the database did not tell.

    A command's last success stays until it has another one, and what an audit found until the next one's answer.
    """
    for sample in before:
        labels = dict(sample.labels)
        if "command" in labels:
            is_kept = labels["command"] != run.command or sample.name == "hlctl_last_success_timestamp_seconds"
        elif "phase" in labels:
            is_kept = run.command != "snapshot"
        elif sample.name == "hlctl_verify_violations":
            is_kept = run.violations is None
        else:
            is_kept = FAMILIES[sample.name].lasts and not is_told
        if is_kept:
            yield sample


def render(samples: Iterable[Sample]) -> str:
    """Return the file's text, each family with its HELP and TYPE; of samples of one name and labels the last counts."""
    latest = {sample[:2]: sample for sample in samples}
    lines: list[str] = []
    for family in FAMILIES.values():
        found = [sample for sample in latest.values() if sample.name == family.name]
        if found:
            lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} gauge"]
            lines += map(_line, sorted(found))
    return "".join(f"{line}\n" for line in lines)


_SAMPLE = re.compile(r"(hlctl_[a-z_]+)(?:\{(.*)\})? (-?[0-9][0-9.e+-]*)", re.ASCII)
_LABEL = re.compile(r'([a-z]+)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)', re.ASCII)
_EXACT = 2**53  # below it a float is every whole number
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n"}


def parse(text: str) -> list[Sample]:
    """Return the samples of a file; a line that hlctl would not have written is passed over."""
    return [sample for line in text.split("\n") if (sample := _parsed(line)) is not None]


def _parsed(line: str) -> Sample | None:
    found = _SAMPLE.fullmatch(line)
    family = FAMILIES.get(found[1]) if found else None
    if found is None or family is None:
        return None
    labels = tuple((name, _unescaped(value)) for name, value in _LABEL.findall(found[2] or ""))
    try:
        sample = Sample(family.name, labels, float(found[3]))
    except ValueError:
        return None
    fits = [name for name, _ in labels] == list(family.labels) and all(
        not family.labels[name] or value in family.labels[name] for name, value in labels
    )
    return sample if fits and math.isfinite(sample.value) and _line(sample) == line else None


def _unescaped(value: str) -> str:
    return re.sub(r'\\([\\"n])', lambda found: "\n" if found[1] == "n" else found[1], value)


def _line(sample: Sample) -> str:
    """Return a sample as text, its figure as short as it can be to be read back as the same."""
    pairs = [f'{name}="{"".join(_ESCAPES.get(c, c) for c in value)}"' for name, value in sample.labels]
    is_whole = sample.value == int(sample.value) and abs(sample.value) < _EXACT
    figure = str(int(sample.value)) if is_whole else repr(sample.value)
    braced = f"{{{','.join(pairs)}}}" if pairs else ""
    return f"{sample.name}{braced} {figure}"


def _sample(name: str, value: float | Decimal, **labels: str) -> Sample:
    return Sample(f"hlctl_{name}", tuple(labels.items()), float(value))


def _each(name: str, figures: Mapping[str, int]) -> Iterator[Sample]:
    """Yield a sample for every value that the family's one label can have, 0 where nothing is known of it."""
    ((label, values),) = FAMILIES[f"hlctl_{name}"].labels.items()
    yield from (_sample(name, figures.get(value, 0), **{label: value}) for value in values)


def _epoch(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
