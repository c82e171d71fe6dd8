"""The judge: what the record said before, what it says now, and whether both can be true; it has no rule of hlctl's."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hlctl import audit, db
from hlctl.audit import CHECKS
from tests.campaign.stage import Stage

MINUTE = timedelta(minutes=1)
FINAL = timedelta(seconds=120)
_FOREVER = datetime.max.replace(tzinfo=UTC)
_CELLS = """
    SELECT snapshot_ts, address, asset::text, missing_reason::text, position_szi, entry_px, liq_px, leverage,
           leverage_type::text, margin_used
      FROM v_positions WHERE snapshot_ts >= %s AND snapshot_ts < %s ORDER BY 1, 2, 3
"""
_RUNS = """
    SELECT snapshot_ts, status, attempts, wallets_succeeded, wallets_expected, universe_run_id, pruned_at IS NOT NULL,
           published_at
      FROM ingest_runs
"""
_FACTS = """
    SELECT hlctl_clock(),
           (SELECT as_of_ts FROM wallet_universe_runs WHERE status = 'success' ORDER BY run_id DESC LIMIT 1),
           health_state, r.stale_after, r.universe_stale_after, v.suspect
      FROM v_latest_health v LEFT JOIN ingest_runs r ON r.snapshot_ts = v.last_snapshot_ts
"""
_PINS = """
    SELECT r.snapshot_ts, r.universe_run_id, array_agg(DISTINCT h.run_id)
      FROM ingest_runs r LEFT JOIN v_universe_history h
        ON h.from_minute <= r.snapshot_ts AND (h.until_minute > r.snapshot_ts OR h.until_minute IS NULL)
     WHERE r.snapshot_ts >= %s GROUP BY 1, 2 HAVING array_agg(DISTINCT h.run_id) <> ARRAY[r.universe_run_id]
"""


Key = tuple[datetime, str, str]
"""Minute, address, asset."""
Cell = tuple[Any, ...]
"""Why it is missing, or None; then its terms."""
Journal = Iterable[tuple[float, tuple[Any, ...]]]
"""When, and a cell that was told then."""


def _told(stage: Stage, journal: Journal) -> set[tuple[Any, ...]]:
    """Return what each minute's cells may be; after a step of the clock a moment was in more than one minute."""
    return {
        (stage.at(at, offset).replace(second=0, microsecond=0), *cell)
        for at, cell in journal
        for offset in stage.offsets
    }


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
    published_at: datetime


def _compare(ts: datetime, before: Run, now: Run, *, is_final: bool) -> None:
    if now.attempts < before.attempts or now.succeeded < before.succeeded:
        raise BrokenError(f"the run of {ts} got worse: {before} -> {now}")
    if now.universe != before.universe:
        raise BrokenError(f"the universe of {ts} changed: {before} -> {now}")
    if is_final and replace(now, is_pruned=before.is_pruned) != before:
        raise BrokenError(f"the run of {ts} changed after it was final: {before} -> {now}")


