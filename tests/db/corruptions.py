"""Ways to spoil the record that `test_audit.py` builds: at least one for every check of `verify`."""
# ruff: noqa: E501, S608 - a line each, and no stranger's words in the statements

from dataclasses import dataclass

from hlctl.model import HLP_VAULT


@dataclass(frozen=True, slots=True)
class Corruption:
    """A way to spoil the record, in minute M + `at`; `is_of_cells` if the fingerprint ought to tell."""

    check: str
    name: str
    statement: str
    at: int = 0
    is_of_cells: bool = False


CELLS = "FROM wallet_snapshots WHERE snapshot_ts = %(m)s"
HELD = "snapshot_ts = %(m)s AND (wallet_id, asset) = (SELECT wallet_id, asset FROM wallet_snapshots WHERE snapshot_ts = %(m)s AND position_szi <> 0 LIMIT 1)"  # fmt: skip
FLAT = HELD.replace("<> 0", "= 0")
LOST = HELD.replace("position_szi <> 0", "position_szi IS NULL")
ONE = HELD.replace("(wallet_id, asset) = (SELECT wallet_id, asset", "wallet_id = (SELECT wallet_id")
ONE_LOST = LOST.replace("(wallet_id, asset) = (SELECT wallet_id, asset", "wallet_id = (SELECT wallet_id")
COLUMNS = "position_szi, entry_px, liq_px, leverage, leverage_type, margin_used, missing_reason, attempt, ingest_run_id"


def cells(check: str, name: str, change: str, where: str, at: int = 0) -> Corruption:
    """Return a change of cells."""
    return Corruption(check, name, f"UPDATE wallet_snapshots SET {change} WHERE {where}", at, is_of_cells=True)


def run(check: str, name: str, change: str, at: int = 0, *, noted: str = "") -> Corruption:
    """Return a change of a run, and of what was noted of health if that says the same."""
    statement = f"UPDATE ingest_runs SET {change} WHERE snapshot_ts = %(m)s"
    if noted:
        statement += f"; UPDATE ingest_health SET {noted} WHERE health_ts = %(m)s"
    return Corruption(check, name, statement, at)


def note(name: str, change: str, at: int = 0) -> Corruption:
    """Return a change of what was noted of health."""
    return Corruption("health", name, f"UPDATE ingest_health SET {change} WHERE health_ts = %(m)s", at)


def anomaly(check: str, name: str, what: str, at: int = 0, where: str = "position_szi <> 0") -> Corruption:
    """Return an anomaly that is made up."""
    found = f"SELECT snapshot_ts, wallet_id, asset, {what} {CELLS} AND {where} LIMIT 1"
    return Corruption(check, name, f"INSERT INTO snapshot_anomalies {found}", at)


