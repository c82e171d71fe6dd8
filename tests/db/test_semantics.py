"""docs/semantics.md is written for who trades on the record: its lists are the code's, and its SQL runs."""

import re
from pathlib import Path

import pytest

from hlctl import db
from hlctl.model import MissingReason

PAGE = (Path(__file__).parents[2] / "docs" / "semantics.md").read_text()
STATEMENTS = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """Return a section of the page."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_reason_of_a_missing_cell_is_explained() -> None:
    """A reason that nobody explains is noise."""
    cells = re.findall(r"^\|((?: `\w+`)+) \|", section("NULL is not zero"), re.MULTILINE)
    named = [word for cell in cells for word in re.findall(r"\w+", cell)]
    assert sorted(named) == sorted(reason.value for reason in MissingReason)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_pages_sql_runs(rolled_back: db.Connection, statement: str) -> None:
    """A query that somebody copies must work."""
    rolled_back.execute(statement.encode())


def test_the_page_has_sql() -> None:
    """Else the test above tests nothing."""
    assert STATEMENTS
