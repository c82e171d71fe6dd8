"""A password, a header and three tokens in URLs go where they belong and nowhere else, whatever goes wrong.

Each is a canary of two halves: a library that quotes a piece of a mistyped URL tells half a secret, which is too much.
"""

import shutil
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from psycopg import sql

from hlctl import sim
from tests.e2e.conftest import Hlctl, M, Ran
from tests.e2e.private_server import PrivateServer, private_server

HALVES = tuple(f"{what}{half}" for what in ("pw", "hd", "ap", "lb", "pg") for half in ("Q7LEFTx", "RIGHTk9"))
PASSWORD, HEADER, API_TOKEN, BOARD_TOKEN, PING_TOKEN = (HALVES[i] + HALVES[i + 1] for i in range(0, 10, 2))
LEFT, RIGHT = HALVES[:2]
KEEPER = "keeper"  # owns the databases; logs in with the password


# ---- the world of one test


@dataclass(slots=True)
class World:
    """What a path may use and spoil."""

    server: PrivateServer
    ready: str  # name of a database with a universe of three wallets
    empty: str
    exchange: sim.Exchange
    folder: Path
    set_clock: Callable[..., None]
    stack: ExitStack

    def url(self, database: str, *, role: str = KEEPER, password: str = PASSWORD) -> str:
        """Return the URL of a database, password included."""
        return self.server.url(database, role, password)

    def copy(self, *statements: str) -> str:
        """Return the URL of a database of its own, ready, in which these statements were run."""
        name = self.server.database(self.ready)
        self.server.run(f"ALTER DATABASE {name} OWNER TO {KEEPER}")
        self.set_clock(self.server.url(name), M.replace(second=2))
        for statement in statements:
            self.server.run(statement, database=name)
        return self.url(name)

    def port(self, serve: Callable[[socket.socket], None]) -> int:
        """Return a port on which every connection is handed to `serve`."""
        return self.stack.enter_context(listening(serve))

    def answering(self, answer: bytes | Callable[[bytes], bytes], *, delay: float = 0.0) -> dict[str, str]:
        """Return settings for an exchange that answers every request so: it may look at the request first."""

        def serve(connection: socket.socket) -> None:
            request = connection.recv(65536)
            time.sleep(delay)
            connection.sendall(answer(request) if callable(answer) else answer)

        return at(f"http://127.0.0.1:{self.port(serve)}")

    def file(self, content: bytes, mode: int = 0o600) -> str:
        """Return the path of a file."""
        path = self.folder / "file"
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)


def at(base: str) -> dict[str, str]:
    """Return settings for an exchange whose URLs hold tokens."""
    return {"HLCTL_API_URL": f"{base}/{API_TOKEN}", "HLCTL_LEADERBOARD_URL": f"{base}/{BOARD_TOKEN}/leaderboard"}


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def http(status: str, *headers: str, body: bytes = b"null") -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def echo(request: bytes) -> bytes:
    """Answer with everything that was said, where a client might quote it."""
    head = request.partition(b"\r\n\r\n")[0]
    said = head.decode("latin-1").replace("\r\n", " ")
    return http("200 " + said, f"Content-Encoding: {said}", f"X: {said}", body=head)


def echo_body(request: bytes) -> bytes:
    """Answer with JSON that holds what was said, as keys, numbers and names."""
    said = request.partition(b"\r\n\r\n")[0].decode("latin-1").replace("\r\n", " ")
    terms = f'{{"coin": "BTC", "szi": "{said}", "{said}": 1, "leverage": {{"type": "{said}", "value": "{said}"}}}}'
    return http("200 OK", body=f'{{"assetPositions": [{{"position": {terms}}}], "{said}": "{said}"}}'.encode())


