"""The end of a process that nothing holds up."""

import json
import threading
from typing import TextIO

import pytest

from hlctl import logs
from hlctl.watchdog import Watchdog


class Ended:
    """Stands for the end of the process."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.happened = threading.Event()

    def __call__(self, code: int) -> None:
        """Take note of it."""
        self.codes.append(code)
        self.happened.set()


def test_it_ends_the_process_with_its_code_and_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever the main thread waits for: here it sleeps."""
    ended = Ended()
    Watchdog(ended).end_in(0.01, 4, "the minute was over")
    assert ended.happened.wait(5)
    assert ended.codes == [4]
    assert capfd.readouterr().err == "hlctl: the minute was over\n"


def test_a_later_word_replaces_the_earlier() -> None:
    """A run learns its minute's end only when it has the minute, and that may be later or sooner."""
    ended = Ended()
    dog = Watchdog(ended)
    dog.end_in(0.2, 5, "")
    dog.end_in(1.0, 4, "")
    assert not ended.happened.wait(0.5)
    dog.end_in(0.0, 3, "")
    assert ended.happened.wait(5)
    assert ended.codes == [3]


def test_a_signal_never_moves_the_end_later_and_no_later_word_undoes_it() -> None:
    """The end of the minute stays the end, and the code is the signal's."""
    for armed, hastened, armed_again in ((0.2, 30.0, 30.0), (30.0, 0.2, 30.0), (30.0, 30.0, 0.2)):
        ended = Ended()
        dog = Watchdog(ended)
        dog.end_in(armed, 4, "")
        dog.hasten(hastened, 143, "")
        dog.end_in(min(armed, armed_again), 4, "")
        assert ended.happened.wait(5)
        assert ended.codes == [143]


def test_what_is_done_ends_with_its_own_code_and_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    """A pipe nobody reads must not turn a committed minute into a failure."""
    ended = Ended()
    dog = Watchdog(ended)
    dog.end_in(0.05, 4, "the minute was over")
    dog.settle(0)
    assert ended.happened.wait(5)
    assert ended.codes == [0]
    assert capfd.readouterr().err == ""


def test_what_is_done_in_the_last_moment_can_still_be_said() -> None:
    """A status that has given up on its database at second 4.3 has to load the words for it."""
    ended = Ended()
    dog = Watchdog(ended)
    dog.end_in(0.05, 5, "")
    dog.settle(5)
    assert not ended.happened.wait(0.3)
    assert ended.happened.wait(5)


def test_what_is_done_in_the_last_moment_of_a_signals_grace_can_still_be_said() -> None:
    """A minute that was published after SIGTERM has its line to print, and that may be half a JSON document."""
    ended = Ended()
    dog = Watchdog(ended)
    dog.end_in(30.0, 4, "")
    dog.hasten(0.05, 143, "")
    dog.settle(143)
    assert not ended.happened.wait(0.3)
    assert ended.happened.wait(5)


@pytest.mark.parametrize(("code", "said"), [(4, "the minute was over"), (0, "")])
def test_who_settles_while_the_last_words_are_said_leaves_them_to_it(
    capfd: pytest.CaptureFixture[str], code: int, said: str
) -> None:
    """A machine wakes up: both find the minute over, and the fault is told once. What was committed is no fault."""
    ended = Ended()
    dog = Watchdog(ended)
    usual, is_speaking, goes_on = dog.say, threading.Event(), threading.Event()

    def slowly(code: int, words: str) -> tuple[int, TextIO, str]:
        is_speaking.set()
        assert goes_on.wait(5)
        return usual(code, words)

    dog.say = slowly
    dog.end_in(0.0, 4, "the minute was over")
    assert is_speaking.wait(5)
    settling = threading.Thread(target=dog.settle, args=(code,))
    settling.start()
    settling.join(0.1)
    assert settling.is_alive()  # it says nothing meanwhile
    goes_on.set()
    assert ended.happened.wait(5)
    assert ended.codes == [code]
    assert capfd.readouterr().err == (f"hlctl: {said}\n" if said else "")
    settling.join()


def test_what_is_settled_stays_so_whatever_comes_later(capfd: pytest.CaptureFixture[str]) -> None:
    """A signal while the answer waits for its reader moves the end, and not what was committed."""
    ended = Ended()
    dog = Watchdog(ended)
    dog.settle(0)
    dog.end_in(0.01, 143, "ended by a signal")
    assert ended.happened.wait(5)
    assert ended.codes == [0]
    assert capfd.readouterr().err == ""


def test_it_can_be_called_off() -> None:
    """A demo goes on after its minute."""
    ended = Ended()
    dog = Watchdog(ended)
    dog.end_in(0.05, 4, "")
    dog.call_off()
    assert not ended.happened.wait(0.3)


def test_its_last_words_are_an_object_where_the_log_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who reads objects reads the end too."""
    monkeypatch.setattr(logs, "run", logs.Run(format="json", command="snapshot"))
    ended = Ended()
    Watchdog(ended).end_in(0.01, 4, "the minute was over")
    assert ended.happened.wait(5)
    said = json.loads(capfd.readouterr().err)
    assert (said["level"], said["code"], said["message"]) == ("error", 4, "the minute was over")
