"""hlctl's own PostgreSQL: a cluster in the data directory, started on demand, reached through its socket only.

`<data_dir>/postgres18` (0700, its server's user's) is the cluster and holds socket and logs. `<data_dir>/hlctl.lock`
serialises starting, stopping and removing; connecting needs no lock.

A pid file proves nothing: after a crash its number may be another program's. Two things the kernel vouches for do. All
processes of a server hold a lock on the cluster's PG_VERSION, which ends with the last of them, even across containers;
and a socket knows the process that listens on it.

As root, only the server's user ever writes inside the cluster: that user could swap a file for a link.
"""

import errno
import fcntl
import os
import pwd
import shutil
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from hlctl import binaries, db
from hlctl.errors import ConfigurationError, DatabaseUnusableError, NoClusterError

PATIENCE = 60.0
"""Seconds a server may take to start, recovery included, or to stop."""

_LOCK = "hlctl.lock"
_PATH_LIMIT = 107 if sys.platform == "linux" else 103  # sockaddr_un holds one byte more, for the terminator


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """What is known of the embedded server without touching it."""

    data_dir: Path
    url: str  # valid whether or not the server runs
    log_dir: Path
    exists: bool  # there is a cluster
    running: bool  # some process of the server is alive
    ready: bool  # it accepts connections
    pid: int | None  # of the postmaster; None: not running, or not visible from here (another container)
    version: str | None  # of the server, None unless ready
    owner: str | None  # the user the server runs as, None without a cluster


