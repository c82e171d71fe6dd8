-- What people read: positions by address, and the one judge of health.

CREATE VIEW v_positions AS
SELECT c.snapshot_ts, w.address, c.asset, c.position_szi, c.entry_px, c.liq_px, c.leverage, c.leverage_type, c.margin_used,
       c.missing_reason, c.observed_at, c.is_dirty, c.dirty_reason, c.wallet_id
  FROM wallet_snapshots c
  JOIN wallets w USING (wallet_id);

COMMENT ON VIEW   v_positions                IS 'The record by address. For many minutes of one wallet filter by wallet_id and snapshot_ts.';
COMMENT ON COLUMN v_positions.snapshot_ts    IS 'The minute, UTC.';
COMMENT ON COLUMN v_positions.address        IS 'The wallet''s address.';
COMMENT ON COLUMN v_positions.asset          IS 'HYPE, BTC or ETH.';
COMMENT ON COLUMN v_positions.position_szi   IS 'Signed size in coins, negative = short, 0 = flat; NULL = not known, never zero.';
COMMENT ON COLUMN v_positions.entry_px       IS 'Average entry price, USD.';
COMMENT ON COLUMN v_positions.liq_px         IS 'Liquidation price, USD.';
COMMENT ON COLUMN v_positions.leverage       IS 'The user''s leverage setting, a factor.';
COMMENT ON COLUMN v_positions.leverage_type  IS 'cross or isolated.';
COMMENT ON COLUMN v_positions.margin_used    IS 'Margin in use by the position, USD.';
COMMENT ON COLUMN v_positions.missing_reason IS 'Why the size is not known; NULL if it is known.';
COMMENT ON COLUMN v_positions.observed_at    IS 'When the answer was received, UTC.';
COMMENT ON COLUMN v_positions.is_dirty       IS 'True if a later minute showed that the answer is not to be believed.';
COMMENT ON COLUMN v_positions.dirty_reason   IS 'Why the cell is dirty.';
COMMENT ON COLUMN v_positions.wallet_id      IS 'Key of the wallet.';

-- Health is judged when it is read, with the thresholds that the newest run wrote down: when ingestion dies, this turns
-- degraded and then stale without any process writing that.
CREATE VIEW v_latest_health AS
WITH clock AS MATERIALIZED (
  SELECT hlctl_clock() AS at),
last AS (
  SELECT * FROM ingest_runs ORDER BY snapshot_ts DESC LIMIT 1),
good AS (
  SELECT snapshot_ts FROM ingest_runs WHERE status <> 'failed' ORDER BY snapshot_ts DESC LIMIT 1),
universe AS (
  SELECT as_of_ts FROM wallet_universe_runs WHERE status = 'success' ORDER BY run_id DESC LIMIT 1),
fact AS (
  SELECT clock.at, last.snapshot_ts, last.status, last.coverage_pct,
         good.snapshot_ts AS good_ts, universe.as_of_ts AS universe_ts,
         array_remove(ARRAY[
           CASE WHEN good.snapshot_ts IS NULL                           THEN 'no_good_minute' END,
           CASE WHEN clock.at - good.snapshot_ts > last.stale_after     THEN 'no_good_minute_lately' END,
           CASE WHEN last.status = 'failed'                             THEN 'last_minute_failed' END], NULL) AS stale_because,
         array_remove(ARRAY[
           CASE WHEN last.status = 'partial'                            THEN 'last_minute_partial' END,
           CASE WHEN clock.at - last.snapshot_ts > interval '120 s'     THEN 'last_minute_old' END,
           CASE WHEN clock.at - universe.as_of_ts > last.universe_stale_after THEN 'universe_old' END,
           CASE WHEN cardinality(last.suspect) > 0                      THEN 'suspect' END], NULL) AS degraded_because
    FROM clock
    LEFT JOIN last ON true
    LEFT JOIN good ON true
    LEFT JOIN universe ON true)
SELECT CASE WHEN cardinality(stale_because) > 0    THEN 'stale'
            WHEN cardinality(degraded_because) > 0 THEN 'degraded'
            ELSE 'healthy' END         AS health_state,
       stale_because || degraded_because AS reasons,
       at                              AS judged_at,
       snapshot_ts                     AS last_snapshot_ts,
       status                          AS last_status,
       coverage_pct,
       at - snapshot_ts                AS last_snapshot_age,
       good_ts                         AS last_good_snapshot_ts,
       at - good_ts                    AS last_good_age,
       universe_ts                     AS universe_as_of_ts,
       at - universe_ts                AS universe_age
  FROM fact;

COMMENT ON VIEW   v_latest_health                       IS 'Can the data be trusted right now? Always exactly one row, judged when it is read.';
COMMENT ON COLUMN v_latest_health.health_state          IS 'healthy, degraded or stale.';
COMMENT ON COLUMN v_latest_health.reasons               IS 'Why it is not healthy, worst first; empty if it is.';
COMMENT ON COLUMN v_latest_health.judged_at             IS 'The database clock at the judgement, UTC.';
COMMENT ON COLUMN v_latest_health.last_snapshot_ts      IS 'The newest recorded minute, good or not, UTC; NULL if there is none.';
COMMENT ON COLUMN v_latest_health.last_status           IS 'Its status.';
COMMENT ON COLUMN v_latest_health.coverage_pct          IS 'Its coverage, percent of wallets.';
COMMENT ON COLUMN v_latest_health.last_snapshot_age     IS 'How long ago that minute began.';
COMMENT ON COLUMN v_latest_health.last_good_snapshot_ts IS 'The newest minute that is success or partial, UTC; NULL if there is none.';
COMMENT ON COLUMN v_latest_health.last_good_age         IS 'How long ago that minute began.';
COMMENT ON COLUMN v_latest_health.universe_as_of_ts     IS 'When the universe in force was recorded, UTC; NULL if there is none.';
COMMENT ON COLUMN v_latest_health.universe_age          IS 'How long ago that was.';
