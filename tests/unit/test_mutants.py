"""The campaign of mutants fits the code as it is, and a few of them are tried here: `tests/campaign/README.md`."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.campaign import mutants
from tests.campaign.mutants import ROOT, Edit, Mutant

ALL = mutants.load()
CHEAP = [mutant for mutant in ALL if not mutant.equivalent and all(test.startswith("unit/") for test in mutant.tests)]
SAMPLE = random.Random(2026).sample(CHEAP, 3)  # noqa: S311 - protects nothing


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_mutant_still_fits_the_code_and_names_tests_there_are(mutant: Mutant, tmp_path: Path) -> None:
    """Who rewrites a rule rewrites how it is broken, or its mutant would never be tried again."""
    for edit in mutant.edits:
        copied = tmp_path / edit.file
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_text((ROOT / edit.file).read_text())
        edit.make(tmp_path)
        assert copied.read_text() != (ROOT / edit.file).read_text()
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (ROOT / "tests" / file).read_text()


def test_a_text_that_is_not_there_once_is_refused(tmp_path: Path) -> None:
    """Else a mutant would change nothing, or more than it says."""
    edit = Edit("rule", old="x < 1", new="x <= 1")
    for text in ("x > 1", "x < 1 and x < 1"):
        (tmp_path / "rule").write_text(text)
        with pytest.raises(ValueError, match="^rule: .* [02] times"):
            edit.make(tmp_path)


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda mutant: mutant.name)
def test_a_mutant_is_noticed(mutant: Mutant) -> None:
    """A few of the campaign's, for the seconds there are."""
    verdict = mutants.judge(mutant, url=None)
    assert verdict.by is not None, str(verdict)


def test_a_mutant_that_changes_nothing_is_not_noticed() -> None:
    """What notices everything has looked at nothing."""
    verdict = mutants.judge(replace(SAMPLE[0], edits=()), url=None)
    assert (verdict.by, verdict.problem, verdict.is_surprise) == (None, "", True)
