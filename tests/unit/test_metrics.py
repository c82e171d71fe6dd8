"""The metrics file's text: what is written, what of the last one is carried over, and what Prometheus makes of it."""

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlctl import metrics
from hlctl.clock import Phases
from hlctl.jobs.aftermath import ping_code
from hlctl.metrics import COMMANDS, FAMILIES, Facts, Run, Sample
from hlctl.model import MissingReason

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
M = datetime(2026, 1, 6, 20, 44, tzinfo=UTC)
RUN = Run(
    command="snapshot",
    version="1.2.3",
    python="3.11.9",
    ended=M.timestamp() + 9.25,
    seconds=7.125,
    exit_code=0,
    is_success=True,
    phases={"prepare": 0.25, "wait": 0.0, "fetch": 5.5, "publish": 0.125},
    violations=None,
)
AUDIT = replace(RUN, command="verify", phases={}, violations=0)
FACTS = Facts(
    health_state="degraded",
    last_good_ts=M,
    newest_ts=M,
    status="partial",
    coverage_pct=Decimal("93.33"),
    wallets_expected=15,
    wallets_succeeded=14,
    missing={"http_4xx": 1},
    duration_ms=6100,
    requests_sent=17,
    retries=2,
    rate_limited=0,
    weight=34,
    rate_limit=1200,
    skew_ms=850,
    clock_offset_ms=-12,
    suspect_kinds=1,
    rows_written=45,
    last_hour={"success": 40, "partial": 1},
    anomalies={"szi_jump": 3},
    universe_wallets=15,
    universe_ts=M,
    entered=2,
    exited=1,
    churn_warnings=0,
    refresh_failed=False,
    snapshots_bytes=2**40,
    database_bytes=2**41,
)
NOTHING = Facts(
    health_state="stale",
    **dict.fromkeys(
        (
            "last_good_ts", "newest_ts", "status", "coverage_pct", "wallets_expected", "wallets_succeeded", "missing",
            "duration_ms", "requests_sent", "retries", "rate_limited", "weight", "rate_limit", "skew_ms",
            "clock_offset_ms", "suspect_kinds", "rows_written", "universe_ts", "entered", "exited", "churn_warnings",
            "refresh_failed",
        )
    ),
    last_hour={}, anomalies={}, universe_wallets=0, snapshots_bytes=8192, database_bytes=2**20,
)  # fmt: skip


def written(run: Run = RUN, facts: Facts | None = FACTS, before: str = "", *, is_up: bool = True) -> str:
    """Return the file that a run leaves."""
    carried = metrics.carried(metrics.parse(before), run, is_told=facts is not None)
    return metrics.render([*carried, *metrics.of_run(run), *metrics.of_database(facts, is_up=is_up)])


def figures(text: str) -> dict[str, float]:
    """Return the figure behind each name and its labels, read without hlctl."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
    assert len(found) == len(lines), "a sample stands there twice"
    return found


def samples() -> st.SearchStrategy[Sample]:
    """Return any sample that hlctl may write."""

    def of(name: str) -> st.SearchStrategy[Sample]:
        labels = [
            st.tuples(st.just(label), st.sampled_from(values) if values else st.text())
            for label, values in FAMILIES[name].labels.items()
        ]
        value = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60).map(float)
        return st.builds(Sample, st.just(name), st.tuples(*labels), value)

    return st.sampled_from(sorted(FAMILIES)).flatmap(of)


@given(st.lists(samples(), unique_by=lambda sample: sample[:2]))
def test_what_is_written_is_read_back(found: list[Sample]) -> None:
    """Whatever a version's name or a figure looks like: a carried sample must not drift."""
    text = metrics.render(found)
    assert sorted(metrics.parse(text)) == sorted(found)
    assert metrics.render(metrics.parse(text)) == text


@given(st.text(), samples(), st.integers(0, 200))
def test_only_lines_that_hlctl_would_write_are_read(junk: str, sample: Sample, place: int) -> None:
    """The directory is others' too: a line of theirs must not come back under our name."""
    (line,) = [line for line in metrics.render([sample]).split("\n") if line and not line.startswith("#")]
    for text in (junk, line[:place] + junk + line[place:], line[:place]):
        read = metrics.parse(text)
        assert all(metrics.render([found]).split("\n")[2] in text.split("\n") for found in read)