@dataclass(slots=True)
class Ledger:
    """All that was ever seen in the record: every run, and every cell as it first was."""

    cells: dict[Key, Cell] = field(default_factory=dict)
    runs: dict[datetime, Run] = field(default_factory=dict)
    excused: set[tuple[str, datetime]] = field(default_factory=set)  # a check, and a minute to which it may object
    landed: Counter[datetime] = field(default_factory=Counter)  # COMMITs that published a minute

    def read(self, conn: db.Connection) -> dict[datetime, Run]:
        """Return the runs as they are now."""
        return {ts: Run(*rest) for ts, *rest in conn.execute(_RUNS.encode()).fetchall()}

    def look(self, conn: db.Connection, stage: Stage, journal: Journal, minute: datetime) -> None:
        """Compare one minute, whose publication has just become true, with what was seen and told."""
        self.landed[minute] += 1
        self._cells(self._read_cells(conn, minute, minute + MINUTE), stage.now(), _told(stage, journal))

    def judge(self, conn: db.Connection, stage: Stage, journal: Journal) -> None:
        """Compare the newest minutes with what was seen and with what the exchange told. Raises BrokenError."""
        since = stage.lowest.replace(second=0, microsecond=0) - 3 * MINUTE
        runs = self.read(conn)
        if stage.went_back:  # what was published before its minute began, or before its universe was there
            self.excused |= {(check, ts) for check in ("published", "universe") for ts in runs if ts >= since}
        # A minute that is published after the next one, because the clock was put back between: what was judged of its
        # neighbours was judged by what was known then.
        twice = {ts for ts in runs if since <= ts <= stage.unordered_until}
        self.excused |= {(check, ts) for check in ("published", "universe", "health", "dirty") for ts in twice}
        if stage.has_ended_a_session or len(stage.offsets) > 1:  # two runs at once know nothing of each other
            self.excused |= {("rate", ts) for ts in runs if ts >= since}
        self._runs(runs, stage.lowest, stage.unordered_until)
        seen = self._read_cells(conn, since, _FOREVER)
        self._cells(seen, stage.lowest, _told(stage, journal))
        self._whole(seen, {ts: run for ts, run in runs.items() if ts >= since and not run.is_pruned}, since)
        self._health(conn, runs)
        self._history(conn, max(since, stage.unordered_until))
        self.runs = runs
        self.cells = {key: cell for key, cell in self.cells.items() if key[0] >= since - 60 * MINUTE}

    def audit(
        self, conn: db.Connection, since: datetime, until: datetime, *, whole: bool, excused: Collection[str] = ()
    ) -> None:
        """Ask every check of `verify` that is not excused. Raises BrokenError."""
        for check in CHECKS:
            if check.id not in excused and (check.is_of_minutes or whole):
                for found in audit.violations(conn, check, since, until):
                    if (check.id, found.snapshot_ts) not in self.excused:
                        raise BrokenError(f"check {check.id}: {found}")

    def _runs(self, runs: dict[datetime, Run], lowest: datetime, unordered_until: datetime) -> None:
        for ts, before in self.runs.items():
            if ts not in runs:
                raise BrokenError(f"the run of {ts} is gone")
            _compare(ts, before, runs[ts], is_final=lowest >= ts + FINAL)
        for ts, run in runs.items():
            if run.published_at >= ts + MINUTE:
                raise BrokenError(f"{ts} was published after its end: {run}")
            if run.attempts != self.landed[ts]:
                raise BrokenError(f"{ts} was published {self.landed[ts]} times: {run}")
        pins = [runs[ts].universe for ts in sorted(runs) if ts > unordered_until]
        if pins != sorted(pins):
            raise BrokenError("an older universe was pinned after a newer one")

    def _read_cells(self, conn: db.Connection, since: datetime, until: datetime) -> dict[Key, Cell]:
        rows = conn.execute(_CELLS.encode(), (since, until)).fetchall()
        return {(ts, address, asset): tuple(rest) for ts, address, asset, *rest in rows}

    def _cells(self, seen: dict[Key, Cell], lowest: datetime, told: set[tuple[Any, ...]]) -> None:
        for key, now in seen.items():
            self._cell(key, now, lowest, told)
        self.cells |= seen

    def _whole(self, seen: dict[Key, Cell], runs: dict[datetime, Run], since: datetime) -> None:
        """Hold that no cell is gone, and that each minute has as many as it says."""
        for key in self.cells:
            if key[0] >= since and key not in seen and key[0] in runs:
                raise BrokenError(f"a cell is gone: {key}")
        stored = Counter(key[0] for key in seen)
        known = Counter(key[0] for key, cell in seen.items() if cell[0] is None)
        for ts, run in runs.items():
            if (stored[ts], known[ts]) != (3 * run.expected, 3 * run.succeeded):
                raise BrokenError(f"{ts} has {stored[ts]} cells, {known[ts]} of them known: {run}")
        if orphans := stored.keys() - runs.keys():
            raise BrokenError(f"cells without a run: {orphans}")

    def _cell(self, key: Key, now: Cell, lowest: datetime, told: set[tuple[Any, ...]]) -> None:
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
        begun = [ts for ts in runs if ts <= at]  # a clock that was set back leaves others
        good = [ts for ts in begun if runs[ts].status != "failed"]
        last = max(begun, default=None)
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
