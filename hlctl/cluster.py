"""A cluster on disk: where it is, whose it is, who works on it. What is known of it here, the kernel vouches for.

`<data_dir>/postgres18` (0700, its server's user's) is the cluster and holds socket and logs. `<data_dir>/hlctl.lock`
serialises starting, stopping and removing; connecting needs no lock.

A pid file proves nothing: after a crash its number may be another program's. Two things the kernel vouches for do. All
processes of a server hold a lock on the cluster's PG_VERSION, which ends with the last of them, even across containers;
and a socket knows the process that listens on it.
"""

import fcntl
import os
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hlctl import binaries
from hlctl.errors import ConfigurationError, DatabaseUnusableError, NoClusterError

LOCK = "hlctl.lock"
_VANISHED = 20  # times in a row a directory just made is not there: then nobody removes it, it cannot be made
_PATH_LIMIT = 107 if sys.platform == "linux" else 103  # sockaddr_un holds one byte more, for the terminator


def path_of(data_dir: Path) -> Path:
    """Return where the cluster of a data directory is or would be.

    Raises ConfigurationError if the path does not fit a socket address or a URL.
    """
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


def absent(cluster: Path) -> NoClusterError:
    """Return what to raise where there is no cluster."""
    return NoClusterError(f"there is no embedded database in {cluster.parent}")


def staging(cluster: Path) -> Path:
    """Return where a cluster is while it is made or deleted."""
    return cluster.with_name(f"{cluster.name}.new")


def owner(cluster: Path) -> int | None:
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


@contextmanager
def locked(cluster: Path, timeout: float, *, make: bool = False) -> Iterator[int]:
    """Hold the data directory's lock; yield its descriptor, so that a child can hold on to it.

    `make` makes the directory; without it NoClusterError is raised where there is none.
    """
    deadline = time.monotonic() + timeout
    vanished = 0
    while True:
        try:
            handle = _open_lock(cluster, make=make)
        except FileNotFoundError:
            if not make:
                raise absent(cluster) from None
            vanished += 1
            if vanished == _VANISHED:
                raise
            continue  # `remove` was faster
        try:
            while not try_lock(handle, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise DatabaseUnusableError("another hlctl is still starting or stopping the embedded database")
                time.sleep(0.05)
            if os.fstat(handle).st_nlink:  # else `remove` deleted it while we waited, and others lock a new one
                yield handle
                return
        finally:
            os.close(handle)


def _open_lock(cluster: Path, *, make: bool) -> int:
    user = binaries.server_user(owner(cluster))
    if make:
        binaries.make_private_dir(cluster.parent, user)
    path = cluster.parent / LOCK
    flags = os.O_RDWR | os.O_NOFOLLOW
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        handle = os.open(path, flags)
    found = os.fstat(handle)
    # The server's user runs hlctl too. With one name only it is no hard link by which that user names a file of root's.
    if os.geteuid() == found.st_uid == 0 and found.st_nlink == 1:
        os.fchown(handle, user.pw_uid, user.pw_gid)
    return handle


def require_version(cluster: Path) -> None:
    """Raise ConfigurationError unless the cluster is whole, as far as one look tells, and of our PostgreSQL."""
    try:
        with life(cluster) as handle:
            found = os.read(handle, 16).decode(errors="replace").strip()
    except (FileNotFoundError, IsADirectoryError):
        found = ""
    if found != str(binaries.MAJOR):
        what = f"a cluster of PostgreSQL {found}" if found.isdecimal() else "not a whole PostgreSQL cluster"
        raise ConfigurationError(
            f"{cluster} is {what} (PG_VERSION is not {binaries.MAJOR}), and is left as it is",
            remedy="restore it from a backup, or set HLCTL_DATA_DIR to another directory",
        )


@contextmanager
def life(cluster: Path) -> Iterator[int]:
    """Open the file every process of the server holds a lock on; a new server must inherit it, locked."""
    handle = os.open(cluster / "PG_VERSION", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield handle
    finally:
        os.close(handle)


def alive(cluster: Path) -> bool:
    """Tell whether any process of a server is left."""
    with suppress(FileNotFoundError), life(cluster) as handle:
        return not try_lock(handle, fcntl.LOCK_SH)  # shared: two who look do not take each other for a server
    return False


def listener(cluster: Path) -> int | None:
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


def send(cluster: Path, number: signal.Signals) -> None:
    """Signal the server and no other process, not even one that gets its number just now."""
    pid = listener(cluster)
    if not pid:
        return
    try:
        handle = os.pidfd_open(pid)
    except (OSError, AttributeError):  # an old kernel, a strict sandbox, not Linux
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return
    try:
        if listener(cluster) == pid:
            signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def try_lock(handle: int, kind: int) -> bool:
    """Take a lock of this kind (fcntl.LOCK_EX, fcntl.LOCK_SH) unless another process is in the way."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
