"""Alert rules and dashboard: they name what there is, and promtool takes them where it is installed."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.monitoring import dashboard
from hlctl import metrics
from hlctl.settings import KNOWN

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "monitoring"
RUNBOOK = ROOT / "docs" / "runbook.md"

METRICS = {name: set(family.labels) for name, family in metrics.FAMILIES.items()}
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
TESTS = (FOLDER / "alerts_test.yml").read_text()
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
SHOWN = [panel for panel in PANELS if panel["type"] != "row"]
TARGETS: list[dict[str, Any]] = [target for panel in SHOWN for target in panel["targets"]]
EXPRESSIONS: list[str] = [target["expr"] for target in TARGETS if "expr" in target]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian's package prometheus)"
)


def anchor(rule: dict[str, Any]) -> str:
    """Return where the runbook tells of an alert."""
    return "alert" + re.sub(r"(?=[A-Z])", "-", rule["alert"]).lower()


def named(expression: str) -> list[tuple[str, set[str]]]:
    """Return the metrics of an expression with the labels it selects by, those of the series' machine aside."""
    found = re.findall(r"\b(hlctl_\w+)(?:\{([^}]*)\})?", expression)
    return [(name, set(re.findall(r"(\w+)=", labels)) - {"instance"}) for name, labels in found]


def promtool(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    return subprocess.run(["promtool", *args], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on(rule: dict[str, Any]) -> None:
    """Whoever is woken by it has this and nothing else."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert len(rule["annotations"]["summary"]) > 40
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{anchor(rule)}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_the_runbook_tells_of_every_alert(rule: dict[str, Any]) -> None:
    """A link into nothing costs the minutes that matter."""
    assert f'"{anchor(rule)}"' in RUNBOOK.read_text()


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in RULES), *EXPRESSIONS, TESTS])
def test_what_is_asked_of_prometheus_is_written_by_hlctl(expression: str) -> None:
    """A misspelt metric is silence, and no alert ever fires."""
    metrics = named(expression)
    assert metrics
    assert [(name, labels) for name, labels in metrics if not labels <= METRICS.get(name, set())] == []
    assert {name for name, _ in metrics} <= METRICS.keys()


def test_each_alert_is_made_to_fire() -> None:
    """A rule that was never seen to fire may never do so."""
    fired = {
        name
        for case in yaml.safe_load(TESTS)["tests"]
        for check in case["promql_expr_test"]
        if "firing" in check["expr"]
        for sample in check["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    } | {check["alertname"] for case in yaml.safe_load(TESTS)["tests"] for check in case.get("alert_rule_test", [])}
    assert fired == {rule["alert"] for rule in RULES}


def test_the_settings_that_the_rules_name_exist() -> None:
    """They are to be changed together."""
    named_settings = set(re.findall(r"\bHLCTL_[A-Z_]+[A-Z]", (FOLDER / "alerts.yml").read_text()))
    assert named_settings <= KNOWN


@needs_promtool
def test_promtool_takes_the_rules() -> None:
    """Prometheus refuses to start with a rule it does not understand."""
    ran = promtool("check", "rules", FOLDER / "alerts.yml")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_each_alert_fires_when_it_must_and_none_when_all_is_well() -> None:
    """Minute by minute, in alerts_test.yml."""
    ran = promtool("test", "rules", FOLDER / "alerts_test.yml")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_promtool_takes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    """Put to it as rules that record, for it has no other way to read one."""
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(EXPRESSIONS)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    ran = promtool("check", "rules", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(EXPRESSIONS)} rules found" in ran.stdout


def test_the_dashboard_is_what_its_pieces_make() -> None:
    """Who edits one forgets the other: `python docs/monitoring/dashboard.py` writes it."""
    assert (FOLDER / "dashboard.json").read_text() == dashboard.text()
    shown = {target["rawSql"] for target in TARGETS if "rawSql" in target}
    assert len(shown) == len(list((FOLDER / "panels").iterdir())), "a piece that no panel shows"


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    """Grafana moves what overlaps, and takes two with one id for the same."""
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    assert [
        (one, other)
        for one, other in combinations(places, 2)
        if one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    ] == []
    assert all(panel["gridPos"]["w"] == 24 for panel in SHOWN if "repeat" in panel), "its copies stand beside it"


@pytest.mark.parametrize("panel", SHOWN, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    """A curve without a unit is a guess."""
    assert panel["title"]
    assert re.fullmatch(r"[A-Z`0-9].{10,}\.", panel["description"])
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_query_goes_to_a_source_that_is_chosen_when_it_is_imported() -> None:
    """Nobody else's Grafana has a source of ours."""
    sources = {"postgres": "rawSql", "prometheus": "expr"}
    for target in TARGETS:
        kind = target["datasource"]["type"]
        assert target["datasource"]["uid"] == f"${{{kind}}}"
        assert target[sources[kind]]
    chosen = {v["name"]: v for v in DASHBOARD["templating"]["list"] if v["type"] == "datasource"}
    asked = {source["pluginId"]: source["name"] for source in DASHBOARD["__inputs"]}
    assert set(chosen) == set(asked) == set(sources)
    assert all(chosen[kind]["current"]["value"] == f"${{{asked[kind]}}}" for kind in sources)


def test_a_figure_of_now_is_never_an_old_one() -> None:
    """The last value of a day would go on saying that all is well after the metrics are gone."""
    stats = [target for panel in SHOWN if panel["type"] == "stat" for target in panel["targets"] if "expr" in target]
    assert stats
    assert all(target["instant"] for target in stats)
