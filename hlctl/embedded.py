"""hlctl's own PostgreSQL: a cluster in the data directory, started on demand, reached through its socket only.

As root, only the server's user ever writes inside the cluster: that user could swap a file for a link.
"""

import errno
import fcntl
import os
import pwd
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import psycopg

from hlctl import binaries, cluster, db
from hlctl.errors import BusyError, ConfigurationError, DatabaseUnusableError, NoClusterError

PATIENCE = 60.0
"""Seconds a server may take to start, recovery included, or to stop."""

# What stands in the way stays there until somebody decides about it; the rest (a full disk, say) may pass.
_NOT_OURS = (PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)


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
    silence: DatabaseUnusableError | None  # why a server that runs does not accept them
    owner: str | None  # the user the server runs as, None without a cluster


def url(data_dir: Path, *, database: str = "hlctl") -> str:
    """Return the URL of a database of the embedded server, whether or not it exists or runs.

    Raises ConfigurationError if the path does not fit a socket address.
    """
    folder = quote(os.fsencode(cluster.path_of(data_dir)), safe="")
    return f"postgresql://hlctl@/{database}?host={folder}&port=5432"


def ensure(data_dir: Path, *, create: bool, timeout: float = PATIENCE) -> str:
    """Return the URL of a server that answers; start it if it does not run, create it first if `create`.

    Raises NoClusterError if there is no cluster to start, ConfigurationError if the directory, the user or the
    installation does not allow one, DatabaseUnusableError if the server does not get ready in `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    with _explained(data_dir):
        address = url(data_dir)
        path = cluster.path_of(data_dir)
        if cluster.owner(path) is not None:
            with suppress(DatabaseUnusableError):
                db.connect(address, timeout=db.bounded(timeout)).close()
                return address
        elif not create:
            raise cluster.absent(path)
        with _prepared(path, deadline - time.monotonic(), create=create) as user:
            _bring_up(path, user, deadline)
    return address


def run(data_dir: Path, *, timeout: float = PATIENCE) -> NoReturn:
    """Become the server, for a service manager; create the cluster first if there is none.

    This process turns into PostgreSQL, with its number and its standard error, which takes the log. Raises BusyError
    if a server of the cluster runs already, or processes of one do not end in `timeout` seconds, and what `ensure`
    raises.
    """
    with _explained(data_dir):
        path = cluster.path_of(data_dir)
        with _prepared(path, timeout, create=True) as user, cluster.life(path) as life:
            deadline = time.monotonic() + timeout
            while (pid := cluster.listener(path)) is not None or not cluster.try_lock(life, fcntl.LOCK_EX):
                if pid is not None or time.monotonic() > deadline:
                    known = f" (process {pid})" if pid else ""
                    raise BusyError(
                        f"a server already runs on the embedded database in {path.parent}{known}",
                        remedy="stop it with `hlctl db stop`",
                    )
                time.sleep(0.05)  # its last processes follow a server that was killed
            binaries.become(user, path, path.parent, keep=life)


def stop(data_dir: Path) -> bool:
    """Stop the server and wait until its last process is gone; False if none ran.

    Open transactions are rolled back. Raises ConfigurationError if the cluster is another user's,
    DatabaseUnusableError if it does not stop in time.
    """
    with _explained(data_dir):
        path = cluster.path_of(data_dir)
        if cluster.owner(path) is not None:
            with suppress(NoClusterError), cluster.locked(path, PATIENCE):
                return _stop(path, signal.SIGINT)
    return False


def remove(data_dir: Path) -> None:
    """Stop the server and delete the cluster with all its data, and the directory itself unless others use it.

    Nothing to delete is no error. Raises what `stop` raises.
    """
    with _explained(data_dir):
        path = cluster.path_of(data_dir)
        with suppress(NoClusterError), cluster.locked(path, PATIENCE):
            _delete(cluster.staging(path))
            if cluster.owner(path) is not None:
                _stop(path, signal.SIGQUIT)  # no checkpoint for data that is about to go
                path.rename(cluster.staging(path))  # if killed here, the rest is swept by the next one
                _delete(cluster.staging(path))
            binaries.discard(path.parent)
            (path.parent / cluster.LOCK).unlink()
            with suppress(OSError):
                path.parent.rmdir()


def status(data_dir: Path) -> ServerStatus:
    """Say what exists and what runs; start nothing.

    Raises ConfigurationError if the cluster is another user's.
    """
    with _explained(data_dir):
        address = url(data_dir)
        path = cluster.path_of(data_dir)
        exists = cluster.owner(path) is not None
        pid = cluster.listener(path) if exists else None
        running = exists and (pid is not None or cluster.alive(path))
        version, silence = None, None
        if running:
            try:
                with closing(db.connect(address, timeout=2)) as conn:
                    version = conn.info.parameter_status("server_version")
            except DatabaseUnusableError as exc:
                silence = exc
        return ServerStatus(
            data_dir=path.parent,
            url=address,
            log_dir=path / "log",
            exists=exists,
            running=running,
            ready=version is not None,
            pid=pid or None,
            version=version,
            silence=silence,
            owner=binaries.server_user(cluster.owner(path)).pw_name if exists else None,
        )


@contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    """Turn the operating system's refusals into this program's errors."""
    try:
        yield
    except OSError as exc:
        text = f"the embedded database is not usable: {exc.filename or data_dir}: {exc.strerror or exc}"
        if isinstance(exc, _NOT_OURS) or exc.errno in {errno.EROFS, errno.ELOOP}:
            raise ConfigurationError(
                text, remedy="set HLCTL_DATA_DIR to a directory this user can write, or run hlctl as its owner"
            ) from exc
        raise DatabaseUnusableError(text) from exc


@contextmanager
def _prepared(path: Path, timeout: float, *, create: bool) -> Iterator[pwd.struct_passwd]:
    """Hold the data directory's lock around a cluster that can be started; yield the user its server runs as."""
    binaries.locate()  # before anything is made
    if cluster.owner(path) is not None:
        cluster.require_version(path)
    with cluster.locked(path, timeout, make=create) as lock:
        user = binaries.server_user(cluster.owner(path))
        if cluster.owner(path) is None:
            if not create:
                raise cluster.absent(path)
            _create(path, user, lock)
        yield user


