"""How the gate deals the tests: nothing is left out, and no process is left working alone."""

from hypothesis import given
from hypothesis import strategies as st

from tests import deal

JUNIT = (
    '<testsuites><testsuite><testcase classname="tests.db.test_a" name="x" time="1.5"/>'
    '<testcase classname="tests.db.test_a" name="y" time="2"/>'
    '<testcase classname="tests.unit.test_b" name="z" time="0.1"/></testsuite></testsuites>'
)


@given(st.dictionaries(st.text(min_size=1), st.floats(0, 1000), max_size=60), st.integers(1, 9))
def test_every_file_is_dealt_once_and_no_lane_has_more_than_one_file_too_many(
    weights: dict[str, float], lanes: int
) -> None:
    """A file that nobody runs would never fail."""
    dealt = deal.deal(weights, lanes, measured=[*weights][::2])
    assert len(dealt) == lanes
    assert sorted(file for lane in dealt for file in lane) == sorted(weights)
    loads = [sum(weights[file] for file in lane) for lane in dealt]
    for lane, load in zip(dealt, loads, strict=True):
        assert not lane or load - weights[lane[-1]] <= min(loads) + 1e-6


def test_a_file_that_was_never_measured_counts_by_its_size() -> None:
    """A new file needs no line in the table."""
    assert deal.weigh({"a": 100, "b": 300, "new": 50}, {"a": 10.0, "b": 30.0, "gone": 999.0}) == {
        "a": 10.0,
        "b": 30.0,
        "new": 5.0,
    }
    assert deal.weigh({"new": 50}, {}) == {"new": 50.0}


def test_a_file_that_was_never_measured_begins_first() -> None:
    """It may wait for minutes: at the end of a lane that would keep everybody waiting."""
    assert deal.deal({"a": 9.0, "b": 8.0, "new": 1.0}, 2, measured={"a", "b"}) == [["new", "b"], ["a"]]


def test_the_seconds_of_a_file_are_those_of_all_its_tests() -> None:
    """Of one process: the unit tests run in each."""
    assert deal.measured([JUNIT, JUNIT]) == {"tests/db/test_a.py": 3.5, "tests/unit/test_b.py": 0.1}


def test_the_table_of_seconds_names_files_that_exist() -> None:
    """A line whose file is gone says that nobody has measured for long."""
    table = deal.read(deal.TABLE.read_text())
    assert table
    assert [file for file in table if not (deal.TESTS.parent / file).is_file()] == []


def test_every_test_file_is_where_the_gate_looks() -> None:
    """One beside them would run by hand and never in the gate."""
    folders = {file.parent.relative_to(deal.TESTS).as_posix() for file in deal.TESTS.rglob("test_*.py")}
    assert folders == {"unit", "db", "e2e"}