FIRST = "WHERE run_id = (SELECT min(run_id) FROM wallet_universe_runs)"
CORRUPTIONS = (
    Corruption("rows", "a cell deleted", f"DELETE FROM wallet_snapshots WHERE {HELD}", is_of_cells=True),
    Corruption("rows", "a zero left out", f"DELETE FROM wallet_snapshots WHERE {FLAT}", 1, is_of_cells=True),
    Corruption(
        "rows",
        "a cell twice",
        f"ALTER TABLE wallet_snapshots DROP CONSTRAINT wallet_snapshots_pkey; INSERT INTO wallet_snapshots SELECT * FROM wallet_snapshots WHERE {HELD}",
        is_of_cells=True,
    ),
    Corruption(
        "keys",
        "a stranger's cells",
        "INSERT INTO wallet_snapshots (snapshot_ts, observed_at, wallet_id, asset, " + COLUMNS + ")"
        " SELECT snapshot_ts, observed_at, (SELECT max(wallet_id) FROM wallets), asset, "
        + COLUMNS.replace("margin_used", "margin_used + 7000")
        + f" {CELLS}"
        f" AND wallet_id = (SELECT min(wallet_id) {CELLS})",
        is_of_cells=True,
    ),
    Corruption(
        "orphans",
        "cells made up for a gap",
        "INSERT INTO wallet_snapshots (snapshot_ts, observed_at, wallet_id, asset, " + COLUMNS + ")"
        " SELECT snapshot_ts + interval '4 min', observed_at + interval '4 min', wallet_id, asset, "
        + COLUMNS.replace("ingest_run_id", "ingest_run_id + 4")
        + f" {CELLS}",
    ),
    Corruption(
        "orphans",
        "a run deleted",
        "DELETE FROM ingest_runs WHERE snapshot_ts = %(m)s; DELETE FROM ingest_health WHERE health_ts = %(m)s",
    ),
    run("orphans", "marked as pruned", "pruned_at = published_at", 1),
    run("counts", "a wallet less expected", "wallets_expected = wallets_expected - 1"),
    run("counts", "rows expected", "rows_expected = 0", 1),
    run("counts", "rows written", "rows_written = rows_written + 3", 3),
    run("coverage", "a wallet more known", "wallets_succeeded = wallets_succeeded + 1", 1),
    run("coverage", "fewer failed", "wallets_failed = 0", 3),
    run("coverage", "percent rounded up", "coverage_pct = 85.01", 1, noted="coverage_pct = 85.01"),
    run("missing", "nothing missing", "missing = '{}'", 1),
    run("missing", "another reason", "missing = '{\"late\": 20}'", 2),
    run("missing", "one missing of none", "missing = '{\"late\": 1}'"),
    run("status", "a partial is a success", "status = 'success'", 1, noted="snapshot_status = 'success'"),
    run(
        "status", "a success is partial", "status = 'partial'", 5,
        noted="snapshot_status = 'partial', health_state = 'degraded'",
    ),
    run(
        "status", "a failed is partial", "status = 'partial'", 2,
        noted="snapshot_status = 'partial', health_state = 'degraded', last_success_snapshot_ts = health_ts",
    ),
    run("status", "another threshold", "coverage_success = 80", 1),
    cells("whole", "another time", "observed_at = observed_at + interval '1 ms'", HELD),
    cells("whole", "another attempt", "attempt = 2", HELD, 3),
    cells("whole", "another reason", "missing_reason = 'cancelled'", LOST, 2),
    cells("reasons", "a value without a time", "observed_at = NULL", ONE),
    cells("reasons", "a value with a reason", "missing_reason = 'late'", ONE),
    cells("reasons", "missing with a time", "observed_at = snapshot_ts + interval '1 s'", ONE_LOST, 1),
    cells("terms", "flat with a price", "entry_px = 1", FLAT),
    cells("terms", "flat with a liquidation price", "liq_px = 1", FLAT),
    cells("terms", "missing with a margin", "margin_used = 1", LOST, 2),
    cells("terms", "held without leverage", "leverage = NULL", HELD),
    cells("terms", "held without its kind", "leverage_type = NULL", HELD),
    cells("terms", "held without margin", "margin_used = NULL", HELD),
    cells("times", "seen before the minute", "observed_at = snapshot_ts - interval '1 us'", ONE),
    cells("times", "seen a day earlier", "observed_at = observed_at - interval '1 day'", ONE, 5),
    cells("finite", "NaN", "position_szi = 'NaN'", HELD),
    cells("finite", "Infinity", "margin_used = '-Infinity'", HELD),
    cells("finite", "a price below zero", "liq_px = -0.01", HELD),
    cells("finite", "an impossible price", "entry_px = 1e15", HELD),
    cells("finite", "no leverage at all", "leverage = 0", HELD),
    cells("finite", "an impossible leverage", "leverage = 1001", HELD),
    Corruption(
        "aligned", "a cell of another run",
        f"UPDATE wallet_snapshots SET ingest_run_id = ingest_run_id + 1 WHERE {HELD}",
    ),
    run("aligned", "a run with another number", "run_id = run_id - 1"),
    cells("attempts", "before the first", "attempt = 0", ONE),
    cells("attempts", "one the run does not count", "attempt = 2", ONE, 1),
    cells("attempts", "missing since the second", "attempt = 2", ONE_LOST, 3),
    run(
        "attempts", "the next minute's",
        "attempt_id = (SELECT attempt_id FROM ingest_runs WHERE snapshot_ts = %(m)s + interval '1 min')",
    ),
    run("published", "after the minute", "published_at = snapshot_ts + interval '60 s'"),
    run("published", "before the minute", "published_at = snapshot_ts - interval '1 us'"),
    run("published", "sent before the minute", "last_sent_at = snapshot_ts - interval '1 us'"),
    run("published", "sent after the minute", "last_sent_at = snapshot_ts + interval '60 s'"),
    cells("published", "seen after publication", "observed_at = snapshot_ts + interval '59.999 s'", ONE),
    Corruption("write_once", "a size doubled", f"UPDATE wallet_snapshots SET position_szi = 2 * position_szi WHERE {HELD}"),
    Corruption("write_once", "a long turned short", f"UPDATE wallet_snapshots SET position_szi = -position_szi WHERE {HELD}"),
    Corruption("write_once", "an answer some ms later", f"UPDATE wallet_snapshots SET observed_at = observed_at + interval '1 us' WHERE {ONE}"),
    run("write_once", "another fingerprint", "fingerprint = fingerprint + 1", 3),
    run("write_once", "no fingerprint any more", "fingerprint = NULL", 1),
    Corruption("universe", "a failed refresh", f"UPDATE wallet_universe_runs SET status = 'failed' {FIRST}"),
    Corruption("universe", "a member too few", f"UPDATE wallet_universe_runs SET n_received = n_received + 1 {FIRST}"),
    Corruption("universe", "a rank left out", f"UPDATE wallet_universe_members SET rank = 99 {FIRST} AND rank = 20"),
    Corruption("universe", "two ranks swapped", f"UPDATE wallet_universe_members SET rank = -rank {FIRST} AND rank IN (1, 20); UPDATE wallet_universe_members SET rank = 21 + rank {FIRST} AND rank < 0"),
    Corruption("universe", "another profit", f"UPDATE wallet_universe_members SET month_pnl = 0 {FIRST} AND rank = 1"),
    Corruption("universe", "a wallet lost", "DELETE FROM wallets WHERE wallet_id = 3"),
    Corruption("universe", "an address twice", "ALTER TABLE wallets DROP CONSTRAINT wallets_address_key; UPDATE wallets SET address = (SELECT address FROM wallets WHERE wallet_id = 3) WHERE wallet_id = 4"),
    Corruption("universe", "another wallet's address", f"UPDATE wallets SET address = '{HLP_VAULT}' WHERE wallet_id = 3"),
    Corruption("universe", "called a vault", f"UPDATE wallet_universe_members SET is_vault = true {FIRST} AND rank = 1"),
    Corruption("universe", "read later", f"UPDATE wallet_universe_runs SET as_of_ts = as_of_ts + interval '1 day' {FIRST}"),
    run("universe", "an older one", "universe_run_id = universe_run_id - 1", 6),
    Corruption("current", "a member not in force", "DELETE FROM wallet_universe_current WHERE rank = 20"),
    Corruption("current", "another rank", "UPDATE wallet_universe_current SET rank = 99 WHERE rank = 20"),
    Corruption("current", "another profit", "UPDATE wallet_universe_current SET month_pnl = 0 WHERE rank = 20"),
    Corruption("current", "another volume", "UPDATE wallet_universe_current SET month_volume = month_volume + 1 WHERE rank = 20"),
    Corruption("current", "called a vault", "UPDATE wallet_universe_current SET is_vault = true WHERE rank = 20"),
    Corruption(
        "current", "a stranger in force",
        "INSERT INTO wallet_universe_current (wallet_id, run_id, rank, month_pnl, month_roi, account_value, month_volume, as_of_ts)"
        " SELECT 9999, run_id, 99, 1, 1, 1, 0, as_of_ts FROM wallet_universe_current LIMIT 1",
    ),
    Corruption("health", "nothing noted", "DELETE FROM ingest_health WHERE health_ts = %(m)s"),
    Corruption(
        "health", "noted of a gap",
        "INSERT INTO ingest_health SELECT health_ts + interval '4 min', health_ts, 'success', 100, 'healthy' FROM ingest_health"
        " WHERE health_ts = %(m)s",
    ),
    note("another status", "snapshot_status = 'partial'"),
    note("another coverage", "coverage_pct = 99", 5),
    note("no good minute", "last_success_snapshot_ts = NULL"),
    note("another good minute", "last_success_snapshot_ts = health_ts", 2),
    note("healthy though failed", "health_state = 'healthy'", 2),
    note("healthy though partial", "health_state = 'healthy'", 1),
    note("stale though a success", "health_state = 'stale'"),
    note("another error", "error = 'x'"),
    run("health", "healthy though suspect", "suspect = '{mass_zero}', anomaly_rules = NULL"),
    Corruption("dirty", "marks taken away", "UPDATE wallet_snapshots SET is_dirty = false, dirty_reason = NULL WHERE snapshot_ts = %(m)s", 1),
    Corruption("dirty", "a mark for nothing", f"UPDATE wallet_snapshots SET is_dirty = true, dirty_reason = 'szi_jump' WHERE {HELD}", 1),
    Corruption("dirty", "a mark without a reason", f"UPDATE wallet_snapshots SET is_dirty = true WHERE {HELD}"),
    Corruption("dirty", "a reason without a mark", f"UPDATE wallet_snapshots SET dirty_reason = 'szi_jump' WHERE {HELD}"),
    Corruption("dirty", "another reason", "UPDATE wallet_snapshots SET dirty_reason = 'stale_time' WHERE snapshot_ts = %(m)s AND is_dirty", 1),
    Corruption("dirty", "anomalies deleted", "DELETE FROM snapshot_anomalies WHERE snapshot_ts = %(m)s", 1),
    anomaly("dirty", "an anomaly of a cell that is clean", "'szi_jump', '{\"reason\": \"szi_jump\"}'"),
    anomaly("dirty", "an anomaly that says nothing", "'other', '{}'"),
    anomaly("dirty", "an anomaly under another name", "'other', '{\"reason\": \"null_szi\"}'", 1, "is_dirty"),
    cells("dirty", "a position gone for a minute", "position_szi = 0, entry_px = NULL, leverage = NULL, leverage_type = NULL, margin_used = NULL", HELD, 6),
    anomaly("suspect", "a cell emptied with nobody", "'other', '{\"kind\": \"mass_zero\", \"before\": 1}'"),
    anomaly("suspect", "an answer that nobody shares", "'other', '{\"kind\": \"same_answer\"}'", 6),
    run("suspect", "suspect for nothing", "suspect = '{same_answer}'", 6, noted="health_state = 'degraded'"),
    cells("suspect", "everybody says the same", "margin_used = 1", "snapshot_ts = %(m)s AND position_szi <> 0", 6),
    run("requests", "one more sent", "requests_sent = requests_sent + 1"),
    run("requests", "more retries than requests", "retries = requests_sent + 1"),
    run("requests", "more 429s than requests", "rate_limited = requests_sent + 1"),
    run("requests", "sent, and never", "last_sent_at = NULL"),
    run("requests", "known without asking", "requests_sent = 0, retries = 0, rate_limited = 0, sent_per_second = '{}', last_sent_at = NULL"),
    run("rate", "a lower limit", "rate_limit = 23"),
    run("rate", "too many with the minute before", "requests_sent = 499, sent_per_second = '{499}'", 1),
    Corruption(
        "strays", "cells without a partition",
        "ALTER TABLE wallet_snapshots DETACH PARTITION wallet_snapshots_20260106;"
        " INSERT INTO wallet_snapshots SELECT * FROM wallet_snapshots_20260106",
    ),
)  # fmt: skip