def _delete(folder: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory of hlctl's", str(folder))
        shutil.rmtree(folder)


def _create(path: Path, user: pwd.struct_passwd, lock: int) -> None:
    """Make the cluster in a directory beside it, then give it its name: it is there complete or not at all."""
    staging = cluster.staging(path)
    _delete(staging)
    binaries.make_private_dir(staging, user)
    try:
        # If we are killed, initdb keeps the lock until it is gone too: nobody deletes the directory under its feet.
        binaries.initdb(user, staging, path.parent, keep=lock)
    except BaseException:
        with suppress(OSError):
            _delete(staging)
        raise
    staging.rename(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bring_up(path: Path, user: pwd.struct_passwd, deadline: float) -> None:
    """Start the server unless one lives, wait until it answers, and make sure the database is there."""
    address = url(path.parent, database="postgres")
    started = False
    pause = 0.02
    while True:
        try:
            conn = db.connect(address, timeout=2)
        except DatabaseUnusableError as exc:
            silence = exc
        else:
            break
        if started and not cluster.alive(path):
            words = binaries.last_words(path)
            raise DatabaseUnusableError(f"the embedded server does not start: {words}", remedy=db.remedy(words))
        if silence.remedy or time.monotonic() > deadline:  # what somebody must mend is not waited for
            words = binaries.last_words(path)
            remedy = silence.remedy or db.remedy(words) or "a recovery goes on by itself: try again in a minute"
            raise DatabaseUnusableError(f"{silence}; the last line of its log: {words}", remedy=remedy)
        started = started or (cluster.listener(path) is None and _start(path, user))
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


def _start(path: Path, user: pwd.struct_passwd) -> bool:
    """Launch the server; False if processes of an earlier one are still there."""
    with cluster.life(path) as life:
        if not cluster.try_lock(life, fcntl.LOCK_EX):
            return False
        binaries.launch(user, path, path.parent, keep=life)
    return True


def _stop(path: Path, how: signal.Signals) -> bool:
    if cluster.listener(path) is None and not cluster.alive(path):
        return False
    cluster.send(path, how)
    deadline = time.monotonic() + PATIENCE
    while cluster.listener(path) is not None or cluster.alive(path):
        if time.monotonic() > deadline:
            raise DatabaseUnusableError(
                f"the embedded server in {path.parent} has not stopped after {PATIENCE:.0f} s",
                remedy="if it was started in another container, stop that one",
            )
        time.sleep(0.01)
    return True
