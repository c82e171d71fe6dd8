"""A Debian machine of one's own, as docs/installation.md leaves it, on which a real cron keeps the minutes.

It is this machine under a layer in memory that takes every write (machine.sh), in namespaces of its own: nothing of it
is left, and the files, the mails and the cron of this machine stay as they are. Only the network is shared: what
listens on loopback here is reached from there.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_string
from pathlib import Path
from urllib.parse import quote

import hlctl

ROOT = Path(__file__).parents[2]
CRONTAB = ROOT / "crontab.example"
SETTINGS = Path("/etc/hlctl/hlctl.env")
CANNOT_RUN = 77
"""Exit code of what this machine cannot do."""

_VENV, _PACKAGE = Path(sys.prefix), Path(hlctl.__file__).parents[1]
_NAMESPACES = ("--mount", "--pid", "--ipc")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 120  # for any one command


class UnavailableError(Exception):
    """This machine cannot have another inside: the message says what is missing."""


def until(is_so: Callable[[], bool], *, seconds: float = _SECONDS) -> None:
    """Wait until something is so. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Mail:
    """What cron sent, and when."""

    at: datetime
    subject: str
    body: str

    @property
    def is_of_snapshot(self) -> bool:
        """Tell whether the crontab's line of snapshots is why."""
        return self.subject.endswith(" snapshot")


@dataclass(frozen=True, slots=True)
class Machine:
    """A running machine; `pid` is its first process, seen from here."""

    pid: int

    @property
    def root(self) -> Path:
        """Return its file system, seen from here."""
        return Path(f"/proc/{self.pid}/root")

    def path(self, inside: Path) -> Path:
        """Return where a file of the machine is seen from here."""
        return self.root / inside.relative_to("/")

    def run(self, *command: str, user: str = "root", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command on it, with no environment but PATH and `env`."""
        enter = ["nsenter", f"--target={self.pid}", *_NAMESPACES, "--root", "--wd", "env", "-i"]
        given = [f"{name}={value}" for name, value in {"PATH": _PATH, **env}.items()]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return subprocess.run(
            [*enter, *given, *become, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )

    def hlctl(self, *args: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run hlctl as the crontab does: as its user, with its settings."""
        env = {"HLCTL_CONFIG": str(SETTINGS), "HLCTL_DATA_DIR": "/var/lib/hlctl", **settings}
        return self.run("/opt/hlctl/bin/hlctl", *args, user="hlctl", **env)

    def configure(self, **settings: str) -> None:
        """Write the file of settings, as an operator would."""
        self.path(SETTINGS).write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def start_cron(self) -> None:
        """Install crontab.example as it is, and start Debian's cron."""
        crontab = self.path(Path("/etc/cron.d/hlctl"))
        shutil.copyfile(CRONTAB, crontab)
        crontab.chmod(0o644)
        self.run("cron").check_returncode()

    def stop_cron(self) -> None:
        """End the daemon, and wait for what it has started and for the mails about it."""
        self.run("kill", self.path(Path("/run/crond.pid")).read_text().strip()).check_returncode()
        until(lambda: "cron" not in self._processes())

    def _processes(self) -> set[str]:
        """Return the names of what runs on it."""
        found = set()
        for process in (self.root / "proc").glob("[0-9]*/comm"):
            with suppress(OSError):  # gone by now
                found.add(process.read_text().strip())
        return found

    def mails(self) -> list[Mail]:
        """Return every mail, the oldest first."""
        found = []
        for file in (self.root / "var/mails").iterdir():
            mail = message_from_string(file.read_text())
            at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            found.append(Mail(at, str(mail["Subject"]), str(mail.get_payload())))
        return sorted(found, key=lambda mail: mail.at)

    def database(self) -> str:
        """Return the URL by which its embedded database is reached from here."""
        return self.seen_from_here(self.hlctl("db", "url").stdout.strip())

    def seen_from_here(self, url: str) -> str:
        """Return the URL by which a server is reached from here whose socket is at `url` there."""
        return url.replace("host=", f"host={quote(str(self.root), safe='')}")


def require(*programs: str) -> None:
    """Raise UnavailableError, naming what is missing, if this machine cannot have another with these inside."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise UnavailableError("needs root on Linux, to mount and to act as other users")
    for program in ("unshare", "nsenter", "setpriv", "useradd", *programs):
        if shutil.which(program, path=f"{os.environ['PATH']}:{_PATH}") is None:
            raise UnavailableError(f"{program} is not installed")
    tried = subprocess.run(["unshare", *_NAMESPACES, "--fork", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise UnavailableError(tried.stderr.strip())


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Start a machine that mounts over `folder`, and end it with everything that runs on it.

    Raises UnavailableError.
    """
    require("cron")
    base = Path(sys.base_prefix).resolve()
    with _started(["unshare", *_NAMESPACES], "machine.sh", folder, _VENV, _VENV, base, _PACKAGE) as machine:
        yield machine


@contextmanager
def booted_with_systemd(folder: Path) -> Iterator[Machine]:
    """Start a machine whose first process is systemd, without cron, in a cgroup of its own.

    Raises UnavailableError.
    """
    require("pivot_root", "systemctl", "curl")
    cgroups = re.findall(r"^\S+ (\S+) cgroup2 ", Path("/proc/mounts").read_text(), re.MULTILINE)
    if not cgroups:
        raise UnavailableError("there are no cgroups of version 2")
    version = f"python3.{sys.version_info.minor}"
    if (python := shutil.which(version, path="/usr/bin:/usr/local/bin")) is None:
        raise UnavailableError(f"{version} is not installed where the units' sandbox lets them see it")
    cgroup = Path(cgroups[0], f"hlctl-campaign-{os.getpid()}")
    cgroup.mkdir()
    enter = ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(cgroup / "cgroup.procs")]
    try:
        unshare = [*enter, "unshare", *_NAMESPACES, "--uts", "--cgroup"]
        with _started(unshare, "systemd.sh", folder, _VENV, _PACKAGE, Path(python)) as machine:
            until(lambda: machine.run("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"})
            yield machine
    finally:
        until(lambda: _is_removed(cgroup))


def _is_removed(cgroup: Path) -> bool:
    """Remove a cgroup with those in it, if the last of its processes is gone; tell whether it was."""
    try:
        for folder in (*sorted(cgroup.rglob("*/"), reverse=True), cgroup):
            folder.rmdir()
    except OSError:
        return False
    return True


@contextmanager
def _started(unshare: list[str], set_up: str, *arguments: Path) -> Iterator[Machine]:
    with subprocess.Popen(
        [*unshare, "--fork", "--kill-child", Path(__file__).with_name(set_up), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as outer:
        assert outer.stdout is not None
        if outer.stdout.readline() != "ready\n":
            if outer.wait() == CANNOT_RUN:
                raise UnavailableError("mount: this root may not mount what it takes")
            raise RuntimeError("the machine did not start")
        pid = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text())
        try:
            yield Machine(pid)
        finally:
            outer.kill()
            until(lambda: not Path(f"/proc/{pid}/root").exists())  # and with it all that ran there