def default_data_dir() -> Path:
    """Return where the cluster lives unless HLCTL_DATA_DIR says otherwise.

    Raises ConfigurationError if the user has no home directory.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/hlctl")
    from platformdirs import user_data_path  # noqa: PLC0415 - root never loads it

    path = user_data_path("hlctl", appauthor=False)
    if not path.is_absolute():
        raise ConfigurationError("this user has no home directory", remedy="set HLCTL_DATA_DIR to a directory")
    return path


def url(data_dir: Path, *, database: str = "hlctl") -> str:
    """Return the URL of a database of the embedded server, whether or not it exists or runs.

    Raises ConfigurationError if the path does not fit a socket address.
    """
    folder = quote(os.fsencode(_cluster(data_dir)), safe="")
    return f"postgresql://hlctl@/{database}?host={folder}&port=5432"


def ensure(data_dir: Path, *, create: bool, timeout: float = PATIENCE) -> str:
    """Return the URL of a server that answers; start it if it does not run, create it first if `create`.

    Raises NoClusterError if there is no cluster to start, ConfigurationError if the directory, the user or the
    installation does not allow one, DatabaseUnusableError if the server does not get ready in `timeout` seconds.
    """
    address = url(data_dir)
    with _explained(data_dir):
        cluster = _cluster(data_dir)
        if _owner(cluster) is not None:
            with suppress(DatabaseUnusableError):
                db.connect(address).close()
                return address
        elif not create:
            raise _absent(cluster)
        binaries.locate()  # before anything is made
        with _locked(cluster, timeout, make=create) as lock:
            user = binaries.server_user(_owner(cluster))
            if _owner(cluster) is None:
                if not create:
                    raise _absent(cluster)
                _create(cluster, user, lock)
            _bring_up(cluster, user, time.monotonic() + timeout)
    return address


def stop(data_dir: Path) -> bool:
    """Stop the server and wait until its last process is gone; False if none ran.

    Open transactions are rolled back. Raises ConfigurationError if the cluster is another user's,
    DatabaseUnusableError if it does not stop in time.
    """
    with _explained(data_dir):
        cluster = _cluster(data_dir)
        if _owner(cluster) is not None:
            with suppress(NoClusterError), _locked(cluster, PATIENCE):
                return _stop(cluster, signal.SIGINT)
    return False


def remove(data_dir: Path) -> None:
    """Stop the server and delete the cluster with all its data, and the directory itself unless others use it.

    Nothing to delete is no error. Raises what `stop` raises.
    """
    with _explained(data_dir):
        cluster = _cluster(data_dir)
        with suppress(NoClusterError), _locked(cluster, PATIENCE):
            _delete(_staging(cluster))
            if _owner(cluster) is not None:
                _stop(cluster, signal.SIGQUIT)  # no checkpoint for data that is about to go
                cluster.rename(_staging(cluster))  # if killed here, the rest is swept by the next one
                _delete(_staging(cluster))
            binaries.discard(cluster.parent)
            (cluster.parent / _LOCK).unlink()
            with suppress(OSError):
                cluster.parent.rmdir()


def status(data_dir: Path) -> ServerStatus:
    """Say what exists and what runs; start nothing.

    Raises ConfigurationError if the cluster is another user's.
    """
    address = url(data_dir)
    with _explained(data_dir):
        cluster = _cluster(data_dir)
        exists = _owner(cluster) is not None
        pid = _listener(cluster) if exists else None
        running = exists and (pid is not None or _alive(cluster))
        version = None
        if running:
            with suppress(DatabaseUnusableError), closing(db.connect(address, timeout=2)) as conn:
                version = conn.info.parameter_status("server_version")
        return ServerStatus(
            data_dir=cluster.parent,
            url=address,
            log_dir=cluster / "log",
            exists=exists,
            running=running,
            ready=version is not None,
            pid=pid or None,
            version=version,
            owner=binaries.server_user(_owner(cluster)).pw_name if exists else None,
        )


@contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    """Turn the operating system's refusals into this program's errors."""
    try:
        yield
    except OSError as exc:
        text = f"the embedded database is not usable: {exc.filename or data_dir}: {exc.strerror or exc}"
        if isinstance(exc, PermissionError | NotADirectoryError) or exc.errno == errno.EROFS:
            raise ConfigurationError(
                text, remedy="set HLCTL_DATA_DIR to a directory this user can write, or run hlctl as its owner"
            ) from exc
        raise DatabaseUnusableError(text) from exc


def _cluster(data_dir: Path) -> Path:
    cluster = Path(os.path.abspath(data_dir), f"postgres{binaries.MAJOR}")  # noqa: PTH100 - resolve() follows links
    length = len(os.fsencode(cluster / binaries.SOCKET))
    if length > _PATH_LIMIT:
        raise ConfigurationError(
            f"the data directory is too long: the socket's would have {length} bytes, the limit is {_PATH_LIMIT}",
            remedy=f"set HLCTL_DATA_DIR to a path shorter by {length - _PATH_LIMIT} bytes",
        )
    if "," in str(cluster):
        raise ConfigurationError(
            "the data directory's path contains a comma, which a connection URL cannot carry",
            remedy="set HLCTL_DATA_DIR to a path without commas",
        )
    return cluster


def _absent(cluster: Path) -> NoClusterError:
    return NoClusterError(f"there is no embedded database in {cluster.parent}")


def _staging(cluster: Path) -> Path:
    return cluster.with_name(f"{cluster.name}.new")


def _owner(cluster: Path) -> int | None:
    """Return the user id the cluster belongs to, None if there is none; refuse one that is not ours to use."""
    try:
        found = cluster.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"{cluster} is not a directory", remedy="set HLCTL_DATA_DIR to another directory")
    if os.geteuid() not in {0, found.st_uid}:
        raise ConfigurationError(
            f"the embedded database in {cluster.parent} belongs to another user",
            remedy="run hlctl as that user or as root, or set HLCTL_DATA_DIR to a directory of your own",
        )
    if found.st_uid == 0:
        raise ConfigurationError(
            f"{cluster} belongs to root, and PostgreSQL does not run as root",
            remedy=f"give it to the user the server shall run as: chown -R hlctl {cluster}",
        )
    return found.st_uid


def _delete(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


@contextmanager
def _locked(cluster: Path, timeout: float, *, make: bool = False) -> Iterator[int]:
    """Hold the data directory's lock; yield its descriptor, so that a child can hold on to it.

    `make` makes the directory; without it NoClusterError is raised where there is none.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            handle = _open_lock(cluster, make=make)
        except FileNotFoundError:
            if make:
                continue  # `remove` was faster
            raise _absent(cluster) from None
        try:
            while not _try_lock(handle, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise DatabaseUnusableError("another hlctl is still starting or stopping the embedded database")
                time.sleep(0.05)
            if os.fstat(handle).st_nlink:  # else `remove` deleted it while we waited, and others lock a new one
                yield handle
                return
        finally:
            os.close(handle)


def _open_lock(cluster: Path, *, make: bool) -> int:
    user = binaries.server_user(_owner(cluster))
    if make:
        binaries.make_private_dir(cluster.parent, user)
    path = cluster.parent / _LOCK
    flags = os.O_RDWR | os.O_NOFOLLOW
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    if os.geteuid() == 0:
        os.fchown(handle, user.pw_uid, user.pw_gid)  # the server's user runs hlctl too
    return handle


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _create(cluster: Path, user: pwd.struct_passwd, lock: int) -> None:
    """Make the cluster in a directory beside it, then give it its name: it is there complete or not at all."""
    staging = _staging(cluster)
    _delete(staging)
    binaries.make_private_dir(staging, user)
    # If we are killed, initdb keeps the lock until it is gone too: nobody deletes the directory under its feet.
    binaries.initdb(user, staging, cluster.parent, keep=lock)
    staging.rename(cluster)
    handle = os.open(cluster.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bring_up(cluster: Path, user: pwd.struct_passwd, deadline: float) -> None:
    """Start the server unless one lives, wait until it answers, and make sure the database is there."""
    address = url(cluster.parent, database="postgres")
    started = False
    pause = 0.02
    while True:
        try:
            conn = db.connect(address, timeout=2)
        except DatabaseUnusableError as exc:
            cause = str(exc)
        else:
            break
        if started and not _alive(cluster):
            raise DatabaseUnusableError(f"the embedded server does not start: {binaries.last_words(cluster)}")
        if time.monotonic() > deadline:
            text = f"{cause}; the last line of its log: {binaries.last_words(cluster)}"
            raise DatabaseUnusableError(text, remedy="a recovery goes on by itself: try again in a minute")
        started = started or (_listener(cluster) is None and _start(cluster, user))
        time.sleep(pause)
        pause = min(pause * 1.2, 0.5)  # a recovery may take long, and the server logs every knock
    with closing(conn):
        try:
            if not conn.execute("SELECT FROM pg_database WHERE datname = 'hlctl'").rowcount:
                conn.execute("CREATE DATABASE hlctl")
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateDatabase):
            pass  # made meanwhile, for a client that was killed while it waited
        except psycopg.Error as exc:
            raise DatabaseUnusableError(f"the embedded database could not be created: {db.explain(exc)}") from None


def _start(cluster: Path, user: pwd.struct_passwd) -> bool:
    """Launch the server; False if processes of an earlier one are still there."""
    with _life(cluster) as life:
        if not _try_lock(life, fcntl.LOCK_EX):
            return False
        binaries.launch(user, cluster, cluster.parent, keep=life)
    return True


@contextmanager
def _life(cluster: Path) -> Iterator[int]:
    """Open the file every process of the server holds a lock on."""
    handle = os.open(cluster / "PG_VERSION", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield handle
    finally:
        os.close(handle)


def _alive(cluster: Path) -> bool:
    with suppress(FileNotFoundError), _life(cluster) as life:
        return not _try_lock(life, fcntl.LOCK_SH)  # shared: two who look do not take each other for a server
    return False


def _listener(cluster: Path) -> int | None:
    """Return the process id of the server that listens on the cluster's socket, None if none does.

    0 stands for one that cannot be signalled from here: it lives in another container, or is no server of ours.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fsencode(cluster / binaries.SOCKET))
            if sys.platform != "linux":
                return int.from_bytes(probe.getsockopt(0, 2, 4), sys.byteorder)  # SOL_LOCAL, LOCAL_PEERPID
            pid, uid, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except (BlockingIOError, TimeoutError):  # too busy to listen
            return 0
    return int(pid) if uid == cluster.stat().st_uid else 0


def _stop(cluster: Path, how: signal.Signals) -> bool:
    if _listener(cluster) is None and not _alive(cluster):
        return False
    _signal(cluster, how)
    deadline = time.monotonic() + PATIENCE
    while _listener(cluster) is not None or _alive(cluster):
        if time.monotonic() > deadline:
            raise DatabaseUnusableError(
                f"the embedded server in {cluster.parent} has not stopped after {PATIENCE:.0f} s",
                remedy="if it was started in another container, stop that one",
            )
        time.sleep(0.01)
    return True


def _signal(cluster: Path, number: signal.Signals) -> None:
    """Signal the server and no other process, not even one that gets its number just now."""
    pid = _listener(cluster)
    if not pid:
        return
    try:
        handle = os.pidfd_open(pid)
    except (OSError, AttributeError):  # an old kernel, a strict sandbox, not Linux
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return
    try:
        if _listener(cluster) == pid:
            signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)
