"""PgBouncer in front of a server, in transaction mode."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@dataclass
class Bouncer:
    """A pooler in front of a server, whichever database is asked for."""

    config: Path
    folder: str  # its working directory
    port: int
    uid: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert PROGRAM
        own = os.geteuid() == self.uid
        process = subprocess.Popen(
            [PROGRAM, "-q", self.config],
            cwd=self.folder,
            stderr=subprocess.DEVNULL,
            user=None if own else self.uid,
            group=None if own else self.uid,
            extra_groups=None if own else [],
        )
        self.processes.append(process)
        began = time.monotonic()
        while process.poll() is None and time.monotonic() < began + 20:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("pgbouncer did not start")

    def kill(self) -> None:
        """End it as a crash would."""
        self.processes[-1].kill()
        self.processes[-1].wait()

    def url(self, database: str) -> str:
        """Return the connection string of a database through it."""
        return make_conninfo("", host="127.0.0.1", port=self.port, user="anybody", dbname=dbname(database))


def dbname(database: str) -> str:
    return str(conninfo_to_dict(database)["dbname"])


@contextmanager
def pooler(server: str, *, connections: int = 1) -> Iterator[Bouncer]:
    """Start a pooler with so many server connections per database."""
    parts = conninfo_to_dict(server)
    host, folder, uid = str(parts.get("host") or "localhost"), "/", os.geteuid() or 65534
    if host.startswith("/"):
        # The embedded server admits who has its user's id, and that user may be unable to enter the path.
        host, folder, uid = "/proc/self/cwd", host, Path(host).stat().st_uid
    target = {"host": host, **{name: parts[name] for name in ("port", "user", "password") if parts.get(name)}}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as config:
        config.write(
            f"""
[databases]
* = {" ".join(f"{name}='{value}'" for name, value in target.items())}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_db_connections = {connections}
"""
        )
        config.flush()
        os.chown(config.name, uid, -1)
        bouncer = Bouncer(Path(config.name), folder, port, uid)
        try:
            bouncer.start()
            yield bouncer
        finally:
            bouncer.kill()
