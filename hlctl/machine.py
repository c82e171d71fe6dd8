"""What is seen of this machine without touching it: its timers and crontabs, processes, files and disk.

Where the files are is a parameter, so that a test can lay out a machine of its own.
"""

import os
import re
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hlctl.checks.machine import SCHEDULED, PrivateFile, Schedules

ROOT = Path("/")
Ask = Callable[[Sequence[str]], str]

_LOOK_UP = 3.0  # seconds for a program that only looks something up
_MOMENT = 2.5  # seconds in which whoever waits for a process that ended has done so; some only look now and then
_GUARD = "systemctl is-active"


def ask(argv: Sequence[str]) -> str:
    """Return what a program prints; nothing if there is none of that name or it takes too long."""
    with suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_LOOK_UP,
            stdin=subprocess.DEVNULL,
        )
        return asked.stdout
    return ""


def schedules(root: Path = ROOT, ask: Ask = ask) -> Schedules:
    """Say which commands systemd's timers and the crontabs this user can read start."""
    units = [f"hlctl-{command}.timer" for command in SCHEDULED]
    timers: set[str] = set()
    for whose in ("--system", "--user"):
        states = ask(["systemctl", whose, "is-active", *units]).split()
        timers |= {command for command, state in zip(SCHEDULED, states, strict=False) if state == "active"}
    lines = [line for line in _cron_lines(root, ask) if any(_starts(line, command) for command in SCHEDULED)]
    return Schedules(
        timers=timers,
        cron={command for command in SCHEDULED if any(_starts(line, command) for line in lines)},
        cron_yields=all(_GUARD in line for line in lines),
    )


def _starts(line: str, command: str) -> bool:
    return re.search(rf"\bhlctl\s(\S+\s+)*{command}([\s;&|<>)]|$)", line) is not None


def _cron_lines(root: Path, ask: Ask) -> Iterator[str]:
    """Yield the lines of every crontab there is to read, without comments."""
    files = [root / "etc/crontab"]
    for folder in ("etc/cron.d", "var/spool/cron/crontabs", "var/spool/cron"):
        with suppress(OSError):  # cron passes over names with a dot
            files += [file for file in sorted((root / folder).iterdir()) if "." not in file.name]
    texts = [ask(["crontab", "-l"])]
    for file in files:
        with suppress(OSError):
            texts.append(file.read_text(errors="replace"))
    for text in texts:
        yield from (line for line in text.splitlines() if not line.lstrip().startswith("#"))


def unit_of(pid: int | None, root: Path = ROOT) -> str | None:
    """Return the systemd unit a process lives in, None if that cannot be seen."""
    with suppress(OSError):
        units = re.findall(r"([^/\s]+\.service)(?=/|\s|$)", (root / f"proc/{pid}/cgroup").read_text())
        return units[-1] if units else None
    return None


def dead_servers(owner: str | None, root: Path = ROOT, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Count the processes of a user's PostgreSQL that ended and that nobody waits for.

    Each is dead for a moment before it is waited for, so the same ones must be found twice.
    """
    dead = _dead(owner, root)
    if dead:
        sleep(_MOMENT)
        dead &= _dead(owner, root)
    return len(dead)


def _dead(owner: str | None, root: Path) -> set[str]:
    found = set()
    for process in (root / "proc").glob("[0-9]*"):
        with suppress(OSError, KeyError):
            if "(postgres) Z " in (process / "stat").read_text(errors="replace") and process.owner() == owner:
                found.add(process.name)
    return found


def private_file(path: Path, what: str) -> PrivateFile | None:
    """Return who may read a file or enter a directory; None if it is not there or is neither, a pipe for instance."""
    with suppress(OSError):
        found = path.stat()
        if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
            return PrivateFile(str(path), what, stat.S_IMODE(found.st_mode), found.st_uid)
    return None


def free_bytes(path: Path) -> int | None:
    """Return how many bytes this user may still write to the disk of a directory; None if it is not there."""
    with suppress(OSError):
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize
    return None


def modules() -> tuple[int, int]:
    """Return of how many modules in this process the bytecode is kept on disk, and how many there are."""
    specs = [module.__spec__ for module in list(sys.modules.values()) if getattr(module, "__spec__", None)]
    cached = [spec.cached for spec in specs if spec and spec.has_location and spec.cached]
    return sum(map(os.path.exists, cached)), len(cached)


def open_files() -> int | None:
    """Return how many files this process may have open; None: any number."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if files == resource.RLIM_INFINITY else files
