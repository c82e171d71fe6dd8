"""The simulated campaign's first minutes: `tests/campaign/README.md` tells of the whole."""

import pytest

from tests.campaign import simulate


@pytest.mark.timeout(300)
def test_simulated_minutes_keep_every_promise(capsys: pytest.CaptureFixture[str]) -> None:
    """Faults and pairs of them, several publishers and killed ones: after each minute the record is what was told."""
    code = simulate.main(["--records", "1", "--minutes", "50", "--seed", "2"])
    assert code == 0, capsys.readouterr().out
