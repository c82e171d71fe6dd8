"""`demo`: the first thing a newcomer runs."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Hlctl, shape, shown_in_the_readme

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "recorded"


def servers(folder: Path) -> set[str]:
    """Return the working directories below a folder of processes still running."""
    found = set()
    for process in Path("/proc").glob("[0-9]*/cwd"):
        try:
            target = str(process.readlink())
        except OSError:
            continue
        if target.startswith(str(folder)):
            found.add(target)
    return found


def test_the_demo_ends_healthy_and_leaves_nothing_behind(make_hlctl: Callable[..., Hlctl]) -> None:
    """Whatever the operator's own settings say: it never touches his database."""
    folder = Path(tempfile.mkdtemp())  # short: a socket's path has a limit
    hlctl = make_hlctl(TMPDIR=str(folder), HLCTL_DATABASE_URL="postgresql://u@127.0.0.1:1/x", HLCTL_UNIVERSE_SIZE="7")
    ran = hlctl("demo")
    assert (ran.code, ran.err) == (0, "")
    assert "health            healthy\n" in ran.out
    assert "coverage          100.00 %, 200 of 200 wallets, 600 cells\n" in ran.out
    assert ran.out.endswith("nothing is left behind\n")
    assert list(folder.iterdir()) == []
    assert servers(folder) == set()
    folder.rmdir()
    assert ran.seconds < 30


def test_the_readme_shows_what_the_demo_prints(make_hlctl: Callable[..., Hlctl]) -> None:
    """Line by line; the figures are those of their day."""
    assert shape(make_hlctl()("demo").out) == shape(shown_in_the_readme("demo output"))


def test_the_demo_in_json(make_hlctl: Callable[..., Hlctl]) -> None:
    """The same facts in the envelope."""
    result = make_hlctl()("demo", "--json").document["result"]
    assert result["status"]["health"]["health_state"] == "healthy"
    assert result["snapshot"]["recorded"]["rows_written"] == 600
    assert result["kept"] is None


def test_a_kept_demo_says_how_to_look_at_it(make_hlctl: Callable[..., Hlctl]) -> None:
    """And its own commands work."""
    hlctl = make_hlctl()
    kept = Path(hlctl("demo", "--keep", "--json").document["result"]["kept"])
    settings = {"HLCTL_DATA_DIR": str(kept)}
    try:
        assert hlctl("status", **settings).out.startswith("health            ")
    finally:
        assert hlctl("db", "stop", **settings).code == 0
        shutil.rmtree(kept)


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers (../shared/data/recorded) are not here")
def test_the_demo_over_recorded_answers_records_real_wallets(make_hlctl: Callable[..., Hlctl]) -> None:
    """The same way."""
    ran = make_hlctl()("demo", "--data", str(RECORDED))
    assert ran.code == 0
    assert "health            healthy\n" in ran.out
    assert "coverage          100.00 %, 200 of 200 wallets, 600 cells\n" in ran.out


def test_a_folder_without_recorded_answers_is_one_line(make_hlctl: Callable[..., Hlctl], tmp_path: Path) -> None:
    """It says what is missing."""
    ran = make_hlctl()("demo", "--data", str(tmp_path))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert str(tmp_path) in ran.err


def test_a_place_no_server_can_live_in_is_one_line_and_left_as_it_was(
    make_hlctl: Callable[..., Hlctl], tmp_path: Path
) -> None:
    """A socket's path has a limit and a URL carries no comma; the demo reads TMPDIR and no HLCTL_DATA_DIR."""
    for name in ("a,b", "long" * 25):
        folder = tmp_path / name
        folder.mkdir()
        ran = make_hlctl(TMPDIR=str(folder))("demo")
        assert (ran.code, ran.out, ran.err.count("\n")) == (6, "", 1)
        assert ran.err.endswith("; set TMPDIR to another directory, such as /tmp\n")
        assert list(folder.iterdir()) == []
