"""Checks the checkers: breaks one rule of hlctl at a time, in a copy, and sees whether a test notices.

`python -m tests.campaign.mutants` tries every mutant of `mutants.toml` and ends with a summary in figures. It exits
with 0 if every one that anybody could notice was noticed, and with 1 if not.
"""

import argparse
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from tests.conftest import clean_environment

ROOT = Path(__file__).parents[2]
_FILE = Path(__file__).with_suffix(".toml")
_COPIED = ("hlctl", "sql", "tests", "docs", "systemd", "pyproject.toml", "README.md", "CONTRIBUTING.md")
_SIMULATION = ("-m", "tests.campaign.simulate", "--records", "2", "--minutes", "500", "--seed", "3")
_LONGEST = 1200  # seconds for those who are to notice, and for all tests that did


@dataclass(frozen=True, slots=True)
class Edit:
    """`old` text, which stands in `file` once, becomes `new`."""

    file: str
    old: str
    new: str

    def make(self, root: Path) -> None:
        """Change the file below `root`; raises ValueError unless the text stands there once."""
        path = root / self.file
        text = path.read_text()
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.file}: the text to replace stands there {count} times: {self.old!r}")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule that is broken."""

    name: str
    why: str  # it is wrong
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]  # that should notice, the cheapest first, as pytest takes them, below tests/
    equivalent: str = ""  # why nobody can notice


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    by: str | None  # the first that noticed; None: nobody did
    seconds: float
    problem: str = ""  # what kept the tests from judging

    @property
    def is_surprise(self) -> bool:
        """Tell whether it should have been noticed and was not, or the other way round."""
        return (self.by is None) != bool(self.mutant.equivalent)

    def __str__(self) -> str:
        found = self.problem or self.by or f"survived: {self.mutant.equivalent or 'NOT NOTICED'}"
        return f"{self.mutant.name:32} {self.seconds:5.0f} s  {found}"


def load() -> list[Mutant]:
    """Return all mutants, in the order of the file."""
    found = tomllib.loads(_FILE.read_text())
    edits = {
        name: Edit(fields["file"], fields["old"], fields["new"]) for name, fields in found.items() if "file" in fields
    }
    return [
        Mutant(
            name,
            fields["why"],
            tuple(edits[other] for other in fields.get("together", [name])),
            tuple(fields["tests"]),
            fields.get("equivalent", ""),
        )
        for name, fields in found.items()
    ]


