"""The boundary of the command line: what goes wrong outside of a command's work ends in one answer too."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import contract

PROBE = (
    "import sys; from hlctl import cli; from hlctl.render import document, text;"
    "from hlctl.jobs.interrupt import Interrupt; interrupted = Interrupt();"
)
RUN = "sys.exit(cli.main(sys.argv[1:], interrupted=interrupted))"


def run(prepare: str, *args: str, data_dir: Path) -> tuple[int, str, str]:
    """Run the command line in a process of its own, which `prepare` has done something to."""
    ran = subprocess.run(
        [sys.executable, "-c", f"{PROBE}{prepare};{RUN}", *args],
        env={"HLCTL_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_signal_before_the_job_ends_it_before_it_begins(tmp_path: Path, number: int, code: int) -> None:
    """It came while modules were loading, and must not be lost."""
    status, out, err = run(f"interrupted.remember({number}, None)", "db", "url", "--json", data_dir=tmp_path)
    assert (status, err) == (code, "")
    assert contract.check(out, code)["error"]["code"] == "interrupted"


def test_a_signal_that_comes_when_the_job_is_done_changes_nothing(tmp_path: Path) -> None:
    """Its result is whole: a document with a result of 0 and an error of 143 would say both."""
    late = "{'__init__': lambda *_: None, '__enter__': lambda *_: None, '__exit__': lambda *_: stop()}"
    stop = "exec('def stop(): raise KeyboardInterrupt')"
    status, out, err = run(
        f"from hlctl import boundary; {stop}; boundary.raising = type('Late', (), {late})",
        "db", "url", "--json", data_dir=tmp_path,
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert contract.check(out, 0)["error"] is None


def test_a_result_that_cannot_be_printed_is_a_bug_in_one_document(tmp_path: Path) -> None:
    """Not half a document, and not the words of an exception."""
    status, out, err = run("document.plain = None", "db", "url", "--json", data_dir=tmp_path)
    assert (status, err) == (70, "")
    error = contract.check(out, 70)["error"]
    assert re.fullmatch(r"hlctl has a bug: TypeError in document\.py:\d+", error["message"])


def test_a_renderer_that_cannot_print_at_all_is_one_line_of_the_log(tmp_path: Path) -> None:
    """The last resort: no traceback, and still 70."""
    status, out, err = run("document.document = None", "db", "url", "--json", data_dir=tmp_path)
    assert (status, out) == (70, "")
    assert re.fullmatch(r"hlctl has a bug: TypeError in boundary\.py:\d+\n", err)


def test_a_bug_in_the_text_is_one_line(tmp_path: Path) -> None:
    """With the command it happened in."""
    status, out, err = run("text.show = None", "db", "url", data_dir=tmp_path)
    assert (status, out) == (70, "")
    assert re.fullmatch(r"hlctl db url: hlctl has a bug: TypeError in boundary\.py:\d+; please report it; .*\n", err)


def test_a_signal_in_the_middle_of_an_import_waits_for_its_end(tmp_path: Path) -> None:
    """Raised there it could be swallowed, and what is half loaded would have to be loaded again for the answer."""
    (tmp_path / "slow.py").write_text(
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM); whole = sum(range(100)); print(whole)"
    )
    prepare = (
        f"sys.path.insert(0, {str(tmp_path)!r}); from hlctl import settings; real = settings.load;"
        "settings.load = lambda config: (__import__('slow'), __import__('time').sleep(5), real(config))[2]"
    )
    status, out, err = run(prepare, "db", "url", "--json", data_dir=tmp_path)
    assert (status, err) == (143, "")
    whole, document = out.splitlines(keepends=True)
    assert whole == "4950\n"
    assert contract.check(document, 143)["error"]["code"] == "interrupted"


@pytest.mark.parametrize(
    ("code", "error"), [(5, "database"), (4, "minute_missed"), (130, "interrupted"), (143, "interrupted")]
)
def test_the_watchdogs_last_words_are_a_document_too(tmp_path: Path, code: int, error: str) -> None:
    """It ends a process that waits for something without a bound, in the middle of a job."""
    prepare = (
        "from hlctl import settings; from hlctl.watchdog import watchdog;"
        f"settings.load = lambda config: (watchdog.end_in(0.05, {code}, 'too late'), __import__('time').sleep(30))"
    )
    status, out, err = run(prepare, "db", "url", "--json", data_dir=tmp_path)
    assert (status, err) == (code, "")
    found = contract.check(out, code)["error"]
    assert (found["code"], found["message"]) == (error, "too late")


def test_the_watchdogs_last_words_are_told_once_in_an_outage(tmp_path: Path) -> None:
    """It ends a run that nothing else could end, and the next one a minute later ends in the same way."""
    hang = (
        "import time; from hlctl.jobs import snapshot; from hlctl.watchdog import watchdog;"
        "snapshot.snapshot = lambda *_, **__: (watchdog.end_in(0, 5, 'no answer'), time.sleep(60))"
    )
    told = [run(hang, "snapshot", data_dir=tmp_path) for _ in range(2)]
    assert told == [(5, "", "hlctl: no answer\n"), (5, "", "")]


def test_a_disk_that_hangs_does_not_hold_the_watchdog_up(tmp_path: Path) -> None:
    """It is no memory, so the words are said; the process ends either way."""
    hang = (
        "import time; from hlctl import memory; from hlctl.jobs import snapshot; from hlctl.watchdog import watchdog;"
        "memory.Place.recall = lambda self: time.sleep(60);"
        "snapshot.snapshot = lambda *_, **__: (watchdog.end_in(0, 5, 'no answer'), time.sleep(60))"
    )
    assert run(hang, "snapshot", data_dir=tmp_path) == (5, "", "hlctl: no answer\n")


def test_a_call_into_c_that_never_comes_back_is_ended_by_the_kernel(tmp_path: Path) -> None:
    """It lets no other thread run, the watchdog's least of all."""
    hang = (
        "import re; from hlctl.jobs import snapshot; from hlctl.watchdog import watchdog;"
        "spin = lambda: re.match('(a+)+$', 'a' * 60 + 'b');"
        "snapshot.snapshot = lambda *_, **__: (watchdog.end_in(0.3, 5, 'no answer'), spin())"
    )
    status, out, _ = run(hang, "snapshot", data_dir=tmp_path)
    assert (status, out) == (-signal.SIGPROF, "")
