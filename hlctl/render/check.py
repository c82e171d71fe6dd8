"""`status --check`: one line as monitoring plugins print it, words, a bar, and figures with the thresholds in force."""

from hlctl.answers import StatusResult
from hlctl.errors import HlctlError, Verdict
from hlctl.render import clean
from hlctl.render.screen import said
from hlctl.render.status import age_words, figure, reasons_of, seconds_of
from hlctl.results import Result

_OLD = 120  # seconds from which v_latest_health calls the newest minute old


def line(result: Result | None, error: HlctlError | None) -> str:
    """Return the line for what was judged, or for why nothing could be."""
    if not isinstance(result, StatusResult):
        return _line(Verdict.UNKNOWN, said(error) if error else "nothing was judged")
    health = result.health
    words = "; ".join(reasons_of(result))
    if not words:
        words = f"last good minute {age_words(health.last_good_age)} old, {health.coverage_pct} % coverage"
    return f"{_line(result.verdict, f'{health.health_state}: {words}')} | {' '.join(_figures(result))}"


def _line(verdict: Verdict, words: str) -> str:
    return f"HLCTL {verdict.name} - {clean(words).replace('|', '/')}"


def _figures(result: StatusResult) -> list[str]:
    """Return label=value;warning;critical;min;max; U is a value that is not known."""
    health, limits, run = result.health, result.thresholds, result.run
    age = "U" if health.last_good_age is None else f"{seconds_of(health.last_good_age)}s"
    universe = "U" if health.universe_age is None else f"{seconds_of(health.universe_age)}s"
    if limits is None or run is None:
        return [f"age={age}", "coverage=U", "missing=U", f"universe_age={universe}"]
    return [
        f"age={age};{_OLD};{seconds_of(limits.stale_after)};0;",
        f"coverage={figure(run.coverage_pct)}%;{figure(limits.coverage_success)}:;{figure(limits.coverage_failed)}:;0;100",
        f"missing={run.wallets_expected - run.wallets_succeeded};;;0;{run.wallets_expected}",
        f"universe_age={universe};{seconds_of(limits.universe_stale_after)};;0;",
    ]