@contextmanager
def copy() -> Iterator[Path]:
    """Give a copy of the project in a directory of its own; none stays."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        root = Path(folder)
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, root / name)
        yield root


def run(root: Path, *command: str, url: str | None) -> tuple[int, str]:
    """Run Python on a copy, and return the exit code and what was printed."""
    # It comes before an editable installation, and so the tests' installed command runs the copy as well.
    env = {**os.environ, "PYTHONPATH": str(root)}
    if url is not None:
        env["TEST_DATABASE_URL"] = url
    with subprocess.Popen(
        [sys.executable, *command], cwd=root, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            printed, _ = process.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # which stops what the tests started
            printed, _ = process.communicate()
    return process.returncode, printed


def ask(root: Path, tests: Iterable[str], *options: str, url: str | None) -> tuple[int, str, list[str]]:
    """Run tests; return the exit code, what was printed, and which failed. One whose fixtures failed does not count."""
    usual = ("-q", "-p", "no:cacheprovider", "--no-header", "-rfE", "--tb=no")
    code, printed = run(root, "-m", "pytest", *usual, *options, *(f"tests/{test}" for test in tests), url=url)
    return code, printed, re.findall(r"^FAILED tests/(.+?)(?: - .*)?$", printed, re.MULTILINE)


def judge(mutant: Mutant, *, url: str | None, simulate: bool = False) -> Verdict:
    """Try one mutant, up to the first test that notices it, or in the simulation."""
    began = time.monotonic()
    with copy() as root:
        for edit in mutant.edits:
            edit.make(root)
        if simulate:
            code, printed = run(root, *_SIMULATION, url=None)
            noticed = re.findall(r"^minute \d+", printed, re.MULTILINE)
        else:
            code, printed, noticed = ask(root, mutant.tests, "-x", url=url)
    problem = f"ended with {code}: {printed.strip()[-300:]}" if code and not noticed else ""
    return Verdict(mutant, next(iter(noticed), None), time.monotonic() - began, problem)


def unfounded(verdicts: Sequence[Verdict], *, url: str | None) -> list[str]:
    """Return the tests that noticed something, and fail without a mutant too."""
    tests = sorted({verdict.by for verdict in verdicts if verdict.by})
    if not tests:
        return []
    with copy() as root:
        code, printed, failed = ask(root, tests, url=url)
    return failed if failed or not code else [f"pytest ended with {code}: {printed.strip()[-300:]}"]


@contextmanager
def server() -> Iterator[str]:
    """Give the URL of an embedded server for all copies: their tests make databases with their own schemas."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        env = clean_environment(HLCTL_DATA_DIR=f"{folder}/data")
        command = partial(subprocess.run, env=env, check=True, capture_output=True, text=True, timeout=120)
        started = command([sys.executable, "-m", "hlctl", "db", "start", "--json"])
        url = make_conninfo(json.loads(started.stdout)["result"]["url"], dbname="postgres")
        try:
            with psycopg.connect(url, autocommit=True) as conn:
                for setting in ("fsync", "full_page_writes"):
                    conn.execute(f"ALTER SYSTEM SET {setting} = off".encode())
                conn.execute("SELECT pg_reload_conf()")
            yield url
        finally:
            command([sys.executable, "-m", "hlctl", "db", "stop"])


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a script that prints


def report(verdicts: Sequence[Verdict], false_alarms: Sequence[str], seconds: float) -> int:
    """Print the figures; return 1 if a mutant, or a test without one, came out otherwise than it should."""
    noticed = sum(verdict.by is not None for verdict in verdicts)
    equivalent = sum(verdict.by is None and bool(verdict.mutant.equivalent) for verdict in verdicts)
    surprises = [verdict.mutant.name for verdict in verdicts if verdict.is_surprise]
    if surprises:
        _say(f"otherwise than it should: {', '.join(surprises)}")
    if false_alarms:
        _say(f"fail without a mutant too: {', '.join(false_alarms)}")
    versions = f"Python {platform.python_version()}, psycopg {psycopg.__version__}"
    counts = f"{noticed} noticed, {len(verdicts) - noticed - equivalent} not, {equivalent} equivalent"
    _say(f"{datetime.now(UTC):%F}, {versions}: {len(verdicts)} mutants, {counts}; {seconds:.0f} s")
    return int(bool(surprises or false_alarms))


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.mutants", description=__doc__)
    parser.add_argument("--only", default="*", help="mutants of this name; * and ? are wild")
    parser.add_argument("--sample", type=int, help="as many mutants, chosen by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--with", choices=["tests", "simulate"], default="tests", dest="by", help="who is to notice")
    parser.add_argument("--at-once", type=int, default=2)
    options = parser.parse_args(arguments)
    simulate = options.by == "simulate"
    mutants = [mutant for mutant in load() if fnmatch(mutant.name, options.only)]
    if options.sample is not None:
        mutants = random.Random(options.seed).sample(mutants, options.sample)  # noqa: S311 - protects nothing
    began = time.monotonic()
    verdicts: list[Verdict] = []
    with server() as url, ThreadPoolExecutor(options.at_once) as pool:
        for verdict in pool.map(partial(judge, url=url, simulate=simulate), mutants):
            _say(str(verdict))
            verdicts.append(verdict)
        false_alarms = [] if simulate else unfounded(verdicts, url=url)
    return report(verdicts, false_alarms, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
