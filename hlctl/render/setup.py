"""`config show`, `doctor` and `version` on a screen."""

from collections import Counter

from hlctl.answers import ConfigResult, DoctorResult, VersionResult
from hlctl.checks import Outcome
from hlctl.render import clean
from hlctl.render.screen import Block, Facts


def config(result: ConfigResult) -> list[Block]:
    """Return one line a setting: its value, and who said so."""
    rows = []
    for setting in result.settings:
        value = (
            f"refused: {setting.problem}" if setting.problem else "unset" if setting.value is None else setting.value
        )
        rows.append((setting.name, clean(f"{value}  ({setting.origin})")))
    return [Facts(rows)]


def doctor(result: DoctorResult) -> list[Block]:
    """Return one line a check, worst things not first: their order is the order to mend them in."""
    counts = Counter(check.outcome for check in result.checks)
    said = ", ".join(f"{counts[outcome]} {_PLURALS[outcome]}" for outcome in Outcome if counts[outcome])
    worst = next(outcome for outcome in (Outcome.PROBLEM, Outcome.WARNING, Outcome.OK) if counts[outcome])
    lines: list[Block] = []
    width = max(len(check.id) for check in result.checks)
    for check in result.checks:
        remedy = f"; {check.remedy}" if check.remedy else ""
        lines.append(f"{check.outcome:<8} {check.id:<{width}}  {clean(check.finding + remedy)}")
    return [*lines, Facts([("doctor", said)], style=_STYLES[worst])]


_PLURALS = {
    Outcome.OK: "ok",
    Outcome.WARNING: "with a warning",
    Outcome.PROBLEM: "with a problem",
    Outcome.SKIPPED: "skipped",
}
_STYLES = {Outcome.OK: "bold green", Outcome.WARNING: "bold yellow", Outcome.PROBLEM: "bold red"}


def version(result: VersionResult) -> list[Block]:
    """Return what a report of an error needs."""
    return [
        Facts(
            [
                ("hlctl", result.hlctl),
                ("python", result.python),
                ("platform", result.platform),
                *result.libraries.items(),
                ("embedded PostgreSQL", result.embedded_postgresql or "none for this platform"),
            ]
        )
    ]