def refusing() -> dict[str, str]:
    """Return settings for an exchange on a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return at(f"http://127.0.0.1:{port}")


def no_tls(connection: socket.socket) -> None:
    connection.recv(8)
    connection.sendall(b"N")


# ---- the paths


@dataclass(frozen=True, slots=True)
class Way:
    """A way to fail: what is run in which settings, and the exit status that shows that it went that way."""

    code: int
    command: Sequence[str] = ("snapshot",)
    spoil: Callable[[World], dict[str, str]] = field(default=lambda _world: {})
    unset: Sequence[str] = ()
    stop: signal.Signals | None = None


def setting(**settings: str) -> Callable[[World], dict[str, str]]:
    return lambda _world: settings


def dsn(url: str, *, code: int = 6) -> Way:
    """Return the path of a mistyped database URL."""
    return Way(code, ("status",), setting(HLCTL_DATABASE_URL=url))


def from_file(content: bytes, mode: int = 0o600) -> Way:
    def spoil(world: World) -> dict[str, str]:
        return {"HLCTL_DATABASE_URL_FILE": world.file(content, mode)}

    return Way(6, ("status",), spoil, unset=("HLCTL_DATABASE_URL",))


def config(content: str, mode: int = 0o600) -> Way:
    return Way(
        6,
        ("status",),
        lambda world: {"HLCTL_CONFIG": world.file(content.encode(), mode)},
        unset=("HLCTL_DATABASE_URL", "HLCTL_API_AUTHORIZATION"),
    )


def database(*statements: str, code: int, command: Sequence[str] = ("snapshot",)) -> Way:
    return Way(code, command, lambda world: {"HLCTL_DATABASE_URL": world.copy(*statements)})


def exchange(answer: bytes | Callable[[bytes], bytes], *, delay: float = 0.0) -> Way:
    return Way(4, ("snapshot",), lambda world: world.answering(answer, delay=delay))


def ping(answer: bytes | Callable[[bytes], bytes], *, delay: float = 0.0) -> Way:
    def spoil(world: World) -> dict[str, str]:
        base = world.answering(answer, delay=delay)["HLCTL_API_URL"].removesuffix(f"/{API_TOKEN}")
        return {"HLCTL_PING_URL": f"{base}/{PING_TOKEN}"}

    return Way(4, ("snapshot",), spoil)


def board(answer: bytes | Callable[[bytes], bytes]) -> Way:
    return Way(4, ("refresh-universe",), lambda world: world.answering(answer))


def locked(world: World) -> dict[str, str]:
    """Hold every minute's lock: the database says that it is busy."""
    url = world.copy()
    conn = world.stack.enter_context(closing(psycopg.connect(url, autocommit=True)))
    minute = int(M.timestamp()) // 60
    conn.execute("SELECT pg_advisory_lock(1751908352, m) FROM generate_series(%s, %s) AS m", [minute, minute + 2])
    return {"HLCTL_DATABASE_URL": url}


def blocked(world: World) -> dict[str, str]:
    """Hold a lock on the cells for longer than anybody waits."""
    name = world.server.database(world.ready)
    conn = world.stack.enter_context(closing(psycopg.connect(world.server.url(name))))
    conn.execute("LOCK TABLE ingest_runs")
    return {"HLCTL_DATABASE_URL": world.url(name)}


OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"assetPositions": ['
IN_USERINFO = f"postgresql://keeper:{LEFT}%s{RIGHT}@127.0.0.1:1/hlctl"

PATHS: dict[str, Way] = {
    # the command line
    "an unknown option": Way(2, ("snapshot", "--frobnicate")),
    "an unknown command": Way(2, ("nonsense",)),
    "an extra word": Way(2, ("snapshot", "extra")),
    "a flag with a value": Way(2, ("snapshot", "--align=now")),
    "a role that does not exist": Way(6, ("init-db", "--writer", "nobody here")),
    # the database's URL
    "a password with @ : #": dsn(IN_USERINFO % "@ss:w#"),
    "a password with @": dsn(IN_USERINFO % "@"),
    "a password with /": dsn(IN_USERINFO % "/"),
    "a password with a port and /": dsn(f"postgresql://keeper:5432/{LEFT}{RIGHT}@127.0.0.1:1/hlctl"),
    "a password with @ and ?": dsn(IN_USERINFO % "@?"),
    "a password with @ and ?=": dsn(IN_USERINFO % "@h?x="),
    "a password with a blank": dsn(IN_USERINFO % " "),
    "a password with a line break": dsn(IN_USERINFO % "\n"),
    "a password with a bad percent sign": dsn(IN_USERINFO % "%zz"),
    "a password with an escaped zero": dsn(IN_USERINFO % "%00"),
    "a password that is no UTF-8": dsn(IN_USERINFO % "%80"),
    "a password as a host": dsn(f"postgresql://keeper@{LEFT}@{RIGHT}/hlctl"),
    "a password as a database": dsn(f"postgresql://keeper@127.0.0.1:1/{LEFT}@{RIGHT}"),
    "a password as a port": dsn(f"postgresql://keeper@127.0.0.1:{PASSWORD}/hlctl"),
    "a password as an option": dsn(f"postgresql://keeper@127.0.0.1:1/hlctl?{PASSWORD}"),
    "a password as an option's name": dsn(f"postgresql://keeper@127.0.0.1:1/hlctl?{PASSWORD}=1"),
    "a password as a TLS mode": dsn(f"postgresql://keeper@127.0.0.1:1/hlctl?sslmode={PASSWORD}"),
    "another database's URL": dsn(f"mysql://keeper:{PASSWORD}@127.0.0.1/hlctl"),
    "another database's URL with an option": dsn(f"mysql://keeper:{PASSWORD}@127.0.0.1/hlctl?a=b"),
    "a URL without a colon": dsn(f"postgresql//keeper:{PASSWORD}@127.0.0.1/hlctl"),
    "a URL with one slash": dsn(f"postgresql:/keeper:{PASSWORD}@127.0.0.1/hlctl"),
    "a URL in quotes": dsn(f"'postgresql://keeper:{PASSWORD}@127.0.0.1/hlctl'"),
    "a URL in another case": dsn(f"PostgreSQL://keeper:{PASSWORD}@127.0.0.1/hlctl"),
    "a URL behind a blank": dsn(f" postgresql://keeper:{PASSWORD}@127.0.0.1/hlctl"),
    "a URL behind its name": dsn(f"HLCTL_DATABASE_URL=postgresql://keeper:{PASSWORD}@127.0.0.1/hlctl"),
    "a URL as a keyword": dsn(f"host=127.0.0.1 port=1 dbname=postgresql://keeper:{PASSWORD}@h/x"),
    "a keyword without its value": dsn(f"host=127.0.0.1 password {PASSWORD}"),
    "a keyword with a blank in its value": dsn(f"host=127.0.0.1 password={LEFT} {RIGHT}"),
    "a keyword with an open quote": dsn(f"host=127.0.0.1 password='{PASSWORD}"),
    "a bare password": dsn(PASSWORD),
    "a fragment that reaches the server as a database": Way(
        6,
        ("status",),
        lambda world: {"HLCTL_DATABASE_URL": world.url("x", password="").replace("@/x", f":5432/{LEFT}@{RIGHT}@db/x")},
    ),
    # what looks at everything and shows it
    "doctor and a mistyped URL": Way(1, ("doctor",), setting(HLCTL_DATABASE_URL=IN_USERINFO % "@")),
    "doctor and a URL that is no UTF-8": Way(1, ("doctor",), setting(HLCTL_DATABASE_URL=IN_USERINFO % "%80")),
    "doctor where nobody answers": Way(1, ("doctor",), lambda _world: refusing()),
    "doctor and an exchange that repeats what it heard": Way(1, ("doctor",), lambda world: world.answering(echo)),
    "every setting": Way(0, ("config", "show")),
    "every setting, and a secret as a number": Way(6, ("config", "show"), setting(HLCTL_UNIVERSE_SIZE=PASSWORD)),
    "every setting, and a secret as a TLS mode": Way(
        0, ("config", "show"), setting(HLCTL_DATABASE_URL=f"postgresql://keeper@127.0.0.1:1/hlctl?sslmode={PASSWORD}")
    ),
    # the other settings
    "a misspelt name": Way(6, ("status",), setting(HLCTL_DATABASEURL=f"postgresql://keeper:{PASSWORD}@h/x")),
    "a URL as the data directory": Way(
        6,
        ("db", "start"),
        setting(HLCTL_DATA_DIR=f"postgresql://keeper:{PASSWORD}@h/x"),
        unset=("HLCTL_DATABASE_URL",),
    ),
    "a secret as a number": Way(6, ("status",), setting(HLCTL_UNIVERSE_SIZE=PASSWORD)),
    "a secret as a log level": Way(6, ("status",), setting(HLCTL_LOG_LEVEL=PASSWORD)),
    "a password in the API's URL": Way(6, ("status",), setting(HLCTL_API_URL=f"https://me:{PASSWORD}@127.0.0.1:1/")),
    "a token in the API's query": Way(6, ("status",), setting(HLCTL_API_URL=f"https://127.0.0.1:1/?key={API_TOKEN}")),
    "a token in the API's fragment": Way(6, ("status",), setting(HLCTL_API_URL=f"https://127.0.0.1:1/#{API_TOKEN}")),
    "plain http": Way(6, ("status",), setting(HLCTL_API_URL=f"http://10.0.0.1/{API_TOKEN}")),
    "a port that is none": Way(6, ("status",), setting(HLCTL_API_URL=f"https://127.0.0.1:{API_TOKEN}/")),
    "a host that cannot be": Way(6, ("status",), setting(HLCTL_API_URL=f"https://a..b/{API_TOKEN}")),
    "a host with a star": Way(6, ("status",), setting(HLCTL_API_URL=f"https://*.example/{API_TOKEN}")),
    "a host of brackets": Way(6, ("status",), setting(HLCTL_API_URL=f"https://[{API_TOKEN}]/")),
    "a token in two lines": Way(6, ("status",), setting(HLCTL_API_URL=f"https://127.0.0.1:1/ap\n{API_TOKEN}")),
    "a header in two lines": Way(6, ("status",), setting(HLCTL_API_AUTHORIZATION=f"Bearer {HEADER}\r\nX: y")),
    "a header in no ASCII": Way(6, ("status",), setting(HLCTL_API_AUTHORIZATION=f"Bearer {HEADER}\u00e9")),
    "both forms of a secret": Way(
        6, ("status",), lambda world: {"HLCTL_DATABASE_URL_FILE": world.file(PASSWORD.encode())}
    ),
    "a secret file in two lines": from_file(f"postgresql://keeper:{PASSWORD}@127.0.0.1:1/x\n{PASSWORD}\n".encode()),
    "a secret file that is no text": from_file(b"\xff\xfe" + PASSWORD.encode()),
    "a secret file with a zero": from_file(f"postgresql://keeper:{LEFT}\0{RIGHT}@127.0.0.1:1/x".encode()),
    "a secret file that everybody may write": from_file(f"postgresql://keeper:{PASSWORD}@h/x".encode(), 0o666),
    "a secret as the name of its file": Way(
        6,
        ("status",),
        setting(HLCTL_DATABASE_URL_FILE=f"postgresql://keeper:{PASSWORD}@h/x"),
        unset=("HLCTL_DATABASE_URL",),
    ),
    "a secret as the name of the settings file": Way(
        6, ("status",), setting(HLCTL_CONFIG=f"postgresql://keeper:{PASSWORD}@h/x")
    ),
    "a settings file with a broken line": config(f"HLCTL_DATABASE_URL postgresql://keeper:{PASSWORD}@h/x\n"),
    "a settings file that is a secret": config(f"postgresql://keeper:{PASSWORD}@h/x?connect_timeout=3\n"),
    "a settings file that is a token": config(f"{API_TOKEN}==\n"),
    "a settings file with another program's names": config(f"DATABASE_PASSWORD={PASSWORD}\n"),
    "a settings file with a misspelt name": config(f"HLCTL_API_AUTHORISATION={HEADER}\n"),
    # the database
    "a server that is not there": Way(
        5, spoil=setting(HLCTL_DATABASE_URL=f"postgresql://keeper:{PASSWORD}@127.0.0.1:1/x")
    ),
    "a socket that is not there": Way(
        5, spoil=setting(HLCTL_DATABASE_URL=f"postgresql://keeper:{PASSWORD}@/x?host=/nowhere")
    ),
    "a host nobody knows": Way(
        5, spoil=setting(HLCTL_DATABASE_URL=f"postgresql://keeper:{PASSWORD}@no-such-host.invalid/x")
    ),
    "a wrong password": Way(
        5, ("status",), lambda world: {"HLCTL_DATABASE_URL": world.url(world.ready, password=PASSWORD + "x")}
    ),
    "a wrong role": Way(
        5, ("status",), lambda world: {"HLCTL_DATABASE_URL": world.url(world.ready, role="nobody_here")}
    ),
    "a wrong database": Way(5, ("status",), lambda world: {"HLCTL_DATABASE_URL": world.url("not_there")}),
    "a server without TLS": Way(
        5,
        ("status",),
        lambda world: {
            "HLCTL_DATABASE_URL": f"postgresql://keeper:{PASSWORD}@127.0.0.1:{world.port(no_tls)}/x?sslmode=require"
        },
    ),
    "a server that talks nonsense": Way(
        5,
        ("status",),
        lambda world: {
            "HLCTL_DATABASE_URL": "postgresql://keeper:{}@127.0.0.1:{}/x?sslmode=disable".format(
                PASSWORD, world.port(lambda connection: connection.sendall(http("200 OK")))
            )
        },
    ),
    "a server that hangs up": Way(
        5,
        ("status",),
        lambda world: {
            "HLCTL_DATABASE_URL": f"postgresql://keeper:{PASSWORD}@127.0.0.1:{world.port(socket.socket.close)}/x"
        },
    ),
    "an empty database": Way(6, spoil=lambda world: {"HLCTL_DATABASE_URL": world.url(world.empty)}),
    "a newer schema": database("INSERT INTO schema_migrations VALUES (99, '0099_x', 'x', now(), '9')", code=6),
    "an edited migration": database("UPDATE schema_migrations SET checksum = 'x' WHERE version = 1", code=6),
    "a table of somebody else": Way(6, ("init-db",), lambda world: {"HLCTL_DATABASE_URL": foreign(world)}),
    "no universe": database("TRUNCATE wallet_universe_runs CASCADE", code=6),
    "a role without rights": Way(5, spoil=lambda world: {"HLCTL_DATABASE_URL": world.url(world.ready, role="guest")}),
    "another run": Way(75, spoil=locked),
    "a table that is locked": Way(5, ("status",), blocked),
    "a bug in the database": database("ALTER TABLE ingest_runs ADD CHECK (host = '') NOT VALID", code=70),
    "a bug with the row in its text": database(
        "ALTER TABLE wallet_snapshots ADD CHECK (attempt > 99) NOT VALID", code=70
    ),
    "a column that is gone": database("ALTER TABLE ingest_runs RENAME COLUMN host TO guest", code=70),
    "a data directory that cannot be": Way(
        6, ("db", "start"), setting(HLCTL_DATA_DIR="/dev/null/hlctl"), unset=("HLCTL_DATABASE_URL",)
    ),
    # the exchange
    "an exchange that is not there": Way(4, spoil=lambda _world: refusing()),
    "an exchange nobody knows": Way(4, spoil=lambda _world: at("https://no-such-host.invalid")),
    "an exchange without TLS": Way(
        4, spoil=lambda world: at(world.answering(http("200 OK"))["HLCTL_API_URL"][:22].replace("http:", "https:"))
    ),
    "401": exchange(http("401 Unauthorized")),
    "403": exchange(http("403 Forbidden")),
    "429": exchange(http("429 Too Many Requests", "Retry-After: 600")),
    "500": exchange(http("500 Internal Server Error")),
    "a redirect": exchange(http("302 Found", f"Location: https://elsewhere.example/{API_TOKEN}")),
    "garbage instead of HTTP": exchange(b"\x00\xff garbage\r\n\r\n"),
    "garbage instead of JSON": exchange(http("200 OK", body=b"<html>")),
    "a body cut short": exchange(OK),
    "a connection cut short": exchange(b""),
    "an answer that does not come": exchange(b"", delay=3),
    "an exchange that repeats what it hears": exchange(echo),
    "an exchange that repeats it in JSON": exchange(echo_body),
    # the leaderboard
    "a leaderboard of 403": board(http("403 Forbidden")),
    "a leaderboard of 500": board(http("500 Internal Server Error")),
    "a leaderboard elsewhere": board(http("307 Temporary Redirect", f"Location: /{BOARD_TOKEN}")),
    "a leaderboard that is no JSON": board(http("200 OK", body=b"<html>")),
    "a leaderboard cut short": board(OK),
    "a leaderboard that repeats what it hears": board(echo),
    "a leaderboard that repeats it in JSON": board(echo_body),
    "a leaderboard that is not there": Way(4, ("refresh-universe",), lambda _world: refusing()),
    # the ping
    "a ping to nobody": Way(4),
    "a ping to a host nobody knows": Way(4, spoil=setting(HLCTL_PING_URL=f"https://no-such-host.invalid/{PING_TOKEN}")),
    "a ping without TLS": Way(
        4,
        spoil=lambda world: {
            "HLCTL_PING_URL": ping(http("200 OK")).spoil(world)["HLCTL_PING_URL"].replace("http:", "https:")
        },
    ),
    "a ping that is redirected": ping(http("302 Found", f"Location: https://elsewhere.example/{PING_TOKEN}")),
    "a ping that is repeated": ping(echo),
    "a ping that is answered with garbage": ping(b"\x00\xff garbage\r\n\r\n"),
    "a ping that is not answered": ping(b"", delay=5),
    "a ping of a failure": Way(5, spoil=setting(HLCTL_DATABASE_URL=f"postgresql://keeper:{PASSWORD}@127.0.0.1:1/x")),
    "a ping's address as http": Way(6, ("status",), setting(HLCTL_PING_URL=f"http://10.0.0.1/{PING_TOKEN}")),
    "a ping's address with a query": Way(6, ("status",), setting(HLCTL_PING_URL=f"https://127.0.0.1:1/?{PING_TOKEN}")),
    "a ping's address with a password": Way(
        6, ("status",), setting(HLCTL_PING_URL=f"https://me:{PING_TOKEN}@127.0.0.1:1/")
    ),
    "a ping's address as a file's name": Way(
        6, ("status",), setting(HLCTL_METRICS_FILE=f"https://127.0.0.1:1/{PING_TOKEN}")
    ),
    "doctor and a ping's address": Way(1, ("doctor",)),
    # signals
    "SIGTERM in the middle": Way(143, spoil=lambda w: w.answering(b"", delay=20), stop=signal.SIGTERM),
    "SIGINT in the middle": Way(130, spoil=lambda w: w.answering(b"", delay=20), stop=signal.SIGINT),
    "SIGTERM during a refresh": Way(
        143, ("refresh-universe",), lambda w: w.answering(b"", delay=20), stop=signal.SIGTERM
    ),
}


def foreign(world: World) -> str:
    name = world.server.database()
    world.server.run(f"ALTER DATABASE {name} OWNER TO {KEEPER}")
    world.server.run("CREATE TABLE wallets (id int)", database=name)
    return world.url(name)


# ---- who might see something


class Watcher:
    """Looks at every process's command line and at the server's sessions, again and again, until told to stop."""

    def __init__(self, server: PrivateServer) -> None:
        self._server = server
        self._stop = threading.Event()
        self.seen: set[str] = set()
        self.rounds = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        with closing(psycopg.connect(self._server.url("postgres"), autocommit=True)) as conn:
            while not self._stop.is_set():
                for process in Path("/proc").iterdir():
                    with suppress(OSError):  # no process, or gone by now
                        words = (process / "cmdline").read_bytes()
                        self.seen.add(words.replace(b"\0", b" ").decode(errors="replace"))
                for row in conn.execute("SELECT a::text FROM pg_stat_activity a WHERE pid <> pg_backend_pid()"):
                    self.seen.add(str(row[0]))
                self.rounds += 1
                self._stop.wait(0.02)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """Return a server that asks for passwords and logs every statement with its parameters."""
    folder = tmp_path_factory.mktemp("secrets")
    with private_server(folder / "data", method="scram-sha-256") as server:
        for role in (KEEPER, "guest"):
            server.run(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        for name, value in {
            "log_statement": "all",
            "log_connections": "on",
            "log_disconnections": "on",
            "log_min_error_statement": "error",
            "log_parameter_max_length": "-1",
            "log_parameter_max_length_on_error": "-1",
        }.items():
            server.run(f"ALTER SYSTEM SET {name} = '{value}'")
        server.run("SELECT pg_reload_conf()")
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def databases(
    private: PrivateServer, tmp_path_factory: pytest.TempPathFactory, set_clock_of: Callable[..., None]
) -> tuple[str, str]:
    """Return the names of a database with a universe of three wallets, and of an empty one."""
    ready, empty = private.database(), private.database()
    for name in (ready, empty):
        private.run(f"ALTER DATABASE {name} OWNER TO {KEEPER}")
    hlctl = Hlctl({"HLCTL_DATABASE_URL": private.url(ready, KEEPER, PASSWORD)}, tmp_path_factory.mktemp("home"))
    assert hlctl("init-db").code == 0
    set_clock_of(private.url(ready), M.replace(second=2))
    with sim.serve(sim.World.generate(seed=5, rows=50)) as exchange:
        ran = hlctl("refresh-universe", HLCTL_LEADERBOARD_URL=exchange.leaderboard_url, HLCTL_UNIVERSE_SIZE="3")
    assert ran.code == 0, ran.err
    return ready, empty


@pytest.fixture
def secretive(
    private: PrivateServer,
    databases: tuple[str, str],
    exchange: sim.Exchange,
    tmp_path: Path,
    set_clock_of: Callable[..., None],
) -> Iterator[World]:
    """Return the world of one path, in the third second of minute M."""
    ready, empty = databases
    set_clock_of(private.url(ready), M.replace(second=2))
    with ExitStack() as stack:
        yield World(private, ready, empty, exchange, tmp_path, set_clock_of, stack)


def record(world: World) -> list[tuple[object, ...]]:
    """Return what the database keeps of what went wrong, newest last."""
    return world.server.run(
        "SELECT error FROM wallet_universe_runs UNION ALL SELECT concat(error, missing, version) FROM ingest_runs",
        database=world.ready,
    )


def run(hlctl: Hlctl, path: Way, settings: dict[str, str], *options: str) -> Ran:
    """Run a path's command at the most talkative level."""
    if path.stop is None:
        return hlctl("--log-level", "debug", *path.command, *options, **settings)
    process = hlctl.start("--log-level", "debug", *path.command, *options, **settings)
    time.sleep(2.5)
    process.send_signal(path.stop)
    out, err = process.communicate(timeout=60)
    return Ran(process.returncode, out, err, 0.0)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc, to see command lines")
@pytest.mark.parametrize("name", PATHS)
def test_no_secret_is_seen_on_this_path(secretive: World, tmp_path: Path, name: str) -> None:
    """Not in what the command prints and logs, in text or JSON; nor in the server's log, sessions or command lines."""
    path = PATHS[name]
    settings = {
        "HLCTL_DATABASE_URL": secretive.url(secretive.ready),
        "HLCTL_API_AUTHORIZATION": f"Bearer {HEADER}",
        "HLCTL_REQUEST_TIMEOUT": "1" if path.stop is None else "30",
        "HLCTL_MAX_ATTEMPTS": "1",
        "HLCTL_UNIVERSE_SIZE": "3",
        "HLCTL_PING_URL": f"http://127.0.0.1:1/{PING_TOKEN}",
        **at(secretive.exchange.url),
    }
    settings.update(path.spoil(secretive))
    for unwanted in path.unset:
        del settings[unwanted]
    hlctl = Hlctl(settings, tmp_path)
    before = len(secretive.server.log())
    with Watcher(secretive.server) as watcher:
        shown = run(hlctl, path, {})
        told = run(hlctl, path, {"HLCTL_LOG_FORMAT": "json"}, "--json")
    assert (shown.code, told.code) == (path.code, path.code), shown.err + told.err
    assert told.document["exit_code"] == path.code
    assert watcher.rounds > 1
    errors = record(secretive)
    places = {
        "stdout": shown.out + told.out,
        "stderr": shown.err + told.err,
        "the server's log": secretive.server.log()[before:],
        "a command line or session": "\n".join(watcher.seen),
        "the record": repr(errors),
    }
    leaks = [(half, place) for place, text in places.items() for half in HALVES if half in text]
    assert leaks == [], {
        place: [line for line in text.splitlines() if half in line] for half, place in leaks for text in [places[place]]
    }


def test_there_are_enough_paths_and_the_watchers_would_see_a_secret(
    private: PrivateServer, databases: tuple[str, str]
) -> None:
    """A test that looks in the wrong place finds nothing either."""
    assert len(PATHS) >= 100
    ready, _ = databases
    with Watcher(private) as watcher, closing(psycopg.connect(private.url(ready, KEEPER, PASSWORD))) as conn:
        conn.execute(sql.SQL("SELECT {}").format(sql.Literal("canary-in-a-statement")))
        conn.execute("SELECT %s", ["canary-in-a-parameter"])
        time.sleep(0.3)
        rounds: Any = watcher.rounds
    assert rounds > 1
    assert any("canary-in-a-statement" in seen or "SELECT $1" in seen for seen in watcher.seen)
    assert any(f"keeper {ready}" in seen for seen in watcher.seen), "the sessions' titles are command lines"
    assert "canary-in-a-statement" in private.log()
    assert "canary-in-a-parameter" in private.log()
