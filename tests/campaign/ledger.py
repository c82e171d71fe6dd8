"""The judge: what the record said before, what it says now, and whether both can be true; it has no rule of hlctl's."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hlctl import audit, db
from hlctl.audit import CHECKS
from tests.campaign.stage import Stage

MINUTE = timedelta(minutes=1)
FINAL = timedelta(seconds=120)
_CELLS = """
    SELECT snapshot_ts, address, asset::text, missing_reason::text, position_szi, entry_px, liq_px, leverage,
           leverage_type::text, margin_used
      FROM v_positions WHERE snapshot_ts >= %s ORDER BY 1, 2, 3
"""
_RUNS = """
    SELECT snapshot_ts, status, attempts, wallets_succeeded, wallets_expected, universe_run_id, pruned_at IS NOT NULL
      FROM ingest_runs
"""
_FACTS = """
    SELECT hlctl_clock(),
           (SELECT as_of_ts FROM wallet_universe_runs WHERE status = 'success' ORDER BY run_id DESC LIMIT 1),
           health_state, (SELECT stale_after FROM ingest_runs ORDER BY snapshot_ts DESC LIMIT 1),
           (SELECT universe_stale_after FROM ingest_runs ORDER BY snapshot_ts DESC LIMIT 1), suspect
      FROM v_latest_health
"""
_PINS = """
    SELECT r.snapshot_ts, r.universe_run_id, array_agg(DISTINCT h.run_id)
      FROM ingest_runs r LEFT JOIN v_universe_history h
        ON h.from_minute <= r.snapshot_ts AND (h.until_minute > r.snapshot_ts OR h.until_minute IS NULL)
     WHERE r.snapshot_ts >= %s GROUP BY 1, 2 HAVING array_agg(DISTINCT h.run_id) <> ARRAY[r.universe_run_id]
"""


class BrokenError(Exception):
    """The record broke a promise."""


@dataclass(frozen=True, slots=True)
class Run:
    """A minute's row."""

    status: str
    attempts: int
    succeeded: int
    expected: int
    universe: int
    is_pruned: bool


@dataclass(slots=True)
class Ledger:
    """All that was ever seen in the record: every run, and every cell as it first was."""

    cells: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)
    runs: dict[datetime, Run] = field(default_factory=dict)
    stepped: set[datetime] = field(default_factory=set)  # minutes near which the clock was set: `published` may object
    has_stepped_back: bool = False

    def read(self, conn: db.Connection) -> dict[datetime, Run]:
        """Return the runs as they are now."""
        return {ts: Run(*rest) for ts, *rest in conn.execute(_RUNS.encode()).fetchall()}

    def judge(self, conn: db.Connection, stage: Stage, journal: Iterable[tuple[float, tuple[Any, ...]]]) -> None:
        """Compare the newest minutes with what was seen and with what the exchange told. Raises BrokenError."""
        told = {
            (stage.at(at, offset).replace(second=0, microsecond=0), *cell)
            for at, cell in journal
            for offset in stage.offsets
        }
        since = stage.lowest.replace(second=0, microsecond=0) - 5 * MINUTE
        runs = self.read(conn)
        if len(stage.offsets) > 1:
            self.stepped |= {ts for ts in runs if ts >= since}
        self._runs(runs, stage.lowest)
        self._cells(conn, runs, since, stage.lowest, told)
        self._health(conn, runs)
        if not self.has_stepped_back:
            self._history(conn, since)
        self.runs = runs

    def audit(
        self, conn: db.Connection, since: datetime, until: datetime, *, whole: bool, excused: Collection[str] = ()
    ) -> None:
        """Ask every check of `verify` that is not excused. Raises BrokenError."""
        for check in CHECKS:
            if check.id not in excused and (check.is_of_minutes or whole):
                for found in audit.violations(conn, check, since, until):
                    if check.id != "published" or found.snapshot_ts not in self.stepped:
                        raise BrokenError(f"check {check.id}: {found}")

    def _runs(self, runs: dict[datetime, Run], lowest: datetime) -> None:
        for ts, before in self.runs.items():
            now = runs.get(ts)
            if now is None:
                raise BrokenError(f"the run of {ts} is gone")
            if (now.attempts, now.succeeded) < (before.attempts, before.succeeded) or now.succeeded < before.succeeded:
                raise BrokenError(f"the run of {ts} got worse: {before} -> {now}")
            if now.universe != before.universe:
                raise BrokenError(f"the universe of {ts} changed: {before} -> {now}")
            is_final = lowest >= ts + FINAL
            if is_final and (now.attempts, now.succeeded, now.status) != (
                before.attempts,
                before.succeeded,
                before.status,
            ):
                raise BrokenError(f"the run of {ts} changed after it was final: {before} -> {now}")
        pins = [runs[ts].universe for ts in sorted(runs)]
        if not self.has_stepped_back and pins != sorted(pins):
            raise BrokenError("an older universe was pinned after a newer one")

    def _cells(
        self,
        conn: db.Connection,
        runs: dict[datetime, Run],
        since: datetime,
        lowest: datetime,
        told: set[tuple[Any, ...]],
    ) -> None:
        seen: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        for ts, address, asset, reason, *terms in conn.execute(_CELLS.encode(), (since,)).fetchall():
            seen[ts, address, asset] = (reason, *terms)
        for key, now in seen.items():
            self._cell(key, now, lowest, told)
        for key in self.cells:
            if key[0] >= since and key not in seen and not runs[key[0]].is_pruned:
                raise BrokenError(f"a cell is gone: {key}")
        for ts, run in runs.items():
            known = {key[1] for key, cell in seen.items() if key[0] == ts and cell[0] is None} if ts >= since else set()
            if ts >= since and not run.is_pruned and len(known) != run.succeeded:
                raise BrokenError(f"{ts} says {run.succeeded} wallets, its cells say {len(known)}")
        self.cells = {key: cell for key, cell in self.cells.items() if key[0] >= since - 60 * MINUTE} | seen

    def _cell(self, key: tuple[Any, ...], now: tuple[Any, ...], lowest: datetime, told: set[tuple[Any, ...]]) -> None:
        before = self.cells.get(key)
        if before == now:
            return
        if before is not None and before[0] is None:
            raise BrokenError(f"a value was overwritten: {key} {before} -> {now}")
        if before is not None and (now[0] is not None or lowest >= key[0] + FINAL):
            raise BrokenError(f"a hole was changed, to another one or too late: {key} {before} -> {now}")
        if now[0] is None and (*key, *now[1:]) not in told:
            raise BrokenError(f"a false value: {key} {now}")

    def _health(self, conn: db.Connection, runs: dict[datetime, Run]) -> None:
        row = conn.execute(_FACTS.encode()).fetchone()
        if row is None:
            raise BrokenError("v_latest_health has no row")
        at, universe_at, state, stale_after, universe_after, suspect = row
        good = [ts for ts, run in runs.items() if run.status != "failed"]
        last = max(runs, default=None)
        if last is None or not good or runs[last].status == "failed" or at - max(good) > stale_after:
            expected = "stale"
        elif runs[last].status == "partial" or at - last > FINAL or at - universe_at > universe_after or suspect:
            expected = "degraded"
        else:
            expected = "healthy"
        if state != expected:
            raise BrokenError(f"v_latest_health says {state}, the facts say {expected}")

    def _history(self, conn: db.Connection, since: datetime) -> None:
        if row := conn.execute(_PINS.encode(), (since,)).fetchone():
            raise BrokenError(f"v_universe_history: at {row[0]} {row[2]} were in force, the minute pinned {row[1]}")