@pytest.mark.parametrize(
    "line",
    [
        "hlctl_database_up 1 1767732240000",
        " hlctl_database_up 1",
        "hlctl_database_up  1",
        "hlctl_database_up 1\r",
        "hlctl_database_up +1",
        "hlctl_database_up 1.0",
        "hlctl_database_up 1e999",
        "hlctl_database_up NaN",
        "hlctl_database_up{} 1",
        'hlctl_database_up{command="snapshot"} 1',
        "hlctl_last_exit_code 0",
        'hlctl_last_exit_code{command="export"} 0',
        'hlctl_last_exit_code{command="verify",command="verify"} 0',
        'hlctl_last_exit_code{command="verify",} 0',
        'hlctl_wallets_missing{reason="bored"} 1',
        "hlctl_strange 1",
        "node_load1 0.5",
    ],
)
def test_a_line_that_is_almost_ours_is_not_ours(line: str) -> None:
    """What cannot be trusted is absent, and absence alarms."""
    assert metrics.parse(line) == []


def test_every_fact_is_written_in_the_units_its_name_says() -> None:
    """Seconds since the epoch, seconds, ratios, and 0 for what did not happen."""
    found = figures(written(before=written(replace(AUDIT, violations=2))))
    for name, figure in {
        "build_info": None,
        "last_attempt_timestamp_seconds{c}": RUN.ended,
        "last_success_timestamp_seconds{c}": RUN.ended,
        "last_exit_code{c}": 0,
        "last_duration_seconds{c}": 7.125,
        "database_up": 1,
        'health{state="healthy"}': 0,
        'health{state="degraded"}': 1,
        'health{state="stale"}': 0,
        "last_good_minute_timestamp_seconds": M.timestamp(),
        "newest_minute_timestamp_seconds": M.timestamp(),
        'newest_minute_status{status="partial"}': 1,
        'newest_minute_status{status="success"}': 0,
        "coverage_ratio": 0.9333,
        "wallets_expected": 15,
        "wallets_succeeded": 14,
        'wallets_missing{reason="http_4xx"}': 1,
        'wallets_missing{reason="late"}': 0,
        "minute_duration_seconds": 6.1,
        'phase_duration_seconds{phase="fetch"}': 5.5,
        "verify_violations": 2,
        "requests_sent": 17,
        "requests_retried": 2,
        "requests_rate_limited": 0,
        "requests_weight": 34,
        "requests_weight_limit": 1200,
        "answer_skew_seconds": 0.85,
        "clock_offset_seconds": -0.012,
        "suspect_kinds": 1,
        "rows_written": 45,
        'last_hour_minutes{status="success"}': 40,
        'last_hour_minutes{status="gap"}': 0,
        'anomalies_last_hour{type="szi_jump"}': 3,
        'anomalies_last_hour{type="other"}': 0,
        "universe_wallets": 15,
        "universe_refreshed_timestamp_seconds": M.timestamp(),
        "universe_entered": 2,
        "universe_exited": 1,
        "universe_churn_warnings": 0,
        "universe_refresh_failed": 0,
        "snapshots_bytes": 2**40,
        "database_bytes": 2**41,
    }.items():
        if figure is not None:
            assert found["hlctl_" + name.replace("{c}", '{command="snapshot"}')] == figure, name
    assert found['hlctl_build_info{version="1.2.3",python="3.11.9"}'] == 1
    assert sum(name.startswith("hlctl_wallets_missing{") for name in found) == len(MissingReason)
    assert {re.split(r"[{ ]", name)[0] for name in found} == set(FAMILIES), "a metric that nothing ever writes"


def test_what_there_is_not_yet_is_absent_and_never_zero() -> None:
    """A coverage of 0 before the first minute would wake somebody up."""
    names = {re.split(r"[{ ]", name)[0].removeprefix("hlctl_") for name in figures(written(facts=NOTHING))}
    assert names == {
        "build_info", "last_attempt_timestamp_seconds", "last_exit_code", "last_success_timestamp_seconds",
        "last_duration_seconds", "phase_duration_seconds", "database_up", "health", "last_hour_minutes",
        "anomalies_last_hour", "universe_wallets", "snapshots_bytes", "database_bytes",
    }  # fmt: skip
    unlimited = figures(written(facts=replace(FACTS, rate_limit=0)))
    assert "hlctl_requests_weight_limit" not in unlimited, "0 means none, and is no limit to divide by"


