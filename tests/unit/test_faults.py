"""The catalogue of faults and the page that maps each to its test: `docs/reliability.md`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CATALOGUE: dict[str, int] = {"D": 24, "G": 14, "P": 14, "T": 12, "K": 10}
"""The groups of the catalogue, and how many faults each has: H01 is the first of H."""


def _rows() -> list[tuple[list[str], str]]:
    """Return the ids and the last column of each row of the tables whose first column is `id`."""
    rows: list[tuple[list[str], str]] = []
    is_catalogue = False
    for line in (ROOT / "docs" / "reliability.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            is_catalogue = False
        elif cells[0] == "id":
            is_catalogue = True
        elif is_catalogue and not set(cells[0]) <= set("-: ") | {""}:
            rows.append((cells[0].split(), cells[-1]))
    return rows


def test_every_fault_of_the_catalogue_is_on_the_page() -> None:
    """A fault that is on no line is one that nobody looked at."""
    known = {f"{group}{number:02}" for group, count in CATALOGUE.items() for number in range(1, count + 1)}
    named = {name for ids, _ in _rows() for name in ids}
    assert known - named == set()
    assert {name for name in named if name[0] in CATALOGUE} - known == set()


def test_every_fault_has_a_test_or_the_reason_why_it_has_none() -> None:
    """The reason is a sentence that begins so, and names what this machine cannot do."""
    silent = [
        ids
        for ids, last in _rows()
        if not re.search(r"`test_\w+\.py::test_\w+`", last) and "Not injected: " not in last
    ]
    assert silent == []
