"""`demo`: the whole pipeline, once, against a simulated exchange and a throw-away database."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hlctl import cluster, embedded, sim
from hlctl.answers import DemoResult
from hlctl.errors import ConfigurationError, UsageError
from hlctl.jobs.database import init_db
from hlctl.jobs.snapshot import Progress, snapshot
from hlctl.jobs.status import status
from hlctl.jobs.universe import refresh_universe
from hlctl.settings import Settings
from hlctl.watchdog import watchdog

_ROWS = 2000
_SEED = 1


def demo(*, data: Path | None, keep: bool, tell: Callable[[str], None], progress: Progress) -> DemoResult:
    """Start a server, make the schema, read a universe, record a minute and judge it; leave nothing behind.

    `data` serves recorded answers instead of generated ones; `keep` leaves the database running. Raises UsageError if
    `data` has no recorded answers.
    """
    started = time.monotonic()
    try:
        world = sim.World.recorded(data) if data else sim.World.generate(seed=_SEED, rows=_ROWS)
    except ValueError as exc:
        raise UsageError(f"--data: {exc}", remedy="") from None
    data_dir = _directory()
    kept = False
    try:
        with sim.serve(world) as exchange:
            settings = Settings(data_dir=data_dir, api_url=exchange.url, leaderboard_url=exchange.leaderboard_url)
            tell("starting an embedded PostgreSQL and making the schema")
            init_db(settings, dry_run=False)
            tell("reading the leaderboard")
            refreshed = refresh_universe(settings)
            tell("recording a minute")
            recorded = snapshot(settings, align=False, progress=progress)
            judged = status(settings)
        kept = keep
    finally:
        watchdog.call_off()
        if not kept:
            embedded.remove(data_dir)
    return DemoResult(
        refresh=refreshed.refresh,
        snapshot=recorded,
        status=judged,
        seconds=time.monotonic() - started,
        kept=data_dir if kept else None,
        url=embedded.url(data_dir) if kept else None,
    )


def _directory() -> Path:
    """Make a directory that the server can live in. Raises ConfigurationError if temporary ones are no place for it."""
    made = Path(tempfile.mkdtemp(prefix="hlctl-demo-"))
    try:
        cluster.path_of(made)
    except ConfigurationError as exc:
        made.rmdir()
        raise ConfigurationError(str(exc), remedy="set TMPDIR to another directory, such as /tmp") from None
    return made
