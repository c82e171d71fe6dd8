"""`status`: what the database says about itself."""

from hlctl import access, db, migrate, store
from hlctl.jobs.database import countdown, opened
from hlctl.results import StatusResult
from hlctl.settings import Settings

_PATIENCE = 3.5  # seconds: who asks whether all is well wants an answer, or to hear that there is none


def status(settings: Settings) -> StatusResult:
    """Read the judgement and the facts behind it from one snapshot of the database."""
    with opened(settings, create=False, left=countdown(_PATIENCE)) as conn, db.transaction(conn, read_only=True):
        access.require(conn, "status")
        migrate.require_current(conn)
        run = store.read_latest_run(conn)
        return StatusResult(
            health=store.read_health(conn),
            run=run,
            universe=store.read_universe(conn),
            last_hour=store.list_last_hour(conn),
            holders=store.summarize_minute(conn, run.snapshot_ts) if run else [],
        )
