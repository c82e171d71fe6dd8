"""What follows a scheduled command once its result is printed and its exit code settled: the ping and the metrics file.

Nothing here changes how the command ended. Each step has its bound, and what goes wrong is one warning in the log when
it begins.
"""

import errno
import fcntl
import logging
import os
import platform
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from functools import partial
from io import StringIO
from pathlib import Path

import psycopg

from hlctl import __version__, db, logs, metrics, overview, quiet
from hlctl.clock import phases
from hlctl.errors import ExitCode, HlctlError
from hlctl.jobs.database import countdown
from hlctl.metrics import Facts, Sample
from hlctl.render import screen
from hlctl.results import Result
from hlctl.settings import Settings, default_data_dir
from hlctl.watchdog import watchdog

log = logging.getLogger(__name__)

_LONGEST = 10.0  # seconds for all of it, whatever hangs; a snapshot's watchdog ends it with its minute
_PING = 2.0  # seconds
_ANSWER = 2.0  # seconds for what the database has to say, connection included
_STATEMENT = 1  # second of these for each of its two questions
_TURN = 1.0  # seconds to wait for another command that writes the file
_NAP = 0.02
_LONGEST_BODY = 1000  # bytes
_LONGEST_REPLY = 64 * 2**10  # bytes
_LONGEST_FILE = 2**20  # bytes: what is longer is not ours
_SUCCESS = {"snapshot": {ExitCode.OK, ExitCode.PARTIAL}, "verify": {ExitCode.OK, ExitCode.FOUND}}
_Told = tuple[Facts | None, bool]
"""What the database says of the record, and whether it answered."""
_UNTOLD: _Told = (None, False)


def follow(settings: Settings, command: str, code: int, result: Result | None, error: HlctlError | None) -> None:
    """Send the ping and write the metrics file, as far as the settings name them."""
    run = metrics.Run(
        command=command,
        version=__version__,
        python=platform.python_version(),
        ended=round(time.time(), 3),
        seconds=round(watchdog.age(), 3),
        exit_code=code,
        is_success=code in _SUCCESS.get(command, {ExitCode.OK}),
        phases={phase: round(seconds, 3) for phase, seconds in phases.seconds().items()},
        violations=_violations(command, result),
    )
    if command != "snapshot":
        watchdog.end_in(_LONGEST, code, "")
    steps: dict[str, tuple[str, Callable[[], None]]] = {
        # First, for who does not hear of a snapshot in time takes it for dead.
        "ping": ("the ping was not delivered", lambda: _ping(settings, command, code, result, error)),
        "metrics": ("the metrics file was not written", lambda: _write_metrics(settings, run)),
    }
    news = []
    for name, (words, step) in steps.items():
        why = _failure(step)
        if quiet.is_news(quiet.place_of(f"{command}-{name}", settings, has_file=False), is_wrong=bool(why)):
            news.append(f"{words}: {why}")
    if news:
        log.warning("%s", "; ".join(news))


def _violations(command: str, result: Result | None) -> int | None:
    """Return how many violations an audit found; None if this was none, or it did not get so far."""
    if command != "verify":
        return None
    from hlctl.answers import VerifyResult  # noqa: PLC0415 - a snapshot loads no more than it needs

    return result.violations if isinstance(result, VerifyResult) else None


def _failure(step: Callable[[], None]) -> str:
    """Return why a step failed, in words that hold no secret; empty if it did not."""
    try:
        step()
    except OSError as exc:
        return exc.strerror or type(exc).__name__
    except HlctlError as exc:
        return str(exc)
    except Exception as exc:
        log.debug("bug", exc_info=exc)
        return type(exc).__name__
    return ""


# The ping.


def _line(command: str, result: Result | None, error: HlctlError | None) -> str:
    """Return the line a person would see: why it failed, or else the result."""
    if error is not None or result is None:
        return f"hlctl {command}: {screen.said(error) if error else 'done'}"
    from hlctl.render import text  # noqa: PLC0415 - only a ping needs it

    said = StringIO()
    text.show(result, said)
    return said.getvalue()


def ping_code(code: int) -> int | None:
    """Return the exit status to report: 0 for a partial minute, which is a good one; None, nothing, for a busy run."""
    if code == ExitCode.BUSY:
        return None
    return 0 if code == ExitCode.PARTIAL else code


