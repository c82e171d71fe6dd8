"""What a host keeps in mind of an outage: a file that can be anything, and never a reason to fail."""

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hlctl.memory import Place
from hlctl.outage import FAULTS, Memory

MEMORIES = st.builds(
    Memory,
    since=st.datetimes(timezones=st.just(UTC)),
    told=st.frozensets(st.sampled_from(sorted(FAULTS)), min_size=1),
    causes=st.frozensets(st.integers(0, 2**32 - 1), max_size=10),
)
ANYTHING = st.binary(max_size=200) | st.sampled_from(
    [
        b"null", b"[]", b"{}", b"[" * 5000, b"\xff\xfe", b'{"since": "2026-01-06T20:44:00+00:00", "told": [5]}',
        b'{"since": "2026-01-06T20:44:00+00:00", "told": [], "causes": []}',
        b'{"since": "2026-01-06T20:44:00", "told": [5], "causes": []}',
        b'{"since": "yesterday", "told": [5], "causes": []}', b'{"since": 5, "told": [5], "causes": []}',
        b'{"since": "2026-01-06T20:44:00Z", "told": [true], "causes": []}',
        b'{"since": "2026-01-06T20:44:00Z", "told": [70], "causes": []}',
        b'{"since": "2026-01-06T20:44:00Z", "told": 5, "causes": []}',
        b'{"since": "2026-01-06T20:44:00Z", "told": [5], "causes": ["x"]}',
        b'{"since": "2026-01-06T20:44:00Z", "told": [5], "causes": 5}',
    ]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MEMORIES, MEMORIES)
def test_what_is_kept_is_recalled_until_it_is_taken_back(tmp_path: Path, first: Memory, second: Memory) -> None:
    """By the same command, and by no other."""
    place = Place(tmp_path, "snapshot", makes=False)
    for memory in (first, second, None, None):
        place.keep(memory)
        assert place.recall() == memory
        assert Place(tmp_path, "verify", makes=False).recall() is None
    assert list(tmp_path.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANYTHING)
def test_what_hlctl_has_not_written_is_no_memory(tmp_path: Path, content: bytes) -> None:
    """Half a file, another program's, another version's: what it was is told once more."""
    place = Place(tmp_path, "snapshot", makes=False)
    place.path.write_bytes(content)
    place.path.chmod(0o600)
    assert place.recall() is None


def test_a_directory_is_made_only_where_it_may_be(tmp_path: Path) -> None:
    """That of an embedded server is its own to make, with its user's rights."""
    memory = Memory(datetime(2026, 1, 6, 20, 44, tzinfo=UTC), frozenset({5}))
    folder = tmp_path / "lib" / "hlctl"
    Place(folder, "snapshot", makes=False).keep(memory)
    assert not folder.parent.exists()
    place = Place(folder, "snapshot", makes=True)
    place.keep(memory)
    assert (place.recall(), folder.stat().st_mode & 0o777) == (memory, 0o700)
    assert list(folder.iterdir()) == [place.path]


def test_what_killed_processes_left_is_one_file_and_makes_way(tmp_path: Path) -> None:
    """Whatever it is; a name of its own for each would fill the directory."""
    memory = Memory(datetime(2026, 1, 6, 20, 44, tzinfo=UTC), frozenset({5}))
    place = Place(tmp_path, "snapshot", makes=False)
    (tmp_path / ".told-snapshot.json.new").symlink_to(tmp_path / "elsewhere")
    place.keep(memory)
    assert place.recall() == memory
    assert list(tmp_path.iterdir()) == [place.path]


def test_a_place_that_is_none_is_no_reason_to_fail(tmp_path: Path) -> None:
    """A file where the directory should be, and a directory where the file should be."""
    memory = Memory(datetime(2026, 1, 6, 20, 44, tzinfo=UTC), frozenset({5}))
    (tmp_path / "file").touch()
    (tmp_path / "told-snapshot.json").mkdir()
    for folder in (tmp_path / "file", tmp_path):
        place = Place(folder, "snapshot", makes=True)
        place.keep(memory)
        assert place.recall() is None
        place.keep(None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "told-snapshot.json"]