def test_a_silent_database_leaves_only_times_that_are_still_true() -> None:
    """An alert on the age of the newest good minute goes on counting; a coverage of an hour ago is no coverage."""
    before = written()
    failed = replace(RUN, ended=RUN.ended + 60, exit_code=5, is_success=False, phases={"prepare": 45.0})
    found = figures(written(failed, None, before, is_up=False))
    command = '{command="snapshot"}'
    assert found == {
        'hlctl_build_info{version="1.2.3",python="3.11.9"}': 1,
        f"hlctl_last_attempt_timestamp_seconds{command}": RUN.ended + 60,
        f"hlctl_last_success_timestamp_seconds{command}": RUN.ended,
        f"hlctl_last_exit_code{command}": 5,
        f"hlctl_last_duration_seconds{command}": 7.125,
        'hlctl_phase_duration_seconds{phase="prepare"}': 45,
        "hlctl_database_up": 0,
        "hlctl_last_good_minute_timestamp_seconds": M.timestamp(),
        "hlctl_newest_minute_timestamp_seconds": M.timestamp(),
        "hlctl_universe_refreshed_timestamp_seconds": M.timestamp(),
    }
    again = written(failed, None, written(failed, None, before, is_up=False), is_up=False)
    assert figures(again) == found, "as often as it is silent"


def test_a_database_that_answers_outranks_the_file() -> None:
    """Another database was put in its place: its record is empty, whatever the old one had."""
    found = figures(written(facts=NOTHING, before=written()))
    assert not any("minute_timestamp" in name or "refreshed" in name for name in found)


def test_each_command_keeps_what_the_others_wrote() -> None:
    """A refresh every six hours is told of for six hours."""
    text = ""
    for number, command in enumerate(COMMANDS):
        run = replace(RUN, command=command, exit_code=number, phases=RUN.phases if command == "snapshot" else {})
        text = written(run, before=text)
    found = figures(text)
    assert [found[f'hlctl_last_exit_code{{command="{command}"}}'] for command in COMMANDS] == [0, 1, 2, 3]
    assert found['hlctl_phase_duration_seconds{phase="fetch"}'] == 5.5, "a snapshot's, which the others have not"


def test_what_the_last_audit_found_stays_until_the_next() -> None:
    """One that cannot reach the database says nothing of the record."""
    text = written(replace(AUDIT, exit_code=1, is_success=False, violations=3))
    failed = replace(AUDIT, exit_code=5, is_success=False, violations=None)
    for run, facts in ((RUN, FACTS), (failed, None), (RUN, NOTHING)):
        text = written(run, facts, before=text, is_up=facts is not None)
        assert figures(text)["hlctl_verify_violations"] == 3
    assert figures(written(AUDIT, before=text))["hlctl_verify_violations"] == 0


def test_a_version_is_escaped() -> None:
    """Its text comes from a package's metadata."""
    text = written(replace(RUN, version='1"\\\n2'))
    assert 'hlctl_build_info{version="1\\"\\\\\\n2",python="3.11.9"} 1\n' in text


def test_prometheus_takes_the_text() -> None:
    """By its own reader and its own rules of naming; minutes are what is counted here, and no unit of time."""
    by_rule = 'hlctl_last_hour_minutes use base unit "seconds" instead of "minutes"\n'
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    for text in (written(), written(facts=NOTHING), written(replace(RUN, version='1"\\\n2'), None, written())):
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60
        )
        expected = (3, by_rule) if "hlctl_last_hour_minutes" in text else (0, "")
        assert (checked.returncode, checked.stderr) == expected


def test_the_page_has_every_metric_with_its_labels_and_no_other() -> None:
    """An alert is written from the page."""
    rows = re.findall(r"^\| `(hlctl_\w+)(?:\{(.*?)\})?` \| .+ \|$", PAGE, re.MULTILINE)
    assert [(name, re.findall(r"(\w+)(?:=|,|$)", re.sub(r'"[^"]*"', "", labels))) for name, labels in rows] == [
        (name, list(family.labels)) for name, family in FAMILIES.items()
    ]


def test_a_phase_lasts_until_the_next_and_is_begun_once() -> None:
    """A run that lost its database goes on in the phase it was in."""
    times = iter([0.0, 2.0, 5.0, 6.0, 9.0, 10.0])
    phases = Phases(elapsed=lambda: next(times))
    for phase in ("prepare", "wait", "fetch", "wait"):
        phases.begin(phase)
    assert phases.seconds() == {"prepare": 2.0, "wait": 3.0, "fetch": 4.0}
    assert Phases().seconds() == {}


@pytest.mark.parametrize(
    ("code", "reported"), [(0, 0), (3, 0), (75, None), (4, 4), (5, 5), (6, 6), (70, 70), (130, 130), (143, 143)]
)
def test_a_good_minute_is_reported_as_one_and_a_busy_run_not_at_all(code: int, reported: int | None) -> None:
    """A partial minute is a good one; who finds another run at work knows nothing of the minute."""
    assert ping_code(code) == reported