def _ping(settings: Settings, command: str, code: int, result: Result | None, error: HlctlError | None) -> None:
    """Report a snapshot's exit status. Raises HlctlError, with the reason in one word."""
    reported = ping_code(code)
    if settings.ping_url is None or command != "snapshot" or reported is None:
        return
    from hlctl.transport import RequestFailedError, Transport  # noqa: PLC0415 - only a ping needs it

    with closing(Transport(connections=1)) as transport:
        base = settings.ping_url.get_secret_value().rstrip("/")
        post = transport.post_template(f"{base}/{reported}?rid={logs.run_id()}")
        post.headers.update({"Content-Type": "text/plain; charset=utf-8", "Accept": "*/*"})
        line = _line(command, result, error).strip()
        body = line.encode()[:_LONGEST_BODY].decode(errors="ignore").encode()  # whole characters
        try:
            transport.post(post, body, seconds=_PING, limit=_LONGEST_REPLY)
        except RequestFailedError as exc:
            raise HlctlError(exc.reason.value) from exc  # its words are about the exchange


# The metrics file.


def _write_metrics(settings: Settings, run: metrics.Run) -> None:
    """Write the metrics file anew, with what stays true of the one that is there. Raises OSError."""
    if settings.metrics_file is None:
        return
    # Who has just heard that the database is silent must not wait for it once more.
    facts, is_up = _UNTOLD if run.exit_code == ExitCode.DATABASE else _asked(settings)
    own = [*metrics.of_run(run), *metrics.of_database(facts, is_up=is_up)]
    _rewrite(settings.metrics_file, lambda before: [*metrics.carried(before, run, is_told=facts is not None), *own])


def _asked(settings: Settings) -> _Told:
    """Return what the database says of the record, and whether it answered: a resolver may hang, so a thread asks."""
    told: list[_Told] = [_UNTOLD]
    done: Future[None] = Future()

    def ask() -> None:
        try:
            told.extend(_ask(settings))  # one by one, as they come
            done.set_result(None)
        except Exception as exc:  # noqa: BLE001 - raised again by who waits
            done.set_exception(exc)

    threading.Thread(target=ask, name="metrics", daemon=True).start()
    with suppress(TimeoutError):
        done.result(_ANSWER)
    return told[-1]


def _ask(settings: Settings) -> Iterator[_Told]:
    """Yield what the database says without its sizes, then with them: that these take too long costs nothing else."""
    left = countdown(_ANSWER)
    try:
        conn = db.connect(_url(settings), timeout=db.bounded(_ANSWER))
    except HlctlError as exc:
        log.debug("no metrics of the database: %s", exc)
        return
    transaction = partial(db.transaction, conn, read_only=True, statement_timeout=_STATEMENT, lock_timeout=_STATEMENT)
    facts: Facts | None = None
    with closing(conn):
        conn.left = left
        try:
            with transaction():
                facts = overview.read_metrics(conn)
            yield facts, True
            with transaction():
                facts = overview.add_sizes(conn, facts)
        except psycopg.Error as exc:  # no schema, no right to read it, too slow; or gone
            log.debug("no %s of the database: %s", "sizes" if facts else "metrics", db.explain(exc))
        yield facts, facts is not None or not conn.closed


def _url(settings: Settings) -> str:
    """Return the database's URL; no embedded server is started for it."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    from hlctl import embedded  # noqa: PLC0415 - who has a database of his own never loads it

    return embedded.url(settings.data_dir or default_data_dir())


def _rewrite(file: Path, make: Callable[[list[Sample]], list[Sample]]) -> None:
    """Replace a file by what is made of its samples, so that a reader finds either; one command at a time."""
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    draft = f".{file.name}.new"  # under no name that node_exporter reads
    try:
        _take_turn(folder)
        text = metrics.render(make(metrics.parse(_read(file.name, folder))))
        with suppress(FileNotFoundError):  # of a command that was killed
            os.unlink(draft, dir_fd=folder)
        created = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            with os.fdopen(created, "w", encoding="utf-8") as stream:
                stream.write(text)
                os.fchmod(created, 0o644)  # whatever the umask
            os.rename(draft, file.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(draft, dir_fd=folder)
            raise
    finally:
        os.close(folder)


def _take_turn(folder: int) -> None:
    """Lock a directory until it is closed; raises TimeoutError."""
    left = countdown(_TURN)
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if left() <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "another program holds its directory's lock") from None
            time.sleep(_NAP)
        else:
            return


def _read(name: str, folder: int) -> str:
    """Return the text of the file that is there; nothing if there is none or it is none of ours."""
    try:
        found = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return ""
    with os.fdopen(found, "rb") as stream:
        content = stream.read(_LONGEST_FILE + 1) if stat.S_ISREG(os.fstat(found).st_mode) else b""
    return "" if len(content) > _LONGEST_FILE else content.decode(errors="replace")
